//! `tidemesh catalog`: which topics there are, what is in them, and their last records.

use super::look::utc;
use crate::cli::client::{Daemon, print_json, print_line};
use clap::{Args, Subcommand};
use tidemesh_controller::{FieldReport, Samples, TopicReport, Writer};
use tidemesh_model::Result;
use tidemesh_transport::escape;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CatalogArgs {
    #[command(subcommand)]
    command: Option<CatalogCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Find topics by words in their names, tags, owners, fields and descriptions.
    #[command(after_help = "Example:\n  tidemesh catalog search customer email")]
    Search {
        /// The words, all of which are to be found.
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a topic: its fields, who answers for it, who writes and who reads it.
    #[command(after_help = "Example:\n  tidemesh catalog show shop.public.orders")]
    Show(TopicArgs),
    /// Print a topic's last records as JSON lines, without what the catalog masks.
    #[command(after_help = "Example:\n  tidemesh catalog sample shop.public.orders --limit 3")]
    Sample {
        /// How many: 1 to 100.
        #[arg(long, default_value_t = 10)]
        limit: u32,
        #[command(flatten)]
        topic: TopicArgs,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// How many topics at the most: 1 to 1000.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
struct TopicArgs {
    /// The topic.
    topic: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(crate) async fn catalog(args: CatalogArgs) -> Result<()> {
    match args.command {
        None => list("", args.list).await,
        Some(CatalogCommand::Search { words, list: args }) => list(&words.join(" "), args).await,
        Some(CatalogCommand::Show(args)) => show(args).await,
        Some(CatalogCommand::Sample { limit, topic }) => sample(topic, limit).await,
    }
}

async fn list(words: &str, args: ListArgs) -> Result<()> {
    let ListArgs { limit, json, daemon } = args;
    let path = format!("/v1/catalog?search={}&limit={limit}", escape(words));
    let topics: Vec<TopicReport> = daemon.get(&path).await?;
    if json {
        return print_json(&topics);
    }
    print_line(&format!("{:<20} {:<24} {:>6}  TOPIC", "OWNER", "WRITTEN BY", "FIELDS"))?;
    topics.iter().try_for_each(|topic| print_line(&listed(topic)))?;
    let mut unknown = topics.iter().filter_map(|topic| topic.schemas_unknown.as_ref());
    unknown.next().map_or(Ok(()), |why| print_line(&format!("? of fields: {why}")))
}

fn listed(topic: &TopicReport) -> String {
    let owner = topic.owner.as_deref().unwrap_or("-");
    let writer = writer(&topic.written_by);
    let fields = match topic.schemas_unknown {
        Some(_) => "?".to_owned(),
        None => topic.fields.len().to_string(),
    };
    format!("{owner:<20} {writer:<24} {fields:>6}  {}", topic.topic)
}

fn writer(writer: &Writer) -> String {
    match writer {
        Writer::Table { source, .. } => format!("source {source}"),
        Writer::Pipeline { pipeline, .. } => format!("pipeline {pipeline}"),
        Writer::Others => "others".to_owned(),
    }
}

async fn show(args: TopicArgs) -> Result<()> {
    let TopicArgs { topic, json, daemon } = args;
    let report: TopicReport = daemon.get(&format!("/v1/catalog/{}", escape(&topic))).await?;
    if json {
        return print_json(&report);
    }
    print_line(&report.topic)?;
    facts(&report)
        .into_iter()
        .try_for_each(|(name, fact)| print_line(&format!("  {name}: {fact}")))?;
    report.fields.iter().try_for_each(|field| print_line(&shown(field)))
}

/// What is known of a topic, beside its fields.
fn facts(report: &TopicReport) -> Vec<(&'static str, String)> {
    let written_by = match &report.written_by {
        Writer::Table { source, table } => format!("source {source}, from {table}"),
        Writer::Pipeline { pipeline, output, tap: true } => {
            format!("pipeline {pipeline}, a tap of {output}")
        }
        Writer::Pipeline { pipeline, output, tap: false } => {
            format!("pipeline {pipeline}, by {output}")
        }
        Writer::Others => "others, who announce nothing".to_owned(),
    };
    let some = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", "));
    let id = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
    let schemas = format!("key {}, values {}", id(report.key_schema), id(report.value_schema));
    let seconds = |ms: u64| format!("{}.{} s behind", ms / 1000, ms % 1000 / 100);
    let facts = [
        ("source", report.published_as.clone()),
        ("owner", report.owner.clone()),
        ("description", report.description.clone()),
        ("tags", some(&report.tags)),
        ("written by", Some(written_by)),
        ("read by", some(&report.read_by)),
        ("key", some(&report.key)),
        ("schemas", Some(schemas)),
        ("freshness", report.freshness_ms.map(seconds)),
        ("newest change", report.newest_at_ms.map(utc)),
        ("records a second", report.rate_per_s.map(|rate| format!("{rate:.1}"))),
    ];
    facts.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

fn shown(field: &FieldReport) -> String {
    let FieldReport { path, column, data_type, nullable, description, tags, masked } = field;
    let null = if *nullable { " or null" } else { "" };
    let mut line = format!("    {path}: {data_type}{null}");
    if let Some(column) = column {
        line += &format!(", column {column:?}");
    }
    if *masked {
        line += ", masked";
    }
    if !tags.is_empty() {
        line += &format!(" [{}]", tags.join(", "));
    }
    if let Some(description) = description {
        line += &format!(" — {description}");
    }
    line
}

async fn sample(args: TopicArgs, limit: u32) -> Result<()> {
    let TopicArgs { topic, json, daemon } = args;
    let path = format!("/v1/catalog/{}/samples?limit={limit}", escape(&topic));
    let samples: Samples = daemon.get(&path).await?;
    if json {
        return print_json(&samples);
    }
    samples.records.iter().try_for_each(|record| {
        let line = serde_json::to_string(record).map_err(|error| {
            tidemesh_model::Error::new(tidemesh_model::ErrorKind::Internal, "print a record")
                .caused_by(error)
        })?;
        print_line(&line)
    })
}
