//! What the catalog reads of the log: what connectors announce, and topics' last records.

use futures_util::future::{BoxFuture, FutureExt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::Result;
use tidemesh_transport::{
    Announced, AnnouncedReader, FetchLimit, PartitionInfo, Reader, Start, Subscription, Transport,
};
use tokio::time::Instant;

/// The most offsets from a partition's end at which records are looked for: between them compaction may
/// have left none.
const OFFSETS_MAX: u64 = 100_000;

/// The most bytes that are looked through for a topic's last records.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// After so many fetches without a record there is none: what is left are marks of transactions, or was
/// compacted away.
const EMPTY_FETCHES_MAX: u32 = 5;

/// From how many offsets on records are looked for: over Kafka marks of transactions stand between them.
const OFFSETS_FIRST: u64 = 64;

/// The longest that is looked.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// The bounds of one fetch.
const FETCH: FetchLimit =
    FetchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_millis(200) };

/// Reads the log for the catalog.
pub trait TopicsOf: Send + Sync + 'static {
    /// What connectors announce, theirs of other processes too.
    ///
    /// # Errors
    ///
    /// What the log answers.
    fn announced(&self) -> BoxFuture<'_, Result<Vec<Announced>>>;

    /// About the last `count` records of a topic, the newest last; fewer where the log's end holds fewer
    /// within what is looked through.
    ///
    /// # Errors
    ///
    /// `NotFound`; what else the log answers.
    fn last<'t>(&'t self, topic: &'t str, count: usize) -> BoxFuture<'t, Result<Vec<LastRecord>>>;
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRecord {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its timestamp, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp_ms: i64,
    /// Its key, framed.
    pub key: Option<Vec<u8>>,
    /// Its value, framed; none of a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The log behind a transport.
pub struct TopicLog<T: Transport> {
    transport: Arc<T>,
    announced: tokio::sync::Mutex<AnnouncedReader<T::Reader>>,
}

impl<T: Transport> TopicLog<T> {
    /// Over a transport.
    #[must_use]
    pub fn new(transport: Arc<T>) -> Self {
        Self { transport, announced: tokio::sync::Mutex::default() }
    }

    async fn last_of(&self, topic: &str, count: usize) -> Result<Vec<LastRecord>> {
        let info = self.transport.topic(topic).await?;
        let deadline = Instant::now() + LOOK_MAX;
        let mut window = (count as u64).saturating_mul(4).clamp(OFFSETS_FIRST, OFFSETS_MAX);
        loop {
            let last = self.within(topic, &info.partitions, window, count, deadline).await?;
            let is_all = info.partitions.iter().all(|one| one.end - one.begin <= window);
            if last.len() >= count || is_all || window >= OFFSETS_MAX || Instant::now() >= deadline
            {
                return Ok(last);
            }
            window = window.saturating_mul(8).min(OFFSETS_MAX);
        }
    }

    /// The last records among so many offsets at each partition's end.
    async fn within(
        &self,
        topic: &str,
        partitions: &[PartitionInfo],
        window: u64,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<LastRecord>> {
        let starts = (0..).zip(partitions).map(|(partition, info)| {
            let start = info.end.saturating_sub(window).max(info.begin);
            ((topic.to_owned(), partition), start)
        });
        let start = Start::Offsets(starts.collect());
        let subscription = Subscription { topics: vec![topic.to_owned()], group: None, start };
        let mut reader = self.transport.subscribe(subscription).await?;
        let mut last: BTreeMap<u32, VecDeque<LastRecord>> = BTreeMap::new();
        let (mut bytes, mut empty) = (0, 0);
        while is_behind(topic, &reader.positions(), partitions)
            && bytes < BYTES_MAX
            && empty < EMPTY_FETCHES_MAX
            && Instant::now() < deadline
        {
            let batches = reader.poll(FETCH).await?;
            empty = if batches.is_empty() { empty + 1 } else { 0 };
            for batch in &batches {
                let records = last.entry(batch.partition).or_default();
                for record in batch.iter() {
                    let (offset, record) = record?;
                    bytes += record.raw.len();
                    records.push_back(LastRecord {
                        partition: batch.partition,
                        offset,
                        timestamp_ms: record.timestamp_ms,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                    });
                    if records.len() > count {
                        records.pop_front();
                    }
                }
            }
        }
        let mut all: Vec<LastRecord> = last.into_values().flatten().collect();
        all.sort_by_key(|record| (record.timestamp_ms, record.partition, record.offset));
        Ok(all.split_off(all.len().saturating_sub(count)))
    }
}

/// Whether there may be more behind these positions. A partition that was not come to yet has none.
fn is_behind(
    topic: &str,
    positions: &BTreeMap<(String, u32), u64>,
    partitions: &[PartitionInfo],
) -> bool {
    (0..).zip(partitions).any(|(partition, info)| {
        let at = positions.get(&(topic.to_owned(), partition)).copied();
        info.begin < info.end && at.unwrap_or(info.begin) < info.end
    })
}

impl<T: Transport> TopicsOf for TopicLog<T> {
    fn announced(&self) -> BoxFuture<'_, Result<Vec<Announced>>> {
        async {
            let mut reader = self.announced.lock().await;
            let announced = reader.read(self.transport.as_ref()).await?;
            Ok(announced.values().cloned().collect())
        }
        .boxed()
    }

    fn last<'t>(&'t self, topic: &'t str, count: usize) -> BoxFuture<'t, Result<Vec<LastRecord>>> {
        self.last_of(topic, count).boxed()
    }
}
