//! Jobs over the embedded log: exactly once, whatever stops them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::job::{Mesh, SQL, USUAL, killed};
use tidemesh_model::{CleanupPolicy, ErrorKind};
use tidemesh_processors::{Ended, PipelineJob, Progress, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport, TopicConfig, Transport};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_told_and_passed_over_only_if_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
    log.create_topic("shop.orders", &short(3)).await.unwrap();
    let mesh = Arc::new(Mesh::open(log).await);
    let row = |qty: u64| ("c", Json::Null, json!({"id": 1, "status": "paid", "qty": qty}));
    let job = mesh.job(SQL, USUAL);
    mesh.append(&[row(1)]).await;
    let (stop, running) = started(&mesh, &job);
    mesh.caught_up(&job).await;
    stop.send(Until::Now).unwrap();
    running.await.unwrap().unwrap();
    for id in 2..5 {
        mesh.append(&[row(id)]).await;
    }
    mesh.log.clean().await.unwrap();
    let partitions = mesh.log.topic("shop.orders").await.unwrap().partitions;
    let begin = partitions.iter().map(|partition| partition.begin).max().unwrap();
    assert!(begin > 1, "nothing is gone: {begin}");
    let (_stop, running) = started(&mesh, &job);
    let Ended::Lost(lost) = running.await.unwrap().unwrap() else { panic!("it passes over") };
    assert_eq!((lost.offset, lost.begin), (1, begin));
    let (_stop, running) = started(&mesh, &job);
    assert!(matches!(running.await.unwrap().unwrap(), Ended::Lost(_)), "it is told once only");
    let (stop, running) = started(&mesh, &job.clone().accept_loss(true));
    mesh.caught_up(&job).await;
    stop.send(Until::Now).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(mesh.records("mesh.paid").await.len() as u64, 1 + 4 - begin);
}

/// What came into an empty partition and went while the job was away is missed as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_filled_and_went_while_a_job_was_away_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
    log.create_topic("shop.orders", &short(3)).await.unwrap();
    let mesh = Arc::new(Mesh::open(log).await);
    let job = mesh.job(SQL, USUAL);
    let (_until, now) = watch::channel(Until::Now);
    job.run(&mesh.log, &mesh.registry, &Progress::default(), now).await.unwrap();
    assert_eq!(mesh.log.committed(&job.id()).await.unwrap().len(), 3, "where it begins is kept");
    for qty in 1..4 {
        mesh.append(&[("c", Json::Null, json!({"id": 1, "status": "paid", "qty": qty}))]).await;
    }
    mesh.log.clean().await.unwrap();
    let (_stop, running) = started(&mesh, &job);
    let Ended::Lost(lost) = running.await.unwrap().unwrap() else { panic!("it passes over") };
    assert_eq!(lost.offset, 0);
    assert!(lost.begin > 0, "nothing is gone");
}

/// A topic of which each segment goes as soon as there is another: what is there is the last batch.
fn short(partitions: u32) -> TopicConfig {
    TopicConfig {
        partitions,
        cleanup_policy: CleanupPolicy::Delete,
        retention_bytes: Some(1),
        ..TopicConfig::default()
    }
}

type Running = tokio::task::JoinHandle<tidemesh_model::Result<Ended>>;

fn started(
    mesh: &Arc<Mesh<EmbeddedTransport>>,
    job: &PipelineJob,
) -> (watch::Sender<Until>, Running) {
    let (stop, stopped) = watch::channel(Until::Told);
    let (job, mesh) = (job.clone(), mesh.clone());
    let running = tokio::spawn(async move {
        job.run(&mesh.log, &mesh.registry, &Progress::default(), stopped).await
    });
    (stop, running)
}
