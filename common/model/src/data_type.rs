//! The types that values can have between a source and a topic: the narrow waist.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A value's type. Every source maps its own types to these, every writer and sink maps these to
/// its own, each in one `types.rs`.
///
/// A value of a type reaches a [`CellVisitor`](crate::CellVisitor) by the method the variant names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// `boolean`: true or false.
    Boolean,
    /// `int32`: a signed integer of 32 bits.
    Int32,
    /// `int64`: a signed integer of 64 bits.
    Int64,
    /// `float32`: IEEE 754 binary32.
    Float32,
    /// `float64`: IEEE 754 binary64.
    Float64,
    /// `decimal`: an exact number with a fixed scale; `0 <= scale <= precision`, `precision >= 1`.
    Decimal {
        /// The most digits a value has.
        precision: u32,
        /// How many of them stand behind the point.
        scale: u32,
    },
    /// `text`: UTF-8.
    Text,
    /// `text`: UTF-8 that is a JSON document.
    Json,
    /// `text`: UTF-8 that was one of these labels when the schema was made. Labels change without
    /// the table changing, so a value outside the list is no error.
    Enum {
        /// The labels, in the source's order.
        labels: Vec<String>,
    },
    /// `bytes`: any bytes.
    Bytes,
    /// `uuid`: 16 bytes in network order.
    Uuid,
    /// `date`: days since 1970-01-01 in the proleptic Gregorian calendar.
    Date,
    /// `time`: microseconds since midnight, 24:00:00 included.
    Time,
    /// `timestamp`: microseconds since 1970-01-01 00:00:00 by a clock of no stated zone.
    Timestamp,
    /// `timestamp_tz`: microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz,
    /// `array_start`, the elements (null included), `array_end`: one dimension of one type.
    Array(Box<DataType>),
    /// `record_start`, the fields in order (null included), `record_end`: a composite type's value.
    Record(RecordType),
}

/// A composite type. Two of one schema and name within a table are the same type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordType {
    /// The schema (or database) that the type is in.
    pub schema: String,
    /// The type's own name.
    pub name: String,
    /// Its fields, in the source's order; each may be null.
    pub fields: Vec<RecordField>,
}

/// One field of a composite type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordField {
    /// Its name in the database.
    pub name: String,
    /// What its values are here.
    pub data_type: DataType,
    /// The database's name of its type, with modifiers.
    pub source_type: String,
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Json => f.write_str("json"),
            Self::Enum { labels } => write!(f, "enum of {} labels", labels.len()),
            Self::Bytes => f.write_str("bytes"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::TimestampTz => f.write_str("timestamp with time zone"),
            Self::Array(element) => write!(f, "array of {element}"),
            Self::Record(record) => write!(f, "record {}.{}", record.schema, record.name),
        }
    }
}
