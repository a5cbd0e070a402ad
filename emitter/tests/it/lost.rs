//! Answers that are lost, stores that are away, emitters of one name: each event once, in order.

use crate::support::{Line, Mesh, Order, audit, eventually, ids, order};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_emitter::{Emitter, ErrorKind};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_there_once_though_the_line_is_cut_again_and_again() {
    let mesh = Mesh::new().await;
    let step = AtomicU64::new(1);
    // Odd numbers of bytes, so that requests and answers are cut anywhere.
    let next = move || 2_000 + step.fetch_add(1, Ordering::Relaxed).wrapping_mul(7919) % 90_000;
    let line = Line::to(mesh.address, next).await;
    let builder = Emitter::builder("shop").remote(format!("tcp://{}", line.address));
    let emitter = builder.registry(&mesh.registry).event::<Order>().connect().await.unwrap();
    let mut sent: i64 = 0;
    let mut deliveries = Vec::new();
    while line.cuts.load(Ordering::Relaxed) < 40 {
        for _ in 0..100 {
            deliveries.push(emitter.enqueue(&order(sent)).await.unwrap());
            sent += 1;
        }
        deliveries.last().unwrap().receipt().await.unwrap();
    }
    line.calm();
    emitter.flush().await.unwrap();
    let found = mesh.read("shop.orders").await;
    assert_eq!(ids(&found), (0..sent).collect::<Vec<_>>());
    audit(&found);
    for (found, delivery) in found.iter().zip(deliveries) {
        let receipt = delivery.await.unwrap();
        assert_eq!(receipt.sequence, found.sequence);
        assert!(receipt.offset.is_none_or(|offset| offset == found.offset));
    }
    assert!(emitter.counts().retried > 5, "{:?}", emitter.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_log_that_is_away_or_fail_in_their_time() {
    let mut mesh = Mesh::new().await;
    let patient = mesh.builder("a").event::<Order>().connect().await.unwrap();
    let hasty = mesh.builder("b").event::<Order>().delivery_timeout(Duration::from_millis(300));
    let hasty = hasty.connect().await.unwrap();
    mesh.go_away().await;
    let waits = patient.emit_nowait(&order(1)).unwrap();
    let error = hasty.emit(&order(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.report().contains("data_port"), "the cause is told: {}", error.report());
    mesh.come_back().await;
    waits.await.unwrap();
    hasty.emit(&order(3)).await.unwrap();
    let mut found = ids(&mesh.read("shop.orders").await);
    found.sort_unstable();
    assert_eq!(found, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_emitter_of_a_name_has_it() {
    let mesh = Mesh::new().await;
    let connect = || mesh.builder("shop").event::<Order>().connect();
    let old = connect().await.unwrap();
    old.emit(&order(1)).await.unwrap();
    let new = connect().await.unwrap();
    new.emit(&order(2)).await.unwrap();
    let error = old.emit(&order(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.report().contains("a name of its own"), "{}", error.report());
    let error = eventually(async || old.emit_nowait(&order(4)).err()).await;
    assert_eq!(error.kind(), ErrorKind::Fenced, "it takes nothing more");
    new.emit(&order(5)).await.unwrap();
    assert_eq!(ids(&mesh.read("shop.orders").await), [1, 2, 5]);
}
