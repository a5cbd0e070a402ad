//! The history checker: the writer keeps every version of every row, and the topic must have each
//! of them once, in order.

use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What happened to each key, in order: the version it was given, or none for its delete.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct History {
    keys: BTreeMap<i64, Vec<Option<i64>>>,
}

impl History {
    pub(crate) fn wrote(&mut self, key: i64, version: i64) {
        self.keys.entry(key).or_default().push(Some(version));
    }

    pub(crate) fn deleted(&mut self, key: i64) {
        self.keys.entry(key).or_default().push(None);
    }

    /// What the topic tells; tombstones only repeat their deletes.
    pub(crate) fn of_topic(records: &[Json]) -> Self {
        let mut history = Self::default();
        for record in records {
            let key = record["key"]["id"].as_i64().unwrap();
            match record["value"]["op"].as_str() {
                None => {}
                Some("d") => history.deleted(key),
                Some(_) => history.wrote(key, record["value"]["after"]["n"].as_i64().unwrap()),
            }
        }
        history
    }

    /// The first difference between what was written and what the topic tells, in words.
    pub(crate) fn difference(&self, topic: &Self) -> Option<String> {
        for (key, written) in &self.keys {
            let told = topic.keys.get(key).map_or(&[][..], Vec::as_slice);
            if let Some(found) = compare(written, told) {
                return Some(format!("key {key}: {found}; written {written:?}, told {told:?}"));
            }
        }
        let invented = topic.keys.keys().find(|key| !self.keys.contains_key(key));
        invented.map(|key| format!("key {key} was never written"))
    }
}

fn compare(written: &[Option<i64>], told: &[Option<i64>]) -> Option<&'static str> {
    if written == told {
        return None;
    }
    let count = |list: &[Option<i64>], version| list.iter().filter(|v| **v == version).count();
    for version in told {
        match (count(written, *version), count(told, *version)) {
            (0, _) => return Some("a version was invented"),
            (once, more) if more > once => return Some("a version was told twice"),
            _ => {}
        }
    }
    if told.len() < written.len() {
        return Some("a version was lost");
    }
    Some("the order is not kept")
}

#[cfg(test)]
mod checks {
    use super::*;

    fn history(versions: &[Option<i64>]) -> History {
        History { keys: BTreeMap::from([(1, versions.to_vec())]) }
    }

    fn found(told: &[Option<i64>]) -> String {
        let written = history(&[Some(1), Some(2), None, Some(3)]);
        written.difference(&history(told)).unwrap_or_default()
    }

    #[test]
    fn the_same_history_is_no_difference() {
        assert_eq!(found(&[Some(1), Some(2), None, Some(3)]), "");
    }

    #[test]
    fn a_lost_version_is_found() {
        assert!(found(&[Some(1), None, Some(3)]).contains("was lost"));
    }

    #[test]
    fn a_version_told_twice_is_found() {
        assert!(found(&[Some(1), Some(2), Some(2), None, Some(3)]).contains("told twice"));
    }

    #[test]
    fn a_version_out_of_order_is_found() {
        assert!(found(&[Some(2), Some(1), None, Some(3)]).contains("order"));
    }

    #[test]
    fn an_invented_version_and_key_are_found() {
        assert!(found(&[Some(1), Some(9), None, Some(3)]).contains("invented"));
        let other = History { keys: BTreeMap::from([(2, vec![Some(1)])]) };
        assert!(History::default().difference(&other).unwrap().contains("never written"));
    }
}
