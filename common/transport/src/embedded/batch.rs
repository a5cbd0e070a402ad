//! One stored batch: the header before its records.
//!
//! ```text
//! u32 CRC-32C of all that follows
//! u8 version (1)   3 zero bytes   u32 records
//! u64 base offset   u64 next offset (the last offset it covers, and one)
//! i64 largest timestamp, ms   i64 appended at, ms
//! the records, in the layout of record.rs
//! ```
//!
//! Little-endian. The batches of a partition cover its offsets without a gap, also when compaction
//! has taken records out: so a batch that was lost is noticed.

use crate::record::{RecordIter, RecordRef};
use std::ops::Range;
use tidemesh_model::{Error, ErrorKind, Result};

/// A caller's batch is stored in pieces of at most so many bytes; a record that is larger is one by
/// itself. What is read, sent or rewritten is at least a piece.
pub(super) const PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The bytes before a batch's records.
pub(super) const HEADER_BYTES: usize = 44;

const VERSION: u8 = 1;

/// What is known of a batch beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) count: u32,
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) timestamp_ms_max: i64,
    pub(super) appended_at_ms: i64,
}

/// What is stored as one batch of those that a caller has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Range<usize>,
    /// The offset delta of its first record.
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) timestamp_ms_max: i64,
}

/// The value for the storage. It has no room beyond its end.
pub(super) fn encode(header: &Header, records: &[u8]) -> Vec<u8> {
    let mut value = head_and_records(header, records);
    seal(&mut value);
    value
}

/// The value for one piece of a caller's records, numbered from 0 again.
pub(super) fn encode_piece(header: &Header, records: &[u8], piece: &Piece) -> Vec<u8> {
    let mut value = head_and_records(header, records.get(piece.bytes.clone()).unwrap_or_default());
    if piece.first > 0 {
        renumber(&mut value[HEADER_BYTES..]);
    }
    seal(&mut value);
    value
}

/// Numbers records from 0 on (the layout is that of `record.rs`); they were checked.
fn renumber(mut records: &mut [u8]) {
    let mut delta = 0_u32;
    while let Some((length, rest)) = records.split_first_chunk_mut::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((record, rest)) = rest.split_at_mut_checked(length) else { return };
        if let Some(stored) = record.first_chunk_mut() {
            *stored = delta.to_le_bytes();
        }
        delta += 1;
        records = rest;
    }
}

fn head_and_records(header: &Header, records: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + records.len());
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(&[VERSION, 0, 0, 0]);
    value.extend_from_slice(&header.count.to_le_bytes());
    value.extend_from_slice(&header.base.to_le_bytes());
    value.extend_from_slice(&header.next.to_le_bytes());
    value.extend_from_slice(&header.timestamp_ms_max.to_le_bytes());
    value.extend_from_slice(&header.appended_at_ms.to_le_bytes());
    value.extend_from_slice(records);
    value
}

fn seal(value: &mut [u8]) {
    let checksum = crc32c::crc32c(&value[4..]);
    value[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a header whose value has the checksum that it says; none otherwise.
pub(super) fn decode(value: &[u8]) -> Option<Header> {
    let (header, _) = value.split_first_chunk::<HEADER_BYTES>()?;
    let checksum = u32::from_le_bytes(*header.first_chunk()?);
    if crc32c::crc32c(&value[4..]) != checksum || header[4] != VERSION {
        return None;
    }
    let long = |at: usize| Some(*header.get(at..at + 8)?.first_chunk::<8>()?);
    let header = Header {
        count: u32::from_le_bytes(*header.get(8..12)?.first_chunk()?),
        base: u64::from_le_bytes(long(12)?),
        next: u64::from_le_bytes(long(20)?),
        timestamp_ms_max: i64::from_le_bytes(long(28)?),
        appended_at_ms: i64::from_le_bytes(long(36)?),
    };
    (header.next > header.base).then_some(header)
}

/// Checks records that come from a caller: deltas 0, 1, 2, … and as many as they say.
///
/// Answers the pieces in which they are stored.
pub(super) fn check_records(bytes: &[u8], count: u32) -> Result<Vec<Piece>> {
    let refused = |message: &str| {
        Error::new(ErrorKind::Malformed, "append to the log")
            .because(message)
            .with("records", count)
    };
    let mut seen = 0_u32;
    let mut pieces: Vec<Piece> = Vec::with_capacity(1);
    for record in RecordIter::new(bytes) {
        let record = record.map_err(|_| refused("a record's lengths do not add up"))?;
        if record.offset_delta != seen {
            return Err(refused("the records are not numbered in turn"));
        }
        add_record(&mut pieces, &record);
        seen = seen.saturating_add(1);
    }
    if seen == 0 || seen != count {
        return Err(
            refused("a batch has another number of records than it says").with("seen", seen)
        );
    }
    Ok(pieces)
}

/// Adds a record to the last piece, or begins another where it has no room.
fn add_record(pieces: &mut Vec<Piece>, record: &RecordRef<'_>) {
    let (length, timestamp) = (record.raw.len(), record.timestamp_ms);
    match pieces.last_mut() {
        Some(piece) if piece.bytes.len() + length <= PIECE_BYTES_MAX => {
            piece.bytes.end += length;
            piece.count += 1;
            piece.timestamp_ms_max = piece.timestamp_ms_max.max(timestamp);
        }
        last => {
            let start = last.map_or(0, |piece| piece.bytes.end);
            pieces.push(Piece {
                bytes: start..start + length,
                first: record.offset_delta,
                count: 1,
                timestamp_ms_max: timestamp,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Records;
    use proptest::prelude::*;

    const HEADER: Header =
        Header { count: 2, base: 7, next: 9, timestamp_ms_max: 5, appended_at_ms: 6 };

    #[test]
    fn a_header_comes_back() {
        let value = encode(&HEADER, b"records");
        assert_eq!(decode(&value), Some(HEADER));
        assert_eq!(&value[HEADER_BYTES..], b"records");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let value = encode(&HEADER, b"records");
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn records_that_are_not_numbered_in_turn_are_refused() {
        let mut records = Records::default();
        records.push(3, None, &[], Some(b"a")).unwrap();
        records.push(9, None, &[], Some(b"b")).unwrap();
        let piece =
            Piece { bytes: 0..records.len_bytes(), first: 0, count: 2, timestamp_ms_max: 9 };
        assert_eq!(check_records(records.as_bytes(), 2).unwrap(), [piece]);
        assert!(check_records(records.as_bytes(), 3).is_err());
        let mut twice = records.as_bytes().to_vec();
        twice.extend_from_slice(records.as_bytes());
        assert!(check_records(&twice, 4).is_err());
        assert!(check_records(&twice[..5], 1).is_err());
        assert!(check_records(&[], 0).is_err());
    }

    #[test]
    fn many_bytes_are_stored_in_pieces_that_are_numbered_from_0_each() {
        let mut records = Records::default();
        let half = vec![b'x'; PIECE_BYTES_MAX / 2 - 100];
        for timestamp in [1, 9, 5, 2] {
            records.push(timestamp, None, &[], Some(&half)).unwrap();
        }
        records.push(3, None, &[], Some(&[b'y'; PIECE_BYTES_MAX])).unwrap();
        records.push(4, None, &[], Some(b"z")).unwrap();
        let pieces = check_records(records.as_bytes(), 6).unwrap();
        let found: Vec<_> = pieces.iter().map(|p| (p.first, p.count, p.timestamp_ms_max)).collect();
        assert_eq!(found, [(0, 2, 9), (2, 2, 5), (4, 1, 3), (5, 1, 4)]);
        assert_eq!(pieces.last().unwrap().bytes.end, records.len_bytes());
        let all: Vec<_> = RecordIter::new(records.as_bytes()).map(Result::unwrap).collect();
        for piece in pieces {
            let value = encode_piece(&HEADER, records.as_bytes(), &piece);
            assert!(decode(&value).is_some());
            let stored = RecordIter::new(&value[HEADER_BYTES..]).map(Result::unwrap);
            for (delta, record) in (0..).zip(stored) {
                assert_eq!(record.offset_delta, delta);
                assert_eq!(record.value, all[(piece.first + delta) as usize].value);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = check_records(&bytes, 1);
        }
    }
}
