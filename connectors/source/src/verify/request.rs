//! What is asked of a database and of a topic to verify a pipeline's output.

use std::collections::BTreeSet;
use tidemesh_avro::types::ColumnCheck;
use tidemesh_model::{Field, Result, RowTypes, TableName};

/// An output to verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRequest {
    /// The pipeline.
    pub pipeline: String,
    /// The sink's name, or the tapped processor's.
    pub output: String,
    /// The topic.
    pub topic: String,
    /// What its records are.
    pub form: RecordForm,
    /// The schema of its values, of which its row's first fields are the columns.
    pub value: String,
    /// The columns as the query has them.
    pub columns: Vec<String>,
    /// The key's columns, by their places among the columns.
    pub key_columns: Vec<usize>,
    /// What the database is asked; a table by its topic.
    pub query: Vec<QueryPart<String>>,
    /// The pipelines on the way, in the order in which data goes.
    pub steps: Vec<StepBefore>,
    /// What of it the database may rightly say otherwise.
    pub looked_up: LookedUp,
    /// List every difference, not the first [`super::DIFFERENCES_LISTED`].
    pub all: bool,
}

/// What a topic's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordForm {
    /// Debezium's envelope: the row is `after`.
    Envelope,
    /// The row and what Tidemesh adds.
    Flat,
    /// The row as it is.
    State,
}

/// A pipeline on the way to an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepBefore {
    /// Its name.
    pub pipeline: String,
    /// The consumer group in which its offsets stand.
    pub group: String,
    /// The topics that it reads for the output.
    pub topics: Vec<String>,
}

/// What of an output was looked up when its rows were made: a row of the lookup that changed since wrote
/// nothing anew, and the database knows only what it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// The columns, by their places.
    pub columns: BTreeSet<usize>,
    /// Whether it decides which rows there are, or by which key.
    pub rows: bool,
    /// The lookups' topics.
    pub topics: BTreeSet<String>,
}

/// A query of a database: a text with tables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRequest {
    /// The text, in parts.
    pub parts: Vec<QueryPart<TableName>>,
    /// The columns of its rows that are wanted.
    pub columns: Vec<QueryColumn>,
    /// How the tables' topics have their values.
    pub types: RowTypes,
}

impl QueryRequest {
    /// Whether a topic has a column's values as their type in the database says. Others are left out of
    /// the table, so that SQL that reads them is refused.
    ///
    /// # Errors
    ///
    /// `Internal` for a type that is no schema, which does not happen.
    pub fn tells(&self, field: &Field) -> Result<bool> {
        Ok(ColumnCheck::new(self.types, field)?.is_none())
    }
}

/// A part of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryPart<T> {
    /// Text as it is.
    Text(String),
    /// A captured table, as something to select from: its rows as their topic has them, types that
    /// the topic has as text being text.
    Table(T),
}

/// A column that a query gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryColumn {
    /// Its name.
    pub name: String,
    /// As what it is given.
    pub form: ColumnForm,
}

/// The text of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnForm {
    /// `true` or `false`.
    Boolean,
    /// A decimal number.
    Exact,
    /// A number of binary32, so that it can be read again as it was.
    Float32,
    /// The same of binary64.
    Float64,
    /// Days since 1970-01-01, `infinity` or `-infinity`.
    Days,
    /// Microseconds of a time of day, since midnight.
    TimeOfDay,
    /// Microseconds since 1970-01-01 00:00:00 UTC, `infinity` or `-infinity`.
    Micros,
    /// Hexadecimal digits, lowercase.
    Bytes,
    /// As it is.
    Text,
    /// JSON: times as ISO 8601, bytes as `\x` and hexadecimal digits.
    Json,
}
