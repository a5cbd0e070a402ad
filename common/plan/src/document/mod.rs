//! The documents in which a user declares what is to be: sources, pipelines, processors and alerts.
//!
//! A text of YAML or JSON becomes trees that know where each value stands ([`parse`] reads several
//! documents, separated by `---`), the trees become documents, and those are checked by themselves
//! and against each other. All that is wrong is told at once, with its place, and then there is no
//! document. What needs other documents' schemas or the SQL's meaning is not decided here.

mod alert;
mod catalog;
mod limits;
mod metadata;
pub(crate) mod names;
mod origin;
mod pipeline;
mod places;
mod processor;
mod read;
mod report;
mod scalar;
mod schema;
mod set;
mod settings;
mod source;
mod text;
mod tree;

pub use alert::{AlertSpec, AlertTarget, Condition, Metric, Severity};
pub use catalog::{CatalogEntry, CatalogField};
pub use limits::{
    DEPTH_MAX, DOCUMENTS_MAX, ENTRIES_MAX, KEY_BYTES_MAX, NAME_CHARS_MAX, PROBLEMS_MAX, TAGS_MAX,
    TEXT_BYTES_MAX, TOPIC_CHARS_MAX,
};
pub use metadata::Metadata;
pub use origin::SqlText;
pub use pipeline::{
    Evolution, FieldRule, Flow, Input, InputFrom, KafkaSink, NewFields, OnError, PipelineSpec,
    Processor, ProcessorKind, ProcessorRef, Sink, SinkTarget, SinkTopicSettings, Start,
};
pub use processor::{AvroSchema, ProcessorInput, ProcessorOutput, ProcessorSpec};
pub use set::check_together;
pub use source::{PipelineOutput, SourceSpec};

use crate::{Place, Problem, Problems};
use places::Places;
use read::{At, Table};
use report::Report;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tidemesh_model::SourceSettings;

/// The version of the documents' form, which each of them names.
pub const API_VERSION: &str = "tidemesh/v1";

/// The JSON Schema (draft 2020-12) of all documents, for editors: what has which keys. References
/// and what stands in several places are checked by [`parse`] alone.
pub const JSON_SCHEMA: &str = include_str!("schema.json");

/// What a document declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A database that is captured, the output of a pipeline, or a topic that others write.
    Source,
    /// Topics, what is made of them, and where that goes.
    Pipeline,
    /// The type of a registered processor.
    Processor,
    /// What somebody wants to be told of.
    Alert,
}

/// One document. Two are equal if they say the same, wherever it stands.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its name, its owner, and what is known of it.
    pub metadata: Metadata,
    /// What it declares.
    pub spec: Spec,
    places: Places,
}

/// What a document declares, by its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A source.
    Source(SourceSpec),
    /// A pipeline.
    Pipeline(PipelineSpec),
    /// A processor's type.
    Processor(ProcessorSpec),
    /// An alert.
    Alert(AlertSpec),
}

/// Reads all documents of a text, in their order.
///
/// # Errors
///
/// All that is wrong with the text, in the order in which it stands, at most [`PROBLEMS_MAX`] of it
/// and how much more there is. Then there is no document, also of what is right.
pub fn parse(text: &str) -> Result<Vec<Document>, Problems> {
    let mut report = Report::default();
    let trees = text::trees(text, &mut report);
    let documents: Vec<_> =
        trees.into_iter().filter_map(|tree| document(tree, &mut report)).collect();
    if documents.is_empty() && report.is_empty() {
        let help = "begin one with apiVersion: tidemesh/v1 and its kind";
        report.push(Problem::new("", "there is no document in it").help(help));
    }
    set::check(&documents, &mut report);
    report.into_problems().map_or(Ok(documents), Err)
}

const DOCUMENT: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

/// Reads one document. What cannot be read is reported, and something harmless stands in its place.
fn document(tree: tree::Node, report: &mut Report) -> Option<Document> {
    let (metadata, spec) = {
        report.begin("document");
        let at = At::root(&tree);
        let table = Table::of(&at, DOCUMENT, report)?;
        let kind = table.required("kind", report).and_then(|at| at.choice::<Kind>(report));
        let metadata = Metadata::read(&table, kind, report);
        version(&table, report);
        let spec = table.required("spec", report);
        let spec = kind.zip(spec).and_then(|(kind, at)| Spec::read(kind, &metadata, &at, report));
        (metadata, spec)
    };
    Some(Document { metadata, spec: spec?, places: Places::new(tree) })
}

fn version(table: &Table<'_>, report: &mut Report) {
    let Some(at) = table.required("apiVersion", report) else { return };
    if at.text(report).is_some_and(|version| version != API_VERSION) {
        report.wrong(&at, "there is no such version", format!("write {API_VERSION}"));
    }
}

impl Spec {
    fn read(kind: Kind, metadata: &Metadata, at: &At<'_>, report: &mut Report) -> Option<Self> {
        Some(match kind {
            Kind::Source => Self::Source(SourceSpec::read(&metadata.name, at, report)?),
            Kind::Pipeline => Self::Pipeline(PipelineSpec::read(at, report)),
            Kind::Processor => Self::Processor(ProcessorSpec::read(at, report)?),
            Kind::Alert => Self::Alert(AlertSpec::read(at, report)),
        })
    }

    fn to_json(&self) -> Value {
        let json = match self {
            Self::Source(spec) => Ok(spec.to_json()),
            Self::Pipeline(spec) => serde_json::to_value(spec),
            Self::Processor(spec) => serde_json::to_value(spec),
            Self::Alert(spec) => serde_json::to_value(spec),
        };
        json.expect("documents are made of texts, numbers, lists and tables")
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Source, Self::Pipeline, Self::Processor, Self::Alert];

    /// Its name, as documents have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Pipeline => "Pipeline",
            Self::Processor => "Processor",
            Self::Alert => "Alert",
        }
    }
}

impl read::Choice for Kind {
    const ALL: &'static [(&'static str, Self)] = &[
        ("Source", Self::Source),
        ("Pipeline", Self::Pipeline),
        ("Processor", Self::Processor),
        ("Alert", Self::Alert),
    ];
}

impl Document {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.spec {
            Spec::Source(_) => Kind::Source,
            Spec::Pipeline(_) => Kind::Pipeline,
            Spec::Processor(_) => Kind::Processor,
            Spec::Alert(_) => Kind::Alert,
        }
    }

    /// Its name, which no other document of its kind has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// A source that stands in no document, but in a process's configuration; without its secrets.
    #[must_use]
    pub fn configured(settings: SourceSettings) -> Self {
        let settings = settings.without_secrets();
        let metadata = Metadata { name: settings.name.clone(), ..Metadata::default() };
        let (settings, catalog) = (Box::new(settings), BTreeMap::new());
        let spec = Spec::Source(SourceSpec::Connector { settings, catalog });
        Self { metadata, spec, places: Places::default() }
    }

    /// The document as JSON, in its one canonical form: every default written, nothing that is absent.
    /// [`parse`] reads an equal document from its text. It holds no secret, since none is read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "apiVersion": API_VERSION,
            "kind": self.kind().name(),
            "metadata": self.metadata,
            "spec": self.spec.to_json(),
        })
    }

    /// Where something stands in the document's text: `spec.processors[0].sql`, and
    /// `spec.catalog["public.orders"].owner` for a key that is more than letters, digits, `_` and `-`.
    /// What is not there stands where the nearest that would hold it begins.
    #[must_use]
    pub fn place(&self, path: &str) -> Place {
        self.places.of(path)
    }

    /// A problem with something in this document, which is named and placed by its path.
    #[must_use]
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let about = format!("{} {}: {path}", self.kind().name(), self.name());
        Problem::new(about, message).at(Some(self.place(path)))
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.metadata == other.metadata && self.spec == other.spec
    }
}

#[cfg(test)]
mod tests;
