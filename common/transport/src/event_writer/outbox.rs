//! A table that is an outbox: each row that is inserted into it is an event of an application, which
//! goes to the topic that the row names. The columns are those of Debezium's outbox event router
//! (documentation 3.7, "Outbox Event Router"). Its updates and deletes are no events.

use super::{EventWriter, POSITION_HEADER, Sink};
use crate::partition::partition_of;
use crate::{TopicConfig, Transport, check_topic_name};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_avro::envelope::{SchemaIds, begin_frame, write_bytes};
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::json::decimal_text;
use tidemesh_avro::name::topic_part;
use tidemesh_avro::row::{RowPlan, uuid_text};
use tidemesh_model::{
    Change, CleanupPolicy, DataType, Error, ErrorKind, Origin, OutboxFormat, OutboxSettings,
    Result, RowImage, TableName, TableSchema, Value, Values,
};

/// The most topics that one outbox's rows go to: a column of values without end would make as many.
const TOPICS_MAX: usize = 1000;

/// What stands in a topic's name for the value of the column that routes, as in Debezium's.
const ROUTED_BY: &str = "${routedByValue}";

/// The header that carries an event's id, which consumers tell repeated ones by.
const ID_HEADER: &str = "id";

/// An outbox, and the topics that its rows went to.
#[derive(Debug)]
pub(super) struct Outbox {
    settings: OutboxSettings,
    source: String,
    table: TableName,
    /// By their names, and whether payloads are bytes.
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
        })
    }
}

impl Outbox {
    pub(super) fn new(settings: OutboxSettings, source: &str) -> Result<Self> {
        let table = settings.table_name()?;
        let (key, value) = (Vec::new(), Vec::new());
        let source = source.to_owned();
        Ok(Self { settings, source, table, topics: BTreeMap::new(), key, value })
    }

    /// The topic of a row.
    fn topic(&self, columns: &OutboxColumns, row: &[Value]) -> Result<String> {
        let route = row.get(columns.route_by).and_then(text_of).ok_or_else(|| {
            self.wrong("a row names no topic").with("column", &self.settings.route_by)
        })?;
        let topic = self.settings.topic.replace(ROUTED_BY, &topic_part(&route));
        let is_new = !self.topics.contains_key(&(topic.clone(), columns.is_bytes));
        let wrong = |message| Err(self.wrong(message).with("topic", &topic));
        if check_topic_name(&topic).is_err() {
            return wrong("a row names a topic that no topic can be called");
        }
        if self.is_reserved(&topic) {
            return wrong("a row names a topic that is not an outbox's");
        }
        if is_new && self.topics.len() >= TOPICS_MAX {
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
    /// The same with an outbox.
    ///
    /// # Errors
    ///
    /// `Config` if its table is not `schema.table`.
    pub fn with_outbox(self, settings: Option<OutboxSettings>) -> Result<Self> {
        let outbox =
            settings.map(|settings| Outbox::new(settings, &self.block.name)).transpose()?;
        Ok(Self { outbox, ..self })
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

    /// The topic that a row of the outbox goes to, if it is not ready yet.
    #[must_use]
    pub fn outbox_topic_missing<R: RowImage>(
        &self,
        schema: &Arc<TableSchema>,
        row: &R,
    ) -> Option<String> {
        let outbox = self.outbox.as_ref()?;
        let route = &self.routes[self.route_of(schema).ok()?];
        // What is wrong with a row is told where it is encoded.
        let columns = route.outbox.as_ref()?;
        let topic = outbox.topic(columns, &Values::of(row).ok()?).ok()?;
        let is_ready = outbox.topics.contains_key(&(topic.clone(), columns.is_bytes));
        (!is_ready && !self.is_side_topic(&topic)).then_some(topic)
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
        if outbox.topics.len() >= TOPICS_MAX {
            // What is told of the row that names it.
            return Ok(());
        }
        let is_bytes = columns.is_bytes;
        let payload = if is_bytes { "\"bytes\"" } else { "\"string\"" };
        let ids = match outbox.settings.format {
            OutboxFormat::Raw => SchemaIds { key: 0, value: 0 },
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
        let partitions = info.config.partitions;
        let first_output = self.outputs.of(topic, partitions);
        if let Some(outbox) = &mut self.outbox {
            let ready = OutboxTopic { ids, first_output, partitions };
            outbox.topics.insert((topic.to_owned(), is_bytes), ready);
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
        self.outputs.push_with(place, origin, key, value, &headers)?;
        self.outputs.counts.events += 1;
        Ok(())
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
