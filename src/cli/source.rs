//! `tidemesh source` and `tidemesh checkpoint`: what runs, and what is durable of it.

use super::client::{Daemon, print_json, print_line};
use clap::Subcommand;
use serde_json::{Map, Value as Json};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::Transport;

#[derive(Debug, Subcommand)]
pub(super) enum SourceCommand {
    /// List the daemon's sources with their states.
    #[command(after_help = "Example:\n  tidemesh source list")]
    List(Daemon),
    /// Show one source's state and figures.
    #[command(after_help = "Example:\n  tidemesh source describe shop")]
    Describe {
        /// The source.
        source: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// Show a source's checkpoint as it is stored in the log.
    #[command(after_help = "Example:\n  tidemesh checkpoint show shop")]
    Show {
        /// The source.
        source: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

pub(super) async fn run(command: SourceCommand) -> Result<()> {
    match command {
        SourceCommand::List(daemon) => {
            let sources: Vec<Json> = daemon.get("/v1/sources").await?;
            print_line(&format!("{:<10} {:>12} {:>14}  SOURCE", "STATE", "EVENTS", "LAG BYTES"))?;
            sources.iter().try_for_each(|source| {
                let text = |name: &str| source[name].as_str().unwrap_or_default().to_owned();
                print_line(&format!(
                    "{:<10} {:>12} {:>14}  {}",
                    text("state"),
                    source["events"],
                    source["lag_bytes"],
                    text("name")
                ))
            })
        }
        SourceCommand::Describe { source, daemon } => {
            let report: Json = daemon.get(&format!("/v1/sources/{source}")).await?;
            print_json(&report)
        }
    }
}

pub(super) async fn run_checkpoint(command: CheckpointCommand) -> Result<()> {
    let CheckpointCommand::Show { source, daemon } = command;
    let state = daemon.log().await?.state(&source).await?;
    if state.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "show a checkpoint")
            .because("the log has none of this source")
            .with("source", source));
    }
    let items: Map<String, Json> = state
        .into_iter()
        .map(|(key, value)| {
            let shown = serde_json::from_slice(&value)
                .unwrap_or_else(|_| Json::String(format!("{} bytes", value.len())));
            (key, shown)
        })
        .collect();
    print_json(&items)
}
