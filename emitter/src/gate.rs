//! What who puts events into a spool and who carries them on know of each other: how full it is, how far
//! it has been carried, and whether more will come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_model::{Error, Result};
use tidemesh_transport::{EmbeddedTransport, Transport};
use tokio::sync::Notify;

/// What was carried on leaves the disk when it is so many bytes, and when nothing is left to carry.
const TRIM_BYTES: u64 = 16 * 1024 * 1024;

/// How far partitions have come, by topic and number.
pub(crate) type Places = BTreeMap<(String, u32), u64>;

/// Cheap to clone; clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    log: Arc<EmbeddedTransport>,
    bytes_max: u64,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    carried: Mutex<Carried>,
    changed: Notify,
    complete: AtomicBool,
}

#[derive(Debug, Default)]
struct Carried {
    places: Places,
    /// Topics that refuse what is carried to them, and why.
    refused: BTreeMap<String, Error>,
    /// Why nothing more is carried.
    ended: Option<Error>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl Gate {
    /// The gate of a spool that may hold so many bytes of events.
    pub(crate) fn new(log: Arc<EmbeddedTransport>, bytes_max: u64) -> Self {
        Self { log, bytes_max, shared: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Carried> {
        self.shared.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the spool has room, or nothing makes any more.
    pub(crate) async fn wait(&self) {
        loop {
            let changed = self.shared.changed.notified();
            // What cannot be asked is told by the append.
            let bytes = self.bytes().await.unwrap_or(0);
            if bytes < self.bytes_max || self.lock().ended.is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Bytes of events on disk.
    pub(crate) async fn bytes(&self) -> Result<u64> {
        let topics = self.log.topics().await?;
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        Ok(partitions.filter_map(|partition| partition.bytes).sum())
    }

    /// From how many carried bytes on the disk is freed of them.
    pub(crate) fn trim_bytes(&self) -> u64 {
        TRIM_BYTES.min(self.bytes_max / 4)
    }

    /// The disk has been freed of what was carried.
    pub(crate) fn sunk(&self) {
        self.shared.changed.notify_waiters();
    }

    /// Partitions have been carried so far.
    pub(crate) fn carried(&self, places: &Places) {
        self.lock().places.clone_from(places);
        self.shared.changed.notify_waiters();
    }

    /// A topic refuses what is carried to it, or is tried again.
    pub(crate) fn refused(&self, topic: &str, why: Option<Error>) {
        match why {
            Some(why) => drop(self.lock().refused.insert(topic.to_owned(), why)),
            None => drop(self.lock().refused.remove(topic)),
        }
        self.shared.changed.notify_waiters();
    }

    /// Nothing more is carried, for this reason.
    pub(crate) fn give_up(&self, why: Error) {
        self.lock().ended.get_or_insert(why);
        self.shared.changed.notify_waiters();
    }

    /// All that will come is in the spool.
    pub(crate) fn complete(&self) {
        self.shared.complete.store(true, Ordering::Release);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.shared.complete.load(Ordering::Acquire)
    }

    /// Whether all that is in the spool is carried.
    ///
    /// # Errors
    ///
    /// What the log answers.
    pub(crate) async fn is_empty(&self) -> Result<bool> {
        let ends = self.ends().await?;
        let carried = self.lock();
        Ok(ends.iter().all(|(place, end)| carried.places.get(place).is_some_and(|at| at >= end)))
    }

    /// Where partitions that have records end.
    async fn ends(&self) -> Result<Places> {
        let mut ends = Places::new();
        for topic in self.log.topics().await? {
            for (number, partition) in (0..).zip(&topic.partitions) {
                if partition.end > partition.begin {
                    ends.insert((topic.name.clone(), number), partition.end);
                }
            }
        }
        Ok(ends)
    }

    /// Waits until all that is in the spool now is carried.
    ///
    /// # Errors
    ///
    /// Why nothing more is carried, or what is left is refused.
    pub(crate) async fn flush(&self) -> Result<()> {
        let mut wanted = self.ends().await?;
        loop {
            let changed = self.shared.changed.notified();
            {
                let carried = self.lock();
                wanted.retain(|place, end| carried.places.get(place).is_none_or(|at| at < end));
                if wanted.is_empty() {
                    return Ok(());
                }
                let is_refused = |((topic, _), _): (&(String, u32), _)| carried.refused.get(topic);
                let refused = wanted.iter().map(is_refused).collect::<Option<Vec<_>>>();
                let refused = refused.and_then(|all| all.first().copied());
                if let Some(error) = carried.ended.as_ref().or(refused) {
                    return Err(error.again());
                }
            }
            changed.await;
        }
    }
}
