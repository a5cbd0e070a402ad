//! What is announced of a topic by all who write it: of a table's one connector, of an emitter's topic each
//! running instance of an application.

use std::collections::BTreeMap;
use tidemesh_transport::Announced;

/// For so long after another was heard a writer's pace counts: two of the signs that an emitter at rest gives.
const PACE_MS: u64 = 60_000;

/// What is announced, by topics.
pub(super) fn by_topic(all: Vec<Announced>) -> BTreeMap<String, Announced> {
    let mut writers: BTreeMap<String, Vec<Announced>> = BTreeMap::new();
    for one in all {
        writers.entry(one.topic.clone()).or_default().push(one);
    }
    let topics = writers.into_iter();
    topics.filter_map(|(topic, writers)| Some((topic, together(writers)?))).collect()
}

/// Who was heard last tells what the topic is; records of all of them are in it.
fn together(mut writers: Vec<Announced>) -> Option<Announced> {
    writers.sort_by_key(|one| one.at_ms);
    let mut newest = writers.pop()?;
    for older in writers.into_iter().rev() {
        if newest.at_ms - older.at_ms <= PACE_MS {
            newest.rate_milli = newest.rate_milli.saturating_add(older.rate_milli);
        }
        newest.newest_at_ms = newest.newest_at_ms.max(older.newest_at_ms);
        newest.read_to_ms = newest.read_to_ms.max(older.read_to_ms);
        if newest.owner.is_empty() {
            newest.owner = older.owner;
        }
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(source: &str, at_ms: u64, rate_milli: u64, newest_at_ms: u64) -> Announced {
        let mut announced = Announced::new(source, "shop.orders");
        announced.topic = "shop.orders".into();
        if source == "first" {
            announced.owner = "shop-team".into();
        }
        (announced.at_ms, announced.rate_milli, announced.newest_at_ms) =
            (at_ms, rate_milli, newest_at_ms);
        announced
    }

    #[test]
    fn instances_that_write_one_topic_are_told_together() {
        // Within the time of the one that is, but not of the last.
        let long_gone = announced("zeroth", 40_500, 7_000, 1);
        let (first, second) =
            (announced("first", 100_000, 2_000, 99_000), announced("second", 101_000, 500, 50_000));
        for all in [[long_gone.clone(), first.clone(), second.clone()], [second, first, long_gone]]
        {
            let topics = by_topic(all.to_vec());
            let topic = &topics["shop.orders"];
            assert_eq!((topic.source.as_str(), topic.owner.as_str()), ("second", "shop-team"));
            assert_eq!((topic.rate_milli, topic.newest_at_ms), (2_500, 99_000));
        }
    }
}
