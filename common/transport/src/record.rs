//! The layout of records: one contiguous run of bytes a partition and batch, which the writer fills
//! in place, the embedded log stores and the remote protocol carries without another encoding.
//!
//! One record, all numbers little-endian:
//!
//! ```text
//! u32 length of what follows   u32 offset delta   i64 timestamp, ms
//! i32 key length (-1: none)    key
//! u16 headers, each: u16 name length, name, u32 value length, value
//! value (to the record's end), preceded by u8: 0 none (a tombstone), 1 there
//! ```

use bytes::Bytes;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most bytes of one record, key, headers and value together.
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A run of records under construction, offset deltas 0, 1, 2, …
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    count: u32,
    /// Where the record under construction begins.
    start: usize,
}

impl Records {
    /// Records whose bytes were checked.
    pub(crate) fn from_checked(bytes: Vec<u8>, count: u32) -> Self {
        Self { start: bytes.len(), bytes, count }
    }

    /// How many records it holds.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records' bytes, in the module's layout.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes so far.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that are held, used or not.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Becomes a copy of `other` in the memory that it has.
    pub fn copy_from(&mut self, other: &Self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&other.bytes);
        (self.count, self.start) = (other.count, other.start);
    }

    /// Becomes a copy of what was fetched, from the first record that was asked for on. Offset deltas
    /// become 0, 1, 2, …: what compaction has taken leaves no gaps.
    ///
    /// # Errors
    ///
    /// `Corrupt` as [`FetchedBatch::iter`].
    pub fn copy_fetched(&mut self, batch: &FetchedBatch) -> Result<()> {
        self.clear();
        for record in batch.iter() {
            let (_, record) = record?;
            self.start = self.bytes.len();
            self.bytes.extend_from_slice(record.raw);
            self.bytes[self.start + 4..self.start + 8].copy_from_slice(&self.count.to_le_bytes());
            self.count += 1;
        }
        Ok(())
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.start = 0;
    }

    /// Adds one record whole.
    ///
    /// # Errors
    ///
    /// `TooLarge` past [`RECORD_BYTES_MAX`], a header's name past 64 KiB or too many headers.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        value: Option<&[u8]>,
    ) -> Result<()> {
        match value {
            None => self.push_tombstone(timestamp_ms, key, headers),
            Some(value) => self.push_with(timestamp_ms, key, headers, |buffer| {
                buffer.extend_from_slice(value);
                Ok(())
            }),
        }
    }

    /// Adds one record whose offset is `delta` above the first one's: records between may be gone.
    ///
    /// # Errors
    ///
    /// As [`Records::push`].
    #[cfg(feature = "kafka")]
    pub(crate) fn push_at(
        &mut self,
        delta: u32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        value: Option<&[u8]>,
    ) -> Result<()> {
        self.push(timestamp_ms, key, headers, value)?;
        self.bytes[self.start + 4..self.start + 8].copy_from_slice(&delta.to_le_bytes());
        Ok(())
    }

    /// The records' bytes, in the module's layout.
    #[cfg(feature = "kafka")]
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }

    /// Adds one record whose value `write` appends to the buffer it is given. The buffer holds
    /// earlier records: `write` only ever appends. If it fails, the record is taken back.
    ///
    /// # Errors
    ///
    /// As [`Records::push`], and what `write` answers.
    pub fn push_with(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        self.begin(timestamp_ms, key, headers)
            .and_then(|()| {
                self.bytes.push(1);
                write(&mut self.bytes)
            })
            .and_then(|()| self.finish())
            .inspect_err(|_| self.bytes.truncate(self.start))
    }

    /// Adds one record without a value.
    ///
    /// # Errors
    ///
    /// As [`Records::push`].
    pub fn push_tombstone(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<()> {
        self.begin(timestamp_ms, key, headers)
            .and_then(|()| {
                self.bytes.push(0);
                self.finish()
            })
            .inspect_err(|_| self.bytes.truncate(self.start))
    }

    fn begin(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<()> {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&self.count.to_le_bytes());
        self.bytes.extend_from_slice(&timestamp_ms.to_le_bytes());
        let key_length = match key {
            None => -1,
            Some(key) => i32::try_from(key.len()).map_err(|_| too_large("key", key.len()))?,
        };
        self.bytes.extend_from_slice(&key_length.to_le_bytes());
        self.bytes.extend_from_slice(key.unwrap_or_default());
        let count =
            u16::try_from(headers.len()).map_err(|_| too_large("headers", headers.len()))?;
        self.bytes.extend_from_slice(&count.to_le_bytes());
        for (name, value) in headers {
            let name_length =
                u16::try_from(name.len()).map_err(|_| too_large("header name", name.len()))?;
            let value_length =
                u32::try_from(value.len()).map_err(|_| too_large("header", value.len()))?;
            self.bytes.extend_from_slice(&name_length.to_le_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(&value_length.to_le_bytes());
            self.bytes.extend_from_slice(value);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let length = self.bytes.len() - self.start - 4;
        let fits = u32::try_from(length).ok().filter(|_| length <= RECORD_BYTES_MAX);
        let Some(length) = fits else {
            return Err(too_large("record", length));
        };
        let Some(count) = self.count.checked_add(1) else {
            return Err(too_large("batch's count", usize::MAX));
        };
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
        self.count = count;
        Ok(())
    }
}

fn too_large(what: &'static str, bytes: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "add a record")
        .because(format!("its {what} is past the limit"))
        .with("bytes", bytes)
        .with("record_bytes_max", RECORD_BYTES_MAX)
}

/// One record, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset less that of its batch.
    pub offset_delta: u32,
    /// Its timestamp, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The whole record's bytes, its length included: what a compaction copies.
    pub raw: &'a [u8],
    headers: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// The headers, in order; they were checked when the record was read.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut rest = Cursor { rest: self.headers };
        std::iter::from_fn(move || if rest.rest.is_empty() { None } else { rest.header() })
    }

    /// The value of the first header called `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// Walks a run of records.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
}

impl<'a> RecordIter<'a> {
    /// Walks `bytes`, which are in the module's layout.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

/// Yields each record; after the first error, nothing more.
impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordRef<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let remaining = self.rest.len();
        let record = read_record(&mut self.rest);
        if record.is_none() {
            self.rest = &[];
        }
        Some(record.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read a record")
                .because("its lengths do not add up")
                .with("bytes_remaining", remaining)
        }))
    }
}

fn read_record<'a>(rest: &mut &'a [u8]) -> Option<RecordRef<'a>> {
    let whole = *rest;
    let mut outer = Cursor { rest: whole };
    let length = usize::try_from(outer.u32()?).ok()?;
    let mut body = Cursor { rest: outer.take(length)? };
    let offset_delta = body.u32()?;
    let timestamp_ms = i64::from_le_bytes(*body.take(8)?.first_chunk()?);
    let key_length = i32::from_le_bytes(*body.take(4)?.first_chunk()?);
    let key = match key_length {
        -1 => None,
        length => Some(body.take(usize::try_from(length).ok()?)?),
    };
    let count = body.u16()?;
    let before = body.rest;
    for _ in 0..count {
        body.header()?;
    }
    let headers = &before[..before.len() - body.rest.len()];
    let value = match body.take(1)?[0] {
        0 if body.rest.is_empty() => None,
        1 => Some(body.rest),
        _ => return None,
    };
    *rest = outer.rest;
    let raw = &whole[..whole.len() - outer.rest.len()];
    Some(RecordRef { offset_delta, timestamp_ms, key, value, raw, headers })
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn header(&mut self) -> Option<(&'a str, &'a [u8])> {
        let name_length = usize::from(self.u16()?);
        let name = std::str::from_utf8(self.take(name_length)?).ok()?;
        let value_length = usize::try_from(self.u32()?).ok()?;
        Some((name, self.take(value_length)?))
    }
}

/// Records of one partition as a reader gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedBatch {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset of a record whose delta is 0.
    pub base_offset: u64,
    /// Records before this offset were not asked for and are not shown.
    pub from_offset: u64,
    /// The offset after this batch: where the next read begins.
    pub next_offset: u64,
    /// The records, in this module's layout.
    pub bytes: Bytes,
}

impl FetchedBatch {
    /// The records with their offsets, from the first that was asked for.
    pub fn iter(&self) -> impl Iterator<Item = Result<(u64, RecordRef<'_>)>> + Clone {
        RecordIter::new(&self.bytes).filter_map(|record| match record {
            Err(error) => Some(Err(error
                .with("topic", &self.topic)
                .with("partition", self.partition)
                .with("base_offset", self.base_offset))),
            Ok(record) => {
                let offset = self.base_offset + u64::from(record.offset_delta);
                (offset >= self.from_offset).then_some(Ok((offset, record)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (i64, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Option<Vec<u8>>);

    fn owned() -> impl Strategy<Value = Owned> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        let headers = proptest::collection::vec(("[a-z.]{0,12}", bytes()), 0..3);
        (any::<i64>(), proptest::option::of(bytes()), headers, proptest::option::of(bytes()))
    }

    proptest! {
        #[test]
        fn records_come_back(records in proptest::collection::vec(owned(), 0..20)) {
            let mut built = Records::default();
            for (timestamp_ms, key, headers, value) in &records {
                let headers: Vec<_> =
                    headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
                built.push(*timestamp_ms, key.as_deref(), &headers, value.as_deref()).unwrap();
            }
            let mut raw = Vec::new();
            let mut count = 0;
            for (index, record) in RecordIter::new(built.as_bytes()).enumerate() {
                let record = record.unwrap();
                let (timestamp_ms, key, headers, value) = &records[index];
                prop_assert_eq!(usize::try_from(record.offset_delta).unwrap(), index);
                prop_assert_eq!(record.timestamp_ms, *timestamp_ms);
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, value.as_deref());
                let found: Vec<_> =
                    record.headers().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
                prop_assert_eq!(&found, headers);
                raw.extend_from_slice(record.raw);
                count += 1;
            }
            prop_assert_eq!(count, records.len());
            prop_assert_eq!(raw.as_slice(), built.as_bytes());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for record in RecordIter::new(&bytes).flatten() {
                record.headers().count();
            }
        }
    }

    #[test]
    fn what_was_fetched_is_copied_from_what_was_asked_for_on() {
        let mut records = Records::default();
        for value in ["a", "b", "c"] {
            records.push(1, None, &[("h", b"x")], Some(value.as_bytes())).unwrap();
        }
        let batch = FetchedBatch {
            topic: "t".into(),
            partition: 0,
            base_offset: 10,
            from_offset: 11,
            next_offset: 13,
            bytes: Bytes::copy_from_slice(records.as_bytes()),
        };
        let mut copy = Records::default();
        copy.copy_fetched(&batch).unwrap();
        let mut wanted = Records::default();
        for value in ["b", "c"] {
            wanted.push(1, None, &[("h", b"x")], Some(value.as_bytes())).unwrap();
        }
        assert_eq!(copy.as_bytes(), wanted.as_bytes());
        assert_eq!(copy.count(), 2);
        copy.push(1, None, &[], None).unwrap();
        wanted.copy_from(&copy);
        assert_eq!(wanted, copy);
    }

    #[test]
    fn a_value_that_fails_takes_its_record_back() {
        let mut records = Records::default();
        records.push(1, None, &[], Some(b"kept")).unwrap();
        let before = records.clone();
        let failed = records.push_with(2, Some(b"k"), &[], |buffer| {
            buffer.extend_from_slice(b"half");
            Err(Error::new(ErrorKind::Unsupported, "encode"))
        });
        assert!(failed.is_err());
        assert_eq!(records.as_bytes(), before.as_bytes());
        assert_eq!(records.count(), 1);
    }
}
