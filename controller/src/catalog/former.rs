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
}

impl Former {
    pub(crate) fn of(state: &State) -> Self {
        let mut former = Self::default();
        for (id, history) in state.revisions.iter().filter(|(id, _)| id.kind == Kind::Source) {
            // A document that was removed is in the revision that says so.
            let newest_first = || history.iter().rev().map(|revision| &revision.document["spec"]);
            let says = speaks(state, id);
            if says != Some(Speaks::Connector)
                && let Some(spec) = newest_first().find(|spec| output_of(spec).is_none())
            {
                former.sources.insert(id.name.clone(), tables(spec));
            }
            let mut told = BTreeSet::new();
            for spec in newest_first() {
                let Some(output) = output_of(spec).filter(|output| told.insert(output.clone()))
                else {
                    continue;
                };
                if says.as_ref().is_none_or(|says| !says.is_of(&output)) {
                    former.outputs.entry(output).or_default().extend(masked(&spec["catalog"]));
                }
            }
        }
        former
    }

    /// Whether a document has said something of this source.
    pub(crate) fn knows(&self, source: &str) -> bool {
        self.sources.contains_key(source)
    }

    pub(crate) fn masks_anything(&self) -> bool {
        let mut tables = self.sources.values().flat_map(BTreeMap::values);
        tables.any(|fields| !fields.is_empty())
            || self.outputs.values().any(|fields| !fields.is_empty())
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

/// What a document of users says something of, now.
#[derive(Debug, PartialEq, Eq)]
enum Speaks {
    Connector,
    Output((String, String)),
}

impl Speaks {
    fn is_of(&self, output: &(String, String)) -> bool {
        matches!(self, Self::Output(now) if now == output)
    }
}

/// A configuration's source can say nothing of masks, so that it is as if there were none.
fn speaks(state: &State, id: &Id) -> Option<Speaks> {
    let declared = state.document(id).filter(|one| one.managed_by == ManagedBy::User)?;
    match &declared.document.spec {
        Spec::Source(SourceSpec::Connector { .. }) => Some(Speaks::Connector),
        Spec::Source(SourceSpec::Pipeline { output, .. }) => {
            Some(Speaks::Output((output.pipeline.clone(), output.sink.clone())))
        }
        Spec::Pipeline(_) | Spec::Processor(_) | Spec::Alert(_) => None,
    }
}

/// The pipeline and sink that a document's canonical form publishes; none of a database.
fn output_of(spec: &Json) -> Option<(String, String)> {
    let output = spec.get("pipeline")?;
    let text = |name: &str| output[name].as_str().unwrap_or_default().to_owned();
    Some((text("name"), text("sink")))
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
