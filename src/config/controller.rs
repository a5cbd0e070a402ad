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
    /// The folder of the files that documents of sources name, such as a `password_file`. Default
    /// `secrets`, beside the file.
    pub secrets_dir: Option<PathBuf>,
}

impl ControllerSettings {
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let secrets = self.secrets_dir.take().unwrap_or_else(|| PathBuf::from("secrets"));
        self.secrets_dir = Some(folder.join(secrets));
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
