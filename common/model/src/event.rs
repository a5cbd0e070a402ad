//! Change events: what happened to which row, and where in the log it stands.

use crate::{Position, Result, RowImage, TableName, TableSchema};
use std::sync::Arc;

/// What happened to a row, with exactly the images that can exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<R> {
    /// The row as a snapshot found it.
    Read {
        /// The row.
        after: R,
    },
    /// The row was inserted.
    Create {
        /// The new row.
        after: R,
    },
    /// The row was changed, its key included or not.
    Update {
        /// The old row or its key columns, if the log has them.
        before: Option<R>,
        /// The new row.
        after: R,
    },
    /// The row was deleted.
    Delete {
        /// The old row, or its key columns with the others absent.
        before: R,
    },
    /// All rows of the table were removed at once.
    Truncate,
}

impl<R> Change<R> {
    /// The operation without its images.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Read { .. } => Operation::Read,
            Self::Create { .. } => Operation::Create,
            Self::Update { .. } => Operation::Update,
            Self::Delete { .. } => Operation::Delete,
            Self::Truncate => Operation::Truncate,
        }
    }
}

/// The operation of a change, as Debezium's `op` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `r`
    Read,
    /// `c`
    Create,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `t`
    Truncate,
}

impl Operation {
    /// Debezium's letter.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
        }
    }
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its place in the log; a snapshot's row has the place of its high watermark.
    pub position: Position,
    /// The source's id of its transaction, by which a snapshot tells what it has seen.
    pub transaction: u64,
    /// When its transaction was committed, in microseconds since 1970-01-01 00:00:00 UTC.
    pub committed_at_us: i64,
    /// The source's own cells, one for each field of its [`SourceBlock`].
    pub block: &'a [BlockCell<'a>],
}

/// One cell of a source's own part of the `source` block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockCell<'a> {
    /// Unknown here.
    Null,
    /// A number.
    Long(i64),
    /// A text.
    Text(&'a str),
}

/// A type of [`BlockCell`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// A number of 64 bits.
    Long,
    /// A text.
    Text,
}

/// One field of a source's own part of the `source` block; all are nullable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockField {
    /// Debezium's name of the field, where it has one.
    pub name: &'static str,
    /// Its type.
    pub block_type: BlockType,
}

/// How a source describes itself in the `source` block of every event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceBlock {
    /// Debezium's name of the connector: `postgresql`.
    pub connector: &'static str,
    /// The source's name, which begins its topics' names.
    pub name: String,
    /// The database; empty of a source whose tables' schemas are databases.
    pub database: String,
    /// What the source adds, behind the fields that every source has.
    pub fields: &'static [BlockField],
}

/// Takes the events of a batch, in log order.
pub trait ChangeVisitor {
    /// One event. `schema` is the same `Arc` for as long as the table's schema does not change.
    ///
    /// # Errors
    ///
    /// What the visitor cannot take; the batch stops there.
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()>;

    /// A change of a row of which the log does not hold every new value: in its place comes a later
    /// [`Change::Read`] of the row that has `key`, the database's own text of each key column in the
    /// key's order; or, if it is gone by then, its delete.
    ///
    /// # Errors
    ///
    /// What the visitor cannot take; the batch stops there.
    fn incomplete(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        key: Vec<String>,
    ) -> Result<()>;

    /// An event that a checkpoint says is in the topics already.
    fn passed_over(
        &mut self,
        _schema: &Arc<TableSchema>,
        _origin: &Origin<'_>,
        _operation: Operation,
    ) {
    }

    /// The end of a transaction, whether it had events or not.
    ///
    /// # Errors
    ///
    /// What the visitor cannot take; the batch stops there.
    fn commit(&mut self, _origin: &Origin<'_>) -> Result<()> {
        Ok(())
    }

    /// What an application wrote into the log beside rows.
    ///
    /// # Errors
    ///
    /// What the visitor cannot take; the batch stops there.
    fn message(&mut self, _origin: &Origin<'_>, _prefix: &str, _content: &[u8]) -> Result<()> {
        Ok(())
    }

    /// A watermark that this project wrote into the log: `mark` is its text.
    ///
    /// # Errors
    ///
    /// What the visitor cannot take; the batch stops there.
    fn mark(&mut self, origin: &Origin<'_>, mark: &str) -> Result<()>;
}

/// A piece of a source's own state that is stored in one atomic step with a batch and handed back
/// at the next start. Only the source reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateItem {
    /// Its name within the source, as `relation/16390`. Not `position`, which is the run loop's.
    pub key: String,
    /// Its value; none removes it.
    pub value: Option<Vec<u8>>,
}

/// A batch of the log. It owns its bytes; rows borrow from it.
pub trait ChangeBatch: Send + Sync {
    /// The schemas that events of this batch have, each once: known before any event is visited,
    /// so that they can be registered first.
    fn schemas(&self) -> &[Arc<TableSchema>];

    /// The position after this batch: everything at or before it was in this batch or an earlier
    /// one. An empty batch moves it too (a heartbeat).
    fn end(&self) -> Position;

    /// What the source must remember from this batch on, stored with the batch's records.
    fn state(&self) -> &[StateItem];

    /// Tables that are others than before under the same names: dropped and made anew, or swapped.
    /// Their old rows are gone by the end of this batch, which has no events, and what the new ones
    /// held until then is in no log. Their schemas are among [`ChangeBatch::schemas`].
    fn replaced(&self) -> &[Arc<TableSchema>] {
        &[]
    }

    /// Tables whose rows DDL has changed without a word in the log: their columns changed, and their
    /// storage was rewritten. They are to be read anew; their schemas come with their next rows.
    fn rewritten(&self) -> &[TableName] {
        &[]
    }

    /// Whether it has messages of [`EMIT_PREFIX`](crate::EMIT_PREFIX): events for topics that may not be
    /// there yet.
    fn has_emitted(&self) -> bool {
        false
    }

    /// When the log was written up to [`ChangeBatch::end`], by the source's clock, in microseconds
    /// since 1970-01-01 00:00:00 UTC.
    fn end_at_us(&self) -> i64;

    /// Hands every event to `visitor`, in log order.
    ///
    /// # Errors
    ///
    /// `Malformed` if the log's bytes are not what their format says; what the visitor answers.
    fn visit<C: ChangeVisitor>(&self, visitor: &mut C) -> Result<()>;
}
