//! The catalog: what connectors of this process and of others announce, and emitters, what documents say of
//! it, and samples without what is masked.

use crate::gateway::ALONE;
use crate::pipelines::{applied, pipeline, with_documents};
use crate::sources::{document, without_sources};
use crate::support::daemon::{Daemon, configuration, connector};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use serde::Serialize;
use serde_json::Value as Json;
use std::borrow::Cow;
use tidemesh_emitter::{Emitter, Event};

const TABLES: &str = "CREATE TYPE place AS (street text, city text);
    CREATE TABLE orders (id bigint PRIMARY KEY, email text, home place, qty int);
    ALTER TABLE orders REPLICA IDENTITY FULL;
    CREATE TABLE people (email text PRIMARY KEY, name text)";

const CATALOG: &str = "  catalog:
    public.orders:
      owner: orders-team
      description: Every order of the shop
      fields:
        email: {description: Where the bill goes, tags: [pii], masked: true}
        home.street: {masked: true}
    public.people:
      fields:
        email: {tags: [pii], masked: true}
";

const PUBLISHED: &str = "apiVersion: tidemesh/v1\nkind: Source\n\
    metadata: {name: mails, owner: mail-team, tags: [gold]}\nspec:\n  \
    pipeline: {name: mails, sink: out}\n  catalog:\n    description: Addresses in capitals\n";

fn json(daemon: &Daemon, arguments: &[&str]) -> Json {
    let output = daemon.command(&[&["catalog"], arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or(Json::Null)
}

fn topics(daemon: &Daemon, arguments: &[&str]) -> Vec<String> {
    let found = json(daemon, arguments);
    let topics = found.as_array().into_iter().flatten();
    topics.map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect()
}

async fn has_topics(daemon: &Daemon, arguments: &[&str], expected: &[&str]) {
    eventually(&format!("the catalog has {expected:?}"), async || {
        (topics(daemon, arguments) == expected).then_some(())
    })
    .await;
}

async fn tables_and_outputs_are_found_described_and_sampled(change: impl Fn(&str) -> String) {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let rows = "INSERT INTO orders SELECT g, 'hush' || g, ROW('hush', 'Rome')::place, g FROM generate_series(1, 9) g;
                INSERT INTO people VALUES ('hush', 'Ann');
                UPDATE orders SET email = 'hush-hush' WHERE id = 2; DELETE FROM orders WHERE id = 3;";
    let folder = tempfile::tempdir().unwrap();
    let config = without_sources(&change(&configuration(&database, &["public.orders"], "")));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    let text = document(&database, "").replace("[public.orders]", "[public.orders, public.people]");
    applied(&daemon, folder.path(), &format!("{text}{CATALOG}"));
    daemon.streaming().await;
    database.execute(rows).await;
    has_topics(&daemon, &[], &["shop.public.orders", "shop.public.people"]).await;
    let sql = "SELECT id, upper(email) AS shouted, home, qty FROM rows";
    let declared = pipeline("mails", "shop.public.orders", sql);
    eventually("the pipeline is taken", async || {
        let text = format!("{declared}---\n{PUBLISHED}");
        (with_documents(&daemon, folder.path(), "apply", &text).0 == Some(0)).then_some(())
    })
    .await;

    // Words, wherever they stand.
    has_topics(&daemon, &["search", "gold"], &["mesh.mails"]).await;
    assert_eq!(topics(&daemon, &["search", "BILL", "orders-team"]), ["shop.public.orders"]);
    assert_eq!(topics(&daemon, &["search", "pii"]), ["shop.public.orders", "shop.public.people"]);
    assert!(topics(&daemon, &["search", "pii", "gold"]).is_empty());

    let orders = eventually("its figures are announced", async || {
        let orders = json(&daemon, &["show", "shop.public.orders"]);
        (orders["newest_at_ms"].is_u64() && orders["freshness_ms"].is_u64()).then_some(orders)
    })
    .await;
    assert_eq!((&orders["owner"], &orders["read_by"][0]), (&"orders-team".into(), &"mails".into()));
    assert_eq!(
        (&orders["key"][0], &orders["written_by"]["table"]),
        (&"id".into(), &"public.orders".into())
    );
    assert!(orders["value_schema"].is_u64() && orders["key_schema"].is_u64(), "{orders}");
    let fields: Vec<&str> = orders["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["path"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["id", "email", "home", "home.street", "home.city", "qty"]);
    eventually("how far the pipeline's topic is behind is known", async || {
        let mails = json(&daemon, &["show", "mesh.mails"]);
        (mails["freshness_ms"].as_u64()? < 60_000).then_some(())
    })
    .await;
    assert_eq!(orders["fields"][1]["masked"], true);
    let output = daemon.command(&["catalog", "show", "mesh.mails"]);
    let said = String::from_utf8(output.stdout).unwrap();
    for part in ["source: mails", "owner: mail-team", "written by: pipeline mails, by out"] {
        assert!(said.contains(part), "{part} in {said}");
    }

    // What is masked is in no sample: of the row, before and after, of a key, and of what pipelines made.
    for topic in ["shop.public.orders", "shop.public.people", "mesh.mails"] {
        let samples = eventually("there are samples", async || {
            let samples = json(&daemon, &["sample", topic, "--limit", "50"]);
            let records = samples["records"].as_array().map_or(0, Vec::len);
            (records > usize::from(topic != "shop.public.people") * 10).then_some(samples)
        })
        .await;
        let text = samples.to_string().to_lowercase();
        assert!(!text.contains("hush") && text.contains("***"), "{text}");
        assert!(topic == "shop.public.people" || text.contains("\"qty\":9"), "{text}");
    }
    database.execute("DELETE FROM orders WHERE id = 9").await;
    eventually("a tombstone is the last", async || {
        let last = json(&daemon, &["sample", "shop.public.orders", "--limit", "2"]);
        let records = last["records"].as_array()?;
        (records.len() == 2 && records[1]["value"].is_null()).then_some(())
    })
    .await;
    let unknown = daemon.command(&["catalog", "sample", "shop.public.other"]);
    assert_eq!(unknown.status.code(), Some(2));

    // What was announced outlives who announced it.
    daemon.kill();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    eventually("it is known still", async || {
        topics(&daemon, &[]).contains(&"shop.public.people".to_owned()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_outputs_are_found_described_and_sampled_over_the_log() {
    tables_and_outputs_are_found_described_and_sampled(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_outputs_are_found_described_and_sampled_over_kafka() {
    tables_and_outputs_are_found_described_and_sampled(|config| on_kafka(config, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_in_another_process_is_in_the_catalog() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = on_kafka(&configuration(&database, &["public.orders"], ""), "");
    let daemon = Daemon::up(folder.path(), &without_sources(&config)).await;
    let _connector = connector(other.path(), &config, &daemon.registry).await;
    database.execute("INSERT INTO orders VALUES (1, 'e', NULL, 1)").await;
    has_topics(&daemon, &[], &["shop.public.orders"]).await;
}

/// An application's event.
#[derive(Serialize)]
struct OrderPlaced {
    id: i64,
    email: String,
}

impl Event for OrderPlaced {
    const TOPIC: &'static str = "app.orders";
    const KEY: &'static [&'static str] = &["id"];

    fn schema() -> Cow<'static, str> {
        r#"{"type":"record","name":"OrderPlaced","fields":[
            {"name":"id","type":"long"},{"name":"email","type":"string"}]}"#
            .into()
    }
}

const PLACED: &str = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: placed, owner: sales}\n\
    spec:\n  topic: app.orders\n  catalog:\n    description: Every order of the application\n    \
    fields:\n      email: {tags: [pii], masked: true}\n";

/// Waits until a topic has a sample in which nothing is told of what is masked.
async fn is_masked(daemon: &Daemon, topic: &str) {
    let text = eventually(&format!("{topic} has a sample"), async || {
        let samples = json(daemon, &["sample", topic]);
        let records = samples["records"].as_array()?;
        (!records.is_empty()).then(|| samples.to_string().to_lowercase())
    })
    .await;
    assert!(text.contains("\"id\":") && text.contains("***") && !text.contains("hush"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emitters_topic_is_shown_and_masked_as_its_document_says() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), ALONE).await;
    daemon.logged("the controller acts").await;
    let builder = Emitter::builder("orders-api-1").owner("shop-team");
    let builder = builder.remote(&daemon.data).registry(&daemon.registry).event::<OrderPlaced>();
    let emitter = builder.connect().await.unwrap();
    let shown = eventually("its figures are announced", async || {
        emitter.emit(&OrderPlaced { id: 1, email: "hush".to_owned() }).await.unwrap();
        let shown = json(&daemon, &["show", "app.orders"]);
        (shown["rate_per_s"].as_f64()? > 0.0 && shown["freshness_ms"].is_u64()).then_some(shown)
    })
    .await;
    assert_eq!((&shown["owner"], &shown["key"][0]), (&"shop-team".into(), &"id".into()));
    assert_eq!(shown["written_by"]["source"], "orders-api-1");
    assert!(shown["value_schema"].is_u64() && shown["key_schema"].is_u64(), "{shown}");
    assert_eq!(topics(&daemon, &["search", "shop-team"]), ["app.orders"]);
    let refused = daemon.command(&["catalog", "sample", "app.orders"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("spec.topic"), "{said}");

    let sql = "SELECT id, upper(email) AS shouted FROM rows";
    let text = format!("{PLACED}---\n{}", pipeline("mails", "{source: placed}", sql));
    applied(&daemon, folder.path(), &text);
    let shown = json(&daemon, &["show", "app.orders"]);
    assert_eq!((&shown["owner"], &shown["published_as"]), (&"sales".into(), &"placed".into()));
    assert_eq!(
        (&shown["fields"][1]["masked"], &shown["read_by"][0]),
        (&true.into(), &"mails".into())
    );
    assert_eq!(topics(&daemon, &["search", "pii"]), ["app.orders"]);
    is_masked(&daemon, "app.orders").await;
    is_masked(&daemon, "mesh.mails").await;
    let listed = daemon.command(&["get", "sources"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("sales                placed"), "{listed}");

    // A pipeline reads it by its name; without that it goes, and its mask stays.
    let kept = daemon.command(&["delete", "source", "placed"]);
    assert_eq!(kept.status.code(), Some(2), "{}", String::from_utf8_lossy(&kept.stdout));
    applied(&daemon, folder.path(), &pipeline("mails", "app.orders", sql));
    assert!(daemon.command(&["delete", "source", "placed"]).status.success());
    is_masked(&daemon, "app.orders").await;
    is_masked(&daemon, "mesh.mails").await;
}
