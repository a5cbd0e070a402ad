//! One writer: a producer, and a thread of its own that carries out its appends one after the other.
//!
//! A transaction costs the time that its last records take to be delivered, that of a commit, and that until
//! the next one is let in, in which nothing else is on its way. So appends that wait already join the
//! transaction of the one before them.

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

/// For how long a transaction takes further appends: how long the first may wait for them.
const JOINED_MAX: Duration = Duration::from_millis(100);

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

/// What a writer's producer is told, and what has been delivered of the appends under way.
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

    /// Makes room for so many more batches; answers the first one's place.
    fn more(&self, batches: usize) -> usize {
        let mut delivered = self.delivered();
        let first = delivered.batches.len();
        delivered.batches.resize(first + batches, Offsets::default());
        first
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
            joins: transactional && !id.starts_with(super::ANONYMOUS),
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
    /// Whether a transaction may have several appends: those of one who knows that they fail together.
    joins: bool,
    /// Clients that commit for groups, by group.
    groups: BTreeMap<String, BaseConsumer<Quiet>>,
    /// After an append that failed the writer is to be opened again: only that tells what became of
    /// it.
    broken: bool,
    failures: metrics::Counter,
}

impl Running {
    fn run(&mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut jobs = vec![first];
            let written = if self.broken {
                Err(self.is_broken())
            } else {
                self.append(&mut jobs, &mut waiting)
            };
            match written {
                Ok(()) => self.answer(jobs),
                Err(error) => self.fail(jobs, &error),
            }
        }
    }

    fn fail(&mut self, jobs: Vec<Job>, error: &Error) {
        self.broken = true;
        self.failures.increment(1);
        tracing::debug!(writer = self.id, error = error.report(), "an append failed");
        for job in jobs {
            // Who asked may have gone.
            let _ = job.answer.send(Err(error.again()));
        }
    }

    fn is_broken(&self) -> Error {
        Error::new(ErrorKind::Unavailable, "append")
            .because("an append before this one failed: the writer must be opened again")
            .with("writer", &self.id)
    }

    /// One transaction: of the append that there is, and of those that join it.
    fn append(&mut self, jobs: &mut Vec<Job>, waiting: &mut mpsc::Receiver<Job>) -> Result<()> {
        let begun = Instant::now();
        *self.producer.context().delivered() = Delivered::default();
        let written = self.write(jobs, waiting, begun);
        if written.is_err() {
            self.take_back();
        }
        written
    }

    /// Tells each append where its records are.
    fn answer(&self, jobs: Vec<Job>) {
        let offsets = std::mem::take(&mut self.producer.context().delivered().batches);
        let mut offsets = offsets.into_iter();
        for Job { append, answer, .. } in jobs {
            let of_append: Vec<Offsets> = offsets.by_ref().take(append.batches.len()).collect();
            // Who asked may have gone.
            let _ = answer.send(Ok(appended(append, &of_append)));
        }
    }

    fn write(
        &mut self,
        jobs: &mut Vec<Job>,
        waiting: &mut mpsc::Receiver<Job>,
        begun: Instant,
    ) -> Result<()> {
        let deadline = begun + self.config.transaction_timeout;
        if self.transactional {
            self.producer.begin_transaction().map_err(|error| self.explain(error))?;
        }
        self.hand_over(&jobs[0], deadline)?;
        while !self.is_delivered(deadline)? {
            if let Some(next) = self.joining(jobs, waiting, begun) {
                jobs.push(next);
                self.hand_over(&jobs[jobs.len() - 1], deadline)?;
            } else {
                self.look();
            }
        }
        if self.transactional {
            let left = left(deadline);
            self.producer.commit_transaction(left).map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// The append that joins the transaction, if one waits, and all but the newest that it has are
    /// delivered: more would but wait, and where brokers are slow the transaction would be late.
    fn joining(
        &self,
        jobs: &[Job],
        waiting: &mut mpsc::Receiver<Job>,
        begun: Instant,
    ) -> Option<Job> {
        if !self.joins || begun.elapsed() > JOINED_MAX {
            return None;
        }
        let (_, before) = jobs.split_last()?;
        let batches = before.iter().flat_map(|job| &job.append.batches);
        let counts = batches.map(|batch| batch.records.count());
        let delivered = self.producer.context().delivered();
        let is_delivered =
            counts.zip(&delivered.batches).all(|(count, batch)| batch.count == count);
        is_delivered.then(|| waiting.try_recv().ok()).flatten()
    }

    /// Hands an append's records, state and offsets to the library.
    fn hand_over(&mut self, job: &Job, deadline: Instant) -> Result<()> {
        let Job { append, topics, .. } = job;
        let first = self.producer.context().more(append.batches.len());
        for (index, batch) in append.batches.iter().enumerate() {
            for record in RecordIter::new(batch.records.as_bytes()) {
                self.send(&topics[index], batch.partition, first + index, &record?, deadline)?;
            }
        }
        if !self.transactional {
            // Without transactions the order is all there is: state follows what it tells of.
            self.delivered(deadline)?;
        }
        for item in &append.state {
            self.send_state(&item.key, item.value.as_deref(), deadline)?;
        }
        self.send_offsets(&append.offsets, deadline)
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
                    let before = self.producer.context().delivered().failed.take();
                    let error = self.root(before.unwrap_or(error));
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
        while !self.is_delivered(deadline)? {
            self.look();
        }
        Ok(())
    }

    fn is_delivered(&self, deadline: Instant) -> Result<bool> {
        let failed = self.producer.context().delivered().failed.take();
        if let Some(error) = failed {
            return Err(self.explain(self.root(error)));
        }
        let is_delivered = self.producer.in_flight_count() == 0;
        if !is_delivered && Instant::now() > deadline {
            return Err(self.explain(KafkaError::Flush(Code::OperationTimedOut)));
        }
        Ok(is_delivered)
    }

    /// A transaction that fails takes its records out of the queue, and takes no more, which is all that
    /// they tell.
    fn root(&self, error: KafkaError) -> KafkaError {
        let follows = matches!(
            error,
            KafkaError::MessageProduction(Code::PurgeQueue | Code::PurgeInflight | Code::State)
        );
        if !self.transactional || !follows {
            return error;
        }
        match self.producer.commit_transaction(ABORT_MAX) {
            Err(root) => root,
            Ok(()) => error,
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

/// What is answered for an append whose batches have these offsets.
fn appended(append: Append, offsets: &[Offsets]) -> Appended {
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
    Appended { base_offsets, breaks, recycled }
}

fn emptied(mut records: Records) -> Records {
    records.clear();
    records
}
