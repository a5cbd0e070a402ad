//! A plan that is tried before it takes the place of another one: what speaks against it, and that nothing
//! is written.

use crate::support::job::{Mesh, SQL, USUAL};
use crate::support::plan;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tidemesh_model::ErrorKind;
use tidemesh_processors::{PipelineJob, Progress, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport, Transport};
use tokio::sync::watch;
use tokio::time::Instant;

type Orders = Mesh<EmbeddedTransport>;

async fn open(folder: &std::path::Path) -> Orders {
    Mesh::open(EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()).await
}

fn row(id: u64, note: &str) -> (&'static str, Json, Json) {
    ("c", Json::Null, json!({"id": id, "note": note, "status": "paid", "qty": 1}))
}

async fn tried(mesh: &Orders, running: &PipelineJob, next: &PipelineJob) -> Option<String> {
    next.canary(Some(running), &mesh.log, &mesh.registry, Instant::now()).await.unwrap()
}

/// Orders as they are with a column `colour`.
fn with_colour() -> tidemesh_plan::query::Input {
    let colour = r#"{"name":"colour","type":["null","string"],"default":null},{"name":"note""#;
    let orders = plan::ORDERS.replacen(r#"{"name":"note""#, colour, 1);
    plan::input("orders", plan::key(&["id"]), plan::envelope(&orders))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_only_the_new_plan_fails_on_speaks_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    mesh.append(&[row(1, "5"), row(2, "five"), row(3, "7")]).await;
    let running = mesh.job("SELECT id, note FROM orders", USUAL);
    let next = mesh.job("SELECT id, note::int AS note FROM orders", USUAL);
    let why = tried(&mesh, &running, &next).await.unwrap();
    assert!(why.starts_with("1 of the records") && why.contains("shop.orders"), "{why}");
    assert!(!why.contains("five"), "a value is told: {why}");
    let other = mesh.job("SELECT id, note::int + 1 AS note FROM orders", USUAL);
    assert_eq!(tried(&mesh, &next, &other).await, None, "it failed before");
    assert_eq!(tried(&mesh, &running, &running).await, None);
    let alone = next.canary(None, &mesh.log, &mesh.registry, Instant::now()).await.unwrap();
    assert_eq!(alone, None, "two of three pass, and nothing is there to compare with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    mesh.append(&[row(1, "5")]).await;
    let before = mesh.registry.0.lock().unwrap().len();
    let job = mesh.job(SQL, ("", "  on_error: dead_letter\n  dead_letter_topic: mesh.dead"));
    assert_eq!(tried(&mesh, &job, &job).await, None);
    assert!(mesh.log.committed(&job.id()).await.unwrap().is_empty());
    for topic in ["mesh.paid", "mesh.dead"] {
        assert_eq!(mesh.log.topic(topic).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(mesh.registry.0.lock().unwrap().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_field_is_tried_with_each_kind_of_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut mesh = open(folder.path()).await;
    mesh.append(&[row(1, "5")]).await;
    let running = mesh.job("SELECT id, note FROM orders", USUAL);
    mesh.changed("shop.orders", with_colour());
    let divides = "SELECT id, note, 1 / length(colour) AS share FROM orders";
    let why = tried(&mesh, &running, &mesh.job(divides, USUAL)).await.unwrap();
    assert!(why.contains("a row with colour = string"), "{why}");
    let takes = mesh.job("SELECT id, note, length(colour) AS long FROM orders", USUAL);
    assert_eq!(tried(&mesh, &running, &takes).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_record_all_of_one_is_made_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut mesh = open(folder.path()).await;
    let running = mesh.job("SELECT id, note FROM orders", USUAL);
    mesh.changed("shop.orders", with_colour());
    let next = mesh.job("SELECT id, note, 1 / length(colour) AS share FROM orders", USUAL);
    let why = tried(&mesh, &running, &next).await.unwrap();
    assert!(why.contains("a row with colour = string"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_record_of_a_new_schema_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut mesh = open(folder.path()).await;
    mesh.append(&[row(1, "5")]).await;
    let running = mesh.job("SELECT id, note FROM orders", USUAL);
    mesh.changed("shop.orders", with_colour());
    let next = mesh.job("SELECT id, note, 4 / (length(colour) - 3) AS share FROM orders", USUAL);
    let red = ("u", Json::Null, json!({"id": 1, "colour": "red"}));
    let comes = async {
        // A connector registers a schema, and then writes a record of it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        mesh.append(&[red]).await;
    };
    let (why, ()) = tokio::join!(tried(&mesh, &running, &next), comes);
    let why = why.unwrap();
    assert!(why.contains("shop.orders, partition"), "{why}");
    let began = Instant::now();
    tried(&mesh, &running, &next).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_waited_for_once_for_all_plans_that_are_tried_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut mesh = open(folder.path()).await;
    mesh.append(&[row(1, "5")]).await;
    let running = mesh.job("SELECT id, note FROM orders", USUAL);
    mesh.changed("shop.orders", with_colour());
    let next = mesh.job("SELECT id, note, colour FROM orders", USUAL);
    let since = Instant::now();
    let mut waited = Vec::new();
    for _ in 0..2 {
        let began = Instant::now();
        let why = next.canary(Some(&running), &mesh.log, &mesh.registry, since).await.unwrap();
        assert_eq!(why, None);
        waited.push(began.elapsed());
    }
    assert!(waited[0] >= Duration::from_secs(1), "no record of it has come: {waited:?}");
    assert!(waited[1] < Duration::from_secs(1), "the second waits anew: {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_far_from_where_the_pipeline_stands_are_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    mesh.append(&[row(1, "five")]).await;
    let many: Vec<_> = (0..9_000).map(|id| row(id, "5")).collect();
    mesh.append(&many).await;
    let running = mesh.job("SELECT id, note FROM orders", USUAL);
    let next = mesh.job("SELECT id, note::int AS note FROM orders", USUAL);
    assert!(tried(&mesh, &running, &next).await.is_some(), "it stands at the beginning");
    let (stop, stopped) = watch::channel(Until::Told);
    let progress = Progress::default();
    let run = running.run(&mesh.log, &mesh.registry, &progress, stopped);
    let ends = async {
        mesh.caught_up(&running).await;
        stop.send(Until::Now).unwrap();
    };
    let (ended, ()) = tokio::join!(run, ends);
    ended.unwrap();
    assert_eq!(tried(&mesh, &running, &next).await, None, "it is far behind");
}
