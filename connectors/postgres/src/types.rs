//! PostgreSQL's types as ours, and how their binary cells are read: one line a type.
//!
//! Binary forms: the `*_send` functions of PostgreSQL 18, `src/backend/utils/adt/`.

use crate::numeric::{self, Numeric};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt::Write;
use tidemesh_model::{CellVisitor, DataType, Error, ErrorKind, Result};

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_US: i64 = 946_684_800_000_000;
/// Type modifiers of `numeric` carry this beside precision and scale (`numeric.c`).
const NUMERIC_MODIFIER_BASE: i32 = 4;

/// What the catalog says of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeInfo {
    pub(crate) oid: u32,
    /// `pg_type.typname`.
    pub(crate) name: String,
    /// `pg_type.typtype`: `b` base, `e` enum, `d` domain, `c` composite, `r` range, `m` multirange.
    pub(crate) kind: char,
    /// A domain's base type and its modifier.
    pub(crate) base: Option<(u32, i32)>,
    /// An array's element.
    pub(crate) element: Option<u32>,
    /// An enum's labels in order.
    pub(crate) labels: Vec<String>,
}

/// How a column's cells are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reader {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric { precision: u32, scale: u32 },
    NumericText,
    Money,
    Text,
    Enum(Vec<String>),
    Json,
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Array(Box<Reader>),
}

impl Reader {
    /// How a column of type `oid` with `modifier` is read; none for a type that is not carried.
    pub(crate) fn of(
        oid: u32,
        modifier: i32,
        find: &impl Fn(u32) -> Option<TypeInfo>,
    ) -> Option<Self> {
        let info = find(oid)?;
        if let Some((base, base_modifier)) = info.base {
            return Self::of(base, base_modifier, find);
        }
        if info.kind == 'e' {
            return Some(Self::Enum(info.labels));
        }
        if let Some(element) = info.element {
            let element = Self::of(element, modifier, find)?;
            let nested = matches!(element, Self::Array(_));
            return (!nested).then(|| Self::Array(Box::new(element)));
        }
        if info.kind != 'b' {
            return None;
        }
        Self::base(&info.name, modifier)
    }

    /// The types of `DESIGN.md`'s table, from int2 to intervals.
    fn base(name: &str, modifier: i32) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "oid" => Self::Oid,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" if modifier >= NUMERIC_MODIFIER_BASE => numeric_of(modifier),
            "numeric" => Self::NumericText,
            "money" => Self::Money,
            "text" | "varchar" | "bpchar" | "char" | "name" | "citext" => Self::Text,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "bytea" => Self::Bytea,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "time" => Self::Time,
            "timetz" => Self::TimeTz,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "interval" => Self::Interval,
            _ => return None,
        })
    }

    /// One of each kind.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn samples() -> impl Iterator<Item = Self> {
        [
            Self::Bool,
            Self::Int2,
            Self::Int4,
            Self::Int8,
            Self::Oid,
            Self::Float4,
            Self::Float8,
            Self::Numeric { precision: 12, scale: 2 },
            Self::NumericText,
            Self::Money,
            Self::Text,
            Self::Enum(vec!["one".to_owned()]),
            Self::Json,
            Self::Jsonb,
            Self::Bytea,
            Self::Uuid,
            Self::Date,
            Self::Time,
            Self::TimeTz,
            Self::Timestamp,
            Self::TimestampTz,
            Self::Interval,
            Self::Array(Box::new(Self::Text)),
            Self::Array(Box::new(Self::NumericText)),
        ]
        .into_iter()
    }

    /// What the cells are to the rest of the project.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 | Self::Int4 => DataType::Int32,
            Self::Int8 | Self::Oid => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric { precision, scale } => {
                DataType::Decimal { precision: *precision, scale: *scale }
            }
            Self::Money => DataType::Decimal { precision: 19, scale: 2 },
            // A numeric without precision has no scale; an interval's months and days have no
            // length; a timetz's offset has no place in Avro: exact text each.
            Self::NumericText | Self::TimeTz | Self::Interval | Self::Text => DataType::Text,
            Self::Enum(labels) => DataType::Enum { labels: labels.clone() },
            Self::Json | Self::Jsonb => DataType::Json,
            Self::Bytea => DataType::Bytes,
            Self::Uuid => DataType::Uuid,
            Self::Date => DataType::Date,
            Self::Time => DataType::Time,
            Self::Timestamp => DataType::Timestamp,
            Self::TimestampTz => DataType::TimestampTz,
            Self::Array(element) => DataType::Array(Box::new(element.data_type())),
        }
    }

    /// Reads one binary cell.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not of the type; `Unsupported` for NaN and infinities of a
    /// numeric and for arrays of more than one dimension.
    #[inline]
    pub(crate) fn visit<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        match self {
            Self::Bool => visitor.boolean(one::<1>(bytes)?[0] != 0),
            Self::Int2 => visitor.int32(i16::from_be_bytes(one(bytes)?).into()),
            Self::Int4 => visitor.int32(i32::from_be_bytes(one(bytes)?)),
            Self::Int8 => visitor.int64(i64::from_be_bytes(one(bytes)?)),
            Self::Oid => visitor.int64(u32::from_be_bytes(one(bytes)?).into()),
            Self::Float4 => visitor.float32(f32::from_be_bytes(one(bytes)?)),
            Self::Float8 => visitor.float64(f64::from_be_bytes(one(bytes)?)),
            Self::Numeric { scale, .. } => decimal(bytes, *scale, visitor),
            Self::NumericText => numeric_text(bytes, visitor),
            Self::Money => visitor.decimal(tidemesh_model::DecimalRef::Small {
                unscaled: i64::from_be_bytes(one(bytes)?).into(),
                scale: 2,
            }),
            Self::Text | Self::Enum(_) | Self::Json => visitor.text(utf8(bytes)?),
            Self::Jsonb => match bytes.split_first() {
                Some((1, text)) => visitor.text(utf8(text)?),
                _ => Err(malformed()),
            },
            Self::Bytea => visitor.bytes(bytes),
            Self::Uuid => visitor.uuid(&one(bytes)?),
            Self::Date => visitor.date(days(i32::from_be_bytes(one(bytes)?))?),
            Self::Time => visitor.time(i64::from_be_bytes(one(bytes)?)),
            Self::TimeTz => with_text(visitor, |out| time_tz(bytes, out)),
            Self::Timestamp => visitor.timestamp(micros(i64::from_be_bytes(one(bytes)?))?),
            Self::TimestampTz => visitor.timestamp_tz(micros(i64::from_be_bytes(one(bytes)?))?),
            Self::Interval => with_text(visitor, |out| interval(bytes, out)),
            Self::Array(element) => array(element, bytes, visitor),
        }
    }

    /// Reads one text cell: the server sends one only for a type without a binary form.
    pub(crate) fn visit_text<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        match self {
            Self::Text | Self::Enum(_) | Self::Json | Self::Jsonb => visitor.text(utf8(bytes)?),
            _ => Err(Error::new(ErrorKind::Malformed, "read a cell")
                .because("the server sent text for a type that has a binary form")),
        }
    }
}

/// Precision and scale of a declared numeric. A negative scale rounds before the point and a scale
/// above the precision is allowed since PostgreSQL 15; Avro knows neither.
fn numeric_of(modifier: i32) -> Reader {
    let packed = modifier - NUMERIC_MODIFIER_BASE;
    let precision = (packed >> 16) & 0xffff;
    // Eleven bits, signed (`numeric_typmod_scale`).
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let whole = |value: i32| u32::try_from(value.max(0)).unwrap_or(0);
    Reader::Numeric { precision: whole(precision.max(scale) - scale.min(0)), scale: whole(scale) }
}

#[cold]
fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "read a cell").because("its bytes are not of its type")
}

#[inline]
fn one<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed())
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| malformed().caused_by(error))
}

/// Days since 1970; infinities stay the smallest and largest value.
fn days(since_2000: i32) -> Result<i32> {
    match since_2000 {
        i32::MIN | i32::MAX => Ok(since_2000),
        days => days.checked_add(EPOCH_DAYS).ok_or_else(malformed),
    }
}

/// Microseconds since 1970; infinities stay the smallest and largest value.
#[inline]
fn micros(since_2000: i64) -> Result<i64> {
    match since_2000 {
        i64::MIN | i64::MAX => Ok(since_2000),
        micros => micros.checked_add(EPOCH_US).ok_or_else(malformed),
    }
}

fn finite(bytes: &[u8]) -> Result<Numeric<'_>> {
    numeric::read(bytes).ok_or_else(malformed)?.map_err(|what| {
        Error::new(ErrorKind::Unsupported, "read a numeric")
            .because(format!("{what:?} is no number that a decimal can be"))
            .help("change the row, or leave the table out")
    })
}

#[inline]
fn decimal<V: CellVisitor>(bytes: &[u8], scale: u32, visitor: &mut V) -> Result<()> {
    finite(bytes)?.with_decimal(scale, |value| visitor.decimal(value)).ok_or_else(malformed)?
}

fn numeric_text<V: CellVisitor>(bytes: &[u8], visitor: &mut V) -> Result<()> {
    match numeric::read(bytes).ok_or_else(malformed)? {
        Ok(number) => with_text(visitor, |out| number.write_text(out)),
        Err(numeric::NotFinite::Nan) => visitor.text("NaN"),
        Err(numeric::NotFinite::Infinity) => visitor.text("Infinity"),
        Err(numeric::NotFinite::MinusInfinity) => visitor.text("-Infinity"),
    }
}

thread_local! {
    /// Text under construction: one buffer a thread, so that no cell allocates.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

fn with_text<V: CellVisitor>(
    visitor: &mut V,
    write: impl FnOnce(&mut String) -> Option<()>,
) -> Result<()> {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write(text).ok_or_else(malformed)?;
        visitor.text(text)
    })
}

/// `HH:MM:SS[.ffffff]`.
fn clock(micros: u64, out: &mut String) -> Option<()> {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(out, "{hours:02}:{minutes:02}:{:02}", seconds % 60).ok()?;
    fractional(fraction, out)
}

fn fractional(fraction: u64, out: &mut String) -> Option<()> {
    if fraction == 0 {
        return Some(());
    }
    write!(out, ".{fraction:06}").ok()?;
    out.truncate(out.trim_end_matches('0').len());
    Some(())
}

/// ISO 8601: `04:05:06.789+01:00`. The zone is stored in seconds west of Greenwich.
fn time_tz(bytes: &[u8], out: &mut String) -> Option<()> {
    let (micros, zone) = bytes.split_first_chunk::<8>()?;
    let zone = i32::from_be_bytes(zone.try_into().ok()?);
    clock(u64::from_be_bytes(*micros), out)?;
    let east = zone.checked_neg()?;
    out.push(if east < 0 { '-' } else { '+' });
    let seconds = east.unsigned_abs();
    write!(out, "{:02}:{:02}", seconds / 3600, seconds / 60 % 60).ok()?;
    if seconds % 60 != 0 {
        write!(out, ":{:02}", seconds % 60).ok()?;
    }
    Some(())
}

/// ISO 8601: `P1Y2M3DT4H5M6.5S`; months and days are kept apart from the time. Each part has its
/// own sign, as PostgreSQL's `iso_8601` style prints it.
fn interval(bytes: &[u8], out: &mut String) -> Option<()> {
    let (micros, rest) = bytes.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let micros = i64::from_be_bytes(*micros);
    let days = i32::from_be_bytes(*days);
    let months = i32::from_be_bytes(months.try_into().ok()?);
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return out.write_str("infinity").ok(),
        (i64::MIN, i32::MIN, i32::MIN) => return out.write_str("-infinity").ok(),
        (0, 0, 0) => return out.write_str("PT0S").ok(),
        _ => {}
    }
    out.push('P');
    for (value, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if value != 0 {
            write!(out, "{value}{unit}").ok()?;
        }
    }
    if micros == 0 {
        return Some(());
    }
    out.push('T');
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, fraction) =
        (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    for (value, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
        if value != 0 {
            write!(out, "{sign}{value}{unit}").ok()?;
        }
    }
    if seconds % 60 != 0 || fraction != 0 {
        write!(out, "{sign}{}", seconds % 60).ok()?;
        fractional(fraction, out)?;
        out.push('S');
    }
    Some(())
}

/// An array's elements (`array_send`): dimensions, flags, element type, each dimension's length and
/// lower bound, then length and bytes of each element. Lower bounds are not kept.
fn array<V: CellVisitor>(element: &Reader, bytes: &[u8], visitor: &mut V) -> Result<()> {
    let (head, mut rest) = bytes.split_first_chunk::<12>().ok_or_else(malformed)?;
    let dimensions = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let count = match dimensions {
        0 => 0,
        1 => {
            let (shape, elements) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
            rest = elements;
            u32::from_be_bytes([shape[0], shape[1], shape[2], shape[3]])
        }
        more => {
            return Err(Error::new(ErrorKind::Unsupported, "read an array")
                .because("an array of more than one dimension is not carried")
                .with("dimensions", more)
                .help("change the row, or leave the table out"));
        }
    };
    visitor.array_start(count as usize)?;
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => {
                rest = after;
                visitor.null()?;
            }
            Ok(length) => {
                let (bytes, after) = after.split_at_checked(length).ok_or_else(malformed)?;
                rest = after;
                element.visit(bytes, visitor)?;
            }
        }
    }
    visitor.array_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidemesh_model::{RowImage, Value, Values};

    struct One<'a>(&'a Reader, &'a [u8]);

    impl RowImage for One<'_> {
        fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
            self.0.visit(self.1, visitor)
        }
    }

    fn read(reader: &Reader, bytes: &[u8]) -> Value {
        Values::of(&One(reader, bytes)).unwrap().remove(0)
    }

    fn interval_of(micros: i64, days: i32, months: i32) -> Value {
        let mut bytes = micros.to_be_bytes().to_vec();
        bytes.extend_from_slice(&days.to_be_bytes());
        bytes.extend_from_slice(&months.to_be_bytes());
        read(&Reader::Interval, &bytes)
    }

    #[test]
    fn intervals_keep_months_days_and_time_apart() {
        assert_eq!(interval_of(14_706_500_000, 3, 14), Value::Text("P1Y2M3DT4H5M6.5S".into()));
        assert_eq!(interval_of(-1_000_000, 0, -1), Value::Text("P-1MT-1S".into()));
        assert_eq!(interval_of(0, 0, 0), Value::Text("PT0S".into()));
    }

    #[test]
    fn infinities_of_dates_and_timestamps_are_the_outermost_values() {
        assert_eq!(read(&Reader::Date, &i32::MAX.to_be_bytes()), Value::Date(i32::MAX));
        assert_eq!(read(&Reader::Timestamp, &i64::MIN.to_be_bytes()), Value::Timestamp(i64::MIN));
        assert_eq!(read(&Reader::Date, &0_i32.to_be_bytes()), Value::Date(10_957));
    }

    #[test]
    fn a_modifier_gives_precision_and_scale() {
        let of = |precision: i32, scale: i32| numeric_of(((precision << 16) | (scale & 0x7ff)) + 4);
        let data_type = |precision, scale| DataType::Decimal { precision, scale };
        assert_eq!(of(12, 2).data_type(), data_type(12, 2));
        assert_eq!(of(5, -2).data_type(), data_type(7, 0));
        assert_eq!(of(3, 5).data_type(), data_type(5, 5));
    }

    #[test]
    fn a_zone_west_of_greenwich_is_negative() {
        let mut bytes = 3_600_000_000_i64.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(5 * 3600_i32).to_be_bytes());
        assert_eq!(read(&Reader::TimeTz, &bytes), Value::Text("01:00:00-05:00".into()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for reader in Reader::samples() {
                let _ = Values::of(&One(&reader, &bytes));
            }
        }
    }
}
