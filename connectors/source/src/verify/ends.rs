//! Where topics end, and reading up to there: what is behind that is left for another time.

use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{FetchLimit, FetchedBatch, Reader, Start, Subscription, Transport};
use tokio::time::Instant;

/// Bytes that one fetch asks for.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a fetch waits for records. What ends a transaction has an offset and is no record: then the
/// reader goes on, and nothing comes.
const FETCH_WAIT_MAX: Duration = Duration::from_millis(200);

/// How long a reader may stand still before an end.
const STANDS_MAX: Duration = Duration::from_secs(60);

/// Offsets by topic and partition.
pub(super) type Offsets = BTreeMap<(String, u32), u64>;

/// Where topics end now.
pub(super) async fn ends<T: Transport>(transport: &T, topics: &[String]) -> Result<Offsets> {
    let mut ends = Offsets::new();
    for topic in topics {
        let partitions = transport.topic(topic).await?.partitions;
        ends.extend((0..).zip(partitions).map(|(place, of)| ((topic.clone(), place), of.end)));
    }
    Ok(ends)
}

/// How many offsets lie between where a reader stands, at the first unless it says so, and `ends`.
pub(super) fn behind(ends: &Offsets, positions: &Offsets) -> u64 {
    let at = |place| positions.get(place).copied().unwrap_or(0);
    ends.iter().map(|(place, end)| end.saturating_sub(at(place))).sum()
}

/// What a reader gives until it has passed where topics end.
pub(super) struct UpTo<'r, R> {
    reader: &'r mut R,
    ends: &'r Offsets,
    stands: Stands<Offsets>,
}

impl<'r, R: Reader> UpTo<'r, R> {
    pub(super) fn new(reader: &'r mut R, ends: &'r Offsets) -> Self {
        Self { reader, ends, stands: Stands::new(STANDS_MAX) }
    }

    /// The next records, of which some may be behind the ends; none once all before them were given.
    ///
    /// # Errors
    ///
    /// `Timeout` for a topic that does not give what it says it has.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<FetchedBatch>>> {
        let limit = FetchLimit { bytes_max: FETCH_BYTES_MAX, wait_max: FETCH_WAIT_MAX };
        loop {
            let positions = self.reader.positions();
            if behind(self.ends, &positions) == 0 {
                return Ok(None);
            }
            let left =
                self.ends.iter().find(|(at, end)| positions.get(*at).is_none_or(|to| to < end));
            let topic = left.map(|((topic, _), _)| topic.clone()).unwrap_or_default();
            if self.stands.at(positions) {
                return Err(Error::new(ErrorKind::Timeout, "read a topic")
                    .because("it does not give the records that it says it has")
                    .with("topic", topic));
            }
            let batches = self.reader.poll(limit).await?;
            if !batches.is_empty() {
                return Ok(Some(batches));
            }
        }
    }
}

/// The offset behind the last record of each partition before `ends`, of those that have one from `from`
/// on: how far a group has to come that has come to there.
pub(super) async fn behind_records<T: Transport>(
    transport: &T,
    topics: &[String],
    from: Offsets,
    ends: &Offsets,
) -> Result<Offsets> {
    let mut last = Offsets::new();
    if behind(ends, &from) == 0 {
        return Ok(last);
    }
    let start = Start::Offsets(from);
    let subscription = Subscription { topics: topics.to_vec(), group: None, start };
    let mut reader = transport.subscribe(subscription).await?;
    let mut up_to = UpTo::new(&mut reader, ends);
    while let Some(batches) = up_to.next().await? {
        for batch in batches {
            let place = (batch.topic.to_string(), batch.partition);
            let end = ends.get(&place).copied().unwrap_or(0);
            for record in batch.iter() {
                let (offset, _) = record?;
                if offset < end {
                    last.insert(place.clone(), offset + 1);
                }
            }
        }
    }
    Ok(last)
}

/// Tells when something has not changed for too long.
#[derive(Debug)]
pub(super) struct Stands<V> {
    stands_max: Duration,
    seen: Option<(V, Instant)>,
}

impl<V: PartialEq> Stands<V> {
    pub(super) fn new(stands_max: Duration) -> Self {
        Self { stands_max, seen: None }
    }

    /// Whether it has been `now` for too long.
    pub(super) fn at(&mut self, now: V) -> bool {
        match &self.seen {
            Some((seen, since)) if *seen == now => since.elapsed() >= self.stands_max,
            _ => {
                self.seen = Some((now, Instant::now()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidemesh_transport::{
        Append, EmbeddedConfig, EmbeddedTransport, PartitionBatch, Records, TopicConfig,
    };

    const TOPIC: &str = "t";

    async fn append(log: &EmbeddedTransport, partition: u32, count: usize, bytes: usize) {
        let mut records = Records::default();
        for _ in 0..count {
            records.push(0, Some(b"k"), &[], Some(&vec![0; bytes])).unwrap();
        }
        let batches = vec![PartitionBatch { topic: Arc::from(TOPIC), partition, records }];
        log.append(Append { batches, ..Append::default() }).await.unwrap();
    }

    fn place(partition: u32) -> (String, u32) {
        (TOPIC.to_owned(), partition)
    }

    #[tokio::test]
    async fn what_was_not_taken_is_found_however_much_came_behind_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
        let config = TopicConfig { partitions: 3, ..TopicConfig::default() };
        log.create_topic(TOPIC, &config).await.unwrap();
        append(&log, 0, 2, 10).await;
        append(&log, 2, 3, 10).await;
        let topics = [TOPIC.to_owned()];
        let ends = ends(&log, &topics).await.unwrap();
        append(&log, 0, 200, 1000).await;
        append(&log, 1, 200, 100_000).await;
        let from = |committed: &[(u32, u64)]| {
            committed.iter().map(|(partition, at)| (place(*partition), *at)).collect::<Offsets>()
        };
        let all = from(&[(0, 2), (2, 3)]);
        let found = |from| behind_records(&log, &topics, from, &ends);
        assert_eq!(found(from(&[])).await.unwrap(), all);
        assert_eq!(found(from(&[(0, 2)])).await.unwrap(), from(&[(2, 3)]));
        assert_eq!(found(from(&[(0, 150), (2, 2)])).await.unwrap(), from(&[(2, 3)]));
        assert_eq!(found(all).await.unwrap(), from(&[]));
    }

    #[test]
    fn what_does_not_change_stands() {
        let mut stands = Stands::new(Duration::ZERO);
        assert!(!stands.at(1) && stands.at(1));
        assert!(!stands.at(2) && stands.at(2));
        let mut patient = Stands::new(STANDS_MAX);
        assert!(!patient.at(1) && !patient.at(1));
    }
}
