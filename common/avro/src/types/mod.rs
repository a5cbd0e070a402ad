//! A column's type and its kind in the database as an Avro type and a form of its values: by Avro's
//! own logical types, or by Debezium's.
//!
//! What a form costs is decided when a table's plan is made; a cell is written by its form without
//! an object or an allocation (but for numbers of more than 38 digits). Absent here: which bytes a
//! plain value has, see `row`.

mod check;
mod debezium;
mod geometry;
mod number;
mod text;
mod time;

pub use check::ColumnCheck;
pub(crate) use debezium::{envelope_names, row_name};
pub(crate) use number::long_number;
pub(crate) use text::write_text;
pub(crate) use time::{timestamp_millis, write_zoned_timestamp};

use geometry::Shape;
use serde_json::Value as Json;
use tidemesh_model::{DataType, Field, RowTypes, SourceKind, Value};

/// How a value that the source gives is written where that is not its data type's own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As its data type says.
    Plain,
    /// Milliseconds of a time or timestamp.
    Millis,
    /// A moment as ISO 8601 text with so many digits of a second.
    ZonedTimestamp(u8),
    /// A time with its offset, as text in UTC.
    ZonedTime,
    /// An interval, as microseconds.
    MicroDuration,
    /// A number, with a scale of its own.
    VariableScale,
    /// One bit, as a boolean.
    Bit,
    /// Bits, as bytes, the lowest first.
    Bits,
    /// Coordinates.
    Shape(Shape),
}

impl Form {
    /// The form of a column's values, or of its elements if it is an array.
    pub(crate) fn of(types: RowTypes, field: &Field) -> Self {
        match types {
            RowTypes::Avro => Self::Plain,
            RowTypes::Debezium => debezium::form(fitting_kind(field)),
        }
    }

    /// Whether two values that the database tells apart can have one form.
    pub(crate) fn merges(self) -> bool {
        match self {
            Self::Plain
            | Self::Millis
            | Self::ZonedTimestamp(_)
            | Self::Bit
            // 1.0 and 1.00 are one value in the database's eyes too.
            | Self::VariableScale => false,
            Self::ZonedTime | Self::MicroDuration | Self::Bits | Self::Shape(_) => true,
        }
    }

    /// Whether the source's text cannot be had back from it.
    fn loses_text(self) -> bool {
        self.merges() || matches!(self, Self::VariableScale)
    }
}

/// The records that a schema has defined so far: a second use refers to the first by its name.
#[derive(Debug)]
pub(crate) struct Defined<'a> {
    /// What the names of the table's own composite types begin with.
    pub(crate) namespace: &'a str,
    /// Whether properties are left out, as in keys.
    pub(crate) bare: bool,
    names: Vec<String>,
}

impl<'a> Defined<'a> {
    /// None so far.
    pub(crate) fn new(namespace: &'a str, bare: bool) -> Self {
        Self { namespace, bare, names: Vec::new() }
    }

    /// The record, where it was not defined yet; else its name.
    pub(crate) fn once(&mut self, name: &str, define: impl FnOnce(&mut Self) -> Json) -> Json {
        if self.names.iter().any(|known| known == name) {
            return name.into();
        }
        self.names.push(name.to_owned());
        define(self)
    }
}

/// The Avro type of a column's values.
pub(crate) fn avro_type(types: RowTypes, field: &Field, defined: &mut Defined<'_>) -> Json {
    match types {
        RowTypes::Avro => crate::table::logical_type(&field.data_type, defined),
        RowTypes::Debezium => debezium::avro_type(&field.data_type, fitting_kind(field), defined),
    }
}

/// The same with a default of the column's, which Debezium repeats within the type.
pub(crate) fn with_default(types: RowTypes, avro_type: Json, default: &Json) -> Json {
    match types {
        RowTypes::Avro => avro_type,
        RowTypes::Debezium => debezium::with_default(avro_type, default),
    }
}

/// A column's constant default as Avro writes defaults in JSON, if it has such a form.
pub(crate) fn default_json(types: RowTypes, field: &Field, value: &Value) -> Option<Json> {
    match Form::of(types, field) {
        Form::Plain => crate::table::default_json(value),
        form => debezium::default_json(form, field, value),
    }
}

/// A column's type, or that of its elements if it is an array.
fn element_type(field: &Field) -> &DataType {
    match &field.data_type {
        DataType::Array(element) => element,
        other => other,
    }
}

/// A column's kind, as long as its values are of a type that values of the kind have.
fn fitting_kind(field: &Field) -> SourceKind {
    let fits = match field.kind {
        SourceKind::Plain => true,
        SourceKind::Int16 => *element_type(field) == DataType::Int32,
        SourceKind::Money => matches!(element_type(field), DataType::Decimal { .. }),
        SourceKind::Time { .. } => *element_type(field) == DataType::Time,
        SourceKind::Timestamp { .. } => *element_type(field) == DataType::Timestamp,
        SourceKind::TimestampTz { .. } => *element_type(field) == DataType::TimestampTz,
        SourceKind::Numeric
        | SourceKind::TimeTz
        | SourceKind::Interval
        | SourceKind::Xml
        | SourceKind::Ltree
        | SourceKind::TsVector
        | SourceKind::Bits { .. }
        | SourceKind::Point
        | SourceKind::Circle
        | SourceKind::Line
        | SourceKind::Segment
        | SourceKind::Box
        | SourceKind::Path
        | SourceKind::Polygon => *element_type(field) == DataType::Text,
    };
    if fits { field.kind } else { SourceKind::Plain }
}

/// The Avro type of one value: the column's own, or that of one element of an array.
fn element_avro_type(field: &Field) -> Json {
    debezium::avro_type(element_type(field), fitting_kind(field), &mut Defined::new("", false))
}
