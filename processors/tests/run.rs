//! Jobs over the embedded log: exactly once, whatever stops them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{decoded, framed, plan};
use tidemesh_avro::schema::Schema;
use tidemesh_model::{EnvelopeForm, Error, ErrorKind, Result};
use tidemesh_plan::output::{Target, output_schemas};
use tidemesh_plan::query::Input;
use tidemesh_processors::{Job, JobInput, OnError, Progress, Schemas};
use tidemesh_transport::{
    Append, EmbeddedConfig, EmbeddedTransport, FetchLimit, PartitionBatch, Reader, Records, Start,
    Subscription, TopicConfig, Transport, partition_of,
};
use tokio::sync::watch;

/// A registry in memory: ids are places in a list.
#[derive(Debug, Default)]
struct Registry(Mutex<Vec<Arc<str>>>);

impl Registry {
    fn add(&self, schema: &str) -> u32 {
        let mut schemas = self.0.lock().unwrap();
        let place = schemas.iter().position(|known| **known == *schema).unwrap_or_else(|| {
            schemas.push(schema.into());
            schemas.len() - 1
        });
        u32::try_from(place).unwrap()
    }
}

impl Schemas for Registry {
    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        let schemas = self.0.lock().unwrap();
        schemas
            .get(id as usize)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "find a schema"))
    }

    async fn register(&self, _: &str, schema: &str) -> Result<u32> {
        Ok(self.add(schema))
    }

    async fn register_alone(&self, _: &str, schema: &str) -> Result<u32> {
        Ok(self.add(schema))
    }

    async fn set_level(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
}

const PARTITIONS: u32 = 3;

struct Mesh {
    log: EmbeddedTransport,
    registry: Registry,
    orders: Input,
    ids: (u32, u32),
}

impl Mesh {
    async fn open(folder: &Path) -> Self {
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap();
        let orders = plan::inputs().remove(0);
        let registry = Registry::default();
        let key = registry.add(&orders.relation.key.as_ref().unwrap().registry_text());
        let value = registry.add(&orders.relation.value.registry_text());
        let config = TopicConfig { partitions: PARTITIONS, ..TopicConfig::default() };
        log.create_topic("shop.orders", &config).await.unwrap();
        Self { log, registry, orders, ids: (key, value) }
    }

    fn job(&self, sql: &str, on_error: OnError, latest: bool) -> Job {
        let inputs = vec![self.orders.clone()];
        let query = plan::resolve(&inputs, sql).unwrap();
        let target = Target {
            pipeline: "paid",
            topic: "mesh.paid",
            envelope: EnvelopeForm::Debezium,
            key: None,
        };
        Job {
            pipeline: "paid".into(),
            sink: "out".into(),
            schemas: output_schemas(&query, &inputs, target).unwrap(),
            query,
            inputs: vec![(self.orders.clone(), JobInput { topic: "shop.orders".into(), latest })],
            topic: "mesh.paid".into(),
            config: TopicConfig { partitions: 2, ..TopicConfig::default() },
            on_error,
        }
    }

    /// Appends events of orders: `(op, before, after)`.
    async fn append(&self, events: &[(&str, Json, Json)]) {
        let relation = &self.orders.relation;
        let mut partitions = vec![Records::default(); PARTITIONS as usize];
        for (op, before, after) in events {
            let id = if after.is_null() { &before["id"] } else { &after["id"] };
            let key = framed(self.ids.0, relation.key.as_ref().unwrap(), &json!({"id": id}));
            let value = json!({"before": before, "after": after, "op": op});
            let value = framed(self.ids.1, &relation.value, &value);
            let records = &mut partitions[partition_of(&key, PARTITIONS) as usize];
            records.push(1000, Some(&key), &[], Some(&value)).unwrap();
            if *op == "d" {
                records.push_tombstone(1000, Some(&key), &[]).unwrap();
            }
        }
        let batches = (0..).zip(partitions).filter(|(_, records)| !records.is_empty());
        let batches = batches.map(|(partition, records)| PartitionBatch {
            topic: "shop.orders".into(),
            partition,
            records,
        });
        self.log.append(Append { batches: batches.collect(), ..Append::default() }).await.unwrap();
    }

    /// Waits until the job has answered for all of its input.
    async fn caught_up(&self, job: &Job) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let info = self.log.topic("shop.orders").await.unwrap();
            let committed = self.log.committed(&job.id()).await.unwrap();
            let done = (0..).zip(&info.partitions).all(|(partition, of)| {
                let at = committed.get(&("shop.orders".to_owned(), partition)).copied();
                at.unwrap_or_default() >= of.end
            });
            if done {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the job does not catch up: {committed:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All records of a topic: key and value as JSON, in each key's order.
    async fn records(&self, topic: &str) -> Vec<(Json, Json)> {
        let subscription =
            Subscription { topics: vec![topic.into()], group: None, start: Start::Earliest };
        let mut reader = self.log.subscribe(subscription).await.unwrap();
        let limit = FetchLimit { bytes_max: 1 << 20, wait_max: Duration::from_millis(50) };
        let mut records = Vec::new();
        loop {
            let batches = reader.poll(limit).await.unwrap();
            if batches.is_empty() {
                return records;
            }
            for batch in &batches {
                for record in batch.iter() {
                    let (_, record) = record.unwrap();
                    records.push((self.shown(record.key), self.shown(record.value)));
                }
            }
        }
    }

    fn shown(&self, framed: Option<&[u8]>) -> Json {
        let Some(framed) = framed else { return Json::Null };
        let (id, payload) = tidemesh_avro::frame::split(framed).unwrap();
        let text = self.registry.0.lock().unwrap()[id as usize].clone();
        decoded(&Schema::parse(&text).unwrap(), payload)
    }
}

/// A source of numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A table that changes, and what a filter by `status = 'paid'` makes of it.
#[derive(Default)]
struct Table {
    rows: BTreeMap<u64, Json>,
    expected: HashMap<u64, Vec<Json>>,
}

impl Table {
    fn change(&mut self, numbers: &mut Numbers) -> (&'static str, Json, Json) {
        let id = numbers.below(40);
        let status = ["open", "paid", "sent"][usize::try_from(numbers.below(3)).unwrap()];
        let row = json!({"id": id, "status": status, "qty": numbers.below(1000)});
        let before = self.rows.get(&id).cloned().unwrap_or(Json::Null);
        let (op, after) = match (before.is_null(), numbers.below(5)) {
            (true, _) => ("c", row),
            (false, 0) => ("d", Json::Null),
            (false, _) => ("u", row),
        };
        if after.is_null() {
            self.rows.remove(&id);
        } else {
            self.rows.insert(id, after.clone());
        }
        let paid = |row: &Json| row["status"] == "paid";
        let shown = match (paid(&before), paid(&after)) {
            (_, true) => Some(after["qty"].clone()),
            (true, false) => Some(Json::Null),
            (false, false) => None,
        };
        self.expected.entry(id).or_default().extend(shown);
        (op, before, after)
    }
}

const SQL: &str = "SELECT id, qty FROM orders WHERE status = 'paid'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_has_its_effect_once_however_often_the_job_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(Mesh::open(folder.path()).await);
    let job = mesh.job(SQL, OnError::Stop, false);
    let (mut table, mut numbers) = (Table::default(), Numbers(7));
    let progress = Arc::new(Progress::default());
    let runs = AtomicU64::new(0);
    for round in 0..40 {
        let (_stop, stopped) = watch::channel(false);
        let (job, of, told) = (job.clone(), mesh.clone(), progress.clone());
        let running =
            tokio::spawn(async move { job.run(&of.log, &of.registry, &told, stopped).await });
        runs.fetch_add(1, Ordering::Relaxed);
        for _ in 0..numbers.below(6) {
            let events: Vec<_> =
                (0..numbers.below(60)).map(|_| table.change(&mut numbers)).collect();
            mesh.append(&events).await;
        }
        if round % 4 == 3 {
            mesh.caught_up(&mesh.job(SQL, OnError::Stop, false)).await;
        }
        // Wherever it is: between its fetch and its append, or within one.
        running.abort();
        let ended = running.await;
        assert!(!matches!(ended, Ok(Err(_))), "{ended:?}");
    }
    let (stop, stopped) = watch::channel(false);
    let (last, of, told) = (job.clone(), mesh.clone(), progress.clone());
    let running =
        tokio::spawn(async move { last.run(&of.log, &of.registry, &told, stopped).await });
    mesh.caught_up(&job).await;
    stop.send(true).unwrap();
    running.await.unwrap().unwrap();
    let mut found: HashMap<u64, Vec<Json>> = HashMap::new();
    for (key, value) in mesh.records("mesh.paid").await {
        let id = key["id"].as_u64().unwrap();
        // A delete is told by its event; the tombstone behind it says it again.
        if !value.is_null() {
            found.entry(id).or_default().push(value["after"]["qty"].clone());
        }
    }
    table.expected.retain(|_, changes| !changes.is_empty());
    assert_eq!(found, table.expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_taken_over_from_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(Mesh::open(folder.path()).await);
    let job = mesh.job(SQL, OnError::Stop, false);
    let start = |mesh: &Arc<Mesh>| {
        let (job, mesh) = (job.clone(), mesh.clone());
        let (stop, stopped) = watch::channel(false);
        let progress = Progress::default();
        let run = async move { job.run(&mesh.log, &mesh.registry, &progress, stopped).await };
        (stop, tokio::spawn(run))
    };
    let (_first_stop, first) = start(&mesh);
    mesh.append(&[("c", Json::Null, json!({"id": 1, "status": "paid", "qty": 1}))]).await;
    mesh.caught_up(&job).await;
    let (stop, second) = start(&mesh);
    mesh.append(&[("c", Json::Null, json!({"id": 2, "status": "paid", "qty": 2}))]).await;
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    mesh.caught_up(&job).await;
    stop.send(true).unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(mesh.records("mesh.paid").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_processed_stops_the_job_or_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Arc::new(Mesh::open(folder.path()).await);
    let sql = "SELECT id, note::int AS n FROM orders";
    let row = |id: u64, note: &str| ("c", Json::Null, json!({"id": id, "note": note}));
    mesh.append(&[row(1, "5"), row(2, "five"), row(3, "7")]).await;
    let job = mesh.job(sql, OnError::Stop, false);
    let (_stop, stopped) = watch::channel(false);
    let progress = Progress::default();
    let error = job.run(&mesh.log, &mesh.registry, &progress, stopped).await.unwrap_err();
    let text = error.report();
    assert!(text.contains("topic=shop.orders") && text.contains("offset="), "{text}");
    assert!(!text.contains("five"), "a value is told: {text}");
    let job = mesh.job(sql, OnError::DeadLetter("mesh.dead".into()), false);
    let (stop, stopped) = watch::channel(false);
    let of = mesh.clone();
    let last = job.clone();
    let told = Arc::new(Progress::default());
    let progress = told.clone();
    let running =
        tokio::spawn(async move { last.run(&of.log, &of.registry, &progress, stopped).await });
    mesh.caught_up(&job).await;
    stop.send(true).unwrap();
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
    let mesh = Arc::new(Mesh::open(folder.path()).await);
    let row = |id: u64| ("c", Json::Null, json!({"id": id, "status": "paid", "qty": id}));
    mesh.append(&[row(1)]).await;
    let job = mesh.job(SQL, OnError::Stop, true);
    for id in [2, 3] {
        let (stop, stopped) = watch::channel(false);
        let (last, of) = (job.clone(), mesh.clone());
        let progress = Progress::default();
        let running =
            tokio::spawn(async move { last.run(&of.log, &of.registry, &progress, stopped).await });
        mesh.caught_up(&job).await;
        mesh.append(&[row(id)]).await;
        mesh.caught_up(&job).await;
        stop.send(true).unwrap();
        running.await.unwrap().unwrap();
        // What comes while no job runs is not passed over at the next start.
        mesh.append(&[row(id * 10)]).await;
    }
    let (stop, stopped) = watch::channel(false);
    let (last, of) = (job.clone(), mesh.clone());
    let running = tokio::spawn(async move {
        last.run(&of.log, &of.registry, &Progress::default(), stopped).await
    });
    mesh.caught_up(&job).await;
    stop.send(true).unwrap();
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
