//! Columns as Avro bytes.

use datafusion_common::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array,
    Float32Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray, StringArray,
    StructArray,
};
use datafusion_common::arrow::compute::{CastOptions, cast_with_options};
use datafusion_common::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Fields, Float32Type, Float64Type,
    Int32Type, Int64Type, Time32MillisecondType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use std::sync::Arc;
use tidemesh_avro::envelope::write_bytes;
use tidemesh_avro::write_long;
use tidemesh_model::{Error, ErrorKind, Result};

/// The branch of null in `["null", T]`, and that of T.
const NULL: u8 = 0;
const VALUE: u8 = 2;

/// A column of a batch as it is written.
#[derive(Debug)]
pub(super) struct Column {
    array: ArrayRef,
    nullable: bool,
}

impl Column {
    /// A column whose values are written as `["null", T]` or as T.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a value that the written type cannot hold.
    pub(super) fn new(array: &ArrayRef, nullable: bool) -> Result<Self> {
        let canonical = canonical(array.data_type());
        let array = if *array.data_type() == canonical {
            array.clone()
        } else {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, &canonical, &options).map_err(|error| {
                Error::new(ErrorKind::Unsupported, "write a column").caused_by(error)
            })?
        };
        Ok(Self { array, nullable })
    }

    /// What writes its rows.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a type without a form in Avro.
    pub(super) fn writer(&self) -> Result<Writer<'_>> {
        Ok(Writer { values: Values::of(&self.array)?, array: &self.array, nullable: self.nullable })
    }
}

/// The type that a type is written as: one for all that Avro writes alike.
pub(super) fn canonical(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(Arc::new(canonical_field(item)))
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| canonical_field(field)).collect::<Fields>())
        }
        DataType::Map(entries, sorted) => {
            DataType::Map(Arc::new(canonical_field(entries)), *sorted)
        }
        other => other.clone(),
    }
}

fn canonical_field(field: &Field) -> Field {
    field.clone().with_data_type(canonical(field.data_type()))
}

/// Writes the rows of one column.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    array: &'a ArrayRef,
    values: Values<'a>,
    nullable: bool,
}

#[derive(Debug)]
enum Values<'a> {
    Nothing,
    Boolean(&'a BooleanArray),
    Int(&'a Int32Array),
    /// Dates and times of 32 bits.
    Ints(&'a [i32]),
    Long(&'a Int64Array),
    /// Times and timestamps.
    Longs(&'a [i64]),
    Float(&'a Float32Array),
    Double(&'a Float64Array),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Decimal128(&'a Decimal128Array),
    Decimal256(&'a Decimal256Array),
    List(&'a ListArray, Box<Writer<'a>>),
    Map(&'a MapArray, &'a StringArray, Box<Writer<'a>>),
    Record(Vec<Writer<'a>>),
}

impl<'a> Values<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        let within = |inner: &'a ArrayRef, field: &Field| -> Result<Writer<'a>> {
            Ok(Writer { array: inner, values: Values::of(inner)?, nullable: field.is_nullable() })
        };
        Ok(match array.data_type() {
            DataType::Null => Self::Nothing,
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int32 => Self::Int(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Self::Long(array.as_primitive::<Int64Type>()),
            DataType::Float32 => Self::Float(array.as_primitive::<Float32Type>()),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Binary => Self::Bytes(array.as_binary()),
            DataType::Date32 => Self::Ints(array.as_primitive::<Date32Type>().values()),
            DataType::Time32(_) => {
                Self::Ints(array.as_primitive::<Time32MillisecondType>().values())
            }
            DataType::Time64(_) => {
                Self::Longs(array.as_primitive::<Time64MicrosecondType>().values())
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Longs(array.as_primitive::<TimestampMillisecondType>().values())
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Longs(array.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Self::Longs(array.as_primitive::<TimestampNanosecondType>().values())
            }
            DataType::Decimal128(..) => Self::Decimal128(array.as_primitive::<Decimal128Type>()),
            DataType::Decimal256(..) => Self::Decimal256(array.as_primitive::<Decimal256Type>()),
            DataType::List(item) => {
                let list: &ListArray = array.as_list();
                Self::List(list, Box::new(within(list.values(), item)?))
            }
            DataType::Map(entries, _) => {
                let map = array.as_map();
                let nullable = match entries.data_type() {
                    DataType::Struct(fields) => &fields[1],
                    _ => entries,
                };
                Self::Map(map, map.keys().as_string(), Box::new(within(map.values(), nullable)?))
            }
            DataType::Struct(fields) => {
                let record: &StructArray = array.as_struct();
                let columns = record.columns().iter().zip(fields);
                Self::Record(
                    columns.map(|(column, field)| within(column, field)).collect::<Result<_>>()?,
                )
            }
            other => {
                return Err(
                    Error::new(ErrorKind::Unsupported, "write a column").with("type", other)
                );
            }
        })
    }
}

impl Writer<'_> {
    /// Appends a row's value.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a null where none may be.
    #[inline]
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let is_null = self.array.is_null(row) || matches!(self.values, Values::Nothing);
        match (self.nullable, is_null) {
            (true, true) => {
                out.push(NULL);
                return Ok(());
            }
            (true, false) => out.push(VALUE),
            (false, true) => {
                return Err(Error::new(ErrorKind::Unsupported, "write a column")
                    .because("a value is null where the schema has none"));
            }
            (false, false) => {}
        }
        self.value(row, out)
    }

    #[inline]
    fn value(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.values {
            Values::Nothing => {}
            Values::Boolean(array) => out.push(u8::from(array.value(row))),
            Values::Int(array) => write_long(out, i64::from(array.value(row))),
            Values::Ints(values) => write_long(out, i64::from(values[row])),
            Values::Long(array) => write_long(out, array.value(row)),
            Values::Longs(values) => write_long(out, values[row]),
            Values::Float(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Values::Double(array) => out.extend_from_slice(&array.value(row).to_le_bytes()),
            Values::Text(array) => write_bytes(out, array.value(row).as_bytes()),
            Values::Bytes(array) => write_bytes(out, array.value(row)),
            Values::Decimal128(array) => {
                write_bytes(out, shortest(&array.value(row).to_be_bytes()))
            }
            Values::Decimal256(array) => {
                write_bytes(out, shortest(&array.value(row).to_be_bytes()))
            }
            Values::List(list, items) => {
                let (start, end) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
                blocks(start, end, out, |place, out| items.write(place, out))?;
            }
            Values::Map(map, keys, values) => {
                let (start, end) = (map.value_offsets()[row], map.value_offsets()[row + 1]);
                blocks(start, end, out, |place, out| {
                    write_bytes(out, keys.value(place).as_bytes());
                    values.write(place, out)
                })?;
            }
            Values::Record(fields) => {
                fields.iter().try_for_each(|field| field.write(row, out))?;
            }
        }
        Ok(())
    }
}

/// One block of an array's elements, and the end.
fn blocks(
    start: i32,
    end: i32,
    out: &mut Vec<u8>,
    mut element: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    if end > start {
        write_long(out, i64::from(end - start));
        for place in start..end {
            element(usize::try_from(place).unwrap_or_default(), out)?;
        }
    }
    out.push(0);
    Ok(())
}

/// A number in two's complement without the bytes that only repeat its sign.
pub(super) fn shortest(bytes: &[u8]) -> &[u8] {
    let mut start = 0;
    while start + 1 < bytes.len() {
        let redundant = match bytes[start] {
            0 => bytes[start + 1] < 0x80,
            0xff => bytes[start + 1] >= 0x80,
            _ => false,
        };
        if !redundant {
            break;
        }
        start += 1;
    }
    &bytes[start..]
}

/// One value for all rows, as bytes.
pub(super) fn constant(value: &datafusion_common::ScalarValue, nullable: bool) -> Result<Vec<u8>> {
    let array = value
        .to_array()
        .map_err(|error| Error::new(ErrorKind::Internal, "write a constant").caused_by(error))?;
    let column = Column::new(&array, nullable)?;
    let mut out = Vec::new();
    column.writer()?.write(0, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_has_no_more_bytes_than_it_needs() {
        let of = |value: i128| shortest(&value.to_be_bytes()).to_vec();
        assert_eq!(of(0), [0]);
        assert_eq!(of(-1), [0xff]);
        assert_eq!(of(127), [0x7f]);
        assert_eq!(of(128), [0, 0x80]);
        assert_eq!(of(-128), [0x80]);
        assert_eq!(of(-129), [0xff, 0x7f]);
        assert_eq!(of(i128::MAX).len(), 16);
    }
}
