//! `tidemesh snapshot`: reads tables beside the log, by command, and shows how far that has come.

use super::client::{Daemon, print_json, print_line};
use super::progress::Bar;
use clap::{Args, Subcommand};
use std::process::ExitCode;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{Key, SnapshotReport, SnapshotRequest, TableSnapshot, TableState};

/// How often progress is asked for.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Read tables again: all of a source's, or one of them or some of its keys.
    #[command(after_help = "Examples:\n  tidemesh snapshot start shop\n  \
        tidemesh snapshot start shop --table public.orders --wait\n  \
        tidemesh snapshot start shop --table public.orders --after 1000 --upto 2000\n  \
        tidemesh snapshot start shop --table public.items --key '[\"7\", \"blue\"]'")]
    Start(Start),
    /// Read no further chunk until resumed; the log goes on.
    #[command(after_help = "Example:\n  tidemesh snapshot pause shop")]
    Pause(Of),
    /// Go on with what was paused.
    #[command(after_help = "Example:\n  tidemesh snapshot resume shop")]
    Resume(Of),
    /// Show how far each table has come.
    #[command(after_help = "Example:\n  tidemesh snapshot status shop --wait")]
    Status(Status),
}

#[derive(Debug, Args)]
pub(super) struct Of {
    /// The source.
    source: String,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(super) struct Start {
    /// The source.
    source: String,
    /// A table, as schema.table; may be given again. Default: all of them.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Only keys above this one; a key of several columns as a JSON array of texts.
    #[arg(long, value_name = "KEY", value_parser = read_key)]
    after: Option<KeyArgument>,
    /// Only keys up to this one.
    #[arg(long, value_name = "KEY", value_parser = read_key)]
    upto: Option<KeyArgument>,
    /// Only this key; may be given again.
    #[arg(long = "key", value_name = "KEY", value_parser = read_key)]
    keys: Vec<KeyArgument>,
    /// Wait until it is done.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The source.
    source: String,
    /// Wait until nothing is left to be read.
    #[arg(long)]
    wait: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// A key as an argument: clap takes a `Vec` for a repeated argument.
#[derive(Debug, Clone)]
struct KeyArgument(Key);

fn read_key(text: &str) -> std::result::Result<KeyArgument, String> {
    if !text.trim_start().starts_with('[') {
        return Ok(KeyArgument(vec![text.to_owned()]));
    }
    serde_json::from_str(text)
        .map(KeyArgument)
        .map_err(|error| format!("a key of several columns is a JSON array of texts: {error}"))
}

/// Runs the command: 0 done, 1 a table's snapshot has failed.
pub(super) async fn run(command: SnapshotCommand) -> Result<ExitCode> {
    let path = |source: &str, what: &str| format!("/v1/sources/{source}/snapshot{what}");
    match command {
        SnapshotCommand::Start(start) => {
            let request = SnapshotRequest {
                tables: start.tables,
                after: start.after.map(|key| key.0),
                upto: start.upto.map(|key| key.0),
                keys: start.keys.into_iter().map(|key| key.0).collect(),
            };
            let path = path(&start.source, "");
            let report: SnapshotReport = start.daemon.post(&path, &request).await?;
            show(&start.daemon, &path, report, start.wait).await
        }
        SnapshotCommand::Pause(of) => {
            let report = of.daemon.post(&path(&of.source, "/pause"), &()).await?;
            print_table(&report)
        }
        SnapshotCommand::Resume(of) => {
            let report = of.daemon.post(&path(&of.source, "/resume"), &()).await?;
            print_table(&report)
        }
        SnapshotCommand::Status(status) => {
            let path = path(&status.source, "");
            let report: SnapshotReport = status.daemon.get(&path).await?;
            if status.json {
                print_json(&report)?;
                return Ok(exit_code(&report));
            }
            show(&status.daemon, &path, report, status.wait).await
        }
    }
}

/// Prints the report, waiting first if that is wanted.
async fn show(
    daemon: &Daemon,
    path: &str,
    mut report: SnapshotReport,
    wait: bool,
) -> Result<ExitCode> {
    let mut bar = Bar::new("rows");
    while wait && is_running(&report) {
        if report.paused {
            return Err(Error::new(ErrorKind::Conflict, "wait for a snapshot")
                .because("snapshots are paused")
                .help("run `tidemesh snapshot resume`"));
        }
        let sum = |figure: fn(&TableSnapshot) -> u64| report.tables.iter().map(figure).sum();
        bar.show("", sum(|table| table.rows), sum(|table| table.rows_estimate.max(table.rows)));
        tokio::time::sleep(ASK_INTERVAL).await;
        report = daemon.get(path).await?;
    }
    bar.end();
    print_table(&report)
}

fn is_running(report: &SnapshotReport) -> bool {
    report.rereads > 0 || report.tables.iter().any(|table| table.state == TableState::Running)
}

fn exit_code(report: &SnapshotReport) -> ExitCode {
    let failed = report.tables.iter().any(|table| table.state == TableState::Failed);
    ExitCode::from(u8::from(failed))
}

fn print_table(report: &SnapshotReport) -> Result<ExitCode> {
    if report.paused {
        print_line("paused: `tidemesh snapshot resume` goes on")?;
    }
    if report.rereads > 0 {
        print_line(&format!("{} rows lack values in the log and are read again", report.rereads))?;
    }
    print_line(&format!("{:<8} {:>12} {:>12} {:>8}  TABLE", "STATE", "ROWS", "ABOUT", "CHUNKS"))?;
    for table in &report.tables {
        let state = match table.state {
            TableState::Running => "running",
            TableState::Done => "done",
            TableState::Failed => "failed",
        };
        let about = table.rows_estimate;
        let line = format!(
            "{state:<8} {:>12} {about:>12} {:>8}  {}",
            table.rows, table.chunks, table.table
        );
        print_line(&line)?;
        if let Some(error) = &table.error {
            print_line(&format!("         {error}"))?;
        }
    }
    Ok(exit_code(report))
}
