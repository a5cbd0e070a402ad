//! Compaction: of each key, the last record stays.
//!
//! A pass remembers the last offset of each key of a part of the log, from where the last pass ended
//! on, as far as [`KEYS_PER_PASS`] reach; then rewrites all batches from the beginning to there,
//! oldest first, without the records that a later one has replaced and without tombstones that have
//! served their time. A tombstone goes only after what it deletes, also when a crash comes between.
//! Offsets stay; small neighbours become one batch. The newest part of the log is left alone.

use super::super::Shared;
use super::super::batch::{self, Header};
use super::super::fetch::Stored;
use super::super::store::{Writes, record_key};
use super::{Cleaner, Place, STEP_BYTES, read};
use crate::record::RecordIter;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use tidemesh_model::Result;
use xxhash_rust::xxh3::xxh3_128;

/// The keys that one pass remembers: about 13 MiB. A single batch that has more is taken whole.
const KEYS_PER_PASS: usize = if cfg!(test) { 40 } else { 450_000 };

/// A partition is compacted once so much of it (its newest part not counted) is new: a half.
const DIRTY_PART: u64 = 2;

/// Batches are joined up to here.
const JOINED_BYTES_MAX: usize = if cfg!(test) { 2048 } else { 1024 * 1024 };

/// A batch from here on, of which nothing goes, stays as it is.
const UNTOUCHED_BYTES_MIN: usize = if cfg!(test) { 512 } else { 256 * 1024 };

/// The last offset of each key, by the key's 128-bit hash.
type Latest = HashMap<KeyHash, u64, BuildHasherDefault<AsItIs>>;

impl Cleaner {
    pub(super) fn compact(&self, shared: &Shared, place: &Place, now_ms: i64) -> Result<()> {
        let info = &place.info;
        let cleanable = info.bytes.saturating_sub(shared.config.compact_tail_bytes);
        let dirty = cleanable.saturating_sub(info.cleaned_bytes);
        if dirty == 0 || dirty < cleanable / DIRTY_PART {
            return Ok(());
        }
        let tombstones_before_ms = now_ms.saturating_sub_unsigned(place.config.delete_retention_ms);
        let (mut from, mut before) = (info.cleaned.max(info.begin), info.cleaned_bytes);
        let mut latest = Latest::default();
        loop {
            latest.clear();
            let (end, seen) = remember(shared, place, &mut latest, from, cleanable - before)?;
            if end == from {
                return Ok(());
            }
            before += seen;
            let rest = self.pass(shared, place, &latest, end, tombstones_before_ms)?;
            self.rewrite(place, Vec::new(), 0, 0, Some((end, rest)))?;
            if before >= cleanable {
                return Ok(());
            }
            from = end;
        }
    }

    /// Rewrites all batches before `end`; answers the bytes that are left there.
    fn pass(
        &self,
        shared: &Shared,
        place: &Place,
        latest: &Latest,
        end: u64,
        tombstones_before_ms: i64,
    ) -> Result<u64> {
        let (mut next, mut rest, mut freed) = (place.info.begin, 0, 0);
        let mut run = Run::default();
        let mut step = Step::default();
        while next < end {
            for stored in read(shared, &place.wanted, next)? {
                if stored.header.base >= end {
                    break;
                }
                next = stored.header.next;
                let kept = keep(&stored, latest, tombstones_before_ms)?;
                if kept.is_none() && stored.records().len() >= UNTOUCHED_BYTES_MIN {
                    rest += stored.records().len() as u64;
                    run.finish(place, &mut step);
                    continue;
                }
                let length = kept.as_ref().map_or(stored.records().len(), Kept::bytes);
                if !run.has_room(&stored.header, length) {
                    run.finish(place, &mut step);
                }
                rest += length as u64;
                run.add(&stored, kept.as_ref())?;
                if step.bytes >= STEP_BYTES {
                    freed += self.step(place, std::mem::take(&mut step))?;
                }
            }
        }
        run.finish(place, &mut step);
        freed += self.step(place, step)?;
        let (topic, partition) = (&place.wanted.topic, place.wanted.partition);
        tracing::info!(%topic, partition, end, bytes_freed = freed, "compacted");
        Ok(rest)
    }

    fn step(&self, place: &Place, step: Step) -> Result<u64> {
        if !step.writes.is_empty() {
            self.rewrite(place, step.writes, 0, step.freed, None)?;
        }
        Ok(step.freed)
    }
}

/// Remembers the last offset of each key from `from` on, until there are enough keys or `bytes_max`
/// of records were seen. Answers where it ended, and the bytes.
fn remember(
    shared: &Shared,
    place: &Place,
    latest: &mut Latest,
    from: u64,
    bytes_max: u64,
) -> Result<(u64, u64)> {
    let (mut end, mut bytes) = (from, 0);
    while end < place.wanted.end {
        for stored in read(shared, &place.wanted, end)? {
            let length = stored.records().len() as u64;
            let keys = latest.len() + stored.header.count as usize;
            if bytes + length > bytes_max || (keys > KEYS_PER_PASS && !latest.is_empty()) {
                return Ok((end, bytes));
            }
            for record in RecordIter::new(stored.records()) {
                let record = record?;
                if let Some(key) = record.key {
                    let offset = stored.header.base + u64::from(record.offset_delta);
                    latest.insert(KeyHash::of(key), offset);
                }
            }
            end = stored.header.next;
            bytes += length;
        }
    }
    Ok((end, bytes))
}

/// The records of a batch that stay, as ranges of its bytes that follow each other in turn.
struct Kept {
    ranges: Vec<std::ops::Range<usize>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }
}

/// Which records of a batch stay; none if all do.
fn keep(stored: &Stored, latest: &Latest, tombstones_before_ms: i64) -> Result<Option<Kept>> {
    let spent = stored.header.appended_at_ms < tombstones_before_ms;
    let (mut at, mut ranges): (usize, Vec<std::ops::Range<usize>>) = (0, Vec::new());
    for record in RecordIter::new(stored.records()) {
        let record = record?;
        let offset = stored.header.base + u64::from(record.offset_delta);
        let stays = record.key.is_none_or(|key| {
            let last = latest.get(&KeyHash::of(key)).is_none_or(|latest| offset >= *latest);
            last && !(spent && record.value.is_none())
        });
        let end = at + record.raw.len();
        if stays {
            match ranges.last_mut() {
                Some(range) if range.end == at => range.end = end,
                _ => ranges.push(at..end),
            }
        }
        at = end;
    }
    let kept = Kept { ranges };
    Ok((kept.bytes() < at).then_some(kept))
}

/// Writes that are not yet handed over.
#[derive(Default)]
struct Step {
    writes: Writes,
    bytes: usize,
    freed: u64,
}

/// Neighbouring batches that become one.
#[derive(Default)]
struct Run {
    bases: Vec<u64>,
    header: Option<Header>,
    records: Vec<u8>,
    freed: u64,
}

impl Run {
    fn has_room(&self, header: &Header, length: usize) -> bool {
        self.header.is_none_or(|run| {
            self.records.len() + length <= JOINED_BYTES_MAX
                && u32::try_from(header.next - run.base).is_ok()
        })
    }

    /// Takes in a batch, or what is kept of it.
    fn add(&mut self, stored: &Stored, kept: Option<&Kept>) -> Result<()> {
        let source = &stored.header;
        let bytes = stored.records();
        let run = self.header.get_or_insert(Header { count: 0, ..*source });
        let shift = source.base - run.base;
        let before = self.records.len();
        let whole = 0..bytes.len();
        let all = std::slice::from_ref(&whole);
        for range in kept.map_or(all, |kept| &kept.ranges) {
            for record in RecordIter::new(&bytes[range.clone()]) {
                let record = record?;
                let delta = shift + u64::from(record.offset_delta);
                // `has_room` has seen to it that it fits.
                let delta = u32::try_from(delta).unwrap_or(u32::MAX);
                let at = self.records.len();
                self.records.extend_from_slice(record.raw);
                self.records[at + 4..at + 8].copy_from_slice(&delta.to_le_bytes());
                run.count += 1;
            }
        }
        run.next = source.next;
        run.timestamp_ms_max = run.timestamp_ms_max.max(source.timestamp_ms_max);
        run.appended_at_ms = run.appended_at_ms.max(source.appended_at_ms);
        self.bases.push(source.base);
        self.freed += (bytes.len() - (self.records.len() - before)) as u64;
        Ok(())
    }

    /// Hands over the joined batch; nothing if it is what is there already.
    fn finish(&mut self, place: &Place, step: &mut Step) {
        let Run { bases, header, records, freed } = std::mem::take(self);
        let Some(header) = header else { return };
        if bases.len() == 1 && freed == 0 {
            return;
        }
        let key = |base| record_key(place.wanted.topic_id, place.wanted.partition, base);
        let value = batch::encode(&header, &records);
        step.bytes += value.len();
        step.freed += freed;
        step.writes.push((key(header.base), Some(value)));
        step.writes.extend(bases.into_iter().skip(1).map(|base| (key(base), None)));
    }
}

/// A key's hash: 128 bits, half of which find the place in the map.
#[derive(Clone, Copy, PartialEq, Eq)]
struct KeyHash(u64, u64);

impl KeyHash {
    fn of(key: &[u8]) -> Self {
        let hash = xxh3_128(key);
        let low = u64::try_from(hash & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(hash >> 64).unwrap_or(0);
        Self(low, high)
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes what is a hash already as it is.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a key's hash is one number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
