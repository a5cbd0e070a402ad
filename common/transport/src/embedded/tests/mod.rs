//! The embedded log: the contract, and what only a log on disk promises.

mod cleaning;
mod crash;
mod full;

use super::state::Puts;
use super::store::record_key;
use super::{EmbeddedConfig, EmbeddedTransport};
use crate::{
    Append, FetchLimit, PartitionBatch, Reader, Records, Start, Subscription, TopicConfig,
    Transport,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemesh_model::{ErrorKind, StateItem};

const WAIT: FetchLimit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(10) };

fn open(folder: &Path) -> EmbeddedTransport {
    EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()
}

/// What follows `name` in this process's arguments. A test that starts itself again as a child tells
/// it so what to do; to the test harness these are filters that match nothing.
fn argument(name: &str) -> Option<String> {
    std::env::args().find_map(|argument| Some(argument.strip_prefix(name)?.to_owned()))
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
    assert!(log.recovery().cuts.is_empty());
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
    drop(open(folder.path()));
    std::fs::write(folder.path().join("format"), "tidemesh-log 99\n").unwrap();
    let error = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("format=99"), "{error}");
}

/// The one journal of a small log.
fn journal(folder: &Path) -> std::path::PathBuf {
    std::fs::read_dir(folder.join("store"))
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
    assert_eq!(log.recovery().cuts.len(), 1);
    assert!(log.recovery().cuts[0].bytes > 0);
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
    let key = record_key(0, 0, 0);
    {
        let guard = log.shared.store.read().unwrap();
        let store = guard.as_ref().unwrap();
        let mut value = store.records.get(key).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        store.write(vec![(key, Some(value))], Puts::new()).unwrap();
    }
    let error = read_all(&log).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("topic=t, partition=0, base_offset=0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_missing_is_told() {
    let (log, _folder) = make().await;
    for value in [b"one", b"two", b"six"] {
        append(&log, value).await;
    }
    {
        let guard = log.shared.store.read().unwrap();
        let store = guard.as_ref().unwrap();
        store.write(vec![(record_key(0, 0, 1), None)], Puts::new()).unwrap();
    }
    let error = read_all(&log).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(error.to_string().contains("base_offset=1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_a_file_of_the_storage_is_told_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, &[b'A'; 20_000]).await;
    append(&log, &[b'B'; 20_000]).await;
    append(&log, b"the state that stays").await;
    flush(&log);
    drop(log);
    let keyspaces = folder.path().join("store/keyspaces");
    let whole = Copy::of(&keyspaces);

    let (file, place) = find(&keyspaces, "blobs", &[b'B'; 1000]).unwrap();
    damage(&file, place + 500);
    let log = open(folder.path());
    let error = read_all(&log).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("topic=t, partition=0, base_offset=1"), "{text}");
    assert!(text.contains(&format!("file={}", file.display())), "{text}");
    assert!(text.contains("offset_in_file="), "{text}");
    drop(log);

    whole.put_back(&keyspaces);
    let (file, place) = find(&keyspaces, "tables", b"the state that").unwrap();
    damage(&file, place);
    let error = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains(&format!("file={}", file.display())), "{error}");
}

fn damage(file: &Path, place: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[place] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// The bytes of every file below a folder.
struct Copy(Vec<(PathBuf, Vec<u8>)>);

impl Copy {
    fn of(folder: &Path) -> Self {
        let mut files = Vec::new();
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                files.extend(Self::of(&path).0);
            } else {
                files.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
        Self(files)
    }

    fn put_back(&self, folder: &Path) {
        std::fs::remove_dir_all(folder).unwrap();
        for (path, bytes) in &self.0 {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// Has all that is in memory written to files, and waits for it.
fn flush(log: &EmbeddedTransport) {
    let guard = log.shared.store.read().unwrap();
    let store = guard.as_ref().unwrap();
    for keyspace in [&store.records, &store.meta] {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
}

/// The file below `folder`, in a folder called `kind`, that holds `wanted`, and where.
fn find(folder: &Path, kind: &str, wanted: &[u8]) -> Option<(PathBuf, usize)> {
    Copy::of(folder).0.into_iter().find_map(|(path, bytes)| {
        let place = bytes.windows(wanted.len()).position(|window| window == wanted)?;
        (path.parent()?.file_name()? == kind).then_some((path, place))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_waits_while_the_budget_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        EmbeddedConfig { append_bytes_in_flight_max: 65_536, ..EmbeddedConfig::new(folder.path()) };
    let log = EmbeddedTransport::open(&config).unwrap();
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let held = std::sync::Arc::clone(&log.writing.budget).acquire_many_owned(65_536).await.unwrap();
    let mut records = Records::default();
    records.push(1, None, &[], Some(&[1; 100_000])).unwrap();
    let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
    let mut appending = Box::pin(log.append(Append { batches, ..Append::default() }));
    let waits = tokio::time::timeout(Duration::from_millis(50), &mut appending).await;
    assert!(waits.is_err(), "the append did not wait");
    drop(held);
    appending.await.unwrap();
}
