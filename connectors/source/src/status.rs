//! What is known of a running source, for `/health`, `/metrics` and `tidemesh source list`.

use crate::clock::now_us;
use crate::measure::Measures;
use crate::{SlotReport, SnapshotReport, Vitals};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Position, TableName};
use tidemesh_transport::{Counts, Generations};

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
    /// Somebody has paused it; its database is looked after. Entered in place of a start.
    Paused,
}

/// One source's state and figures; shared between its run loop and whoever asks.
#[derive(Debug)]
pub struct SourceStatus {
    name: String,
    state: Mutex<SourceState>,
    position: Mutex<Option<Position>>,
    /// What ended the attempt before.
    last_error: Mutex<Option<String>>,
    snapshot: Mutex<SnapshotReport>,
    generations: Mutex<Generations>,
    events: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    dead_letters: AtomicU64,
    /// By the place in [`ErrorKind::ALL`].
    errors: [AtomicU64; ErrorKind::ALL.len()],
    retries: AtomicU64,
    lag_bytes: AtomicU64,
    /// When the log was written up to the checkpoint, by the source's clock.
    position_at_us: AtomicI64,
    /// By our clock.
    appended_at_us: AtomicI64,
    vitals: Arc<Vitals>,
    measures: Measures,
}

/// [`SourceStatus`] at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// The source.
    pub name: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: SourceState,
    /// The error that ended the attempt before, until it streams again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
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
    /// Rows that could not be encoded and went to the dead letters since the process began.
    pub dead_letters: u64,
    /// Errors since the process began.
    pub errors: u64,
    /// The same by their kinds, those that have been.
    pub errors_by_kind: BTreeMap<&'static str, u64>,
    /// Starts after an error that passes, since the process began.
    pub retries: u64,
    /// Bytes of log that are written and not yet handed out.
    pub lag_bytes: u64,
    /// How long ago the log was written up to the checkpoint, by the source's clock, in
    /// milliseconds; none: unknown.
    pub checkpoint_age_ms: Option<u64>,
    /// How long ago the database was heard, in milliseconds; since the process began, if it never
    /// was.
    pub heartbeat_age_ms: u64,
    /// When an append was durable last, in microseconds since 1970 UTC; 0: never in this process.
    pub appended_at_us: i64,
    /// What the database keeps of its log for the source; none: nothing, or it is not known.
    pub slot: Option<SlotReport>,
    /// The tables that have left their first topic, each with its present one.
    pub topics: BTreeMap<String, String>,
    /// The tables that are or were read beside the log.
    pub snapshot: SnapshotReport,
}

impl SourceStatus {
    /// A source that has not begun.
    #[must_use]
    pub fn new(name: impl Into<String>, vitals: Arc<Vitals>) -> Self {
        let name = name.into();
        Self {
            measures: Measures::new(&name),
            name,
            state: Mutex::new(SourceState::Starting),
            position: Mutex::new(None),
            last_error: Mutex::default(),
            snapshot: Mutex::default(),
            generations: Mutex::default(),
            events: AtomicU64::new(0),
            records: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            errors: Default::default(),
            retries: AtomicU64::new(0),
            lag_bytes: AtomicU64::new(0),
            position_at_us: AtomicI64::new(0),
            appended_at_us: AtomicI64::new(0),
            vitals,
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
        let errors = self.errors.each_ref().map(|count| count.load(Ordering::Relaxed));
        let by_kind = ErrorKind::ALL.iter().map(|kind| kind.name()).zip(errors);
        let silence = self.vitals.silence();
        SourceReport {
            name: self.name.clone(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            position: self
                .position
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .map(|position| position.to_string()),
            position_at_us: self.position_at_us.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            record_bytes: self.record_bytes.load(Ordering::Relaxed),
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            errors: errors.iter().sum(),
            errors_by_kind: by_kind.filter(|(_, count)| *count > 0).collect(),
            retries: self.retries.load(Ordering::Relaxed),
            lag_bytes: self.lag_bytes.load(Ordering::Relaxed),
            checkpoint_age_ms: self.checkpoint_age_ms(),
            heartbeat_age_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
            appended_at_us: self.appended_at_us.load(Ordering::Relaxed),
            slot: self.vitals.slot(),
            topics: self.lock_generations().beyond_first(&self.name),
            snapshot: self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Counts on from what another source of this name has counted in this process.
    pub fn count_on(&self, before: &Self) {
        let pairs = self.counters().into_iter().zip(before.counters());
        for (count, before) in pairs.chain(self.errors.iter().zip(&before.errors)) {
            count.fetch_add(before.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn counters(&self) -> [&AtomicU64; 5] {
        [&self.events, &self.records, &self.record_bytes, &self.dead_letters, &self.retries]
    }

    /// It has ended by an error that its run loop could not tell of.
    pub fn broke(&self, error: &Error) {
        self.failed(error);
        tracing::error!(source = self.name, error = error.report(), "stopped");
        self.enter(SourceState::Stopped { error: error.report(), kind: error.kind().name() });
    }

    fn checkpoint_age_ms(&self) -> Option<u64> {
        let at_us = self.position_at_us.load(Ordering::Relaxed);
        let age_us = self.vitals.database_us(now_us()).saturating_sub(at_us);
        (at_us > 0).then(|| age_us.max(0).unsigned_abs() / 1000)
    }

    pub(crate) fn enter(&self, state: SourceState) {
        if matches!(state, SourceState::Retrying { .. }) {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
        if state == SourceState::Streaming {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn snapshot(&self, report: &SnapshotReport) {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if *snapshot != *report {
            snapshot.clone_from(report);
        }
    }

    /// Which of its topics each table goes to now.
    pub(crate) fn generations(&self, generations: &Generations) {
        self.lock_generations().clone_from(generations);
    }

    /// The topic that a table goes to now.
    pub(crate) fn topic(&self, table: &TableName) -> String {
        self.lock_generations().topic(&self.name, table)
    }

    fn lock_generations(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failed(&self, error: &Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.report());
        let place = ErrorKind::ALL.iter().position(|kind| *kind == error.kind());
        if let Some(count) = place.and_then(|place| self.errors.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn streams(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state == SourceState::Streaming
    }

    /// Up to when the log is in the topics, by the source's clock; 0: not known.
    pub(crate) fn read_to_us(&self) -> i64 {
        self.position_at_us.load(Ordering::Relaxed)
    }

    pub(crate) fn lag(&self, bytes: u64) {
        self.lag_bytes.store(bytes, Ordering::Relaxed);
    }

    /// An append is durable that took so long.
    pub(crate) fn appended(&self, counts: Counts, took: Duration) {
        self.measures.appended(counts, took);
        self.appended_at_us.store(now_us(), Ordering::Relaxed);
        self.events.fetch_add(counts.events, Ordering::Relaxed);
        self.records.fetch_add(counts.records, Ordering::Relaxed);
        self.record_bytes.fetch_add(counts.bytes, Ordering::Relaxed);
        self.dead_letters.fetch_add(counts.dead_letters, Ordering::Relaxed);
    }

    /// A commit of this time, by the source's clock, is durable.
    pub(crate) fn durable(&self, committed_at_us: i64) {
        let now_us = self.vitals.database_us(now_us());
        self.measures.durable(now_us.saturating_sub(committed_at_us));
    }

    /// The checkpoint is at this position, up to which the log was written at this time, if that
    /// is known: right after a start it is not.
    pub(crate) fn checkpointed(&self, position: Position, at_us: i64) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        if at_us > 0 {
            self.position_at_us.store(at_us, Ordering::Relaxed);
        }
    }
}
