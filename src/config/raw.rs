//! The configuration as written.

use super::controller::ControllerSettings;
use super::gateway::GatewaySettings;
use super::kafka::KafkaSettings;
use super::registry::RegistrySettings;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tidemesh_model::SourceSettings;

/// A TOML file of any role. Keys that a role does not use are checked all the same.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The data folder, made if it is missing. Default `data`, beside the file.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// The registry.
    #[serde(default)]
    pub registry: RegistrySettings,
    /// Control, health and metrics.
    #[serde(default)]
    pub control: ControlSettings,
    /// The controller.
    #[serde(default)]
    pub controller: ControllerSettings,
    /// The data port.
    #[serde(default)]
    pub data: DataSettings,
    /// The emit gateway.
    #[serde(default)]
    pub gateway: GatewaySettings,
    /// Apache Kafka, in place of the embedded log.
    pub kafka: Option<KafkaSettings>,
    /// The sources.
    #[serde(default)]
    pub source: Vec<SourceSettings>,
}

/// The `[control]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSettings {
    /// Where `/health`, `/metrics` and the control API listen. Default `127.0.0.1:8090`.
    pub listen: SocketAddr,
}

/// The `[data]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// Where the data port listens. Default `127.0.0.1:8092`.
    pub listen: SocketAddr,
    /// A unix socket on which it listens too. Default none.
    pub socket: Option<PathBuf>,
    /// For a connector: the data port's address, as `tcp://127.0.0.1:8092` or `unix:///path`.
    /// Default: `listen`.
    pub url: Option<String>,
}

fn data_dir() -> PathBuf {
    PathBuf::from("data")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self { listen: loopback(8090) }
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        Self { listen: loopback(8092), socket: None, url: None }
    }
}

impl RawConfig {
    /// Makes relative paths relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        self.data_dir = folder.join(&self.data_dir);
        self.registry.resolve_paths(folder);
        self.controller.resolve_paths(folder);
        self.gateway.resolve_paths(folder);
        if let Some(kafka) = &mut self.kafka {
            kafka.resolve_paths(folder);
        }
        if let Some(socket) = &mut self.data.socket {
            *socket = folder.join(&*socket);
        }
        for (_, path) in self.source.iter_mut().flat_map(SourceSettings::files_mut) {
            *path = folder.join(&*path);
        }
    }
}
