//! What people say of a source's tables and fields.

use super::metadata::tags;
use super::read::{At, Table};
use super::report::Report;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is said of a table, of the output of a pipeline, or of a topic that others write.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CatalogEntry {
    /// Who answers for it; none takes the document's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words under which it is found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its fields by their paths, nested ones as `address.city`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, CatalogField>,
}

/// What is said of a field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CatalogField {
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words under which it is found, such as `pii`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether samples of records hide it, and what pipelines make of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

pub(super) const ENTRY: &[&str] = &["owner", "description", "tags", "fields"];
pub(super) const FIELD: &[&str] = &["description", "tags", "masked"];

impl CatalogEntry {
    pub(super) fn read(at: &At<'_>, report: &mut Report) -> Self {
        let Some(table) = Table::of(at, ENTRY, report) else { return Self::default() };
        Self {
            owner: table.text("owner", report),
            description: table.text("description", report),
            tags: tags(&table, report),
            fields: table.get("fields").map(|at| fields(&at, report)).unwrap_or_default(),
        }
    }
}

fn fields(at: &At<'_>, report: &mut Report) -> BTreeMap<String, CatalogField> {
    let mut fields = BTreeMap::new();
    for (path, field) in at.entries(report) {
        if path.split('.').any(str::is_empty) {
            let help = "write a field's name, and those within it as address.city";
            report.wrong(&field.at_key(), "this is no field's path", help);
        }
        fields.insert(path.to_owned(), self::field(&field, report));
    }
    fields
}

fn field(at: &At<'_>, report: &mut Report) -> CatalogField {
    let Some(table) = Table::of(at, FIELD, report) else { return CatalogField::default() };
    let masked = table.get("masked").and_then(|at| at.boolean(report));
    CatalogField {
        description: table.text("description", report),
        tags: tags(&table, report),
        masked: masked.unwrap_or_default(),
    }
}
