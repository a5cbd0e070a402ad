//! An outbox: its rows are events of an application, in the topics that they name.

use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::records;
use crate::support::{PATIENCE, eventually};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tidemesh_transport::{FetchLimit, Reader, RemoteTransport, Start, Subscription, Transport};

const TABLE: &str = "CREATE TABLE outbox (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                     aggregatetype text NOT NULL, aggregateid text, type text, payload jsonb)";

const EVENTS: &str = "outbox.event.order";

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

/// The values of a topic's records as they are, once there are so many.
async fn payloads(daemon: &Daemon, topic: &str, count: usize) -> Vec<Vec<u8>> {
    let endpoints = daemon.logged("listening").await;
    let log = RemoteTransport::new(endpoints["data"].as_str().unwrap()).unwrap();
    eventually("the events come", async || {
        let topics = vec![topic.to_owned()];
        let from_the_first = Subscription { topics, group: None, start: Start::Earliest };
        let mut reader = log.subscribe(from_the_first).await.ok()?;
        let limit = FetchLimit { bytes_max: 1 << 20, wait_max: PATIENCE / 60 };
        let mut values = Vec::new();
        for batch in reader.poll(limit).await.unwrap() {
            for record in batch.iter() {
                values.push(record.unwrap().1.value.unwrap_or_default().to_vec());
            }
        }
        (values.len() == count).then_some(values)
    })
    .await
}

/// Has the payload go from text to `jsonb` and `bytea` and back, with an event of each type; checks
/// its topic's payloads.
async fn retyped(format: &str) {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE outbox (id bigint PRIMARY KEY, aggregatetype text NOT NULL,
                                  aggregateid text, payload text)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = format!("outbox = {{table = \"public.outbox\", format = \"{format}\"}}");
    let config = with(&configuration(&database, &["public.outbox"], ""), &outbox);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO outbox VALUES (1, 'order', '1', 'a text')").await;
    payloads(&daemon, EVENTS, 1).await;
    // In one transaction with events before and behind it.
    database
        .execute(
            "BEGIN; INSERT INTO outbox VALUES (2, 'order', '2', '[2]');
             ALTER TABLE outbox ALTER payload TYPE jsonb USING to_jsonb(payload);
             INSERT INTO outbox VALUES (3, 'order', '3', '{\"n\": 3}'); COMMIT",
        )
        .await;
    payloads(&daemon, EVENTS, 3).await;
    daemon.kill();
    database
        .execute(
            "INSERT INTO outbox VALUES (4, 'order', '4', '4');
             ALTER TABLE outbox ALTER payload TYPE bytea USING convert_to(payload::text, 'UTF8');
             INSERT INTO outbox VALUES (5, 'order', '5', '\\x00ff41')",
        )
        .await;
    let daemon = Daemon::up(folder.path(), &config).await;
    payloads(&daemon, EVENTS, 5).await;
    database
        .execute(
            "ALTER TABLE outbox ALTER payload TYPE text USING encode(payload, 'hex');
             INSERT INTO outbox VALUES (6, 'order', '6', 'text again')",
        )
        .await;
    let told = payloads(&daemon, EVENTS, 6).await;
    if format == "raw" {
        let expected: [&[u8]; 6] =
            [b"a text", b"[2]", b"{\"n\": 3}", b"4", b"\x00\xffA", b"text again"];
        assert_eq!(told, expected);
    } else {
        let told = records(&daemon, EVENTS);
        let values: Vec<&Json> = told.iter().map(|event| &event["value"]).collect();
        let expected = ["a text", "[2]", "{\"n\": 3}", "4", "0x00ff41", "text again"];
        assert_eq!(values, expected, "bytes are shown by their digits");
        let keys: Vec<&Json> = told.iter().map(|event| &event["key"]).collect();
        assert_eq!(keys, ["1", "2", "3", "4", "5", "6"]);
    }
    database
        .execute(
            "TRUNCATE outbox; ALTER TABLE outbox ALTER payload TYPE float8 USING 0;
             INSERT INTO outbox VALUES (7, 'order', '7', 1.5)",
        )
        .await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("of a type that is no text, JSON or bytes"), "{error}");
    assert!(error.contains("column=payload"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_another_type_goes_on_in_the_same_topic() {
    retyped("avro").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_its_bytes_are_as_they_are() {
    retyped("raw").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_names_a_topic_beyond_the_thousandth_is_refused_or_a_dead_letter() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let outbox = "outbox = {table = \"public.outbox\", format = \"raw\"}";
    let config = with(&configuration(&database, &["public.outbox"], ""), outbox);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO outbox (aggregatetype, aggregateid, payload)
                 SELECT 't' || to_char(g, 'FM0000'), g, '{}' FROM generate_series(1, 1001) g",
        )
        .await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("its rows name too many topics"), "{error}");
    daemon.kill();
    // Those of before its restart count.
    let config = with(&config, "dead_letter_topic = \"letters\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    let letters = events(&daemon, "letters", 1).await;
    let (reason, row) = (&letters[0]["value"]["reason"], &letters[0]["value"]["row"]);
    assert!(reason.as_str().unwrap().contains("too many topics, more than 1000"), "{reason}");
    assert!(row.as_str().unwrap().contains("\"t1001\""), "{row}");
    let listed = String::from_utf8(daemon.command(&["topic", "list"]).stdout).unwrap();
    assert_eq!(listed.matches("outbox.event.t").count(), 1000);
    // Topics that are there take more; there are no more of them.
    database
        .execute(
            "INSERT INTO outbox (aggregatetype, aggregateid, payload)
                 VALUES ('t1000', 'more', '[]'), ('t1002', '1002', '[]'), ('t0001', 'more', '[]')",
        )
        .await;
    events(&daemon, "letters", 2).await;
    for topic in ["outbox.event.t0001", "outbox.event.t1000"] {
        assert_eq!(payloads(&daemon, topic, 2).await, [b"{}", b"[]"]);
    }
}
