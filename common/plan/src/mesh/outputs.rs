//! What a pipeline writes: the topic, how it is made, and what its records are.

use super::gather::Gather;
use super::pipeline::Planner;
use super::set::kafka;
use super::{OutputKind, OutputPlan, within};
use crate::document::names::shown;
use crate::document::{Document, KafkaSink, SinkTopicSettings};
use crate::output::{OutputSchemas, Target, output_schemas};
use crate::{Problem, Problems};
use tidemesh_model::{CleanupPolicy, EnvelopeForm, TopicSettings};

/// A sink or tap of a document.
struct Written<'w> {
    kind: OutputKind,
    name: &'w str,
    from: &'w str,
    topic: &'w str,
    envelope: EnvelopeForm,
    key: Option<&'w [String]>,
    settings: &'w SinkTopicSettings,
    /// What it takes stands here.
    from_path: String,
    /// What is said of its topic stands here.
    path: String,
}

/// All that a pipeline writes; what is wrong is reported and left out.
pub(super) fn outputs(planner: &Planner<'_, '_>, gather: &mut Gather<'_>) -> Vec<OutputPlan> {
    let spec = planner.pipeline.spec;
    let usual = SinkTopicSettings::default();
    let sinks = spec.sinks.iter().enumerate().map(|(index, sink)| {
        let path = format!("spec.sinks[{index}]");
        Written::sink(&sink.name, &sink.from, kafka(&sink.target), &path)
    });
    let taps = spec.processors.iter().enumerate().filter_map(|(index, processor)| {
        let path = format!("spec.processors[{index}].tap");
        let topic = processor.tap.as_deref()?;
        Some(Written::tap(&processor.name, topic, &usual, &path))
    });
    sinks.chain(taps).filter_map(|written| written.plan(planner, gather)).collect()
}

impl<'w> Written<'w> {
    fn sink(name: &'w str, from: &'w str, kafka: &'w KafkaSink, path: &str) -> Self {
        Self {
            kind: OutputKind::Sink,
            name,
            from,
            topic: &kafka.topic,
            envelope: kafka.envelope,
            key: kafka.key.as_deref(),
            settings: &kafka.settings,
            from_path: format!("{path}.from"),
            path: format!("{path}.kafka"),
        }
    }

    fn tap(name: &'w str, topic: &'w str, settings: &'w SinkTopicSettings, path: &str) -> Self {
        Self {
            kind: OutputKind::Tap,
            name,
            from: name,
            topic,
            envelope: EnvelopeForm::default(),
            key: None,
            settings,
            from_path: path.to_owned(),
            path: path.to_owned(),
        }
    }

    fn plan(&self, planner: &Planner<'_, '_>, gather: &mut Gather<'_>) -> Option<OutputPlan> {
        let query = planner.rows_of(self.from, &self.from_path, gather)?;
        let target = Target {
            pipeline: planner.pipeline.document.name(),
            topic: self.topic,
            envelope: self.envelope,
            key: self.key,
        };
        let schemas = match output_schemas(&query, &planner.tables, target) {
            Ok(schemas) => schemas,
            Err(problems) => {
                self.refused(problems, planner, gather);
                return None;
            }
        };
        let settings = self.settings(&schemas, planner.place(), gather)?;
        Some(OutputPlan {
            kind: self.kind,
            name: self.name.to_owned(),
            from: self.from.to_owned(),
            topic: self.topic.to_owned(),
            settings,
            schemas,
            reads: planner.reads(std::iter::once(&query)),
            query,
        })
    }

    /// Tells why there are no schemas: of a declared key where that stands.
    fn refused(&self, problems: Problems, planner: &Planner<'_, '_>, gather: &mut Gather<'_>) {
        for problem in problems.0 {
            let told = |document: &Document| {
                let of_key = problem.about == "key";
                let problem = self.with_hidden(problem, planner);
                let key = format!("{}.key", self.path);
                within(document, if of_key { &key } else { &self.from_path }, problem)
            };
            gather.made(planner.place(), told);
        }
    }

    /// Of an input that is written as it is, columns are left out by rules alone.
    fn with_hidden(&self, problem: Problem, planner: &Planner<'_, '_>) -> Problem {
        let table = planner.tables.iter().find(|table| table.name == self.from);
        let mut hidden = table.into_iter().flat_map(|table| &table.hidden);
        match hidden.find(|column| problem.message.contains(&shown(column))) {
            Some(column) => {
                let help = format!("let {column} flow: leave out its rule in spec.fields");
                problem.help(help)
            }
            None => problem,
        }
    }

    /// How the topic is made.
    fn settings(
        &self,
        schemas: &OutputSchemas,
        place: usize,
        gather: &mut Gather<'_>,
    ) -> Option<TopicSettings> {
        let keyed = schemas.key.is_some();
        let before = gather.count();
        if !keyed && self.settings.cleanup_policy == Some(CleanupPolicy::Compact) {
            gather.wrong(place, &format!("{}.cleanup_policy", self.path), || {
                let topic = shown(self.topic);
                let message = format!("{topic} holds events, which have no key to compact by");
                (message, "write cleanup_policy: delete, or leave it out".into())
            });
        }
        let given = [
            ("retention_ms", self.settings.retention_ms),
            ("retention_bytes", self.settings.retention_bytes),
        ];
        let bounds = given.iter().filter_map(|(name, value)| value.map(|_| *name));
        let settings = self.settings.of_topic(keyed);
        for name in bounds.filter(|_| settings.cleanup_policy == CleanupPolicy::Compact) {
            gather.wrong(place, &format!("{}.{name}", self.path), || {
                let topic = shown(self.topic);
                let message = format!(
                    "{topic} has a key and is compacted, and so keeps the last record of each key"
                );
                (message, "leave it out, or write cleanup_policy: delete".into())
            });
        }
        (gather.count() == before).then_some(settings)
    }
}
