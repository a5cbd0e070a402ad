//! The history checker must find bugs: three are planted between the real parts, and each is found.

use crate::history::{History, Told};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::records;
use crate::support::writer::{TABLE, TOPIC};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tidemesh_model::{
    Field, Result, SnapshotSettings, SourceBlock, SourceSettings, TableName, TableSchema, Value,
};
use tidemesh_postgres::{PostgresConnector, PostgresSource};
use tidemesh_source::{
    Checkpoint, Chunk, ChunkRequest, Connector, Key, QueryRequest, RowVisitor, Runner,
    SourceHandle, TablePlan, TableReader, TableTexts, TextRequest, TextRow, TextRows, Vitals,
};
use tidemesh_transport::{
    Append, Appended, PartitionBatch, RegistryClient, RemoteTransport, Retention, Subscription,
    TopicConfig, TopicInfo, Transport, WriterEpoch,
};
use tokio::sync::{Mutex, Semaphore};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// A batch is confirmed that was never stored.
    EarlyConfirm,
    /// A batch is stored again behind a later one.
    LateReplay,
    /// A chunk's rows are emitted though the log has newer ones.
    NoDrop,
}

/// A transport that has the bug in its first batches.
struct Faulty {
    inner: RemoteTransport,
    bug: Bug,
    appends: AtomicU32,
    kept: Mutex<Vec<PartitionBatch>>,
}

impl Faulty {
    async fn spoil(&self, append: &mut Append) {
        if append.batches.is_empty() {
            return;
        }
        let number = self.appends.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().await;
        match (self.bug, number) {
            (Bug::EarlyConfirm, 1) => append.batches.clear(),
            (Bug::LateReplay, 1) => kept.clone_from(&append.batches),
            (Bug::LateReplay, 2) => append.batches.append(&mut kept),
            _ => {}
        }
    }
}

impl Transport for Faulty {
    type Reader = <RemoteTransport as Transport>::Reader;

    async fn create_topic(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        self.inner.create_topic(topic, config).await
    }

    async fn set_retention(&self, topic: &str, retention: &Retention) -> Result<TopicInfo> {
        self.inner.set_retention(topic, retention).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.inner.delete_topic(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.inner.topics().await
    }

    async fn topic(&self, topic: &str) -> Result<TopicInfo> {
        self.inner.topic(topic).await
    }

    async fn open_writer(&self, id: &str) -> Result<WriterEpoch> {
        self.inner.open_writer(id).await
    }

    async fn state(&self, id: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        self.inner.state(id).await
    }

    async fn writers(&self) -> Result<Vec<String>> {
        self.inner.writers().await
    }

    async fn append(&self, mut append: Append) -> Result<Appended> {
        self.spoil(&mut append).await;
        self.inner.append(append).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Self::Reader> {
        self.inner.subscribe(subscription).await
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        self.inner.committed(group).await
    }

    async fn consumption(&self, topic: &str) -> Result<BTreeMap<(String, u32), u64>> {
        self.inner.consumption(topic).await
    }
}

/// A connector whose chunks are read before their low marks and are said to have every transaction.
struct Careless {
    inner: PostgresConnector,
    careless: bool,
    /// Whether a chunk waits, and whether it may go on.
    waits: Arc<AtomicBool>,
    goes_on: Arc<Semaphore>,
}

struct CarelessReader {
    inner: <PostgresConnector as Connector>::Reader,
    careless: bool,
    low: Option<String>,
    waits: Arc<AtomicBool>,
    goes_on: Arc<Semaphore>,
}

struct CarelessChunk {
    inner: <<PostgresConnector as Connector>::Reader as TableReader>::Chunk,
    careless: bool,
}

impl Connector for Careless {
    type Source = PostgresSource;
    type Reader = CarelessReader;

    fn block(&self) -> SourceBlock {
        self.inner.block()
    }

    async fn discover(&self) -> Result<()> {
        self.inner.discover().await
    }

    fn tables(&self) -> Vec<TableName> {
        self.inner.tables()
    }

    fn vitals(&self) -> Arc<Vitals> {
        self.inner.vitals()
    }

    async fn look(&self) -> Result<()> {
        self.inner.look().await
    }

    async fn reader(&self) -> Result<CarelessReader> {
        let (waits, goes_on) = (Arc::clone(&self.waits), Arc::clone(&self.goes_on));
        let inner = self.inner.reader().await?;
        Ok(CarelessReader { inner, careless: self.careless, low: None, waits, goes_on })
    }

    async fn await_turn(&self, held: impl FnMut(String) + Send) -> Result<()> {
        self.inner.await_turn(held).await
    }

    async fn open(&self, checkpoint: Option<Checkpoint>, epoch: u32) -> Result<PostgresSource> {
        self.inner.open(checkpoint, epoch).await
    }

    async fn drop_log(&self) -> Result<Option<String>> {
        self.inner.drop_log().await
    }
}

impl TableReader for CarelessReader {
    type Chunk = CarelessChunk;

    async fn settle(&mut self) -> Result<()> {
        self.inner.settle().await
    }

    async fn plan(&mut self, table: &TableName, parts_max: u32) -> Result<TablePlan> {
        self.inner.plan(table, parts_max).await
    }

    async fn mark(&mut self, text: &str) -> Result<()> {
        if self.careless && text.starts_with("low") {
            self.low = Some(text.to_owned());
            return Ok(());
        }
        self.inner.mark(text).await
    }

    async fn sees(&mut self, transactions: &[u64]) -> Result<bool> {
        self.inner.sees(transactions).await
    }

    async fn chunk(&mut self, request: &ChunkRequest) -> Result<CarelessChunk> {
        let inner = self.inner.chunk(request).await?;
        self.waits.store(true, Ordering::Relaxed);
        drop(self.goes_on.acquire().await.unwrap());
        if let Some(low) = self.low.take() {
            self.inner.mark(&low).await?;
        }
        Ok(CarelessChunk { inner, careless: self.careless })
    }
}

impl TableTexts for CarelessReader {
    async fn texts(&mut self, request: &TextRequest) -> Result<TextRows> {
        self.inner.texts(request).await
    }

    fn text(field: &Field, value: &Value) -> Option<String> {
        <<PostgresConnector as Connector>::Reader as TableTexts>::text(field, value)
    }

    async fn canonical(&mut self, cells: &[(Field, String)]) -> Result<Vec<Option<String>>> {
        self.inner.canonical(cells).await
    }

    async fn query(
        &mut self,
        request: &QueryRequest,
        take: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> Result<()> {
        self.inner.query(request, take).await
    }
}

impl Chunk for CarelessChunk {
    fn schema(&self) -> &Arc<TableSchema> {
        self.inner.schema()
    }

    fn rows(&self) -> u64 {
        self.inner.rows()
    }

    fn last_key(&self) -> Option<&Key> {
        self.inner.last_key()
    }

    fn is_last(&self) -> bool {
        self.inner.is_last()
    }

    fn generation(&self) -> Option<&str> {
        self.inner.generation()
    }

    fn sees(&self, transaction: u64) -> bool {
        self.careless || self.inner.sees(transaction)
    }

    fn visit<V: RowVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.inner.visit(visitor)
    }
}

/// What the checker says of a run with this bug, or with none, and what the topic tells.
async fn run_with(bug: Option<Bug>) -> (Option<String>, History) {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let mut history = History::default();
    database.execute("INSERT INTO orders SELECT g, 0, 'x' FROM generate_series(1, 5) g").await;
    (1..=5).for_each(|key| history.was_there(key, 0));
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let (holder, source) = config.split_once("[[source]]").unwrap();
    let daemon = Daemon::up(folder.path(), holder).await;
    let endpoints = daemon.logged("listening").await;
    let table: toml::Table = source.replace("[source.postgres]", "[postgres]").parse().unwrap();
    let mut settings: SourceSettings = table.try_into().unwrap();
    settings.snapshot = SnapshotSettings { parallel: 1, ..settings.snapshot };
    let connector = Careless {
        inner: PostgresConnector::new(&settings).unwrap(),
        careless: bug == Some(Bug::NoDrop),
        waits: Arc::default(),
        goes_on: Arc::new(Semaphore::new(0)),
    };
    let (waits, goes_on) = (Arc::clone(&connector.waits), Arc::clone(&connector.goes_on));
    let transport = Faulty {
        inner: RemoteTransport::new(endpoints["data"].as_str().unwrap()).unwrap(),
        bug: bug.unwrap_or(Bug::NoDrop),
        appends: AtomicU32::new(0),
        kept: Mutex::default(),
    };
    let registry = RegistryClient::new(endpoints["registry"].as_str().unwrap()).unwrap();
    let (runner, handle): (_, SourceHandle) =
        Runner::new(Arc::new(connector), Arc::new(transport), registry, settings);
    let running = tokio::spawn(runner.run());
    eventually("a chunk was read", async || waits.load(Ordering::Relaxed).then_some(())).await;
    // Each commit is a batch of its own: the next is written when the last one is told.
    for version in 1..=4 {
        database.execute(&format!("UPDATE orders SET n = {version}")).await;
        (1..=5).for_each(|key| history.wrote(key, version));
        let events = 5 * u64::try_from(version).unwrap();
        eventually("the log tells it", async || {
            (handle.status.report().events >= events).then_some(())
        })
        .await;
    }
    goes_on.add_permits(1);
    eventually("the snapshot is done", async || {
        let report = handle.status.report().snapshot;
        report.tables.iter().all(|table| table.ended_at_us.is_some()).then_some(())
    })
    .await;
    handle.stop();
    running.await.unwrap().unwrap();
    (history.difference(&Told::of_topic(&records(&daemon, TOPIC))), history)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_no_bug_is() {
    assert_eq!(run_with(None).await.0, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_confirmed_too_early_is_found() {
    let found = run_with(Some(Bug::EarlyConfirm)).await.0.unwrap_or_default();
    assert!(found.contains("a version was lost"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_in_the_wrong_order_is_found() {
    let found = run_with(Some(Bug::LateReplay)).await.0.unwrap_or_default();
    assert!(found.contains("told twice, or too late"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_touched_rows_are_not_dropped_is_found() {
    let found = run_with(Some(Bug::NoDrop)).await.0.unwrap_or_default();
    assert!(found.contains("a snapshot told another version than the latest"), "{found}");
}
