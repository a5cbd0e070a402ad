//! Leases on topics' retention: while a pipeline waits to be mended, what it has not read is kept.
//!
//! Of a topic from which records go by age and size nothing goes meanwhile; one that is compacted keeps
//! its tombstones, so that no delete is missed. What the topic had is durable before it is changed, and
//! set back once nobody waits for it. `look` sees what became of the topics since, `budget` says when one is
//! let go although somebody waits.

mod budget;
mod look;

pub use budget::KeptTopics;
pub(crate) use budget::not_kept;
pub(crate) use look::Kept;

use crate::controller::{Controller, Seen};
use crate::draft::Draft;
use crate::failpoint::failpoint;
use crate::launcher::JobReport;
use crate::report::{PipelineStatus, pipeline_status};
use crate::state::{Id, State};
use crate::topics::Registry;
use futures_util::future::BoxFuture;
use look::{own, raised};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use tidemesh_model::{ErrorKind, Result};
use tidemesh_plan::document::Kind;
use tidemesh_plan::upgrade;
use tidemesh_transport::{Retention, TopicInfo};
use tokio::time::Instant;

/// The most topics that are kept for pipelines at a time.
pub const LEASES_MAX: usize = 10_000;

/// Looks at topics, and at what pipelines have read of them, and has topics keep their records.
pub trait TopicKeeper: Send + Sync + 'static {
    /// A topic as it is; `NotFound` if it is not there.
    fn topic<'k>(&'k self, topic: &'k str) -> BoxFuture<'k, Result<TopicInfo>>;

    /// Has a topic keep its records for another time.
    fn keep<'k>(&'k self, topic: &'k str, retention: Retention) -> BoxFuture<'k, Result<()>>;

    /// About how many bytes a record of a topic has, by its last ones. It is asked where
    /// [`TopicInfo`] tells no bytes.
    fn record_bytes<'k>(&'k self, topic: &'k TopicInfo) -> BoxFuture<'k, Result<u64>>;

    /// For each topic and partition up to which offset a pipeline has answered for it.
    fn committed<'k>(
        &'k self,
        pipeline: &'k str,
    ) -> BoxFuture<'k, Result<BTreeMap<(String, u32), u64>>>;
}

/// A topic that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionLease {
    /// What it has again afterwards: what it had, or what somebody has set since.
    pub former: Retention,
    /// The pipelines that wait.
    pub pipelines: BTreeSet<String>,
    /// Since when, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub since_ms: u64,
    /// How large it was when it was looked at first; none of one that is compacted, of which only
    /// tombstones stay longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<TopicSize>,
    /// Whether its records go again although somebody waits, because the budget was spent.
    #[serde(default)]
    pub let_go: bool,
}

/// How large a topic is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSize {
    /// Its records, about.
    pub records: u64,
    /// Their bytes as stored; none where that is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// All leases, by their topics.
pub(crate) type Leases = BTreeMap<String, RetentionLease>;

/// How the pipelines are.
struct Pipelines {
    seen: Seen,
    jobs: BTreeMap<String, JobReport>,
}

impl Pipelines {
    fn status(&self, name: &str) -> PipelineStatus {
        pipeline_status(name, &self.seen, &self.jobs)
    }

    /// Whether there is such a pipeline, which has not read all that there is.
    fn is_behind(&self, name: &str) -> bool {
        let reads_on = || {
            self.status(name) != PipelineStatus::Running
                || self.jobs.get(name).is_none_or(|job| job.counts.lag_records != Some(0))
        };
        self.seen.state.document(&Id::pipeline(name)).is_some() && reads_on()
    }

    /// Those that wait to be mended, or for somebody to say so.
    fn waiting(&self) -> Vec<&str> {
        let all = self.seen.state.documents().filter(|(id, _)| id.kind == Kind::Pipeline);
        let waits = |name: &&str| {
            matches!(self.status(name), PipelineStatus::Held | PipelineStatus::Paused)
        };
        all.map(|(id, _)| id.name.as_str()).filter(waits).collect()
    }
}

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
        let looked = self.look(keeper.as_ref(), &mut next).await;
        self.spend(&mut next);
        let let_go = self.let_go(keeper.as_ref(), &state, &mut next).await;
        if next != state.leases {
            let mut draft = Draft::of(&state);
            draft.lease(&next);
            failpoint("kept.decided");
            self.write(epoch, draft.changes).await?;
            failpoint("kept.written");
            self.seen().state = Arc::new(draft.state);
        }
        let raised = self.raise(keeper.as_ref(), &next).await;
        // A topic's trouble has kept none of the others from being kept.
        taken.and(looked).and(let_go).and(raised)
    }

    /// The leases that there shall be, and why one of them could not be taken.
    async fn leases(&self, keeper: &dyn TopicKeeper, state: &State) -> (Leases, Result<()>) {
        let pipelines = Pipelines { seen: self.seen().clone(), jobs: self.launcher.jobs() };
        let mut next = still_needed(state, &pipelines);
        let mut trouble = Ok(());
        for (topic, pipelines) in self.waited_for(&self.have_waited(&pipelines)) {
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

    /// The pipelines that have waited for long enough.
    fn have_waited<'p>(&self, pipelines: &'p Pipelines) -> Vec<&'p str> {
        let mut found = pipelines.waiting();
        let waiting: BTreeSet<&str> = found.iter().copied().collect();
        let mut since = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|name, _| waiting.contains(name.as_str()));
        found.retain(|name| {
            let begun = since.entry((*name).to_owned()).or_insert_with(Instant::now);
            begun.elapsed() >= self.config.keep_topics_after
        });
        found
    }

    /// For each topic who waits before it: of a table also the topics that it has gone on in.
    fn waited_for(&self, waiting: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
        let planned = self.planned();
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in waiting {
            let plan = planned.pipelines.get(*name);
            for input in plan.iter().flat_map(|plan| &plan.inputs) {
                let mut topic = input.topic.clone();
                loop {
                    wanted.entry(topic.clone()).or_default().insert((*name).to_owned());
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
            let goes_on = next.get(topic).is_some_and(|next| !next.let_go);
            if lease.let_go || goes_on {
                continue;
            }
            if let Err(error) = there(set_back(keeper, topic, lease).await) {
                next.insert(topic.clone(), lease.clone());
                trouble = trouble.and(Err(error.with("topic", topic)));
                continue;
            }
            failpoint("kept.set-back");
            tracing::info!(topic, "is kept for as long as its own settings say again");
        }
        trouble
    }

    /// Has topics keep what there is, where they were seen not to.
    async fn raise(&self, keeper: &dyn TopicKeeper, leases: &Leases) -> Result<()> {
        let mut trouble = Ok(());
        for (topic, lease) in leases.iter().filter(|(_, lease)| !lease.let_go) {
            let wanted = raised(&lease.former);
            if self.kept().retention(topic).is_none_or(|now| now == wanted) {
                continue;
            }
            match there(keeper.keep(topic, wanted).await) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    trouble = trouble.and(Err(error.with("topic", topic)));
                    continue;
                }
            }
            failpoint("kept.raised");
            let pipelines: Vec<&str> = lease.pipelines.iter().map(String::as_str).collect();
            tracing::warn!(
                topic,
                pipelines = pipelines.join(", "),
                "keeps its records for pipelines"
            );
            self.kept().is_raised(topic, wanted);
        }
        trouble
    }
}

/// The leases whose pipelines have not yet read all that was kept for them.
fn still_needed(state: &State, pipelines: &Pipelines) -> Leases {
    let needed = state.leases.iter().filter_map(|(topic, lease)| {
        let behind = lease.pipelines.iter().filter(|name| pipelines.is_behind(name));
        let pipelines: BTreeSet<String> = behind.cloned().collect();
        let lease = RetentionLease { pipelines, ..lease.clone() };
        (!lease.pipelines.is_empty()).then(|| (topic.clone(), lease))
    });
    needed.collect()
}

/// Whether a topic is there of which this was answered.
fn there(answered: Result<()>) -> Result<bool> {
    match answered {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        answered => answered.map(|()| true),
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
    Ok(Some(RetentionLease { former, pipelines, since_ms, size: None, let_go: false }))
}

/// Gives a topic its own settings again. What somebody has set meanwhile stays.
async fn set_back(keeper: &dyn TopicKeeper, topic: &str, lease: &RetentionLease) -> Result<()> {
    let now = keeper.topic(topic).await?.config.retention();
    keeper.keep(topic, own(&now, &lease.former)).await
}
