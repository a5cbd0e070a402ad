//! Retention and compaction: a thread that now and then drops what topics' policies let go.
//!
//! `delete` raises a partition's beginning and then removes what lies before it; `compact` is in
//! [`compact`]; topics that are gone lose their records here. Every change is an atomic step of the
//! writing thread, so a crash leaves a batch as it was or as it is to be, and readers read on.

mod compact;

use super::Shared;
use super::fetch::{Stored, Wanted, each_from};
use super::state::Partition;
use super::store::{Writes, base_of, record_key, storage_error};
use super::writer::{Answer, Clear, Job, Rewrite, Work};
use crate::TopicConfig;
use fjall::Readable as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

/// What is read, and what is rewritten, at a time.
const STEP_BYTES: usize = if cfg!(test) { 8192 } else { 4 * 1024 * 1024 };

/// The most keys that are removed at a time.
const STEP_KEYS_MAX: usize = if cfg!(test) { 7 } else { 1000 };

/// What cleaning needs. It keeps neither the log nor the writing thread alive.
pub(super) struct Cleaner {
    pub(super) shared: Weak<Shared>,
    pub(super) jobs: mpsc::WeakSender<Job>,
}

/// A partition that is looked at.
struct Place {
    wanted: Wanted,
    info: Partition,
    config: TopicConfig,
}

/// Cleans every `interval` until `stop` is hung up.
pub(super) fn run(cleaner: &Cleaner, interval: Duration, stop: &Receiver<()>) {
    while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        // Each failure was logged where it came up; the next look tries again.
        let _ = cleaner.clean(super::now_ms());
    }
}

/// What could not be cleaned in one look.
#[derive(Default)]
struct Failed {
    first: Option<Error>,
}

impl Failed {
    /// Logs a failure and keeps the first; an error is what ends the look.
    fn note(&mut self, cleaned: Result<()>, place: impl FnOnce() -> String) -> Result<()> {
        let Err(error) = cleaned else { return Ok(()) };
        tracing::warn!(place = place(), error = error.report(), "a place could not be cleaned");
        if error.kind() == ErrorKind::Unavailable {
            return Err(self.first.take().unwrap_or(error));
        }
        self.first.get_or_insert(error);
        Ok(())
    }
}

/// The storage panics on some damaged bytes instead of answering an error; the cleaner outlives it.
/// What it has left half-done is its own reading: every change is a step of the writing thread.
fn guarded(clean: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(clean)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Corrupt, "clean a topic")
            .because("the storage could not make sense of its bytes")
            .help("restore the folder from a backup, or remove it and snapshot anew"))
    })
}

impl Cleaner {
    /// One look at every topic, as if it were `now_ms`. One at a time; blocks.
    ///
    /// # Errors
    ///
    /// The first that came up. What fails is logged and left as it is, and all others are cleaned;
    /// only where the log was closed, the look ends.
    pub(super) fn clean(&self, now_ms: i64) -> Result<()> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let _one = shared.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failed = Failed::default();
        let gone: Vec<u32> = shared.read_state().gone.iter().copied().collect();
        for topic_id in gone {
            let swept = guarded(|| self.sweep(&shared, topic_id, record_key(topic_id, 0, 0), true));
            failed.note(swept, || format!("removed topic {topic_id}"))?;
        }
        let names: Vec<Arc<str>> = shared.read_state().topics.keys().cloned().collect();
        for name in names {
            let mut partition = 0;
            while let Some(place) = place(&shared, &name, partition) {
                let cleaned = guarded(|| match place.config.cleanup_policy {
                    CleanupPolicy::Delete => self.retain(&shared, &place, now_ms),
                    CleanupPolicy::Compact => self.compact(&shared, &place, now_ms),
                });
                match cleaned {
                    // The topic was removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => break,
                    cleaned => failed.note(cleaned, || format!("{name}/{partition}"))?,
                }
                partition += 1;
            }
        }
        failed.first.map_or(Ok(()), Err)
    }

    /// Drops the oldest batches that are too old or too many.
    fn retain(&self, shared: &Shared, place: &Place, now_ms: i64) -> Result<()> {
        let config = &place.config;
        if config.retention_ms.is_none() && config.retention_bytes.is_none() {
            // Nothing goes but what a crash has left before the beginning.
            return self.drop_before(shared, place, place.info.begin, 0);
        }
        let oldest_ms = config.retention_ms.map(|kept| now_ms.saturating_sub_unsigned(kept));
        let (begin, freed) = look(shared, place, |stored, freed| {
            let bytes = place.info.bytes.saturating_sub(freed);
            let too_old = oldest_ms.is_some_and(|ms| stored.header.appended_at_ms < ms);
            too_old || config.retention_bytes.is_some_and(|kept| bytes > kept)
        })?;
        if begin > place.info.begin {
            let topic = &place.wanted.topic;
            tracing::info!(%topic, partition = place.wanted.partition, begin, "retention");
        }
        self.drop_before(shared, place, begin, freed)
    }

    /// Drops the batches of a partition that end at or before `offset`. Blocks.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not there.
    pub(super) fn trim(&self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let _one = shared.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = place(&shared, &topic.into(), partition) else {
            return Err(super::state::not_found(topic));
        };
        let (begin, freed) = look(&shared, &place, |stored, _| stored.header.next <= offset)?;
        self.drop_before(&shared, &place, begin, freed)
    }

    /// Drops what lies before `begin`, `freed` bytes of records.
    fn drop_before(&self, shared: &Shared, place: &Place, begin: u64, freed: u64) -> Result<()> {
        if begin > place.info.begin {
            self.rewrite(place, Vec::new(), begin, freed, None)?;
        }
        // First readers are told the new beginning, then what lies before it goes: so nobody misses
        // a batch that retention took. What a crash leaves between the two is removed here as well.
        let Wanted { topic_id, partition, .. } = place.wanted;
        self.sweep(shared, topic_id, record_key(topic_id, partition, begin), false)
    }

    /// Removes records from storage: with `all`, those of a topic; else those of the partition that
    /// lie before the key `end`.
    fn sweep(&self, shared: &Shared, topic_id: u32, end: [u8; 16], all: bool) -> Result<()> {
        loop {
            let mut writes = Writes::new();
            {
                let guard = shared.store.read().unwrap_or_else(PoisonError::into_inner);
                let store = guard.as_ref().ok_or_else(|| shared.closed())?;
                let view = store.database.snapshot();
                let found = if all {
                    view.prefix(&store.records, topic_id.to_be_bytes())
                } else {
                    let mut first = end;
                    first[8..].fill(0);
                    view.range(&store.records, first..end)
                };
                for entry in found.take(STEP_KEYS_MAX) {
                    let key = entry
                        .key()
                        .map_err(|e| storage_error(e, "clean a topic", shared.folder.path()))?;
                    let partition = key.get(4..8).and_then(|bytes| bytes.first_chunk());
                    let partition = partition.map_or(0, |bytes| u32::from_be_bytes(*bytes));
                    writes.push((record_key(topic_id, partition, base_of(&key)), None));
                }
            }
            let last = writes.len() < STEP_KEYS_MAX;
            if !writes.is_empty() || (all && last) {
                let clear = Clear { topic_id, writes, done: all && last };
                self.submit(0, |answer| Work::Clear(clear, answer))?;
            }
            if last {
                return Ok(());
            }
        }
    }

    fn rewrite(
        &self,
        place: &Place,
        writes: Writes,
        begin: u64,
        bytes_freed: u64,
        cleaned: Option<(u64, u64)>,
    ) -> Result<()> {
        let bytes = writes.iter().filter_map(|(_, value)| Some(value.as_ref()?.len())).sum();
        let rewrite = Rewrite {
            topic: Arc::clone(&place.wanted.topic),
            topic_id: place.wanted.topic_id,
            partition: place.wanted.partition,
            writes,
            begin,
            bytes_freed,
            cleaned,
        };
        self.submit(bytes, |answer| Work::Rewrite(rewrite, answer))
    }

    /// One atomic step of the writing thread, and the wait for it.
    fn submit(&self, bytes: usize, work: impl FnOnce(Answer<()>) -> Work) -> Result<()> {
        let closed =
            || Error::new(ErrorKind::Unavailable, "clean a topic").because("the log was closed");
        let (answer, done) = oneshot::channel();
        let job = Job { work: work(answer), bytes, permit: None };
        let jobs = self.jobs.upgrade().ok_or_else(closed)?;
        jobs.blocking_send(job).map_err(|_| closed())?;
        drop(jobs);
        done.blocking_recv().map_err(|_| closed())?
    }
}

fn place(shared: &Shared, name: &Arc<str>, partition: u32) -> Option<Place> {
    let state = shared.read_state();
    let topic = state.topics.get(name)?;
    let info = *topic.partitions.get(partition as usize)?;
    let wanted = Wanted {
        topic: Arc::clone(name),
        topic_id: topic.id,
        partition,
        offset: info.begin,
        begin: info.begin,
        end: info.end,
    };
    Some(Place { wanted, info, config: topic.config.clone() })
}

/// Where a partition begins without the batches at its beginning that `goes` says of, one after the other,
/// and the bytes of their records; it is told the bytes of those before.
fn look(shared: &Shared, place: &Place, goes: impl Fn(&Stored, u64) -> bool) -> Result<(u64, u64)> {
    let (mut begin, mut freed) = (place.info.begin, 0);
    while begin < place.wanted.end {
        for stored in read(shared, &place.wanted, begin)? {
            if !goes(&stored, freed) {
                return Ok((begin, freed));
            }
            begin = stored.header.next;
            freed += stored.records().len() as u64;
        }
    }
    Ok((begin, freed))
}

/// About [`STEP_BYTES`] of batches, from the one that holds `offset` on; at least one.
fn read(shared: &Shared, wanted: &Wanted, offset: u64) -> Result<Vec<Stored>> {
    let guard = shared.store.read().unwrap_or_else(PoisonError::into_inner);
    let store = guard.as_ref().ok_or_else(|| shared.closed())?;
    let view = store.database.snapshot();
    let (mut found, mut bytes) = (Vec::new(), 0);
    each_from(shared, store, &view, wanted, offset, |stored| {
        bytes += stored.value.len();
        found.push(stored);
        Ok(bytes < STEP_BYTES)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_storage_is_damage_that_is_told() {
        let error = guarded(|| panic!("the storage's")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        guarded(|| Ok(())).unwrap();
    }
}
