//! The outbox: what it makes is what the emitter writes, byte for byte.

use crate::support::{Mesh, ORDER, Order, order};
use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};
use tidemesh_avro::emitted::{Emitted, EmittedHead, EmittedPlace};
use tidemesh_emitter::{
    Dialect, ErrorKind, EventOptions, IDEMPOTENCY_HEADER, Message, Outbox, OutboxBuilder, Row,
    Topic,
};
use tidemesh_transport::{FetchLimit, Reader, Start, Subscription, Transport};

fn builder(mesh: &Mesh) -> OutboxBuilder {
    Outbox::builder().registry(&mesh.registry)
}

/// The key and value of the one record of a topic.
async fn emitted(mesh: &Mesh, topic: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>, i64) {
    let topics = vec![topic.to_owned()];
    let from_the_first = Subscription { topics, group: None, start: Start::Earliest };
    let mut reader = mesh.log.subscribe(from_the_first).await.unwrap();
    let limit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(5) };
    let batches = reader.poll(limit).await.unwrap();
    let record = batches[0].iter().next().unwrap().unwrap().1;
    (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), record.timestamp_ms)
}

#[tokio::test]
async fn a_message_and_a_row_have_the_emitters_bytes() {
    let mesh = Mesh::new().await;
    let outbox = builder(&mesh).event::<Order>().connect().await.unwrap();
    assert!(mesh.log.topic("shop.orders").await.is_err(), "the source makes the topic");
    let emitter = mesh.builder("one").event::<Order>().connect().await.unwrap();
    let at = UNIX_EPOCH + Duration::from_millis(1234);
    let options = || {
        EventOptions::new()
            .event_time(at)
            .header("trace", &[0xff])
            .idempotency_key("order-7")
            .ordering_key("a")
    };
    emitter.emit_with(&order(7), options()).await.unwrap();
    let (key, value, at_ms) = emitted(&mesh, "shop.orders").await;
    let message = outbox.message(&order(7), options()).unwrap();
    assert_eq!(message.prefix, "tidemesh.emit");
    assert_eq!(Message::SQL, message.sql());
    let event = Emitted::read(&message.content).unwrap();
    assert_eq!(event.topic, "shop.orders");
    assert_eq!((event.key, event.value), (key.as_deref(), value.as_deref()));
    let row = outbox.row(&order(7), options()).unwrap();
    assert_eq!((&row.aggregate_id, Some(&row.payload)), (&key, value.as_ref()));
    assert_eq!(row.aggregate_type, "shop.orders");
    let head = EmittedHead::read(&row.headers).unwrap();
    for head in [event.head, head] {
        assert_eq!((head.event_time_ms, at_ms), (1234, 1234));
        assert_eq!(head.place, EmittedPlace::By(b"a"));
        let headers: Vec<_> = head.headers.iter().collect();
        assert_eq!(headers, [("trace", &[0xff][..]), (IDEMPOTENCY_HEADER, b"order-7")]);
    }
}

#[tokio::test]
async fn a_topic_by_its_name_takes_values_of_any_type() {
    #[derive(Serialize)]
    struct Other {
        id: i64,
        customer: &'static str,
        note: Option<&'static str>,
    }
    let mesh = Mesh::new().await;
    let topic = || Topic::new().key(["customer"]);
    let outbox = builder(&mesh).topic_with_schema("orders", ORDER, topic());
    let outbox = outbox.connect().await.unwrap().topic("orders").unwrap();
    assert_eq!(outbox.topic(), "orders");
    let other = Other { id: 7, customer: "c0", note: None };
    let by_name = outbox.row(&other, EventOptions::new().partition(3)).unwrap();
    let mut typed = Topic::new().name("orders");
    typed = typed.key(["customer"]);
    let typed = builder(&mesh).event_to::<Order>(typed).connect().await.unwrap();
    let typed = typed.row(&order(7), EventOptions::new().partition(3)).unwrap();
    assert_eq!((by_name.aggregate_id, by_name.payload), (typed.aggregate_id, typed.payload));
    // The newest schema that the registry has.
    let found = builder(&mesh).topic("orders", topic()).connect().await.unwrap();
    let message = found.topic("orders").unwrap().message(&other, EventOptions::new()).unwrap();
    assert!(Emitted::read(&message.content).unwrap().key.is_some());
}

#[tokio::test]
async fn what_cannot_be_an_event_is_refused_before_the_transaction_has_it() {
    let mesh = Mesh::new().await;
    let outbox = builder(&mesh).event::<Order>().record_bytes_max(200).connect().await.unwrap();
    for header in ["__emitter", "tidemesh.position"] {
        let options = EventOptions::new().header(header, "x");
        let error = outbox.message(&order(1), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(header), "{error}");
    }
    let large = Order { note: Some("x".repeat(200)), ..order(1) };
    let error = outbox.row(&large, EventOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let error = outbox.topic("other").unwrap_err();
    assert!(error.to_string().contains("topic=other"), "{error}");
    let error = Outbox::builder().connect().await.unwrap_err();
    assert!(error.to_string().contains("told of no events"), "{error}");
    let away = Outbox::builder().registry("http://127.0.0.1:9").event::<Order>();
    let error = away.connect_timeout(Duration::ZERO).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn statements_name_the_columns_of_the_table() {
    for dialect in [Dialect::Postgres, Dialect::Mysql] {
        let (table, insert) = (Outbox::table_ddl(dialect), Row::sql(dialect));
        let columns = insert.split(['(', ')']).nth(1).unwrap().split(", ");
        for column in columns {
            assert!(table.contains(&format!("    {column} ")), "{column} is not in {table}");
        }
        let parameters = insert.matches(['?', '$']).count();
        assert_eq!(parameters, 4, "{insert}");
    }
}
