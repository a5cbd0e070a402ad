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
fn only_what_is_needed_has_to_come_up() {
    let found = asked(CHAIN, "doubled").unwrap();
    let topics: Vec<&str> = found.pipelines[0].topics.iter().map(String::as_str).collect();
    assert_eq!(topics, ["shop.customers", "shop.orders"], "refunds go elsewhere");
}

/// The columns of `paid` that were looked up, and whether rows were, with another SQL of `named`; the
/// same of what reads `paid`.
fn looked_up(named: &str, reads: &str) -> [(Vec<usize>, bool); 2] {
    let lines = CHAIN.lines().map(|line| match () {
        () if line.contains("name: named") => {
            format!("    - {{name: named, sql: \"{named}\"}}")
        }
        () if line.contains("name: made") => {
            format!("  processors: [{{name: made, sql: \"{reads}\"}}]")
        }
        () => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    ["paid", "doubled"].map(|pipeline| {
        let found = asked(&text, pipeline).unwrap().looked_up;
        assert!(found.topics.iter().all(|topic| topic == "shop.customers"), "{found:?}");
        (found.columns.into_iter().collect(), found.rows)
    })
}

#[test]
fn what_was_looked_up_is_known_over_pipelines() {
    let left =
        "SELECT f.id, f.qty, c.name FROM few f LEFT JOIN customers c ON c.id = f.customer_id";
    let found = looked_up(left, "SELECT id, qty, upper(name) AS who FROM rows");
    assert_eq!(found, [(vec![2], false), (vec![2], false)]);
    assert_eq!(looked_up(left, "SELECT id, qty FROM rows")[1], (vec![], false));
    let filtered = looked_up(left, "SELECT id, qty FROM rows WHERE name IS NOT NULL");
    assert_eq!(filtered[1], (vec![], true));
    let inner = left.replace("LEFT JOIN", "JOIN");
    let found = looked_up(&inner, "SELECT id, qty FROM rows");
    assert_eq!(found, [(vec![2], true), (vec![], true)]);
    let none = looked_up("SELECT id, qty FROM few", "SELECT id, qty FROM rows");
    assert_eq!(none, [(vec![], false), (vec![], false)]);
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
