//! The `[controller]` table.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use tidemesh_controller::{ControllerConfig, StoreConfig};
use tidemesh_model::{Error, ErrorKind, Result};

/// The `[controller]` table, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControllerSettings {
    /// Where documents and their history are kept: `sqlite:FILE`. Default
    /// `sqlite:controller.sqlite` in the data folder.
    pub store: Option<String>,
    /// Where the controller is reached: other controllers send clients there, and a pipeline in a process
    /// of its own tells of itself there. Default: for a controller, from `control.listen`; for a pipeline,
    /// `http://127.0.0.1:8090`.
    pub url: Option<String>,
    /// For `controller`: whether it starts a process for each pipeline, or somebody else does. Default
    /// `process`.
    pub runtime: Option<Runtime>,
    /// For `controller`: the sources whose connectors run elsewhere, by their names. No pipeline may write
    /// to their topics. Default none.
    pub sources: Vec<String>,
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
        if let Some(file) = self.store.as_ref().and_then(|store| store.strip_prefix("sqlite:")) {
            self.store = Some(format!("sqlite:{}", folder.join(file).display()));
        }
    }

    /// As it is used.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key.
    pub(super) fn config(&self, data_dir: &Path) -> Result<ControllerConfig> {
        let file = match self.store.as_deref() {
            None => data_dir.join("controller.sqlite"),
            Some(store) => match store.split_once(':') {
                Some(("sqlite", file)) if !file.is_empty() => PathBuf::from(file),
                _ => {
                    return Err(Error::new(ErrorKind::Config, "use the configuration")
                        .because("controller.store: it must be sqlite:FILE"));
                }
            },
        };
        Ok(ControllerConfig::new(StoreConfig::Sqlite(file)))
    }
}
