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
