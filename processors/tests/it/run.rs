//! Jobs over the embedded log: exactly once, whatever stops them.

use crate::support::job::{Mesh, SQL, USUAL, killed};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemesh_model::ErrorKind;
use tidemesh_processors::{Progress, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport};
use tokio::sync::watch;

async fn open(folder: &Path) -> Mesh<EmbeddedTransport> {
    Mesh::open(EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_has_its_effect_once_however_often_the_job_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    killed(open(folder.path()).await, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_taken_over_from_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(open(folder.path()).await);
    let job = mesh.job(SQL, USUAL);
    let start = |mesh: &Arc<Mesh<EmbeddedTransport>>| {
        let (job, mesh) = (job.clone(), mesh.clone());
        let (stop, stopped) = watch::channel(Until::Told);
        let progress = Progress::default();
        let run = async move { job.run(&mesh.log, &mesh.registry, &progress, stopped).await };
        (stop, tokio::spawn(run))
    };
    let (_first_stop, first) = start(&mesh);
    mesh.append(&[("c", Json::Null, json!({"id": 1, "status": "paid", "qty": 1}))]).await;
    mesh.caught_up(&job).await;
    let (stop, second) = start(&mesh);
    // The first may still be the one that takes a record, until the second has taken over.
    let mut rows = 1;
    while !first.is_finished() {
        rows += 1;
        mesh.append(&[("c", Json::Null, json!({"id": rows, "status": "paid", "qty": 2}))]).await;
        mesh.caught_up(&job).await;
    }
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    mesh.caught_up(&job).await;
    stop.send(Until::Now).unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(mesh.records("mesh.paid").await.len(), rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_processed_stops_the_job_or_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(open(folder.path()).await);
    let sql = "SELECT id, note::int AS n FROM orders";
    let row = |id: u64, note: &str| ("c", Json::Null, json!({"id": id, "note": note}));
    mesh.append(&[row(1, "5"), row(2, "five"), row(3, "7")]).await;
    let job = mesh.job(sql, USUAL);
    let (_stop, stopped) = watch::channel(Until::Told);
    let progress = Progress::default();
    let error = job.run(&mesh.log, &mesh.registry, &progress, stopped).await.unwrap_err();
    let text = error.report();
    assert!(text.contains("topic=shop.orders") && text.contains("offset="), "{text}");
    assert!(!text.contains("five"), "a value is told: {text}");
    let job = mesh.job(sql, ("", "  on_error: dead_letter\n  dead_letter_topic: mesh.dead"));
    let (stop, stopped) = watch::channel(Until::Told);
    let of = mesh.clone();
    let last = job.clone();
    let told = Arc::new(Progress::default());
    let progress = told.clone();
    let running =
        tokio::spawn(async move { last.run(&of.log, &of.registry, &progress, stopped).await });
    mesh.caught_up(&job).await;
    stop.send(Until::Now).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(mesh.records("mesh.paid").await.len(), 2);
    let dead = mesh.records("mesh.dead").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].1["after"]["note"], "five");
    assert_eq!(told.dead_letters.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_begins_once_behind_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(open(folder.path()).await);
    let row = |id: u64| ("c", Json::Null, json!({"id": id, "status": "paid", "qty": id}));
    mesh.append(&[row(1)]).await;
    let job = mesh.job(SQL, (", start: latest", ""));
    for id in [2, 3] {
        let (stop, stopped) = watch::channel(Until::Told);
        let (last, of) = (job.clone(), mesh.clone());
        let progress = Progress::default();
        let running =
            tokio::spawn(async move { last.run(&of.log, &of.registry, &progress, stopped).await });
        mesh.caught_up(&job).await;
        mesh.append(&[row(id)]).await;
        mesh.caught_up(&job).await;
        stop.send(Until::Now).unwrap();
        running.await.unwrap().unwrap();
        // What comes while no job runs is not passed over at the next start.
        mesh.append(&[row(id * 10)]).await;
    }
    let (stop, stopped) = watch::channel(Until::Told);
    let (last, of) = (job.clone(), mesh.clone());
    let running = tokio::spawn(async move {
        last.run(&of.log, &of.registry, &Progress::default(), stopped).await
    });
    mesh.caught_up(&job).await;
    stop.send(Until::Now).unwrap();
    running.await.unwrap().unwrap();
    let mut ids: Vec<u64> = mesh
        .records("mesh.paid")
        .await
        .iter()
        .map(|(key, _)| key["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3, 20, 30]);
}
