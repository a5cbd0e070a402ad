//! The controller's side of workers: a launcher whose jobs are in other processes.

use super::entry::Entry;
use super::{Answer, Assignment, BEAT_EVERY, Beat, Order, Worker};
use crate::daemon::roles::process_id;
use futures_util::future::{BoxFuture, FutureExt};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidemesh_controller::{DOCUMENTS_MAX, JobReport, Launcher, Start};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::Notify;

/// How long workers of a former controller have to tell of themselves before others are started.
const SETTLE: Duration = Duration::from_secs(3);

/// How long a worker has to end its job. One that takes longer is fenced by whatever comes after it.
const STOP_MAX: Duration = Duration::from_secs(40);

/// The most pipelines that workers may tell of.
const PIPELINES_MAX: usize = DOCUMENTS_MAX;

/// All workers, by their pipelines.
pub(in crate::daemon) struct Hub {
    known: Mutex<Known>,
    /// Told with each beat.
    beaten: Notify,
    /// Begins the names of its assignments.
    name: String,
    assigned: AtomicU64,
}

#[derive(Default)]
struct Known {
    /// When this controller began to act, by what is asked of it.
    since: Option<Instant>,
    entries: BTreeMap<String, Entry>,
}

impl Known {
    fn settled(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= SETTLE)
    }
}

impl Hub {
    pub(in crate::daemon) fn new() -> Self {
        let (known, beaten, name) = (Mutex::default(), Notify::new(), process_id());
        Self { known, beaten, name, assigned: AtomicU64::new(0) }
    }

    /// Takes a beat.
    ///
    /// # Errors
    ///
    /// `Exhausted` if there are workers of too many pipelines.
    pub(super) fn beat(&self, pipeline: &str, beat: &Beat, now: Instant) -> Result<Answer> {
        let mut known = self.known();
        known.since.get_or_insert(now);
        let settled = known.settled(now);
        if !known.entries.contains_key(pipeline) {
            if settled && beat.run.is_none() && beat.worker.spawned {
                return Ok(Answer { order: Order::Leave, drain: Vec::new() });
            }
            if known.entries.len() >= PIPELINES_MAX {
                return Err(Error::new(ErrorKind::Exhausted, "take a worker's beat")
                    .because("there are workers of too many pipelines")
                    .with("pipelines_max", PIPELINES_MAX));
            }
        }
        let answer = known.entries.entry(pipeline.to_owned()).or_default().beat(beat, now);
        known.entries.retain(|_, entry| !entry.idle(now));
        drop(known);
        self.beaten.notify_waiters();
        Ok(answer)
    }

    /// The workers that were heard of lately, by their pipelines.
    pub(super) fn workers(&self, now: Instant) -> BTreeMap<String, Worker> {
        let known = self.known();
        let worker = |(pipeline, entry): (&String, &Entry)| {
            Some((pipeline.clone(), entry.worker(now)?.clone()))
        };
        known.entries.iter().filter_map(worker).collect()
    }

    /// The pipelines that shall run and have no worker; none while those of a former controller may still
    /// tell of themselves.
    pub(super) fn unattended(&self, now: Instant) -> Vec<String> {
        let known = self.known();
        if !known.settled(now) {
            return Vec::new();
        }
        let without = known.entries.iter().filter(|(_, entry)| entry.unattended(now));
        without.map(|(pipeline, _)| pipeline.clone()).collect()
    }

    /// A worker's process has ended.
    pub(super) fn gone(&self, pipeline: &str, pid: u32) {
        if let Some(entry) = self.known().entries.get_mut(pipeline) {
            entry.gone(pid);
        }
        self.beaten.notify_waiters();
    }

    /// Why a pipeline has no worker.
    pub(super) fn note(&self, pipeline: &str, trouble: String) {
        if let Some(entry) = self.known().entries.get_mut(pipeline) {
            entry.note(trouble);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self, pipeline: &str) -> bool {
        self.known().entries.get(pipeline).is_some_and(|entry| entry.runs(Instant::now()))
    }

    async fn ended(&self, pipeline: &str) {
        while self.runs(pipeline) {
            // One that is told between the look and the wait is seen after the wait.
            let _ = tokio::time::timeout(BEAT_EVERY, self.beaten.notified()).await;
        }
    }
}

impl Launcher for Hub {
    fn start(&self, pipeline: Start) -> BoxFuture<'_, ()> {
        let Start { plan, recipe, planned_by, accepted_loss } = pipeline;
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.name);
        let accept_loss = IgnoredAny;
        let assignment = Assignment { id, recipe, planned_by, accepted_loss, accept_loss };
        let mut known = self.known();
        known.since.get_or_insert_with(Instant::now);
        known.entries.entry(plan.name().to_owned()).or_default().start(assignment);
        async {}.boxed()
    }

    fn drain<'l>(
        &'l self,
        pipeline: &'l str,
        topics: &'l [(String, String)],
    ) -> BoxFuture<'l, Result<()>> {
        if let Some(entry) = self.known().entries.get_mut(pipeline) {
            entry.drain(topics);
        }
        async { Ok(()) }.boxed()
    }

    fn stop<'l>(&'l self, pipeline: &'l str) -> BoxFuture<'l, ()> {
        async move {
            if let Some(entry) = self.known().entries.get_mut(pipeline) {
                entry.stop();
            }
            if tokio::time::timeout(STOP_MAX, self.ended(pipeline)).await.is_err() {
                tracing::warn!(pipeline, "its worker has not ended in time, and is left to itself");
            }
        }
        .boxed()
    }

    fn jobs(&self) -> BTreeMap<String, JobReport> {
        let (known, now) = (self.known(), Instant::now());
        let job =
            |(pipeline, entry): (&String, &Entry)| Some((pipeline.clone(), entry.report(now)?));
        known.entries.iter().filter_map(job).collect()
    }

    /// Workers go on: the controller that acts next hears of them.
    fn leave(&self) -> BoxFuture<'_, ()> {
        *self.known() = Known::default();
        async {}.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(spawned: bool) -> Beat {
        let worker = Worker { id: "a".into(), pid: 1, url: String::new(), spawned };
        Beat { worker, run: None, leaves: false }
    }

    #[tokio::test]
    async fn a_stop_waits_until_the_worker_says_that_it_has_ended() {
        let hub = std::sync::Arc::new(Hub::new());
        let job = serde_json::json!({"digest": "d", "state": "running", "counts": {"records_in": 0,
            "records_out": 0, "dead_letters": 0, "newest_ms": 0}});
        let run = serde_json::json!({"assignment": "1", "planned_by": {}, "job": job});
        let running = Beat { run: serde_json::from_value(run).unwrap(), ..beat(true) };
        hub.beat("p", &running, Instant::now()).unwrap();
        assert_eq!(hub.jobs().len(), 1);
        let stopping = std::sync::Arc::clone(&hub);
        let stopping = tokio::spawn(async move { stopping.stop("p").await });
        let order = loop {
            match hub.beat("p", &running, Instant::now()).unwrap().order {
                Order::Keep => tokio::task::yield_now().await,
                order => break order,
            }
        };
        assert!(order == Order::Stop && !stopping.is_finished());
        let order = hub.beat("p", &beat(true), Instant::now()).unwrap().order;
        assert_eq!(order, Order::Leave);
        stopping.await.unwrap();
        assert!(hub.jobs().is_empty());
    }

    #[test]
    fn who_has_nothing_to_do_and_was_started_for_it_leaves() {
        let (hub, now) = (Hub::new(), Instant::now());
        let order = |spawned, now| hub.beat("p", &beat(spawned), now).unwrap().order;
        assert_eq!(order(true, now), Order::Keep, "the controller may not have said yet");
        hub.leave().now_or_never();
        assert_eq!(order(false, now), Order::Keep);
        hub.gone("p", 1);
        hub.beat("other", &beat(false), now).unwrap();
        assert_eq!(order(true, now + SETTLE), Order::Leave);
        assert_eq!(order(false, now + SETTLE), Order::Keep, "somebody else has started it");
    }
}
