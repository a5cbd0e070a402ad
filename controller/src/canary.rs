//! The canary: before a pipeline gets a new plan because of others' changes, that plan is tried. One that
//! fails where the running one does not is never taken: the upgrade is rolled back before it wrote anything.

use crate::controller::Controller;
use crate::failpoint::failpoint;
use crate::planned::Planned;
use crate::topics::Registry;
use futures_util::future::{BoxFuture, try_join_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_plan::upgrade::{Judged, Judgement, Unfit};
use tokio::time::Instant;

/// The most plans that are tried at once.
const TRIED_AT_ONCE_MAX: usize = 4;

/// The most plans of a pipeline that are remembered to have failed; more are forgotten together, and tried
/// anew.
pub(crate) const UNFIT_MAX: usize = 8;

/// How often the schemas may become others while plans of theirs are tried, before that is left to the next
/// round.
const ATTEMPTS_MAX: usize = 256;

/// Tries plans on records.
pub trait Canary: Send + Sync + 'static {
    /// Why `next` must not take the place of `running`; none if nothing speaks against it. Nothing is
    /// written, and what runs goes on.
    ///
    /// `since` is when the first of the plans that are tried together was: who waits for a record of a new
    /// schema waits from then on, so that many plans behind one table do not each wait for it.
    ///
    /// # Errors
    ///
    /// Why that cannot be told for now: it is asked again.
    fn try_plan<'c>(
        &'c self,
        running: &'c PipelinePlan,
        next: &'c PipelinePlan,
        since: Instant,
    ) -> BoxFuture<'c, Result<Option<String>>>;
}

/// An upgrade that failed its canary.
#[derive(Debug, Clone)]
pub(crate) struct RolledBack {
    /// The verdict by which it was to be.
    pub(crate) judgement: Judgement,
    /// How it failed.
    pub(crate) how: String,
}

/// A pipeline, the digest of the plan that it runs by, and that of the next.
type Pair = (String, String, String);

/// A plan that is to be tried.
struct Due {
    pair: Pair,
    running: Arc<PipelinePlan>,
    next: PipelinePlan,
}

/// The plans that were tried for one thing that the controller does, and those that are to be before it can
/// be done. Nobody waits for tries: they are made while no lock is held, and what asked for them is decided
/// again behind them, from what is there then.
#[derive(Default)]
pub(crate) struct Tried {
    outcomes: BTreeMap<Pair, Option<String>>,
    due: Vec<Due>,
    since: Option<Instant>,
    attempts: usize,
}

impl Tried {
    /// The new plans that failed, of those that were not known to; none if some are to be tried first.
    pub(crate) fn failed(&mut self, running: &Planned, judged: &Judged) -> Option<Vec<RolledBack>> {
        let mut failed = Vec::new();
        for one in judged.pipelines.iter().filter(|one| one.verdict.replans()) {
            let Some((running, next)) = running.pipelines.get(&one.pipeline).zip(one.plan.as_ref())
            else {
                continue;
            };
            let pair = (one.pipeline.clone(), running.digest.clone(), next.digest.clone());
            match self.outcomes.get(&pair) {
                Some(Some(how)) => {
                    failed.push(RolledBack { judgement: one.clone(), how: how.clone() });
                }
                Some(None) => {}
                None => {
                    let (running, next) = (Arc::clone(running), next.clone());
                    self.due.push(Due { pair, running, next });
                }
            }
        }
        self.due.is_empty().then_some(failed)
    }

    /// Tries what is due; answers whether there was any. Nobody may hold the lock of what changes the state.
    ///
    /// # Errors
    ///
    /// What the canary says; `Unavailable` if schemas became others again and again meanwhile.
    pub(crate) async fn more(&mut self, canary: Option<&dyn Canary>) -> Result<bool> {
        let due = std::mem::take(&mut self.due);
        let Some(canary) = canary.filter(|_| !due.is_empty()) else { return Ok(false) };
        self.attempts += 1;
        if self.attempts > ATTEMPTS_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "try new plans")
                .because("schemas became others again and again while their plans were tried")
                .with("attempts_max", ATTEMPTS_MAX));
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        failpoint("canary.due");
        for some in due.chunks(TRIED_AT_ONCE_MAX) {
            let tries = some.iter().map(|due| canary.try_plan(&due.running, &due.next, since));
            let outcomes = try_join_all(tries).await?;
            self.outcomes.extend(some.iter().map(|due| due.pair.clone()).zip(outcomes));
        }
        failpoint("canary.done");
        Ok(true)
    }
}

impl Planned {
    /// Remembers that a plan failed.
    pub(crate) fn failed(&mut self, failed: &RolledBack) {
        let RolledBack { judgement, how } = failed;
        let Some(digest) = judgement.new_digest.clone() else { return };
        let known = self.unfit.entry(judgement.pipeline.clone()).or_default();
        if known.len() >= UNFIT_MAX {
            known.clear();
        }
        known.insert(digest, how.clone());
        let pipeline = &judgement.pipeline;
        tracing::error!(pipeline, how, "a new plan failed when it was tried: rolled back");
    }

    /// Has plans that failed be tried again; answers whether there are such.
    pub(crate) fn try_again(&mut self, pipeline: &str) -> bool {
        let failed = self.unfit.remove(pipeline).is_some();
        self.outdated |= failed;
        failed
    }
}

/// What is kept of plans that failed, of pipelines that there are.
pub(crate) fn kept(state: &crate::state::State) -> Unfit {
    let kept = state.pipelines.iter().filter(|(_, kept)| !kept.unfit.is_empty());
    kept.map(|(name, kept)| (name.clone(), kept.unfit.clone())).collect()
}

impl<R: Registry> Controller<R> {
    /// Has new plans be tried before they are taken. Without it they are taken as they are judged.
    #[must_use]
    pub fn with_canary(mut self, canary: Arc<dyn Canary>) -> Self {
        self.canary = Some(canary);
        self
    }
}
