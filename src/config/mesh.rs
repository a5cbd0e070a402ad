//! The configuration of a controller alone, and of a pipeline alone.

use super::{LogConfig, RawConfig, Runtime, check_url, log_elsewhere, refuse, registry_elsewhere};
use std::net::SocketAddr;
use std::path::PathBuf;
use tidemesh_controller::ControllerConfig;
use tidemesh_model::Result;
use tidemesh_transport::RegistryAccess;

/// Where a pipeline finds its controller if nothing says so.
const CONTROLLER_URL: &str = "http://127.0.0.1:8090";

/// The configuration of `tidemesh controller`.
#[derive(Debug, Clone)]
pub struct ControllerRole {
    /// The data folder, for its store.
    pub data_dir: PathBuf,
    /// Where control and metrics listen, and workers tell of themselves.
    pub control: SocketAddr,
    /// Where others reach it; none: where it listens.
    pub url: Option<String>,
    /// The controller.
    pub controller: ControllerConfig,
    /// Who starts the processes of its pipelines.
    pub runtime: Runtime,
    /// Where records are.
    pub log: LogConfig,
    /// The registry, as `http://127.0.0.1:8081`.
    pub registry_url: String,
    /// How it comes to it.
    pub registry_access: RegistryAccess,
}

/// The configuration of `tidemesh pipeline`.
#[derive(Debug, Clone)]
pub struct PipelineRole {
    /// Where control and metrics listen.
    pub control: SocketAddr,
    /// The controller, as `http://127.0.0.1:8090`.
    pub controller_url: String,
    /// Where records are.
    pub log: LogConfig,
    /// The registry, as `http://127.0.0.1:8081`.
    pub registry_url: String,
    /// How it comes to it.
    pub registry_access: RegistryAccess,
}

impl RawConfig {
    /// As `tidemesh controller` uses it.
    ///
    /// # Errors
    ///
    /// As [`RawConfig::up`].
    pub fn controller(self) -> Result<ControllerRole> {
        refuse(!self.source.is_empty(), "source", "a controller captures nothing")?;
        check_url("controller.url", self.controller.url.as_deref())?;
        let controller = self.controller.config(&self.data_dir)?;
        let (registry_url, registry_access) = registry_elsewhere(self.registry)?;
        Ok(ControllerRole {
            data_dir: self.data_dir,
            control: self.control.listen,
            url: self.controller.url,
            controller,
            runtime: self.controller.runtime.unwrap_or_default(),
            log: log_elsewhere(self.kafka, self.data)?,
            registry_url,
            registry_access,
        })
    }

    /// As `tidemesh pipeline` uses it.
    ///
    /// # Errors
    ///
    /// As [`RawConfig::up`].
    pub fn pipeline(self) -> Result<PipelineRole> {
        check_url("controller.url", self.controller.url.as_deref())?;
        let (registry_url, registry_access) = registry_elsewhere(self.registry)?;
        Ok(PipelineRole {
            control: self.control.listen,
            controller_url: self.controller.url.unwrap_or_else(|| CONTROLLER_URL.to_owned()),
            log: log_elsewhere(self.kafka, self.data)?,
            registry_url,
            registry_access,
        })
    }
}
