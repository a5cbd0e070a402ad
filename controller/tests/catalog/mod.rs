//! What the catalog says of topics, whatever the registry has and answers.

use crate::masks::{PEOPLE, PLACED, asked, captured, flat, placed, source};
use crate::pipeline;
use crate::support::{Mesh, Running};
use serde_json::{Value as Json, json};
use tidemesh_controller::Refused;

/// A document of a topic of this name, which is the document's too.
fn described(topic: &str) -> String {
    placed("").replace(PLACED, topic).replace("name: placed", &format!("name: {topic}"))
}

/// How many fields are told of each topic, and whether it is said that there may be others.
fn told(listed: &Json) -> Vec<(&str, usize, bool)> {
    let topics = listed.as_array().unwrap().iter();
    let told = topics.map(|topic| {
        let fields = topic["fields"].as_array().unwrap().len();
        (topic["topic"].as_str().unwrap(), fields, topic["schemas_unknown"].is_string())
    });
    told.collect()
}

#[tokio::test]
async fn topics_are_listed_while_the_registry_is_away() {
    let mesh = Mesh::open();
    captured(&mesh);
    let (schemas, data) = flat("logs", &["name"], &["Ann"]);
    mesh.written("logs", &schemas, &data);
    let controller = mesh.controller("one").await;
    controller.apply(&source("")).await.unwrap();
    controller.apply(&pipeline("mails", PEOPLE, "SELECT id, name FROM rows")).await.unwrap();
    controller.apply(&described("logs")).await.unwrap();
    let (status, listed) = asked(&controller, "").await;
    assert_eq!(status, 200, "{listed}");
    let all = [("logs", 2, false), ("mesh.mails", 2, false), (PEOPLE, 3, false)];
    assert_eq!(told(&listed), all);
    assert_eq!(listed[0]["key"], json!(["id"]));

    mesh.registry_away(true);
    let (status, listed) = asked(&controller, "").await;
    assert_eq!(status, 200, "{listed}");
    let without = [("logs", 0, true), ("mesh.mails", 2, false), (PEOPLE, 3, false)];
    assert_eq!(told(&listed), without);
    assert_eq!(listed[0]["tags"], json!(["gold"]), "what documents say is there still");
    let (status, refused) = asked(&controller, "/logs").await;
    assert_eq!(status, 503, "{refused}");
    mesh.registry_away(false);
    let (_, listed) = asked(&controller, "").await;
    assert_eq!(told(&listed), all);
}

#[tokio::test]
async fn a_topic_is_asked_about_once_and_several_at_a_time() {
    let mesh = Mesh::open();
    let topics: Vec<String> = (0..30).map(|number| format!("logs-{number}")).collect();
    let documents: Vec<String> = topics.iter().map(|topic| described(topic)).collect();
    let controller = mesh.controller("one").await;
    controller.apply(&documents.join("---\n")).await.unwrap();
    let (before, _) = mesh.questions();
    let (status, listed) = asked(&controller, "").await;
    assert_eq!((status, listed.as_array().unwrap().len()), (200, 30));
    let (after, most) = mesh.questions();
    assert_eq!(after - before, 60, "for its key's schema and for its values'");
    assert_eq!(most, 16, "those of eight topics");

    // One that does not answer is not waited for topic by topic.
    mesh.registry_away(true);
    let (_, listed) = asked(&controller, "").await;
    assert!(told(&listed).iter().all(|(_, _, is_unknown)| *is_unknown), "{listed}");
    assert_eq!(mesh.questions().0 - after, 16);
}

#[tokio::test]
async fn a_key_that_is_no_avro_takes_nothing_of_the_values_away() {
    let mesh = Mesh::open();
    let ((_, value), data) = flat("logs", &["name"], &["Ann"]);
    let key = r#"{"type": "object", "properties": {"id": {"type": "integer"}}}"#;
    mesh.written("logs", &(key.to_owned(), value), &data);
    mesh.keyed("logs", br#"{"id": 1}"#);
    let controller = mesh.controller("one").await;
    controller.apply(&described("logs")).await.unwrap();
    let (_, shown) = asked(&controller, "/logs").await;
    assert_eq!(shown["fields"].as_array().unwrap().len(), 2, "{shown}");
    assert_eq!(shown["key"], json!([]));
    assert!(shown["key_schema"].is_u64() && shown["value_schema"].is_u64(), "{shown}");
    let (status, samples) = asked(&controller, "/logs/samples").await;
    assert_eq!(status, 200, "{samples}");
    let record = &samples["records"][0];
    assert_eq!(record["value"], json!({"id": 1, "name": "Ann"}));
    let error = record["key"]["error"].as_str().unwrap();
    assert!(error.contains("read a schema") && !error.contains("properties"), "{error}");
}

/// What is wrong with this text: what it is about, why, and where it stands.
async fn refused(controller: &Running, text: &str) -> (String, String, Option<u32>) {
    let Err(Refused::Wrong(mut refusals)) = controller.apply(text).await else {
        panic!("it is refused")
    };
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let refusal = refusals.remove(0);
    (refusal.about, refusal.message, refusal.line)
}

#[tokio::test]
async fn one_document_speaks_of_a_tables_topic() {
    let mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    let catalog = "  catalog: {public.people: {owner: people-team}}\n";
    let of_topic = placed("").replace(PLACED, PEOPLE);
    controller.apply(&source(catalog)).await.unwrap();
    let of_next = of_topic.replace(PEOPLE, &format!("{PEOPLE}.g2"));
    for text in [&of_topic, &of_next] {
        let (about, message, line) = refused(&controller, text).await;
        assert_eq!((about.as_str(), line), ("Source placed: spec.topic", Some(5)));
        assert!(message.contains("the source `shop` speaks of"), "{message}");
        assert!(message.contains("public.people"), "{message}");
    }

    // The other way round it is the connector's that comes later.
    controller.apply(&source("")).await.unwrap();
    controller.apply(&of_topic).await.unwrap();
    let (about, message, line) = refused(&controller, &source(catalog)).await;
    let place = "Source shop: spec.catalog[\"public.people\"]";
    assert_eq!((about.as_str(), line), (place, Some(6)));
    assert!(message.contains("the source `placed` speaks of"), "{message}");
    controller.apply(&placed("").replace("placed", "other")).await.unwrap();
}

#[tokio::test]
async fn what_a_connectors_document_says_of_all_its_tables_stands_behind_a_topics() {
    let mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    let connector = source("").replace("{name: shop}", "{name: shop, owner: dba, tags: [core]}");
    controller.apply(&connector).await.unwrap();
    controller.apply(&placed("").replace(PLACED, PEOPLE)).await.unwrap();
    let (_, shown) = asked(&controller, &format!("/{PEOPLE}")).await;
    assert_eq!((&shown["owner"], &shown["tags"]), (&json!("dba"), &json!(["gold", "core"])));
    assert_eq!(shown["published_as"], "placed");
}

#[tokio::test]
async fn a_pipeline_that_would_write_a_topic_of_others_is_told_so_where_it_stands() {
    let mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    controller
        .apply(&described("mesh.mails").replace("name: mesh.mails", "name: mails"))
        .await
        .unwrap();
    let text = pipeline("mails", PEOPLE, "SELECT id FROM rows");
    let Err(Refused::Wrong(refusals)) = controller.apply(&text).await else {
        panic!("it is refused")
    };
    let at = refusals.iter().find(|refusal| refusal.file == "test.yaml").unwrap();
    assert_eq!(
        (at.about.as_str(), at.line),
        ("Pipeline mails: spec.sinks[0].kafka.topic", Some(13))
    );
    assert!(at.message.contains("as the source `mails` says"), "{at}");
}
