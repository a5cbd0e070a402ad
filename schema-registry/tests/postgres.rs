//! The registry over a real PostgreSQL: several nodes at once, a database that is away or set back.
//! `scripts/test` starts the server and names it in the environment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidemesh_model::{ErrorKind, Secret};
use tidemesh_schema_registry::{
    Consumer, Filter, Page, Refusal, Registry, RegistryConfig, StoreConfig, Submission, VersionSpec,
};
use tokio_postgres::{Client, NoTls};

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The longest that another node's write may stay unseen.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

fn server() -> String {
    let port = std::env::var("TIDEMESH_TEST_POSTGRES_15").unwrap_or_else(|_| {
        panic!("TIDEMESH_TEST_POSTGRES_15 is not set: start the server and the tests with `scripts/test`")
    });
    format!("postgresql://postgres@127.0.0.1:{port}")
}

async fn connect(database: &str) -> Client {
    let url = format!("{}/{database}", server());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A database of one test's own, which goes with it.
struct Database {
    name: String,
}

impl Database {
    async fn new() -> Self {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("registry_{}_{number}", std::process::id());
        connect("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Self { name }
    }

    fn config(&self) -> RegistryConfig {
        let url = format!("{}/{}", server(), self.name);
        RegistryConfig::new(StoreConfig::Postgres(Secret::new(url)))
    }

    fn node(&self) -> Registry {
        Registry::open(&self.config()).unwrap()
    }

    async fn client(&self) -> Client {
        connect(&self.name).await
    }

    /// Lets nobody in and throws everybody out, or lets them in again.
    async fn shut(&self, shut: bool) {
        let sql = format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS {allow};
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            name = self.name,
            allow = !shut,
        );
        connect("postgres").await.batch_execute(&sql).await.unwrap();
    }

    async fn drop(self) {
        self.shut(true).await;
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        connect("postgres").await.batch_execute(&sql).await.unwrap();
    }
}

fn text(schema: &str) -> Submission {
    Submission { text: Some(schema.to_owned()), ..Submission::default() }
}

/// A record of its own kind.
fn record(number: usize) -> Submission {
    text(&format!(r#"{{"type":"record","name":"R{number}","fields":[]}}"#))
}

async fn eventually(what: &str, within: Duration, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_writes_the_others_see_within_a_second_and_at_once_when_asked() {
    let database = Database::new().await;
    let (one, other) = (database.node(), database.node());
    assert_eq!(one.registry_id(), other.registry_id());
    let made = one.register("a", &text("\"int\"")).await.unwrap();
    eventually("the other sees it", SEEN_WITHIN, || other.schema(made.id, "").is_ok()).await;
    let made = one.register(":.c:b", &text("\"long\"")).await.unwrap();
    other.refresh().await;
    assert_eq!(&*other.schema(made.id, ":.c:").unwrap().1.text, "\"long\"");
    let again = other.register("a", &text("\"int\"")).await.unwrap();
    assert_eq!((again.id, again.version), (1, 1));
    other.delete_version("a", "1", false).await.unwrap();
    let gone = || one.versions("a", Filter::Live, Page::default()).is_err();
    eventually("the one sees the deletion", SEEN_WITHIN, gone).await;
    drop((one, other));
    let third = database.node();
    assert_eq!(third.versions("a", Filter::DeletedOnly, Page::default()).unwrap(), [1]);
    assert_eq!(third.version(":.c:b", VersionSpec::Latest, false).unwrap().id, 1);
    drop(third);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_write_at_once_give_out_each_id_once_and_lose_nothing() {
    const NODES: usize = 3;
    const EACH: usize = 40;
    let database = Database::new().await;
    let nodes: Vec<Arc<Registry>> = (0..NODES).map(|_| Arc::new(database.node())).collect();
    let mut tasks = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let node = Arc::clone(node);
        tasks.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for number in 0..EACH {
                // Half of the schemas are this node's own, half are everybody's.
                let kind = if number % 2 == 0 { number } else { 1000 * (place + 1) + number };
                let subject = format!("s{kind}");
                made.push((kind, node.register(&subject, &record(kind)).await.unwrap().id));
            }
            made
        }));
    }
    let mut made = Vec::new();
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    made.sort_unstable();
    made.dedup();
    let mut ids: Vec<u32> = made.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    let count = EACH / 2 + NODES * EACH / 2;
    let wanted: Vec<u32> = (1..).take(count).collect();
    assert_eq!(ids, wanted, "each kind has one id, and no id is used twice or left out");
    for node in &nodes {
        node.refresh().await;
        for (kind, id) in &made {
            let found = node.version(&format!("s{kind}"), VersionSpec::Latest, false).unwrap();
            assert_eq!((found.id, found.version), (*id, 1));
        }
    }
    drop(nodes);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_reads_go_on_and_writes_are_refused_until_it_is_back() {
    let database = Database::new().await;
    let node = database.node();
    node.register("a", &text("\"int\"")).await.unwrap();
    database.shut(true).await;
    let refused = node.register("a", &text("\"long\"")).await.unwrap_err();
    assert!(matches!(refused, Refusal::Store { .. } | Refusal::Timeout(_)), "{refused:?}");
    assert!(!node.healthy());
    assert_eq!(&*node.schema(1, "").unwrap().1.text, "\"int\"");
    assert_eq!(node.register("a", &text("\"int\"")).await.unwrap().id, 1, "it is known");
    node.refresh().await;
    database.shut(false).await;
    let made = node.register("a", &text("\"long\"")).await.unwrap();
    assert_eq!((made.id, made.version), (2, 2));
    assert!(node.healthy());
    drop(node);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_set_back_gives_out_no_id_that_a_node_knows() {
    let database = Database::new().await;
    let node = database.node();
    for number in 0..3 {
        node.register(&format!("s{number}"), &record(number)).await.unwrap();
    }
    let client = database.client().await;
    let set_back = "BEGIN;
        DELETE FROM tidemesh_registry.change WHERE number > 2;
        DELETE FROM tidemesh_registry.schema WHERE id > 1;
        DELETE FROM tidemesh_registry.version WHERE schema_id > 1;
        UPDATE tidemesh_registry.context SET id_next = 2;
        COMMIT";
    client.batch_execute(set_back).await.unwrap();
    node.refresh().await;
    assert!(node.schema(3, "").is_err(), "memory is as the store is");
    let made = node.register("s9", &record(9)).await.unwrap();
    assert_eq!(made.id, 4, "2 and 3 stand in records");

    // Another write of the same number, as after a failover that lost one.
    let other = "BEGIN;
        UPDATE tidemesh_registry.change SET tag = tag + 1
            WHERE number = (SELECT max(number) FROM tidemesh_registry.change);
        DELETE FROM tidemesh_registry.schema WHERE id = 4;
        DELETE FROM tidemesh_registry.version WHERE schema_id = 4;
        COMMIT";
    client.batch_execute(other).await.unwrap();
    node.refresh().await;
    assert!(node.schema(4, "").is_err());
    assert_eq!(node.register("s9", &record(9)).await.unwrap().id, 5);
    drop((node, client));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_program_or_without_a_server_is_refused() {
    let database = Database::new().await;
    drop(database.node());
    let client = database.client().await;
    client.batch_execute("INSERT INTO tidemesh_registry.layout VALUES (99)").await.unwrap();
    let error = Registry::open(&database.config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    drop(client);
    database.drop().await;
    let url = "postgresql://u:hush@127.0.0.1:1/d";
    let config = RegistryConfig::new(StoreConfig::Postgres(Secret::new(url)));
    let error = Registry::open(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.report().contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_tables_a_newer_program_has_upgraded_reads_on_and_writes_no_more() {
    let database = Database::new().await;
    let node = database.node();
    node.register("a", &text("\"int\"")).await.unwrap();
    let client = database.client().await;
    client.batch_execute("INSERT INTO tidemesh_registry.layout VALUES (99)").await.unwrap();
    let refused = node.register("a", &text("\"long\"")).await.unwrap_err();
    let Refusal::Store { cause, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(cause.kind(), ErrorKind::NewerVersion);
    assert!(!node.healthy());
    node.recover().await.unwrap_err();
    assert!(!node.healthy());
    assert_eq!(node.versions("a", Filter::Live, Page::default()).unwrap(), [1]);
    drop((node, client));
    database.drop().await;
}

async fn set_level(node: &Registry, level: &str) {
    let members = serde_json::json!({"compatibility": level});
    node.set_setting(None, members.as_object().unwrap().clone()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_one_node_has_just_registered_counts_at_the_other() {
    let database = Database::new().await;
    let (one, other) = (database.node(), database.node());
    set_level(&one, "CONSUMERS").await;
    let record =
        |fields: &str| text(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#));
    let whole = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    one.register("s", &whole).await.unwrap();
    for (field, without) in
        [("b", r#"{"name":"a","type":"int"}"#), ("a", r#"{"name":"b","type":"int"}"#)]
    {
        let reads = Consumer { fields: Some([field.to_owned()].into()), ..Consumer::default() };
        one.put_consumer("s", field, reads).await.unwrap();
        // Nobody has told the other; it asks in the transaction that decides.
        let refused = other.register("s", &record(without)).await.unwrap_err();
        assert!(matches!(&refused, Refusal::Incompatible { .. }), "{refused:?}");
    }
    drop((one, other));
    let third = database.node();
    assert!(third.consumer("s", "b").unwrap().consumer.fields.is_some());
    drop(third);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_with_all_the_versions_that_it_may_have_can_be_deleted() {
    const VERSIONS: usize = 10_000;
    const AT_ONCE: usize = 128;
    let database = Database::new().await;
    let (node, other) = (Arc::new(database.node()), database.node());
    set_level(&node, "NONE").await;
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..AT_ONCE {
        let node = Arc::clone(&node);
        tasks.spawn(async move {
            for number in (first..VERSIONS).step_by(AT_ONCE) {
                node.register("s", &record(number)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(node.delete_subject("s", false).await.unwrap().len(), VERSIONS);
    assert_eq!(node.delete_subject("s", true).await.unwrap().len(), VERSIONS);
    other.refresh().await;
    assert!(other.versions("s", Filter::WithDeleted, Page::default()).is_err());
    drop((node, other));
    database.drop().await;
}
