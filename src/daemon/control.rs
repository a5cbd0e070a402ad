//! The control port: `/health`, `/metrics`, and what the command line asks of a daemon.

use super::metrics::{Metrics, verified};
use super::signals::stopped;
use super::sources::SourceTable;
use super::verify::verify_pipeline;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_controller::{Controller, ManagedBy, PipelineReport, PipelineStatus, status, whole};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{
    RemoveRequest, SnapshotCommand, SnapshotRequest, SourceHandle, SourceReport, SourceState,
    TableState, VerifyEvent, VerifyRequest,
};
use tidemesh_transport::RegistryClient;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Events of a verification that may wait for who asked.
const VERIFY_EVENTS_MAX: usize = 16;

/// How long answers may take once the process is told to stop.
const ANSWERS_MAX: Duration = Duration::from_secs(5);

/// Prometheus' text format (its documentation, "Exposition formats").
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where a daemon's other ports are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The data port, as `tcp://127.0.0.1:8092`.
    pub(crate) data: Option<String>,
    /// The registry, as `http://127.0.0.1:8081`.
    pub(crate) registry: Option<String>,
}

/// A line of the answer to `verify`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub(crate) enum VerifyLine {
    /// How far it has come, or what was found.
    Event(VerifyEvent),
    /// Why it could not be done.
    Error {
        /// With causes and remedy.
        error: String,
    },
}

/// What the control port knows.
pub(crate) struct Control {
    /// The daemon's other ports.
    pub(crate) endpoints: Endpoints,
    /// The sources that run here.
    pub(crate) sources: Arc<SourceTable>,
    /// The controller, if it is here.
    pub(crate) controller: Option<Arc<Controller<RegistryClient>>>,
    /// The pipeline that this process runs for a controller elsewhere, if it does.
    pub(crate) job: Option<Job>,
    /// Routes of the role's own.
    pub(crate) routes: Router,
    /// The collected metrics.
    pub(crate) metrics: Metrics,
}

/// A source, and who brings it.
#[derive(Serialize)]
struct SourceAnswer {
    #[serde(flatten)]
    report: SourceReport,
    managed_by: ManagedBy,
}

/// Tells how a pipeline is.
pub(crate) type Job = Box<dyn Fn() -> PipelineReport + Send + Sync>;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    sources: BTreeMap<String, SourceReport>,
    /// Pipelines by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pipelines: BTreeMap<String, PipelineHealth>,
    /// Why the controller's last round could not be done, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<String>,
}

#[derive(Serialize)]
struct PipelineHealth {
    state: PipelineStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl Control {
    /// Without a controller.
    pub(crate) fn new(endpoints: Endpoints, sources: Arc<SourceTable>, metrics: Metrics) -> Self {
        Self { endpoints, sources, controller: None, job: None, routes: Router::new(), metrics }
    }

    /// Serves until `shutdown` says true.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the listener fails.
    pub(crate) async fn serve(
        mut self,
        listener: TcpListener,
        shutdown: watch::Receiver<bool>,
    ) -> Result<()> {
        let routes = std::mem::take(&mut self.routes);
        let pipelines = self.controller.clone().map(tidemesh_controller::router);
        let router = Router::new()
            .route("/health", get(health))
            .route("/health/live", get(async || "up\n"))
            .route("/metrics", get(render_metrics))
            .route("/v1/endpoints", get(endpoints))
            .route("/v1/sources", get(sources))
            .route("/v1/sources/{name}", get(source))
            .route("/v1/sources/{name}/snapshot", get(snapshot).post(start_snapshot))
            .route("/v1/sources/{name}/snapshot/pause", post(pause_snapshot))
            .route("/v1/sources/{name}/snapshot/resume", post(resume_snapshot))
            .route("/v1/sources/{name}/verify", post(verify))
            .route("/v1/sources/{name}/remove", post(remove))
            .route("/v1/pipelines/{name}/verify", post(verify_pipeline))
            .with_state(Arc::new(self))
            .merge(pipelines.unwrap_or_default())
            .merge(routes);
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(stopped(shutdown.clone()))
            .into_future();
        let deadline = async {
            stopped(shutdown).await;
            tokio::time::sleep(ANSWERS_MAX).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| {
                Error::new(ErrorKind::Unavailable, "serve the control port").caused_by(error)
            }),
            () = deadline => {
                tracing::warn!("an answer that was under way is cut off");
                Ok(())
            }
        }
    }

    fn reports(&self) -> BTreeMap<String, SourceReport> {
        let reports = self.sources.handles().into_iter().map(|(_, source)| source.status.report());
        reports.map(|report| (report.name.clone(), report)).collect()
    }

    fn sources(&self) -> impl Iterator<Item = SourceAnswer> {
        self.sources
            .handles()
            .into_iter()
            .map(|(managed_by, source)| SourceAnswer { report: source.status.report(), managed_by })
    }

    fn pipelines(&self) -> Vec<PipelineReport> {
        self.controller.as_ref().map(|controller| controller.pipelines()).unwrap_or_default()
    }

    fn source(&self, name: &str) -> Option<SourceHandle> {
        self.sources.source(name)
    }

    async fn command(&self, source: &str, command: SnapshotCommand) -> Response {
        let Some(handle) = self.source(source) else { return no_source(source) };
        match whole(async move { handle.command(command).await }).await {
            Ok(report) => Json(report).into_response(),
            Err(error) => refused(&error),
        }
    }
}

fn no_source(name: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("no source is called {name}\n")).into_response()
}

pub(super) fn refused(error: &Error) -> Response {
    (status(error.kind()), format!("{}\n", error.report())).into_response()
}

async fn snapshot(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Response {
    match control.reports().remove(&name) {
        Some(report) => Json(report.snapshot).into_response(),
        None => no_source(&name),
    }
}

async fn start_snapshot(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Json(request): Json<SnapshotRequest>,
) -> Response {
    control.command(&name, SnapshotCommand::Start(request)).await
}

async fn pause_snapshot(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Response {
    control.command(&name, SnapshotCommand::Pause).await
}

async fn resume_snapshot(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Response {
    control.command(&name, SnapshotCommand::Resume).await
}

/// Ends a source and removes what is durable of it. It is started again with the daemon if the
/// configuration still has it.
async fn remove(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Json(request): Json<RemoveRequest>,
) -> Response {
    let Some(handle) = control.source(&name) else { return no_source(&name) };
    match whole(async move { handle.remover.remove(request).await }).await {
        Ok(removed) => Json(removed).into_response(),
        Err(error) => refused(&error),
    }
}

/// Verifies and streams what comes of it: a JSON line a [`VerifyEvent`], and last, if it could not
/// be done, one with the `error`. Ends when who asked goes away.
async fn verify(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Json(request): Json<VerifyRequest>,
) -> Response {
    let Some(handle) = control.source(&name) else { return no_source(&name) };
    let verifier = Arc::clone(&handle.verifier);
    let (sender, mut events) = mpsc::channel(VERIFY_EVENTS_MAX);
    let mut running = JoinSet::new();
    running.spawn(async move { verifier.verify(request, sender).await });
    // What cannot even begin has a status of its own.
    let Some(first) = events.recv().await else {
        return match running.join_next().await {
            Some(Ok(Err(error))) => refused(&error),
            Some(Err(broke)) => {
                refused(&Error::new(ErrorKind::Internal, "verify a source").caused_by(broke))
            }
            Some(Ok(Ok(()))) | None => StatusCode::OK.into_response(),
        };
    };
    let lines = futures_util::stream::unfold(
        (Some(first), events, running, name),
        async |(next, mut events, mut running, name)| {
            let event = match next {
                Some(event) => Some(event),
                None => events.recv().await,
            };
            if let Some(VerifyEvent::Table(verdict)) = &event {
                verified(&name, verdict);
            }
            let line = match event {
                Some(event) => serde_json::to_string(&event),
                None => match running.join_next().await? {
                    Ok(Ok(())) => return None,
                    Ok(Err(error)) => {
                        serde_json::to_string(&VerifyLine::Error { error: error.report() })
                    }
                    Err(error) => {
                        serde_json::to_string(&VerifyLine::Error { error: error.to_string() })
                    }
                },
            };
            Some((line.map(|line| line + "\n"), (None, events, running, name)))
        },
    );
    Body::from_stream(lines).into_response()
}

/// 200 while every source and pipeline runs or will run again, 503 when one has stopped for good or a
/// table's snapshot has failed. A pipeline that is held, or paused, is as it should be.
async fn health(State(control): State<Arc<Control>>) -> Response {
    let sources = control.reports();
    let mut pipelines = control.pipelines();
    pipelines.extend(control.job.as_ref().map(|job| job()));
    let is = |status| pipelines.iter().any(|pipeline| pipeline.state == status);
    let stopped =
        sources.values().any(|source| matches!(source.state, SourceState::Stopped { .. }));
    let retrying =
        sources.values().any(|source| matches!(source.state, SourceState::Retrying { .. }));
    let tables = || sources.values().flat_map(|source| &source.snapshot.tables);
    let snapshot_failed = tables().any(|table| table.state == TableState::Failed);
    let (code, status) = if stopped {
        (StatusCode::SERVICE_UNAVAILABLE, "stopped")
    } else if snapshot_failed {
        (StatusCode::SERVICE_UNAVAILABLE, "snapshot_failed")
    } else if is(PipelineStatus::Failed) || is(PipelineStatus::Lost) {
        (StatusCode::SERVICE_UNAVAILABLE, "pipeline_failed")
    } else if retrying || is(PipelineStatus::Retrying) {
        (StatusCode::OK, "retrying")
    } else if is(PipelineStatus::Held) {
        (StatusCode::OK, "held")
    } else {
        (StatusCode::OK, "up")
    };
    let pipelines = pipelines.into_iter().map(|PipelineReport { name, state, reasons, .. }| {
        (name, PipelineHealth { state, reasons })
    });
    let pipelines = pipelines.collect();
    let controller = control.controller.as_ref().and_then(|controller| controller.trouble());
    (code, Json(Health { status, sources, pipelines, controller })).into_response()
}

async fn endpoints(State(control): State<Arc<Control>>) -> Json<Endpoints> {
    Json(control.endpoints.clone())
}

async fn sources(State(control): State<Arc<Control>>) -> Json<Vec<SourceAnswer>> {
    Json(control.sources().collect())
}

async fn source(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Response {
    match control.sources().find(|source| source.report.name == name) {
        Some(source) => Json(source).into_response(),
        None => no_source(&name),
    }
}

async fn render_metrics(State(control): State<Arc<Control>>) -> Response {
    let reports: Vec<_> = control.reports().into_values().collect();
    let kept = control.controller.as_ref().map(|controller| controller.kept_topics());
    let text = control.metrics.render(&reports, &control.pipelines(), kept);
    ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use std::pin::Pin;
    use tidemesh_source::{Remove, Removed};
    use tokio::sync::Notify;

    /// Waits within a removal until it is let go, and tells when it has come to its end.
    #[derive(Debug, Default)]
    struct Slow {
        go: Notify,
        done: Notify,
    }

    impl Remove for Slow {
        fn remove<'a>(
            &'a self,
            _: RemoveRequest,
        ) -> Pin<Box<dyn Future<Output = Result<Removed>> + Send + 'a>> {
            Box::pin(async {
                self.go.notified().await;
                self.done.notify_one();
                Ok(Removed::default())
            })
        }
    }

    #[test]
    fn what_is_refused_has_the_status_of_its_kind() {
        for kind in ErrorKind::ALL {
            let answer = refused(&Error::new(kind, "do it"));
            assert_eq!(answer.status().as_u16(), kind.http_status(), "{kind}");
        }
    }

    #[tokio::test]
    async fn a_removal_comes_to_its_end_though_its_client_goes_away() {
        let slow = Arc::new(Slow::default());
        let sources = SourceTable::of_one("shop", Arc::clone(&slow) as Arc<dyn Remove>);
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let control = Control::new(Endpoints::default(), sources, Metrics::new(metrics, None));
        let (control, shop) = (State(Arc::new(control)), Path("shop".to_owned()));
        let mut answer = Box::pin(remove(control, shop, Json(RemoveRequest::default())));
        assert!(poll!(&mut answer).is_pending());
        drop(answer);
        slow.go.notify_one();
        let done = tokio::time::timeout(Duration::from_secs(20), slow.done.notified()).await;
        done.expect("it went with its client");
    }
}
