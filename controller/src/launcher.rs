//! What starts pipelines. The controller runs none itself: whoever runs it hands a launcher in.

use crate::loss::{AcceptedLoss, LostPlace};
use futures_util::future::{BoxFuture, FutureExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::Result;
use tidemesh_plan::mesh::{PipelinePlan, Recipe};

/// Starts and ends pipelines, and tries again what fails for a time. A pipeline has at most one job.
pub trait Launcher: Send + Sync + 'static {
    /// Runs a pipeline, once its job of before, if it has one, has come to an end.
    fn start(&self, pipeline: Start) -> BoxFuture<'_, ()>;

    /// Has a pipeline's job read these topics to their ends, and end there ([`JobState::Drained`]). Each
    /// is a table's former topic with its next: it is at its end once there is something in the next.
    /// To say it again changes nothing.
    fn drain<'l>(
        &'l self,
        pipeline: &'l str,
        topics: &'l [(String, String)],
    ) -> BoxFuture<'l, Result<()>>;

    /// Ends a pipeline's job between two appends, and waits for that.
    fn stop<'l>(&'l self, pipeline: &'l str) -> BoxFuture<'l, ()>;

    /// All jobs, by their pipelines; also those that have ended by themselves.
    fn jobs(&self) -> BTreeMap<String, JobReport>;

    /// This controller acts no more, and another one may. Jobs that go on without it are left to that
    /// one; all others end.
    fn leave(&self) -> BoxFuture<'_, ()> {
        async {
            for name in self.jobs().keys() {
                self.stop(name).await;
            }
        }
        .boxed()
    }
}

/// A pipeline to run.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its plan.
    pub plan: Arc<PipelinePlan>,
    /// What the plan is made of, for a job in another process.
    pub recipe: Recipe,
    /// Up to which schemas of values each topic was judged, by their ids: the job ends before the first
    /// record of a later one ([`JobState::Held`]), and is started again once that one is judged.
    pub planned_by: BTreeMap<String, u32>,
    /// Behind which losses it goes on, at this start and whenever it is tried again.
    pub accepted_loss: AcceptedLoss,
}

/// What is known of a pipeline's job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// The digest of the plan that it runs by.
    pub digest: String,
    /// How it is.
    #[serde(flatten)]
    pub state: JobState,
    /// What it has done.
    pub counts: JobCounts,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobState {
    /// Nothing runs it yet.
    Starting,
    /// It runs.
    Running,
    /// It has failed for a reason that passes, and is started again after a while.
    Retrying {
        /// The reason, with its causes and a remedy.
        error: String,
    },
    /// It has ended before a record that its plan cannot read.
    Held {
        /// The reason, with the place of that record.
        error: String,
    },
    /// It has ended where records are gone that it has not answered for.
    Lost {
        /// Which, with the place.
        error: String,
        /// All places; none from a worker of a version that does not tell them.
        #[serde(default)]
        places: Vec<LostPlace>,
    },
    /// It has read the topics to their ends that it was told to.
    Drained,
    /// It has ended for a reason that does not pass by itself.
    Failed {
        /// The reason, with its causes and a remedy.
        error: String,
    },
}

/// What a pipeline has done since the process that runs it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobCounts {
    /// Input records that are answered for.
    pub records_in: u64,
    /// Output records.
    pub records_out: u64,
    /// Records that could not be processed.
    pub dead_letters: u64,
    /// The timestamp of the newest input record that is answered for, in milliseconds since
    /// 1970-01-01 00:00:00 UTC; 0 before the first.
    pub newest_ms: u64,
    /// How often it has failed, or stopped before a record that it cannot read.
    #[serde(default)]
    pub errors: u64,
    /// Records, about, that it has not answered for; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_records: Option<u64>,
    /// How old the newest record is that it has answered for, in milliseconds, while there are more; 0
    /// if there are not, none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}
