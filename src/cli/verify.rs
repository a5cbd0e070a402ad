//! `tidemesh verify`: whether topics hold what tables hold, and pipelines' outputs what the same SQL says
//! in the database.

use super::client::{Daemon, print_line};
use super::progress::Bar;
use crate::daemon::{VerifyLine, VerifyPipeline};
use clap::Args;
use std::process::ExitCode;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{
    Cell, Comparison, DIFFERENCES_LISTED, Difference, Outcome, OutputVerdict, TableVerdict,
    VerifyEvent, VerifyRequest, What,
};
use tidemesh_transport::escape;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The source.
    #[arg(long, required_unless_present = "pipeline", conflicts_with = "pipeline")]
    source: Option<String>,
    /// A table, as schema.table; may be given again. Default: all of them.
    #[arg(long = "table", value_name = "TABLE", conflicts_with = "pipeline")]
    tables: Vec<String>,
    /// A pipeline: its SQL is run in the source's database.
    #[arg(long)]
    pipeline: Option<String>,
    /// A sink of the pipeline, or a tapped processor. Default: all of them.
    #[arg(long, requires = "pipeline")]
    output: Option<String>,
    /// Name every difference, not the first 100 of a table.
    #[arg(long)]
    all: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Runs the command: 0 all equal, 1 some differ, 2 some could not be compared and none differs.
pub(super) async fn run(args: VerifyArgs) -> Result<ExitCode> {
    if let Some(pipeline) = &args.pipeline {
        return outputs(pipeline, &args).await;
    }
    let request = VerifyRequest { tables: args.tables, all: args.all };
    let path = format!("/v1/sources/{}/verify", args.source.unwrap_or_default());
    let mut bar = Bar::new("rows and records");
    let mut verdicts: Vec<TableVerdict> = Vec::new();
    let mut failed = None;
    let told = args.daemon.post_for_lines(&path, &request, |line| {
        match line {
            VerifyLine::Event(VerifyEvent::Progress { table, done, about }) => {
                bar.show(&format!("of {table}"), done, about);
            }
            VerifyLine::Event(VerifyEvent::Table(verdict)) => {
                bar.end();
                if !args.json {
                    print_table(&verdict)?;
                }
                verdicts.push(verdict);
            }
            VerifyLine::Error { error } => failed = Some(error),
        }
        Ok(())
    });
    told.await?;
    bar.end();
    if let Some(error) = failed {
        return Err(Error::new(ErrorKind::Unavailable, "verify").because(error));
    }
    let summary = Summary::of(&verdicts);
    if args.json {
        let outcome = summary.outcome();
        let report = serde_json::json!({"outcome": outcome, "tables": verdicts});
        print_line(&report.to_string())?;
    } else {
        print_line(&summary.line())?;
    }
    Ok(exit_code(summary.outcome()))
}

fn exit_code(outcome: Outcome) -> ExitCode {
    ExitCode::from(match outcome {
        Outcome::Equal => 0,
        Outcome::Different => 1,
        Outcome::Unknown => 2,
    })
}

/// Verifies a pipeline's outputs.
async fn outputs(pipeline: &str, args: &VerifyArgs) -> Result<ExitCode> {
    let request = VerifyPipeline { output: args.output.clone(), all: args.all };
    let path = format!("/v1/pipelines/{}/verify", escape(pipeline));
    let verdicts: Vec<OutputVerdict> = args.daemon.post(&path, &request).await?;
    let count =
        |outcome| verdicts.iter().filter(|verdict| verdict.found.outcome == outcome).count();
    let outcome = together(count(Outcome::Different), count(Outcome::Unknown));
    if args.json {
        let report = serde_json::json!({"outcome": outcome, "outputs": verdicts});
        print_line(&report.to_string())?;
    } else {
        verdicts.iter().try_for_each(|verdict| {
            print_found(&format!("{} {}", verdict.output, verdict.topic), &verdict.found)
        })?;
    }
    Ok(exit_code(outcome))
}

/// What verdicts come to, of which so many are different and so many unknown.
fn together(different: usize, unknown: usize) -> Outcome {
    match (different, unknown) {
        (0, 0) => Outcome::Equal,
        (0, _) => Outcome::Unknown,
        _ => Outcome::Different,
    }
}

/// How many tables came to what.
struct Summary {
    equal: usize,
    different: usize,
    unknown: usize,
    differences: u64,
}

impl Summary {
    fn of(verdicts: &[TableVerdict]) -> Self {
        let count =
            |outcome| verdicts.iter().filter(|table| table.found.outcome == outcome).count();
        Self {
            equal: count(Outcome::Equal),
            different: count(Outcome::Different),
            unknown: count(Outcome::Unknown),
            differences: verdicts
                .iter()
                .filter(|table| table.found.outcome == Outcome::Different)
                .map(|table| table.found.differing)
                .sum(),
        }
    }

    fn outcome(&self) -> Outcome {
        together(self.different, self.unknown)
    }

    fn line(&self) -> String {
        let mut line = format!("{} tables equal, {} differences", self.equal, self.differences);
        if self.different > 0 {
            line.push_str(&format!(" in {} tables", self.different));
        }
        if self.unknown > 0 {
            line.push_str(&format!(", {} tables could not be compared", self.unknown));
        }
        line
    }
}

fn print_table(verdict: &TableVerdict) -> Result<()> {
    print_found(&format!("{} {}", verdict.table, verdict.topic), &verdict.found)
}

/// What a comparison came to, `of` what.
fn print_found(of: &str, found: &Comparison) -> Result<()> {
    let outcome = match found.outcome {
        Outcome::Equal => "equal",
        Outcome::Different => "different",
        Outcome::Unknown => "unknown",
    };
    print_line(&format!("{outcome:<10} {:>12} rows  {of}", found.rows))?;
    if let Some(reason) = &found.reason {
        print_line(&format!("  {reason}"))?;
    }
    found.differences.iter().try_for_each(print_difference)?;
    match found.differing.saturating_sub(found.differences.len() as u64) {
        0 => Ok(()),
        more => print_line(&format!(
            "  and {more} more than the {DIFFERENCES_LISTED} listed: see --all"
        )),
    }
}

fn print_difference(difference: &Difference) -> Result<()> {
    let shown = |text: &Option<String>| match text {
        Some(text) => format!("{text:?}"),
        None => "null".to_owned(),
    };
    let cell = |cell: &Cell| format!("{}={}", cell.column, shown(&cell.text));
    let key: Vec<String> = difference.key.iter().map(cell).collect();
    let key = key.join(" ");
    match &difference.what {
        What::MissingInTopic => print_line(&format!("  {key}: missing in the topic")),
        What::ExtraInTopic => print_line(&format!("  {key}: in the topic, not in the database")),
        What::Values { columns } => columns.iter().try_for_each(|column| {
            let (database, topic) = (shown(&column.database), shown(&column.topic));
            let name = &column.column;
            print_line(&format!(
                "  {key}: {name} is {database} in the database, {topic} in the topic"
            ))
        }),
    }
}
