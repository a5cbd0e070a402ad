//! What a chain of four processors costs a record as one fused job, and as four jobs with a topic
//! between each, from embedded log to embedded log.
//!
//! `cargo bench -p tidemesh-processors --bench jobs`: filter, projection, filter, projection over a
//! million events of orders. Prints, as its last line, the medians as JSON.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(unreachable_pub, reason = "shared with the tests")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::job::Registry;
use support::{framed, plan};
use tidemesh_model::{CleanupPolicy, Result};
use tidemesh_plan::document::parse;
use tidemesh_plan::mesh::{self, Accepted, Topic, Topics};
use tidemesh_plan::query::Input;
use tidemesh_processors::{Ended, PipelineJob, Progress, Until};
use tidemesh_transport::{
    Append, EmbeddedConfig, EmbeddedTransport, PartitionBatch, Records, TopicConfig, Transport,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const RECORDS: u64 = 1_000_000;

/// So many orders there are, each of them changed many times.
const ORDERS: u64 = 20_000;

const ROUNDS: usize = 3;

/// What a clock of the system ticks a second (`sysconf(_SC_CLK_TCK)` on Linux).
const TICKS_PER_S: f64 = 100.0;

const CHAIN: [(&str, &str); 4] = [
    ("paid", "SELECT * FROM orders WHERE status = 'paid'"),
    ("few", "SELECT id, total, qty, note, placed_at, shipping FROM paid"),
    ("large", "SELECT * FROM few WHERE total > 100"),
    (
        "out",
        "SELECT id, total * qty AS amount, upper(note) AS note, placed_at, (shipping).city FROM large",
    ),
];

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu_s: f64,
    records_out: u64,
}

struct Mesh {
    log: EmbeddedTransport,
    registry: Registry,
    orders: Input,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
    let orders = plan::inputs().remove(0);
    let mesh = Arc::new(Mesh { log, registry: Registry::default(), orders });
    mesh.fill().await;
    let (mut fused, mut apart) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        fused.push(mesh.run(mesh.fused(round).await).await);
        apart.push(mesh.run(mesh.apart(round).await).await);
        tell(round, "fused", fused[round]);
        tell(round, "apart", apart[round]);
        assert_eq!(fused[round].records_out, apart[round].records_out);
    }
    let us = |costs: &[Cost]| median(costs, |cost| cost.cpu_s * 1e6 / RECORDS as f64);
    let per_s = median(&fused, |cost| RECORDS as f64 / cost.wall.as_secs_f64());
    let gains: Vec<f64> =
        fused.iter().zip(&apart).map(|(fused, apart)| apart.cpu_s / fused.cpu_s).collect();
    println!(
        "{}",
        json!({
            "fused_per_s": per_s.round(),
            "fused_cpu_us": round_to(us(&fused)),
            "apart_cpu_us": round_to(us(&apart)),
            "fused_cpu_gain": round_to(median(&gains, |gain| *gain)),
        })
    );
}

fn tell(round: usize, what: &str, cost: Cost) {
    let wall = cost.wall.as_secs_f64();
    println!(
        "{round}: {what} {wall:.2} s, {:.2} us of CPU a record, {} of {RECORDS} records out",
        cost.cpu_s * 1e6 / RECORDS as f64,
        cost.records_out,
    );
}

fn median<T>(items: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = items.iter().map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn round_to(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// User and system seconds of this process so far (`proc_pid_stat(5)`, fields 14 and 15).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, behind_name) = stat.rsplit_once(')').unwrap();
    let ticks: f64 =
        behind_name.split_whitespace().skip(11).take(2).map(|of| of.parse::<f64>().unwrap()).sum();
    ticks / TICKS_PER_S
}

/// Topics that keep every record.
fn keeping() -> TopicConfig {
    TopicConfig { partitions: 1, cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() }
}

fn order(id: u64) -> Json {
    json!({
        "id": id, "customer_id": id % 1000, "status": if id.is_multiple_of(5) { "open" } else { "paid" },
        "total": id * 7 % 100_000 + 9_000, "qty": id % 7 + 1, "placed_at": 1_700_000_000_000_000_u64 + id,
        "due": 20_000, "note": "a note of some length, as people write them", "doc": "{\"a\": 1}",
        "shipping": {"city": "Kiel", "geo": {"lat": 54.3, "lon": 10.1}}, "Mixed_u0020Case": "x",
    })
}

impl Mesh {
    /// Appends all of the input.
    async fn fill(&self) {
        let relation = &self.orders.relation;
        let key_schema = relation.key.as_ref().unwrap();
        let key_id = self.registry.add(&key_schema.registry_text());
        let value_id = self.registry.add(&relation.value.registry_text());
        let mut records = Records::default();
        for id in 0..ORDERS {
            let key = framed(key_id, key_schema, &json!({"id": id}));
            let event = json!({"before": Json::Null, "after": order(id), "op": "c"});
            let value = framed(value_id, &relation.value, &event);
            records.push(1_700_000_000_000, Some(&key), &[], Some(&value)).unwrap();
        }
        self.log.create_topic("shop.orders", &keeping()).await.unwrap();
        for _ in 0..RECORDS / ORDERS {
            let records = records.clone();
            let batch = PartitionBatch { topic: "shop.orders".into(), partition: 0, records };
            let append = Append { batches: vec![batch], ..Append::default() };
            self.log.append(append).await.unwrap();
        }
    }

    /// All processors as one pipeline.
    async fn fused(&self, round: usize) -> Vec<PipelineJob> {
        let processors = CHAIN.map(|(name, sql)| format!("{{name: {name}, sql: \"{sql}\"}}"));
        let name = format!("fused{round}");
        self.jobs(&pipeline(&name, "orders", "shop.orders", &processors, "out")).await
    }

    /// Each processor as a pipeline of its own, over the topic of the one before it.
    async fn apart(&self, round: usize) -> Vec<PipelineJob> {
        let (mut text, mut input, mut topic) = (String::new(), "orders", "shop.orders".to_owned());
        for (name, sql) in CHAIN {
            let of_pipeline = format!("apart{round}-{name}");
            let processor = format!("{{name: {name}, sql: \"{sql}\"}}");
            text.push_str(&pipeline(&of_pipeline, input, &topic, &[processor], name));
            (input, topic) = (name, format!("{of_pipeline}.to"));
        }
        self.jobs(&text).await
    }

    /// The jobs of documents, each behind that whose topic it reads, and the topics that they write: one
    /// that starts before the one before it finds its input.
    async fn jobs(&self, text: &str) -> Vec<PipelineJob> {
        let (key, value) = (self.orders.relation.key.clone(), self.orders.relation.value.clone());
        let topics = Topics::from([("shop.orders".to_owned(), Topic { key, value, source: None })]);
        let planned = mesh::plan(&parse(text).unwrap(), &topics, &Accepted::new()).unwrap();
        for output in planned.pipelines.iter().flat_map(|plan| &plan.outputs) {
            self.log.create_topic(&output.topic, &keeping()).await.unwrap();
        }
        planned.pipelines.iter().map(|plan| PipelineJob::new(plan).unwrap()).collect()
    }

    /// Runs jobs at once until the last has answered for all that the others have made.
    async fn run(self: &Arc<Self>, jobs: Vec<PipelineJob>) -> Cost {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let running: Vec<_> = jobs.into_iter().map(|job| self.start(job)).collect();
        let mut records = RECORDS;
        let mut wall = Duration::ZERO;
        for (progress, until, task) in running {
            while progress.records_in.load(Ordering::Relaxed) < records {
                assert!(!task.is_finished(), "a job has ended by itself");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            wall = began.elapsed();
            until.send(Until::Now).unwrap();
            task.await.unwrap().unwrap();
            records = progress.records_out.load(Ordering::Relaxed);
        }
        Cost { wall, cpu_s: cpu_seconds() - cpu, records_out: records }
    }

    fn start(self: &Arc<Self>, job: PipelineJob) -> Running {
        let progress = Arc::new(Progress::default());
        let (until, told) = watch::channel(Until::Told);
        let (mesh, of_job) = (self.clone(), progress.clone());
        let task =
            tokio::spawn(async move { job.run(&mesh.log, &mesh.registry, &of_job, told).await });
        (progress, until, task)
    }
}

type Running = (Arc<Progress>, watch::Sender<Until>, JoinHandle<Result<Ended>>);

/// A pipeline over one topic, whose last processor's rows go to the topic `<name>.to`.
fn pipeline(name: &str, input: &str, topic: &str, processors: &[String], last: &str) -> String {
    let processors = processors.join(",\n    ");
    format!(
        "---\napiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  \
         inputs: {{{input}: {topic}}}\n  processors: [\n    {processors}]\n  sinks: [{{name: to, \
         from: {last}, kafka: {{topic: {name}.to, cleanup_policy: delete}}}}]\n"
    )
}
