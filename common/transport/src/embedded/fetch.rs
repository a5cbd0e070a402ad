//! Reading batches from the storage: one consistent view, partition after partition, up to a limit.

use super::Shared;
use super::batch::{self, HEADER_BYTES, Header};
use super::damage;
use super::store::{Store, base_of, record_key, storage_error};
use crate::FetchedBatch;
use bytes::Bytes;
use fjall::Readable as _;
use std::sync::{Arc, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};

/// A partition from which records are wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: u32,
    pub(super) partition: u32,
    /// The offset that is read next.
    pub(super) offset: u64,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// What was read: batches, and how far each wanted partition was seen.
pub(super) type Fetched = (Vec<FetchedBatch>, Vec<u64>);

/// One batch as the storage has it.
pub(super) struct Stored {
    pub(super) header: Header,
    pub(super) value: Bytes,
}

impl Stored {
    pub(super) fn records(&self) -> &[u8] {
        &self.value[HEADER_BYTES..]
    }
}

/// Reads the wanted partitions in turn until about `bytes_max` bytes are there; a single batch that
/// is larger comes alone. Blocks.
pub(super) fn fetch(shared: &Shared, wanted: &[Wanted], bytes_max: usize) -> Result<Fetched> {
    let guard = shared.store.read().unwrap_or_else(PoisonError::into_inner);
    let store = guard.as_ref().ok_or_else(|| shared.closed())?;
    let view = store.database.snapshot();
    let (mut batches, mut seen, mut bytes) = (Vec::new(), Vec::with_capacity(wanted.len()), 0);
    for wanted in wanted {
        let mut next = wanted.offset.max(wanted.begin);
        if bytes < bytes_max.max(1) {
            each_from(shared, store, &view, wanted, next, |stored| {
                let length = stored.records().len();
                if bytes > 0 && bytes + length > bytes_max {
                    return Ok(false);
                }
                if let Some(batch) = shown(wanted, next, &stored)? {
                    bytes += length;
                    batches.push(batch);
                }
                next = stored.header.next;
                Ok(bytes < bytes_max)
            })?;
        }
        seen.push(next);
    }
    Ok((batches, seen))
}

/// The batch as the reader gets it; none if compaction has left nothing of what is wanted.
fn shown(wanted: &Wanted, from_offset: u64, stored: &Stored) -> Result<Option<FetchedBatch>> {
    if stored.header.count == 0 {
        return Ok(None);
    }
    let batch = FetchedBatch {
        topic: Arc::clone(&wanted.topic),
        partition: wanted.partition,
        base_offset: stored.header.base,
        from_offset,
        next_offset: stored.header.next,
        bytes: stored.value.slice(HEADER_BYTES..),
    };
    let all = from_offset == stored.header.base;
    let any = all || batch.iter().next().transpose()?.is_some();
    Ok(any.then_some(batch))
}

/// Shows the batches from the one that holds `offset` on, until `see` says false or the end is
/// reached. They follow each other without a gap: one that is missing is damage.
pub(super) fn each_from(
    shared: &Shared,
    store: &Store,
    view: &fjall::Snapshot,
    wanted: &Wanted,
    offset: u64,
    mut see: impl FnMut(Stored) -> Result<bool>,
) -> Result<()> {
    if offset >= wanted.end {
        return Ok(());
    }
    let key = |offset| record_key(wanted.topic_id, wanted.partition, offset);
    let holding = view
        .range(&store.records, key(wanted.begin)..=key(offset))
        .next_back()
        .map(|entry| entry.key())
        .transpose()
        .map_err(|error| {
            let error = storage_error(error, "read the log", shared.folder.path());
            damage::located(error, store)
        })?;
    let mut next = holding.map_or(offset, |key| base_of(&key));
    let mut first = true;
    for entry in view.range(&store.records, key(next)..key(wanted.end)) {
        let stored = read(shared, store, wanted, next, entry)?;
        let fits = stored.header.base == next && (!first || stored.header.next > offset);
        if !fits {
            break;
        }
        first = false;
        next = stored.header.next;
        if !see(stored)? {
            return Ok(());
        }
    }
    if next >= wanted.end && !first {
        return Ok(());
    }
    Err(missing(shared, wanted, next))
}

fn read(
    shared: &Shared,
    store: &Store,
    wanted: &Wanted,
    next: u64,
    entry: fjall::Guard,
) -> Result<Stored> {
    let (key, value) = entry.into_inner().map_err(|error| {
        let error = storage_error(error, "read the log", shared.folder.path())
            .with("topic", &wanted.topic)
            .with("partition", wanted.partition)
            .with("base_offset", next);
        damage::located(error, store)
    })?;
    let value = Bytes::from(value);
    let base = base_of(&key);
    match batch::decode(&value) {
        Some(header) if header.base == base => Ok(Stored { header, value }),
        _ => Err(damaged(shared, wanted, base, "a batch's bytes are not what was written")),
    }
}

fn damaged(shared: &Shared, wanted: &Wanted, base: u64, message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read the log")
        .because(message)
        .with("folder", shared.folder.path().display())
        .with("topic", &wanted.topic)
        .with("partition", wanted.partition)
        .with("base_offset", base)
        .help("restore the folder from a backup, or remove it and snapshot anew")
}

/// No batch holds `offset`: retention has been here since, or it is lost.
fn missing(shared: &Shared, wanted: &Wanted, offset: u64) -> Error {
    let state = shared.read_state();
    let there = state.topics.get(&wanted.topic).filter(|topic| topic.id == wanted.topic_id);
    let begin = there.and_then(|topic| topic.partitions.get(wanted.partition as usize));
    match begin {
        None => super::state::not_found(&wanted.topic),
        // Not an error that anybody sees: the caller looks again, from the new beginning.
        Some(partition) if partition.begin > offset => {
            Error::new(ErrorKind::Exhausted, "read the log").because("retention went ahead")
        }
        Some(_) => damaged(shared, wanted, offset, "a batch is missing"),
    }
}
