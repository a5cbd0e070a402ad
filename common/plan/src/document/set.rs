//! What must fit together among several documents: names, and topics that only one may write.

use super::pipeline::check;
use super::report::Report;
use super::{Document, InputFrom, PipelineSpec, SourceSpec, Spec, names};
use crate::{Problem, Problems};
use std::collections::BTreeMap;

/// Checks documents against each other, as [`super::parse`] does those of one text: no two of a kind
/// have one name, no topic is written twice, no pipeline reads what it writes, and of a topic that others
/// write one source speaks. Versions of one processor may stand beside each other here: a binary brings
/// several, a text changes one into another.
///
/// # Errors
///
/// All that does not fit, each placed in the later of the two documents; a topic that is said to be written
/// by others, and is written by a pipeline, in both, since either may be the one that is new.
pub fn check_together(documents: &[Document]) -> Result<(), Problems> {
    let mut report = Report::default();
    fit(documents, version, &mut report);
    report.into_problems().map_or(Ok(()), Err)
}

pub(super) fn check(documents: &[Document], report: &mut Report) {
    fit(documents, |_| None, report);
}

/// The version of a processor's type.
fn version(document: &Document) -> Option<u64> {
    match &document.spec {
        Spec::Processor(spec) => Some(spec.version),
        _ => None,
    }
}

/// `apart` is what tells documents of one kind and name apart.
fn fit(documents: &[Document], apart: fn(&Document) -> Option<u64>, report: &mut Report) {
    let mut written = BTreeMap::new();
    let sources = unique(documents, apart, report);
    outputs(documents, report);
    for document in documents {
        let Spec::Pipeline(spec) = &document.spec else { continue };
        check::check(document, spec, report);
        topics(document, spec, &mut written, report);
        inputs(document, spec, &sources, report);
    }
    others(documents, &written, report);
}

/// Sources by their names. Two documents of one kind and name are reported.
fn unique<'d>(
    documents: &'d [Document],
    apart: fn(&Document) -> Option<u64>,
    report: &mut Report,
) -> BTreeMap<&'d str, &'d SourceSpec> {
    let mut seen = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for document in documents.iter().filter(|document| !document.name().is_empty()) {
        if let Spec::Source(spec) = &document.spec {
            sources.insert(document.name(), spec);
        }
        if let Some(other) =
            seen.insert((document.kind(), document.name(), apart(document)), document)
        {
            report.made(|| {
                let kind = document.kind().name();
                let line = other.place("metadata.name").line;
                let message = format!("there is a {kind} of this name too, in line {line}");
                document.problem("metadata.name", message).help("give one of them another name")
            });
        }
    }
    sources
}

/// A published source names a sink of its pipeline, where that is among the documents.
fn outputs(documents: &[Document], report: &mut Report) {
    let pipelines: BTreeMap<_, _> = documents
        .iter()
        .filter_map(|document| match &document.spec {
            Spec::Pipeline(spec) => Some((document.name(), spec)),
            _ => None,
        })
        .collect();
    for document in documents {
        let Spec::Source(SourceSpec::Pipeline { output, .. }) = &document.spec else { continue };
        let Some(spec) = pipelines.get(output.pipeline.as_str()) else { continue };
        let sinks = spec.sinks.iter().map(|sink| sink.name.as_str());
        if !output.sink.is_empty() && !sinks.clone().any(|sink| sink == output.sink) {
            report.made(|| {
                let (sink, pipeline) = (names::shown(&output.sink), names::shown(&output.pipeline));
                let message = format!("the pipeline {pipeline} has no sink {sink}");
                let help = names::instead_of(&output.sink, sinks);
                document.problem("spec.pipeline.sink", message).help(help)
            });
        }
    }
}

/// Who writes a topic: the pipeline, and the path there.
type Written<'d> = BTreeMap<&'d str, (&'d Document, String)>;

/// A topic holds what one sink or tap writes. Pipelines may share a topic for dead letters.
fn topics<'d>(
    document: &'d Document,
    spec: &'d PipelineSpec,
    written: &mut Written<'d>,
    report: &mut Report,
) {
    let letters = "spec.dead_letter_topic";
    for (path, topic) in spec.topics_written().filter(|(_, topic)| !topic.is_empty()) {
        let before = written.insert(topic, (document, path.clone()));
        let Some((pipeline, other)) = before else { continue };
        if other == letters && path == letters {
            continue;
        }
        report.made(|| {
            let message = format!(
                "{} is written by {other} of the pipeline {} too",
                names::shown(topic),
                pipeline.name()
            );
            document.problem(&path, message).help("give one of them another topic")
        });
    }
}

/// A topic of others is written by no pipeline, whose own documents speak of it, and has one document.
fn others(documents: &[Document], written: &Written<'_>, report: &mut Report) {
    let mut told: BTreeMap<&str, &Document> = BTreeMap::new();
    for document in documents {
        let Spec::Source(SourceSpec::Topic { topic, .. }) = &document.spec else { continue };
        if let Some((pipeline, by)) = written.get(topic.as_str()) {
            report.made(|| of_a_pipeline(document, topic, pipeline, by));
            report.made(|| of_others(pipeline, by, topic, document.name()));
        }
        let other = told.insert(topic, document);
        // Of a name that is there twice, and of a topic that is none, it is told already.
        let other = other.filter(|other| other.name() != document.name() && !topic.is_empty());
        if let Some(other) = other {
            report.made(|| {
                let (source, topic) = (names::shown(other.name()), names::shown(topic));
                let message = format!("the source {source} speaks of {topic} too");
                document.problem("spec.topic", message).help("say all of it in one of them")
            });
        }
    }
}

/// A source says of a topic that others write it, and a pipeline writes it by this.
fn of_a_pipeline(source: &Document, topic: &str, pipeline: &Document, by: &str) -> Problem {
    let (topic, pipeline) = (names::shown(topic), pipeline.name());
    let message = format!("{topic} is written by {by} of the pipeline {pipeline}");
    let help = "publish a sink by pipeline: {name: …, sink: …}, or leave the document out";
    source.problem("spec.topic", message).help(help)
}

/// The same where the pipeline stands.
fn of_others(pipeline: &Document, by: &str, topic: &str, source: &str) -> Problem {
    let (topic, name) = (names::shown(topic), names::shown(source));
    let message = format!("{topic} is a topic that others write, as the source {name} says");
    let help = format!("write to another topic, or delete the source {source}");
    pipeline.problem(by, message).help(help)
}

/// An input that is a source is the output of another pipeline, or a topic that others write.
fn inputs(
    document: &Document,
    spec: &PipelineSpec,
    sources: &BTreeMap<&str, &SourceSpec>,
    report: &mut Report,
) {
    for (input, source) in &spec.inputs {
        let InputFrom::Source(name) = &source.from else { continue };
        let (message, help) = match sources.get(name.as_str()) {
            Some(SourceSpec::Connector { .. }) => (
                format!(
                    "the source {} is a database, with a topic for each table",
                    names::shown(name)
                ),
                "name one of its topics: topic: source.schema.table",
            ),
            Some(SourceSpec::Pipeline { output, .. }) if output.pipeline == document.name() => (
                format!("the source {} is this pipeline's own output", names::shown(name)),
                "read another source, or the processor itself",
            ),
            _ => continue,
        };
        let path = format!("spec.inputs.{input}.source");
        report.made(|| document.problem(&path, message).help(help));
    }
}
