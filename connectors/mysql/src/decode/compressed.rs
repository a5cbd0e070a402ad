//! MariaDB's compressed parts of events and columns: a short header and zlib's format (MariaDB 10.11,
//! `binlog_buf_uncompress` in `sql/log_event.cc`, `uncompress_zlib` in `sql/field_comp.cc`).

use crate::bytes::{Bytes, uint_be};
use crate::frame::Header;
use miniz_oxide::inflate::decompress_slice_iter_to_slice;
use tidemesh_model::{Error, ErrorKind, Result};

/// How many times as long as its compressed form a text can be in zlib's format (zlib's "Technical
/// Details": 1032), so that a header that claims more is not believed.
const INFLATED_TIMES_MAX: usize = 1032;

/// What the first bytes of a stream may hold beyond that.
const INFLATED_MORE_MAX: usize = 64;

/// What a part's header says.
struct Packed<'a> {
    length: usize,
    bytes: &'a [u8],
}

/// Unpacks the part of an event at the end of `bytes` behind what `out` holds already.
///
/// # Errors
///
/// `Unsupported` for another compression than zlib's; `Malformed` for bytes that are not compressed.
pub(super) fn inflate(header: &Header, bytes: Bytes<'_>, out: &mut Vec<u8>) -> Result<()> {
    let broken = || header.malformed("its compressed part is broken");
    let first = *bytes.0.first().ok_or_else(broken)?;
    // Bit 7: it is compressed; 4 to 6: how, 0 is zlib; 0 to 2: bytes of the length.
    if first & 0x70 != 0 {
        return Err(header
            .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
            .because("the event is compressed in a way that is not known here")
            .with("algorithm", (first & 0x70) >> 4)
            .help("set log_bin_compress to OFF at the server"));
    }
    let packed = packed(bytes, first & 0x07).ok_or_else(broken)?;
    inflate_into(&packed, true, out).ok_or_else(broken)
}

/// Unpacks a compressed column's value behind what `out` holds already; none if it is broken.
///
/// An empty value has no header. 0 is a value as it is; 8 is zlib's format, whose bit 3 says that it
/// has no header of its own (`wbits` below zero).
pub(crate) fn column(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Some((first, plain)) = bytes.split_first() else { return Some(()) };
    match first >> 4 {
        0 => out.extend_from_slice(plain),
        8 => {
            let packed = packed(Bytes(bytes), first & 0x07)?;
            inflate_into(&packed, first & 0x08 == 0, out)?;
        }
        _ => return None,
    }
    Some(())
}

/// Splits a header of a byte and a length, the highest byte first.
fn packed(mut bytes: Bytes<'_>, length_bytes: u8) -> Option<Packed<'_>> {
    bytes.u8()?;
    let length = usize::try_from(uint_be(bytes.take(usize::from(length_bytes).min(4))?)).ok()?;
    Some(Packed { length, bytes: bytes.0 })
}

fn inflate_into(packed: &Packed<'_>, has_header: bool, out: &mut Vec<u8>) -> Option<()> {
    let most = packed.bytes.len().saturating_mul(INFLATED_TIMES_MAX) + INFLATED_MORE_MAX;
    (packed.length <= most).then_some(())?;
    let begin = out.len();
    out.resize(begin + packed.length, 0);
    let input = std::iter::once(packed.bytes);
    let written = decompress_slice_iter_to_slice(&mut out[begin..], input, has_header, false);
    (written == Ok(packed.length)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_come_back(value in proptest::collection::vec(any::<u8>(), 1..300), wrapped: bool) {
            let (flag, packed) = match wrapped {
                true => (0x00, compress_to_vec_zlib(&value, 6)),
                false => (0x08, compress_to_vec(&value, 6)),
            };
            let length = u16::try_from(value.len()).unwrap();
            let mut bytes = vec![0x82 | flag];
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&packed);
            let mut out = b"kept".to_vec();
            column(&bytes, &mut out).unwrap();
            prop_assert_eq!(&out[4..], value.as_slice());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = column(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        let mut out = Vec::new();
        assert_eq!(column(&[0x84, 0x40, 0, 0, 0, 1, 2, 3], &mut out), None);
        assert!(out.capacity() < 1024);
    }
}
