//! The control port: `/health`, `/metrics`, and what the command line asks of a daemon.

use super::signals::stopped;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{SourceReport, SourceState, SourceStatus};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Where a daemon's other ports are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    /// The data port, as `tcp://127.0.0.1:8092`.
    pub(crate) data: Option<String>,
    /// The registry, as `http://127.0.0.1:8081`.
    pub(crate) registry: Option<String>,
}

/// What the control port knows.
pub(crate) struct Control {
    /// The daemon's other ports.
    pub(crate) endpoints: Endpoints,
    /// The sources that run here.
    pub(crate) sources: Vec<Arc<SourceStatus>>,
    /// The collected metrics.
    pub(crate) metrics: PrometheusHandle,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    sources: BTreeMap<String, SourceReport>,
}

impl Control {
    /// Serves until `shutdown` says true.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the listener fails.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        shutdown: watch::Receiver<bool>,
    ) -> Result<()> {
        let router = Router::new()
            .route("/health", get(health))
            .route("/metrics", get(render_metrics))
            .route("/v1/endpoints", get(endpoints))
            .route("/v1/sources", get(sources))
            .route("/v1/sources/{name}", get(source))
            .with_state(Arc::new(self));
        axum::serve(listener, router)
            .with_graceful_shutdown(stopped(shutdown))
            .await
            .map_err(|e| Error::new(ErrorKind::Unavailable, "serve the control port").caused_by(e))
    }

    fn reports(&self) -> BTreeMap<String, SourceReport> {
        self.sources.iter().map(|status| (status.name().to_owned(), status.report())).collect()
    }
}

/// 200 while every source runs or will run again, 503 when one has stopped for good.
async fn health(State(control): State<Arc<Control>>) -> Response {
    let sources = control.reports();
    let stopped =
        sources.values().any(|source| matches!(source.state, SourceState::Stopped { .. }));
    let retrying =
        sources.values().any(|source| matches!(source.state, SourceState::Retrying { .. }));
    let (code, status) = match (stopped, retrying) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
        (false, true) => (StatusCode::OK, "retrying"),
        (false, false) => (StatusCode::OK, "up"),
    };
    (code, Json(Health { status, sources })).into_response()
}

async fn endpoints(State(control): State<Arc<Control>>) -> Json<Endpoints> {
    Json(control.endpoints.clone())
}

async fn sources(State(control): State<Arc<Control>>) -> Json<Vec<SourceReport>> {
    Json(control.reports().into_values().collect())
}

async fn source(State(control): State<Arc<Control>>, Path(name): Path<String>) -> Response {
    match control.reports().remove(&name) {
        Some(report) => Json(report).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no source is called {name}\n")).into_response(),
    }
}

async fn render_metrics(State(control): State<Arc<Control>>) -> String {
    control.sources.iter().for_each(|status| export(&status.report()));
    control.metrics.render()
}

/// Writes a source's figures into the recorder. Done when asked, so that the hot path has no part
/// in it.
fn export(report: &SourceReport) {
    let source = || [("source", report.name.clone())];
    metrics::counter!("tidemesh_source_events_total", &source()).absolute(report.events);
    metrics::counter!("tidemesh_source_records_total", &source()).absolute(report.records);
    metrics::counter!("tidemesh_source_record_bytes_total", &source())
        .absolute(report.record_bytes);
    metrics::counter!("tidemesh_source_errors_total", &source()).absolute(report.errors);
    metrics::gauge!("tidemesh_source_lag_bytes", &source()).set(float(report.lag_bytes));
    metrics::gauge!("tidemesh_source_lag_seconds", &source()).set(lag_seconds(report));
    let up = matches!(report.state, SourceState::Streaming);
    metrics::gauge!("tidemesh_source_streaming", &source()).set(f64::from(u8::from(up)));
    let stopped = matches!(report.state, SourceState::Stopped { .. });
    metrics::gauge!("tidemesh_source_stopped", &source()).set(f64::from(u8::from(stopped)));
}

/// How old the newest event is that is durable, while the log holds more; 0 when it does not.
fn lag_seconds(report: &SourceReport) -> f64 {
    if report.lag_bytes == 0 || report.position_at_us == 0 {
        return 0.0;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    let behind_us = now_us.saturating_sub(report.position_at_us).max(0);
    float(behind_us.unsigned_abs()) / 1e6
}

/// A figure for a gauge: Prometheus has floating-point numbers only.
#[expect(clippy::cast_precision_loss, reason = "a gauge of 2^53 may be off by one")]
fn float(value: u64) -> f64 {
    value as f64
}
