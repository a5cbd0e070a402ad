//! `tidemesh get`, `describe` and `history`: what is declared, and how it is.

use crate::cli::client::{Daemon, print_json, print_line};
use clap::Args;
use serde_json::{Value as Json, json};
use tidemesh_controller::{Action, DocumentReport, PipelineReport, RevisionReport, differences};
use tidemesh_model::{ErrorKind, Result};
use tidemesh_transport::escape;

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The kind: `source`, `pipeline`, `processor`, `alert`. Default: all.
    kind: Option<String>,
    /// The name; then the document is printed as it can be applied again.
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The kind: `source`, `pipeline`, `processor`, `alert`.
    kind: String,
    /// The name.
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The kind: `source`, `pipeline`, `processor`, `alert`.
    kind: String,
    /// The name; also of what has been deleted.
    name: String,
    /// Print JSON, with the documents.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(crate) async fn get(args: GetArgs) -> Result<()> {
    let GetArgs { kind, name, json, daemon } = args;
    if let (Some(kind), Some(name)) = (&kind, &name) {
        let found: DocumentReport = daemon.get(&path(kind, name)).await?;
        return print_json(&found.document);
    }
    let path = match &kind {
        Some(kind) => format!("/v1/documents/{}", escape(kind)),
        None => "/v1/documents".to_owned(),
    };
    let documents: Vec<DocumentReport> = daemon.get(&path).await?;
    if json {
        return print_json(&documents);
    }
    let pipelines: Vec<PipelineReport> = daemon.get("/v1/pipelines").await?;
    let sources: Vec<Json> = daemon.get("/v1/sources").await?;
    print_line(&format!("{:<10} {:>8} {:<9} {:<20} NAME", "KIND", "REVISION", "STATE", "OWNER"))?;
    documents.iter().try_for_each(|document| {
        let DocumentReport { kind, name, revision, .. } = document;
        let pipeline = pipelines.iter().find(|one| kind == "Pipeline" && one.name == *name);
        let source = sources.iter().find(|one| kind == "Source" && one["name"] == name.as_str());
        let source = source.and_then(|one| one["state"].as_str()).map(str::to_owned);
        let state = pipeline.map(|one| one.state.to_string()).or(source);
        let state = state.or_else(|| document.state.clone()).unwrap_or_else(|| "-".to_owned());
        let owner = document.document["metadata"]["owner"].as_str().unwrap_or("-");
        print_line(&format!("{kind:<10} {revision:>8} {state:<9} {owner:<20} {name}"))
    })
}

pub(crate) async fn describe(args: DescribeArgs) -> Result<()> {
    let DescribeArgs { kind, name, json, daemon } = args;
    let found: DocumentReport = daemon.get(&path(&kind, &name)).await?;
    if found.kind == "Source" {
        return describe_source(&found, json, &daemon).await;
    }
    if found.kind != "Pipeline" {
        return print_json(&found);
    }
    let report: PipelineReport = daemon.get(&format!("/v1/pipelines/{}", escape(&name))).await?;
    if json {
        return print_json(&report);
    }
    print_line(&format!(
        "pipeline {}, revision {}: {}",
        report.name, report.revision, report.state
    ))?;
    report.reasons.iter().try_for_each(|reason| print_line(&format!("  because {reason}")))?;
    for input in &report.inputs {
        print_line(&format!(
            "  reads {} as {}: {}",
            input.topic,
            input.name,
            input.reads.join(", ")
        ))?;
    }
    for output in &report.outputs {
        let what = if output.tap { "taps" } else { "writes" };
        print_line(&format!("  {what} {}: {}", output.topic, output.fields.join(", ")))?;
    }
    let counts = report.counts;
    print_line(&format!(
        "  since the daemon was started: {} records in, {} out, {} dead letters",
        counts.records_in, counts.records_out, counts.dead_letters
    ))
}

/// A source's document, and how its connector is where the daemon runs it.
async fn describe_source(found: &DocumentReport, json: bool, daemon: &Daemon) -> Result<()> {
    let running = match daemon.get(&format!("/v1/sources/{}", escape(&found.name))).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Json::Null,
        running => running?,
    };
    if let (Some(state), Some(reason)) = (&found.state, &found.reason)
        && !json
        && running.is_null()
    {
        print_line(&format!("source {}, revision {}: {state}", found.name, found.revision))?;
        return print_line(&format!("  because {reason}"));
    }
    if json || running.is_null() {
        return print_json(&json!({ "document": found, "source": running }));
    }
    let text = |name: &str| running[name].as_str().unwrap_or_default();
    let brought = if text("managed_by") == "file" { ", of the configuration file" } else { "" };
    let (name, revision) = (&found.name, found.revision);
    print_line(&format!("source {name}{brought}, revision {revision}: {}", text("state")))?;
    let reasons = ["error", "last_error"].into_iter().find(|name| !text(name).is_empty());
    reasons.into_iter().try_for_each(|name| print_line(&format!("  because {}", text(name))))?;
    print_line(&format!(
        "  since the daemon was started: {} events, {} dead letters; {} bytes of the log behind",
        running["events"], running["dead_letters"], running["lag_bytes"]
    ))?;
    running["snapshot"]["tables"].as_array().into_iter().flatten().try_for_each(|table| {
        let text = |name: &str| table[name].as_str().unwrap_or_default();
        print_line(&format!("  snapshot of {}: {}", text("table"), text("state")))
    })
}

pub(crate) async fn history(args: HistoryArgs) -> Result<()> {
    let HistoryArgs { kind, name, json, daemon } = args;
    let history: Vec<RevisionReport> =
        daemon.get(&format!("{}/history", path(&kind, &name))).await?;
    if json {
        return print_json(&history);
    }
    let mut before = None;
    for revision in &history {
        let RevisionReport { number, at_ms, by, action, document } = revision;
        let action = match action {
            Action::Applied => "applied".to_owned(),
            Action::RolledBack { to } => format!("rolled back to {to}"),
            Action::Deleted => "deleted".to_owned(),
        };
        let by = by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        print_line(&format!("{number}  {}  {action}{by}", utc(*at_ms)))?;
        if let Some(before) = before {
            differences(before, document)
                .iter()
                .try_for_each(|change| print_line(&format!("     ~ {}", change.path)))?;
        }
        before = Some(document);
    }
    Ok(())
}

/// Milliseconds since 1970-01-01 00:00:00 UTC, as a time in seconds.
pub(super) fn utc(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    at.unwrap_or_default().format("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn path(kind: &str, name: &str) -> String {
    format!("/v1/documents/{}/{}", escape(kind), escape(name))
}
