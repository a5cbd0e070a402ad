//! The facts on which a verdict rests, so that it can be checked by who did not make it.
//!
//! `facts` gathers raw schemas and what a certificate is about, from what runs and what there is now;
//! `recheck` compares both, and judges what can be judged without SQL by other means than the verdict
//! was made by: projections, differences and resolution of `common/avro`. A certificate that was forged
//! does not follow from its facts, and one that is stale rests on others.

mod facts;
mod fields;
mod recheck;

pub use facts::{Facts, InputFacts, OutputFacts, Raw};
pub use recheck::recheck;

use super::Verdict;
use super::decide::{Case, Decision};
use super::inputs::{Seen, Snapshot};
use super::outputs::subject;
use super::reason::Reason;
use super::world::texts_of;
use crate::mesh::{OutputPlan, Path, PipelinePlan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use tidemesh_avro::schema::Schema;

/// The form of certificates that this program writes and reads.
pub const CERTIFICATE_VERSION: u32 = 1;

/// The facts of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// [`CERTIFICATE_VERSION`].
    pub version: u32,
    /// The pipeline.
    pub pipeline: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the pipeline may have a plan that does other work: `evolution: auto`, or somebody has
    /// applied it.
    pub may_change: bool,
    /// The digest of the plan that runs.
    pub digest: String,
    /// That of the plan that is to run, or is offered.
    pub new_digest: Option<String>,
    /// Every input of the running plan.
    pub inputs: Vec<InputFact>,
    /// The outputs whose schemas the new plan changes, or would if it was not refused.
    pub outputs: Vec<OutputFact>,
    /// Why it is held, or stays.
    pub reasons: Vec<Reason>,
}

/// An input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFact {
    /// Its name.
    pub input: String,
    /// The topic that the running plan reads.
    pub topic: String,
    /// Its schemas as the running plan knows them.
    pub planned: Pair,
    /// Its schemas now; none if the topic is gone.
    pub now: Option<Pair>,
    /// The topic that its table goes on in, with its schemas.
    pub next: Option<(String, Pair)>,
    /// What the next topic's snapshot is, if the pipeline goes over.
    pub snapshot: Option<Snapshot>,
    /// The fields that the running plan reads.
    pub consumed: BTreeSet<Path>,
    /// Those that the new plan reads.
    pub new_consumed: Option<BTreeSet<Path>>,
    /// Whether the running plan gets them all from records of the schemas that are now.
    pub readable: bool,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFact {
    /// Its topic.
    pub topic: String,
    /// Its schemas as the running plan writes them.
    pub planned: Pair,
    /// Those of the new plan.
    pub new: Raw,
    /// The level of the values' subject.
    pub level: String,
    /// The subject's versions, the oldest first.
    pub history: Vec<Fingerprint>,
}

/// A key's and a value's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The key's, if there is one.
    pub key: Option<Fingerprint>,
    /// The value's.
    pub value: Fingerprint,
}

/// What tells a schema from others, each SHA-256 in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Of its Parsing Canonical Form, which leaves out defaults, aliases and logical types.
    pub canonical: String,
    /// Of the whole, as the registry prints it.
    pub text: String,
}

impl Fingerprint {
    /// A schema's.
    #[must_use]
    pub fn of(schema: &Schema) -> Self {
        Self { canonical: hex(&schema.sha256()), text: sha256(&schema.registry_text()) }
    }
}

impl Pair {
    /// Two schemas'.
    #[must_use]
    pub fn of(key: Option<&Schema>, value: &Schema) -> Self {
        Self { key: key.map(Fingerprint::of), value: Fingerprint::of(value) }
    }
}

impl Certificate {
    pub(super) fn of(case: &Case<'_>, decision: &Decision) -> Self {
        let plan = decision.plan.as_ref();
        let judged = plan.or(decision.refused.as_ref());
        Self {
            version: CERTIFICATE_VERSION,
            pipeline: case.running.name().to_owned(),
            verdict: decision.verdict,
            may_change: case.may_change(),
            digest: case.running.digest.clone(),
            new_digest: plan.map(|plan| plan.digest.clone()),
            inputs: case.seen.iter().map(|seen| input(seen, decision, plan)).collect(),
            outputs: judged.map(|plan| outputs(plan, case)).unwrap_or_default(),
            reasons: decision.reasons.clone(),
        }
    }
}

fn input(seen: &Seen<'_>, decision: &Decision, plan: Option<&PipelinePlan>) -> InputFact {
    let name = &seen.plan.name;
    let of_plan = plan.and_then(|plan| plan.inputs.iter().find(|input| input.name == *name));
    let planned = Pair::of(seen.planned.key.as_ref(), &seen.planned.value);
    let now = match &seen.now {
        Some(_) if !seen.changed => Some(planned.clone()),
        now => now.as_ref().map(|topic| Pair::of(topic.key.as_ref(), &topic.value)),
    };
    let next = seen.next.as_ref();
    InputFact {
        input: name.clone(),
        topic: seen.plan.topic.clone(),
        planned,
        now,
        next: next.map(|(name, topic)| (name.clone(), Pair::of(topic.key.as_ref(), &topic.value))),
        snapshot: decision.moves.iter().find(|to| to.input == *name).map(|to| to.snapshot),
        consumed: seen.plan.reads.clone(),
        new_consumed: of_plan.map(|input| input.reads.clone()),
        readable: seen.readable(),
    }
}

fn outputs(plan: &PipelinePlan, case: &Case<'_>) -> Vec<OutputFact> {
    let of = |output: &OutputPlan| {
        let before = case.running.outputs.iter().find(|before| before.topic == output.topic)?;
        if before.schemas == output.schemas {
            return None;
        }
        let planned = Raw::of_output(before).parsed()?;
        let subject = subject(&output.topic, &planned.1, case.world);
        Some(OutputFact {
            topic: output.topic.clone(),
            planned: Pair::of(planned.0.as_ref(), &planned.1),
            new: Raw::of_output(output),
            level: subject.level.name().to_owned(),
            history: subject.history.iter().map(|(_, schema)| Fingerprint::of(schema)).collect(),
        })
    };
    plan.outputs.iter().filter_map(of).collect()
}

impl Raw {
    pub(super) fn of_topic(key: Option<&Schema>, value: &Schema) -> Self {
        let (key, value) = texts_of(key, value);
        Self { key, value }
    }

    fn of_output(output: &OutputPlan) -> Self {
        Self { key: output.schemas.key.clone(), value: output.schemas.value.clone() }
    }
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(text.as_bytes()))
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a text takes what is written");
        hex
    })
}
