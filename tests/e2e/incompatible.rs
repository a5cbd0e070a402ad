//! Schema changes that a topic's readers cannot follow: the topic is closed, complete, and the table
//! goes on in the next one.

use crate::rewritten::looks_for_the_commit;
use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, log_alone, registry, verified, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::{Database, Server};
use crate::support::topic::{equals, fold, records};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const TOPIC: &str = "shop.public.orders";
const SECOND: &str = "shop.public.orders.g2";
const THIRD: &str = "shop.public.orders.g3";

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n int, note text)";
/// Rows of one transaction that takes several appends to tell.
const MANY: usize = 20_000;

const FILL: &str = "INSERT INTO orders SELECT g, g, 'x' || g FROM generate_series(1, 200) g";

/// The rows of the second topic, once there are so many.
async fn read_anew(daemon: &Daemon, count: usize) -> BTreeMap<String, Json> {
    eventually("the next topic has every row", async || {
        let rows = fold(&records(daemon, SECOND));
        (rows.len() == count).then_some(rows)
    })
    .await
}

/// Every record's `n`, where there is one.
fn numbers(records: &[Json]) -> Vec<&Json> {
    records.iter().map(|record| &record["value"]["after"]["n"]).filter(|n| !n.is_null()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_type_opens_another_topic_with_all_rows() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET n = n + 1000 WHERE id = 1").await;
    let before = rows(&database, "orders").await;
    equals(&daemon, TOPIC, &before).await;
    verified(&daemon);
    database
        .execute(
            "ALTER TABLE orders ALTER n TYPE bigint;
             UPDATE orders SET n = 5000000000 WHERE id = 2;
             DELETE FROM orders WHERE id = 3",
        )
        .await;
    equals(&daemon, SECOND, &rows(&database, "orders").await).await;
    verified(&daemon);
    assert_eq!(fold(&records(&daemon, TOPIC)), before, "complete up to the change, and closed");
    assert_eq!(daemon.described()["topics"]["public.orders"], SECOND);
    // It knows after a restart, and goes on from topic to topic.
    daemon.kill();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "UPDATE orders SET note = 'between' WHERE id = 4;
             ALTER TABLE orders ALTER note TYPE int USING length(note);
             UPDATE orders SET note = 7 WHERE id = 5",
        )
        .await;
    equals(&daemon, THIRD, &rows(&database, "orders").await).await;
    verified(&daemon);
    let second = fold(&records(&daemon, SECOND));
    assert_eq!(second["{\"id\":4}"]["note"], "between");
    assert_eq!(second["{\"id\":5}"]["note"], "x5");
    // With its topics it is gone, and begins with the first.
    let removed = daemon.command(&["source", "remove", "shop", "--delete-topics"]);
    let said = String::from_utf8_lossy(&removed.stdout);
    assert!(said.contains(THIRD) && said.contains(TOPIC), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_backlog_splits_it_whatever_is_killed() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let config = on_kafka(&config, "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 20000) g").await;
    database.execute("ALTER TABLE orders ALTER n TYPE bigint").await;
    database.execute("UPDATE orders SET n = n + 5000000000 WHERE id % 2 = 0").await;
    for moment in 1..6 {
        let mut daemon = Daemon::up(folder.path(), &config).await;
        tokio::time::timeout(Duration::from_millis(150 * moment), daemon.logged("drained"))
            .await
            .unwrap_err();
        daemon.kill();
    }
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    equals(&daemon, SECOND, &rows(&database, "orders").await).await;
    verified(&daemon);
    let first = records(&daemon, TOPIC);
    assert_eq!(first.len(), 20_000, "each insert once");
    assert!(numbers(&first).iter().all(|n| n.as_i64() <= Some(20_000)));
}

/// Another key, and a row by it.
const ANOTHER_KEY: &str = "ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (n);
    UPDATE orders SET note = 'by n' WHERE id = 2";

/// A daemon whose log has told of the table, under REPLICA IDENTITY FULL.
async fn told_in_full(database: &Database, folder: &Path) -> Daemon {
    database.execute(TABLE).await;
    database.execute(FILL).await;
    database.execute("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    let daemon = Daemon::up(folder, &configuration(database, &["public.orders"], "")).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET note = 'told' WHERE id = 1").await;
    verified(&daemon);
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn another_primary_key_opens_another_topic() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = told_in_full(&database, folder.path()).await;
    database.execute(ANOTHER_KEY).await;
    let second = read_anew(&daemon, 200).await;
    verified(&daemon);
    assert_eq!(second["{\"n\":2}"]["note"], "by n");
    assert_eq!(fold(&records(&daemon, TOPIC)).len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_primary_key_is_seen_though_nobody_sees_the_commit_yet() {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = told_in_full(&database, folder.path()).await;
    database.hold_commits().await;
    let held = database.execute_held(ANOTHER_KEY).await;
    looks_for_the_commit(&database).await;
    database.let_commits_go().await;
    held.await.unwrap();
    let second = read_anew(&daemon, 200).await;
    verified(&daemon);
    assert_eq!(second["{\"n\":2}"]["note"], "by n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_log_does_not_tell_of_yet_is_found_by_a_snapshot() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("ALTER TABLE orders ALTER n TYPE bigint").await;
    assert!(daemon.command(&["snapshot", "start", "shop"]).status.success());
    equals(&daemon, SECOND, &rows(&database, "orders").await).await;
    verified(&daemon);
    database.execute("UPDATE orders SET n = 5000000000 WHERE id = 2").await;
    equals(&daemon, SECOND, &rows(&database, "orders").await).await;
    verified(&daemon);
    assert_eq!(fold(&records(&daemon, TOPIC)).len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_with_another_key_does_not_touch_the_topic_of_the_one_before() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET note = 'told' WHERE id = 1").await;
    verified(&daemon);
    daemon.kill();
    database
        .execute(
            "DROP TABLE orders; CREATE TABLE orders (id text PRIMARY KEY, n int);
             INSERT INTO orders SELECT 'k' || g, g FROM generate_series(1, 20) g",
        )
        .await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET n = 100 WHERE id = 'k1'").await;
    read_anew(&daemon, 20).await;
    verified(&daemon);
    assert_eq!(fold(&records(&daemon, TOPIC)).len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_told_to_stop_it_stops_before_the_change() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(
        &log_alone(&configuration(&database, &["public.orders"], "")),
        "on_incompatible = \"stop\"",
    );
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders VALUES (1, 1, 'a');
             ALTER TABLE orders ALTER n TYPE bigint;
             INSERT INTO orders VALUES (2, 2, 'b')",
        )
        .await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("incompatible") && error.contains("orders-value"), "{error}");
    assert_eq!(records(&daemon, TOPIC).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_right_behind_the_change_leaves_the_old_topic_as_it_is() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET note = 'told' WHERE id = 1").await;
    verified(&daemon);
    database.execute("ALTER TABLE orders ALTER n TYPE bigint; TRUNCATE orders").await;
    daemon.logged("readers cannot follow: another topic is opened").await;
    database.execute("INSERT INTO orders VALUES (7, 5000000000, 'new')").await;
    equals(&daemon, SECOND, &rows(&database, "orders").await).await;
    verified(&daemon);
    let second = records(&daemon, SECOND);
    assert!(second.iter().all(|record| record["key"]["id"] == 7), "{second:?}");
    assert_eq!(fold(&records(&daemon, TOPIC)).len(), 200);
}

/// The topics of the table.
fn topics(daemon: &Daemon) -> Vec<String> {
    let listed = String::from_utf8(daemon.command(&["topic", "list"]).stdout).unwrap();
    let names = listed.split_whitespace().filter(|word| word.starts_with(TOPIC));
    names.map(str::to_owned).collect()
}

/// The table's rows by a key of this column.
async fn rows_by(database: &Database, column: &str) -> BTreeMap<String, Json> {
    let rows = rows(database, "orders").await.into_values();
    let key = |row: &Json| format!("{{\"{column}\":{}}}", row[column]);
    rows.map(|row| (key(&row), row)).collect()
}

/// How many records have this operation.
fn told(records: &[Json], operation: &str) -> usize {
    records.iter().filter(|record| record["value"]["op"] == operation).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_behind_a_snapshot_that_runs_leave_each_event_in_the_topic_it_belongs_to() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let slow = "snapshot.chunk_rows = 10\nsnapshot.rows_per_second_max = 20";
    let mut daemon = Daemon::up(folder.path(), &with(&config, slow)).await;
    eventually("some of the table is read", async || {
        (told(&records(&daemon, TOPIC), "r") > 0).then_some(())
    })
    .await;
    daemon.kill();
    // So long that chunks of the table as it is in the end are here before the log comes to a change.
    database
        .execute("INSERT INTO orders SELECT g, g, 'first' FROM generate_series(1001, 81000) g")
        .await;
    database.execute("ALTER TABLE orders ALTER n TYPE text").await;
    database.execute("UPDATE orders SET note = 'second' WHERE id BETWEEN 1 AND 150").await;
    database.execute("ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (n)").await;
    database.execute("UPDATE orders SET note = 'third' WHERE id BETWEEN 101 AND 200").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    equals(&daemon, THIRD, &rows_by(&database, "n").await).await;
    verified(&daemon);
    assert_eq!(daemon.described()["topics"]["public.orders"], THIRD);
    assert_eq!(topics(&daemon), [TOPIC, SECOND, THIRD]);
    let [first, second, third] = [TOPIC, SECOND, THIRD].map(|topic| records(&daemon, topic));
    assert_eq!((told(&first, "c"), told(&first, "u")), (80_000, 0));
    assert!(numbers(&first).iter().all(|n| n.is_i64()), "none of a later schema");
    assert_eq!((second.len(), told(&second, "u")), (150, 150));
    let is_of_second = |record: &Json| {
        record["key"]["id"].is_i64()
            && record["value"]["after"]["n"].is_string()
            && record["value"]["after"]["note"] == "second"
    };
    assert!(second.iter().all(is_of_second), "none of another schema");
    assert_eq!(told(&third, "u"), 100);
    assert!(third.iter().all(|record| record["key"]["n"].is_string()), "none of another key");
}

/// Kills the daemon once it has told of a transaction, which is under way, something in the second
/// topic; answers how many records are there, of the many that come.
async fn killed_within(folder: &std::path::Path, config: &str, mut daemon: Daemon) -> usize {
    eventually("something is told behind the change", async || {
        (daemon.source().await["topics"]["public.orders"] == SECOND
            && daemon.source().await["records"].as_u64() > Some(1000))
        .then_some(())
    })
    .await;
    daemon.kill();
    // Nobody reads the log meanwhile.
    let reader = registry(folder, config).await;
    let count = records(&reader, SECOND).len();
    assert!(0 < count && count < MANY, "it was killed within: {count}");
    count
}

/// Kills the daemon within one transaction that updates 50 rows, makes this change and inserts as many
/// as are many. The next topic is opened once, and has each row once.
async fn opens_one_topic(database: &Database, change: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    let update = "UPDATE orders SET note = 'before' WHERE id <= 50";
    database.execute(&format!("BEGIN; {update}; {change}; COMMIT")).await;
    killed_within(folder.path(), &config, daemon).await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    equals(&daemon, SECOND, &rows_by(database, "id").await).await;
    verified(&daemon);
    assert_eq!(topics(&daemon), [TOPIC, SECOND]);
    assert_eq!(told(&records(&daemon, TOPIC), "u"), 50);
    assert_eq!(told(&records(&daemon, SECOND), "c"), MANY, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_within_the_transaction_of_the_change_it_opens_one_topic() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let change = format!(
        "ALTER TABLE orders ALTER n TYPE bigint;
         INSERT INTO orders SELECT g, 5000000000 + g, repeat('x', 1000)
             FROM generate_series(1001, {}) g",
        1000 + MANY
    );
    opens_one_topic(&database, &change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_within_the_transaction_that_makes_the_table_anew_it_opens_one_topic() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    // So the log has rows of the new table from the first one on.
    database.execute(&format!("CREATE PUBLICATION {} FOR ALL TABLES", database.name)).await;
    let change = format!(
        "DROP TABLE orders; CREATE TABLE orders (id text PRIMARY KEY, n int, note text);
         INSERT INTO orders SELECT 'k' || g, g, repeat('x', 1000) FROM generate_series(1, {MANY}) g"
    );
    opens_one_topic(&database, &change).await;
}
