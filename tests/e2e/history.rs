//! The history checker: the writer keeps every version of every row, and the topic must have each
//! of them once, in order. A row that a snapshot tells must be as the topic has it already, or, for
//! a key that the topic did not have, begin its history: what was written before the log is not told.

use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// What happened to each key, in order: the version it was given, or none for its delete.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct History {
    keys: BTreeMap<i64, Vec<Option<i64>>>,
    /// Keys whose first version was written before the log began.
    before: BTreeSet<i64>,
}

impl History {
    /// A row that was there before the log.
    pub(crate) fn was_there(&mut self, key: i64, version: i64) {
        self.wrote(key, version);
        self.before.insert(key);
    }

    pub(crate) fn wrote(&mut self, key: i64, version: i64) {
        self.keys.entry(key).or_default().push(Some(version));
    }

    pub(crate) fn deleted(&mut self, key: i64) {
        self.keys.entry(key).or_default().push(None);
    }

    /// The keys of the rows that there are.
    pub(crate) fn live(&self) -> impl Iterator<Item = i64> {
        let live = |(_, versions): &(&i64, &Vec<Option<i64>>)| versions.last() != Some(&None);
        self.keys.iter().filter(live).map(|(key, _)| *key)
    }

    /// The latest version that was written; 0 if there is none.
    pub(crate) fn latest(&self) -> i64 {
        self.keys.values().flatten().flatten().max().copied().unwrap_or(0)
    }

    /// The first difference between what was written and what the topic tells, in words.
    pub(crate) fn difference(&self, topic: &Told) -> Option<String> {
        for (key, written) in &self.keys {
            let told = topic.keys.get(key).map_or(&[][..], Vec::as_slice);
            if let Some(found) = compare(written, told, self.before.contains(key)) {
                let (found, near) = found;
                let from = near.saturating_sub(5);
                let around = &told[from.min(told.len())..told.len().min(near + 5)];
                return Some(format!(
                    "key {key}: {found}; event {near} of {}, around it {around:?}; written {written:?}",
                    told.len()
                ));
            }
        }
        let invented = topic.keys.keys().find(|key| !self.keys.contains_key(key));
        invented.map(|key| format!("key {key} was never written"))
    }
}

/// What the topic tells of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// By the log.
    Change(Option<i64>),
    /// By a snapshot.
    Read(i64),
}

/// What a topic tells.
#[derive(Debug, Default)]
pub(crate) struct Told {
    keys: BTreeMap<i64, Vec<Event>>,
}

impl Told {
    /// Reads a topic's records; tombstones only repeat their deletes.
    pub(crate) fn of_topic(records: &[Json]) -> Self {
        let mut told = Self::default();
        told.add(records);
        told
    }

    /// Reads the records that follow.
    pub(crate) fn add(&mut self, records: &[Json]) {
        for record in records {
            let key = record["key"]["id"].as_i64().unwrap();
            let version = || record["value"]["after"]["n"].as_i64().unwrap();
            let event = match record["value"]["op"].as_str() {
                None => continue,
                Some("d") => Event::Change(None),
                Some("r") => Event::Read(version()),
                Some(_) => Event::Change(Some(version())),
            };
            self.keys.entry(key).or_default().push(event);
        }
    }
}

/// What is wrong, and at which event.
fn compare(
    written: &[Option<i64>],
    told: &[Event],
    was_there: bool,
) -> Option<(&'static str, usize)> {
    // How many of the written ones are told; the next one is the one that must come.
    let mut next = 0;
    for (index, event) in told.iter().enumerate() {
        let wrong = match *event {
            Event::Read(version) if index == 0 => {
                match written.iter().position(|written| *written == Some(version)) {
                    Some(place) => {
                        next = place + 1;
                        continue;
                    }
                    None => "a snapshot invented a version",
                }
            }
            Event::Change(version)
                if index == 0 && was_there && written.get(1) == Some(&version) =>
            {
                next = 2;
                continue;
            }
            Event::Read(version) if written[next - 1] == Some(version) => continue,
            Event::Read(_) => "a snapshot told another version than the latest",
            Event::Change(version) if written.get(next) == Some(&version) => {
                next += 1;
                continue;
            }
            Event::Change(version) if !written.contains(&version) => "a version was invented",
            Event::Change(version) if written[..next].contains(&version) => {
                "a version was told twice, or too late"
            }
            Event::Change(_) => "a version was lost, or told too early",
        };
        return Some((wrong, index));
    }
    (next < written.len()).then_some(("the last version was lost", told.len()))
}

#[cfg(test)]
mod checks {
    use super::*;
    use Event::{Change, Read};

    const WRITTEN: [Option<i64>; 4] = [Some(1), Some(2), None, Some(3)];

    fn found(told: &[Event]) -> String {
        let keys = BTreeMap::from([(1, WRITTEN.to_vec())]);
        let written = History { keys, ..History::default() };
        let told = Told { keys: BTreeMap::from([(1, told.to_vec())]) };
        written.difference(&told).unwrap_or_default()
    }

    fn changes(versions: &[Option<i64>]) -> Vec<Event> {
        versions.iter().map(|version| Change(*version)).collect()
    }

    #[test]
    fn the_same_history_is_no_difference() {
        assert_eq!(found(&changes(&WRITTEN)), "");
    }

    #[test]
    fn a_snapshot_may_begin_it_and_repeat_it() {
        assert_eq!(found(&[Read(2), Change(None), Change(Some(3)), Read(3), Read(3)]), "");
        assert_eq!(found(&[Read(3)]), "");
    }

    #[test]
    fn a_row_that_was_there_may_be_told_first_by_its_change() {
        let mut history = History::default();
        history.was_there(1, 5);
        history.wrote(1, 6);
        let told = |events: &[Event]| Told { keys: BTreeMap::from([(1, events.to_vec())]) };
        assert_eq!(history.difference(&told(&[Change(Some(6)), Read(6)])), None);
        assert_eq!(history.difference(&told(&[Read(5), Change(Some(6))])), None);
        assert!(history.difference(&told(&[Change(Some(6)), Read(5)])).is_some());
        assert!(history.difference(&told(&[Read(5)])).is_some());
    }

    #[test]
    fn a_snapshot_that_brings_back_an_old_row_is_found() {
        let mut told = changes(&WRITTEN);
        told.push(Read(2));
        assert!(found(&told).contains("another version than the latest"));
        let told = [Change(Some(1)), Change(Some(2)), Change(None), Read(2), Change(Some(3))];
        assert!(found(&told).contains("another version than the latest"));
    }

    #[test]
    fn a_snapshot_ahead_of_the_log_is_found() {
        assert!(found(&[Change(Some(1)), Read(2), Change(Some(2))]).contains("another version"));
        assert!(found(&[Read(2), Change(Some(2))]).contains("told twice"));
    }

    #[test]
    fn a_lost_version_is_found() {
        assert!(found(&changes(&[Some(1), None, Some(3)])).contains("was lost"));
        assert!(found(&changes(&WRITTEN[..3])).contains("the last version was lost"));
        assert!(found(&[]).contains("the last version was lost"));
    }

    #[test]
    fn a_version_told_twice_is_found() {
        assert!(found(&changes(&[Some(1), Some(2), Some(2)])).contains("told twice"));
    }

    #[test]
    fn a_version_out_of_order_is_found() {
        assert!(found(&changes(&[Some(2), Some(1)])).contains("too early"));
    }

    #[test]
    fn an_invented_version_and_key_are_found() {
        assert!(found(&changes(&[Some(1), Some(9)])).contains("invented"));
        assert!(found(&[Read(9)]).contains("invented"));
        let other = Told { keys: BTreeMap::from([(2, changes(&[Some(1)]))]) };
        assert!(History::default().difference(&other).unwrap().contains("never written"));
    }
}
