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
use tidemesh_plan::upgrade;
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
        let (mut next, taken) = self.leases(keeper.as_ref(), &state).await;
        let let_go = self.let_go(keeper.as_ref(), &state, &mut next).await;
        if next != state.leases {
            let mut draft = Draft::of(&state);
            draft.lease(&next);
            self.write(epoch, draft.changes).await?;
            self.seen().state = Arc::new(draft.state);
        }
        let raised = self.raise(keeper.as_ref(), &next).await;
        // A topic's trouble has kept none of the others from being kept.
        taken.and(let_go).and(raised)
    }

    /// The leases that there shall be, and why one of them could not be taken.
    async fn leases(&self, keeper: &dyn TopicKeeper, state: &State) -> (Leases, Result<()>) {
        let reports = self.pipelines();
        let mut next = self.still_needed(state, &reports);
        let mut trouble = Ok(());
        for (topic, pipelines) in self.waited_for(&self.waiting(&reports)) {
            if let Some(lease) = next.get_mut(&topic) {
                lease.pipelines.extend(pipelines);
            } else if next.len() >= LEASES_MAX {
                tracing::warn!(topic, "too many topics are kept already");
            } else {
                match taken(keeper, &topic, pipelines).await {
                    Ok(lease) => next.extend(lease.map(|lease| (topic, lease))),
                    Err(error) => trouble = trouble.and(Err(error.with("topic", topic))),
                }
            }
        }
        (next, trouble)
    }

    /// The leases whose pipelines have not yet read all that was kept for them.
    fn still_needed(&self, state: &State, reports: &[PipelineReport]) -> Leases {
        let needs = |name: &String| {
            reports.iter().any(|report| report.name == *name && !has_caught_up(report))
        };
        let needed = state.leases.iter().filter_map(|(topic, lease)| {
            let pipelines: BTreeSet<String> =
                lease.pipelines.iter().filter(|name| needs(name)).cloned().collect();
            (!pipelines.is_empty())
                .then(|| (topic.clone(), RetentionLease { pipelines, ..lease.clone() }))
        });
        needed.collect()
    }

    /// The pipelines that have waited for long enough, to be mended or for somebody to say so.
    fn waiting(&self, reports: &[PipelineReport]) -> Vec<PipelineReport> {
        let waits = |report: &&PipelineReport| {
            matches!(report.state, PipelineStatus::Held | PipelineStatus::Paused)
        };
        let mut found: Vec<PipelineReport> = reports.iter().filter(waits).cloned().collect();
        let mut since = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|name, _| found.iter().any(|report| report.name == *name));
        found.retain(|report| {
            let begun = since.entry(report.name.clone()).or_insert_with(Instant::now);
            begun.elapsed() >= self.config.keep_topics_after
        });
        found
    }

    /// For each topic who waits before it: of a table also the topics that it has gone on in.
    fn waited_for(&self, waiting: &[PipelineReport]) -> BTreeMap<String, BTreeSet<String>> {
        let planned = self.planned();
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for report in waiting {
            for input in &report.inputs {
                let mut topic = input.topic.clone();
                loop {
                    wanted.entry(topic.clone()).or_default().insert(report.name.clone());
                    topic = upgrade::next(&topic);
                    if !planned.answered.contains_key(&topic) {
                        break;
                    }
                }
            }
        }
        wanted
    }

    /// Sets back what is kept no more. It is forgotten only behind that.
    async fn let_go(
        &self,
        keeper: &dyn TopicKeeper,
        state: &State,
        next: &mut Leases,
    ) -> Result<()> {
        let mut trouble = Ok(());
        for (topic, lease) in &state.leases {
            if next.contains_key(topic) {
                continue;
            }
            if let Err(error) = there(keeper.keep(topic, lease.former).await) {
                next.insert(topic.clone(), lease.clone());
                trouble = trouble.and(Err(error.with("topic", topic)));
                continue;
            }
            tracing::info!(topic, "is kept for as long as before again");
            self.raised().remove(topic);
        }
        trouble
    }

    /// Has topics keep what there is, each once since the process was started.
    async fn raise(&self, keeper: &dyn TopicKeeper, leases: &Leases) -> Result<()> {
        let mut trouble = Ok(());
        for (topic, lease) in leases {
            if self.raised().contains(topic) {
                continue;
            }
            match there(keeper.keep(topic, raised(&lease.former)).await) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    trouble = trouble.and(Err(error.with("topic", topic)));
                    continue;
                }
            }
            let pipelines: Vec<&str> = lease.pipelines.iter().map(String::as_str).collect();
            tracing::warn!(
                topic,
                pipelines = pipelines.join(", "),
                "keeps its records for pipelines"
            );
            self.raised().insert(topic.clone());
        }
        trouble
    }
}

/// Whether a topic is there of which this was answered.
fn there(answered: Result<()>) -> Result<bool> {
    match answered {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        answered => answered.map(|()| true),
    }
}

/// Whether a pipeline has read all that there is.
fn has_caught_up(report: &PipelineReport) -> bool {
    report.state == PipelineStatus::Running && report.counts.lag_records == Some(0)
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
