//! Logs and metrics: installed once, by `main` alone.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tracing_subscriber::EnvFilter;

/// How often recorded figures are put into their buckets: until then each takes memory, and nobody
/// may ever ask for them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The buckets of every histogram, in its unit: bounded, and wide enough for a laptop's fsync and
/// for a disk that hangs.
const BUCKETS: &[(&str, &[f64])] = &[
    (
        "tidemesh_source_append_duration_seconds",
        &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0],
    ),
    (
        "tidemesh_source_commit_to_durable_seconds",
        &[
            0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
            300.0, 1800.0,
        ],
    ),
    (
        "tidemesh_source_append_size_bytes",
        &[1024.0, 8192.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0],
    ),
    (
        "tidemesh_source_append_events",
        &[1.0, 10.0, 100.0, 1000.0, 5000.0, 20_000.0, 100_000.0, 500_000.0],
    ),
    (
        "tidemesh_gateway_request_duration_seconds",
        &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0],
    ),
    (
        "tidemesh_registry_request_duration_seconds",
        &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0],
    ),
];

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

/// Collects metrics from here on. To be called within the runtime, which also keeps their memory
/// bounded.
///
/// # Errors
///
/// `Internal` if a recorder is there already.
pub fn install_metrics() -> Result<PrometheusHandle> {
    let handle = recorder().map_err(|error| {
        Error::new(ErrorKind::Internal, "install the metrics' recorder").caused_by(error)
    })?;
    let keeping = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            keeping.run_upkeep();
        }
    });
    Ok(handle)
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
    }
    builder.install_recorder()
}
