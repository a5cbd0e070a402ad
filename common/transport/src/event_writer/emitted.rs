//! Events of applications that come through their database, made by the emitter's outbox: as messages of
//! the log, or as rows of its table. Each is written to the topic that it names, byte for byte, in the
//! append of the transaction that it is part of. Which topics it may name the settings say.

use super::{EventWriter, OutboxTopics, POSITION_HEADER};
use crate::partition::partition_of;
use crate::{TopicConfig, Transport, check_topic_name};
use std::collections::BTreeMap;
use std::iter::once;
use tidemesh_avro::emitted::{Emitted, EmittedHeaders, EmittedPlace, is_own_header};
use tidemesh_avro::frame;
use tidemesh_avro::name::topic_part;
use tidemesh_avro::side::emitted_shown;
use tidemesh_model::{
    CleanupPolicy, EmitSettings, Error, ErrorKind, Origin, Result, StateItem, TableName,
    TablePattern,
};

/// The prefix of the items under which the topics are stored.
const PREFIX: &str = "emitted/";

/// What stands in a dead letter in the place of a table.
const IN_PLACE_OF_TABLE: (&str, &str) = ("tidemesh", "emit");

/// How far ahead of the clock an event's time may be: Kafka's `message.timestamp.after.max.ms` (Apache Kafka
/// 4.3, broker configuration, default).
const AHEAD_MS_MAX: i64 = 3_600_000;

/// The most headers that are put together without asking for memory.
const FEW_HEADERS: usize = 8;

/// The topics that events may be for, and those that are ready.
#[derive(Debug)]
pub(super) struct EmittedTopics {
    settings: EmitSettings,
    /// What the topics of captured tables begin with: `<source>.<schema>.`, or `<source>.` where their
    /// schema may be any.
    tables: Vec<String>,
    /// All that there are.
    known: OutboxTopics,
    /// Those that are not stored yet.
    made: Vec<String>,
    ready: BTreeMap<String, EmittedTopic>,
}

/// A topic that is ready.
#[derive(Debug)]
struct EmittedTopic {
    /// The place of each partition in the append.
    outputs: Box<[usize]>,
    partitions: u32,
    /// Whether a record must have a key, of which the topic keeps the last.
    is_compacted: bool,
    /// Deals events without a key round.
    turn: u32,
}

impl EmittedTopic {
    /// Whether it has, as far as is known, no such partition as an event names.
    fn lacks(&self, place: EmittedPlace<'_>) -> bool {
        matches!(place, EmittedPlace::Partition(partition) if partition >= self.partitions)
    }

    fn partition(&mut self, event: &Emitted<'_>) -> Result<u32> {
        match (event.head.place, event.key) {
            (EmittedPlace::Partition(partition), _) if partition < self.partitions => Ok(partition),
            (EmittedPlace::Partition(partition), _) => {
                Err(wrong("its topic has no such partition")
                    .with("topic", event.topic)
                    .with("partition", partition)
                    .with("partitions", self.partitions))
            }
            (EmittedPlace::By(key), _) | (EmittedPlace::ByKey, Some(key)) => {
                Ok(partition_of(key, self.partitions))
            }
            (EmittedPlace::ByKey, None) => {
                let turn = self.turn % self.partitions.max(1);
                self.turn = turn + 1;
                Ok(turn)
            }
        }
    }
}

impl EmittedTopics {
    fn new(
        settings: EmitSettings,
        known: OutboxTopics,
        source: &str,
        tables: &[TablePattern],
    ) -> Self {
        let begin = |table: &TablePattern| match table.exact_schema() {
            Some(schema) => format!("{source}.{}.", topic_part(schema).replace('.', "_u002e")),
            None => format!("{source}."),
        };
        let tables = tables.iter().map(begin).collect();
        Self { settings, tables, known, made: Vec::new(), ready: BTreeMap::new() }
    }

    /// Whether events may be for this topic.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with what forbids it.
    fn check(&self, topic: &str) -> Result<()> {
        let refused = |message| Err(wrong(message).with("topic", topic.escape_debug()));
        if check_topic_name(topic).is_err() {
            return refused("it is for a topic that no topic can be called");
        }
        if !self.settings.allows(topic) {
            return refused("it is for a topic that source.emit.topics does not name")
                .map_err(|error| error.help("add the topic there, or correct the application"));
        }
        if topic.starts_with("__") || topic.starts_with("_tidemesh.") || self.is_tables(topic) {
            return refused("it is for a topic that is the platform's or could be a table's");
        }
        if self.known.is_beyond(topic) {
            return refused("events are for too many topics, more than 1000");
        }
        Ok(())
    }

    /// Whether a topic could be that of a table that is captured: it has two parts behind the source.
    fn is_tables(&self, topic: &str) -> bool {
        self.tables.iter().any(|begin| {
            // Behind a source alone the schema is yet to come.
            let has_schema = begin.matches('.').count() > 1;
            topic.strip_prefix(begin).is_some_and(|rest| has_schema || rest.contains('.'))
        })
    }
}

impl EventWriter {
    /// The same with events of applications, which were for these topics so far; the topics of `tables`
    /// are none of theirs.
    #[must_use]
    pub fn with_emitted(
        self,
        settings: Option<EmitSettings>,
        known: OutboxTopics,
        tables: &[TablePattern],
    ) -> Self {
        let new = |settings| EmittedTopics::new(settings, known, &self.block.name, tables);
        let emitted = settings.map(new);
        Self { emitted, ..self }
    }

    /// Whether events of applications are taken.
    #[must_use]
    pub fn takes_emitted(&self) -> bool {
        self.emitted.is_some()
    }

    /// What is to be stored of topics that events are for since this was asked last.
    pub(super) fn take_emitted_items(&mut self) -> Result<Vec<StateItem>> {
        let made = self.emitted.as_mut().map(|emitted| std::mem::take(&mut emitted.made));
        made.unwrap_or_default().iter().map(|topic| OutboxTopics::item(PREFIX, topic)).collect()
    }

    /// The topic that an event of a message is for, if it may be and is not ready yet. What is wrong with
    /// the event is told where it is written.
    #[must_use]
    pub fn emitted_topic_missing<'c>(&self, content: &'c [u8]) -> Option<&'c str> {
        let event = Emitted::read(content).ok()?;
        self.is_emitted_topic_missing(event.topic, event.head.place).then_some(event.topic)
    }

    /// Whether a topic may have events and is not ready yet for one of this place: it may have got more
    /// partitions since it was asked for.
    pub(super) fn is_emitted_topic_missing(&self, topic: &str, place: EmittedPlace<'_>) -> bool {
        let Some(emitted) = &self.emitted else { return false };
        match emitted.ready.get(topic) {
            Some(ready) => ready.lacks(place),
            None => self.may_be_emitted_topic(emitted, topic),
        }
    }

    fn may_be_emitted_topic(&self, emitted: &EmittedTopics, topic: &str) -> bool {
        emitted.check(topic).is_ok() && !self.is_side_topic(topic)
    }

    /// Makes ready a topic that events are for: it is made if it is not there. One that was ready is asked
    /// for its partitions again.
    ///
    /// # Errors
    ///
    /// As [`EventWriter::prepare`].
    pub async fn prepare_emitted_topic<T: Transport>(
        &mut self,
        transport: &T,
        topic: &str,
    ) -> Result<()> {
        let may_be = |emitted| self.may_be_emitted_topic(emitted, topic);
        if !self.emitted.as_ref().is_some_and(may_be) {
            // What is told of the event that names it.
            return Ok(());
        }
        self.outputs.bound(transport.record_bytes_max());
        // Events, of which none is made void by a later one of its key.
        let cleanup_policy = CleanupPolicy::Delete;
        let config = TopicConfig { cleanup_policy, ..self.topic_config.clone() };
        let TopicConfig { partitions, cleanup_policy, .. } =
            transport.create_topic(topic, &config).await?.config;
        let outputs = self.outputs.places(topic, partitions);
        if let Some(emitted) = &mut self.emitted {
            if emitted.known.insert(topic) {
                emitted.made.push(topic.to_owned());
            }
            let is_compacted = cleanup_policy == CleanupPolicy::Compact;
            let ready = EmittedTopic { outputs, partitions, is_compacted, turn: 0 };
            emitted.ready.insert(topic.to_owned(), ready);
        }
        Ok(())
    }

    /// Writes the event that a message of the log is.
    ///
    /// # Errors
    ///
    /// `Unsupported` for what is no event, is for a topic that it may not be for, or is one that a broker
    /// refuses; `NewerVersion` for one of a later form; `TooLarge` if the record cannot be.
    pub fn emitted(&mut self, origin: &Origin<'_>, content: &[u8]) -> Result<()> {
        if origin.transaction == 0 {
            return Err(wrong("its message is not part of a transaction")
                .help("give pg_logical_emit_message true as its first argument"));
        }
        let event = Emitted::read(content)
            .map_err(|error| not_read("its message does not have the form of one", error))?;
        self.write_emitted(origin, &event)
    }

    /// Writes an event to the topic that it is for.
    pub(super) fn write_emitted(&mut self, origin: &Origin<'_>, event: &Emitted<'_>) -> Result<()> {
        let topic = event.topic;
        let is_side_topic = self.is_side_topic(topic);
        let Some(emitted) = &mut self.emitted else {
            return Err(wrong("the source takes none").with("topic", topic));
        };
        let Some(ready) = emitted.ready.get_mut(topic).filter(|_| !is_side_topic) else {
            emitted.check(topic)?;
            let message = if is_side_topic {
                "it is for a topic of the source's own"
            } else {
                "its topic was not made ready"
            };
            return Err(wrong(message).with("topic", topic));
        };
        check_parts(event)?;
        check_accepted(event, ready.is_compacted, self.now_us)?;
        let place = ready.outputs[ready.partition(event)? as usize];
        let position = origin.position.to_bytes();
        let outputs = &mut self.outputs;
        with_headers(event.head.headers, &position, |headers| {
            outputs.push_with(place, event.head.event_time_ms, event.key, event.value, headers)
        })?;
        outputs.counts.events += 1;
        Ok(())
    }

    /// Writes that a message's event could not be written, and why.
    ///
    /// # Errors
    ///
    /// `TooLarge` if even that record cannot be.
    #[cold]
    pub fn emitted_letter(
        &mut self,
        origin: &Origin<'_>,
        content: &[u8],
        error: &Error,
    ) -> Result<()> {
        let topic = Emitted::read(content).map(|event| event.topic).ok();
        let (schema, table) = IN_PLACE_OF_TABLE;
        let table = TableName::new(schema, table);
        self.letter(origin, &table, "m", error, &emitted_shown(topic, content))
    }
}

impl OutboxTopics {
    /// Takes the topics that events of applications were for out of a checkpoint's items.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub fn take_emitted(items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        Self::take_of(PREFIX, items)
    }
}

/// What a record for readers of the registry's frames has.
fn check_parts(event: &Emitted<'_>) -> Result<()> {
    let about = |error: Error| error.with("topic", event.topic);
    for part in [event.key, event.value].into_iter().flatten() {
        frame::split(part)
            .map_err(|error| about(wrong("its key or value is not framed")).caused_by(error))?;
    }
    match event.head.headers.iter().find(|(name, _)| is_own_header(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let name = name.escape_debug();
            Err(about(wrong("it has a header that is the platform's").with("header", name)))
        }
    }
}

/// Refuses what a broker would refuse, for ever, and with it all that comes behind.
fn check_accepted(event: &Emitted<'_>, is_compacted: bool, now_us: i64) -> Result<()> {
    let refused = |message| Err(wrong(message).with("topic", event.topic));
    let event_time_ms = event.head.event_time_ms;
    if event_time_ms < 0 {
        return refused("its event time is before 1970")
            .map_err(|error| error.with("event_time_ms", event_time_ms));
    }
    if event_time_ms > now_us.div_euclid(1000).saturating_add(AHEAD_MS_MAX) {
        return refused("its event time is more than an hour ahead")
            .map_err(|error| error.with("event_time_ms", event_time_ms))
            .map_err(|error| error.help("set the clock of the application's machine"));
    }
    if event.key.is_none() && event.value.is_none() {
        return refused("it has neither key nor value");
    }
    if event.key.is_none() && is_compacted {
        return refused("it has no key, and its topic is compacted").map_err(|error| {
            error.help("emit it with a key, or set the topic's cleanup.policy to delete")
        });
    }
    Ok(())
}

/// An error of bytes that are no event. One of a later form is a right one: the source stops at it, nothing is
/// lost, and goes on once it is as new.
pub(super) fn not_read(message: &'static str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NewerVersion => error,
        _ => wrong(message).caused_by(error),
    }
}

/// Hands on an event's headers behind that of its position.
fn with_headers<R>(
    headers: EmittedHeaders<'_>,
    position: &[u8],
    take: impl FnOnce(&[(&str, &[u8])]) -> R,
) -> R {
    let all = once((POSITION_HEADER, position)).chain(headers.iter());
    if headers.len() >= FEW_HEADERS {
        return take(&all.collect::<Vec<_>>());
    }
    let mut few = [("", &b""[..]); FEW_HEADERS];
    for (place, header) in few.iter_mut().zip(all) {
        *place = header;
    }
    take(&few[..=headers.len()])
}

pub(super) fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "write an event of an application").because(message)
}

#[cfg(test)]
mod tests;
