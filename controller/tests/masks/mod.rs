//! Samples without what is masked, whatever becomes of the documents that say so.

mod written;

use crate::pipeline;
use crate::support::{Mesh, Running, table};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value as Json, json};
use tidemesh_controller::{Asked, Id, Refused};
use tidemesh_model::SourceSettings;
use tidemesh_plan::document::Kind;
use tower::ServiceExt;

pub(crate) const PEOPLE: &str = "shop.public.people";

/// A text of Avro.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len() * 2).unwrap()];
    bytes.extend(text.as_bytes());
    bytes
}

/// A change that made the row 1 with these texts: `before` is null, `after` the row, then `op` and no time.
fn created(texts: &[&str]) -> Vec<u8> {
    let texts = texts.iter().flat_map(|one| [vec![2], text(one)].concat());
    [vec![0, 2, 2], texts.collect(), text("c"), vec![0]].concat()
}

/// The schemas of a flat topic with the key `id`, and the row 1 with these texts.
pub(crate) fn flat(topic: &str, columns: &[&str], texts: &[&str]) -> ((String, String), Vec<u8>) {
    let column = |name: &&str| json!({"name": name, "type": "string"});
    let mut fields = vec![json!({"name": "id", "type": "long"})];
    fields.extend(columns.iter().map(column));
    let value = json!({"type": "record", "name": format!("{topic}.Value"), "fields": fields});
    let data = [vec![2], texts.iter().flat_map(|one| text(one)).collect()].concat();
    ((table(topic, &[]).0, value.to_string()), data)
}

pub(crate) fn source(catalog: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {{name: shop}}\nspec:\n  \
         postgres: {{database: d, user: u, tables: [public.people]}}\n{catalog}"
    )
}

const MASKED: &str = "  catalog: {public.people: {fields: {email: {masked: true}}}}\n";

pub(crate) async fn answered(controller: &Running, path: &str) -> (u16, Json) {
    asked(controller, &format!("/{path}")).await
}

/// What is answered behind the path of the catalog.
pub(crate) async fn asked(controller: &Running, behind: &str) -> (u16, Json) {
    let request = Request::get(format!("/v1/catalog{behind}")).body(Body::empty()).unwrap();
    let answer = tidemesh_controller::router(controller.0.clone()).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A topic's one record.
pub(crate) async fn sample(controller: &Running, topic: &str) -> Json {
    let (status, samples) = answered(controller, &format!("{topic}/samples")).await;
    assert_eq!(status, 200, "{samples}");
    samples["records"][0]["value"].clone()
}

async fn delete(controller: &Running, name: &str) {
    let id = Id { kind: Kind::Source, name: name.to_owned() };
    controller.0.delete(&id, &Asked::default()).await.unwrap();
}

pub(crate) fn captured(mesh: &Mesh) {
    let schemas = table(PEOPLE, &["name", "email"]);
    mesh.captured(PEOPLE, &schemas, &created(&["Ann", "hush"]));
}

/// What of `mesh.mails` is shown, and which fields the catalog says to be hidden.
async fn mails(controller: &Running) -> (Json, Vec<String>) {
    let (_, shown) = answered(controller, "mesh.mails").await;
    let fields = shown["fields"].as_array().unwrap();
    let masked = fields.iter().filter(|field| field["masked"] == true);
    let masked = masked.map(|field| field["path"].as_str().unwrap().to_owned()).collect();
    (sample(controller, "mesh.mails").await, masked)
}

#[tokio::test]
async fn what_is_made_of_a_masked_column_is_masked_and_both_outlive_the_document() {
    let mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&source(MASKED)).await.unwrap();
    let sql = "SELECT id, name, email AS same, CAST(email AS bigint) AS number, upper(email) AS \
               shouted, CASE WHEN email = name THEN 1 ELSE 2 END AS chosen FROM rows";
    controller.apply(&pipeline("mails", PEOPLE, sql)).await.unwrap();
    let columns = ["name", "same", "number", "shouted", "chosen"];
    let texts = ["Ann", "hush", "hush", "hush", "hush"];
    let (schemas, data) = flat("mesh.mails", &columns, &texts);
    mesh.written("mesh.mails", &schemas, &data);

    let row = json!({"id": 1, "name": "Ann", "email": "***"});
    let made = json!({"id": 1, "name": "Ann", "same": "***", "number": "***", "shouted": "***",
        "chosen": "***"});
    let hidden = ["same", "number", "shouted", "chosen"].map(str::to_owned).to_vec();
    assert_eq!(sample(&controller, PEOPLE).await["after"], row);
    assert_eq!(mails(&controller).await, (made.clone(), hidden.clone()));

    delete(&controller, "shop").await;
    assert_eq!(sample(&controller, PEOPLE).await["after"], row);
    assert_eq!(mails(&controller).await, (made.clone(), hidden.clone()));
    controller.end().await;
    let controller = mesh.controller("two").await;
    mesh.until("it has planned", || mesh.runs("mails").is_some()).await;
    assert_eq!(sample(&controller, PEOPLE).await["after"], row);
    assert_eq!(mails(&controller).await, (made, hidden));

    // Somebody says that it is not masked.
    controller.apply(&source("")).await.unwrap();
    let open = json!({"id": 1, "name": "Ann", "email": "hush"});
    assert_eq!(sample(&controller, PEOPLE).await["after"], open);
    assert_eq!(mails(&controller).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_configuration_that_takes_a_sources_name_takes_no_mask_away() {
    let mut mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&source(MASKED)).await.unwrap();
    controller.end().await;
    let settings = json!({
        "name": "shop", "postgres": {"database": "d", "user": "u", "tables": ["public.people"]},
    });
    let settings: SourceSettings = serde_json::from_value(settings).unwrap();
    mesh = mesh.configured(vec![settings]);
    let controller = mesh.controller("two").await;
    // Any topic can be asked about once it has planned.
    mesh.until("it has planned", || controller.trouble().is_none()).await;
    assert_eq!(sample(&controller, PEOPLE).await["after"]["email"], "***");
}

#[tokio::test]
async fn what_a_published_output_masks_outlives_its_document_too() {
    let mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&source("")).await.unwrap();
    let published = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: mails}\nspec:\n  \
                     pipeline: {name: mails, sink: out}\n  catalog: {fields: {email: {masked: true}}}\n";
    let declared = pipeline("mails", PEOPLE, "SELECT id, name, email FROM rows");
    controller.apply(&format!("{declared}---\n{published}")).await.unwrap();
    let (schemas, data) =
        flat("mesh.mails", &["name", "email", "before_it"], &["Ann", "hush", "hush"]);
    mesh.written("mesh.mails", &schemas, &data);
    // What an earlier plan wrote is of nobody knows what.
    let hidden = json!({"id": 1, "name": "Ann", "email": "***", "before_it": "***"});
    assert_eq!(mails(&controller).await, (hidden.clone(), vec!["email".to_owned()]));
    delete(&controller, "mails").await;
    assert_eq!(mails(&controller).await, (hidden, vec!["email".to_owned()]));
    assert_eq!(sample(&controller, PEOPLE).await["after"]["email"], "hush", "it is another topic");
}

#[tokio::test]
async fn of_a_source_that_nobody_has_said_anything_of_nothing_is_shown() {
    let mut mesh = Mesh::open();
    captured(&mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&pipeline("mails", PEOPLE, "SELECT id, email FROM rows")).await.unwrap();
    let (schemas, data) = flat("mesh.mails", &["email"], &["hush"]);
    mesh.written("mesh.mails", &schemas, &data);
    for topic in [PEOPLE, "mesh.mails"] {
        let (status, refused) = answered(&controller, &format!("{topic}/samples")).await;
        assert_eq!(status, 422, "{topic}: {refused}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("source=shop"), "{message}");
        assert!(message.contains("controller.sources"), "{message}");
    }
    controller.end().await;
    mesh.elsewhere = vec!["shop".to_owned()];
    let controller = mesh.controller("two").await;
    mesh.until("it has planned", || mesh.runs("mails").is_some()).await;
    for topic in [PEOPLE, "mesh.mails"] {
        assert!(sample(&controller, topic).await.to_string().contains("hush"), "{topic}");
    }
}

#[tokio::test]
async fn what_is_made_of_a_topic_that_nobody_knows_is_not_shown() {
    let mesh = Mesh::open();
    let (schemas, data) = flat("logs", &["name", "email"], &["Ann", "hush"]);
    mesh.written("logs", &schemas, &data);
    let controller = mesh.controller("one").await;
    controller.apply(&mails_of("logs")).await.unwrap();
    mailed(&mesh);
    let (status, refused) = answered(&controller, "mesh.mails/samples").await;
    let message = refused["message"].as_str().unwrap();
    assert_eq!(status, 422, "{refused}");
    assert!(message.contains("its_topic=logs") && message.contains("spec.topic"), "{message}");
    controller.apply(&placed(PLACED_MASKED).replace(PLACED, "logs")).await.unwrap();
    assert_eq!(mails(&controller).await.0["shouted"], "***");
    delete(&controller, "placed").await;
    assert_eq!(mails(&controller).await.0["shouted"], "***");
}

#[tokio::test]
async fn a_table_that_was_not_announced_yet_is_known_by_its_source() {
    let mesh = Mesh::open();
    mesh.topic(PEOPLE, &table(PEOPLE, &["name", "email"]));
    let controller = mesh.controller("one").await;
    controller.apply(&source(MASKED)).await.unwrap();
    controller.apply(&mails_of(PEOPLE)).await.unwrap();
    mailed(&mesh);
    assert_eq!(mails(&controller).await.0, json!({"id": 1, "name": "Ann", "shouted": "***"}));
    // What else begins with its name is none of its tables.
    let (schemas, data) = flat(PLACED, &["name", "email"], &["Ann", "hush"]);
    mesh.written(PLACED, &schemas, &data);
    controller.apply(&mails_of(PLACED)).await.unwrap();
    assert_eq!(answered(&controller, "mesh.mails/samples").await.0, 422);
}

pub(crate) const PLACED: &str = "shop.orders";

/// A document of the emitter's topic, with more lines of its `spec`.
pub(crate) fn placed(more: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {{name: placed, tags: [gold]}}\nspec:\n  \
         topic: {PLACED}\n{more}"
    )
}

pub(crate) const PLACED_MASKED: &str = "  catalog: {owner: sales, description: Orders, fields: {email: {masked: \
                             true, description: Where it goes}}}\n";

/// A pipeline that reads the emitter's events by this input.
fn mails_of(input: &str) -> String {
    let sql = "SELECT id, name, upper(email) AS shouted FROM rows";
    pipeline("mails", input, sql)
}

/// Has an emitter write an event.
fn emitted(mesh: &Mesh) {
    let (schemas, data) = flat(PLACED, &["name", "email"], &["Ann", "hush"]);
    mesh.emitted("orders-api-1", PLACED, &schemas, &data);
}

/// Has the pipeline write what it makes of it.
fn mailed(mesh: &Mesh) {
    let (schemas, data) = flat("mesh.mails", &["name", "shouted"], &["Ann", "HUSH"]);
    mesh.written("mesh.mails", &schemas, &data);
}

async fn is_hidden(controller: &Running) {
    let row = json!({"id": 1, "name": "Ann", "email": "***"});
    assert_eq!(sample(controller, PLACED).await, row);
    let made = json!({"id": 1, "name": "Ann", "shouted": "***"});
    assert_eq!(mails(controller).await, (made, vec!["shouted".to_owned()]));
}

#[tokio::test]
async fn an_emitters_topic_is_as_its_document_says() {
    let mesh = Mesh::open();
    emitted(&mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&mails_of(PLACED)).await.unwrap();
    mailed(&mesh);
    let (_, before) = answered(&controller, PLACED).await;
    assert_eq!(before["owner"], "shop-team", "as its emitter says");
    for topic in [PLACED, "mesh.mails"] {
        let (status, refused) = answered(&controller, &format!("{topic}/samples")).await;
        let message = refused["message"].as_str().unwrap();
        assert_eq!(status, 422, "{message}");
        assert!(message.contains("source=orders-api-1"), "{message}");
        assert!(message.contains("its_topic=shop.orders"), "{message}");
        assert!(message.contains("spec.topic"), "{message}");
    }

    let declared = controller.apply(&placed(PLACED_MASKED)).await.unwrap();
    assert_eq!(declared.documents[0].effects, [""; 0], "nothing runs by it");
    let (_, shown) = answered(&controller, PLACED).await;
    assert_eq!((&shown["published_as"], &shown["owner"]), (&json!("placed"), &json!("sales")));
    assert_eq!((&shown["description"], &shown["tags"]), (&json!("Orders"), &json!(["gold"])));
    let email = &shown["fields"][2];
    assert_eq!((&email["masked"], &email["description"]), (&json!(true), &json!("Where it goes")));
    is_hidden(&controller).await;
}

#[tokio::test]
async fn what_an_emitters_topic_masks_outlives_its_document() {
    let mesh = Mesh::open();
    emitted(&mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&placed(PLACED_MASKED)).await.unwrap();
    controller.apply(&mails_of("{source: placed}")).await.unwrap();
    mailed(&mesh);
    is_hidden(&controller).await;
    let id = Id { kind: Kind::Source, name: "placed".to_owned() };
    let refused = controller.0.delete(&id, &Asked::default()).await;
    let Err(Refused::Wrong(refusals)) = refused else { panic!("a pipeline reads it") };
    assert_eq!(refusals[0].about, "Pipeline mails: spec.inputs.rows.source");

    // Another topic under the same name: of the former one it is said nothing any more.
    controller.apply(&mails_of(PLACED)).await.unwrap();
    let other = placed("").replace(PLACED, "shop.refunds");
    controller.apply(&other).await.unwrap();
    is_hidden(&controller).await;
    delete(&controller, "placed").await;
    is_hidden(&controller).await;
    controller.end().await;
    let controller = mesh.controller("two").await;
    mesh.until("it has planned", || mesh.runs("mails").is_some()).await;
    is_hidden(&controller).await;
    let (_, shown) = answered(&controller, PLACED).await;
    assert_eq!((&shown["owner"], &shown["published_as"]), (&json!("shop-team"), &Json::Null));

    // Somebody says that it is not masked.
    controller.apply(&placed("")).await.unwrap();
    assert_eq!(sample(&controller, PLACED).await["email"], "hush");
    assert_eq!(mails(&controller).await.1, Vec::<String>::new());
}

#[tokio::test]
async fn a_topic_that_nobody_announces_is_in_the_catalog_by_its_document() {
    let mesh = Mesh::open();
    let (schemas, data) = flat("logs", &["name", "email"], &["Ann", "hush"]);
    mesh.written("logs", &schemas, &data);
    let controller = mesh.controller("one").await;
    assert_eq!(answered(&controller, "logs").await.0, 404);
    let of_logs = placed(PLACED_MASKED).replace(PLACED, "logs");
    let of_nothing = placed("").replace(PLACED, "later").replace("placed", "later");
    controller.apply(&format!("{of_logs}---\n{of_nothing}")).await.unwrap();
    let (_, listed) = asked(&controller, "?search=gold").await;
    let topics = [&listed[0]["topic"], &listed[1]["topic"]];
    assert_eq!(topics, ["later", "logs"]);
    assert_eq!(listed[1]["written_by"], json!({"kind": "others"}));
    assert_eq!((&listed[1]["key"], &listed[0]["key"]), (&json!(["id"]), &json!([])));
    assert_eq!(sample(&controller, "logs").await["email"], "***");
    assert_eq!(answered(&controller, "later/samples").await.0, 404, "nobody has written to it yet");
}

#[tokio::test]
async fn a_tables_topics_may_be_masked_by_the_first_ones_name() {
    let mut mesh = Mesh::open();
    mesh.elsewhere = vec!["shop".to_owned()];
    let next = format!("{PEOPLE}.g2");
    let schemas = table(&next, &["name", "email"]);
    mesh.captured(&next, &schemas, &created(&["Ann", "hush"]));
    let controller = mesh.controller("one").await;
    // Any topic can be asked about once it has planned.
    mesh.until("it has planned", || controller.trouble().is_none()).await;
    assert_eq!(sample(&controller, &next).await["after"]["email"], "hush");
    controller.apply(&placed(PLACED_MASKED).replace(PLACED, PEOPLE)).await.unwrap();
    assert_eq!(sample(&controller, &next).await["after"]["email"], "***");
}

#[tokio::test]
async fn a_tables_next_topics_are_described_by_the_document_of_the_first() {
    let mesh = Mesh::open();
    let next = format!("{PEOPLE}.g2");
    let schemas = table(&next, &["name", "email"]);
    mesh.captured(&next, &schemas, &created(&["Ann", "hush"]));
    let controller = mesh.controller("one").await;
    let of_first = placed(PLACED_MASKED).replace(PLACED, PEOPLE);
    controller.apply(&of_first).await.unwrap();
    assert_eq!(sample(&controller, &next).await["after"]["email"], "***");
    let (_, shown) = answered(&controller, &next).await;
    assert_eq!((&shown["owner"], &shown["tags"]), (&json!("sales"), &json!(["gold"])));
    assert_eq!(shown["fields"][2]["description"], "Where it goes");
    assert_eq!(shown["published_as"], Json::Null, "its name leads to the first");

    // A document of its own stands before that.
    let own = placed("  catalog: {owner: own}\n").replace("placed", "own");
    controller.apply(&own.replace(PLACED, &next)).await.unwrap();
    let (_, shown) = answered(&controller, &next).await;
    assert_eq!((&shown["owner"], &shown["published_as"]), (&json!("own"), &json!("own")));
    assert_eq!(sample(&controller, &next).await["after"]["email"], "***", "as the first's says");
}
