//! Keys that have to be looked at again, with what the topic has told of each.

use super::Outcome;
use std::collections::HashMap;
use tidemesh_model::Position;

/// The most bytes of keys and rows that are held to be looked at again.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A row of the topic, packed; none for a delete or a key that it never had.
pub(super) type TopicRow = Option<Box<[u8]>>;

/// What the topic has told of a key, oldest first; never empty.
#[derive(Debug)]
pub(super) struct Suspect {
    versions: Vec<(Position, TopicRow)>,
}

impl Suspect {
    /// What the topic has now.
    pub(super) fn latest(&self) -> Option<&[u8]> {
        self.versions.last().and_then(|(_, row)| row.as_deref())
    }

    /// A truncate of one partition may be read before older records of another.
    fn add(&mut self, at: Position, row: TopicRow) {
        let place = self.versions.partition_point(|(known, _)| *known <= at);
        self.versions.insert(place, (at, row));
    }

    /// Whether a row that was read behind the mark at `low` is one that the topic had there or came
    /// to have later: any of them may be what the reader saw.
    pub(super) fn agrees(&self, low: Position, row: Option<&[u8]>) -> bool {
        let since = self.versions.iter().rposition(|(at, _)| *at <= low).unwrap_or(0);
        self.versions[since..].iter().any(|(_, version)| version.as_deref() == row)
    }
}

/// All suspects of a table.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    pub(super) by_key: HashMap<Box<[u8]>, Suspect>,
    bytes: usize,
    /// How many there was no room for.
    pub(super) left_out: u64,
}

impl Suspects {
    /// A key and what the topic has of it; `beside` are the bytes that are held of it elsewhere.
    pub(super) fn add(
        &mut self,
        key: Box<[u8]>,
        record: Option<(Position, TopicRow)>,
        beside: usize,
    ) {
        let version = record.unwrap_or_default();
        self.bytes += key.len() + size(&version.1) + beside;
        if self.bytes > BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.by_key.insert(key, Suspect { versions: vec![version] });
    }

    /// The topic told of a key, which may be a suspect's.
    pub(super) fn told(&mut self, at: Position, key: &[u8], row: Option<Vec<u8>>) {
        if let Some(suspect) = self.by_key.get_mut(key) {
            suspect.add(at, row.map(Vec::into_boxed_slice));
        }
    }

    /// The topic told that all rows before are gone.
    pub(super) fn truncated(&mut self, at: Position) {
        for suspect in self.by_key.values_mut() {
            suspect.add(at, None);
        }
    }

    /// What they come to once no more can be found out, and what limits that.
    pub(super) fn outcome(&self) -> (Outcome, Option<String>) {
        match (self.by_key.len(), self.left_out) {
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

    /// Forgets all but the latest version of each.
    pub(super) fn keep_latest(&mut self) {
        for suspect in self.by_key.values_mut() {
            suspect.versions.drain(..suspect.versions.len().saturating_sub(1));
        }
    }
}

fn size(row: &TopicRow) -> usize {
    row.as_ref().map_or(0, |row| row.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(commit: u64) -> Position {
        Position { epoch: 1, commit, ordinal: 1 }
    }

    fn row(text: &str) -> TopicRow {
        Some(text.as_bytes().into())
    }

    #[test]
    fn a_row_agrees_with_what_the_topic_had_at_the_mark_or_later() {
        let mut suspects = Suspects::default();
        suspects.add(b"k".as_slice().into(), Some((at(1), row("a"))), 0);
        suspects.told(at(3), b"k", Some(b"b".to_vec()));
        suspects.told(at(7), b"k", None);
        suspects.told(at(9), b"other", None);
        let suspect = &suspects.by_key[b"k".as_slice()];
        assert!(suspect.agrees(at(5), Some(b"b")) && suspect.agrees(at(5), None));
        assert!(!suspect.agrees(at(5), Some(b"a")), "an older row than at the mark");
        assert!(suspect.agrees(at(2), Some(b"a")));
        assert!(!suspect.agrees(at(8), Some(b"b")));
        assert_eq!(suspect.latest(), None);
    }

    #[test]
    fn a_truncate_ends_what_was_before_it_in_whatever_order_they_come() {
        let mut suspects = Suspects::default();
        suspects.add(b"k".as_slice().into(), Some((at(1), row("a"))), 0);
        suspects.truncated(at(5));
        suspects.told(at(3), b"k", Some(b"b".to_vec()));
        assert_eq!(suspects.by_key[b"k".as_slice()].latest(), None);
        suspects.told(at(6), b"k", Some(b"c".to_vec()));
        assert_eq!(suspects.by_key[b"k".as_slice()].latest(), Some(b"c".as_slice()));
    }

    #[test]
    fn a_key_that_the_topic_never_had_agrees_with_no_row() {
        let mut suspects = Suspects::default();
        suspects.add(b"k".as_slice().into(), None, 0);
        let suspect = &suspects.by_key[b"k".as_slice()];
        assert!(suspect.agrees(at(5), None) && !suspect.agrees(at(5), Some(b"a")));
    }
}
