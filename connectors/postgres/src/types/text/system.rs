//! Small types: bits, places, transactions, key-value pairs.

use crate::types::bytes::Bytes;
use std::io::Write;

/// `bit_send`: how many, then eight a byte, the highest first (`varbit.c`).
pub(super) fn bits(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let count = bytes.u32()? as usize;
    let packed = bytes.take(count.div_ceil(8))?;
    bytes.end()?;
    out.extend((0..count).map(|bit| b'0' + (packed[bit / 8] >> (7 - bit % 8) & 1)));
    Some(())
}

/// A `"char"`: nothing for zero, the character if it is one, else its octal number (`char.c` since
/// PostgreSQL 16; before, a byte that was no UTF-8).
pub(super) fn char(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match bytes {
        [0] => Some(()),
        [byte] if byte.is_ascii() => {
            out.push(*byte);
            Some(())
        }
        [byte] => write!(out, "\\{byte:03o}").ok(),
        _ => None,
    }
}

/// A row's place: `(page,row)`.
pub(super) fn tid(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let (page, row) = (bytes.u32()?, bytes.u16()?);
    bytes.end()?;
    write!(out, "({page},{row})").ok()
}

/// A place in the log.
pub(super) fn lsn(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let place = u64::from_be_bytes(bytes.try_into().ok()?);
    write!(out, "{:X}/{:X}", place >> 32, place & 0xffff_ffff).ok()
}

/// `xmin:xmax:xip,xip,…` (`xid8funcs.c`).
pub(super) fn snapshot(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let count = bytes.u32()?;
    let (xmin, xmax) = (bytes.i64()?, bytes.i64()?);
    write!(out, "{}:{}:", xmin.cast_unsigned(), xmax.cast_unsigned()).ok()?;
    for index in 0..count {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}{}", bytes.i64()?.cast_unsigned()).ok()?;
    }
    bytes.end()
}

/// `int2vector` and `oidvector`: numbers of one dimension, with blanks between.
pub(super) fn vector(
    bytes: &[u8],
    number: impl Fn(&[u8]) -> Option<i64>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let shape = crate::types::array::shape(&mut bytes)?;
    for index in 0..shape.elements()? {
        let blank = if index > 0 { " " } else { "" };
        write!(out, "{blank}{}", number(bytes.value()??)?).ok()?;
    }
    bytes.end()
}

/// The pairs of an `hstore` (`hstore_io.c`, `hstore_send`): how many, then each key and value behind
/// its length.
fn pairs(bytes: &[u8], mut take: impl FnMut(u32, &[u8], Option<&[u8]>)) -> Option<()> {
    let mut bytes = Bytes(bytes);
    for index in 0..bytes.u32()? {
        let key = bytes.value()??;
        take(index, key, bytes.value()?);
    }
    bytes.end()
}

/// An `hstore` as JSON, as `hstore_to_json` writes it.
pub(crate) fn hstore_json(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    pairs(bytes, |index, key, value| {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        json_text(key, out);
        out.extend_from_slice(b": ");
        match value {
            None => out.extend_from_slice(b"null"),
            Some(text) => json_text(text, out),
        }
    })?;
    out.push(b'}');
    Some(())
}

/// An `hstore` as its own text: `"key"=>"value", "other"=>NULL`.
pub(super) fn hstore(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    pairs(bytes, |index, key, value| {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        quoted(key, out);
        out.extend_from_slice(b"=>");
        match value {
            None => out.extend_from_slice(b"NULL"),
            Some(text) => quoted(text, out),
        }
    })
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// `escape_json` of `json.c`.
fn json_text(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}
