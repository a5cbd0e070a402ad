//! What a processor makes, as records of its table: keys and values framed, as other topics have them.

use super::Row;
use super::value::fitted;
use tidemesh_avro::datum::{Datum, encode};
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::relation::Relation;

/// The id of a table's schemas, which no registry knows.
pub(crate) const TABLE_SCHEMA_ID: u32 = 0;

/// Writes the rows of one processor.
#[derive(Debug, Clone)]
pub(crate) struct RowWriter {
    pub(crate) value: Schema,
    /// The key's schema; none for events.
    pub(crate) key: Option<Schema>,
    /// The key's fields.
    names: Vec<String>,
}

impl RowWriter {
    /// For rows of a schema with a key of these fields.
    ///
    /// # Errors
    ///
    /// `Config` for rows that are no records or lack a field of the key.
    pub(crate) fn new(value: Schema, names: &[String]) -> Result<Self> {
        let relation = Relation::of_rows(names, value).map_err(|why| {
            Error::new(ErrorKind::Config, "read a processor's declaration").because(why)
        })?;
        Ok(Self { value: relation.value, key: relation.key, names: names.to_vec() })
    }

    /// Appends a row's value, framed.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a row that is not of the schema.
    pub(crate) fn write_value(&self, row: Row, out: &mut Vec<u8>) -> Result<()> {
        write(&self.value, Datum::Record(row.0), out)
    }

    /// Appends a row's key, framed; other fields than the key's are passed over.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a row without one.
    pub(crate) fn write_key(&self, row: &Row, out: &mut Vec<u8>) -> Result<()> {
        let Some(schema) = &self.key else {
            return Err(Error::new(ErrorKind::Unsupported, "write a processor's output")
                .because("its output has no key, and so nothing of it can change or go")
                .help("declare the fields of a key, or write events"));
        };
        let of_key = |name: &String| row.0.iter().find(|(field, _)| **field == **name).cloned();
        let fields = self.names.iter().filter_map(of_key).collect();
        write(schema, Datum::Record(fields), out)
    }
}

fn write(schema: &Schema, value: Datum, out: &mut Vec<u8>) -> Result<()> {
    let fitted = fitted(schema, schema.root(), value)?;
    out.extend_from_slice(&frame::head(TABLE_SCHEMA_ID));
    encode(schema, &fitted, out)
}
