//! Carries a spool's events on to their topics: in order, each once.
//!
//! With each append goes how far the spool's partitions have then been carried, in the state of the
//! emitter's writer. After a failure the writer is opened anew and the state says where to go on, so that
//! an append whose answer was lost is neither lost nor repeated.

use crate::catalog::Tally;
use crate::counts::Counted;
use crate::gate::{Gate, Places};
use crate::own::{open_again, take_over, taken};
use crate::queue::Queue;
use crate::spool::{carried_item, carried_prefix};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{
    Append, EmbeddedReader, EmbeddedTransport, FetchLimit, FetchedBatch, PartitionBatch, Reader,
    Records, Start, Subscription, Transport, WriterEpoch,
};

/// The first pause after a failure; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long is waited for events before it is looked whether there is an end.
const WAIT: Duration = Duration::from_millis(100);

/// Carries on what a spool holds.
pub(crate) struct Forwarder<T> {
    pub(crate) target: Arc<T>,
    pub(crate) spool: Arc<EmbeddedTransport>,
    /// The writer's name at the target.
    pub(crate) writer: String,
    pub(crate) instance: u64,
    pub(crate) queue: Arc<Queue>,
    pub(crate) gate: Gate,
    pub(crate) counted: Arc<Counted>,
    pub(crate) tally: Arc<Tally>,
    /// Whether the name is taken: once it is, another one that has it fences this one for good.
    pub(crate) is_owner: bool,
}

/// One stretch without failure.
struct Stretch {
    epoch: WriterEpoch,
    reader: EmbeddedReader,
    spare: Vec<Records>,
    /// How far partitions have been carried.
    places: Places,
    /// What has been carried since the disk was last freed of it.
    bytes: u64,
}

impl<T: Transport> Forwarder<T> {
    /// Carries on until all is carried that will come.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let before = self.counted.counts().delivered;
            let ended = match self.begin().await {
                Ok(Some(stretch)) => self.carry_on(stretch).await,
                Ok(None) => return self.give_up(),
                Err(error) => Err(error),
            };
            let Err(error) = ended else { return };
            self.counted.retried(&error);
            if self.counted.counts().delivered > before {
                pause = PAUSE_MIN;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn carry_on(&self, mut stretch: Stretch) -> Result<()> {
        let limit = FetchLimit {
            bytes_max: usize::try_from(self.target.gathered_bytes()).unwrap_or(usize::MAX),
            wait_max: WAIT,
        };
        loop {
            // Asked before what is there is: what comes later is none of this end.
            let is_complete = self.gate.is_complete();
            let batches = stretch.reader.poll(limit).await?;
            if !batches.is_empty() {
                self.carry(&mut stretch, &batches).await?;
                continue;
            }
            self.trim(&mut stretch).await;
            if is_complete {
                return Ok(());
            }
        }
    }

    /// Another has the name: what is not delivered stays in the spool.
    fn give_up(&self) {
        let error = taken(&self.writer);
        tracing::error!(error = error.report(), "the spool keeps what is not delivered");
        self.queue.close(error.again());
        self.gate.give_up(error);
    }

    /// Takes over as the emitter's writer and goes on where its state says; none if another has taken
    /// the name since.
    async fn begin(&mut self) -> Result<Option<Stretch>> {
        let target = self.target.as_ref();
        let epoch = if self.is_owner {
            let Some((epoch, _)) = open_again(target, &self.writer, self.instance).await? else {
                return Ok(None);
            };
            epoch
        } else {
            take_over(target, &self.writer, self.instance).await?
        };
        self.is_owner = true;
        let state = self.target.state(&self.writer).await?;
        let prefix = carried_prefix(self.instance);
        let mut places = Places::new();
        for (key, value) in &state {
            let Some(place) = key.strip_prefix(&prefix) else { continue };
            places.insert(read_place(place)?, read_offset(value)?);
        }
        let topics = self.spool.topics().await?.into_iter().map(|topic| topic.name).collect();
        self.gate.carried(&places);
        let start = Start::Offsets(places.clone());
        let subscription = Subscription { topics, group: None, start };
        let reader = self.spool.subscribe(subscription).await?;
        Ok(Some(Stretch { epoch, reader, spare: Vec::new(), places, bytes: 1 }))
    }

    async fn carry(&self, stretch: &mut Stretch, fetched: &[FetchedBatch]) -> Result<()> {
        let since = Instant::now();
        let mut append = Append { writer: Some(stretch.epoch.clone()), ..Append::default() };
        let (mut events, mut bytes, mut carried) = (0, 0, Vec::new());
        for batch in fetched {
            let mut records = stretch.spare.pop().unwrap_or_default();
            records.copy_fetched(batch)?;
            let count = u64::from(records.count());
            carried.push((Arc::clone(&batch.topic), count));
            events += count;
            bytes += records.len_bytes() as u64;
            let (topic, partition) = (Arc::clone(&batch.topic), batch.partition);
            let place = (batch.topic.to_string(), partition);
            stretch.places.insert(place, batch.next_offset);
            if !records.is_empty() {
                append.batches.push(PartitionBatch { topic, partition, records });
            }
        }
        for ((topic, partition), next) in ends(fetched) {
            append.state.push(carried_item(self.instance, topic, partition, next));
        }
        stretch.spare = self.target.append(append).await?.recycled;
        self.counted.delivered(events, since.elapsed());
        for (topic, count) in carried {
            self.tally.add(&topic, count);
        }
        self.gate.carried(&stretch.places);
        stretch.bytes += bytes;
        if stretch.bytes >= self.gate.trim_bytes() {
            self.trim(stretch).await;
        }
        Ok(())
    }

    /// Takes what was carried from the disk. What stays there is taken the next time.
    async fn trim(&self, stretch: &mut Stretch) {
        if stretch.bytes == 0 {
            return;
        }
        stretch.bytes = 0;
        for ((topic, partition), next) in &stretch.places {
            if let Err(error) = self.spool.trim(topic, *partition, *next).await {
                tracing::warn!(topic, partition, error = error.report(), "a spool was not trimmed");
            }
        }
        self.gate.sunk();
    }
}

/// How far each partition has come with these batches.
fn ends(fetched: &[FetchedBatch]) -> BTreeMap<(&str, u32), u64> {
    fetched.iter().map(|batch| ((&*batch.topic, batch.partition), batch.next_offset)).collect()
}

fn read_place(place: &str) -> Result<(String, u32)> {
    let (topic, partition) = place.rsplit_once('/').ok_or_else(corrupt)?;
    Ok((topic.to_owned(), partition.parse().map_err(|_| corrupt())?))
}

fn read_offset(value: &[u8]) -> Result<u64> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| corrupt())
}

fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "read an emitter's state").because("its form is not known")
}
