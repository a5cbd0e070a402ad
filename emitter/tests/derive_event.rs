//! `#[derive(Event)]` beside apache-avro's derive of the schema.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "derive")]

use apache_avro::reader::datum::GenericDatumReader;
use serde::{Deserialize, Serialize};
use tidemesh_avro::schema::{Kind, Schema};
use tidemesh_avro::serial::Plan;
use tidemesh_emitter::{AvroSchema, Event};

/// An order.
#[derive(Debug, PartialEq, Serialize, Deserialize, AvroSchema, Event)]
#[event(topic = "shop.orders", key = ["orderId", "lineNumber"])]
#[avro(namespace = "shop")]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: i64,
    #[serde(rename = "lineNumber")]
    #[avro(default = "1")]
    line: i32,
    note: Option<String>,
    parts: Vec<Part>,
    #[avro(with)]
    #[serde(with = "apache_avro::serde::bytes")]
    seal: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, AvroSchema)]
struct Part {
    sku: String,
}

#[derive(Serialize, AvroSchema, Event)]
#[event(topic = "shop.ticks")]
struct Tick {
    #[serde(flatten)]
    part: Part,
}

#[test]
fn the_schema_is_what_the_derive_says_and_serde_writes() {
    assert_eq!((Order::TOPIC, Order::KEY), ("shop.orders", &["orderId", "lineNumber"][..]));
    let text = Order::schema();
    let schema = Schema::parse(&text).unwrap();
    let Kind::Record(fields) = &schema.node(schema.root()).kind else { panic!("a record") };
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["orderId", "lineNumber", "note", "parts", "seal"]);
    // Made once: it is the same text each time.
    assert!(std::ptr::eq(&*text, &*Order::schema()));

    let order = Order {
        order_id: 1,
        line: 2,
        note: None,
        parts: vec![Part { sku: "A-1".to_owned() }],
        seal: vec![0, 255],
    };
    let mut bytes = Vec::new();
    Plan::compile_with_key(&schema, Order::KEY).unwrap().encode(&order, &mut bytes).unwrap();
    let schema = apache_avro::Schema::parse_str(&text).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    assert_eq!(reader.read_deser::<Order>(&mut bytes.as_slice()).unwrap(), order);
}

#[test]
fn without_a_key_records_have_none() {
    assert_eq!((Tick::TOPIC, Tick::KEY), ("shop.ticks", &[][..]));
    let schema = Schema::parse(&Tick::schema()).unwrap();
    let Kind::Record(fields) = &schema.node(schema.root()).kind else { panic!("a record") };
    assert_eq!(fields[0].name, "sku");
}
