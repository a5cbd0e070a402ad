//! Retention and compaction: a thread that now and then drops what a topic's policy lets go.
//!
//! `delete` drops whole batches, oldest first, by age and size. `compact` rewrites batches without
//! the records that a later one of the same key has replaced; offsets and order stay. The newest
//! batch of a partition is never touched. Every change is one atomic step of the writing thread, so
//! that a crash leaves a batch as it was or as it is to be.

use super::Shared;
use super::state::Topic;
use super::store::{
    StoredBatch, batch_value, corrupt_batch, read_batch, record_key, storage_error,
};
use super::writer::{Job, Rewrite, Work};
use crate::PartitionInfo;
use crate::record::RecordIter;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tokio::sync::{Semaphore, mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_128;

/// How often topics are looked at.
const INTERVAL: Duration = Duration::from_secs(30);

/// The most keys that one pass over a partition remembers: 32 MiB. What lies behind is cleaned by a
/// later pass.
const KEYS_MAX: usize = 1_000_000;

/// A partition is compacted once so much of it is new: a half.
const DIRTY_PART: u64 = 2;

/// A partition smaller than this is left alone.
const COMPACT_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// The most bytes of rewritten batches in one step.
const STEP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the cleaning thread holds. It keeps neither the log nor the writing thread alive.
pub(super) struct Cleaner {
    pub(super) shared: Weak<Shared>,
    pub(super) jobs: mpsc::WeakSender<Job>,
    pub(super) budget: Arc<Semaphore>,
    /// Bytes of each partition when it was compacted last.
    pub(super) compacted: HashMap<(u32, u32), u64>,
    pub(super) bytes_min: u64,
}

/// A partition that is being cleaned.
struct Place<'a> {
    name: &'a str,
    topic: &'a Topic,
    partition: u32,
    info: PartitionInfo,
}

/// Cleans every [`INTERVAL`] until `stop` is hung up.
pub(super) fn run(mut cleaner: Cleaner, stop: &Receiver<()>) {
    while stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = cleaner.clean() {
            tracing::warn!(error = error.report(), "topics were not cleaned");
        }
    }
}

impl Cleaner {
    pub(super) fn new(
        shared: &Arc<Shared>,
        jobs: &mpsc::Sender<Job>,
        budget: &Arc<Semaphore>,
    ) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            jobs: jobs.downgrade(),
            budget: Arc::clone(budget),
            compacted: HashMap::new(),
            bytes_min: COMPACT_BYTES_MIN,
        }
    }

    /// One look at every partition.
    pub(super) fn clean(&mut self) -> Result<()> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let state = shared.visible();
        for (name, topic) in &state.topics {
            for (partition, info) in (0..).zip(topic.partitions.iter().copied()) {
                let place = Place { name, topic, partition, info };
                match topic.config.cleanup_policy {
                    CleanupPolicy::Delete => self.retain(&shared, &place)?,
                    CleanupPolicy::Compact => self.compact(&shared, &place)?,
                }
            }
        }
        Ok(())
    }

    /// Drops the oldest batches that are too old or too many.
    fn retain(&self, shared: &Shared, place: &Place<'_>) -> Result<()> {
        let config = &place.topic.config;
        let oldest_ms = config.retention_ms.map(|kept| now_ms().saturating_sub_unsigned(kept));
        let (mut bytes, mut begin) = (place.info.bytes, place.info.begin);
        let mut dropped = Vec::new();
        each_batch(shared, place, |batch| {
            let size = batch.records.len() as u64;
            let too_old = oldest_ms.is_some_and(|oldest| batch.timestamp_ms_max < oldest);
            let too_many = config.retention_bytes.is_some_and(|kept| bytes > kept);
            if !(too_old || too_many) {
                return Ok(false);
            }
            bytes = bytes.saturating_sub(size);
            begin = batch.next_offset;
            dropped.push((batch.base_offset, None));
            Ok(true)
        })?;
        if dropped.is_empty() {
            return Ok(());
        }
        let bytes_freed = place.info.bytes - bytes;
        tracing::info!(topic = place.name, partition = place.partition, begin, "retention");
        self.rewrite(place, dropped, begin, bytes_freed)
    }

    fn compact(&mut self, shared: &Shared, place: &Place<'_>) -> Result<()> {
        let id = (place.topic.id, place.partition);
        let before = self.compacted.get(&id).copied().unwrap_or(0);
        let new = place.info.bytes.saturating_sub(before);
        if place.info.bytes < self.bytes_min || new < place.info.bytes / DIRTY_PART {
            return Ok(());
        }
        let latest = latest_offsets(shared, place)?;
        let tombstones_before_ms =
            now_ms().saturating_sub_unsigned(place.topic.config.delete_retention_ms);
        let (mut freed, mut step, mut step_bytes) = (0, Step::default(), 0);
        each_batch(shared, place, |batch| {
            let kept = keep(batch, &latest, tombstones_before_ms)?;
            if let Some((count, records)) = kept {
                step.freed += (batch.records.len() - records.len()) as u64;
                step_bytes += records.len();
                let value = (count > 0)
                    .then(|| batch_value(batch.base_offset, batch.next_offset, count, &records));
                step.batches.push((batch.base_offset, value));
            }
            if step_bytes > STEP_BYTES_MAX {
                step_bytes = 0;
                freed += step.freed;
                let Step { batches, freed } = std::mem::take(&mut step);
                self.rewrite(place, batches, 0, freed)?;
            }
            Ok(true)
        })?;
        freed += step.freed;
        if !step.batches.is_empty() {
            self.rewrite(place, step.batches, 0, step.freed)?;
        }
        self.compacted.insert(id, place.info.bytes.saturating_sub(freed));
        let partition = place.partition;
        tracing::info!(topic = place.name, partition, bytes_freed = freed, "compacted");
        Ok(())
    }

    /// One atomic step of the writing thread, and the wait for it.
    fn rewrite(
        &self,
        place: &Place<'_>,
        batches: Vec<(u64, Option<Vec<u8>>)>,
        begin: u64,
        bytes_freed: u64,
    ) -> Result<()> {
        let closed =
            || Error::new(ErrorKind::Unavailable, "clean a topic").because("the log was closed");
        let jobs = self.jobs.upgrade().ok_or_else(closed)?;
        // While appends fill the budget, cleaning waits for its next turn.
        let permit = Arc::clone(&self.budget)
            .try_acquire_owned()
            .map_err(|error| Error::new(ErrorKind::Exhausted, "clean a topic").caused_by(error))?;
        let (sender, receiver) = oneshot::channel();
        let (topic, partition) = (place.name.to_owned(), place.partition);
        let rewrite = Rewrite { topic, partition, batches, begin, bytes_freed };
        let job = Job { work: Work::Rewrite(rewrite, sender), _permit: permit };
        jobs.blocking_send(job).map_err(|_| closed())?;
        drop(jobs);
        receiver.blocking_recv().map_err(|_| closed())?
    }
}

/// Rewritten batches that are not yet handed over.
#[derive(Default)]
struct Step {
    batches: Vec<(u64, Option<Vec<u8>>)>,
    freed: u64,
}

/// Shows each batch but the newest, oldest first, until `see` says false.
fn each_batch(
    shared: &Shared,
    place: &Place<'_>,
    mut see: impl FnMut(&StoredBatch<'_>) -> Result<bool>,
) -> Result<()> {
    let first = record_key(place.topic.id, place.partition, 0);
    let end = record_key(place.topic.id, place.partition, place.info.end);
    for entry in shared.store.records.range(first..end) {
        let (key, value) = entry
            .into_inner()
            .map_err(|error| storage_error(error, "clean a topic", &shared.folder))?;
        let base = key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let batch = read_batch(&value)
            .ok_or_else(|| corrupt_batch(&shared.folder, place.name, place.partition, base))?;
        if batch.next_offset >= place.info.end || !see(&batch)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The last offset of each key, by the key's hash; of the oldest [`KEYS_MAX`] keys if there are
/// more.
fn latest_offsets(shared: &Shared, place: &Place<'_>) -> Result<HashMap<u128, u64>> {
    let mut latest = HashMap::new();
    each_batch(shared, place, |batch| {
        for record in RecordIter::new(batch.records) {
            let record = record?;
            if let Some(key) = record.key {
                let offset = batch.base_offset + u64::from(record.offset_delta);
                latest.insert(xxh3_128(key), offset);
            }
        }
        Ok(latest.len() < KEYS_MAX)
    })?;
    Ok(latest)
}

/// The records of a batch that stay, and how many; none if all do.
fn keep(
    batch: &StoredBatch<'_>,
    latest: &HashMap<u128, u64>,
    tombstones_before_ms: i64,
) -> Result<Option<(u32, Vec<u8>)>> {
    let (mut records, mut count) = (Vec::new(), 0);
    for record in RecordIter::new(batch.records) {
        let record = record?;
        let offset = batch.base_offset + u64::from(record.offset_delta);
        let last = record.key.is_none_or(|key| {
            // A pass that was full did not look this far: what lies behind it stays.
            latest.get(&xxh3_128(key)).is_none_or(|latest| offset >= *latest)
        });
        let spent = record.value.is_none() && record.timestamp_ms < tombstones_before_ms;
        if last && !spent {
            records.extend_from_slice(record.raw);
            count += 1;
        }
    }
    Ok((records.len() < batch.records.len()).then_some((count, records)))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
