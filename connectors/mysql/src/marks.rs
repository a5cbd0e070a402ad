//! Marks that stand at places of the log, and not in it: snapshots that may write nothing into the database
//! find their place so. Who reads tables places them; the source tells them where it comes there.
//!
//! A mark must be told exactly where it stands: what the log tells behind it is what its chunk may not have.
//! So none is placed where the source has gone by, but where it is; and the source ends a batch where one stands.

use crate::gtid::GtidSet;
use crate::xa::XaId;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};

/// Marks that may wait at a time: two for each chunk that is read, and those of verifications.
const WAITING_MAX: usize = 256;

/// Commits that are remembered: an engine has long committed those before them.
const COMMITTED_MAX: usize = 1024;

/// What is told of a mark once the source is there: the transactions before it, if they have ids.
pub(crate) type Passed = oneshot::Receiver<Option<GtidSet>>;

/// A mark that waits for the source.
#[derive(Debug)]
struct Waiting {
    /// Behind all that is before this commit position.
    commit: u64,
    text: String,
    passed: oneshot::Sender<Option<GtidSet>>,
}

/// The marks that wait, and how far the source is.
#[derive(Debug, Default)]
pub(crate) struct State {
    waiting: Vec<Waiting>,
    /// All before this commit position was given out, or is about to be.
    given: u64,
}

/// The marks that wait for the source.
#[derive(Debug, Default)]
pub(crate) struct PlacedMarks {
    state: Mutex<State>,
    placed: Notify,
    pub(crate) committed: CommittedIds,
}

/// Distributed transactions whose commits the source has come to in the log.
#[derive(Debug, Default)]
pub(crate) struct CommittedIds(Mutex<VecDeque<XaId>>);

impl CommittedIds {
    /// The source is at the commit of this one.
    pub(crate) fn add(&self, id: XaId) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= COMMITTED_MAX {
            ids.pop_front();
        }
        ids.push_back(id);
    }

    /// The source is where one of this id is prepared: it is another one.
    pub(crate) fn remove(&self, id: &XaId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != id);
    }

    pub(crate) fn has(&self, id: &XaId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

impl PlacedMarks {
    /// Places a mark behind all that is before `commit`, or where the source is if it has gone by; answers
    /// that place. The source tells it there, whether or not who placed it waits for that.
    ///
    /// # Errors
    ///
    /// `Unavailable` if too many wait: the source does not read.
    pub(crate) fn place(&self, commit: u64, text: &str) -> Result<(u64, Passed)> {
        let mut state = self.hold();
        let commit = commit.max(state.given);
        if state.waiting.len() >= WAITING_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "place a mark")
                .because("too many wait for the log to be read up to them")
                .with("waiting_max", WAITING_MAX));
        }
        let (passed, told) = oneshot::channel();
        state.waiting.push(Waiting { commit, text: text.to_owned(), passed });
        self.placed.notify_one();
        Ok((commit, told))
    }

    /// While this is held no mark is placed: the source looks how far it goes.
    pub(crate) fn hold(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new reading of the log: marks of the one before are nobody's.
    pub(crate) fn forget(&self) {
        *self.hold() = State::default();
    }

    /// Returns once a mark was placed. Cancel-safe.
    pub(crate) async fn placed(&self) {
        self.placed.notified().await;
    }
}

impl State {
    /// Where the next mark stands.
    pub(crate) fn next(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.commit).min()
    }

    /// All before this commit position is given out from here on.
    pub(crate) fn give(&mut self, commit: u64) {
        self.given = self.given.max(commit);
    }

    /// Takes the marks at whose places the source is, in the order in which they were placed.
    pub(crate) fn reached(&mut self, commit: u64, gtids: Option<&GtidSet>) -> Vec<String> {
        let reached = self.waiting.extract_if(.., |waiting| waiting.commit <= commit);
        let told = reached.map(|Waiting { text, passed, .. }| {
            // Who placed it need not wait.
            let _ = passed.send(gtids.cloned());
            text
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_in_their_order_where_the_source_comes_to_them() {
        let marks = PlacedMarks::default();
        let _low = marks.place(7, "low").unwrap();
        let _high = marks.place(7, "high").unwrap();
        // Who placed it waits for nothing, and others come before it is told.
        drop(marks.place(8, "unwaited").unwrap());
        let _later = marks.place(9, "later").unwrap();
        let mut state = marks.hold();
        assert_eq!(state.next(), Some(7));
        assert!(state.reached(6, None).is_empty());
        assert_eq!(state.reached(7, None), ["low", "high"]);
        assert_eq!(state.next(), Some(8));
        assert_eq!(state.reached(9, None), ["unwaited", "later"]);
    }

    #[test]
    fn the_latest_commits_are_remembered_until_their_ids_come_again() {
        let ids = CommittedIds::default();
        let id = |number: usize| XaId::new(u32::try_from(number).unwrap(), b"g", b"");
        (0..=COMMITTED_MAX).for_each(|number| ids.add(id(number)));
        assert!(!ids.has(&id(0)) && ids.has(&id(1)));
        ids.remove(&id(1));
        assert!(!ids.has(&id(1)) && ids.has(&id(2)));
    }

    #[test]
    fn none_is_placed_where_the_source_has_gone_by() {
        let marks = PlacedMarks::default();
        marks.hold().give(8);
        assert_eq!(marks.place(7, "low").unwrap().0, 8);
        assert_eq!(marks.place(9, "low").unwrap().0, 9);
    }

    #[test]
    fn no_more_wait_than_may() {
        let marks = PlacedMarks::default();
        (0..WAITING_MAX).for_each(|_| drop(marks.place(1, "a").unwrap()));
        assert_eq!(marks.place(1, "a").unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(marks.hold().reached(1, None).len(), WAITING_MAX);
        marks.place(1, "a").unwrap();
    }
}
