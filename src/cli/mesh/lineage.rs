//! `tidemesh lineage`: where a field comes from, and who reads it.

use crate::cli::client::{Daemon, print_json, print_line};
use clap::Args;
use tidemesh_controller::{LineageAnswer, LineageField, LineageReader};
use tidemesh_model::Result;
use tidemesh_transport::escape;

#[derive(Debug, Args)]
pub(crate) struct LineageArgs {
    /// The topic.
    topic: String,
    /// A field, as `shipping.city` for one within another. Default: the whole row.
    #[arg(default_value = "")]
    field: String,
    /// Where it goes, not where it comes from.
    #[arg(long)]
    downstream: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(crate) async fn lineage(args: LineageArgs) -> Result<()> {
    let LineageArgs { topic, field, downstream, json, daemon } = args;
    let direction = if downstream { "downstream" } else { "upstream" };
    let (topic, field) = (escape(&topic), escape(&field));
    let path = format!("/v1/lineage?topic={topic}&field={field}&direction={direction}");
    let answer: LineageAnswer = daemon.get(&path).await?;
    if json {
        return print_json(&answer);
    }
    if answer.fields.is_empty() && answer.readers.is_empty() {
        return print_line("nothing");
    }
    if !answer.fields.is_empty() {
        print_line(&format!("{:<12} {:<20} FIELD", "VIA", "PIPELINE"))?;
    }
    for LineageField { topic, field, via, pipeline } in &answer.fields {
        let pipeline = pipeline.as_deref().unwrap_or("-");
        let field = if field.is_empty() { "(the row)" } else { field };
        print_line(&format!("{via:<12} {pipeline:<20} {topic}: {field}"))?;
    }
    for LineageReader { pipeline, processors, sinks, only_decides } in &answer.readers {
        let how = if *only_decides { "decides by it" } else { "reads it" };
        let (processors, sinks) = (processors.join(", "), sinks.join(", "));
        print_line(&format!("{pipeline} {how}: processors {processors}; sinks {sinks}"))?;
    }
    if answer.truncated {
        print_line("there is more, which was not followed")?;
    }
    Ok(())
}
