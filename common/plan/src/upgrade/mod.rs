//! What a change of schemas means for pipelines that run: for each of them a verdict, in order, with a
//! new plan where there is one, the steps that make it so, and a certificate that can be checked again.
//! Pure: the controller, `tidemesh impact` and tests ask the same functions.
//!
//! `inputs` tells what became of the topics that a pipeline reads, `carry` what its plan still gets of
//! them, `replan` plans it anew, `decide` weighs that by the document's `evolution`, `outputs` by those
//! that read what it writes. `steps` puts what is to be done in order. [`certificate`] holds the facts,
//! and the function that re-checks them, which calls nothing of all this. [`impact`] asks beforehand.
//!
//! A plan as it is goes on wherever it gets the same fields with the same meaning: chains read records
//! of other schemas by the fields' names. It does not where Avro's resolution would put a default in the
//! place of a field that is gone, or take a number for one of another unit.
//!
//! Absent here: offsets. Where a pipeline is held, or goes over to another topic, the runner finds the
//! first record that it cannot take.

mod carry;
pub mod certificate;
mod changes;
mod decide;
mod generations;
pub mod impact;
mod inputs;
mod outputs;
mod reason;
mod replan;
mod runner;
mod steps;
mod world;

pub use changes::FieldChange;
pub use inputs::{InputChange, Move, Snapshot};
pub use outputs::{OutputChange, Subject, Subjects};
pub use reason::{Loss, Reason, Rule};
pub use runner::{former, loses, next};
pub use steps::{Step, StepKind};

use crate::document::Document;
use crate::mesh::{MeshPlan, PipelinePlan, Topics};
use crate::sql::with_stack;
use certificate::Certificate;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// What runs: each pipeline by the plan that it runs by. The schemas that a plan was made with are
    /// in it ([`PipelinePlan::tables`]), so that pipelines may have been planned at different times.
    pub running: &'q MeshPlan,
    /// The documents. A pipeline without one is not judged, nor one that does not run.
    pub documents: &'q [Document],
    /// The topics that no pipeline writes, as they are now, a table's former topics among them.
    pub topics: &'q Topics,
    /// What is known of the subjects of topics that pipelines write.
    pub subjects: &'q Subjects,
    /// The pipelines that somebody has applied: their documents may be others than those that the
    /// running plans were made of, and `manual` and `pinned` do not keep them from a new plan.
    pub applied: &'q BTreeSet<String>,
    /// Plans that failed when they were tried.
    pub unfit: &'q Unfit,
}

/// Plans that failed when they were tried: by pipeline and the plan's digest, how.
pub type Unfit = BTreeMap<String, BTreeMap<String, String>>;

/// The verdicts on all pipelines, and what is to be done.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// One for each pipeline that runs and has a document, in the running plan's order.
    pub pipelines: Vec<Judgement>,
    /// What is to be done, in order.
    pub steps: Vec<Step>,
}

/// What becomes of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on as it is: a new plan would be the same.
    Unaffected,
    /// It goes on as it is, although a new plan would be another, or could not be made.
    Stays,
    /// It gets a new plan.
    Upgraded,
    /// It goes on in the next topic of a table, once it has read the former one to its end.
    Moved,
    /// It stops at the first record that it cannot take.
    Held,
}

/// The verdict on a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    /// The pipeline.
    pub pipeline: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, in a sentence without its full stop.
    pub why: String,
    /// What changed in what it reads; empty if nothing did.
    pub inputs: Vec<InputChange>,
    /// The tables' topics that it goes over to.
    pub moves: Vec<Move>,
    /// What changes in what it writes, or would with the plan that is offered.
    pub outputs: Vec<OutputChange>,
    /// Why it is held, or why it stays as it is.
    pub reasons: Vec<Reason>,
    /// The inputs that get nothing more until a pipeline before it is no longer held.
    pub waits: Vec<Wait>,
    /// The digest of the plan that it runs by.
    pub digest: String,
    /// The new plan's, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_digest: Option<String>,
    /// The new plan: what is to run if it is upgraded or moved; what `apply` would make it if it stays.
    #[serde(skip)]
    pub plan: Option<PipelinePlan>,
    /// The facts on which the verdict rests.
    pub certificate: Certificate,
}

/// An input that gets nothing more for now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wait {
    /// The input.
    pub input: String,
    /// Its topic.
    pub topic: String,
    /// The pipeline that is held.
    pub held: String,
}

/// Judges all pipelines that run, each behind those whose topics it reads: what an upgrade makes of a
/// topic is what changed for those that read it. Judging what was judged again, once it is done, finds
/// nothing more to do.
#[must_use]
pub fn judge(question: &Question<'_>) -> Judged {
    with_stack(|| decide::judge(question))
}

impl Verdict {
    /// Its name, as it is serialised.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unaffected => "unaffected",
            Self::Stays => "stays",
            Self::Upgraded => "upgraded",
            Self::Moved => "moved",
            Self::Held => "held",
        }
    }

    /// Whether the pipeline is to run by another plan.
    #[must_use]
    pub fn replans(self) -> bool {
        matches!(self, Self::Upgraded | Self::Moved)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Judged {
    /// The verdict on a pipeline.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> Option<&Judgement> {
        self.pipelines.iter().find(|judged| judged.pipeline == name)
    }

    /// What runs once all steps are done.
    #[must_use]
    pub fn applied(&self, running: &MeshPlan) -> MeshPlan {
        let next = |plan: &PipelinePlan| {
            let judged = self.pipeline(plan.name()).filter(|judged| judged.verdict.replans());
            judged.and_then(|judged| judged.plan.clone()).unwrap_or_else(|| plan.clone())
        };
        MeshPlan { pipelines: running.pipelines.iter().map(next).collect() }
    }
}
