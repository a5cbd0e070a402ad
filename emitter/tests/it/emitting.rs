//! What goes in comes out: topics, keys, partitions, headers, times, receipts.

use crate::support::{Mesh, ORDER, Order, audit, eventually, ids, order};
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};
use tidemesh_emitter::{ErrorKind, EventOptions, IDEMPOTENCY_HEADER, Topic};
use tidemesh_transport::{Transport, announced_by};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_durable_in_its_topic_with_key_and_receipt() {
    let mesh = Mesh::new().await;
    let emitter = mesh.builder("shop").event::<Order>().connect().await.unwrap();
    for id in 0..3 {
        let receipt = emitter.emit(&order(id)).await.unwrap();
        assert_eq!((&*receipt.topic, receipt.partition), ("shop.orders", 0));
        let number = u64::try_from(id).unwrap();
        assert_eq!((receipt.offset, receipt.sequence), (Some(number), number));
    }
    let found = mesh.read("shop.orders").await;
    assert_eq!(found[1].value, json!({ "id": 1, "customer": "c1", "note": null }));
    assert_eq!(found[1].key, Some(json!({ "customer": "c1" })));
    audit(&found);
    let counts = emitter.counts();
    assert_eq!((counts.taken, counts.delivered, counts.failed), (3, 3, 0));
    emitter.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_keep_their_order_and_their_partition() {
    let mesh = Mesh::new().await;
    let topic = Topic::new().partitions(4);
    let emitter = mesh.builder("shop").event_to::<Order>(topic).connect().await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let emitter = emitter.clone();
        tasks.push(tokio::spawn(async move {
            for number in 0..500 {
                let event = Order { customer: format!("c{task}"), ..order(number) };
                let _ = emitter.enqueue(&event).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    emitter.flush().await.unwrap();
    let found = mesh.read("shop.orders").await;
    audit(&found);
    for task in 0..8 {
        let customer = format!("c{task}");
        let own: Vec<_> =
            found.iter().filter(|f| f.value["customer"] == *customer).cloned().collect();
        assert_eq!(ids(&own), (0..500).collect::<Vec<_>>());
        assert!(own.iter().all(|found| found.partition == own[0].partition));
    }
    assert!(found.iter().any(|f| f.partition > 0), "keys are spread");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_beside_an_events_fields_is_in_its_record() {
    let mesh = Mesh::new().await;
    let topic = Topic::new().partitions(3);
    let emitter = mesh.builder("shop").event_to::<Order>(topic).connect().await.unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let options = EventOptions::new()
        .header("traceparent", trace)
        .event_time(UNIX_EPOCH + Duration::from_millis(1234))
        .partition(2);
    let receipt = emitter.emit_with(&order(1), options).await.unwrap();
    assert_eq!(receipt.partition, 2);
    let by_key = EventOptions::new().ordering_key("one");
    let first = emitter.emit_with(&order(2), by_key.clone()).await.unwrap();
    let second = emitter.emit_with(&order(3), by_key).await.unwrap();
    assert_eq!(first.partition, second.partition, "other keys, one ordering key");
    let found = mesh.read("shop.orders").await;
    let told = found.iter().find(|found| found.value["id"] == 1).unwrap();
    assert_eq!(told.timestamp_ms, 1234);
    assert_eq!(told.headers["traceparent"], trace.as_bytes());
    let error = emitter.emit_with(&order(4), EventOptions::new().partition(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let own = EventOptions::new().header("__emitter", "x");
    assert_eq!(emitter.emit_with(&order(4), own).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(emitter.counts().refused, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_idempotency_key_is_sent_once() {
    let mesh = Mesh::new().await;
    let emitter = mesh.builder("shop").event::<Order>().connect().await.unwrap();
    let named = |key| EventOptions::new().idempotency_key(key);
    let first = emitter.emit_with(&order(1), named("a")).await.unwrap();
    let other = emitter.emit_with(&order(2), named("b")).await.unwrap();
    assert_eq!(emitter.emit_with(&order(1), named("a")).await.unwrap(), first);
    assert_ne!(first, other);
    let found = mesh.read("shop.orders").await;
    assert_eq!(ids(&found), [1, 2]);
    assert_eq!(found[0].headers[IDEMPOTENCY_HEADER], b"a");
    let long = "x".repeat(257);
    let error = emitter.emit_with(&order(1), named(&long)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_a_type_takes_any_value_of_its_schema() {
    let mesh = Mesh::new().await;
    mesh.client().register("shop.orders-value", ORDER).await.unwrap();
    let topic = Topic::new().key(["id"]);
    let emitter = mesh.builder("shop").topic("shop.orders", topic).connect().await.unwrap();
    let orders = emitter.topic("shop.orders").unwrap();
    let value = json!({ "note": "n", "customer": "c", "id": 7 });
    orders.emit(&value, EventOptions::new()).await.unwrap();
    orders.emit(&order(8), EventOptions::new()).await.unwrap();
    let found = mesh.read("shop.orders").await;
    assert_eq!(found[0].value, value);
    assert_eq!(found[1].key, Some(json!({ "id": 8 })));
    assert_eq!(emitter.topic("other").unwrap_err().kind(), ErrorKind::Config);
    let error = emitter.emit(&order(1)).await.unwrap_err();
    assert!(error.to_string().contains("Order"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_delivered_when_an_emitter_is_dropped_or_closed() {
    let mesh = Mesh::new().await;
    let emitter = mesh.builder("shop").event::<Order>().connect().await.unwrap();
    let deliveries: Vec<_> = (0..100).map(|id| emitter.emit_nowait(&order(id)).unwrap()).collect();
    drop(emitter);
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let emitter = mesh.builder("shop").event::<Order>().connect().await.unwrap();
    let clone = emitter.clone();
    let _ = emitter.emit_nowait(&order(100)).unwrap();
    emitter.close().await.unwrap();
    let error = clone.emit(&order(101)).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    assert_eq!(ids(&mesh.read("shop.orders").await), (0..101).collect::<Vec<_>>());
    assert!(mesh.log.state("emitter.shop").await.unwrap().is_empty(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emitters_topics_are_announced_to_the_catalog() {
    let mesh = Mesh::new().await;
    let builder = mesh.builder("shop").owner("shop-team").event::<Order>();
    let emitter = builder.connect().await.unwrap();
    emitter.emit(&order(1)).await.unwrap();
    let announced = eventually(async || {
        let all = announced_by(&mesh.log, "shop").await.ok()?;
        all.into_iter().find(|told| told.newest_at_ms > 0)
    })
    .await;
    assert_eq!((&*announced.topic, &*announced.table), ("shop.orders", "shop.orders"));
    assert_eq!(announced.key, ["customer"]);
    assert_eq!(announced.owner, "shop-team");
    assert!(announced.value_schema > 0 && announced.key_schema > 0);
    assert!(announced.read_to_ms >= announced.newest_at_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_event_under_a_known_idempotency_key_is_refused() {
    let mesh = Mesh::new().await;
    let emitter = mesh.builder("shop").event::<Order>().connect().await.unwrap();
    let named = || EventOptions::new().idempotency_key("a");
    emitter.emit_with(&order(1), named()).await.unwrap();
    let error = emitter.emit_with(&order(2), named()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let platforms = EventOptions::new().header("tidemesh.position", "x");
    let error = emitter.emit_with(&order(3), platforms).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}
