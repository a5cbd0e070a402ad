//! What is declared, its history, and what was accepted with it: a value, read from the items that keep it.
//! What is to change is written into a `Draft`.

use crate::connectors::{self, SourceState};
use crate::loss::AcceptedLoss;
use crate::retention::Leases;
use crate::store::Items;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::{self, Document, Kind};

/// The most documents of a controller.
pub const DOCUMENTS_MAX: usize = 20_000;

/// The most revisions of a document that are kept; the oldest go first.
pub const REVISIONS_MAX: usize = 100;

/// The most documents that are gone and whose history is kept; those that went first go first.
pub const GONE_MAX: usize = 1_000;

/// The most records of verdicts that are kept of a pipeline; the oldest go first.
pub const UPGRADES_MAX: usize = 50;

/// A document's kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

/// Who brings a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManagedBy {
    /// Somebody applied it.
    User,
    /// A process's configuration file, which alone changes it.
    File,
    /// The daemon's binary has registered it. No store keeps such a document.
    Binary,
}

/// A document that is declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The document.
    pub document: Arc<Document>,
    /// Its revision, from 1.
    pub revision: u64,
    /// Who brings it.
    pub managed_by: ManagedBy,
}

/// What made a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was applied.
    Applied,
    /// It was set back to what another revision says.
    RolledBack {
        /// That revision.
        to: u64,
    },
    /// It was removed.
    Deleted,
}

/// One state of a document in its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub at_ms: u64,
    /// Who, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What made it.
    pub action: Action,
    /// The document in its canonical form; what was removed as it was.
    pub document: Json,
}

/// What was accepted with a pipeline, beside its document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PipelineState {
    /// Whether it shall not run for now.
    #[serde(default)]
    pub paused: bool,
    /// For each input the fields that a `*` takes.
    #[serde(default)]
    pub accepted: BTreeMap<String, BTreeSet<String>>,
    /// The digest of the plan.
    #[serde(default)]
    pub digest: String,
    /// The schemas by which it was planned: of each topic that it reads, or a pipeline before it, and
    /// that no pipeline writes.
    #[serde(default)]
    pub basis: BTreeMap<String, TopicSchemas>,
    /// Plans that failed when they were tried: by their digests, how.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unfit: BTreeMap<String, String>,
    /// Behind which losses it goes on.
    #[serde(default, skip_serializing_if = "AcceptedLoss::is_empty")]
    pub accepted_loss: AcceptedLoss,
}

/// What a change of schemas has done to a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Its number, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub at_ms: u64,
    /// `stays`, `upgraded`, `moved`, `held`, or `rolled_back`: it was to be upgraded or moved, and the new
    /// plan failed when it was tried.
    pub verdict: String,
    /// Why, what changed in what it reads and writes, reasons, and the certificate, as
    /// `tidemesh_plan::upgrade::Judgement` has them.
    pub judgement: Json,
}

/// The schemas of a topic, by their ids in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSchemas {
    /// Of its keys, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// Of its values.
    pub value: u32,
}

/// Everything that is kept.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(crate) documents: BTreeMap<Id, Declared>,
    pub(crate) pipelines: BTreeMap<String, PipelineState>,
    pub(crate) revisions: BTreeMap<Id, Vec<Arc<Revision>>>,
    pub(crate) upgrades: BTreeMap<String, Vec<Arc<Upgrade>>>,
    /// Topics that are kept for pipelines that wait.
    pub(crate) leases: Leases,
    pub(crate) sources: BTreeMap<String, SourceState>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeclaredItem {
    pub(crate) revision: u64,
    pub(crate) managed_by: ManagedBy,
    pub(crate) document: Json,
}

impl Id {
    /// Of a document.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        Self { kind: document.kind(), name: document.name().to_owned() }
    }

    /// Of the pipeline with this name.
    #[must_use]
    pub fn pipeline(name: impl Into<String>) -> Self {
        Self { kind: Kind::Pipeline, name: name.into() }
    }

    /// Reads a kind as users write it: in any case, one or many.
    ///
    /// # Errors
    ///
    /// `NotFound`, naming the kinds.
    pub fn kind(text: &str) -> Result<Kind> {
        let word = text.to_ascii_lowercase();
        let word = word.strip_suffix('s').unwrap_or(&word);
        let found = Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(word));
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find a kind of documents")
                .because("there is no such kind")
                .with("kind", text)
                .help("name one of source, pipeline, processor, alert")
        })
    }

    pub(crate) fn item(&self) -> String {
        format!("document/{}/{}", self.kind.name(), self.name)
    }

    pub(crate) fn revision_item(&self, number: u64) -> String {
        format!("revision/{}/{}/{number:010}", self.kind.name(), self.name)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

impl State {
    /// Reads what a store holds.
    pub(crate) fn load(items: &Items) -> Result<Self> {
        let mut state = Self::default();
        for (item, text) in items {
            let parts: Vec<&str> = item.split('/').collect();
            state.take(&parts, text).map_err(|error| error.with("item", item))?;
        }
        Ok(state)
    }

    fn take(&mut self, parts: &[&str], text: &str) -> Result<()> {
        match parts {
            ["document", _, _] => {
                let item: DeclaredItem = read(text)?;
                let document = Arc::new(parse_kept(&item.document.to_string())?);
                let DeclaredItem { revision, managed_by, .. } = item;
                let id = Id::of(&document);
                self.documents.insert(id, Declared { document, revision, managed_by });
            }
            // Their items' names bring them in order.
            ["revision", kind, name, _] => {
                let id = Id { kind: Id::kind(kind)?, name: (*name).to_owned() };
                self.revisions.entry(id).or_default().push(Arc::new(read(text)?));
            }
            ["upgrade", name, _] => {
                self.upgrades.entry((*name).to_owned()).or_default().push(Arc::new(read(text)?));
            }
            ["retention", topic] => {
                self.leases.insert((*topic).to_owned(), read(text)?);
            }
            ["source", name] => {
                self.sources.insert((*name).to_owned(), read(text)?);
            }
            ["pipeline", name] => {
                self.pipelines.insert((*name).to_owned(), read(text)?);
            }
            _ => {
                return Err(Error::new(ErrorKind::NewerVersion, "read the controller's state")
                    .because("an item is of a kind that this version does not know")
                    .help("run the program that wrote it"));
            }
        }
        Ok(())
    }

    /// All documents.
    pub fn documents(&self) -> impl Iterator<Item = (&Id, &Declared)> {
        self.documents.iter()
    }

    /// All documents by themselves.
    pub(crate) fn declared(&self) -> Vec<Arc<Document>> {
        self.documents.values().map(|declared| Arc::clone(&declared.document)).collect()
    }

    /// A document.
    #[must_use]
    pub fn document(&self, id: &Id) -> Option<&Declared> {
        self.documents.get(id)
    }

    /// The history of a document, the oldest first; also of one that is no longer there.
    #[must_use]
    pub fn history(&self, id: &Id) -> &[Arc<Revision>] {
        self.revisions.get(id).map_or(&[], Vec::as_slice)
    }

    /// What changes have done to a pipeline, the oldest first.
    #[must_use]
    pub fn upgrades(&self, pipeline: &str) -> &[Arc<Upgrade>] {
        self.upgrades.get(pipeline).map_or(&[], Vec::as_slice)
    }

    /// What was accepted with a pipeline.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> PipelineState {
        self.pipelines.get(name).cloned().unwrap_or_default()
    }

    /// Whether somebody has paused a pipeline.
    pub(crate) fn is_paused(&self, pipeline: &str) -> bool {
        self.pipelines.get(pipeline).is_some_and(|kept| kept.paused)
    }

    /// Whether a document is a database that is captured.
    pub(crate) fn is_connector(document: &Document) -> bool {
        connectors::settings(document).is_some()
    }

    /// What was decided of a source.
    pub(crate) fn source(&self, name: &str) -> SourceState {
        self.sources.get(name).copied().unwrap_or_default()
    }

    /// The same with what a process's configuration brings, which is not kept, and stands before what
    /// users have declared under the same name.
    pub(crate) fn configured(mut self, sources: &[Arc<Document>]) -> Self {
        for source in sources {
            let document = Arc::clone(source);
            let declared = Declared { document, revision: 1, managed_by: ManagedBy::File };
            if self.documents.insert(Id::of(source), declared).is_some() {
                let source = source.name();
                tracing::warn!(source, "the configuration's source stands before a document's");
            }
        }
        self
    }
}

/// Reads a document in its canonical form.
pub(crate) fn parse_kept(text: &str) -> Result<Document> {
    let corrupt = |why: String| {
        Error::new(ErrorKind::Corrupt, "read a document of the controller's state").because(why)
    };
    let mut documents = document::parse(text).map_err(|problems| corrupt(problems.to_string()))?;
    match documents.pop() {
        Some(document) if documents.is_empty() => Ok(document),
        _ => Err(corrupt("it is not one document".into())),
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "read the controller's state").caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        let kind = |items: &[(&str, &str)]| {
            let items = items.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
            State::load(&items).unwrap_err().kind()
        };
        assert_eq!(kind(&[("certificate/x", "{}")]), ErrorKind::NewerVersion);
        assert_eq!(kind(&[("pipeline/x", "{")]), ErrorKind::Corrupt);
        assert_eq!(kind(&[("document/Pipeline/x", "{}")]), ErrorKind::Corrupt);
    }
}
