//! What must fit together within a pipeline: names, and what refers to them.

use super::{FieldRule, InputFrom, PipelineSpec, ProcessorKind};
use crate::document::Document;
use crate::document::names::{self, shown};
use crate::document::report::Report;
use std::collections::{BTreeMap, BTreeSet};

/// A document that is a pipeline, and what is said of it.
struct Check<'d> {
    document: &'d Document,
    spec: &'d PipelineSpec,
}

/// Checks a pipeline by itself. What could not be read is empty here, and has been reported.
pub(in crate::document) fn check(document: &Document, spec: &PipelineSpec, report: &mut Report) {
    let check = Check { document, spec };
    check.names(report);
    check.processors(report);
    check.sinks(report);
    check.fields(report);
    check.loops(report);
}

impl Check<'_> {
    /// A problem whose help is which names there are.
    fn unknown<'n>(
        &self,
        path: &str,
        name: &str,
        what: &str,
        known: impl Iterator<Item = &'n str> + Clone,
        report: &mut Report,
    ) {
        report.made(|| {
            let message = format!("{} names no {what}", shown(name));
            self.document.problem(path, message).help(names::instead_of(name, known))
        });
    }

    fn wrong(&self, path: &str, message: impl Into<String>, help: &str, report: &mut Report) {
        report.made(|| self.document.problem(path, message).help(help));
    }

    /// Inputs and processors share their names, since SQL has both as tables; sinks have their own.
    fn names(&self, report: &mut Report) {
        let help = "give one of them another name";
        let mut tables: BTreeMap<&str, &str> =
            self.spec.inputs.keys().map(|name| (name.as_str(), "an input")).collect();
        for (index, processor) in self.spec.processors.iter().enumerate() {
            let name = processor.name.as_str();
            if let Some(other) = tables.insert(name, "a processor").filter(|_| !name.is_empty()) {
                let message = format!("{other} has the name {} too", shown(name));
                self.wrong(&format!("spec.processors[{index}].name"), message, help, report);
            }
        }
        let mut sinks = BTreeSet::new();
        for (index, sink) in self.spec.sinks.iter().enumerate() {
            if !sinks.insert(&sink.name) && !sink.name.is_empty() {
                let message = format!("a sink has the name {} too", shown(&sink.name));
                self.wrong(&format!("spec.sinks[{index}].name"), message, help, report);
            }
        }
    }

    fn tables(&self) -> impl Iterator<Item = &str> + Clone {
        let processors = self.spec.processors.iter().map(|processor| processor.name.as_str());
        let inputs = self.spec.inputs.keys().map(String::as_str);
        inputs.chain(processors).filter(|name| !name.is_empty())
    }

    /// What a registered processor takes stands before it: so there are no cycles.
    fn processors(&self, report: &mut Report) {
        let all: BTreeSet<_> = self.tables().collect();
        let mut before: BTreeSet<&str> = self.spec.inputs.keys().map(String::as_str).collect();
        for (index, processor) in self.spec.processors.iter().enumerate() {
            if let ProcessorKind::Registered { inputs, .. } = &processor.kind {
                for (place, name) in inputs.iter().enumerate().filter(|(_, name)| !name.is_empty())
                {
                    let path = format!("spec.processors[{index}].inputs[{place}]");
                    self.processor_input(&path, name, &before, &all, report);
                }
            }
            if !processor.name.is_empty() {
                before.insert(&processor.name);
            }
        }
    }

    fn processor_input(
        &self,
        path: &str,
        name: &str,
        before: &BTreeSet<&str>,
        all: &BTreeSet<&str>,
        report: &mut Report,
    ) {
        if before.contains(name) {
            return;
        }
        if all.contains(name) {
            let message = format!("{} does not stand before this processor", shown(name));
            let help = "a processor takes inputs and processors before it: change their order";
            return self.wrong(path, message, help, report);
        }
        let what = "input and no processor before this one";
        self.unknown(path, name, what, before.iter().copied(), report);
    }

    fn sinks(&self, report: &mut Report) {
        let known: BTreeSet<_> = self.tables().collect();
        for (index, sink) in self.spec.sinks.iter().enumerate() {
            if !sink.from.is_empty() && !known.contains(sink.from.as_str()) {
                let path = format!("spec.sinks[{index}].from");
                self.unknown(&path, &sink.from, "processor and no input", self.tables(), report);
            }
        }
    }

    fn fields(&self, report: &mut Report) {
        let mut seen = BTreeSet::new();
        for (index, FieldRule { input, field, .. }) in self.spec.fields.iter().enumerate() {
            let known = self.spec.inputs.keys().map(String::as_str);
            if !input.is_empty() && !self.spec.inputs.contains_key(input) {
                self.unknown(&format!("spec.fields[{index}].input"), input, "input", known, report);
            }
            if !seen.insert((input, field)) && !input.is_empty() && !field.is_empty() {
                let message = format!("there are two rules for {}", shown(field));
                let path = format!("spec.fields[{index}].field");
                self.wrong(&path, message, "leave out one of them", report);
            }
        }
    }

    /// A pipeline that writes what it reads never comes to an end.
    fn loops(&self, report: &mut Report) {
        let read: BTreeMap<_, _> = self
            .spec
            .inputs
            .iter()
            .filter_map(|(name, input)| match &input.from {
                InputFrom::Topic(topic) => Some((topic.as_str(), name)),
                InputFrom::Source(_) => None,
            })
            .collect();
        for (path, topic) in self.spec.topics_written() {
            if let Some(input) = read.get(topic).filter(|_| !topic.is_empty()) {
                let message =
                    format!("the pipeline reads this topic, as its input {}", shown(input));
                self.wrong(&path, message, "write to another topic", report);
            }
        }
    }
}
