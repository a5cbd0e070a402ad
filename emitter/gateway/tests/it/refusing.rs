//! What is refused, each with its status and what is to blame.

use crate::client::{Answer, REST};
use crate::mesh::{Mesh, ids};
use crate::started::{ORDERS, Started, config, order, small, started};
use proptest::prelude::*;
use serde_json::json;
use std::time::{Duration, Instant};
use tidemesh_emit_gateway::WhenFull;

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_conform_names_its_field_and_keeps_no_other_from_being_taken() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    let bad = json!({ "id": 2, "customer": "hush", "note": 1.5 });
    let some = client.emit(ORDERS, &[order(1), bad.clone(), order(3)]).await;
    assert_eq!(some.status, 207, "{some:?}");
    assert_eq!(some.result(1)["path"], "note");
    assert_eq!(some.result(1)["error_code"], 422);
    assert!(some.result(2)["offset"].is_u64());
    let all = client.emit(ORDERS, &[bad]).await;
    assert_eq!((all.status, all.results()), (422, 1));
    assert_eq!((&all.body["path"], &all.body["kind"]), (&json!("note"), &json!("malformed")));
    assert!(!all.body.to_string().contains("hush"));
    for (event, status) in [
        (json!({ "value": order(1), "partition": 3 }), 422),
        (json!({ "value": order(1), "headers": { "__own": "x" } }), 422),
        (json!({ "value": order(1), "idempotency_key": "x".repeat(257) }), 413),
        (json!({ "value": null }), 422),
    ] {
        let answer = client.post(ORDERS, &json!({ "events": [event] })).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let mut taken = ids(&mesh.read(ORDERS).await);
    taken.sort_unstable();
    assert_eq!(taken, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_none_is_refused_whole() {
    let mesh = Mesh::new().await;
    let started = Started::new(small(&mesh)).await;
    let mut client = started.client().await;
    let hundred_one: Vec<_> = (0..101).map(order).collect();
    assert_eq!(client.emit(ORDERS, &hundred_one).await.status, 413);
    for (headers, body, status) in [
        (JSON, "{", 400),
        (JSON, "[]", 422),
        ("content-type: text/plain\r\n", "{\"events\":[]}", 415),
        ("", "{\"events\":[]}", 415),
        ("content-type: application/vnd.tidemesh.avro-batch\r\n", "abc", 400),
    ] {
        let answer = client.post_as(ORDERS, headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // One that is none is refused alone.
    let body = json!({ "events": [
        { "value": order(1), "event_time_ms": -1 },
        { "value": order(2) },
        { "value": order(3), "headers": { "__idempotency_key": "k" } },
        { "value": order(4), "headers": { "tidemesh.lineage": "k" } },
        { "value": order(5), "headers": { "origin": 7 } },
    ] });
    let some = client.post(ORDERS, &body).await;
    assert_eq!(some.status, 207, "{some:?}");
    assert!(some.result(1)["sequence"].is_u64(), "{some:?}");
    for (place, path) in [
        (0, "events[0].event_time_ms"),
        (2, "events[2].headers.__idempotency_key"),
        (3, "events[3].headers.tidemesh.lineage"),
        (4, "events[4].headers.origin"),
    ] {
        assert_eq!(some.result(place)["error_code"], 422);
        assert_eq!(some.result(place)["path"], path);
    }
    let shape = client.post_as(ORDERS, JSON, br#"{"events":[{"value":1,"partition":"x"}]}"#).await;
    assert_eq!(shape.body["path"], "events[0].partition", "{shape:?}");
    assert_eq!(client.emit("other.topic", &[]).await.status, 404);
    assert_eq!(client.emit("shop.%FF", &[]).await.status, 400);
    assert_eq!(client.get("/none").await.status, 404);
    assert_eq!(client.send("DELETE", "/v1/topics", "", b"").await.status, 405);
    let path = format!("/v1/topics/{ORDERS}/events?colour=red");
    assert_eq!(client.send("POST", &path, JSON, b"{\"events\":[]}").await.status, 400);
    let large = client.post_as(ORDERS, JSON, &vec![b' '; 64 * 1024 + 1]).await;
    assert_eq!((large.status, &large.body["kind"]), (413, &json!("too_large")));
    assert!(large.body["message"].as_str().unwrap().contains("gateway.body_bytes_max"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_429_or_drops_or_is_waited_for() {
    let mut mesh = Mesh::new().await;
    let mut clients = Vec::new();
    let mut all = Vec::new();
    for (name, when_full) in
        [("fail", WhenFull::Fail), ("drop", WhenFull::Drop), ("wait", WhenFull::Wait)]
    {
        let mut config = small(&mesh);
        (config.name, config.when_full) = (name.to_owned(), when_full);
        let started = Started::new(config).await;
        let mut client = started.client().await;
        assert_eq!(client.emit(ORDERS, &[order(0)]).await.status, 200);
        clients.push(client);
        all.push(started);
    }
    mesh.go_away().await;
    let values: Vec<_> = (0..100).map(order).collect();
    let [failing, dropping, waiting] = &mut clients[..] else { panic!() };
    // What is in doubt is 503, until nothing has room any more.
    let full = loop {
        let answer = failing.emit(ORDERS, &values).await;
        match answer.status {
            207 | 503 => {}
            _ => break answer,
        }
    };
    assert_eq!((full.status, &full.body["kind"]), (429, &json!("exhausted")), "{full:?}");
    assert!(full.headers.contains_key("retry-after"));
    let dropped = loop {
        let answer = dropping.emit(ORDERS, &values).await;
        if answer.status == 200 {
            break answer;
        }
    };
    assert!(dropped.body["results"].as_array().unwrap().iter().all(|r| r["dropped"] == true));
    let late = loop {
        let answer = waiting.emit(ORDERS, &values).await;
        assert_eq!(answer.status, 503);
        if answer.body["message"].as_str().unwrap().contains("the queue was full") {
            break answer;
        }
    };
    assert!(late.headers.contains_key("retry-after"));
    mesh.come_back().await;
    for mut client in clients {
        let answer = loop {
            let answer = client.emit(ORDERS, &[order(1)]).await;
            if answer.status == 200 && answer.result(0)["offset"].is_u64() {
                break answer;
            }
        };
        assert_eq!(answer.results(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_requests_are_bounded() {
    let mesh = Mesh::new().await;
    let mut config = config(&mesh);
    (config.limits.topics_max, config.limits.requests_max) = (1, 1);
    let started = Started::new(config).await;
    let mut client = started.client().await;
    assert_eq!(client.emit(ORDERS, &[order(1)]).await.status, 200);
    mesh.client().register("shop.more-value", crate::mesh::ORDER).await.unwrap();
    let more = client.emit("shop.more", &[order(1)]).await;
    assert_eq!((more.status, &more.body["kind"]), (503, &json!("exhausted")), "{more:?}");
    // One that is at its body holds the only place for bodies.
    let mut slow = started.client().await;
    slow.begin(ORDERS).await;
    let refused = client.emit(ORDERS, &[]).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    slow.write(REST).await;
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(client.emit(ORDERS, &[order(2)]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_requests_hang_leaves_places_to_the_others() {
    let mut mesh = Mesh::new().await;
    mesh.client().register("shop.more-value", crate::mesh::ORDER).await.unwrap();
    let mut config = config(&mesh);
    config.limits.requests_max = 4;
    let started = Started::new(config).await;
    let mut client = started.client().await;
    for topic in [ORDERS, "shop.more"] {
        assert_eq!(client.emit(topic, &[order(1)]).await.status, 200);
    }
    // At their bodies: each topic has its share, so one alone does not take all.
    let mut slow = started.client().await;
    slow.begin(ORDERS).await;
    let refused = client.emit(ORDERS, &[]).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.body["message"].as_str().unwrap().contains("the topic, 1"), "{refused:?}");
    assert_eq!(client.emit("shop.more", &[order(2)]).await.status, 200);
    slow.write(REST).await;
    assert_eq!(slow.answer().await.status, 200);
    // At their work: one waits for the log, that is away.
    mesh.go_away().await;
    let mut stuck = started.client().await;
    // Of the two, whoever comes while the other has the place is refused, and comes again.
    let waiting = tokio::spawn(async move {
        loop {
            let answer = stuck.emit(ORDERS, &[order(3)]).await;
            if answer.status != 429 {
                return answer;
            }
        }
    });
    let refused = loop {
        let answer = client.emit(ORDERS, &[]).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(client.emit("shop.more", &[]).await.status, 200);
    mesh.come_back().await;
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_at_the_start_is_503_and_nothing_else_is_lost() {
    let mut mesh = Mesh::new().await;
    mesh.go_away().await;
    let started = Started::new(config(&mesh)).await;
    let mut client = started.client().await;
    let away = client.emit(ORDERS, &[order(1)]).await;
    assert_eq!(away.status, 503, "{away:?}");
    assert_eq!(client.get("/health").await.status, 200);
    mesh.come_back().await;
    // The failure is told for a second more, with `Retry-After`.
    let back = loop {
        let answer = client.emit(ORDERS, &[order(1)]).await;
        if answer.status != 503 {
            break answer;
        }
        assert!(answer.headers.contains_key("retry-after"));
    };
    assert_eq!(back.status, 200, "{back:?}");
    let mut nowhere = config(&mesh);
    nowhere.registry_url = "http://127.0.0.1:1".to_owned();
    nowhere.name = "nowhere".to_owned();
    let started = Started::new(nowhere).await;
    let answer = started.client().await.emit("shop.x", &[order(1)]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
}

/// Emits to `topic` from so many connections at once, with the time that all of it took.
async fn emit_at_once(
    started: &Started,
    topic: &'static str,
    clients: usize,
) -> (Vec<Answer>, Duration) {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(started.client().await);
    }
    let began = Instant::now();
    let emitting: Vec<_> = connected
        .into_iter()
        .map(|mut client| tokio::spawn(async move { client.emit(topic, &[order(1)]).await }))
        .collect();
    let mut answers = Vec::new();
    for answer in emitting {
        answers.push(answer.await.unwrap());
    }
    (answers, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_topic_that_cannot_be_connected_shares_the_failure() {
    let mut mesh = Mesh::new().await;
    mesh.go_away().await;
    // Connecting takes five seconds: one after another these would take a minute.
    let mut patient = config(&mesh);
    patient.limits.answer_timeout = Duration::from_secs(60);
    let started = Started::new(patient).await;
    let (answers, took) = emit_at_once(&started, ORDERS, 12).await;
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.headers.contains_key("retry-after")));
    assert!(took < Duration::from_secs(20), "{took:?}");
    // And none waits for longer than a request may.
    let mut hasty = small(&mesh);
    hasty.name = "hasty".to_owned();
    let started = Started::new(hasty).await;
    let (answers, took) = emit_at_once(&started, ORDERS, 12).await;
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    assert_eq!(answers[0].body["kind"], "timeout", "{answers:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    mesh.come_back().await;
    let mut client = started.client().await;
    while client.emit(ORDERS, &[order(1)]).await.status == 503 {}
    assert_eq!(client.emit(ORDERS, &[order(2)]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_the_same_name_takes_over_and_the_other_says_so() {
    let (mesh, started) = started().await;
    let mut old = started.client().await;
    assert_eq!(old.emit(ORDERS, &[order(1)]).await.status, 200);
    let newer = Started::new(config(&mesh)).await;
    assert_eq!(newer.client().await.emit(ORDERS, &[order(2)]).await.status, 200);
    let fenced = old.emit(ORDERS, &[order(3)]).await;
    assert_eq!((fenced.status, &fenced.body["kind"]), (409, &json!("fenced")), "{fenced:?}");
    assert_eq!(old.get("/health").await.status, 503);
    assert_eq!(mesh.read(ORDERS).await.len(), 2);
}

/// Bytes that are sent as a body, and as what.
fn garbage() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (0..4_usize, proptest::collection::vec(any::<u8>(), 0..300))
}

#[test]
fn any_bytes_are_refused_and_never_more_than_that() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mesh, started) = runtime.block_on(started());
    let client = std::cell::RefCell::new(runtime.block_on(started.client()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let types =
        ["application/json", "avro/binary", "application/vnd.tidemesh.avro-batch", "text/plain"];
    let run = runner.run(&garbage(), |(kind, body)| {
        let headers = format!("content-type: {}\r\n", types[kind]);
        let answer = runtime.block_on(client.borrow_mut().post_as(ORDERS, &headers, &body));
        // Nothing is a batch of no events; and few bytes may by chance be an order.
        let may_be_taken = answer.status == 200 && (kind == 1 || body.is_empty());
        prop_assert!(may_be_taken || (400..500).contains(&answer.status), "{answer:?}");
        Ok(())
    });
    run.unwrap();
    let mut client = client.into_inner();
    runtime.block_on(async {
        let answer = client.emit(ORDERS, &[order(1)]).await;
        assert_eq!(answer.status, 200);
        tokio::time::timeout(Duration::from_secs(30), mesh.read(ORDERS)).await.unwrap();
    });
}
