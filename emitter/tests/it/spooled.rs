//! The spool: events are taken while their topics are away, outlive the process, and arrive once.

use crate::support::{Line, Mesh, Order, audit, eventually, ids, order};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_emitter::{Emitter, ErrorKind, EventOptions, Spool, Topic, WhenFull};
use tidemesh_transport::Transport;

impl Mesh {
    fn spooled(&self, folder: &Path) -> tidemesh_emitter::EmitterBuilder {
        self.builder("shop").event_to::<Order>(Topic::new().partitions(2)).spool(Spool::new(folder))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_taken_while_their_topics_are_away_and_delivered_once_afterwards() {
    let mut mesh = Mesh::new().await;
    let folder = mesh.folder.path().join("spool");
    let emitter = mesh.spooled(&folder).connect().await.unwrap();
    emitter.emit(&order(0)).await.unwrap();
    emitter.flush().await.unwrap();
    mesh.go_away().await;
    for id in 1..50 {
        emitter.emit(&order(id)).await.unwrap();
    }
    assert_eq!((emitter.counts().spooled, emitter.counts().delivered), (50, 1));
    mesh.come_back().await;
    emitter.flush().await.unwrap();
    let found = mesh.read("shop.orders").await;
    audit(&found);
    let mut all = ids(&found);
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
    emitter.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_has_left_in_the_spool_is_delivered_by_the_next_though_all_are_away_at_its_start()
 {
    let mut mesh = Mesh::new().await;
    let folder = mesh.folder.path().join("spool");
    let emitter = mesh.spooled(&folder).connect().await.unwrap();
    emitter.emit(&order(0)).await.unwrap();
    emitter.flush().await.unwrap();
    mesh.go_away().await;
    for id in 1..20 {
        emitter.emit(&order(id)).await.unwrap();
    }
    // As a process that ends at once: nothing is waited for.
    emitter.abort().await;
    let nowhere =
        |builder: tidemesh_emitter::EmitterBuilder| builder.registry("http://127.0.0.1:1");
    let emitter = eventually(async || nowhere(mesh.spooled(&folder)).connect().await.ok()).await;
    emitter.emit(&order(20)).await.unwrap();
    mesh.come_back().await;
    emitter.flush().await.unwrap();
    let found = mesh.read("shop.orders").await;
    audit(&found);
    let mut all = ids(&found);
    all.sort_unstable();
    assert_eq!(all, (0..=20).collect::<Vec<_>>());
    // What it does not know needs the registry.
    emitter.close().await.unwrap();
    let other = mesh.builder("shop").topic("other", Topic::new()).spool(Spool::new(&folder));
    let other = nowhere(other).connect_timeout(Duration::from_millis(100));
    assert_eq!(other.connect().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_spooled_event_arrives_once_though_the_line_is_cut_and_emitters_end_at_once() {
    let mesh = Mesh::new().await;
    let folder = mesh.folder.path().join("spool");
    let step = AtomicU64::new(1);
    let next = move || 5_000 + step.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919) % 90_000;
    let line = Line::to(mesh.address, next).await;
    let mut sent = 0;
    for _ in 0..6 {
        let builder = Emitter::builder("shop").remote(format!("tcp://{}", line.address));
        let builder = builder.registry(&mesh.registry).spool(Spool::new(&folder));
        let builder = builder.event_to::<Order>(Topic::new().partitions(3));
        let emitter = builder.connect().await.unwrap();
        for _ in 0..1500 {
            let _ = emitter.enqueue(&order(sent)).await.unwrap();
            sent += 1;
        }
        emitter.emit(&order(sent)).await.unwrap();
        sent += 1;
        emitter.abort().await;
    }
    line.calm();
    let emitter = eventually(async || mesh.spooled(&folder).connect().await.ok()).await;
    emitter.flush().await.unwrap();
    let found = mesh.read("shop.orders").await;
    audit(&found);
    // Each event but the last before an end was only queued: those that an end took are missing, and
    // none is there twice.
    let mut all = ids(&found);
    all.sort_unstable();
    let mut once = all.clone();
    once.dedup();
    assert_eq!(all, once);
    assert!((0..6).all(|life| all.contains(&(life * 1501 + 1500))), "each that was durable");
    assert!(line.cuts.load(Ordering::Relaxed) > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_does_as_the_queue_and_leaves_the_disk_when_it_is_delivered() {
    let mut mesh = Mesh::new().await;
    let folder = mesh.folder.path().join("spool");
    let spool = Spool::new(&folder).bytes_max(1024 * 1024);
    let builder = mesh.builder("shop").event::<Order>().spool(spool).queue_bytes_max(64 * 1024);
    let emitter = builder.when_full(WhenFull::Fail).connect().await.unwrap();
    mesh.go_away().await;
    let large = |id| Order { note: Some("x".repeat(10_000)), ..order(id) };
    let mut taken = 0;
    let error = loop {
        match emitter.emit_nowait(&large(taken)) {
            Ok(delivery) if taken < 100 => {
                delivery.await.unwrap();
                taken += 1;
            }
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    mesh.come_back().await;
    emitter.flush().await.unwrap();
    assert_eq!(ids(&mesh.read("shop.orders").await), (0..taken).collect::<Vec<_>>());
    let with = |id| emitter.topic("shop.orders").map(|topic| (topic, large(id)));
    for id in taken..taken + 200 {
        let (topic, event) = with(id).unwrap();
        eventually(async || topic.emit(&event, EventOptions::new()).await.ok()).await;
    }
    emitter.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_belongs_to_one_emitter() {
    let mesh = Mesh::new().await;
    let folder = mesh.folder.path().join("spool");
    let emitter = mesh.spooled(&folder).connect().await.unwrap();
    let error = mesh.spooled(&folder).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    emitter.close().await.unwrap();
    let other = || mesh.builder("other").event::<Order>().spool(Spool::new(&folder));
    let error = eventually(async || {
        other().connect().await.err().filter(|error| error.kind() != ErrorKind::Conflict)
    });
    let error = error.await;
    assert!(error.to_string().contains("another emitter's"), "{error}");
    let bound = other().spool(Spool::new(&folder).bytes_max(1)).connect().await.unwrap_err();
    assert_eq!(bound.kind(), ErrorKind::Config);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_refuses_holds_up_no_other_and_is_told_by_flush() {
    let mesh = Mesh::new().await;
    let folder = mesh.folder.path().join("spool");
    let builder = || {
        let builder = mesh.builder("shop").event::<Order>().spool(Spool::new(&folder));
        builder.topic_with_schema("other", crate::support::ORDER, Topic::new())
    };
    let emitter = builder().connect().await.unwrap();
    mesh.log.delete_topic("shop.orders").await.unwrap();
    let other = emitter.topic("other").unwrap();
    for id in 0..20 {
        emitter.emit(&order(id)).await.unwrap();
        other.emit(&order(id), EventOptions::new()).await.unwrap();
    }
    let error = emitter.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(ids(&mesh.read("other").await), (0..20).collect::<Vec<_>>());
    // Whoever may still emit keeps the spool open.
    drop(other);
    let error = emitter.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // The next start makes the topic, and the spool has kept its events.
    let emitter = eventually(async || builder().connect().await.ok()).await;
    emitter.flush().await.unwrap();
    assert_eq!(ids(&mesh.read("shop.orders").await), (0..20).collect::<Vec<_>>());
    assert_eq!(mesh.read("other").await.len(), 20, "none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_was_put_back_to_an_earlier_state_is_told() {
    let mesh = Mesh::new().await;
    let (folder, copy) = (mesh.folder.path().join("spool"), mesh.folder.path().join("copy"));
    let emit = async |folder: &Path, ids: std::ops::Range<i64>| {
        let emitter = eventually(async || mesh.spooled(folder).connect().await.ok()).await;
        for id in ids {
            emitter.emit(&order(id)).await?;
        }
        emitter.close().await
    };
    emit(&folder, 0..5).await.unwrap();
    // Read as long as nobody has it: the lock goes with the last of the emitter's tasks.
    let copied = std::process::Command::new("cp").arg("-a").arg(&folder).arg(&copy).status();
    assert!(copied.unwrap().success());
    emit(&folder, 5..30).await.unwrap();
    let error = emit(&copy, 30..31).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.report().contains("earlier state"), "{}", error.report());
    assert_eq!(mesh.read("shop.orders").await.len(), 30);
}
