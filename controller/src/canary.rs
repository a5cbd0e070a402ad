//! The canary: before a pipeline gets a new plan because of others' changes, that plan is tried. One that
//! fails where the running one does not is never taken: the upgrade is rolled back before it wrote anything.

use crate::controller::Controller;
use crate::failpoint::failpoint;
use crate::planned::Planned;
use crate::topics::Registry;
use futures_util::future::{BoxFuture, try_join_all};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemesh_model::Result;
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_plan::upgrade::{Judged, Judgement, Unfit};

/// The most plans that are tried at once.
const TRIED_AT_ONCE_MAX: usize = 4;

/// The most plans of a pipeline that are remembered to have failed; more are forgotten together, and tried
/// anew.
pub(crate) const UNFIT_MAX: usize = 8;

/// Tries plans on records.
pub trait Canary: Send + Sync + 'static {
    /// Why `next` must not take the place of `running`; none if nothing speaks against it. Nothing is
    /// written, and what runs goes on.
    ///
    /// # Errors
    ///
    /// Why that cannot be told for now: it is asked again.
    fn try_plan<'c>(
        &'c self,
        running: &'c PipelinePlan,
        next: &'c PipelinePlan,
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

/// The plans that were tried, by pipeline and digest.
#[derive(Default)]
pub(crate) struct Tried(BTreeSet<(String, String)>);

impl Tried {
    /// Tries the new plans that were not tried yet; answers those that failed.
    pub(crate) async fn more(
        &mut self,
        canary: &dyn Canary,
        running: &Planned,
        judged: &Judged,
    ) -> Result<Vec<RolledBack>> {
        let mut due = Vec::new();
        for one in judged.pipelines.iter().filter(|one| one.verdict.replans()) {
            let Some((running, next)) = running.pipelines.get(&one.pipeline).zip(one.plan.as_ref())
            else {
                continue;
            };
            if self.0.insert((one.pipeline.clone(), next.digest.clone())) {
                due.push((one, Arc::clone(running), next));
            }
        }
        if due.is_empty() {
            return Ok(Vec::new());
        }
        failpoint("canary.due");
        let mut failed = Vec::new();
        for some in due.chunks(TRIED_AT_ONCE_MAX) {
            let tries = some.iter().map(|(_, running, next)| canary.try_plan(running, next));
            for ((one, ..), how) in some.iter().zip(try_join_all(tries).await?) {
                failed.extend(how.map(|how| RolledBack { judgement: (*one).clone(), how }));
            }
        }
        failpoint("canary.done");
        Ok(failed)
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
