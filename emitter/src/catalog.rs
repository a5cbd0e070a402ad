//! An emitter in the catalog: its topics are announced beside those of connectors, with their schemas,
//! rate and freshness. What cannot be announced is tried again; events do not wait for it.

use crate::counts::Counted;
use crate::register::Registered;
use crate::stream::now_ms;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidemesh_model::Result;
use tidemesh_transport::{Announced, Transport, announce};
use tokio::sync::watch;

/// How often it is looked for what is new.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a topic that moves is announced, and one that does not, so that it is seen to be alive.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
const SIGN_EVERY: Duration = Duration::from_secs(30);

/// How long the last announcement may take.
const LAST_MAX: Duration = Duration::from_secs(2);

/// What has become durable in each topic.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<Arc<str>, Tallied>);

#[derive(Debug, Default)]
struct Tallied {
    records: AtomicU64,
    /// When the newest became durable, in milliseconds since 1970.
    newest_at_ms: AtomicU64,
}

impl Tally {
    /// The tally of these topics.
    pub(crate) fn of<'t>(topics: impl Iterator<Item = &'t Registered>) -> Self {
        Self(topics.map(|topic| (topic.topic.as_str().into(), Tallied::default())).collect())
    }

    /// So many records have become durable in a topic.
    pub(crate) fn add(&self, topic: &str, records: u64) {
        let Some(tallied) = self.0.get(topic) else { return };
        tallied.records.fetch_add(records, Ordering::Relaxed);
        tallied.newest_at_ms.fetch_max(now_ms().max(0).unsigned_abs(), Ordering::Relaxed);
    }
}

/// How an emitter's delivery has ended: by all that was taken, under its own name still, or without that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    Not,
    Whole,
    Short,
}

/// Announces an emitter's topics until its events are delivered.
pub(crate) struct Announcer<T> {
    pub(crate) transport: Arc<T>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) topics: Vec<Told>,
    /// Told by who delivers; who is gone without a word has not.
    pub(crate) drained: watch::Receiver<Drained>,
    #[cfg(feature = "spool")]
    pub(crate) gate: Option<crate::gate::Gate>,
}

/// A topic as it was announced last.
pub(crate) struct Told {
    announced: Announced,
    at: Option<Instant>,
    records: u64,
}

impl Told {
    /// A topic of the emitter of this name, for which somebody answers, if that is said.
    pub(crate) fn new(emitter: &str, owner: &str, topic: &Registered) -> Self {
        let mut announced = Announced::new(emitter, &topic.topic);
        announced.owner = owner.to_owned();
        announced.topic.clone_from(&topic.topic);
        announced.key.clone_from(&topic.key_fields);
        announced.key_schema = topic.key_id.unwrap_or(0);
        announced.value_schema = topic.value_id;
        Self { announced, at: None, records: 0 }
    }

    fn since(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| now.saturating_duration_since(at))
    }

    /// Whether it is to be announced now.
    fn is_due(&self, tallied: &Tallied, now: Instant) -> bool {
        let records = tallied.records.load(Ordering::Relaxed);
        let is_moving = records > self.records || self.announced.rate_milli > 0;
        let pause = if is_moving { FIGURES_EVERY } else { SIGN_EVERY };
        self.since(now).is_none_or(|since| since >= pause)
    }

    /// What is to be announced.
    fn figures(&mut self, tallied: &Tallied, is_idle: bool, now: Instant) -> Announced {
        let (records, since) = (tallied.records.load(Ordering::Relaxed), self.since(now));
        let ms = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.announced.rate_milli =
            (records - self.records).saturating_mul(1_000_000).checked_div(ms).unwrap_or(0);
        self.announced.newest_at_ms = tallied.newest_at_ms.load(Ordering::Relaxed);
        self.announced.at_ms = now_ms().max(0).unsigned_abs();
        // With nothing on its way the topic has all that there is.
        let read_to = if is_idle { self.announced.at_ms } else { self.announced.newest_at_ms };
        self.announced.read_to_ms = self.announced.read_to_ms.max(read_to);
        (self.at, self.records) = (Some(now), records);
        self.announced.clone()
    }
}

impl<T: Transport> Announcer<T> {
    /// Announces until all is delivered, and then once more: else of an emitter that does its work and ends
    /// nothing would be told. One that has lost its name says nothing more, for another speaks under it.
    pub(crate) async fn run(mut self) {
        let (mut drained, mut is_troubled) = (self.drained.clone(), false);
        let end = loop {
            let looking = async {
                let announced = self.look().await;
                if let (Err(error), false) = (&announced, is_troubled) {
                    let error = error.report();
                    tracing::warn!(error, "topics cannot be announced; it is tried again");
                }
                is_troubled = announced.is_err();
                tokio::time::sleep(LOOK_EVERY).await;
            };
            tokio::select! {
                () = looking => {}
                end = drained.wait_for(|drained| *drained != Drained::Not) => {
                    break end.map_or(Drained::Short, |end| *end);
                }
            }
        };
        if end == Drained::Whole {
            self.last().await;
        }
    }

    /// Announces all topics as they are now that nothing is on its way.
    async fn last(&mut self) {
        for told in &mut self.topics {
            told.at = None;
        }
        match tokio::time::timeout(LAST_MAX, self.look()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = error.report(), "the last figures are not announced");
            }
            Err(_) => tracing::debug!("the last figures are not announced in time"),
        }
    }

    /// Whether nothing is on its way.
    async fn is_idle(&self) -> Result<bool> {
        let counts = self.counted.counts();
        #[cfg(feature = "spool")]
        if let Some(gate) = &self.gate {
            return Ok(counts.taken <= counts.spooled + counts.failed && gate.is_empty().await?);
        }
        Ok(counts.taken <= counts.delivered + counts.failed)
    }

    async fn look(&mut self) -> Result<()> {
        let (now, tally) = (Instant::now(), Arc::clone(&self.tally));
        let tallied = |told: &Told| tally.0.get(told.announced.topic.as_str());
        let is_due = |told: &&mut Told| tallied(told).is_some_and(|it| told.is_due(it, now));
        if !self.topics.iter_mut().any(|told| is_due(&told)) {
            return Ok(());
        }
        let is_idle = self.is_idle().await?;
        let due = self.topics.iter_mut().filter(is_due);
        let figures = |told: &mut Told| Some(told.figures(tallied(told)?, is_idle, now));
        let due: Vec<Announced> = due.filter_map(figures).collect();
        let announced = announce(self.transport.as_ref(), &due).await;
        if announced.is_err() {
            for told in &mut self.topics {
                told.at = None;
            }
        }
        announced
    }
}
