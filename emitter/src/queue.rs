//! What is taken and not yet handed on: records by topic and partition, in appends of a bounded size.
//! No I/O: `sender` takes what is here, whoever emits puts it in.

use crate::counts::Counted;
use crate::delivery::{Batch, Taken};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::Records;
use tokio::sync::Notify;

/// What a record counts for beside its key, value and headers.
pub(crate) const RECORD_HEAD_BYTES: usize = 64;

/// Emptied buffers that are kept.
const SPARE_MAX: usize = 64;

/// The events that one append carries.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) parts: Vec<Part>,
    pub(crate) batch: Arc<Batch>,
    /// What its events count for.
    pub(crate) bytes: usize,
    pub(crate) count: u64,
    /// When its first event was taken.
    pub(crate) since: Instant,
}

/// The events of a load that go to one partition.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) topic: Arc<str>,
    pub(crate) lane: usize,
    pub(crate) partition: u32,
    pub(crate) records: Records,
}

/// A topic's partition as the queue knows it.
#[derive(Debug)]
pub(crate) struct Lane {
    topic: Arc<str>,
    partition: u32,
    /// The number of the next event.
    sequence: u64,
    /// Where it is in the open load.
    part: Option<usize>,
}

#[derive(Debug)]
struct Inner {
    lanes: Vec<Lane>,
    open: Option<Load>,
    sealed: VecDeque<Load>,
    spare: Vec<Records>,
    /// Why nothing more is taken.
    closed: Option<Error>,
}

/// The queue of an emitter.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// From so many bytes on a load is closed.
    load_bytes: usize,
    /// Sets this emitter's numbers apart from those of others.
    instance: u64,
    /// Told when there is something to take, when there is an append full of it, and when nothing more will
    /// come.
    pub(crate) filled: Notify,
}

/// What a lane's record is made of; the number it gets is added to the headers.
pub(crate) struct NewRecord<'a> {
    pub(crate) lane: usize,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
    pub(crate) value: &'a [u8],
    /// What it counts for.
    pub(crate) bytes: usize,
}

impl Queue {
    /// A queue whose loads have about so many bytes.
    pub(crate) fn new(load_bytes: usize, instance: u64) -> Self {
        let inner = Inner {
            lanes: Vec::new(),
            open: None,
            sealed: VecDeque::new(),
            spare: Vec::new(),
            closed: None,
        };
        Self { inner: Mutex::new(inner), load_bytes, instance, filled: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a topic's partitions; answers the first one's lane.
    pub(crate) fn add_lanes(&self, topic: &Arc<str>, partitions: u32) -> usize {
        let mut inner = self.inner();
        let first = inner.lanes.len();
        for partition in 0..partitions {
            let topic = Arc::clone(topic);
            inner.lanes.push(Lane { topic, partition, sequence: 0, part: None });
        }
        first
    }

    /// Puts an event in, and counts it before anybody can take it.
    ///
    /// # Errors
    ///
    /// Why the emitter has ended; `TooLarge` for what no record can hold.
    pub(crate) fn push(&self, new: &NewRecord<'_>, counted: &Counted) -> Result<Taken> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if let Some(error) = &inner.closed {
            return Err(error.again());
        }
        let lane = &mut inner.lanes[new.lane];
        let was_empty = inner.open.is_none();
        let load = inner.open.get_or_insert_with(Load::new);
        let part = *lane.part.get_or_insert_with(|| {
            load.parts.push(Part {
                topic: Arc::clone(&lane.topic),
                lane: new.lane,
                partition: lane.partition,
                records: inner.spare.pop().unwrap_or_default(),
            });
            load.parts.len() - 1
        });
        let records = &mut load.parts[part].records;
        let index = records.count();
        let stamp = stamp(self.instance, lane.sequence);
        if let Err(error) = add(records, new, &stamp) {
            inner.forget_empty();
            return Err(error);
        }
        let taken = Taken {
            batch: Arc::clone(&load.batch),
            topic: Arc::clone(&lane.topic),
            partition: lane.partition,
            part,
            index,
            sequence: lane.sequence,
        };
        lane.sequence += 1;
        counted.taken();
        load.count += 1;
        load.bytes += new.bytes;
        let is_full = load.bytes >= self.load_bytes;
        if is_full {
            inner.seal();
        }
        drop(guard);
        if was_empty || is_full {
            self.filled.notify_one();
        }
        Ok(taken)
    }

    /// The oldest events, if there are any.
    pub(crate) fn take(&self) -> Option<Load> {
        let mut inner = self.inner();
        if inner.sealed.is_empty() {
            inner.seal();
        }
        inner.sealed.pop_front()
    }

    /// The oldest events, if so many have come that an append is full of them.
    pub(crate) fn take_full(&self) -> Option<Load> {
        self.inner().sealed.pop_front()
    }

    /// Gives buffers back, emptied.
    pub(crate) fn give_back(&self, parts: Vec<Part>) {
        let mut inner = self.inner();
        for Part { mut records, .. } in parts {
            if inner.spare.len() < SPARE_MAX {
                records.clear();
                inner.spare.push(records);
            }
        }
    }

    /// From here on nothing is taken, for this reason; the first one stays. Whoever takes is woken.
    pub(crate) fn close(&self, why: Error) {
        self.inner().closed.get_or_insert(why);
        self.filled.notify_one();
    }

    /// Why nothing more is taken, if so.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.inner().closed.as_ref().map(Error::again)
    }
}

impl Inner {
    /// Takes back the part, and the load, that an event was to begin.
    fn forget_empty(&mut self) {
        let Some(load) = &mut self.open else { return };
        if let Some(last) = load.parts.pop_if(|part| part.records.is_empty()) {
            self.lanes[last.lane].part = None;
        }
        if load.parts.is_empty() {
            self.open = None;
        }
    }

    fn seal(&mut self) {
        let Some(load) = self.open.take() else { return };
        for part in &load.parts {
            self.lanes[part.lane].part = None;
        }
        self.sealed.push_back(load);
    }
}

impl Load {
    fn new() -> Self {
        Self { parts: Vec::new(), batch: Arc::default(), bytes: 0, count: 0, since: Instant::now() }
    }
}

/// Whose event it is, and its number among that one's in the partition: the value of
/// [`EMITTER_HEADER`](crate::EMITTER_HEADER).
pub(crate) fn stamp(instance: u64, sequence: u64) -> [u8; 16] {
    let mut stamp = [0; 16];
    stamp[..8].copy_from_slice(&instance.to_be_bytes());
    stamp[8..].copy_from_slice(&sequence.to_be_bytes());
    stamp
}

fn add(records: &mut Records, new: &NewRecord<'_>, stamp: &[u8]) -> Result<()> {
    let own = (crate::EMITTER_HEADER, stamp);
    let NewRecord { timestamp_ms, key, value, .. } = *new;
    if new.headers.is_empty() {
        return records.push(timestamp_ms, key, &[own], Some(value));
    }
    let all: Vec<_> = new.headers.iter().copied().chain([own]).collect();
    records.push(timestamp_ms, key, &all, Some(value))
}

/// What is told of an event that found no room.
pub(crate) fn full(queue_bytes_max: usize) -> Error {
    Error::new(ErrorKind::Exhausted, "emit an event")
        .because("the queue is full: events come faster than they become durable")
        .with("queue_bytes_max", queue_bytes_max)
        .help("await `emit` or `enqueue`, raise queue_bytes_max, or have full queues drop events")
}

/// What is told of an event that was dropped.
pub(crate) fn dropped() -> Error {
    Error::new(ErrorKind::Exhausted, "emit an event")
        .because("it was dropped: the queue was full, and is told to drop then")
}
