//! Events that are taken: as JSON and as Avro, one and many.

use crate::mesh::{ORDER, audit, ids};
use crate::started::{ORDERS, order, started};
use serde_json::json;
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::serial::Plan;

fn encoded(id: i64) -> Vec<u8> {
    let plan = Plan::compile(&Schema::parse(ORDER).unwrap()).unwrap();
    let mut data = Vec::new();
    plan.encode(&order(id), &mut data).unwrap();
    data
}

/// Events in frames, behind their lengths.
fn batch(id: u32, events: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for event in events {
        body.extend(u32::try_from(frame::FRAME_HEAD_BYTES + event.len()).unwrap().to_be_bytes());
        body.extend(frame::head(id));
        body.extend(event);
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_by_receipts_that_say_where_each_event_is() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    let values: Vec<_> = (0..50).map(order).collect();
    let answer = client.emit(ORDERS, &values).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = mesh.read(ORDERS).await;
    audit(&found);
    assert_eq!(found.len(), 50);
    for (id, receipt) in (0..50).map(|id| (id, answer.result(usize::try_from(id).unwrap()))) {
        let there = found.iter().find(|found| found.value["id"] == id).unwrap();
        assert_eq!(receipt["partition"], there.partition);
        assert_eq!(receipt["offset"], there.offset);
        assert_eq!(receipt["sequence"], there.sequence);
        assert_eq!(there.key, Some(json!({ "customer": format!("c{}", id % 7) })));
    }
    assert_eq!(client.emit(ORDERS, &[]).await.status, 200, "nothing is done at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_beside_the_value_is_in_the_record() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    client.headers = "traceparent: 00-aa-bb-01\r\n".to_owned();
    let body = json!({"events": [
        {"value": order(1), "headers": {"origin": "web"}, "event_time_ms": 1_780_000_000_000_i64,
         "partition": 2, "idempotency_key": "k"},
        {"value": order(2), "ordering_key": "o"},
        {"value": order(3), "ordering_key": "o"},
    ]});
    let answer = client.post(ORDERS, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = mesh.read(ORDERS).await;
    let first = found.iter().find(|found| found.value["id"] == 1).unwrap();
    assert_eq!((first.partition, first.timestamp_ms), (2, 1_780_000_000_000));
    for (name, value) in
        [("origin", "web"), ("__idempotency_key", "k"), ("traceparent", "00-aa-bb-01")]
    {
        assert_eq!(first.headers[name], value.as_bytes());
    }
    assert_eq!(answer.result(1)["partition"], answer.result(2)["partition"]);
    let path = format!("/v1/topics/{ORDERS}/events?partition=1&event_time_ms=5");
    let body = json!({"events": [{"value": order(4)}]}).to_string();
    let answer =
        client.send("POST", &path, "content-type: application/json\r\n", body.as_bytes()).await;
    assert_eq!(answer.result(0)["partition"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn avro_data_is_checked_and_is_the_same_event_as_json() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    let one = client.post_as(ORDERS, "content-type: avro/binary\r\n", &encoded(1)).await;
    assert_eq!(one.status, 200, "{one:?}");
    let id = client.get(&format!("/v1/topics/{ORDERS}")).await.body["schema_id"].clone();
    let id = u32::try_from(id.as_u64().unwrap()).unwrap();
    let content = "content-type: application/vnd.tidemesh.avro-batch\r\n";
    let mut torn = encoded(3);
    torn.pop();
    let many = client.post_as(ORDERS, content, &batch(id, &[encoded(2), torn, encoded(4)])).await;
    assert_eq!((many.status, many.results()), (207, 3), "{many:?}");
    assert_eq!(many.result(1)["error_code"], 422);
    assert_eq!(many.result(1)["path"], "note");
    let other = client.post_as(ORDERS, content, &batch(id + 9, &[encoded(5)])).await;
    assert_eq!((other.status, &other.body["kind"]), (422, &json!("incompatible")), "{other:?}");
    let json = client.emit(ORDERS, &[order(1)]).await;
    assert_eq!(json.status, 200);
    let found = mesh.read(ORDERS).await;
    audit(&found);
    let mut all = ids(&found);
    all.sort_unstable();
    assert_eq!(all, [1, 1, 2, 4]);
    let ones: Vec<_> = found.iter().filter(|found| found.value["id"] == 1).collect();
    assert_eq!(ones[0].key, ones[1].key, "one key, whichever way the event came");
    assert_eq!(ones[0].partition, ones[1].partition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_new_since_the_start_is_connected_when_it_is_used() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    let parcel = r#"{"type":"record","name":"Parcel","fields":[
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}"#;
    let value = json!({ "day": "2026-11-30", "price": "12.50" });
    let before = client.emit("shop.parcels", std::slice::from_ref(&value)).await;
    assert_eq!((before.status, &before.body["kind"]), (404, &json!("not_found")));
    mesh.client().register("shop.parcels-value", parcel).await.unwrap();
    let after = client.emit("shop.parcels", &[value]).await;
    assert_eq!(after.status, 200, "{after:?}");
    let found = mesh.read("shop.parcels").await;
    assert_eq!(found[0].value["day"], "2026-11-30");
    assert_eq!(found[0].value["price"], "12.50");
    let topics = client.get("/v1/topics").await.body;
    let names: Vec<_> = topics["topics"].as_array().unwrap().iter().map(|t| &t["topic"]).collect();
    assert_eq!(names, [ORDERS, "shop.parcels"]);
    let topic = client.get("/v1/topics/shop.parcels").await.body;
    assert_eq!((&topic["partitions"], &topic["key"]), (&json!(1), &json!([])));
    assert!(topic["schema"].as_str().unwrap().contains("Parcel"));
    assert_eq!(client.get("/health").await.body["status"], "up");
    assert_eq!(client.get("/v1/openapi.json").await.body["openapi"], "3.1.0");
    started.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_schema_is_taken_up_and_events_of_the_old_one_are_taken_on() {
    let (mesh, started) = started().await;
    let mut client = started.client().await;
    let registry = mesh.client();
    let topic = "shop.evolving";
    let old = registry.register("shop.evolving-value", ORDER).await.unwrap();
    assert_eq!(client.emit(topic, &[order(1)]).await.status, 200);
    let colour = r#",{"name":"colour","type":["null","string"],"default":null}]}"#;
    let wider = ORDER.replacen("]}", colour, 1);
    let mut red = order(2);
    red["colour"] = "red".into();
    let early = client.emit(topic, std::slice::from_ref(&red)).await;
    assert_eq!((early.status, &early.body["path"]), (422, &json!("colour")));
    let new = registry.register("shop.evolving-value", &wider).await.unwrap();
    started.gateway.look().await;
    let retried = |key: &str| json!({"events": [{"value": red, "idempotency_key": key}]});
    assert_eq!(client.post(topic, &retried("k")).await.status, 200);
    started.gateway.look().await;
    assert_eq!(client.post(topic, &retried("k")).await.status, 200);
    let content = "content-type: application/vnd.tidemesh.avro-batch\r\n";
    assert_eq!(client.post_as(topic, content, &batch(old, &[encoded(3)])).await.status, 200);
    let described = client.get("/v1/topics/shop.evolving").await.body;
    assert_eq!(described["schema_id"], new);
    let found = mesh.read(topic).await;
    audit(&found);
    assert_eq!(ids(&found), [1, 2, 3]);
    assert_eq!(found[1].value["colour"], "red");
    assert!(found[2].value.get("colour").is_none(), "it is of the schema that it names");
}
