//! Apache Kafka: the shared broker that `scripts/test` has started, and private ones.

use super::eventually;
use super::postgres::free_port;
use super::proxy::Proxy;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tidemesh_transport::kafka::{KafkaConfig, KafkaTransport};

static MESHES: AtomicU32 = AtomicU32::new(0);

/// The shared broker.
pub(crate) fn shared() -> String {
    std::env::var("TIDEMESH_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("TIDEMESH_TEST_KAFKA is not set: start the broker and the tests with `scripts/test`")
    })
}

/// Makes a topic of one partition on the shared broker.
pub(crate) async fn create_topic(name: &str) {
    let mut config = ClientConfig::new();
    let admin: AdminClient<_> = config.set("bootstrap.servers", shared()).create().unwrap();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap()[0].clone().unwrap();
}

/// A configuration whose records go to the shared broker, to a mesh of its own; with more lines for
/// the `[kafka]` table.
pub(crate) fn on_kafka(configuration: &str, more: &str) -> String {
    on_broker(configuration, &shared(), more)
}

/// The same on another broker.
pub(crate) fn on_broker(configuration: &str, servers: &str, more: &str) -> String {
    let mesh = MESHES.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("e2e{}-{mesh}.", std::process::id());
    let table =
        format!("[kafka]\nbootstrap_servers = \"{servers}\"\nprefix = \"{prefix}\"\n{more}\n");
    configuration.replacen("[[source]]", &format!("{table}[[source]]"), 1)
}

/// The mesh that a configuration names, as another process sees it.
pub(crate) fn cluster(configuration: &str) -> KafkaTransport {
    let mut config = KafkaConfig::new(value(configuration, "bootstrap_servers"));
    config.prefix = prefix(configuration);
    KafkaTransport::new(&config).unwrap()
}

/// What a configuration's mesh puts before the names of its topics.
pub(crate) fn prefix(configuration: &str) -> String {
    value(configuration, "prefix")
}

fn value(configuration: &str, key: &str) -> String {
    let line = configuration.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([' ', '=', '"']).to_owned()
}

/// Starts a broker by `scripts/lib.sh`, whose variables these are; answers its process, and if its
/// controller is to be `apart`, so that it stays when the broker is killed, that one's.
pub(super) fn start_broker(
    folder: &tempfile::TempDir,
    port: u16,
    settings: &str,
    controller: u16,
    format: &str,
    apart: bool,
) -> (u32, Option<u32>) {
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/lib.sh");
    let script = "source \"$0\"; ensure_kafka; start_kafka \"$@\"; echo \"$kafka_process ${controller_process:-}\"";
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(scripts)
        .arg(folder.path().join("kafka"))
        .arg(port.to_string())
        .env("KAFKA_SETTINGS", settings)
        .env("KAFKA_CONTROLLER", controller.to_string())
        .env("KAFKA_FORMAT", format)
        .env("KAFKA_APART", if apart { "yes" } else { "" })
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the broker does not start: {error}");
    let processes = String::from_utf8(output.stdout).unwrap();
    let mut processes = processes.split_whitespace().map(|process| process.parse().unwrap());
    (processes.next().unwrap(), processes.next())
}

/// A broker of one test's own, which it may kill.
pub(crate) struct Broker {
    folder: tempfile::TempDir,
    port: u16,
    /// A port for clients that come by a proxy, and the proxy's, to which the broker sends them.
    proxied: Option<(u16, u16)>,
    process: Option<u32>,
    controller: Option<u32>,
}

impl Broker {
    /// Starts one.
    pub(crate) fn start() -> Self {
        Self::start_at(None)
    }

    /// Starts one that has clients come by a proxy.
    pub(crate) async fn behind_proxy() -> (Self, Proxy) {
        let port = free_port();
        let proxy = Proxy::start(port).await;
        (Self::start_at(Some((port, proxy.port))), proxy)
    }

    fn start_at(proxied: Option<(u16, u16)>) -> Self {
        let folder = super::postgres::Server::open_folder();
        let mut broker =
            Self { folder, port: free_port(), proxied, process: None, controller: None };
        broker.start_again();
        broker
    }

    /// Where clients find it.
    pub(crate) fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.proxied.map_or(self.port, |(_, proxy)| proxy))
    }

    /// Starts it where it was.
    pub(crate) fn start_again(&mut self) {
        // Those by which it is made; one that is there keeps its own.
        let controller = free_port();
        let settings = self.settings();
        let started = start_broker(&self.folder, self.port, &settings, controller, "", true);
        (self.process, self.controller) = (Some(started.0), started.1);
    }

    /// Settings beside the usual: a listener for clients that come by the proxy.
    fn settings(&self) -> String {
        let Some((port, proxy)) = self.proxied else { return String::new() };
        let direct = format!("PLAINTEXT://127.0.0.1:{}", self.port);
        format!(
            "listeners={direct},PROXIED://127.0.0.1:{port}\n\
             advertised.listeners={direct},PROXIED://127.0.0.1:{proxy}\n\
             listener.security.protocol.map=\
             PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        )
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.signal("-KILL");
        self.process = None;
        eventually("the broker is gone", async || {
            TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: &str) {
        if let Some(process) = self.process {
            let sent = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
            assert!(sent.success());
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.signal("-KILL");
        self.process = self.controller.take();
        self.signal("-KILL");
    }
}
