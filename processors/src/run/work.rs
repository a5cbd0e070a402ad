//! The loop of a job: fetch, process, append output and offsets at once.

use super::flow::{Flow, Taken};
use super::until::{Bounds, Until};
use super::written::Failures;
use super::{Cannot, Ended, Offsets, PipelineJob, Progress};
use crate::schemas::Schemas;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, Result};
use tidemesh_transport::{
    Append, Counts, FetchLimit, FetchedBatch, Outputs, Reader, Transport, WriterEpoch,
};
use tokio::sync::watch;

/// About the most bytes of input that one append answers for.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an idle job waits before it looks around.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// A job at work.
pub(super) struct Work<'w, S> {
    pub(super) job: &'w PipelineJob,
    pub(super) flow: Flow,
    pub(super) schemas: &'w S,
    pub(super) progress: &'w Progress,
    pub(super) outputs: Outputs,
    /// Where dead letters go in the append.
    pub(super) letters: Option<usize>,
    pub(super) writer: WriterEpoch,
    /// What is durable of how far the job has come.
    pub(super) committed: Offsets,
    /// The topics from which records go by age and size.
    pub(super) retained: BTreeSet<String>,
    /// How far the tables of lookups have come.
    pub(super) loaded: Offsets,
    pub(super) bounds: Bounds,
}

/// What was read for an append.
#[derive(Debug, Default)]
pub(super) struct Round {
    records: u64,
    newest_ms: u64,
    pub(super) offsets: Offsets,
    /// Where what was fetched does not follow on what was taken, up to which it was.
    pub(super) gaps: Offsets,
    /// The first record that cannot be read.
    pub(super) cannot: Option<Cannot>,
}

impl Round {
    /// Counts a record that the append answers for.
    fn count(&mut self, timestamp_ms: i64) {
        self.records += 1;
        self.newest_ms = self.newest_ms.max(u64::try_from(timestamp_ms).unwrap_or_default());
    }
}

/// What takes a topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Tables that rows are looked up in.
    Tables,
    /// Queries.
    Rows,
}

impl<S: Schemas> Work<'_, S> {
    /// Runs until something ends it.
    pub(super) async fn run<T: Transport>(
        mut self,
        transport: &T,
        mut until: watch::Receiver<Until>,
    ) -> Result<Ended> {
        if let Some(ended) = self.load(transport, &mut until).await? {
            return Ok(ended);
        }
        let mut reader = transport.subscribe(self.subscription()).await?;
        let mut fetched = Vec::new();
        loop {
            if self.listen(&mut until) {
                return Ok(Ended::Stopped);
            }
            let mut round = Round::default();
            // What is known of a lookup when a record comes is as new as it can be.
            for takes in [Takes::Tables, Takes::Rows] {
                for batch in &fetched {
                    self.take(batch, takes, &mut round).await?;
                }
            }
            let lost = self.lost(&round, transport).await?;
            if !lost.is_empty() {
                return Ok(Ended::Lost(lost));
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
            self.progress.caught_up.store(fetched.is_empty(), Ordering::Relaxed);
        }
    }

    /// Takes up what is told; answers whether the job shall stop.
    pub(super) fn listen(&mut self, until: &mut watch::Receiver<Until>) -> bool {
        match &*until.borrow_and_update() {
            Until::Told => {}
            Until::Cut(cut) => self.bounds.cut(cut),
            Until::Now => return true,
        }
        false
    }

    /// Whether the job has come to its end with what was taken; `positions` are where its reader is, if
    /// it goes to a cut. The cut's offsets are added, since what lies before it may be no record.
    async fn ended<T: Transport>(
        &mut self,
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

    /// Hands a batch's records to what takes them, up to where their partition is held.
    pub(super) async fn take(
        &mut self,
        batch: &FetchedBatch,
        takes: Takes,
        round: &mut Round,
    ) -> Result<()> {
        let places = self.job.places_of(&self.flow.lookups, &batch.topic, takes);
        if places.is_empty() {
            return Ok(());
        }
        let place = (batch.topic.to_string(), batch.partition);
        let committed = self.committed.get(&place).copied().unwrap_or_default();
        // Tables are read again as far as they were.
        let held = self.bounds.of(&batch.topic, batch.partition);
        let end = if takes == Takes::Tables { held.max(committed) } else { held };
        let answers = takes == Takes::Rows
            || self.job.places_of(&self.flow.lookups, &batch.topic, Takes::Rows).is_empty();
        let counted = if answers { committed } else { u64::MAX };
        let end = self.learn(batch, &places, end, counted, round).await?;
        let first = batch.from_offset.max(batch.base_offset);
        if end <= first {
            return Ok(());
        }
        let mut failures = Failures::new(self.letters);
        match takes {
            Takes::Tables => {
                // A letter was written when the record was read first.
                failures.answered = committed;
                let from = self.loaded.get(&place).copied().unwrap_or_default();
                self.flow.fill(Taken { batch, from, end }, &places, &mut failures)?;
                self.loaded.insert(place.clone(), batch.next_offset.min(end));
            }
            Takes::Rows => {
                self.note_gap(batch, first, round);
                let taken = Taken { batch, from: first, end };
                self.flow.process(taken, &places, &mut failures, &mut self.outputs)?;
            }
        }
        failures.write(batch, &mut self.outputs)?;
        let offset = batch.next_offset.min(end);
        if answers && offset > committed {
            round.offsets.insert(place, offset);
        }
        Ok(())
    }

    /// Asks for the schemas of a batch's values that are not known yet, and counts its records from the
    /// offset `counted` on. Answers the offset of the first record that is not taken: that at `end`, or
    /// one that cannot be read.
    async fn learn(
        &mut self,
        batch: &FetchedBatch,
        places: &[usize],
        end: u64,
        counted: u64,
        round: &mut Round,
    ) -> Result<u64> {
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
                let (job, topic) = (self.job, &batch.topic);
                let loses = |schema: &Schema| job.loses(topic, places, id, schema);
                if let Some(error) = self.flow.meet(places, id, self.schemas, loses).await? {
                    self.hold(batch, offset, id, error, round);
                    return Ok(offset);
                }
                last = Some(id);
            }
            if offset >= counted {
                round.count(record.timestamp_ms);
            }
        }
        Ok(end)
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

    /// Makes durable what was processed, and tells.
    pub(super) async fn append<T: Transport>(&mut self, round: Round, transport: &T) -> Result<()> {
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
        let Progress { records_in, records_out, dead_letters, newest_ms, .. } = self.progress;
        records_in.fetch_add(round.records, Ordering::Relaxed);
        records_out.fetch_add(written.records - written.dead_letters, Ordering::Relaxed);
        dead_letters.fetch_add(written.dead_letters, Ordering::Relaxed);
        newest_ms.fetch_max(round.newest_ms, Ordering::Relaxed);
    }
}

/// The next records; none if the wait ran out or something is told. Dropping a poll loses nothing.
pub(super) fn next<'n, R: Reader>(
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
pub(super) async fn begin<T: Transport>(transport: &T, topic: &str, partition: u32) -> Result<u64> {
    let info = transport.topic(topic).await?;
    Ok(info.partitions.get(partition as usize).map_or(0, |partition| partition.begin))
}
