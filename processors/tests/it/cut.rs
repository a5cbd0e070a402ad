//! Jobs that end between two records: at a cut, and before a record that they cannot read.

use crate::support::job::{Mesh, SQL, USUAL};
use crate::support::plan::{ORDERS, envelope};
use serde_json::{Value as Json, json};
use std::path::Path;
use tidemesh_processors::{Ended, PipelineJob, Progress, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport, Transport};
use tokio::sync::watch;

async fn open(folder: &Path) -> Mesh<EmbeddedTransport> {
    Mesh::open(EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()).await
}

fn paid(id: u64) -> (&'static str, Json, Json) {
    ("c", Json::Null, json!({"id": id, "status": "paid", "qty": id}))
}

async fn run(mesh: &Mesh<EmbeddedTransport>, job: &PipelineJob, until: Until) -> Ended {
    let (_until, until) = watch::channel(until);
    job.run(&mesh.log, &mesh.registry, &Progress::default(), until).await.unwrap()
}

async fn ids(mesh: &Mesh<EmbeddedTransport>) -> Vec<u64> {
    let records = mesh.records("mesh.paid").await;
    let mut ids: Vec<u64> = records.iter().map(|(key, _)| key["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_at_its_cut_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&(0..100).map(paid).collect::<Vec<_>>()).await;
    let ends = mesh.ends();
    mesh.append(&(100..200).map(paid).collect::<Vec<_>>()).await;
    let told = Until::Cut(ends.clone());
    assert!(matches!(run(&mesh, &job, told.clone()).await, Ended::AtCut));
    assert_eq!(ids(&mesh).await, (0..100).collect::<Vec<_>>());
    assert_eq!(mesh.log.committed(&job.id()).await.unwrap(), ends.clone());
    // It is there already, and also if the cut is one that lies behind it.
    assert!(matches!(run(&mesh, &job, told).await, Ended::AtCut));
    let before = ends.keys().cloned().map(|place| (place, 1)).collect();
    assert!(matches!(run(&mesh, &job, Until::Cut(before)).await, Ended::AtCut));
    assert_eq!(mesh.log.committed(&job.id()).await.unwrap(), ends.clone());
    assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await, Ended::AtCut));
    assert_eq!(ids(&mesh).await, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_among_records_to_come_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&(0..30).map(paid).collect::<Vec<_>>()).await;
    let more: Vec<_> = (30..60).map(paid).collect();
    let mut ends = mesh.ends();
    ends.values_mut().for_each(|end| *end += 3);
    let (until, told) = watch::channel(Until::Told);
    let progress = Progress::default();
    let running = job.run(&mesh.log, &mesh.registry, &progress, told);
    let telling = async {
        mesh.caught_up(&job).await;
        until.send(Until::Cut(ends.clone())).unwrap();
        tokio::task::yield_now().await;
        mesh.append(&more).await;
    };
    let (ended, ()) = tokio::join!(running, telling);
    assert!(matches!(ended.unwrap(), Ended::AtCut));
    assert_eq!(mesh.log.committed(&job.id()).await.unwrap(), ends.clone());
    assert_eq!(ids(&mesh).await.len(), 39);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_before_a_record_that_its_plan_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&(0..20).map(paid).collect::<Vec<_>>()).await;
    let ends = mesh.ends();
    let other = ORDERS.replace(
        r#"{"name":"status","type":["null","string"]"#,
        r#"{"name":"status","type":["null","int"]"#,
    );
    let odd = ("c", Json::Null, json!({"id": 20, "status": 1, "qty": 1}));
    mesh.append_as("shop.orders", &envelope(&other), &[odd]).await;
    mesh.append(&(21..40).map(paid).collect::<Vec<_>>()).await;
    for _ in 0..2 {
        let Ended::Cannot(cannot) = run(&mesh, &job, Until::Told).await else {
            panic!("it goes on");
        };
        assert_eq!(cannot.topic, "shop.orders");
        let place = (cannot.topic.clone(), cannot.partition);
        assert_eq!(ends[&place], cannot.offset, "{cannot:?}");
        assert!(mesh.registry.0.lock().unwrap()[cannot.schema_id as usize].contains("\"int\""));
        let committed = mesh.log.committed(&job.id()).await.unwrap();
        assert_eq!(committed[&place], cannot.offset);
        let ids = ids(&mesh).await;
        assert!((0..20).all(|id| ids.contains(&id)) && !ids.contains(&20), "{ids:?}");
        // The others are drained to where they shall be held.
        let rest = Until::Cut(mesh.ends());
        assert!(matches!(run(&mesh, &job, rest).await, Ended::Cannot(_)));
    }
}
