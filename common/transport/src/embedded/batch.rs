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

use crate::record::RecordIter;
use tidemesh_model::{Error, ErrorKind, Result};

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

/// The value for the storage. It has no room beyond its end.
pub(super) fn encode(header: &Header, records: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + records.len());
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(&[VERSION, 0, 0, 0]);
    value.extend_from_slice(&header.count.to_le_bytes());
    value.extend_from_slice(&header.base.to_le_bytes());
    value.extend_from_slice(&header.next.to_le_bytes());
    value.extend_from_slice(&header.timestamp_ms_max.to_le_bytes());
    value.extend_from_slice(&header.appended_at_ms.to_le_bytes());
    value.extend_from_slice(records);
    let checksum = crc32c::crc32c(&value[4..]);
    value[..4].copy_from_slice(&checksum.to_le_bytes());
    value
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
/// Answers the largest timestamp.
pub(super) fn check_records(bytes: &[u8], count: u32) -> Result<i64> {
    let refused = |message: &str| {
        Error::new(ErrorKind::Malformed, "append to the log")
            .because(message)
            .with("records", count)
    };
    let mut seen = 0_u32;
    let mut timestamp_ms_max = i64::MIN;
    for record in RecordIter::new(bytes) {
        let record = record.map_err(|_| refused("a record's lengths do not add up"))?;
        if record.offset_delta != seen {
            return Err(refused("the records are not numbered in turn"));
        }
        seen = seen.saturating_add(1);
        timestamp_ms_max = timestamp_ms_max.max(record.timestamp_ms);
    }
    if seen == 0 || seen != count {
        return Err(
            refused("a batch has another number of records than it says").with("seen", seen)
        );
    }
    Ok(timestamp_ms_max)
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
        assert_eq!(check_records(records.as_bytes(), 2).unwrap(), 9);
        assert!(check_records(records.as_bytes(), 3).is_err());
        let mut twice = records.as_bytes().to_vec();
        twice.extend_from_slice(records.as_bytes());
        assert!(check_records(&twice, 4).is_err());
        assert!(check_records(&twice[..5], 1).is_err());
        assert!(check_records(&[], 0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = check_records(&bytes, 1);
        }
    }
}
