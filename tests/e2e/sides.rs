//! The topics beside those of tables: transactions, heartbeats, messages of applications.

use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::records;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ORDERS: &str = "shop.public.orders";
const LINES: &str = "shop.public.lines";
const TRANSACTIONS: &str = "shop.transaction";
const MESSAGES: &str = "shop.message";

const TABLES: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n int);
                      CREATE TABLE lines (id bigint PRIMARY KEY, n int)";

/// The ends of transactions by their ids, and the ids in the order of their begins.
fn transactions(daemon: &Daemon) -> (Vec<String>, BTreeMap<String, Json>) {
    let (mut begun, mut ended) = (Vec::new(), BTreeMap::new());
    for record in records(daemon, TRANSACTIONS) {
        let value = &record["value"];
        let id = value["id"].as_str().unwrap().to_owned();
        assert_eq!(record["key"]["id"], value["id"]);
        match value["status"].as_str() {
            Some("BEGIN") => begun.push(id),
            _ => assert!(ended.insert(id, value.clone()).is_none(), "ended twice: {value}"),
        }
    }
    (begun, ended)
}

/// The events of both tables, by their transactions.
fn events(daemon: &Daemon) -> BTreeMap<String, Vec<Json>> {
    let mut by_transaction: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for record in [records(daemon, ORDERS), records(daemon, LINES)].concat() {
        if let Some(id) = record["value"]["transaction"]["id"].as_str() {
            by_transaction.entry(id.to_owned()).or_default().push(record["value"].clone());
        }
    }
    by_transaction
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transactions_events_are_counted_and_numbered() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    database.execute("INSERT INTO orders SELECT g, g FROM generate_series(1, 10) g").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders", "public.lines"], "");
    let lines = format!("transaction_topic = \"{TRANSACTIONS}\"\nbatch_bytes_max = 16384");
    let config = with(&config, &lines);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    // One larger than a batch, one of both tables, one of none.
    database.execute("INSERT INTO lines SELECT g, g FROM generate_series(1, 3000) g").await;
    database
        .execute(
            "BEGIN; UPDATE orders SET n = 0 WHERE id < 4; DELETE FROM lines WHERE id = 7;
             UPDATE orders SET id = 100 WHERE id = 10; COMMIT;
             CREATE TABLE other (id int); INSERT INTO other VALUES (1)",
        )
        .await;
    verified(&daemon);
    daemon.kill();
    daemon = Daemon::up(folder.path(), &config).await;
    database.execute("INSERT INTO lines VALUES (5000, 1)").await;
    verified(&daemon);
    let (begun, ended) = transactions(&daemon);
    let counts: Vec<&Json> = begun.iter().map(|id| &ended[id]["event_count"]).collect();
    assert_eq!(counts, [3000, 5, 1]);
    let both = json!([{"data_collection": "public.orders", "event_count": 4},
                      {"data_collection": "public.lines", "event_count": 1}]);
    assert_eq!(ended[&begun[1]]["data_collections"], both);
    for (id, events) in events(&daemon) {
        let mut orders: Vec<u64> =
            events.iter().map(|e| e["transaction"]["total_order"].as_u64().unwrap()).collect();
        orders.sort_unstable();
        orders.dedup();
        let all: Vec<u64> = (1..=ended[&id]["event_count"].as_u64().unwrap()).collect();
        assert_eq!(orders, all, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_within_transactions_it_counts_on() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders", "public.lines"], "");
    let lines = format!("transaction_topic = \"{TRANSACTIONS}\"\nbatch_bytes_max = 16384");
    let config = on_kafka(&with(&config, &lines), "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    for n in 0..4 {
        database
            .execute(&format!(
                "BEGIN; TRUNCATE orders;
                 INSERT INTO lines SELECT g, g FROM generate_series({0} + 1, {0} + 9000) g;
                 INSERT INTO orders SELECT g, g FROM generate_series({0} + 1, {0} + 9000) g; COMMIT",
                n * 9000
            ))
            .await;
    }
    for moment in 1..6 {
        let mut daemon = Daemon::up(folder.path(), &config).await;
        let moment = Duration::from_millis(150 * moment);
        tokio::time::timeout(moment, daemon.logged("drained")).await.unwrap_err();
        daemon.kill();
    }
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    let (begun, ended) = transactions(&daemon);
    assert_eq!(begun.len(), 4, "each begins once: {begun:?}");
    let events = events(&daemon);
    for id in &begun {
        assert_eq!(ended[id]["event_count"], 18_000);
        assert_eq!(events[id].len(), 18_000);
        let last = events[id].iter().map(|e| e["transaction"]["total_order"].as_u64()).max();
        assert_eq!(last, Some(Some(18_000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_says_that_it_lives() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let config = with(&config, "heartbeat_topic = \"__debezium-heartbeat.shop\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    eventually("heartbeats come", async || {
        let told = records(&daemon, "__debezium-heartbeat.shop");
        let times: Vec<i64> =
            told.iter().filter_map(|record| record["value"]["ts_ms"].as_i64()).collect();
        assert!(told.iter().all(|record| record["key"]["serverName"] == "shop"), "{told:?}");
        (times.len() > 3 && times.is_sorted() && times.first() < times.last()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_applications_are_events() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "message_prefixes = [\"app.*\"]");
    let config = with(&config, &format!("message_topic = \"{MESSAGES}\""));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let wanted = [("app.a", "one"), ("app.b", "two"), ("app.b", "three"), ("app.c", "four")];
    database
        .execute(
            "BEGIN; INSERT INTO orders VALUES (1, 1);
             SELECT pg_logical_emit_message(true, 'app.a', 'one');
             SELECT pg_logical_emit_message(true, 'other', 'not this one'); COMMIT;
             SELECT pg_logical_emit_message(false, 'app.b', 'two');
             SELECT pg_logical_emit_message(false, 'app.b', 'three');
             BEGIN; SELECT pg_logical_emit_message(true, 'app.a', 'rolled back'); ROLLBACK",
        )
        .await;
    told(&daemon, &wanted[..3]).await;
    daemon.kill();
    database.execute("SELECT pg_logical_emit_message(true, 'app.c', 'four')").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    let told = told(&daemon, &wanted).await;
    assert!(told.iter().all(|record| record["value"]["op"] == "m"), "{told:?}");
    let source = &told[0]["value"]["source"];
    assert!(source["txId"].is_number() && source["table"] == "", "{source}");
    assert!(told[1]["value"]["source"]["txId"].is_null());
    assert!(told[1]["value"]["source"]["ts_ms"].as_i64() > Some(1_600_000_000_000), "{told:?}");
}

/// Waits until these are the messages told, and no others.
async fn told(daemon: &Daemon, wanted: &[(&str, &str)]) -> Vec<Json> {
    eventually("the messages come", async || {
        let told = records(daemon, MESSAGES);
        let texts: Vec<(String, String)> = told
            .iter()
            .map(|record| {
                let message = &record["value"]["message"];
                assert_eq!(record["key"]["prefix"], message["prefix"]);
                let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
                // Bytes are printed in hexadecimal.
                let content = text(&message["content"]);
                let digits = content.trim_start_matches("0x").as_bytes().chunks(2);
                let byte = |digits: &[u8]| {
                    u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
                };
                let content = String::from_utf8(digits.map(byte).collect()).unwrap();
                (text(&message["prefix"]), content)
            })
            .collect();
        let same = texts.iter().map(|(p, c)| (p.as_str(), c.as_str())).eq(wanted.iter().copied());
        same.then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_within_a_transaction_that_is_open_hides_none_of_its_rows() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let config = with(&config, &format!("message_topic = \"{MESSAGES}\""));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "BEGIN; INSERT INTO orders VALUES (1, 1);
             SELECT pg_logical_emit_message(false, 'app.a', 'one')",
        )
        .await;
    told(&daemon, &[("app.a", "one")]).await;
    daemon.kill();
    database.execute("COMMIT").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    told(&daemon, &[("app.a", "one")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_behind_an_end_and_a_message_are_carried_out() {
    let database = Database::new().await;
    database.execute(TABLES).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders", "public.lines"], "");
    let lines = format!("transaction_topic = \"{TRANSACTIONS}\"\nmessage_topic = \"{MESSAGES}\"");
    let config = with(&config, &lines);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1); INSERT INTO lines VALUES (1, 1)").await;
    verified(&daemon);
    daemon.kill();
    database.execute("BEGIN; INSERT INTO orders VALUES (2, 2); TRUNCATE lines; COMMIT").await;
    database.execute("TRUNCATE orders").await;
    database.execute("SELECT pg_logical_emit_message(false, 'app.a', 'one')").await;
    database.execute("TRUNCATE lines; INSERT INTO lines VALUES (3, 3)").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    told(&daemon, &[("app.a", "one")]).await;
    let (begun, ended) = transactions(&daemon);
    assert_eq!(begun.len(), ended.len());
}
