//! What a processor is handed: records with decoded rows.

use super::Row;
use tidemesh_model::Operation;

/// Records of one of a processor's inputs, in order.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'b> {
    pub(crate) input: &'b str,
    pub(crate) records: &'b [Record],
}

impl<'b> Batch<'b> {
    /// The input's name, as it is declared.
    #[must_use]
    pub fn input(&self) -> &'b str {
        self.input
    }

    /// The records; at least one.
    #[must_use]
    pub fn records(&self) -> &'b [Record] {
        self.records
    }
}

/// A change of a row, or an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place in its batch.
    pub(crate) place: usize,
    pub(crate) offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) position: Option<Vec<u8>>,
    pub(crate) key: Option<Row>,
    pub(crate) change: Change,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An event that nothing takes back.
    Event(Row),
    /// A row is there, or is another now.
    Upsert {
        /// `Create`, `Update`, or `Read` of a row that was there before its log was read.
        operation: Operation,
        /// The row before, where it is known.
        before: Option<Row>,
        /// The row.
        after: Row,
    },
    /// A row is gone, or has not been there.
    Delete {
        /// The row before, where it is known. Its key always is: see [`Record::key`].
        before: Option<Row>,
    },
}

impl Record {
    /// The row's key, of the fields that identify it; none for events. They need not be declared.
    #[must_use]
    pub fn key(&self) -> Option<&Row> {
        self.key.as_ref()
    }

    /// What has happened.
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The row that is there now, or the event's.
    #[must_use]
    pub fn after(&self) -> Option<&Row> {
        match &self.change {
            Change::Event(row) | Change::Upsert { after: row, .. } => Some(row),
            Change::Delete { .. } => None,
        }
    }

    /// The row that was there before, where it is known.
    #[must_use]
    pub fn before(&self) -> Option<&Row> {
        match &self.change {
            Change::Event(_) => None,
            Change::Upsert { before, .. } | Change::Delete { before } => before.as_ref(),
        }
    }

    /// When it was written, in milliseconds since 1970-01-01 00:00:00 UTC.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Its offset in its partition of the pipeline's input topic.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}
