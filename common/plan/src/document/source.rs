//! A source: a database that is captured, or the output of a pipeline.

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

impl SourceSpec {
    pub(super) fn read(name: &str, at: &At<'_>, report: &mut Report) -> Option<Self> {
        if at.step("pipeline").is_some() {
            return Some(Self::published(at, report));
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
        let entry = table.as_ref().and_then(|table| table.get("catalog"));
        let catalog = entry.map(|at| CatalogEntry::read(&at, report)).unwrap_or_default();
        let output = table.and_then(|table| table.required("pipeline", report));
        let output = output.map(|at| PipelineOutput::read(&at, report)).unwrap_or_default();
        Self::Pipeline { output, catalog }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Connector { settings, catalog } => settings::to_json(settings, catalog),
            Self::Pipeline { output, catalog } if *catalog == CatalogEntry::default() => {
                json!({ "pipeline": output })
            }
            Self::Pipeline { output, catalog } => json!({ "pipeline": output, "catalog": catalog }),
        }
    }
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
