//! A queue that is full, in each policy, and events that are too large.

use crate::support::{Mesh, Order, audit, ids, order};
use tidemesh_emitter::{ErrorKind, WhenFull};

/// The least that a queue can have.
const QUEUE_BYTES: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_makes_the_application_wait() {
    let mut mesh = Mesh::new().await;
    let builder = mesh.builder("shop").event::<Order>().queue_bytes_max(QUEUE_BYTES);
    let emitter = builder.connect().await.unwrap();
    mesh.go_away().await;
    let mut taken = 0;
    let error = loop {
        match emitter.emit_nowait(&order(taken)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(taken > 100, "{taken}");
    let waiting = {
        let emitter = emitter.clone();
        tokio::spawn(async move { emitter.emit(&order(taken)).await })
    };
    mesh.come_back().await;
    waiting.await.unwrap().unwrap();
    emitter.flush().await.unwrap();
    let found = mesh.read("shop.orders").await;
    assert_eq!(ids(&found), (0..=taken).collect::<Vec<_>>());
    audit(&found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_fails_or_drops_as_it_is_told() {
    let mut mesh = Mesh::new().await;
    let with = |name: &str, when_full| {
        let builder = mesh.builder(name).event::<Order>();
        builder.queue_bytes_max(QUEUE_BYTES).when_full(when_full).connect()
    };
    let (failing, dropping) =
        (with("a", WhenFull::Fail).await.unwrap(), with("b", WhenFull::Drop).await.unwrap());
    mesh.go_away().await;
    let mut failed = 0;
    for id in 0..2000 {
        if let Err(error) = failing.enqueue(&order(id)).await {
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
            failed += 1;
        }
    }
    let mut dropped = 0;
    for id in 0..2000 {
        let delivery = dropping.emit_nowait(&order(id)).unwrap();
        if delivery.is_dropped() {
            dropped += 1;
            assert_eq!(delivery.await.unwrap_err().kind(), ErrorKind::Exhausted);
        }
    }
    mesh.come_back().await;
    failing.flush().await.unwrap();
    dropping.flush().await.unwrap();
    let (a, b) = (failing.counts(), dropping.counts());
    assert_eq!((a.taken, a.refused, a.dropped), (2000 - failed, failed, 0));
    assert_eq!((b.taken, b.refused, b.dropped), (2000 - dropped, 0, dropped));
    assert!(failed > 0 && dropped > 0);
    let found = mesh.read("shop.orders").await;
    assert_eq!(found.len() as u64, a.delivered + b.delivered);
    audit(&found);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_refused_at_once() {
    let mesh = Mesh::new().await;
    let builder = mesh.builder("shop").event::<Order>().queue_bytes_max(QUEUE_BYTES);
    let emitter = builder.connect().await.unwrap();
    let large = Order { note: Some("x".repeat(QUEUE_BYTES)), ..order(1) };
    for error in [
        emitter.emit(&large).await.unwrap_err(),
        emitter.emit_nowait(&large).map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().contains("topic=shop.orders"), "{error}");
    }
    let fits = Order { note: Some("x".repeat(QUEUE_BYTES - 200)), ..order(2) };
    for _ in 0..3 {
        emitter.emit(&fits).await.unwrap();
    }
    assert_eq!(ids(&mesh.read("shop.orders").await), [2, 2, 2]);
}
