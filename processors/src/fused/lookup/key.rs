//! Keys as tables have them: the bytes that a column of the same values is written with, one field
//! after the other, whatever form the topic's keys have.

use super::super::cells::uuid_text;
use super::super::cursor::{Cursor, ShapeId, Shapes};
use super::super::write::{canonical, shortest};
use datafusion_common::arrow::datatypes::DataType;
use tidemesh_avro::envelope::write_bytes;
use tidemesh_avro::frame;
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::relation::Relation;
use tidemesh_plan::sql::types::{null_branch, nullable_branch, sql_type};

/// Reads a topic's keys.
#[derive(Debug)]
pub(super) struct KeyReader {
    shapes: Shapes,
    fields: Vec<KeyField>,
}

#[derive(Debug)]
struct KeyField {
    /// The branch of null among two; none for a field that is no union.
    null: Option<usize>,
    shape: ShapeId,
    form: Form,
}

/// How a field's value becomes a table's.
#[derive(Debug)]
enum Form {
    /// As it stands.
    Copy,
    /// A decimal: with no more bytes than it needs. The size of a fixed one.
    Decimal(Option<usize>),
    /// An enum: its symbol.
    Symbol(Vec<String>),
    /// A UUID of 16 bytes: its text.
    Uuid,
}

impl KeyReader {
    /// # Errors
    ///
    /// `Unsupported` for a key of a type that cannot be compared, or of another than the row's column.
    pub(super) fn new(relation: &Relation) -> Result<Self> {
        let mut shapes = Shapes::default();
        let lost = || wrong("the lookup's topic has no key that is a record");
        let key = relation.key.as_ref().ok_or_else(lost)?;
        let Kind::Record(fields) = &key.node(key.root()).kind else { return Err(lost()) };
        if fields.len() != relation.key_columns.len() {
            return Err(lost());
        }
        let field = |(field, column): (&Field, &usize)| {
            let name = &relation.columns[*column].name;
            let data_type = &relation.columns[*column].sql.data_type;
            let read = KeyField::new(key, field, data_type, &mut shapes);
            read.map_err(|error| error.with("column", name))
        };
        let fields = fields.iter().zip(&relation.key_columns).map(field).collect::<Result<_>>()?;
        Ok(Self { shapes, fields })
    }

    /// Appends the key of a record, framed; answers whether none of its fields is null.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are no key of the topic.
    pub(super) fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        frame::split(key)?;
        let mut cursor = Cursor::new(key, frame::FRAME_HEAD_BYTES);
        for field in &self.fields {
            if !field.read(&self.shapes, &mut cursor, out)? {
                return Ok(false);
            }
        }
        if cursor.is_at_end() { Ok(true) } else { Err(cursor.wrong("bytes are left over")) }
    }
}

impl KeyField {
    fn new(
        schema: &Schema,
        field: &Field,
        data_type: &DataType,
        shapes: &mut Shapes,
    ) -> Result<Self> {
        let bare = nullable_branch(schema, field.node).unwrap_or(field.node);
        let own = sql_type(schema, field.node).data_type;
        if !meet(&own, data_type) {
            return Err(wrong("the key's type is not that of the row's column")
                .with("key", own)
                .with("row", data_type));
        }
        check_type(data_type)?;
        Ok(Self {
            null: null_branch(schema, field.node),
            shape: shapes.add(schema, bare),
            form: form(schema, bare, data_type),
        })
    }

    /// Appends the field's value; answers whether there is one.
    fn read(&self, shapes: &Shapes, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<bool> {
        if let Some(null) = self.null
            && cursor.place(2)? == null
        {
            return Ok(false);
        }
        match &self.form {
            Form::Copy => {
                let start = cursor.at();
                cursor.skip(shapes, self.shape)?;
                out.extend_from_slice(cursor.since(start));
            }
            Form::Decimal(size) => {
                let bytes = match size {
                    Some(size) => cursor.take(*size)?,
                    None => cursor.run()?,
                };
                write_bytes(out, if bytes.is_empty() { &[0] } else { shortest(bytes) });
            }
            Form::Symbol(symbols) => {
                write_bytes(out, symbols[cursor.place(symbols.len())?].as_bytes());
            }
            Form::Uuid => write_bytes(out, uuid_text(cursor.chunk()?).as_bytes()),
        }
        Ok(true)
    }
}

fn form(schema: &Schema, id: NodeId, data_type: &DataType) -> Form {
    match (&schema.node(id).kind, data_type) {
        (Kind::Fixed(size), DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            Form::Decimal(Some(*size))
        }
        (_, DataType::Decimal128(..) | DataType::Decimal256(..)) => Form::Decimal(None),
        (Kind::Enum { symbols, .. }, _) => Form::Symbol(symbols.clone()),
        (Kind::Fixed(_), DataType::Utf8) => Form::Uuid,
        _ => Form::Copy,
    }
}

/// Whether equal values of two types have equal bytes.
pub(in super::super) fn meet(one: &DataType, other: &DataType) -> bool {
    use DataType::{Decimal128, Decimal256};
    match (one, other) {
        // Digits have no part in the bytes.
        (Decimal128(_, scale) | Decimal256(_, scale), Decimal128(_, of) | Decimal256(_, of)) => {
            scale == of
        }
        _ => one == other,
    }
}

/// Whether values of a type can be compared by their bytes.
///
/// # Errors
///
/// `Unsupported` if not.
pub(in super::super) fn check_type(data_type: &DataType) -> Result<()> {
    let is_plain = matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Utf8
            | DataType::Binary
            | DataType::Date32
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    );
    // Bytes of a fixed number have no length before them, and those of a column have.
    if is_plain && canonical(data_type) == *data_type {
        return Ok(());
    }
    Err(wrong("rows cannot be found by a key of this type").with("type", data_type))
}

#[cold]
fn wrong(why: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "look rows up")
        .because(why)
        .help("look up in a topic whose key is of whole numbers, text, dates, times or decimals")
}
