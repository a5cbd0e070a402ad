//! Pipelines in this process: the controller's launcher. Each has one task, which tries again what
//! passes and stops for what does not.
//!
//! A job that is fenced has lost its pipeline to another process. Whoever alone starts the jobs of this process
//! has it try again; a worker does not (`WhenFenced`), since it would take from that other process what its
//! controller has given it.

use super::lag::{LOOK_EVERY, lag};
use futures_util::future::{BoxFuture, FutureExt};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemesh_controller::{JobCounts, JobReport, JobState, Launcher, LostPlace, Start, failpoint};
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_processors::sdk::Processors;
use tidemesh_processors::{AcceptedLoss, Cut, Ended, Lost, PipelineJob, Progress, Until};
use tidemesh_source::now_us;
use tidemesh_transport::{RegistryClient, Transport};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// The pause before the first attempt after a failure; it doubles with each up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause between attempts.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a job may take to end between two appends; after that it is dropped within one, which is
/// then there or not, and the next run goes on from there.
const STOP_MAX: Duration = Duration::from_secs(30);

/// The most places of a loss that its text names; all are told beside it.
const LOST_NAMED_MAX: usize = 10;

/// What becomes of a job that is fenced: another process writes what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFenced {
    /// It ends, and is no job of this process any more: a controller has given it to another one, or says so
    /// if it has not.
    Ends,
    /// It takes its place back after a pause. Nobody else would start it again.
    Retries,
}

/// The pipelines of this process.
pub(super) struct Pipelines<T> {
    when_fenced: WhenFenced,
    transport: Arc<T>,
    registry: RegistryClient,
    processors: Processors,
    jobs: Mutex<BTreeMap<String, Running>>,
    /// What each pipeline has done since the process was started, over its jobs.
    progress: Mutex<BTreeMap<String, Arc<Done>>>,
}

/// What a pipeline has done, over its jobs.
#[derive(Default)]
struct Done {
    progress: Progress,
    errors: AtomicU64,
    /// Records before it, when it was looked last.
    lag: Mutex<Option<u64>>,
}

/// A pipeline's job.
struct Running {
    plan: Arc<PipelinePlan>,
    shown: Arc<Shown>,
    until: watch::Sender<Until>,
    task: JoinHandle<()>,
}

/// What a job tells of itself.
struct Shown {
    /// None once another process has taken the pipeline over.
    state: Mutex<Option<JobState>>,
    done: Arc<Done>,
}

impl Shown {
    fn state(&self) -> MutexGuard<'_, Option<JobState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> JobCounts {
        let Progress { records_in, records_out, dead_letters, newest_ms, caught_up } =
            &self.done.progress;
        let newest_ms = newest_ms.load(Ordering::Relaxed);
        let caught_up = caught_up.load(Ordering::Relaxed);
        JobCounts {
            records_in: records_in.load(Ordering::Relaxed),
            records_out: records_out.load(Ordering::Relaxed),
            dead_letters: dead_letters.load(Ordering::Relaxed),
            newest_ms,
            errors: self.done.errors.load(Ordering::Relaxed),
            lag_records: if caught_up { Some(0) } else { *self.done.lag() },
            lag_ms: match newest_ms {
                _ if caught_up => Some(0),
                0 => None,
                newest_ms => Some((now_us().unsigned_abs() / 1000).saturating_sub(newest_ms)),
            },
        }
    }

    /// Shows how a job has come to stand still; none if it is no job any more.
    fn stands(&self, state: impl Into<Option<JobState>>) {
        self.done.errors.fetch_add(1, Ordering::Relaxed);
        self.done.progress.caught_up.store(false, Ordering::Relaxed);
        *self.state() = state.into();
    }
}

impl Done {
    fn lag(&self) -> MutexGuard<'_, Option<u64>> {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Transport> Pipelines<T> {
    /// None yet. `processors` are those that pipelines may name.
    pub(super) fn new(
        transport: Arc<T>,
        registry: RegistryClient,
        processors: Processors,
        when_fenced: WhenFenced,
    ) -> Self {
        let (jobs, progress) = (Mutex::default(), Mutex::default());
        Self { when_fenced, transport, registry, processors, jobs, progress }
    }

    /// Where their topics are.
    pub(super) fn transport(&self) -> &Arc<T> {
        &self.transport
    }

    /// The processors that pipelines may name.
    pub(super) fn processors(&self) -> &Processors {
        &self.processors
    }

    /// Ends all jobs, at the same time.
    pub(super) async fn stop_all(&self) {
        let running = std::mem::take(&mut *self.running());
        futures_util::future::join_all(running.into_values().map(end)).await;
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks now and then how many records each pipeline has before it, for as long as it is polled.
    pub(super) async fn watch_lag(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let running: Vec<_> = self
                .running()
                .values()
                .filter(|running| running.shown.state().is_some())
                .map(|running| (Arc::clone(&running.plan), Arc::clone(&running.shown)))
                .collect();
            for (plan, shown) in running {
                if shown.done.progress.caught_up.load(Ordering::Relaxed) {
                    continue;
                }
                let found = lag(self.transport.as_ref(), &plan).await;
                // It is not known then, and whoever asks is told so.
                *shown.done.lag() = found.ok();
            }
        }
    }

    fn done(&self, pipeline: &str) -> Arc<Done> {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(pipeline.to_owned()).or_default())
    }

    async fn stop_one(&self, pipeline: &str) {
        let running = self.running().remove(pipeline);
        if let Some(running) = running {
            end(running).await;
        }
    }
}

impl<T: Transport> Launcher for Pipelines<T> {
    fn start(&self, pipeline: Start) -> BoxFuture<'_, ()> {
        async move {
            let Start { plan, planned_by, accepted_loss, .. } = pipeline;
            self.stop_one(plan.name()).await;
            failpoint("job.between");
            let (until, told) = watch::channel(Until::Told);
            let (state, done) = (Mutex::new(Some(JobState::Running)), self.done(plan.name()));
            let shown = Arc::new(Shown { state, done });
            let job = Job {
                transport: Arc::clone(&self.transport),
                registry: self.registry.clone(),
                processors: self.processors.clone(),
                shown: Arc::clone(&shown),
                until: told,
                planned_by,
                accepted_loss: accepted_loss.offsets(),
                when_fenced: self.when_fenced,
            };
            let name = plan.name().to_owned();
            let task = tokio::spawn(job.keep_running(Arc::clone(&plan)));
            self.running().insert(name, Running { plan, shown, until, task });
        }
        .boxed()
    }

    fn drain<'l>(
        &'l self,
        pipeline: &'l str,
        topics: &'l [(String, String)],
    ) -> BoxFuture<'l, Result<()>> {
        async move {
            let mut cut = Cut::new();
            for (topic, next) in topics {
                // The source writes both, and the next one last: what is in it says that nothing more comes.
                let next = self.transport.topic(next).await?;
                if next.partitions.iter().all(|partition| partition.end == 0) {
                    return Ok(());
                }
                let info = self.transport.topic(topic).await?;
                let ends = (0..).zip(&info.partitions);
                cut.extend(ends.map(|(place, at)| ((topic.clone(), place), at.end)));
            }
            if let Some(running) = self.running().get(pipeline) {
                let until = Until::Cut(cut);
                running.until.send_if_modified(|told| {
                    let first = *told == Until::Told;
                    if first {
                        *told = until;
                    }
                    first
                });
            }
            Ok(())
        }
        .boxed()
    }

    fn stop<'l>(&'l self, pipeline: &'l str) -> BoxFuture<'l, ()> {
        self.stop_one(pipeline).boxed()
    }

    fn jobs(&self) -> BTreeMap<String, JobReport> {
        let report = |(name, running): (&String, &Running)| {
            let (state, counts) = (running.shown.state().clone()?, running.shown.counts());
            Some((name.clone(), JobReport { digest: running.plan.digest.clone(), state, counts }))
        };
        self.running().iter().filter_map(report).collect()
    }
}

fn place(Lost { topic, partition, offset, begin }: Lost) -> LostPlace {
    LostPlace { topic, partition, offset, begin }
}

fn gone(lost: &[Lost]) -> Error {
    let mut error = Error::new(ErrorKind::Exhausted, "read a topic")
        .because("retention took records that the pipeline has not answered for")
        .help(
            "`tidemesh resume --accept-loss` goes on behind them; `tidemesh snapshot start` reads a \
             table's rows anew. Keep the topic longer (retention_ms, retention_bytes)",
        );
    for Lost { topic, partition, offset, begin } in lost.iter().take(LOST_NAMED_MAX) {
        error = error
            .with("topic", topic)
            .with("partition", partition)
            .with("from_offset", offset)
            .with("to_offset", begin);
    }
    match lost.len().saturating_sub(LOST_NAMED_MAX) {
        0 => error,
        more => error.with("partitions_more", more),
    }
}

async fn end(running: Running) {
    let Running { until, mut task, .. } = running;
    until.send_replace(Until::Now);
    if tokio::time::timeout(STOP_MAX, &mut task).await.is_err() {
        task.abort();
        // Whether it ended by itself meanwhile is all the same.
        let _ = task.await;
    }
}

struct Job<T> {
    transport: Arc<T>,
    registry: RegistryClient,
    processors: Processors,
    shown: Arc<Shown>,
    until: watch::Receiver<Until>,
    planned_by: BTreeMap<String, u32>,
    accepted_loss: AcceptedLoss,
    when_fenced: WhenFenced,
}

impl<T: Transport> Job<T> {
    /// Runs a pipeline until it is told to stop, or cannot go on.
    async fn keep_running(self, plan: Arc<PipelinePlan>) {
        let name = plan.name();
        tracing::info!(pipeline = name, "runs");
        let mut pause = RETRY_PAUSE;
        loop {
            let done = self.shown.counts().records_in;
            let error = match self.run_once(&plan).await {
                Ok(ended) => return self.ends(name, ended),
                Err(error) => error,
            };
            let report = error.report();
            if error.kind() == ErrorKind::Fenced && self.when_fenced == WhenFenced::Ends {
                tracing::warn!(
                    pipeline = name,
                    error = report,
                    "another worker has the pipeline: its job here has ended"
                );
                self.shown.stands(None);
                return;
            }
            // Another pipeline may be about to make the topic that this one reads.
            let passes = error.kind() == ErrorKind::NotFound;
            if error.kind().remedy() == Remedy::Stop && !passes {
                tracing::error!(pipeline = name, error = report, "failed");
                self.shown.stands(JobState::Failed { error: report });
                return;
            }
            tracing::warn!(pipeline = name, error = report, "tries again");
            self.shown.stands(JobState::Retrying { error: report });
            if self.shown.counts().records_in > done {
                pause = RETRY_PAUSE;
            }
            if self.told_within(pause).await {
                return;
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            *self.shown.state() = Some(JobState::Running);
        }
    }

    /// Shows how a job has ended that did not fail.
    fn ends(&self, name: &str, ended: Ended) {
        match ended {
            Ended::Stopped => {}
            Ended::AtCut => *self.shown.state() = Some(JobState::Drained),
            Ended::Cannot(cannot) => {
                let error = cannot
                    .error
                    .with("topic", cannot.topic)
                    .with("partition", cannot.partition)
                    .with("offset", cannot.offset)
                    .with("schema_id", cannot.schema_id)
                    .report();
                tracing::warn!(pipeline = name, error, "held before a record");
                self.shown.stands(JobState::Held { error });
            }
            Ended::Lost(places) => {
                let error = gone(&places).report();
                tracing::error!(pipeline = name, error, "records are lost");
                let places = places.into_iter().map(place).collect();
                self.shown.stands(JobState::Lost { error, places });
            }
        }
    }

    async fn run_once(&self, plan: &PipelinePlan) -> Result<Ended> {
        let job = PipelineJob::with_processors(plan, &self.processors)?;
        let job = job.planned_by(self.planned_by.clone()).accept_loss(self.accepted_loss.clone());
        let (transport, registry) = (Arc::clone(&self.transport), self.registry.clone());
        let (shown, until) = (Arc::clone(&self.shown), self.until.clone());
        // A task of its own: what panics ends this run and nothing else.
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move {
            job.run(transport.as_ref(), &registry, &shown.done.progress, until).await
        });
        match running.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                Err(Error::new(ErrorKind::Internal, "run a pipeline").caused_by(error))
            }
            None => Err(Error::new(ErrorKind::Internal, "run a pipeline")),
        }
    }

    /// Waits so long; answers whether it was told to stop.
    async fn told_within(&self, pause: Duration) -> bool {
        let mut until = self.until.clone();
        let told = until.wait_for(|until| *until == Until::Now);
        tokio::time::timeout(pause, told).await.is_ok()
    }
}
