//! What a set of documents means together: of each pipeline a plan by which it can be run, in an order
//! in which each comes behind those whose topics it reads, and where each field comes from and goes.
//!
//! `set` knows the documents by their names, `order` sorts the pipelines and finds cycles, `known` gives
//! the rows of topics, and `pipeline` plans one: its `inputs`, its processors (`stage` those that are
//! registered, whose configuration `config` checks) and its `outputs`. `cache` has plans that were made
//! before, and `threads` plans several pipelines at once. `render` writes a plan for people, of which
//! it makes the digest; `recipe` is one as another process makes it again. `graph` answers questions of lineage, `openlineage` tells
//! other catalogs. Nothing here reads a file or a socket: what is known of topics is handed in.

mod cache;
mod config;
mod gather;
mod graph;
mod inputs;
mod known;
pub mod openlineage;
mod order;
mod outputs;
mod pipeline;
mod recipe;
mod render;
mod set;
mod stage;
mod threads;

pub use cache::{PIPELINES_CACHED_MAX, PlanCache};
pub use graph::{Downstream, FOUND_MAX, Graph, Reached, Reader, Upstream, Whence};
pub use recipe::Recipe;
pub use stage::{Edge, StagePlan};

use crate::document::{Document, Metadata, OnError, Start, check_together};
use crate::output::OutputSchemas;
use crate::query::{Input, Query};
use crate::sql::with_stack;
use crate::{Problem, Problems};
use gather::Gather;
use known::Known;
use set::Set;
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::schema::Schema;
use tidemesh_model::TopicSettings;

/// What is known of topics, by their names. A topic that a pipeline of the set writes needs not be
/// among them: its schemas are those that the pipeline's plan gives it.
pub type Topics = BTreeMap<String, Topic>;

/// For each pipeline and input the fields that were accepted when it was last applied
/// ([`InputPlan::accepted`]). What is not in it is new, and takes all that there is.
pub type Accepted = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Names that lead to a field, from the row on.
pub type Path = Vec<String>;

/// What is known of a topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The keys' schema, if it has one.
    pub key: Option<Schema>,
    /// The values' schema.
    pub value: Schema,
    /// The source whose connector writes it; none for any other topic.
    pub source: Option<String>,
}

/// What a set of documents means.
#[derive(Debug, Clone)]
pub struct MeshPlan {
    /// Its pipelines, each behind those whose topics it reads.
    pub pipelines: Vec<PipelinePlan>,
}

/// What a pipeline does: all that a runner and a controller need.
#[derive(Debug, Clone)]
pub struct PipelinePlan {
    /// The document's name, owner and description. The digest does not cover the latter two.
    pub metadata: Metadata,
    /// What runs it.
    pub runner: Runner,
    /// The topics that it reads, by their names in SQL.
    pub inputs: Vec<InputPlan>,
    /// The registered processors in the order of the work.
    pub stages: Vec<StagePlan>,
    /// The topics that it writes: sinks in the document's order, then taps.
    pub outputs: Vec<OutputPlan>,
    /// What queries read, by their places: first the inputs, then what each stage makes.
    pub tables: Vec<Input>,
    /// All that is between: each processor of SQL, from the tables on.
    pub queries: Vec<NamedQuery>,
    /// What becomes of a record that cannot be processed.
    pub on_error: OnError,
    /// SHA-256 of what the plan means, in hexadecimal digits. It stays as it is if the text of the SQL
    /// or an input changes in what means nothing here: layout, comments, names within the query, fields
    /// that nothing reads.
    pub digest: String,
}

/// What runs a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runner {
    /// Tidemesh's own, in process.
    Embedded,
}

/// A topic that a pipeline reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPlan {
    /// Its name in SQL.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The source by which the document names it, if it does so.
    pub source: Option<String>,
    /// The pipeline of the set that writes it, if one does.
    pub writer: Option<String>,
    /// From where on a new pipeline reads it; none for a lookup, whose table is always read whole.
    pub start: Option<Start>,
    /// The fields that anything of the pipeline reads. A field within one that is read is not among them.
    pub reads: BTreeSet<Path>,
    /// The fields that are accepted with this plan, to be handed in with the next one.
    pub accepted: BTreeSet<String>,
}

/// A processor of SQL.
#[derive(Debug, Clone)]
pub struct NamedQuery {
    /// The processor's name.
    pub name: String,
    /// The tables that its SQL names: inputs and processors before it.
    pub reads: BTreeSet<String>,
    /// What it gives, from the tables on: with all the steps before it.
    pub query: Query,
}

/// A topic that a pipeline writes.
#[derive(Debug, Clone)]
pub struct OutputPlan {
    /// Whether a sink or a tap writes it.
    pub kind: OutputKind,
    /// The sink's name; the processor's, of a tap.
    pub name: String,
    /// The processor or input whose rows it takes.
    pub from: String,
    /// The topic.
    pub topic: String,
    /// How the topic is made.
    pub settings: TopicSettings,
    /// What its records are, and the schemas of its subjects.
    pub schemas: OutputSchemas,
    /// What is made of the tables' rows.
    pub query: Query,
    /// For each input by its place the fields that are read for it, registered processors followed.
    pub reads: BTreeMap<usize, BTreeSet<Path>>,
}

/// What writes a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// A sink.
    Sink,
    /// A processor whose output can be read on a topic.
    Tap,
}

/// Plans a set of documents.
///
/// # Errors
///
/// All that is wrong, document by document, with its place, at most
/// [`PROBLEMS_MAX`](crate::document::PROBLEMS_MAX) of it. What could not be judged because of something
/// that is told, such as a pipeline that reads the output of a wrong one, is not told of. If documents
/// do not fit together by their names, only that is told.
pub fn plan(
    documents: &[Document],
    topics: &Topics,
    accepted: &Accepted,
) -> Result<MeshPlan, Problems> {
    plan_with(documents, topics, accepted, &PlanCache::new(0))
}

/// As [`plan`], with the plans that `cache` has of pipelines of which nothing has changed. The answer is
/// the same.
///
/// # Errors
///
/// As [`plan`].
pub fn plan_with(
    documents: &[Document],
    topics: &Topics,
    accepted: &Accepted,
    cache: &PlanCache,
) -> Result<MeshPlan, Problems> {
    check_together(documents)?;
    with_stack(|| plan_all(documents, topics, accepted, cache, threads::here()))
}

fn plan_all(
    documents: &[Document],
    topics: &Topics,
    accepted: &Accepted,
    cache: &PlanCache,
    threads: usize,
) -> Result<MeshPlan, Problems> {
    let set = Set::new(documents, topics);
    let mut gather = Gather::new(documents);
    set.check(documents, &mut gather);
    let mut known = Known::new(&set);
    let mut pipelines = Vec::with_capacity(set.pipelines.len());
    for level in order::levels(&set, &mut gather) {
        let before = pipelines.len();
        let one = One { documents, set: &set, accepted, known: &known, cache };
        for (planned, told) in threads::map(&level, threads, |place| one.plan(*place)) {
            gather.take(told);
            pipelines.extend(planned);
        }
        let outputs = pipelines[before..].iter().flat_map(|plan: &PipelinePlan| &plan.outputs);
        outputs.for_each(|output| known.planned(output));
    }
    debug_assert!(gather.count() > 0 || pipelines.len() == set.pipelines.len());
    gather.into_problems().map_or(Ok(MeshPlan { pipelines }), Err)
}

/// What each pipeline of a level is planned by.
struct One<'o, 'd> {
    documents: &'d [Document],
    set: &'o Set<'d>,
    accepted: &'o Accepted,
    known: &'o Known<'o, 'd>,
    cache: &'o PlanCache,
}

impl<'d> One<'_, 'd> {
    /// The plan of the pipeline at a place, if it has one, and what is wrong with it.
    fn plan(&self, place: usize) -> (Option<PipelinePlan>, Gather<'d>) {
        let mut gather = Gather::new(self.documents);
        let pipeline = self.set.pipelines[place];
        let accepted = self.accepted.get(pipeline.document.name());
        let key = || cache::key(pipeline, accepted, self.set, self.known);
        let planned = self.cache.get_or_plan(key, || {
            pipeline::plan(pipeline, accepted, self.set, self.known, &mut gather)
        });
        (planned, gather)
    }
}

impl MeshPlan {
    /// The plan of a pipeline.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> Option<&PipelinePlan> {
        self.pipelines.iter().find(|pipeline| pipeline.name() == name)
    }

    /// Where each field comes from and goes.
    #[must_use]
    pub fn graph(&self) -> Graph<'_> {
        Graph::new(self)
    }
}

impl PipelinePlan {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }
}

impl OutputPlan {
    /// The subject of its keys' schema.
    #[must_use]
    pub fn key_subject(&self) -> String {
        format!("{}-key", self.topic)
    }

    /// The subject of its values' schema.
    #[must_use]
    pub fn value_subject(&self) -> String {
        format!("{}-value", self.topic)
    }
}

/// A problem of something within a document, told of the document: where it stands, and what it is
/// about, if it does not say.
fn within(document: &Document, path: &str, problem: Problem) -> Problem {
    let mut told = document.problem(path, problem.message);
    told.sql_place = problem.sql_place;
    told.help = problem.help;
    told
}

#[cfg(test)]
mod tests;
