//! Snapshots by watermarks, while the log streams (Andreakis, Papapanagiotou: "DBLog",
//! arXiv 2010.12597): a low mark into the log, a chunk of the table, a high mark; rows whose key
//! the log touches between the marks are dropped, the others are emitted as `r` at the high mark.
//!
//! The path of a chunk: [`engine`] asks for it → [`work`] reads it through a [`TableReader`] →
//! [`window`] judges it when its high mark is decoded → the run loop encodes it → [`progress`]
//! remembers it with the records. Rows of which the log lacks values take the same path, by their
//! keys ([`reread`]). Absent here: any database's SQL, Avro, topics.

mod command;
mod engine;
mod mark;
mod progress;
mod reread;
mod row_bytes;
mod transactions;
mod trouble;
mod window;
mod work;

pub(crate) use command::{Answer, Command, captured};
pub use command::{SnapshotCommand, SnapshotRequest, SourceHandle};
pub(crate) use engine::{Engine, Event, emitted};
pub(crate) use mark::Mark;
pub use mark::MarkBoard;
pub use progress::{Range, SnapshotReport, TableSnapshot, TableState};
pub use row_bytes::RowBytes;
pub(crate) use window::{Again, Closed, Touched, Verdict, Windows};

use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use tidemesh_model::{Result, RowImage, TableName, TableSchema};

/// A row's key as the database's own text, one for each key column in the key's order.
pub type Key = Vec<String>;

/// Which rows are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The keys above `after` (none: from the first) up to and including `upto` (none: to the
    /// last).
    Span {
        /// The key before the first.
        after: Option<Key>,
        /// The last key.
        upto: Option<Key>,
    },
    /// These keys.
    Keys(Vec<Key>),
}

impl Part {
    /// Spans between rising bounds, the last of them up to `last` (none: to the last key).
    #[must_use]
    pub fn spans(bounds: Vec<Key>, last: Option<Key>) -> Vec<Self> {
        let mut parts = Vec::with_capacity(bounds.len() + 1);
        let mut after = None;
        for bound in bounds {
            parts.push(Self::Span { after: after.take(), upto: Some(bound.clone()) });
            after = Some(bound);
        }
        parts.push(Self::Span { after, upto: last });
        parts
    }
}

/// One chunk that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRequest {
    /// The table.
    pub table: TableName,
    /// The part of it that is read in chunks.
    pub part: Part,
    /// The last key of the chunk before this one; none for the part's first.
    pub after: Option<Key>,
    /// The most rows.
    pub rows_max: u32,
    /// The most bytes; one row that is larger comes alone.
    pub bytes_max: usize,
}

/// How a table is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// Parts that can be read at the same time, without overlap; together the whole table.
    pub parts: Vec<Part>,
    /// About how many rows there are.
    pub rows_estimate: u64,
    /// Where keys are places of storage: which storage. Its chunks must be of the same.
    pub generation: Option<String>,
}

/// Reads tables beside the log, over a connection of its own. It goes on behind an error that is not of the
/// connection, and behind a call that was dropped.
pub trait TableReader: Send + 'static {
    /// What it reads.
    type Chunk: Chunk;

    /// Waits until every transaction that is in progress now has ended and is visible to readers,
    /// so that what the log told before this call is in every later chunk.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the connection is gone.
    fn settle(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Plans the reading of a whole table in at most `parts_max` parts at a time.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such table; `Privilege`; `Unavailable`.
    fn plan(
        &mut self,
        table: &TableName,
        parts_max: u32,
    ) -> impl Future<Output = Result<TablePlan>> + Send;

    /// Writes a watermark into the log, in a transaction of its own, and waits until it is there.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the connection is gone: it may be in the log or not.
    fn mark(&mut self, text: &str) -> impl Future<Output = Result<()>> + Send;

    /// Whether readers see all of these transactions now.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the connection is gone.
    fn sees(&mut self, transactions: &[u64]) -> impl Future<Output = Result<bool>> + Send;

    /// Reads one chunk in one consistent view of the table.
    ///
    /// # Errors
    ///
    /// `Config` for keys that the table cannot have; `Privilege`; `Unsupported` for a type that is
    /// not carried; `Unavailable`.
    fn chunk(&mut self, request: &ChunkRequest)
    -> impl Future<Output = Result<Self::Chunk>> + Send;
}

/// Rows of one table as they were in one consistent view of it.
pub trait Chunk: Send + Sync + 'static {
    /// Whether every view has all that the log told before its low mark, so that transactions need not be
    /// remembered.
    const SEES_ALL: bool = false;

    /// The rows' schema: the same `Arc` for as long as the table's schema does not change.
    fn schema(&self) -> &Arc<TableSchema>;

    /// How many rows there are.
    fn rows(&self) -> u64;

    /// The last row's key; none without rows, and of a table that can only be read in one chunk.
    fn last_key(&self) -> Option<&Key>;

    /// Whether the part has no row behind this chunk.
    fn is_last(&self) -> bool;

    /// Which storage the rows come from, see [`TablePlan::generation`].
    fn generation(&self) -> Option<&str>;

    /// Whether the view had this transaction of the log in it.
    fn sees(&self, transaction: u64) -> bool;

    /// Hands every row to `visitor`, in the key's order.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are no rows; what the visitor answers.
    fn visit<V: RowVisitor>(&self, visitor: &mut V) -> Result<()>;
}

/// Takes the rows of a chunk.
pub trait RowVisitor {
    /// One row.
    ///
    /// # Errors
    ///
    /// What the visitor cannot take; the visit stops there.
    fn row<R: RowImage>(&mut self, row: &R) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lie_end_to_end() {
        let key = |text: &str| vec![text.to_owned()];
        let found = Part::spans(vec![key("b"), key("d")], Some(key("z")));
        assert_eq!(
            found,
            [
                Part::Span { after: None, upto: Some(key("b")) },
                Part::Span { after: Some(key("b")), upto: Some(key("d")) },
                Part::Span { after: Some(key("d")), upto: Some(key("z")) },
            ]
        );
    }
}
