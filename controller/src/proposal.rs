//! What documents that somebody hands in would change: of the documents, and of what runs.

use crate::connectors;
use crate::difference::{FieldChange, differences};
use crate::state::{Id, State};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_avro::diff::diff;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::document::{self, Document, Kind};
use tidemesh_plan::mesh::{OutputPlan, PipelinePlan};
use tidemesh_plan::upgrade::Reason;
use tidemesh_plan::{Place, Problem, Problems};

/// A text with documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// What it is called where something is wrong with it: its file.
    #[serde(default)]
    pub name: String,
    /// The text, YAML or JSON.
    pub text: String,
}

/// One thing that is wrong with what was handed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The text that it is in; empty if it is in none of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line in the text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in the text, in characters from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What it is about: `Pipeline paid: spec.processors[0].sql`.
    #[serde(default)]
    pub about: String,
    /// What is wrong.
    pub message: String,
    /// What would work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl std::fmt::Display for Refusal {
    /// `shop.yaml:12:5: Pipeline paid: spec.processors[0].sql: there is no column …; help: …`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{}{line}:{column}", if self.file.is_empty() { "" } else { ":" })?;
        }
        if !self.file.is_empty() || self.line.is_some() {
            f.write_str(": ")?;
        }
        if !self.about.is_empty() {
            write!(f, "{}: ", self.about)?;
        }
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "; help: {help}"))
    }
}

/// What would become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// It is new.
    Create,
    /// It says something else.
    Change,
    /// It goes.
    Delete,
    /// It stays as it is, and so does what is made of it.
    Keep,
    /// It stays as it is, and what is made of it changes, because what it reads does.
    Follow,
}

/// What would change of a document, and of what is made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentChange {
    /// The document's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub verb: Verb,
    /// What it says that it did not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// What follows for what runs, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// Its revision once it is applied; none before, and where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// What documents would change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Document by document, those that were handed in first.
    pub documents: Vec<DocumentChange>,
}

impl Changes {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.iter().all(|document| document.verb == Verb::Keep)
    }
}

/// Documents that were handed in, each with the text that it is from.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) documents: Vec<(Arc<Document>, usize)>,
    files: Vec<String>,
    /// Whether they are as they are kept: nobody has seen their text, so no place in it is told.
    kept: bool,
}

impl Handed {
    /// Reads texts.
    pub(crate) fn read(texts: &[Text]) -> Result<Self, Vec<Refusal>> {
        let mut handed = Self::default();
        let mut refusals = Vec::new();
        let mut files = BTreeMap::new();
        for Text { name, text } in texts {
            let file = handed.files.len();
            handed.files.push(name.clone());
            match document::parse(text) {
                Ok(read) => {
                    // Within one text that is found where it is read.
                    for document in &read {
                        if let Some(other) = files.insert(Id::of(document), name) {
                            let message =
                                format!("there is one of this kind and name in {other} too");
                            let problem = document.problem("metadata.name", message);
                            let help = "hand in one of them, or give one another name";
                            refusals.push(refusal(name, problem.help(help)));
                        }
                    }
                    let read = read.into_iter().map(|document| (Arc::new(document), file));
                    handed.documents.extend(read);
                }
                Err(problems) => {
                    refusals.extend(problems.0.into_iter().map(|problem| refusal(name, problem)));
                }
            }
        }
        if refusals.is_empty() { Ok(handed) } else { Err(refusals) }
    }

    /// One document as a revision of it says.
    pub(crate) fn of_revision(document: Arc<Document>, number: u64) -> Self {
        let files = vec![format!("revision {number}")];
        Self { documents: vec![(document, 0)], files, kept: true }
    }

    pub(crate) fn ids(&self) -> BTreeSet<Id> {
        self.documents.iter().map(|(document, _)| Id::of(document)).collect()
    }

    /// What is wrong, each with the text that it is in. Where something stands is known of what was
    /// handed in alone.
    pub(crate) fn refusals(&self, problems: Problems) -> Vec<Refusal> {
        problems.0.into_iter().map(|problem| self.refused(problem)).collect()
    }

    /// What keeps a pipeline from going on.
    pub(crate) fn refusal(&self, pipeline: &str, reason: &Reason) -> Refusal {
        self.refused(Problem::new(format!("Pipeline {pipeline}: spec"), reason.to_string()))
    }

    /// Why a topic does not take what a pipeline would write.
    pub(crate) fn refused_output(&self, pipeline: &str, output: &OutputPlan, why: &str) -> Refusal {
        let about = format!("Pipeline {pipeline}: spec.sinks");
        let message =
            format!("{} does not take what {} would write: {why}", output.topic, output.name);
        let help = "write to another topic, or what its readers can read";
        self.refused(Problem::new(about, message).help(help))
    }

    fn refused(&self, mut problem: Problem) -> Refusal {
        let of = |document: &Document| is_about(&problem, &Id::of(document));
        match self.documents.iter().find(|(document, _)| of(document)) {
            Some((document, file)) => {
                let path = problem.about.split_once(": ").map_or("spec", |(_, path)| path);
                // What is found out beside the documents has no place yet.
                let found = || Some(document.place(path));
                problem.place = problem.place.or_else(found).filter(|_| !self.kept);
                refusal(&self.files[*file], problem)
            }
            None => {
                problem.place = None;
                refusal("", problem)
            }
        }
    }
}

/// Whether a problem is of this document, as `Document::problem` names it.
pub(crate) fn is_about(problem: &Problem, id: &Id) -> bool {
    let rest = problem.about.strip_prefix(id.kind.name()).and_then(|rest| rest.strip_prefix(' '));
    rest.and_then(|rest| rest.strip_prefix(&id.name)).is_some_and(|rest| rest.starts_with(':'))
}

fn refusal(file: &str, problem: Problem) -> Refusal {
    let Problem { mut about, place, sql_place, message, help } = problem;
    if let Some(Place { line, column }) = sql_place {
        about += &format!(" (SQL {line}:{column})");
    }
    let (line, column) = place.map(|Place { line, column }| (line, column)).unzip();
    Refusal { file: file.to_owned(), line, column, about, message, help }
}

/// The plans of pipelines, by their names.
pub(crate) type Plans = BTreeMap<String, Arc<PipelinePlan>>;

/// What would change from one set of documents and plans to another.
pub(crate) fn changes(
    handed: &Handed,
    state: &State,
    before: &Plans,
    after: &Plans,
    deleted: Option<&Id>,
) -> Changes {
    let mut all: Vec<DocumentChange> = Vec::new();
    for (document, _) in &handed.documents {
        let id = Id::of(document);
        let new = document.to_json();
        let (verb, fields) = match state.document(&id) {
            None => (Verb::Create, Vec::new()),
            Some(old) => match differences(&old.document.to_json(), &new) {
                same if same.is_empty() => (Verb::Keep, same),
                fields => (Verb::Change, fields),
            },
        };
        all.push(change(&id, verb, fields));
    }
    all.extend(deleted.map(|id| change(id, Verb::Delete, Vec::new())));
    let told: BTreeSet<&String> =
        handed.documents.iter().map(|(document, _)| &document.metadata.name).collect();
    for name in after.keys().filter(|name| !told.contains(name)) {
        let id = Id::pipeline(name);
        all.push(change(&id, Verb::Keep, Vec::new()));
    }
    for change in all.iter_mut().filter(|change| change.kind == Kind::Source.name()) {
        let id = Id { kind: Kind::Source, name: change.name.clone() };
        let before = state.document(&id).map(|declared| declared.document.as_ref());
        let mut documents = handed.documents.iter().map(|(document, _)| document.as_ref());
        change.effects =
            connectors::effects(before, documents.find(|document| Id::of(document) == id));
    }
    for change in &mut all {
        if change.kind != Kind::Pipeline.name() {
            continue;
        }
        change.effects = effects(before.get(&change.name), after.get(&change.name));
        if change.verb == Verb::Keep && !change.effects.is_empty() {
            change.verb = Verb::Follow;
        }
    }
    let handed = handed.documents.len();
    let mut place = 0;
    all.retain(|change| {
        place += 1;
        place <= handed || change.verb != Verb::Keep
    });
    Changes { documents: all }
}

fn change(id: &Id, verb: Verb, fields: Vec<FieldChange>) -> DocumentChange {
    DocumentChange {
        kind: id.kind.name().to_owned(),
        name: id.name.clone(),
        verb,
        fields,
        effects: Vec::new(),
        revision: None,
    }
}

/// What another plan means for what runs.
fn effects(before: Option<&Arc<PipelinePlan>>, after: Option<&Arc<PipelinePlan>>) -> Vec<String> {
    let outputs = |plan: Option<&Arc<PipelinePlan>>| -> BTreeMap<String, OutputPlan> {
        let outputs = plan.into_iter().flat_map(|plan| plan.outputs.clone());
        outputs.map(|output| (output.topic.clone(), output)).collect()
    };
    let same = before.zip(after).is_some_and(|(before, after)| before.digest == after.digest);
    if same || (before.is_none() && after.is_none()) {
        return Vec::new();
    }
    let (old, new) = (outputs(before), outputs(after));
    let mut effects = Vec::new();
    for (topic, output) in &new {
        match old.get(topic) {
            None => effects.push(format!("writes topic {topic}{}", key(output))),
            Some(old) => effects.extend(schema_changes(topic, old, output)),
        }
    }
    let gone = old.keys().filter(|topic| !new.contains_key(*topic));
    effects.extend(gone.map(|topic| format!("writes topic {topic} no more; the topic stays")));
    effects.push(
        match (before, after) {
            (None, _) => "starts",
            (_, None) => "stops; its offsets stay",
            _ => "goes on from its offsets by the new plan",
        }
        .to_owned(),
    );
    effects
}

fn key(output: &OutputPlan) -> String {
    let columns = output.schemas.key_columns.iter();
    let names: Vec<&str> =
        columns.filter_map(|place| Some(output.query.columns.get(*place)?.name.as_str())).collect();
    match names.as_slice() {
        [] => ", without a key".to_owned(),
        names => format!(", with the key {}", names.join(", ")),
    }
}

fn schema_changes(topic: &str, old: &OutputPlan, new: &OutputPlan) -> Vec<String> {
    let parse = |text: &str| Schema::parse(text).ok();
    let mut told = Vec::new();
    if old.schemas.key != new.schemas.key {
        told.push(format!("topic {topic} gets another key"));
    }
    let schemas = parse(&old.schemas.value).zip(parse(&new.schemas.value));
    let differences = schemas.map(|(old, new)| diff(&old, &new).differences).unwrap_or_default();
    let concerns = differences.iter().filter(|difference| difference.change.concerns_data());
    told.extend(concerns.map(|difference| {
        let field = difference.field.as_deref().unwrap_or("the record");
        format!("topic {topic}: {field}: {}", difference.change)
    }));
    told
}
