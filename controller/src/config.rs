//! The controller's settings.

use std::sync::Arc;
use std::time::Duration;
use tidemesh_plan::document::Document;
use tidemesh_store::StoreConfig;

/// By how many bytes topics that are kept may grow, unless it is set: 10 GiB.
const KEPT_BYTES_MAX: u64 = 10 << 30;

/// Settings of one controller.
#[derive(Debug, Clone, PartialEq)]
pub struct ControllerConfig {
    /// Where its state is kept.
    pub store: StoreConfig,
    /// How long a lease holds; it is renewed at a third of that, and who cannot renew it in that time
    /// stops its pipelines. 1 s or more.
    pub lease: Duration,
    /// Where others reach this one's API, as `http://10.0.0.5:8090`; none: where it listens.
    pub url: Option<String>,
    /// How often what is declared is compared with what is.
    pub reconcile_every: Duration,
    /// After so long of waiting a pipeline's topics are kept for it: what only waits for a schema to be
    /// judged is over before.
    pub keep_topics_after: Duration,
    /// How often a kept topic is looked at: how large it is, and whether it keeps its records still.
    pub look_at_kept_every: Duration,
    /// By how many bytes topics that are kept may grow, all together, until the oldest is let go. 1 or more.
    pub kept_bytes_max: u64,
    /// Sources whose connectors run elsewhere, by their names.
    pub connectors: Vec<String>,
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
        let (connectors, sources, url) = (Vec::new(), Vec::new(), None);
        Self {
            store,
            lease,
            url,
            reconcile_every,
            keep_topics_after: Duration::from_secs(10),
            look_at_kept_every: Duration::from_secs(10),
            kept_bytes_max: KEPT_BYTES_MAX,
            connectors,
            sources,
            topic_prefix,
            dataset_namespace,
        }
    }
}
