//! `/metrics`: which there are, and the figures that are read only when somebody asks, so that the hot
//! path has no part in them. What has a distribution is recorded where it happens.

use super::sources::state_name;
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_process::Collector;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tidemesh_controller::{JobCounts, KeptTopics, PipelineReport, PipelineStatus};
use tidemesh_model::ErrorKind;
use tidemesh_source::{
    Outcome, SlotReport, SnapshotReport, SourceReport, SourceState, TableState, TableVerdict,
};

/// Every state of a source, by the name that it has in reports.
const STATES: [&str; 7] =
    ["starting", "streaming", "retrying", "stopped", "drained", "standby", "paused"];

/// Every state of a table's snapshot.
const TABLE_STATES: [(&str, TableState); 3] =
    [("running", TableState::Running), ("done", TableState::Done), ("failed", TableState::Failed)];

/// Every word of PostgreSQL for what becomes of a slot's log (documentation 18, 53.20).
const WAL_STATUSES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// What a verification of a table can come to.
const OUTCOMES: [(&str, Outcome); 3] =
    [("equal", Outcome::Equal), ("different", Outcome::Different), ("unknown", Outcome::Unknown)];

/// What `/metrics` is made of.
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
    /// The folder whose disk is looked at.
    data_dir: Option<PathBuf>,
    /// The sources that were told of.
    sources: Mutex<BTreeSet<String>>,
    /// The pipelines that were told of.
    pipelines: Mutex<BTreeSet<String>>,
}

impl Metrics {
    /// What was recorded, and the disk of this folder.
    pub(crate) fn new(handle: PrometheusHandle, data_dir: Option<PathBuf>) -> Self {
        metrics::gauge!("tidemesh_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        let process = Collector::default();
        process.describe();
        let (sources, pipelines) = (Mutex::default(), Mutex::default());
        Self { handle, process, data_dir, sources, pipelines }
    }

    /// All of it as Prometheus' text.
    pub(crate) fn render(
        &self,
        sources: &[SourceReport],
        pipelines: &[PipelineReport],
        kept: Option<KeptTopics>,
    ) -> String {
        self.export_sources(sources);
        self.export_pipelines(pipelines);
        kept.iter().for_each(export_kept);
        self.export_disk();
        self.process.collect();
        self.handle.render()
    }

    /// As pipelines: of a source that has gone no figure stays from which an alert could go on.
    fn export_sources(&self, reports: &[SourceReport]) {
        reports.iter().for_each(export);
        let now: BTreeSet<String> = reports.iter().map(|report| report.name.clone()).collect();
        let mut told = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        told.difference(&now).for_each(|gone| export_gone(gone));
        *told = now;
    }

    /// The recorder keeps what it was told for ever: a pipeline that has gone is told to be in no state,
    /// so that no alert goes on.
    fn export_pipelines(&self, reports: &[PipelineReport]) {
        reports.iter().for_each(export_pipeline);
        let now: BTreeSet<String> = reports.iter().map(|report| report.name.clone()).collect();
        let mut told = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        told.difference(&now).for_each(|gone| {
            export_pipeline_state(gone, None);
            export_pipeline_lag(gone, &JobCounts::default());
        });
        *told = now;
    }

    fn export_disk(&self) {
        let Some(folder) = &self.data_dir else { return };
        let Ok(disk) = rustix::fs::statvfs(folder) else { return };
        let bytes = |blocks: u64| float(blocks.saturating_mul(disk.f_frsize));
        metrics::gauge!("tidemesh_data_dir_available_bytes").set(bytes(disk.f_bavail));
        metrics::gauge!("tidemesh_data_dir_capacity_bytes").set(bytes(disk.f_blocks));
    }
}

/// The topics that are kept for pipelines.
fn export_kept(kept: &KeptTopics) {
    metrics::gauge!("tidemesh_kept_topics").set(float(kept.topics));
    metrics::gauge!("tidemesh_kept_bytes").set(float(kept.bytes));
    metrics::gauge!("tidemesh_kept_bytes_max").set(float(kept.bytes_max));
    metrics::gauge!("tidemesh_kept_topics_let_go").set(float(kept.let_go));
}

/// Writes a pipeline's figures into the recorder.
fn export_pipeline(report: &PipelineReport) {
    let pipeline = || [("pipeline", report.name.clone())];
    let counts = &report.counts;
    metrics::counter!("tidemesh_pipeline_records_in_total", &pipeline())
        .absolute(counts.records_in);
    metrics::counter!("tidemesh_pipeline_records_out_total", &pipeline())
        .absolute(counts.records_out);
    metrics::counter!("tidemesh_pipeline_dead_letters_total", &pipeline())
        .absolute(counts.dead_letters);
    metrics::counter!("tidemesh_pipeline_errors_total", &pipeline()).absolute(counts.errors);
    metrics::gauge!("tidemesh_pipeline_newest_record_timestamp_seconds", &pipeline())
        .set(seconds(counts.newest_ms));
    export_pipeline_lag(&report.name, counts);
    metrics::gauge!("tidemesh_pipeline_revision", &pipeline()).set(float(report.revision));
    export_pipeline_state(&report.name, Some(report.state));
}

/// Not a number where it is not known, so that no rule takes it for good or bad.
fn export_pipeline_lag(pipeline: &str, counts: &JobCounts) {
    let labels = [("pipeline", pipeline.to_owned())];
    metrics::gauge!("tidemesh_pipeline_lag_records", &labels)
        .set(counts.lag_records.map_or(f64::NAN, float));
    metrics::gauge!("tidemesh_pipeline_lag_seconds", &labels)
        .set(counts.lag_ms.map_or(f64::NAN, seconds));
}

fn export_pipeline_state(pipeline: &str, current: Option<PipelineStatus>) {
    for status in PipelineStatus::ALL {
        let labels = [("pipeline", pipeline.to_owned()), ("state", status.to_string())];
        metrics::gauge!("tidemesh_pipeline_state", &labels).set(flag(current == Some(status)));
    }
}

/// Writes a source's figures into the recorder.
fn export(report: &SourceReport) {
    let source = || [("source", report.name.clone())];
    metrics::counter!("tidemesh_source_events_total", &source()).absolute(report.events);
    metrics::counter!("tidemesh_source_records_total", &source()).absolute(report.records);
    metrics::counter!("tidemesh_source_record_bytes_total", &source())
        .absolute(report.record_bytes);
    metrics::counter!("tidemesh_source_dead_letters_total", &source())
        .absolute(report.dead_letters);
    metrics::counter!("tidemesh_source_retries_total", &source()).absolute(report.retries);
    for kind in ErrorKind::ALL.map(ErrorKind::name) {
        let count = report.errors_by_kind.get(kind).copied().unwrap_or(0);
        let labels = [("source", report.name.clone()), ("kind", kind.to_owned())];
        metrics::counter!("tidemesh_source_errors_total", &labels).absolute(count);
    }
    metrics::gauge!("tidemesh_source_lag_bytes", &source()).set(float(report.lag_bytes));
    metrics::gauge!("tidemesh_source_lag_seconds", &source()).set(lag_seconds(report));
    metrics::gauge!("tidemesh_source_checkpoint_age_seconds", &source())
        .set(report.checkpoint_age_ms.map_or(f64::NAN, seconds));
    metrics::gauge!("tidemesh_source_heartbeat_age_seconds", &source())
        .set(seconds(report.heartbeat_age_ms));
    metrics::gauge!("tidemesh_source_last_append_timestamp_seconds", &source())
        .set(float(report.appended_at_us.unsigned_abs()) / 1e6);
    export_state(&report.name, Some(&report.state));
    export_slot(&report.name, report.slot.as_ref());
    export_snapshot(&report.name, &report.snapshot);
    export_verifications(&report.name);
}

/// Of a source that is no longer there.
fn export_gone(name: &str) {
    let source = || [("source", name.to_owned())];
    metrics::gauge!("tidemesh_source_lag_bytes", &source()).set(0.0);
    metrics::gauge!("tidemesh_source_lag_seconds", &source()).set(0.0);
    metrics::gauge!("tidemesh_source_checkpoint_age_seconds", &source()).set(f64::NAN);
    metrics::gauge!("tidemesh_source_heartbeat_age_seconds", &source()).set(f64::NAN);
    export_state(name, None);
    export_slot(name, None);
    export_snapshot(name, &SnapshotReport::default());
}

fn export_state(name: &str, state: Option<&SourceState>) {
    let source = || [("source", name.to_owned())];
    one_hot("tidemesh_source_state", name, "state", &STATES, state.map(state_name));
    let up = matches!(state, Some(SourceState::Streaming));
    metrics::gauge!("tidemesh_source_streaming", &source()).set(flag(up));
    let stopped = matches!(state, Some(SourceState::Stopped { .. }));
    metrics::gauge!("tidemesh_source_stopped", &source()).set(flag(stopped));
}

/// 1 for the value that holds, 0 for every other.
fn one_hot(
    name: &'static str,
    source: &str,
    label: &'static str,
    values: &[&'static str],
    current: Option<&str>,
) {
    for value in values {
        let labels = [("source", source.to_owned()), (label, (*value).to_owned())];
        metrics::gauge!(name, &labels).set(flag(current == Some(value)));
    }
}

/// What the database keeps for a source; not a number where that is not known, so that no rule takes
/// it for good or bad.
fn export_slot(source: &str, slot: Option<&SlotReport>) {
    let labels = [("source", source.to_owned())];
    let known = |figure: fn(&SlotReport) -> f64| slot.map_or(f64::NAN, figure);
    metrics::gauge!("tidemesh_source_slot_lag_bytes", &labels)
        .set(known(|slot| float(slot.kept_bytes)));
    metrics::gauge!("tidemesh_source_slot_unconfirmed_bytes", &labels)
        .set(known(|slot| float(slot.unconfirmed_bytes)));
    metrics::gauge!("tidemesh_source_slot_active", &labels).set(known(|slot| flag(slot.active)));
    metrics::gauge!("tidemesh_source_slot_safe_bytes", &labels)
        .set(known(|slot| slot.safe_bytes.map_or(f64::NAN, signed)));
    let status = slot.map(|slot| slot.wal_status.as_str());
    one_hot("tidemesh_source_slot_wal_status", source, "status", &WAL_STATUSES, status);
}

/// A source's snapshots, each table by its name.
fn export_snapshot(source: &str, report: &SnapshotReport) {
    metrics::gauge!("tidemesh_snapshot_paused", "source" => source.to_owned())
        .set(flag(report.paused));
    for (name, state) in TABLE_STATES {
        let count = report.tables.iter().filter(|table| table.state == state).count();
        let labels = [("source", source.to_owned()), ("state", name.to_owned())];
        metrics::gauge!("tidemesh_snapshot_tables", &labels).set(float(count as u64));
    }
    for table in &report.tables {
        let labels = || [("source", source.to_owned()), ("table", table.table.to_string())];
        metrics::gauge!("tidemesh_snapshot_rows", &labels()).set(float(table.rows));
        metrics::gauge!("tidemesh_snapshot_bytes", &labels()).set(float(table.bytes));
        metrics::gauge!("tidemesh_snapshot_rows_estimate", &labels())
            .set(float(table.rows_estimate));
        metrics::gauge!("tidemesh_snapshot_chunks", &labels()).set(float(table.chunks));
        metrics::gauge!("tidemesh_snapshot_chunks_repeated", &labels()).set(float(table.repeats));
        let running = table.state == TableState::Running;
        metrics::gauge!("tidemesh_snapshot_running", &labels()).set(flag(running));
        let failed = table.state == TableState::Failed;
        metrics::gauge!("tidemesh_snapshot_failed", &labels()).set(flag(failed));
    }
}

/// Counters that no verification has moved yet stand at 0, so that the first one is an increase.
fn export_verifications(source: &str) {
    for (outcome, _) in OUTCOMES {
        verifications(source, outcome).increment(0);
    }
}

fn verifications(source: &str, outcome: &'static str) -> metrics::Counter {
    let labels = [("source", source.to_owned()), ("outcome", outcome.to_owned())];
    metrics::counter!("tidemesh_verify_tables_total", &labels)
}

/// Counts a table that was verified.
pub(crate) fn verified(source: &str, verdict: &TableVerdict) {
    for (name, outcome) in OUTCOMES {
        if outcome == verdict.found.outcome {
            verifications(source, name).increment(1);
        }
    }
    let labels = [("source", source.to_owned()), ("table", verdict.table.to_string())];
    metrics::gauge!("tidemesh_verify_rows", &labels).set(float(verdict.found.rows));
    metrics::gauge!("tidemesh_verify_differing_keys", &labels).set(float(verdict.found.differing));
}

/// How old the newest event is that is durable, while the log holds more; 0 when it does not.
fn lag_seconds(report: &SourceReport) -> f64 {
    match report.checkpoint_age_ms {
        Some(age_ms) if report.lag_bytes > 0 => seconds(age_ms),
        _ => 0.0,
    }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(ms: u64) -> f64 {
    float(ms) / 1e3
}

fn signed(value: i64) -> f64 {
    float(value.unsigned_abs()).copysign(if value < 0 { -1.0 } else { 1.0 })
}

/// A figure for a gauge: Prometheus has floating-point numbers only.
#[expect(clippy::cast_precision_loss, reason = "a gauge of 2^53 may be off by one")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tidemesh_source::SourceStatus;

    fn rendered(report: &SourceReport) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || export(report));
        recorder.handle().render()
    }

    fn report() -> SourceReport {
        SourceStatus::new("shop", std::sync::Arc::default()).report()
    }

    #[test]
    fn exactly_one_state_holds() {
        let states = [
            SourceState::Starting,
            SourceState::Standby { holder: "h".into() },
            SourceState::Streaming,
            SourceState::Retrying { error: "e".into(), attempt: 1 },
            SourceState::Stopped { error: "e".into(), kind: "config" },
            SourceState::Drained,
            SourceState::Paused,
        ];
        for state in states {
            let name = state_name(&state);
            assert!(STATES.contains(&name), "{name} is not in STATES");
            let text = rendered(&SourceReport { state, ..report() });
            let held = text.lines().filter(|line| line.starts_with("tidemesh_source_state{"));
            let held: Vec<_> = held.filter(|line| line.ends_with(" 1")).collect();
            assert_eq!(
                held,
                [format!(r#"tidemesh_source_state{{source="shop",state="{name}"}} 1"#)]
            );
        }
    }

    #[test]
    fn what_is_not_known_is_no_number() {
        let text = rendered(&report());
        for name in ["slot_lag_bytes", "slot_safe_bytes", "checkpoint_age_seconds"] {
            let line = format!(r#"tidemesh_source_{name}{{source="shop"}} NaN"#);
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert!(!text.lines().any(|l| l.contains("wal_status{") && l.ends_with(" 1")), "{text}");
    }

    #[test]
    fn a_passed_limit_is_below_0() {
        let slot = SlotReport {
            safe_bytes: Some(-5),
            wal_status: "unreserved".into(),
            ..SlotReport::default()
        };
        let text = rendered(&SourceReport { slot: Some(slot), ..report() });
        assert!(text.contains(r#"tidemesh_source_slot_safe_bytes{source="shop"} -5"#), "{text}");
        assert!(text.contains(r#"status="unreserved"} 1"#), "{text}");
    }

    #[test]
    fn errors_are_counted_by_kind_from_0() {
        let text = rendered(&SourceReport { errors_by_kind: [("storage", 3)].into(), ..report() });
        let line = |kind| format!(r#"tidemesh_source_errors_total{{source="shop",kind="{kind}"}}"#);
        assert!(text.contains(&format!("{} 3", line("storage"))), "{text}");
        assert!(text.contains(&format!("{} 0", line("timeout"))), "{text}");
    }
}
