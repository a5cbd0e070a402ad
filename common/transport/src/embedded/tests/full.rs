//! A disk that is full: the append fails and leaves nothing, and once there is room it goes on.
//!
//! The disk is made full by a limit on the size of files (setrlimit(2), `RLIMIT_FSIZE`) in a child
//! process; a shell has it ignore SIGXFSZ first, so that a write fails instead of killing it.

use super::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::Command;

/// What tells the child its folder; without it, it does nothing.
const FOLDER: &str = "full-folder=";

/// The size of files that is allowed while the disk is "full".
const FULL_BYTES: u64 = 300_000;

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

fn one(value: &[u8]) -> Append {
    let mut records = Records::default();
    records.push(1, None, &[], Some(value)).unwrap();
    let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
    Append { batches, ..Append::default() }
}

/// Appends until the disk is full; answers how many were acknowledged.
async fn fill(log: &EmbeddedTransport, length: usize) -> u64 {
    let mut acknowledged = 0;
    loop {
        match log.append(one(&vec![b'f'; length])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
                return acknowledged;
            }
        }
    }
}

/// Run by the other test in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn child_whose_disk_is_full() {
    let Some(folder) = argument(FOLDER) else { return };
    let folder = Path::new(&folder);
    let log = open(folder);
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let mut there = 0;
    // Writes that go past the storage's own buffer, and writes that stay within it.
    for length in [20_000, 100] {
        limit(Some(FULL_BYTES + there * 200));
        there += fill(&log, length).await;
        let info = log.topic("t").await.unwrap().partitions[0];
        assert_eq!(info.end, there, "the failed append is not visible");
        assert_eq!(read_all(&log).await.unwrap().len() as u64, there);
        let error = log.append(one(&[b'f'; 20_000])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
        assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");

        limit(None);
        log.append(one(b"room")).await.unwrap();
        there += 1;
        assert_eq!(read_all(&log).await.unwrap().last().unwrap(), b"room");
    }
    drop(log);
    let log = open(folder);
    assert_eq!(log.recovery().cuts, []);
    assert_eq!(read_all(&log).await.unwrap().len() as u64, there, "also after a restart");
}

#[test]
fn an_append_to_a_full_disk_leaves_nothing_and_room_helps() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::full::child_whose_disk_is_full"])
        .args(["--nocapture", "--test-threads=1"])
        .arg(format!("{FOLDER}{}", folder.path().display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

/// The storage's own thread fails to write a table: it stops for good, and the log opens it anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_is_healed_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        EmbeddedConfig { memtable_bytes_max: 64 * 1024, ..EmbeddedConfig::new(folder.path()) };
    let log = EmbeddedTransport::open(&config).unwrap();
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let keyspace = log.shared.store.read().unwrap().as_ref().unwrap().records.path().to_owned();
    let (blobs, aside) = (keyspace.join("blobs"), keyspace.join("aside"));
    std::fs::rename(&blobs, &aside).unwrap();
    std::fs::write(&blobs, "no folder").unwrap();
    let (mut acknowledged, mut failed) = (0, 0);
    while failed < 5 {
        match log.append(one(&[b'f'; 20_000])).await {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
                failed += 1;
            }
        }
    }
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&aside, &blobs).unwrap();
    for _ in 0..10 {
        log.append(one(&[b'f'; 20_000])).await.unwrap();
        acknowledged += 1;
    }
    assert_eq!(read_all(&log).await.unwrap().len(), acknowledged);
    drop(log);
    let log = open(folder.path());
    assert_eq!(read_all(&log).await.unwrap().len(), acknowledged);
}
