//! Geometric types (PostgreSQL 18, `geo_ops.c`): floats in binary, in the order that the text has.

use super::float::write_float8;
use crate::types::bytes::Bytes;

fn pair(bytes: &mut Bytes<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'(');
    write_float8(bytes.f64()?, out)?;
    out.push(b',');
    write_float8(bytes.f64()?, out)?;
    out.push(b')');
    Some(())
}

fn pairs(count: u32, bytes: &mut Bytes<'_>, out: &mut Vec<u8>) -> Option<()> {
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        pair(bytes, out)?;
    }
    Some(())
}

/// `(x,y)`.
pub(super) fn point(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    pair(&mut bytes, out)?;
    bytes.end()
}

/// `{A,B,C}`.
pub(super) fn line(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    for before in *b"{,," {
        out.push(before);
        write_float8(bytes.f64()?, out)?;
    }
    out.push(b'}');
    bytes.end()
}

/// `[(x,y),(x,y)]`.
pub(super) fn segment(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    out.push(b'[');
    pairs(2, &mut bytes, out)?;
    out.push(b']');
    bytes.end()
}

/// `(x,y),(x,y)`: the upper right corner comes first.
pub(super) fn rectangle(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    pairs(2, &mut bytes, out)?;
    bytes.end()
}

/// `((x,y),…)` if it is closed, `[(x,y),…]` if it is open.
pub(super) fn path(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let closed = bytes.byte()? != 0;
    let count = bytes.u32()?;
    out.push(if closed { b'(' } else { b'[' });
    pairs(count, &mut bytes, out)?;
    out.push(if closed { b')' } else { b']' });
    bytes.end()
}

/// `((x,y),…)`.
pub(super) fn polygon(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let count = bytes.u32()?;
    out.push(b'(');
    pairs(count, &mut bytes, out)?;
    out.push(b')');
    bytes.end()
}

/// `<(x,y),r>`.
pub(super) fn circle(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    out.push(b'<');
    pair(&mut bytes, out)?;
    out.push(b',');
    write_float8(bytes.f64()?, out)?;
    out.push(b'>');
    bytes.end()
}
