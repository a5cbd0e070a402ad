//! The configuration of a process: as written in TOML, overridden from the environment, checked,
//! and as used.
//!
//! Paths in a file are relative to the file's folder.

mod controller;
mod gateway;
mod kafka;
mod mesh;
mod overrides;
mod raw;
mod registry;
mod secrets;

pub use controller::{ControllerSettings, Runtime};
pub use gateway::{
    GatewayRole, GatewaySettings, GatewayTlsSettings, GatewayTopicSettings, GatewayWhenFull,
};
pub use kafka::{Compression, Delivery, KafkaSettings, SaslMechanism, SaslSettings, TlsSettings};
pub use mesh::{ControllerRole, PipelineRole};
pub use raw::{ControlSettings, DataSettings, RawConfig};
pub use registry::{
    AuditSettings, ClientSettings, GrantSettings, LimitSettings, RegistrySettings,
    RegistryTlsSettings, TokenSettings, UsersSettings,
};
pub(crate) use secrets::declared;

use secrets::{first_line, read_secrets};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tidemesh_controller::ControllerConfig;
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings, TableName, TablePattern};
use tidemesh_schema_registry::RegistryConfig;
use tidemesh_transport::kafka::KafkaConfig;
use tidemesh_transport::{RegistryAccess, check_topics};

/// The configuration of `tidemesh up`.
#[derive(Debug, Clone)]
pub struct UpConfig {
    /// The data folder: the embedded log, the registry's store.
    pub data_dir: PathBuf,
    /// The cluster that takes the embedded log's place, if there is one.
    pub kafka: Option<KafkaConfig>,
    /// The registry.
    pub registry: RegistryConfig,
    /// Its address where that is not the one it listens on: the name that its certificate has.
    pub registry_url: Option<String>,
    /// How the sources come to it.
    pub registry_access: RegistryAccess,
    /// The controller.
    pub controller: ControllerConfig,
    /// The folder of the files that documents name.
    pub secrets_dir: PathBuf,
    /// Where control and metrics listen.
    pub control: SocketAddr,
    /// Where the data port listens.
    pub data: SocketAddr,
    /// A unix socket on which the data port listens too.
    pub data_socket: Option<PathBuf>,
    /// The sources.
    pub sources: Vec<SourceSettings>,
}

/// The configuration of `tidemesh connector …`.
#[derive(Debug, Clone)]
pub struct ConnectorConfig {
    /// Where control and metrics listen.
    pub control: SocketAddr,
    /// Where its records go.
    pub log: LogConfig,
    /// The registry, as `http://127.0.0.1:8081`.
    pub registry_url: String,
    /// How they come to it.
    pub registry_access: RegistryAccess,
    /// The sources.
    pub sources: Vec<SourceSettings>,
}

/// The configuration of `tidemesh registry`.
#[derive(Debug, Clone)]
pub struct RegistryRole {
    /// The registry.
    pub config: RegistryConfig,
    /// The log whose consumer groups count where the level is `CONSUMERS`, if there is one.
    pub log: Option<LogConfig>,
}

/// Where a connector's records go.
#[derive(Debug, Clone)]
pub enum LogConfig {
    /// To the daemon that holds the embedded log, by its data port, as `tcp://127.0.0.1:8092`.
    Daemon(String),
    /// To a cluster; this process has a data port of its own, through which its topics are looked at.
    Kafka(Box<KafkaConfig>, SocketAddr),
}

/// Reads a file and the environment's overrides, as yet unchecked against a role.
///
/// `environment` gives the process's variables; those that begin with `TIDEMESH__` count.
///
/// # Errors
///
/// `Config`, naming the file, the key and the problem.
pub fn read(file: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<RawConfig> {
    let wrong =
        || Error::new(ErrorKind::Config, "read the configuration").with("file", file.display());
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong().because("the file cannot be read").caused_by(error))?;
    let mut table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong().because(place(&error, &text)))?;
    overrides::apply(&mut table, environment)?;
    // Read from the text where nothing overrides it, so that an error can name line and column.
    let parsed = if Ok(&table) == text.parse::<toml::Table>().as_ref() {
        toml::from_str(&text)
    } else {
        table.try_into()
    };
    let mut raw: RawConfig = parsed.map_err(|error| wrong().because(place(&error, &text)))?;
    let folder = file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    raw.resolve_paths(&folder);
    Ok(raw)
}

/// A TOML error in one line, with line and column where they are known.
fn place(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim_end().replace('\n', "; ");
    match error.span() {
        Some(span) => {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
            format!("line {line}, column {column}: {message}")
        }
        None => message,
    }
}

impl RawConfig {
    /// As `tidemesh up` uses it.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn up(self) -> Result<UpConfig> {
        check_url("registry.url", self.registry.url.as_deref())?;
        let is_named = self.registry.url.is_some() && self.registry.tls.is_none();
        refuse(is_named, "registry.url", "up runs its own registry")?;
        refuse(self.data.url.is_some(), "data.url", "up holds the log itself")?;
        let elsewhere = self.controller.runtime.is_some();
        refuse(elsewhere, "controller.runtime", "up runs pipelines in its own process")?;
        Ok(UpConfig {
            kafka: self.kafka.map(KafkaSettings::config).transpose()?,
            registry: self.registry.config(&self.data_dir)?,
            registry_url: self.registry.url,
            registry_access: self.registry.client.access()?,
            secrets_dir: self.controller.secrets_dir.clone().unwrap_or_default(),
            controller: self.controller.config(&self.data_dir)?,
            control: self.control.listen,
            data: self.data.listen,
            data_socket: self.data.socket,
            sources: check_sources(self.source)?,
            data_dir: self.data_dir,
        })
    }

    /// As `tidemesh connector CONNECTOR` uses it.
    ///
    /// # Errors
    ///
    /// As [`RawConfig::up`]; and if a source is another connector's.
    pub fn connector(self, connector: &str) -> Result<ConnectorConfig> {
        if self.source.is_empty() {
            return Err(Error::new(ErrorKind::Config, "use the configuration")
                .because("source: there is none")
                .help("add a [[source]] table"));
        }
        for source in &self.source {
            let other = source.connector().filter(|other| *other != connector);
            if let Some(other) = other {
                return Err(Error::new(ErrorKind::Config, "use the configuration")
                    .because(format!("{other}: this process is the connector of {connector}"))
                    .with("source", &source.name)
                    .help(format!("start `tidemesh connector {other}` with that source")));
            }
        }
        let log = log_elsewhere(self.kafka, self.data)?;
        let (registry_url, registry_access) = registry_elsewhere(self.registry)?;
        Ok(ConnectorConfig {
            control: self.control.listen,
            log,
            registry_access,
            registry_url,
            sources: check_sources(self.source)?,
        })
    }

    /// As `tidemesh registry` uses it.
    ///
    /// # Errors
    ///
    /// As [`RawConfig::up`].
    pub fn registry(self) -> Result<RegistryRole> {
        let log = match (self.kafka, self.data.url) {
            (Some(kafka), _) => Some(LogConfig::Kafka(Box::new(kafka.config()?), self.data.listen)),
            (None, url) => url.map(LogConfig::Daemon),
        };
        Ok(RegistryRole { config: self.registry.config(&self.data_dir)?, log })
    }
}

/// The log of another process, or of a cluster.
fn log_elsewhere(kafka: Option<KafkaSettings>, data: DataSettings) -> Result<LogConfig> {
    let Some(kafka) = kafka else {
        let url = data.url.unwrap_or_else(|| format!("tcp://{}", data.listen));
        return Ok(LogConfig::Daemon(url));
    };
    refuse(data.url.is_some(), "data.url", "records go to Kafka")?;
    Ok(LogConfig::Kafka(Box::new(kafka.config()?), data.listen))
}

/// The registry of another process, and how it is reached.
fn registry_elsewhere(registry: RegistrySettings) -> Result<(String, RegistryAccess)> {
    check_url("registry.url", registry.url.as_deref())?;
    let url = registry.url.unwrap_or_else(|| format!("http://{}", registry.listen));
    Ok((url, registry.client.access()?))
}

/// Addresses are told in logs and answers: no password may be in one.
fn check_url(key: &str, url: Option<&str>) -> Result<()> {
    let parsed = url.and_then(|url| reqwest::Url::parse(url).ok());
    if parsed.is_none_or(|url| url.username().is_empty() && url.password().is_none()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("{key}: there is a user in it"))
        .help("leave it out; registry.client.username and .password_file are for the registry"))
}

fn refuse(is_set: bool, key: &'static str, why: &'static str) -> Result<()> {
    if !is_set {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("{key}: {why}"))
        .help("remove the key"))
}

/// Checks every source, that no two have one name, and that no two tables share a topic.
fn check_sources(mut sources: Vec<SourceSettings>) -> Result<Vec<SourceSettings>> {
    for index in 0..sources.len() {
        let source = &sources[index];
        source.validate()?;
        if sources[..index].iter().any(|other| other.name == source.name) {
            return Err(Error::new(ErrorKind::Config, "use the configuration")
                .because("source.name: two sources have one name")
                .with("name", &source.name));
        }
        check_topics(&source.name, &tables(source)?)?;
        read_secrets(&mut sources[index])?;
    }
    Ok(sources)
}

fn tables(source: &SourceSettings) -> Result<Vec<TableName>> {
    // Those that patterns match are checked once they are known.
    Ok(source.table_patterns()?.iter().filter_map(TablePattern::exact).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    use tidemesh_schema_registry::StoreConfig;

    const SMALL: &str = r#"
data_dir = "data"

[[source]]
name = "shop"
[source.postgres]
database = "shop"
user = "capture"
tables = ["public.orders"]
"#;

    fn read_text(text: &str, environment: &[(&str, &str)]) -> Result<RawConfig> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidemesh.toml");
        std::fs::write(&file, text).unwrap();
        read(&file, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn the_smallest_file_has_the_documented_defaults() {
        let config = read_text(SMALL, &[]).unwrap().up().unwrap();
        assert_eq!(config.control.to_string(), "127.0.0.1:8090");
        assert_eq!(config.data.to_string(), "127.0.0.1:8092");
        assert_eq!(config.registry.listen.to_string(), "127.0.0.1:8081");
        assert!(config.data_dir.is_absolute() && config.data_dir.ends_with("data"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = read_text(&SMALL.replace("database", "databse"), &[]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("databse") && text.contains("line 7"), "{text}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let raw = read_text(
            SMALL,
            &[
                ("TIDEMESH__CONTROL__LISTEN", "127.0.0.1:9"),
                ("TIDEMESH__SOURCE__0__POSTGRES__PASSWORD", "hush"),
                ("TIDEMESH__SOURCE__0__POSTGRES__PORT", "5433"),
                ("OTHER", "x"),
            ],
        )
        .unwrap();
        let config = raw.up().unwrap();
        assert_eq!(config.control.port(), 9);
        let postgres = config.sources[0].postgres.as_ref().unwrap();
        assert_eq!(postgres.port, 5433);
        assert_eq!(postgres.password.as_ref().unwrap().expose(), "hush");
    }

    #[test]
    fn a_mysql_source_is_read_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidemesh.toml");
        let text = "[[source]]\nname = \"shop\"\n[source.mysql]\nuser = \"capture\"\n\
                    tables = [\"shop.orders\"]\npassword_file = \"pass\"\n\
                    [[source.mysql.mask]]\ncolumns = [\"*.*.mail\"]\nwith = \"hash\"\n\
                    salt_file = \"salt\"\n";
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("pass"), "hush\n").unwrap();
        let up = || {
            let port = ("TIDEMESH__SOURCE__0__MYSQL__PORT", "3307");
            let environment = std::iter::once(port).map(|(k, v)| (k.to_owned(), v.to_owned()));
            read(&file, environment).unwrap().up()
        };
        assert!(up().unwrap_err().to_string().contains("mysql.mask.salt_file"));
        std::fs::write(folder.path().join("salt"), "\n").unwrap();
        assert!(up().unwrap_err().to_string().contains("mysql.mask: the salt must not be empty"));
        std::fs::write(folder.path().join("salt"), "pepper\n").unwrap();
        let config = up().unwrap();
        let mysql = config.sources[0].mysql.as_ref().unwrap();
        assert_eq!(mysql.port, 3307);
        assert_eq!(mysql.password.as_ref().unwrap().expose(), "hush");
        assert_eq!(mysql.mask[0].salt.as_ref().unwrap().expose(), "pepper");
        let told = format!("{config:?}");
        assert!(!told.contains("hush") && !told.contains("pepper"));
    }

    #[test]
    fn the_registrys_store_is_beside_the_file() {
        let raw =
            read_text(&format!("registry.store = \"sqlite:r.sqlite\"\n{SMALL}"), &[]).unwrap();
        let StoreConfig::Sqlite(file) = raw.up().unwrap().registry.store else {
            panic!("it is a file");
        };
        assert!(file.is_absolute() && file.ends_with("r.sqlite"), "{}", file.display());
    }

    #[test]
    fn a_password_of_digits_stays_as_it_was_written() {
        for password in ["12345", "0123", "1_000", "true", "+5"] {
            let variable = ("TIDEMESH__SOURCE__0__POSTGRES__PASSWORD", password);
            let config = read_text(SMALL, &[variable]).unwrap().up().unwrap();
            let postgres = config.sources[0].postgres.as_ref().unwrap();
            assert_eq!(postgres.password.as_ref().unwrap().expose(), password);
        }
        let variable = ("TIDEMESH__SOURCE__0__POSTGRES__PASSWORD", "[12345]");
        let error = read_text(SMALL, &[variable]).unwrap_err().report();
        assert!(error.contains("password") && !error.contains("12345"), "{error}");
    }

    #[test]
    fn a_salt_is_the_first_line_of_its_file_and_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (file, salt) = (folder.path().join("tidemesh.toml"), folder.path().join("salt"));
        let mask = "[[source.postgres.mask]]\ncolumns = [\"*.*.email\"]\nwith = \"hash\"\n\
                    salt_file = \"salt\"\n";
        std::fs::write(&file, format!("{SMALL}{mask}")).unwrap();
        let up = || read(&file, std::iter::empty()).unwrap().up();
        assert!(up().unwrap_err().to_string().contains("postgres.mask.salt_file"));
        std::fs::write(&salt, "pepper\nmore\n").unwrap();
        let config = up().unwrap();
        let mask = &config.sources[0].postgres.as_ref().unwrap().mask[0];
        assert_eq!(mask.salt.as_ref().unwrap().expose(), "pepper");
        assert!(!format!("{config:?}").contains("pepper"));
        std::fs::write(&salt, "\n").unwrap();
        assert!(up().unwrap_err().to_string().contains("must not be empty"));
    }

    #[test]
    fn an_override_of_a_key_that_is_not_there_is_refused() {
        let error = read_text(SMALL, &[("TIDEMESH__SOURCE__0__POSTGRES__PROT", "1")]).unwrap_err();
        assert!(error.to_string().contains("prot"), "{error}");
    }

    #[test]
    fn a_connector_refuses_sources_of_another_one() {
        let raw = || read_text(SMALL, &[]).unwrap();
        raw().connector("postgres").unwrap();
        let told = raw().connector("mysql").unwrap_err().report();
        assert!(told.contains("postgres: this process is the connector of mysql"), "{told}");
        assert!(told.contains("tidemesh connector postgres"), "{told}");
    }

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let second = SMALL.replace("data_dir = \"data\"", "");
        let error = read_text(&format!("{SMALL}{second}"), &[]).unwrap().up().unwrap_err();
        assert!(error.to_string().contains("two sources have one name"), "{error}");
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_being_repeated() {
        let text = format!("registry.url = \"http://u:hush@r:8081\"\n{SMALL}");
        let told = read_text(&text, &[]).unwrap().connector("postgres").unwrap_err().report();
        assert!(told.contains("registry.client.username") && !told.contains("hush"), "{told}");
    }

    #[test]
    fn up_refuses_another_registry() {
        let text = format!("registry.url = \"http://x\"\n{SMALL}");
        let error = read_text(&text, &[]).unwrap().up().unwrap_err();
        assert!(error.to_string().contains("registry.url"), "{error}");
    }
}
