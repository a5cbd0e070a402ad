//! Readers of the embedded log.

use super::groups::Share;
use super::store::{corrupt_batch, read_batch, record_key, storage_error};
use super::{EmbeddedTransport, Shared};
use crate::{
    Append, FetchLimit, FetchedBatch, GroupOffset, Reader, Start, Subscription, Transport,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

/// Reads topics of an [`EmbeddedTransport`]; dropping it leaves its group.
pub struct EmbeddedReader {
    transport: EmbeddedTransport,
    appended: watch::Receiver<u64>,
    topics: Vec<Arc<str>>,
    start: Start,
    membership: Option<Membership>,
    /// The offset that is read next, by topic and partition.
    positions: BTreeMap<(Arc<str>, u32), u64>,
    /// The partition that is looked at first: each takes its turn.
    turn: usize,
}

struct Membership {
    shared: Arc<Shared>,
    group: String,
    member: u64,
    share: Share,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.groups.leave(&self.group, self.member);
        self.shared.wake();
    }
}

impl EmbeddedReader {
    pub(super) fn new(transport: EmbeddedTransport, subscription: Subscription) -> Result<Self> {
        let state = transport.shared.visible();
        for topic in &subscription.topics {
            state.topic(topic)?;
        }
        if subscription.group.is_none() && subscription.start == Start::Committed {
            return Err(Error::new(ErrorKind::Config, "subscribe")
                .because("a start at the committed offset needs a group"));
        }
        let membership = subscription.group.map(|group| {
            let shared = Arc::clone(&transport.shared);
            let member = shared.groups.join(&group, &subscription.topics);
            let share = shared.groups.share(&group, member);
            Membership { shared, group, member, share }
        });
        let mut reader = Self {
            appended: transport.shared.appended.subscribe(),
            topics: subscription.topics.iter().map(|topic| topic.as_str().into()).collect(),
            start: subscription.start,
            membership,
            positions: BTreeMap::new(),
            turn: 0,
            transport,
        };
        reader.deal()?;
        reader.transport.shared.wake();
        Ok(reader)
    }

    /// Takes up the partitions that are this reader's now and drops the others.
    fn deal(&mut self) -> Result<()> {
        let state = self.transport.shared.visible();
        let committed = self.membership.as_ref().and_then(|m| state.offsets.get(&m.group));
        let mut positions = BTreeMap::new();
        for topic in &self.topics {
            for (partition, info) in (0..).zip(&state.topic(topic)?.partitions) {
                let mine = self.membership.as_ref().is_none_or(|m| m.share.has(topic, partition));
                if !mine {
                    continue;
                }
                let key = (Arc::clone(topic), partition);
                let named = (topic.to_string(), partition);
                let committed = committed.and_then(|offsets| offsets.get(&named)).copied();
                let offset = match (self.positions.get(&key), &self.start) {
                    (Some(offset), _) => *offset,
                    (None, Start::Earliest) => info.begin,
                    (None, Start::Latest) => info.end,
                    (None, Start::Committed) => committed.unwrap_or(info.begin),
                    (None, Start::Offsets(offsets)) => {
                        offsets.get(&named).copied().unwrap_or(info.begin)
                    }
                };
                positions.insert(key, offset);
            }
        }
        self.positions = positions;
        Ok(())
    }

    /// Follows the group: after a change of its members, partitions are dealt anew, and those that
    /// are new to this reader begin where the group has committed.
    fn follow_group(&mut self) -> Result<()> {
        let Some(membership) = &mut self.membership else {
            return Ok(());
        };
        let share = membership.shared.groups.share(&membership.group, membership.member);
        if share == membership.share {
            return Ok(());
        }
        membership.share = share;
        if !matches!(self.start, Start::Offsets(_)) {
            self.start = Start::Committed;
        }
        self.deal()
    }

    /// What is there now, up to the limit. A partition's batch that is over the limit comes alone.
    async fn fetch(&mut self, bytes_max: usize) -> Result<Vec<FetchedBatch>> {
        let state = self.transport.shared.visible();
        let mut wanted = Vec::new();
        for ((topic, partition), offset) in &self.positions {
            let found = state.topic(topic)?;
            if let Some(info) = found.partitions.get(*partition as usize)
                && info.end > (*offset).max(info.begin)
            {
                let from = (*offset).max(info.begin);
                wanted.push((Arc::clone(topic), found.id, *partition, from, info.end));
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        self.turn = (self.turn + 1) % wanted.len();
        wanted.rotate_left(self.turn);
        let shared = Arc::clone(&self.transport.shared);
        let read = tokio::task::spawn_blocking(move || read(&shared, &wanted, bytes_max));
        let (batches, seen) = read
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "read the log").caused_by(error))??;
        for (topic, partition, next) in seen {
            if let Some(position) = self.positions.get_mut(&(topic, partition)) {
                *position = next;
            }
        }
        Ok(batches)
    }
}

type Wanted = (Arc<str>, u32, u32, u64, u64);
type Seen = Vec<(Arc<str>, u32, u64)>;

/// Reads the wanted partitions in turn until the limit is reached. Says how far each was seen:
/// where everything up to its end was removed, that is the end, and there is no batch.
fn read(shared: &Shared, wanted: &[Wanted], bytes_max: usize) -> Result<(Vec<FetchedBatch>, Seen)> {
    let (mut batches, mut seen, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (topic, id, partition, from, end) in wanted {
        let mut offset = *from;
        while offset < *end && bytes < bytes_max {
            let batch = match batch_at(shared, (topic, *id, *partition), offset, *end)? {
                Some(batch) if bytes > 0 && bytes + batch.bytes.len() > bytes_max => {
                    seen.push((Arc::clone(topic), *partition, offset));
                    return Ok((batches, seen));
                }
                Some(batch) => batch,
                None => {
                    offset = *end;
                    break;
                }
            };
            offset = batch.next_offset;
            bytes += batch.bytes.len();
            batches.push(batch);
        }
        seen.push((Arc::clone(topic), *partition, offset));
    }
    Ok((batches, seen))
}

/// The batch that holds `offset`, or the first behind it, before `end`.
fn batch_at(
    shared: &Shared,
    (topic, id, partition): (&Arc<str>, u32, u32),
    offset: u64,
    end: u64,
) -> Result<Option<FetchedBatch>> {
    let records = &shared.store.records;
    let failed = |error| storage_error(error, "read the log", &shared.folder);
    let first = record_key(id, partition, 0);
    let holding = records.range(first..=record_key(id, partition, offset)).next_back();
    let behind =
        || records.range(record_key(id, partition, offset)..record_key(id, partition, end));
    for entry in holding.into_iter().chain(behind().take(2)) {
        let (key, value) = entry.into_inner().map_err(failed)?;
        let base = key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let corrupt = || corrupt_batch(&shared.folder, topic, partition, base);
        let batch = read_batch(&value).ok_or_else(corrupt)?;
        if batch.base_offset != base {
            return Err(corrupt());
        }
        if batch.next_offset > offset {
            return Ok(Some(FetchedBatch {
                topic: Arc::clone(topic),
                partition,
                base_offset: base,
                from_offset: offset,
                next_offset: batch.next_offset,
                bytes: Bytes::copy_from_slice(batch.records),
            }));
        }
    }
    Ok(None)
}

impl Reader for EmbeddedReader {
    async fn poll(&mut self, limit: FetchLimit) -> Result<Vec<FetchedBatch>> {
        let deadline = Instant::now() + limit.wait_max;
        loop {
            self.appended.mark_unchanged();
            self.follow_group()?;
            let batches = self.fetch(limit.bytes_max).await?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            match tokio::time::timeout_at(deadline, self.appended.changed()).await {
                Err(_) => return Ok(Vec::new()),
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    return Err(Error::new(ErrorKind::Unavailable, "read the log")
                        .because("the log was closed"));
                }
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        let Some(membership) = &self.membership else {
            return Err(
                Error::new(ErrorKind::Config, "commit offsets").because("the reader has no group")
            );
        };
        let now = membership.shared.groups.share(&membership.group, membership.member);
        let mut lost = 0;
        let mut offsets = Vec::new();
        for ((topic, partition), offset) in &self.positions {
            if now.has(topic, *partition) {
                offsets.push(GroupOffset {
                    group: membership.group.clone(),
                    topic: topic.to_string(),
                    partition: *partition,
                    offset: *offset,
                });
            } else {
                lost += 1;
            }
        }
        let group = membership.group.clone();
        if !offsets.is_empty() {
            self.transport.append(Append { offsets, ..Append::default() }).await?;
        }
        if lost == 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Fenced, "commit offsets")
            .because("partitions went to another member of the group")
            .with("group", group)
            .with("partitions", lost))
    }

    fn positions(&self) -> BTreeMap<(String, u32), u64> {
        self.positions
            .iter()
            .map(|((topic, partition), offset)| ((topic.to_string(), *partition), *offset))
            .collect()
    }
}
