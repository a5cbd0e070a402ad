//! The embedded log: the contract, and what only a log on disk promises.

use super::{EmbeddedConfig, EmbeddedTransport};
use crate::{
    Append, FetchLimit, PartitionBatch, Reader, Records, Start, Subscription, TopicConfig,
    Transport,
};
use std::path::Path;
use std::time::Duration;
use tidemesh_model::{ErrorKind, StateItem};

const WAIT: FetchLimit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(10) };

fn open(folder: &Path) -> EmbeddedTransport {
    EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()
}

async fn make() -> (EmbeddedTransport, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(folder.path()), folder)
}

mod contract {
    crate::conformance::conformance_tests!(super::make);
}

async fn append(log: &EmbeddedTransport, value: &[u8]) {
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let mut records = Records::default();
    records.push(1, Some(b"k"), &[], Some(value)).unwrap();
    let writer = log.open_writer("w").await.unwrap();
    log.append(Append {
        writer: Some(writer),
        batches: vec![PartitionBatch { topic: "t".into(), partition: 0, records }],
        state: vec![StateItem { key: "k".into(), value: Some(value.to_vec()) }],
        ..Append::default()
    })
    .await
    .unwrap();
}

async fn read_all(log: &EmbeddedTransport) -> tidemesh_model::Result<Vec<Vec<u8>>> {
    let end = log.topic("t").await?.partitions[0].end;
    let topics = vec!["t".to_owned()];
    let mut reader =
        log.subscribe(Subscription { topics, group: None, start: Start::Earliest }).await?;
    let mut values = Vec::new();
    while (values.len() as u64) < end {
        for batch in reader.poll(WAIT).await? {
            for record in batch.iter() {
                values.push(record?.1.value.unwrap_or_default().to_vec());
            }
        }
    }
    Ok(values)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_back_with_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, b"one").await;
    drop(log);
    let log = open(folder.path());
    append(&log, b"two").await;
    drop(log);
    let log = open(folder.path());
    assert!(log.cuts().is_empty());
    assert_eq!(read_all(&log).await.unwrap(), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(log.state("w").await.unwrap()["k"], b"two");
    assert_eq!(log.open_writer("w").await.unwrap().epoch, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_open_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _log = open(folder.path());
    let error = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().contains("stop the other"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let store = &log.shared.store;
    let mut batch = store.batch();
    batch.insert(&store.meta, super::store::VERSION_KEY, 99_u32.to_be_bytes());
    batch.commit().unwrap();
    drop(log);
    let error = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("version=99"), "{error}");
}

/// The one journal of a small log.
fn journal(folder: &Path) -> std::path::PathBuf {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_write_is_cut_and_all_before_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, b"one").await;
    append(&log, b"two").await;
    drop(log);
    let file = journal(folder.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 8..].fill(0);
    std::fs::write(&file, &bytes).unwrap();
    let log = open(folder.path());
    assert_eq!(log.cuts().len(), 1);
    assert!(log.cuts()[0].bytes > 0);
    assert_eq!(read_all(&log).await.unwrap(), [b"one".to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_damaged_before_the_end_stops_with_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, &[b'A'; 500]).await;
    append(&log, b"two").await;
    drop(log);
    let file = journal(folder.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(100).position(|window| window == [b'A'; 100]).unwrap();
    bytes[place] = b'B';
    std::fs::write(&file, &bytes).unwrap();
    let error = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(".jnl"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_what_was_written_is_told_by_topic_and_offset() {
    let (log, _folder) = make().await;
    append(&log, b"one").await;
    let key = super::store::record_key(0, 0, 0);
    let store = &log.shared.store;
    let mut value = store.records.get(key).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    let mut batch = store.batch();
    batch.insert(&store.records, key, value);
    batch.commit().unwrap();
    let error = read_all(&log).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("topic=t, partition=0, base_offset=0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_waits_while_the_budget_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        EmbeddedConfig { append_bytes_in_flight_max: 4096, ..EmbeddedConfig::new(folder.path()) };
    let log = EmbeddedTransport::open(&config).unwrap();
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let held = std::sync::Arc::clone(&log.writer.budget).acquire_many_owned(4096).await.unwrap();
    let mut records = Records::default();
    records.push(1, None, &[], Some(&[1; 100_000])).unwrap();
    let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
    let mut appending = Box::pin(log.append(Append { batches, ..Append::default() }));
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut appending).await;
    assert!(waits.is_err(), "the append did not wait");
    drop(held);
    appending.await.unwrap();
}

fn cleaner(log: &EmbeddedTransport) -> super::clean::Cleaner {
    let jobs = log.writer.jobs.as_ref().unwrap();
    let mut cleaner = super::clean::Cleaner::new(&log.shared, jobs, &log.writer.budget);
    cleaner.bytes_min = 0;
    cleaner
}

/// Appends one batch of records, each a key, a value or none, and a timestamp.
async fn append_batch(log: &EmbeddedTransport, records: &[(&str, Option<&str>, i64)]) {
    let mut batch = Records::default();
    for (key, value, timestamp_ms) in records {
        batch.push(*timestamp_ms, Some(key.as_bytes()), &[], value.map(str::as_bytes)).unwrap();
    }
    let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records: batch }];
    log.append(Append { batches, ..Append::default() }).await.unwrap();
}

/// Offset, key and value of every record that a reader gets.
async fn contents(log: &EmbeddedTransport) -> Vec<(u64, String, Option<String>)> {
    let end = log.topic("t").await.unwrap().partitions[0].end;
    let topics = vec!["t".to_owned()];
    let subscription = Subscription { topics, group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = Vec::new();
    while reader.positions()[&("t".to_owned(), 0)] < end {
        for batch in reader.poll(WAIT).await.unwrap() {
            for record in batch.iter() {
                let (offset, record) = record.unwrap();
                found.push((offset, text(record.key.unwrap()), record.value.map(text)));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_the_last_record_of_each_key_with_its_offset() {
    const LONG_AGO: i64 = 1;
    let now = i64::MAX / 2;
    let (log, _folder) = make().await;
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    append_batch(&log, &[("a", Some("1"), now), ("b", Some("1"), now)]).await;
    append_batch(&log, &[("a", Some("2"), now), ("c", Some("1"), now)]).await;
    append_batch(&log, &[("c", None, LONG_AGO), ("b", None, now)]).await;
    append_batch(&log, &[("a", Some("3"), now)]).await;
    let before = log.topic("t").await.unwrap().partitions[0];
    let mut cleaning = cleaner(&log);
    tokio::task::spawn_blocking(move || cleaning.clean()).await.unwrap().unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        contents(&log).await,
        [(2, "a".to_owned(), some("2")), (5, "b".to_owned(), None), (6, "a".to_owned(), some("3"))],
        "the newest batch is not looked at, an old tombstone goes"
    );
    let after = log.topic("t").await.unwrap().partitions[0];
    assert_eq!((after.begin, after.end), (before.begin, before.end));
    assert!(after.bytes < before.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_drops_the_oldest_batches_by_age_and_by_size() {
    for (retention_ms, retention_bytes) in [(Some(1000), None), (None, Some(60))] {
        let (log, _folder) = make().await;
        let config = TopicConfig {
            cleanup_policy: tidemesh_model::CleanupPolicy::Delete,
            retention_ms,
            retention_bytes,
            ..TopicConfig::default()
        };
        log.create_topic("t", &config).await.unwrap();
        append_batch(&log, &[("a", Some("1"), 1), ("a", Some("2"), 1)]).await;
        append_batch(&log, &[("a", Some("3"), i64::MAX / 2)]).await;
        append_batch(&log, &[("a", Some("4"), i64::MAX / 2)]).await;
        let mut cleaning = cleaner(&log);
        tokio::task::spawn_blocking(move || cleaning.clean()).await.unwrap().unwrap();
        let found: Vec<u64> = contents(&log).await.iter().map(|(offset, _, _)| *offset).collect();
        assert_eq!(found.last(), Some(&3));
        assert!(!found.contains(&0) && !found.contains(&1), "{found:?}");
        assert!(log.topic("t").await.unwrap().partitions[0].begin >= 2);
    }
}
