//! Reads a pipeline's document.

use super::{
    Evolution, FieldRule, Flow, Input, InputFrom, KafkaSink, NewFields, OnError, PipelineSpec,
    Processor, ProcessorKind, ProcessorRef, Sink, SinkTarget, SinkTopicSettings, Start,
};
use crate::document::names;
use crate::document::read::{At, Choice, Table};
use crate::document::report::Report;
use std::collections::BTreeMap;
use tidemesh_model::{CleanupPolicy, EnvelopeForm};

pub(in crate::document) const PIPELINE: &[&str] = &[
    "evolution",
    "new_fields",
    "fields",
    "inputs",
    "processors",
    "sinks",
    "on_error",
    "dead_letter_topic",
];
pub(in crate::document) const FIELD: &[&str] = &["input", "field", "flow"];
pub(in crate::document) const INPUT: &[&str] = &["topic", "source", "lookup", "start"];
pub(in crate::document) const PROCESSOR: &[&str] =
    &["name", "sql", "processor", "inputs", "config", "tap"];
pub(in crate::document) const SINK: &[&str] = &["name", "from", "kafka"];
pub(in crate::document) const KAFKA: &[&str] = &[
    "topic",
    "envelope",
    "partitions",
    "cleanup_policy",
    "retention_ms",
    "retention_bytes",
    "key",
];

/// As `SourceSettings` bounds them.
const PARTITIONS_MAX: u64 = 1000;

impl Choice for Evolution {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("pinned", Self::Pinned), ("manual", Self::Manual)];
}

impl Choice for NewFields {
    const ALL: &'static [(&'static str, Self)] =
        &[("follow", Self::Follow), ("ignore", Self::Ignore)];
}

impl Choice for Flow {
    const ALL: &'static [(&'static str, Self)] =
        &[("always", Self::Always), ("never", Self::Never)];
}

impl Choice for Start {
    const ALL: &'static [(&'static str, Self)] =
        &[("earliest", Self::Earliest), ("latest", Self::Latest)];
}

impl Choice for EnvelopeForm {
    const ALL: &'static [(&'static str, Self)] =
        &[("debezium", Self::Debezium), ("flat", Self::Flat)];
}

impl Choice for CleanupPolicy {
    const ALL: &'static [(&'static str, Self)] =
        &[("compact", Self::Compact), ("delete", Self::Delete)];
}

/// `on_error` as it is written.
#[derive(Clone, Copy)]
enum OnErrorWord {
    Stop,
    DeadLetter,
}

impl Choice for OnErrorWord {
    const ALL: &'static [(&'static str, Self)] =
        &[("stop", Self::Stop), ("dead_letter", Self::DeadLetter)];
}

impl PipelineSpec {
    pub(in crate::document) fn read(at: &At<'_>, report: &mut Report) -> Self {
        let Some(table) = Table::of(at, PIPELINE, report) else { return Self::default() };
        let list = |key, report: &mut Report| {
            table.get(key).map(|at: At<'_>| at.list(report)).unwrap_or_default()
        };
        let rules = list("fields", report);
        let processors = list("processors", report);
        let sinks = table.required("sinks", report);
        let inputs = table.required("inputs", report);
        Self {
            evolution: table.choice("evolution", report),
            new_fields: table.choice("new_fields", report),
            fields: rules.iter().map(|at| FieldRule::read(at, report)).collect(),
            inputs: inputs.map(|at| read_inputs(&at, report)).unwrap_or_default(),
            processors: processors.iter().map(|at| Processor::read(at, report)).collect(),
            sinks: sinks.map(|at| read_sinks(&at, report)).unwrap_or_default(),
            on_error: on_error(&table, report),
        }
    }
}

fn on_error(table: &Table<'_>, report: &mut Report) -> OnError {
    let found = table.get("on_error");
    let word = match &found {
        Some(at) => at.choice(report),
        None => Some(OnErrorWord::Stop),
    };
    match (word, table.get("dead_letter_topic")) {
        (Some(OnErrorWord::DeadLetter), Some(at)) => {
            return OnError::DeadLetter { topic: at.topic(report) };
        }
        (Some(OnErrorWord::DeadLetter), None) => {
            let at = found.as_ref().unwrap_or(&table.at);
            let help = "add dead_letter_topic, the topic to which such records go";
            report.wrong(at, "`dead_letter_topic` is missing", help);
        }
        (Some(OnErrorWord::Stop), Some(at)) => {
            let help = "write on_error: dead_letter, or leave it out";
            report.wrong(&at.at_key(), "no record is written to it", help);
        }
        (Some(OnErrorWord::Stop), None) | (None, _) => {}
    }
    OnError::Stop
}

impl FieldRule {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let empty = Self { input: String::new(), field: String::new(), flow: Flow::Always };
        let Some(table) = Table::of(at, FIELD, report) else { return empty };
        let input = table.required("input", report);
        let field = table.required("field", report);
        let flow = table.required("flow", report);
        Self {
            input: input.map(|at| at.name(report)).unwrap_or_default(),
            field: field.and_then(|at| at.owned(report)).unwrap_or_default(),
            flow: flow.and_then(|at| at.choice(report)).unwrap_or_default(),
        }
    }
}

fn read_inputs(at: &At<'_>, report: &mut Report) -> BTreeMap<String, Input> {
    let entries = at.entries(report);
    if at.is_empty() {
        report.wrong(
            at,
            "the pipeline reads nothing",
            "write at least one input, as orders: a.topic",
        );
    }
    let mut inputs = BTreeMap::new();
    for (name, input) in entries {
        if !names::name(name) {
            let message = format!("{} cannot be a name", names::shown(name));
            report.wrong(&input.at_key(), message, format!("a name is {}", names::NAME));
        }
        inputs.insert(name.to_owned(), Input::read(&input, report));
    }
    inputs
}

impl Input {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        use crate::document::tree::Content;
        let topic = |topic| {
            let start = Some(Start::Earliest);
            Self { from: InputFrom::Topic(topic), lookup: false, start }
        };
        if matches!(at.node.content, Content::Text(..)) {
            return topic(at.topic(report));
        }
        let Some(table) = Table::of(at, INPUT, report) else { return topic(String::new()) };
        let from = match table.one_of(["topic", "source"], report) {
            Some(("source", at)) => InputFrom::Source(at.name(report)),
            Some((_, at)) => InputFrom::Topic(at.topic(report)),
            None => InputFrom::Topic(String::new()),
        };
        let lookup = table.get("lookup").and_then(|at| at.boolean(report)).unwrap_or_default();
        if lookup {
            let help = "leave it out: the table is read from the topic's first record";
            table.refuse("start", "a lookup has no start", help, report);
        }
        let start = table.choice("start", report);
        Self { from, lookup, start: (!lookup).then_some(start) }
    }
}

impl Processor {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let nothing = ProcessorKind::Sql { sql: Default::default() };
        let Some(table) = Table::of(at, PROCESSOR, report) else {
            return Self { name: String::new(), kind: nothing, tap: None };
        };
        let name = table.required("name", report).map(|at| at.name(report)).unwrap_or_default();
        let kind = match table.one_of(["sql", "processor"], report) {
            Some(("sql", at)) => sql(&at, &table, report),
            Some((_, at)) => registered(&at, &table, report),
            None => nothing,
        };
        Self { name, kind, tap: table.get("tap").map(|at| at.topic(report)) }
    }
}

fn sql(at: &At<'_>, table: &Table<'_>, report: &mut Report) -> ProcessorKind {
    if table.get("processor").is_none() {
        let help = "leave it out: the SQL names its tables after FROM";
        table.refuse("inputs", "a processor of SQL has no inputs", help, report);
        let help = "leave it out, or write what it says into the SQL";
        table.refuse("config", "a processor of SQL has no configuration", help, report);
    }
    ProcessorKind::Sql { sql: at.sql(report) }
}

fn registered(at: &At<'_>, table: &Table<'_>, report: &mut Report) -> ProcessorKind {
    let inputs = table.required("inputs", report);
    if let Some(at) = inputs.as_ref().filter(|at| at.is_empty()) {
        report.wrong(at, "the processor has no input", "name at least one");
    }
    let names = inputs.map(|at| at.list(report)).unwrap_or_default();
    ProcessorKind::Registered {
        processor: ProcessorRef::read(at, report),
        inputs: names.iter().map(|at| at.name(report)).collect(),
        config: table.get("config").and_then(|at| at.json_table(report)),
    }
}

impl ProcessorRef {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let Some(text) = at.text(report) else { return Self::default() };
        let read = text.split_once('@').and_then(|(name, version)| {
            let digits =
                version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
            let version = version.parse().ok().filter(|_| digits)?;
            names::name(name).then(|| Self { name: name.to_owned(), version })
        });
        read.unwrap_or_else(|| {
            let message = format!("{} is no version of a processor", names::shown(text));
            report.wrong(at, message, "write name@version, as fraud-score@2");
            Self::default()
        })
    }
}

fn read_sinks(at: &At<'_>, report: &mut Report) -> Vec<Sink> {
    let items = at.list(report);
    if at.is_empty() {
        let help = "write at least one {name: …, from: …, kafka: {topic: …}}";
        report.wrong(at, "the pipeline writes nothing", help);
    }
    items.iter().map(|at| Sink::read(at, report)).collect()
}

impl Sink {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let kafka = SinkTarget::Kafka(KafkaSink::default());
        let mut sink = Self { name: String::new(), from: String::new(), target: kafka };
        let Some(table) = Table::of(at, SINK, report) else { return sink };
        let name = table.required("name", report);
        let from = table.required("from", report);
        sink.name = name.map(|at| at.name(report)).unwrap_or_default();
        sink.from = from.map(|at| at.name(report)).unwrap_or_default();
        if let Some((_, at)) = table.one_of(["kafka"], report) {
            sink.target = SinkTarget::Kafka(KafkaSink::read(&at, report));
        }
        sink
    }
}

impl KafkaSink {
    fn read(at: &At<'_>, report: &mut Report) -> Self {
        let Some(table) = Table::of(at, KAFKA, report) else { return Self::default() };
        let topic = table.required("topic", report);
        let key = table.get("key");
        if let Some(at) = key.as_ref().filter(|at| at.is_empty()) {
            let help = "name its fields, or leave it out for the key of what is written";
            report.wrong(at, "the key has no field", help);
        }
        Self {
            topic: topic.map(|at| at.topic(report)).unwrap_or_default(),
            envelope: table.choice("envelope", report),
            settings: settings(&table, report),
            key: key.map(|at| at.texts(report)),
        }
    }
}

fn settings(table: &Table<'_>, report: &mut Report) -> SinkTopicSettings {
    let default = SinkTopicSettings::default();
    let cleanup_policy = table.get("cleanup_policy").and_then(|at| at.choice(report));
    let mut number = |key, most| table.get(key).and_then(|at| at.integer(1..=most, report));
    let partitions =
        number("partitions", PARTITIONS_MAX).and_then(|number| u32::try_from(number).ok());
    let (retention_ms, retention_bytes) =
        (number("retention_ms", u64::MAX), number("retention_bytes", u64::MAX));
    if cleanup_policy == Some(CleanupPolicy::Compact) {
        for key in ["retention_ms", "retention_bytes"] {
            let help = "leave it out, or write cleanup_policy: delete";
            table.refuse(key, "a compacted topic keeps the last record of each key", help, report);
        }
    }
    let partitions = partitions.unwrap_or(default.partitions);
    SinkTopicSettings { partitions, cleanup_policy, retention_ms, retention_bytes }
}
