//! What became of the topics that a pipeline reads.

use super::carry::{Lost, Missing, lost, same_key};
use super::changes::{FieldChange, changes};
use super::generations;
use super::reason::{Loss, Reason, Rule};
use super::world::{World, texts_of};
use crate::lineage::reads;
use crate::mesh::{InputPlan, Path, PipelinePlan, Topic};
use crate::relation::Relation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What changed in an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChange {
    /// The input.
    pub input: String,
    /// Its topic, as the running plan reads it.
    pub topic: String,
    /// The topic that its table goes on in, if it does so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// What changed in its rows, or will at the next topic.
    pub fields: Vec<FieldChange>,
    /// Of what changed that which the pipeline reads, by its names joined by points.
    pub read: BTreeSet<String>,
}

/// A table's topic that a pipeline goes over to.
///
/// The runner reads the former topic to its end, which is closed, and commits that; then it reads the
/// next one with the new plan, from its first record. Nothing is lost between them: the next topic
/// begins with the event at which the former one ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The input.
    pub input: String,
    /// The former topic.
    pub from: String,
    /// The next one.
    pub to: String,
    /// What the next topic's snapshot is to the pipeline.
    pub snapshot: Snapshot,
}

/// What the snapshot of a table in its next topic is to a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// Its rows are to be processed: what was written of the former topic's rows is not what the new
    /// plan would write of them, or a lookup's table is to be made anew.
    Needed,
    /// Its rows say of each key what the output has already. To process them is right and changes
    /// nothing. Who passes over records of the operation `r` must be sure that none of them is a row
    /// that was read again in the place of an event (`toast = "reread"`), which are marked alike.
    Known,
}

/// One input of a running pipeline.
pub(super) struct Seen<'s> {
    pub(super) plan: &'s InputPlan,
    pub(super) planned: &'s Relation,
    pub(super) lookup: bool,
    /// The topic as it is now; none if it is gone.
    pub(super) now: Option<Topic>,
    /// The topic behind it.
    pub(super) next: Option<(String, Topic)>,
    /// Whether the topic's schemas are others than those that the plan was made with.
    pub(super) changed: bool,
    /// What the running plan loses in records of the topic's present schema.
    pub(super) lost: Vec<Lost>,
    /// Whether records of the topic can be rows at all, and why not.
    pub(super) wrong: Option<String>,
}

/// All inputs of a running pipeline.
pub(super) fn seen<'s>(running: &'s PipelinePlan, world: &World<'_>) -> Vec<Seen<'s>> {
    let tables = running.tables.iter();
    let both = running.inputs.iter().zip(tables);
    both.map(|(plan, table)| Seen::of(plan, &table.relation, table.lookup, world)).collect()
}

impl<'s> Seen<'s> {
    fn of(plan: &'s InputPlan, planned: &'s Relation, lookup: bool, world: &World<'_>) -> Self {
        let now = world.topics.get(&plan.topic).cloned();
        let next = generations::next(&plan.topic, &world.topics);
        let next = next.map(|(name, topic)| (name.to_owned(), topic.clone()));
        let texts = texts_of(planned.key.as_ref(), &planned.value);
        let changed = world.texts(&plan.topic).is_none_or(|now| *now != texts);
        let mut seen =
            Self { plan, planned, lookup, now, next, changed, lost: Vec::new(), wrong: None };
        if changed {
            seen.compare();
        }
        seen
    }

    fn compare(&mut self) {
        let Some(now) = &self.now else {
            self.wrong = Some("the topic is gone".to_owned());
            return;
        };
        match Relation::of_topic(now.key.clone(), now.value.clone()) {
            Ok(now) => self.lost = lost(self.planned, &self.plan.reads, &now, Missing::Lost),
            Err(why) => self.wrong = Some(why),
        }
    }

    /// Whether the running plan reads what the topic holds.
    pub(super) fn readable(&self) -> bool {
        self.wrong.is_none() && self.lost.is_empty()
    }

    /// The topic that it goes over to: once the running plan has read the former one to its end.
    pub(super) fn moves(&self) -> Option<&(String, Topic)> {
        self.next.as_ref().filter(|_| self.readable())
    }

    /// The topic that a new plan reads, if it is there.
    pub(super) fn target(&self) -> Option<(&str, &Topic)> {
        match (self.moves(), &self.now) {
            (Some((name, topic)), _) => Some((name, topic)),
            (None, Some(topic)) => Some((&self.plan.topic, topic)),
            (None, None) => None,
        }
    }

    /// What changed, if something did.
    pub(super) fn change(&self) -> Option<InputChange> {
        let next = self.moves().map(|(name, _)| name.clone());
        if !self.changed && next.is_none() {
            return None;
        }
        let (_, target) = self.target()?;
        let fields = changes(&self.planned.value, &target.value);
        let read = fields.iter().filter_map(|change| change.field.clone());
        Some(InputChange {
            input: self.plan.name.clone(),
            topic: self.plan.topic.clone(),
            next,
            read: read.filter(|field| is_read(field, &self.plan.reads)).collect(),
            fields,
        })
    }

    /// The move to the next topic, if there is one; `same` if the new plan does the same work.
    pub(super) fn to_move(&self, same: bool) -> Option<Move> {
        let (to, topic) = self.moves()?;
        // A read column of another type may have other values, though it can be read as what it was.
        let is_kept = self.change().is_none_or(|change| change.read.is_empty());
        let is_same = same && is_kept && same_key(self.planned.key.as_ref(), topic.key.as_ref());
        let known = is_same && !self.lookup;
        let snapshot = if known { Snapshot::Known } else { Snapshot::Needed };
        let (input, from) = (self.plan.name.clone(), self.plan.topic.clone());
        Some(Move { input, from, to: to.clone(), snapshot })
    }

    /// Why the running plan cannot read what the topic holds now.
    pub(super) fn reasons(&self, running: &PipelinePlan) -> Vec<Reason> {
        if let Some(wrong) = &self.wrong {
            let remedy = "write the topic anew, or read another one";
            let message = format!("{}: {wrong}", self.plan.topic);
            return vec![Reason::new(Rule::Topic, message, remedy).at(&self.plan.name)];
        }
        self.reasons_of(&self.lost, running)
    }

    /// What the running plan loses, as reasons.
    pub(super) fn reasons_of(&self, lost: &[Lost], running: &PipelinePlan) -> Vec<Reason> {
        lost.iter().map(|lost| self.reason(lost, running)).collect()
    }

    fn reason(&self, lost: &Lost, running: &PipelinePlan) -> Reason {
        let input = &self.plan.name;
        let name = if lost.path.is_empty() { input.clone() } else { lost.path.join(".") };
        let message = format!("{name} {}", lost.loss);
        Reason::new(Rule::Lost, message, remedy(&name, &lost.loss))
            .at(input)
            .field(&lost.path)
            .processor(reader_of(running, input, &lost.path))
    }
}

/// What would help a pipeline that reads a field which is not what it was.
pub(super) fn remedy(name: &str, loss: &Loss) -> String {
    match loss {
        Loss::Dropped => format!("select something else than {name}, or add the column again"),
        Loss::Renamed { to } => {
            let last = name.rsplit('.').next().unwrap_or(name);
            format!("select {to} instead, as {to} AS {last} to write what was written")
        }
        Loss::Changed { .. } => {
            format!("cast {name} to what it was, or give the sink another topic")
        }
        Loss::NoDefault => format!("give {name} a default"),
        Loss::Unresolved { .. } => {
            "apply the pipeline again once its older records are read".into()
        }
        Loss::Key | Loss::Form => {
            "give the sinks other topics, and apply the pipeline again".to_owned()
        }
    }
}

/// The first processor that reads a field of an input.
fn reader_of(running: &PipelinePlan, input: &str, path: &[String]) -> Option<String> {
    let place = running.inputs.iter().position(|of| of.name == input)?;
    if path.is_empty() {
        return None;
    }
    let mut queries = running.queries.iter();
    let found = queries.find(|named| {
        let read = reads(&named.query, &running.tables);
        read.get(&place).is_some_and(|paths| paths.iter().any(|read| related(read, path)))
    });
    found.map(|named| named.name.clone())
}

fn related(one: &[String], other: &[String]) -> bool {
    let length = one.len().min(other.len());
    one[..length] == other[..length]
}

fn is_read(field: &str, reads: &BTreeSet<Path>) -> bool {
    let path: Vec<String> = field.split('.').map(str::to_owned).collect();
    reads.iter().any(|read| related(read, &path))
}
