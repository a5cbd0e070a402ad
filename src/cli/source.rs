//! `tidemesh source`: what runs, and its removal.

use super::client::{Daemon, print_json, print_line};
use clap::{Args, Subcommand};
use serde_json::Value as Json;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{RemoveRequest, Removed};
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
    /// Stop a source and remove its checkpoint. If the configuration still has it, it begins anew
    /// with the daemon's next start.
    #[command(
        after_help = "Examples:\n  tidemesh source remove shop --drop-slot\n  tidemesh source remove shop --drop-slot --delete-topics"
    )]
    Remove(RemoveArgs),
}

/// What goes with the source.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The source.
    source: String,
    /// Drop its replication slot, so that the database may discard its log.
    #[arg(long)]
    drop_slot: bool,
    /// Delete its topics: one that begins anew tells every row again, but not which rows went
    /// meanwhile.
    #[arg(long)]
    delete_topics: bool,
    #[command(flatten)]
    daemon: Daemon,
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
        SourceCommand::Remove(args) => remove(args).await,
        SourceCommand::Describe { source, daemon } => {
            let report: Json = daemon.get(&format!("/v1/sources/{source}")).await?;
            print_json(&report)
        }
    }
}

async fn remove(args: RemoveArgs) -> Result<()> {
    let RemoveArgs { source, drop_slot, delete_topics, daemon } = args;
    let request = RemoveRequest { drop_slot, delete_topics };
    let removed: Removed =
        match daemon.post(&format!("/v1/sources/{source}/remove"), &request).await {
            // It is in the log, but no longer in the configuration.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return remove_left(&source, request, &daemon).await;
            }
            removed => removed?,
        };
    print_line(&format!("removed {source}: {} items of its checkpoint", removed.items))?;
    removed.topics.iter().try_for_each(|topic| print_line(&format!("deleted topic {topic}")))?;
    match removed.slot {
        Some(slot) => print_line(&format!("dropped slot {slot}")),
        None if drop_slot => print_line("there was no slot to drop"),
        None => print_line(
            "a replication slot of it is kept, and holds the database's log: see --drop-slot",
        ),
    }
}

/// Removes the checkpoint of a source that the daemon does not know.
async fn remove_left(source: &str, request: RemoveRequest, daemon: &Daemon) -> Result<()> {
    let log = daemon.log().await?;
    if !log.writers().await?.iter().any(|writer| writer == source) {
        return Err(Error::new(ErrorKind::NotFound, "remove a source")
            .because("neither the configuration nor the log has it")
            .with("source", source));
    }
    if request.drop_slot || request.delete_topics {
        return Err(Error::new(ErrorKind::Config, "remove a source")
            .because("it is not in the daemon's configuration, so its database is not known")
            .with("source", source)
            .help("remove it without --drop-slot and --delete-topics; `tidemesh checkpoint show` names its slot"));
    }
    let items = tidemesh_source::remove_state(&log, source).await?;
    print_line(&format!("removed {source}: {items} items of its checkpoint"))
}
