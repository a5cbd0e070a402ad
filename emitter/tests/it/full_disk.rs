//! A disk that is too full for the spool: events wait in memory, the application is told why, and once there
//! is room each is delivered once.
//!
//! The disk is made full by a limit on the size of files (setrlimit(2), `RLIMIT_FSIZE`) in a child process.

use crate::support::{
    Mesh, Order, audit, eventually, ids, in_a_process_of_its_own, is_child, order,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use tidemesh_emitter::{Delivery, Emitter, ErrorKind, Spool, Topic, WhenFull};

/// The size of files that is allowed while the disk is "full".
const FULL_BYTES: u64 = 300_000;

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

fn large(id: i64) -> Order {
    Order { note: Some("x".repeat(10_000)), ..order(id) }
}

/// Emits until the queue is full too; the deliveries of what was taken.
fn fill(emitter: &Emitter) -> Vec<Delivery> {
    let mut taken = Vec::new();
    loop {
        match emitter.emit_nowait(&large(taken.len().try_into().unwrap())) {
            Ok(delivery) => taken.push(delivery),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                return taken;
            }
        }
    }
}

/// Run by the other test in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn child_whose_disk_is_full() {
    if !is_child() {
        return;
    }
    let mut mesh = Mesh::new().await;
    let folder = |name: &str| mesh.folder.path().join(name);
    let builder = |name: &str| {
        let builder = mesh.builder(name).event_to::<Order>(Topic::new().name(name));
        let builder = builder.spool(Spool::new(folder(name))).when_full(WhenFull::Fail);
        builder.queue_bytes_max(1024 * 1024)
    };
    let patient = builder("patient").connect().await.unwrap();
    let hasty = builder("hasty").delivery_timeout(Duration::from_millis(300));
    let hasty = hasty.connect().await.unwrap();
    let full = folder("hasty").display().to_string();
    mesh.go_away().await;
    limit(Some(FULL_BYTES));

    // One that waits for as long as it takes.
    let taken = fill(&patient);
    eventually(async || (patient.counts().retried > 0).then_some(())).await;
    // One that does not tells why.
    for delivery in fill(&hasty) {
        let Err(error) = delivery.await else { continue };
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let report = error.report();
        assert!(report.contains(&full), "{report}");
    }
    assert!(hasty.counts().failed > 0);

    limit(None);
    for delivery in &taken {
        delivery.receipt().await.unwrap();
    }
    mesh.come_back().await;
    patient.flush().await.unwrap();
    let found = mesh.read("patient").await;
    audit(&found);
    assert_eq!(ids(&found), (0..i64::try_from(taken.len()).unwrap()).collect::<Vec<_>>());
    patient.close().await.unwrap();
}

#[test]
fn events_wait_for_room_on_the_disk_and_are_delivered_once() {
    in_a_process_of_its_own("full_disk::child_whose_disk_is_full");
}
