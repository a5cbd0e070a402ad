//! What is announced of a topic by all who write it: of a table's one connector, of an emitter's topic each
//! running instance of an application.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use tidemesh_transport::Announced;

/// For so long after another was heard a writer's pace counts: two of the signs that an emitter at rest gives.
const PACE_MS: u64 = 60_000;

/// What is announced, by topics.
pub(super) fn by_topic(all: Vec<Announced>) -> BTreeMap<String, Announced> {
    let mut topics = BTreeMap::new();
    for one in all {
        match topics.entry(one.topic.clone()) {
            Entry::Vacant(place) => drop(place.insert(one)),
            Entry::Occupied(mut place) => add(place.get_mut(), one),
        }
    }
    topics
}

/// Who was heard last tells what the topic is; records of all of them are in it.
fn add(known: &mut Announced, one: Announced) {
    let (mut newer, older) =
        if one.at_ms > known.at_ms { (one, known.clone()) } else { (known.clone(), one) };
    if newer.at_ms - older.at_ms <= PACE_MS {
        newer.rate_milli = newer.rate_milli.saturating_add(older.rate_milli);
    }
    newer.newest_at_ms = newer.newest_at_ms.max(older.newest_at_ms);
    newer.read_to_ms = newer.read_to_ms.max(older.read_to_ms);
    if newer.owner.is_empty() {
        newer.owner = older.owner;
    }
    *known = newer;
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
        let long_gone = announced("zeroth", 1, 7_000, 1);
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
