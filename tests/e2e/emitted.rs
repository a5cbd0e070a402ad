//! The transactional outbox: events that an application writes in transactions of its database are in the
//! topics that they are for, with the emitter's keys and values, once if the transaction was committed and
//! never if it was not.

use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::mysql;
use crate::support::postgres::Database;
use crate::support::topic::records;
use mysql_async::prelude::Queryable;
use serde::Serialize;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};
use tidemesh_emitter::{Dialect, Event, EventOptions, Message, Outbox, Row};

const TOPIC: &str = "shop.events.orders";

const EMIT: &str = "emit = {topics = [\"shop.events.*\"]}";

/// The event of the tests.
#[derive(Serialize)]
struct OrderPlaced {
    id: i64,
    customer: String,
    note: Option<String>,
}

impl Event for OrderPlaced {
    const TOPIC: &'static str = TOPIC;
    const KEY: &'static [&'static str] = &["customer"];

    fn schema() -> Cow<'static, str> {
        r#"{"type":"record","name":"OrderPlaced","namespace":"shop.events","fields":[
            {"name":"id","type":"long"},
            {"name":"customer","type":"string"},
            {"name":"note","type":["null","string"],"default":null}]}"#
            .into()
    }
}

fn placed(id: i64) -> OrderPlaced {
    OrderPlaced { id, customer: format!("c{}", id % 3), note: None }
}

fn options(id: &str) -> EventOptions<'_> {
    let at = UNIX_EPOCH + Duration::from_millis(1_780_000_000_000);
    EventOptions::new().event_time(at).header("trace", "t-1").idempotency_key(id)
}

async fn outbox(daemon: &Daemon) -> Outbox {
    Outbox::builder().registry(&daemon.registry).event::<OrderPlaced>().connect().await.unwrap()
}

/// Begins a transaction with a row and an event.
async fn begin(database: &Database, outbox: &Outbox, id: i64) {
    let message = outbox.message(&placed(id), options(&format!("order-{id}"))).unwrap();
    database.execute(&format!("BEGIN; INSERT INTO orders VALUES ({id}, {id})")).await;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&message.prefix, &message.content];
    database.client.execute(Message::SQL, &parameters).await.unwrap();
}

/// Commits a row and an event.
async fn order(database: &Database, outbox: &Outbox, id: i64) {
    begin(database, outbox, id).await;
    database.execute("COMMIT").await;
}

/// Waits until the events of these orders are in the topic, in this order, and no others.
async fn told(daemon: &Daemon, ids: &[i64]) -> Vec<Json> {
    let events = eventually("the events come", async || {
        let events = records(daemon, TOPIC);
        (events.len() >= ids.len()).then_some(events)
    })
    .await;
    let found: Vec<i64> = events.iter().filter_map(|event| event["value"]["id"].as_i64()).collect();
    assert_eq!(found, ids, "{events:?}");
    for (event, id) in events.iter().zip(ids) {
        let expected = placed(*id);
        assert_eq!(event["key"]["customer"], expected.customer, "{event}");
        assert_eq!(event["value"]["customer"], expected.customer, "{event}");
        assert!(event["value"]["note"].is_null(), "{event}");
        let headers = &event["headers"];
        assert_eq!(headers["trace"], "t-1", "{event}");
        assert_eq!(headers["__idempotency_key"], format!("order-{id}"), "{event}");
    }
    let positions: BTreeSet<&str> =
        events.iter().filter_map(|event| event["position"].as_str()).collect();
    assert_eq!(positions.len(), events.len(), "each has a place of its own in the log");
    events
}

async fn once(over: impl Fn(&str) -> String) {
    let database = Database::new().await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, n int)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = over(&with(&configuration(&database, &["public.orders"], ""), EMIT));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let outbox = outbox(&daemon).await;
    let mut ids = Vec::new();
    for id in 1..=30 {
        let is_committed = id % 3 != 0;
        begin(&database, &outbox, id).await;
        // While it is open, whatever of those before is in the topics.
        if id == 10 || id == 12 {
            daemon.kill();
            daemon = Daemon::up(folder.path(), &config).await;
        }
        database.execute(if is_committed { "COMMIT" } else { "ROLLBACK" }).await;
        if is_committed {
            ids.push(id);
        }
        // Where all of it is there.
        if id == 20 {
            told(&daemon, &ids).await;
            daemon.kill();
        }
    }
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    told(&daemon, &ids).await;
    verified(&daemon);
    // Nothing comes again from where it stands, either.
    daemon.kill();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    order(&database, &outbox, 100).await;
    ids.push(100);
    told(&daemon, &ids).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_committed_event_comes_once_and_none_that_was_rolled_back() {
    once(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_over_kafka() {
    once(|config| on_kafka(config, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_stops_the_source_or_is_a_dead_letter() {
    let database = Database::new().await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, n int)").await;
    let folder = tempfile::tempdir().unwrap();
    let other =
        with(&configuration(&database, &["public.orders"], ""), "emit = {topics = [\"other.*\"]}");
    let mut daemon = Daemon::up(folder.path(), &other).await;
    daemon.streaming().await;
    let outbox = outbox(&daemon).await;
    order(&database, &outbox, 1).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("source.emit.topics does not name"), "{error}");
    assert!(error.contains(&format!("topic={TOPIC}")), "{error}");
    daemon.kill();
    let letters = with(&other, "dead_letter_topic = \"letters\"");
    let mut daemon = Daemon::up(folder.path(), &letters).await;
    database
        .execute(
            "SELECT pg_logical_emit_message(true, 'tidemesh.emit', 'no event');
             SELECT pg_logical_emit_message(false, 'tidemesh.emit', 'of no transaction')",
        )
        .await;
    let found = eventually("the letters come", async || {
        let found = records(&daemon, "letters");
        (found.len() == 3).then_some(found)
    })
    .await;
    let reasons = ["does not name", "does not have the form", "not part of a transaction"];
    for reason in reasons {
        let is_told = |letter: &Json| letter["value"]["reason"].as_str().unwrap().contains(reason);
        assert!(found.iter().any(is_told), "{reason}: {found:?}");
    }
    assert!(found.iter().all(|letter| letter["value"]["op"] == "m"), "{found:?}");
    // The row beside the event that was refused is told all the same.
    verified(&daemon);
    daemon.kill();
    // What is allowed from here on comes from here on.
    let allowed = letters.replace("other.*", "shop.events.*");
    let daemon = Daemon::up(folder.path(), &allowed).await;
    daemon.streaming().await;
    order(&database, &outbox, 2).await;
    told(&daemon, &[2]).await;
}

/// What a source of the emitter's own table is told.
fn of_table(table: &str) -> String {
    format!("{EMIT}\noutbox = {{table = \"{table}\", format = \"tidemesh\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_emitters_table_are_the_same_events() {
    let database = Database::new().await;
    database.execute(Outbox::table_ddl(Dialect::Postgres)).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.tidemesh_outbox"], "");
    let config = with(&config, &of_table("public.tidemesh_outbox"));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let outbox = outbox(&daemon).await;
    for (id, end) in [(1, "COMMIT"), (2, "ROLLBACK"), (3, "DELETE FROM tidemesh_outbox; COMMIT")] {
        let row = outbox.row(&placed(id), options(&format!("order-{id}"))).unwrap();
        database.execute("BEGIN").await;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&row.aggregate_type, &row.aggregate_id, &row.payload, &row.headers];
        database.client.execute(Row::sql(Dialect::Postgres), &parameters).await.unwrap();
        database.execute(end).await;
        if id == 2 {
            daemon.kill();
            daemon = Daemon::up(folder.path(), &config).await;
        }
    }
    told(&daemon, &[1, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_are_of_mysql_and_mariadb() {
    let database = mysql::Database::new().await;
    database.execute(Outbox::table_ddl(Dialect::Mysql)).await;
    let folder = tempfile::tempdir().unwrap();
    let config = database.configuration(&["tidemesh_outbox"], "");
    let config = with(&config, &of_table(&format!("{}.tidemesh_outbox", database.name)));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let outbox = outbox(&daemon).await;
    for (id, end) in [(1, "COMMIT"), (2, "ROLLBACK"), (3, "COMMIT")] {
        let row = outbox.row(&placed(id), options(&format!("order-{id}"))).unwrap();
        let parameters = (row.aggregate_type, row.aggregate_id, row.payload, row.headers);
        let mut connection = database.session().await;
        connection.query_drop("BEGIN").await.unwrap();
        connection.exec_drop(Row::sql(Dialect::Mysql), parameters).await.unwrap();
        connection.query_drop(end).await.unwrap();
        if id == 2 {
            daemon.kill();
            daemon = Daemon::up(folder.path(), &config).await;
        }
    }
    told(&daemon, &[1, 3]).await;
}
