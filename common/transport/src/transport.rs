//! The seam: what every way to carry records promises. `conformance` holds each implementation to it.

use crate::{FetchedBatch, RECORD_BYTES_MAX, Records, Retention, TopicConfig, TopicInfo};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Result, StateItem};

/// What a writer gathers for one append to the embedded log: of an append's size, its storage keeps
/// up to five in memory.
const GATHERED_BYTES: u64 = 2 * 1024 * 1024;

/// The right to append in a writer's name: the newest epoch of an id has it, older ones are fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterEpoch {
    /// The writer: a source's name.
    pub id: Arc<str>,
    /// Rises with every [`Transport::open_writer`].
    pub epoch: u64,
}

/// Records of one batch that go to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionBatch {
    /// The topic, which must exist.
    pub topic: Arc<str>,
    /// The partition, which must exist.
    pub partition: u32,
    /// At least one record.
    pub records: Records,
}

/// How far a consumer group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the next record to read.
    pub offset: u64,
}

/// One atomic step: all of it becomes durable and visible together, or nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Append {
    /// In whose name; without one there is no fencing and no state.
    pub writer: Option<WriterEpoch>,
    /// The records. A partition may come more than once; the order is kept.
    pub batches: Vec<PartitionBatch>,
    /// The writer's own durable state, set or removed with the records.
    pub state: Vec<StateItem>,
    /// Offsets of consumer groups, committed with the records.
    pub offsets: Vec<GroupOffset>,
}

/// What an append answers once all of it is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// The first record's offset, for each batch in the append's order.
    pub base_offsets: Vec<u64>,
    /// Where a batch's offsets do not rise by one: others wrote in between. By batch and place in it.
    /// Empty where nobody can.
    pub breaks: Vec<OffsetBreak>,
    /// The append's batches' records, emptied, for use again. May be fewer.
    pub recycled: Vec<Records>,
}

/// What an append that was submitted answers, once all of it is durable.
pub type Submitted = Pin<Box<dyn Future<Output = Result<Appended>> + Send>>;

/// A record of an append whose offset is not the one behind the record before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetBreak {
    /// The batch, in the append's order.
    pub batch: usize,
    /// The record's place in the batch.
    pub index: u32,
    /// Its offset.
    pub offset: u64,
}

impl Appended {
    /// The offset of the record at `index` of the batch; none if there is no such batch.
    #[must_use]
    pub fn offset(&self, batch: usize, index: u32) -> Option<u64> {
        let base = self.base_offsets.get(batch)?;
        let before = self.breaks.iter().filter(|b| b.batch == batch && b.index <= index);
        let last = before.max_by_key(|b| b.index);
        Some(last.map_or(base + u64::from(index), |b| b.offset + u64::from(index - b.index)))
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the first record there is.
    Earliest,
    /// Behind the last record there is now.
    Latest,
    /// At the group's committed offset; without one, at the first record.
    Committed,
    /// At these offsets, by topic and partition; other partitions at the first record. An offset
    /// before the first record that is still there reads from that one.
    Offsets(BTreeMap<(String, u32), u64>),
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topics, which must exist.
    pub topics: Vec<String>,
    /// The consumer group. Members of one group share the partitions; without a group the reader
    /// has all of them for itself and cannot commit.
    pub group: Option<String>,
    /// Where to begin.
    pub start: Start,
}

/// The bounds of one fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimit {
    /// About the most bytes of records: a single batch that is larger comes alone.
    pub bytes_max: usize,
    /// The longest wait for the first record.
    pub wait_max: Duration,
}

/// How far a reader has come: what a commit makes durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Which dealing of its group's partitions the positions belong to; 0 without a group.
    pub generation: u64,
    /// By topic and partition, the offset that is read next.
    pub positions: BTreeMap<(String, u32), u64>,
}

/// Carries records: topics of partitions, each an ordered log with rising offsets.
///
/// **Order**: records of a partition keep the order of the appends that one caller awaited in turn,
/// and their order within an append. **Durability**: an append is answered only when it would
/// survive the loss of power (embedded: after fsync). **Atomicity**: records, state and offsets of
/// one append become visible together, after any crash too. A poll may give part of a large append,
/// at a record's border, and the next one the rest. **Fencing**: an append with an epoch that is not
/// the writer's newest fails with `Fenced` and leaves nothing. **Duplicates**: an append whose answer
/// was lost (a dropped call, `Unavailable`) may or may not have happened: the writer learns which
/// from its state.
/// **Cancellation**: dropping a call of `append` neither tears nor undoes it; dropping any other
/// call loses nothing. **Back-pressure**: `append` waits while the transport's byte budget is full.
pub trait Transport: Send + Sync + 'static {
    /// What `subscribe` gives.
    type Reader: Reader;

    /// What stands before topics' names where other readers see them.
    fn topic_prefix(&self) -> &str {
        ""
    }

    /// The most bytes of a record's key and value.
    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }

    /// How many bytes of records a writer with much to write best gathers for one append: more costs
    /// memory, fewer cost time. Not a bound on appends.
    fn gathered_bytes(&self) -> u64 {
        GATHERED_BYTES
    }

    /// Makes a topic; one that is there stays as it is, whatever its configuration.
    ///
    /// # Errors
    ///
    /// `Config` for a name or number out of bounds.
    fn create_topic(
        &self,
        topic: &str,
        config: &TopicConfig,
    ) -> impl Future<Output = Result<TopicInfo>> + Send;

    /// Has a topic keep its records for another time from here on; what is gone stays so.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not there; `Privilege` where the cluster does not let us.
    fn set_retention(
        &self,
        topic: &str,
        retention: &Retention,
    ) -> impl Future<Output = Result<TopicInfo>> + Send;

    /// Removes a topic, its records and its groups' offsets; `NotFound` if it is not there.
    fn delete_topic(&self, topic: &str) -> impl Future<Output = Result<()>> + Send;

    /// All topics, by name.
    fn topics(&self) -> impl Future<Output = Result<Vec<TopicInfo>>> + Send;

    /// One topic; `NotFound` if it is not there.
    fn topic(&self, topic: &str) -> impl Future<Output = Result<TopicInfo>> + Send;

    /// Takes over as writer `id`: from here on every older epoch is fenced.
    fn open_writer(&self, id: &str) -> impl Future<Output = Result<WriterEpoch>> + Send;

    /// All of a writer's durable state, by key. Read it after [`Transport::open_writer`].
    fn state(&self, id: &str) -> impl Future<Output = Result<BTreeMap<String, Vec<u8>>>> + Send;

    /// All writers that have state.
    fn writers(&self) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// One atomic step; see the trait.
    ///
    /// # Errors
    ///
    /// `Fenced` or `NotFound` for a topic or partition: nothing of it is there. `Storage` if the
    /// disk is full or failing: nothing of it is visible now; after a restart all of it or nothing
    /// is, and the writer's state tells which.
    fn append(&self, append: Append) -> impl Future<Output = Result<Appended>> + Send;

    /// Begins an append, for a writer that has more to append before this one is durable: answers once it
    /// has its place behind all that the writer submitted before. Appends that follow each other may become
    /// one atomic step. Where what was submitted fails, so does all that the writer submitted behind it,
    /// until the writer is opened again; of those that failed an append is there only if those before it
    /// are. By default an append is waited for.
    ///
    /// # Errors
    ///
    /// As of `append`, here or by what was submitted.
    fn submit(&self, append: Append) -> impl Future<Output = Result<Submitted>> + Send {
        async {
            let appended = self.append(append).await?;
            Ok(Box::pin(std::future::ready(Ok(appended))) as Submitted)
        }
    }

    /// Begins to read.
    ///
    /// # Errors
    ///
    /// `NotFound` for a topic; `Config` for `Start::Committed` without a group.
    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> impl Future<Output = Result<Self::Reader>> + Send;

    /// The offsets a group has committed, by topic and partition.
    fn committed(
        &self,
        group: &str,
    ) -> impl Future<Output = Result<BTreeMap<(String, u32), u64>>> + Send;

    /// What every group has committed in a topic, by group and partition; groups by the names that
    /// other readers know them by.
    ///
    /// # Errors
    ///
    /// `NotFound` if the topic is not there; `Unavailable` if it is there and cannot be looked at now;
    /// `TooLarge` where there are more groups than can be asked: no part of them is told.
    fn consumption(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<BTreeMap<(String, u32), u64>>> + Send;
}

/// Reads records of its partitions, each in order.
pub trait Reader: Send + 'static {
    /// What [`Reader::committer`] gives.
    type Committer: Committer;

    /// The next records, from any of the partitions; none if the wait ran out. Every record comes
    /// once to one reader. A record that compaction or retention removed does not come.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the file and place; `Unavailable` or `Timeout` when the other side is gone:
    /// subscribe again. `NotFound` when a topic was removed, also if another has its name now.
    /// `TooLarge` when what comes next cannot be carried: the reader stays before it.
    fn poll(&mut self, limit: FetchLimit)
    -> impl Future<Output = Result<Vec<FetchedBatch>>> + Send;

    /// Commits, for the group, the place behind all that `poll` has given: what a dropped call of
    /// `poll` would have given is not among it. Answered when durable.
    ///
    /// # Errors
    ///
    /// As [`Committer::commit`].
    fn commit(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The partitions this reader has now, with the offset it reads next.
    fn positions(&self) -> BTreeMap<(String, u32), u64>;

    /// The positions with what a commit of them needs to know.
    fn progress(&self) -> Progress;

    /// Commits for this reader while it is busy. It does not keep the reader in its group.
    fn committer(&self) -> Self::Committer;
}

/// Commits the progress of a reader, also while the reader waits in a poll.
pub trait Committer: Send + Sync + 'static {
    /// Commits these positions, for the group. Answered when durable.
    ///
    /// # Errors
    ///
    /// `Config` without a group; `Fenced` for partitions that went to another member, be it for a
    /// while; `NotFound` for a topic that was removed. What is still the member's own is committed.
    fn commit(&self, progress: Progress) -> impl Future<Output = Result<()>> + Send;
}
