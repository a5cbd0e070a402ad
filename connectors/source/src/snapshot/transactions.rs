//! The transactions that the log has told of and that a reader may not see yet.
//!
//! A commit is in the log before it is visible. So a chunk read behind a low mark may hold the old
//! row of a transaction that was decoded before that mark, and no window of positions shows it.
//! Until some chunk has seen a transaction, each chunk is asked whether it does.

/// Transactions that are remembered at most.
const TRANSACTIONS_MAX: usize = 262_144;

#[derive(Debug)]
struct Entry {
    transaction: u64,
    /// By the order of decoding.
    at: u64,
    /// Some view has seen it, so every view that is opened later does: windows from this number on
    /// need not ask.
    seen_from: Option<u64>,
}

/// The transactions decoded since the start that may not be visible yet.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    entries: Vec<Entry>,
    clock: u64,
    last: Option<u64>,
    overflowed: bool,
}

impl Transactions {
    /// Notes that the log told a change of this transaction.
    #[inline]
    pub(super) fn note(&mut self, transaction: u64) {
        if self.last == Some(transaction) {
            return;
        }
        self.last = Some(transaction);
        if self.entries.len() >= TRANSACTIONS_MAX {
            self.entries.clear();
            self.overflowed = true;
        }
        self.clock += 1;
        self.entries.push(Entry { transaction, at: self.clock, seen_from: None });
    }

    /// The moment of decoding that it is now.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    /// Whether some were forgotten that might not be visible; says so once.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    /// Whether some were forgotten, and [`Transactions::take_overflow`] has not said so yet.
    pub(super) fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Those decoded up to `low` that a view does not have.
    pub(super) fn unseen(&self, low: u64, sees: impl Fn(u64) -> bool) -> Vec<u64> {
        self.entries
            .iter()
            .filter(|entry| entry.at <= low && !sees(entry.transaction))
            .map(|entry| entry.transaction)
            .collect()
    }

    /// A view has `sees`: windows from `next` on open theirs later.
    pub(super) fn seen(&mut self, next: u64, sees: impl Fn(u64) -> bool) {
        for entry in &mut self.entries {
            if entry.seen_from.is_none() && sees(entry.transaction) {
                entry.seen_from = Some(next);
            }
        }
    }

    /// Forgets what no window from `oldest` on has to ask for.
    pub(super) fn forget(&mut self, oldest: u64) {
        self.entries.retain(|entry| entry.seen_from.is_none_or(|from| from > oldest));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_asked_for_until_no_older_window_is_left() {
        let mut transactions = Transactions::default();
        transactions.note(7);
        let low = transactions.now();
        assert_eq!(transactions.unseen(low, |_| false), [7]);
        transactions.seen(3, |id| id == 7);
        transactions.forget(2);
        assert_eq!(transactions.unseen(low, |_| false), [7], "window 2 may be an older view");
        transactions.forget(3);
        assert!(transactions.unseen(low, |_| false).is_empty());
    }

    #[test]
    fn what_is_decoded_behind_the_low_mark_is_not_asked_for() {
        let mut transactions = Transactions::default();
        transactions.note(1);
        let low = transactions.now();
        transactions.note(2);
        assert_eq!(transactions.unseen(low, |_| false), [1]);
    }

    #[test]
    fn too_many_are_forgotten_and_said_so() {
        let mut transactions = Transactions::default();
        (0..=TRANSACTIONS_MAX as u64).for_each(|id| transactions.note(id));
        assert!(transactions.take_overflow());
        assert!(!transactions.take_overflow());
    }
}
