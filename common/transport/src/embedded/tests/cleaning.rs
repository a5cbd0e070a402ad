//! Retention, compaction and the removal of topics. Limits of a pass are small in tests, so that a
//! few hundred records take many passes and steps.

use super::*;
use crate::{FetchedBatch, GroupOffset};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tidemesh_model::CleanupPolicy;

/// Farther from now than any retention of these tests.
const YEAR_MS: i64 = 366 * 86_400_000;

/// Offset, key and value.
type Found = (u64, String, Option<String>);

fn compacting(folder: &Path, tail_bytes: u64) -> EmbeddedTransport {
    let config = EmbeddedConfig { compact_tail_bytes: tail_bytes, ..EmbeddedConfig::new(folder) };
    EmbeddedTransport::open(&config).unwrap()
}

async fn append_batch(log: &EmbeddedTransport, records: &[(&str, Option<&str>)]) {
    let mut batch = Records::default();
    for (key, value) in records {
        let key = (!key.is_empty()).then_some(key.as_bytes());
        batch.push(1, key, &[], value.map(str::as_bytes)).unwrap();
    }
    let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records: batch }];
    log.append(Append { batches, ..Append::default() }).await.unwrap();
}

fn found(batches: &[FetchedBatch]) -> Vec<Found> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let records = batches.iter().flat_map(FetchedBatch::iter).map(Result::unwrap);
    records
        .map(|(offset, record)| {
            (offset, text(record.key.unwrap_or_default()), record.value.map(text))
        })
        .collect()
}

/// What a reader gets that begins at `start`, in fetches of `bytes_max`.
async fn contents_from(log: &EmbeddedTransport, start: Start, bytes_max: usize) -> Vec<Found> {
    let end = log.topic("t").await.unwrap().partitions[0].end;
    let topics = vec!["t".to_owned()];
    let subscription = Subscription { topics, group: None, start };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let limit = FetchLimit { bytes_max, wait_max: Duration::ZERO };
    let mut all = Vec::new();
    while reader.positions()[&("t".to_owned(), 0)] < end {
        all.extend(found(&reader.poll(limit).await.unwrap()));
    }
    all
}

async fn contents(log: &EmbeddedTransport) -> Vec<Found> {
    contents_from(log, Start::Earliest, 1 << 20).await
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_the_last_record_of_each_key_with_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let log = compacting(folder.path(), 0);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    append_batch(&log, &[("a", Some("1")), ("b", Some("1")), ("", Some("no key"))]).await;
    append_batch(&log, &[("a", Some("2")), ("c", Some("1"))]).await;
    append_batch(&log, &[("c", None), ("b", Some("2"))]).await;
    let before = log.topic("t").await.unwrap().partitions[0];
    log.clean().await.unwrap();
    let rest = [
        (2, String::new(), some("no key")),
        (3, "a".to_owned(), some("2")),
        (5, "c".to_owned(), None),
        (6, "b".to_owned(), some("2")),
    ];
    assert_eq!(contents(&log).await, rest, "a young tombstone stays");
    let after = log.topic("t").await.unwrap().partitions[0];
    assert_eq!((after.begin, after.end), (before.begin, before.end));
    assert!(after.bytes < before.bytes);
    drop(log);
    let log = compacting(folder.path(), 0);
    assert_eq!(contents(&log).await, rest, "also after a restart");
    assert_eq!(log.topic("t").await.unwrap().partitions[0], after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_goes_when_its_time_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let log = compacting(folder.path(), 0);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    append_batch(&log, &[("a", Some("1")), ("b", Some("1"))]).await;
    append_batch(&log, &[("a", None)]).await;
    log.clean_at(crate::embedded::now_ms() + YEAR_MS).await.unwrap();
    assert_eq!(contents(&log).await, [(1, "b".to_owned(), some("1"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_part_is_not_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let log = compacting(folder.path(), 1_000_000);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    for _ in 0..5 {
        append_batch(&log, &[("a", Some("1")), ("a", Some("2"))]).await;
    }
    log.clean().await.unwrap();
    assert_eq!(contents(&log).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_on_where_compaction_left_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = compacting(folder.path(), 0);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    append_batch(&log, &[("a", Some("1"))]).await;
    append_batch(&log, &[("a", None)]).await;
    log.clean_at(crate::embedded::now_ms() + YEAR_MS).await.unwrap();
    let topics = vec!["t".to_owned()];
    let subscription = Subscription { topics, group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let (batches, ()) = tokio::join!(reader.poll(WAIT), append_batch(&log, &[("b", Some("1"))]));
    assert_eq!(found(&batches.unwrap()), [(2, "b".to_owned(), some("1"))]);
}

/// Keys and values (none: a tombstone) in batches, and after which of them is cleaned.
fn history() -> impl Strategy<Value = Vec<(Vec<(u8, bool)>, bool)>> {
    let record = (0..30_u8, proptest::bool::weighted(0.8));
    let batch = proptest::collection::vec(record, 1..25);
    proptest::collection::vec((batch, proptest::bool::weighted(0.2)), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is appended and whenever it is compacted: each key's last record is there, every
    /// record that is there was appended at that offset, offsets rise, and the newest part is whole.
    #[test]
    fn compaction_loses_nothing_that_counts(history in history(), tail in 0..2000_u64) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let log = compacting(folder.path(), tail);
            log.create_topic("t", &TopicConfig::default()).await.unwrap();
            let mut all = Vec::new();
            for (batch, cleans) in history {
                let batch: Vec<_> = batch
                    .into_iter()
                    .enumerate()
                    .map(|(index, (key, there))| {
                        let value = format!("{}", all.len() + index);
                        (format!("key-{key}"), there.then_some(value))
                    })
                    .collect();
                let given: Vec<_> =
                    batch.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
                append_batch(&log, &given).await;
                all.extend(batch);
                if cleans {
                    log.clean().await.unwrap();
                }
            }
            log.clean().await.unwrap();
            let last: BTreeMap<&str, usize> =
                all.iter().enumerate().map(|(at, (key, _))| (key.as_str(), at)).collect();
            for bytes_max in [1, 700, 1 << 20] {
                let left = contents_from(&log, Start::Earliest, bytes_max).await;
                assert!(left.is_sorted_by(|a, b| a.0 < b.0));
                for (offset, key, value) in &left {
                    let (given_key, given) = &all[usize::try_from(*offset).unwrap()];
                    assert_eq!((key, value), (given_key, given));
                }
                for at in last.values() {
                    assert!(left.iter().any(|(offset, ..)| *offset == *at as u64));
                }
            }
            let middle = all.len() as u64 / 2;
            let offsets = BTreeMap::from([(("t".to_owned(), 0), middle)]);
            let later = contents_from(&log, Start::Offsets(offsets), 1 << 20).await;
            let whole = contents(&log).await;
            let expected: Vec<_> = whole.into_iter().filter(|(o, ..)| *o >= middle).collect();
            assert_eq!(later, expected);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_go_on_while_it_is_compacted() {
    const RECORDS: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let log = compacting(folder.path(), 500);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let reading = log.clone();
    let reader = tokio::spawn(async move {
        let topics = vec!["t".to_owned()];
        let subscription = Subscription { topics, group: None, start: Start::Earliest };
        let mut reader = reading.subscribe(subscription).await.unwrap();
        let limit = FetchLimit { bytes_max: 300, ..WAIT };
        let (mut next, mut last) = (0, BTreeMap::new());
        while next < RECORDS {
            for (offset, key, value) in found(&reader.poll(limit).await.unwrap()) {
                assert!(offset >= next, "{offset} came after {next}");
                next = offset + 1;
                last.insert(key, value.unwrap());
            }
        }
        last
    });
    for index in 0..RECORDS / 10 {
        let values: Vec<String> = (0..10).map(|n| format!("{}", index * 10 + n)).collect();
        let keys: Vec<String> = (0..10).map(|n| format!("k{}", (index * 7 + n) % 60)).collect();
        let batch: Vec<_> =
            keys.iter().zip(&values).map(|(k, v)| (k.as_str(), Some(v.as_str()))).collect();
        append_batch(&log, &batch).await;
        if index % 5 == 0 {
            log.clean().await.unwrap();
        }
    }
    let seen = reader.await.unwrap();
    let there: BTreeMap<String, String> =
        contents(&log).await.into_iter().map(|(_, key, value)| (key, value.unwrap())).collect();
    assert_eq!(seen, there);
}

async fn with_retention(
    ms: Option<u64>,
    bytes: Option<u64>,
) -> (EmbeddedTransport, tempfile::TempDir) {
    let (log, folder) = make().await;
    let config = TopicConfig {
        cleanup_policy: CleanupPolicy::Delete,
        retention_ms: ms,
        retention_bytes: bytes,
        ..TopicConfig::default()
    };
    log.create_topic("t", &config).await.unwrap();
    (log, folder)
}

/// The keys of the storage that hold records.
fn stored_batches(log: &EmbeddedTransport) -> usize {
    let guard = log.shared.store.read().unwrap();
    guard.as_ref().unwrap().records.len().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_size_drops_the_oldest_batches() {
    let (log, folder) = with_retention(None, Some(500)).await;
    for _ in 0..60 {
        append_batch(&log, &[("a", Some("x")), ("a", Some("y"))]).await;
    }
    log.clean().await.unwrap();
    let info = log.topic("t").await.unwrap().partitions[0];
    assert!((401..=500).contains(&info.bytes.unwrap()), "{info:?}");
    assert_eq!(info.end, 120);
    let left = contents(&log).await;
    assert_eq!(left.first().unwrap().0, info.begin);
    assert_eq!(left.len() as u64, info.end - info.begin);
    assert_eq!(stored_batches(&log) as u64, (info.end - info.begin) / 2);
    let from_old = Start::Offsets(BTreeMap::from([(("t".to_owned(), 0), 1)]));
    assert_eq!(contents_from(&log, from_old, 1 << 20).await, left);
    drop(log);
    assert_eq!(open(folder.path()).topic("t").await.unwrap().partitions[0], info);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_age_drops_all_and_appends_go_on() {
    let (log, _folder) = with_retention(Some(1000), None).await;
    append_batch(&log, &[("a", Some("1")), ("a", Some("2"))]).await;
    log.clean().await.unwrap();
    assert_eq!(contents(&log).await.len(), 2, "too young");
    log.clean_at(crate::embedded::now_ms() + YEAR_MS).await.unwrap();
    let info = log.topic("t").await.unwrap().partitions[0];
    assert_eq!((info.begin, info.end, info.bytes), (2, 2, Some(0)));
    append_batch(&log, &[("a", Some("3"))]).await;
    assert_eq!(contents(&log).await, [(2, "a".to_owned(), some("3"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_retention_overtook_reads_on_from_what_is_there() {
    let (log, _folder) = with_retention(None, Some(100)).await;
    for index in 0..50 {
        append_batch(&log, &[("a", Some(&format!("{index:02}")))]).await;
    }
    let topics = vec!["t".to_owned()];
    let subscription = Subscription { topics, group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let small = FetchLimit { bytes_max: 1, ..WAIT };
    assert_eq!(found(&reader.poll(small).await.unwrap())[0].0, 0);
    log.clean().await.unwrap();
    let begin = log.topic("t").await.unwrap().partitions[0].begin;
    assert!(begin > 40);
    assert_eq!(found(&reader.poll(small).await.unwrap())[0].0, begin);
}

/// As a part of the storage that cannot be read would be.
fn spoil(log: &EmbeddedTransport, topic_id: u32) {
    let guard = log.shared.store.read().unwrap();
    let store = guard.as_ref().unwrap();
    let key = record_key(topic_id, 0, 0);
    let mut value = store.records.get(key).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    store.write(vec![(key, Some(value))], Puts::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_partition_is_told_and_the_others_are_cleaned() {
    let folder = tempfile::tempdir().unwrap();
    let log = compacting(folder.path(), 0);
    for topic in ["damaged", "t"] {
        log.create_topic(topic, &TopicConfig::default()).await.unwrap();
    }
    append_batch(&log, &[("a", Some("1"))]).await;
    append_batch(&log, &[("a", Some("2"))]).await;
    let mut records = Records::default();
    records.push(1, Some(b"a"), &[], Some(b"1")).unwrap();
    let batches = vec![PartitionBatch { topic: "damaged".into(), partition: 0, records }];
    log.append(Append { batches, ..Append::default() }).await.unwrap();
    spoil(&log, 0);
    let error = log.clean().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("topic=damaged"), "{error}");
    assert_eq!(contents(&log).await, [(1, "a".to_owned(), some("2"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_topics_records_and_offsets_leave_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    for _ in 0..20 {
        append_batch(&log, &[("a", Some("1"))]).await;
    }
    let offset = GroupOffset { group: "g".into(), topic: "t".into(), partition: 0, offset: 3 };
    log.append(Append { offsets: vec![offset], ..Append::default() }).await.unwrap();
    log.delete_topic("t").await.unwrap();
    drop(log);
    let log = open(folder.path());
    assert!(log.committed("g").await.unwrap().is_empty());
    assert_eq!(stored_batches(&log), 20);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    append_batch(&log, &[("b", Some("1"))]).await;
    log.clean().await.unwrap();
    assert_eq!(stored_batches(&log), 1, "the new topic of that name keeps its own");
    assert_eq!(contents(&log).await, [(0, "b".to_owned(), some("1"))]);
    drop(log);
    assert!(open(folder.path()).shared.read_state().gone.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readers_need_no_more_is_dropped_by_whole_batches() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
    let config = TopicConfig { cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() };
    log.create_topic("t", &config).await.unwrap();
    for value in ["1", "2", "3"] {
        append_batch(&log, &[("a", Some(value)), ("b", Some(value))]).await;
    }
    log.trim("t", 0, 3).await.unwrap();
    let offsets = |all: Vec<Found>| all.into_iter().map(|found| found.0).collect::<Vec<_>>();
    assert_eq!(offsets(contents(&log).await), [2, 3, 4, 5], "a batch stays whole");
    let bytes = log.topic("t").await.unwrap().partitions[0].bytes.unwrap();
    log.trim("t", 0, 4).await.unwrap();
    assert!(log.topic("t").await.unwrap().partitions[0].bytes.unwrap() < bytes);
    log.trim("t", 0, 100).await.unwrap();
    assert_eq!(contents(&log).await, []);
    append_batch(&log, &[("c", Some("4"))]).await;
    log.trim("t", 0, 0).await.unwrap();
    assert_eq!(offsets(contents(&log).await), [6], "offsets go on");
    assert_eq!(log.trim("x", 0, 1).await.unwrap_err().kind(), ErrorKind::NotFound);
}
