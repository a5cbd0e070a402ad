//! What may be asked of a source's snapshots while it runs.

use super::{Key, Part, SnapshotReport};
use crate::{Remove, SourceStatus, Verify};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, TableName};
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for the run loop.
const COMMANDS_WAITING_MAX: usize = 16;

/// How long a command may wait: a source that cannot be opened takes none.
const COMMAND_WAIT_MAX: Duration = Duration::from_secs(10);

/// The most keys of one request.
const KEYS_MAX: usize = 1000;

/// Which rows to read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotRequest {
    /// The tables, each as `schema.table`; none means every captured table.
    pub tables: Vec<String>,
    /// Of one table: only keys above this one.
    pub after: Option<Key>,
    /// Of one table: only keys up to this one.
    pub upto: Option<Key>,
    /// Of one table: only these keys.
    pub keys: Vec<Key>,
}

impl SnapshotRequest {
    /// The part of the table that is asked for; none for all of it.
    ///
    /// # Errors
    ///
    /// `Config` if the request contradicts itself.
    pub(crate) fn part(&self) -> Result<Option<Part>> {
        let wrong = |message: &str| {
            Err(Error::new(ErrorKind::Config, "start a snapshot").because(message.to_owned()))
        };
        let spans = self.after.is_some() || self.upto.is_some();
        if !spans && self.keys.is_empty() {
            return Ok(None);
        }
        if self.tables.len() != 1 {
            return wrong("keys are of one table: name exactly one");
        }
        if spans && !self.keys.is_empty() {
            return wrong("give either keys or a range, not both");
        }
        if self.keys.len() > KEYS_MAX {
            return wrong(&format!("at most {KEYS_MAX} keys at a time"));
        }
        if spans {
            let (after, upto) = (self.after.clone(), self.upto.clone());
            return Ok(Some(Part::Span { after, upto }));
        }
        Ok(Some(Part::Keys(self.keys.clone())))
    }
}

/// The captured tables of these names, each as `schema.table`; all of them without names.
///
/// # Errors
///
/// `NotFound` for one that is not captured.
pub(crate) fn captured(
    operation: &'static str,
    captured: &[TableName],
    names: &[String],
) -> Result<Vec<TableName>> {
    let named = |name: &String| {
        captured.iter().find(|table| table.to_string() == *name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, operation)
                .because("the source does not capture this table")
                .with("table", name)
        })
    };
    match names {
        [] => Ok(captured.to_vec()),
        names => names.iter().map(named).collect(),
    }
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotCommand {
    /// Read tables.
    Start(SnapshotRequest),
    /// Read no further chunk, until resumed; kept over restarts.
    Pause,
    /// Go on.
    Resume,
}

/// Where an answer goes.
pub(crate) type Answer = oneshot::Sender<Result<SnapshotReport>>;

/// A command and where its answer goes.
pub(crate) type Command = (SnapshotCommand, Answer);

/// A running source, for whoever asks or commands.
#[derive(Debug, Clone)]
pub struct SourceHandle {
    /// Its state and figures.
    pub status: Arc<SourceStatus>,
    /// Compares its topics with its tables.
    pub verifier: Arc<dyn Verify>,
    /// Removes it.
    pub remover: Arc<dyn Remove>,
    stop: watch::Sender<bool>,
    commands: mpsc::Sender<Command>,
}

impl SourceHandle {
    /// A handle, and where the run loop takes its commands from.
    pub(crate) fn new(
        status: Arc<SourceStatus>,
        verifier: Arc<dyn Verify>,
        remover: Arc<dyn Remove>,
        stop: watch::Sender<bool>,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING_MAX);
        (Self { status, verifier, remover, stop, commands }, receiver)
    }

    /// Has the run loop drain and end.
    pub fn stop(&self) {
        // One that has ended does not watch.
        let _ = self.stop.send(true);
    }

    /// Has the source carry out a command; answers once it is durable.
    ///
    /// # Errors
    ///
    /// `Conflict`, `Config`, `NotFound`: what cannot be done; `Unavailable` while the source is not
    /// running.
    pub async fn command(&self, command: SnapshotCommand) -> Result<SnapshotReport> {
        let away = || {
            Error::new(ErrorKind::Unavailable, "command the source")
                .because("it is not running")
                .with("source", self.status.name())
                .help("see `tidemesh source describe` for its state")
        };
        let (answer, answered) = oneshot::channel();
        self.commands.try_send((command, answer)).map_err(|_| away())?;
        match tokio::time::timeout(COMMAND_WAIT_MAX, answered).await {
            Ok(Ok(report)) => report,
            _ => Err(away()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_contradicts_itself_is_refused() {
        let key = || vec!["1".to_owned()];
        let tables = || vec!["a.b".to_owned()];
        let whole = SnapshotRequest { tables: tables(), ..SnapshotRequest::default() };
        assert_eq!(whole.part().unwrap(), None);
        let keys = SnapshotRequest { keys: vec![key()], ..whole.clone() };
        assert_eq!(keys.part().unwrap(), Some(Part::Keys(vec![key()])));
        let both = SnapshotRequest { after: Some(key()), ..keys.clone() };
        assert!(both.part().is_err());
        assert!(SnapshotRequest { tables: Vec::new(), ..keys }.part().is_err());
    }
}
