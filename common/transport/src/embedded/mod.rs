//! The embedded log: topics on local disk, held by one process, with `fjall` as its storage.
//!
//! An append goes through [`writer`], one thread, which syncs it and makes it visible; readers
//! ([`reader`], [`fetch`]) read what is durable; [`clean`] drops what policies let go. [`folder`] and
//! [`journal`] look at the folder before the storage does. Absent here: sockets (see `remote`), and
//! any other machine: the log is for one, and is never stretched over several.

mod batch;
mod clean;
mod damage;
mod fetch;
mod folder;
mod groups;
mod journal;
mod reader;
mod round;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use journal::Cut;
pub use reader::{EmbeddedCommitter, EmbeddedReader};

use crate::{
    Append, Appended, Retention, Subscription, TopicConfig, TopicInfo, Transport, WriterEpoch,
};
use clean::Cleaner;
use folder::Folder;
use groups::Groups;
use state::{Change, State};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use writer::{Answer, Job, Work};

/// How many jobs may wait for the writing thread; bytes are bounded by the budget.
const JOBS_WAITING_MAX: usize = 1024;

/// What a job counts for beyond its records.
const JOB_BYTES: usize = 1024;

/// The least budget: a job takes at most all of it.
const BUDGET_BYTES_MIN: usize = 64 * 1024;

const MIB: u64 = 1024 * 1024;

/// How an embedded log is opened. With the defaults it needs some 40 MB of memory at its busiest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The log's folder, made if it is missing. One process at a time.
    pub folder: PathBuf,
    /// The most bytes of appends that are taken and not yet durable; an append past it waits.
    /// At least 64 KiB; default 16 MiB.
    pub append_bytes_in_flight_max: usize,
    /// What the storage holds in memory before it writes a table; up to five times this, while it
    /// writes. Default 4 MiB.
    pub memtable_bytes_max: u64,
    /// Blocks of the storage's files kept in memory. Default 8 MiB.
    pub cache_bytes_max: u64,
    /// The storage's journals on disk, at least 64 MiB, which is the default. What a start reads.
    pub journal_bytes_max: u64,
    /// How often topics are looked at for retention and compaction, in milliseconds.
    /// Default 30 s.
    pub clean_interval_ms: u64,
    /// The newest bytes of a partition that compaction leaves alone. Default 32 MiB.
    pub compact_tail_bytes: u64,
}

impl EmbeddedConfig {
    /// The log in `folder` with the defaults.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            append_bytes_in_flight_max: 16 * 1024 * 1024,
            memtable_bytes_max: 4 * MIB,
            cache_bytes_max: 8 * MIB,
            journal_bytes_max: 64 * MIB,
            clean_interval_ms: 30_000,
            compact_tail_bytes: 32 * MIB,
        }
    }
}

/// What was repaired when a log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The torn last write that a crash left, which was never acknowledged: at most one.
    pub cuts: Vec<Cut>,
}

/// A log on local disk. Cheap to clone; the last clone and reader to go close it, which waits for
/// what is being written.
#[derive(Clone)]
pub struct EmbeddedTransport {
    shared: Arc<Shared>,
    writing: Arc<Writing>,
}

/// What writer, readers and cleaner share.
struct Shared {
    /// None while it could not be opened again after a failure. Dropped before the folder is let go.
    store: RwLock<Option<Store>>,
    visible: RwLock<State>,
    /// Counts what readers may want to look for: records and changes of groups.
    appended: watch::Sender<u64>,
    groups: Groups,
    /// Held by the one cleaning.
    cleaning: Mutex<()>,
    config: EmbeddedConfig,
    recovery: Recovery,
    folder: Folder,
}

/// The way to the threads, which end when this is dropped.
struct Writing {
    jobs: Option<mpsc::Sender<Job>>,
    budget: Arc<Semaphore>,
    budget_bytes: u32,
    /// Hung up to end the cleaning thread.
    cleaning: Option<std::sync::mpsc::Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.cleaning = None;
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Writing {
    /// Starts the threads that write and clean.
    fn start(shared: &Arc<Shared>) -> Result<Self> {
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|e| Error::new(ErrorKind::Storage, "open the log").caused_by(e))
        };
        let budget = shared.config.append_bytes_in_flight_max.max(BUDGET_BYTES_MIN);
        let budget_bytes = u32::try_from(budget).unwrap_or(u32::MAX);
        let (jobs, receiver) = mpsc::channel(JOBS_WAITING_MAX);
        let writes = Arc::clone(shared);
        let cleaner = Cleaner { shared: Arc::downgrade(shared), jobs: jobs.downgrade() };
        let interval = Duration::from_millis(shared.config.clean_interval_ms);
        let (cleaning, stop) = std::sync::mpsc::channel();
        Ok(Self {
            jobs: Some(jobs),
            budget: Arc::new(Semaphore::new(budget_bytes as usize)),
            budget_bytes,
            cleaning: Some(cleaning),
            threads: vec![
                spawn("log-writer", Box::new(move || writer::run(&writes, receiver)))?,
                spawn("log-cleaner", Box::new(move || clean::run(&cleaner, interval, &stop)))?,
            ],
        })
    }
}

impl Shared {
    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is durable now.
    fn publish(&self, changes: &[Change]) {
        let mut state = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        let mut wakes = false;
        for change in changes {
            state.apply(change);
            match change {
                Change::Offset(group, place, offset) => {
                    self.groups.committed(group, place, *offset);
                }
                Change::TopicGone(topic) => self.groups.forget(topic),
                _ => {}
            }
            wakes |= matches!(change, Change::Partition(..) | Change::TopicGone(_));
        }
        drop(state);
        if wakes {
            self.wake();
        }
    }

    fn wake(&self) {
        self.appended.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The storage is gone: it failed, and could not be opened again so far.
    fn closed(&self) -> Error {
        Error::new(ErrorKind::Unavailable, "use the log")
            .because("its storage has failed and could not be opened again yet")
            .with("folder", self.folder.path().display())
            .help("see that the disk has room and works; each append tries again")
    }
}

impl EmbeddedTransport {
    /// Opens the log, recovers what a crash has torn, and begins to write.
    ///
    /// Blocks while it reads the journal, 64 MiB or some more.
    ///
    /// # Errors
    ///
    /// `Conflict` if another process has the folder; `NewerVersion` if a newer program wrote it;
    /// `Config` if it holds something else; `Corrupt` with file and place; `Storage`.
    pub fn open(config: &EmbeddedConfig) -> Result<Self> {
        let folder = Folder::open(&config.folder)?;
        let (store, cuts) = Store::open(&folder, config)?;
        let state = State::load(&store, folder.path())?;
        let shared = Arc::new(Shared {
            store: RwLock::new(Some(store)),
            visible: RwLock::new(state),
            appended: watch::Sender::new(0),
            groups: Groups::default(),
            cleaning: Mutex::new(()),
            config: config.clone(),
            recovery: Recovery { cuts },
            folder,
        });
        let writing = Arc::new(Writing::start(&shared)?);
        Ok(Self { shared, writing })
    }

    /// What was repaired when the log was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// Applies retention and compaction now, not only at the next interval; answers when done.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `Storage` as a reader would get them; what was cleaned until then stays so.
    pub async fn clean(&self) -> Result<()> {
        self.clean_at(now_ms()).await
    }

    async fn clean_at(&self, now_ms: i64) -> Result<()> {
        self.cleaning(move |cleaner| cleaner.clean(now_ms)).await
    }

    /// Drops what a partition's readers need no more: the batches that end at or before `offset`. A
    /// reader that has not come so far goes on behind them.
    ///
    /// # Errors
    ///
    /// `NotFound` for a topic or partition that is not there; as [`EmbeddedTransport::clean`].
    pub async fn trim(&self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        let topic = topic.to_owned();
        self.cleaning(move |cleaner| cleaner.trim(&topic, partition, offset)).await
    }

    /// Runs a cleaner on a thread that may wait.
    async fn cleaning(
        &self,
        clean: impl FnOnce(&Cleaner) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let jobs = self.writing.jobs.as_ref().ok_or_else(gone)?.downgrade();
        let cleaner = Cleaner { shared: Arc::downgrade(&self.shared), jobs };
        let cleaning = tokio::task::spawn_blocking(move || clean(&cleaner));
        cleaning
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "clean topics").caused_by(error))?
    }

    /// Hands a job to the writing thread and waits for its answer. Waits first while the budget is
    /// full; a job larger than the whole budget takes all of it.
    async fn submit<T>(&self, bytes: usize, work: impl FnOnce(Answer<T>) -> Work) -> Result<T> {
        let share = u32::try_from(bytes.saturating_add(JOB_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.writing.budget_bytes);
        let budget = Arc::clone(&self.writing.budget);
        let permit = budget.acquire_many_owned(share).await.map_err(|_| gone())?;
        let (answer, done) = oneshot::channel();
        let job = Job { work: work(answer), bytes, permit: Some(permit) };
        let jobs = self.writing.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "write to the log").because("the log was closed")
}

/// Milliseconds since 1970-01-01 00:00:00 UTC.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Transport for EmbeddedTransport {
    type Reader = EmbeddedReader;

    async fn create_topic(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        if let Ok(info) = self.shared.read_state().info(topic) {
            return Ok(info);
        }
        let (topic, config) = (topic.to_owned(), config.clone());
        self.submit(0, |answer| Work::CreateTopic(topic, config, answer)).await
    }

    async fn set_retention(&self, topic: &str, retention: &Retention) -> Result<TopicInfo> {
        let (topic, retention) = (topic.to_owned(), *retention);
        self.submit(0, |answer| Work::SetRetention(topic, retention, answer)).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        let topic = topic.to_owned();
        self.submit(0, |answer| Work::DeleteTopic(topic, answer)).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let state = self.shared.read_state();
        // Those of the platform are none of the users', as over Kafka.
        let users = state.topics.keys().filter(|name| !name.starts_with("_tidemesh."));
        users.map(|name| state.info(name)).collect()
    }

    async fn topic(&self, topic: &str) -> Result<TopicInfo> {
        self.shared.read_state().info(topic)
    }

    async fn open_writer(&self, id: &str) -> Result<WriterEpoch> {
        let id = id.to_owned();
        self.submit(0, |answer| Work::OpenWriter(id, answer)).await
    }

    async fn state(&self, id: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let state = self.shared.read_state();
        let items = state.items.get(id).into_iter().flatten();
        Ok(items.map(|(key, value)| (key.to_string(), value.to_vec())).collect())
    }

    async fn writers(&self) -> Result<Vec<String>> {
        Ok(self.shared.read_state().items.keys().map(ToString::to_string).collect())
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let mut bytes =
            append.state.iter().filter_map(|item| Some(item.value.as_ref()?.len())).sum();
        let mut pieces = Vec::with_capacity(append.batches.len());
        for batch in &append.batches {
            bytes += batch.records.len_bytes();
            pieces.push(batch::check_records(batch.records.as_bytes(), batch.records.count())?);
        }
        self.submit(bytes, |answer| Work::Append(append, pieces, answer)).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<EmbeddedReader> {
        EmbeddedReader::new(self.clone(), subscription)
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        let state = self.shared.read_state();
        let offsets = state.offsets.get(group).into_iter().flatten();
        Ok(offsets.map(|((topic, p), offset)| ((topic.to_string(), *p), *offset)).collect())
    }

    async fn consumption(&self, topic: &str) -> Result<BTreeMap<(String, u32), u64>> {
        let state = self.shared.read_state();
        state.topic(topic)?;
        let all = state.offsets.iter().flat_map(|(group, offsets)| {
            let own = offsets.iter().filter(|((name, _), _)| **name == *topic);
            own.map(|((_, partition), offset)| ((group.to_string(), *partition), *offset))
        });
        Ok(all.collect())
    }
}
