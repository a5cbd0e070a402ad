//! Where fields come from and go, over the pipelines of the good mesh.

use super::{good, planned};
use std::collections::BTreeSet;
use tidemesh_plan::lineage::Via;
use tidemesh_plan::mesh::Reader;
use tidemesh_plan::relation::Relation;

fn path(text: &str) -> Vec<String> {
    text.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What comes before a field: `topic/path way`, sources only or all.
fn upstream(topic: &str, field: &str, sources: bool) -> Vec<String> {
    let plan = good();
    let found = plan.graph().upstream(topic, &path(field));
    assert!(!found.truncated);
    let fields = found.fields.into_iter().filter(|of| !sources || of.writer.is_none());
    let mut written: Vec<String> =
        fields.map(|of| format!("{}/{} {}", of.topic, of.path.join("."), of.via)).collect();
    written.sort();
    written
}

fn fields(topic: &str, field: &str) -> Vec<String> {
    let plan = good();
    let found = plan.graph().downstream(topic, &path(field));
    assert!(!found.truncated);
    let written = |of: &tidemesh_plan::mesh::Reached| {
        format!("{}/{} {}", of.topic, of.path.join("."), of.via)
    };
    found.fields.iter().map(written).collect()
}

fn reader(topic: &str, field: &str, pipeline: &str) -> Option<Reader> {
    let plan = good();
    let found = plan.graph().downstream(topic, &path(field));
    found.readers.into_iter().find(|reader| reader.pipeline == pipeline)
}

fn names(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

#[test]
fn a_field_of_one_pipeline_comes_from_its_sources() {
    assert_eq!(
        upstream("mesh.paid", "customer", true),
        [
            "shop.customers/id lookup_key",
            "shop.customers/name identity",
            "shop.orders/customer_id lookup_key",
            "shop.orders/status filter",
        ]
    );
    assert_eq!(
        upstream("mesh.money", "amount", true),
        ["shop.orders/status filter", "shop.orders/total identity", "shop.refunds/amount identity"]
    );
    // A constant comes from nowhere; which rows there are is decided all the same.
    assert_eq!(upstream("mesh.money", "direction", true), ["shop.orders/status filter"]);
}

#[test]
fn a_field_is_followed_over_pipelines_and_a_registered_processor() {
    let before = upstream("mesh.large", "bad", true);
    assert!(before.contains(&"shop.orders/total expression".to_owned()), "{before:?}");
    assert!(before.contains(&"shop.orders/shipping.city expression".to_owned()), "{before:?}");
    assert!(before.contains(&"shop.orders/status filter".to_owned()), "{before:?}");
    assert!(!before.iter().any(|field| field.contains("customers/name")), "{before:?}");
    let all = upstream("mesh.large", "bad", false);
    for between in [
        "mesh.scored/score expression",
        "mesh.paid/total expression",
        "mesh.paid/address.city expression",
    ] {
        assert!(all.contains(&between.to_owned()), "{all:?}");
    }
}

#[test]
fn a_field_within_a_record_comes_from_the_same_within_its_source() {
    let before = upstream("mesh.paid", "address.geo.lat", true);
    assert!(before.contains(&"shop.orders/shipping.geo.lat identity".to_owned()), "{before:?}");
    let before = upstream("mesh.paid", "address", true);
    assert!(before.contains(&"shop.orders/shipping identity".to_owned()), "{before:?}");
}

#[test]
fn a_whole_row_comes_from_all_of_its_fields() {
    let before = upstream("mesh.paid", "", true);
    for field in ["shop.orders/total identity", "shop.customers/email expression"] {
        assert!(before.contains(&field.to_owned()), "{before:?}");
    }
}

#[test]
fn nothing_comes_before_a_source_and_nothing_is_known_of_other_topics() {
    assert!(upstream("shop.orders", "total", false).is_empty());
    assert!(fields("shop.orders", "nope").is_empty());
    let plan = good();
    let graph = plan.graph();
    assert!(graph.knows("shop.orders") && graph.knows("mesh.large") && !graph.knows("nope"));
}

#[test]
fn who_reads_a_field_is_found_down_to_the_last_pipeline() {
    let reached = fields("shop.orders", "total");
    for field in [
        "mesh.paid/total identity",
        "mesh.paid_tap/total identity",
        "mesh.money/amount identity",
        "mesh.scored/score expression",
        "mesh.large/bad expression",
    ] {
        assert!(reached.contains(&field.to_owned()), "{reached:?}");
    }
    let paid = reader("shop.orders", "total", "paid-orders").unwrap();
    assert_eq!((names(&paid.processors), names(&paid.sinks)), (vec!["named", "paid"], vec!["out"]));
    let scored = reader("shop.orders", "total", "scored-orders").unwrap();
    assert_eq!(names(&scored.processors), ["priced", "scored", "scorer"]);
    let large = reader("shop.orders", "total", "large-orders").unwrap();
    assert_eq!(names(&large.sinks), ["out"]);
    assert!(reader("shop.orders", "total", "visits").is_none());
}

#[test]
fn what_only_filters_is_told_apart() {
    let paid = reader("shop.orders", "status", "paid-orders").unwrap();
    assert!(paid.only_decides() && paid.sinks.is_empty());
    // The processor that filters, not those behind it.
    assert_eq!(names(&paid.processors), ["paid"]);
    assert_eq!(paid.ways, BTreeSet::from([Via::Filter]));
    assert!(fields("shop.orders", "status").is_empty());
    let looked = reader("shop.customers", "id", "visits").unwrap();
    assert!(looked.only_decides());
    assert_eq!(names(&looked.processors), ["visit"]);
}

#[test]
fn a_record_and_its_fields_are_found_by_each_other() {
    let city = reader("shop.orders", "shipping.city", "scored-orders").unwrap();
    assert_eq!(names(&city.processors), ["priced", "scored", "scorer"]);
    let whole = reader("shop.orders", "shipping", "scored-orders").unwrap();
    assert_eq!(names(&whole.processors), ["priced", "scored", "scorer"]);
    // Another field of the record goes as far as the record does as it is, and no further.
    assert!(reader("shop.orders", "shipping.geo", "scored-orders").is_none());
    assert_eq!(
        fields("shop.orders", "shipping.geo"),
        ["mesh.paid/address.geo identity", "mesh.paid_tap/shipping.geo identity"]
    );
}

#[test]
fn what_only_decides_a_value_is_followed_as_such() {
    let text = "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: \"SELECT id, CASE WHEN qty > 1 THEN note END AS c FROM orders\"}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: q}
spec:
  inputs: {x: a}
  processors: [{name: y, sql: \"SELECT id, upper(c) AS d FROM x\"}]
  sinks: [{name: out, from: y, kafka: {topic: b}}]";
    let plan = planned(text).unwrap();
    let graph = plan.graph();
    let up = graph.upstream("b", &path("d")).fields;
    let ways: Vec<(String, Via)> = up.into_iter().map(|of| (of.path.join("."), of.via)).collect();
    assert!(ways.contains(&("qty".into(), Via::Condition)), "{ways:?}");
    assert!(ways.contains(&("note".into(), Via::Expression)), "{ways:?}");
    let down = graph.downstream("shop.orders", &path("qty"));
    assert!(down.readers.iter().all(Reader::only_decides));
    assert_eq!(down.fields.len(), 2);
}

#[test]
fn processors_that_filter_alike_are_each_told() {
    let text = "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: shop.orders}
  processors:
    - {name: one, sql: SELECT id FROM orders WHERE qty > 1}
    - {name: other, sql: SELECT id FROM orders WHERE qty > 1}
    - {name: behind, sql: SELECT id FROM one WHERE id > 5}
  sinks:
    - {name: a, from: behind, kafka: {topic: a}}
    - {name: b, from: other, kafka: {topic: b}}";
    let plan = planned(text).unwrap();
    let down = plan.graph().downstream("shop.orders", &path("qty"));
    assert_eq!(names(&down.readers[0].processors), ["one", "other"]);
}

#[test]
fn what_a_field_reaches_comes_from_it() {
    let plan = good();
    let graph = plan.graph();
    let mut asked = 0;
    for (topic, of) in super::topics() {
        let relation = Relation::of_topic(of.key, of.value).unwrap();
        for field in relation.fields() {
            let from = vec![field.name.clone()];
            for reached in graph.downstream(&topic, &from).fields {
                let before = graph.upstream(&reached.topic, &reached.path).fields;
                let found = before.iter().any(|whence| {
                    whence.topic == topic && whence.path[0] == from[0] && whence.via == reached.via
                });
                assert!(found, "{topic} {from:?}: {reached:?} comes from {before:?}");
                asked += 1;
            }
        }
    }
    assert!(asked > 30, "{asked}");
}
