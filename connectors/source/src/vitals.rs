//! What is known of a source's database apart from its events: when it was last heard, how its clock
//! stands to ours, and what it keeps of its log for us. Shared between the connector, which writes
//! it, and the source's status; it outlives each session, since a log is kept while nobody reads it.

use serde::Serialize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long what the database has told of the slot is taken for true.
const SLOT_TRUE_FOR: Duration = Duration::from_secs(60);

/// What a database keeps of its log for the reader that a name stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// Bytes of log that are kept for it.
    pub kept_bytes: u64,
    /// Bytes of log that it has not confirmed.
    pub unconfirmed_bytes: u64,
    /// Bytes that may be written before log that it needs may go; none: there is no such limit.
    /// Negative once the limit is passed.
    pub safe_bytes: Option<i64>,
    /// The database's word for it; on PostgreSQL `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// Whether somebody reads it now.
    pub active: bool,
}

/// The vital signs of a source's database.
#[derive(Debug)]
pub struct Vitals {
    began: Instant,
    /// Milliseconds after `began`.
    heard_at_ms: AtomicU64,
    /// What is to be added to our clock to have the database's.
    clock_offset_us: AtomicI64,
    slot: Mutex<Option<(Instant, Option<SlotReport>)>>,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            heard_at_ms: AtomicU64::new(0),
            clock_offset_us: AtomicI64::new(0),
            slot: Mutex::default(),
        }
    }
}

impl Vitals {
    /// The database has sent something, be it that there is nothing.
    pub fn heard(&self, at: Instant) {
        let since = at.saturating_duration_since(self.began);
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.heard_at_ms.store(since_ms, Ordering::Relaxed);
    }

    /// How long ago the database was heard; since the process began, if it never was.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let heard_at = Duration::from_millis(self.heard_at_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard_at)
    }

    /// The database's clock says so while ours says `now_us`.
    pub fn clock(&self, database_us: i64, now_us: i64) {
        self.clock_offset_us.store(database_us.saturating_sub(now_us), Ordering::Relaxed);
    }

    /// The time by the database's clock when ours says `now_us`; ours until that was asked.
    #[must_use]
    pub fn database_us(&self, now_us: i64) -> i64 {
        now_us.saturating_add(self.clock_offset_us.load(Ordering::Relaxed))
    }

    /// What the database tells of the slot now; none: there is no slot.
    pub fn tell_slot(&self, slot: Option<SlotReport>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), slot));
    }

    /// The slot; none if there is none, or if nothing was heard of it lately.
    #[must_use]
    pub fn slot(&self) -> Option<SlotReport> {
        let told = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, slot) = told.as_ref()?;
        slot.clone().filter(|_| at.elapsed() < SLOT_TRUE_FOR)
    }

    /// Whether the database has told of the slot within `time`.
    #[must_use]
    pub fn slot_told_within(&self, time: Duration) -> bool {
        let told = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().is_some_and(|(at, _)| at.elapsed() < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_databases_clock_is_ours_until_it_was_asked() {
        let vitals = Vitals::default();
        assert_eq!(vitals.database_us(1_000), 1_000);
        vitals.clock(900, 1_000);
        assert_eq!(vitals.database_us(2_000), 1_900);
    }

    #[test]
    fn a_slot_that_is_gone_is_no_longer_told() {
        let vitals = Vitals::default();
        assert!(!vitals.slot_told_within(SLOT_TRUE_FOR));
        vitals.tell_slot(Some(SlotReport { kept_bytes: 7, ..SlotReport::default() }));
        assert_eq!(vitals.slot().unwrap().kept_bytes, 7);
        vitals.tell_slot(None);
        assert_eq!(vitals.slot(), None);
        assert!(vitals.slot_told_within(SLOT_TRUE_FOR));
    }

    #[test]
    fn silence_ends_when_the_database_is_heard() {
        let vitals = Vitals { began: Instant::now() - Duration::from_secs(9), ..Vitals::default() };
        assert!(vitals.silence() >= Duration::from_secs(9));
        vitals.heard(Instant::now());
        assert!(vitals.silence() < Duration::from_secs(9));
    }
}
