//! What is declared, its history, and what was accepted with it: a value, and the items that keep it.
//!
//! Whatever is to change is written into a [`Draft`], which holds the state after it and the items
//! that are to be written. Only when those are durable does the draft's state become the state.

use crate::connectors::{self, SourceState};
use crate::retention::Leases;
use crate::store::{Change, Items};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::{self, Document, Kind};
use tidemesh_plan::upgrade::{Judged, Judgement, Verdict};

/// The most documents of a controller.
pub const DOCUMENTS_MAX: usize = 20_000;

/// The most revisions of a document that are kept; the oldest go first.
pub const REVISIONS_MAX: usize = 100;

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
}

/// What a change of schemas has done to a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Its number, from 1.
    pub number: u64,
    /// When, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub at_ms: u64,
    /// `stays`, `upgraded`, `moved` or `held`.
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
struct DeclaredItem {
    revision: u64,
    managed_by: ManagedBy,
    document: Json,
}

impl Id {
    /// Of a document.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        Self { kind: document.kind(), name: document.name().to_owned() }
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

    fn item(&self) -> String {
        format!("document/{}/{}", self.kind.name(), self.name)
    }

    fn revision_item(&self, number: u64) -> String {
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

    /// What was accepted with a pipeline.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> PipelineState {
        self.pipelines.get(name).cloned().unwrap_or_default()
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

/// A state that is not durable yet.
pub(crate) struct Draft {
    pub(crate) state: State,
    pub(crate) changes: Vec<Change>,
}

impl Draft {
    pub(crate) fn of(state: &State) -> Self {
        Self { state: state.clone(), changes: Vec::new() }
    }

    /// Declares a document, as its next revision.
    pub(crate) fn declare(
        &mut self,
        document: Arc<Document>,
        managed_by: ManagedBy,
        action: Action,
        by: Option<&str>,
        at_ms: u64,
    ) -> u64 {
        let id = Id::of(&document);
        let json = document.to_json();
        let revision = self.revise(&id, action, by, at_ms, json.clone());
        let item = DeclaredItem { revision, managed_by, document: json };
        self.put(id.item(), &item);
        self.state.documents.insert(id, Declared { document, revision, managed_by });
        revision
    }

    /// Removes a document; its history stays.
    pub(crate) fn remove(&mut self, id: &Id, by: Option<&str>, at_ms: u64) {
        let Some(declared) = self.state.documents.remove(id) else { return };
        self.revise(id, Action::Deleted, by, at_ms, declared.document.to_json());
        self.changes.push(Change { name: id.item(), text: None });
        if id.kind == Kind::Pipeline && self.state.pipelines.remove(&id.name).is_some() {
            self.changes.push(Change { name: pipeline_item(&id.name), text: None });
        }
        if id.kind == Kind::Source && self.state.sources.remove(&id.name).is_some() {
            self.changes.push(Change { name: source_item(&id.name), text: None });
        }
        let records = (id.kind == Kind::Pipeline).then(|| self.state.upgrades.remove(&id.name));
        for record in records.flatten().unwrap_or_default() {
            let name = upgrade_item(&id.name, record.number);
            self.changes.push(Change { name, text: None });
        }
    }

    /// Keeps what was accepted with a pipeline, if it is something else than before.
    pub(crate) fn accept(&mut self, name: &str, accepted: PipelineState) {
        if self.state.pipelines.get(name) == Some(&accepted) {
            return;
        }
        self.put(pipeline_item(name), &accepted);
        self.state.pipelines.insert(name.to_owned(), accepted);
    }

    /// Keeps which topics are kept for pipelines.
    pub(crate) fn lease(&mut self, leases: &Leases) {
        let before = std::mem::replace(&mut self.state.leases, leases.clone());
        for topic in before.keys().filter(|topic| !leases.contains_key(*topic)) {
            self.changes.push(Change { name: lease_item(topic), text: None });
        }
        for (topic, lease) in leases.iter().filter(|(topic, one)| before.get(*topic) != Some(one)) {
            self.put(lease_item(topic), lease);
        }
    }

    /// Keeps what was decided of a source.
    pub(crate) fn decide(&mut self, source: &str, decided: SourceState) {
        self.put(source_item(source), &decided);
        self.state.sources.insert(source.to_owned(), decided);
    }

    /// Keeps the verdicts that change something, and are others than the last ones.
    pub(crate) fn record(&mut self, judged: &Judged, at_ms: u64) {
        let some = judged.pipelines.iter().filter(|one| one.verdict != Verdict::Unaffected);
        some.for_each(|judgement| self.record_one(judgement, at_ms));
    }

    fn record_one(&mut self, judgement: &Judgement, at_ms: u64) {
        let records = self.state.upgrades.entry(judgement.pipeline.clone()).or_default();
        let json = serde_json::to_value(judgement);
        let json = json.expect("verdicts are made of texts, numbers, lists and tables");
        let last = records.last();
        if last.is_some_and(|last| last.judgement == json) {
            return;
        }
        let number = last.map_or(0, |last| last.number) + 1;
        let verdict = judgement.verdict.name().to_owned();
        let record = Upgrade { number, at_ms, verdict, judgement: json };
        records.push(Arc::new(record.clone()));
        let old = (records.len() > UPGRADES_MAX).then(|| records.remove(0).number);
        let name = |number: u64| upgrade_item(&judgement.pipeline, number);
        self.put(name(number), &record);
        self.changes.extend(old.map(|old| Change { name: name(old), text: None }));
    }

    fn revise(
        &mut self,
        id: &Id,
        action: Action,
        by: Option<&str>,
        at_ms: u64,
        document: Json,
    ) -> u64 {
        let last = self.state.history(id).last().map_or(0, |revision| revision.number);
        let by = by.map(str::to_owned);
        let revision = Revision { number: last + 1, at_ms, by, action, document };
        self.put(id.revision_item(last + 1), &revision);
        let history = self.state.revisions.entry(id.clone()).or_default();
        history.push(Arc::new(revision));
        while history.len() > REVISIONS_MAX {
            let name = id.revision_item(history.remove(0).number);
            self.changes.push(Change { name, text: None });
        }
        last + 1
    }

    fn put(&mut self, name: String, item: &impl Serialize) {
        let text = serde_json::to_string(item);
        let text = Some(text.expect("items are made of texts, numbers, lists and tables"));
        self.changes.push(Change { name, text });
    }
}

fn upgrade_item(pipeline: &str, number: u64) -> String {
    format!("upgrade/{pipeline}/{number:010}")
}

fn lease_item(topic: &str) -> String {
    format!("retention/{topic}")
}

fn source_item(source: &str) -> String {
    format!("source/{source}")
}

fn pipeline_item(name: &str) -> String {
    format!("pipeline/{name}")
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

    fn pipeline(name: &str, sql: &str) -> Arc<Document> {
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  inputs: \
             {{a: t}}\n  processors: [{{name: p, sql: '{sql}'}}]\n  sinks: [{{name: s, from: p, kafka: \
             {{topic: out.{name}}}}}]\n"
        );
        Arc::new(document::parse(&text).unwrap().remove(0))
    }

    fn keep(items: &mut Items, changes: &[Change]) {
        for Change { name, text } in changes {
            match text {
                Some(text) => items.insert(name.clone(), text.clone()),
                None => items.remove(name),
            };
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut items = Items::new();
        let mut draft = Draft::of(&State::default());
        let declared = pipeline("one", "SELECT id FROM a");
        draft.declare(declared.clone(), ManagedBy::User, Action::Applied, Some("ann"), 5);
        let accepted = PipelineState {
            paused: true,
            accepted: BTreeMap::from([("a".into(), BTreeSet::from(["id".into()]))]),
            digest: "d".into(),
            basis: BTreeMap::from([("t".into(), TopicSchemas { key: Some(1), value: 2 })]),
        };
        draft.accept("one", accepted.clone());
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        let id = Id::of(&declared);
        assert_eq!(state.document(&id).unwrap().document, declared);
        assert_eq!(state.pipeline("one"), accepted);
        assert_eq!(state.history(&id)[0].by.as_deref(), Some("ann"));

        let mut draft = Draft::of(&state);
        draft.remove(&id, None, 6);
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        assert!(state.documents.is_empty() && state.pipelines.is_empty());
        assert_eq!(state.history(&id)[1].action, Action::Deleted);
    }

    #[test]
    fn a_history_has_a_bound_and_its_numbers_go_on() {
        let mut items = Items::new();
        let mut draft = Draft::of(&State::default());
        for at_ms in 0..REVISIONS_MAX as u64 + 5 {
            let document = pipeline("one", &format!("SELECT {at_ms} FROM a"));
            draft.declare(document, ManagedBy::User, Action::Applied, None, at_ms);
        }
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        let history = state.history(&Id { kind: Kind::Pipeline, name: "one".into() });
        assert_eq!(history.len(), REVISIONS_MAX);
        assert_eq!(history.first().unwrap().number, 6);
        assert_eq!(history.last().unwrap().number, REVISIONS_MAX as u64 + 5);
    }

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
