use super::*;
use allocation_counter::measure;
use serde_json::json;
use std::borrow::Cow;

#[derive(Serialize)]
struct Event<'e> {
    id: i64,
    name: Cow<'e, str>,
    price: f64,
    paid: bool,
    coupon: Option<&'e str>,
    status: Status,
    at: chrono::DateTime<chrono::Utc>,
    amount: &'e str,
    lines: Vec<Line>,
    bytes: Vec<u8>,
    either: serde_json::Value,
}

#[derive(Serialize)]
enum Status {
    Open,
}

#[derive(Serialize)]
struct Line {
    article: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

const LINE: &str = r#"{"type":"record","name":"Line","fields":[
    {"name":"article","type":"long"},{"name":"note","type":["null","string"],"default":null}]}"#;

/// The event's schema, its fields in the struct's order or the other way round.
fn schema(backwards: bool) -> Schema {
    let mut fields = vec![
        r#"{"name":"id","type":"long"}"#.to_owned(),
        r#"{"name":"name","type":"string"}"#.to_owned(),
        r#"{"name":"price","type":"double"}"#.to_owned(),
        r#"{"name":"paid","type":"boolean"}"#.to_owned(),
        r#"{"name":"coupon","type":["null","string"]}"#.to_owned(),
        r#"{"name":"status","type":{"type":"enum","name":"S","symbols":["Open"]}}"#.to_owned(),
        r#"{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}"#.to_owned(),
        r#"{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}}"#.to_owned(),
        format!(r#"{{"name":"lines","type":{{"type":"array","items":{LINE}}}}}"#),
        r#"{"name":"bytes","type":"bytes"}"#.to_owned(),
        r#"{"name":"either","type":["int","string",{"type":"map","values":"double"}]}"#.to_owned(),
    ];
    if backwards {
        fields.reverse();
    }
    Schema::parse(&record(&fields.join(","))).unwrap()
}

fn event() -> Event<'static> {
    Event {
        id: 1 << 40,
        name: "somebody".into(),
        price: 0.5,
        paid: true,
        coupon: Some("X"),
        status: Status::Open,
        at: chrono::DateTime::from_timestamp_micros(1_709_209_800_250_001).unwrap(),
        amount: "-12.5",
        lines: vec![Line { article: 1, note: None }, Line { article: 2, note: Some("n".into()) }],
        bytes: vec![1; 100],
        either: json!({"a": 1, "b": 0.5}),
    }
}

#[test]
fn a_warm_encoder_allocates_nothing() {
    let event = event();
    for backwards in [false, true] {
        let plan = Plan::compile_with_key(&schema(backwards), &["name", "id"]).unwrap();
        let (mut out, mut key, mut spans) = (Vec::new(), Vec::new(), Spans::default());
        let mut pass = || {
            for _ in 0..10 {
                out.clear();
                key.clear();
                plan.encode_with_key(&event, &mut out, &mut spans).unwrap();
                plan.write_key(&out, &spans, &mut key).unwrap();
            }
        };
        pass();
        assert_eq!(measure(pass).count_total, 0, "backwards: {backwards}");
        assert!(out.len() > 150);
    }
}

#[test]
fn what_is_in_order_needs_no_spans() {
    let (event, plan) = (event(), Plan::compile(&schema(false)).unwrap());
    let mut out = Vec::with_capacity(1000);
    let count = measure(|| plan.encode(&event, &mut out).unwrap()).count_total;
    assert_eq!(count, 0);
}
