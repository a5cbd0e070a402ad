//! How a cluster is reached, and what may be held in memory: librdkafka's properties, each with a
//! bound of ours where its default is far above what one source should take.

use rdkafka::ClientConfig;
use std::path::PathBuf;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, Secret};

/// What is promised of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Records, state and offsets of an append are one transaction, fenced by the writer's epoch.
    #[default]
    ExactlyOnce,
    /// For brokers without transactions: records first, then state. After a crash the records of an
    /// append may repeat, and a paused old instance that wakes up is not fenced.
    AtLeastOnce,
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Put before the name of each topic, group and transactional id, so that several meshes can
    /// share a cluster. Default empty.
    pub prefix: String,
    /// What is promised of an append.
    pub delivery: Delivery,
    /// Replicas of the topics that are made; none takes the broker's default.
    pub replication_factor: Option<u16>,
    /// The most bytes of a record, key and headers included. Topics are made with it where it is
    /// above Kafka's default, which is 1 MiB.
    pub record_bytes_max: u32,
    /// How long the broker lets a transaction stay open. Default 30 s.
    pub transaction_timeout: Duration,
    /// How long a request may take until it counts as failed. Default 30 s.
    pub request_timeout: Duration,
    /// The most bytes of appends that are taken and not yet durable. Default 16 MiB.
    pub append_bytes_in_flight_max: usize,
    /// How batches are compressed. Default `lz4`.
    pub compression: Compression,
    /// How the connection is secured.
    pub security: Security,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: the least CPU.
    #[default]
    Lz4,
    /// Zstandard: the fewest bytes.
    Zstd,
}

/// TLS and log-in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// TLS, if it is used.
    pub tls: Option<Tls>,
    /// SASL, if it is used.
    pub sasl: Option<Sasl>,
}

/// TLS to the brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificates that the brokers' are checked against; none takes the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate, PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// Log-in by name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How.
    pub mechanism: SaslMechanism,
    /// As whom.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// In clear; over TLS only, unless the network is yours.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

/// Kafka's own default of `max.message.bytes` (Apache Kafka 4.3, `TopicConfig`).
pub(super) const RECORD_BYTES_DEFAULT: u32 = 1_048_588;

/// The most that librdkafka takes as `message.max.bytes`.
const RECORD_BYTES_MOST: u32 = 256 * 1024 * 1024;

/// Bytes of records that the producer's queue holds beside the append that is being written.
const QUEUE_SPARE_BYTES: usize = 16 * 1024 * 1024;

/// The most that librdkafka takes as `socket.timeout.ms`.
const SOCKET_TIMEOUT_MOST: Duration = Duration::from_secs(300);

/// Bytes that a reader holds ready.
const FETCH_QUEUE_KBYTES: &str = "8192";

/// Bytes that one fetch asks for of all partitions together.
const FETCH_BYTES_MAX: u32 = 8 * 1024 * 1024;

impl KafkaConfig {
    /// The cluster at these addresses, with the defaults.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            prefix: String::new(),
            delivery: Delivery::default(),
            replication_factor: None,
            record_bytes_max: RECORD_BYTES_DEFAULT,
            transaction_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            append_bytes_in_flight_max: 16 * 1024 * 1024,
            compression: Compression::default(),
            security: Security::default(),
        }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key and the bound.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key: &str, problem: &str| {
            Err(Error::new(ErrorKind::Config, "use the configuration")
                .because(format!("kafka.{key}: {problem}")))
        };
        if self.bootstrap_servers.trim().is_empty() {
            return wrong("bootstrap_servers", "must name a broker, as 127.0.0.1:9092");
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if self.prefix.len() > 64 || !self.prefix.bytes().all(is_plain) {
            return wrong("prefix", "must be up to 64 of a-z A-Z 0-9 . _ -");
        }
        if !(1000..=RECORD_BYTES_MOST).contains(&self.record_bytes_max) {
            return wrong("record_bytes_max", "must be 1000 to 268435456");
        }
        Ok(())
    }

    /// What every client has.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "tidemesh")
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            // The defaults wait up to 10 s before a broker that is back is tried again.
            .set("reconnect.backoff.max.ms", "1000")
            // How long a topic that is gone is looked for before that is told; by default 30 s.
            .set("topic.metadata.propagation.max.ms", "2000")
            .set("receive.message.max.bytes", (1 << 29).to_string())
            .set("message.max.bytes", self.record_bytes_max.to_string());
        self.secure(&mut config);
        config
    }

    fn secure(&self, config: &mut ClientConfig) {
        let Security { tls, sasl } = &self.security;
        let protocol = match (tls, sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        let files = tls.iter().flat_map(|tls| {
            [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ]
        });
        for (key, file) in files {
            if let Some(file) = file {
                config.set(key, file.to_string_lossy());
            }
        }
        if let Some(sasl) = sasl {
            let mechanism = match sasl.mechanism {
                SaslMechanism::Plain => "PLAIN",
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.expose());
        }
    }

    /// A producer; with a transactional id it is fenced by that id's next one.
    pub(super) fn producer(&self, transactional_id: Option<&str>) -> ClientConfig {
        let mut config = self.client();
        let queue_bytes = self.append_bytes_in_flight_max + QUEUE_SPARE_BYTES;
        let timeout = self.transaction_timeout.as_millis();
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", compression)
            .set("queue.buffering.max.kbytes", (queue_bytes / 1024).to_string())
            .set("queue.buffering.max.messages", "1000000")
            // An append is handed over in one go: there is nothing to wait for.
            .set("queue.buffering.max.ms", "0")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("message.timeout.ms", timeout.to_string());
        if let Some(id) = transactional_id {
            config.set("transactional.id", id).set("transaction.timeout.ms", timeout.to_string());
        }
        config
    }

    /// A consumer that reads what is committed; in a group if there is one, else by assignment.
    pub(super) fn consumer(&self, group: Option<&str>) -> ClientConfig {
        let mut config = self.client();
        let timeout = self.request_timeout.min(SOCKET_TIMEOUT_MOST).as_millis();
        // By assignment no group is joined, but the library asks for the offsets of one, which must be
        // among those that are granted.
        let none = format!("{}tidemesh", self.prefix);
        config
            // A connection whose request is late is given up. A producer's is by its transaction.
            .set("socket.timeout.ms", timeout.to_string())
            .set("group.id", group.unwrap_or(&none))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // A member keeps its partitions when others join; `range` would give one member all of
            // topics that have a partition each.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.max.bytes", FETCH_BYTES_MAX.max(self.record_bytes_max).to_string())
            .set("queued.max.messages.kbytes", FETCH_QUEUE_KBYTES);
        config
    }

    /// A consumer that sees where partitions end, whatever transactions are open.
    pub(super) fn inspector(&self) -> ClientConfig {
        let mut config = self.consumer(None);
        config.set("isolation.level", "read_uncommitted");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_properties_are_known_to_it() {
        let mut config = KafkaConfig::new("127.0.0.1:9092");
        config.security.sasl = Some(Sasl {
            mechanism: SaslMechanism::ScramSha512,
            username: "u".into(),
            password: Secret::new("hush"),
        });
        config.validate().unwrap();
        for made in [config.producer(Some("x")), config.consumer(Some("g")), config.inspector()] {
            made.create_native_config().unwrap();
        }
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn bounds_are_named_with_their_keys() {
        let mut config = KafkaConfig::new(" ");
        assert!(config.validate().unwrap_err().to_string().contains("kafka.bootstrap_servers"));
        config = KafkaConfig::new("b:1");
        config.prefix = "a b".into();
        assert!(config.validate().unwrap_err().to_string().contains("kafka.prefix"));
        config = KafkaConfig::new("b:1");
        config.record_bytes_max = 1;
        assert!(config.validate().unwrap_err().to_string().contains("kafka.record_bytes_max"));
    }
}
