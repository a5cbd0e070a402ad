//! Pipelines: what is declared runs, and its topics hold what the same SQL says in the database.

use crate::operations::get;
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::equals;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::Path;

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, status text, qty int, note text)";

/// A pipeline whose table is `rows`.
pub(crate) fn pipeline(name: &str, input: &str, sql: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}, owner: sales}}\nspec:\n  \
         inputs: {{rows: {input}}}\n  processors:\n    - name: made\n      sql: |\n        {sql}\n  \
         sinks:\n    - name: out\n      from: made\n      kafka: {{topic: mesh.{name}, partitions: 2}}\n"
    )
}

/// Several that share topics: two read the table, one the output of another, one a published source, and
/// one that again.
const PIPELINES: [(&str, &str, &str); 5] = [
    ("paid", "shop.public.orders", "SELECT id, qty, note FROM rows WHERE status = 'paid'"),
    (
        "sized",
        "shop.public.orders",
        "SELECT id, CASE WHEN qty > 50 THEN 'large' ELSE 'small' END AS size FROM rows",
    ),
    ("doubled", "mesh.paid", "SELECT id, qty * 2 AS twice, upper(note) AS note FROM rows"),
    ("many", "{source: doubled-orders}", "SELECT id, twice FROM rows WHERE twice >= 100"),
    ("most", "mesh.many", "SELECT id, twice + 1 AS more FROM rows WHERE twice > 150"),
];

/// The same in the database.
const ORACLES: [(&str, &str); 5] = [
    ("paid", "SELECT id, qty, note FROM orders WHERE status = 'paid'"),
    ("sized", "SELECT id, CASE WHEN qty > 50 THEN 'large' ELSE 'small' END AS size FROM orders"),
    (
        "doubled",
        "SELECT id, qty * 2 AS twice, upper(note) AS note FROM orders WHERE status = 'paid'",
    ),
    ("many", "SELECT id, qty * 2 AS twice FROM orders WHERE status = 'paid' AND qty * 2 >= 100"),
    ("most", "SELECT id, qty * 2 + 1 AS more FROM orders WHERE status = 'paid' AND qty * 2 > 150"),
];

const PUBLISHED: &str = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: doubled-orders}\n\
                         spec:\n  pipeline: {name: doubled, sink: out}\n";

fn documents() -> String {
    let pipelines = PIPELINES.iter().map(|(name, input, sql)| pipeline(name, input, sql));
    pipelines.chain([PUBLISHED.to_owned()]).collect::<Vec<_>>().join("---\n")
}

/// Runs a command on a file of documents; answers its exit code and what it printed.
pub(crate) fn with_documents(
    daemon: &Daemon,
    folder: &Path,
    command: &str,
    text: &str,
) -> (Option<i32>, String) {
    let file = folder.join("mesh.yaml");
    std::fs::write(&file, text).unwrap();
    let output = daemon.command(&[command, "-f", file.to_str().unwrap()]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

pub(crate) fn applied(daemon: &Daemon, folder: &Path, text: &str) -> String {
    let (code, said) = with_documents(daemon, folder, "apply", text);
    assert_eq!(code, Some(0), "{said}");
    said
}

/// A query's rows by their keys, as the topic has them.
pub(crate) async fn rows(database: &Database, sql: &str) -> BTreeMap<String, Json> {
    let sql = format!("SELECT to_jsonb(t)::text, t.id::text FROM ({sql}) t");
    let rows = database.client.query(&sql, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| {
        let key = format!("{{\"id\":{}}}", row.get::<_, String>(1));
        (key, serde_json::from_str(&row.get::<_, String>(0)).unwrap())
    };
    rows.iter().map(row).collect()
}

async fn all_equal(daemon: &Daemon, database: &Database) {
    for (name, sql) in ORACLES {
        equals(daemon, &format!("mesh.{name}"), &rows(database, sql).await).await;
        verified(daemon, name).await;
    }
}

/// What the command finds out by itself: the database says the same by the pipeline's SQL.
pub(crate) async fn verified(daemon: &Daemon, pipeline: &str) {
    eventually(&format!("{pipeline} is verified"), async || {
        let output = daemon.command(&["verify", "--pipeline", pipeline]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // Unknown while it waits for a schema to be judged.
        assert_ne!(output.status.code(), Some(1), "{pipeline}: {said}");
        (output.status.code() == Some(0) && said.starts_with("equal")).then_some(())
    })
    .await;
}

/// A pipeline's report, as the command line prints it.
pub(crate) fn report(daemon: &Daemon, pipeline: &str) -> Json {
    let output = daemon.command(&["describe", "pipeline", pipeline, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or(Json::Null)
}

pub(crate) async fn is(daemon: &Daemon, pipeline: &str, state: &str) -> Json {
    eventually(&format!("{pipeline} is {state}"), async || {
        let report = daemon.get(&format!("/v1/pipelines/{pipeline}")).await;
        (report["state"] == state).then_some(report)
    })
    .await
}

/// How long a topic keeps its tombstones, in milliseconds.
pub(crate) async fn keeps_tombstones(
    daemon: &Daemon,
    topic: &str,
    how: &str,
    is: impl Fn(u64) -> bool,
) {
    eventually(&format!("{topic} keeps its tombstones {how}"), async || {
        let output = daemon.command(&["topic", "describe", topic]);
        let topic: Json = serde_json::from_slice(&output.stdout).ok()?;
        topic["config"]["delete_retention_ms"].as_u64().filter(|ms| is(*ms)).map(drop)
    })
    .await;
}

/// A daemon whose source streams the table.
pub(crate) async fn streaming(
    database: &Database,
    folder: &Path,
    change: impl Fn(&str) -> String,
) -> Daemon {
    let config = change(&configuration(database, &["public.orders"], ""));
    let daemon = Daemon::up(folder, &config).await;
    daemon.streaming().await;
    daemon
}

async fn five_pipelines_that_share_topics(change: impl Fn(&str) -> String) {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let seed = "INSERT INTO orders SELECT g, (ARRAY['open', 'paid', 'sent'])[1 + g % 3], g % 120, \
                'note ' || g FROM generate_series(1, 600) g";
    database.execute(seed).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = streaming(&database, folder.path(), &change).await;
    let plan = || with_documents(&daemon, folder.path(), "plan", &documents());
    let known = async || (plan().0 != Some(2)).then_some(());
    eventually("the table has its topic", known).await;
    let (code, said) = plan();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("+ Pipeline paid") && said.contains("6 would be created"), "{said}");
    let said = applied(&daemon, folder.path(), &documents());
    assert!(said.contains("+ Pipeline most (revision 1)"), "{said}");
    assert_eq!(with_documents(&daemon, folder.path(), "plan", &documents()).0, Some(0));
    all_equal(&daemon, &database).await;

    // Rows that enter and leave each filter, while it is killed.
    for round in 0..4 {
        database
            .execute(&format!(
                "UPDATE orders SET status = 'paid' WHERE id % 7 = {round};
                 UPDATE orders SET qty = qty + 40 WHERE id % 5 = {round};
                 UPDATE orders SET status = 'open' WHERE id % 11 = {round};
                 DELETE FROM orders WHERE id % 13 = {round};
                 UPDATE orders SET id = id + 10000 WHERE id % 17 = {round} AND id < 10000;
                 INSERT INTO orders SELECT g, 'paid', g % 120, NULL
                 FROM generate_series({round} * 50 + 20000, {round} * 50 + 20049) g"
            ))
            .await;
        daemon.kill();
        daemon = streaming(&database, folder.path(), &change).await;
    }
    all_equal(&daemon, &database).await;
    for (name, ..) in PIPELINES {
        is(&daemon, name, "running").await;
    }
    let lineage = daemon.command(&["lineage", "mesh.most", "more"]);
    let lineage = String::from_utf8(lineage.stdout).unwrap();
    assert!(lineage.contains("shop.public.orders: qty"), "{lineage}");
    let metrics = get(&format!("{}/metrics", daemon.url)).await;
    assert!(metrics.contains("tidemesh_pipeline_state{pipeline=\"most\",state=\"running\"} 1"));
    assert!(daemon.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_pipelines_that_share_topics_are_what_the_database_says() {
    five_pipelines_that_share_topics(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_pipelines_over_kafka_are_what_the_database_says() {
    five_pipelines_that_share_topics(|config| on_kafka(config, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_flows_on_and_one_that_is_gone_holds_who_reads_it() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders VALUES (1, 'paid', 7, 'a')").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), str::to_owned).await;
    let all = pipeline("all", "shop.public.orders", "SELECT * FROM rows");
    let again = pipeline("again", "mesh.all", "SELECT * FROM rows");
    let some = pipeline("some", "shop.public.orders", "SELECT id, qty FROM rows");
    let noted = pipeline("noted", "shop.public.orders", "SELECT id, note FROM rows");
    eventually("the table has its topic", async || {
        let (code, _) = with_documents(
            &daemon,
            folder.path(),
            "apply",
            &[&*all, &again, &some, &noted].join("---\n"),
        );
        (code == Some(0)).then_some(())
    })
    .await;
    equals(&daemon, "mesh.again", &rows(&database, "SELECT * FROM orders").await).await;
    database
        .execute(
            "ALTER TABLE orders ADD COLUMN colour text;
             INSERT INTO orders VALUES (2, 'open', 8, 'b', 'red')",
        )
        .await;
    equals(&daemon, "mesh.some", &rows(&database, "SELECT id, qty FROM orders").await).await;
    eventually("the new column is in the second topic", async || {
        database.execute("UPDATE orders SET qty = qty + 1 WHERE id = 2").await;
        let found = crate::support::topic::records(&daemon, "mesh.again");
        found.iter().any(|one| one["value"]["after"]["colour"] == "red").then_some(())
    })
    .await;

    database
        .execute(
            "ALTER TABLE orders DROP COLUMN note; UPDATE orders SET qty = qty + 1 WHERE id = 1",
        )
        .await;
    let held = is(&daemon, "noted", "held").await;
    assert!(held["reasons"].to_string().contains("note"), "{held}");
    keeps_tombstones(&daemon, "shop.public.orders", "for who waits", |ms| ms > 86_400_000).await;
    // Avro's resolution would make a null of what is gone.
    let noted = crate::support::topic::fold(&crate::support::topic::records(&daemon, "mesh.noted"));
    assert!(noted.values().all(|row| !row["note"].is_null()), "{noted:?}");
    equals(&daemon, "mesh.some", &rows(&database, "SELECT id, qty FROM orders").await).await;
    // Mended, it goes on.
    applied(
        &daemon,
        folder.path(),
        &pipeline("noted", "shop.public.orders", "SELECT id, status AS note FROM rows"),
    );
    is(&daemon, "noted", "running").await;
    let sql = "SELECT id, status AS note FROM orders";
    database.execute("UPDATE orders SET qty = qty + 1").await;
    equals(&daemon, "mesh.noted", &rows(&database, sql).await).await;
    keeps_tombstones(&daemon, "shop.public.orders", "as before", |ms| ms == 86_400_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_life_by_the_command_line() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders VALUES (1, 'paid', 7, 'a')").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), str::to_owned).await;
    let first = pipeline("paid", "shop.public.orders", "SELECT id, qty FROM rows");
    eventually("the table has its topic", async || {
        (with_documents(&daemon, folder.path(), "apply", &first).0 == Some(0)).then_some(())
    })
    .await;
    let bad = pipeline("paid", "shop.public.orders", "SELECT id, colour FROM rows");
    let (code, said) = with_documents(&daemon, folder.path(), "apply", &bad);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("mesh.yaml:9:20: Pipeline paid: spec.processors[0].sql"), "{said}");
    let second = pipeline("paid", "shop.public.orders", "SELECT id, qty + 1 AS qty FROM rows");
    let said = applied(&daemon, folder.path(), &second);
    assert!(said.contains("~ spec.processors[made].sql:"), "{said}");
    let out = |arguments: &[&str]| {
        let output = daemon.command(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(out(&["get", "pipelines"]).contains("sales                paid"));
    assert!(out(&["describe", "pipeline", "paid"]).contains("writes mesh.paid: id, qty"));
    out(&["pause", "paid"]);
    is(&daemon, "paid", "paused").await;
    out(&["resume", "paid"]);
    is(&daemon, "paid", "running").await;
    assert!(out(&["rollback", "pipeline", "paid", "--to", "1"]).contains("(revision 3)"));
    let history = out(&["history", "pipeline", "paid"]);
    assert!(history.contains("rolled back to 1"), "{history}");
    // What is printed can be applied.
    let printed = out(&["get", "pipeline", "paid"]);
    let said = applied(&daemon, folder.path(), &printed);
    assert!(said.contains("Nothing has changed."), "{said}");
    assert!(out(&["delete", "pipeline", "paid"]).contains("- Pipeline paid"));
    let gone = daemon.command(&["describe", "pipeline", "paid"]);
    assert_eq!(gone.status.code(), Some(2));
}
