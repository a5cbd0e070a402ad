//! Consumer groups: who reads which partition. Partitions are dealt out among the members in order;
//! every join and leave deals anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// All groups that have members.
#[derive(Debug, Default)]
pub(super) struct Groups {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    member_next: u64,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    generation: u64,
    /// Topics by member.
    members: BTreeMap<u64, Vec<String>>,
}

/// A member's share at one generation: its place among those who read a topic, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) generation: u64,
    /// By topic: the member's place and the members' number.
    pub(super) places: BTreeMap<String, (u32, u32)>,
}

impl Groups {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, group: &str, topics: &[String]) -> u64 {
        let mut inner = self.lock();
        inner.member_next += 1;
        let member = inner.member_next;
        let group = inner.groups.entry(group.to_owned()).or_default();
        group.members.insert(member, topics.to_vec());
        group.generation += 1;
        member
    }

    pub(super) fn leave(&self, group: &str, member: u64) {
        let mut inner = self.lock();
        if let Some(found) = inner.groups.get_mut(group) {
            found.members.remove(&member);
            found.generation += 1;
        }
    }

    pub(super) fn share(&self, group: &str, member: u64) -> Share {
        let inner = self.lock();
        let Some(group) = inner.groups.get(group) else {
            return Share { generation: 0, places: BTreeMap::new() };
        };
        let topics = group.members.get(&member).map_or(&[][..], Vec::as_slice);
        let places = topics
            .iter()
            .map(|topic| {
                let readers: Vec<u64> = group
                    .members
                    .iter()
                    .filter(|(_, topics)| topics.contains(topic))
                    .map(|(id, _)| *id)
                    .collect();
                let place = readers.iter().position(|id| *id == member).unwrap_or(0);
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                (topic.clone(), (count(place), count(readers.len().max(1))))
            })
            .collect();
        Share { generation: group.generation, places }
    }
}

impl Share {
    /// Whether the member has partition `partition` of `topic`.
    pub(super) fn has(&self, topic: &str, partition: u32) -> bool {
        self.places.get(topic).is_some_and(|(place, count)| partition % count == *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_exactly_one_member() {
        let groups = Groups::default();
        let topics = ["t".to_owned()];
        let members =
            [groups.join("g", &topics), groups.join("g", &topics), groups.join("g", &topics)];
        for partition in 0..7 {
            let owners =
                members.iter().filter(|id| groups.share("g", **id).has("t", partition)).count();
            assert_eq!(owners, 1);
        }
        groups.leave("g", members[0]);
        for partition in 0..7 {
            let owners = members[1..]
                .iter()
                .filter(|id| groups.share("g", **id).has("t", partition))
                .count();
            assert_eq!(owners, 1);
        }
    }
}
