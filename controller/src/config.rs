//! The controller's settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_plan::document::Document;

/// Settings of one controller.
#[derive(Debug, Clone, PartialEq)]
pub struct ControllerConfig {
    /// Where its state is kept.
    pub store: StoreConfig,
    /// How long a lease holds; it is renewed at a third of that. 1 s or more.
    pub lease: Duration,
    /// How often what is declared is compared with what is.
    pub reconcile_every: Duration,
    /// The sources of the process's configuration: what runs anyhow, and no document may change.
    pub sources: Vec<Arc<Document>>,
    /// What begins the names of topics where others see them, and of subjects: a cluster's prefix.
    pub topic_prefix: String,
    /// The namespace of topics in OpenLineage's events: `kafka://host:port` of the first of a cluster's
    /// bootstrap servers (its documentation, "Naming").
    pub dataset_namespace: String,
}

impl ControllerConfig {
    /// The defaults, over the given store.
    #[must_use]
    pub fn new(store: StoreConfig) -> Self {
        let (lease, reconcile_every) = (Duration::from_secs(15), Duration::from_millis(500));
        let dataset_namespace = "tidemesh".to_owned();
        let topic_prefix = String::new();
        let sources = Vec::new();
        Self { store, lease, reconcile_every, sources, topic_prefix, dataset_namespace }
    }
}

/// Where a controller keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// One SQLite file (with its `-wal` beside it), made if it does not exist.
    Sqlite(PathBuf),
}
