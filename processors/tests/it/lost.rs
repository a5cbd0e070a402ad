//! What retention takes before a job has answered for it: told, and passed over as far as that was accepted.

use crate::support::job::{Mesh, Registry, SQL, USUAL};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_model::{CleanupPolicy, Result};
use tidemesh_processors::{AcceptedLoss, Ended, Lost, PipelineJob, Progress, Schemas, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport, TopicConfig, Transport};
use tokio::sync::{Notify, watch};

const TOPIC: &str = "shop.orders";

/// Ids whose records are in two partitions; each test that needs that sees it by two losses.
const IDS: [u64; 2] = [1, 2];

type Orders = Arc<Mesh<EmbeddedTransport>>;

/// A topic of which everything goes as soon as it is cleaned.
async fn open(folder: &tempfile::TempDir) -> Orders {
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
    let short = TopicConfig {
        partitions: 3,
        cleanup_policy: CleanupPolicy::Delete,
        retention_bytes: Some(1),
        ..TopicConfig::default()
    };
    log.create_topic(TOPIC, &short).await.unwrap();
    Arc::new(Mesh::open(log).await)
}

fn row(id: u64, qty: u64) -> (&'static str, Json, Json) {
    ("c", Json::Null, json!({"id": id, "status": "paid", "qty": qty}))
}

/// Has so many records of each id come, all go that there are, and one more of each come.
async fn pass(mesh: &Orders, ids: &[u64], records: u64) {
    let append = async |qty| {
        let rows: Vec<_> = ids.iter().map(|id| row(*id, qty)).collect();
        mesh.append(&rows).await;
    };
    for qty in 0..records {
        append(qty).await;
    }
    mesh.log.clean().await.unwrap();
    append(records).await;
}

type Running = tokio::task::JoinHandle<Result<Ended>>;

fn started(mesh: &Orders, job: &PipelineJob) -> (watch::Sender<Until>, Running) {
    let (stop, stopped) = watch::channel(Until::Told);
    let (job, mesh) = (job.clone(), mesh.clone());
    let running = tokio::spawn(async move {
        job.run(&mesh.log, &mesh.registry, &Progress::default(), stopped).await
    });
    (stop, running)
}

/// Runs a job until it has read all that there is.
async fn reads_all(mesh: &Orders, job: &PipelineJob) {
    let (stop, running) = started(mesh, job);
    mesh.caught_up(job).await;
    stop.send(Until::Now).unwrap();
    assert!(matches!(running.await.unwrap().unwrap(), Ended::Stopped));
}

/// Runs a job that ends where records are lost.
async fn loses(mesh: &Orders, job: &PipelineJob) -> Vec<Lost> {
    let (_stop, running) = started(mesh, job);
    match running.await.unwrap().unwrap() {
        Ended::Lost(lost) => lost,
        other => panic!("it passes over: {other:?}"),
    }
}

fn accepted(lost: &[Lost]) -> AcceptedLoss {
    lost.iter().map(|lost| ((lost.topic.clone(), lost.partition), lost.begin)).collect()
}

async fn committed(mesh: &Orders, job: &PipelineJob, lost: &Lost) -> u64 {
    mesh.log.committed(&job.id()).await.unwrap()[&(lost.topic.clone(), lost.partition)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_told_and_passed_over_only_if_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(&folder).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&[row(1, 1)]).await;
    reads_all(&mesh, &job).await;
    pass(&mesh, &[1], 3).await;
    let lost = loses(&mesh, &job).await;
    assert_eq!((lost.len(), lost[0].offset, lost[0].begin), (1, 1, 4));
    assert_eq!(loses(&mesh, &job).await, lost, "it is told once only");
    reads_all(&mesh, &job.clone().accept_loss(accepted(&lost))).await;
    assert_eq!(mesh.records("mesh.paid").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_that_has_grown_since_it_was_accepted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(&folder).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&[row(1, 1)]).await;
    reads_all(&mesh, &job).await;
    pass(&mesh, &[1], 3).await;
    let seen = loses(&mesh, &job).await;
    pass(&mesh, &[1], 2).await;
    let job = job.accept_loss(accepted(&seen));
    let grown = loses(&mesh, &job).await;
    assert_eq!((grown[0].offset, grown[0].begin), (1, seen[0].begin + 3));
    assert_eq!(committed(&mesh, &job, &grown[0]).await, 1, "nothing is passed over");
    let job = job.accept_loss(accepted(&grown));
    reads_all(&mesh, &job).await;
    // What was accepted is no leave for what comes later.
    pass(&mesh, &[1], 3).await;
    let later = loses(&mesh, &job).await;
    assert_eq!((later[0].offset, later[0].begin), (grown[0].begin + 1, grown[0].begin + 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_has_a_loss_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(&folder).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&IDS.map(|id| row(id, 1))).await;
    reads_all(&mesh, &job).await;
    pass(&mesh, &IDS, 3).await;
    let lost = loses(&mesh, &job).await;
    assert_eq!(lost.len(), 2, "{lost:?}");
    let job = job.accept_loss(accepted(&lost[..1]));
    assert_eq!(loses(&mesh, &job).await, lost[1..]);
    assert_eq!(committed(&mesh, &job, &lost[0]).await, lost[0].begin, "this one was accepted");
    assert_eq!(committed(&mesh, &job, &lost[1]).await, lost[1].offset);
    reads_all(&mesh, &job.accept_loss(accepted(&lost))).await;
    assert_eq!(mesh.records("mesh.paid").await.len(), 4);
}

/// What came into an empty partition and went while the job was away is missed as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_filled_and_went_while_a_job_was_away_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(&folder).await;
    let job = mesh.job(SQL, USUAL);
    let (_until, now) = watch::channel(Until::Now);
    job.run(&mesh.log, &mesh.registry, &Progress::default(), now).await.unwrap();
    assert_eq!(mesh.log.committed(&job.id()).await.unwrap().len(), 3, "where it begins is kept");
    pass(&mesh, &[1], 3).await;
    let lost = loses(&mesh, &job).await;
    assert_eq!((lost[0].offset, lost[0].begin), (0, 3));
}

/// A registry that is asked, and answers when it is told to.
struct Waiting {
    mesh: Orders,
    asked: Notify,
    answers: Notify,
}

impl Schemas for Waiting {
    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        self.asked.notify_one();
        self.answers.notified().await;
        Registry::schema(&self.mesh.registry, id).await
    }

    async fn register_topic(&self, of: &str, key: Option<&str>, value: &str) -> Result<SchemaIds> {
        self.mesh.registry.register_topic(of, key, value).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_overtaken_by_retention_tells_of_every_partition() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(&folder).await;
    let job = mesh.job(SQL, USUAL);
    mesh.append(&IDS.map(|id| row(id, 1))).await;
    let registry = Waiting { mesh: mesh.clone(), asked: Notify::new(), answers: Notify::new() };
    let registry = Arc::new(registry);
    let (_stop, stopped) = watch::channel(Until::Told);
    let (running, of) = (job.clone(), registry.clone());
    let running = tokio::spawn(async move {
        let (log, progress) = (&of.mesh.log, Progress::default());
        running.run(log, of.as_ref(), &progress, stopped).await
    });
    // It has read something, and stands before it.
    registry.asked.notified().await;
    pass(&mesh, &IDS, 3).await;
    registry.answers.notify_one();
    let Ended::Lost(lost) = running.await.unwrap().unwrap() else { panic!("it passes over") };
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost.iter().all(|lost| lost.offset < lost.begin && lost.begin == 4), "{lost:?}");
    let job = job.accept_loss(accepted(&lost));
    reads_all(&mesh, &job).await;
}
