//! How a column's cells are read: one line a type.

use super::array;
use super::bytes::{malformed, utf8, whole};
use super::composite::Composite;
use super::text::{
    Printer, ZoneStyle, hstore_json, interval, print_numeric, time_tz, versioned, with_text,
};
use crate::numeric;
use serde::{Deserialize, Serialize};
use tidemesh_model::{CellVisitor, DataType, DecimalRef, Error, ErrorKind, NumericSpecial, Result};
use tidemesh_source::Mask;

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_US: i64 = 946_684_800_000_000;
/// Type modifiers of `numeric` carry this beside precision and scale (`numeric.c`).
const NUMERIC_MODIFIER_BASE: i32 = 4;

/// How a column's cells are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reader {
    Bool,
    Int2,
    Int4,
    Int8,
    /// `oid`, and the `reg…` types, whose names the log does not have.
    Oid,
    Float4,
    Float8,
    Numeric {
        precision: u32,
        scale: u32,
        /// By the settings, not by the table: see [`Reader::set_special`].
        #[serde(default)]
        special: NumericSpecial,
    },
    NumericText,
    Money,
    Text,
    Enum(Vec<String>),
    Json,
    Jsonb,
    Hstore,
    Bytea,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Array(Box<Reader>),
    Composite(Composite),
    /// As PostgreSQL's text, put together from the binary form.
    Printed(Printer),
    /// As PostgreSQL's text, by declaration: a type without a binary form, which the log carries as
    /// text and a snapshot casts.
    Declared,
    /// A text of which only its masked form leaves the process.
    Masked(Mask),
    /// A column that is not captured: its cells are passed over, and no field of the schema is its.
    Skipped,
}

impl Reader {
    /// A numeric of this modifier.
    pub(super) fn numeric(modifier: i32, special: NumericSpecial) -> Self {
        if modifier < NUMERIC_MODIFIER_BASE {
            return Self::NumericText;
        }
        let (precision, scale) = precision_and_scale(modifier);
        Self::Numeric { precision, scale, special }
    }

    /// Takes over what the settings say of NaN and infinities: a stored reader has what they said
    /// when it was made.
    pub(crate) fn set_special(&mut self, wanted: NumericSpecial) {
        match self {
            Self::Numeric { special, .. } => *special = wanted,
            Self::Array(element) => element.set_special(wanted),
            Self::Composite(composite) => {
                let attributes = &mut composite.attributes;
                attributes.iter_mut().for_each(|attribute| attribute.reader.set_special(wanted));
            }
            _ => {}
        }
    }

    /// The composite types that the cells have.
    pub(crate) fn composites<'a>(&'a self, found: &mut Vec<&'a Composite>) {
        match self {
            Self::Array(element) => element.composites(found),
            Self::Composite(composite) => {
                found.push(composite);
                composite.attributes.iter().for_each(|a| a.reader.composites(found));
            }
            _ => {}
        }
    }

    /// One of each kind.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn samples() -> impl Iterator<Item = Self> {
        let special = NumericSpecial::Null;
        let attribute = |number, reader| super::composite::Attribute {
            number,
            name: format!("a{number}"),
            type_oid: 23,
            type_text: "t".to_owned(),
            reader,
        };
        let composite = Self::Composite(Composite {
            oid: 1,
            schema: "public".to_owned(),
            name: "pair".to_owned(),
            attributes: vec![
                attribute(1, Self::Int4),
                attribute(2, Self::Array(Box::new(Self::Text))),
            ],
        });
        let plain = [
            Self::Bool,
            Self::Int2,
            Self::Int4,
            Self::Int8,
            Self::Oid,
            Self::Float4,
            Self::Float8,
            Self::Numeric { precision: 12, scale: 2, special: NumericSpecial::Stop },
            Self::Numeric { precision: 12, scale: 2, special },
            Self::NumericText,
            Self::Money,
            Self::Text,
            Self::Enum(vec!["one".to_owned()]),
            Self::Json,
            Self::Jsonb,
            Self::Hstore,
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
            Self::Array(Box::new(composite.clone())),
            composite,
            Self::Declared,
            Self::Masked(Mask::Truncate { characters: 2 }),
            Self::Masked(Mask::Redact),
        ];
        plain.into_iter().chain(Printer::samples().into_iter().map(Self::Printed))
    }

    /// What the cells are to the rest of the project.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 | Self::Int4 => DataType::Int32,
            Self::Int8 | Self::Oid => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric { precision, scale, .. } => {
                DataType::Decimal { precision: *precision, scale: *scale }
            }
            Self::Money => DataType::Decimal { precision: 19, scale: 2 },
            // A numeric without precision has no scale; an interval's months and days have no
            // length; a timetz's offset has no place in Avro: exact text each.
            Self::NumericText | Self::TimeTz | Self::Interval | Self::Text => DataType::Text,
            Self::Printed(_) | Self::Declared | Self::Masked(_) => DataType::Text,
            // Nobody asks: no field is of it.
            Self::Skipped => DataType::Text,
            Self::Enum(labels) => DataType::Enum { labels: labels.clone() },
            Self::Json | Self::Jsonb | Self::Hstore => DataType::Json,
            Self::Bytea => DataType::Bytes,
            Self::Uuid => DataType::Uuid,
            Self::Date => DataType::Date,
            Self::Time => DataType::Time,
            Self::Timestamp => DataType::Timestamp,
            Self::TimestampTz => DataType::TimestampTz,
            Self::Array(element) => DataType::Array(Box::new(element.data_type())),
            Self::Composite(composite) => composite.data_type(),
        }
    }

    /// Reads one binary cell.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not of the type; `Unsupported` for NaN and infinities of a
    /// numeric that are to stop the source, for arrays of more than one dimension, and for a
    /// composite type that was altered.
    #[inline]
    pub(crate) fn visit<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        match self {
            Self::Bool => visitor.boolean(whole::<1>(bytes)?[0] != 0),
            Self::Int2 => visitor.int32(i16::from_be_bytes(whole(bytes)?).into()),
            Self::Int4 => visitor.int32(i32::from_be_bytes(whole(bytes)?)),
            Self::Int8 => visitor.int64(i64::from_be_bytes(whole(bytes)?)),
            Self::Oid => visitor.int64(u32::from_be_bytes(whole(bytes)?).into()),
            Self::Float4 => visitor.float32(f32::from_be_bytes(whole(bytes)?)),
            Self::Float8 => visitor.float64(f64::from_be_bytes(whole(bytes)?)),
            Self::Numeric { scale, special, .. } => decimal(bytes, *scale, *special, visitor),
            Self::NumericText => {
                with_text(visitor, |out| print_numeric(bytes, out).ok_or_else(malformed))
            }
            Self::Money => visitor.decimal(DecimalRef::Small {
                unscaled: i64::from_be_bytes(whole(bytes)?).into(),
                scale: 2,
            }),
            Self::Text | Self::Enum(_) | Self::Json | Self::Declared => visitor.text(utf8(bytes)?),
            Self::Jsonb => visitor.text(utf8(versioned(bytes)?)?),
            Self::Hstore => with_text(visitor, |out| hstore_json(bytes, out).ok_or_else(malformed)),
            Self::Bytea => visitor.bytes(bytes),
            Self::Uuid => visitor.uuid(&whole(bytes)?),
            Self::Date => visitor.date(days(i32::from_be_bytes(whole(bytes)?))?),
            Self::Time => visitor.time(i64::from_be_bytes(whole(bytes)?)),
            Self::TimeTz => with_text(visitor, |out| {
                time_tz(bytes, ZoneStyle::Iso8601, out).ok_or_else(malformed)
            }),
            Self::Timestamp => visitor.timestamp(micros(i64::from_be_bytes(whole(bytes)?))?),
            Self::TimestampTz => visitor.timestamp_tz(micros(i64::from_be_bytes(whole(bytes)?))?),
            Self::Interval => with_text(visitor, |out| interval(bytes, out).ok_or_else(malformed)),
            Self::Array(element) => array::visit(element, bytes, visitor),
            Self::Composite(composite) => composite.visit(bytes, visitor),
            Self::Printed(printer) => with_text(visitor, |out| printer.print(bytes, out)),
            Self::Masked(mask) => mask.visit(utf8(bytes)?, visitor),
            Self::Skipped => Ok(()),
        }
    }

    /// Reads one text cell: the server sends one only for a type without a binary form.
    pub(crate) fn visit_text<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        match self {
            Self::Text | Self::Enum(_) | Self::Json | Self::Jsonb | Self::Declared => {
                visitor.text(utf8(bytes)?)
            }
            Self::Masked(mask) => mask.visit(utf8(bytes)?, visitor),
            Self::Skipped => Ok(()),
            _ => Err(Error::new(ErrorKind::Malformed, "read a cell")
                .because("the server sent text for a type that has a binary form")),
        }
    }
}

/// Precision and scale of a declared numeric. A negative scale rounds before the point and a scale
/// above the precision is allowed since PostgreSQL 15; Avro knows neither.
fn precision_and_scale(modifier: i32) -> (u32, u32) {
    let packed = modifier - NUMERIC_MODIFIER_BASE;
    let precision = (packed >> 16) & 0xffff;
    // Eleven bits, signed (`numeric_typmod_scale`).
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let whole = |value: i32| u32::try_from(value.max(0)).unwrap_or(0);
    (whole(precision.max(scale) - scale.min(0)), whole(scale))
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
        // The outermost value means infinity.
        micros => {
            micros.checked_add(EPOCH_US).filter(|micros| *micros != i64::MAX).ok_or_else(too_late)
        }
    }
}

/// The inverse of [`days`]; none for a day that PostgreSQL does not have.
pub(crate) fn days_since_2000(days: i32) -> Option<i32> {
    match days {
        i32::MIN | i32::MAX => Some(days),
        days => days.checked_sub(EPOCH_DAYS),
    }
}

/// The inverse of [`micros`]; none for a moment that PostgreSQL does not have.
pub(crate) fn micros_since_2000(micros: i64) -> Option<i64> {
    match micros {
        i64::MIN | i64::MAX => Some(micros),
        micros => micros.checked_sub(EPOCH_US),
    }
}

/// PostgreSQL counts from 2000, so its last 29 years have no place in 64 bits that count from 1970.
#[cold]
fn too_late() -> Error {
    Error::new(ErrorKind::Unsupported, "read a timestamp")
        .because("Avro's timestamps end at 294247-01-10 04:00:54.775806")
        .help("change the row, or leave the table out")
}

#[inline]
fn decimal<V: CellVisitor>(
    bytes: &[u8],
    scale: u32,
    special: NumericSpecial,
    visitor: &mut V,
) -> Result<()> {
    match numeric::read(bytes).ok_or_else(malformed)? {
        Ok(number) => {
            number.with_decimal(scale, |value| visitor.decimal(value)).ok_or_else(malformed)?
        }
        Err(_) if special == NumericSpecial::Null => visitor.null(),
        Err(what) => Err(not_finite(what)),
    }
}

#[cold]
fn not_finite(what: numeric::NotFinite) -> Error {
    Error::new(ErrorKind::Unsupported, "read a numeric")
        .because(format!("{what:?} is no number that a decimal can be"))
        .help(
            "change the row, set postgres.numeric_special = \"null\" (a key stops the source all \
             the same), or leave the table out",
        )
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
    fn a_timestamp_after_avros_last_is_refused_as_such() {
        let last = i64::MAX - EPOCH_US - 1;
        assert_eq!(read(&Reader::Timestamp, &last.to_be_bytes()), Value::Timestamp(i64::MAX - 1));
        let later = (last + 1).to_be_bytes();
        let error = Values::of(&One(&Reader::Timestamp, &later)).unwrap_err();
        assert!(error.report().contains("294247-01-10"), "{}", error.report());
    }

    #[test]
    fn a_modifier_gives_precision_and_scale() {
        let of = |precision: i32, scale: i32| {
            Reader::numeric(((precision << 16) | (scale & 0x7ff)) + 4, NumericSpecial::Stop)
        };
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

    #[test]
    fn nan_in_a_decimal_stops_or_is_null() {
        let nan = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        let mut reader =
            Reader::Array(Box::new(Reader::numeric(0x0002_0004, NumericSpecial::Stop)));
        let mut array = Vec::new();
        for word in [1, 0, 1700, 1, 1, 8] {
            array.extend_from_slice(&i32::to_be_bytes(word));
        }
        array.extend_from_slice(&nan);
        let error = Values::of(&One(&reader, &array)).unwrap_err();
        assert!(error.report().contains("numeric_special"), "{}", error.report());
        reader.set_special(NumericSpecial::Null);
        assert_eq!(read(&reader, &array), Value::Array(vec![Value::Null]));
    }

    #[test]
    fn an_older_stored_reader_is_read() {
        let stored = r#"{"numeric":{"precision":12,"scale":2}}"#;
        let reader: Reader = serde_json::from_str(stored).unwrap();
        assert_eq!(reader, Reader::numeric(((12 << 16) | 2) + 4, NumericSpecial::Stop));
    }

    #[test]
    fn every_reader_is_stored_and_read_back() {
        for reader in Reader::samples() {
            let stored = serde_json::to_string(&reader).unwrap();
            assert_eq!(serde_json::from_str::<Reader>(&stored).unwrap(), reader);
        }
    }

    /// What pairs of an attribute's type and value are.
    fn composite(attributes: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
        let mut bytes = u32::try_from(attributes.len()).unwrap().to_be_bytes().to_vec();
        for (oid, value) in attributes {
            bytes.extend_from_slice(&oid.to_be_bytes());
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(value.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn a_composite_value_is_a_record_and_an_altered_one_is_told() {
        let is_record = |reader: &Reader| matches!(reader, Reader::Composite(_));
        let reader = Reader::samples().find(is_record).unwrap();
        let seven = 7_i32.to_be_bytes();
        let bytes = composite(&[(23, Some(&seven)), (23, None)]);
        assert_eq!(read(&reader, &bytes), Value::Record(vec![Value::Int32(7), Value::Null]));
        for altered in [
            composite(&[(23, Some(&seven))]),
            composite(&[(23, Some(&seven)), (23, None), (23, None)]),
            composite(&[(23, Some(&seven)), (25, None)]),
        ] {
            let error = Values::of(&One(&reader, &altered)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.report().contains("type=public.pair"), "{}", error.report());
        }
    }

    #[test]
    fn an_array_of_several_dimensions_is_refused_with_what_to_do() {
        let mut bytes = Vec::new();
        for word in [2, 0, 23, 1, 1, 1, 1, 4, 5] {
            bytes.extend_from_slice(&i32::to_be_bytes(word));
        }
        let error = Values::of(&One(&Reader::Array(Box::new(Reader::Int4)), &bytes)).unwrap_err();
        assert!(error.report().contains("int[][]"), "{}", error.report());
        let printer = Reader::Printed(Printer::Array(Box::new(Printer::Int4), ','));
        assert_eq!(read(&printer, &bytes), Value::Text("{{5}}".into()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for reader in Reader::samples() {
                let _ = Values::of(&One(&reader, &bytes));
                let _ = reader.visit_text(&bytes, &mut Values::default());
            }
        }

        /// Most bytes say a count that they do not have: small numbers go further.
        #[test]
        fn small_numbers_are_read_or_refused(bytes in proptest::collection::vec(0..5_u8, 0..96)) {
            for reader in Reader::samples() {
                let _ = Values::of(&One(&reader, &bytes));
            }
        }
    }
}
