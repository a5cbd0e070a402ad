//! The documents of a mesh by their names, and which pipeline writes which topic.

use super::gather::Gather;
use super::{Topic, Topics};
use crate::document::names::{instead_of, shown};
use crate::document::{
    AlertTarget, Document, Input, InputFrom, KafkaSink, PipelineOutput, PipelineSpec, ProcessorRef,
    ProcessorSpec, SinkTarget, SourceSpec, Spec,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Topics whose names begin so belong to Tidemesh or Kafka themselves.
const OWN_TOPICS: &[&str] = &["_tidemesh.", "__"];

/// A pipeline of the set.
#[derive(Clone, Copy)]
pub(super) struct Pipeline<'d> {
    /// The place among the documents.
    pub(super) place: usize,
    pub(super) document: &'d Document,
    pub(super) spec: &'d PipelineSpec,
}

/// The documents by what they are.
pub(super) struct Set<'d> {
    pub(super) pipelines: Vec<Pipeline<'d>>,
    pub(super) topics: &'d Topics,
    by_name: HashMap<&'d str, usize>,
    /// The sources that lead to one topic.
    published: BTreeMap<&'d str, &'d SourceSpec>,
    sources: BTreeSet<&'d str>,
    types: BTreeMap<(&'d str, u64), &'d ProcessorSpec>,
    /// The pipeline that writes a topic by a sink or tap.
    writers: HashMap<&'d str, usize>,
}

impl<'d> Set<'d> {
    pub(super) fn new(documents: &'d [Document], topics: &'d Topics) -> Self {
        let mut set = Self {
            pipelines: Vec::new(),
            topics,
            by_name: HashMap::new(),
            published: BTreeMap::new(),
            sources: BTreeSet::new(),
            types: BTreeMap::new(),
            writers: HashMap::new(),
        };
        for (place, document) in documents.iter().enumerate() {
            set.add(place, document);
        }
        set
    }

    fn add(&mut self, place: usize, document: &'d Document) {
        match &document.spec {
            Spec::Pipeline(spec) => {
                let index = self.pipelines.len();
                self.by_name.insert(document.name(), index);
                for topic in written(spec) {
                    self.writers.insert(topic, index);
                }
                self.pipelines.push(Pipeline { place, document, spec });
            }
            Spec::Source(source) => {
                self.sources.insert(document.name());
                if !matches!(source, SourceSpec::Connector { .. }) {
                    self.published.insert(document.name(), source);
                }
            }
            Spec::Processor(spec) => {
                self.types.insert((document.name(), spec.version), spec);
            }
            Spec::Alert(_) => {}
        }
    }

    /// The pipeline that writes a topic, by its place among the pipelines.
    pub(super) fn writer(&self, topic: &str) -> Option<usize> {
        self.writers.get(topic).copied()
    }

    /// The topic that an input reads; none if it is a source that does not lead to one.
    pub(super) fn topic_of(&self, input: &'d Input) -> Option<&'d str> {
        match &input.from {
            InputFrom::Topic(topic) => Some(topic),
            InputFrom::Source(name) => match self.published.get(name.as_str())? {
                SourceSpec::Topic { topic, .. } => Some(topic),
                SourceSpec::Pipeline { output, .. } => self.topic_of_output(output),
                SourceSpec::Connector { .. } => None,
            },
        }
    }

    fn topic_of_output(&self, output: &PipelineOutput) -> Option<&'d str> {
        let pipeline = self.by_name.get(output.pipeline.as_str())?;
        let sinks = &self.pipelines[*pipeline].spec.sinks;
        let sink = sinks.iter().find(|sink| sink.name == output.sink)?;
        Some(&kafka(&sink.target).topic)
    }

    /// Whether there is a source of this name that leads to one topic.
    pub(super) fn publishes(&self, name: &str) -> bool {
        self.published.contains_key(name)
    }

    /// The names of the sources that lead to one topic.
    pub(super) fn published(&self) -> impl Iterator<Item = &'d str> + Clone + use<'d, '_> {
        self.published.keys().copied()
    }

    /// The topics that the pipeline at a place among the documents can read: all but its own.
    pub(super) fn readable(&self, reader: usize) -> BTreeSet<&str> {
        let others = self.writers.keys().copied();
        let all = self.topics.keys().map(String::as_str).chain(others);
        let own = |topic: &str| {
            self.writer(topic).is_some_and(|writer| self.pipelines[writer].place == reader)
        };
        all.filter(|topic| !own(topic)).collect()
    }

    /// What is known of a topic that no pipeline of the set writes.
    pub(super) fn known(&self, topic: &str) -> Option<&'d Topic> {
        self.topics.get(topic)
    }

    /// The declared type of a registered processor.
    pub(super) fn processor(&self, of: &ProcessorRef) -> Option<&'d ProcessorSpec> {
        self.types.get(&(of.name.as_str(), of.version)).copied()
    }

    /// The versions of processors that there are, as a pipeline names them.
    pub(super) fn processors(&self) -> Vec<String> {
        self.types.keys().map(|(name, version)| format!("{name}@{version}")).collect()
    }

    /// Reports what names a pipeline, source or topic that it cannot.
    pub(super) fn check(&self, documents: &[Document], gather: &mut Gather<'_>) {
        for (place, document) in documents.iter().enumerate() {
            match &document.spec {
                Spec::Alert(alert) => self.alert(place, &alert.target, gather),
                Spec::Source(SourceSpec::Pipeline { output, .. }) => {
                    self.pipeline(place, "spec.pipeline.name", &output.pipeline, gather);
                }
                Spec::Source(SourceSpec::Topic { topic, .. }) => {
                    not_own(place, "spec.topic", topic, gather);
                }
                Spec::Pipeline(spec) => self.topics(place, spec, gather),
                Spec::Source(SourceSpec::Connector { .. }) | Spec::Processor(_) => {}
            }
        }
    }

    fn alert(&self, place: usize, target: &AlertTarget, gather: &mut Gather<'_>) {
        match target {
            AlertTarget::Pipeline(name) => {
                self.pipeline(place, "spec.for.pipeline", name, gather);
            }
            AlertTarget::Source(name) if !self.sources.contains(name.as_str()) => {
                gather.wrong(place, "spec.for.source", || {
                    let help = instead_of(name, self.sources.iter().copied());
                    (format!("there is no source {}", shown(name)), help)
                });
            }
            AlertTarget::Source(name) if self.is_of_others(name) => {
                gather.wrong(place, "spec.for.source", || {
                    let name = shown(name);
                    let message =
                        format!("the source {name} is a topic that others write, without figures");
                    (message, "watch a pipeline that reads it".into())
                });
            }
            AlertTarget::Source(_) => {}
        }
    }

    fn is_of_others(&self, source: &str) -> bool {
        matches!(self.published.get(source), Some(SourceSpec::Topic { .. }))
    }

    fn pipeline(&self, place: usize, path: &str, name: &str, gather: &mut Gather<'_>) {
        if self.by_name.contains_key(name) {
            return;
        }
        gather.wrong(place, path, || {
            let names = self.pipelines.iter().map(|pipeline| pipeline.document.name());
            (format!("there is no pipeline {}", shown(name)), instead_of(name, names))
        });
    }

    /// A pipeline must not write where a connector, Tidemesh or Kafka write.
    fn topics(&self, place: usize, spec: &PipelineSpec, gather: &mut Gather<'_>) {
        for (path, topic) in spec.topics_written() {
            let source = self.known(topic).and_then(|known| known.source.as_deref());
            if let Some(source) = source {
                gather.wrong(place, &path, || {
                    let (topic, source) = (shown(topic), shown(source));
                    let message = format!("{topic} is a topic of the source {source}");
                    (message, "write to another topic".into())
                });
            } else {
                not_own(place, &path, topic, gather);
            }
        }
    }
}

/// Tidemesh's and Kafka's own topics are neither written by pipelines nor spoken of.
fn not_own(place: usize, path: &str, topic: &str, gather: &mut Gather<'_>) {
    if OWN_TOPICS.iter().any(|own| topic.starts_with(own)) {
        gather.wrong(place, path, || {
            let message = format!("{} is kept by Tidemesh or Kafka", shown(topic));
            (message, format!("name one that begins with neither {}", OWN_TOPICS.join(" nor ")))
        });
    }
}

/// The topics that a pipeline writes by its sinks and taps.
fn written(spec: &PipelineSpec) -> impl Iterator<Item = &str> {
    let taps = spec.processors.iter().filter_map(|processor| processor.tap.as_deref());
    taps.chain(spec.sinks.iter().map(|sink| kafka(&sink.target).topic.as_str()))
}

/// A sink's topic.
pub(super) fn kafka(target: &SinkTarget) -> &KafkaSink {
    let SinkTarget::Kafka(kafka) = target;
    kafka
}
