//! Avro values as columns that expressions read: one decoder a part of the row, made once, that appends
//! a value a row.

use super::cursor::Cursor;
use datafusion_common::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, ListArray, MapArray, NullArray, PrimitiveBuilder,
    StringBuilder, StructArray,
};
use datafusion_common::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion_common::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, FieldRef, Fields,
    Float32Type, Float64Type, Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, i256,
};
use std::sync::Arc;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::sql::types::{SqlType, null_branch, nullable_branch, sql_type};

/// One column under construction.
#[derive(Debug)]
pub(super) struct Cells {
    /// Which of a union's two branches is null; none for a type that is no union.
    null_branch: Option<usize>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Nothing(usize),
    Boolean(BooleanBuilder),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    /// An enum, as its symbols.
    Symbol(StringBuilder, Vec<String>),
    /// A UUID of 16 bytes, as text.
    Uuid(StringBuilder),
    /// The size of a fixed type; none for bytes.
    Bytes(BinaryBuilder, Option<usize>),
    Date(PrimitiveBuilder<Date32Type>),
    TimeMillis(PrimitiveBuilder<Time32MillisecondType>),
    TimeMicros(PrimitiveBuilder<Time64MicrosecondType>),
    TimeNanos(PrimitiveBuilder<Time64NanosecondType>),
    Millis(PrimitiveBuilder<TimestampMillisecondType>),
    Micros(PrimitiveBuilder<TimestampMicrosecondType>),
    Nanos(PrimitiveBuilder<TimestampNanosecondType>),
    Decimal128(PrimitiveBuilder<Decimal128Type>, Option<usize>),
    Decimal256(PrimitiveBuilder<Decimal256Type>, Option<usize>),
    List(List),
    Map(List, FieldRef),
    Record(Record),
}

/// An array's elements, or a map's entries: keys and values.
#[derive(Debug)]
struct List {
    field: FieldRef,
    items: Vec<Cells>,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

#[derive(Debug)]
struct Record {
    fields: Fields,
    cells: Vec<Cells>,
    valid: Vec<bool>,
}

#[cold]
fn internal(what: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "decode a column").because(what)
}

impl Cells {
    /// The decoder of the type at `id`.
    ///
    /// # Errors
    ///
    /// `Internal` for a type that the plan does not let expressions read.
    pub(super) fn new(schema: &Schema, id: NodeId) -> Result<Self> {
        let SqlType { data_type, .. } = sql_type(schema, id);
        Self::of(schema, id, &data_type)
    }

    fn of(schema: &Schema, id: NodeId, data_type: &DataType) -> Result<Self> {
        let branch = nullable_branch(schema, id);
        let values = Values::new(schema, branch.unwrap_or(id), data_type)?;
        Ok(Self { null_branch: null_branch(schema, id), values })
    }

    /// Appends the value that comes next.
    #[inline]
    pub(super) fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        if let Some(null_branch) = self.null_branch
            && cursor.place(2)? == null_branch
        {
            self.values.append_null();
            return Ok(());
        }
        self.values.append(cursor)
    }

    /// Appends a value that is not there.
    pub(super) fn append_null(&mut self) {
        self.values.append_null();
    }

    /// The column, which begins anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        self.values.finish()
    }
}

/// A builder that keeps the decimal's precision or the timestamp's zone.
fn builder<T: ArrowPrimitiveType>(data_type: &DataType) -> PrimitiveBuilder<T> {
    PrimitiveBuilder::new().with_data_type(data_type.clone())
}

impl Values {
    fn new(schema: &Schema, id: NodeId, data_type: &DataType) -> Result<Self> {
        let node = schema.node(id);
        let fixed = match node.kind {
            Kind::Fixed(size) => Some(size),
            _ => None,
        };
        Ok(match (data_type, &node.kind) {
            (DataType::Null, _) => Self::Nothing(0),
            (DataType::Boolean, _) => Self::Boolean(BooleanBuilder::new()),
            (DataType::Int32, _) => Self::Int32(builder(data_type)),
            (DataType::Int64, _) => Self::Int64(builder(data_type)),
            (DataType::Float32, _) => Self::Float32(builder(data_type)),
            (DataType::Float64, _) => Self::Float64(builder(data_type)),
            (DataType::Utf8, Kind::Enum { symbols, .. }) => {
                Self::Symbol(StringBuilder::new(), symbols.clone())
            }
            (DataType::Utf8, Kind::Fixed(_)) => Self::Uuid(StringBuilder::new()),
            (DataType::Utf8, _) => Self::Text(StringBuilder::new()),
            (DataType::Binary, _) => Self::Bytes(BinaryBuilder::new(), fixed),
            (DataType::Date32, _) => Self::Date(builder(data_type)),
            (DataType::Time32(_), _) => Self::TimeMillis(builder(data_type)),
            (DataType::Time64(TimeUnit::Nanosecond), _) => Self::TimeNanos(builder(data_type)),
            (DataType::Time64(_), _) => Self::TimeMicros(builder(data_type)),
            (DataType::Timestamp(TimeUnit::Millisecond, _), _) => Self::Millis(builder(data_type)),
            (DataType::Timestamp(TimeUnit::Microsecond, _), _) => Self::Micros(builder(data_type)),
            (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => Self::Nanos(builder(data_type)),
            (DataType::Decimal128(..), _) => Self::Decimal128(builder(data_type), fixed),
            (DataType::Decimal256(..), _) => Self::Decimal256(builder(data_type), fixed),
            (DataType::List(field), Kind::Array(items)) => {
                let items = vec![Cells::of(schema, *items, field.data_type())?];
                Self::List(List::new(field.clone(), items))
            }
            (DataType::Map(entries, _), Kind::Map(values)) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(internal("a map has no entries"));
                };
                let key = Cells { null_branch: None, values: Self::Text(StringBuilder::new()) };
                let value = Cells::of(schema, *values, fields[1].data_type())?;
                Self::Map(List::new(entries.clone(), vec![key, value]), entries.clone())
            }
            (DataType::Struct(fields), Kind::Record(of)) => {
                let cells = of.iter().zip(fields);
                let cells = cells.map(|(of, field)| Cells::of(schema, of.node, field.data_type()));
                Self::Record(Record {
                    fields: fields.clone(),
                    cells: cells.collect::<Result<_>>()?,
                    valid: Vec::new(),
                })
            }
            _ => return Err(internal("expressions cannot read this type")),
        })
    }

    #[inline]
    fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        match self {
            Self::Nothing(count) => *count += 1,
            Self::Boolean(builder) => builder.append_value(cursor.boolean()?),
            Self::Int32(builder) => builder.append_value(cursor.int()?),
            Self::Int64(builder) => builder.append_value(cursor.long()?),
            Self::Float32(builder) => builder.append_value(f32::from_le_bytes(cursor.chunk()?)),
            Self::Float64(builder) => builder.append_value(f64::from_le_bytes(cursor.chunk()?)),
            Self::Text(builder) => builder.append_value(cursor.text()?),
            Self::Symbol(builder, symbols) => {
                builder.append_value(&symbols[cursor.place(symbols.len())?]);
            }
            Self::Uuid(builder) => builder.append_value(uuid_text(cursor.chunk()?)),
            Self::Bytes(builder, fixed) => builder.append_value(bytes(cursor, *fixed)?),
            Self::Date(builder) => builder.append_value(cursor.int()?),
            Self::TimeMillis(builder) => builder.append_value(cursor.int()?),
            Self::TimeMicros(builder) => builder.append_value(cursor.long()?),
            Self::TimeNanos(builder) => builder.append_value(cursor.long()?),
            Self::Millis(builder) => builder.append_value(cursor.long()?),
            Self::Micros(builder) => builder.append_value(cursor.long()?),
            Self::Nanos(builder) => builder.append_value(cursor.long()?),
            Self::Decimal128(builder, fixed) => {
                let bytes = extended::<16>(bytes(cursor, *fixed)?, cursor)?;
                builder.append_value(i128::from_be_bytes(bytes));
            }
            Self::Decimal256(builder, fixed) => {
                let bytes = extended::<32>(bytes(cursor, *fixed)?, cursor)?;
                builder.append_value(i256::from_be_bytes(bytes));
            }
            Self::List(list) | Self::Map(list, _) => list.append(cursor)?,
            Self::Record(record) => {
                record.cells.iter_mut().try_for_each(|cells| cells.append(cursor))?;
                record.valid.push(true);
            }
        }
        Ok(())
    }

    fn append_null(&mut self) {
        match self {
            Self::Nothing(count) => *count += 1,
            Self::Boolean(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Text(builder) | Self::Symbol(builder, _) | Self::Uuid(builder) => {
                builder.append_null();
            }
            Self::Bytes(builder, _) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::TimeMillis(builder) => builder.append_null(),
            Self::TimeMicros(builder) => builder.append_null(),
            Self::TimeNanos(builder) => builder.append_null(),
            Self::Millis(builder) => builder.append_null(),
            Self::Micros(builder) => builder.append_null(),
            Self::Nanos(builder) => builder.append_null(),
            Self::Decimal128(builder, _) => builder.append_null(),
            Self::Decimal256(builder, _) => builder.append_null(),
            Self::List(list) | Self::Map(list, _) => list.append_null(),
            Self::Record(record) => {
                record.cells.iter_mut().for_each(Cells::append_null);
                record.valid.push(false);
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Nothing(count) => Arc::new(NullArray::new(std::mem::take(count))),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Symbol(builder, _) | Self::Uuid(builder) => {
                Arc::new(builder.finish())
            }
            Self::Bytes(builder, _) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::TimeMillis(builder) => Arc::new(builder.finish()),
            Self::TimeMicros(builder) => Arc::new(builder.finish()),
            Self::TimeNanos(builder) => Arc::new(builder.finish()),
            Self::Millis(builder) => Arc::new(builder.finish()),
            Self::Micros(builder) => Arc::new(builder.finish()),
            Self::Nanos(builder) => Arc::new(builder.finish()),
            Self::Decimal128(builder, _) => Arc::new(builder.finish()),
            Self::Decimal256(builder, _) => Arc::new(builder.finish()),
            Self::List(list) => {
                let (offsets, nulls) = list.take();
                let items = list.items[0].finish()?;
                let made = ListArray::try_new(list.field.clone(), offsets, items, nulls);
                Arc::new(made.map_err(arrow)?)
            }
            Self::Map(list, entries) => map(list, entries)?,
            Self::Record(record) => record.finish()?,
        })
    }
}

fn map(list: &mut List, entries: &FieldRef) -> Result<ArrayRef> {
    let (offsets, nulls) = list.take();
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(internal("a map has no entries"));
    };
    let columns = list.items.iter_mut().map(Cells::finish).collect::<Result<Vec<_>>>()?;
    let pairs = StructArray::try_new(fields.clone(), columns, None).map_err(arrow)?;
    let made = MapArray::try_new(entries.clone(), offsets, pairs, nulls, false);
    Ok(Arc::new(made.map_err(arrow)?))
}

fn arrow(error: datafusion_common::arrow::error::ArrowError) -> Error {
    internal("its parts do not fit").caused_by(error)
}

impl List {
    fn new(field: FieldRef, items: Vec<Cells>) -> Self {
        Self { field, items, offsets: vec![0], valid: Vec::new() }
    }

    fn append(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let mut end = self.end();
        while let Some(count) = cursor.block()? {
            for _ in 0..count {
                let before = cursor.at();
                self.items.iter_mut().try_for_each(|cells| cells.append(cursor))?;
                if cursor.at() == before {
                    return Err(cursor.wrong("a list's elements have no bytes"));
                }
                end = end
                    .checked_add(1)
                    .ok_or_else(|| cursor.wrong("a batch has too many elements"))?;
            }
        }
        self.offsets.push(end);
        self.valid.push(true);
        Ok(())
    }

    fn append_null(&mut self) {
        self.offsets.push(self.end());
        self.valid.push(false);
    }

    fn end(&self) -> i32 {
        self.offsets.last().copied().unwrap_or_default()
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), nulls(&mut self.valid))
    }
}

impl Record {
    fn finish(&mut self) -> Result<ArrayRef> {
        let columns = self.cells.iter_mut().map(Cells::finish).collect::<Result<Vec<_>>>()?;
        let nulls = nulls(&mut self.valid);
        let made = StructArray::try_new(self.fields.clone(), columns, nulls);
        Ok(Arc::new(made.map_err(arrow)?))
    }
}

fn nulls(valid: &mut Vec<bool>) -> Option<NullBuffer> {
    Some(NullBuffer::from(std::mem::take(valid))).filter(|nulls| nulls.null_count() > 0)
}

fn bytes<'b>(cursor: &mut Cursor<'b>, fixed: Option<usize>) -> Result<&'b [u8]> {
    match fixed {
        Some(size) => cursor.take(size),
        None => cursor.run(),
    }
}

/// A number in two's complement, filled up to `N` bytes.
fn extended<const N: usize>(bytes: &[u8], cursor: &Cursor<'_>) -> Result<[u8; N]> {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let mut out = [fill; N];
    let used = if bytes.len() > N {
        let (spare, used) = bytes.split_at(bytes.len() - N);
        if spare.iter().any(|byte| *byte != fill) || (used[0] >= 0x80) != negative {
            return Err(cursor.wrong("a decimal has more digits than its type"));
        }
        used
    } else {
        bytes
    };
    out[N - used.len()..].copy_from_slice(used);
    Ok(out)
}

pub(super) fn uuid_text(bytes: [u8; 16]) -> String {
    tidemesh_avro::row::uuid_text(&bytes).map(char::from).iter().collect()
}
