//! What a change would do, asked before it is made: the change is applied to a topic's schemas as its
//! connector would, and judged as if it had come.

mod apply;
mod types;

pub use apply::apply;
pub use types::avro_type;

use super::{
    FieldChange, Judged, Judgement, OutputChange, Question, Reason, Step, Verdict, Wait, judge,
};
use crate::document::{Document, SourceSpec, Spec};
use crate::mesh::{Path, Topics};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tidemesh_model::Result;

/// A change of a table, by its columns' names in the database or in Avro.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A column is dropped.
    DropColumn {
        /// The column.
        column: String,
    },
    /// A column gets another name.
    Rename {
        /// The column.
        column: String,
        /// Its new name.
        to: String,
    },
    /// A column is added.
    Add {
        /// The column.
        column: String,
        /// Its type: PostgreSQL's name or an Avro schema ([`avro_type`]).
        data_type: String,
        /// A constant default, as Avro writes it in JSON.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        default: Option<Json>,
    },
    /// A column gets another type.
    Type {
        /// The column.
        column: String,
        /// The type, as in `Add`.
        data_type: String,
    },
    /// The table gets another key.
    Key {
        /// Its columns, in order.
        columns: Vec<String>,
    },
    /// The topic's values, or its rows, get this schema.
    Schema {
        /// The text of an `.avsc` file.
        text: String,
    },
}

/// What a change would do.
#[derive(Debug, Clone, Serialize)]
pub struct Impact {
    /// The topic.
    pub topic: String,
    /// The topic that the table would go on in, if its readers cannot follow the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_topic: Option<String>,
    /// What would change in its rows.
    pub fields: Vec<FieldChange>,
    /// The pipelines that read the topic, or what is made of it, and on which the change has an effect
    /// or could have had one.
    pub pipelines: Vec<PipelineImpact>,
    /// Everybody who answers for one of them or for a sink's topic that is published.
    pub owners: BTreeSet<String>,
    /// The worst of the verdicts; unaffected if there is no pipeline.
    pub worst: Verdict,
    /// What would be done.
    pub steps: Vec<Step>,
}

/// What a change would do to a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineImpact {
    /// The pipeline.
    pub pipeline: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
    /// The fields that it reads of what would change, as `input.field`.
    pub reads: BTreeSet<String>,
    /// Its processors that read one of them, or what is made of it.
    pub processors: BTreeSet<String>,
    /// Its sinks whose records have something of it.
    pub sinks: BTreeSet<String>,
    /// The sinks and taps whose rows would change.
    pub outputs: Vec<OutputChange>,
    /// Why it would be held, or stay as it is.
    pub reasons: Vec<Reason>,
    /// The inputs that would get nothing more.
    pub waits: Vec<Wait>,
    /// The digest of the plan by which it would run, if that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_digest: Option<String>,
}

impl Impact {
    /// Whether a pipeline would be held: what a check before a change exits by.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.worst == Verdict::Held
    }
}

/// What changes of one topic, made together, would do.
///
/// # Errors
///
/// `NotFound` for a topic or column that there is not; `Malformed` and `Unsupported` for a type or
/// schema that is none, or a change that the table cannot have.
pub fn impact(question: &Question<'_>, topic: &str, changes: &[Change]) -> Result<Impact> {
    let topics = apply(question.topics, topic, changes)?;
    let judged = judge(&Question { topics: &topics, ..*question });
    Ok(Impact::of(question, topic, &topics, judged))
}

impl Impact {
    fn of(question: &Question<'_>, topic: &str, topics: &Topics, judged: Judged) -> Self {
        let next = apply::added(question.topics, topics);
        let target = next.as_deref().unwrap_or(topic);
        let fields = match (question.topics.get(topic), topics.get(target)) {
            (Some(old), Some(new)) => super::changes::changes(&old.value, &new.value),
            _ => Vec::new(),
        };
        let touched = Touched::of(question, topic, &fields);
        let pipelines: Vec<PipelineImpact> =
            judged.pipelines.into_iter().filter_map(|one| touched.pipeline(one)).collect();
        Self {
            owners: owners(question.documents, &pipelines),
            worst: pipelines.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Unaffected),
            topic: topic.to_owned(),
            next_topic: next,
            steps: judged.steps,
            fields,
            pipelines,
        }
    }
}

/// Who reads what would change, by the lineage of what runs.
struct Touched {
    readers: Vec<crate::mesh::Reader>,
}

impl Touched {
    fn of(question: &Question<'_>, topic: &str, fields: &[FieldChange]) -> Self {
        let graph = question.running.graph();
        let paths: BTreeSet<Path> = fields
            .iter()
            .map(|change| change.field.iter().flat_map(|field| field.split('.')))
            .map(|names| names.map(str::to_owned).collect())
            .collect();
        let found = paths.iter().flat_map(|path| graph.downstream(topic, path).readers);
        Self { readers: found.collect() }
    }

    /// None for a pipeline that the change has nothing to do with.
    fn pipeline(&self, judged: Judgement) -> Option<PipelineImpact> {
        let of = || self.readers.iter().filter(|reader| reader.pipeline == judged.pipeline);
        let unchanged = judged.inputs.is_empty() && judged.waits.is_empty();
        if of().next().is_none() && unchanged && judged.verdict == Verdict::Unaffected {
            return None;
        }
        let reads = judged
            .inputs
            .iter()
            .flat_map(|change| change.read.iter().map(|field| format!("{}.{field}", change.input)));
        Some(PipelineImpact {
            reads: reads.collect(),
            processors: of().flat_map(|reader| reader.processors.clone()).collect(),
            sinks: of().flat_map(|reader| reader.sinks.clone()).collect(),
            pipeline: judged.pipeline,
            owner: judged.owner,
            verdict: judged.verdict,
            why: judged.why,
            outputs: judged.outputs,
            reasons: judged.reasons,
            waits: judged.waits,
            new_digest: judged.new_digest,
        })
    }
}

/// The owners of pipelines, and of what is published of them.
fn owners(documents: &[Document], pipelines: &[PipelineImpact]) -> BTreeSet<String> {
    let is_touched = |name: &str| pipelines.iter().any(|one| one.pipeline == name);
    let published = documents.iter().filter_map(|document| match &document.spec {
        Spec::Source(SourceSpec::Pipeline { output, catalog }) if is_touched(&output.pipeline) => {
            catalog.owner.clone().or_else(|| document.metadata.owner.clone())
        }
        _ => None,
    });
    pipelines.iter().filter_map(|one| one.owner.clone()).chain(published).collect()
}
