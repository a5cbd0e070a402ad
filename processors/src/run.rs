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
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_plan::output::OutputSchemas;
use tidemesh_plan::query::{Input, Query};
use tidemesh_transport::{
    Append, Counts, FetchLimit, FetchedBatch, GroupOffset, Outputs, POSITION_HEADER, Reader,
    RecordRef, Start, Subscription, TopicConfig, Transport, WriterEpoch, partition_of,
};
use tokio::sync::watch;

/// About the most bytes of input that one append answers for.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an idle job waits before it looks whether it shall stop.
const WAIT_MAX: Duration = Duration::from_millis(500);

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
        let OutputSchemas { key, value, .. } = &self.schemas;
        let ids = schemas.register_topic(&self.topic, key.as_deref(), value).await?;
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
        let mut outputs = Outputs::default();
        outputs.bound(transport.record_bytes_max());
        let first = outputs.of(&self.topic, partitions);
        let dead_letters = match &self.on_error {
            OnError::Stop => None,
            OnError::DeadLetter(topic) => Some(outputs.of(topic, 1)),
        };
        let work = Work {
            job: self,
            chain,
            schemas,
            progress,
            outputs,
            places: OutputPlaces { partitions, first, dead_letters, next: 0 },
            writer,
        };
        work.run(transport, reader, stop).await
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
    places: OutputPlaces,
    writer: WriterEpoch,
}

/// Where records go among the outputs.
#[derive(Debug)]
struct OutputPlaces {
    /// How many partitions the output's topic has.
    partitions: u32,
    /// The first of them.
    first: usize,
    /// The partition of the dead letters.
    dead_letters: Option<usize>,
    /// Where a record without a key goes next.
    next: u32,
}

impl OutputPlaces {
    #[inline]
    fn of(&mut self, key: Option<&[u8]>) -> usize {
        let partition = match key {
            Some(key) => partition_of(key, self.partitions),
            None => {
                self.next = (self.next + 1) % self.partitions;
                self.next
            }
        };
        self.first + partition as usize
    }
}

/// What was read for an append.
#[derive(Debug, Default)]
struct Read {
    records: u64,
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
            let mut read = Read::default();
            for batch in &fetched {
                let places: Vec<usize> = self.places_of(&batch.topic).collect();
                self.learn(batch, &places, &mut read).await?;
                self.process(batch, &places)?;
                offsets.insert((batch.topic.clone(), batch.partition), batch.next_offset);
            }
            // The next records are fetched while these are being made durable.
            let stopping = *stop.borrow();
            let wait_max = if stopping { Duration::ZERO } else { WAIT_MAX };
            let next = reader.poll(FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max });
            let next = if offsets.is_empty() {
                next.await
            } else {
                let (append, written) = self.append(offsets);
                let (appended, next) = tokio::join!(transport.append(append), next);
                self.outputs.recycle(appended?.recycled);
                self.tell(&read, &written);
                next
            };
            if stopping || *stop.borrow() {
                return Ok(());
            }
            fetched = next?;
        }
    }

    /// Counts a batch's records, and asks for the schemas of their values that are not known yet.
    async fn learn(
        &mut self,
        batch: &FetchedBatch,
        places: &[usize],
        read: &mut Read,
    ) -> Result<()> {
        let mut last = None;
        for record in batch.iter() {
            let (_, record) = record?;
            read.records += 1;
            let timestamp_ms = u64::try_from(record.timestamp_ms).unwrap_or_default();
            read.newest_ms = read.newest_ms.max(timestamp_ms);
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
            for place in places {
                self.chain
                    .learn(*place, id, &schema)
                    .map_err(|error| error.with("topic", &batch.topic).with("schema_id", id))?;
            }
        }
        Ok(())
    }

    /// The inputs that read a topic.
    fn places_of<'t>(&'t self, topic: &'t str) -> impl Iterator<Item = usize> + 't {
        let inputs = self.job.inputs.iter().enumerate();
        inputs.filter(move |(_, (_, input))| input.topic == topic).map(|(place, _)| place)
    }

    fn process(&mut self, batch: &FetchedBatch, places: &[usize]) -> Result<()> {
        let records =
            batch.iter().map(|record| record.map(|(offset, record)| input(offset, &record)));
        for place in places {
            let Self { chain, outputs, places, job, .. } = self;
            let mut out = Out { outputs, places, job, batch };
            // The iterator only borrows: it is made anew for each part of the query.
            chain.process(*place, &batch.bytes, records.clone(), &mut out)?;
        }
        Ok(())
    }

    /// The append of what was processed, with what it holds.
    fn append(&mut self, offsets: BTreeMap<(Arc<str>, u32), u64>) -> (Append, Counts) {
        let (append, written) = self.outputs.finish();
        let offset = |((topic, partition), offset): ((Arc<str>, u32), u64)| {
            self.job.offset(&topic, partition, offset)
        };
        let offsets = offsets.into_iter().map(offset).collect();
        (Append { writer: Some(self.writer.clone()), offsets, ..append }, written)
    }

    /// Tells what an append answers for, once it is durable.
    fn tell(&self, read: &Read, written: &Counts) {
        let Progress { records_in, records_out, dead_letters, newest_ms } = self.progress;
        records_in.fetch_add(read.records, Ordering::Relaxed);
        records_out.fetch_add(written.records - written.dead_letters, Ordering::Relaxed);
        dead_letters.fetch_add(written.dead_letters, Ordering::Relaxed);
        newest_ms.fetch_max(read.newest_ms, Ordering::Relaxed);
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

/// Where a chain's records go.
struct Out<'o> {
    outputs: &'o mut Outputs,
    places: &'o mut OutputPlaces,
    job: &'o Job,
    batch: &'o FetchedBatch,
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
        let place = self.places.of(key);
        let headers = position.map(|position| [(POSITION_HEADER, position)]);
        let headers = headers.as_ref().map_or(&[][..], |headers| &headers[..]);
        self.outputs.push_with(place, timestamp_ms, key, value, headers)
    }

    fn failed(&mut self, offset: u64, error: Error) -> Result<()> {
        let Some(place) = self.places.dead_letters else {
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
                let (key, value) = (record.key, record.value);
                self.outputs.push_with(place, record.timestamp_ms, key, value, &headers)?;
                self.outputs.counts.dead_letters += 1;
            }
        }
        Ok(())
    }
}
