//! What a pipeline reads: its topics' rows, and which of their columns a star takes.

use super::InputPlan;
use super::gather::Gather;
use super::known::{Known, Rows};
use super::set::{Pipeline, Set};
use crate::document::names::{instead_of, shown};
use crate::document::{self, Evolution, FieldRule, Flow, InputFrom, NewFields};
use crate::query;
use crate::relation::Relation;
use std::collections::{BTreeMap, BTreeSet};

type Accepted = BTreeMap<String, BTreeSet<String>>;

/// A pipeline's inputs as tables, each with its plan.
pub(super) type Inputs = Vec<(query::Input, InputPlan)>;

/// What a pipeline reads; none if an input cannot be read. That is reported, unless it is the output
/// of a pipeline that could not be planned.
pub(super) fn inputs(
    pipeline: Pipeline<'_>,
    accepted: Option<&Accepted>,
    set: &Set<'_>,
    known: &Known<'_, '_>,
    gather: &mut Gather<'_>,
) -> Option<Inputs> {
    let mut all = Some(Vec::with_capacity(pipeline.spec.inputs.len()));
    for (name, input) in &pipeline.spec.inputs {
        let reader = Reader { pipeline, name, set };
        let accepted = accepted.and_then(|accepted| accepted.get(name));
        let read = reader.read(input, accepted, known, gather);
        match (&mut all, read) {
            (Some(all), Some(read)) => all.push(read),
            _ => all = None,
        }
    }
    all
}

struct Reader<'r, 'd> {
    pipeline: Pipeline<'d>,
    /// The input.
    name: &'d str,
    set: &'r Set<'d>,
}

impl<'d> Reader<'_, 'd> {
    fn read(
        &self,
        input: &'d document::Input,
        accepted: Option<&BTreeSet<String>>,
        known: &Known<'_, '_>,
        gather: &mut Gather<'_>,
    ) -> Option<(query::Input, InputPlan)> {
        let Some(topic) = self.set.topic_of(input) else {
            self.no_source(input, gather);
            return None;
        };
        let relation = self.relation(topic, known, gather)?;
        self.rules(&relation, gather);
        let accepted = self.accepted(&relation, accepted);
        let hidden = self.hidden(&relation, &accepted);
        let source = match &input.from {
            InputFrom::Topic(_) => None,
            InputFrom::Source(source) => Some(source.clone()),
        };
        let writer = self.set.writer(topic);
        let writer = writer.map(|writer| self.set.pipelines[writer].document.name().to_owned());
        let plan = InputPlan {
            name: self.name.to_owned(),
            topic: topic.to_owned(),
            source,
            writer,
            start: input.start,
            reads: BTreeSet::new(),
            accepted,
        };
        let name = self.name.to_owned();
        Some((query::Input { name, relation, lookup: input.lookup, hidden }, plan))
    }

    /// A source that is none; one whose pipeline or sink is missing is told of where it is declared.
    fn no_source(&self, input: &document::Input, gather: &mut Gather<'_>) {
        let InputFrom::Source(name) = &input.from else { return };
        if self.set.publishes(name) {
            return;
        }
        let path = format!("spec.inputs.{}.source", self.name);
        gather.wrong(self.pipeline.place, &path, || {
            let message = format!("no source that leads to one topic is called {}", shown(name));
            (message, instead_of(name, self.set.published()))
        });
    }

    fn relation(
        &self,
        topic: &str,
        known: &Known<'_, '_>,
        gather: &mut Gather<'_>,
    ) -> Option<Relation> {
        let path = format!("spec.inputs.{}", self.name);
        match known.rows(topic) {
            Rows::Known(relation) => return Some(relation),
            Rows::Unplanned => {}
            Rows::Wrong(why) => gather.wrong(self.pipeline.place, &path, || {
                let message = format!("{} cannot be read: {why}", shown(topic));
                (message, "read a topic whose values are Avro records".into())
            }),
            Rows::Unknown => gather.wrong(self.pipeline.place, &path, || {
                let message = format!("nobody knows a topic {}", shown(topic));
                let readable = self.set.readable(self.pipeline.place);
                (message, instead_of(topic, readable.iter().copied()))
            }),
        }
        None
    }

    fn own_rules(&self) -> impl Iterator<Item = (usize, &'d FieldRule)> {
        let rules = self.pipeline.spec.fields.iter().enumerate();
        let name = self.name;
        rules.filter(move |(_, rule)| rule.input == name)
    }

    fn rules(&self, relation: &Relation, gather: &mut Gather<'_>) {
        for (index, rule) in self.own_rules() {
            if column(relation, &rule.field).is_some() {
                continue;
            }
            let path = format!("spec.fields[{index}].field");
            gather.wrong(self.pipeline.place, &path, || {
                let (input, field) = (shown(self.name), shown(&rule.field));
                let names = relation.columns.iter().map(|column| column.name.as_str());
                (format!("{input} has no field {field}"), instead_of(&rule.field, names))
            });
        }
    }

    /// The columns that flow on unless a rule says `never`.
    fn accepted(&self, relation: &Relation, before: Option<&BTreeSet<String>>) -> BTreeSet<String> {
        let spec = self.pipeline.spec;
        let grows = spec.new_fields == NewFields::Follow && spec.evolution != Evolution::Pinned;
        let names = relation.columns.iter().map(|column| column.name.clone());
        let Some(before) = before.filter(|_| !grows) else { return names.collect() };
        let always = self.flows(relation, Flow::Always);
        names.filter(|name| before.contains(name) || always.contains(name)).collect()
    }

    fn hidden(&self, relation: &Relation, accepted: &BTreeSet<String>) -> BTreeSet<String> {
        let never = self.flows(relation, Flow::Never);
        let names = relation.columns.iter().map(|column| &column.name);
        names.filter(|name| never.contains(*name) || !accepted.contains(*name)).cloned().collect()
    }

    /// The columns of which a rule says this.
    fn flows(&self, relation: &Relation, flow: Flow) -> BTreeSet<String> {
        let rules = self.own_rules().filter(|(_, rule)| rule.flow == flow);
        let columns = rules.filter_map(|(_, rule)| column(relation, &rule.field));
        columns.map(|column| relation.columns[column].name.clone()).collect()
    }
}

/// The column of this name, which is that in its database or in Avro.
fn column(relation: &Relation, name: &str) -> Option<usize> {
    let called = |column: &usize| {
        relation.columns[*column].name == name || relation.field(*column).name == name
    };
    (0..relation.columns.len()).find(called)
}
