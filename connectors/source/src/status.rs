//! What is known of a running source, for `/health`, `/metrics` and `tidemesh source list`.

use crate::SnapshotReport;
use serde::Serialize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tidemesh_model::{Error, Position};

/// What a source is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum SourceState {
    /// Before its first batch. Entered at start and by a retry; ended by the first batch.
    Starting,
    /// Another instance reads the log. Ended when that one is gone.
    Standby {
        /// Who it is, as the database tells.
        holder: String,
    },
    /// Batches flow. Ended by an error or the end of the process.
    Streaming,
    /// Waiting to start again after an error that will pass. Ended by the wait.
    Retrying {
        /// What happened, with its causes.
        error: String,
        /// How many starts have failed in a row.
        attempt: u32,
    },
    /// An error that will not pass by itself. Ended by a restart of the process.
    Stopped {
        /// What happened, with its causes and what to do.
        error: String,
        /// The error's kind.
        kind: &'static str,
    },
    /// Drained and closed, because the process is told to stop.
    Drained,
}

/// One source's state and figures; shared between its run loop and whoever asks.
#[derive(Debug)]
pub struct SourceStatus {
    name: String,
    state: Mutex<SourceState>,
    position: Mutex<Option<Position>>,
    snapshot: Mutex<SnapshotReport>,
    events: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    errors: AtomicU64,
    lag_bytes: AtomicU64,
    /// When the log was written up to the checkpoint, by the source's clock.
    position_at_us: AtomicI64,
}

/// [`SourceStatus`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// The source.
    pub name: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: SourceState,
    /// The checkpoint.
    pub position: Option<String>,
    /// When the log was written up to the checkpoint, in microseconds since 1970 UTC; 0: unknown.
    pub position_at_us: i64,
    /// Change events appended since the process began.
    pub events: u64,
    /// Records appended since the process began.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Errors since the process began.
    pub errors: u64,
    /// Bytes of log that are written and not yet handed out.
    pub lag_bytes: u64,
    /// The tables that are or were read beside the log.
    pub snapshot: SnapshotReport,
}

impl SourceStatus {
    /// A source that has not begun.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: Mutex::new(SourceState::Starting),
            position: Mutex::new(None),
            snapshot: Mutex::default(),
            events: AtomicU64::new(0),
            records: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            lag_bytes: AtomicU64::new(0),
            position_at_us: AtomicI64::new(0),
        }
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All of it, now.
    #[must_use]
    pub fn report(&self) -> SourceReport {
        SourceReport {
            name: self.name.clone(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            position: self
                .position
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .map(|position| position.to_string()),
            position_at_us: self.position_at_us.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            record_bytes: self.record_bytes.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            lag_bytes: self.lag_bytes.load(Ordering::Relaxed),
            snapshot: self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(crate) fn enter(&self, state: SourceState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn snapshot(&self, report: &SnapshotReport) {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if *snapshot != *report {
            snapshot.clone_from(report);
        }
    }

    pub(crate) fn failed(&self, _error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lag(&self, bytes: u64) {
        self.lag_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn appended(&self, counts: tidemesh_transport::Counts) {
        self.events.fetch_add(counts.events, Ordering::Relaxed);
        self.records.fetch_add(counts.records, Ordering::Relaxed);
        self.record_bytes.fetch_add(counts.bytes, Ordering::Relaxed);
    }

    pub(crate) fn checkpointed(&self, position: Position, at_us: i64) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        self.position_at_us.store(at_us, Ordering::Relaxed);
    }
}
