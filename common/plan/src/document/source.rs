//! A source: a database that is captured, the output of a pipeline, or a topic that others write.

use super::catalog::CatalogEntry;
use super::read::{At, Table};
use super::report::Report;
use super::tree::Content;
use super::{names, settings};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tidemesh_model::{SourceSettings, TableName};

/// What a source is.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    /// A database that is captured.
    Connector {
        /// The connector's settings, under the document's name. They hold no secret.
        settings: Box<SourceSettings>,
        /// What is said of its tables, by their names: `public.orders`.
        catalog: BTreeMap<String, CatalogEntry>,
    },
    /// The output of a pipeline, published under the document's name.
    Pipeline {
        /// Which output.
        output: PipelineOutput,
        /// What is said of it.
        catalog: CatalogEntry,
    },
    /// A topic that others write, an emitter or any producer of Kafka's, under the document's name.
    Topic {
        /// The topic.
        topic: String,
        /// What is said of it.
        catalog: CatalogEntry,
    },
}

/// One sink of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PipelineOutput {
    /// The pipeline's name.
    #[serde(rename = "name")]
    pub pipeline: String,
    /// The sink's name.
    pub sink: String,
}

pub(super) const PUBLISHED: &[&str] = &["pipeline", "catalog"];
pub(super) const OUTPUT: &[&str] = &["name", "sink"];
pub(super) const TOPIC: &[&str] = &["topic", "catalog"];

impl SourceSpec {
    pub(super) fn read(name: &str, at: &At<'_>, report: &mut Report) -> Option<Self> {
        if at.step("pipeline").is_some() {
            return Some(Self::published(at, report));
        }
        if at.step("topic").is_some() {
            return Some(Self::of_others(at, report));
        }
        let said = at.step("catalog").filter(|at| !at.is_null());
        let catalog = said.as_ref().map(|at| tables(at, report)).unwrap_or_default();
        let settings = Box::new(settings::read(name, at, report)?);
        if let Some(at) = said.filter(|at| matches!(at.node.content, Content::Table(_))) {
            captured(&settings, &at, report);
        }
        Some(Self::Connector { settings, catalog })
    }

    fn published(at: &At<'_>, report: &mut Report) -> Self {
        let table = Table::of(at, PUBLISHED, report);
        let catalog = entry(table.as_ref(), report);
        let output = table.and_then(|table| table.required("pipeline", report));
        let output = output.map(|at| PipelineOutput::read(&at, report)).unwrap_or_default();
        Self::Pipeline { output, catalog }
    }

    fn of_others(at: &At<'_>, report: &mut Report) -> Self {
        let table = Table::of(at, TOPIC, report);
        let catalog = entry(table.as_ref(), report);
        let topic = table.and_then(|table| table.required("topic", report));
        let topic = topic.map(|at| at.topic(report)).unwrap_or_default();
        Self::Topic { topic, catalog }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Connector { settings, catalog } => settings::to_json(settings, catalog),
            Self::Pipeline { output, catalog } => {
                with_catalog(json!({ "pipeline": output }), catalog)
            }
            Self::Topic { topic, catalog } => with_catalog(json!({ "topic": topic }), catalog),
        }
    }
}

/// What is said of the one topic of a source.
fn entry(table: Option<&Table<'_>>, report: &mut Report) -> CatalogEntry {
    let entry = table.and_then(|table| table.get("catalog"));
    entry.map(|at| CatalogEntry::read(&at, report)).unwrap_or_default()
}

fn with_catalog(mut spec: Value, catalog: &CatalogEntry) -> Value {
    if *catalog != CatalogEntry::default() {
        spec["catalog"] = json!(catalog);
    }
    spec
}

impl PipelineOutput {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let Some(table) = Table::of(at, OUTPUT, report) else { return Self::default() };
        let mut name =
            |key| table.required(key, report).map(|at| at.name(report)).unwrap_or_default();
        Self { pipeline: name("name"), sink: name("sink") }
    }
}

fn tables(at: &At<'_>, report: &mut Report) -> BTreeMap<String, CatalogEntry> {
    let mut tables = BTreeMap::new();
    for (table, entry) in at.entries(report) {
        if table_name(table).is_none() {
            let help = "write schema.table, as public.orders";
            report.wrong(&entry.at_key(), "this is no table", help);
        }
        tables.insert(table.to_owned(), CatalogEntry::read(&entry, report));
    }
    tables
}

fn table_name(text: &str) -> Option<TableName> {
    let (schema, table) = text.split_once('.')?;
    (!schema.is_empty() && !table.is_empty()).then(|| TableName::new(schema, table))
}

/// What is said of a table that is not captured would be shown nowhere.
fn captured(settings: &SourceSettings, at: &At<'_>, report: &mut Report) {
    let (Some(connector), Ok(patterns)) = (settings.connector(), settings.table_patterns()) else {
        return;
    };
    for (table, entry) in at.entries(report) {
        let Some(name) = table_name(table) else { continue };
        if !patterns.iter().any(|pattern| pattern.matches(&name)) {
            let message = format!("{connector}.tables has no {}", names::shown(table));
            report.wrong(&entry.at_key(), message, "add it there, or leave it out here");
        }
    }
}
