//! The `[kafka]` table: with it, records travel through a cluster instead of the embedded log.

use super::first_line;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, Secret};
use tidemesh_transport::kafka::{self, KafkaConfig};

/// The `[kafka]` table as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// The brokers to begin with, as `host:port`, separated by commas. No default.
    pub bootstrap_servers: String,
    /// Put before the name of each topic, group and transactional id: up to 64 of
    /// `a-z A-Z 0-9 . _ -`. Default empty.
    #[serde(default)]
    pub prefix: String,
    /// `exactly-once` or, for brokers without transactions, `at-least-once`. Default `exactly-once`.
    #[serde(default)]
    pub delivery: Delivery,
    /// Replicas of topics that are made, 1 or more. Default: the broker's.
    pub replication_factor: Option<u16>,
    /// The most bytes of a record. 1000 to 268435456; default 1048588, Kafka's own.
    pub record_bytes_max: Option<u32>,
    /// How long a transaction may stay open, in milliseconds: after a crash, readers wait so long
    /// for what the next instance does not end itself. 1000 to 900000; default 30000.
    pub transaction_timeout_ms: Option<u64>,
    /// How long a request may take, in milliseconds. 1000 to 600000; default 30000.
    pub request_timeout_ms: Option<u64>,
    /// `none`, `lz4` or `zstd`. Default `lz4`.
    #[serde(default)]
    pub compression: Compression,
    /// TLS to the brokers; without the table, none.
    pub tls: Option<TlsSettings>,
    /// Log-in; without the table, none.
    pub sasl: Option<SaslSettings>,
}

/// What is promised of an append.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// By transactions, fenced.
    #[default]
    ExactlyOnce,
    /// Without.
    AtLeastOnce,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
}

/// The `[kafka.tls]` table. All files are PEM.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Certificates that the brokers' are checked against. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate. Default none.
    pub certificate_file: Option<PathBuf>,
    /// Its key. Default none.
    pub key_file: Option<PathBuf>,
}

/// The `[kafka.sasl]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslSettings {
    /// `plain`, `scram-sha-256` or `scram-sha-512`.
    pub mechanism: SaslMechanism,
    /// The user. No default.
    pub username: String,
    /// The password; or use `password_file`.
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
}

/// A way to log in.
#[derive(Debug, Clone, Copy, Deserialize)]
pub enum SaslMechanism {
    /// In clear.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl KafkaSettings {
    /// Makes relative paths relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let tls = self.tls.iter_mut();
        let files =
            tls.flat_map(|tls| [&mut tls.ca_file, &mut tls.certificate_file, &mut tls.key_file]);
        let password = self.sasl.iter_mut().map(|sasl| &mut sasl.password_file);
        for file in files.chain(password).flatten() {
            *file = folder.join(&*file);
        }
    }

    /// As the transport uses it.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub(super) fn config(self) -> Result<KafkaConfig> {
        let mut config = KafkaConfig::new(self.bootstrap_servers);
        config.prefix = self.prefix;
        config.delivery = match self.delivery {
            Delivery::ExactlyOnce => kafka::Delivery::ExactlyOnce,
            Delivery::AtLeastOnce => kafka::Delivery::AtLeastOnce,
        };
        config.compression = match self.compression {
            Compression::None => kafka::Compression::None,
            Compression::Lz4 => kafka::Compression::Lz4,
            Compression::Zstd => kafka::Compression::Zstd,
        };
        if self.replication_factor == Some(0) {
            return Err(wrong("replication_factor: must be 1 or more"));
        }
        config.replication_factor = self.replication_factor;
        config.record_bytes_max = self.record_bytes_max.unwrap_or(config.record_bytes_max);
        let time = |key, value: Option<u64>, default, most| match value {
            None => Ok(default),
            Some(value) if (1000..=most).contains(&value) => Ok(Duration::from_millis(value)),
            Some(_) => Err(wrong(&format!("{key}: must be 1000 to {most}"))),
        };
        let (transaction, request) = (config.transaction_timeout, config.request_timeout);
        config.transaction_timeout =
            time("transaction_timeout_ms", self.transaction_timeout_ms, transaction, 900_000)?;
        config.request_timeout =
            time("request_timeout_ms", self.request_timeout_ms, request, 600_000)?;
        config.security.tls = self.tls.map(|tls| kafka::Tls {
            ca_file: tls.ca_file,
            certificate_file: tls.certificate_file,
            key_file: tls.key_file,
        });
        config.security.sasl = self.sasl.map(sasl).transpose()?;
        config.validate()?;
        Ok(config)
    }
}

fn sasl(settings: SaslSettings) -> Result<kafka::Sasl> {
    let password = match (settings.password, settings.password_file) {
        (Some(password), None) => password,
        (None, Some(file)) => {
            first_line(&file, || wrong("sasl.password_file: the file cannot be read"))?
        }
        _ => return Err(wrong("sasl: set password or password_file, one of them")),
    };
    let mechanism = match settings.mechanism {
        SaslMechanism::Plain => kafka::SaslMechanism::Plain,
        SaslMechanism::ScramSha256 => kafka::SaslMechanism::ScramSha256,
        SaslMechanism::ScramSha512 => kafka::SaslMechanism::ScramSha512,
    };
    Ok(kafka::Sasl { mechanism, username: settings.username, password })
}

fn wrong(problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration").because(format!("kafka.{problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<KafkaConfig> {
        toml::from_str::<KafkaSettings>(text).unwrap().config()
    }

    #[test]
    fn the_smallest_table_has_the_documented_defaults() {
        let config = read("bootstrap_servers = \"b:9092\"").unwrap();
        assert_eq!(config, KafkaConfig::new("b:9092"));
        assert_eq!(config.transaction_timeout, Duration::from_secs(30));
        assert_eq!(config.record_bytes_max, 1_048_588);
    }

    #[test]
    fn bounds_are_named_with_their_keys() {
        for (line, key) in [
            ("transaction_timeout_ms = 1", "kafka.transaction_timeout_ms: must be 1000 to 900000"),
            ("replication_factor = 0", "kafka.replication_factor"),
            ("record_bytes_max = 7", "kafka.record_bytes_max"),
            ("sasl = { mechanism = \"plain\", username = \"u\" }", "kafka.sasl"),
        ] {
            let error = read(&format!("bootstrap_servers = \"b:9092\"\n{line}")).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
