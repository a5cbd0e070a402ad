//! `tidemesh verify` on tables that move, and on topics that are wrong.

use crate::history::History;
use crate::support::daemon::{Daemon, configuration, log_alone, run, verified, with};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::topic::records;
use crate::support::writer::{TABLE, TOPIC, Writer, agrees, seed};
use crate::values::cases;
use serde_json::{Value as Json, json};
use std::process::Output;

/// What it says of the source, and how it exits.
fn verify(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, Json) {
    let output = daemon.command(&[&["verify", "--source", "shop", "--json"], arguments].concat());
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
    eprintln!("{said} {}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_are_the_databases_own_text() {
    let cases = cases();
    let database = Database::new().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'happy');
             CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        )
        .await;
    let column = |(index, (kind, _, _)): (usize, &(&str, &str, Json))| format!("c{index} {kind}");
    let columns: Vec<String> = cases.iter().enumerate().map(column).collect();
    let values: Vec<&str> = cases.iter().map(|(_, value, _)| *value).collect();
    let (columns, values) = (columns.join(", "), values.join(", "));
    database
        .execute(&format!(
            "CREATE TABLE all_types (id int PRIMARY KEY, {columns});
             INSERT INTO all_types VALUES (1, {values});
             INSERT INTO all_types (id) VALUES (2);
             CREATE TABLE numbers (id int PRIMARY KEY, f4 float4, f8 float8, n numeric(30,8));
             INSERT INTO numbers SELECT g, (random() - 0.5) * 10 ^ (g % 70 - 35),
                 (random() - 0.5) * 10 ^ (g % 600 - 300), (random() - 0.5) * 10 ^ (g % 21)
                 FROM generate_series(1, 3000) g;
             CREATE TABLE moments (id int PRIMARY KEY, d date, t time, tz timetz, ts timestamp,
                                   tstz timestamptz, a text[]);
             INSERT INTO moments SELECT g, '4000-01-01 BC'::date + g * 3011, '00:00'::time + g * interval '1.234567 s',
                 ('00:00'::time + g * interval '7 s')::timetz,
                 '4000-01-01 BC'::timestamp + g * interval '123456789.123456 s',
                 '4000-01-01 BC'::timestamptz + g * interval '123456789.123456 s',
                 ARRAY[chr(1 + g % 126), 'null', NULL, repeat('\"', g % 3), ' ', 'x\\y']
                 FROM generate_series(1, 1500) g",
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let tables = ["public.all_types", "public.numbers", "public.moments"];
    let daemon = Daemon::up(folder.path(), &configuration(&database, &tables, "")).await;
    daemon.streaming().await;
    let said = verified(&daemon);
    for table in said["tables"].as_array().unwrap() {
        let asked = table["rechecked"].as_u64();
        assert_eq!(asked, Some(0), "texts are told without asking the server: {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_moves_is_found_equal() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let lines = "snapshot.chunk_rows = 20";
    let config = with(&configuration(&database, &["public.orders"], ""), lines);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // At a pace: on a machine that is busy a writer without one outruns what compaction leaves alone.
    let writer = Writer::enduring(&database, seed(), 300, History::default());
    let mut rechecked = 0;
    for _ in 0..3 {
        rechecked += verified(&daemon)["tables"][0]["rechecked"].as_u64().unwrap();
    }
    assert!(rechecked > 0, "some keys were touched meanwhile");
    agrees(&daemon, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_named() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders VALUES (900, 1, 'before')").await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 300) g").await;
    eventually("the rows are told", async || (records(&daemon, TOPIC).len() == 300).then_some(()))
        .await;
    // From here on the log tells inserts alone.
    let inserts = format!("ALTER PUBLICATION {} SET (publish = 'insert')", database.name);
    database.execute(&inserts).await;
    database.execute("UPDATE orders SET n = -n, note = NULL WHERE id = 30").await;
    database.execute("DELETE FROM orders WHERE id = 5").await;
    let (code, said) = verify(&daemon, &[]);
    assert_eq!(code, Some(1));
    let table = &said["tables"][0];
    assert_eq!((&table["outcome"], &table["differing"]), (&json!("different"), &json!(3)));
    let key = |id: &str| json!([{"column": "id", "text": id}]);
    assert_eq!(
        table["differences"],
        json!([
            {"key": key("5"), "difference": "extra_in_topic"},
            {"key": key("30"), "difference": "values", "columns": [
                {"column": "n", "database": "-30", "topic": "30"},
                {"column": "note", "database": null, "topic": "x"},
            ]},
            {"key": key("900"), "difference": "missing_in_topic"},
        ])
    );
    database.execute("UPDATE orders SET n = 0").await;
    let listed = |said: &Json| said["tables"][0]["differences"].as_array().unwrap().len();
    let (code, said) = verify(&daemon, &[]);
    assert_eq!((code, listed(&said)), (Some(1), 100));
    assert_eq!(said["tables"][0]["differing"], 301);
    let (code, said) = verify(&daemon, &["--all"]);
    assert_eq!((code, listed(&said)), (Some(1), 301));
    let output = daemon.command(&["verify", "--source", "shop"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("id=\"5\": in the topic, not in the database"), "{text}");
    assert!(text.contains("and 201 more"), "{text}");
    assert!(text.ends_with("0 tables equal, 301 differences in 1 tables\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_said() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 300) g").await;
    let folder = tempfile::tempdir().unwrap();
    let slow = "snapshot.chunk_rows = 1\nsnapshot.rows_per_second_max = 1";
    let config = with(&configuration(&database, &["public.orders"], ""), slow);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let (code, said) = verify(&daemon, &[]);
    assert_eq!(code, Some(2));
    assert!(
        said["tables"][0]["reason"].as_str().unwrap().contains("snapshot is running"),
        "{said}"
    );
    let unknown = daemon.command(&["verify", "--source", "shop", "--table", "public.nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("does not capture this table"));
    let nowhere = run(&["verify", "--source", "shop", "--url", "http://127.0.0.1:9"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("start `tidemesh up`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_columns_came_and_went_is_found_equal() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 50) g").await;
    database.execute("ALTER TABLE orders ADD COLUMN state text DEFAULT 'new'").await;
    // Nothing was written since: the log does not know of the column yet.
    verified(&daemon);
    database.execute("UPDATE orders SET state = 'old' WHERE id < 10").await;
    database.execute("ALTER TABLE orders ADD COLUMN more int[]").await;
    database.execute("UPDATE orders SET more = '{1,2}' WHERE id < 5").await;
    database.execute("ALTER TABLE orders DROP COLUMN note").await;
    verified(&daemon);
    // Rows that were told under the old names are read under the new ones.
    database.execute("ALTER TABLE orders RENAME COLUMN state TO status").await;
    verified(&daemon);
    database.execute("INSERT INTO orders VALUES (100, 1)").await;
    database.execute("ALTER TABLE orders RENAME COLUMN status TO \"the state\"").await;
    database.execute("INSERT INTO orders VALUES (101, 1)").await;
    verified(&daemon);
    daemon.kill();
    database.execute("ALTER TABLE orders RENAME COLUMN \"the state\" TO final").await;
    database.execute("INSERT INTO orders VALUES (102, 1)").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("DELETE FROM orders WHERE id = 7; UPDATE orders SET n = 1 WHERE id = 8").await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_sees_yet_is_no_difference() {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, 0, 'x' FROM generate_series(1, 20) g").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    assert!(daemon.command(&["snapshot", "status", "shop", "--wait"]).status.success());
    database.hold_commits().await;
    let held = database.execute_held("UPDATE orders SET n = 1 WHERE id < 5").await;
    eventually("the log tells the commit", async || {
        let told = records(&daemon, TOPIC);
        told.iter().any(|record| record["value"]["op"] == "u").then_some(())
    })
    .await;
    let (url, released) = (daemon.url.clone(), std::sync::mpsc::channel());
    let verifying = tokio::task::spawn_blocking(move || {
        let output = run(&["verify", "--source", "shop", "--json", "--url", &url]);
        released.0.send(()).unwrap();
        output
    });
    eventually("it waits for older transactions", async || {
        let waiting = "SELECT count(*)::text FROM pg_stat_activity
                       WHERE query LIKE 'SELECT pg_snapshot_xmin%' AND pid <> pg_backend_pid()";
        (database.text(waiting).await != "0").then_some(())
    })
    .await;
    assert!(released.1.try_recv().is_err(), "it has not judged yet");
    database.let_commits_go().await;
    held.await.unwrap();
    let output = verifying.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let said: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(said["tables"][0]["rechecked"], 4, "{said}");
}

/// Where the table goes on when its readers cannot follow.
const SECOND: &str = "shop.public.orders.g2";

/// Waits until a session waits for a lock of this kind.
async fn waits_for(database: &Database, lock: &str) {
    let waiting = format!(
        "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database()
         AND wait_event_type = 'Lock' AND wait_event = '{lock}'"
    );
    eventually("somebody waits for a lock", async || {
        (database.text(&waiting).await != "0").then_some(())
    })
    .await;
}

/// Begins to verify, and waits until the table is found locked; the topic is known by then.
async fn verifying(daemon: &Daemon, database: &Database) -> tokio::task::JoinHandle<Output> {
    let url = daemon.url.clone();
    let verifying = tokio::task::spawn_blocking(move || {
        run(&["verify", "--source", "shop", "--json", "--url", &url])
    });
    waits_for(database, "relation").await;
    verifying
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_topic_is_opened_meanwhile_it_begins_anew_with_that_one() {
    let database = Database::new().await;
    // Reading its text can be held up, which the log and snapshots do not read.
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'happy');
             CREATE FUNCTION held(mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM pg_advisory_xact_lock_shared(7); RETURN enum_out($1)::text; END $$;
             CREATE CAST (mood AS text) WITH FUNCTION held(mood);
             CREATE TABLE orders (id bigint PRIMARY KEY, n int, mood mood);
             INSERT INTO orders SELECT g, g, 'sad' FROM generate_series(1, 200) g",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    verified(&daemon);
    let altering = database.connect_again().await.unwrap();
    altering
        .batch_execute(
            "BEGIN; ALTER TABLE orders ALTER n TYPE bigint; UPDATE orders SET n = -n WHERE id < 50",
        )
        .await
        .unwrap();
    database.execute("SELECT pg_advisory_lock(7)").await;
    let verifying = verifying(&daemon, &database).await;
    altering.batch_execute("COMMIT").await.unwrap();
    waits_for(&database, "advisory").await;
    eventually("the next topic is opened", async || {
        (daemon.source().await["topics"]["public.orders"] == SECOND).then_some(())
    })
    .await;
    assert!(daemon.command(&["snapshot", "status", "shop", "--wait"]).status.success());
    assert!(!verifying.is_finished(), "it has not judged yet");
    database.execute("SELECT pg_advisory_unlock(7)").await;
    let output = verifying.await.unwrap();
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    let table = &said["tables"][0];
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!((&table["topic"], &table["rows"]), (&json!(SECOND), &json!(200)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_topic_that_is_opened_meanwhile_has_not_all_yet_it_says_so() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let slow = "snapshot.chunk_rows = 1\nsnapshot.rows_per_second_max = 1";
    let config = with(&configuration(&database, &["public.orders"], ""), slow);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // Of no rows: those that come are told by the log, which is not slow.
    verified(&daemon);
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 60) g").await;
    let altering = database.connect_again().await.unwrap();
    altering
        .batch_execute(
            "BEGIN; ALTER TABLE orders ALTER n TYPE text; UPDATE orders SET n = 'a' WHERE id < 5",
        )
        .await
        .unwrap();
    let verifying = verifying(&daemon, &database).await;
    altering.batch_execute("COMMIT").await.unwrap();
    let output = verifying.await.unwrap();
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let table = &said["tables"][0];
    assert_eq!((&table["outcome"], &table["topic"]), (&json!("unknown"), &json!(SECOND)), "{said}");
    assert!(table["reason"].as_str().unwrap().contains("snapshot is running"), "{said}");
}
