//! A pipeline's output as one query of the source's database.

use super::{GOOD, documents, topics};
use std::sync::Arc;
use tidemesh_model::ErrorKind;
use tidemesh_plan::document::Document;
use tidemesh_plan::mesh::{Accepted, MeshPlan, plan};
use tidemesh_plan::oracle::{Oracle, SqlPart, oracle};

const CHAIN: &str = "
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: paid}
spec:
  new_fields: ignore
  fields: [{input: orders, field: note, flow: never}]
  inputs: {refunds: shop.refunds, orders: shop.orders, customers: {topic: shop.customers, lookup: true}}
  processors:
    - {name: other, sql: SELECT id FROM refunds}
    - {name: few, sql: \"SELECT id, qty, customer_id FROM orders WHERE status = 'paid'\"}
    - {name: named, sql: 'SELECT f.id, f.qty, c.name FROM few f LEFT JOIN customers c ON c.id = f.customer_id'}
  sinks: [{name: out, from: named, kafka: {topic: mesh.paid}}]
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: doubled}
spec:
  inputs: {rows: mesh.paid}
  processors: [{name: made, sql: 'SELECT id, qty * 2 AS \"Twice \"\"\" FROM rows'}]
  sinks: [{name: out, from: made, kafka: {topic: mesh.doubled}}]
";

fn mesh(text: &str) -> (MeshPlan, Vec<Arc<Document>>) {
    let documents = documents(text);
    let mesh = plan(&documents, &topics(), &Accepted::new());
    let mesh = mesh.unwrap_or_else(|problems| panic!("{problems}"));
    (mesh, documents.into_iter().map(Arc::new).collect())
}

fn asked(text: &str, pipeline: &str) -> tidemesh_model::Result<Oracle> {
    let (mesh, documents) = mesh(text);
    let plan = mesh.pipeline(pipeline).unwrap();
    oracle(&mesh, &documents, plan, &plan.outputs[0])
}

fn text(oracle: &Oracle) -> String {
    let part = |part: &SqlPart| match part {
        SqlPart::Text(text) => text.clone(),
        SqlPart::Table(topic) => format!("<{topic}>"),
    };
    oracle.sql.iter().map(part).collect()
}

#[test]
fn a_chain_of_pipelines_is_one_query_with_what_it_needs_and_nothing_else() {
    let found = asked(CHAIN, "doubled").unwrap();
    let text = text(&found);
    assert!(text.starts_with("WITH \"rows\" AS (SELECT \"id\", \"qty\" FROM (WITH "), "{text}");
    assert!(text.contains("\"customers\" AS (SELECT \"id\", \"name\""), "{text}");
    assert!(text.contains("FROM (<shop.orders>) AS source), "), "{text}");
    assert!(!text.contains("\"note\""), "{text}");
    assert!(text.ends_with(") SELECT \"id\", \"Twice \"\"\" FROM \"made\""), "{text}");
    let names: Vec<&str> = found.pipelines.iter().map(|one| one.pipeline.as_str()).collect();
    assert_eq!(names, ["paid", "doubled"]);
    assert_eq!(found.tables().into_iter().collect::<Vec<_>>(), ["shop.customers", "shop.orders"]);
}

#[test]
fn what_no_database_knows_is_said() {
    for (pipeline, why) in [
        ("scored-orders", "a registered processor"),
        ("large-orders", "before it was started"),
        ("visits", "are events"),
    ] {
        let error = asked(GOOD, pipeline).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().contains(why), "{}", error.report());
    }
}
