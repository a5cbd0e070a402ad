//! The schema of one table as its log has it at some position.

use crate::{DataType, Error, ErrorKind, Result, SourceKind, Value};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A table's name: its schema (or database) and its own name, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema (PostgreSQL) or database (MySQL).
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// A name of its two parts.
    #[must_use]
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The column's name in the database.
    pub name: String,
    /// What its values are here.
    pub data_type: DataType,
    /// The database's name of its type, with modifiers: `numeric(12,2)`.
    pub source_type: String,
    /// Whether the database lets it be null. Informative: any non-key cell may be null in a log.
    pub nullable: bool,
    /// A constant that old rows have without having been written, if the column was added so.
    pub default: Option<Value>,
    /// Names that the column had before, as far as the source knows; none is another column's name
    /// now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What its type is in the database, beyond the data type.
    #[serde(default, skip_serializing_if = "SourceKind::plain")]
    pub kind: SourceKind,
    /// For a column of the primary key that the table declares a default for: that value where it is
    /// a constant, the smallest of its type (0, an empty text) where it is an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_default: Option<Value>,
}

/// Where a table's key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// The primary key.
    PrimaryKey,
    /// The unique index that is the replica identity.
    UniqueIndex,
    /// Nothing identifies a row but the whole of it.
    WholeRow,
}

/// Which columns identify a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowKey {
    /// Where the key comes from.
    pub origin: KeyOrigin,
    /// Indexes into the schema's fields, in the key's own order; never empty.
    pub columns: Vec<usize>,
}

/// The schema of one table as its log has it from some position on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The table.
    pub name: TableName,
    /// Its columns, in the log's order.
    pub fields: Vec<Field>,
    /// What identifies a row.
    pub key: RowKey,
}

impl TableSchema {
    /// A schema whose key is checked against its fields.
    ///
    /// # Errors
    ///
    /// `Malformed` for no column, two columns of one name, or a key that is empty, repeats a
    /// column, or names one that is not there.
    pub fn new(name: TableName, fields: Vec<Field>, key: RowKey) -> Result<Self> {
        let wrong = |message: &str| {
            Error::new(ErrorKind::Malformed, "describe a table")
                .because(message)
                .with("table", &name)
        };
        if fields.is_empty() || key.columns.is_empty() {
            return Err(wrong("a table needs a column and a key"));
        }
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|other| other.name == field.name) {
                return Err(wrong("two columns have one name").with("column", &field.name));
            }
        }
        for (index, column) in key.columns.iter().enumerate() {
            if *column >= fields.len() || key.columns[..index].contains(column) {
                return Err(wrong("the key names a column twice or one that is not there"));
            }
        }
        Ok(Self { name, fields, key })
    }

    /// Whether column `index` is part of the key.
    #[must_use]
    pub fn in_key(&self, index: usize) -> bool {
        self.key.columns.contains(&index)
    }

    /// The index of the column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}
