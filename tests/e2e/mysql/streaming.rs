//! The main job: what a table does is in its topic.

use super::of_orders;
use crate::support::daemon::{Daemon, log_alone, verified};
use crate::support::eventually;
use crate::support::mysql::{Database, Server};
use crate::support::topic::{equals, fold, records};
use mysql_async::prelude::Queryable;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const TABLE: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY, n INT, note TEXT, ok TINYINT)";

/// So many rows, with numbers from 1 on.
fn numbers(rows: u32) -> String {
    format!("WITH RECURSIVE s (g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {rows})")
}

async fn streaming(database: &Database, folder: &std::path::Path) -> Daemon {
    let daemon = Daemon::up(folder, &log_alone(&of_orders(database))).await;
    daemon.streaming().await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_in_the_topic() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path()).await;
    database
        .execute(&format!(
            "INSERT INTO orders {} SELECT g, g, CONCAT('note ', g), g % 2 FROM s;
             UPDATE orders SET n = n + 1 WHERE id <= 10;
             DELETE FROM orders WHERE id = 3;
             UPDATE orders SET id = 1000 WHERE id = 4;
             UPDATE orders SET note = NULL WHERE id = 5;
             INSERT INTO orders VALUES (3, 30, 'again', 1);
             REPLACE INTO orders VALUES (6, 60, 'replaced', 0);
             INSERT INTO orders VALUES (7, 0, 'x', 0) ON DUPLICATE KEY UPDATE n = 70",
            numbers(50)
        ))
        .await;
    let topic = database.topic("orders");
    let found = equals(&daemon, &topic, &database.rows("orders").await).await;
    let operations = |key: i64| -> Vec<String> {
        let of_key = found.iter().filter(|record| record["key"]["id"] == key);
        of_key
            .map(|record| record["value"]["op"].as_str().unwrap_or("tombstone").to_owned())
            .collect()
    };
    assert_eq!(operations(3), ["c", "u", "d", "tombstone", "c"]);
    assert_eq!(operations(4), ["c", "u", "d", "tombstone"]);
    assert_eq!(operations(1000), ["c"]);
    assert_eq!(operations(7), ["c", "u", "u"]);
    let positions: Vec<&str> =
        found.iter().map(|record| record["position"].as_str().unwrap()).collect();
    assert!(positions.is_sorted(), "positions do not rise");
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_is_not_told() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path()).await;
    database
        .execute(
            "BEGIN; INSERT INTO orders VALUES (1, 1, 'gone', 0); ROLLBACK;
             BEGIN; INSERT INTO orders VALUES (2, 2, 'stays', 0); SAVEPOINT s;
             INSERT INTO orders VALUES (3, 3, 'gone', 0); ROLLBACK TO s;
             INSERT INTO orders VALUES (4, 4, 'stays', 0); COMMIT;
             INSERT INTO orders VALUES (7, 7, 'last', 0)",
        )
        .await;
    let found = equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    let keys: Vec<&Json> = found.iter().map(|record| &record["key"]["id"]).collect();
    assert_eq!(keys, [2, 4, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_deletes_every_live_row() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    database
        .execute(&format!(
            "INSERT INTO orders (id, n) {} SELECT g, g FROM s;
             DELETE FROM orders WHERE id > 20;
             TRUNCATE orders;
             INSERT INTO orders (id, n) VALUES (7, 70)",
            numbers(30)
        ))
        .await;
    let topic = database.topic("orders");
    let found = equals(&daemon, &topic, &database.rows("orders").await).await;
    assert_eq!(fold(&found).len(), 1);
    let deletes = found.iter().filter(|record| record["value"]["op"] == "d").count();
    assert_eq!(deletes, 30, "each row is deleted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_keyed_by_the_whole_row() {
    let database = Database::new().await;
    database.execute("CREATE TABLE loose (a INT, b TEXT)").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &database.configuration(&["loose"], "")).await;
    daemon.streaming().await;
    database
        .execute("INSERT INTO loose VALUES (1, 'x'), (NULL, NULL); DELETE FROM loose WHERE a = 1")
        .await;
    let expected =
        BTreeMap::from([(r#"{"a":null,"b":null}"#.to_owned(), json!({"a": null, "b": null}))]);
    equals(&daemon, &database.topic("loose"), &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_log_has_by_half_are_read_again() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    // What a session may say for itself, whatever the server's own setting is.
    database
        .execute(
            "SET SESSION binlog_row_image = 'MINIMAL';
             INSERT INTO orders VALUES (1, 1, 'long', 1), (2, 2, 'other', 0);
             UPDATE orders SET n = 10 WHERE id = 1;
             DELETE FROM orders WHERE id = 2",
        )
        .await;
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_in_the_log_stops_it_with_what_to_do() {
    // Of its own: other tests' tables have the same name, and nobody reads which one is meant.
    let server = Server::start("").await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = streaming(&database, folder.path()).await;
    database
        .execute(
            "SET SESSION binlog_format = 'STATEMENT'; INSERT INTO orders VALUES (1, 1, 'x', 1)",
        )
        .await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("binlog_format") && error.contains("ROW"), "{error}");
    // It is passed over by hand, and the next start refuses it no more.
    let status = "SHOW MASTER STATUS";
    let (file, at) = (database.cell(status, "File").await, database.cell(status, "Position").await);
    let set = daemon.command(&["checkpoint", "set", "shop", &format!("{file}:{at}")]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    daemon.kill();
    let daemon = streaming(&database, folder.path()).await;
    database.execute("INSERT INTO orders VALUES (2, 2, 'y', 0)").await;
    let topic = database.topic("orders");
    let told = eventually("what follows is told", async || {
        Some(fold(&records(&daemon, &topic))).filter(|told| !told.is_empty())
    });
    assert_eq!(told.await.keys().collect::<Vec<_>>(), ["{\"id\":2}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_flows_through() {
    const ROWS: u32 = 300_000;
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path()).await;
    // Either server's bound for what such a query may repeat.
    let mut session = database.session().await;
    for bound in ["cte_max_recursion_depth", "max_recursive_iterations"] {
        // The other server's name for it.
        let _ = session.query_drop(format!("SET SESSION {bound} = {ROWS}")).await;
    }
    let insert = format!("INSERT INTO orders {} SELECT g, g, 'note', 1 FROM s", numbers(ROWS));
    session.query_drop(insert).await.unwrap();
    eventually("every row is there", async || {
        (daemon.source().await["records"] == ROWS).then_some(())
    })
    .await;
    let verdict = &verified(&daemon)["tables"][0];
    assert_eq!((&verdict["rows"], &verdict["differing"]), (&json!(ROWS), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_its_own_writes_to_the_daemons_log() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = of_orders(&database);
    let holder = config.split("[[source]]").next().unwrap();
    let daemon = Daemon::up(folder.path(), holder).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let connector = config
        .replace(
            "registry.listen = \"127.0.0.1:0\"",
            &format!("registry.url = \"{}\"", daemon.registry),
        )
        .replace("data.listen = \"127.0.0.1:0\"", &format!("data.url = \"{}\"", daemon.data));
    let mut connector = Daemon::start(elsewhere.path(), &connector, &["connector", "mysql"]).await;
    connector.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'x', 1)").await;
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    assert!(connector.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_a_document_is_captured() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'before', 1)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = of_orders(&database);
    let holder = config.split("[[source]]").next().unwrap();
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("shop"), crate::support::mysql::PASSWORD).unwrap();
    let daemon = Daemon::up(
        folder.path(),
        &format!("{holder}\ncontroller.secrets_dir = \"{}\"\n", secrets.display()),
    )
    .await;
    let table: toml::Table = config.parse().unwrap();
    let mysql = &table["source"][0]["mysql"];
    let document = json!({
        "apiVersion": "tidemesh/v1", "kind": "Source", "metadata": {"name": "shop"},
        "spec": {"mysql": {
            "host": mysql["host"].as_str(), "port": mysql["port"].as_integer(),
            "user": mysql["user"].as_str(), "password_file": "shop",
            "tables": [format!("{}.*", database.name)],
            "watermark_table": mysql["watermark_table"].as_str(),
            "server_id": mysql["server_id"].as_integer(),
        }},
    });
    let file = folder.path().join("shop.json");
    std::fs::write(&file, document.to_string()).unwrap();
    // Once the controller acts.
    eventually("the document is applied", async || {
        let output = daemon.command(&["apply", "-f", file.to_str().unwrap()]);
        output.status.success().then_some(())
    })
    .await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (2, 2, 'after', 1)").await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    verified(&daemon);
    let watermarks = records(&daemon, &database.topic("watermarks"));
    assert!(watermarks.is_empty(), "a pattern takes the watermarks' table: {watermarks:?}");
}
