//! A worker: the job of one pipeline, and the beats by which its controller knows of it.

use super::{Answer, Assignment, BEAT_EVERY, Beat, Order, Run, Worker};
use crate::daemon::pipelines::Pipelines;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemesh_controller::{JobCounts, JobReport, JobState, Launcher, PipelineReport, Start};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{Transport, escape};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How long a beat may take, its answer included.
const BEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer: a recipe has a document and schemas.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most bytes of a refusal that are told.
const REFUSAL_BYTES_MAX: usize = 1000;

/// A worker's name, its controller, and what it runs.
pub(in crate::daemon) struct Station<T> {
    pipeline: String,
    worker: Worker,
    pipelines: Pipelines<T>,
    http: reqwest::Client,
    beats: String,
    now: Mutex<Option<Held>>,
    /// What beats tell while an order is carried out, in the place of what there is by then.
    shown: Mutex<Option<Run>>,
}

/// The assignment that it has.
#[derive(Clone)]
struct Held {
    id: String,
    digest: String,
    planned_by: BTreeMap<String, u32>,
    /// Why it cannot be run, if it cannot.
    refused: Option<String>,
}

/// Runs until `shutdown` says so, or there is nothing more to do.
pub(in crate::daemon) async fn run<T: Transport>(
    station: Arc<Station<T>>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    let mut looking = std::pin::pin!(station.pipelines.watch_lag());
    let mut obeying = None;
    while !*shutdown.borrow() {
        tokio::select! {
            _ = beats.tick() => {}
            _ = shutdown.changed() => break,
            () = &mut looking => {}
            // What has become of it is told at once.
            () = station.obeyed(&mut obeying) => {}
        }
        let order = station.beat(false).await;
        station.note(&mut trouble, order.as_ref().err());
        match order {
            Ok(answer) if answer.order == Order::Leave => break,
            // Until one order is carried out, no other one is taken: the beat behind it is answered anew.
            Ok(answer) if obeying.is_none() => obeying = station.obey(answer),
            // It goes on with what it has.
            Ok(_) | Err(_) => {}
        }
    }
    if obeying.is_some() {
        station.obeyed(&mut obeying).await;
    }
    station.pipelines.stop_all().await;
    if let Err(error) = station.beat(true).await {
        tracing::debug!(error = error.report(), "the controller could not be told of the end");
    }
}

impl<T: Transport> Station<T> {
    /// A worker of a pipeline. `controller` is where the controller listens.
    ///
    /// # Errors
    ///
    /// `Config` if that is no address.
    pub(in crate::daemon) fn new(
        pipeline: String,
        worker: Worker,
        pipelines: Pipelines<T>,
        controller: &str,
    ) -> Result<Self> {
        let beats =
            format!("{}/v1/workers/{}/beat", controller.trim_end_matches('/'), escape(&pipeline));
        let wrong = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Config, "find the controller")
                .because(error.to_string())
                .with("url", controller)
        };
        reqwest::Url::parse(&beats).map_err(|error| wrong(&error))?;
        let http = reqwest::Client::builder().timeout(BEAT_TIMEOUT).build();
        let http = http.map_err(|error| wrong(&error))?;
        let (now, shown) = (Mutex::default(), Mutex::default());
        Ok(Self { pipeline, worker, pipelines, http, beats, now, shown })
    }

    /// Tells of itself; answers what it shall do.
    async fn beat(&self, leaves: bool) -> Result<Answer> {
        let beat = Beat { worker: self.worker.clone(), run: self.run(), leaves };
        let away = |error: reqwest::Error| {
            Error::new(ErrorKind::Unavailable, "tell the controller of a worker")
                .because("it does not answer")
                .with("url", &self.beats)
                .caused_by(error)
        };
        let response = self.http.post(&self.beats).json(&beat).send().await.map_err(away)?;
        let status = response.status();
        let body = read(response, away).await?;
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BYTES_MAX)]);
            return Err(Error::new(ErrorKind::Unavailable, "tell the controller of a worker")
                .because(format!("{status}: {}", said.trim()))
                .with("url", &self.beats));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Error::new(ErrorKind::Malformed, "read the controller's answer")
                .because("it is not of the form that this version knows")
                .caused_by(error)
        })
    }

    /// Logs when beats begin to fail, and when they no longer do.
    fn note(&self, trouble: &mut Option<ErrorKind>, error: Option<&Error>) {
        let pipeline = &self.pipeline;
        match error {
            Some(error) if *trouble != Some(error.kind()) => {
                let error = error.report();
                tracing::warn!(pipeline, error, "goes on without its controller");
            }
            None if trouble.is_some() => tracing::info!(pipeline, "its controller is there again"),
            _ => {}
        }
        *trouble = error.map(Error::kind);
    }

    /// Begins to carry out what it is told; none if that is nothing. Meanwhile beats tell what the controller
    /// must count with: a job that ends as one that is still there, one that starts as one that is.
    fn obey(self: &Arc<Self>, answer: Answer) -> Option<JoinHandle<()>> {
        let shown = match &answer.order {
            Order::Keep | Order::Leave if answer.drain.is_empty() => return None,
            Order::Keep | Order::Leave => None,
            Order::Run(assignment) => Some(self.starting(assignment)),
            Order::Stop => self.run(),
        };
        *self.shown() = shown;
        let station = Arc::clone(self);
        Some(tokio::spawn(async move { station.carry_out(answer).await }))
    }

    /// Waits until an order is carried out; for ever if there is none. A dropped call leaves it going on.
    async fn obeyed(&self, obeying: &mut Option<JoinHandle<()>>) {
        let Some(order) = obeying else { return std::future::pending().await };
        if let Err(error) = order.await {
            let (pipeline, error) = (&self.pipeline, error.to_string());
            tracing::error!(pipeline, error, "an order was not carried out");
        }
        *obeying = None;
        *self.shown() = None;
    }

    fn starting(&self, assignment: &Assignment) -> Run {
        let Assignment { id, recipe, planned_by, .. } = assignment;
        let counts = self.run().map(|run| run.job.counts).unwrap_or_default();
        let (digest, state) = (recipe.digest().to_owned(), JobState::Starting);
        let job = JobReport { digest, state, counts };
        Run { assignment: id.clone(), planned_by: planned_by.clone(), job }
    }

    async fn carry_out(&self, answer: Answer) {
        match answer.order {
            Order::Keep | Order::Leave => {}
            Order::Run(assignment) => self.take(*assignment).await,
            Order::Stop => {
                self.pipelines.stop(&self.pipeline).await;
                *self.held() = None;
            }
        }
        if !answer.drain.is_empty()
            && let Err(error) = self.pipelines.drain(&self.pipeline, &answer.drain).await
        {
            let error = error.report();
            tracing::warn!(pipeline = self.pipeline, error, "cannot find its cut yet");
        }
    }

    /// Runs what it is told, in the place of what it runs.
    async fn take(&self, assignment: Assignment) {
        let Assignment { id, recipe, planned_by, accepted_loss, .. } = assignment;
        let digest = recipe.digest().to_owned();
        let (remade, recipe) = remake(recipe).await;
        let refused = match remade {
            Ok(plan) => {
                let plan = Arc::new(plan);
                let planned_by = planned_by.clone();
                let start = Start { plan, recipe, planned_by, accepted_loss };
                self.pipelines.start(start).await;
                None
            }
            Err(error) => {
                self.pipelines.stop(&self.pipeline).await;
                tracing::error!(pipeline = self.pipeline, error = error.report(), "failed");
                Some(error.report())
            }
        };
        *self.held() = Some(Held { id, digest, planned_by, refused });
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, Option<Run>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What beats tell. A job that another worker has taken over is none.
    fn run(&self) -> Option<Run> {
        if let Some(shown) = self.shown().clone() {
            return Some(shown);
        }
        let Held { id, digest, planned_by, refused } = self.held().clone()?;
        let job = match refused {
            Some(error) => {
                let (state, counts) = (JobState::Failed { error }, JobCounts::default());
                JobReport { digest, state, counts }
            }
            None => self.pipelines.jobs().remove(&self.pipeline)?,
        };
        Some(Run { assignment: id, planned_by, job })
    }

    /// Its pipeline, as `/health` tells of it.
    pub(in crate::daemon) fn report(&self) -> PipelineReport {
        let job = self.run().map(|run| run.job);
        PipelineReport::of_job(&self.pipeline, job.as_ref())
    }
}

/// Makes a plan on a thread that may be busy.
async fn remake(
    recipe: tidemesh_plan::mesh::Recipe,
) -> (Result<tidemesh_plan::mesh::PipelinePlan>, tidemesh_plan::mesh::Recipe) {
    let kept = recipe.clone();
    let making = tokio::task::spawn_blocking(move || recipe.plan());
    let made = making.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "make a pipeline's plan").caused_by(error))
    });
    (made, kept)
}

async fn read(
    mut response: reqwest::Response,
    away: impl Fn(reqwest::Error) -> Error,
) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(&away)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "read the controller's answer")
                .with("bytes_max", ANSWER_BYTES_MAX));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::pipelines::WhenFenced;
    use tidemesh_processors::sdk::Processors;
    use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport, RegistryClient};

    fn station(folder: &std::path::Path) -> Arc<Station<EmbeddedTransport>> {
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap();
        let registry = RegistryClient::new("http://127.0.0.1:1").unwrap();
        let pipelines =
            Pipelines::new(Arc::new(log), registry, Processors::new(), WhenFenced::Ends);
        let worker = Worker { id: "a".into(), pid: 1, url: String::new(), spawned: false };
        Arc::new(Station::new("p".into(), worker, pipelines, "http://127.0.0.1:1").unwrap())
    }

    fn answer(order: Order) -> Answer {
        Answer { order, drain: Vec::new() }
    }

    /// Of which no plan can be made.
    fn broken() -> Order {
        let assignment = serde_json::json!({"id": "1", "planned_by": {}, "recipe": {"pipeline": {},
            "topics": {}, "accepted": {}, "digest": "d"}});
        Order::Run(Box::new(serde_json::from_value(assignment).unwrap()))
    }

    #[tokio::test]
    async fn beats_tell_of_an_order_while_it_is_carried_out() {
        let folder = tempfile::tempdir().unwrap();
        let station = station(folder.path());
        assert!(station.run().is_none());
        assert!(station.obey(answer(Order::Keep)).is_none());
        let mut obeying = station.obey(answer(broken()));
        let starting = station.run().unwrap();
        assert_eq!((starting.assignment.as_str(), starting.job.digest.as_str()), ("1", "d"));
        assert_eq!(starting.job.state, JobState::Starting);
        station.obeyed(&mut obeying).await;
        let failed = station.run().unwrap();
        assert!(matches!(failed.job.state, JobState::Failed { .. }), "{failed:?}");

        let mut obeying = station.obey(answer(Order::Stop));
        assert_eq!(station.run(), Some(failed), "it is there until it has ended");
        station.obeyed(&mut obeying).await;
        assert!(obeying.is_none() && station.run().is_none());
    }
}
