//! Ranges and multiranges (PostgreSQL 18, `rangetypes.c`, `multirangetypes.c`): `range_send` is flags,
//! then the bounds that there are, each behind its length.

use super::{Printer, QUOTED_IN_RANGE, quote_from};
use crate::types::bytes::{Bytes, malformed};
use tidemesh_model::Result;

const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

pub(super) fn range(bound: &Printer, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut bytes = Bytes(bytes);
    let flags = bytes.byte().ok_or_else(malformed)?;
    if flags & EMPTY != 0 {
        out.extend_from_slice(b"empty");
        return bytes.end().ok_or_else(malformed);
    }
    out.push(if flags & LOWER_INCLUSIVE != 0 { b'[' } else { b'(' });
    if flags & LOWER_INFINITE == 0 {
        self::bound(bound, &mut bytes, out)?;
    }
    out.push(b',');
    if flags & UPPER_INFINITE == 0 {
        self::bound(bound, &mut bytes, out)?;
    }
    out.push(if flags & UPPER_INCLUSIVE != 0 { b']' } else { b')' });
    bytes.end().ok_or_else(malformed)
}

fn bound(bound: &Printer, bytes: &mut Bytes<'_>, out: &mut Vec<u8>) -> Result<()> {
    let value = bytes.value().flatten().ok_or_else(malformed)?;
    let start = out.len();
    bound.print(value, out)?;
    quote_from(out, start, &QUOTED_IN_RANGE);
    Ok(())
}

/// How many ranges, then each behind its length.
pub(super) fn multirange(bound: &Printer, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut bytes = Bytes(bytes);
    out.push(b'{');
    for index in 0..bytes.u32().ok_or_else(malformed)? {
        if index > 0 {
            out.push(b',');
        }
        range(bound, bytes.value().flatten().ok_or_else(malformed)?, out)?;
    }
    out.push(b'}');
    bytes.end().ok_or_else(malformed)
}
