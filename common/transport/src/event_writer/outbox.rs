//! A table that is an outbox: each row that is inserted into it is an event of an application, which
//! goes to the topic that the row names. The columns are those of Debezium's outbox event router
//! (documentation 3.7, "Outbox Event Router"). Its updates and deletes are no events.

use super::{EventWriter, POSITION_HEADER, Sink, emitted};
use crate::partition::partition_of;
use crate::stored::{stored_item, take_stored};
use crate::{TopicConfig, Transport, check_topic_name};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_avro::emitted::{Emitted, EmittedHead};
use tidemesh_avro::envelope::{SchemaIds, begin_frame, write_bytes};
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::json::decimal_text;
use tidemesh_avro::name::topic_part;
use tidemesh_avro::row::{RowPlan, uuid_text};
use tidemesh_model::{
    Change, CleanupPolicy, DataType, Error, ErrorKind, Origin, OutboxFormat, OutboxSettings,
    Result, RowImage, StateItem, TableName, TableSchema, Value, Values,
};

/// The most topics that one outbox's rows go to: a column of values without end would make as many.
const TOPICS_MAX: usize = 1000;

/// What stands in a topic's name for the value of the column that routes, as in Debezium's.
const ROUTED_BY: &str = "${routedByValue}";

/// The prefix of the items under which an outbox's topics are stored.
const PREFIX: &str = "outbox/";

/// The version of their stored form.
const VERSION: u32 = 1;

/// The column of headers, event time and partition of rows that the emitter's outbox makes.
const HEAD_COLUMN: &str = "headers";

/// The header that carries an event's id, which consumers tell repeated ones by.
const ID_HEADER: &str = "id";

/// The topics that an outbox's rows went to, over restarts: there is a limit of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxTopics(BTreeSet<String>);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    topic: String,
}

impl OutboxTopics {
    /// Takes what was stored out of a checkpoint's items.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub fn take(items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        Self::take_of(PREFIX, items)
    }

    pub(super) fn take_of(prefix: &str, items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let stored: Vec<Stored> = take_stored(items, prefix, VERSION, "read an outbox's topic")?;
        Ok(Self(stored.into_iter().map(|stored| stored.topic).collect()))
    }

    pub(super) fn item(prefix: &str, topic: &str) -> Result<StateItem> {
        let stored = Stored { version: VERSION, topic: topic.to_owned() };
        stored_item(format!("{prefix}{topic}"), &stored, "store an outbox's topic")
    }

    /// Adds a topic; whether it is another than those before.
    pub(super) fn insert(&mut self, topic: &str) -> bool {
        self.0.insert(topic.to_owned())
    }

    /// Whether a topic is one more than there may be.
    pub(super) fn is_beyond(&self, topic: &str) -> bool {
        self.0.len() >= TOPICS_MAX && !self.0.contains(topic)
    }
}

/// An outbox, and the topics that its rows went to.
#[derive(Debug)]
pub(super) struct Outbox {
    settings: OutboxSettings,
    source: String,
    table: TableName,
    /// All that there are.
    known: OutboxTopics,
    /// Those that are not stored yet.
    made: Vec<String>,
    /// Those that are ready, by their names and whether payloads are bytes.
    topics: BTreeMap<(String, bool), OutboxTopic>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A topic that is ready.
#[derive(Debug, Clone, Copy)]
struct OutboxTopic {
    ids: SchemaIds,
    first_output: usize,
    partitions: u32,
}

/// Where the columns of an outbox stand.
#[derive(Debug, Clone)]
pub(super) struct OutboxColumns {
    id: usize,
    key: usize,
    route_by: usize,
    payload: usize,
    is_bytes: bool,
    /// Columns that become headers, with these names.
    headers: Vec<(usize, String)>,
    /// Of rows that the emitter's outbox makes: the column of headers, event time and partition.
    head: Option<usize>,
}

/// Refuses a column that the emitter's outbox fills with bytes and that is none of them.
fn bytes_column(schema: &TableSchema, column: usize) -> Result<()> {
    let field = &schema.fields[column];
    if field.data_type == DataType::Bytes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "read an outbox")
        .because("a column is not of bytes, which format = \"tidemesh\" needs")
        .with("table", &schema.name)
        .with("column", &field.name)
        .help("make the table by the statement that the emitter's Outbox::table_ddl has"))
}

impl OutboxColumns {
    fn of(settings: &OutboxSettings, schema: &TableSchema) -> Result<Self> {
        let column = |name: &str| {
            schema.column(name).ok_or_else(|| {
                Error::new(ErrorKind::Config, "read an outbox")
                    .because("its table lacks a column")
                    .with("table", &schema.name)
                    .with("column", name)
                    .help("name the column that it has under [source.outbox]")
            })
        };
        let header = |entry: &String| {
            let (name, header) = entry.split_once(':').unwrap_or((entry, entry));
            Ok((column(name)?, header.to_owned()))
        };
        let payload = column(&settings.payload)?;
        let is_emitted = settings.format == OutboxFormat::Tidemesh;
        if is_emitted {
            for name in [&settings.key, &settings.payload, HEAD_COLUMN] {
                bytes_column(schema, column(name)?)?;
            }
        }
        if let DataType::Array(_) | DataType::Record(_) | DataType::Float32 | DataType::Float64 =
            &schema.fields[payload].data_type
        {
            return Err(Error::new(ErrorKind::Config, "read an outbox")
                .because("its payload is of a type that is no text, JSON or bytes")
                .with("table", &schema.name)
                .with("column", &settings.payload)
                .help("store it as text, jsonb or bytea"));
        }
        Ok(Self {
            id: column(&settings.id)?,
            key: column(&settings.key)?,
            route_by: column(&settings.route_by)?,
            payload,
            is_bytes: schema.fields[payload].data_type == DataType::Bytes,
            headers: settings.headers.iter().map(header).collect::<Result<_>>()?,
            head: is_emitted.then(|| column(HEAD_COLUMN)).transpose()?,
        })
    }
}

impl Outbox {
    pub(super) fn new(settings: OutboxSettings, known: OutboxTopics, source: &str) -> Result<Self> {
        let table = settings.table_name()?;
        let (key, value) = (Vec::new(), Vec::new());
        let (source, made, topics) = (source.to_owned(), Vec::new(), BTreeMap::new());
        Ok(Self { settings, source, table, known, made, topics, key, value })
    }

    /// A topic is ready for payloads that are bytes, or are not.
    fn is_ready(&mut self, topic: &str, is_bytes: bool, ready: OutboxTopic) {
        if self.known.insert(topic) {
            self.made.push(topic.to_owned());
        }
        self.topics.insert((topic.to_owned(), is_bytes), ready);
    }

    /// The topic of a row.
    fn topic(&self, columns: &OutboxColumns, row: &[Value]) -> Result<String> {
        let route = row.get(columns.route_by).and_then(text_of).ok_or_else(|| {
            self.wrong("a row names no topic").with("column", &self.settings.route_by)
        })?;
        let topic = self.settings.topic.replace(ROUTED_BY, &topic_part(&route));
        let wrong = |message| Err(self.wrong(message).with("topic", &topic));
        if check_topic_name(&topic).is_err() {
            return wrong("a row names a topic that no topic can be called");
        }
        if self.is_reserved(&topic) {
            return wrong("a row names a topic that is not an outbox's");
        }
        if self.known.is_beyond(&topic) {
            return wrong("its rows name too many topics, more than 1000");
        }
        Ok(topic)
    }

    /// Whether a topic is the brokers' own, ours, or could be a table's.
    fn is_reserved(&self, topic: &str) -> bool {
        let of_source = topic.strip_prefix(&self.source).and_then(|rest| rest.strip_prefix('.'));
        topic.starts_with("__")
            || topic.starts_with("_tidemesh.")
            || of_source.is_some_and(|rest| rest.contains('.'))
    }

    fn wrong(&self, message: &'static str) -> Error {
        Error::new(ErrorKind::Unsupported, "route a row of an outbox")
            .because(message)
            .with("table", &self.table)
    }
}

impl EventWriter {
    /// The same with an outbox, whose rows went to these topics so far.
    ///
    /// # Errors
    ///
    /// `Config` if its table is not `schema.table`.
    pub fn with_outbox(
        self,
        settings: Option<OutboxSettings>,
        known: OutboxTopics,
    ) -> Result<Self> {
        let outbox =
            settings.map(|settings| Outbox::new(settings, known, &self.block.name)).transpose()?;
        Ok(Self { outbox, ..self })
    }

    /// What is to be stored of topics that rows of the outbox go to since this was asked last.
    ///
    /// # Errors
    ///
    /// `Internal` if it cannot be written as JSON, which does not happen.
    pub(super) fn take_outbox_items(&mut self) -> Result<Vec<StateItem>> {
        let made = self.outbox.as_mut().map(|outbox| std::mem::take(&mut outbox.made));
        made.unwrap_or_default().iter().map(|topic| OutboxTopics::item(PREFIX, topic)).collect()
    }

    /// Whether a table is the outbox: its rows may need topics that are not there yet.
    #[must_use]
    pub fn is_outbox(&self, table: &TableName) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.table == *table)
    }

    /// What an outbox's rows need beside topics: where its columns stand, and an encoder of its key.
    pub(super) fn outbox_route(
        &self,
        schema: &TableSchema,
    ) -> Result<Option<(OutboxColumns, EventEncoder)>> {
        let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.table == schema.name) else {
            return Ok(None);
        };
        let columns = OutboxColumns::of(&outbox.settings, schema)?;
        let rows = RowPlan::new(schema, self.format.types)?;
        let ids = SchemaIds { key: 0, value: 0 };
        let encoder = EventEncoder::new(self.format.envelope, rows, schema, &self.block, ids);
        Ok(Some((columns, encoder)))
    }

    /// The topic that a row of the outbox goes to, if it is not ready yet for its payload, and whether
    /// that is bytes.
    #[must_use]
    pub fn outbox_topic_missing<R: RowImage>(
        &self,
        schema: &Arc<TableSchema>,
        row: &R,
    ) -> Option<(String, bool)> {
        let outbox = self.outbox.as_ref()?;
        let route = &self.routes[self.route_of(schema).ok()?];
        // What is wrong with a row is told where it is encoded.
        let columns = route.outbox.as_ref()?;
        let row = Values::of(row).ok()?;
        if let Some(head) = columns.head {
            let topic = row.get(columns.route_by).and_then(text_of)?;
            let head = row.get(head).and_then(bytes_of)?;
            let place = EmittedHead::read(head).ok()?.place;
            let is_missing = self.is_emitted_topic_missing(&topic, place);
            return is_missing.then_some((topic, columns.is_bytes));
        }
        let topic = outbox.topic(columns, &row).ok()?;
        let topic = (topic, columns.is_bytes);
        (!outbox.topics.contains_key(&topic) && !self.is_side_topic(&topic.0)).then_some(topic)
    }

    /// Makes ready a topic of the outbox's rows: it is made, its schemas are registered.
    ///
    /// # Errors
    ///
    /// As [`EventWriter::prepare`].
    pub async fn prepare_outbox_topic<T: Transport>(
        &mut self,
        transport: &T,
        schema: &Arc<TableSchema>,
        topic: &str,
    ) -> Result<()> {
        let route = &self.routes[self.route_of(schema)?];
        let (Some(outbox), Some(columns)) = (&self.outbox, &route.outbox) else { return Ok(()) };
        if columns.head.is_some() {
            return self.prepare_emitted_topic(transport, topic).await;
        }
        if outbox.known.is_beyond(topic) {
            // What is told of the row that names it.
            return Ok(());
        }
        let is_bytes = columns.is_bytes;
        let payload = if is_bytes { "\"bytes\"" } else { "\"string\"" };
        let ids = match outbox.settings.format {
            OutboxFormat::Raw | OutboxFormat::Tidemesh => SchemaIds { key: 0, value: 0 },
            OutboxFormat::Avro => {
                let subject = format!("{}{topic}", transport.topic_prefix());
                let key = self.registry.register(&format!("{subject}-key"), "\"string\"").await?;
                let value = self.registry.register(&format!("{subject}-value"), payload).await?;
                SchemaIds { key, value }
            }
        };
        // Events, of which none is made void by a later one of its key.
        let cleanup_policy = CleanupPolicy::Delete;
        let config = TopicConfig { cleanup_policy, ..self.topic_config.clone() };
        let info = transport.create_topic(topic, &config).await?;
        let (first_output, partitions) = self.outputs.as_at_first(topic, info.config.partitions);
        if let Some(outbox) = &mut self.outbox {
            outbox.is_ready(topic, is_bytes, OutboxTopic { ids, first_output, partitions });
        }
        Ok(())
    }

    /// Encodes a row of the outbox unless `skip` says so of its key in the table.
    #[cold]
    pub(super) fn outbox_row<R: RowImage>(
        &mut self,
        route: usize,
        origin: &Origin<'_>,
        change: &Change<R>,
        skip: impl Fn(&[u8]) -> bool,
    ) -> Result<()> {
        let is_skipped = Cell::new(false);
        let route = &self.routes[route];
        // No record is made of the row itself; its key is known from here on.
        let mut sink = Sink {
            outputs: &mut self.outputs,
            first_output: 0,
            partitions: 1,
            skip: |key: &[u8]| {
                is_skipped.set(is_skipped.get() || skip(key));
                true
            },
            taken: false,
        };
        route.encoder.encode(origin, change, self.now_us, &mut self.buffers, &mut sink)?;
        let row = match change {
            Change::Create { after } | Change::Read { after } if !is_skipped.get() => after,
            Change::Update { .. } => {
                let (table, position) = (&route.schema.name, origin.position);
                tracing::warn!(%table, %position, "an update of an outbox is no event");
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (Some(columns), Some(outbox)) = (&route.outbox, &mut self.outbox) else {
            return Ok(());
        };
        let row = Values::of(row)?;
        if let Some(head) = columns.head {
            let columns = [columns.route_by, columns.key, columns.payload, head];
            return self.emitted_row(origin, &row, columns);
        }
        let topic = outbox.topic(columns, &row)?;
        let topic = (topic, columns.is_bytes);
        let Some(ready) = outbox.topics.get(&topic).copied() else {
            return Err(outbox
                .wrong("a row names a topic that is not an outbox's")
                .with("topic", topic.0));
        };
        let is_framed = outbox.settings.format == OutboxFormat::Avro;
        let has_key = cell(&row, columns.key, is_framed.then_some(ready.ids.key), &mut outbox.key);
        let value_id = is_framed.then_some(ready.ids.value);
        let has_value = cell(&row, columns.payload, value_id, &mut outbox.value);
        let id = row.get(columns.id).and_then(text_of).unwrap_or_default();
        let position = origin.position.to_bytes();
        let more: Vec<(&str, String)> = columns
            .headers
            .iter()
            .filter_map(|(index, name)| Some((name.as_str(), row.get(*index).and_then(text_of)?)))
            .collect();
        let mut headers = vec![(ID_HEADER, id.as_bytes()), (POSITION_HEADER, &position[..])];
        headers.extend(more.iter().map(|(name, text)| (*name, text.as_bytes())));
        let key = has_key.then_some(outbox.key.as_slice());
        let partition = key.map_or(0, |key| partition_of(key, ready.partitions));
        let place = ready.first_output + partition as usize;
        let value = has_value.then_some(outbox.value.as_slice());
        let timestamp_ms = origin.committed_at_us.div_euclid(1000);
        self.outputs.push_with(place, timestamp_ms, key, value, &headers)?;
        self.outputs.counts.events += 1;
        Ok(())
    }
}

impl EventWriter {
    /// Writes the event that a row of the emitter's outbox is, by the places of its topic, key, payload and
    /// headers.
    fn emitted_row(
        &mut self,
        origin: &Origin<'_>,
        row: &[Value],
        [topic, key, payload, head]: [usize; 4],
    ) -> Result<()> {
        let bytes = |column: usize| row.get(column).and_then(bytes_of);
        let topic = row.get(topic).and_then(text_of);
        let topic = topic.ok_or_else(|| emitted::wrong("its row names no topic"))?;
        let head = bytes(head).ok_or_else(|| emitted::wrong("its row lacks its headers"))?;
        let head = EmittedHead::read(head).map_err(|error| {
            emitted::not_read("its headers do not have the form of such", error)
        })?;
        let event = Emitted { head, topic: &topic, key: bytes(key), value: bytes(payload) };
        self.write_emitted(origin, &event)
    }
}

/// A cell as a record's key or value, in Confluent's frame if it has a schema's id; false for null.
fn cell(row: &[Value], column: usize, id: Option<u32>, out: &mut Vec<u8>) -> bool {
    out.clear();
    let text;
    let bytes = match row.get(column) {
        Some(Value::Bytes(bytes)) => bytes.as_slice(),
        Some(value) => match text_of(value) {
            Some(of_value) => {
                text = of_value;
                text.as_bytes()
            }
            None => return false,
        },
        None => return false,
    };
    match id {
        Some(id) => {
            begin_frame(out, id);
            write_bytes(out, bytes);
        }
        None => out.extend_from_slice(bytes),
    }
    true
}

fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The text of a cell that names something; none for null and for what names nothing.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Boolean(value) => Some(value.to_string()),
        Value::Int32(value) | Value::Date(value) => Some(value.to_string()),
        Value::Int64(value)
        | Value::Time(value)
        | Value::Timestamp(value)
        | Value::TimestampTz(value) => Some(value.to_string()),
        Value::Uuid(uuid) => Some(uuid_text(uuid).map(char::from).iter().collect()),
        Value::Decimal { unscaled, scale } => {
            Some(decimal_text(unscaled, usize::try_from(*scale).unwrap_or(usize::MAX)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: OutboxColumns = OutboxColumns {
        id: 0,
        key: 0,
        route_by: 0,
        payload: 0,
        is_bytes: false,
        headers: Vec::new(),
        head: None,
    };

    /// Where a row goes that names this topic.
    fn routed(outbox: &Outbox, route: &str) -> Result<String> {
        outbox.topic(&COLUMNS, &[Value::Text(route.to_owned())])
    }

    fn outbox(known: OutboxTopics) -> Outbox {
        let settings = serde_json::json!({"table": "public.outbox", "topic": ROUTED_BY});
        Outbox::new(serde_json::from_value(settings).unwrap(), known, "shop").unwrap()
    }

    #[test]
    fn a_thousand_topics_are_counted_by_their_names_and_over_restarts() {
        let ready =
            OutboxTopic { ids: SchemaIds { key: 1, value: 2 }, first_output: 0, partitions: 1 };
        let mut first = outbox(OutboxTopics::default());
        for topic in 0..999 {
            // One whose payload has become bytes is not another.
            for is_bytes in [false, true] {
                first.is_ready(&format!("t{topic}"), is_bytes, ready);
            }
        }
        assert_eq!(routed(&first, "t999").unwrap(), "t999", "the thousandth");
        first.is_ready("t999", false, ready);
        let stored = first.made.iter().map(|topic| OutboxTopics::item(PREFIX, topic).unwrap());
        let mut items: BTreeMap<String, Vec<u8>> =
            stored.map(|item| (item.key, item.value.unwrap())).collect();
        items.insert("x".into(), vec![1]);
        let again = outbox(OutboxTopics::take(&mut items).unwrap());
        assert_eq!(items.len(), 1, "what is another's stays");
        for outbox in [&first, &again] {
            let error = routed(outbox, "t1000").unwrap_err();
            assert!(error.to_string().contains("too many topics, more than 1000"), "{error}");
            assert_eq!((routed(outbox, "t0").unwrap(), outbox.known.0.len()), ("t0".into(), 1000));
        }
    }

    #[test]
    fn a_newer_form_of_a_stored_topic_is_refused() {
        let value = br#"{"version":2,"topic":"t"}"#.to_vec();
        let error =
            OutboxTopics::take(&mut BTreeMap::from([("outbox/t".into(), value)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
    }

    #[test]
    fn what_names_something_has_a_text() {
        assert_eq!(text_of(&Value::Text("a".into())).unwrap(), "a");
        assert_eq!(text_of(&Value::Int64(-7)).unwrap(), "-7");
        assert_eq!(text_of(&Value::Uuid([0; 16])).unwrap(), "00000000-0000-0000-0000-000000000000");
        assert_eq!(text_of(&Value::Null), None);
    }

    #[test]
    fn a_cell_is_framed_only_with_a_schema() {
        let row = [Value::Text("ab".into()), Value::Bytes(vec![1]), Value::Null];
        let mut out = Vec::new();
        assert!(cell(&row, 0, Some(3), &mut out));
        assert_eq!(out, [0, 0, 0, 0, 3, 4, b'a', b'b']);
        assert!(cell(&row, 1, None, &mut out));
        assert_eq!(out, [1]);
        assert!(!cell(&row, 2, None, &mut out));
    }
}
