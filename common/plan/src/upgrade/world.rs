//! The topics as they are now, those that pipelines write among them: each as its pipeline will write it.

use super::Question;
use crate::document::{Document, Input, InputFrom, PipelineOutput, SinkTarget, SourceSpec, Spec};
use crate::mesh::{PipelinePlan, Topic, Topics};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use tidemesh_avro::schema::Schema;

/// The texts of a topic's schemas, key and value.
pub(super) type Texts = Rc<(Option<String>, String)>;

pub(super) struct World<'q> {
    pub(super) question: &'q Question<'q>,
    pub(super) topics: Topics,
    pub(super) documents: HashMap<&'q str, &'q Document>,
    pub(super) processors: Vec<&'q Document>,
    /// The topics of sources that lead to one.
    published: BTreeMap<&'q str, &'q str>,
    texts: RefCell<HashMap<String, Texts>>,
}

impl<'q> World<'q> {
    pub(super) fn new(question: &'q Question<'q>) -> Self {
        let of_kind = |pipeline: bool| {
            question.documents.iter().filter(move |document| match document.spec {
                Spec::Pipeline(_) => pipeline,
                Spec::Processor(_) => !pipeline,
                Spec::Source(_) | Spec::Alert(_) => false,
            })
        };
        let documents: HashMap<_, _> = of_kind(true).map(|one| (one.name(), one)).collect();
        let mut world = Self {
            question,
            topics: question.topics.clone(),
            published: published(question.documents, &documents),
            processors: of_kind(false).collect(),
            documents,
            texts: RefCell::default(),
        };
        question.running.pipelines.iter().for_each(|plan| world.writes(plan));
        world
    }

    /// A pipeline's topics have the schemas of this plan from here on.
    pub(super) fn writes(&mut self, plan: &PipelinePlan) {
        for output in &plan.outputs {
            let Ok((key, value)) = output.schemas.parsed() else { continue };
            self.texts.borrow_mut().remove(&output.topic);
            self.topics.insert(output.topic.clone(), Topic { key, value, source: None });
        }
    }

    /// The texts of a topic's schemas as they are now.
    pub(super) fn texts(&self, name: &str) -> Option<Texts> {
        let topic = self.topics.get(name)?;
        let mut texts = self.texts.borrow_mut();
        let of = || Rc::new(texts_of(topic.key.as_ref(), &topic.value));
        Some(texts.entry(name.to_owned()).or_insert_with(of).clone())
    }

    /// The topic that a document's input reads: of a table the first.
    pub(super) fn topic_of<'i>(&'i self, input: &'i Input) -> Option<&'i str> {
        match &input.from {
            InputFrom::Topic(topic) => Some(topic),
            InputFrom::Source(name) => self.published.get(name.as_str()).copied(),
        }
    }
}

/// The texts of two schemas by which they are compared.
pub(super) fn texts_of(key: Option<&Schema>, value: &Schema) -> (Option<String>, String) {
    (key.map(Schema::registry_text), value.registry_text())
}

fn published<'q>(
    documents: &'q [Document],
    pipelines: &HashMap<&'q str, &'q Document>,
) -> BTreeMap<&'q str, &'q str> {
    let topic_of = |output: &PipelineOutput| {
        let Spec::Pipeline(spec) = &pipelines.get(output.pipeline.as_str())?.spec else {
            return None;
        };
        let sink = spec.sinks.iter().find(|sink| sink.name == output.sink)?;
        let SinkTarget::Kafka(kafka) = &sink.target;
        Some(kafka.topic.as_str())
    };
    let topic = |document: &'q Document| match &document.spec {
        Spec::Source(SourceSpec::Topic { topic, .. }) => Some((document.name(), topic.as_str())),
        Spec::Source(SourceSpec::Pipeline { output, .. }) => {
            Some((document.name(), topic_of(output)?))
        }
        _ => None,
    };
    documents.iter().filter_map(topic).collect()
}
