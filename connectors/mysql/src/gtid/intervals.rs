//! Numbers as intervals.

use std::ops::Range;

/// Intervals of numbers in order; no two of them overlap or touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<Range<u64>>);

impl Intervals {
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Range<u64>> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds numbers; an empty interval adds none.
    #[inline]
    pub(super) fn add(&mut self, added: Range<u64>) {
        match self.0.last_mut() {
            // What comes in the log's order.
            Some(last) if last.end == added.start => last.end = added.end.max(last.end),
            _ => self.merge(added),
        }
    }

    fn merge(&mut self, added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        let from = self.0.partition_point(|known| known.end < added.start);
        let to = self.0.partition_point(|known| known.start <= added.end);
        let touched = &self.0[from..to];
        let start = touched.first().map_or(added.start, |first| first.start.min(added.start));
        let end = touched.last().map_or(added.end, |last| last.end.max(added.end));
        self.0.splice(from..to, std::iter::once(start..end));
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let place = self.0.partition_point(|known| known.end <= number);
        self.0.get(place).is_some_and(|known| known.contains(&number))
    }

    /// What is here and not in `other`.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.0.iter().peekable();
        for ours in &self.0 {
            let mut start = ours.start;
            // One that reaches beyond ours may be in the next, too: it stays.
            while let Some(theirs) = others.peek().filter(|theirs| theirs.start < ours.end) {
                if theirs.start > start {
                    left.push(start..theirs.start);
                }
                start = start.max(theirs.end);
                if theirs.end > ours.end {
                    break;
                }
                others.next();
            }
            if start < ours.end {
                left.push(start..ours.end);
            }
        }
        Self(left)
    }
}
