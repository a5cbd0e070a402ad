//! The traits that a connector implements.

use crate::{TableTexts, Vitals};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{ChangeBatch, Position, Result, SourceBlock, TableName};

/// What is durable of a source: where it stands, and what it asked to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything at or before this position is in the topics.
    pub position: Position,
    /// The source's own [`StateItem`](tidemesh_model::StateItem)s, by key.
    pub items: BTreeMap<String, Vec<u8>>,
}

/// The bounds of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// The most log bytes in a batch; one message that is larger comes alone.
    pub bytes_max: usize,
    /// The longest wait for the first event; then an empty batch comes, a heartbeat.
    pub wait_max: Duration,
}

/// Opens a source: the part that is there before any connection is.
pub trait Connector: Send + Sync + 'static {
    /// What it opens.
    type Source: Source;

    /// What reads tables beside the log.
    type Reader: TableTexts;

    /// How the source describes itself in every event.
    fn block(&self) -> SourceBlock;

    /// Asks the database which tables are captured, where the settings do not name each of them:
    /// what [`Connector::tables`] answers from then on. Asked before each session.
    ///
    /// # Errors
    ///
    /// `Prerequisite` if there is none; `Config`; `Unavailable`, `Timeout`, `Authentication`. The
    /// tables stay as they were.
    fn discover(&self) -> impl Future<Output = Result<()>> + Send;

    /// The tables that are captured, as they were found last; before that, those that are named.
    fn tables(&self) -> Vec<TableName>;

    /// The vital signs of the database, the same for as long as this lives: its sessions write them.
    fn vitals(&self) -> Arc<Vitals>;

    /// Asks the database, beside any session, how its clock stands and what it keeps of its log for
    /// the source, and writes that into [`Connector::vitals`].
    ///
    /// # Errors
    ///
    /// As [`Connector::reader`].
    fn look(&self) -> impl Future<Output = Result<()>> + Send;

    /// Connects for reading tables.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Privilege`.
    fn reader(&self) -> impl Future<Output = Result<Self::Reader>> + Send;

    /// Waits until nobody else reads the source's log: another instance, of which this one is the
    /// standby, or a connection of one that died and whose end the database has not seen. `held` is
    /// told who does. Asked before the writer's epoch is taken, which would end that instance.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Privilege`.
    fn await_turn(
        &self,
        held: impl FnMut(String) + Send,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Checks every prerequisite, makes what is missing, and starts to read behind `checkpoint`.
    ///
    /// Without a checkpoint the log is read from a place made now, which the first batch's
    /// `end()` states: that batch is empty and comes at once, so that the place becomes durable
    /// before any event; its position is of epoch `first_epoch`.
    ///
    /// # Errors
    ///
    /// `Prerequisite`, `Privilege`, `Authentication`, `Config`: with what to do, all that is wrong
    /// at once. `PositionLost` if the log no longer holds what follows the checkpoint.
    /// `Unavailable` if the server is away. Nothing is left behind but what was made.
    fn open(
        &self,
        checkpoint: Option<Checkpoint>,
        first_epoch: u32,
    ) -> impl Future<Output = Result<Self::Source>> + Send;

    /// Removes what [`Connector::open`] made in the database that would keep its log from being
    /// discarded; answers its name, or none if there was nothing.
    ///
    /// # Errors
    ///
    /// `Privilege`; `Unavailable` while somebody else uses it.
    fn drop_log(&self) -> impl Future<Output = Result<Option<String>>> + Send;
}

/// A database's log. Pulled: the run loop sets the pace.
pub trait Source: Send + 'static {
    /// A batch, which owns its bytes.
    type Batch: ChangeBatch + 'static;

    /// Waits for the next batch of the log, in commit order. Events at or before the checkpoint do
    /// not come again.
    ///
    /// Cancel-safe: a dropped call loses nothing. An empty batch is a heartbeat.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the connection is gone: open again. `PositionLost` if the database has
    /// discarded the log we need. `Unsupported` for what cannot be carried, with what to do.
    fn next_batch(&mut self, limit: BatchLimit)
    -> impl Future<Output = Result<Self::Batch>> + Send;

    /// Tells the database that everything at or before `position` is durable downstream, so that
    /// it may discard that part of its log. `position` is the `end()` of a batch that was given.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the connection is gone; nothing is lost by that.
    fn confirm(&mut self, position: Position) -> impl Future<Output = Result<()>> + Send;

    /// Bytes of log between what the database has written and what this source has handed out,
    /// as far as it knows.
    fn lag_bytes(&self) -> u64;

    /// Closes the connection in order, after the last confirmation has gone out.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}
