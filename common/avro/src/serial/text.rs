//! Text into logical types (specification 1.12, "Logical Types"): exact, or refused.

use super::plan::{FixedPlan, Node};
use super::{decimal, time};
use crate::schema::Logical;
use crate::varint::write_long;

/// Digits of a second behind the point.
const MILLIS: u32 = 3;
const MICROS: u32 = 6;
const NANOS: u32 = 9;

const UUID_BYTES: usize = 16;
/// Where a uuid's text has its hyphens (RFC 9562, section 4).
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID_TEXT_BYTES: usize = 36;

/// Why a text is not written: none where the type takes no text at all.
pub(super) type Wrong = Option<&'static str>;

/// Appends `text` as a value of `node`, a logical type. If it is refused, nothing is appended.
pub(super) fn write(node: &Node, text: &str, out: &mut Vec<u8>) -> Result<(), Wrong> {
    match node {
        Node::Int(Some(logical)) => {
            let value = match logical {
                Logical::Date => time::date(text)?,
                Logical::TimeMillis => time::of_day(text, MILLIS)?,
                _ => return Err(None),
            };
            let value = i32::try_from(value).map_err(|_| time::OUT_OF_RANGE)?;
            write_long(out, i64::from(value));
        }
        Node::Long(Some(logical)) => write_long(out, long(*logical, text)?),
        Node::Bytes(Some((precision, scale))) => {
            decimal::write(text, *precision, *scale, None, out)?;
        }
        Node::Fixed(FixedPlan { size, logical: Some(logical), .. }) => match logical {
            Logical::Decimal { precision, scale } => {
                decimal::write(text, *precision, *scale, Some(*size), out)?;
            }
            Logical::Uuid => match uuid(text) {
                Some(bytes) => out.extend_from_slice(&bytes),
                None => return Err(Some("the text is no uuid")),
            },
            _ => return Err(None),
        },
        Node::String { uuid: true } => {
            if !is_uuid(text) {
                return Err(Some("the text is no uuid with hyphens"));
            }
            write_long(out, i64::try_from(text.len()).unwrap_or(i64::MAX));
            out.extend_from_slice(text.as_bytes());
        }
        _ => return Err(None),
    }
    Ok(())
}

fn long(logical: Logical, text: &str) -> Result<i64, Wrong> {
    match logical {
        Logical::TimeMicros => time::of_day(text, MICROS),
        Logical::TimestampMillis => time::timestamp(text, MILLIS),
        Logical::TimestampMicros => time::timestamp(text, MICROS),
        Logical::TimestampNanos => time::timestamp(text, NANOS),
        Logical::LocalTimestampMillis => time::local_timestamp(text, MILLIS),
        Logical::LocalTimestampMicros => time::local_timestamp(text, MICROS),
        Logical::LocalTimestampNanos => time::local_timestamp(text, NANOS),
        _ => Err(None),
    }
}

/// Whether [`write()`] takes the text: asked where a union's branch is chosen.
pub(super) fn fits(node: &Node, text: &str) -> bool {
    let logical = match node {
        Node::Int(logical) | Node::Long(logical) => logical.is_some(),
        Node::Bytes(decimal) => decimal.is_some(),
        Node::Fixed(fixed) => fixed.logical.is_some(),
        _ => false,
    };
    logical && write(node, text, &mut Vec::new()).is_ok()
}

/// Whether a text is a uuid's, with hyphens, of either case.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == UUID_TEXT_BYTES
        && text.bytes().enumerate().all(|(place, byte)| match HYPHENS.contains(&place) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
}

/// A uuid's bytes, from 32 digits with or without hyphens.
fn uuid(text: &str) -> Option<[u8; UUID_BYTES]> {
    if !is_uuid(text) && text.len() != 2 * UUID_BYTES {
        return None;
    }
    let mut bytes = [0; UUID_BYTES];
    let hyphens = text.len() == UUID_TEXT_BYTES;
    let digits = text.bytes().filter(|byte| !hyphens || *byte != b'-');
    for (place, digit) in digits.enumerate() {
        let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())?;
        let byte = bytes.get_mut(place / 2)?;
        *byte = *byte << 4 | value;
    }
    Some(bytes)
}
