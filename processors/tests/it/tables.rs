//! Jobs that look rows up: tables that are loaded before the first record, and followed.

use crate::support::job::{Mesh, Numbers, cut_at_the_ends};
use crate::support::plan::{CUSTOMERS, envelope};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tidemesh_model::ErrorKind;
use tidemesh_processors::{Ended, PipelineJob, Progress, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport, Transport};
use tokio::sync::watch;

async fn open(folder: &Path) -> Mesh<EmbeddedTransport> {
    Mesh::open(EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()).await
}

const SPEC: &str = "  inputs:
    orders: shop.orders
    customers: {topic: shop.customers, lookup: true}
  processors:
    - name: named
      sql: SELECT o.id, o.qty, c.tier FROM orders o LEFT JOIN customers c ON c.id = o.customer_id
  sinks: [{name: out, from: named, kafka: {topic: mesh.named, cleanup_policy: delete}}]
";

fn job(mesh: &Mesh<EmbeddedTransport>) -> PipelineJob {
    PipelineJob::new(&mesh.plan(SPEC)).unwrap()
}

fn order(id: u64, customer: u64) -> (&'static str, Json, Json) {
    ("c", Json::Null, json!({"id": id, "qty": id, "customer_id": customer}))
}

fn customer(id: u64, tier: u64) -> (&'static str, Json, Json) {
    ("r", Json::Null, json!({"id": id, "tier": tier}))
}

async fn run(mesh: &Mesh<EmbeddedTransport>, job: &PipelineJob, until: Until) -> Ended {
    let (_until, until) = watch::channel(until);
    job.run(&mesh.log, &mesh.registry, &Progress::default(), until).await.unwrap()
}

/// The tiers that each order was written with, in order.
async fn tiers(mesh: &Mesh<EmbeddedTransport>) -> BTreeMap<u64, Vec<Json>> {
    let mut tiers: BTreeMap<u64, Vec<Json>> = BTreeMap::new();
    for (key, value) in mesh.records("mesh.named").await {
        let id = key["id"].as_u64().unwrap();
        tiers.entry(id).or_default().push(value["after"]["tier"].clone());
    }
    tiers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_loaded_before_the_first_record_and_again_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = job(&mesh);
    mesh.append(&[order(1, 7), order(2, 8)]).await;
    mesh.append_to("shop.customers", &[customer(7, 1), customer(7, 2), customer(9, 1)]).await;
    assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
    let mut committed = mesh.log.committed(&job.id()).await.unwrap();
    // Where it begins in an empty partition is kept too.
    committed.retain(|_, offset| *offset > 0);
    assert_eq!(committed, mesh.ends());
    mesh.append(&[order(3, 7), order(4, 9)]).await;
    let gone = ("d", json!({"id": 9}), Json::Null);
    mesh.append_to("shop.customers", &[customer(7, 3), gone]).await;
    assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
    let expected = [(1, json!(2)), (2, Json::Null), (3, json!(3)), (4, Json::Null)];
    let expected = expected.into_iter().map(|(id, tier)| (id, vec![tier])).collect();
    assert_eq!(tiers(&mesh).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_is_written_once_however_often_the_job_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(open(folder.path()).await);
    let job = job(&mesh);
    let mut numbers = Numbers(11);
    mesh.append_to("shop.customers", &[customer(0, 0)]).await;
    let (mut orders, mut newest) = (0, 0);
    for _ in 0..25 {
        let (_until, until) = watch::channel(Until::Told);
        let (running, of) = (job.clone(), mesh.clone());
        let run =
            async move { running.run(&of.log, &of.registry, &Progress::default(), until).await };
        let mut running = tokio::spawn(run);
        for _ in 0..numbers.below(6) {
            let more: Vec<_> =
                (orders..orders + numbers.below(40)).map(|id| order(id, 0)).collect();
            orders += more.len() as u64;
            newest += 1;
            mesh.append_to("shop.customers", &[customer(0, newest)]).await;
            mesh.append(&more).await;
        }
        if numbers.below(3) == 0 {
            tokio::select! {
                () = mesh.caught_up(&job) => {}
                ended = &mut running => panic!("the job ended: {ended:?}"),
            }
        }
        running.abort();
        let ended = running.await;
        assert!(!matches!(ended, Ok(Err(_))), "{ended:?}");
    }
    assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
    let tiers = tiers(&mesh).await;
    assert_eq!(tiers.len() as u64, orders);
    let of_orders: Vec<u64> = tiers.values().map(|tiers| tiers[0].as_u64().unwrap()).collect();
    assert!(tiers.values().all(|tiers| tiers.len() == 1), "a record was written twice");
    assert!(of_orders.iter().all(|tier| *tier <= newest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_can_be_read_and_looked_up_in() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let plan = mesh.plan(
        "  inputs: {orders: shop.orders, known: {topic: shop.orders, lookup: true}}
  processors:
    - {name: named, sql: \"SELECT o.id, k.qty AS tier FROM orders o JOIN known k ON k.id = o.customer_id\"}
  sinks: [{name: out, from: named, kafka: {topic: mesh.named, cleanup_policy: delete}}]
",
    );
    let job = PipelineJob::new(&plan).unwrap();
    for ids in [0..30, 30..60] {
        mesh.append(&ids.map(|id| order(id, id / 2)).collect::<Vec<_>>()).await;
        assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
        assert_eq!(mesh.log.committed(&job.id()).await.unwrap(), mesh.ends());
    }
    let expected = (0..60).map(|id| (id, vec![json!(id / 2)])).collect();
    assert_eq!(tiers(&mesh).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookups_record_that_cannot_be_read_holds_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = job(&mesh);
    mesh.append(&[order(1, 7)]).await;
    mesh.append_to("shop.customers", &[customer(7, 1)]).await;
    assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
    let before = mesh.ends();
    let other = CUSTOMERS.replace(
        r#"{"name":"tier","type":["null","int"]"#,
        r#"{"name":"tier","type":["null","string"]"#,
    );
    let odd = ("r", Json::Null, json!({"id": 7, "tier": "gold"}));
    mesh.append_as("shop.customers", &envelope(&other), &[odd]).await;
    mesh.append(&[order(2, 7)]).await;
    let Ended::Cannot(cannot) = run(&mesh, &job, Until::Told).await else { panic!("it goes on") };
    let place = (cannot.topic, cannot.partition);
    assert_eq!((place.0.as_str(), cannot.offset), ("shop.customers", before[&place]));
    // Told to go no further than there, it takes all that is before.
    let mut ends = mesh.ends();
    ends.insert(place, cannot.offset);
    assert!(matches!(run(&mesh, &job, Until::Cut(ends)).await, Ended::AtCut));
    assert_eq!(tiers(&mesh).await, [(1, vec![json!(1)]), (2, vec![json!(1)])].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_too_large_ends_the_job_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let rows: Vec<_> = (0..100).map(|id| customer(id, 1)).collect();
    mesh.append_to("shop.customers", &rows).await;
    let job = job(&mesh).lookup_bytes_max(1000);
    let (_until, until) = watch::channel(Until::Told);
    let ran = job.run(&mesh.log, &mesh.registry, &Progress::default(), until).await;
    let error = ran.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.report();
    for told in ["lookup_bytes_max=1000", "topic=shop.customers", "pipeline=paid", "raise"] {
        assert!(text.contains(told), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_looks_rows_up_ends_where_its_topics_end() {
    let folder = tempfile::tempdir().unwrap();
    cut_at_the_ends(open(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookups_record_that_cannot_be_read_is_set_aside_once() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let spec = format!("{SPEC}  on_error: dead_letter\n  dead_letter_topic: mesh.dead\n");
    let job = PipelineJob::new(&mesh.plan(&spec)).unwrap();
    let customers = [customer(7, 1), customer(8, 2)];
    mesh.append_to("shop.customers", &customers).await;
    mesh.append_bytes("shop.customers", &[0, 0, 0, 0, 0, 14], &[7, 7]).await;
    for id in [1, 2] {
        mesh.append(&[order(id, 7)]).await;
        assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
    }
    let dead = mesh.log.topic("mesh.dead").await.unwrap();
    assert_eq!(dead.partitions.iter().map(|partition| partition.end).sum::<u64>(), 1);
    assert_eq!(tiers(&mesh).await, [(1, vec![json!(1)]), (2, vec![json!(1)])].into());
}
