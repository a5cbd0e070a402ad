//! `tidemesh checkpoint`: what is durable of a source, shown and mended.

use super::client::{Daemon, print_json, print_line};
use clap::Subcommand;
use serde_json::{Map, Value as Json};
use tidemesh_model::{Error, ErrorKind, Position, Result};
use tidemesh_mysql::{forgotten_place, parse_place};
use tidemesh_postgres::parse_lsn;
use tidemesh_source::{position_item, read_checkpoint, remove_state};
use tidemesh_transport::{Append, RemoteTransport, Transport};

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
    /// Have a source go on behind a position, leaving out what stands before it: an event that cannot
    /// be carried. A source that runs goes on there at once; one that has stopped, with its daemon's
    /// next start. What was left out is brought by `tidemesh snapshot start`.
    #[command(
        after_help = "Examples:\n  tidemesh checkpoint set shop 0/1A2B3C8\n  tidemesh checkpoint set shop binlog.000042:1234\n  tidemesh checkpoint set shop 00000001-0000000001a2b3c8-0000000000000005"
    )]
    Set {
        /// The source.
        source: String,
        /// A place in the database's log, as PostgreSQL prints it, or MySQL's file and position where a
        /// transaction begins, with a colon between; or a whole position, as `tidemesh topic read`
        /// prints it.
        position: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Forget how far a source has come: it begins anew, with every table read again. Its slot and
    /// its topics stay; `tidemesh source remove` ends it and can take them with it.
    #[command(after_help = "Example:\n  tidemesh checkpoint delete shop")]
    Delete {
        /// The source.
        source: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

pub(super) async fn run(command: CheckpointCommand) -> Result<()> {
    match command {
        CheckpointCommand::Show { source, daemon } => show(&source, &daemon).await,
        CheckpointCommand::Set { source, position, daemon } => {
            set(&source, &position, &daemon).await
        }
        CheckpointCommand::Delete { source, daemon } => delete(&source, &daemon).await,
    }
}

fn none_of(source: &str, doing: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, doing)
        .because("the log has no checkpoint of this source")
        .with("source", source)
        .help("`tidemesh source list` names those that run")
}

/// The log, which must have state of the source: opening a writer of another name would make it one.
async fn log_of(source: &str, daemon: &Daemon, doing: &'static str) -> Result<RemoteTransport> {
    let log = daemon.log().await?;
    match log.writers().await?.iter().any(|writer| writer == source) {
        true => Ok(log),
        false => Err(none_of(source, doing)),
    }
}

async fn show(source: &str, daemon: &Daemon) -> Result<()> {
    let state = daemon.log().await?.state(source).await?;
    if state.is_empty() {
        return Err(none_of(source, "show a checkpoint"));
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

async fn set(source: &str, text: &str, daemon: &Daemon) -> Result<()> {
    let doing = "set a checkpoint";
    let log = log_of(source, daemon, doing).await?;
    // Fences an instance that runs, so that what is read now stays true.
    let writer = log.open_writer(source).await?;
    let state = log.state(source).await?;
    let Some(before) = read_checkpoint(source, state)? else {
        return Err(none_of(source, doing));
    };
    let position = read_position(text, before.position.epoch)?;
    // MySQL's own place, which is of the position before.
    let state = vec![position_item(position, 0)?, forgotten_place()];
    log.append(Append { writer: Some(writer), state, ..Append::default() }).await?;
    print_line(&format!("{source}: from {} to {position}", before.position))?;
    if position > before.position {
        print_line(&format!(
            "what stands between is left out: `tidemesh snapshot start {source}` brings the state"
        ))?;
    }
    Ok(())
}

/// A position, or a place in a database's log.
fn read_position(text: &str, epoch: u32) -> Result<Position> {
    let (place, expected) = match text.bytes().find(|byte| matches!(byte, b'/' | b':')) {
        None => return text.parse(),
        Some(b'/') => (parse_lsn(text), "a place as PostgreSQL prints it: 0/1A2B3C8"),
        Some(_) => (parse_place(text), "a file and a position of MySQL's log: binlog.000042:1234"),
    };
    place.map(|commit| Position::before(epoch, commit)).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "read a position")
            .because(format!("expected {expected}"))
            .with("text", text)
    })
}

async fn delete(source: &str, daemon: &Daemon) -> Result<()> {
    let log = log_of(source, daemon, "delete a checkpoint").await?;
    let items = remove_state(&log, source).await?;
    print_line(&format!("{source}: {items} items of its checkpoint are gone; it begins anew"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_log_and_a_whole_position_are_read() {
        assert_eq!(read_position("1/A", 7).unwrap(), Position::before(7, 0x1_0000_000a));
        let whole = Position { epoch: 1, commit: 2, ordinal: 3 };
        assert_eq!(read_position(&whole.to_string(), 7).unwrap(), whole);
        let commit = 42 << 36 | 1234;
        assert_eq!(read_position("binlog.000042:1234", 7).unwrap(), Position::before(7, commit));
        for wrong in ["", "x/1", "1/", "123", "binlog:4", "binlog.000042:x"] {
            assert_eq!(read_position(wrong, 7).unwrap_err().kind(), ErrorKind::Malformed);
        }
    }
}
