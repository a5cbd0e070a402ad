//! Addresses (PostgreSQL 18, `network.c`, `mac.c`, `mac8.c`, `src/port/inet_net_ntop.c`).

use crate::types::bytes::Bytes;
use std::io::Write;

/// `PGSQL_AF_INET`; version 6 is the next number.
const VERSION_4: u8 = 2;
const VERSION_6: u8 = 3;

/// An address as `inet_out` and `cidr_out` write it: an `inet` without its mask's length where that
/// is the whole address, a `cidr` always with it. (The cast to text, unlike the output function that
/// psql and `COPY` use, writes the length of both.)
pub(super) fn address(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    let [family, mask_bits, is_cidr, length] = bytes.fixed()?;
    let bits = match (family, length) {
        (VERSION_4, 4) => {
            version_4(bytes.fixed()?, out)?;
            32
        }
        (VERSION_6, 16) => {
            version_6(bytes.fixed()?, out)?;
            128
        }
        _ => return None,
    };
    bytes.end()?;
    if is_cidr != 0 || mask_bits != bits {
        write!(out, "/{mask_bits}").ok()?;
    }
    Some(())
}

fn version_4([a, b, c, d]: [u8; 4], out: &mut Vec<u8>) -> Option<()> {
    write!(out, "{a}.{b}.{c}.{d}").ok()
}

/// The longest run of zeros is left out; the last four bytes behind zeros are an address of version
/// 4.
fn version_6(bytes: [u8; 16], out: &mut Vec<u8>) -> Option<()> {
    let word = |index: usize| u16::from_be_bytes([bytes[2 * index], bytes[2 * index + 1]]);
    let (begin, length) = longest_zeros(&word);
    for index in 0..8 {
        if (begin..begin + length).contains(&index) {
            if index == begin {
                out.push(b':');
            }
            continue;
        }
        if index > 0 {
            out.push(b':');
        }
        let embeds = length == 6 || (length == 5 && word(5) == 0xffff);
        if index == 6 && begin == 0 && embeds {
            return version_4([bytes[12], bytes[13], bytes[14], bytes[15]], out);
        }
        write!(out, "{:x}", word(index)).ok()?;
    }
    if length > 0 && begin + length == 8 {
        out.push(b':');
    }
    Some(())
}

/// Where the first of the longest runs of at least two zero words begins, and its length.
fn longest_zeros(word: &impl Fn(usize) -> u16) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), 0);
    for index in 0..8 {
        run = if word(index) == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (index + 1 - run, run);
        }
    }
    if best.1 < 2 { (0, 0) } else { best }
}

/// A hardware address of 6 or 8 bytes.
pub(super) fn hardware<const N: usize>(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let bytes: [u8; N] = bytes.try_into().ok()?;
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        write!(out, "{colon}{byte:02x}").ok()?;
    }
    Some(())
}
