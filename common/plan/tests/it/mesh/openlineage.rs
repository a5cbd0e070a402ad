//! The events that are written for other catalogs have OpenLineage's form.
//!
//! `testdata/openlineage/run_event.schema.json` says in our own words what its specification 2-0-2 asks
//! of them (OpenLineage/OpenLineage, `spec/OpenLineage.json` and `spec/facets/`; the newest facets as
//! its Python client 1.54.0 has them in `openlineage/client/generated/`).

use super::{good, planned};
use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use tidemesh_plan::mesh::MeshPlan;
use tidemesh_plan::mesh::openlineage::{Event, State, run_event};

const SCHEMA: &str = include_str!("../../../testdata/openlineage/run_event.schema.json");

const EVENT: Event<'static> = Event {
    state: State::Running,
    time: "2026-11-29T17:00:00.000Z",
    run_id: "0190b3a0-1c2d-7e3f-8a4b-5c6d7e8f9a0b",
    producer: "https://example.org/tidemesh/0.1.0",
    job_namespace: "mesh",
    dataset_namespace: "kafka://broker:9092",
};

fn event(plan: &MeshPlan, pipeline: &str) -> Value {
    run_event(plan.pipeline(pipeline).unwrap(), &EVENT)
}

#[test]
fn every_event_has_the_form_that_the_specification_asks_for() {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.enable_format_assertions();
    compiler.add_resource("event.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let index = compiler.compile("event.json", &mut schemas).unwrap();
    for pipeline in &good().pipelines {
        let event = run_event(pipeline, &EVENT);
        let valid = schemas.validate(&event, index);
        valid.unwrap_or_else(|error| panic!("{}: {error:#}", pipeline.name()));
    }
    let mut wrong = event(&good(), "money");
    wrong["outputs"][0]["facets"]["columnLineage"]["fields"]["id"] = json!({});
    assert!(schemas.validate(&wrong, index).is_err());
}

/// `topic/field type/subtype`, for each of a list of input fields; `!` behind one that masks.
fn written(fields: &Value) -> Vec<String> {
    let way = |way: &Value| {
        let mask = if way["masking"] == true { "!" } else { "" };
        format!("{}/{}{mask}", way["type"].as_str().unwrap(), way["subtype"].as_str().unwrap())
    };
    let field = |field: &Value| {
        let ways: Vec<String> =
            field["transformations"].as_array().unwrap().iter().map(way).collect();
        let (name, of) = (field["name"].as_str().unwrap(), field["field"].as_str().unwrap());
        assert_eq!(field["namespace"], "kafka://broker:9092");
        format!("{name}/{of} {}", ways.join(" "))
    };
    fields.as_array().unwrap().iter().map(field).collect()
}

#[test]
fn the_columns_of_an_output_have_their_fields_and_the_dataset_what_only_decides() {
    let event = event(&good(), "paid-orders");
    assert_eq!(event["job"]["facets"]["ownership"]["owners"], json!([{"name": "team-orders"}]));
    let facets = &event["outputs"][0]["facets"];
    assert_eq!(event["outputs"][0]["name"], "mesh.paid");
    let lineage = &facets["columnLineage"];
    let column = |name: &str| written(&lineage["fields"][name]["inputFields"]);
    assert_eq!(column("address"), ["shop.orders/shipping DIRECT/IDENTITY"]);
    assert_eq!(column("email_hash"), ["shop.customers/email DIRECT/TRANSFORMATION!"]);
    assert_eq!(
        written(&lineage["dataset"]),
        [
            "shop.customers/id INDIRECT/JOIN",
            "shop.orders/customer_id INDIRECT/JOIN",
            "shop.orders/status INDIRECT/FILTER",
        ]
    );
    let fields = facets["schema"]["fields"].as_array().unwrap();
    let address = fields.iter().find(|field| field["name"] == "address").unwrap();
    assert_eq!(address["fields"][0]["name"], "city");
    assert_eq!(address["fields"][1]["fields"][0]["type"], r#"["null","double"]"#);
}

#[test]
fn a_registered_processor_is_seen_through() {
    let event = event(&good(), "scored-orders");
    let lineage = &event["outputs"][0]["facets"]["columnLineage"];
    assert_eq!(
        written(&lineage["fields"]["score"]["inputFields"]),
        [
            "mesh.paid/address.city DIRECT/TRANSFORMATION",
            "mesh.paid/id DIRECT/TRANSFORMATION",
            "mesh.paid/total DIRECT/TRANSFORMATION",
        ]
    );
    // The score decides, which is made of all of them.
    assert_eq!(
        written(&lineage["dataset"]),
        [
            "mesh.paid/address.city INDIRECT/FILTER",
            "mesh.paid/id INDIRECT/FILTER",
            "mesh.paid/total INDIRECT/FILTER",
        ]
    );
}

#[test]
fn a_column_is_masked_if_it_is_a_hash_in_every_part() {
    let masks = |sql: &str| {
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  inputs: {{o: \
             shop.orders, r: shop.refunds}}\n  processors:\n    - name: x\n      sql: |\n        \
             {sql}\n  sinks: [{{name: out, from: x, kafka: {{topic: a}}}}]"
        );
        let event = event(&planned(&text).unwrap(), "p");
        let fields = &event["outputs"][0]["facets"]["columnLineage"]["fields"]["h"]["inputFields"];
        written(fields).iter().all(|field| field.ends_with('!'))
    };
    assert!(masks("SELECT id, md5(note) AS h FROM o"));
    assert!(masks("SELECT id, encode(sha512(note), 'hex') AS h FROM o"));
    assert!(masks(
        "WITH a AS (SELECT id, sha256(note) AS s FROM o) SELECT id, encode(s, 'base64') AS h FROM a"
    ));
    assert!(!masks("SELECT id, note AS h FROM o"));
    assert!(!masks("SELECT id, md5(note) || note AS h FROM o"));
    assert!(!masks(
        "SELECT 1 AS k, id, md5(note) AS h FROM o UNION ALL SELECT 2, id, reason FROM r"
    ));
    assert!(masks(
        "SELECT 1 AS k, id, md5(note) AS h FROM o UNION ALL SELECT 2, id, md5(reason) FROM r"
    ));
}
