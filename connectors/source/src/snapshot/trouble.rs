//! What keeps a table's chunk from being emitted, which makes the next one smaller or later. Pure, and
//! not stored.

use super::Again;
use std::time::Duration;

/// The first pause before a chunk is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How often one after the other a chunk may have another schema than the log: with the pauses between,
/// more than five minutes, which no statement that alters the table needs.
const SCHEMA_REPEATS_MAX: u32 = 30;

/// A table's trouble.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble {
    /// How often the chunk came to an error, or to another schema.
    attempt: u32,
    schema_repeats: u32,
    /// How often the chunk's rows are halved.
    pub(super) shrink: u32,
    /// The transactions that the next chunk must see.
    pub(super) wait_for: Vec<u64>,
}

impl Trouble {
    /// It came to an error that may pass.
    pub(super) fn failed(&mut self) {
        self.attempt += 1;
    }

    /// It is to be read again; whether that still makes sense.
    #[must_use]
    pub(super) fn again(&mut self, again: Again) -> bool {
        match again {
            Again::Unseen(transactions) => self.wait_for = transactions,
            Again::Touched => self.shrink += 1,
            Again::Truncated | Again::Forgotten => {}
            Again::Schema => {
                // The log comes to the chunk's schema, or the chunk to the log's, but not at once.
                self.attempt += 1;
                self.schema_repeats += 1;
            }
        }
        self.schema_repeats <= SCHEMA_REPEATS_MAX
    }

    /// How long the next chunk waits.
    pub(super) fn pause(&self) -> Duration {
        pause(self.attempt)
    }
}

/// How long the next attempt waits behind so many.
pub(super) fn pause(attempts: u32) -> Duration {
    match attempts {
        0 => Duration::ZERO,
        attempts => PAUSE_FIRST.saturating_mul(1 << (attempts - 1).min(16)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_another_schema_is_tried_again_with_pauses_and_not_for_ever() {
        let (mut trouble, mut waited) = (Trouble::default(), Duration::ZERO);
        assert_eq!(trouble.pause(), Duration::ZERO);
        let mut repeats = 0;
        while trouble.again(Again::Schema) {
            assert!(trouble.pause() >= PAUSE_FIRST);
            waited += trouble.pause();
            repeats += 1;
        }
        assert_eq!(repeats, SCHEMA_REPEATS_MAX);
        assert!(waited > Duration::from_secs(300), "{waited:?}");
    }

    #[test]
    fn what_the_log_touched_is_read_again_at_once() {
        let mut trouble = Trouble::default();
        for again in [Again::Touched, Again::Truncated, Again::Forgotten, Again::Unseen(vec![7])] {
            assert!((0..=SCHEMA_REPEATS_MAX).all(|_| trouble.again(again.clone())));
        }
        assert_eq!(trouble.pause(), Duration::ZERO);
        assert_eq!((trouble.shrink, trouble.wait_for), (SCHEMA_REPEATS_MAX + 1, vec![7]));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses: Vec<Duration> = (0..40).map(pause).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[1], pauses[39]), (PAUSE_FIRST, PAUSE_MAX));
    }
}
