//! The loop of a job: fetch, process, append output and offsets at once.

use super::until::{Bounds, Until};
use super::written::{Failures, Out, Written};
use super::{Cannot, Ended, Offsets, PipelineJob, Progress};
use crate::fused::InputRecord;
use crate::schemas::Schemas;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{
    Append, Counts, FetchLimit, FetchedBatch, Outputs, POSITION_HEADER, Reader, RecordRef,
    Transport, WriterEpoch,
};
use tokio::sync::watch;

/// About the most bytes of input that one append answers for.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an idle job waits before it looks around.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// A job at work.
pub(super) struct Work<'w, S> {
    pub(super) job: &'w PipelineJob,
    pub(super) written: Vec<Written>,
    pub(super) schemas: &'w S,
    pub(super) progress: &'w Progress,
    pub(super) outputs: Outputs,
    /// Where dead letters go in the append.
    pub(super) letters: Option<usize>,
    pub(super) writer: WriterEpoch,
    /// What is durable of how far the job has come.
    pub(super) committed: Offsets,
    pub(super) bounds: Bounds,
}

/// What was read for an append.
#[derive(Debug, Default)]
struct Round {
    records: u64,
    newest_ms: u64,
    offsets: Offsets,
    /// The first record that cannot be read.
    cannot: Option<Cannot>,
}

impl<S: Schemas> Work<'_, S> {
    pub(super) async fn run<T: Transport>(
        mut self,
        transport: &T,
        mut reader: T::Reader,
        mut until: watch::Receiver<Until>,
    ) -> Result<Ended> {
        let mut fetched = Vec::new();
        loop {
            match &*until.borrow_and_update() {
                Until::Told => {}
                Until::Cut(cut) => self.bounds.cut(cut),
                Until::Now => return Ok(Ended::Stopped),
            }
            let mut round = Round::default();
            for batch in &fetched {
                self.take(batch, &mut round).await?;
            }
            let positions = self.bounds.drains().then(|| reader.positions());
            let is_idle = fetched.is_empty();
            if let Some(ended) = self.ended(&mut round, positions, is_idle, transport).await? {
                self.append(round, transport).await?;
                return Ok(ended);
            }
            // The next records are fetched while these are being made durable.
            let next = next(&mut reader, &mut until);
            let (appended, next) = tokio::join!(self.append(round, transport), next);
            appended?;
            fetched = next?;
        }
    }

    /// Whether the job has come to its end with what was taken; `positions` are where its reader is, if
    /// it goes to a cut. The cut's offsets are added, since what lies before it may be no record.
    async fn ended<T: Transport>(
        &self,
        round: &mut Round,
        positions: Option<Offsets>,
        is_idle: bool,
        transport: &T,
    ) -> Result<Option<Ended>> {
        if let Some(cannot) = round.cannot.take() {
            return Ok(Some(Ended::Cannot(cannot)));
        }
        let Some(positions) = positions else { return Ok(None) };
        for (topic, partition, offset) in self.bounds.ahead(&positions) {
            // Records before the cut may be gone, and then nothing comes.
            if !is_idle || begin(transport, topic, partition).await? < offset {
                return Ok(None);
            }
        }
        for (topic, partition, offset) in self.bounds.within(&positions) {
            let place = (topic.to_owned(), partition);
            if self.committed.get(&place).copied().unwrap_or_default() < offset {
                round.offsets.insert(place, offset);
            }
        }
        Ok(Some(Ended::AtCut))
    }

    /// Takes a batch's records, up to where its partition is held.
    async fn take(&mut self, batch: &FetchedBatch, round: &mut Round) -> Result<()> {
        let places: Vec<usize> = self.places_of(&batch.topic).collect();
        let end = self.learn(batch, &places, round).await?;
        if end <= batch.from_offset.max(batch.base_offset) {
            return Ok(());
        }
        self.process(batch, &places, end)?;
        let place = (batch.topic.to_string(), batch.partition);
        round.offsets.insert(place, batch.next_offset.min(end));
        Ok(())
    }

    /// Counts a batch's records, and asks for the schemas of their values that are not known yet.
    /// Answers the offset of the first record that is not taken.
    async fn learn(
        &mut self,
        batch: &FetchedBatch,
        places: &[usize],
        round: &mut Round,
    ) -> Result<u64> {
        let end = self.bounds.of(&batch.topic, batch.partition);
        let mut last = None;
        for record in batch.iter() {
            let (offset, record) = record?;
            if offset >= end {
                break;
            }
            // What has no frame is told by the chain, with its offset.
            if let Some(Ok((id, _))) = record.value.map(frame::split)
                && last != Some(id)
            {
                if let Some(error) = self.learn_schema(id, places).await? {
                    self.hold(batch, offset, id, error, round);
                    return Ok(offset);
                }
                last = Some(id);
            }
            round.records += 1;
            let timestamp_ms = u64::try_from(record.timestamp_ms).unwrap_or_default();
            round.newest_ms = round.newest_ms.max(timestamp_ms);
        }
        Ok(end)
    }

    /// Learns a schema where it is not known; answers why values of it cannot be read, if so.
    async fn learn_schema(&mut self, id: u32, places: &[usize]) -> Result<Option<Error>> {
        let knows = |written: &Written| places.iter().all(|place| written.chain.knows(*place, id));
        if self.written.iter().all(knows) {
            return Ok(None);
        }
        let text = match self.schemas.schema(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.of_each(places, |written, place| written.chain.learn_unknown(place, id));
                return Ok(None);
            }
            answer => answer?,
        };
        let learnt = Schema::parse(&text).and_then(|schema| {
            let mut learnt = Ok(());
            self.of_each(places, |written, place| {
                if learnt.is_ok() {
                    learnt = written.chain.learn(place, id, &schema);
                }
            });
            learnt
        });
        match learnt {
            Err(error) if error.kind() == ErrorKind::Internal => Err(error),
            learnt => Ok(learnt.err()),
        }
    }

    fn of_each(&mut self, places: &[usize], mut visit: impl FnMut(&mut Written, usize)) {
        for written in &mut self.written {
            places.iter().for_each(|place| visit(written, *place));
        }
    }

    /// Holds a partition before a record that cannot be read.
    fn hold(
        &mut self,
        batch: &FetchedBatch,
        offset: u64,
        schema_id: u32,
        error: Error,
        round: &mut Round,
    ) {
        self.bounds.hold(&batch.topic, batch.partition, offset);
        round.cannot.get_or_insert(Cannot {
            topic: batch.topic.to_string(),
            partition: batch.partition,
            offset,
            schema_id,
            error,
        });
    }

    /// The inputs that read a topic.
    fn places_of<'t>(&'t self, topic: &'t str) -> impl Iterator<Item = usize> + 't {
        let inputs = self.job.plan.inputs.iter().enumerate();
        inputs.filter(move |(_, input)| input.topic == topic).map(|(place, _)| place)
    }

    fn process(&mut self, batch: &FetchedBatch, places: &[usize], end: u64) -> Result<()> {
        let taken =
            |record: &Result<(u64, _)>| !matches!(record, Ok((offset, _)) if *offset >= end);
        let records = batch.iter().take_while(taken);
        let records = records.map(|record| record.map(|(offset, record)| input(offset, &record)));
        let mut failures = Failures::new(self.letters);
        for Written { name, chain, places: to } in &mut self.written {
            let outputs = &mut self.outputs;
            let mut out = Out { outputs, places: to, failures: &mut failures, batch, name };
            for place in places {
                // The iterator only borrows: it is made anew for each part of the query.
                chain.process(*place, &batch.bytes, records.clone(), &mut out)?;
            }
        }
        failures.write(batch, &mut self.outputs)
    }

    /// Makes durable what was processed, and tells.
    async fn append<T: Transport>(&mut self, round: Round, transport: &T) -> Result<()> {
        let (append, written) = self.outputs.finish();
        if round.offsets.is_empty() {
            return Ok(());
        }
        let offset = |((topic, partition), offset): (&(String, u32), &u64)| {
            self.job.offset(topic, *partition, *offset)
        };
        let offsets = round.offsets.iter().map(offset).collect();
        let append = Append { writer: Some(self.writer.clone()), offsets, ..append };
        self.outputs.recycle(transport.append(append).await?.recycled);
        self.tell(&round, &written);
        self.committed.extend(round.offsets);
        Ok(())
    }

    /// Tells what an append answers for, once it is durable.
    fn tell(&self, round: &Round, written: &Counts) {
        let Progress { records_in, records_out, dead_letters, newest_ms } = self.progress;
        records_in.fetch_add(round.records, Ordering::Relaxed);
        records_out.fetch_add(written.records - written.dead_letters, Ordering::Relaxed);
        dead_letters.fetch_add(written.dead_letters, Ordering::Relaxed);
        newest_ms.fetch_max(round.newest_ms, Ordering::Relaxed);
    }
}

/// The next records; none if the wait ran out or something is told. Dropping a poll loses nothing.
fn next<'n, R: Reader>(
    reader: &'n mut R,
    until: &'n mut watch::Receiver<Until>,
) -> impl Future<Output = Result<Vec<FetchedBatch>>> + Send + 'n {
    let limit = FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max: WAIT_MAX };
    async move {
        tokio::select! {
            fetched = reader.poll(limit) => fetched,
            () = told(until) => Ok(Vec::new()),
        }
    }
}

/// Waits until something else is told; for ever if nobody can.
async fn told(until: &mut watch::Receiver<Until>) {
    if until.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The offset of a partition's first record that may be there.
async fn begin<T: Transport>(transport: &T, topic: &str, partition: u32) -> Result<u64> {
    let info = transport.topic(topic).await?;
    Ok(info.partitions.get(partition as usize).map_or(0, |partition| partition.begin))
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
