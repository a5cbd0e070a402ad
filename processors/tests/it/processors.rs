//! Registered processors within a job.

use crate::support::job::{Mesh, Numbers, Table};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemesh_model::ErrorKind;
use tidemesh_processors::sdk::{
    Batch, Change, Declaration, Error, Output, Processor, Processors, Record, Result,
};
use tidemesh_processors::testing::Bench;
use tidemesh_processors::{Ended, PipelineJob, Progress, Until};
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport};
use tokio::sync::watch;

/// Doubles quantities, and does not take some of them.
struct Doubler {
    refused: i64,
    panics: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "none")]
    refused: i64,
    #[serde(default = "none")]
    panics: i64,
}

/// No quantity.
fn none() -> i64 {
    -1
}

fn schemas() -> (Json, Json) {
    let order = json!({"type": "record", "name": "Order", "fields": [
        {"name": "id", "type": "long"}, {"name": "qty", "type": ["null", "long"], "default": null}]});
    let doubled = json!({"type": "record", "name": "Doubled", "fields": [
        {"name": "id", "type": "long"}, {"name": "twice", "type": ["null", "long"]}]});
    (order, doubled)
}

impl Processor for Doubler {
    type Config = Config;

    fn declaration() -> Declaration {
        let (order, doubled) = schemas();
        Declaration::new("doubler", 1)
            .input("orders", order)
            .output(doubled, &["id"])
            .config_schema(json!({"type": "object", "properties": {
                "refused": {"type": "integer"}, "panics": {"type": "integer"}}}))
    }

    fn new(config: Config) -> Result<Self> {
        Ok(Self { refused: config.refused, panics: config.panics })
    }

    fn process(&mut self, input: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        input.records().iter().for_each(|record| self.record(record, output));
        Ok(())
    }
}

impl Doubler {
    fn record(&self, record: &Record, output: &mut Output<'_>) {
        let key = record.key().cloned().unwrap_or_default();
        let Change::Upsert { after, .. } = record.change() else {
            return output.delete(record, key);
        };
        let qty = after.long("qty");
        assert!(qty != Some(self.panics), "told to");
        // It is dropped with the record that fails.
        output.upsert(record, key.with("twice", qty.map(|qty| qty * 2)));
        if qty == Some(self.refused) {
            output.fail(record, Error::new(ErrorKind::Unsupported, "double").because("refused"));
        }
    }
}

fn processors() -> Processors {
    let mut processors = Processors::new();
    processors.register::<Doubler>().unwrap();
    processors
}

async fn open(folder: &Path) -> Mesh<EmbeddedTransport> {
    Mesh::open(EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap()).await
}

/// SQL, the processor, SQL, and a tap of what the processor makes.
fn job(mesh: &Mesh<EmbeddedTransport>, config: &str, on_error: &str) -> PipelineJob {
    let document = &processors().documents()[0];
    let plan = mesh.plan(&format!(
        "  inputs: {{orders: shop.orders}}
  processors:
    - {{name: paid, sql: \"SELECT id, qty::bigint AS qty FROM orders WHERE status = 'paid'\"}}
    - {{name: doubled, processor: doubler@1, inputs: [paid], config: {config}, tap: mesh.doubled}}
    - {{name: halved, sql: \"SELECT id, twice / 2 AS qty FROM doubled\"}}
  sinks: [{{name: out, from: halved, kafka: {{topic: mesh.paid, cleanup_policy: delete}}}}]
{on_error}
---
{document}
"
    ));
    PipelineJob::with_processors(&plan, &processors()).unwrap()
}

fn paid(id: u64) -> (&'static str, Json, Json) {
    ("c", Json::Null, json!({"id": id, "status": "paid", "qty": id}))
}

async fn run(mesh: &Mesh<EmbeddedTransport>, job: &PipelineJob, until: Until) -> Result<Ended> {
    let (_until, until) = watch::channel(until);
    job.run(&mesh.log, &mesh.registry, &Progress::default(), until).await
}

/// What each key was written with, in order.
async fn written(
    mesh: &Mesh<EmbeddedTransport>,
    topic: &str,
    field: &str,
) -> HashMap<u64, Vec<Json>> {
    let mut written: HashMap<u64, Vec<Json>> = HashMap::new();
    for (key, value) in mesh.records(topic).await {
        if !value.is_null() {
            let id = key["id"].as_u64().unwrap();
            written.entry(id).or_default().push(value["after"][field].clone());
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_goes_through_once_however_often_the_job_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(open(folder.path()).await);
    let job = job(&mesh, "{}", "");
    let (mut table, mut numbers) = (Table::default(), Numbers(5));
    for round in 0..25 {
        let (_until, until) = watch::channel(Until::Told);
        let (running, of) = (job.clone(), mesh.clone());
        let run =
            async move { running.run(&of.log, &of.registry, &Progress::default(), until).await };
        let mut running = tokio::spawn(run);
        for _ in 0..numbers.below(6) {
            let changes: Vec<_> =
                (0..numbers.below(60)).map(|_| table.change(&mut numbers)).collect();
            mesh.append(&changes).await;
        }
        if round % 4 == 3 {
            tokio::select! {
                () = mesh.caught_up(&job) => {}
                ended = &mut running => panic!("the job ended: {ended:?}"),
            }
        }
        running.abort();
        let ended = running.await;
        assert!(!matches!(ended, Ok(Err(_))), "{ended:?}");
    }
    assert!(matches!(run(&mesh, &job, Until::Cut(mesh.ends())).await.unwrap(), Ended::AtCut));
    table.expected.retain(|_, changes| !changes.is_empty());
    assert_eq!(written(&mesh, "mesh.paid", "qty").await, table.expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_fail_or_panic_are_set_aside_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = job(
        &mesh,
        "{refused: 7, panics: 9}",
        "  on_error: dead_letter\n  dead_letter_topic: mesh.dead",
    );
    mesh.append(&(1..30).map(paid).collect::<Vec<_>>()).await;
    let progress = Progress::default();
    let (_until, until) = watch::channel(Until::Cut(mesh.ends()));
    let ended = job.run(&mesh.log, &mesh.registry, &progress, until).await.unwrap();
    assert!(matches!(ended, Ended::AtCut));
    let expected: BTreeMap<u64, Vec<Json>> =
        (1..30).filter(|id| ![7, 9].contains(id)).map(|id| (id, vec![json!(id * 2)])).collect();
    let found: BTreeMap<_, _> = written(&mesh, "mesh.doubled", "twice").await.into_iter().collect();
    assert_eq!(found, expected);
    assert_eq!(written(&mesh, "mesh.paid", "qty").await.len(), 27);
    let mut dead: Vec<u64> = mesh
        .records("mesh.dead")
        .await
        .iter()
        .map(|(key, _)| key["id"].as_u64().unwrap())
        .collect();
    dead.sort_unstable();
    assert_eq!(dead, [7, 9]);
    assert_eq!(progress.dead_letters.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_the_job_with_its_place_and_not_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let job = job(&mesh, "{panics: 9}", "");
    mesh.append(&(1..30).map(paid).collect::<Vec<_>>()).await;
    let text = run(&mesh, &job, Until::Told).await.unwrap_err().report();
    for told in ["panicked", "processor=doubler@1", "topic=shop.orders", "offset=", "pipeline=paid"]
    {
        assert!(text.contains(told), "{text}");
    }
    assert!(!text.contains("told to"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_is_not_the_plans_is_refused_before_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = open(folder.path()).await;
    let document = &processors().documents()[0];
    let spec = |config: &str, document: &str| {
        mesh.plan(&format!(
            "  inputs: {{orders: shop.orders}}
  processors:
    - {{name: some, sql: \"SELECT id, qty::bigint AS qty FROM orders\"}}
    - {{name: doubled, processor: doubler@1, inputs: [some], config: {config}}}
  sinks: [{{name: out, from: doubled, kafka: {{topic: mesh.paid}}}}]
---
{document}
"
        ))
    };
    let refused =
        |plan, processors| PipelineJob::with_processors(&plan, &processors).map(drop).unwrap_err();
    let error = refused(spec("{}", document), Processors::new());
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.report().contains("doubler@1"), "{error:?}");
    // Its schema lets more through than its type takes.
    let error = refused(spec("{other: 1}", document), processors());
    assert_eq!(error.kind(), ErrorKind::Config);
    let other = document.replace("twice", "thrice");
    let error = refused(spec("{}", &other), processors());
    assert!(error.report().contains("declares other schemas"), "{error:?}");
}

#[test]
fn a_bench_shows_what_a_processor_makes() {
    let mut bench = Bench::new::<Doubler>(json!({"refused": 7, "panics": 9})).unwrap();
    let made = bench.upserts("orders", &["id"], &[json!({"id": 1, "qty": 3})]).unwrap();
    assert_eq!(made, [json!({"op": "u", "key": {"id": 1}, "row": {"id": 1, "twice": 6}})]);
    let made = bench.deletes("orders", &["id"], &[json!({"id": 1})]).unwrap();
    assert_eq!(made, [json!({"op": "d", "key": {"id": 1}})]);
    for (rows, told) in [
        (json!({"id": 1, "qty": 7}), "refused"),
        (json!({"id": 1, "qty": 9}), "panicked"),
        (json!({"id": "x"}), "field=id"),
        (json!({"id": 1, "other": 1}), "no such field"),
    ] {
        let error = bench.upserts("orders", &["id"], &[rows]).unwrap_err();
        assert!(error.report().contains(told), "{error:?}");
    }
    let error = bench.events("refunds", &[]).unwrap_err();
    assert!(error.report().contains("orders"), "{error:?}");
    let error = Bench::new::<Doubler>(json!({"refused": "x"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn a_type_is_registered_once() {
    let mut processors = processors();
    assert_eq!(processors.names(), ["doubler@1"]);
    assert_eq!(processors.register::<Doubler>().unwrap_err().kind(), ErrorKind::Conflict);
}
