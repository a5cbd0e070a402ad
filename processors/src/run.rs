//! Runs a chain: from input topics to an output topic, exactly once.
//!
//! One append carries the output of a batch and how far its inputs were read, so that either both are
//! there or neither is. The job's epoch is taken before the offsets are read: an instance that was
//! paused is fenced with its next append. Offsets stand in the consumer group of the job, which other
//! tools see as any group.

use crate::fused::{Chain, ChainPlan, InputRecord, RecordOut};
use crate::schemas::Schemas;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_plan::output::OutputSchemas;
use tidemesh_plan::query::{Input, Query};
use tidemesh_transport::{
    Append, FetchLimit, FetchedBatch, GroupOffset, POSITION_HEADER, PartitionBatch, Reader,
    RecordRef, Records, Start, Subscription, TopicConfig, Transport, WriterEpoch, partition_of,
};
use tokio::sync::watch;

/// About the most bytes of input that one append answers for.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an idle job waits before it looks whether it shall stop.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// The level of the output's subject: readers of today read what comes, and those of tomorrow what is.
const LEVEL: &str = "FULL_TRANSITIVE";

/// The headers of a dead letter, beside the record's own key and value.
const DEAD_LETTER_HEADERS: [&str; 4] =
    ["tidemesh.error", "tidemesh.topic", "tidemesh.partition", "tidemesh.offset"];

/// One chain to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The pipeline.
    pub pipeline: String,
    /// The sink: its name within the pipeline.
    pub sink: String,
    /// What is computed.
    pub query: Query,
    /// The pipeline's inputs, with their topics and where they begin.
    pub inputs: Vec<(Input, JobInput)>,
    /// The schemas of the output.
    pub schemas: OutputSchemas,
    /// The output's topic.
    pub topic: String,
    /// How it is made if it is not there.
    pub config: TopicConfig,
    /// What happens to a record that cannot be processed.
    pub on_error: OnError,
}

/// Where an input is read.
#[derive(Debug, Clone)]
pub struct JobInput {
    /// Its topic.
    pub topic: String,
    /// Whether a new job begins behind what is there.
    pub latest: bool,
}

/// What happens to a record that cannot be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// The job stops before it.
    Stop,
    /// It goes to this topic as it is, with the reason in its headers.
    DeadLetter(String),
}

/// What a job has done, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Input records that are answered for.
    pub records_in: AtomicU64,
    /// Output records.
    pub records_out: AtomicU64,
    /// Records that could not be processed.
    pub dead_letters: AtomicU64,
    /// The timestamp of the newest input record that is answered for, in milliseconds since
    /// 1970-01-01 00:00:00 UTC.
    pub newest_ms: AtomicU64,
}

impl Job {
    /// The name under which the job writes and keeps its offsets.
    #[must_use]
    pub fn id(&self) -> String {
        format!("pipeline.{}.{}", self.pipeline, self.sink)
    }

    /// Runs until `stop` says so, or something fails.
    ///
    /// Cancel-safe: a dropped call leaves what was appended, and the next run goes on from there.
    ///
    /// # Errors
    ///
    /// `Fenced` if another instance has taken over. `Incompatible` for output that its subject
    /// refuses, and for records that cannot be read as the plan's. With [`OnError::Stop`] what a
    /// record failed with, with its place. What the transport and the registry answer.
    pub async fn run<T: Transport, S: Schemas>(
        &self,
        transport: &T,
        schemas: &S,
        progress: &Progress,
        stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let ids = self.register(schemas).await?;
        let partitions = self.make_topics(transport).await?;
        let writer = transport.open_writer(&self.id()).await?;
        let reader = self.reader(transport, &writer).await?;
        let inputs: Vec<Input> = self.inputs.iter().map(|(input, _)| input.clone()).collect();
        let chain = Chain::new(ChainPlan {
            query: &self.query,
            inputs: &inputs,
            schemas: &self.schemas,
            ids,
            pipeline: &self.pipeline,
            topic: &self.topic,
        })?;
        let work = Work {
            job: self,
            chain,
            schemas,
            progress,
            outputs: Outputs::new(self, partitions),
            writer,
        };
        work.run(transport, reader, stop).await
    }

    async fn register<S: Schemas>(&self, schemas: &S) -> Result<SchemaIds> {
        let value_subject = format!("{}-value", self.topic);
        let value = schemas.register(&value_subject, &self.schemas.value).await?;
        schemas.set_level(&value_subject, LEVEL).await?;
        let key = match &self.schemas.key {
            None => 0,
            Some(key) => schemas.register_alone(&format!("{}-key", self.topic), key).await?,
        };
        Ok(SchemaIds { key, value })
    }

    /// Makes the topics that are written; answers how many partitions the output has.
    async fn make_topics<T: Transport>(&self, transport: &T) -> Result<u32> {
        let info = transport.create_topic(&self.topic, &self.config).await?;
        if let OnError::DeadLetter(topic) = &self.on_error {
            let config =
                TopicConfig { cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() };
            transport.create_topic(topic, &config).await?;
        }
        u32::try_from(info.partitions.len().max(1)).map_err(|_| {
            Error::new(ErrorKind::TooLarge, "run a pipeline").with("topic", &self.topic)
        })
    }

    /// A reader from where the job has come to.
    async fn reader<T: Transport>(&self, transport: &T, writer: &WriterEpoch) -> Result<T::Reader> {
        let mut offsets = transport.committed(&self.id()).await?;
        let mut first = Vec::new();
        for (_, input) in self.inputs.iter().filter(|(_, input)| input.latest) {
            let info = transport.topic(&input.topic).await?;
            for (partition, at) in (0..).zip(&info.partitions) {
                offsets.entry((input.topic.clone(), partition)).or_insert_with(|| {
                    first.push(self.offset(&input.topic, partition, at.end));
                    at.end
                });
            }
        }
        // Where "latest" is must not move with each start.
        if !first.is_empty() {
            let writer = Some(writer.clone());
            transport.append(Append { writer, offsets: first, ..Append::default() }).await?;
        }
        let used = |place: usize| self.query.branches.iter().any(|branch| branch.input == place);
        let topics = self.inputs.iter().enumerate().filter(|(place, _)| used(*place));
        let mut topics: Vec<String> = topics.map(|(_, (_, input))| input.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        transport
            .subscribe(Subscription { topics, group: None, start: Start::Offsets(offsets) })
            .await
    }

    fn offset(&self, topic: &str, partition: u32, offset: u64) -> GroupOffset {
        GroupOffset { group: self.id(), topic: topic.to_owned(), partition, offset }
    }
}

/// A job at work.
struct Work<'w, S> {
    job: &'w Job,
    chain: Chain,
    schemas: &'w S,
    progress: &'w Progress,
    outputs: Outputs,
    writer: WriterEpoch,
}

/// What an append answers for, told once it is durable.
#[derive(Debug, Default)]
struct Counts {
    records_in: u64,
    records_out: u64,
    dead_letters: u64,
    newest_ms: u64,
}

impl<S: Schemas> Work<'_, S> {
    async fn run<T: Transport>(
        mut self,
        transport: &T,
        mut reader: T::Reader,
        stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let limit = FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max: WAIT_MAX };
        let mut fetched = reader.poll(limit).await?;
        loop {
            let mut offsets = BTreeMap::new();
            let mut counts = Counts::default();
            for batch in &fetched {
                self.learn(batch, &mut counts).await?;
                self.process(batch, &mut counts)?;
                offsets.insert((batch.topic.clone(), batch.partition), batch.next_offset);
            }
            if *stop.borrow() && fetched.is_empty() {
                return Ok(());
            }
            let append = self.append(offsets, &mut counts);
            // The next records are fetched while these are being made durable.
            let limit = if *stop.borrow() {
                FetchLimit { wait_max: Duration::ZERO, ..limit }
            } else {
                limit
            };
            let (appended, next) = match append {
                Some(append) => {
                    let (appended, next) =
                        tokio::join!(transport.append(append), reader.poll(limit));
                    (Some(appended?), next)
                }
                None => (None, reader.poll(limit).await),
            };
            if let Some(appended) = appended {
                self.outputs.take_back(appended.recycled);
                self.tell(&counts);
            }
            if *stop.borrow() {
                return Ok(());
            }
            fetched = next?;
        }
    }

    /// Counts a batch's records, and asks for the schemas of their values that are not known yet.
    async fn learn(&mut self, batch: &FetchedBatch, counts: &mut Counts) -> Result<()> {
        let places: Vec<usize> = self.places(&batch.topic).collect();
        let mut last = None;
        for record in batch.iter() {
            let (_, record) = record?;
            counts.records_in += 1;
            let timestamp_ms = u64::try_from(record.timestamp_ms).unwrap_or_default();
            counts.newest_ms = counts.newest_ms.max(timestamp_ms);
            // What has no frame is told by the chain, with its offset.
            let Some(Ok((id, _))) = record.value.map(frame::split) else { continue };
            if last == Some(id) {
                continue;
            }
            last = Some(id);
            if places.iter().all(|place| self.chain.knows(*place, id)) {
                continue;
            }
            let text = match self.schemas.schema(id).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    places.iter().for_each(|place| self.chain.learn_unknown(*place, id));
                    continue;
                }
                answer => answer?,
            };
            let schema = Schema::parse(&text)?;
            for place in &places {
                self.chain
                    .learn(*place, id, &schema)
                    .map_err(|error| error.with("topic", &batch.topic).with("schema_id", id))?;
            }
        }
        Ok(())
    }

    /// The inputs that read a topic.
    fn places<'t>(&'t self, topic: &'t str) -> impl Iterator<Item = usize> + 't {
        let inputs = self.job.inputs.iter().enumerate();
        inputs.filter(move |(_, (_, input))| input.topic == topic).map(|(place, _)| place)
    }

    fn process(&mut self, batch: &FetchedBatch, counts: &mut Counts) -> Result<()> {
        let records =
            batch.iter().map(|record| record.map(|(offset, record)| input(offset, &record)));
        for place in 0..self.job.inputs.len() {
            if *self.job.inputs[place].1.topic != *batch.topic {
                continue;
            }
            let mut out = Out { outputs: &mut self.outputs, job: self.job, batch, counts };
            // The iterator only borrows: it is made anew for each part of the query.
            self.chain.process(place, &batch.bytes, records.clone(), &mut out)?;
        }
        Ok(())
    }

    /// The append of what was processed; none if nothing was read.
    fn append(
        &mut self,
        offsets: BTreeMap<(Arc<str>, u32), u64>,
        counts: &mut Counts,
    ) -> Option<Append> {
        if offsets.is_empty() {
            return None;
        }
        let batches = self.outputs.take();
        counts.records_out = batches
            .iter()
            .filter(|batch| *batch.topic == *self.job.topic)
            .map(|batch| u64::from(batch.records.count()))
            .sum();
        let offset = |((topic, partition), offset): ((Arc<str>, u32), u64)| {
            self.job.offset(&topic, partition, offset)
        };
        Some(Append {
            writer: Some(self.writer.clone()),
            batches,
            offsets: offsets.into_iter().map(offset).collect(),
            ..Append::default()
        })
    }

    fn tell(&self, counts: &Counts) {
        let Progress { records_in, records_out, dead_letters, newest_ms } = self.progress;
        records_in.fetch_add(counts.records_in, Ordering::Relaxed);
        records_out.fetch_add(counts.records_out, Ordering::Relaxed);
        dead_letters.fetch_add(counts.dead_letters, Ordering::Relaxed);
        newest_ms.fetch_max(counts.newest_ms, Ordering::Relaxed);
    }
}

fn input<'r>(offset: u64, record: &RecordRef<'r>) -> InputRecord<'r> {
    InputRecord {
        offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        position: record.header(POSITION_HEADER),
    }
}

/// The records of an append under construction.
#[derive(Debug)]
struct Outputs {
    topic: Arc<str>,
    partitions: Vec<Records>,
    dead_letters: Option<(Arc<str>, Records)>,
    spare: Vec<Records>,
    /// For a record without a key: the partition that the next one goes to.
    next: usize,
}

impl Outputs {
    fn new(job: &Job, partitions: u32) -> Self {
        let dead_letters = match &job.on_error {
            OnError::Stop => None,
            OnError::DeadLetter(topic) => Some((topic.as_str().into(), Records::default())),
        };
        Self {
            topic: job.topic.as_str().into(),
            partitions: (0..partitions).map(|_| Records::default()).collect(),
            dead_letters,
            spare: Vec::new(),
            next: 0,
        }
    }

    #[inline]
    fn partition(&mut self, key: Option<&[u8]>) -> &mut Records {
        let count = self.partitions.len();
        let place = match key {
            Some(key) => partition_of(key, u32::try_from(count).unwrap_or(u32::MAX)) as usize,
            None => {
                self.next = (self.next + 1) % count;
                self.next
            }
        };
        &mut self.partitions[place]
    }

    fn take(&mut self) -> Vec<PartitionBatch> {
        let mut batches = Vec::new();
        for (partition, records) in (0..).zip(&mut self.partitions) {
            if !records.is_empty() {
                let records = std::mem::replace(records, self.spare.pop().unwrap_or_default());
                batches.push(PartitionBatch { topic: self.topic.clone(), partition, records });
            }
        }
        if let Some((topic, records)) = &mut self.dead_letters
            && !records.is_empty()
        {
            let records = std::mem::take(records);
            batches.push(PartitionBatch { topic: topic.clone(), partition: 0, records });
        }
        batches
    }

    /// Keeps emptied buffers, one a partition.
    fn take_back(&mut self, recycled: Vec<Records>) {
        let free = self.partitions.len().saturating_sub(self.spare.len());
        self.spare.extend(recycled.into_iter().take(free).map(|mut records| {
            records.clear();
            records
        }));
    }
}

/// Where a chain's records go.
struct Out<'o> {
    outputs: &'o mut Outputs,
    job: &'o Job,
    batch: &'o FetchedBatch,
    counts: &'o mut Counts,
}

impl RecordOut for Out<'_> {
    #[inline]
    fn record(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        position: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let records = self.outputs.partition(key);
        match position {
            None => records.push(timestamp_ms, key, &[], value),
            Some(position) => {
                records.push(timestamp_ms, key, &[(POSITION_HEADER, position)], value)
            }
        }
    }

    fn failed(&mut self, offset: u64, error: Error) -> Result<()> {
        let Some((_, records)) = &mut self.outputs.dead_letters else {
            return Err(error
                .with("pipeline", &self.job.pipeline)
                .with("topic", &self.batch.topic)
                .with("partition", self.batch.partition)
                .with("offset", offset));
        };
        for record in self.batch.iter() {
            let (at, record) = record?;
            if at == offset {
                let values = [
                    error.report(),
                    self.batch.topic.to_string(),
                    self.batch.partition.to_string(),
                    offset.to_string(),
                ];
                let headers: Vec<(&str, &[u8])> = DEAD_LETTER_HEADERS
                    .into_iter()
                    .zip(values.iter().map(String::as_bytes))
                    .collect();
                records.push(record.timestamp_ms, record.key, &headers, record.value)?;
                self.counts.dead_letters += 1;
            }
        }
        Ok(())
    }
}
