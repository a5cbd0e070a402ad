//! Keys that have to be looked at again, with what topic and database have told of each.

use super::Outcome;
use std::collections::HashMap;
use tidemesh_model::Position;

/// The most bytes of keys and rows that are held to be looked at again.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What it takes to hold a row or a key, beside its bytes.
const HOLDING_BYTES: usize = 96;

/// A row, packed; none for a delete or a key that never had one.
pub(super) type PackedRow = Option<Box<[u8]>>;

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Suspect {
    /// What the topic has told, oldest first; never empty.
    versions: Vec<(Position, PackedRow)>,
    /// What the database had, and the mark behind which it was asked; none: it was not asked yet.
    seen: Option<(Position, PackedRow)>,
}

impl Suspect {
    /// What the topic has now.
    pub(super) fn latest(&self) -> Option<&[u8]> {
        self.versions.last().and_then(|(_, row)| row.as_deref())
    }

    /// What the database had when it was asked last.
    pub(super) fn row(&self) -> Option<&[u8]> {
        self.seen.as_ref().and_then(|(_, row)| row.as_deref())
    }

    /// A truncate of one partition may be read before older records of another.
    fn add(&mut self, at: Position, row: PackedRow) {
        let place = self.versions.partition_point(|(known, _)| *known <= at);
        self.versions.insert(place, (at, row));
    }

    /// Whether the row that was read behind a mark is one that the topic had there or came to have
    /// later: any of them may be what the reader saw.
    fn agrees(&self) -> bool {
        let Some((low, row)) = &self.seen else { return false };
        let since = self.versions.iter().rposition(|(at, _)| at <= low).unwrap_or(0);
        self.versions[since..].iter().any(|(_, version)| version == row)
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let rows = self.versions.iter().chain(&self.seen);
        HOLDING_BYTES + key.len() + rows.map(|(_, row)| held(row)).sum::<usize>()
    }
}

/// All suspects of a table or of an output.
#[derive(Debug)]
pub(super) struct Suspects {
    pub(super) by_key: HashMap<Box<[u8]>, Suspect>,
    bytes: usize,
    bytes_max: usize,
    /// How many there was no room for.
    pub(super) left_out: u64,
}

impl Suspects {
    pub(super) fn new() -> Self {
        Self::with_memory(BYTES_MAX)
    }

    fn with_memory(bytes_max: usize) -> Self {
        Self { by_key: HashMap::new(), bytes: 0, bytes_max, left_out: 0 }
    }

    /// A key, what the topic has of it, and what the database had if it was asked.
    pub(super) fn add(
        &mut self,
        key: Box<[u8]>,
        record: Option<(Position, PackedRow)>,
        seen: Option<(Position, PackedRow)>,
    ) {
        let suspect = Suspect { versions: vec![record.unwrap_or_default()], seen };
        if self.takes(suspect.bytes(&key)) {
            self.by_key.insert(key, suspect);
        } else {
            self.left_out += 1;
        }
    }

    /// The database has this row of a key, behind the mark at `low`.
    pub(super) fn saw(&mut self, low: Position, key: &[u8], row: PackedRow) {
        if !self.by_key.contains_key(key) {
            return;
        }
        if !self.takes(held(&row)) {
            return self.give_up(key);
        }
        if let Some(suspect) = self.by_key.get_mut(key) {
            let before = suspect.seen.replace((low, row));
            self.bytes -= before.map_or(0, |(_, row)| held(&row));
        }
    }

    /// The topic told of a key, which may be a suspect's.
    pub(super) fn told(&mut self, at: Position, key: &[u8], row: Option<Vec<u8>>) {
        if !self.by_key.contains_key(key) {
            return;
        }
        let row = row.map(Vec::into_boxed_slice);
        if !self.takes(held(&row)) {
            return self.give_up(key);
        }
        if let Some(suspect) = self.by_key.get_mut(key) {
            suspect.add(at, row);
        }
    }

    /// The topic told that all rows before are gone.
    pub(super) fn truncated(&mut self, at: Position) {
        if !self.takes(held(&None) * self.by_key.len()) {
            self.left_out += self.by_key.len() as u64;
            self.by_key.clear();
            self.bytes = 0;
        }
        self.by_key.values_mut().for_each(|suspect| suspect.add(at, None));
    }

    /// Whether there is room for so many more bytes, which then are taken.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= self.bytes_max;
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    /// Forgets a key of which there is more than can be held.
    fn give_up(&mut self, key: &[u8]) {
        if let Some(suspect) = self.by_key.remove(key) {
            self.bytes -= suspect.bytes(key);
            self.left_out += 1;
        }
    }

    /// Before the database is asked again: only what the topic has now counts.
    pub(super) fn look_again(&mut self) {
        for suspect in self.by_key.values_mut() {
            suspect.versions.drain(..suspect.versions.len().saturating_sub(1));
            suspect.seen = None;
        }
        self.count();
    }

    /// Forgets those of which topic and database have told the same.
    pub(super) fn keep_differing(&mut self) {
        self.by_key.retain(|_, suspect| !suspect.agrees());
        self.count();
    }

    fn count(&mut self) {
        self.bytes = self.by_key.iter().map(|(key, suspect)| suspect.bytes(key)).sum();
    }

    /// How many there are and were.
    pub(super) fn count_all(&self) -> u64 {
        self.by_key.len() as u64 + self.left_out
    }

    /// What they come to once no more can be found out, if so many of them prove a difference, and what
    /// limits that.
    pub(super) fn outcome(&self, proven: u64) -> (Outcome, Option<String>) {
        match (proven, self.left_out) {
            (0, 0) => (Outcome::Equal, None),
            (0, more) => {
                let reason =
                    format!("{more} more keys moved than can be held; try at a quieter time");
                (Outcome::Unknown, Some(reason))
            }
            (_, 0) => (Outcome::Different, None),
            (_, more) => {
                (Outcome::Different, Some(format!("{more} more keys were not looked at again")))
            }
        }
    }
}

/// The bytes that a row takes.
fn held(row: &PackedRow) -> usize {
    HOLDING_BYTES + row.as_ref().map_or(0, |row| row.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(commit: u64) -> Position {
        Position { epoch: 1, commit, ordinal: 1 }
    }

    fn row(text: &str) -> PackedRow {
        Some(text.as_bytes().into())
    }

    fn one(record: Option<(Position, PackedRow)>) -> Suspects {
        let mut suspects = Suspects::new();
        suspects.add(b"k".as_slice().into(), record, None);
        suspects
    }

    /// Whether a row that was seen behind a mark agrees.
    fn agrees(suspects: &mut Suspects, low: Position, row: PackedRow) -> bool {
        suspects.saw(low, b"k", row);
        suspects.by_key[b"k".as_slice()].agrees()
    }

    #[test]
    fn a_row_agrees_with_what_the_topic_had_at_the_mark_or_later() {
        let mut suspects = one(Some((at(1), row("a"))));
        suspects.told(at(3), b"k", Some(b"b".to_vec()));
        suspects.told(at(7), b"k", None);
        suspects.told(at(9), b"other", None);
        assert!(agrees(&mut suspects, at(5), row("b")) && agrees(&mut suspects, at(5), None));
        assert!(!agrees(&mut suspects, at(5), row("a")), "an older row than at the mark");
        assert!(agrees(&mut suspects, at(2), row("a")));
        assert!(!agrees(&mut suspects, at(8), row("b")));
        assert_eq!(suspects.by_key[b"k".as_slice()].latest(), None);
    }

    #[test]
    fn a_truncate_ends_what_was_before_it_in_whatever_order_they_come() {
        let mut suspects = one(Some((at(1), row("a"))));
        suspects.truncated(at(5));
        suspects.told(at(3), b"k", Some(b"b".to_vec()));
        assert_eq!(suspects.by_key[b"k".as_slice()].latest(), None);
        suspects.told(at(6), b"k", Some(b"c".to_vec()));
        assert_eq!(suspects.by_key[b"k".as_slice()].latest(), Some(b"c".as_slice()));
    }

    #[test]
    fn a_key_that_the_topic_never_had_agrees_with_no_row() {
        let mut suspects = one(None);
        assert!(!suspects.by_key[b"k".as_slice()].agrees(), "it was not asked");
        assert!(agrees(&mut suspects, at(5), None) && !agrees(&mut suspects, at(5), row("a")));
    }

    #[test]
    fn what_moves_on_and_on_takes_no_more_memory_than_there_is() {
        for truncates in [false, true] {
            let mut suspects = Suspects::with_memory(10_000);
            for key in 0..20_u8 {
                suspects.add([key].into(), Some((at(1), row("a"))), None);
            }
            for commit in 2..1000 {
                match truncates {
                    true => suspects.truncated(at(commit)),
                    false => suspects.told(at(commit), &[7], Some(vec![0; 40])),
                }
                assert!(suspects.bytes <= 10_000);
                let held = suspects.by_key.iter().map(|(key, one)| one.bytes(key)).sum::<usize>();
                assert_eq!(suspects.bytes, held);
            }
            let given_up = if truncates { 20 } else { 1 };
            assert_eq!((suspects.left_out, suspects.count_all()), (given_up, 20));
            suspects.look_again();
            for key in 0..20_u8 {
                suspects.saw(at(1), &[key], row("a"));
            }
            suspects.keep_differing();
            assert_eq!(suspects.outcome(0).0, Outcome::Unknown);
        }
    }

    #[test]
    fn rows_that_are_read_again_count_too() {
        let mut suspects = Suspects::with_memory(10_000);
        suspects.add(b"k".as_slice().into(), None, None);
        suspects.saw(at(1), b"k", Some(vec![0; 9_000].into()));
        suspects.saw(at(2), b"k", Some(vec![0; 100].into()));
        assert_eq!(suspects.left_out, 0, "what was seen before is forgotten first");
        suspects.saw(at(2), b"k", Some(vec![0; 20_000].into()));
        assert_eq!((suspects.left_out, suspects.bytes), (1, 0));
        assert!(suspects.by_key.is_empty());
    }
}
