//! Leases on topics' retention: while a pipeline waits to be mended, what it has not read is kept.
//!
//! Of a topic from which records go by age and size nothing goes meanwhile; one that is compacted keeps
//! its tombstones, so that no delete is missed. What the topic had is durable before it is changed, and
//! set back once nobody waits for it.

use crate::controller::Controller;
use crate::draft::Draft;
use crate::report::PipelineStatus;
use crate::state::State;
use crate::topics::Registry;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{ErrorKind, Result};
use tidemesh_transport::{Retention, TopicInfo};

/// The most topics that are kept for pipelines at a time.
pub const LEASES_MAX: usize = 10_000;

/// How long tombstones are kept, in milliseconds: as long as a Kafka topic can be told to.
const TOMBSTONES_MS: u64 = i64::MAX as u64;

/// Looks at topics and has them keep their records.
pub trait TopicKeeper: Send + Sync + 'static {
    /// A topic as it is; `NotFound` if it is not there.
    fn topic<'k>(&'k self, topic: &'k str) -> BoxFuture<'k, Result<TopicInfo>>;

    /// Has a topic keep its records for another time.
    fn keep<'k>(&'k self, topic: &'k str, retention: Retention) -> BoxFuture<'k, Result<()>>;
}

/// A topic that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionLease {
    /// What it has again afterwards.
    pub former: Retention,
    /// The pipelines that wait.
    pub pipelines: BTreeSet<String>,
    /// Since when, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub since_ms: u64,
}

/// All leases, by their topics.
pub(crate) type Leases = BTreeMap<String, RetentionLease>;

impl<R: Registry> Controller<R> {
    /// Has topics be kept for pipelines that are held or paused.
    #[must_use]
    pub fn keeping(mut self, keeper: Arc<dyn TopicKeeper>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// The topics that are kept for pipelines.
    #[must_use]
    pub fn retention_leases(&self) -> BTreeMap<String, RetentionLease> {
        self.state().leases.clone()
    }

    /// Keeps what pipelines wait for, and lets go of what none waits for any more.
    pub(crate) async fn keep_topics(&self) -> Result<()> {
        let (Some(keeper), Ok(epoch)) = (&self.keeper, self.epoch()) else { return Ok(()) };
        let (state, wanted) = (self.state(), self.waited_for());
        let mut next = Leases::new();
        for (topic, pipelines) in wanted {
            match state.leases.get(&topic) {
                Some(lease) => {
                    drop(next.insert(topic, RetentionLease { pipelines, ..lease.clone() }))
                }
                None if next.len() < LEASES_MAX => {
                    if let Some(lease) = taken(keeper.as_ref(), &topic, pipelines).await? {
                        next.insert(topic, lease);
                    }
                }
                None => tracing::warn!(topic, "too many topics are kept already"),
            }
        }
        self.let_go(keeper.as_ref(), &state, &next).await?;
        if next != state.leases {
            let mut draft = Draft::of(&state);
            draft.lease(&next);
            self.write(epoch, draft.changes).await?;
            self.seen().state = Arc::new(draft.state);
        }
        self.raise(keeper.as_ref(), &next).await
    }

    /// The topics of pipelines that wait to be mended, or for somebody to say so.
    fn waited_for(&self) -> BTreeMap<String, BTreeSet<String>> {
        let waits = |state| matches!(state, PipelineStatus::Held | PipelineStatus::Paused);
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for report in self.pipelines().into_iter().filter(|report| waits(report.state)) {
            for input in &report.inputs {
                wanted.entry(input.topic.clone()).or_default().insert(report.name.clone());
            }
        }
        wanted
    }

    /// Sets back what is kept no more. It is forgotten only behind that.
    async fn let_go(&self, keeper: &dyn TopicKeeper, state: &State, next: &Leases) -> Result<()> {
        for (topic, lease) in state.leases.iter().filter(|(topic, _)| !next.contains_key(*topic)) {
            match keeper.keep(topic, lease.former).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done?,
            }
            tracing::info!(topic, "is kept for as long as before again");
            self.raised().remove(topic);
        }
        Ok(())
    }

    /// Has topics keep what there is, each once since the process was started.
    async fn raise(&self, keeper: &dyn TopicKeeper, leases: &Leases) -> Result<()> {
        for (topic, lease) in leases {
            if self.raised().contains(topic) {
                continue;
            }
            match keeper.keep(topic, raised(&lease.former)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                done => done?,
            }
            let pipelines: Vec<&str> = lease.pipelines.iter().map(String::as_str).collect();
            tracing::warn!(
                topic,
                pipelines = pipelines.join(", "),
                "keeps its records for pipelines"
            );
            self.raised().insert(topic.clone());
        }
        Ok(())
    }
}

/// A lease on a topic; none on one that is not there.
async fn taken(
    keeper: &dyn TopicKeeper,
    topic: &str,
    pipelines: BTreeSet<String>,
) -> Result<Option<RetentionLease>> {
    let former = match keeper.topic(topic).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        info => info?.config.retention(),
    };
    let since_ms = crate::controller::now_ms();
    Ok(Some(RetentionLease { former, pipelines, since_ms }))
}

fn raised(former: &Retention) -> Retention {
    Retention {
        retention_ms: None,
        retention_bytes: None,
        delete_retention_ms: former.delete_retention_ms.max(TOMBSTONES_MS),
    }
}
