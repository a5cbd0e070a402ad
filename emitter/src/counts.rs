//! What an emitter counts: for `Emitter::counts`, and as metrics.

use metrics::{Counter, Gauge, Histogram};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_model::Error;

/// What an emitter has done since it was connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that were taken.
    pub taken: u64,
    /// Events that became durable in the spool.
    pub spooled: u64,
    /// Events that became durable in their topics: with a spool, also such as an earlier run took.
    pub delivered: u64,
    /// Events that were taken and could not be delivered; their deliveries say why.
    pub failed: u64,
    /// Events that were dropped since the queue was full.
    pub dropped: u64,
    /// Events that were refused: they do not conform, are too large, or found the queue full.
    pub refused: u64,
    /// How often an append was tried again.
    pub retried: u64,
}

#[derive(Debug, Default)]
struct Numbers {
    taken: AtomicU64,
    spooled: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    retried: AtomicU64,
}

/// The counters of an emitter.
pub(crate) struct Counted {
    numbers: Numbers,
    delivered: Counter,
    failed: Counter,
    dropped: Counter,
    refused: Counter,
    retried: Counter,
    queued: Gauge,
    latency: Histogram,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts().fmt(f)
    }
}

impl Counted {
    /// The counters of the emitter of this name.
    pub(crate) fn new(name: &str) -> Self {
        let counter =
            |metric: &'static str| metrics::counter!(metric, "emitter" => name.to_owned());
        Self {
            numbers: Numbers::default(),
            delivered: counter("tidemesh_emitter_delivered_total"),
            failed: counter("tidemesh_emitter_failed_total"),
            dropped: counter("tidemesh_emitter_dropped_total"),
            refused: counter("tidemesh_emitter_refused_total"),
            retried: counter("tidemesh_emitter_retries_total"),
            queued: metrics::gauge!("tidemesh_emitter_queued_events", "emitter" => name.to_owned()),
            latency: metrics::histogram!("tidemesh_emitter_delivery_seconds", "emitter" => name.to_owned()),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let Numbers { taken, spooled, delivered, failed, dropped, refused, retried } =
            &self.numbers;
        // What has ended is read before what was taken, so that it is never more.
        let (delivered, failed) = (get(delivered), get(failed));
        Counts {
            taken: get(taken),
            spooled: get(spooled),
            delivered,
            failed,
            dropped: get(dropped),
            refused: get(refused),
            retried: get(retried),
        }
    }

    pub(crate) fn taken(&self) {
        self.numbers.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.numbers.dropped.fetch_add(1, Ordering::Relaxed);
        self.dropped.increment(1);
    }

    pub(crate) fn refused(&self) {
        self.numbers.refused.fetch_add(1, Ordering::Relaxed);
        self.refused.increment(1);
    }

    /// Something is tried again; the first time since it went well is told louder.
    pub(crate) fn retried(&self, error: &Error, is_first: bool) {
        self.numbers.retried.fetch_add(1, Ordering::Relaxed);
        if is_first {
            tracing::warn!(error = error.report(), "events wait; it is tried again");
        } else {
            tracing::debug!(error = error.report(), "events wait; it is tried again");
        }
        self.retried.increment(1);
    }

    pub(crate) fn delivered(&self, events: u64, latency: Duration) {
        self.numbers.delivered.fetch_add(events, Ordering::Relaxed);
        self.delivered.increment(events);
        self.latency.record(latency);
        self.show_queued();
    }

    pub(crate) fn spooled(&self, events: u64) {
        self.numbers.spooled.fetch_add(events, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, events: u64) {
        self.numbers.failed.fetch_add(events, Ordering::Relaxed);
        self.failed.increment(events);
        self.show_queued();
    }

    fn show_queued(&self) {
        let Counts { taken, delivered, failed, .. } = self.counts();
        let queued = taken.saturating_sub(delivered).saturating_sub(failed);
        // A gauge's rounding shows above 2^53 events alone.
        #[expect(clippy::cast_precision_loss)]
        self.queued.set(queued as f64);
    }
}
