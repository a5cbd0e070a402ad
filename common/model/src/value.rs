//! Owned values, and the borrowed form of a decimal.

use crate::{CellVisitor, Result};
use serde::{Deserialize, Serialize};

/// One value, owned: for processors, sinks, defaults and tests. The hot path never makes one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// SQL null.
    Null,
    /// Not in the log record: an unchanged large value, or a column outside a key-only image.
    Absent,
    /// A boolean.
    Boolean(bool),
    /// An integer of 32 bits.
    Int32(i32),
    /// An integer of 64 bits.
    Int64(i64),
    /// A binary32 number.
    Float32(f32),
    /// A binary64 number.
    Float64(f64),
    /// An exact number: two's complement, big-endian, shortest form, times `10^-scale`.
    Decimal {
        /// The number without its point.
        unscaled: Vec<u8>,
        /// Digits behind the point.
        scale: u32,
    },
    /// Text, a JSON document or an enum's label.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID's 16 bytes.
    Uuid([u8; 16]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00, no zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz(i64),
    /// An array's elements.
    Array(Vec<Value>),
    /// A composite value's fields, in the type's order.
    Record(Vec<Value>),
}

impl Value {
    /// Hands this value to a visitor, as a row's cell would.
    ///
    /// # Errors
    ///
    /// What the visitor answers.
    pub fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        match self {
            Self::Null => visitor.null(),
            Self::Absent => visitor.absent(),
            Self::Boolean(value) => visitor.boolean(*value),
            Self::Int32(value) => visitor.int32(*value),
            Self::Int64(value) => visitor.int64(*value),
            Self::Float32(value) => visitor.float32(*value),
            Self::Float64(value) => visitor.float64(*value),
            Self::Decimal { unscaled, scale } => {
                visitor.decimal(DecimalRef::Big { unscaled, scale: *scale })
            }
            Self::Text(value) => visitor.text(value),
            Self::Bytes(value) => visitor.bytes(value),
            Self::Uuid(value) => visitor.uuid(value),
            Self::Date(value) => visitor.date(*value),
            Self::Time(value) => visitor.time(*value),
            Self::Timestamp(value) => visitor.timestamp(*value),
            Self::TimestampTz(value) => visitor.timestamp_tz(*value),
            Self::Array(elements) => {
                visitor.array_start(elements.len())?;
                elements.iter().try_for_each(|element| element.visit(visitor))?;
                visitor.array_end()
            }
            Self::Record(fields) => {
                visitor.record_start()?;
                fields.iter().try_for_each(|field| field.visit(visitor))?;
                visitor.record_end()
            }
        }
    }
}

/// An exact number as a decoder hands it over: an unscaled integer times `10^-scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalRef<'a> {
    /// One that fits 128 bits: every number of up to 38 digits.
    Small {
        /// The number without its point.
        unscaled: i128,
        /// Digits behind the point.
        scale: u32,
    },
    /// Any other.
    Big {
        /// The number without its point: two's complement, big-endian, at least one byte.
        unscaled: &'a [u8],
        /// Digits behind the point.
        scale: u32,
    },
}

impl DecimalRef<'_> {
    /// Digits behind the point.
    #[must_use]
    pub fn scale(&self) -> u32 {
        match self {
            Self::Small { scale, .. } | Self::Big { scale, .. } => *scale,
        }
    }

    /// The unscaled number in the shortest big-endian two's complement, handed to `write`.
    pub fn with_unscaled<T>(&self, write: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Small { unscaled, .. } => {
                let bytes = unscaled.to_be_bytes();
                write(shortest(&bytes))
            }
            Self::Big { unscaled, .. } => write(shortest(unscaled)),
        }
    }
}

/// Drops the leading bytes that only repeat the sign; keeps at least one byte.
fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let repeats_sign =
            (*first == 0 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
        if !repeats_sign {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

/// A two's complement number, big-endian, as decimal text with `scale` digits behind the point.
#[must_use]
pub fn decimal_text(unscaled: &[u8], scale: usize) -> String {
    let negative = unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut magnitude: Vec<u8> = unscaled.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (value, over) = (!*byte).overflowing_add(u8::from(carry));
            *byte = value;
            carry = over;
        }
    }
    // The lowest digit first: divide by ten until nothing is left.
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u16;
        for byte in &mut magnitude {
            let value = (rest << 8) | u16::from(*byte);
            // Both fit: the rest is below ten, so the quotient is below 256.
            *byte = u8::try_from(value / 10).unwrap_or(u8::MAX);
            rest = value % 10;
        }
        digits.push(char::from(b'0' + u8::try_from(rest).unwrap_or(0)));
    }
    while digits.len() <= scale {
        digits.push('0');
    }
    let mut text = String::with_capacity(digits.len() + 2);
    if negative {
        text.push('-');
    }
    for (place, digit) in digits.iter().enumerate().rev() {
        text.push(*digit);
        if place == scale && scale > 0 {
            text.push('.');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_shortest_form_keeps_the_number(unscaled: i128) {
            let bytes = DecimalRef::Small { unscaled, scale: 0 }.with_unscaled(<[u8]>::to_vec);
            let mut wide = [if bytes[0] & 0x80 == 0 { 0 } else { 0xff }; 16];
            wide[16 - bytes.len()..].copy_from_slice(&bytes);
            prop_assert_eq!(i128::from_be_bytes(wide), unscaled);
            let again = DecimalRef::Big { unscaled: &wide, scale: 0 }.with_unscaled(<[u8]>::to_vec);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn decimals_are_printed_with_their_scale() {
        assert_eq!(decimal_text(&[0x01, 0x2c], 2), "3.00");
        assert_eq!(decimal_text(&[0xff], 2), "-0.01");
        assert_eq!(decimal_text(&[0x80], 0), "-128");
        assert_eq!(decimal_text(&[0], 3), "0.000");
    }

    #[test]
    fn zero_and_minus_one_take_one_byte() {
        let bytes =
            |unscaled| DecimalRef::Small { unscaled, scale: 0 }.with_unscaled(<[u8]>::to_vec);
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(-1), [0xff]);
        assert_eq!(bytes(128), [0, 0x80]);
        assert_eq!(bytes(-128), [0x80]);
    }
}
