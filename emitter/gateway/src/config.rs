//! What a gateway is told: where it listens, where events go, which topics there are, and its bounds.

use crate::pattern::Pattern;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
#[cfg(feature = "kafka")]
use tidemesh_emitter::KafkaConfig;
use tidemesh_emitter::{RegistryAccess, Topic, WhenFull};
use tidemesh_http::TlsConfig;
use tidemesh_model::{Error, ErrorKind, Result};

/// The port where nothing else is said.
pub const PORT_DEFAULT: u16 = 8093;

/// The longest name of a gateway, so that a topic's name fits behind it.
const NAME_BYTES_MAX: usize = 64;

/// The most rules for topics.
const RULES_MAX: usize = 1_000;

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Begins the names of its emitters: 1 to 64 of `a-z A-Z 0-9 . _ -`. One gateway of a name runs at
    /// a time: the newest fences those before it.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether others may reach it though it is not kept by TLS and by a log-in.
    pub insecure: bool,
    /// TLS on the port; none: in clear.
    pub tls: Option<TlsConfig>,
    /// Who may send, and to which topics; none: everybody who reaches it, to all.
    pub clients_file: Option<PathBuf>,
    /// Where events go.
    pub target: Target,
    /// The schema registry.
    pub registry_url: String,
    /// How it is reached.
    pub registry_access: RegistryAccess,
    /// The topics that there may be. Names count before patterns, and then the first that matches.
    pub topics: Vec<TopicRule>,
    /// What to do with events that find a topic's queue full.
    pub when_full: WhenFull,
    /// Its bounds.
    pub limits: Limits,
}

/// Where events go.
#[derive(Debug, Clone)]
pub enum Target {
    /// To the embedded log of a running daemon, by its data port: `tcp://127.0.0.1:8092`.
    Remote(String),
    /// To Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaConfig>),
}

impl Target {
    /// What stands before topics' names where other readers see them, and in their subjects.
    pub(crate) fn topic_prefix(&self) -> &str {
        match self {
            Self::Remote(_) => "",
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => &config.prefix,
        }
    }
}

/// A topic, or all whose names begin alike.
#[derive(Debug, Clone)]
pub struct TopicRule {
    /// Its name; with `*` at the end, every topic whose name begins so and whose subject `<topic>-value`
    /// has a schema.
    pub name: String,
    /// Its schema, for a name without `*`; none: the newest that the registry has.
    pub schema: Option<String>,
    /// Its key, and how it is made if it is not there.
    pub settings: Topic,
}

impl TopicRule {
    /// Topics of this name or pattern, with the registry's schema, no key, and one partition.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), schema: None, settings: Topic::new() }
    }

    pub(crate) fn pattern(&self) -> Pattern {
        Pattern::new(&*self.name)
    }
}

/// The bounds of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body. 1 KiB to 64 MiB; default 4 MiB.
    pub body_bytes_max: usize,
    /// Events of a request. 1 to 100000; default 10000.
    pub events_max: usize,
    /// Requests that are worked on at the same time, of which a client or a topic has a quarter, and one at
    /// least; half as many more may be at their bodies. With `body_bytes_max`, this bounds memory. 1 to
    /// 10000; default 64.
    pub requests_max: usize,
    /// Connections that are open at the same time; further ones wait to be accepted. 1 to 100000; default 1024.
    pub connections_max: usize,
    /// Topics that are connected, each an emitter. 1 to 1000; default 100.
    pub topics_max: usize,
    /// Bytes of a topic's events that are taken and not yet durable. 64 KiB to 1 GiB; default 8 MiB.
    pub queue_bytes_max: usize,
    /// How long a request waits for its events to become durable. 100 ms to 60 s; default 30 s.
    pub answer_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 * 1024 * 1024,
            events_max: 10_000,
            requests_max: 64,
            connections_max: 1_024,
            topics_max: 100,
            queue_bytes_max: 8 * 1024 * 1024,
            answer_timeout: Duration::from_secs(30),
        }
    }
}

impl GatewayConfig {
    /// A gateway of this name with no topics yet.
    pub fn new(name: impl Into<String>, target: Target, registry_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            insecure: false,
            tls: None,
            clients_file: None,
            target,
            registry_url: registry_url.into(),
            registry_access: RegistryAccess::default(),
            topics: Vec::new(),
            when_full: WhenFull::Wait,
            limits: Limits::default(),
        }
    }

    /// Refuses what cannot be used, before anything is opened.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn check(&self) -> Result<()> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_plain) {
            return Err(wrong("name", "it must have 1 to 64 of a-z A-Z 0-9 . _ -"));
        }
        self.check_reach()?;
        self.check_topics()?;
        self.limits.check()
    }

    fn check_reach(&self) -> Result<()> {
        let is_kept = self.tls.is_some() && self.clients_file.is_some();
        if is_kept || self.insecure || self.listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(wrong("listen", "others could reach it, and it has no TLS and log-in")
            .with("address", self.listen)
            .help(
                "set gateway.tls and gateway.clients_file, or listen on 127.0.0.1; \
                 gateway.insecure = true says that the network is trusted",
            ))
    }

    fn check_topics(&self) -> Result<()> {
        if self.topics.is_empty() {
            return Err(wrong("topic", "there is none, so nothing could be sent")
                .help("add [[gateway.topic]] tables, each with a name"));
        }
        if self.topics.len() > RULES_MAX {
            return Err(wrong("topic", "there are more than 1000"));
        }
        for (place, rule) in self.topics.iter().enumerate() {
            let wrong = |problem: &str| wrong("topic", problem).with("name", &rule.name);
            if rule.pattern().is_wrong() {
                return Err(wrong("a name has a * at its end or none"));
            }
            if rule.schema.is_some() && rule.pattern().exact().is_none() {
                return Err(wrong("a schema is one topic's, and this is a pattern"));
            }
            if self.topics[..place].iter().any(|other| other.name == rule.name) {
                return Err(wrong("it is there twice"));
            }
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<()> {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        within("body_bytes_max", self.body_bytes_max, KIB..=64 * MIB)?;
        within("events_max", self.events_max, 1..=100_000)?;
        within("requests_max", self.requests_max, 1..=10_000)?;
        within("connections_max", self.connections_max, 1..=100_000)?;
        within("topics_max", self.topics_max, 1..=1_000)?;
        within("queue_bytes_max", self.queue_bytes_max, 64 * KIB..=1024 * MIB)?;
        let timeout_ms = usize::try_from(self.answer_timeout.as_millis()).unwrap_or(usize::MAX);
        within("answer_timeout_ms", timeout_ms, 100..=60_000)
    }
}

fn within(key: &str, value: usize, bounds: RangeInclusive<usize>) -> Result<()> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(wrong(key, &format!("must be {} to {}", bounds.start(), bounds.end())))
}

/// What is wrong with a setting of the gateway's.
pub(crate) fn wrong(key: &str, problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("gateway.{key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GatewayConfig {
        let target = Target::Remote("tcp://127.0.0.1:1".to_owned());
        let mut config = GatewayConfig::new("edge", target, "http://127.0.0.1:1");
        config.topics.push(TopicRule::new("shop.*"));
        config
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_key() {
        config().check().unwrap();
        type Change = fn(&mut GatewayConfig);
        let cases: [(&str, Change); 8] = [
            ("gateway.name", |config| config.name = "a b".to_owned()),
            ("gateway.insecure = true", |config| config.listen = "0.0.0.0:1".parse().unwrap()),
            ("gateway.topic", |config| config.topics.clear()),
            ("twice", |config| config.topics.push(TopicRule::new("shop.*"))),
            ("a * at its end", |config| config.topics.push(TopicRule::new("a*b"))),
            ("a schema is one topic's", |config| {
                config.topics[0].schema = Some("{}".to_owned());
            }),
            ("gateway.topics_max: must be 1 to 1000", |config| config.limits.topics_max = 0),
            ("gateway.answer_timeout_ms", |config| config.limits.answer_timeout = Duration::ZERO),
        ];
        for (named, change) in cases {
            let mut config = config();
            change(&mut config);
            let error = config.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.report().contains(named), "{named}: {}", error.report());
        }
    }

    #[test]
    fn others_reach_it_only_with_tls_and_a_log_in_or_by_an_explicit_word() {
        let listen = "0.0.0.0:1".parse().unwrap();
        let open = GatewayConfig { listen, ..config() };
        let tls = Some(TlsConfig {
            certificate_file: "c".into(),
            key_file: "k".into(),
            client_ca_file: None,
        });
        let secured = GatewayConfig { tls, ..open.clone() };
        let login = GatewayConfig { clients_file: Some("clients".into()), ..open.clone() };
        for half in [&open, &secured, &login] {
            let told = half.check().unwrap_err().report();
            assert!(told.contains("gateway.insecure"), "{told}");
        }
        GatewayConfig { clients_file: login.clients_file, ..secured }.check().unwrap();
        GatewayConfig { insecure: true, ..open }.check().unwrap();
    }
}
