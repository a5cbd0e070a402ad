//! The documents of `testdata`: each is read, written as JSON, and read again.

use boon::{Compiler, Schemas};
use serde_json::Value;
use tidemesh_plan::document::{
    Document, Evolution, JSON_SCHEMA, Kind, ProcessorKind, Severity, SourceSpec, Spec, parse,
};

const GOOD: &[(&str, &str)] = &[
    ("sources.yaml", include_str!("../../testdata/sources.yaml")),
    ("pipelines.yaml", include_str!("../../testdata/pipelines.yaml")),
    ("processors.yaml", include_str!("../../testdata/processors.yaml")),
    ("alerts.yaml", include_str!("../../testdata/alerts.yaml")),
    ("mesh.json", include_str!("../../testdata/mesh.json")),
];

fn read(file: &str, text: &str) -> Vec<Document> {
    parse(text).unwrap_or_else(|problems| panic!("{file}:\n{problems}"))
}

fn all() -> Vec<Document> {
    GOOD.iter().flat_map(|(file, text)| read(file, text)).collect()
}

fn named(kind: Kind, name: &str) -> Document {
    all().into_iter().find(|d| d.kind() == kind && d.name() == name).expect("an example")
}

#[test]
fn every_example_is_read_and_they_fit_together() {
    let documents = all();
    assert_eq!(documents.len(), 10);
    for kind in Kind::ALL {
        assert!(documents.iter().any(|document| document.kind() == kind));
    }
    let together: Vec<_> = GOOD[..4].iter().map(|(_, text)| *text).collect();
    assert_eq!(read("together", &together.join("\n---\n")).len(), 9);
}

#[test]
fn what_is_written_as_json_reads_equal() {
    for document in all() {
        let json = document.to_json();
        for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
            let again = read(document.name(), &text);
            assert_eq!(again, std::slice::from_ref(&document));
            assert_eq!(again[0].to_json(), json);
        }
    }
}

#[test]
fn values_keep_what_yaml_1_2_says_that_they_are() {
    let document = named(Kind::Pipeline, "paid-orders");
    let Spec::Pipeline(spec) = &document.spec else { panic!() };
    let ProcessorKind::Registered { processor, config, .. } = &spec.processors[1].kind else {
        panic!()
    };
    assert_eq!((processor.name.as_str(), processor.version), ("fraud-score", 2));
    let expected = serde_json::json!({
        "threshold": 3, "ratio": 1000.0, "limits": [9_007_199_254_740_993_i64, -1, 0.1],
        "strict": "yes", "words": {"on": "off"},
    });
    assert_eq!(config.as_ref(), Some(&expected));
    assert_eq!(spec.evolution, Evolution::Auto);
    assert_eq!(
        document.metadata.description.as_deref(),
        Some("Orders that are paid, with a score.\n")
    );
}

#[test]
fn defaults_are_as_documented() {
    let document = named(Kind::Pipeline, "large-orders");
    let expected = serde_json::json!({
        "name": "out", "from": "large",
        "kafka": {
            "topic": "mesh.large_orders", "envelope": "debezium", "partitions": 1,
        },
    });
    assert_eq!(document.to_json()["spec"]["sinks"][0], expected);
    assert_eq!(document.to_json()["spec"]["on_error"], "stop");
    let Spec::Alert(alert) = named(Kind::Alert, "shop-stands-still").spec else { panic!() };
    assert_eq!((alert.for_seconds, alert.severity), (60, Severity::Warning));
}

#[test]
fn a_source_is_a_connectors_settings_under_the_documents_name() {
    let Spec::Source(SourceSpec::Connector { settings, catalog }) =
        named(Kind::Source, "shop").spec
    else {
        panic!()
    };
    assert_eq!(settings.name, "shop");
    assert_eq!(settings.topics.partitions, 4);
    assert_eq!(catalog["public.customers"].fields["email"].tags, ["pii"]);
}

#[test]
fn a_source_may_be_a_topic_that_others_write() {
    let document = named(Kind::Source, "orders-placed");
    let Spec::Source(SourceSpec::Topic { topic, catalog }) = &document.spec else { panic!() };
    assert_eq!((topic.as_str(), catalog.owner.as_deref()), ("shop.events.orders", None));
    assert!(catalog.fields["email"].masked && !catalog.fields["address.city"].masked);
    let bare = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: s}\nspec: {topic: t}\n";
    let expected = serde_json::json!({"topic": "t"});
    assert_eq!(read("bare", bare)[0].to_json()["spec"], expected, "of which nothing is said");
}

#[test]
fn a_source_is_of_any_connector() {
    let Spec::Source(SourceSpec::Connector { settings, .. }) = named(Kind::Source, "bookings").spec
    else {
        panic!()
    };
    assert_eq!(settings.connector(), Some("mysql"));
    let mysql = settings.mysql.as_ref().expect("its table");
    assert_eq!((mysql.port, mysql.server_id), (3306, Some(7001)));
    assert!(settings.snapshot.read_only);
}

#[test]
fn a_text_without_a_mistake_knows_where_everything_stands() {
    let document = named(Kind::Pipeline, "paid-orders");
    for (path, place) in [
        ("metadata.name", "4:9"),
        ("spec.processors[1].config.threshold", "28:27"),
        ("spec.sinks[0].kafka.key[0]", "37:15"),
        ("spec.sinks[7].from", "30:5"),
        ("spec.no.such.thing", "11:3"),
    ] {
        assert_eq!(document.place(path).to_string(), place, "{path}");
    }
    let problem = document.problem("spec.processors[0].sql", "there is no column x");
    assert!(
        problem.to_string().starts_with("21:9: Pipeline paid-orders: spec.processors[0].sql: ")
    );
}

fn schema() -> (Schemas, boon::SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let json: Value = serde_json::from_str(JSON_SCHEMA).expect("JSON");
    compiler.add_resource("document.json", json).expect("a resource");
    let index = compiler.compile("document.json", &mut schemas).expect("a schema");
    (schemas, index)
}

#[test]
fn the_editors_schema_takes_every_example_as_it_is_stored() {
    let (schemas, index) = schema();
    for document in all() {
        let json = document.to_json();
        schemas
            .validate(&json, index)
            .unwrap_or_else(|error| panic!("{}: {error:#}", document.name()));
    }
}

#[test]
fn the_editors_schema_refuses_what_has_the_wrong_form() {
    let (schemas, index) = schema();
    let wrong: [(Kind, &str, &str, Value); 15] = [
        (Kind::Pipeline, "paid-orders", "/apiVersion", "tidemesh/v2".into()),
        (Kind::Pipeline, "paid-orders", "/kind", "Pipe".into()),
        (Kind::Pipeline, "paid-orders", "/metadata/name", "a b".into()),
        (Kind::Pipeline, "paid-orders", "/spec/evolution", "always".into()),
        (Kind::Pipeline, "paid-orders", "/spec/sinks", Value::Array(Vec::new())),
        (Kind::Pipeline, "paid-orders", "/spec/sinks/0/kafka/partitions", 0.into()),
        (Kind::Pipeline, "paid-orders", "/spec/processors/1/processor", "fraud-score".into()),
        (Kind::Source, "shop", "/spec/postgres/port", "x".into()),
        (Kind::Source, "bookings", "/spec/mysql/server_id", 0.into()),
        (Kind::Source, "bookings", "/spec/mysql/zero_dates", "none".into()),
        (Kind::Source, "shop", "/spec/topics/cleanup_policy", "none".into()),
        (Kind::Source, "paid", "/spec/pipeline/sink", 1.into()),
        (Kind::Source, "orders-placed", "/spec/topic", "a b".into()),
        (Kind::Processor, "fraud-score", "/spec/version", 0.into()),
        (Kind::Alert, "paid-orders-late", "/spec/condition/metric", "lag".into()),
    ];
    for (kind, name, pointer, value) in wrong {
        let mut json = named(kind, name).to_json();
        *json.pointer_mut(pointer).unwrap() = value;
        assert!(schemas.validate(&json, index).is_err(), "{pointer}");
    }
    let mut json = named(Kind::Pipeline, "paid-orders").to_json();
    json["spec"]["sinks"][0]["tpoic"] = "x".into();
    assert!(schemas.validate(&json, index).is_err());
    let mut json = named(Kind::Source, "bookings").to_json();
    json["spec"]["postgres"] = named(Kind::Source, "shop").to_json()["spec"]["postgres"].clone();
    assert!(schemas.validate(&json, index).is_err(), "a source of two databases");
    let mut json = named(Kind::Source, "orders-placed").to_json();
    json["spec"]["pipeline"] = named(Kind::Source, "paid").to_json()["spec"]["pipeline"].clone();
    assert!(schemas.validate(&json, index).is_err(), "a topic of others and of a pipeline");
}
