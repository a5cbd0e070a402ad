//! Consumer groups: who reads which partition, and where the next owner begins.
//!
//! All partitions of a group's topics are put in order and dealt out in turn among the members, by
//! their age, that read the topic. Every join and leave deals anew. Groups live as long as they have
//! members; what outlives them are the committed offsets, in [`super::state`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A topic and a partition of it.
pub(super) type Place = (Arc<str>, u32);

/// All groups that have members.
#[derive(Debug, Default)]
pub(super) struct Groups {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    member_next: u64,
    groups: BTreeMap<Arc<str>, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// Rises with every join and leave.
    generation: u64,
    /// By member: topics and how many partitions they have.
    members: BTreeMap<u64, Vec<(Arc<str>, u32)>>,
    owners: BTreeMap<Place, Owner>,
    /// Where a new owner begins: where the group began, or what it has committed since.
    starts: BTreeMap<Place, u64>,
}

/// Who has a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    member: u64,
    /// The generation from which on it has had the partition, in every one.
    since: u64,
}

/// A partition of a member's, and the generation from which on it has had it, in every one.
pub(super) type Owned = (Place, u64);

impl Group {
    fn deal(&mut self) {
        self.generation += 1;
        let before = std::mem::take(&mut self.owners);
        let nobody = Owner { member: 0, since: self.generation };
        for topics in self.members.values() {
            for (topic, partitions) in topics {
                for partition in 0..*partitions {
                    self.owners.insert((Arc::clone(topic), partition), nobody);
                }
            }
        }
        let mut readers: Vec<u64> = Vec::new();
        let mut of: Option<Arc<str>> = None;
        for (turn, (place, owner)) in self.owners.iter_mut().enumerate() {
            let (topic, _) = place;
            if of.as_ref() != Some(topic) {
                let reads = |topics: &[(Arc<str>, u32)]| topics.iter().any(|(t, _)| t == topic);
                let members = self.members.iter().filter(|(_, topics)| reads(topics));
                readers = members.map(|(member, _)| *member).collect();
                of = Some(Arc::clone(topic));
            }
            if let Some(reader) = readers.get(turn % readers.len().max(1)) {
                owner.member = *reader;
            }
            match before.get(place) {
                Some(kept) if kept.member == owner.member => *owner = *kept,
                _ => {}
            }
        }
    }
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new member that reads `topics`, each with its number of partitions.
    pub(super) fn join(&self, group: &Arc<str>, topics: Vec<(Arc<str>, u32)>) -> u64 {
        let mut inner = self.lock();
        inner.member_next += 1;
        let member = inner.member_next;
        let group = inner.groups.entry(Arc::clone(group)).or_default();
        group.members.insert(member, topics);
        group.deal();
        member
    }

    pub(super) fn leave(&self, name: &str, member: u64) {
        let mut inner = self.lock();
        let Some(group) = inner.groups.get_mut(name) else { return };
        group.members.remove(&member);
        if group.members.is_empty() {
            inner.groups.remove(name);
        } else {
            group.deal();
        }
    }

    /// The generation, and the member's partitions in it, if it is another than `known`.
    pub(super) fn share(
        &self,
        group: &str,
        member: u64,
        known: Option<u64>,
    ) -> Option<(u64, Vec<Owned>)> {
        let inner = self.lock();
        let group = inner.groups.get(group)?;
        if known == Some(group.generation) {
            return None;
        }
        let own = group.owners.iter().filter(|(_, owner)| owner.member == member);
        let own = own.map(|(place, owner)| (place.clone(), owner.since));
        Some((group.generation, own.collect()))
    }

    /// Whether the member has had the partition from `generation` on until now.
    pub(super) fn owns(&self, group: &str, member: u64, generation: u64, place: &Place) -> bool {
        let inner = self.lock();
        let owner = inner.groups.get(group).and_then(|group| group.owners.get(place));
        owner.is_some_and(|owner| owner.member == member && owner.since <= generation)
    }

    /// Where a new owner of the partition begins; `first` says it if the group has not begun there.
    pub(super) fn start(&self, group: &str, place: &Place, first: u64) -> u64 {
        let mut inner = self.lock();
        match inner.groups.get_mut(group) {
            Some(group) => *group.starts.entry(place.clone()).or_insert(first),
            None => first,
        }
    }

    /// The group has durably committed an offset.
    pub(super) fn committed(&self, group: &str, place: &Place, offset: u64) {
        if let Some(group) = self.lock().groups.get_mut(group) {
            group.starts.insert(place.clone(), offset);
        }
    }

    /// The topic is gone: were it made again, its groups would begin anew.
    pub(super) fn forget(&self, topic: &str) {
        for group in self.lock().groups.values_mut() {
            group.starts.retain(|(of, _), _| **of != *topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topics(names: &[(&str, u32)]) -> Vec<(Arc<str>, u32)> {
        names.iter().map(|(name, partitions)| (Arc::from(*name), *partitions)).collect()
    }

    #[test]
    fn topics_of_one_partition_are_shared_too() {
        let (groups, name) = (Groups::default(), Arc::from("g"));
        let all = topics(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        let members = [groups.join(&name, all.clone()), groups.join(&name, all)];
        for member in members {
            assert_eq!(groups.share("g", member, None).unwrap().1.len(), 2);
        }
    }

    #[test]
    fn a_new_owner_begins_where_the_group_has_come() {
        let (groups, name) = (Groups::default(), Arc::from("g"));
        let place = (Arc::from("t"), 0);
        groups.join(&name, topics(&[("t", 1)]));
        assert_eq!(groups.start("g", &place, 7), 7);
        assert_eq!(groups.start("g", &place, 99), 7);
        groups.committed("g", &place, 12);
        assert_eq!(groups.start("g", &place, 99), 12);
    }

    #[test]
    fn a_partition_that_came_back_is_not_one_that_stayed() {
        let (groups, name) = (Groups::default(), Arc::from("g"));
        let both = topics(&[("t", 2)]);
        let one = groups.join(&name, both.clone());
        let (first, owned) = groups.share("g", one, None).unwrap();
        assert_eq!(owned.iter().map(|(_, since)| *since).collect::<Vec<_>>(), [first, first]);
        let two = groups.join(&name, both);
        groups.leave("g", two);
        let (now, owned) = groups.share("g", one, Some(first)).unwrap();
        assert_eq!(owned.iter().map(|(_, since)| *since).collect::<Vec<_>>(), [first, now]);
        let place = |partition| (Arc::from("t"), partition);
        assert!(groups.owns("g", one, first, &place(0)));
        assert!(!groups.owns("g", one, first, &place(1)), "it was another's meanwhile");
        assert!(groups.owns("g", one, now, &place(1)));
    }

    proptest! {
        /// Whoever comes and goes, each partition has one owner, one that reads its topic.
        #[test]
        fn every_partition_has_exactly_one_owner(
            steps in proptest::collection::vec((any::<bool>(), 0..3_usize), 1..20),
        ) {
            let sets = [&[("a", 3), ("b", 1)][..], &[("a", 3)], &[("b", 1), ("c", 4)]];
            let (groups, name) = (Groups::default(), Arc::from("g"));
            let mut members = Vec::new();
            for (joins, which) in steps {
                if joins || members.is_empty() {
                    members.push((groups.join(&name, topics(sets[which])), which));
                } else {
                    let (gone, _) = members.remove(which % members.len());
                    groups.leave("g", gone);
                }
                for (topic, partitions) in [("a", 3), ("b", 1), ("c", 4)] {
                    let readers = members.iter().filter(|(_, which)| {
                        sets[*which].iter().any(|(name, _)| *name == topic)
                    });
                    let readers: Vec<u64> = readers.map(|(member, _)| *member).collect();
                    for partition in 0..partitions {
                        let place = (Arc::from(topic), partition);
                        let owns = |id| groups.owns("g", id, u64::MAX, &place);
                        let owners = members.iter().filter(|(id, _)| owns(*id));
                        let owners: Vec<u64> = owners.map(|(id, _)| *id).collect();
                        prop_assert_eq!(owners.len(), usize::from(!readers.is_empty()));
                        prop_assert!(owners.iter().all(|owner| readers.contains(owner)));
                    }
                }
            }
        }
    }
}
