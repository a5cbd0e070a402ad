//! Carries a spool's events on to their topics: in order, each once.
//!
//! With each append goes how far the spool's partitions have then been carried, in the state of the
//! emitter's writer. After a failure the writer is opened anew and the state says where to go on, so that
//! an append whose answer was lost is neither lost nor repeated.

use crate::catalog::{Drained, Tally};
use crate::counts::Counted;
use crate::gate::{Gate, Places};
use crate::own::{open_again, take_over, taken};
use crate::queue::Queue;
use crate::sender::{PAUSE_MAX, PAUSE_MIN};
use crate::spool::{carried_item, carried_prefix};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tidemesh_transport::{
    Append, EmbeddedReader, EmbeddedTransport, FetchLimit, FetchedBatch, PartitionBatch, Reader,
    Records, Start, Subscription, TopicInfo, Transport, WriterEpoch,
};
use tokio::sync::watch;

/// How long is waited before it is tried again to free the disk of what was carried.
const TRIM_AGAIN: Duration = Duration::from_secs(1);

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
    /// Whether what was tried last is tried again.
    pub(crate) is_waiting: bool,
    /// Told when all is delivered.
    pub(crate) drained: watch::Sender<Drained>,
    pub(crate) refusing: Refusing,
}

/// One stretch without failure.
struct Stretch {
    epoch: WriterEpoch,
    /// None while every topic refuses.
    reader: Option<EmbeddedReader>,
    spare: Vec<Records>,
    /// How far partitions have been carried.
    places: Places,
    /// What has been carried since the disk was last freed of it.
    bytes: u64,
    /// Not before then it is tried to free it again.
    trim_at: Option<Instant>,
}

impl Stretch {
    /// What is next, after a wait at most.
    async fn poll(&mut self, limit: FetchLimit) -> Result<Vec<FetchedBatch>> {
        match &mut self.reader {
            Some(reader) => reader.poll(limit).await,
            None => {
                tokio::time::sleep(limit.wait_max).await;
                Ok(Vec::new())
            }
        }
    }
}

/// Topics that refuse what is carried to them: why, and until when they are left alone.
#[derive(Default)]
pub(crate) struct Refusing {
    topics: BTreeMap<String, (Error, Instant)>,
    /// Whether each topic gets an append of its own, so that one that refuses is found.
    is_sought: bool,
}

/// How a stretch has ended.
enum Ended {
    /// All is carried that will come, but for what topics refuse.
    Complete,
    /// It is to begin anew: topics are left alone from here on, or tried again.
    Again,
}

impl<T: Transport> Forwarder<T> {
    /// Carries on until all is carried that will come.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let before = self.counted.counts().delivered;
            let ended = match self.begin().await {
                Ok(Some(stretch)) => self.carry_on(stretch).await,
                Ok(None) => return self.give_up(taken(&self.writer)),
                Err(error) if error.kind() == ErrorKind::PositionLost => {
                    return self.give_up(error);
                }
                Err(error) => Err(error),
            };
            let error = match ended {
                Ok(Ended::Complete) => return self.end(),
                Ok(Ended::Again) => continue,
                Err(error) => error,
            };
            self.counted.retried(&error, !std::mem::replace(&mut self.is_waiting, true));
            self.refusing.is_sought |= error.remedy() == Remedy::Stop;
            if self.counted.counts().delivered > before {
                pause = PAUSE_MIN;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn carry_on(&mut self, mut stretch: Stretch) -> Result<Ended> {
        let limit = FetchLimit {
            bytes_max: usize::try_from(self.target.gathered_bytes()).unwrap_or(usize::MAX),
            wait_max: WAIT,
        };
        loop {
            // Asked before what is there is: what comes later is none of this end.
            let is_complete = self.gate.is_complete();
            let batches = stretch.poll(limit).await?;
            if batches.is_empty() {
                self.trim(&mut stretch).await;
                if is_complete {
                    return Ok(Ended::Complete);
                }
                let is_due = |(_, until): &(Error, Instant)| Instant::now() >= *until;
                if self.refusing.topics.values().any(is_due) {
                    return Ok(Ended::Again);
                }
                continue;
            }
            if !self.refusing.is_sought {
                self.carry(&mut stretch, &batches).await?;
            } else if self.carry_apart(&mut stretch, batches).await? {
                return Ok(Ended::Again);
            }
        }
    }

    /// Carries each topic's batches for themselves; whether one has refused them.
    async fn carry_apart(
        &mut self,
        stretch: &mut Stretch,
        batches: Vec<FetchedBatch>,
    ) -> Result<bool> {
        let mut by_topic: BTreeMap<Arc<str>, Vec<FetchedBatch>> = BTreeMap::new();
        for batch in batches {
            by_topic.entry(Arc::clone(&batch.topic)).or_default().push(batch);
        }
        for (topic, batches) in by_topic {
            match self.carry(stretch, &batches).await {
                Err(error) if error.remedy() == Remedy::Stop => {
                    let (topic, report) = (topic.to_string(), error.report());
                    tracing::error!(topic, report, "a topic refuses events; the spool keeps them");
                    self.gate.refused(&topic, Some(error.again()));
                    self.refusing.topics.insert(topic, (error, Instant::now() + PAUSE_MAX));
                    self.refusing.is_sought = false;
                    return Ok(true);
                }
                carried => carried?,
            }
        }
        Ok(false)
    }

    /// Nothing more will come. What topics refuse stays in the spool, for the next start.
    fn end(self) {
        self.drained.send_replace(match self.refusing.topics.into_iter().next() {
            Some((_, (error, _))) => {
                self.gate.give_up(error);
                Drained::Short
            }
            None => Drained::Whole,
        });
    }

    /// Nothing more is carried: what is not delivered stays in the spool.
    fn give_up(&self, error: Error) {
        tracing::error!(error = error.report(), "the spool keeps what is not delivered");
        self.queue.close(error.again());
        self.gate.give_up(error);
        self.drained.send_replace(Drained::Short);
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
        let spooled = self.spool.topics().await?;
        check_places(&places, &spooled)?;
        self.gate.carried(&places);
        self.take_up_refusing();
        let topics = spooled.into_iter().map(|topic| topic.name);
        let topics = topics.filter(|topic| !self.refusing.topics.contains_key(topic));
        let topics: Vec<String> = topics.collect();
        let reader = if topics.is_empty() {
            None
        } else {
            let start = Start::Offsets(places.clone());
            Some(self.spool.subscribe(Subscription { topics, group: None, start }).await?)
        };
        Ok(Some(Stretch { epoch, reader, spare: Vec::new(), places, bytes: 1, trim_at: None }))
    }

    /// Topics whose time is over are tried again.
    fn take_up_refusing(&mut self) {
        let now = Instant::now();
        for (topic, _) in self.refusing.topics.extract_if(.., |_, (_, until)| *until <= now) {
            self.gate.refused(&topic, None);
        }
    }

    async fn carry(&mut self, stretch: &mut Stretch, fetched: &[FetchedBatch]) -> Result<()> {
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
            if !records.is_empty() {
                append.batches.push(PartitionBatch { topic, partition, records });
            }
        }
        for ((topic, partition), next) in ends(fetched) {
            append.state.push(carried_item(self.instance, topic, partition, next));
        }
        stretch.spare = self.target.append(append).await?.recycled;
        for ((topic, partition), next) in ends(fetched) {
            stretch.places.insert((topic.to_owned(), partition), next);
        }
        // First, for who sees that nothing is on its way takes the tally for whole.
        for (topic, count) in carried {
            self.tally.add(&topic, count);
        }
        self.counted.delivered(events, since.elapsed());
        self.gate.carried(&stretch.places);
        if std::mem::take(&mut self.is_waiting) {
            tracing::info!(writer = self.writer, "events go on");
        }
        stretch.bytes += bytes;
        if stretch.bytes >= self.gate.trim_bytes() {
            self.trim(stretch).await;
        }
        Ok(())
    }

    /// Takes what was carried from the disk. What stays there is taken the next time.
    async fn trim(&self, stretch: &mut Stretch) {
        if stretch.bytes == 0 || stretch.trim_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        (stretch.bytes, stretch.trim_at) = (0, None);
        for ((topic, partition), next) in &stretch.places {
            if let Err(error) = self.spool.trim(topic, *partition, *next).await {
                tracing::warn!(topic, partition, error = error.report(), "a spool was not trimmed");
                // Its room is waited for.
                (stretch.bytes, stretch.trim_at) = (1, Some(Instant::now() + TRIM_AGAIN));
            }
        }
        self.gate.sunk();
    }
}

/// A spool that is behind what was carried of it is not the one that it was: a copy from before, put back.
fn check_places(places: &Places, spooled: &[TopicInfo]) -> Result<()> {
    for ((topic, partition), next) in places {
        let found = spooled.iter().find(|spooled| spooled.name == *topic);
        let place = usize::try_from(*partition).unwrap_or(usize::MAX);
        let end = found.and_then(|topic| topic.partitions.get(place)).map_or(0, |p| p.end);
        if *next > end {
            return Err(Error::new(ErrorKind::PositionLost, "carry a spool on")
                .because("more of it was delivered than it holds: its folder was put back to an earlier state")
                .with("topic", topic)
                .with("partition", partition)
                .with("delivered_to", next)
                .with("spool_end", end)
                .help("give the emitter a new folder; what the old one holds beyond was delivered"));
        }
    }
    Ok(())
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
