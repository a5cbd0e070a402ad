//! The inputs that tests query.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod large;

use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::schema::Schema;
use tidemesh_plan::Problems;
use tidemesh_plan::query::{Input, Query};
use tidemesh_plan::relation::Relation;
use tidemesh_plan::sql::{Tables, resolve_sql};

/// The orders of a shop, as the connector writes them.
pub(crate) const ORDERS: &str = r#"{"type":"record","name":"Value","namespace":"shop.orders","fields":[
    {"name":"id","type":"long","source.type":"bigint"},
    {"name":"customer_id","type":["null","long"],"default":null},
    {"name":"status","type":["null","string"],"default":null,"doc":"where it is"},
    {"name":"total","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}],"default":null},
    {"name":"qty","type":["int","null"],"default":1},
    {"name":"placed_at","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},
    {"name":"due","type":["null",{"type":"int","logicalType":"date"}],"default":null},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"doc","type":["null","string"],"default":null},
    {"name":"shipping","type":["null",{"type":"record","name":"address","fields":[
        {"name":"city","type":["null","string"]},
        {"name":"geo","type":["null",{"type":"record","name":"geo","fields":[
            {"name":"lat","type":["null","double"]},{"name":"lon","type":["null","double"]}]}]}]}],"default":null},
    {"name":"tags","type":["null",{"type":"array","items":["null","string"]}],"default":null},
    {"name":"attrs","type":["null",{"type":"map","values":"string"}],"default":null},
    {"name":"either","type":["null","int","string"],"default":null},
    {"name":"Mixed_u0020Case","type":["null","string"],"default":null,"source.name":"Mixed Case"}]}"#;

pub(crate) const REFUNDS: &str = r#"{"type":"record","name":"Value","namespace":"shop.refunds","fields":[
    {"name":"id","type":"long"},
    {"name":"order_id","type":["null","long"],"default":null},
    {"name":"amount","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}],"default":null},
    {"name":"reason","type":["null","string"],"default":null},
    {"name":"at","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null}]}"#;

pub(crate) const CUSTOMERS: &str = r#"{"type":"record","name":"Value","namespace":"shop.customers","fields":[
    {"name":"id","type":"long"},
    {"name":"name","type":["null","string"],"default":null},
    {"name":"email","type":["null","string"],"default":null},
    {"name":"tier","type":["null","int"],"default":null},
    {"name":"home","type":["null",{"type":"record","name":"address","fields":[
        {"name":"city","type":["null","string"]}]}],"default":null}]}"#;

pub(crate) const CLICKS: &str = r#"{"type":"record","name":"Click","namespace":"app","fields":[
    {"name":"url","type":"string"},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"user","type":["null","long"],"default":null}]}"#;

/// A row's schema in an envelope.
pub(crate) fn envelope(row: &str) -> Schema {
    let text = format!(
        r#"{{"type":"record","name":"Envelope","fields":[{{"name":"before","type":["null",{row}]}},
        {{"name":"after","type":["null","{}.Value"]}},{{"name":"op","type":"string"}}]}}"#,
        namespace(row)
    );
    Schema::parse(&text).unwrap()
}

fn namespace(row: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(row).unwrap();
    json["namespace"].as_str().unwrap().to_owned()
}

/// A key of one long.
pub(crate) fn key(names: &[&str]) -> Option<Schema> {
    let fields: Vec<_> =
        names.iter().map(|name| serde_json::json!({"name": name, "type": "long"})).collect();
    let key = serde_json::json!({"type": "record", "name": "Key", "fields": fields});
    Some(Schema::parse(&key.to_string()).unwrap())
}

/// An input.
pub(crate) fn input(name: &str, key: Option<Schema>, value: Schema) -> Input {
    let relation = Relation::of_topic(key, value).unwrap();
    Input { name: name.into(), relation, lookup: false, hidden: BTreeSet::new() }
}

/// `orders`, `refunds` (both keyed by id), `customers` (a lookup by id), `clicks` (events).
pub(crate) fn inputs() -> Vec<Input> {
    let mut customers = input("customers", key(&["id"]), envelope(CUSTOMERS));
    customers.lookup = true;
    vec![
        input("orders", key(&["id"]), envelope(ORDERS)),
        input("refunds", key(&["id"]), envelope(REFUNDS)),
        customers,
        input("clicks", None, Schema::parse(CLICKS).unwrap()),
    ]
}

/// Resolves one processor's SQL over the inputs.
pub(crate) fn resolve(inputs: &[Input], sql: &str) -> Result<Query, Problems> {
    resolve_sql(sql, Tables { inputs, queries: &BTreeMap::new() })
}

/// Resolves a chain of processors, each `name: SQL`; answers the last one.
pub(crate) fn resolve_chain(inputs: &[Input], chain: &[(&str, &str)]) -> Result<Query, Problems> {
    let mut queries = BTreeMap::new();
    let mut last = None;
    for (name, sql) in chain {
        let query = resolve_sql(sql, Tables { inputs, queries: &queries })?;
        queries.insert((*name).to_owned(), query.clone());
        last = Some(query);
    }
    Ok(last.expect("a chain has a processor"))
}
