//! A mesh of five pipelines: what its plan says.

use super::{GOOD, documents, good, planned, topics};
use std::fmt::Write as _;
use tidemesh_avro::schema::Schema;
use tidemesh_model::CleanupPolicy;
use tidemesh_plan::mesh::{Accepted, OutputKind, Recipe, Topics, plan};
use tidemesh_plan::relation::Form;

const EXPECTED: &str = include_str!("../../../testdata/mesh/good.txt");

#[test]
fn the_plan_of_five_pipelines_is_what_it_should_be() {
    let text = good().pipelines.iter().fold(String::new(), |mut text, pipeline| {
        write!(text, "{pipeline}").unwrap();
        text
    });
    // What it prints, if it is right, is what the file is to hold.
    assert!(text == EXPECTED, "{text}");
}

#[test]
fn each_pipeline_comes_behind_those_that_it_reads() {
    let plan = good();
    let names: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name()).collect();
    assert_eq!(names, ["paid-orders", "money", "visits", "scored-orders", "large-orders"]);
    let input = &plan.pipeline("scored-orders").unwrap().inputs[0];
    assert_eq!(
        (input.topic.as_str(), input.source.as_deref(), input.writer.as_deref()),
        ("mesh.paid", Some("paid"), Some("paid-orders"))
    );
}

#[test]
fn a_topic_of_others_is_read_by_its_sources_name() {
    let plan = planned(
        "apiVersion: tidemesh/v1
kind: Source
metadata: {name: clicked}
spec: {topic: app.clicks}
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {rows: {source: clicked}}
  sinks: [{name: out, from: rows, kafka: {topic: mesh.p}}]
",
    );
    let plan = plan.unwrap_or_else(|problems| panic!("{problems}"));
    let input = &plan.pipeline("p").unwrap().inputs[0];
    assert_eq!((input.topic.as_str(), input.source.as_deref()), ("app.clicks", Some("clicked")));
    assert_eq!(input.writer, None);
}

#[test]
fn each_output_has_all_that_a_topic_is_made_by() {
    let plan = good();
    for output in plan.pipelines.iter().flat_map(|pipeline| &pipeline.outputs) {
        assert_eq!(output.value_subject(), format!("{}-value", output.topic));
        assert_eq!(output.key_subject(), format!("{}-key", output.topic));
        Schema::parse(&output.schemas.value).unwrap();
        let keyed = output.schemas.key.is_some();
        let policy = if keyed { CleanupPolicy::Compact } else { CleanupPolicy::Delete };
        assert_eq!(output.settings.cleanup_policy, policy, "{}", output.topic);
    }
    let paid = plan.pipeline("paid-orders").unwrap();
    let of = |place: usize| (&paid.outputs[place].kind, paid.outputs[place].settings.partitions);
    assert_eq!((of(0), of(1)), ((&OutputKind::Sink, 4), (&OutputKind::Tap, 1)));
    let visits = &plan.pipeline("visits").unwrap().outputs[0];
    assert_eq!(visits.schemas.form, Form::Event);
    assert_eq!(visits.settings.retention_ms, Some(86_400_000));
}

#[test]
fn a_plan_is_made_again_from_what_it_is_made_of() {
    let documents = documents(GOOD);
    for made in good().pipelines {
        let document = documents.iter().find(|one| one.name() == made.name());
        let recipe = Recipe::of(&made, document.unwrap(), documents.iter());
        let text = serde_json::to_string(&recipe).unwrap();
        let read: Recipe = serde_json::from_str(&text).unwrap();
        let again = read.plan().unwrap_or_else(|error| panic!("{}", error.report()));
        assert_eq!((&again.digest, again.to_string()), (&made.digest, made.to_string()));
        let other = text.replace(&made.digest, &"0".repeat(64));
        let other: Recipe = serde_json::from_str(&other).unwrap();
        assert!(other.plan().unwrap_err().to_string().contains("another plan"));
    }
}

#[test]
fn the_same_documents_mean_the_same() {
    let digests = |text: &str| -> Vec<(String, String)> {
        let of = planned(text).unwrap().pipelines.into_iter();
        of.map(|pipeline| (pipeline.name().to_owned(), pipeline.digest)).collect()
    };
    let changed = |text: &str| -> Vec<String> {
        let (before, after) = (digests(GOOD), digests(text));
        let both = before.into_iter().zip(after);
        both.filter(|(one, other)| one != other).map(|((name, _), _)| name).collect()
    };
    assert!(digests(GOOD).iter().all(|(_, digest)| digest.len() == 64));
    assert!(changed(GOOD).is_empty());
    // Layout, comments and what people say of it change nothing.
    let laid_out = GOOD.replace(
        "SELECT id, customer_id, total",
        "SELECT id, -- who\n                customer_id, total",
    );
    assert!(laid_out != GOOD && changed(&laid_out).is_empty());
    assert!(changed(&GOOD.replace("team-orders", "team-other")).is_empty());
    // A name within the query.
    assert!(
        changed(
            &GOOD
                .replace("FROM clicks k JOIN", "FROM clicks kk JOIN")
                .replace("k.*", "kk.*")
                .replace("k.user", "kk.user")
        )
        .is_empty()
    );
    // The order of keys.
    let keys = GOOD.replace("config: {threshold: 0.5}", "config: {note: a, threshold: 0.5}");
    let keys = keys.replace("    additionalProperties: false\n", "");
    let turned = keys.replace("{note: a, threshold: 0.5}", "{threshold: 0.5, note: a}");
    assert!(turned != keys && digests(&turned) == digests(&keys));
    // What filters, what is looked up, what is configured, how the topic is made.
    assert_eq!(changed(&GOOD.replace("total > 1000", "total > 1001")), ["large-orders"]);
    assert_eq!(changed(&GOOD.replace("threshold: 0.5", "threshold: 0.6")), ["scored-orders"]);
    assert_eq!(changed(&GOOD.replace("partitions: 4", "partitions: 5")), ["paid-orders"]);
    assert_eq!(changed(&GOOD.replace("mesh.dead", "mesh.dead_2")), ["paid-orders"]);
    // A type downstream changes with what is upstream.
    let cast = GOOD.replace("SELECT id, score, total", "SELECT id, score::text AS score, total");
    let cast = cast.replace("score > 0.9 AS bad", "score AS bad");
    assert_eq!(changed(&cast), ["scored-orders", "large-orders"]);
}

/// The shop's topics, with orders that have one more column.
fn with_column(field: &str) -> Topics {
    let mut topics = topics();
    let orders = topics.get_mut("shop.orders").unwrap();
    let text = orders.value.registry_text();
    let more = text.replacen(
        r#"{"name":"id","type":"long""#,
        &format!(r#"{field},{{"name":"id","type":"long""#),
        1,
    );
    assert_ne!(text, more);
    orders.value = Schema::parse(&more).unwrap();
    topics
}

#[test]
fn a_column_that_nothing_reads_changes_no_digest() {
    let wider = with_column(r#"{"name":"extra","type":["null","string"],"default":null}"#);
    let wider = plan(&documents(GOOD), &wider, &Accepted::new()).unwrap();
    for (one, other) in good().pipelines.iter().zip(&wider.pipelines) {
        assert_eq!(one.digest, other.digest, "{}", one.name());
    }
}

#[test]
fn a_new_topic_takes_its_schemas_from_the_plan_and_not_from_what_was_known() {
    let mut topics = topics();
    let old =
        Schema::parse(r#"{"type":"record","name":"Old","fields":[{"name":"x","type":"int"}]}"#);
    let old = tidemesh_plan::mesh::Topic { key: None, value: old.unwrap(), source: None };
    topics.insert("mesh.paid".into(), old);
    let plan = plan(&documents(GOOD), &topics, &Accepted::new()).unwrap();
    assert_eq!(plan.pipelines.len(), 5);
}

/// Two processors, one behind the other, and a union of what the last makes with a topic.
const BETWEEN: &str = "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {r: shop.refunds, clicks: app.clicks}
  processors:
    - {name: one, processor: echo@1, inputs: [r], tap: mesh.one}
    - {name: cut, sql: \"SELECT id, upper(reason) AS reason FROM one\"}
    - {name: two, processor: echo@1, inputs: [cut]}
    - {name: both, sql: \"SELECT 'made' AS origin, id, reason FROM two UNION ALL SELECT 'read', id, reason FROM r\"}
  sinks:
    - {name: out, from: both, kafka: {topic: mesh.both}}
    - {name: last, from: two, kafka: {topic: mesh.two, envelope: flat}}
---
apiVersion: tidemesh/v1
kind: Processor
metadata: {name: echo}
spec:
  version: 1
  inputs: [{name: in, schema: {type: record, name: In, fields: [{name: id, type: long}, {name: reason, type: ['null', string]}]}}]
  output:
    schema: {type: record, name: Out, fields: [{name: id, type: long}, {name: reason, type: ['null', string]}]}
    key: [id]
";

#[test]
fn what_a_registered_processor_makes_is_read_like_an_input() {
    let plan = planned(BETWEEN).unwrap_or_else(|problems| panic!("{problems}"));
    let pipeline = plan.pipeline("p").unwrap();
    let tables: Vec<&str> = pipeline.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(tables, ["clicks", "r", "one", "two"]);
    let of: Vec<_> =
        pipeline.outputs.iter().map(|of| (of.topic.as_str(), of.schemas.form)).collect();
    assert_eq!(
        of,
        [("mesh.both", Form::Envelope), ("mesh.two", Form::Flat), ("mesh.one", Form::Envelope)]
    );
    // Through both processors, what is read is what the first declares.
    let reads: Vec<String> = pipeline.inputs[1].reads.iter().map(|path| path.join(".")).collect();
    assert_eq!(reads, ["id", "reason"]);
    assert!(pipeline.inputs[0].reads.is_empty());
    let up = plan.graph().upstream("mesh.two", &["reason".to_owned()]);
    let up: Vec<String> =
        up.fields.iter().map(|of| format!("{} {}", of.path.join("."), of.via)).collect();
    assert_eq!(up, ["id expression", "reason expression"]);
    let down = plan.graph().downstream("shop.refunds", &["amount".to_owned()]);
    assert!(down.readers.is_empty() && down.fields.is_empty());
    let events = BETWEEN
        .replace("    key: [id]\n", "")
        .replace("'made' AS origin, ", "")
        .replace("UNION ALL SELECT 'read', id, reason FROM r", "");
    let plan = planned(&events).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(plan.pipelines[0].outputs.iter().all(|of| of.schemas.form == Form::Event));
}
