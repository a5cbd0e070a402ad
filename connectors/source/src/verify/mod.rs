//! Whether topics hold what tables hold, while both move. A proof of its own: the rows come from
//! the database as text, the topic's records are decoded by a consumer's means, and nothing of the
//! path from log to topic is used but marks in the log.
//!
//! The path of a table: [`table`] reads it chunk by chunk, each behind a mark in the log → its rows
//! and then the [`topic`]'s records go into [`buckets`], which spill to disk → each bucket is folded
//! by key → what differs, or was touched since its chunk's mark, is a [`suspects`] entry → suspects
//! are read again until they agree or are proven to differ. Of a pipeline's [`output`] the database is
//! asked by the pipeline's own SQL once the [`steps`] on the way have come up to it, values are compared by
//! their [`form`], and what differs may be in [`doubt`]. Absent here: any database's SQL.

mod buckets;
mod columns;
mod doubt;
mod ends;
mod form;
mod moment;
mod output;
mod request;
mod rows;
mod run;
mod steps;
mod suspects;
mod table;
mod texts;
mod topic;
mod value;
mod verdict;

pub use request::{
    ColumnForm, LookedUp, OutputRequest, QueryColumn, QueryPart, QueryRequest, RecordForm,
    StepBefore,
};
pub use rows::{mask_rows, text_row};
pub(crate) use run::Verifier;
pub use run::Verify;
pub use verdict::{
    Cell, ColumnDifference, Comparison, Difference, Outcome, OutputVerdict, TableVerdict, What,
};

use crate::{Key, TableReader};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Field, Result, TableName, TableSchema, Value};

/// Differences that a report lists unless more are asked for.
pub const DIFFERENCES_LISTED: usize = 100;

/// A row as the database's own text: one cell a column, in the schema's order.
pub type TextRow = Vec<Option<String>>;

/// What to verify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyRequest {
    /// The tables, each as `schema.table`; none means every captured table.
    pub tables: Vec<String>,
    /// List every difference, not the first [`DIFFERENCES_LISTED`] of each table.
    pub all: bool,
}

/// What was found, and how far it has come meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyEvent {
    /// How far a table has come.
    Progress {
        /// The table.
        table: TableName,
        /// Rows and records read.
        done: u64,
        /// About how many there are.
        about: u64,
    },
    /// A table is through.
    Table(TableVerdict),
}

/// Which rows are read as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPart {
    /// Those behind a place, in the order of [`TextRows::last`]; none: from the first.
    After(Option<Key>),
    /// Those of these keys, each as its columns' texts.
    Keys(Vec<TextRow>),
}

/// Rows that are wanted as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRequest {
    /// The table.
    pub table: TableName,
    /// Which rows.
    pub part: TextPart,
    /// The most rows.
    pub rows_max: u32,
    /// The most bytes; one row that is larger comes alone.
    pub bytes_max: usize,
}

/// Rows of a table as text.
#[derive(Debug, Clone)]
pub struct TextRows {
    /// Their schema.
    pub schema: Arc<TableSchema>,
    /// The rows.
    pub rows: Vec<TextRow>,
    /// The place of the last row; none if no row follows.
    pub last: Option<Key>,
}

/// Reads tables as the database's own text.
pub trait TableTexts: TableReader {
    /// Reads rows in one consistent view of the table.
    ///
    /// # Errors
    ///
    /// As [`TableReader::chunk`].
    fn texts(&mut self, request: &TextRequest) -> impl Future<Output = Result<TextRows>> + Send;

    /// A value as the database's text, as nearly as can be told without the database; none for
    /// null.
    fn text(field: &Field, value: &Value) -> Option<String>;

    /// Texts as the database itself writes them once it has read them as the fields' types.
    ///
    /// # Errors
    ///
    /// `Malformed` for a text that is none of its type.
    fn canonical(
        &mut self,
        cells: &[(Field, String)],
    ) -> impl Future<Output = Result<Vec<Option<String>>>> + Send;

    /// Runs a query in one consistent view that changes nothing, and hands over each row: the columns
    /// that are wanted, as text. What `take` refuses ends it.
    ///
    /// # Errors
    ///
    /// `Unsupported` for what the database does not take, with its own words; as
    /// [`TableReader::chunk`].
    fn query(
        &mut self,
        request: &QueryRequest,
        take: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> impl Future<Output = Result<()>> + Send;
}

/// Does what takes long on a thread that may wait.
async fn blocking<A: Send + 'static>(
    work: impl FnOnce() -> Result<A> + Send + 'static,
) -> Result<A> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, "compare a table").caused_by(e))?
}
