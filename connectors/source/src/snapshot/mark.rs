//! Watermarks: texts that this project writes into the log and finds there again.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use tidemesh_model::{Error, ErrorKind, Position, Result};
use tokio::sync::oneshot;

/// Marks that may be waited for at a time.
const WAITING_MAX: usize = 64;

/// A watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark<'a> {
    /// Before a chunk is read.
    Low(&'a str, u64),
    /// Behind it.
    High(&'a str, u64),
    /// One that somebody waits for, by its name.
    Sync(&'a str),
}

impl fmt::Display for Mark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Low(run, window) => write!(f, "low {run} {window}"),
            Self::High(run, window) => write!(f, "high {run} {window}"),
            Self::Sync(name) => write!(f, "sync {name}"),
        }
    }
}

impl<'a> Mark<'a> {
    /// Reads a mark; none if it is of some other version.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        let (kind, name) = (words.next()?, words.next()?);
        let mut number = || words.next()?.parse().ok();
        match kind {
            "low" => Some(Self::Low(name, number()?)),
            "high" => Some(Self::High(name, number()?)),
            "sync" => Some(Self::Sync(name)),
            _ => None,
        }
    }
}

/// A name that no other run has, in this process or another.
pub(crate) fn unique_name() -> String {
    // Seeded by the operating system for each process, and different for each call.
    format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

/// Where it is waited for that a mark's place in the log is in the topics.
#[derive(Debug, Default)]
pub struct MarkBoard {
    waiting: Mutex<HashMap<String, oneshot::Sender<Position>>>,
}

impl MarkBoard {
    /// A new mark: its text, to be written into the log, and its position, once all before it is
    /// in the topics.
    ///
    /// # Errors
    ///
    /// `TooLarge` if too many are waited for already.
    pub fn expect(&self) -> Result<(String, oneshot::Receiver<Position>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| !sender.is_closed());
        if waiting.len() >= WAITING_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "wait for a mark")
                .because("too many are waited for at the same time")
                .with("waiting_max", WAITING_MAX));
        }
        let name = unique_name();
        let (sender, receiver) = oneshot::channel();
        let text = Mark::Sync(&name).to_string();
        waiting.insert(name, sender);
        Ok((text, receiver))
    }

    /// All up to `position`, where this mark stands, is in the topics.
    pub(crate) fn reached(&self, name: &str, position: Position) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.remove(name) {
            // Who waited may have given up.
            let _ = sender.send(position);
        }
    }

    /// Tells all who wait that their marks will not come.
    pub(crate) fn forget(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_come_back() {
        for mark in [Mark::Low("ab", 1), Mark::High("ab", u64::MAX), Mark::Sync("cd")] {
            assert_eq!(Mark::read(&mark.to_string()), Some(mark));
        }
        assert_eq!(Mark::read("low ab"), None);
    }

    #[test]
    fn names_differ() {
        assert_ne!(unique_name(), unique_name());
    }

    #[test]
    fn who_waits_is_told_that_a_mark_will_not_come() {
        let board = MarkBoard::default();
        let (_, mut waiting) = board.expect().unwrap();
        board.forget();
        assert_eq!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in ".*") {
            let _ = Mark::read(&text);
        }
    }
}
