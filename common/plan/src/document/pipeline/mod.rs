//! A pipeline: topics, what is made of them, and where that goes.

pub(super) mod check;
pub(super) mod read;

use super::SqlText;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use tidemesh_model::{CleanupPolicy, EnvelopeForm, TopicSettings};

/// What a pipeline does. Its SQL is a text here: what it means is decided elsewhere.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PipelineSpec {
    /// What happens when a source's schema changes. Default `auto`.
    pub evolution: Evolution,
    /// Whether what a `*` takes grows with the source. Default `follow`.
    pub new_fields: NewFields,
    /// Fields that are excepted from `new_fields`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldRule>,
    /// What it reads, by the names that its SQL has for them. At least one.
    pub inputs: BTreeMap<String, Input>,
    /// What is made of it, in the order of the work.
    pub processors: Vec<Processor>,
    /// Where it goes. At least one.
    pub sinks: Vec<Sink>,
    /// What becomes of a record that cannot be processed. Default `stop`.
    #[serde(flatten)]
    pub on_error: OnError,
}

/// What happens to a pipeline when a source's schema changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evolution {
    /// It is upgraded, where that can be done.
    #[default]
    Auto,
    /// It goes on with the fields that it has.
    Pinned,
    /// It is upgraded once somebody says so.
    Manual,
}

/// Whether what a `*` takes grows with the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NewFields {
    /// A new field flows on.
    #[default]
    Follow,
    /// A new field is left out.
    Ignore,
}

/// What becomes of one field of an input, whatever `new_fields` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldRule {
    /// The input.
    pub input: String,
    /// The field's name.
    pub field: String,
    /// Whether it flows.
    pub flow: Flow,
}

/// Whether a field flows on where a `*` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// As soon as it is there.
    #[default]
    Always,
    /// Not even if it is there already.
    Never,
}

/// Something that a pipeline reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// What it is.
    #[serde(flatten)]
    pub from: InputFrom,
    /// Whether it is kept as a table in which other inputs' rows look something up.
    pub lookup: bool,
    /// From where on a new pipeline reads it. None for a lookup, whose table is always read whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// What an input is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InputFrom {
    /// A topic, by its name.
    Topic(String),
    /// The published output of a pipeline, or a topic that others write, by the name of its `Source`
    /// document.
    Source(String),
}

/// From where on a new pipeline reads an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// From the topic's first record.
    #[default]
    Earliest,
    /// From what comes after it is started.
    Latest,
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Processor {
    /// Its name, under which steps after it and sinks have its output.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub kind: ProcessorKind,
    /// The topic on which its output can be read; none writes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
}

/// What a step of a pipeline does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ProcessorKind {
    /// A query, whose tables are inputs and steps before it.
    Sql {
        /// The query.
        sql: SqlText,
    },
    /// A registered processor.
    Registered {
        /// Its type.
        processor: ProcessorRef,
        /// What it takes, in its type's order: inputs and steps before it.
        inputs: Vec<String>,
        /// Its configuration.
        #[serde(skip_serializing_if = "Option::is_none")]
        config: Option<Value>,
    },
}

/// A version of a registered processor: `fraud-score@2`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessorRef {
    /// Its name.
    pub name: String,
    /// Its version, 1 or more.
    pub version: u64,
}

/// Where a pipeline's output goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// What it takes: a processor or an input.
    pub from: String,
    /// What it writes to.
    #[serde(flatten)]
    pub target: SinkTarget,
}

/// What a sink writes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkTarget {
    /// A topic of its own.
    Kafka(KafkaSink),
}

/// A topic that a sink writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct KafkaSink {
    /// Its name.
    pub topic: String,
    /// What a record holds beside the row. Default `debezium`.
    pub envelope: EnvelopeForm,
    /// How the topic is made.
    #[serde(flatten)]
    pub settings: SinkTopicSettings,
    /// The fields of the record's key; none takes the key of what it writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<String>>,
}

/// How a sink's topic is made. An existing topic is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkTopicSettings {
    /// Partitions. 1 to 1000; default 1, which keeps the order of all records.
    pub partitions: u32,
    /// What happens to old records. By default those of a topic with a key are compacted, and events,
    /// which have none, go by age and size: which of them it is, is known with what is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_policy: Option<CleanupPolicy>,
    /// With `delete`: how long records are kept, in milliseconds; none keeps them for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// With `delete`: how many bytes a partition keeps; none keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
}

impl SinkTopicSettings {
    /// The settings of a topic whose records have a key, or have none.
    #[must_use]
    pub fn of_topic(&self, keyed: bool) -> TopicSettings {
        let usual = if keyed { CleanupPolicy::Compact } else { CleanupPolicy::Delete };
        TopicSettings {
            partitions: self.partitions,
            cleanup_policy: self.cleanup_policy.unwrap_or(usual),
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
        }
    }
}

impl Default for SinkTopicSettings {
    fn default() -> Self {
        let partitions = TopicSettings::default().partitions;
        Self { partitions, cleanup_policy: None, retention_ms: None, retention_bytes: None }
    }
}

/// What becomes of a record that cannot be processed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "on_error", rename_all = "snake_case")]
pub enum OnError {
    /// The pipeline stops and says so.
    #[default]
    Stop,
    /// It goes to a topic, with why, and the pipeline goes on.
    DeadLetter {
        /// The topic.
        #[serde(rename = "dead_letter_topic")]
        topic: String,
    },
}

impl std::fmt::Display for ProcessorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl Serialize for ProcessorRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PipelineSpec {
    /// The topics that it writes, each with the path at which the document names it.
    pub fn topics_written(&self) -> impl Iterator<Item = (String, &str)> {
        let taps = self.processors.iter().enumerate().filter_map(|(index, processor)| {
            let path = format!("spec.processors[{index}].tap");
            processor.tap.as_deref().map(|topic| (path, topic))
        });
        let sinks = self.sinks.iter().enumerate().map(|(index, sink)| {
            let SinkTarget::Kafka(kafka) = &sink.target;
            (format!("spec.sinks[{index}].kafka.topic"), kafka.topic.as_str())
        });
        let letters = match &self.on_error {
            OnError::Stop => None,
            OnError::DeadLetter { topic } => {
                Some(("spec.dead_letter_topic".to_owned(), topic.as_str()))
            }
        };
        taps.chain(sinks).chain(letters)
    }
}
