//! Marks that stand at places of the log, and not in it: snapshots that may write nothing into the database
//! find their place so. Who reads tables places them; the source tells them where it has come there.

use crate::gtid::GtidSet;
use std::sync::{Mutex, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::Notify;

/// Marks that may wait at a time: two for each chunk that is read, and those of verifications.
const WAITING_MAX: usize = 256;

/// Where a mark stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MarkPlace {
    /// Behind all that is before this commit position.
    Commit(u64),
    /// Behind these transactions.
    Gtids(GtidSet),
}

/// The marks that wait for the source.
#[derive(Debug, Default)]
pub(crate) struct PlacedMarks {
    waiting: Mutex<Vec<(MarkPlace, String)>>,
    placed: Notify,
}

impl PlacedMarks {
    /// Places a mark.
    ///
    /// # Errors
    ///
    /// `TooLarge` if too many wait: the source does not read.
    pub(crate) fn place(&self, place: MarkPlace, text: &str) -> Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "place a mark")
                .because("too many wait for the log to be read up to them")
                .with("waiting_max", WAITING_MAX));
        }
        waiting.push((place, text.to_owned()));
        self.placed.notify_one();
        Ok(())
    }

    /// Takes the marks behind whose places the source is: at this commit position, with these
    /// transactions read.
    pub(crate) fn reached(&self, commit: u64, gtids: Option<&GtidSet>) -> Vec<String> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_reached = |(place, _): &mut (MarkPlace, String)| match place {
            MarkPlace::Commit(place) => commit >= *place,
            MarkPlace::Gtids(place) => gtids.is_some_and(|gtids| place.is_subset(gtids)),
        };
        waiting.extract_if(.., is_reached).map(|(_, text)| text).collect()
    }

    /// A new reading of the log: marks of the one before are nobody's.
    pub(crate) fn forget(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns once a mark was placed. Cancel-safe.
    pub(crate) async fn placed(&self) {
        self.placed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Flavor;

    #[test]
    fn marks_are_told_in_their_order_where_the_source_has_come_to_them() {
        let marks = PlacedMarks::default();
        let gtids = |text| GtidSet::parse(Flavor::MariaDb, text).unwrap();
        marks.place(MarkPlace::Commit(7), "low").unwrap();
        marks.place(MarkPlace::Gtids(gtids("0-1-5")), "by ids").unwrap();
        marks.place(MarkPlace::Commit(7), "high").unwrap();
        assert!(marks.reached(6, Some(&gtids("0-1-4"))).is_empty());
        assert_eq!(marks.reached(7, None), ["low", "high"]);
        assert_eq!(marks.reached(0, Some(&gtids("0-1-6"))), ["by ids"]);
    }

    #[test]
    fn no_more_wait_than_may() {
        let marks = PlacedMarks::default();
        (0..WAITING_MAX).for_each(|_| marks.place(MarkPlace::Commit(1), "a").unwrap());
        let error = marks.place(MarkPlace::Commit(1), "a").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        marks.forget();
        marks.place(MarkPlace::Commit(1), "a").unwrap();
    }
}
