//! What every document says of itself.

use super::limits::TAGS_MAX;
use super::read::Table;
use super::report::Report;
use super::{Kind, names};
use serde::Serialize;

/// A document's name, its owner, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Metadata {
    /// The name: 1 to 64 of `a-z A-Z 0-9 _ -`. No other document of its kind has it.
    pub name: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words under which it is found, such as `pii`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

pub(super) const METADATA: &[&str] = &["name", "owner", "description", "tags"];

impl Metadata {
    /// Reads it, and tells the report what the document is called from here on.
    pub(super) fn read(document: &Table<'_>, kind: Option<Kind>, report: &mut Report) -> Self {
        let kind = kind.map_or("document", Kind::name);
        report.begin(kind);
        let at = document.required("metadata", report);
        let Some(table) = at.and_then(|at| Table::of(&at, METADATA, report)) else {
            return Self::default();
        };
        let name = table.required("name", report).map(|at| at.name(report)).unwrap_or_default();
        if !name.is_empty() {
            report.begin(format!("{kind} {name}"));
        }
        Self {
            name,
            owner: table.text("owner", report),
            description: table.text("description", report),
            tags: tags(&table, report),
        }
    }
}

/// The tags of a thing: few, short, each once.
pub(super) fn tags(table: &Table<'_>, report: &mut Report) -> Vec<String> {
    let Some(at) = table.get("tags") else { return Vec::new() };
    let tags = at.placed_texts(report);
    for (tag, at) in &tags {
        if !tag.split([':', '.', '/']).all(names::name) {
            let message = format!("{} cannot be a tag", names::shown(tag));
            let help = "a tag is of a-z A-Z 0-9 _ -, with : . / between its parts";
            report.wrong(at, message, help);
        }
    }
    if tags.len() > TAGS_MAX {
        let message = format!("there are {} tags", tags.len());
        report.wrong(&at, message, format!("at most {TAGS_MAX} are taken"));
    }
    tags.into_iter().map(|(tag, _)| tag.to_owned()).collect()
}
