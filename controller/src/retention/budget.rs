//! The bytes by which topics may grow that are kept for pipelines: at half of them somebody is warned, at
//! all of them the topic that has been kept for the longest time is let go, and the next if that is not
//! enough. Its records go as its own settings say, and who comes too late for them is lost.
//!
//! What counts is what a topic has grown by since it is kept, which is the most that its lease has cost.
//! Topics that are compacted do not count: they keep tombstones longer, and nothing else.

use super::{Leases, TopicSize};
use crate::controller::Controller;
use crate::state::State;
use crate::topics::Registry;
use tidemesh_transport::TopicInfo;

/// What topics are that are kept for pipelines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptTopics {
    /// How many are kept.
    pub topics: u64,
    /// By how many bytes they have grown since, as far as that was seen.
    pub bytes: u64,
    /// By how many they may.
    pub bytes_max: u64,
    /// How many are not kept any more although somebody waits.
    pub let_go: u64,
}

impl<R: Registry> Controller<R> {
    /// What the topics are that are kept for pipelines; none while another controller acts.
    #[must_use]
    pub fn kept_topics(&self) -> KeptTopics {
        let bytes_max = self.config.kept_bytes_max;
        if !self.leads() {
            return KeptTopics { bytes_max, ..KeptTopics::default() };
        }
        let (state, kept) = (self.state(), self.kept());
        let let_go = state.leases.values().filter(|lease| lease.let_go).count() as u64;
        let topics = state.leases.len() as u64 - let_go;
        let bytes = spent(&state.leases, |topic| kept.growth_bytes(topic));
        KeptTopics { topics, bytes, bytes_max, let_go }
    }

    /// Marks the leases that end because too much is kept, and warns before that.
    pub(super) fn spend(&self, leases: &mut Leases) {
        let (bytes_max, mut kept) = (self.config.kept_bytes_max, self.kept());
        let bytes = spent(leases, |topic| kept.growth_bytes(topic));
        let half = bytes >= bytes_max / 2 && bytes > 0;
        if half && !kept.warned {
            tracing::warn!(
                bytes,
                bytes_max,
                "topics that are kept for pipelines have grown by half of controller.kept_bytes_max"
            );
        }
        kept.warned = half;
        for topic in beyond(leases, bytes_max, |topic| kept.growth_bytes(topic)) {
            let Some(lease) = leases.get_mut(&topic) else { continue };
            lease.let_go = true;
            let pipelines: Vec<&str> = lease.pipelines.iter().map(String::as_str).collect();
            tracing::error!(
                topic,
                bytes,
                bytes_max,
                pipelines = pipelines.join(", "),
                "is not kept for its pipelines any more: controller.kept_bytes_max is spent"
            );
        }
    }
}

/// How many records a topic has, about.
pub(super) fn records(info: &TopicInfo) -> u64 {
    let partitions = info.partitions.iter();
    partitions.map(|of| of.end.saturating_sub(of.begin)).fold(0, u64::saturating_add)
}

/// By how many bytes a topic has grown; by its records where no bytes are told.
pub(super) fn growth(then: TopicSize, now: TopicSize, record_bytes: u64) -> u64 {
    match (then.bytes, now.bytes) {
        (Some(then), Some(now)) => now.saturating_sub(then),
        _ => now.records.saturating_sub(then.records).saturating_mul(record_bytes),
    }
}

/// By how many bytes all have grown that are kept.
fn spent(leases: &Leases, growth: impl Fn(&str) -> u64) -> u64 {
    let kept = leases.iter().filter(|(_, lease)| !lease.let_go);
    kept.map(|(topic, _)| growth(topic)).fold(0, u64::saturating_add)
}

/// The topics to be let go, so that what is left is below the budget.
fn beyond(leases: &Leases, bytes_max: u64, growth: impl Fn(&str) -> u64) -> Vec<String> {
    let kept = leases.iter().filter(|(_, lease)| !lease.let_go);
    // A sum that ends at what its type holds would be too small once something is taken away.
    let mut left: u128 = kept.clone().map(|(topic, _)| u128::from(growth(topic))).sum();
    let mut oldest: Vec<(u64, &String)> = kept.map(|(topic, of)| (of.since_ms, topic)).collect();
    oldest.sort();
    let mut found = Vec::new();
    for (_, topic) in oldest {
        let grown = growth(topic);
        if left < u128::from(bytes_max) {
            break;
        }
        if grown > 0 {
            left -= u128::from(grown);
            found.push(topic.clone());
        }
    }
    found
}

/// Which topics are not kept for a pipeline any more, in words.
pub(crate) fn not_kept(state: &State, pipeline: &str) -> Vec<String> {
    let of = state.leases.iter();
    let let_go = of.filter(|(_, lease)| lease.let_go && lease.pipelines.contains(pipeline));
    let said = |topic: &String| {
        format!(
            "{topic} is not kept for it any more, since kept topics had grown by \
             controller.kept_bytes_max: it goes on soon, or loses records"
        )
    };
    let_go.map(|(topic, _)| said(topic)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::RetentionLease;
    use super::*;
    use proptest::prelude::*;
    use tidemesh_transport::TopicConfig;

    fn leases(of: &[(u64, bool)]) -> Leases {
        let lease = |(place, (since_ms, let_go)): (usize, &(u64, bool))| {
            let lease = RetentionLease {
                former: TopicConfig::default().retention(),
                pipelines: ["p".to_owned()].into(),
                since_ms: *since_ms,
                size: None,
                let_go: *let_go,
            };
            (place.to_string(), lease)
        };
        of.iter().enumerate().map(lease).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_no_more_than_is_needed() {
        let leases = leases(&[(3, false), (1, false), (2, false), (0, true)]);
        let grown = |topic: &str| if topic == "2" { 0 } else { 40 };
        assert!(beyond(&leases, 81, grown).is_empty());
        assert_eq!(beyond(&leases, 80, grown), ["1"]);
        assert_eq!(beyond(&leases, 40, grown), ["1", "0"]);
    }

    #[test]
    fn records_stand_for_bytes_where_none_are_told() {
        let size = |records, bytes| TopicSize { records, bytes };
        assert_eq!(growth(size(1, Some(10)), size(9, Some(25)), 7), 15);
        assert_eq!(growth(size(1, None), size(9, None), 7), 56);
        assert_eq!(growth(size(9, None), size(1, None), 7), 0);
    }

    proptest! {
        #[test]
        fn what_is_left_is_below_the_budget(
            of in proptest::collection::vec((0..9_u64, any::<bool>()), 0..8),
            grown in proptest::collection::vec(0..u64::MAX / 4, 8),
            bytes_max in 1..u64::MAX,
        ) {
            let mut leases = leases(&of);
            let growth = |topic: &str| grown[topic.parse::<usize>().unwrap()];
            for topic in beyond(&leases, bytes_max, growth) {
                let lease = leases.get_mut(&topic).unwrap();
                prop_assert!(!lease.let_go);
                lease.let_go = true;
            }
            prop_assert!(spent(&leases, growth) < bytes_max);
        }
    }
}
