//! Logs and metrics: installed once, by `main` alone.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use tidemesh_model::{Error, ErrorKind, Result};
use tracing_subscriber::EnvFilter;

/// Sends logs to standard error: for people on a terminal, as JSON lines elsewhere when
/// `TIDEMESH_LOG_FORMAT=json`. `TIDEMESH_LOG` filters as `tracing` documents; default `info`.
pub fn install_logs() {
    let filter = EnvFilter::try_from_env("TIDEMESH_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var("TIDEMESH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        logs.json().init();
    } else {
        logs.init();
    }
}

/// Collects metrics from here on.
///
/// # Errors
///
/// `Internal` if a recorder is there already.
pub fn install_metrics() -> Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|e| Error::new(ErrorKind::Internal, "install the metrics' recorder").caused_by(e))
}
