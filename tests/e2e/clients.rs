//! Registry clients that are not ours, against the registry of a running daemon. What each checks is
//! in `tests/clients/`; each runs all its checks, and names those that fail. Readers of topics, and
//! `schema_registry_converter`, are in `readers.rs`.

use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::flink::Session;
use crate::support::kafka;
use crate::support::readers::variable;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;

/// A daemon that has a registry and nothing else.
const ALONE: &str = "data_dir = \"data\"\nregistry.listen = \"127.0.0.1:0\"\n\
                     control.listen = \"127.0.0.1:0\"\ndata.listen = \"127.0.0.1:0\"\n";

async fn registry() -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Daemon::up(folder.path(), ALONE).await, folder)
}

/// A file of `tests/clients/`.
fn program(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a client's program to its end: none of its checks fails.
fn passes(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{error}", output.status);
    let passed = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(passed > 0, "{command:?} checked nothing\n{said}{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn confluent_kafka_works() {
    let (daemon, _folder) = registry().await;
    let mut command = Command::new(variable("TIDEMESH_TEST_PYTHON"));
    passes(command.arg(program("confluent.py")).args([&daemon.registry, &kafka::shared()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn confluents_client_for_node_works() {
    let (daemon, _folder) = registry().await;
    let mut command = Command::new("node");
    let modules = variable("TIDEMESH_TEST_NODE_MODULES");
    passes(command.env("NODE_PATH", modules).arg(program("node/check.js")).arg(&daemon.registry));
}

#[tokio::test(flavor = "multi_thread")]
async fn franz_go_works() {
    let (daemon, _folder) = registry().await;
    passes(Command::new(variable("TIDEMESH_TEST_GO_CLIENT")).arg(&daemon.registry));
}

/// What the document promises is what the server does, by schemathesis.
pub(crate) fn is_as_its_document_says(server: &str, url: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/openapi-check");
    let output = Command::new(script).args([server, url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{error}", output.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_answers_as_its_openapi_document_says() {
    let (daemon, _folder) = registry().await;
    is_as_its_document_says("registry", &daemon.registry);
}

/// Runs a command that has to be done.
fn done(daemon: &Daemon, arguments: &[&str]) {
    let output = daemon.command(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
}

/// Gives the registry the schemas of a table's topic, which nobody has made.
fn register_orders(daemon: &Daemon, folder: &Path, columns: &[&str]) {
    let key = json!({"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]});
    let text = |name: &&str| json!({"name": name, "type": ["null", "string"], "default": null});
    let mut fields = vec![json!({"name": "id", "type": "long"})];
    fields.extend(columns.iter().map(text));
    let row = json!({"type": "record", "name": "Value", "fields": fields});
    let envelope = json!({"type": "record", "name": "Envelope", "fields": [
        {"name": "before", "type": ["null", row], "default": null},
        {"name": "after", "type": ["null", "Value"], "default": null},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": null},
    ]});
    for (side, schema) in [("key", key), ("value", envelope)] {
        let file = folder.join(format!("{side}.avsc"));
        std::fs::write(&file, schema.to_string()).unwrap();
        let subject = format!("shop.public.orders-{side}");
        done(daemon, &["schema", "register", &subject, file.to_str().unwrap()]);
    }
}

/// Beside pipelines that there are: two that wait for their topic, which only the registry knows, of which
/// one has been upgraded, and one that reads what the other writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_answers_as_its_openapi_document_says() {
    let (daemon, folder) = registry().await;
    register_orders(&daemon, folder.path(), &["status", "qty"]);
    let pipeline = |name: &str, input: &str, sql: &str| {
        format!(
            "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}, owner: sales}}\nspec:\n  \
             inputs: {{orders: {input}}}\n  processors:\n    - name: some\n      sql: {sql}\n      \
             tap: tap.{name}\n  sinks: [{{name: out, from: some, kafka: {{topic: mesh.{name}}}}}]\n"
        )
    };
    let some = "SELECT id, upper(qty) AS qty FROM orders WHERE qty = 'paid'";
    let file = folder.path().join("mesh.yaml");
    let documents = [
        pipeline("paid", "shop.public.orders", some),
        pipeline("all", "shop.public.orders", "SELECT * FROM orders"),
        pipeline("kept", "mesh.paid", some),
    ];
    std::fs::write(&file, documents.join("---\n")).unwrap();
    done(&daemon, &["apply", "--by", "ann", "-f", file.to_str().unwrap()]);
    done(&daemon, &["delete", "pipeline", "kept"]);
    done(&daemon, &["rollback", "pipeline", "kept", "--to", "1"]);
    register_orders(&daemon, folder.path(), &["status", "qty", "note"]);
    eventually("the new column is taken", async || {
        let upgrades = daemon.command(&["upgrades", "all"]).stdout;
        String::from_utf8_lossy(&upgrades).contains("upgraded").then_some(())
    })
    .await;
    is_as_its_document_says("controller", &daemon.url);
}

/// Flink makes a table's schemas by itself when it first writes to it, and finds them when it reads.
#[tokio::test(flavor = "multi_thread")]
async fn flink_registers_what_it_writes_and_reads_it_back() {
    let (daemon, _folder) = registry().await;
    let topic = format!("flink{}", std::process::id());
    let table = |name: &str, columns: &str| {
        format!(
            "CREATE TABLE {name} ({columns}) WITH ('connector' = 'kafka', 'topic' = '{topic}',
             'properties.bootstrap.servers' = '{servers}', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
             'key.format' = 'avro-confluent', 'key.fields' = 'id',
             'key.avro-confluent.url' = '{registry}', 'value.format' = 'avro-confluent',
             'value.avro-confluent.url' = '{registry}')",
            servers = kafka::shared(),
            registry = daemon.registry
        )
    };
    kafka::create_topic(&topic).await;
    let session = Session::open().await;
    // Else an INSERT is done as soon as its job has begun.
    session.run("SET 'table.dml-sync' = 'true'").await.unwrap();
    let columns = "id BIGINT NOT NULL, note STRING, price DECIMAL(10, 2), made TIMESTAMP(3),
                   tags ARRAY<STRING>, place ROW<street STRING, nr INT>";
    session.run(&table("orders", columns)).await.unwrap();
    let rows =
        "(1, 'ä', 12.34, TIMESTAMP '2024-02-29 01:02:03.456', ARRAY['a', 'b'], ROW('Long', 7)),
                (2, CAST(NULL AS STRING), 0.01, TIMESTAMP '1969-12-31 23:59:59.999',
                 ARRAY['c'], ROW('Short', 8))";
    session.run(&format!("INSERT INTO orders VALUES {rows}")).await.unwrap();

    for side in ["key", "value"] {
        let latest = format!("{}/subjects/{topic}-{side}/versions/latest", daemon.registry);
        let latest: Json = reqwest::get(latest).await.unwrap().json().await.unwrap();
        assert_eq!(latest["version"], 1, "{latest}");
        assert!(latest["schema"].as_str().unwrap().contains("\"id\""), "{latest}");
    }
    // Newer columns make a second version; rows of the first are read by it.
    let newer = format!("{columns}, more STRING");
    session.run(&table("newer", &newer)).await.unwrap();
    let row = "(3, 'c', 3.00, TIMESTAMP '2024-01-01 00:00:00', ARRAY['d'], ROW('Wide', 9), 'new')";
    session.run(&format!("INSERT INTO newer VALUES {row}")).await.unwrap();
    let versions = format!("{}/subjects/{topic}-value/versions", daemon.registry);
    let versions: Json = reqwest::get(versions).await.unwrap().json().await.unwrap();
    assert_eq!(versions, json!([1, 2]));

    let read = "SELECT id, note, CAST(price AS STRING), CAST(made AS STRING), tags, place.nr, more
                FROM newer";
    let changes = session.run(read).await.unwrap();
    let mut cells: Vec<Json> = changes.into_iter().map(|change| json!(change.cells)).collect();
    cells.sort_by_key(|row| row[0].as_i64());
    let expected = [
        json!([1, "ä", "12.34", "2024-02-29 01:02:03.456", ["a", "b"], 7, null]),
        json!([2, null, "0.01", "1969-12-31 23:59:59.999", ["c"], 8, null]),
        json!([3, "c", "3.00", "2024-01-01 00:00:00.000", ["d"], 9, "new"]),
    ];
    assert_eq!(cells, expected);
}
