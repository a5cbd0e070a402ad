//! Who reads a topic and how far, for the registry's level `CONSUMERS`.
//!
//! The groups that have committed offsets are asked of the log; the records between those and its end
//! are looked at for the ids of their schemas. Where that is too much, or a record does not tell, it is
//! said so, and the registry counts every version.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_avro::frame;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_schema_registry::{Group, GroupWatch};
use tidemesh_transport::{FetchLimit, PartitionInfo, Reader, Start, Subscription, Transport};
use tokio::time::Instant;

/// The most records that are looked at for one verdict.
const RECORDS_MAX: usize = 100_000;

/// The most bytes of records that are looked at for one verdict.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most schemas that are told apart in one partition or another; more are none of ours.
const IDS_MAX: usize = 10_000;

/// The longest that is looked.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// The bounds of one fetch.
const FETCH: FetchLimit =
    FetchLimit { bytes_max: 4 * 1024 * 1024, wait_max: Duration::from_millis(200) };

/// Watches the groups of a log, whose topics have the names by which subjects know them: without a
/// prefix.
pub(super) struct LogWatch<T>(pub(super) Arc<T>);

impl<T> std::fmt::Debug for LogWatch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogWatch")
    }
}

impl<T: Transport> GroupWatch for LogWatch<T> {
    fn groups<'a>(
        &'a self,
        subject: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Group>, Error>> + Send + 'a>> {
        Box::pin(groups(&*self.0, subject))
    }
}

/// Which part of a record a subject is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    Value,
}

/// The topic of a subject, by Confluent's `TopicNameStrategy`.
fn topic_of(subject: &str) -> Option<(&str, Part)> {
    let key = subject.strip_suffix("-key").map(|topic| (topic, Part::Key));
    key.or_else(|| subject.strip_suffix("-value").map(|topic| (topic, Part::Value)))
}

async fn groups<T: Transport>(transport: &T, subject: &str) -> Result<Vec<Group>> {
    let Some((topic, part)) = topic_of(subject) else { return Ok(Vec::new()) };
    let committed = match transport.consumption(topic).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        committed => committed?,
    };
    if committed.is_empty() {
        return Ok(Vec::new());
    }
    // Asked after the groups: what came meanwhile is looked at too.
    let info = transport.topic(topic).await?;
    let backlog = Backlog::of(&info.partitions, committed);
    let seen = match backlog.is_behind() {
        true => backlog.look(transport, topic, part).await?,
        false => Some(Seen::default()),
    };
    Ok(backlog.groups(seen.as_ref()))
}

/// Where groups go on in each partition, and where it ends.
struct Backlog {
    ends: Vec<u64>,
    /// By group: where it has committed, else the first record.
    at: BTreeMap<String, Vec<u64>>,
}

/// What was seen of the records: where each schema, and what has no frame, stood last.
#[derive(Debug, Default)]
struct Seen {
    ids: BTreeMap<(usize, u32), u64>,
    unframed: BTreeMap<usize, u64>,
}

impl Backlog {
    fn of(partitions: &[PartitionInfo], committed: BTreeMap<(String, u32), u64>) -> Self {
        let ends = partitions.iter().map(|partition| partition.end).collect();
        let mut at: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for ((group, partition), offset) in committed {
            let begins = || partitions.iter().map(|partition| partition.begin).collect();
            let at = at.entry(group).or_insert_with(begins);
            if let Some(at) = at.get_mut(partition as usize) {
                *at = offset.max(*at);
            }
        }
        Self { ends, at }
    }

    /// From where each partition has to be read, for the group that is furthest behind.
    fn starts(&self) -> Vec<u64> {
        let first = |(partition, end): (usize, &u64)| {
            self.at.values().map(|at| at[partition]).min().unwrap_or(*end).min(*end)
        };
        self.ends.iter().enumerate().map(first).collect()
    }

    fn is_behind(&self) -> bool {
        self.starts() != self.ends
    }

    /// Looks at the records; none if that did not come to the end.
    async fn look<T: Transport>(
        &self,
        transport: &T,
        topic: &str,
        part: Part,
    ) -> Result<Option<Seen>> {
        let starts = self.starts();
        let places = (0..).zip(&starts).map(|(p, start)| ((topic.to_owned(), p), *start));
        let start = Start::Offsets(places.collect());
        let subscription = Subscription { topics: vec![topic.to_owned()], group: None, start };
        let mut reader = transport.subscribe(subscription).await?;
        let deadline = Instant::now() + LOOK_MAX;
        let mut seen = Seen::default();
        let (mut records, mut bytes) = (0, 0);
        while !self.is_read(topic, &starts, &reader.positions()) {
            let is_much = records >= RECORDS_MAX || bytes >= BYTES_MAX || seen.ids.len() >= IDS_MAX;
            if is_much || Instant::now() >= deadline {
                return Ok(None);
            }
            for batch in reader.poll(FETCH).await? {
                for record in batch.iter() {
                    let (offset, record) = record?;
                    let data = if part == Part::Key { record.key } else { record.value };
                    seen.take(batch.partition as usize, offset, data);
                    records += 1;
                    bytes += record.raw.len();
                }
            }
        }
        Ok(Some(seen))
    }

    fn is_read(
        &self,
        topic: &str,
        starts: &[u64],
        positions: &BTreeMap<(String, u32), u64>,
    ) -> bool {
        (0..).zip(self.ends.iter().zip(starts)).all(|(partition, (end, start))| {
            let at = positions.get(&(topic.to_owned(), partition)).copied();
            at.unwrap_or(*start).max(*start) >= *end
        })
    }

    /// What each group has yet to read. Where not all was seen, who is behind may have anything.
    fn groups(self, seen: Option<&Seen>) -> Vec<Group> {
        let Self { ends, at } = self;
        let pending = |at: &[u64]| match seen {
            Some(seen) => seen.behind(at),
            None => at.iter().zip(&ends).all(|(at, end)| at >= end).then(BTreeSet::new),
        };
        at.into_iter().map(|(name, at)| Group { pending: pending(&at), name }).collect()
    }
}

impl Seen {
    /// Notes a record's schema. A tombstone has none.
    fn take(&mut self, partition: usize, offset: u64, data: Option<&[u8]>) {
        match data.map(frame::split) {
            None => {}
            Some(Ok((id, _))) => drop(self.ids.insert((partition, id), offset)),
            // Another serializer's.
            Some(Err(_)) => drop(self.unframed.insert(partition, offset)),
        }
    }

    /// The ids of what lies behind these offsets; none if some of it does not tell its own.
    fn behind(&self, at: &[u64]) -> Option<BTreeSet<u32>> {
        let is_behind = |partition: usize, offset: u64| {
            // A partition that came meanwhile is behind all of them.
            at.get(partition).is_none_or(|at| *at <= offset)
        };
        if self.unframed.iter().any(|(partition, offset)| is_behind(*partition, *offset)) {
            return None;
        }
        let ids =
            self.ids.iter().filter(|((partition, _), offset)| is_behind(*partition, **offset));
        Some(ids.map(|((_, id), _)| *id).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_transport::{
        Append, EmbeddedConfig, EmbeddedTransport, GroupOffset, PartitionBatch, Records,
        TopicConfig,
    };

    async fn log() -> (EmbeddedTransport, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path().to_owned())).unwrap();
        let config = TopicConfig { partitions: 2, ..TopicConfig::default() };
        log.create_topic("t", &config).await.unwrap();
        (log, folder)
    }

    /// Appends values of these schemas to a partition, and commits offsets of groups there.
    async fn append(
        log: &EmbeddedTransport,
        partition: u32,
        values: &[Option<&[u8]>],
        groups: &[(&str, u64)],
    ) {
        let mut records = Records::default();
        for value in values {
            records.push(0, Some(b"k"), &[], *value).unwrap();
        }
        let batches = vec![PartitionBatch { topic: "t".into(), partition, records }];
        let offset = |(group, offset): &(&str, u64)| GroupOffset {
            group: (*group).into(),
            topic: "t".into(),
            partition,
            offset: *offset,
        };
        let offsets = groups.iter().map(offset).collect();
        log.append(Append { batches, offsets, ..Append::default() }).await.unwrap();
    }

    async fn seen(log: &EmbeddedTransport) -> Vec<(String, Option<Vec<u32>>)> {
        let groups = groups(log, "t-value").await.unwrap();
        let ids = |group: Group| (group.name, group.pending.map(|ids| ids.into_iter().collect()));
        groups.into_iter().map(ids).collect()
    }

    #[test]
    fn a_subject_is_a_topics_key_or_value() {
        assert_eq!(topic_of("a-b-key"), Some(("a-b", Part::Key)));
        assert_eq!(topic_of("a-value"), Some(("a", Part::Value)));
        assert_eq!(topic_of("com.shop.Order"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_has_yet_to_read_what_lies_behind_its_offsets() {
        let (log, _folder) = log().await;
        let (one, two) = (frame::head(1), frame::head(2));
        append(&log, 0, &[Some(&one), Some(&two), None], &[("half", 1), ("whole", 3)]).await;
        append(&log, 1, &[Some(&two)], &[("whole", 1), ("half", 1)]).await;
        let expected = [("half".to_owned(), Some(vec![2])), ("whole".to_owned(), Some(vec![]))];
        assert_eq!(seen(&log).await, expected);
        // It has committed in one partition only: the other is read from its beginning.
        append(&log, 1, &[Some(&frame::head(3))], &[("whole", 2)]).await;
        append(&log, 1, &[Some(&frame::head(4))], &[("late", 3)]).await;
        let seen = seen(&log).await;
        assert_eq!(seen[0], ("half".to_owned(), Some(vec![2, 3, 4])));
        assert_eq!(seen[1], ("late".to_owned(), Some(vec![1, 2])));
        assert_eq!(seen[2], ("whole".to_owned(), Some(vec![4])));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_that_does_not_tell_its_schema_may_be_of_any() {
        let (log, _folder) = log().await;
        append(&log, 0, &[Some(b"text"), Some(&frame::head(1))], &[("all", 0), ("later", 1)]).await;
        let expected = [("all".to_owned(), None), ("later".to_owned(), Some(vec![1]))];
        assert_eq!(seen(&log).await, expected);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_is_not_there_has_no_groups() {
        let (log, _folder) = log().await;
        assert!(groups(&log, "other-value").await.unwrap().is_empty());
        assert!(groups(&log, "t").await.unwrap().is_empty());
    }
}
