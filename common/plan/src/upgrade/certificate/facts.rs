//! What a certificate is checked against: raw schemas, and what plans say that they read. No SQL.

use crate::document::{Evolution, Spec};
use crate::mesh::{OutputPlan, Path, PipelinePlan};
use crate::upgrade::{Judged, Question, generations};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::compat::CompatibilityLevel;
use tidemesh_avro::schema::Schema;

/// Schemas as texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The keys', if they have one.
    pub key: Option<String>,
    /// The values'.
    pub value: String,
}

/// What is known of a pipeline and its topics.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The digest of the plan that runs.
    pub digest: String,
    /// That of the plan that is to run or is offered.
    pub new_digest: Option<String>,
    /// Whether it may have a plan that does other work.
    pub may_change: bool,
    /// The running plan's inputs.
    pub inputs: BTreeMap<String, InputFacts>,
    /// The outputs, by their topics.
    pub outputs: BTreeMap<String, OutputFacts>,
}

/// What is known of an input.
#[derive(Debug, Clone)]
pub struct InputFacts {
    /// Its topic, as the running plan reads it.
    pub topic: String,
    /// The schemas that the running plan was made with.
    pub planned: Raw,
    /// Those of the topic now; none if it is gone.
    pub now: Option<Raw>,
    /// The topic behind it.
    pub next: Option<(String, Raw)>,
    /// What the running plan reads.
    pub consumed: BTreeSet<Path>,
    /// What the new plan reads.
    pub new_consumed: Option<BTreeSet<Path>>,
}

/// What is known of an output.
#[derive(Debug, Clone)]
pub struct OutputFacts {
    /// Its schemas as the running plan writes them.
    pub planned: Raw,
    /// As the new plan writes them, if there is one.
    pub new: Option<Raw>,
    /// The level of the values' subject.
    pub level: CompatibilityLevel,
    /// The subject's versions, oldest first.
    pub history: Vec<String>,
}

impl Raw {
    /// Both, parsed; none if one of them is no schema.
    #[must_use]
    pub fn parsed(&self) -> Option<(Option<Schema>, Schema)> {
        let key = self.key.as_deref().map(Schema::parse).transpose().ok()?;
        Some((key, Schema::parse(&self.value).ok()?))
    }
}

impl Facts {
    /// What is known of a pipeline: from what runs and what there is now, and of the verdicts only the
    /// plans that they name. None for a pipeline that does not run.
    #[must_use]
    pub fn gather(question: &Question<'_>, judged: &Judged, pipeline: &str) -> Option<Self> {
        let running = question.running.pipeline(pipeline)?;
        let new = judged.pipeline(pipeline).and_then(|judged| judged.plan.as_ref());
        Some(Self {
            digest: running.digest.clone(),
            new_digest: new.map(|plan| plan.digest.clone()),
            may_change: may_change(question, pipeline),
            inputs: inputs(question, judged, running, new),
            outputs: outputs(question, running, new),
        })
    }
}

fn may_change(question: &Question<'_>, pipeline: &str) -> bool {
    let mut documents = question.documents.iter();
    let auto = documents.any(|document| match &document.spec {
        Spec::Pipeline(spec) => document.name() == pipeline && spec.evolution == Evolution::Auto,
        _ => false,
    });
    auto || question.applied.contains(pipeline)
}

fn inputs(
    question: &Question<'_>,
    judged: &Judged,
    running: &PipelinePlan,
    new: Option<&PipelinePlan>,
) -> BTreeMap<String, InputFacts> {
    let both = running.inputs.iter().zip(&running.tables);
    both.map(|(input, table)| {
        let of_new = new.and_then(|plan| plan.inputs.iter().find(|of| of.name == input.name));
        let next = generations::next(&input.topic, question.topics);
        let next = next.map(|(name, topic)| {
            (name.to_owned(), Raw::of_topic(topic.key.as_ref(), &topic.value))
        });
        let facts = InputFacts {
            topic: input.topic.clone(),
            planned: Raw::of_topic(table.relation.key.as_ref(), &table.relation.value),
            now: now(question, judged, &input.topic),
            next,
            consumed: input.reads.clone(),
            new_consumed: of_new.map(|input| input.reads.clone()),
        };
        (input.name.clone(), facts)
    })
    .collect()
}

/// A topic's schemas: those that its pipeline is to write, or those that it has.
fn now(question: &Question<'_>, judged: &Judged, topic: &str) -> Option<Raw> {
    let written = |plan: &PipelinePlan| {
        let judged = judged.pipeline(plan.name()).filter(|judged| judged.verdict.replans());
        let new = judged.and_then(|judged| judged.plan.as_ref());
        let outputs = &new.unwrap_or(plan).outputs;
        let output = outputs.iter().find(|output| output.topic == topic)?;
        let (key, value) = Raw::of_output(output).parsed()?;
        Some(Raw::of_topic(key.as_ref(), &value))
    };
    let known = question.topics.get(topic);
    let known = || known.map(|topic| Raw::of_topic(topic.key.as_ref(), &topic.value));
    question.running.pipelines.iter().find_map(written).or_else(known)
}

fn outputs(
    question: &Question<'_>,
    running: &PipelinePlan,
    new: Option<&PipelinePlan>,
) -> BTreeMap<String, OutputFacts> {
    let of = |output: &OutputPlan| {
        let of_new = new.and_then(|plan| plan.outputs.iter().find(|of| of.topic == output.topic));
        let subject = question.subjects.get(&output.topic);
        let mut history: Vec<String> = subject
            .map(|subject| subject.history.iter().map(|(_, one)| one.registry_text()).collect())
            .unwrap_or_default();
        if let Ok(planned) = Schema::parse(&output.schemas.value) {
            let text = planned.registry_text();
            if !history.contains(&text) {
                history.push(text);
            }
        }
        let level = subject.map_or(CompatibilityLevel::FullTransitive, |subject| subject.level);
        let (planned, new) = (Raw::of_output(output), of_new.map(Raw::of_output));
        (output.topic.clone(), OutputFacts { planned, new, level, history })
    };
    running.outputs.iter().map(of).collect()
}
