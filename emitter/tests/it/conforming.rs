//! Schema first: what does not conform is refused, and says why.

use crate::support::{Mesh, ORDER, Order, ids, order, serve_registry};
use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;
use std::time::Duration;
use tidemesh_emitter::{
    CleanupPolicy, Declaration, Emitter, EmitterBuilder, ErrorKind, Event, EventOptions, Topic,
    TopicConfig, check_declarations,
};
use tidemesh_transport::Transport;

/// The same topic with another type of a field.
#[derive(Serialize)]
struct Changed {
    id: String,
}

impl Event for Changed {
    const TOPIC: &'static str = "shop.orders";
    const KEY: &'static [&'static str] = &[];

    fn schema() -> Cow<'static, str> {
        r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#.into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_does_not_conform_is_refused_and_its_field_named() {
    let mesh = Mesh::new().await;
    let topic = Topic::new().key(["id"]);
    let builder = mesh.builder("shop").topic_with_schema("shop.orders", ORDER, topic);
    let emitter = builder.connect().await.unwrap();
    let orders = emitter.topic("shop.orders").unwrap();
    for (value, named) in [
        (json!({ "id": "x", "customer": "c" }), "id"),
        (json!({ "id": 1 }), "customer"),
        (json!({ "id": 1, "customer": "c", "colour": "red" }), "colour"),
        (json!({ "id": 1, "customer": "c", "note": 1.5 }), "note"),
        (json!([1]), "record"),
    ] {
        let error = orders.emit(&value, EventOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        let text = error.to_string();
        assert!(text.contains(named) && text.contains("topic=shop.orders"), "{text}");
        assert!(!text.contains("red"), "no values are told: {text}");
    }
    assert_eq!(emitter.counts().refused, 5);
    orders.emit(&order(1), EventOptions::new()).await.unwrap();
    assert_eq!(ids(&mesh.read("shop.orders").await), [1], "what came before left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incompatible_schema_is_refused_at_start_with_the_registrys_explanation() {
    let mesh = Mesh::new().await;
    mesh.builder("a").event::<Order>().connect().await.unwrap();
    let error = mesh.builder("b").event::<Changed>().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    let text = error.report();
    assert!(text.contains("id") && text.contains("shop.orders-value"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_is_checked_before_it_is_deployed() {
    let mesh = Mesh::new().await;
    let checked = async |builder: EmitterBuilder| {
        let text = serde_json::to_string(&builder.declarations()).unwrap();
        let declarations = Declaration::read(&text).unwrap();
        let mut found = check_declarations(&mesh.client(), &declarations).await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    };
    let own = || mesh.builder("a").event::<Order>();
    assert_eq!(checked(own()).await.messages, [""; 0], "a new topic");
    own().connect().await.unwrap();
    assert!(checked(own()).await.is_compatible);
    let changed = checked(mesh.builder("a").event::<Changed>()).await;
    assert!(!changed.is_compatible);
    assert!(changed.messages.concat().contains("id"), "{changed:?}");
    let rekeyed = mesh.builder("a").event_to::<Order>(Topic::new().key(["id"]));
    assert!(checked(rekeyed).await.messages.concat().contains("another key"));
    let keyless = mesh.builder("a").event_to::<Order>(Topic::new().key([""; 0]));
    assert!(checked(keyless).await.messages.concat().contains("key=customer"));
    let missing = mesh.builder("a").event_to::<Order>(Topic::new().key(["none"]));
    assert!(checked(missing).await.messages.concat().contains("field=none"));
    assert_eq!(Declaration::read("[{}]").unwrap_err().kind(), ErrorKind::Malformed);
    let compacted =
        TopicConfig { cleanup_policy: CleanupPolicy::Compact, ..TopicConfig::default() };
    let compacted = mesh.builder("a").event_to::<Order>(Topic::new().config(compacted));
    assert!(checked(compacted).await.messages.concat().contains("another key"));
    // Under the name that the topic has in Kafka.
    #[cfg(feature = "kafka")]
    {
        mesh.client().register("eu.shop.orders-value", &Changed::schema()).await.unwrap();
        let mut kafka = tidemesh_emitter::KafkaConfig::new("127.0.0.1:9");
        kafka.prefix = "eu.".to_owned();
        let elsewhere = checked(Emitter::builder("a").kafka(kafka).event::<Order>()).await;
        assert!(elsewhere.messages.concat().contains("eu.shop.orders-value"), "{elsewhere:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_key_are_refused_in_a_topic_whose_records_have_one() {
    let mesh = Mesh::new().await;
    mesh.builder("a").event::<Order>().connect().await.unwrap();
    let untyped = |topic| mesh.builder("b").topic("shop.orders", topic).connect();
    let error = untyped(Topic::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("key=customer"), "{error}");
    untyped(Topic::new().key(["customer"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_no_registry_is_told_at_once_and_who_does_not_answer_in_time() {
    let mesh = Mesh::new().await;
    for (url, told) in [("127.0.0.1:8081", "http://"), ("tcp://127.0.0.1:8081", "http://")] {
        let error = mesh.builder("a").registry(url).event::<Order>().connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let builder = mesh.builder("a").registry(format!("http://{}", silent.local_addr().unwrap()));
    let builder = builder.connect_timeout(Duration::from_millis(300)).event::<Order>();
    let begun = std::time::Instant::now();
    let error = builder.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_schema_says_what_the_records_of_the_topic_are_that_is_there() {
    for (cleanup_policy, are_events) in
        [(CleanupPolicy::Compact, false), (CleanupPolicy::Delete, true)]
    {
        let mesh = Mesh::new().await;
        let config = TopicConfig { cleanup_policy, ..TopicConfig::default() };
        mesh.log.create_topic("shop.orders", &config).await.unwrap();
        mesh.builder("a").event::<Order>().connect().await.unwrap();
        let (_, key) = mesh.client().latest("shop.orders-key").await.unwrap().unwrap();
        assert_eq!(key.contains("tidemesh.records"), are_events, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_registered_must_be_there() {
    let mesh = Mesh::new().await;
    let builder = || mesh.builder("a").event_to::<Order>(Topic::new().register(false));
    let error = builder().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    mesh.client().register("shop.orders-value", ORDER).await.unwrap();
    let error = builder().connect().await.unwrap_err();
    assert!(error.to_string().contains("subject=shop.orders-key"), "{error}");
    mesh.builder("b").event::<Order>().connect().await.unwrap();
    builder().connect().await.unwrap();
    let error = mesh.builder("a").topic("none", Topic::new()).connect().await.unwrap_err();
    assert!(error.report().contains("none-value"), "{}", error.report());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_wrongly_is_named_before_anybody_is_asked() {
    let nowhere = || Emitter::builder("shop").remote("tcp://127.0.0.1:1");
    let declared = |topic: &str, schema: &str, key: &[&str]| {
        nowhere().topic_with_schema(topic, schema, Topic::new().key(key.iter().copied()))
    };
    for (builder, named) in [
        (nowhere(), "no events"),
        (Emitter::builder("shop").event::<Order>(), "where events go"),
        (Emitter::builder("a b").remote("tcp://h:1").event::<Order>(), "emitter=a b"),
        (nowhere().event::<Order>().queue_bytes_max(1), "queue_bytes_max=1"),
        (nowhere().event::<Order>().owner("ä".repeat(201)), "characters=201"),
        (nowhere().event::<Order>().event::<Changed>(), "topic=shop.orders"),
        (nowhere().event::<Order>().event_to::<Order>(Topic::new().name("b")), "topic=b"),
        (declared("a b", ORDER, &[]), "topic=a b"),
        (declared("t", "{}", &[]), "topic=t"),
        (declared("t", "\"long\"", &[]), "record"),
        (declared("t", ORDER, &["missing"]), "field=missing"),
        (Emitter::builder("shop").remote("http://h").event::<Order>(), "tcp://HOST:PORT"),
    ] {
        let error = builder.connect().await.unwrap_err();
        assert!(error.report().contains(named), "{named}: {}", error.report());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_waited_for_at_start_and_not_needed_later() {
    let mesh = Mesh::new().await;
    // A port that is free now.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = || {
        let builder = Emitter::builder("shop").remote(mesh.url()).event::<Order>();
        builder.registry(format!("http://{address}"))
    };
    let short = builder().connect_timeout(Duration::from_millis(300));
    let error = short.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let connecting = tokio::spawn(builder().connect_timeout(Duration::from_secs(60)).connect());
    serve_registry(&mesh.folder.path().join("late.db"), &address.to_string()).await;
    let emitter = connecting.await.unwrap().unwrap();
    emitter.emit(&order(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_changes_under_a_running_emitter_leaves_it_what_it_began_with() {
    let mesh = Mesh::new().await;
    let emitter = mesh.builder("shop").event::<Order>().connect().await.unwrap();
    emitter.emit(&order(1)).await.unwrap();
    let wider = ORDER.replace("]}", r#",{"name":"vip","type":"boolean","default":false}]}"#);
    mesh.client().register("shop.orders-value", &wider).await.unwrap();
    emitter.emit(&order(2)).await.unwrap();
    let newest = mesh.builder("b").topic("shop.orders", Topic::new().key(["customer"]));
    let newest = newest.connect().await.unwrap();
    let value = json!({ "id": 3, "customer": "c", "vip": true });
    newest.topic("shop.orders").unwrap().emit(&value, EventOptions::new()).await.unwrap();
    let found = mesh.read("shop.orders").await;
    assert_eq!(ids(&found), [1, 2, 3]);
    assert_eq!(found[1].value.get("vip"), None);
    assert_eq!(found[2].value["vip"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_goes_away_fails_its_events_and_leaves_the_others() {
    let mesh = Mesh::new().await;
    let builder = mesh.builder("shop").event::<Order>();
    let builder = builder.topic_with_schema("other", ORDER, Topic::new());
    let emitter = builder.connect().await.unwrap();
    mesh.log.delete_topic("shop.orders").await.unwrap();
    let error = emitter.emit(&order(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    emitter.topic("other").unwrap().emit(&order(2), EventOptions::new()).await.unwrap();
    assert_eq!(ids(&mesh.read("other").await), [2]);
    assert_eq!(emitter.flush().await.unwrap_err().kind(), ErrorKind::NotFound);
    emitter.flush().await.unwrap();
    // Also where they are taken at once.
    let other = emitter.topic("other").unwrap();
    let mut deliveries = Vec::new();
    for id in 3..100 {
        deliveries.push((id, emitter.emit_nowait(&order(id)).unwrap()));
        deliveries.push((-id, other.emit_nowait(&order(-id), EventOptions::new()).unwrap()));
    }
    for (id, delivery) in deliveries {
        assert_eq!(delivery.await.is_ok(), id < 0, "{id}");
    }
    assert_eq!(
        ids(&mesh.read("other").await),
        (3..100).map(|id| -id).fold(vec![2], |mut all, id| {
            all.push(id);
            all
        })
    );
    let counts = emitter.counts();
    assert_eq!((counts.delivered, counts.failed), (98, 98));
}
