//! How far a job runs: until it is told otherwise, or to a cut.

use std::collections::BTreeMap;

/// How long a job runs. It may be told while it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Until {
    /// Until it is told otherwise.
    #[default]
    Told,
    /// Until it has come to a cut. What was told once stays: records behind a cut are passed over, and
    /// only another run takes them. A later cut that is nearer counts, one that is further does not.
    Cut(Cut),
    /// No longer. What was read and is not appended yet is left to the next run.
    Now,
}

/// For each topic and partition the offset of the first record that is not taken. A partition that is
/// not named is not waited for, and is read until the others have come to theirs; nor is one that the
/// pipeline does not read.
pub type Cut = BTreeMap<(String, u32), u64>;

/// The offsets at which partitions are held.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    held: Cut,
    /// Whether the job ends once it has come to all of them.
    drains: bool,
}

impl Bounds {
    /// Takes up a cut.
    pub(super) fn cut(&mut self, cut: &Cut) {
        self.drains = true;
        for ((topic, partition), offset) in cut {
            self.hold(topic, *partition, *offset);
        }
    }

    /// Holds a partition before the record at an offset, if it is not held before it already.
    pub(super) fn hold(&mut self, topic: &str, partition: u32, offset: u64) {
        let held = self.held.entry((topic.to_owned(), partition)).or_insert(offset);
        *held = offset.min(*held);
    }

    /// The offset of the first record of a partition that is not taken.
    pub(super) fn of(&self, topic: &str, partition: u32) -> u64 {
        if self.held.is_empty() {
            return u64::MAX;
        }
        self.held.get(&(topic.to_owned(), partition)).copied().unwrap_or(u64::MAX)
    }

    /// Whether a cut was told.
    pub(super) fn drains(&self) -> bool {
        self.drains
    }

    /// The held partitions among those that have `positions` which are not at their bounds yet.
    pub(super) fn ahead<'b>(
        &'b self,
        positions: &'b BTreeMap<(String, u32), u64>,
    ) -> impl Iterator<Item = (&'b str, u32, u64)> {
        let held = self.held.iter().filter(|(place, offset)| {
            positions.get(place).is_some_and(|position| position < offset)
        });
        held.map(|((topic, partition), offset)| (topic.as_str(), *partition, *offset))
    }

    /// The bounds of the partitions that have `positions`.
    pub(super) fn within<'b>(
        &'b self,
        positions: &'b BTreeMap<(String, u32), u64>,
    ) -> impl Iterator<Item = (&'b str, u32, u64)> {
        let held = self.held.iter().filter(|(place, _)| positions.contains_key(place));
        held.map(|((topic, partition), offset)| (topic.as_str(), *partition, *offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(places: &[(&str, u32, u64)]) -> Cut {
        places
            .iter()
            .map(|(topic, partition, offset)| (((*topic).to_owned(), *partition), *offset))
            .collect()
    }

    #[test]
    fn the_nearest_bound_counts() {
        let mut bounds = Bounds::default();
        assert_eq!(bounds.of("a", 0), u64::MAX);
        bounds.cut(&cut(&[("a", 0, 7), ("a", 1, 3)]));
        bounds.cut(&cut(&[("a", 0, 9), ("a", 1, 2)]));
        assert_eq!((bounds.of("a", 0), bounds.of("a", 1), bounds.of("b", 0)), (7, 2, u64::MAX));
    }

    #[test]
    fn only_partitions_that_are_read_are_waited_for() {
        let mut bounds = Bounds::default();
        bounds.cut(&cut(&[("a", 0, 7), ("gone", 0, 3)]));
        let before = cut(&[("a", 0, 6), ("b", 0, 0)]);
        assert_eq!(bounds.ahead(&before).collect::<Vec<_>>(), [("a", 0, 7)]);
        assert_eq!(bounds.ahead(&cut(&[("a", 0, 7)])).count(), 0);
        assert_eq!(bounds.within(&before).collect::<Vec<_>>(), [("a", 0, 7)]);
    }
}
