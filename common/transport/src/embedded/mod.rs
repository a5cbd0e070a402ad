//! The embedded log: topics on local disk, held by one process, with `fjall` as its storage.
//!
//! One thread writes ([`writer`]); readers read what it has made durable. Absent here: sockets (see
//! `remote`), and any other machine: the log is for one, and is never stretched over several.

mod clean;
mod groups;
mod journal;
mod reader;
mod state;
mod store;
mod writer;

pub use journal::Cut;
pub use reader::EmbeddedReader;

use crate::{Append, Appended, Subscription, TopicConfig, TopicInfo, Transport, WriterEpoch};
use groups::Groups;
use state::State;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use writer::{Job, Work};

/// How many jobs may wait for the writing thread; bytes are bounded by the budget.
const JOBS_WAITING_MAX: usize = 1024;

/// What a job counts for beyond its records.
const JOB_BYTES: usize = 1024;

/// How an embedded log is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The log's folder, made if it is missing. One process at a time.
    pub folder: PathBuf,
    /// The most bytes of appends that are taken and not yet durable; an append past it waits.
    pub append_bytes_in_flight_max: usize,
}

impl EmbeddedConfig {
    /// The log in `folder` with a budget of 16 MiB.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), append_bytes_in_flight_max: 16 * 1024 * 1024 }
    }
}

/// A log on local disk. Cheap to clone; the last clone and reader to go close it.
#[derive(Clone)]
pub struct EmbeddedTransport {
    shared: Arc<Shared>,
    writer: Arc<Writing>,
}

/// What writer and readers share.
struct Shared {
    store: Store,
    folder: PathBuf,
    visible: Mutex<Arc<State>>,
    /// Counts what readers may want to look for: appends and changes of groups.
    appended: watch::Sender<u64>,
    groups: Groups,
    cuts: Vec<Cut>,
}

/// The way to the writing thread, which ends when this is dropped.
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
    fn start(shared: &Arc<Shared>, budget_bytes: usize) -> Result<Self> {
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|e| Error::new(ErrorKind::Storage, "open the log").caused_by(e))
        };
        let budget_bytes = u32::try_from(budget_bytes).unwrap_or(u32::MAX);
        let budget = Arc::new(Semaphore::new(budget_bytes as usize));
        let (jobs, receiver) = mpsc::channel(JOBS_WAITING_MAX);
        let writing = Arc::clone(shared);
        let cleaner = clean::Cleaner::new(shared, &jobs, &budget);
        let (cleaning, stop) = std::sync::mpsc::channel();
        let threads = vec![
            spawn("log-writer", Box::new(move || writer::run(&writing, receiver)))?,
            spawn("log-cleaner", Box::new(move || clean::run(cleaner, &stop)))?,
        ];
        Ok(Self { jobs: Some(jobs), budget, budget_bytes, cleaning: Some(cleaning), threads })
    }
}

impl Shared {
    fn visible(&self) -> Arc<State> {
        Arc::clone(&self.visible.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, state: State) {
        *self.visible.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        self.wake();
    }

    fn wake(&self) {
        self.appended.send_modify(|count| *count += 1);
    }
}

impl EmbeddedTransport {
    /// Opens the log, recovers what a crash has torn, and begins to write.
    ///
    /// # Errors
    ///
    /// `Conflict` if another process has the folder; `NewerVersion` if a newer program wrote it;
    /// `Corrupt` with file and place; `Storage`. Blocks while it reads the journal.
    pub fn open(config: &EmbeddedConfig) -> Result<Self> {
        let folder = &config.folder;
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::new(ErrorKind::Storage, "open the log")
                .because("its folder cannot be made")
                .with("folder", folder.display())
                .caused_by(error)
        })?;
        let _lock = lock_journal(folder)?;
        let cuts = journal::check(folder)?;
        for cut in &cuts {
            let file = cut.file.display().to_string();
            tracing::warn!(
                file,
                offset = cut.offset,
                bytes_cut = cut.bytes,
                "a torn write was cut"
            );
        }
        drop(_lock);
        let store = Store::open(folder)?;
        let state = State::load(&store, folder)?;
        let shared = Arc::new(Shared {
            store,
            folder: folder.clone(),
            visible: Mutex::new(Arc::new(state)),
            appended: watch::Sender::new(0),
            groups: Groups::default(),
            cuts,
        });
        let writer = Arc::new(Writing::start(&shared, config.append_bytes_in_flight_max)?);
        Ok(Self { shared, writer })
    }

    /// The torn writes that were cut off when the log was opened.
    #[must_use]
    pub fn cuts(&self) -> &[Cut] {
        &self.shared.cuts
    }

    /// Hands a job to the writing thread and waits for its answer. Waits first while the budget is
    /// full; a job larger than the whole budget takes all of it.
    async fn submit<T>(
        &self,
        bytes: usize,
        work: impl FnOnce(oneshot::Sender<Result<T>>) -> Work,
    ) -> Result<T> {
        let gone =
            || Error::new(ErrorKind::Unavailable, "write to the log").because("the log was closed");
        let share =
            u32::try_from(bytes + JOB_BYTES).unwrap_or(u32::MAX).min(self.writer.budget_bytes);
        let budget = Arc::clone(&self.writer.budget);
        let permit = budget.acquire_many_owned(share).await.map_err(|_| gone())?;
        let (sender, receiver) = oneshot::channel();
        let job = Job { work: work(sender), _permit: permit };
        let jobs = self.writer.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

/// Holds the storage's own lock while its journal is looked at, so that a running process's
/// journal is never taken for a torn one.
fn lock_journal(folder: &Path) -> Result<Option<std::fs::File>> {
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(folder.join("lock")) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(store::storage_error(fjall::Error::Locked, "open the log", folder)),
    }
}

impl Transport for EmbeddedTransport {
    type Reader = EmbeddedReader;

    async fn create_topic(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        if let Ok(info) = self.shared.visible().info(topic) {
            return Ok(info);
        }
        let (topic, config) = (topic.to_owned(), config.clone());
        self.submit(0, |sender| Work::CreateTopic(topic, config, sender)).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        let topic = topic.to_owned();
        self.submit(0, |sender| Work::DeleteTopic(topic, sender)).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let state = self.shared.visible();
        state.topics.keys().map(|name| state.info(name)).collect()
    }

    async fn topic(&self, topic: &str) -> Result<TopicInfo> {
        self.shared.visible().info(topic)
    }

    async fn open_writer(&self, id: &str) -> Result<WriterEpoch> {
        let id = id.to_owned();
        self.submit(0, |sender| Work::OpenWriter(id, sender)).await
    }

    async fn state(&self, id: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        Ok(self.shared.visible().items.get(id).cloned().unwrap_or_default())
    }

    async fn writers(&self) -> Result<Vec<String>> {
        let state = self.shared.visible();
        Ok(state.items.iter().filter(|(_, i)| !i.is_empty()).map(|(id, _)| id.clone()).collect())
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let bytes = append.batches.iter().map(|batch| batch.records.len_bytes()).sum();
        self.submit(bytes, |sender| Work::Append(append, sender)).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<EmbeddedReader> {
        EmbeddedReader::new(self.clone(), subscription)
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        Ok(self.shared.visible().offsets.get(group).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
