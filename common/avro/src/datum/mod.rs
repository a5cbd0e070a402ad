//! Avro data as an owned value: decoded and encoded by a schema (specification 1.12, "Binary
//! Encoding"). It is for consumers, people, tests and tools; the way from log to topic never builds
//! one (see `row` and `envelope`).
//!
//! Any bytes are decoded or refused: a length is checked against the bytes that remain before
//! memory is taken for it, nesting is limited, and so is the number of values, which data could
//! otherwise claim without end where a value takes no bytes.
//!
//! Absent here: logical types. A decimal is its bytes, a date its int.

mod avro_json;
pub(crate) mod read;
mod write;

use crate::resolve::Resolver;
use crate::schema::Schema;
use std::sync::Arc;
use tidemesh_model::Result;

/// The deepest nesting of data; a union and its value are one level.
pub const DATA_DEPTH_MAX: usize = 128;

/// The most values of one datum for each of its bytes, on top of [`VALUES_SPARE`]. Values without
/// bytes (nulls, empty records, defaults) make the difference; text and bytes count as one value
/// for each 32 bytes and one more.
pub const VALUES_PER_BYTE_MAX: usize = 8;

/// The values that a datum may have however short it is.
pub const VALUES_SPARE: usize = 65_536;

/// One value of a schema's type. A union's value is that of its branch.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// 32 bits.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// binary32.
    Float(f32),
    /// binary64.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// UTF-8.
    String(String),
    /// As many bytes as the schema says.
    Fixed(Vec<u8>),
    /// A symbol.
    Enum(String),
    /// Elements in order.
    Array(Vec<Datum>),
    /// Entries in the data's order. A key that stands there twice is kept twice; the last counts.
    Map(Vec<(String, Datum)>),
    /// Fields by name, in the schema's order.
    Record(Vec<(Arc<str>, Datum)>),
}

impl Datum {
    /// What it is, as the specification calls it: for errors.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Bytes(_) => "bytes",
            Self::String(_) => "string",
            Self::Fixed(_) => "fixed",
            Self::Enum(_) => "enum",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Record(_) => "record",
        }
    }

    /// A record's field; none if there is no such field, or this is no record.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Datum> {
        match self {
            Self::Record(fields) => {
                fields.iter().find(|(field, _)| **field == *name).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// Decodes `bytes`, all of them, as one datum written with `schema`. Who decodes many makes a
/// [`Resolver`] of the schema and itself once.
///
/// # Errors
///
/// As [`Resolver::new`] and [`Resolver::read`].
pub fn decode(schema: &Schema, bytes: &[u8]) -> Result<Datum> {
    Resolver::new(schema, schema)?.read(bytes)
}

/// Appends `datum`, written with `schema`, to `out`.
///
/// Of a union the first branch is taken that the datum fits: by its type, and within that by a
/// record's field names, an enum's symbols or a fixed's size.
///
/// # Errors
///
/// `Internal`, with the field's path, for a datum that is not of the schema's type; `TooLarge` for
/// one past [`DATA_DEPTH_MAX`]. `out` is as it was then.
pub fn encode(schema: &Schema, datum: &Datum, out: &mut Vec<u8>) -> Result<()> {
    write::encode(schema, datum, out)
}

/// `bytes`, all of them, written with `schema`, in Avro's own JSON (specification 1.12, "JSON
/// Encoding"): what Java's `JsonDecoder` and `avro-tools fromjson` take.
///
/// # Errors
///
/// `Malformed` for bytes that are not of the schema or left over; `TooLarge` past
/// [`DATA_DEPTH_MAX`] or [`VALUES_PER_BYTE_MAX`].
pub fn to_avro_json(schema: &Schema, bytes: &[u8]) -> Result<serde_json::Value> {
    avro_json::of(schema, bytes)
}

#[cfg(test)]
mod tests;
