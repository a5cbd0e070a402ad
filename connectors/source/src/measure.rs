//! What a source tells the `metrics` facade with each append: what has a distribution. Single figures
//! are read from its status when somebody asks. Whoever hosts the source installs the recorder.

use metrics::Histogram;
use std::time::Duration;
use tidemesh_transport::Counts;

/// A source's histograms.
#[derive(Debug)]
pub(crate) struct Measures {
    append_seconds: Histogram,
    durable_seconds: Histogram,
    bytes: Histogram,
    events: Histogram,
}

impl Measures {
    /// Those of the recorder that is installed now.
    pub(crate) fn new(source: &str) -> Self {
        let labels = [("source", source.to_owned())];
        Self {
            append_seconds: metrics::histogram!("tidemesh_source_append_duration_seconds", &labels),
            durable_seconds: metrics::histogram!(
                "tidemesh_source_commit_to_durable_seconds",
                &labels
            ),
            bytes: metrics::histogram!("tidemesh_source_append_size_bytes", &labels),
            events: metrics::histogram!("tidemesh_source_append_events", &labels),
        }
    }

    /// An append is durable that took so long.
    pub(crate) fn appended(&self, counts: Counts, took: Duration) {
        self.append_seconds.record(took);
        if counts.records > 0 {
            self.bytes.record(approximate(counts.bytes));
            self.events.record(approximate(counts.events));
        }
    }

    /// A commit is durable that the database made so long ago.
    pub(crate) fn durable(&self, age_us: i64) {
        self.durable_seconds.record(Duration::from_micros(age_us.max(0).unsigned_abs()));
    }
}

/// Histograms have floating-point numbers; an append is far below the 2^32 that this holds.
fn approximate(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
