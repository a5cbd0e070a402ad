//! Snapshots while the log streams: what is in the table before and during them is in the topic, and no
//! row of a snapshot stands behind a newer one of the log.

use super::{TABLE, of_orders};
use crate::history::History;
use crate::support::daemon::{Daemon, verified, with};
use crate::support::eventually;
use crate::support::mysql::Database;
use crate::support::topic::{equals, fold, records};
use crate::support::writer::{Writer, agrees_on, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;
use std::time::Duration;

/// Settings under which a snapshot of a few rows takes a while.
fn slow(database: &Database) -> String {
    with(&of_orders(database), "snapshot.chunk_rows = 10\nsnapshot.rows_per_second_max = 100")
}

/// Fills the table with 200 rows; answers their history.
async fn fill(database: &Database) -> History {
    database.execute(TABLE).await;
    let rows: Vec<String> = (0..200).map(|key| format!("({key}, -1, 'old')")).collect();
    database.execute(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).await;
    let mut history = History::default();
    (0..200).for_each(|key| history.was_there(key, -1));
    history
}

/// The first table's snapshot, once it is done.
async fn done(daemon: &Daemon) -> Json {
    eventually("the snapshot is done", async || {
        let report = daemon.source().await["snapshot"]["tables"][0].clone();
        Some(report).filter(|report| report["state"] == "done")
    })
    .await
}

fn command(daemon: &Daemon, arguments: &[&str]) {
    let output = daemon.command(&[&["snapshot"], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_before_and_during_it_are_told() {
    told_whole(&Database::new().await, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_need_be_written_into_the_database() {
    let database = Database::new().await;
    told_whole(&database, "snapshot.read_only = true").await;
    let marks = "SELECT COUNT(*) FROM information_schema.TABLES
                 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'watermarks'";
    assert_eq!(database.text(marks).await, "0", "a table of marks is there");
}

/// Snapshots beside a writer, at the start and later, with more settings.
async fn told_whole(database: &Database, more: &str) {
    let history = fill(database).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &with(&slow(database), more)).await;
    daemon.streaming().await;
    // Not faster than the log is read, at whose end each chunk's marks stand.
    let writer = Writer::run(database.commits(Some(300)), seed(), history);
    let first = done(&daemon).await;
    assert!(first["chunks"].as_u64() >= Some(10), "{first}");
    command(&daemon, &["start", "shop", "--wait"]);
    let topic = database.topic("orders");
    agrees_on(&daemon, &topic, &writer.stop().await).await;
    let told = fold(&records(&daemon, &topic));
    assert_eq!(told, database.rows("orders").await, "the rows are not the table's");
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
    let writer = Writer::run(database.commits(None), random.random(), history);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        daemon.kill();
        daemon = Daemon::up(folder.path(), &slow(&database)).await;
    }
    let report = done(&daemon).await;
    assert!(report["rows"].as_u64() <= Some(200), "no chunk is told twice: {report}");
    let topic = database.topic("orders");
    agrees_on(&daemon, &topic, &writer.stop().await).await;
    assert_eq!(fold(&records(&daemon, &topic)), database.rows("orders").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_shape_are_cut_into_chunks() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE items (shelf VARCHAR(20), place DECIMAL(6,2), label TEXT,
                                 PRIMARY KEY (place, shelf));
             CREATE TABLE moments (at DATETIME(6) PRIMARY KEY, n INT);
             CREATE TABLE codes (code BINARY(4) PRIMARY KEY, n INT);
             CREATE TABLE names (name VARCHAR(30) CHARACTER SET latin1 PRIMARY KEY, n INT);
             CREATE TABLE counts (id BIGINT UNSIGNED PRIMARY KEY, n INT);",
        )
        .await;
    for g in 1..=300_u32 {
        let (shelf, quotes) =
            (char::from_u32(97 + g % 26).unwrap(), "''\\\\".repeat(1 + (g % 3) as usize));
        database
            .execute(&format!(
                "INSERT INTO items VALUES ('{shelf}{quotes}', {place}, 'é{g}');
                 INSERT INTO moments VALUES ('2024-01-01' + INTERVAL {g} HOUR + INTERVAL {g} MICROSECOND, {g});
                 INSERT INTO codes VALUES (UNHEX(LPAD(HEX({g} * 7), 6, '0')), {g});
                 INSERT INTO names VALUES (CONCAT('é', {g}), {g});
                 INSERT INTO counts VALUES (18446744073709551615 - {g}, {g})",
                place = f64::from(g) / 4.0,
            ))
            .await;
    }
    let folder = tempfile::tempdir().unwrap();
    let tables = ["items", "moments", "codes", "names", "counts"];
    let config = with(&database.configuration(&tables, ""), "snapshot.chunk_rows = 7");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    command(&daemon, &["status", "shop", "--wait"]);
    for table in tables {
        let told = records(&daemon, &database.topic(table));
        assert_eq!(told.len(), 300, "{table}: each row once");
        assert_eq!(fold(&told).len(), 300, "{table}");
    }
    assert_eq!(verified(&daemon)["tables"].as_array().unwrap().len(), tables.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermarks_table_is_made_where_it_stands_by_default() {
    let database = Database::new().await;
    fill(&database).await;
    database
        .execute(&format!("GRANT CREATE, INSERT, UPDATE ON tidemesh.* TO {}@'%'", database.name))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let named = format!("watermark_table = \"{}.watermarks\"\n", database.name);
    let config = of_orders(&database).replace(&named, "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    done(&daemon).await;
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    let rows = database.text("SELECT COUNT(*) FROM tidemesh.watermarks").await;
    assert_eq!(rows, "1");
}
