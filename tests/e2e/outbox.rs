//! An outbox: its rows are events of an application, in the topics that they name.

use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::records;
use serde_json::Value as Json;
use std::collections::BTreeSet;

const TABLE: &str = "CREATE TABLE outbox (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                     aggregatetype text NOT NULL, aggregateid text, type text, payload jsonb)";

const OUTBOX: &str = "outbox = {table = \"public.outbox\", headers = [\"type:eventType\"]}";

async fn events(daemon: &Daemon, topic: &str, count: usize) -> Vec<Json> {
    eventually("the events come", async || {
        let events = records(daemon, topic);
        (events.len() == count).then_some(events)
    })
    .await
}

async fn routed(over: impl Fn(&str) -> String) {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, n int)").await;
    database.execute("INSERT INTO outbox (aggregatetype, aggregateid, payload) VALUES ('order', 'before', '{}')").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.outbox", "public.orders"], "");
    let config = over(&with(&config, OUTBOX));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // What stood there before is told only if that is asked for.
    assert!(
        daemon
            .command(&["snapshot", "start", "shop", "--table", "public.outbox", "--wait"])
            .status
            .success()
    );
    events(&daemon, "outbox.event.order", 1).await;
    // As applications do it: in one transaction with what it tells of, and deleted at once.
    database
        .execute(
            "BEGIN; INSERT INTO orders VALUES (1, 1);
             INSERT INTO outbox (aggregatetype, aggregateid, type, payload)
                 VALUES ('order', '1', 'Created', '{\"n\": 1}'), ('customer', '9', NULL, NULL);
             DELETE FROM outbox; COMMIT;
             TRUNCATE outbox;
             INSERT INTO outbox (aggregatetype, aggregateid, payload) VALUES ('order', '2', '{\"n\": 2}');
             UPDATE outbox SET payload = '{}'",
        )
        .await;
    let orders = events(&daemon, "outbox.event.order", 3).await;
    let told: Vec<(&str, &str)> = orders
        .iter()
        .map(|event| (event["key"].as_str().unwrap(), event["value"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("before", "{}"), ("1", "{\"n\": 1}"), ("2", "{\"n\": 2}")]);
    let headers = &orders[1]["headers"];
    assert_eq!(headers["eventType"], "Created", "{headers}");
    assert_eq!(headers["id"].as_str().map(str::len), Some(36), "{headers}");
    let customers = events(&daemon, "outbox.event.customer", 1).await;
    assert!(customers[0]["key"] == "9" && customers[0]["value"].is_null(), "{customers:?}");
    let topics = String::from_utf8(daemon.command(&["topic", "list"]).stdout).unwrap();
    assert!(!topics.contains("public.outbox"), "no topic of the table itself: {topics}");
    verified(&daemon);
    daemon.kill();
    database
        .execute(
            "INSERT INTO outbox (aggregatetype, aggregateid, payload) VALUES ('new one', '3', '3')",
        )
        .await;
    let daemon = Daemon::up(folder.path(), &config).await;
    events(&daemon, "outbox.event.new_u0020one", 1).await;
    let all = events(&daemon, "outbox.event.order", 3).await;
    let ids: BTreeSet<&str> =
        all.iter().filter_map(|event| event["headers"]["id"].as_str()).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn inserted_rows_go_to_the_topics_that_they_name() {
    routed(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_over_kafka() {
    routed(|config| on_kafka(config, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_lacks_is_named() {
    let database = Database::new().await;
    database.execute("CREATE TABLE outbox (id bigint PRIMARY KEY, body text)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.outbox"], ""), OUTBOX);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO outbox VALUES (1, 'x')").await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("column=payload") && error.contains("[source.outbox]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_names_no_topic_of_its_own_is_a_dead_letter() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let lines = "dead_letter_topic = \"letters\"\n\
                 outbox = {table = \"public.outbox\", topic = \"${routedByValue}\"}";
    let config = with(&configuration(&database, &["public.outbox"], ""), lines);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO outbox (aggregatetype, aggregateid, payload)
                 VALUES ('letters', '1', '1'), ('_tidemesh.checkpoints', '2', '2'),
                        ('shop.public.orders', '3', '3'), (repeat('x', 250), '4', '4');
             INSERT INTO outbox (aggregatetype, aggregateid, payload) VALUES ('orders', '5', '5')",
        )
        .await;
    let told = events(&daemon, "orders", 1).await;
    assert_eq!(told[0]["key"], "5");
    let letters = events(&daemon, "letters", 4).await;
    assert!(
        letters
            .iter()
            .all(|l| l["value"]["reason"].as_str().unwrap().contains("a row names a topic")),
        "{letters:?}"
    );
}
