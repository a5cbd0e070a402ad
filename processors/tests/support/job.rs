//! A job and its input, over any transport.
#![allow(dead_code, reason = "each test takes what it needs")]

use super::{decoded, framed, plan};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_plan::document::parse;
use tidemesh_plan::mesh::{Accepted, PipelinePlan, Topic, Topics, plan as plan_mesh};
use tidemesh_plan::query::Input;
use tidemesh_processors::{Cut, Ended, PipelineJob, Progress, Schemas, Until};
use tidemesh_transport::{
    Append, FetchLimit, PartitionBatch, Reader, Records, Start, Subscription, TopicConfig,
    Transport, partition_of,
};
use tokio::sync::watch;

/// A registry in memory: ids are places in a list.
#[derive(Debug, Default)]
pub(crate) struct Registry(pub(crate) Mutex<Vec<Arc<str>>>);

impl Registry {
    pub(crate) fn add(&self, schema: &str) -> u32 {
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

    async fn register_topic(&self, _: &str, key: Option<&str>, value: &str) -> Result<SchemaIds> {
        Ok(SchemaIds { key: key.map_or(0, |key| self.add(key)), value: self.add(value) })
    }
}

const PARTITIONS: u32 = 3;

/// Topics that keep every record. A compacted one may lose what a later record of its key supersedes
/// at any time: Kafka closes a segment when a transaction's mark is a week younger than its first
/// record, and these records' timestamps are of 1970.
fn keeping(partitions: u32) -> TopicConfig {
    TopicConfig { partitions, cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() }
}

/// Orders and customers, each on its topic, and jobs that read them.
pub(crate) struct Mesh<T> {
    pub(crate) log: T,
    pub(crate) registry: Registry,
    /// What there is, by topic.
    inputs: BTreeMap<&'static str, Input>,
    /// Behind the last record of each partition of the inputs. Kafka's own end is further on: the marks
    /// of its transactions have offsets too.
    ends: Mutex<Cut>,
    /// How long nothing has to come until a topic is taken for read.
    pub(crate) quiet: Duration,
}

impl<T: Transport> Mesh<T> {
    pub(crate) async fn open(log: T) -> Self {
        let mut known = plan::inputs();
        let customers = known.remove(2);
        let inputs =
            BTreeMap::from([("shop.customers", customers), ("shop.orders", known.remove(0))]);
        for topic in inputs.keys() {
            log.create_topic(topic, &keeping(PARTITIONS)).await.unwrap();
        }
        Self {
            log,
            registry: Registry::default(),
            inputs,
            ends: Mutex::default(),
            quiet: Duration::from_millis(50),
        }
    }

    /// The pipeline `paid` of these lines of its `spec`; other documents may follow.
    pub(crate) fn plan(&self, spec: &str) -> PipelinePlan {
        let topic = |(name, input): (&&str, &Input)| {
            let (key, value) = (input.relation.key.clone(), input.relation.value.clone());
            ((*name).to_owned(), Topic { key, value, source: None })
        };
        let topics: Topics = self.inputs.iter().map(topic).collect();
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: paid}}\nspec:\n{spec}"
        );
        let documents = parse(&text).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        let planned = plan_mesh(&documents, &topics, &Accepted::new());
        planned.unwrap_or_else(|problems| panic!("{text}\n{problems}")).pipelines.remove(0)
    }

    /// Has a topic's rows be of this input from now on.
    pub(crate) fn changed(&mut self, topic: &'static str, input: Input) {
        self.inputs.insert(topic, input);
    }

    /// One query over `orders`, written to `mesh.paid`; `more` is of the input and the `spec`.
    pub(crate) fn job(&self, sql: &str, more: (&str, &str)) -> PipelineJob {
        let (of_input, of_spec) = more;
        let plan = self.plan(&format!(
            "  inputs: {{orders: {{topic: shop.orders{of_input}}}}}
  processors: [{{name: paid, sql: \"{sql}\"}}]
  sinks: [{{name: out, from: paid, kafka: {{topic: mesh.paid, partitions: 2, cleanup_policy: delete}}}}]
{of_spec}"
        ));
        PipelineJob::new(&plan).unwrap()
    }

    /// Appends events of orders: `(op, before, after)`.
    pub(crate) async fn append(&self, events: &[(&str, Json, Json)]) {
        self.append_to("shop.orders", events).await;
    }

    pub(crate) async fn append_to(&self, topic: &str, events: &[(&str, Json, Json)]) {
        let value = self.inputs[topic].relation.value.clone();
        self.append_as(topic, &value, events).await;
    }

    /// Appends events whose values have this schema.
    pub(crate) async fn append_as(
        &self,
        topic: &str,
        schema: &Schema,
        events: &[(&str, Json, Json)],
    ) {
        let key_schema = self.inputs[topic].relation.key.as_ref().unwrap();
        let key_id = self.registry.add(&key_schema.registry_text());
        let value_id = self.registry.add(&schema.registry_text());
        let mut partitions = vec![Records::default(); PARTITIONS as usize];
        for (op, before, after) in events {
            let id = if after.is_null() { &before["id"] } else { &after["id"] };
            let key = framed(key_id, key_schema, &json!({"id": id}));
            let value = json!({"before": before, "after": after, "op": op});
            let value = framed(value_id, schema, &value);
            let records = &mut partitions[partition_of(&key, PARTITIONS) as usize];
            records.push(1000, Some(&key), &[], Some(&value)).unwrap();
            if *op == "d" {
                records.push_tombstone(1000, Some(&key), &[]).unwrap();
            }
        }
        let batches = (0..).zip(partitions).filter(|(_, records)| !records.is_empty());
        let batches: Vec<PartitionBatch> = batches
            .map(|(partition, records)| PartitionBatch { topic: topic.into(), partition, records })
            .collect();
        let counts: Vec<(u32, u64)> =
            batches.iter().map(|batch| (batch.partition, batch.records.count().into())).collect();
        let appended = self.log.append(Append { batches, ..Append::default() }).await.unwrap();
        let mut ends = self.ends.lock().unwrap();
        for ((partition, count), base) in counts.into_iter().zip(appended.base_offsets) {
            ends.insert((topic.to_owned(), partition), base + count);
        }
    }

    /// Appends one record of any bytes.
    pub(crate) async fn append_bytes(&self, topic: &str, key: &[u8], value: &[u8]) {
        let mut records = Records::default();
        records.push(1000, Some(key), &[], Some(value)).unwrap();
        let batch = PartitionBatch { topic: topic.into(), partition: 0, records };
        let append = Append { batches: vec![batch], ..Append::default() };
        let appended = self.log.append(append).await.unwrap();
        let end = appended.base_offsets[0] + 1;
        self.ends.lock().unwrap().insert((topic.to_owned(), 0), end);
    }

    /// Waits until the job has answered for all of its input.
    pub(crate) async fn caught_up(&self, job: &PipelineJob) {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let committed = self.log.committed(&job.id()).await.unwrap();
            let done = self
                .ends
                .lock()
                .unwrap()
                .iter()
                .all(|(place, end)| committed.get(place).copied().unwrap_or_default() >= *end);
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

    /// The offset behind the last record of each partition of the inputs.
    pub(crate) fn ends(&self) -> Cut {
        self.ends.lock().unwrap().clone()
    }

    /// All records of a topic: key and value as JSON, in each key's order.
    pub(crate) async fn records(&self, topic: &str) -> Vec<(Json, Json)> {
        let subscription =
            Subscription { topics: vec![topic.into()], group: None, start: Start::Earliest };
        let mut reader = self.log.subscribe(subscription).await.unwrap();
        let limit = FetchLimit { bytes_max: 1 << 20, wait_max: self.quiet };
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
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A table that changes, and what a filter by `status = 'paid'` makes of it.
#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<u64, Json>,
    pub(crate) expected: HashMap<u64, Vec<Json>>,
}

impl Table {
    pub(crate) fn change(&mut self, numbers: &mut Numbers) -> (&'static str, Json, Json) {
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

/// Nothing more is said of the input and of the pipeline.
pub(crate) const USUAL: (&str, &str) = ("", "");

/// What the jobs compute, unless a test says otherwise.
pub(crate) const SQL: &str = "SELECT id, qty FROM orders WHERE status = 'paid'";

/// What is killed: two sinks, of which one filters, and a tap of what it filters.
const KILLED: &str = "  inputs: {orders: shop.orders}
  processors: [{name: paid, sql: \"SELECT id, qty FROM orders WHERE status = 'paid'\", tap: mesh.tap}]
  sinks:
    - {name: out, from: paid, kafka: {topic: mesh.paid, partitions: 2, cleanup_policy: delete}}
    - {name: all, from: orders, kafka: {topic: mesh.all, envelope: flat, cleanup_policy: delete}}
";

/// Kills a job so many times while its input grows; afterwards each change has had its effect once in
/// each output, in its key's order.
pub(crate) async fn killed<T: Transport>(mesh: Mesh<T>, rounds: u64) {
    let mesh = Arc::new(mesh);
    // A tap's topic would be compacted.
    mesh.log.create_topic("mesh.tap", &keeping(3)).await.unwrap();
    let job = PipelineJob::new(&mesh.plan(KILLED)).unwrap();
    let (mut table, mut numbers, mut events) = (Table::default(), Numbers(7), 0);
    let progress = Arc::new(Progress::default());
    for round in 0..rounds {
        let (_stop, stopped) = watch::channel(Until::Told);
        let (running, of, told) = (job.clone(), mesh.clone(), progress.clone());
        let run = async move { running.run(&of.log, &of.registry, &told, stopped).await };
        let mut running = tokio::spawn(run);
        for _ in 0..numbers.below(6) {
            let changes: Vec<_> =
                (0..numbers.below(60)).map(|_| table.change(&mut numbers)).collect();
            events += changes.len();
            mesh.append(&changes).await;
        }
        if round % 4 == 3 {
            tokio::select! {
                () = mesh.caught_up(&job) => {}
                ended = &mut running => panic!("the job ended: {ended:?}"),
            }
        }
        // Wherever it is: between its fetch and its append, or within one.
        running.abort();
        let ended = running.await;
        assert!(!matches!(ended, Ok(Err(_))), "{ended:?}");
    }
    let (stop, stopped) = watch::channel(Until::Told);
    let (last, of, told) = (job.clone(), mesh.clone(), progress.clone());
    let running =
        tokio::spawn(async move { last.run(&of.log, &of.registry, &told, stopped).await });
    mesh.caught_up(&job).await;
    stop.send(Until::Now).unwrap();
    assert!(matches!(running.await.unwrap().unwrap(), Ended::Stopped));
    table.expected.retain(|_, changes| !changes.is_empty());
    for topic in ["mesh.paid", "mesh.tap"] {
        let mut found: HashMap<u64, Vec<Json>> = HashMap::new();
        for (key, value) in mesh.records(topic).await {
            let id = key["id"].as_u64().unwrap();
            // A delete is told by its event; the tombstone behind it says it again.
            if !value.is_null() {
                found.entry(id).or_default().push(value["after"]["qty"].clone());
            }
        }
        assert_eq!(found, table.expected, "{topic}");
    }
    assert_eq!(mesh.records("mesh.all").await.len(), events);
}

/// A job that looks rows up goes to a cut that is where its topics end: also where what ends them is no
/// record.
pub(crate) async fn cut_at_the_ends<T: Transport>(mesh: Mesh<T>) {
    let job = PipelineJob::new(&mesh.plan(
        "  inputs: {orders: shop.orders, customers: {topic: shop.customers, lookup: true}}
  processors:
    - name: named
      sql: SELECT o.id, c.tier FROM orders o LEFT JOIN customers c ON c.id = o.customer_id
  sinks: [{name: out, from: named, kafka: {topic: mesh.named, cleanup_policy: delete}}]
",
    ))
    .unwrap();
    let mut orders = 0;
    for tier in [1, 2] {
        let customer = ("r", Json::Null, json!({"id": 7, "tier": tier}));
        mesh.append_to("shop.customers", &[customer]).await;
        let order = |id: u64| ("c", Json::Null, json!({"id": id, "customer_id": 7}));
        mesh.append(&(orders..orders + 20).map(order).collect::<Vec<_>>()).await;
        orders += 20;
        let mut ends = Cut::new();
        for topic in ["shop.customers", "shop.orders"] {
            let partitions = mesh.log.topic(topic).await.unwrap().partitions;
            ends.extend((0..).zip(partitions).map(|(of, at)| ((topic.to_owned(), of), at.end)));
        }
        let (_until, until) = watch::channel(Until::Cut(ends.clone()));
        let progress = Progress::default();
        let run = job.run(&mesh.log, &mesh.registry, &progress, until);
        let ended = tokio::time::timeout(Duration::from_secs(60), run).await;
        assert!(matches!(ended.expect("it does not end").unwrap(), Ended::AtCut));
        let committed = mesh.log.committed(&job.id()).await.unwrap();
        // Where rows begin is kept also where there are none; a table is read anew with each start.
        ends.retain(|(topic, _), end| *end > 0 || topic == "shop.orders");
        assert_eq!(committed, ends);
    }
    let tiers = mesh.records("mesh.named").await;
    assert_eq!(tiers.len() as u64, orders);
    for (key, value) in tiers {
        let tier = if key["id"].as_u64().unwrap() < 20 { 1 } else { 2 };
        assert_eq!(value["after"]["tier"], tier, "{key}");
    }
}
