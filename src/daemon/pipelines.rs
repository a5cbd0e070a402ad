//! Pipelines in this process: the controller's launcher. Each has one task, which tries again what
//! passes and stops for what does not.

use futures_util::future::{BoxFuture, FutureExt};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemesh_controller::{JobCounts, JobReport, JobState, Launcher, Start};
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_processors::{Cut, Ended, PipelineJob, Progress, Until};
use tidemesh_transport::{RegistryClient, Transport};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The pause before the first attempt after a failure; it doubles with each up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause between attempts.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a job may take to end between two appends; after that it is dropped within one, which is
/// then there or not, and the next run goes on from there.
const STOP_MAX: Duration = Duration::from_secs(30);

/// The pipelines of this process.
pub(super) struct Pipelines<T> {
    transport: Arc<T>,
    registry: RegistryClient,
    jobs: Mutex<BTreeMap<String, Running>>,
    /// What each pipeline has done since the process was started, over its jobs.
    progress: Mutex<BTreeMap<String, Arc<Progress>>>,
}

/// A pipeline's job.
struct Running {
    digest: String,
    shown: Arc<Shown>,
    until: watch::Sender<Until>,
    task: JoinHandle<()>,
}

/// What a job tells of itself.
struct Shown {
    state: Mutex<JobState>,
    progress: Arc<Progress>,
}

impl Shown {
    fn state(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> JobCounts {
        let Progress { records_in, records_out, dead_letters, newest_ms } = &*self.progress;
        JobCounts {
            records_in: records_in.load(Ordering::Relaxed),
            records_out: records_out.load(Ordering::Relaxed),
            dead_letters: dead_letters.load(Ordering::Relaxed),
            newest_ms: newest_ms.load(Ordering::Relaxed),
        }
    }
}

impl<T: Transport> Pipelines<T> {
    pub(super) fn new(transport: Arc<T>, registry: RegistryClient) -> Self {
        Self { transport, registry, jobs: Mutex::default(), progress: Mutex::default() }
    }

    /// Ends all jobs, at the same time.
    pub(super) async fn stop_all(&self) {
        let running = std::mem::take(&mut *self.running());
        futures_util::future::join_all(running.into_values().map(end)).await;
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, pipeline: &str) -> Arc<Progress> {
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
            let Start { plan, planned_by } = pipeline;
            self.stop_one(plan.name()).await;
            let (until, told) = watch::channel(Until::Told);
            let (state, progress) = (Mutex::new(JobState::Running), self.progress(plan.name()));
            let shown = Arc::new(Shown { state, progress });
            let job = Job {
                transport: Arc::clone(&self.transport),
                registry: self.registry.clone(),
                shown: Arc::clone(&shown),
                until: told,
                planned_by,
            };
            let (name, digest) = (plan.name().to_owned(), plan.digest.clone());
            let task = tokio::spawn(job.keep_running(plan));
            self.running().insert(name, Running { digest, shown, until, task });
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
            let (state, counts) = (running.shown.state().clone(), running.shown.counts());
            (name.clone(), JobReport { digest: running.digest.clone(), state, counts })
        };
        self.running().iter().map(report).collect()
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
    shown: Arc<Shown>,
    until: watch::Receiver<Until>,
    planned_by: BTreeMap<String, u32>,
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
                Ok(Ended::Stopped) => return,
                Ok(Ended::AtCut) => {
                    *self.shown.state() = JobState::Drained;
                    return;
                }
                Ok(Ended::Cannot(cannot)) => {
                    let error = cannot
                        .error
                        .with("topic", cannot.topic)
                        .with("partition", cannot.partition)
                        .with("offset", cannot.offset)
                        .with("schema_id", cannot.schema_id)
                        .report();
                    tracing::warn!(pipeline = name, error, "held before a record");
                    *self.shown.state() = JobState::Held { error };
                    return;
                }
                Err(error) => error,
            };
            let report = error.report();
            // Another pipeline may be about to make the topic that this one reads.
            let passes = error.kind() == ErrorKind::NotFound;
            if error.kind().remedy() == Remedy::Stop && !passes {
                tracing::error!(pipeline = name, error = report, "failed");
                *self.shown.state() = JobState::Failed { error: report };
                return;
            }
            tracing::warn!(pipeline = name, error = report, "tries again");
            *self.shown.state() = JobState::Retrying { error: report };
            if self.shown.counts().records_in > done {
                pause = RETRY_PAUSE;
            }
            if self.told_within(pause).await {
                return;
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            *self.shown.state() = JobState::Running;
        }
    }

    async fn run_once(&self, plan: &PipelinePlan) -> Result<Ended> {
        let job = PipelineJob::new(plan)?.planned_by(self.planned_by.clone());
        let (transport, registry) = (Arc::clone(&self.transport), self.registry.clone());
        let (shown, until) = (Arc::clone(&self.shown), self.until.clone());
        // A task of its own: what panics ends this run and nothing else.
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move {
            job.run(transport.as_ref(), &registry, &shown.progress, until).await
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
