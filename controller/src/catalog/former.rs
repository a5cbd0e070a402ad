//! What documents of sources masked that are gone: their records are there still. It is read from the
//! history that the store keeps of them, and holds until another document says something of the same.

use super::said::path;
use crate::state::{Id, ManagedBy, State};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_plan::document::{Kind, SourceSpec, Spec};

/// Masked fields by their paths, as documents that say nothing any more had them.
#[derive(Debug, Default)]
pub(crate) struct Former {
    /// By source, of its tables. A source is in it though it masked nothing: that much is known of it.
    sources: BTreeMap<String, BTreeMap<String, Vec<Vec<String>>>>,
    /// By pipeline and sink.
    outputs: BTreeMap<(String, String), BTreeSet<Vec<String>>>,
    /// By topic, of those that others write. A topic is in it though nothing of it was masked, likewise.
    topics: BTreeMap<String, BTreeSet<Vec<String>>>,
}

impl Former {
    pub(crate) fn of(state: &State) -> Self {
        let mut former = Self::default();
        for (id, history) in state.revisions.iter().filter(|(id, _)| id.kind == Kind::Source) {
            // A document that was removed is in the revision that says so.
            let newest_first = || history.iter().rev().map(|revision| &revision.document["spec"]);
            // Of each thing the newest revision counts that speaks of it.
            let mut told: BTreeSet<About> = speaks(state, id).into_iter().collect();
            for spec in newest_first() {
                let about = About::of(spec);
                if told.insert(about.clone()) {
                    former.add(&id.name, about, spec);
                }
            }
        }
        former
    }

    fn add(&mut self, source: &str, about: About, spec: &Json) {
        let fields = masked(&spec["catalog"]);
        match about {
            About::Tables => drop(self.sources.insert(source.to_owned(), tables(spec))),
            About::Output(output) => self.outputs.entry(output).or_default().extend(fields),
            About::Topic(topic) => self.topics.entry(topic).or_default().extend(fields),
        }
    }

    /// Whether a document has said something of this source.
    pub(crate) fn knows(&self, source: &str) -> bool {
        self.sources.contains_key(source)
    }

    pub(crate) fn masks_anything(&self) -> bool {
        let mut tables = self.sources.values().flat_map(BTreeMap::values);
        let mut others = self.outputs.values().chain(self.topics.values());
        tables.any(|fields| !fields.is_empty()) || others.any(|fields| !fields.is_empty())
    }

    /// Whether a document has said something of this topic that others write.
    pub(crate) fn knows_topic(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// What was masked of a topic that others write.
    pub(crate) fn of_topic(&self, topic: &str) -> impl Iterator<Item = &Vec<String>> {
        self.topics.get(topic).into_iter().flatten()
    }

    /// What was masked of a source's tables, by these.
    pub(crate) fn of_source(
        &self,
        source: &str,
    ) -> impl Iterator<Item = (&str, &Vec<Vec<String>>)> {
        let tables = self.sources.get(source).into_iter().flatten();
        tables.map(|(table, fields)| (table.as_str(), fields))
    }

    /// What was masked of a sink's records.
    pub(crate) fn of_output(
        &self,
        output: &(String, String),
    ) -> impl Iterator<Item = &Vec<String>> {
        self.outputs.get(output).into_iter().flatten()
    }
}

/// What a document says something of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// The tables of the database that has its name.
    Tables,
    /// A pipeline's sink.
    Output((String, String)),
    /// A topic that others write.
    Topic(String),
}

impl About {
    /// By the specification in its canonical form.
    fn of(spec: &Json) -> Self {
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        match (spec.get("pipeline"), spec.get("topic")) {
            (Some(output), _) => Self::Output((text(&output["name"]), text(&output["sink"]))),
            (None, Some(topic)) => Self::Topic(text(topic)),
            (None, None) => Self::Tables,
        }
    }
}

/// What a document of users says something of now. A configuration's source can say nothing of masks, so
/// that it is as if there were none.
fn speaks(state: &State, id: &Id) -> Option<About> {
    let declared = state.document(id).filter(|one| one.managed_by == ManagedBy::User)?;
    match &declared.document.spec {
        Spec::Source(SourceSpec::Connector { .. }) => Some(About::Tables),
        Spec::Source(SourceSpec::Pipeline { output, .. }) => {
            Some(About::Output((output.pipeline.clone(), output.sink.clone())))
        }
        Spec::Source(SourceSpec::Topic { topic, .. }) => Some(About::Topic(topic.clone())),
        Spec::Pipeline(_) | Spec::Processor(_) | Spec::Alert(_) => None,
    }
}

/// What is masked of each table.
fn tables(spec: &Json) -> BTreeMap<String, Vec<Vec<String>>> {
    let tables = spec["catalog"].as_object().into_iter().flatten();
    tables.map(|(table, entry)| (table.clone(), masked(entry).collect())).collect()
}

fn masked(entry: &Json) -> impl Iterator<Item = Vec<String>> {
    let fields = entry["fields"].as_object().into_iter().flatten();
    let masked = fields.filter(|(_, field)| field["masked"] == true);
    masked.map(|(field, _)| path(field))
}
