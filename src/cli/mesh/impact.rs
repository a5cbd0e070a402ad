//! `tidemesh impact` and `upgrades`: what a change of a table would do to pipelines, and what changes
//! have done.

use super::look::utc;
use crate::cli::client::{Daemon, print_json, print_line};
use clap::{ArgGroup, Args};
use serde_json::Value as Json;
use std::path::PathBuf;
use std::process::ExitCode;
use tidemesh_controller::{ImpactRequest, Upgrade};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::upgrade::impact::Change;
use tidemesh_transport::escape;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(
    ["drop_column", "rename", "add", "data_type", "key", "schema"],
)))]
pub(crate) struct ImpactArgs {
    /// The topic that the table has now.
    #[arg(long, conflicts_with = "source", required_unless_present = "source")]
    topic: Option<String>,
    /// The source of the table.
    #[arg(long, requires = "table")]
    source: Option<String>,
    /// The table, as `public.orders`.
    #[arg(long, requires = "source")]
    table: Option<String>,
    /// A column is dropped; may be given again, as all of these.
    #[arg(long, value_name = "COLUMN")]
    drop_column: Vec<String>,
    /// A column gets another name.
    #[arg(long, value_name = "COLUMN=NAME", value_parser = pair)]
    rename: Vec<(String, String)>,
    /// A column is added, with its type in PostgreSQL or MySQL, or as an Avro schema.
    #[arg(long, value_name = "COLUMN=TYPE", value_parser = pair)]
    add: Vec<(String, String)>,
    /// A column gets another type.
    #[arg(long = "type", value_name = "COLUMN=TYPE", value_parser = pair)]
    data_type: Vec<(String, String)>,
    /// The table gets another key, of these columns.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Vec<String>,
    /// The topic's values, or its rows, get the schema in this file.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradesArgs {
    /// The pipeline.
    pipeline: String,
    /// Print JSON, with certificates.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((one, other)) if !one.is_empty() && !other.is_empty() => {
            Ok((one.to_owned(), other.to_owned()))
        }
        _ => Err("write COLUMN=…".to_owned()),
    }
}

impl ImpactArgs {
    fn request(&self) -> Result<ImpactRequest> {
        let of_table = || {
            let (source, table) = (self.source.as_deref()?, self.table.as_deref()?);
            Some(format!("{source}.{table}"))
        };
        let topic = self.topic.clone().or_else(of_table).unwrap_or_default();
        let mut changes = Vec::new();
        let dropped = self.drop_column.iter().cloned();
        changes.extend(dropped.map(|column| Change::DropColumn { column }));
        let renamed = self.rename.iter().cloned();
        changes.extend(renamed.map(|(column, to)| Change::Rename { column, to }));
        let added = self.add.iter().cloned();
        changes.extend(added.map(|(column, data_type)| Change::Add {
            column,
            data_type,
            default: None,
        }));
        let typed = self.data_type.iter().cloned();
        changes.extend(typed.map(|(column, data_type)| Change::Type { column, data_type }));
        if !self.key.is_empty() {
            changes.push(Change::Key { columns: self.key.clone() });
        }
        if let Some(file) = &self.schema {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Error::new(ErrorKind::Config, "read a schema")
                    .because("the file cannot be read")
                    .with("file", file.display())
                    .caused_by(error)
            })?;
            changes.push(Change::Schema { text });
        }
        Ok(ImpactRequest { topic, changes })
    }
}

pub(crate) async fn impact(args: ImpactArgs) -> Result<ExitCode> {
    let request = args.request()?;
    let answer: Json = args.daemon.post("/v1/impact", &request).await?;
    if args.json {
        print_json(&answer)?;
    } else {
        show(&answer)?;
    }
    Ok(ExitCode::from(u8::from(answer["worst"] == "held")))
}

fn show(answer: &Json) -> Result<()> {
    if let Some(next) = answer["next_topic"].as_str() {
        print_line(&format!("the table would go on in {next}"))?;
    }
    let pipelines = answer["pipelines"].as_array().map_or(&[][..], Vec::as_slice);
    if pipelines.is_empty() {
        return print_line("no pipeline has anything to do with it");
    }
    for one in pipelines {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        let owner = one["owner"].as_str().map(|owner| format!(" ({owner})")).unwrap_or_default();
        print_line(&format!(
            "{:<10} {}{owner}: {}",
            text("verdict"),
            text("pipeline"),
            text("why")
        ))?;
        for change in one["outputs"].as_array().into_iter().flatten() {
            for field in change["fields"].as_array().into_iter().flatten() {
                let path = field["field"].as_str().unwrap_or("the row");
                let what = field["says"].as_str().unwrap_or_default();
                print_line(&format!(
                    "           {}: {path}: {what}",
                    change["topic"].as_str().unwrap_or_default()
                ))?;
            }
        }
        reasons(one)?;
    }
    Ok(())
}

fn reasons(of: &Json) -> Result<()> {
    for reason in of["reasons"].as_array().into_iter().flatten() {
        let message = reason["message"].as_str().unwrap_or_default();
        let remedy = reason["remedy"].as_str().unwrap_or_default();
        print_line(&format!("           {message}; {remedy}"))?;
    }
    Ok(())
}

pub(crate) async fn upgrades(args: UpgradesArgs) -> Result<()> {
    let UpgradesArgs { pipeline, json, daemon } = args;
    let path = format!("/v1/pipelines/{}/upgrades", escape(&pipeline));
    let upgrades: Vec<Upgrade> = daemon.get(&path).await?;
    if json {
        return print_json(&upgrades);
    }
    if upgrades.is_empty() {
        return print_line("nothing has changed for it yet");
    }
    for Upgrade { number, at_ms, verdict, judgement } in &upgrades {
        let why = judgement["why"].as_str().unwrap_or_default();
        print_line(&format!("{number}  {}  {verdict}: {why}", utc(*at_ms)))?;
        reasons(judgement)?;
    }
    Ok(())
}
