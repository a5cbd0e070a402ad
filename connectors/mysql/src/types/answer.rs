//! How a column's cells are read in an answer to a `SELECT`, so that a row that is read beside the log
//! is the row of the log: one line a type.
//!
//! Texts come in their column's own charset (`character_set_results` is null) and are read as the log's
//! are; most other cells come as the server prints them. Which expression selects a column is said in
//! `snapshot/sql.rs`.

use super::reader::{
    Reader, label, members, text, uint64, visit_date, visit_datetime, visit_span, visit_timestamp,
};
use super::text::{malformed, utf8, with_text};
use super::time::{Civil, civil_of_text, span_of_text};
use crate::numeric;
use std::str::FromStr;
use tidemesh_model::{CellVisitor, Result};

const SECOND_US: i64 = 1_000_000;

impl Reader {
    /// Whether such a column has whole numbers.
    pub(crate) fn is_whole_number(&self) -> bool {
        matches!(
            self,
            Self::Int8
                | Self::Int16
                | Self::Int24
                | Self::Int32
                | Self::Int64
                | Self::Uint8
                | Self::Uint16
                | Self::Uint24
                | Self::Uint32
                | Self::Uint64(_)
        )
    }

    /// Reads one cell of an answer, which is not null.
    ///
    /// # Errors
    ///
    /// As [`Reader::visit`].
    #[inline]
    pub(crate) fn visit_answer<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        match self {
            Self::Int8 | Self::Int16 | Self::Int24 | Self::Int32 => visitor.int32(number(bytes)?),
            Self::Uint8 | Self::Uint16 | Self::Uint24 | Self::Year => visitor.int32(number(bytes)?),
            Self::Int64 | Self::Uint32 => visitor.int64(number(bytes)?),
            Self::Uint64(as_what) => uint64(number(bytes)?, *as_what, visitor),
            // Selected as a double, whose text has all its digits.
            Self::Float => visitor.float32(number(bytes)?),
            Self::Double => visitor.float64(number(bytes)?),
            Self::Decimal { scale, .. } => {
                let read = numeric::with_text(bytes, *scale, |value| visitor.decimal(value));
                read.unwrap_or_else(|| Err(malformed()))
            }
            Self::Date(zero) => visit_date(&civil(bytes)?, *zero, visitor),
            Self::Datetime(form, zero) => visit_datetime(&civil(bytes)?, *form, *zero, visitor),
            Self::Timestamp(form, zero) => visit_timestamp(moment(bytes)?, *form, *zero, visitor),
            Self::Time(form, as_what) => {
                let span = span_of_text(bytes).ok_or_else(malformed)?;
                visit_span(&span, *form, *as_what, visitor)
            }
            // Selected as their numbers: two labels may differ in nothing that a text shows.
            Self::Enum(labels) => visitor.text(label(number(bytes)?, labels)?),
            Self::Set(labels) => {
                let value = number(bytes)?;
                with_text(visitor, |out| members(value, labels, out))
            }
            Self::Json | Self::Inet4 | Self::Inet6 => visitor.text(utf8(bytes)?),
            Self::Uuid => visitor.uuid(&uuid(bytes).ok_or_else(malformed)?),
            Self::CompressedText(charset) => text(bytes, *charset, |text| visitor.text(text)),
            Self::CompressedBytes => visitor.bytes(bytes),
            // The server has unpacked it.
            Self::Masked { charset, mask, .. } => {
                text(bytes, *charset, |text| mask.visit(text, visitor))
            }
            // They come as the log has them.
            Self::Bits(_)
            | Self::Text(_)
            | Self::Bytes
            | Self::Binary(_)
            | Self::JsonText
            | Self::Geometry
            | Self::Vector
            | Self::Skipped => self.visit(bytes, visitor),
        }
    }
}

fn number<N: FromStr>(bytes: &[u8]) -> Result<N> {
    utf8(bytes)?.parse().map_err(|_| malformed())
}

fn civil(bytes: &[u8]) -> Result<Civil> {
    civil_of_text(bytes).ok_or_else(malformed)
}

/// Seconds since 1970 and microseconds, in UTC; all zero for the date that is none.
fn moment(bytes: &[u8]) -> Result<(u32, u32)> {
    let date = civil(bytes)?;
    if date == Civil::default() {
        return Ok((0, 0));
    }
    let micros = date.micros_since_1970().ok_or_else(malformed)?;
    let seconds = u32::try_from(micros.div_euclid(SECOND_US)).map_err(|_| malformed())?;
    Ok((seconds, date.micros))
}

fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = text.iter().filter(|byte| **byte != b'-');
    let mut digit = || char::from(*digits.next()?).to_digit(16);
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
    }
    digit().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::time::TemporalForm;
    use proptest::prelude::*;
    use tidemesh_model::{RowImage, Value, Values, ZeroDates};

    struct One<'a>(&'a Reader, &'a [u8]);

    impl RowImage for One<'_> {
        fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
            self.0.visit_answer(self.1, visitor)
        }
    }

    fn read(reader: &Reader, text: &str) -> Result<Value> {
        Values::of(&One(reader, text.as_bytes())).map(|cells| cells[0].clone())
    }

    #[test]
    fn moments_have_their_fractions_and_zeros_are_none() {
        let of = |zero| Reader::Timestamp(TemporalForm::Packed(3), zero);
        let found = read(&of(ZeroDates::Stop), "2024-02-29 23:59:58.125").unwrap();
        assert_eq!(found, Value::TimestampTz(1_709_251_198_125_000));
        let zero = "0000-00-00 00:00:00.000";
        assert_eq!(read(&of(ZeroDates::Null), zero).unwrap(), Value::Null);
        assert_eq!(read(&of(ZeroDates::Text), zero).unwrap(), Value::Text(zero.to_owned()));
        assert!(read(&of(ZeroDates::Stop), zero).is_err());
    }

    #[test]
    fn a_float_of_all_its_digits_is_the_float() {
        assert_eq!(read(&Reader::Float, "0.10000000149011612").unwrap(), Value::Float32(0.1));
        assert_eq!(read(&Reader::Float, "3.0000000054977558e38").unwrap(), Value::Float32(3e38));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for reader in Reader::samples() {
                let _ = reader.visit_answer(&bytes, &mut Values::default());
            }
        }

        #[test]
        fn any_digits_are_read_or_refused(text in "[-: .0-9]{0,30}") {
            for reader in Reader::samples() {
                let _ = reader.visit_answer(text.as_bytes(), &mut Values::default());
            }
        }
    }
}
