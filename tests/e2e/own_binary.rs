//! A binary of one's own (`examples/own_binary.rs`): its processor runs within a pipeline, and what is
//! missing in another binary is told.

use crate::pipelines::{applied, is, rows, with_documents};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{equals, records};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) const TABLE: &str =
    "CREATE TABLE orders (id bigint PRIMARY KEY, status text, qty int, price int)";

/// A processor in Rust between two of SQL. A power of two as threshold keeps all numbers exact.
pub(crate) const SUSPECTS: &str = "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {name: suspects}\nspec:\n  \
    inputs: {orders: shop.public.orders}\n  processors:\n    - name: paid\n      sql: SELECT id, qty, \
    CAST(qty * price AS DOUBLE) AS total FROM orders WHERE status = 'paid'\n    - name: scored\n      \
    processor: fraud-score@1\n      inputs: [paid]\n      config: {threshold: 1048576}\n    - name: \
    suspects\n      sql: SELECT id, qty, CAST(score * 1048576 AS BIGINT) AS level FROM scored WHERE \
    score >= 0.000244140625\n  sinks:\n    - name: out\n      from: suspects\n      kafka: {topic: \
    mesh.suspects}\n";

/// The same in the database.
pub(crate) const ORACLE: &str = "SELECT id, qty, level FROM (SELECT *, qty::bigint * price + CASE WHEN qty > 100 \
                      THEN 524288 ELSE 0 END AS level FROM orders) o WHERE status = 'paid' AND level >= 256";

/// Built with the tests, or by `scripts/test`.
pub(crate) fn binary() -> PathBuf {
    let tidemesh = Path::new(env!("CARGO_BIN_EXE_tidemesh"));
    let example = tidemesh.with_file_name("examples").join("own_binary");
    assert!(example.exists(), "build it: cargo build --all-features --example own_binary");
    example
}

async fn up(folder: &Path, database: &Database) -> Daemon {
    let config = configuration(database, &["public.orders"], "");
    let daemon = Daemon::start_binary(&binary(), folder, &config, &["up"], &[]).await;
    daemon.streaming().await;
    daemon
}

/// What each key went through: the level of each row, and where there was none. One delete is as good
/// as several.
fn histories<'r>(
    records: &'r [Json],
    level: impl Fn(&'r Json) -> Option<i64>,
) -> BTreeMap<String, Vec<Option<i64>>> {
    let mut histories: BTreeMap<String, Vec<Option<i64>>> = BTreeMap::new();
    for record in records.iter().filter(|record| !record["value"].is_null()) {
        let after = &record["value"]["after"];
        let level = if after.is_null() { None } else { level(after) };
        let history = histories.entry(record["key"].to_string()).or_default();
        if level.is_some() || history.last().is_some_and(Option::is_some) {
            history.push(level);
        }
    }
    histories.retain(|_, history| !history.is_empty());
    histories
}

/// What `ORACLE` says, of one row.
fn level(row: &Json) -> Option<i64> {
    let (qty, price) = (row["qty"].as_i64()?, row["price"].as_i64()?);
    let level = qty * price + if qty > 100 { 524_288 } else { 0 };
    (row["status"] == "paid" && level >= 256).then_some(level)
}

/// Rows come, go, and enter and leave filters; a quantity only grows.
pub(crate) async fn churn(database: &Database, round: u32) {
    database
        .execute(&format!(
            "UPDATE orders SET status = 'paid', qty = qty + 1 WHERE id % 7 = {round};
             UPDATE orders SET qty = qty + 40 WHERE id % 5 = {round};
             UPDATE orders SET status = 'open', qty = qty + 1 WHERE id % 11 = {round};
             DELETE FROM orders WHERE id % 13 = {round};
             INSERT INTO orders SELECT g, 'paid', g % 120, 20
             FROM generate_series({round} * 50 + 20000, {round} * 50 + 20049) g"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_in_rust_between_two_chains_of_sql_is_exactly_once() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let seed = "INSERT INTO orders SELECT g, (ARRAY['open', 'paid', 'sent'])[1 + g % 3], g % 120, 1 + \
                g % 40 FROM generate_series(1, 600) g";
    database.execute(seed).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = up(folder.path(), &database).await;
    eventually("the table has its topic", async || {
        (with_documents(&daemon, folder.path(), "apply", SUSPECTS).0 == Some(0)).then_some(())
    })
    .await;
    // Each row's quantity only grows: a record that was written twice would show.
    for round in 0..5 {
        churn(&database, round).await;
        daemon.kill();
        daemon = up(folder.path(), &database).await;
    }
    equals(&daemon, "mesh.suspects", &rows(&database, ORACLE).await).await;
    is(&daemon, "suspects", "running").await;
    let expected = histories(&records(&daemon, "shop.public.orders"), level);
    let found = histories(&records(&daemon, "mesh.suspects"), |row| row["level"].as_i64());
    assert_eq!(found, expected);
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_binary_registers_is_declared_without_a_document() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = up(folder.path(), &database).await;
    let out = |daemon: &Daemon, arguments: &[&str]| {
        let output = daemon.command(arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(out(&daemon, &["get", "processors"]).contains("fraud-score"));
    assert!(out(&daemon, &["get", "processor", "fraud-score"]).contains("config_schema"));
    let refused = out(&daemon, &["delete", "processor", "fraud-score"]);
    assert!(refused.contains("the daemon's binary registers it"), "{refused}");
    let documents = std::process::Command::new(binary()).arg("processors").output().unwrap();
    let documents = String::from_utf8(documents.stdout).unwrap();
    let other = documents.replace(r#""double""#, r#""float""#);
    let (code, said) = with_documents(&daemon, folder.path(), "apply", &other);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("give it another version"), "{said}");
    let unknown = SUSPECTS.replace("fraud-score@1", "fraud-score@2");
    eventually("a version that nobody declares is told", async || {
        let (_, said) = with_documents(&daemon, folder.path(), "plan", &unknown);
        said.contains("no Processor document declares `fraud-score@2`").then_some(())
    })
    .await;
    applied(&daemon, folder.path(), SUSPECTS);
    is(&daemon, "suspects", "running").await;

    // Another binary cannot plan it; by a document it can, and says what it lacks.
    daemon.kill();
    let config = configuration(&database, &["public.orders"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    let held = is(&daemon, "suspects", "held").await["reasons"].to_string();
    assert!(held.contains("no Processor document declares"), "{held}");
    let said = applied(&daemon, folder.path(), &documents);
    assert!(said.contains("+ Processor fraud-score"), "{said}");
    let failed = is(&daemon, "suspects", "failed").await["reasons"].to_string();
    assert!(failed.contains("this binary has not registered it"), "{failed}");
    assert!(failed.contains("fraud-score@1") && failed.contains("tidemesh::Daemon"), "{failed}");
}
