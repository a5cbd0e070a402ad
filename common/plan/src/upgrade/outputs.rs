//! Whether those that read a topic can read what a new plan of its pipeline writes.

use super::carry::other_meaning;
use super::changes::{FieldChange, changes, row_of};
use super::reason::{Reason, Rule};
use super::world::World;
use crate::mesh::{OutputKind, OutputPlan, Path, PipelinePlan};
use crate::relation::Form;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::compat::{CompatibilityLevel, Direction, IncompatibilityKind};
use tidemesh_avro::consumption::{Consumer, Effect, Proposal, Reads, judge_one};
use tidemesh_avro::explain::{Finding, explain};
use tidemesh_avro::project::FieldPath;
use tidemesh_avro::schema::Schema;

/// The most reasons that one output is told.
const REASONS_MAX: usize = 8;

/// What is known of the subjects of values, by their topics. One that is missing has the level that
/// Tidemesh gives its topics, FULL_TRANSITIVE, and no version but that of the running plan.
pub type Subjects = BTreeMap<String, Subject>;

/// The subject of a topic's values.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its level.
    pub level: CompatibilityLevel,
    /// Its versions, oldest first. That of the running plan needs not be among them.
    pub history: Vec<(u32, Schema)>,
}

/// What changes in an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChange {
    /// The sink's name; of a tap its processor's.
    pub name: String,
    /// Whether it is a tap.
    pub tap: bool,
    /// The topic.
    pub topic: String,
    /// The level by which its subject took the new version, or did not.
    pub level: String,
    /// What changes in its rows.
    pub fields: Vec<FieldChange>,
}

/// What a new plan changes in the outputs, and why that cannot be.
pub(super) fn check(
    running: &PipelinePlan,
    new: &PipelinePlan,
    world: &World<'_>,
) -> (Vec<OutputChange>, Vec<Reason>) {
    let (mut changed, mut reasons) = (Vec::new(), Vec::new());
    for output in &new.outputs {
        let Some(before) = running.outputs.iter().find(|of| of.topic == output.topic) else {
            continue;
        };
        if before.schemas.key != output.schemas.key {
            reasons.push(other_key(output));
        }
        if before.schemas.value != output.schemas.value {
            let (old, now) =
                (Schema::parse(&before.schemas.value), Schema::parse(&output.schemas.value));
            let (Ok(old), Ok(now)) = (old, now) else { continue };
            let subject = subject(&output.topic, &old, world);
            reasons.extend(refused(output, &subject, &now));
            if !subject.level.directions().is_empty() {
                reasons.extend(misread(output, &old, &now));
            }
            if subject.level == CompatibilityLevel::Consumers {
                reasons.extend(hurt(output, &old, &now, world));
            }
            changed.push(OutputChange {
                name: output.name.clone(),
                tap: output.kind == OutputKind::Tap,
                topic: output.topic.clone(),
                level: subject.level.name().to_owned(),
                fields: changes(&old, &now),
            });
        }
    }
    (changed, reasons)
}

/// A topic's subject, with the running plan's schema as its last version.
pub(super) fn subject(topic: &str, running: &Schema, world: &World<'_>) -> Subject {
    let known = world.question.subjects.get(topic).cloned();
    let mut subject = known.unwrap_or_else(|| Subject {
        level: CompatibilityLevel::FullTransitive,
        history: Vec::new(),
    });
    let text = running.registry_text();
    if !subject.history.iter().any(|(_, schema)| schema.registry_text() == text) {
        let version = subject.history.last().map_or(0, |(version, _)| *version);
        subject.history.push((version.saturating_add(1), running.clone()));
    }
    subject
}

fn other_key(output: &OutputPlan) -> Reason {
    let message = format!("the key of {} would be another", output.topic);
    let remedy = "give the sink another topic: a topic's keys are one type for ever";
    Reason::new(Rule::OutputKey, message, remedy).at(&output.name)
}

/// A field that readers with the other schema would take for something else. The subject would take it.
fn misread(output: &OutputPlan, old: &Schema, new: &Schema) -> Option<Reason> {
    let row = |value: &Schema| value.at(row_of(value));
    let path = other_meaning(&row(old), &row(new))?;
    let message =
        format!("readers of {} would take {} for what it is not", output.topic, path.join("."));
    let remedy = "cast the column to the type that it was, or give the sink another topic";
    Some(Reason::new(Rule::OutputSubject, message, remedy).at(&output.name).field(&path))
}

/// Why the subject does not take the new schema.
fn refused(output: &OutputPlan, subject: &Subject, new: &Schema) -> Vec<Reason> {
    let history: Vec<(u32, &Schema)> =
        subject.history.iter().map(|(version, schema)| (*version, schema)).collect();
    let mut reasons = BTreeSet::new();
    for (version, old) in subject.level.versions(&history) {
        for direction in subject.level.directions() {
            let (reader, writer) = direction.roles(new, old);
            let found = explain(reader, writer, *direction);
            // A record that is used twice is told of once, and named where it stands again.
            let again = |root: &Finding| {
                root.rule == IncompatibilityKind::MissingUnionBranch && root.reader == root.writer
            };
            let told = |root: &&Finding| !again(root);
            let roots = found.iter().flat_map(Finding::roots).filter(told);
            reasons.extend(roots.map(|root| refusal(output, subject.level, version, root)));
        }
    }
    reasons.into_iter().take(REASONS_MAX).collect()
}

fn refusal(
    output: &OutputPlan,
    level: CompatibilityLevel,
    version: u32,
    found: &Finding,
) -> Reason {
    let message = format!(
        "{} refuses the new schema by {level}: version {version}, {}, {} and {}",
        output.value_subject(),
        found.rule.name(),
        found.reader,
        found.writer
    );
    let remedy = "cast the column to the type that it was, or give the sink another topic";
    let field = in_row(found.field.as_deref(), output.schemas.form);
    Reason::new(Rule::OutputSubject, message, remedy).at(&output.name).field(&field)
}

/// A field's names from the row on.
fn in_row(field: Option<&str>, form: Form) -> Path {
    let mut path: Path =
        field.into_iter().flat_map(|field| field.split('.')).map(str::to_owned).collect();
    let around = form == Form::Envelope && path.len() > 1;
    if around && ["before", "after"].contains(&path[0].as_str()) {
        path.remove(0);
    }
    path
}

/// The pipelines that read the topic and could not read the new schema.
fn hurt(output: &OutputPlan, old: &Schema, new: &Schema, world: &World<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for reader in &world.question.running.pipelines {
        for input in reader.inputs.iter().filter(|input| input.topic == output.topic) {
            let reads = Reads::Fields(consumed(&input.reads, output.schemas.form));
            let consumer =
                Consumer { name: reader.name(), reads: &reads, reader: Some(old), pending: &[] };
            let proposal = Proposal { candidate: new, latest: Some(old), pending: false };
            let why = match judge_one(&proposal, &consumer) {
                Ok(verdict) if verdict.effect != Effect::Hurt => continue,
                Ok(verdict) => {
                    verdict.harms.first().map(|harm| harm.finding.members(Direction::Forward))
                }
                Err(error) => Some(error.to_string()),
            };
            let message =
                format!("{} could not read it: {}", reader.name(), why.unwrap_or_default());
            let remedy = "upgrade that pipeline first, or give the sink another topic";
            reasons.push(Reason::new(Rule::Consumer, message, remedy).at(&output.name));
        }
    }
    reasons.truncate(REASONS_MAX);
    reasons
}

/// What a pipeline reads of a topic, as fields of its values.
pub(super) fn consumed(reads: &BTreeSet<Path>, form: Form) -> BTreeSet<FieldPath> {
    let images: &[&str] = if form == Form::Envelope { &["before.", "after."] } else { &[""] };
    let of = |path: &Path| {
        let names = path.join(".");
        images
            .iter()
            .filter_map(move |image| format!("{image}{names}").parse().ok())
            .collect::<Vec<_>>()
    };
    reads.iter().flat_map(of).collect()
}
