//! A registry and a launcher in memory, and controllers over one store.

use futures_util::future::{BoxFuture, FutureExt};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemesh_controller::{
    AcceptedLoss, Asked, Canary, Changes, Connectors, Controller, ControllerConfig, History,
    Holder, JobCounts, JobReport, JobState, LastRecord, Launcher, LostPlace, Refused, Registry,
    SourceJob, Start, StartSource, StoreConfig, Text, TopicKeeper, TopicsOf,
};
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings};
use tidemesh_plan::document::Document;
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_transport::{Announced, PartitionInfo, Retention, TopicConfig, TopicInfo};
use tokio::sync::watch;

/// Texts in the order of their registration, which are their ids, and the newest id of each subject.
type Known = (Vec<Arc<str>>, BTreeMap<String, u32>);

#[derive(Clone, Default)]
pub(crate) struct Schemas {
    known: Arc<Mutex<Known>>,
    away: Arc<AtomicBool>,
    questions: Arc<Questions>,
}

/// How often newest schemas were asked for, how many such questions are open, and were at the most.
#[derive(Default)]
struct Questions {
    asked: AtomicUsize,
    open: AtomicUsize,
    open_most: AtomicUsize,
}

impl Schemas {
    fn answer<T>(&self, answer: T) -> Result<T> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "ask the registry"));
        }
        Ok(answer)
    }

    fn put(&self, subject: &str, text: &str) {
        let mut known = self.known.lock().unwrap();
        let place = known.0.iter().position(|one| **one == *text).unwrap_or_else(|| {
            known.0.push(text.into());
            known.0.len() - 1
        });
        known.1.insert(subject.to_owned(), u32::try_from(place).unwrap());
    }
}

impl Questions {
    /// One that lets others be asked before it is answered.
    async fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.open_most.fetch_max(open, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Registry for Schemas {
    async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>> {
        self.questions.ask().await;
        let known = self.known.lock().unwrap();
        let found = known.1.get(subject);
        self.answer(found.map(|id| (*id, known.0[*id as usize].clone())))
    }

    async fn refuses(&self, _: &str, _: &str) -> Result<Option<String>> {
        self.answer(None)
    }

    async fn history(&self, _: &str) -> Result<Option<History>> {
        self.answer(None)
    }

    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        let known = self.known.lock().unwrap();
        self.answer(known.0[id as usize].clone())
    }
}

/// Keeps how each pipeline was started, and how its job is.
#[derive(Default)]
struct Jobs {
    started: Mutex<BTreeMap<String, (Start, JobState)>>,
    /// What is gone before pipelines have answered for it.
    gone: Mutex<BTreeMap<String, Vec<LostPlace>>>,
}

impl Jobs {
    /// How the job of a pipeline is that goes on behind these losses.
    fn state(&self, pipeline: &str, accepted: &AcceptedLoss) -> JobState {
        let gone = self.gone.lock().unwrap().get(pipeline).cloned().unwrap_or_default();
        let accepted = |place: &LostPlace| accepted.covers_any(std::slice::from_ref(place));
        let places: Vec<LostPlace> = gone.into_iter().filter(|place| !accepted(place)).collect();
        match places.is_empty() {
            true => JobState::Running,
            false => JobState::Lost { error: "records are gone".to_owned(), places },
        }
    }
}

impl Launcher for Jobs {
    fn start(&self, start: Start) -> BoxFuture<'_, ()> {
        let state = self.state(start.plan.name(), &start.accepted_loss);
        self.started.lock().unwrap().insert(start.plan.name().to_owned(), (start, state));
        async {}.boxed()
    }

    fn drain<'l>(&'l self, _: &'l str, _: &'l [(String, String)]) -> BoxFuture<'l, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn stop<'l>(&'l self, pipeline: &'l str) -> BoxFuture<'l, ()> {
        self.started.lock().unwrap().remove(pipeline);
        async {}.boxed()
    }

    fn jobs(&self) -> BTreeMap<String, JobReport> {
        let report = |(name, (start, state)): (&String, &(Start, JobState))| {
            let (digest, state) = (start.plan.digest.clone(), state.clone());
            // It has read all that there is.
            let counts = JobCounts { lag_records: Some(0), ..JobCounts::default() };
            (name.clone(), JobReport { digest, state, counts })
        };
        self.started.lock().unwrap().iter().map(report).collect()
    }
}

/// Pipelines whose new plans fail when they are tried.
#[derive(Default)]
struct Failing {
    pipelines: Mutex<BTreeSet<String>>,
    /// Whether tries take as long as this is so, and how many have begun.
    long: watch::Sender<bool>,
    begun: AtomicUsize,
}

impl Canary for Failing {
    fn try_plan<'c>(
        &'c self,
        _: &'c PipelinePlan,
        next: &'c PipelinePlan,
        _: tokio::time::Instant,
    ) -> BoxFuture<'c, Result<Option<String>>> {
        let fails = self.pipelines.lock().unwrap().contains(next.name());
        let mut long = self.long.subscribe();
        self.begun.fetch_add(1, Ordering::Relaxed);
        async move {
            long.wait_for(|long| !long).await.unwrap();
            Ok(fails.then(|| "it divides by zero".to_owned()))
        }
        .boxed()
    }
}

/// By how many bytes kept topics may grow.
pub(crate) const KEPT_BYTES_MAX: u64 = 1000;

/// For each topic and partition an offset.
type Offsets = BTreeMap<(String, u32), u64>;

/// How topics are made, and how many bytes they have; those that are not told of are there. And up to where
/// pipelines have answered for them.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, (TopicConfig, u64)>>, Mutex<BTreeMap<String, Offsets>>);

impl TopicKeeper for Kept {
    fn topic<'k>(&'k self, topic: &'k str) -> BoxFuture<'k, Result<TopicInfo>> {
        let (config, bytes) = self.0.lock().unwrap().get(topic).cloned().unwrap_or_default();
        let partitions = vec![PartitionInfo { begin: 0, end: bytes / 10, bytes: Some(bytes) }];
        async move { Ok(TopicInfo { name: topic.to_owned(), config, partitions }) }.boxed()
    }

    fn keep<'k>(&'k self, topic: &'k str, retention: Retention) -> BoxFuture<'k, Result<()>> {
        let mut topics = self.0.lock().unwrap();
        let (config, _) = topics.entry(topic.to_owned()).or_default();
        *config = config.clone().with_retention(&retention);
        async { Ok(()) }.boxed()
    }

    fn record_bytes<'k>(&'k self, _: &'k TopicInfo) -> BoxFuture<'k, Result<u64>> {
        async { Ok(10) }.boxed()
    }

    fn committed<'k>(&'k self, pipeline: &'k str) -> BoxFuture<'k, Result<Offsets>> {
        let offsets = self.1.lock().unwrap().get(pipeline).cloned().unwrap_or_default();
        async { Ok(offsets) }.boxed()
    }
}

/// Keeps how each source was started.
#[derive(Default)]
struct Sources(Mutex<BTreeMap<String, StartSource>>);

impl Connectors for Sources {
    fn check(&self, settings: &SourceSettings) -> Result<()> {
        let database = settings.postgres.as_ref().map(|postgres| postgres.database.as_str());
        if database == Some("wrong") {
            return Err(Error::new(ErrorKind::Config, "use the settings")
                .because("postgres.database: there is none"));
        }
        Ok(())
    }

    fn start(&self, source: StartSource) -> BoxFuture<'_, Result<()>> {
        self.0.lock().unwrap().insert(source.settings.name.clone(), source);
        async { Ok(()) }.boxed()
    }

    fn stop<'c>(&'c self, source: &'c str) -> BoxFuture<'c, ()> {
        self.0.lock().unwrap().remove(source);
        async {}.boxed()
    }

    fn sources(&self) -> BTreeMap<String, SourceJob> {
        let job = |(name, start): (&String, &StartSource)| {
            (name.clone(), SourceJob { start: start.clone(), state: "streaming".to_owned() })
        };
        self.0.lock().unwrap().iter().map(job).collect()
    }
}

/// What connectors announce, and topics' last records.
#[derive(Default)]
pub(crate) struct Log {
    announced: Mutex<Vec<Announced>>,
    records: Mutex<BTreeMap<String, Vec<LastRecord>>>,
}

impl Log {
    /// A connector announces a table at this time.
    pub(crate) fn announce(&self, source: &str, table: &str, at: SystemTime) {
        let at_ms = at.duration_since(UNIX_EPOCH).unwrap().as_millis();
        let at_ms = u64::try_from(at_ms).unwrap();
        let mut announced = Announced::new(source, table);
        announced.at_ms = at_ms;
        self.write_announced(announced);
    }

    fn write_announced(&self, announced: Announced) {
        self.announced.lock().unwrap().push(announced);
    }

    /// A record without a key, whose value is this data in Avro.
    fn put(&self, topic: &str, schema: u32, data: &[u8]) {
        let mut records = self.records.lock().unwrap();
        let records = records.entry(topic.to_owned()).or_default();
        let value = [&[0], &schema.to_be_bytes()[..], data].concat();
        let offset = records.len() as u64;
        let value = Some(value);
        records.push(LastRecord { partition: 0, offset, timestamp_ms: 0, key: None, value });
    }
}

impl TopicsOf for Log {
    fn announced(&self) -> BoxFuture<'_, Result<Vec<Announced>>> {
        let announced = self.announced.lock().unwrap().clone();
        async { Ok(announced) }.boxed()
    }

    fn last<'t>(&'t self, topic: &'t str, _: usize) -> BoxFuture<'t, Result<Vec<LastRecord>>> {
        let records = self.records.lock().unwrap().get(topic).cloned().unwrap_or_default();
        async { Ok(records) }.boxed()
    }
}

pub(crate) struct Mesh {
    folder: tempfile::TempDir,
    lease: Duration,
    schemas: Schemas,
    jobs: Arc<Jobs>,
    kept: Arc<Kept>,
    sources: Arc<Sources>,
    failing: Arc<Failing>,
    configured: Vec<Arc<Document>>,
    /// Sources that controllers are told to be run elsewhere.
    pub(crate) elsewhere: Vec<String>,
    pub(crate) log: Arc<Log>,
}

/// A controller that runs.
pub(crate) struct Running(
    pub(crate) Arc<Controller<Schemas>>,
    watch::Sender<bool>,
    tokio::task::JoinHandle<Result<()>>,
);

impl Deref for Running {
    type Target = Controller<Schemas>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Running {
    pub(crate) async fn apply(&self, text: &str) -> Result<Changes, Refused> {
        self.0.apply(&texts(text), &Asked::default()).await
    }

    pub(crate) async fn plan(&self, text: &str) -> Result<Changes, Refused> {
        self.0.apply(&texts(text), &Asked { dry_run: true, ..Asked::default() }).await
    }

    pub(crate) async fn end(self) {
        self.1.send(true).unwrap();
        self.2.await.unwrap().unwrap();
    }
}

fn run(controller: Controller<Schemas>) -> Running {
    let controller = Arc::new(controller);
    let (stop, stopped) = watch::channel(false);
    let running = controller.clone();
    let run = tokio::spawn(async move { running.run(stopped).await });
    Running(controller, stop, run)
}

fn texts(text: &str) -> Vec<Text> {
    vec![Text { name: "test.yaml".into(), text: text.to_owned() }]
}

impl Mesh {
    pub(crate) fn open() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            lease: Duration::from_secs(15),
            schemas: Schemas::default(),
            jobs: Arc::default(),
            kept: Arc::default(),
            sources: Arc::default(),
            failing: Arc::default(),
            configured: Vec::new(),
            elsewhere: Vec::new(),
            log: Arc::default(),
        }
    }

    /// One whose leases are as short as they may be.
    pub(crate) fn with_short_leases() -> Self {
        Self { lease: Duration::from_secs(1), ..Self::open() }
    }

    /// With sources that the configuration of every process has.
    pub(crate) fn configured(self, sources: Vec<SourceSettings>) -> Self {
        let sources = sources.into_iter().map(|source| Arc::new(Document::configured(source)));
        Self { configured: sources.collect(), ..self }
    }

    /// How a source was started.
    pub(crate) fn source(&self, name: &str) -> Option<StartSource> {
        self.sources.0.lock().unwrap().get(name).cloned()
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("controller.sqlite")
    }

    /// Keeps everybody from writing to the store until this is dropped.
    pub(crate) fn block_store(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// Gives a topic these schemas: of its keys and values.
    pub(crate) fn topic(&self, topic: &str, (key, value): &(String, String)) {
        self.schemas.put(&format!("{topic}-key"), key);
        self.schemas.put(&format!("{topic}-value"), value);
    }

    /// A connector has a topic with these schemas, from the table of its name, and a record in it.
    pub(crate) fn captured(&self, topic: &str, schemas: &(String, String), data: &[u8]) {
        let (source, table) = topic.split_once('.').unwrap();
        let value_schema = self.written(topic, schemas, data);
        let mut announced = Announced::new(source, table);
        (announced.topic, announced.value_schema) = (topic.to_owned(), value_schema);
        self.log.write_announced(announced);
    }

    /// An emitter has a topic with these schemas, for which `shop-team` answers, and a record in it.
    pub(crate) fn emitted(
        &self,
        emitter: &str,
        topic: &str,
        schemas: &(String, String),
        data: &[u8],
    ) {
        let value_schema = self.written(topic, schemas, data);
        let mut announced = Announced::new(emitter, topic);
        (announced.topic, announced.value_schema) = (topic.to_owned(), value_schema);
        announced.owner = "shop-team".to_owned();
        self.log.write_announced(announced);
    }

    /// Writes a record by these schemas; answers the id of the value's.
    pub(crate) fn written(&self, topic: &str, schemas: &(String, String), data: &[u8]) -> u32 {
        self.topic(topic, schemas);
        let id = self.schemas.known.lock().unwrap().1[&format!("{topic}-value")];
        self.log.put(topic, id, data);
        id
    }

    /// Gives a topic's records this key, in Avro's frame, whatever its schema is.
    pub(crate) fn keyed(&self, topic: &str, data: &[u8]) {
        let id = self.schemas.known.lock().unwrap().1[&format!("{topic}-key")];
        let key = [&[0], &id.to_be_bytes()[..], data].concat();
        let mut records = self.log.records.lock().unwrap();
        for record in records.entry(topic.to_owned()).or_default() {
            record.key = Some(key.clone());
        }
    }

    /// Has new plans of a pipeline fail when they are tried, or no longer.
    pub(crate) fn fails(&self, pipeline: &str, fails: bool) {
        let mut failing = self.failing.pipelines.lock().unwrap();
        if fails {
            failing.insert(pipeline.to_owned());
        } else {
            failing.remove(pipeline);
        }
    }

    /// Has tries take until they may end.
    pub(crate) fn tries_are_long(&self, long: bool) {
        self.failing.long.send_replace(long);
    }

    /// How many tries have begun.
    pub(crate) fn tries(&self) -> usize {
        self.failing.begun.load(Ordering::Relaxed)
    }

    /// How often newest schemas were asked for, and how many such questions were open at the most.
    pub(crate) fn questions(&self) -> (usize, usize) {
        let Questions { asked, open_most, .. } = self.schemas.questions.as_ref();
        (asked.load(Ordering::Relaxed), open_most.load(Ordering::Relaxed))
    }

    pub(crate) fn registry_away(&self, away: bool) {
        self.schemas.away.store(away, Ordering::Relaxed);
    }

    /// A controller over the mesh's store, which may have to wait until it acts.
    pub(crate) fn start(&self, id: &str) -> Running {
        let controller = self.open_controller(id).with_connectors(self.sources.clone());
        run(controller)
    }

    /// One that acts and starts no connectors.
    pub(crate) async fn without_connectors(&self, id: &str) -> Running {
        let running = run(self.open_controller(id));
        self.until("it acts", || running.leads()).await;
        running
    }

    fn open_controller(&self, id: &str) -> Controller<Schemas> {
        let mut config = ControllerConfig::new(StoreConfig::Sqlite(self.file()));
        config.lease = self.lease;
        config.reconcile_every = Duration::from_millis(10);
        config.keep_topics_after = Duration::ZERO;
        config.look_at_kept_every = Duration::from_millis(10);
        config.kept_bytes_max = KEPT_BYTES_MAX;
        config.sources.clone_from(&self.configured);
        config.connectors.clone_from(&self.elsewhere);
        let holder = Holder { id: id.into(), url: format!("http://{id}") };
        let controller =
            Controller::open(config, holder, self.schemas.clone(), self.jobs.clone()).unwrap();
        let controller = controller.keeping(self.kept.clone());
        controller.with_canary(self.failing.clone()).with_log(self.log.clone())
    }

    /// A controller that acts.
    pub(crate) async fn controller(&self, id: &str) -> Running {
        let running = self.start(id);
        self.until("it acts", || running.leads()).await;
        running
    }

    /// The digest of the plan that a pipeline runs by.
    pub(crate) fn runs(&self, pipeline: &str) -> Option<String> {
        let started = self.jobs.started.lock().unwrap();
        started.get(pipeline).map(|(start, _)| start.plan.digest.clone())
    }

    /// Behind which losses a pipeline was started.
    pub(crate) fn accepted(&self, pipeline: &str) -> Option<Offsets> {
        let started = self.jobs.started.lock().unwrap();
        started.get(pipeline).map(|(start, _)| start.accepted_loss.offsets())
    }

    /// Has these records be gone before a pipeline has answered for them; its job sees that.
    pub(crate) fn loses(&self, pipeline: &str, gone: &[LostPlace]) {
        self.jobs.gone.lock().unwrap().insert(pipeline.to_owned(), gone.to_vec());
        let mut started = self.jobs.started.lock().unwrap();
        if let Some((start, state)) = started.get_mut(pipeline) {
            *state = self.jobs.state(pipeline, &start.accepted_loss);
        }
    }

    /// Has a pipeline's job be as one that knows of nothing that was accepted.
    pub(crate) fn stands(&self, pipeline: &str) {
        let mut started = self.jobs.started.lock().unwrap();
        let (start, state) = started.get_mut(pipeline).unwrap();
        start.accepted_loss = AcceptedLoss::default();
        *state = self.jobs.state(pipeline, &start.accepted_loss);
    }

    /// Ends a pipeline's job.
    pub(crate) fn ends(&self, pipeline: &str) {
        self.jobs.started.lock().unwrap().remove(pipeline);
    }

    /// Has a pipeline have answered for what is before these offsets.
    pub(crate) fn has_committed(&self, pipeline: &str, offsets: &Offsets) {
        self.kept.1.lock().unwrap().insert(pipeline.to_owned(), offsets.clone());
    }

    /// How long a topic keeps its tombstones, in milliseconds.
    pub(crate) fn tombstones_ms(&self, topic: &str) -> u64 {
        self.topic_config(topic).delete_retention_ms
    }

    /// How a topic is kept now.
    pub(crate) fn topic_config(&self, topic: &str) -> TopicConfig {
        self.kept.0.lock().unwrap().get(topic).cloned().unwrap_or_default().0
    }

    /// Makes a topic so, or anew, with so many bytes.
    pub(crate) fn make_topic(&self, topic: &str, config: TopicConfig, bytes: u64) {
        self.kept.0.lock().unwrap().insert(topic.to_owned(), (config, bytes));
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "never came: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The schemas of a table's topic as a connector has them: the key `id`, and columns of text.
pub(crate) fn table(topic: &str, columns: &[&str]) -> (String, String) {
    let key = json!({"type": "record", "name": format!("{topic}.Key"), "fields": [
        {"name": "id", "type": "long"},
    ]});
    let text = |name: &&str| json!({"name": name, "type": ["null", "string"], "default": null});
    let mut fields = vec![json!({"name": "id", "type": "long"})];
    fields.extend(columns.iter().map(text));
    let row = json!({"type": "record", "name": format!("{topic}.Value"), "fields": fields});
    let value = json!({"type": "record", "name": format!("{topic}.Envelope"), "fields": [
        {"name": "before", "type": ["null", row], "default": null},
        {"name": "after", "type": ["null", format!("{topic}.Value")], "default": null},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": null},
    ]});
    (key.to_string(), value.to_string())
}
