//! Readers of the embedded log.

use super::EmbeddedTransport;
use super::fetch::{Fetched, Wanted, fetch};
use super::groups::{Owned, Place};
use super::round::check_name;
use super::state::{State, not_found};
use super::writer::{Commit, CommitOffset, Work};
use crate::{
    Committer, FetchLimit, FetchedBatch, GroupOffset, Progress, Reader, Start, Subscription,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

/// Reads topics of an [`EmbeddedTransport`]; dropping it leaves its group.
pub struct EmbeddedReader {
    transport: EmbeddedTransport,
    appended: watch::Receiver<u64>,
    /// The topics' ids: another topic that takes a name is not the one subscribed to.
    topics: Arc<BTreeMap<Arc<str>, u32>>,
    start: Start,
    membership: Option<Membership>,
    /// The offset that is read next.
    positions: BTreeMap<Place, u64>,
    /// The partition that is looked at first: each takes its turn.
    turn: usize,
}

struct Membership {
    transport: EmbeddedTransport,
    group: Arc<str>,
    member: u64,
    /// The group's generation when partitions were taken up last.
    generation: Option<u64>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let shared = &self.transport.shared;
        shared.groups.leave(&self.group, self.member);
        shared.wake();
    }
}

impl EmbeddedReader {
    pub(super) fn new(transport: EmbeddedTransport, subscription: Subscription) -> Result<Self> {
        let Subscription { topics, group, start } = subscription;
        if group.is_none() && start == Start::Committed {
            return Err(Error::new(ErrorKind::Config, "subscribe")
                .because("a start at the committed offset needs a group"));
        }
        let mut ids = BTreeMap::new();
        let mut sizes = Vec::with_capacity(topics.len());
        for topic in topics {
            let state = transport.shared.read_state();
            let found = state.topic(&topic)?;
            let name: Arc<str> = topic.into();
            if ids.insert(Arc::clone(&name), found.id).is_none() {
                sizes.push((name, found.config.partitions));
            }
        }
        let membership = match group {
            None => None,
            Some(group) => {
                check_name("group", &group)?;
                let group = Arc::from(group);
                let member = transport.shared.groups.join(&group, sizes.clone());
                let transport = transport.clone();
                Some(Membership { transport, group, member, generation: None })
            }
        };
        let mut reader = Self {
            appended: transport.shared.appended.subscribe(),
            topics: Arc::new(ids),
            start,
            membership,
            positions: BTreeMap::new(),
            turn: 0,
            transport,
        };
        if reader.membership.is_some() {
            reader.follow_group()?;
            reader.transport.shared.wake();
        } else {
            let all = |(topic, partitions): (Arc<str>, u32)| {
                (0..partitions).map(move |partition| (Arc::clone(&topic), partition))
            };
            let all = sizes.into_iter().flat_map(all);
            reader.take_up(all.map(|place| (place, 0)).collect())?;
        }
        Ok(reader)
    }

    /// After a change of the group's members, takes up the partitions that are this reader's now
    /// and drops the others.
    fn follow_group(&mut self) -> Result<()> {
        let Some(membership) = &mut self.membership else { return Ok(()) };
        let groups = &membership.transport.shared.groups;
        let share = groups.share(&membership.group, membership.member, membership.generation);
        let Some((generation, places)) = share else { return Ok(()) };
        self.take_up(places)?;
        if let Some(membership) = &mut self.membership {
            membership.generation = Some(generation);
        }
        Ok(())
    }

    /// Takes up partitions. One that this reader has had all the while goes on where it is; one that
    /// was another's meanwhile begins where the group has come, as a new one does.
    fn take_up(&mut self, places: Vec<Owned>) -> Result<()> {
        let shared = Arc::clone(&self.transport.shared);
        let state = shared.read_state();
        let known = self.membership.as_ref().and_then(|m| m.generation).unwrap_or(0);
        let mut positions = BTreeMap::new();
        for (place, since) in places {
            let offset = match self.positions.get(&place) {
                Some(offset) if since <= known => *offset,
                _ => self.begin(&state, &place)?,
            };
            positions.insert(place, offset);
        }
        self.positions = positions;
        Ok(())
    }

    /// Where this reader begins in a partition: where its group has come, or by its subscription.
    fn begin(&self, state: &State, place: &Place) -> Result<u64> {
        let first = self.first(state, place)?;
        let Some(membership) = &self.membership else { return Ok(first) };
        let groups = &self.transport.shared.groups;
        let offset = groups.start(&membership.group, place, first);
        let (topic, partition) = place;
        let found = state.topic(topic)?.partitions.get(*partition as usize);
        let (begin, end) = found.map_or((offset, offset), |info| (info.begin, info.end));
        // Who names an offset may mean one that is still to come. A group has read up to its own, so
        // these are other records: none of them is passed over.
        if offset <= end || matches!(self.start, Start::Offsets(_)) {
            return Ok(offset);
        }
        let group = &membership.group;
        tracing::warn!(
            %group, %topic, partition, offset, end,
            "a group's committed offset is beyond the partition's end: it begins at the first record"
        );
        Ok(begin)
    }

    /// Where this reader begins in a partition by its subscription.
    fn first(&self, state: &State, place: &Place) -> Result<u64> {
        let (topic, partition) = place;
        let found = state.topic(topic)?;
        let info = found.partitions.get(*partition as usize).ok_or_else(|| not_found(topic))?;
        let committed = || {
            let group = &self.membership.as_ref()?.group;
            state.offsets.get(group)?.get(place).copied()
        };
        Ok(match &self.start {
            Start::Earliest => info.begin,
            Start::Latest => info.end,
            Start::Committed => committed().unwrap_or(info.begin),
            Start::Offsets(offsets) => {
                offsets.get(&(topic.to_string(), *partition)).copied().unwrap_or(info.begin)
            }
        })
    }

    /// The partitions that have records for this reader, each taking its turn to be first.
    fn wanted(&mut self) -> Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        let state = self.transport.shared.read_state();
        for ((topic, partition), offset) in &self.positions {
            let found = state.topic(topic)?;
            if self.topics.get(topic) != Some(&found.id) {
                return Err(not_found(topic).because("it was removed and made again"));
            }
            let Some(info) = found.partitions.get(*partition as usize) else { continue };
            if info.end > (*offset).max(info.begin) {
                wanted.push(Wanted {
                    topic: Arc::clone(topic),
                    topic_id: found.id,
                    partition: *partition,
                    offset: *offset,
                    begin: info.begin,
                    end: info.end,
                });
            }
        }
        if !wanted.is_empty() {
            self.turn = (self.turn + 1) % wanted.len();
            wanted.rotate_left(self.turn);
        }
        Ok(wanted)
    }

    /// What is there now. None if there is nothing to read; maybe no batch if all was removed.
    async fn fetch(&mut self, bytes_max: usize) -> Result<Option<Vec<FetchedBatch>>> {
        let wanted = self.wanted()?;
        if wanted.is_empty() {
            return Ok(None);
        }
        let shared = Arc::clone(&self.transport.shared);
        let reading = tokio::task::spawn_blocking(move || {
            let fetched = fetch(&shared, &wanted, bytes_max);
            (wanted, fetched)
        });
        let (wanted, fetched) = reading.await.map_err(|error| self.panicked(error))?;
        let (batches, seen): Fetched = match fetched {
            // Retention went ahead; the next look begins where it has come to.
            Err(error) if error.kind() == ErrorKind::Exhausted => return Ok(Some(Vec::new())),
            fetched => fetched?,
        };
        for (wanted, next) in wanted.into_iter().zip(seen) {
            if let Some(position) = self.positions.get_mut(&(wanted.topic, wanted.partition)) {
                *position = next;
            }
        }
        Ok(Some(batches))
    }

    /// The storage panics on some damaged bytes instead of answering an error.
    fn panicked(&self, error: tokio::task::JoinError) -> Error {
        Error::new(ErrorKind::Corrupt, "read the log")
            .because("the storage could not make sense of its bytes")
            .with("folder", self.transport.shared.folder.path().display())
            .caused_by(error)
    }
}

impl Reader for EmbeddedReader {
    type Committer = EmbeddedCommitter;

    async fn poll(&mut self, limit: FetchLimit) -> Result<Vec<FetchedBatch>> {
        let deadline = Instant::now().checked_add(limit.wait_max);
        loop {
            self.appended.mark_unchanged();
            self.follow_group()?;
            match self.fetch(limit.bytes_max).await? {
                Some(batches) if batches.is_empty() => continue,
                Some(batches) => return Ok(batches),
                None => {}
            }
            // The sender lives as long as this reader: no error.
            let changed = async { drop(self.appended.changed().await) };
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        self.committer().commit(self.progress()).await
    }

    fn positions(&self) -> BTreeMap<(String, u32), u64> {
        let named = |((topic, partition), offset): (&Place, &u64)| {
            ((topic.to_string(), *partition), *offset)
        };
        self.positions.iter().map(named).collect()
    }

    fn progress(&self) -> Progress {
        let generation = self.membership.as_ref().and_then(|m| m.generation).unwrap_or(0);
        Progress { generation, positions: self.positions() }
    }

    fn committer(&self) -> EmbeddedCommitter {
        EmbeddedCommitter {
            transport: self.transport.clone(),
            topics: Arc::clone(&self.topics),
            member: self.membership.as_ref().map(|m| (Arc::clone(&m.group), m.member)),
        }
    }
}

/// Commits for an [`EmbeddedReader`].
pub struct EmbeddedCommitter {
    transport: EmbeddedTransport,
    topics: Arc<BTreeMap<Arc<str>, u32>>,
    member: Option<(Arc<str>, u64)>,
}

impl Committer for EmbeddedCommitter {
    async fn commit(&self, progress: Progress) -> Result<()> {
        let Some((group, member)) = &self.member else {
            return Err(
                Error::new(ErrorKind::Config, "commit offsets").because("the reader has no group")
            );
        };
        let offset = |((topic, partition), offset): ((String, u32), u64)| CommitOffset {
            topic_id: self.topics.get(topic.as_str()).copied(),
            offset: GroupOffset { group: group.to_string(), topic, partition, offset },
        };
        let commit = Commit {
            group: Arc::clone(group),
            member: *member,
            generation: progress.generation,
            offsets: progress.positions.into_iter().map(offset).collect(),
        };
        self.transport.submit(0, |answer| Work::Commit(commit, answer)).await
    }
}
