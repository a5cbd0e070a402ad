//! Snapshots while the log streams: what is in the table before and during them is in the topic,
//! and no row of a snapshot stands behind a newer one of the log.

use crate::history::History;
use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::topic::{equals, fold, records};
use crate::support::writer::{TABLE, TOPIC, Writer, agrees, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings under which a snapshot of a few rows takes a while.
const SLOW: &str = "snapshot.chunk_rows = 10\nsnapshot.rows_per_second_max = 100";

fn slow(database: &Database) -> String {
    with(&configuration(database, &["public.orders"], ""), SLOW)
}

/// Fills the table with 200 rows; answers their history.
async fn fill(database: &Database) -> History {
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, -1, 'old' FROM generate_series(0, 199) g").await;
    let mut history = History::default();
    (0..200).for_each(|key| history.was_there(key, -1));
    history
}

/// The first table's snapshot as the source reports it.
async fn report(daemon: &Daemon) -> Json {
    daemon.source().await["snapshot"]["tables"][0].clone()
}

async fn done(daemon: &Daemon) -> Json {
    eventually("the snapshot is done", async || {
        Some(report(daemon).await).filter(|report| report["state"] == "done")
    })
    .await
}

async fn chunks(daemon: &Daemon, at_least: u64) {
    eventually("some chunks are read", async || {
        (report(daemon).await["chunks"].as_u64() >= Some(at_least)).then_some(())
    })
    .await;
}

fn command(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.command(&[&["snapshot"], arguments].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// How many rows of a topic snapshots told.
fn read_rows(daemon: &Daemon, topic: &str) -> usize {
    records(daemon, topic).iter().filter(|record| record["value"]["op"] == "r").count()
}

async fn rows_before_and_during(version: u32) {
    let database = Database::on_version(version).await;
    let history = fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &slow(&database)).await;
    daemon.streaming().await;
    let writer = Writer::start(database.connect_again().await.unwrap(), seed(), history);
    let first = done(&daemon).await;
    assert!(first["chunks"].as_u64() >= Some(10), "{first}");
    command(&daemon, &["start", "shop", "--wait"]);
    agrees(&daemon, &writer.stop().await).await;
    assert_eq!(
        fold(&records(&daemon, TOPIC)),
        rows(&database, "orders").await,
        "the rows are not the table's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_and_during_it_are_told_by_postgresql_15() {
    rows_before_and_during(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_and_during_it_are_told_by_the_oldest_postgresql() {
    rows_before_and_during(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_and_during_it_are_told_by_the_newest_postgresql() {
    rows_before_and_during(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_goes_on_where_it_was() {
    const KILLS: usize = 8;
    let mut random = StdRng::seed_from_u64(seed());
    let database = Database::new().await;
    let history = fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &slow(&database)).await;
    daemon.streaming().await;
    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, random.random(), history);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        daemon.kill();
        daemon = Daemon::up(folder.path(), &slow(&database)).await;
    }
    let report = done(&daemon).await;
    assert!(report["rows"].as_u64() <= Some(200), "no chunk is told twice: {report}");
    agrees(&daemon, &writer.stop().await).await;
    assert_eq!(fold(&records(&daemon, TOPIC)), rows(&database, "orders").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_it_stands_still_while_the_log_goes_on() {
    let database = Database::new().await;
    let mut history = fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &slow(&database)).await;
    chunks(&daemon, 2).await;
    let told = command(&daemon, &["pause", "shop"]);
    assert!(told.contains("paused") && told.contains("running"), "{told}");
    daemon.kill();
    daemon = Daemon::up(folder.path(), &slow(&database)).await;
    daemon.streaming().await;
    let before = report(&daemon).await;
    for (version, key) in (0..40).enumerate() {
        let version = i64::try_from(version).unwrap();
        database.execute(&format!("UPDATE orders SET n = {version} WHERE id = {key}")).await;
        history.wrote(key, version);
    }
    eventually("the log goes on", async || {
        let told = records(&daemon, TOPIC);
        (told.iter().filter(|record| record["value"]["op"] == "u").count() == 40).then_some(())
    })
    .await;
    assert_eq!(report(&daemon).await["chunks"], before["chunks"], "it stands still");
    assert_eq!(daemon.described()["snapshot"]["paused"], true);
    command(&daemon, &["resume", "shop"]);
    done(&daemon).await;
    agrees(&daemon, &history).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_a_range_or_keys_are_read_by_command() {
    let database = Database::new().await;
    fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let config =
        with(&configuration(&database, &["public.orders"], ""), "snapshot.mode = \"never\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert!(records(&daemon, TOPIC).is_empty(), "nothing is read unasked");
    let ranges: [(&[&str], usize); 4] = [
        (&["--table", "public.orders", "--after", "9", "--upto", "19"], 10),
        (&["--table", "public.orders", "--key", "3", "--key", "199", "--key", "1000"], 2),
        (&["--table", "public.orders"], 200),
        (&[], 200),
    ];
    let mut read = 0;
    for (arguments, count) in ranges {
        let start = ["start", "shop", "--wait"];
        command(&daemon, &[&start, arguments].concat());
        read += count;
        assert_eq!(read_rows(&daemon, TOPIC), read, "{arguments:?}");
    }
    let refused: [(&[&str], &str); 3] = [
        (&["--table", "public.nothing"], "does not capture this table"),
        (&["--after", "7"], "name exactly one"),
        (&["--table", "public.orders", "--key", "[\"1\",\"2\"]"], "other columns than the table's"),
    ];
    for (arguments, message) in refused {
        let output =
            daemon.command(&[&["snapshot", "start", "shop", "--wait"], arguments].concat());
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(message), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_shape_are_cut_into_chunks() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE items (shelf text, place numeric(6,2), label text,
                                 PRIMARY KEY (place, shelf));
             INSERT INTO items SELECT chr(50 + g % 77) || repeat('''\"', g % 3), g % 10 / 4.0, 'é' || g
             FROM generate_series(1, 2000) g ON CONFLICT DO NOTHING;
             CREATE TABLE moments (at timestamptz PRIMARY KEY, id uuid, n int);
             INSERT INTO moments SELECT '2024-01-01'::timestamptz + g * interval '1.000001 h',
                                        gen_random_uuid(), g FROM generate_series(1, 500) g;
             INSERT INTO moments VALUES ('infinity', NULL, 0), ('-infinity', NULL, 0)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let tables = ["public.items", "public.moments"];
    let config = with(&configuration(&database, &tables, ""), "snapshot.chunk_rows = 7");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    command(&daemon, &["status", "shop", "--wait"]);
    for (table, topic) in [("items", "shop.public.items"), ("moments", "shop.public.moments")] {
        let count = database.text(&format!("SELECT count(*)::text FROM {table}")).await;
        let told = records(&daemon, topic);
        assert_eq!(fold(&told).len().to_string(), count, "{table}");
        assert_eq!(told.len().to_string(), count, "{table}: each row once");
    }
    assert_eq!(verified(&daemon)["tables"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_read_by_its_places() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE loose (id int, n int); ALTER TABLE loose REPLICA IDENTITY FULL;
             INSERT INTO loose SELECT g, 0 FROM generate_series(1, 3000) g",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let settings = "snapshot.chunk_rows = 100\nsnapshot.rows_per_second_max = 2000";
    let config = with(&configuration(&database, &["public.loose"], ""), settings);
    let daemon = Daemon::up(folder.path(), &config).await;
    chunks(&daemon, 3).await;
    // Rows that move within the storage while it is read, and rows that go.
    database.execute("UPDATE loose SET n = 1 WHERE id % 3 = 0").await;
    database.execute("VACUUM loose").await;
    database.execute("UPDATE loose SET n = 2 WHERE id % 5 = 0").await;
    database.execute("DELETE FROM loose WHERE id % 7 = 0").await;
    done(&daemon).await;
    let wanted: BTreeMap<String, Json> = database
        .client
        .query("SELECT id, n FROM loose", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let row = json!({"id": row.get::<_, i32>(0), "n": row.get::<_, i32>(1)});
            (row.to_string(), row)
        })
        .collect();
    equals(&daemon, "shop.public.loose", &wanted).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_log_tells_before_it_is_visible_is_not_undone() {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    let mut history = fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{SLOW}\nsnapshot.parallel = 1");
    let config = with(&configuration(&database, &["public.orders"], ""), &config);
    let daemon = Daemon::up(folder.path(), &config).await;
    chunks(&daemon, 1).await;
    command(&daemon, &["pause", "shop"]);
    database.hold_commits().await;
    let held = database.execute_held("UPDATE orders SET n = 7 WHERE id >= 100").await;
    (100..200).for_each(|key| history.wrote(key, 7));
    eventually("the log tells the commit", async || {
        let told = records(&daemon, TOPIC);
        (told.iter().filter(|record| record["value"]["op"] == "u").count() == 100).then_some(())
    })
    .await;
    assert_eq!(database.text("SELECT n::text FROM orders WHERE id = 150").await, "-1", "unseen");
    command(&daemon, &["resume", "shop"]);
    eventually("a chunk that lacks it is read again", async || {
        (report(&daemon).await["repeats"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    let chunks_then = report(&daemon).await["chunks"].as_u64();
    assert!(chunks_then < Some(20), "no chunk passes that does not see it");
    database.let_commits_go().await;
    held.await.unwrap();
    done(&daemon).await;
    agrees(&daemon, &history).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_its_shape_meanwhile_is_told_in_the_new_one() {
    let database = Database::new().await;
    fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &slow(&database)).await;
    chunks(&daemon, 2).await;
    database.execute("ALTER TABLE orders ADD COLUMN more int DEFAULT 5").await;
    chunks(&daemon, 6).await;
    database.execute("UPDATE orders SET note = 'new' WHERE id % 4 = 0").await;
    chunks(&daemon, 10).await;
    database.execute("ALTER TABLE orders DROP COLUMN note").await;
    database.execute("INSERT INTO orders VALUES (1000, 1, 2)").await;
    done(&daemon).await;
    let wanted = rows(&database, "orders").await;
    let found = eventually("every row is there", async || {
        Some(fold(&records(&daemon, TOPIC))).filter(|rows| rows.len() == wanted.len())
    })
    .await;
    for (key, row) in &wanted {
        assert_eq!(found[key]["n"], row["n"], "{key}");
        // A row that was told before a column came or went has it as it was, or not at all.
        let more = found[key].get("more").unwrap_or(&Json::Null);
        assert!(more == &row["more"] || more == &Json::Null, "{key}: {more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_truncated_meanwhile_does_not_come_back() {
    let database = Database::new().await;
    fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &slow(&database)).await;
    chunks(&daemon, 3).await;
    database.execute("TRUNCATE orders; INSERT INTO orders VALUES (5, 1, 'x'), (190, 1, 'x')").await;
    done(&daemon).await;
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_made_again() {
    let database = Database::new().await;
    let history = fill(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &slow(&database)).await;
    for at_least in [2, 6, 10] {
        chunks(&daemon, at_least).await;
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = '{}' AND pid <> pg_backend_pid()",
            database.name
        );
        database.execute(&cut).await;
    }
    done(&daemon).await;
    agrees(&daemon, &history).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_added_later_is_read_then() {
    let database = Database::new().await;
    fill(&database).await;
    database
        .execute("CREATE TABLE more (id int PRIMARY KEY); INSERT INTO more VALUES (1), (2), (3)")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    done(&daemon).await;
    daemon.kill();
    let config = configuration(&database, &["public.orders", "public.more"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert_eq!(verified(&daemon)["tables"].as_array().unwrap().len(), 2);
    assert_eq!(read_rows(&daemon, "shop.public.more"), 3);
    assert_eq!(read_rows(&daemon, TOPIC), 200, "the other table is not read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_fails_alone() {
    let database = Database::new().await;
    fill(&database).await;
    let role = format!("{}_reader", database.name);
    database
        .execute(&format!(
            "CREATE TABLE hidden (id int PRIMARY KEY);
             INSERT INTO hidden SELECT generate_series(1, 500);
             CREATE ROLE {role} LOGIN REPLICATION;
             GRANT SELECT ON orders, hidden TO {role};
             CREATE PUBLICATION {} FOR TABLE orders, hidden",
            database.name
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders", "public.hidden"], "")
        .replace("user = \"postgres\"", &format!("user = \"{role}\""));
    let lines = format!("{SLOW}\nsnapshot.parallel = 1");
    let daemon = Daemon::up(folder.path(), &with(&config, &lines)).await;
    daemon.streaming().await;
    chunks(&daemon, 1).await;
    command(&daemon, &["pause", "shop"]);
    database.execute(&format!("REVOKE SELECT ON hidden FROM {role}")).await;
    command(&daemon, &["resume", "shop"]);
    let failed = eventually("the table fails", async || {
        let tables = daemon.source().await["snapshot"]["tables"].clone();
        tables.as_array()?.iter().find(|table| table["state"] == "failed").cloned()
    })
    .await;
    assert_eq!(failed["table"]["table"], "hidden");
    assert!(failed["error"].as_str().unwrap().contains("permission denied"), "{failed}");
    let health = daemon.command(&["snapshot", "status", "shop", "--wait"]);
    assert_eq!(health.status.code(), Some(1));
    done(&daemon).await;
    database.execute(&format!("GRANT SELECT ON hidden TO {role}")).await;
    command(&daemon, &["start", "shop", "--table", "public.hidden", "--wait"]);
    assert!(read_rows(&daemon, "shop.public.hidden") >= 500);
    database.execute(&format!("DROP OWNED BY {role}")).await;
}
