//! What a plan is made of, to be made again in another process: plans hold expressions that are not
//! written.
//!
//! It has the schemas that the plan was made with, so that neither a registry nor other pipelines have a
//! part in it, and the digest, by which whoever makes it again knows that it is the same.

use super::{Accepted, PipelinePlan, Topic, Topics, plan};
use crate::document::{self, Document, InputFrom, Spec};
use crate::relation::Relation;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// A pipeline's plan as a text can hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The pipeline's document. Its inputs are topics.
    pipeline: Json,
    /// The documents of the processors that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    processors: Vec<Json>,
    /// What it reads, as it was planned.
    topics: BTreeMap<String, TopicTexts>,
    /// For each input the fields that were accepted.
    accepted: BTreeMap<String, BTreeSet<String>>,
    /// The plan's digest.
    digest: String,
}

/// A topic's schemas, as texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicTexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    value: String,
}

impl Recipe {
    /// Of a plan, by the document that it was made of and all processors that there are.
    #[must_use]
    pub fn of<'d>(
        plan: &PipelinePlan,
        document: &Document,
        processors: impl Iterator<Item = &'d Document>,
    ) -> Self {
        let named = processors.filter(|one| names(plan, one)).map(Document::to_json);
        let inputs = plan.inputs.iter().zip(&plan.tables);
        let topic = |(input, table): (&super::InputPlan, &crate::query::Input)| {
            (input.topic.clone(), TopicTexts::of(&table.relation))
        };
        let accepted = plan.inputs.iter().map(|input| (input.name.clone(), input.accepted.clone()));
        Self {
            pipeline: over_topics(document, plan).to_json(),
            processors: named.collect(),
            topics: inputs.map(topic).collect(),
            accepted: accepted.collect(),
            digest: plan.digest.clone(),
        }
    }

    /// The digest of its plan.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The plan. The pipelines that write its inputs, and sources by whose names it reads them, are not
    /// known to it.
    ///
    /// # Errors
    ///
    /// `Config` if no plan, or another one, comes of it.
    pub fn plan(&self) -> Result<PipelinePlan> {
        let documents = [&self.pipeline].into_iter().chain(&self.processors);
        let documents = documents.map(|one| document::parse(&one.to_string()));
        let documents = documents.collect::<Result<Vec<_>, _>>().map_err(|e| unmade(&e))?.concat();
        let name = documents.first().map(Document::name).unwrap_or_default();
        let accepted = Accepted::from([(name.to_owned(), self.accepted.clone())]);
        let planned = plan(&documents, &self.topics()?, &accepted).map_err(|e| unmade(&e))?;
        let made = planned.pipelines.into_iter().next().ok_or_else(|| unmade(&"it has none"))?;
        if made.digest == self.digest { Ok(made) } else { Err(unmade(&"another plan comes of it")) }
    }

    fn topics(&self) -> Result<Topics> {
        let topic = |(name, texts): (&String, &TopicTexts)| {
            let key = texts.key.as_deref().map(Schema::parse).transpose()?;
            Ok((name.clone(), Topic { key, value: Schema::parse(&texts.value)?, source: None }))
        };
        self.topics.iter().map(topic).collect()
    }
}

impl TopicTexts {
    fn of(relation: &Relation) -> Self {
        let key = relation.key.as_ref().map(Schema::registry_text);
        Self { key, value: relation.value.registry_text() }
    }
}

/// Whether a plan runs this processor.
fn names(plan: &PipelinePlan, document: &Document) -> bool {
    let Spec::Processor(spec) = &document.spec else { return false };
    let mut named = plan.stages.iter().map(|stage| &stage.processor);
    named.any(|named| named.name == document.name() && named.version == spec.version)
}

/// The document with its inputs called as the plan reads them.
fn over_topics(document: &Document, plan: &PipelinePlan) -> Document {
    let mut document = document.clone();
    if let Spec::Pipeline(spec) = &mut document.spec {
        for input in &plan.inputs {
            if let Some(known) = spec.inputs.get_mut(&input.name) {
                known.from = InputFrom::Topic(input.topic.clone());
            }
        }
    }
    document
}

fn unmade(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, "make a pipeline's plan again")
        .because(why.to_string())
        .help("run the version of the program that the controller is of")
}
