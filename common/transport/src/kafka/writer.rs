//! One writer: a producer, and a thread of its own that carries out its appends one after the other.

use super::checkpoints::record_key;
use super::config::{Delivery, KafkaConfig};
use super::error::{Quiet, Told, failed};
use crate::{Append, Appended, GroupOffset, OffsetBreak, RecordIter, RecordRef, Records};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Appends that may wait for a writer's thread; their bytes are bounded by the transport's budget.
const JOBS_WAITING_MAX: usize = 64;

/// How long it is looked for deliveries before anything else is.
const POLL: Duration = Duration::from_millis(50);

/// How long to wait before it is looked for deliveries again: a fraction of what brokers take for one.
const LOOK_PAUSE: Duration = Duration::from_micros(200);

/// How long an append that is given up may take to be taken back.
const ABORT_MAX: Duration = Duration::from_secs(5);

/// An append and where its answer goes.
pub(super) struct Job {
    pub(super) append: Append,
    /// Names of the batches' topics in the cluster.
    pub(super) topics: Vec<String>,
    pub(super) answer: oneshot::Sender<Result<Appended>>,
    /// Given back when the append has ended.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What a writer's producer is told, and what has been delivered of the append under way.
#[derive(Debug, Default)]
pub(super) struct Context {
    told: Told,
    delivered: Mutex<Delivered>,
}

#[derive(Debug, Default)]
struct Delivered {
    batches: Vec<Offsets>,
    failed: Option<KafkaError>,
}

/// The offsets of a batch's records, which are told in the batch's order.
#[derive(Debug, Default, Clone)]
struct Offsets {
    base: Option<u64>,
    count: u32,
    /// The offset behind the last one.
    next: u64,
    /// What other producers wrote in between: the record's place in the batch, its offset.
    breaks: Vec<(u32, u64)>,
}

impl Offsets {
    fn note(&mut self, offset: u64) {
        if self.base.is_none() {
            self.base = Some(offset);
        } else if offset != self.next {
            self.breaks.push((self.count, offset));
        }
        self.count += 1;
        self.next = offset + 1;
    }
}

impl Context {
    fn delivered(&self) -> std::sync::MutexGuard<'_, Delivered> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::error::log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.note(error, reason);
    }
}

impl ProducerContext for Context {
    /// The batch of the record, [`usize::MAX`] for state.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: usize) {
        let mut delivered = self.delivered();
        match result {
            Ok(message) => {
                let offset = u64::try_from(message.offset()).unwrap_or(0);
                if let Some(offsets) = delivered.batches.get_mut(batch) {
                    offsets.note(offset);
                }
            }
            Err((error, _)) => {
                delivered.failed.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// A way to the writer's thread, which ends when this is dropped and its last job is done.
pub(super) struct Writer {
    pub(super) epoch: u64,
    pub(super) jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Takes over as this writer: from here on every older producer of the id is fenced. Blocks.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Privilege`.
    pub(super) fn open(config: &KafkaConfig, id: &str, epoch: u64, prefix: &str) -> Result<Self> {
        let doing = "open a writer";
        let transactional_id = format!("{prefix}tidemesh.{id}");
        let transactional = config.delivery == Delivery::ExactlyOnce;
        let properties = config.producer(transactional.then_some(transactional_id.as_str()));
        let producer: BaseProducer<Context> =
            BaseProducer::from_config_and_context(&properties, Context::default())
                .map_err(|error| failed(error, doing))?;
        if transactional {
            producer.init_transactions(config.request_timeout).map_err(|error| {
                // What the library tells of its connections is handed over by a poll only.
                producer.poll(Duration::ZERO);
                let error = producer.context().told.explain(error, doing);
                error.with("writer", id).with("bootstrap_servers", &config.bootstrap_servers)
            })?;
        }
        let (jobs, waiting) = mpsc::channel(JOBS_WAITING_MAX);
        let mut running = Running {
            config: config.clone(),
            id: id.to_owned(),
            checkpoints: format!("{prefix}{}", super::topics::CHECKPOINTS),
            prefix: prefix.to_owned(),
            producer,
            transactional,
            groups: BTreeMap::new(),
            broken: false,
            failures: metrics::counter!("tidemesh_kafka_append_failures_total", "writer" => id.to_owned()),
        };
        running.failures.increment(0);
        std::thread::Builder::new()
            .name("kafka-writer".to_owned())
            .spawn(move || running.run(waiting))
            .map_err(|error| Error::new(ErrorKind::Unavailable, doing).caused_by(error))?;
        Ok(Self { epoch, jobs })
    }
}

/// What the thread holds.
struct Running {
    config: KafkaConfig,
    id: String,
    checkpoints: String,
    prefix: String,
    producer: BaseProducer<Context>,
    transactional: bool,
    /// Clients that commit for groups, by group.
    groups: BTreeMap<String, BaseConsumer<Quiet>>,
    /// After an append that failed the writer is to be opened again: only that tells what became of
    /// it.
    broken: bool,
    failures: metrics::Counter,
}

impl Running {
    fn run(&mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(Job { append, topics, answer, _permit }) = jobs.blocking_recv() {
            let result =
                if self.broken { Err(self.is_broken()) } else { self.append(append, &topics) };
            if let Err(error) = &result {
                self.broken = true;
                self.failures.increment(1);
                tracing::debug!(writer = self.id, error = error.report(), "an append failed");
            }
            // Who asked may have gone.
            let _ = answer.send(result);
        }
    }

    fn is_broken(&self) -> Error {
        Error::new(ErrorKind::Unavailable, "append")
            .because("an append before this one failed: the writer must be opened again")
            .with("writer", &self.id)
    }

    fn append(&mut self, append: Append, topics: &[String]) -> Result<Appended> {
        let deadline = Instant::now() + self.config.transaction_timeout;
        *self.producer.context().delivered() =
            Delivered { batches: vec![Offsets::default(); append.batches.len()], failed: None };
        let written = self.write(&append, topics, deadline);
        if let Err(error) = written {
            self.take_back();
            return Err(error);
        }
        let offsets = std::mem::take(&mut self.producer.context().delivered().batches);
        let base_offsets = offsets.iter().map(|batch| batch.base.unwrap_or_default()).collect();
        let breaks = offsets.iter().enumerate().flat_map(|(batch, offsets)| {
            offsets.breaks.iter().map(move |(index, offset)| OffsetBreak {
                batch,
                index: *index,
                offset: *offset,
            })
        });
        let breaks = breaks.collect();
        let recycled = append.batches.into_iter().map(|batch| emptied(batch.records)).collect();
        Ok(Appended { base_offsets, breaks, recycled })
    }

    fn write(&mut self, append: &Append, topics: &[String], deadline: Instant) -> Result<()> {
        if self.transactional {
            self.producer.begin_transaction().map_err(|error| self.explain(error))?;
        }
        for (index, batch) in append.batches.iter().enumerate() {
            for record in RecordIter::new(batch.records.as_bytes()) {
                self.send(&topics[index], batch.partition, index, &record?, deadline)?;
            }
        }
        if !self.transactional {
            // Without transactions the order is all there is: state follows what it tells of.
            self.delivered(deadline)?;
        }
        for item in &append.state {
            self.send_state(&item.key, item.value.as_deref(), deadline)?;
        }
        self.send_offsets(&append.offsets, deadline)?;
        self.delivered(deadline)?;
        if self.transactional {
            let left = left(deadline);
            self.producer.commit_transaction(left).map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    fn send(
        &self,
        topic: &str,
        partition: u32,
        batch: usize,
        record: &RecordRef<'_>,
        deadline: Instant,
    ) -> Result<()> {
        let mut headers = OwnedHeaders::new_with_capacity(1);
        for (key, value) in record.headers() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut sent = BaseRecord::with_opaque_to(topic, batch)
            .partition(i32::try_from(partition).unwrap_or(i32::MAX))
            .timestamp(record.timestamp_ms)
            .headers(headers);
        sent.key = record.key;
        sent.payload = record.value;
        self.enqueue(sent, deadline)
    }

    fn send_state(&self, item: &str, value: Option<&[u8]>, deadline: Instant) -> Result<()> {
        let key = record_key(&self.id, item);
        let mut sent = BaseRecord::with_opaque_to(&self.checkpoints, usize::MAX).partition(0);
        sent.key = Some(key.as_slice());
        sent.payload = value;
        self.enqueue(sent, deadline)
    }

    /// Hands a record to the library, waiting while its queue is full.
    fn enqueue(
        &self,
        mut record: BaseRecord<'_, [u8], [u8], usize>,
        deadline: Instant,
    ) -> Result<()> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => record = back,
                Err((error, record)) => {
                    return Err(self.explain(error).with("topic", record.topic));
                }
            }
            if Instant::now() > deadline {
                return Err(late());
            }
            self.look();
        }
    }

    /// Waits until all that was sent is delivered.
    fn delivered(&self, deadline: Instant) -> Result<()> {
        loop {
            let failed = self.producer.context().delivered().failed.take();
            if let Some(error) = failed {
                return Err(self.explain(self.root(error)));
            }
            if self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.explain(KafkaError::Flush(Code::OperationTimedOut)));
            }
            self.poll_once();
        }
    }

    /// A transaction that fails takes its records out of the queue, which is all that they tell.
    fn root(&self, error: KafkaError) -> KafkaError {
        let purged =
            matches!(error, KafkaError::MessageProduction(Code::PurgeQueue | Code::PurgeInflight));
        if !self.transactional || !purged {
            return error;
        }
        match self.producer.commit_transaction(ABORT_MAX) {
            Err(root) => root,
            Ok(()) => error,
        }
    }

    /// Serves deliveries as soon as there is one.
    fn poll_once(&self) {
        let until = Instant::now() + POLL;
        let before = self.producer.in_flight_count();
        while self.producer.in_flight_count() == before && Instant::now() < until {
            self.look();
        }
    }

    /// Serves what there is, or pauses. A `poll` that is given time would not wait for the last
    /// millisecond of it but spin, and take a core from the brokers that it waits for.
    fn look(&self) {
        let before = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        if self.producer.in_flight_count() == before {
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    fn send_offsets(&mut self, offsets: &[GroupOffset], deadline: Instant) -> Result<()> {
        let mut by_group: BTreeMap<&str, TopicPartitionList> = BTreeMap::new();
        for GroupOffset { group, topic, partition, offset } in offsets {
            let topic = format!("{}{topic}", self.prefix);
            let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            by_group
                .entry(group)
                .or_default()
                .add_partition_offset(&topic, partition, offset)
                .map_err(|error| failed(error, "commit offsets"))?;
        }
        for (group, list) in by_group {
            if !self.groups.contains_key(group) {
                let full = format!("{}{group}", self.prefix);
                let consumer = BaseConsumer::from_config_and_context(
                    &self.config.consumer(Some(&full)),
                    Quiet::default(),
                )
                .map_err(|error| failed(error, "commit offsets"))?;
                self.groups.insert(group.to_owned(), consumer);
            }
            let consumer = &self.groups[group];
            if !self.transactional {
                let committed = consumer.commit(&list, CommitMode::Sync);
                committed.map_err(|error| failed(error, "commit offsets"))?;
                continue;
            }
            let Some(metadata) = consumer.group_metadata() else {
                return Err(Error::new(ErrorKind::Internal, "commit offsets")
                    .because("the library knows nothing of the group")
                    .with("group", group));
            };
            self.producer
                .send_offsets_to_transaction(&list, &metadata, left(deadline))
                .map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    fn take_back(&self) {
        if self.transactional
            && let Err(error) = self.producer.abort_transaction(ABORT_MAX)
        {
            // The next to open the writer takes it back, or the broker after its time.
            tracing::debug!(writer = self.id, %error, "a transaction could not be aborted");
        }
    }

    fn explain(&self, error: KafkaError) -> Error {
        // What is fatal is what led to all that failed since.
        let error = match self.producer.client().fatal_error() {
            Some((code, _)) => KafkaError::Global(code),
            None => error,
        };
        self.producer.context().told.explain(error, "append").with("writer", &self.id)
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout, "append")
        .because("the brokers do not take what is to be written")
}

fn emptied(mut records: Records) -> Records {
    records.clear();
    records
}
