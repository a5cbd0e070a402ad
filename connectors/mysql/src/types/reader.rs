//! How a column's cells are read: one line a type.

use super::charset::Charset;
use super::json;
use super::network::{inet4, inet6};
use super::text::{malformed, utf8, with_bytes, with_string, with_text, with_utf8};
use super::time::{self, Civil, Span, TemporalForm};
use crate::bytes::{uint, uint_be};
use crate::decode::column;
use crate::numeric;
use serde::{Deserialize, Serialize};
use tidemesh_model::{
    CellVisitor, DataType, DecimalRef, Error, ErrorKind, MysqlTime, RecordField, RecordType,
    Result, UnsignedBigint, ZeroDates,
};
use tidemesh_source::{Mask, Wrong};

/// Digits of the largest number of 64 bits without a sign.
const UNSIGNED_DIGITS: u32 = 20;

/// What years above 0 are counted from.
const YEAR_BASE: i32 = 1900;

/// How a column's cells are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reader {
    Int8,
    Int16,
    Int24,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint24,
    Uint32,
    Uint64(UnsignedBigint),
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    /// So many bits, as text of `0` and `1`.
    Bits(u8),
    Date(ZeroDates),
    Datetime(TemporalForm, ZeroDates),
    Timestamp(TemporalForm, ZeroDates),
    Time(TemporalForm, MysqlTime),
    Text(Charset),
    /// MariaDB's `COMPRESSED` attribute.
    CompressedText(Charset),
    Bytes,
    CompressedBytes,
    /// Bytes of a fixed length, whose zeros at the end are not in the log.
    Binary(u16),
    Enum(Vec<String>),
    Set(Vec<String>),
    /// MySQL's, in its binary form.
    Json,
    /// MariaDB's, as it was written.
    JsonText,
    /// Well-known binary behind its reference system.
    Geometry,
    Uuid,
    Inet4,
    Inet6,
    /// Numbers of 32 bits.
    Vector,
    /// A text of which only its masked form leaves the process.
    Masked {
        charset: Charset,
        is_compressed: bool,
        mask: Mask,
    },
    /// A column whose cells are passed over, and of which the schema has no field.
    Skipped,
}

impl Reader {
    /// One of each kind.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn samples() -> Vec<Self> {
        let forms = [TemporalForm::Packed(3), TemporalForm::Old(0), TemporalForm::Old(5)];
        let mut all = vec![
            Self::Int8,
            Self::Int16,
            Self::Int24,
            Self::Int32,
            Self::Int64,
            Self::Uint8,
            Self::Uint16,
            Self::Uint24,
            Self::Uint32,
            Self::Uint64(UnsignedBigint::Decimal),
            Self::Uint64(UnsignedBigint::Long),
            Self::Float,
            Self::Double,
            Self::Decimal { precision: 5, scale: 2 },
            Self::Decimal { precision: 65, scale: 30 },
            Self::Year,
            Self::Bits(10),
            Self::CompressedBytes,
            Self::CompressedText(Charset::Utf8mb4),
            Self::Bytes,
            Self::Binary(4),
            Self::Enum(vec!["one".to_owned()]),
            Self::Set(vec!["one".to_owned(), "two".to_owned()]),
            Self::Json,
            Self::JsonText,
            Self::Geometry,
            Self::Uuid,
            Self::Inet4,
            Self::Inet6,
            Self::Vector,
            Self::Skipped,
        ];
        let masks = [Mask::Redact, Mask::Truncate { characters: 2 }];
        all.extend(masks.map(|mask| Self::Masked {
            charset: Charset::Latin1,
            is_compressed: mask == Mask::Redact,
            mask,
        }));
        for zero in [ZeroDates::Stop, ZeroDates::Null, ZeroDates::Text] {
            all.push(Self::Date(zero));
            all.extend(forms.map(|form| Self::Datetime(form, zero)));
            all.extend(forms.map(|form| Self::Timestamp(form, zero)));
        }
        all.extend(forms.map(|form| Self::Time(form, MysqlTime::Text)));
        all.extend(forms.map(|form| Self::Time(form, MysqlTime::TimeOfDay)));
        let charsets = [Charset::Utf8mb4, Charset::Latin1, Charset::Gbk, Charset::Utf16];
        all.extend(charsets.map(Self::Text));
        all
    }

    /// What the cells are to the rest of the project.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Int8 | Self::Int16 | Self::Int24 | Self::Int32 => DataType::Int32,
            Self::Uint8 | Self::Uint16 | Self::Uint24 | Self::Year => DataType::Int32,
            Self::Int64 | Self::Uint32 | Self::Uint64(UnsignedBigint::Long) => DataType::Int64,
            Self::Uint64(UnsignedBigint::Decimal) => {
                DataType::Decimal { precision: UNSIGNED_DIGITS, scale: 0 }
            }
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } => {
                DataType::Decimal { precision: (*precision).into(), scale: (*scale).into() }
            }
            // Dates that are none have no place in Avro's types, nor has a span of time.
            Self::Date(ZeroDates::Text)
            | Self::Datetime(_, ZeroDates::Text)
            | Self::Timestamp(_, ZeroDates::Text)
            | Self::Time(_, MysqlTime::Text) => DataType::Text,
            Self::Date(_) => DataType::Date,
            Self::Datetime(..) => DataType::Timestamp,
            Self::Timestamp(..) => DataType::TimestampTz,
            Self::Time(_, MysqlTime::TimeOfDay) => DataType::Time,
            Self::Bits(_) | Self::Text(_) | Self::CompressedText(_) | Self::Set(_) => {
                DataType::Text
            }
            Self::Inet4 | Self::Inet6 | Self::Masked { .. } => DataType::Text,
            // Nobody asks: no field is of it.
            Self::Skipped => DataType::Text,
            Self::Bytes | Self::CompressedBytes | Self::Binary(_) => DataType::Bytes,
            Self::Enum(labels) => DataType::Enum { labels: labels.clone() },
            Self::Json | Self::JsonText => DataType::Json,
            Self::Geometry => DataType::Record(geometry_type()),
            Self::Uuid => DataType::Uuid,
            Self::Vector => DataType::Array(Box::new(DataType::Float32)),
        }
    }

    /// How the column is read if it is masked: texts alone have masked forms.
    ///
    /// # Errors
    ///
    /// That it is of another type.
    pub(crate) fn masked(&self, mask: Mask) -> Result<Self, Wrong> {
        match self {
            Self::Text(charset) => {
                Ok(Self::Masked { charset: *charset, is_compressed: false, mask })
            }
            Self::CompressedText(charset) => {
                Ok(Self::Masked { charset: *charset, is_compressed: true, mask })
            }
            _ => Err(Wrong::MaskOfNoText),
        }
    }

    /// Takes over that the column is one of the key, which has no null.
    pub(crate) fn set_in_key(&mut self) {
        if let Self::Date(zero) | Self::Datetime(_, zero) | Self::Timestamp(_, zero) = self
            && *zero == ZeroDates::Null
        {
            *zero = ZeroDates::Stop;
        }
    }

    /// Reads one cell, without its length.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not of the type or the charset; `Unsupported` for a value that
    /// is not carried by the choice of the settings.
    #[inline]
    pub(crate) fn visit<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        match self {
            Self::Int8 => visitor.int32(i8::from_le_bytes(whole(bytes)?).into()),
            Self::Int16 => visitor.int32(i16::from_le_bytes(whole(bytes)?).into()),
            // Moved to the top, so that the sign comes back down with it.
            Self::Int24 => visitor.int32((uint24(bytes)? << 8).cast_signed() >> 8),
            Self::Int32 => visitor.int32(i32::from_le_bytes(whole(bytes)?)),
            Self::Int64 => visitor.int64(i64::from_le_bytes(whole(bytes)?)),
            Self::Uint8 => visitor.int32(whole::<1>(bytes)?[0].into()),
            Self::Uint16 => visitor.int32(u16::from_le_bytes(whole(bytes)?).into()),
            Self::Uint24 => visitor.int32(uint24(bytes)?.cast_signed()),
            Self::Uint32 => visitor.int64(u32::from_le_bytes(whole(bytes)?).into()),
            Self::Uint64(as_what) => uint64(u64::from_le_bytes(whole(bytes)?), *as_what, visitor),
            Self::Float => visitor.float32(f32::from_le_bytes(whole(bytes)?)),
            Self::Double => visitor.float64(f64::from_le_bytes(whole(bytes)?)),
            Self::Decimal { precision, scale } => {
                let read = numeric::with_decimal(bytes, *precision, *scale, |value| {
                    visitor.decimal(value)
                });
                read.unwrap_or_else(|| Err(malformed()))
            }
            Self::Year => visitor.int32(match whole::<1>(bytes)?[0] {
                0 => 0,
                year => YEAR_BASE + i32::from(year),
            }),
            Self::Bits(count) => with_utf8(visitor, |out| bits(bytes, *count, out)),
            Self::Date(zero) => date(bytes, *zero, visitor),
            Self::Datetime(form, zero) => datetime(bytes, *form, *zero, visitor),
            Self::Timestamp(form, zero) => timestamp(bytes, *form, *zero, visitor),
            Self::Time(form, as_what) => span(bytes, *form, *as_what, visitor),
            Self::Text(charset) => text(bytes, *charset, |text| visitor.text(text)),
            Self::CompressedText(charset) => with_bytes(
                |out| column(bytes, out),
                |bytes| text(bytes, *charset, |text| visitor.text(text)),
            ),
            Self::Masked { charset, is_compressed, mask } => {
                masked(bytes, *charset, *is_compressed, |text| mask.visit(text, visitor))
            }
            Self::Bytes => visitor.bytes(bytes),
            Self::CompressedBytes => {
                with_bytes(|out| column(bytes, out), |bytes| visitor.bytes(bytes))
            }
            Self::Binary(length) => padded(bytes, *length, visitor),
            Self::Enum(labels) => visitor.text(label(first_uint(bytes), labels)?),
            Self::Set(labels) => with_text(visitor, |out| members(first_uint(bytes), labels, out)),
            Self::Json => with_utf8(visitor, |out| json::print(bytes, out)),
            Self::JsonText => visitor.text(utf8(bytes)?),
            Self::Geometry => geometry(bytes, visitor),
            Self::Uuid => visitor.uuid(&zeros_behind(bytes)?),
            Self::Inet4 => {
                let address = zeros_behind(bytes)?;
                written(visitor, |out| inet4(&address, out))
            }
            Self::Inet6 => {
                let address = zeros_behind(bytes)?;
                written(visitor, |out| inet6(&address, out))
            }
            Self::Vector => vector(bytes, visitor),
            Self::Skipped => Ok(()),
        }
    }

    /// Reads a cell that holds what changed in a document, of which `old` is the one before.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are no differences of a document.
    pub(crate) fn visit_diff<V: CellVisitor>(
        &self,
        old: &[u8],
        diff: &[u8],
        visitor: &mut V,
    ) -> Result<()> {
        match self {
            Self::Json => with_utf8(visitor, |out| json::apply(old, diff, out)),
            Self::Skipped => Ok(()),
            _ => Err(malformed()),
        }
    }
}

/// Hands a text that `write` puts together to the visitor.
fn written<V: CellVisitor>(visitor: &mut V, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    with_utf8(visitor, |out| {
        write(out);
        Some(())
    })
}

/// All of a cell of so many bytes.
#[inline]
fn whole<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed())
}

#[inline]
fn uint24(bytes: &[u8]) -> Result<u32> {
    let [a, b, c] = whole(bytes)?;
    Ok(u32::from_le_bytes([a, b, c, 0]))
}

/// All of a value of so many bytes, whose zeros at the end are not in the log.
fn zeros_behind<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len()).ok_or_else(malformed)?.copy_from_slice(bytes);
    Ok(all)
}

pub(super) fn uint64<V: CellVisitor>(
    value: u64,
    as_what: UnsignedBigint,
    visitor: &mut V,
) -> Result<()> {
    match as_what {
        UnsignedBigint::Decimal => {
            visitor.decimal(DecimalRef::Small { unscaled: value.into(), scale: 0 })
        }
        UnsignedBigint::Long => visitor.int64(i64::try_from(value).map_err(|_| {
            unsupported("a number is larger than the largest with a sign")
                .help("set the source's unsigned_bigint to decimal")
        })?),
    }
}

#[cold]
fn unsupported(why: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "read a cell").because(why)
}

#[cold]
fn no_date() -> Error {
    unsupported("a date is none that a calendar has")
        .help("set the source's zero_dates to null or text, or change the row")
}

fn date<V: CellVisitor>(bytes: &[u8], zero: ZeroDates, visitor: &mut V) -> Result<()> {
    visit_date(&time::date(bytes).ok_or_else(malformed)?, zero, visitor)
}

pub(super) fn visit_date<V: CellVisitor>(
    date: &Civil,
    zero: ZeroDates,
    visitor: &mut V,
) -> Result<()> {
    match (zero, date.days()) {
        (ZeroDates::Text, _) => written(visitor, |out| date.write_date(out)),
        (_, Some(days)) => visitor.date(days),
        (ZeroDates::Null, None) => visitor.null(),
        (ZeroDates::Stop, None) => Err(no_date()),
    }
}

fn datetime<V: CellVisitor>(
    bytes: &[u8],
    form: TemporalForm,
    zero: ZeroDates,
    visitor: &mut V,
) -> Result<()> {
    visit_datetime(&time::datetime(form, bytes).ok_or_else(malformed)?, form, zero, visitor)
}

pub(super) fn visit_datetime<V: CellVisitor>(
    date: &Civil,
    form: TemporalForm,
    zero: ZeroDates,
    visitor: &mut V,
) -> Result<()> {
    match (zero, date.micros_since_1970()) {
        (ZeroDates::Text, _) => written(visitor, |out| date.write(form.digits(), out)),
        (_, Some(micros)) => visitor.timestamp(micros),
        (ZeroDates::Null, None) => visitor.null(),
        (ZeroDates::Stop, None) => Err(no_date()),
    }
}

fn timestamp<V: CellVisitor>(
    bytes: &[u8],
    form: TemporalForm,
    zero: ZeroDates,
    visitor: &mut V,
) -> Result<()> {
    visit_timestamp(time::timestamp(form, bytes).ok_or_else(malformed)?, form, zero, visitor)
}

/// Seconds since 1970 and microseconds; all zero is the date that is none.
pub(super) fn visit_timestamp<V: CellVisitor>(
    (seconds, micros): (u32, u32),
    form: TemporalForm,
    zero: ZeroDates,
    visitor: &mut V,
) -> Result<()> {
    let is_date = seconds != 0 || micros != 0;
    let date = match is_date {
        true => Civil::of_seconds(seconds, micros),
        false => Civil::default(),
    };
    match (zero, is_date) {
        (ZeroDates::Text, _) => written(visitor, |out| date.write(form.digits(), out)),
        (_, true) => visitor.timestamp_tz(i64::from(seconds) * 1_000_000 + i64::from(micros)),
        (ZeroDates::Null, false) => visitor.null(),
        (ZeroDates::Stop, false) => Err(no_date()),
    }
}

fn span<V: CellVisitor>(
    bytes: &[u8],
    form: TemporalForm,
    as_what: MysqlTime,
    visitor: &mut V,
) -> Result<()> {
    visit_span(&time::time(form, bytes).ok_or_else(malformed)?, form, as_what, visitor)
}

pub(super) fn visit_span<V: CellVisitor>(
    span: &Span,
    form: TemporalForm,
    as_what: MysqlTime,
    visitor: &mut V,
) -> Result<()> {
    match as_what {
        MysqlTime::Text => written(visitor, |out| span.write(form.digits(), out)),
        MysqlTime::TimeOfDay => visitor.time(span.of_day().ok_or_else(|| {
            unsupported("a time is negative or longer than a day")
                .help("set the source's time to text")
        })?),
    }
}

/// Text of a charset. What is UTF-8 already is handed on as it is.
#[inline]
pub(super) fn text(
    bytes: &[u8],
    charset: Charset,
    take: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    if charset.is_utf8() || (charset.has_ascii() && bytes.is_ascii()) {
        return take(utf8(bytes)?);
    }
    let decode = |out: &mut String| {
        charset.decode(bytes, out).ok_or_else(|| {
            malformed().because("its bytes are not of its charset").with("charset", charset.name())
        })
    };
    with_string(decode, take)
}

/// Kept apart from the other texts, which are many more.
#[cold]
fn masked(
    bytes: &[u8],
    charset: Charset,
    is_compressed: bool,
    take: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    match is_compressed {
        true => with_bytes(|out| column(bytes, out), |bytes| text(bytes, charset, take)),
        false => text(bytes, charset, take),
    }
}

/// The highest bit first.
fn bits(bytes: &[u8], count: u8, out: &mut Vec<u8>) -> Option<()> {
    (bytes.len() == usize::from(count).div_ceil(8) && bytes.len() <= 8).then_some(())?;
    let value = uint_be(bytes);
    for place in (0..count).rev() {
        out.push(b'0' + u8::from(value >> place & 1 == 1));
    }
    Some(())
}

fn padded<V: CellVisitor>(bytes: &[u8], length: u16, visitor: &mut V) -> Result<()> {
    let length = usize::from(length);
    if bytes.len() >= length {
        return visitor.bytes(bytes);
    }
    let pad = |out: &mut Vec<u8>| {
        out.extend_from_slice(bytes);
        out.resize(length, 0);
        Some(())
    };
    with_bytes(pad, |bytes| visitor.bytes(bytes))
}

/// The number of the first bytes, at most eight.
fn first_uint(bytes: &[u8]) -> u64 {
    uint(bytes.get(..8).unwrap_or(bytes))
}

/// Labels are counted from 1; 0 is the empty text that stands for a value that was none of them.
pub(super) fn label(number: u64, labels: &[String]) -> Result<&str> {
    match usize::try_from(number) {
        Ok(0) => Ok(""),
        Ok(number) => labels.get(number - 1).map(String::as_str).ok_or_else(malformed),
        Err(_) => Err(malformed()),
    }
}

/// A bit for each label, the lowest for the first.
pub(super) fn members(value: u64, labels: &[String], out: &mut String) -> Result<()> {
    if labels.len() < 64 && value >> labels.len() != 0 {
        return Err(malformed());
    }
    for (index, label) in labels.iter().take(64).enumerate() {
        if value >> index & 1 == 1 {
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(label);
        }
    }
    Ok(())
}

/// Debezium's fields of a shape (`io.debezium.data.geometry.Geometry`).
fn geometry_type() -> RecordType {
    let field = |name: &str, data_type, source_type: &str| RecordField {
        name: name.to_owned(),
        data_type,
        source_type: source_type.to_owned(),
    };
    RecordType {
        schema: "mysql".to_owned(),
        name: "geometry".to_owned(),
        fields: vec![
            field("wkb", DataType::Bytes, "geometry"),
            field("srid", DataType::Int64, "int unsigned"),
        ],
    }
}

fn geometry<V: CellVisitor>(bytes: &[u8], visitor: &mut V) -> Result<()> {
    let (srid, wkb) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
    visitor.record_start()?;
    visitor.bytes(wkb)?;
    visitor.int64(u32::from_le_bytes(*srid).into())?;
    visitor.record_end()
}

fn vector<V: CellVisitor>(bytes: &[u8], visitor: &mut V) -> Result<()> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(malformed());
    }
    visitor.array_start(numbers.len())?;
    numbers.iter().try_for_each(|number| visitor.float32(f32::from_le_bytes(*number)))?;
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

    fn read(reader: &Reader, bytes: &[u8]) -> Result<Value> {
        Values::of(&One(reader, bytes)).map(|mut cells| cells.pop().unwrap_or(Value::Absent))
    }

    #[test]
    fn numbers_of_24_bits_have_a_sign() {
        assert_eq!(read(&Reader::Int24, &[0xff, 0xff, 0xff]).unwrap(), Value::Int32(-1));
        assert_eq!(read(&Reader::Int24, &[0, 0, 0x80]).unwrap(), Value::Int32(-8_388_608));
        assert_eq!(read(&Reader::Uint24, &[0, 0, 0x80]).unwrap(), Value::Int32(8_388_608));
    }

    #[test]
    fn numbers_above_the_largest_with_a_sign_are_decimals() {
        let most =
            Value::Decimal { unscaled: vec![0, 255, 255, 255, 255, 255, 255, 255, 255], scale: 0 };
        assert_eq!(read(&Reader::Uint64(UnsignedBigint::Decimal), &[255; 8]).unwrap(), most);
        let error = read(&Reader::Uint64(UnsignedBigint::Long), &[255; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn dates_that_are_none_are_what_the_settings_say() {
        let read = |zero| read(&Reader::Date(zero), &[0, 0, 0]);
        assert_eq!(read(ZeroDates::Null).unwrap(), Value::Null);
        assert_eq!(read(ZeroDates::Text).unwrap(), Value::Text("0000-00-00".to_owned()));
        let error = read(ZeroDates::Stop).unwrap_err();
        assert!(error.help_text().is_some_and(|help| help.contains("zero_dates")));
        let mut in_key = Reader::Date(ZeroDates::Null);
        in_key.set_in_key();
        assert_eq!(in_key, Reader::Date(ZeroDates::Stop));
    }

    /// By `Field_vector` in MySQL 9.1's `sql/field.h`; no real MySQL was at hand.
    #[test]
    fn a_vector_is_an_array() {
        let bytes = [1.5_f32.to_le_bytes(), (-2_f32).to_le_bytes()].concat();
        let expected = Value::Array(vec![Value::Float32(1.5), Value::Float32(-2.0)]);
        assert_eq!(read(&Reader::Vector, &bytes).unwrap(), expected);
    }

    #[test]
    fn bytes_of_another_charset_are_refused_with_its_name() {
        let error = read(&Reader::Text(Charset::Cp1250), &[0x81]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(error.to_string().contains("charset=cp1250"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for reader in Reader::samples() {
                let _ = read(&reader, &bytes);
                let _ = reader.visit_diff(&bytes, &bytes, &mut Values::default());
            }
        }

        #[test]
        fn bytes_of_the_right_length_are_read_or_refused(bytes: [u8; 8], length in 0_usize..9) {
            for reader in Reader::samples() {
                let _ = read(&reader, &bytes[..length]);
            }
        }
    }
}
