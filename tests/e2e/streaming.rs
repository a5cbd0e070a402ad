//! The main job: what a table does is in its topic.

use crate::support::daemon::{Daemon, configuration, log_alone, verified};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{equals, fold};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n int, note text, ok bool)";

/// A table's rows as JSON by key, in the form of `tidemesh topic read`.
pub(crate) async fn rows(database: &Database, table: &str) -> BTreeMap<String, Json> {
    let sql = format!("SELECT to_jsonb(t)::text, t.id::text FROM {table} t");
    let rows = database.client.query(&sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| {
            let key = format!("{{\"id\":{}}}", row.get::<_, String>(1));
            (key, serde_json::from_str(&row.get::<_, String>(0)).unwrap())
        })
        .collect()
}

async fn inserts_updates_deletes_and_key_changes(version: u32) {
    let database = Database::on_version(version).await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders SELECT g, g, 'note ' || g, g % 2 = 0 FROM generate_series(1, 50) g;
             UPDATE orders SET n = n + 1 WHERE id <= 10;
             DELETE FROM orders WHERE id = 3;
             UPDATE orders SET id = 1000 WHERE id = 4;
             UPDATE orders SET note = NULL WHERE id = 5;
             INSERT INTO orders VALUES (3, 30, 'again', true)",
        )
        .await;
    let found = equals(&daemon, "shop.public.orders", &rows(&database, "orders").await).await;
    let operations = |key: i64| -> Vec<String> {
        let of_key = found.iter().filter(|record| record["key"]["id"] == key);
        of_key
            .map(|record| record["value"]["op"].as_str().unwrap_or("tombstone").to_owned())
            .collect()
    };
    assert_eq!(operations(3), ["c", "u", "d", "tombstone", "c"]);
    assert_eq!(operations(4), ["c", "u", "d", "tombstone"]);
    assert_eq!(operations(1000), ["c"]);
    let positions: Vec<&str> =
        found.iter().map(|record| record["position"].as_str().unwrap()).collect();
    assert!(positions.is_sorted(), "positions do not rise");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_postgresql_15_are_in_the_topic() {
    inserts_updates_deletes_and_key_changes(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_oldest_postgresql_are_in_the_topic() {
    inserts_updates_deletes_and_key_changes(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_newest_postgresql_are_in_the_topic() {
    inserts_updates_deletes_and_key_changes(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_deletes_every_live_row() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("CREATE TABLE others (id int PRIMARY KEY)").await;
    let folder = tempfile::tempdir().unwrap();
    let tables = ["public.orders", "public.others"];
    let daemon = Daemon::up(folder.path(), &configuration(&database, &tables, "")).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders SELECT g, g FROM generate_series(1, 30) g;
             INSERT INTO others VALUES (1), (2);
             DELETE FROM orders WHERE id > 20;
             TRUNCATE orders, others;
             INSERT INTO orders VALUES (7, 70)",
        )
        .await;
    let found = equals(&daemon, "shop.public.orders", &rows(&database, "orders").await).await;
    assert_eq!(fold(&found).len(), 1);
    let deletes = found.iter().filter(|record| record["value"]["op"] == "d").count();
    assert_eq!(deletes, 30, "each row is deleted once");
    equals(&daemon, "shop.public.others", &BTreeMap::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_of_many_rows_is_written_in_parts() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders SELECT g, g FROM generate_series(1, 100000) g;
             TRUNCATE orders;
             INSERT INTO orders VALUES (7, 70)",
        )
        .await;
    eventually("every row is told, deleted, and its tombstone written", async || {
        (daemon.source().await["records"] == 300_001).then_some(())
    })
    .await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_keyed_by_the_whole_row() {
    let database = Database::new().await;
    database.execute("CREATE TABLE loose (a int, b text)").await;
    database.execute("ALTER TABLE loose REPLICA IDENTITY FULL").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.loose"], "")).await;
    daemon.streaming().await;
    database
        .execute("INSERT INTO loose VALUES (1, 'x'), (NULL, NULL); DELETE FROM loose WHERE a = 1")
        .await;
    let expected =
        BTreeMap::from([(r#"{"a":null,"b":null}"#.to_owned(), json!({"a": null, "b": null}))]);
    equals(&daemon, "shop.public.loose", &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_large_value_comes_from_the_old_row_where_there_is_one() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database
        .execute(
            "ALTER TABLE orders REPLICA IDENTITY FULL;
             ALTER TABLE orders ALTER note SET STORAGE EXTERNAL",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders VALUES (1, 1, repeat('large', 10000), true);
             UPDATE orders SET n = 2",
        )
        .await;
    equals(&daemon, "shop.public.orders", &rows(&database, "orders").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_and_go_while_it_runs_and_while_it_is_down() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders VALUES (1, 1, 'a', true);
             ALTER TABLE orders ADD COLUMN extra text;
             INSERT INTO orders VALUES (2, 2, 'b', true, 'e');
             ALTER TABLE orders ADD COLUMN state varchar(5) NOT NULL DEFAULT 'new';
             INSERT INTO orders VALUES (3, 3, 'c', true, 'e', 'old');
             ALTER TABLE orders ALTER state TYPE varchar(50);
             UPDATE orders SET n = 30 WHERE id = 3;
             ALTER TABLE orders RENAME note TO remark;
             UPDATE orders SET ok = false;
             ALTER TABLE orders DROP COLUMN extra;
             UPDATE orders SET n = n + 1",
        )
        .await;
    equals(&daemon, "shop.public.orders", &rows(&database, "orders").await).await;
    daemon.kill();
    for step in 0..10 {
        let id = 100 + step;
        database
            .execute(&format!(
                "INSERT INTO orders (id, n) VALUES ({id}, {step});
                 ALTER TABLE orders ADD COLUMN c{step} int DEFAULT {step};
                 UPDATE orders SET n = n + 1 WHERE id = {id}"
            ))
            .await;
    }
    database.execute("UPDATE orders SET n = n + 1").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    equals(&daemon, "shop.public.orders", &rows(&database, "orders").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_databases_slot_advances() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("CREATE TABLE aside (id int)").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    database.execute("INSERT INTO aside SELECT generate_series(1, 1000)").await;
    let wanted = database.text("SELECT pg_current_wal_lsn()::text").await;
    let passed = format!(
        "SELECT (confirmed_flush_lsn >= '{wanted}')::text FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        database.name
    );
    eventually("the slot passes what is of no interest", async || {
        (database.text(&passed).await == "true").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_flows_through() {
    const ROWS: u64 = 1_000_000;
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(&format!(
            "INSERT INTO orders SELECT g, g, 'note', true FROM generate_series(1, {ROWS}) g"
        ))
        .await;
    eventually("every row is there", async || {
        (daemon.source().await["records"] == ROWS).then_some(())
    })
    .await;
    let output = daemon.command(&["topic", "describe", "shop.public.orders"]);
    let topic: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(topic["partitions"][0]["end"], ROWS);
    let verdict = &verified(&daemon)["tables"][0];
    assert_eq!((&verdict["rows"], &verdict["differing"]), (&json!(ROWS), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_its_own_writes_to_the_daemons_log() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let holder = config.split("[[source]]").next().unwrap();
    let daemon = Daemon::up(folder.path(), holder).await;
    let endpoints = daemon.logged("listening").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let connector = config
        .replace(
            "registry.listen = \"127.0.0.1:0\"",
            &format!("registry.url = {}", endpoints["registry"]),
        )
        .replace("data.listen = \"127.0.0.1:0\"", &format!("data.url = {}", endpoints["data"]));
    let mut connector =
        Daemon::start(elsewhere.path(), &connector, &["connector", "postgres"]).await;
    connector.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'x', true)").await;
    equals(&daemon, "shop.public.orders", &rows(&database, "orders").await).await;
    assert!(connector.terminate().success());
}
