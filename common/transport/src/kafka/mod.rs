//! Apache Kafka, by librdkafka: topics of a cluster, transactions, consumer groups.
//!
//! An append goes through its writer's thread (`writer`), as one transaction with the writer's
//! state, which lies in a topic of its own (`checkpoints`); readers (`reader`) see what is
//! committed. `config` turns settings into the library's properties, `error` its errors into
//! ours. Absent here: partitioning, which whoever makes a batch has done.

mod checkpoints;
mod config;
mod error;
mod gathering;
mod groups;
mod reader;
mod topics;
mod writer;

pub use config::{Compression, Delivery, KafkaConfig, Sasl, SaslMechanism, Security, Tls};
pub use reader::{KafkaCommitter, KafkaReader};

use crate::{
    Append, Appended, Retention, Submitted, Subscription, TopicConfig, TopicInfo, Transport,
    WriterEpoch, check_topic_name,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, mpsc, oneshot};
use topics::{Topics, blocking};
use writer::{Job, Writer};

/// What an append counts for beyond its records.
const JOB_BYTES: usize = 1024;

/// Bytes that a batch of one record has beside its key and value: the heads of both (61 and a few,
/// Kafka's documentation 4.3, "Record Batch"), and headers.
const RECORD_HEAD_BYTES: usize = 512;

/// What a writer gathers for one append: a transaction's commit is paid once for it.
const GATHERED_BYTES: u64 = 4 * 1024 * 1024;

/// The writer of appends that name none; no source's name has a colon.
const ANONYMOUS: &str = "anonymous:";

type Opening = Arc<tokio::sync::Mutex<()>>;

/// A cluster. Cheap to clone.
#[derive(Clone)]
pub struct KafkaTransport {
    shared: Arc<Shared>,
}

struct Shared {
    config: KafkaConfig,
    topics: Topics,
    /// The writers that this process has opened, by id.
    writers: Mutex<HashMap<Arc<str>, Writer>>,
    /// Held while a writer is opened, by id.
    opening: Mutex<HashMap<Arc<str>, Opening>>,
    /// Held while the writer of appends that name none is opened.
    anonymous: tokio::sync::Mutex<()>,
    /// Sets this process's anonymous writer apart from others'.
    instance: String,
    budget: Arc<Semaphore>,
}

impl KafkaTransport {
    /// The cluster of these settings. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key.
    pub fn new(config: &KafkaConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            shared: Arc::new(Shared {
                topics: Topics::new(config)?,
                writers: Mutex::default(),
                opening: Mutex::default(),
                anonymous: tokio::sync::Mutex::default(),
                instance: format!("{:x}-{:x}", std::process::id(), now_us()),
                budget: Arc::new(Semaphore::new(config.append_bytes_in_flight_max)),
                config: config.clone(),
            }),
        })
    }

    fn writers(&self) -> MutexGuard<'_, HashMap<Arc<str>, Writer>> {
        self.shared.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held while a writer is opened.
    fn opening(&self, id: &Arc<str>) -> Opening {
        let mut opening = self.shared.opening.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(opening.entry(Arc::clone(id)).or_default())
    }

    /// Opens a writer on a thread that may wait. The thread goes on when the call is dropped, and then
    /// must not fence whoever opens the writer next: that one waits for its end.
    async fn open(&self, id: Arc<str>, name: String) -> Result<WriterEpoch> {
        self.shared.topics.create_checkpoints().await?;
        let held = self.opening(&id).lock_owned().await;
        let before = self.writers().get(&id).map_or(0, |writer| writer.epoch);
        let epoch = now_us().max(before + 1);
        let (config, prefix) = (self.shared.config.clone(), self.shared.config.prefix.clone());
        let opened = blocking(move || {
            let _held = held;
            Writer::open(&config, &name, epoch, &prefix)
        });
        let opened = opened.await??;
        self.writers().insert(Arc::clone(&id), opened);
        Ok(WriterEpoch { id, epoch })
    }

    /// The way to the thread of an append's writer.
    async fn jobs(&self, writer: Option<&WriterEpoch>) -> Result<mpsc::Sender<Job>> {
        let Some(WriterEpoch { id, epoch }) = writer else { return self.anonymous().await };
        match self.writers().get(id) {
            Some(writer) if writer.epoch == *epoch => Ok(writer.jobs.clone()),
            _ => Err(Error::new(ErrorKind::Fenced, "append")
                .because("the writer was opened again since, or never")
                .with("writer", id)
                .with("epoch", epoch)),
        }
    }

    async fn anonymous(&self) -> Result<mpsc::Sender<Job>> {
        let id: Arc<str> = ANONYMOUS.into();
        let _opening = self.shared.anonymous.lock().await;
        if let Some(writer) = self.writers().get(&id) {
            return Ok(writer.jobs.clone());
        }
        let name = format!("{ANONYMOUS}{}", self.shared.instance);
        self.open(Arc::clone(&id), name).await?;
        let writers = self.writers();
        writers.get(&id).map(|writer| writer.jobs.clone()).ok_or_else(gone)
    }

    /// The names in the cluster of an append's topics, whose partitions must be there.
    async fn check(&self, append: &Append) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(append.batches.len());
        for batch in &append.batches {
            let partitions = self.shared.topics.partitions_to_write(&batch.topic).await?;
            if batch.partition >= partitions {
                return Err(Error::new(ErrorKind::NotFound, "append")
                    .because("the topic has no such partition")
                    .with("topic", &batch.topic)
                    .with("partition", batch.partition));
            }
            names.push(self.shared.topics.full(&batch.topic));
        }
        Ok(names)
    }

    /// What is not taken for known any more after an append into these topics failed.
    fn failed(&self, topics: &[String], is_anonymous: bool) {
        // One of them may have been removed, which is told late, or not at all.
        topics.iter().for_each(|name| self.shared.topics.forget(name));
        if is_anonymous {
            // Its next append opens it again.
            self.writers().remove(ANONYMOUS);
        }
    }
}

impl Transport for KafkaTransport {
    type Reader = KafkaReader;

    fn topic_prefix(&self) -> &str {
        &self.shared.config.prefix
    }

    fn gathered_bytes(&self) -> u64 {
        GATHERED_BYTES
    }

    fn record_bytes_max(&self) -> usize {
        usize::try_from(self.shared.config.record_bytes_max)
            .map_or(0, |bytes| bytes.saturating_sub(RECORD_HEAD_BYTES))
    }

    async fn create_topic(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        self.shared.topics.create(topic, config).await
    }

    async fn set_retention(&self, topic: &str, retention: &Retention) -> Result<TopicInfo> {
        self.shared.topics.set_retention(topic, retention).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.shared.topics.delete(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.shared.topics.list().await
    }

    async fn topic(&self, topic: &str) -> Result<TopicInfo> {
        self.shared.topics.info(topic).await
    }

    async fn open_writer(&self, id: &str) -> Result<WriterEpoch> {
        // It begins the keys of its state, and ends at their first slash.
        if id.is_empty() || id.contains('/') || check_topic_name(id).is_err() {
            return Err(Error::new(ErrorKind::Config, "open a writer")
                .because("its id must be of a-z A-Z 0-9 . _ -")
                .with("writer", id));
        }
        self.open(id.into(), id.to_owned()).await
    }

    async fn state(&self, id: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let items = checkpoints::read(&self.shared.config, &self.shared.topics).await?;
        let own = items.into_iter().filter(|((writer, _), _)| writer == id);
        Ok(own.map(|((_, key), value)| (key, value)).collect())
    }

    async fn writers(&self) -> Result<Vec<String>> {
        let items = checkpoints::read(&self.shared.config, &self.shared.topics).await?;
        let mut writers: Vec<String> = items.into_keys().map(|(writer, _)| writer).collect();
        writers.dedup();
        Ok(writers)
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        self.submit(append).await?.await
    }

    async fn submit(&self, append: Append) -> Result<Submitted> {
        let topics = self.check(&append).await?;
        let jobs = self.jobs(append.writer.as_ref()).await?;
        let names = topics.clone();
        let state = append.state.iter().filter_map(|item| Some(item.value.as_ref()?.len()));
        let records = append.batches.iter().map(|batch| batch.records.len_bytes());
        let bytes = JOB_BYTES + state.chain(records).sum::<usize>();
        let share = bytes.min(self.shared.config.append_bytes_in_flight_max);
        let budget = Arc::clone(&self.shared.budget);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let permit = budget.acquire_many_owned(share).await.map_err(|_| gone())?;
        let is_anonymous = append.writer.is_none();
        let (answer, answered) = oneshot::channel();
        let job = Job { append, topics, answer, _permit: permit };
        jobs.send(job).await.map_err(|_| gone())?;
        let transport = self.clone();
        Ok(Box::pin(async move {
            let result = answered.await.map_err(|_| gone())?;
            if result.is_err() {
                transport.failed(&names, is_anonymous);
            }
            result
        }))
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<KafkaReader> {
        KafkaReader::new(&self.shared.config, &self.shared.topics, subscription).await
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        let infos = self.shared.topics.list().await?;
        let group = self.shared.topics.full(group);
        let places = infos.into_iter().map(|info| (info.name, info.config.partitions));
        groups::committed(&self.shared.config, group, places.collect()).await
    }

    async fn consumption(&self, topic: &str) -> Result<BTreeMap<(String, u32), u64>> {
        groups::consumption(&self.shared.config, &self.shared.topics, topic).await
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "append").because("the writer's thread has ended")
}

/// Microseconds since 1970-01-01 00:00:00 UTC: an epoch that rises over restarts too.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
