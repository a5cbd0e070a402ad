//! The `[controller]` table.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemesh_controller::{ControllerConfig, StoreConfig};
use tidemesh_model::{Error, ErrorKind, Result, Secret};

/// The shortest and the longest lease, in milliseconds.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=300_000;

/// The `[controller]` table, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControllerSettings {
    /// Where documents and their history are kept: `sqlite:FILE`, or
    /// `postgresql://USER:PASSWORD@HOST/DATABASE` for several controllers. Default
    /// `sqlite:controller.sqlite` in the data folder.
    pub store: Option<Secret>,
    /// How long the controller that acts is waited for once nothing is heard of it, in milliseconds.
    /// 1000 to 300000; default 15000.
    pub lease_ms: Option<u64>,
    /// By how many bytes topics that are kept for pipelines that wait may grow, all together: at half of it
    /// a warning is told, at all of it the topic that has been kept for the longest time is let go. 1 or
    /// more; default 10737418240.
    pub kept_bytes_max: Option<u64>,
    /// Where the controller is reached: other controllers send clients there, and a pipeline in a process
    /// of its own tells of itself there. Default: for a controller, from `control.listen`; for a pipeline,
    /// `http://127.0.0.1:8090`.
    pub url: Option<String>,
    /// For `controller`: whether it starts a process for each pipeline, or somebody else does. Default
    /// `process`.
    pub runtime: Option<Runtime>,
    /// The sources whose connectors run elsewhere, by their names. No pipeline may write to their topics,
    /// and samples of these are shown. Default none.
    pub sources: Vec<String>,
    /// The folder of the files that documents of sources name, such as a `password_file`. Default
    /// `secrets`, beside the file.
    pub secrets_dir: Option<PathBuf>,
}

/// Who starts the processes of pipelines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The controller.
    #[default]
    Process,
    /// Somebody else: systemd, Kubernetes, a person. The controller watches them.
    External,
}

impl ControllerSettings {
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let secrets = self.secrets_dir.take().unwrap_or_else(|| PathBuf::from("secrets"));
        self.secrets_dir = Some(folder.join(secrets));
        if let Some(store) = &mut self.store
            && let Some(file) = store.expose().strip_prefix("sqlite:")
        {
            *store = Secret::new(format!("sqlite:{}", folder.join(file).display()));
        }
    }

    /// As it is used.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key.
    pub(super) fn config(&self, data_dir: &Path) -> Result<ControllerConfig> {
        let store = match &self.store {
            None => StoreConfig::Sqlite(data_dir.join("controller.sqlite")),
            Some(store) => {
                let read = store.expose().parse::<StoreConfig>();
                read.map_err(|error| error.with("key", "controller.store"))?
            }
        };
        let mut config = ControllerConfig::new(store);
        config.url.clone_from(&self.url);
        config.connectors.clone_from(&self.sources);
        if let Some(lease_ms) = self.lease_ms {
            config.lease = lease(lease_ms)?;
        }
        if let Some(bytes) = self.kept_bytes_max {
            config.kept_bytes_max = kept_bytes(bytes)?;
        }
        Ok(config)
    }
}

fn lease(lease_ms: u64) -> Result<Duration> {
    if LEASE_MS.contains(&lease_ms) {
        return Ok(Duration::from_millis(lease_ms));
    }
    let (least, most) = (LEASE_MS.start(), LEASE_MS.end());
    Err(Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("controller.lease_ms: it must be {least} to {most}")))
}

fn kept_bytes(bytes: u64) -> Result<u64> {
    if bytes > 0 {
        return Ok(bytes);
    }
    Err(Error::new(ErrorKind::Config, "use the configuration")
        .because("controller.kept_bytes_max: it must be 1 or more"))
}
