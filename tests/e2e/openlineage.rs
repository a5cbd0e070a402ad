//! What is told of lineage is taken by OpenLineage's own client.

use crate::operations::get;
use crate::pipelines::{applied, pipeline, streaming, with_documents};
use crate::support::eventually;
use crate::support::postgres::{Database, variable};
use std::io::Write as _;
use std::process::{Command, Stdio};

const TABLE: &str = "CREATE TYPE place AS (city text, zip text);
    CREATE TABLE orders (id bigint PRIMARY KEY, status text, qty int, home place)";

/// What OpenLineage's Python client makes of an event.
fn taken(event: &str) -> Result<String, String> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers/lineage_client.py");
    let mut child = Command::new(variable("TIDEMESH_TEST_PYTHON"))
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the interpreter of TIDEMESH_TEST_PYTHON starts");
    child.stdin.take().unwrap().write_all(event.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_takes_the_events() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), str::to_owned).await;
    let sql = "SELECT id, upper(status) AS status, CASE WHEN qty > 5 THEN qty::bigint END AS some, \
               (home).city FROM rows WHERE qty > 0";
    let made = pipeline("made", "shop.public.orders", sql);
    let made = made.replace("owner: sales", "owner: sales, description: What is sold");
    let next = pipeline("next", "mesh.made", "SELECT *, md5(status) AS mark FROM rows");
    let texts = [made, next].join("---\n");
    eventually("the table has its topic", async || {
        (with_documents(&daemon, folder.path(), "plan", &texts).0 != Some(2)).then_some(())
    })
    .await;
    applied(&daemon, folder.path(), &texts);
    let event =
        async |name: &str| get(&format!("{}/v1/pipelines/{name}/openlineage", daemon.url)).await;
    assert_eq!(taken(&event("made").await).as_deref(), Ok("4"));
    let event = event("next").await;
    assert_eq!(taken(&event).as_deref(), Ok("5"));
    let wrong = event.replace("\"inputFields\"", "\"inputField\"");
    assert!(taken(&wrong).unwrap_err().contains("the client knows no"));
}
