//! What is to be done, in order. Each step has a name that it keeps, and may be done twice: a controller
//! that dies between any two does the list again from its begin.
//!
//! Leases and holds come first, since what they keep may be gone soon. Then the outputs' schemas are
//! registered, all of them before any writer changes. Then pipelines go over to their new plans: one
//! that reads another's topic goes first if its running plan could not read what that one will write;
//! else behind it, since only then there is something new for it. That a new plan always reads what
//! was written before, which is judged, makes the first order possible.

use super::inputs::{Move, Seen};
use super::{Judgement, Verdict};
use crate::mesh::{MeshPlan, PipelinePlan};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// One thing that is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name: the same whenever the same is to be done.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: StepKind,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum StepKind {
    /// A topic keeps its records while a pipeline is held: its retention is raised within the budget.
    Lease {
        /// The pipeline.
        pipeline: String,
        /// The topic.
        topic: String,
    },
    /// A pipeline stops before the first record that its plan cannot take.
    Hold {
        /// The pipeline.
        pipeline: String,
        /// The topics whose records it cannot take.
        topics: BTreeSet<String>,
    },
    /// An output's schemas are registered.
    Register {
        /// The pipeline that will write by them.
        pipeline: String,
        /// The topic.
        topic: String,
    },
    /// A pipeline reads a closed topic to its end, by the plan that it has, and commits that.
    Drain {
        /// The pipeline.
        pipeline: String,
        /// Where it goes over, and from where.
        #[serde(flatten)]
        to: Move,
    },
    /// A pipeline runs by its new plan from where the old one has committed.
    Switch {
        /// The pipeline.
        pipeline: String,
        /// The new plan's digest.
        digest: String,
    },
}

/// Which pipelines must go over before those whose topics they read.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// For each topic those whose running plan cannot read what will be in it.
    first: BTreeMap<String, Vec<String>>,
}

impl Order {
    pub(super) fn add<'s>(
        &mut self,
        pipeline: &PipelinePlan,
        unreadable: impl Iterator<Item = &'s Seen<'s>>,
    ) {
        for seen in unreadable {
            let readers = self.first.entry(seen.plan.topic.clone()).or_default();
            readers.push(pipeline.name().to_owned());
        }
    }
}

/// All that is to be done.
pub(super) fn steps(running: &MeshPlan, judged: &[Judgement], order: &Order) -> Vec<Step> {
    let mut steps: Vec<Step> = judged
        .iter()
        .filter(|judgement| judgement.verdict == Verdict::Held)
        .flat_map(|judgement| hold(running, judgement))
        .collect();
    let plans = || judged.iter().filter(|judgement| judgement.verdict.replans());
    steps.extend(plans().flat_map(|judgement| register(running, judgement)));
    let mut switches = Switches { judged, order, done: BTreeSet::new(), steps };
    plans().for_each(|judgement| switches.of(judgement));
    switches.steps
}

/// The topics of which a held pipeline needs what is in them.
fn hold(running: &MeshPlan, judgement: &Judgement) -> Vec<Step> {
    let Some(plan) = running.pipeline(&judgement.pipeline) else { return Vec::new() };
    let named = |input: &str| plan.inputs.iter().find(|of| of.name == input);
    let about = judgement.inputs.iter().filter_map(|change| named(&change.input));
    let mut topics: BTreeSet<String> = about.map(|input| input.topic.clone()).collect();
    if topics.is_empty() {
        topics = plan.inputs.iter().map(|input| input.topic.clone()).collect();
    }
    let next = judgement.inputs.iter().filter_map(|change| change.next.clone());
    let leased: BTreeSet<String> = topics.iter().cloned().chain(next).collect();
    let pipeline = &judgement.pipeline;
    let lease = |topic: String| Step {
        name: format!("lease {pipeline} {topic}"),
        kind: StepKind::Lease { pipeline: pipeline.clone(), topic },
    };
    let hold = Step {
        name: format!("hold {pipeline} {}", judgement.digest),
        kind: StepKind::Hold { pipeline: pipeline.clone(), topics },
    };
    leased.into_iter().map(lease).chain([hold]).collect()
}

/// The outputs whose schemas are new.
fn register(running: &MeshPlan, judgement: &Judgement) -> Vec<Step> {
    let before = running.pipeline(&judgement.pipeline);
    let known = |topic: &str, schemas: &_| {
        let mut outputs = before.iter().flat_map(|plan| &plan.outputs);
        outputs.any(|output| output.topic == topic && output.schemas == *schemas)
    };
    let outputs = judgement.plan.iter().flat_map(|plan| &plan.outputs);
    let new = outputs.filter(|output| !known(&output.topic, &output.schemas));
    let step = |output: &crate::mesh::OutputPlan| {
        let (pipeline, topic) = (judgement.pipeline.clone(), output.topic.clone());
        let schemas = format!("{:?} {}", output.schemas.key, output.schemas.value);
        let name = format!("register {topic} {}", digest(&schemas));
        Step { name, kind: StepKind::Register { pipeline, topic } }
    };
    new.map(step).collect()
}

fn digest(text: &str) -> String {
    super::certificate::hex(&Sha256::digest(text.as_bytes()))
}

struct Switches<'s> {
    judged: &'s [Judgement],
    order: &'s Order,
    done: BTreeSet<&'s str>,
    steps: Vec<Step>,
}

impl<'s> Switches<'s> {
    /// A pipeline goes over, behind those that must do so before it. Those read what it writes, so that
    /// there is no cycle.
    fn of(&mut self, judgement: &'s Judgement) {
        if !judgement.verdict.replans() || !self.done.insert(&judgement.pipeline) {
            return;
        }
        let Some(plan) = &judgement.plan else { return };
        for output in &plan.outputs {
            for first in self.order.first.get(&output.topic).into_iter().flatten() {
                let reader = self.judged.iter().find(|other| other.pipeline == *first);
                if let Some(reader) = reader {
                    self.of(reader);
                }
            }
        }
        let pipeline = &judgement.pipeline;
        self.steps.extend(judgement.moves.iter().map(|to| Step {
            name: format!("drain {pipeline} {} {}", to.input, to.from),
            kind: StepKind::Drain { pipeline: pipeline.clone(), to: to.clone() },
        }));
        let (pipeline, digest) = (pipeline.clone(), plan.digest.clone());
        let name = format!("switch {pipeline} {digest}");
        self.steps.push(Step { name, kind: StepKind::Switch { pipeline, digest } });
    }
}
