//! A log with its data port, a registry, a line between that can be cut, and what stands in topics.

use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tidemesh_avro::{frame, json::to_json, schema::Schema};
use tidemesh_emitter::{EMITTER_HEADER, Emitter, EmitterBuilder, Event};
use tidemesh_schema_registry::{Registry, RegistryConfig, StoreConfig, serve};
use tidemesh_transport::{
    EmbeddedConfig, EmbeddedTransport, FetchLimit, Reader, RegistryClient, Start, Subscription,
    Transport, serve_remote,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An event of the tests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer: String,
    pub(crate) note: Option<String>,
}

pub(crate) const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":"string"},
    {"name":"note","type":["null","string"],"default":null}]}"#;

impl Event for Order {
    const TOPIC: &'static str = "shop.orders";
    const KEY: &'static [&'static str] = &["customer"];

    fn schema() -> Cow<'static, str> {
        ORDER.into()
    }
}

pub(crate) fn order(id: i64) -> Order {
    Order { id, customer: format!("c{}", id % 7), note: None }
}

/// A log and a registry.
pub(crate) struct Mesh {
    pub(crate) log: EmbeddedTransport,
    pub(crate) registry: String,
    pub(crate) address: SocketAddr,
    port: watch::Sender<bool>,
    serving: JoinHandle<()>,
    pub(crate) folder: tempfile::TempDir,
}

impl Mesh {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path().join("log"))).unwrap();
        let registry = serve_registry(&folder.path().join("registry.db"), "127.0.0.1:0").await;
        let (port, serving, address) = serve_log(&log, "127.0.0.1:0".parse().unwrap()).await;
        Self { log, registry, address, port, serving, folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// The log is away for its clients.
    pub(crate) async fn go_away(&mut self) {
        self.port.send_replace(true);
        (&mut self.serving).await.unwrap();
    }

    pub(crate) async fn come_back(&mut self) {
        (self.port, self.serving, self.address) = serve_log(&self.log, self.address).await;
    }

    pub(crate) fn builder(&self, name: &str) -> EmitterBuilder {
        Emitter::builder(name).remote(self.url()).registry(&self.registry)
    }

    pub(crate) fn client(&self) -> RegistryClient {
        RegistryClient::new(&self.registry).unwrap()
    }

    /// What stands in a topic.
    pub(crate) async fn read(&self, topic: &str) -> Vec<Found> {
        read(&self.log, &self.client(), topic).await
    }
}

async fn serve_log(
    log: &EmbeddedTransport,
    address: SocketAddr,
) -> (watch::Sender<bool>, JoinHandle<()>, SocketAddr) {
    let listener = eventually(async || TcpListener::bind(address).await.ok()).await;
    let address = listener.local_addr().unwrap();
    let (port, shutdown) = watch::channel(false);
    let log = Arc::new(log.clone());
    let serving = tokio::spawn(async move {
        serve_remote(log, listener.into(), shutdown).await.unwrap();
    });
    (port, serving, address)
}

/// Serves a registry that keeps its schemas in this file; its URL.
pub(crate) async fn serve_registry(file: &Path, address: &str) -> String {
    let config = RegistryConfig::new(StoreConfig::Sqlite(file.to_owned()));
    let registry = Arc::new(Registry::open(&config).unwrap());
    let listener = TcpListener::bind(address).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, registry, std::future::pending()));
    url
}

/// Asks until there is an answer.
pub(crate) async fn eventually<A>(ask: impl AsyncFn() -> Option<A>) -> A {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("within a minute")
}

/// A record of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<serde_json::Value>,
    pub(crate) value: serde_json::Value,
    pub(crate) headers: BTreeMap<String, Vec<u8>>,
    pub(crate) instance: u64,
    pub(crate) sequence: u64,
}

/// What stands in a topic, by partition and offset.
pub(crate) async fn read<T: Transport>(
    log: &T,
    registry: &RegistryClient,
    topic: &str,
) -> Vec<Found> {
    let subscription =
        Subscription { topics: vec![topic.to_owned()], group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let ends: BTreeMap<_, _> = {
        let info = log.topic(topic).await.unwrap();
        let partitions = (0..).zip(info.partitions);
        partitions.map(|(number, partition)| ((topic.to_owned(), number), partition.end)).collect()
    };
    let limit = FetchLimit { bytes_max: 4 << 20, wait_max: Duration::from_millis(50) };
    let mut schemas: BTreeMap<u32, Schema> = BTreeMap::new();
    let mut all = Vec::new();
    while reader.positions() != ends {
        for batch in reader.poll(limit).await.unwrap() {
            for record in batch.iter() {
                let (offset, record) = record.unwrap();
                let mut read = Vec::new();
                for framed in record.key.into_iter().chain(record.value) {
                    let (id, data) = frame::split(framed).unwrap();
                    if let std::collections::btree_map::Entry::Vacant(place) = schemas.entry(id) {
                        let text = registry.schema(id).await.unwrap();
                        place.insert(Schema::parse(&text).unwrap());
                    }
                    read.push(to_json(&schemas[&id], data).unwrap());
                }
                let stamp = record.header(EMITTER_HEADER).unwrap();
                all.push(Found {
                    partition: batch.partition,
                    offset,
                    timestamp_ms: record.timestamp_ms,
                    value: read.pop().unwrap(),
                    key: read.pop(),
                    headers: record.headers().map(|(n, v)| (n.to_owned(), v.to_vec())).collect(),
                    instance: u64::from_be_bytes(stamp[..8].try_into().unwrap()),
                    sequence: u64::from_be_bytes(stamp[8..].try_into().unwrap()),
                });
            }
        }
    }
    all.sort_by_key(|found| (found.partition, found.offset));
    all
}

/// The numbers of one field, in the topic's order.
pub(crate) fn ids(found: &[Found]) -> Vec<i64> {
    found.iter().map(|found| found.value["id"].as_i64().unwrap()).collect()
}

/// Each instance's events are numbered without gap or repetition, in order.
pub(crate) fn audit(found: &[Found]) {
    let mut next: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for found in found {
        let next = next.entry((found.partition, found.instance)).or_default();
        assert_eq!(found.sequence, *next, "{found:?}");
        *next += 1;
    }
}

/// A line to an address that is cut after so many bytes, each time it is there.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    /// How often it was cut.
    pub(crate) cuts: Arc<AtomicU64>,
    calm: Arc<AtomicBool>,
}

impl Line {
    /// Cuts each connection after a number of bytes, in either direction, that `next` gives.
    pub(crate) async fn to(
        target: SocketAddr,
        next: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, calm) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, calmed) = (Arc::clone(&cuts), Arc::clone(&calm));
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let bytes = || if calmed.load(Ordering::Relaxed) { u64::MAX } else { next() };
                let (there, back) = (bytes(), bytes());
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(near_read, far_write, there) => {}
                        () = pass(far_read, near_write, back) => {}
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, cuts, calm }
    }

    /// Cuts no connection that begins from here on.
    pub(crate) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut left: u64,
) {
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let most = usize::try_from(left.min(64 * 1024)).unwrap();
        let Ok(count @ 1..) = from.read(&mut buffer[..most]).await else { return };
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        left -= count as u64;
    }
}

/// Tells a test that it runs in a process of its own; without it, it does nothing.
const CHILD: &str = "TIDEMESH_TEST_CHILD";

/// Whether this is the process that [`in_a_process_of_its_own`] has started.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs a test in a process of its own, which ignores SIGXFSZ: a write past a limit fails instead of killing it.
pub(crate) fn in_a_process_of_its_own(test: &str) {
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "yes")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}
