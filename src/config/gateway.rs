//! The `[gateway]` table: the emitter over HTTP, as `tidemesh emit-gateway` serves it.

use super::{LogConfig, RawConfig, log_elsewhere, refuse, registry_elsewhere};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemesh_emit_gateway::{
    GatewayConfig, Limits, PORT_DEFAULT, Target, TlsConfig, Topic, TopicConfig, TopicRule, WhenFull,
};
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};

/// The `[gateway]` table, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySettings {
    /// Begins the names of its emitters: 1 to 64 of `a-z A-Z 0-9 . _ -`. One gateway of a name runs at a
    /// time. Default `gateway`.
    pub name: String,
    /// Where it listens. Default `127.0.0.1:8093`.
    pub listen: SocketAddr,
    /// Lets others reach it without TLS and a log-in. Default false.
    pub insecure: bool,
    /// TLS on its port; without the table, in clear.
    pub tls: Option<GatewayTlsSettings>,
    /// TOML of `[[client]]` tables with `name`, `token_sha256` and `topics`; read again when it changes.
    /// Default: nobody has to log in.
    pub clients_file: Option<PathBuf>,
    /// What to do with events that find a topic's queue full. Default `wait`.
    pub when_full: GatewayWhenFull,
    /// Bytes of a request's body. 1024 to 67108864; default 4194304.
    pub body_bytes_max: Option<usize>,
    /// Events of a request. 1 to 100000; default 10000.
    pub events_max: Option<usize>,
    /// Requests that are worked on at the same time. 1 to 10000; default 64.
    pub requests_max: Option<usize>,
    /// Connections that are open at the same time. 1 to 100000; default 1024.
    pub connections_max: Option<usize>,
    /// Topics that are connected. 1 to 1000; default 100.
    pub topics_max: Option<usize>,
    /// Bytes of a topic's events that are taken and not yet durable. 65536 to 1073741824; default 8388608.
    pub queue_bytes_max: Option<usize>,
    /// How long a request waits for its events to become durable, in milliseconds. 100 to 60000; default
    /// 30000.
    pub answer_timeout_ms: Option<u64>,
    /// The topics that there may be. No default: one is needed.
    pub topic: Vec<GatewayTopicSettings>,
}

/// The `[gateway.tls]` table. Both files are PEM, and read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayTlsSettings {
    /// The certificate, with those between it and its authority behind it. No default.
    pub certificate_file: PathBuf,
    /// Its key, not encrypted. No default.
    pub key_file: PathBuf,
}

/// What to do with events that find a topic's queue full.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayWhenFull {
    /// The request waits until there is room.
    #[default]
    Wait,
    /// The events are refused with 429.
    Fail,
    /// The events are dropped and counted.
    Drop,
}

/// A `[[gateway.topic]]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayTopicSettings {
    /// A topic's name; with `*` at the end, every topic that begins so and whose subject has a schema. No
    /// default.
    pub name: String,
    /// A file with its schema, which is registered. Default: the newest that the registry has.
    pub schema_file: Option<PathBuf>,
    /// The fields of the record whose values are the record's key. Default: records have no key.
    #[serde(default)]
    pub key: Vec<String>,
    /// Partitions of a topic that is made. 1 to 1000; default 1.
    pub partitions: Option<u32>,
    /// What happens to old records of a topic that is made: `delete` or `compact`. Default `delete`.
    pub cleanup_policy: Option<CleanupPolicy>,
}

/// The configuration of `tidemesh emit-gateway`.
#[derive(Debug, Clone)]
pub struct GatewayRole {
    /// Where control and metrics listen.
    pub control: SocketAddr,
    /// The gateway.
    pub gateway: GatewayConfig,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            name: "gateway".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            insecure: false,
            tls: None,
            clients_file: None,
            when_full: GatewayWhenFull::default(),
            body_bytes_max: None,
            events_max: None,
            requests_max: None,
            connections_max: None,
            topics_max: None,
            queue_bytes_max: None,
            answer_timeout_ms: None,
            topic: Vec::new(),
        }
    }
}

impl GatewaySettings {
    /// Makes relative paths relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let schemas = self.topic.iter_mut().filter_map(|topic| topic.schema_file.as_mut());
        let tls =
            self.tls.iter_mut().flat_map(|tls| [&mut tls.certificate_file, &mut tls.key_file]);
        for file in self.clients_file.iter_mut().chain(schemas).chain(tls) {
            *file = folder.join(&*file);
        }
    }

    fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            body_bytes_max: self.body_bytes_max.unwrap_or(default.body_bytes_max),
            events_max: self.events_max.unwrap_or(default.events_max),
            requests_max: self.requests_max.unwrap_or(default.requests_max),
            connections_max: self.connections_max.unwrap_or(default.connections_max),
            topics_max: self.topics_max.unwrap_or(default.topics_max),
            queue_bytes_max: self.queue_bytes_max.unwrap_or(default.queue_bytes_max),
            answer_timeout: self
                .answer_timeout_ms
                .map_or(default.answer_timeout, Duration::from_millis),
        }
    }
}

impl GatewayTlsSettings {
    fn config(self) -> TlsConfig {
        let Self { certificate_file, key_file } = self;
        // A client says who it is by its token.
        TlsConfig { certificate_file, key_file, client_ca_file: None }
    }
}

impl GatewayTopicSettings {
    fn rule(self) -> Result<TopicRule> {
        let schema =
            self.schema_file.as_deref().map(|file| schema(&self.name, file)).transpose()?;
        let partitions = self.partitions.unwrap_or(1);
        if !(1..=1_000).contains(&partitions) {
            return Err(wrong("topic.partitions: must be 1 to 1000").with("name", self.name));
        }
        let cleanup_policy = self.cleanup_policy.unwrap_or(CleanupPolicy::Delete);
        let config = TopicConfig { partitions, cleanup_policy, ..TopicConfig::default() };
        let settings = Topic::new().key(self.key).config(config);
        Ok(TopicRule { name: self.name, schema, settings })
    }
}

fn schema(topic: &str, file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| {
        wrong("topic.schema_file: it cannot be read as text")
            .with("name", topic)
            .with("file", file.display())
            .caused_by(error)
    })
}

fn wrong(problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration").because(format!("gateway.{problem}"))
}

impl RawConfig {
    /// As `tidemesh emit-gateway` uses it.
    ///
    /// # Errors
    ///
    /// As [`RawConfig::up`].
    pub fn gateway(self) -> Result<GatewayRole> {
        refuse(!self.source.is_empty(), "source", "a gateway captures nothing")?;
        let settings = self.gateway;
        let (registry_url, registry_access) = registry_elsewhere(self.registry)?;
        let target = match log_elsewhere(self.kafka, self.data)? {
            LogConfig::Daemon(url) => Target::Remote(url),
            LogConfig::Kafka(kafka, _) => Target::Kafka(kafka),
        };
        let mut gateway = GatewayConfig::new(settings.name.clone(), target, registry_url);
        gateway.registry_access = registry_access;
        gateway.listen = settings.listen;
        gateway.insecure = settings.insecure;
        gateway.tls = settings.tls.clone().map(GatewayTlsSettings::config);
        gateway.clients_file.clone_from(&settings.clients_file);
        gateway.when_full = match settings.when_full {
            GatewayWhenFull::Wait => WhenFull::Wait,
            GatewayWhenFull::Fail => WhenFull::Fail,
            GatewayWhenFull::Drop => WhenFull::Drop,
        };
        gateway.limits = settings.limits();
        let rules = settings.topic.into_iter().map(GatewayTopicSettings::rule);
        gateway.topics = rules.collect::<Result<_>>()?;
        gateway.check()?;
        Ok(GatewayRole { control: self.control.listen, gateway })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[[gateway.topic]]\nname = \"shop.*\"\n";

    fn gateway(text: &str) -> Result<GatewayRole> {
        toml::from_str::<RawConfig>(text).unwrap().gateway()
    }

    #[test]
    fn the_smallest_table_has_the_documented_defaults() {
        let role = gateway(SMALL).unwrap();
        assert_eq!(role.gateway.listen.to_string(), "127.0.0.1:8093");
        assert_eq!(role.gateway.name, "gateway");
        assert_eq!(role.gateway.limits, Limits::default());
        assert_eq!(role.gateway.registry_url, "http://127.0.0.1:8081");
        assert!(
            matches!(role.gateway.target, Target::Remote(url) if url == "tcp://127.0.0.1:8092")
        );
    }

    /// The keys of a table, as its own refusal of another one lists them.
    fn keys<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let Err(error) = toml::from_str::<T>("unknown = 0") else {
            panic!("unknown keys are not refused");
        };
        let message = error.message().to_owned();
        message.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../docs/emitter/gateway.md");
        let tables = [
            ("gateway", keys::<GatewaySettings>()),
            ("gateway.tls", keys::<GatewayTlsSettings>()),
            ("gateway.topic", keys::<GatewayTopicSettings>()),
        ];
        for (table, keys) in tables {
            assert!(keys.len() > 1, "{keys:?}");
            for key in keys.iter().filter(|key| !["tls", "topic"].contains(&key.as_str())) {
                assert!(page.contains(&format!("| `{table}.{key}` |")), "{table}.{key}");
            }
        }
    }

    #[test]
    fn with_tls_and_a_log_in_others_may_reach_it() {
        let tls = "gateway.tls = { certificate_file = \"c\", key_file = \"/k\" }\n";
        let open = format!("gateway.listen = \"0.0.0.0:1\"\n{tls}");
        let told = gateway(&format!("{open}{SMALL}")).unwrap_err().report();
        assert!(told.contains("gateway.insecure"), "{told}");
        let kept = format!("{open}gateway.clients_file = \"u\"\n{SMALL}");
        let mut settings = toml::from_str::<RawConfig>(&kept).unwrap();
        settings.gateway.resolve_paths(Path::new("/etc"));
        let tls = settings.gateway().unwrap().gateway.tls.unwrap();
        assert_eq!((tls.certificate_file, tls.key_file), ("/etc/c".into(), "/k".into()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        for (text, named) in [
            ("gateway.name = \"g\"", "gateway.topic"),
            ("gateway.listen = \"0.0.0.0:1\"\n[[gateway.topic]]\nname = \"a\"", "gateway.insecure"),
            ("gateway.events_max = 0\n[[gateway.topic]]\nname = \"a\"", "gateway.events_max"),
            ("[[gateway.topic]]\nname = \"a\"\npartitions = 0", "gateway.topic.partitions"),
            (
                "[[gateway.topic]]\nname = \"a\"\nschema_file = \"/none\"",
                "gateway.topic.schema_file",
            ),
        ] {
            let told = gateway(text).unwrap_err().report();
            assert!(told.contains(named), "{named}: {told}");
        }
    }
}
