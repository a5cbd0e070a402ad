//! Leases on topics' retention: while a pipeline waits to be mended, what it has not read is kept.
//!
//! Of a topic from which records go by age and size nothing goes meanwhile; one that is compacted keeps
//! its tombstones, so that no delete is missed. What the topic had is durable before it is changed, and
//! set back once nobody waits for it.

use crate::controller::Controller;
use crate::draft::Draft;
use crate::report::{PipelineReport, PipelineStatus};
use crate::state::State;
use crate::topics::Registry;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use tidemesh_model::{ErrorKind, Result};
use tidemesh_transport::{Retention, TopicInfo};
use tokio::time::Instant;

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
        if self.planned().mesh.is_none() {
            // It is not known yet what waits.
            return Ok(());
        }
        let state = self.state();
        let next = self.leases(keeper.as_ref(), &state).await?;
        self.let_go(keeper.as_ref(), &state, &next).await?;
        if next != state.leases {
            let mut draft = Draft::of(&state);
            draft.lease(&next);
            self.write(epoch, draft.changes).await?;
            self.seen().state = Arc::new(draft.state);
        }
        self.raise(keeper.as_ref(), &next).await
    }

    /// The leases that there shall be.
    async fn leases(&self, keeper: &dyn TopicKeeper, state: &State) -> Result<Leases> {
        let waiting = self.waiting();
        let mut next = Leases::new();
        for (topic, pipelines) in waited_for(&waiting) {
            match state.leases.get(&topic) {
                Some(lease) => {
                    next.insert(topic, RetentionLease { pipelines, ..lease.clone() });
                }
                None if next.len() < LEASES_MAX => {
                    if let Some(lease) = taken(keeper, &topic, pipelines).await? {
                        next.insert(topic, lease);
                    }
                }
                None => tracing::warn!(topic, "too many topics are kept already"),
            }
        }
        // Of what cannot be planned now it is not known what it reads; it waits still.
        let unknown = |name: &String| {
            waiting.iter().any(|report| report.name == *name && report.inputs.is_empty())
        };
        let held = state.leases.iter().filter(|(_, lease)| lease.pipelines.iter().any(unknown));
        for (topic, lease) in held {
            next.entry(topic.clone()).or_insert_with(|| lease.clone());
        }
        Ok(next)
    }

    /// The pipelines that have waited for long enough, to be mended or for somebody to say so.
    fn waiting(&self) -> Vec<PipelineReport> {
        let waits = |report: &PipelineReport| {
            matches!(report.state, PipelineStatus::Held | PipelineStatus::Paused)
        };
        let mut found: Vec<PipelineReport> = self.pipelines().into_iter().filter(waits).collect();
        let mut since = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|name, _| found.iter().any(|report| report.name == *name));
        let leased = &self.state().leases;
        found.retain(|report| {
            let begun = since.entry(report.name.clone()).or_insert_with(Instant::now);
            // Whoever has taken over knows only what is durable.
            let is_leased = leased.values().any(|lease| lease.pipelines.contains(&report.name));
            is_leased || begun.elapsed() >= self.config.keep_topics_after
        });
        found
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

/// For each topic who waits before it.
fn waited_for(waiting: &[PipelineReport]) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for report in waiting {
        for input in &report.inputs {
            wanted.entry(input.topic.clone()).or_default().insert(report.name.clone());
        }
    }
    wanted
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
