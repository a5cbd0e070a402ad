//! The writer of events: registers a table's schemas, makes its topic, and encodes change events
//! into one [`Append`] a batch, in buffers that are used again.

mod emitted;
mod letters;
mod outbox;
mod outputs;
mod side;
mod written;

pub use outbox::OutboxTopics;
pub use outputs::{Counts, Outputs};
pub use side::SideNames;
pub use written::WrittenSchemas;

use crate::partition::partition_of;
use crate::registry_client::RegistryClient;
use crate::table_topic::generation_topic;
use crate::{Append, Generations, Records, TopicConfig, Transport};
use emitted::EmittedTopics;
use outbox::{Outbox, OutboxColumns};
use side::{SideTopics, TransactionCount};
use std::sync::Arc;
use tidemesh_avro::envelope::{EncodeBuffers, RecordSink, SchemaIds};
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::row::RowPlan;
use tidemesh_avro::table::topic_schemas;
use tidemesh_model::{
    Change, Error, ErrorKind, EventFormat, OnIncompatible, Origin, Result, RowImage, SourceBlock,
    StateItem, TableName, TableSchema,
};

/// The header that carries an event's position, [`tidemesh_model::Position::to_bytes`].
pub const POSITION_HEADER: &str = "tidemesh.position";

/// The most topics of one table that are tried for a schema that none before took.
const GENERATIONS_MAX: u32 = 1000;

/// No route was taken yet.
const NO_ROUTE: usize = usize::MAX;

/// Schemas of one table that are kept ready at a time; the oldest goes first.
const SCHEMAS_PER_TABLE_MAX: usize = 4;

/// Encodes a source's events for its topics.
#[derive(Debug)]
pub struct EventWriter {
    block: SourceBlock,
    format: EventFormat,
    topic_config: TopicConfig,
    registry: RegistryClient,
    on_incompatible: OnIncompatible,
    generations: Generations,
    written: WrittenSchemas,
    /// Tables whose events go to another topic since this was asked last.
    opened: Vec<TableName>,
    /// Tables that were made ready since this was asked last.
    prepared: Vec<Prepared>,
    routes: Vec<Route>,
    /// The route of the event encoded last: the next one is most often of the same table.
    last: usize,
    outputs: Outputs,
    buffers: EncodeBuffers,
    now_us: i64,
    sides: SideTopics,
    outbox: Option<Outbox>,
    emitted: Option<EmittedTopics>,
    /// The transaction whose events come, if they are counted.
    transaction: TransactionCount,
    /// Whether the event that could not be encoded last has a record all the same: of a changed key the
    /// delete of the old one.
    is_partly_written: bool,
}

/// A table that was made ready: its topic, and the schemas of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The table.
    pub table: TableName,
    /// Its topic.
    pub topic: String,
    /// The names of its key's columns, in the key's order.
    pub key: Vec<String>,
    /// The schemas' ids.
    pub ids: SchemaIds,
}

/// Where the events of one schema go.
#[derive(Debug)]
struct Route {
    schema: Arc<TableSchema>,
    /// Its topic's among the table's.
    generation: u32,
    /// The id of its values' schema; none of an outbox, whose topics have their own.
    value_id: Option<u32>,
    encoder: EventEncoder,
    /// The topic's first partition among the outputs; the others follow.
    first_output: usize,
    partitions: u32,
    /// Where the columns stand of a table that is the outbox, which has no topic of its own.
    outbox: Option<OutboxColumns>,
}

impl EventWriter {
    /// A writer for the source that `block` describes, whose events are written as `format` and
    /// whose topics are made as `topic_config`.
    #[must_use]
    pub fn new(
        block: SourceBlock,
        format: EventFormat,
        topic_config: TopicConfig,
        registry: RegistryClient,
    ) -> Self {
        Self {
            block,
            format,
            topic_config,
            registry,
            on_incompatible: OnIncompatible::Stop,
            generations: Generations::default(),
            written: WrittenSchemas::default(),
            opened: Vec::new(),
            prepared: Vec::new(),
            routes: Vec::new(),
            last: NO_ROUTE,
            outputs: Outputs::default(),
            buffers: EncodeBuffers::default(),
            now_us: 0,
            sides: SideTopics::default(),
            outbox: None,
            emitted: None,
            transaction: TransactionCount::default(),
            is_partly_written: false,
        }
    }

    /// The same with tables of these generations, and what becomes of one whose schema its topic's
    /// readers cannot follow.
    #[must_use]
    pub fn with_generations(
        self,
        generations: Generations,
        on_incompatible: OnIncompatible,
    ) -> Self {
        Self { generations, on_incompatible, ..self }
    }

    /// The same with tables whose records have had these schemas.
    #[must_use]
    pub fn with_written(self, written: WrittenSchemas) -> Self {
        Self { written, ..self }
    }

    /// Makes ready for events of `schema`: its topic is made, its schemas are registered. Once for
    /// each schema; before any event of it is encoded. Where its table's topic cannot take it, the
    /// next one is made ready, which the table goes to with the first event of this schema.
    ///
    /// # Errors
    ///
    /// `Incompatible` if the registry refuses the schema and no other topic is to be opened;
    /// `Unavailable` if the registry or the transport is away: call again.
    pub async fn prepare<T: Transport>(
        &mut self,
        transport: &T,
        schema: &Arc<TableSchema>,
    ) -> Result<()> {
        if self.routes.iter().any(|route| Arc::ptr_eq(&route.schema, schema)) {
            return Ok(());
        }
        self.outputs.bound(transport.record_bytes_max());
        if let Some((columns, encoder)) = self.outbox_route(schema)? {
            self.forget_oldest(&schema.name);
            self.routes.push(Route {
                schema: Arc::clone(schema),
                generation: 1,
                value_id: None,
                encoder,
                first_output: 0,
                partitions: 0,
                outbox: Some(columns),
            });
            return Ok(());
        }
        let (generation, topic, rows, ids) =
            self.register(transport.topic_prefix(), schema).await?;
        let info = transport.create_topic(&topic, &self.topic_config).await?;
        let value_id = Some(ids.value);
        let encoder = EventEncoder::new(self.format.envelope, rows, schema, &self.block, ids);
        let (first_output, partitions) = self.outputs.as_at_first(&topic, info.config.partitions);
        self.note_prepared(schema, topic, ids);
        self.forget_oldest(&schema.name);
        self.routes.push(Route {
            schema: Arc::clone(schema),
            generation,
            value_id,
            encoder,
            first_output,
            partitions,
            outbox: None,
        });
        Ok(())
    }

    /// Registers a table's schemas with the first of its topics, from the present one on, that can
    /// take them.
    async fn register(
        &self,
        prefix: &str,
        schema: &Arc<TableSchema>,
    ) -> Result<(u32, String, RowPlan, SchemaIds)> {
        let mut generation = self.generations.of(&schema.name);
        let final_generation = generation.saturating_add(GENERATIONS_MAX);
        loop {
            let topic = generation_topic(&self.block.name, &schema.name, generation);
            let last = self.value_id(&schema.name, generation);
            match self.register_with(&format!("{prefix}{topic}"), &topic, schema, last).await {
                Ok((rows, ids)) => return Ok((generation, topic, rows, ids)),
                Err(error)
                    if error.kind() == ErrorKind::Incompatible
                        && self.on_incompatible == OnIncompatible::Topic
                        && generation < final_generation =>
                {
                    tracing::debug!(topic, error = error.report(), "cannot take the schema");
                    generation += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn register_with(
        &self,
        subject: &str,
        topic: &str,
        schema: &TableSchema,
        last: Option<u32>,
    ) -> Result<(RowPlan, SchemaIds)> {
        let (schemas, rows) = topic_schemas(topic, schema, &self.block, self.format)?;
        let key = Some(schemas.key.as_str());
        let ids = self.registry.register_topic_after(subject, key, &schemas.value, last).await?;
        Ok((rows, ids))
    }

    fn note_prepared(&mut self, schema: &TableSchema, topic: String, ids: SchemaIds) {
        let columns = schema.key.columns.iter();
        let key = columns.filter_map(|place| Some(schema.fields.get(*place)?.name.clone()));
        let (table, key) = (schema.name.clone(), key.collect());
        self.prepared.retain(|other| other.table != table);
        self.prepared.push(Prepared { table, topic, key, ids });
    }

    /// The tables that were made ready since this was asked last, each as it was last.
    pub fn take_prepared(&mut self) -> Vec<Prepared> {
        std::mem::take(&mut self.prepared)
    }

    /// The id of the values of a table's topic before the schema that is made ready now.
    fn value_id(&self, table: &TableName, generation: u32) -> Option<u32> {
        let of_topic = |r: &&Route| r.schema.name == *table && r.generation == generation;
        let prepared = self.routes.iter().rev().find(of_topic).and_then(|route| route.value_id);
        let is_present = generation == self.generations.of(table);
        prepared.or_else(|| self.written.of(table).filter(|_| is_present))
    }

    fn forget_oldest(&mut self, table: &TableName) {
        let of_table = |route: &Route| route.schema.name == *table;
        if self.routes.iter().filter(|route| of_table(route)).count() >= SCHEMAS_PER_TABLE_MAX
            && let Some(oldest) = self.routes.iter().position(of_table)
        {
            self.routes.remove(oldest);
            self.last = NO_ROUTE;
        }
    }

    /// Begins a batch: its envelopes carry `now_us`, microseconds since 1970-01-01 00:00:00 UTC.
    pub fn begin(&mut self, now_us: i64) {
        self.now_us = now_us;
    }

    /// Encodes one event into the append under construction.
    ///
    /// # Errors
    ///
    /// `Internal` if its schema was not prepared; as [`EventEncoder::encode`].
    #[inline]
    pub fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: &Change<R>,
    ) -> Result<()> {
        self.change_unless(schema, origin, change, |_| false)
    }

    /// As [`EventWriter::change`], but the event is left out if `skip` says so of its key, framed.
    ///
    /// # Errors
    ///
    /// As [`EventWriter::change`].
    #[inline]
    pub fn change_unless<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: &Change<R>,
        skip: impl Fn(&[u8]) -> bool,
    ) -> Result<()> {
        let route = match self.routes.get(self.last) {
            Some(route) if Arc::ptr_eq(&route.schema, schema) => route,
            _ => {
                self.last = self.enter(schema)?;
                &self.routes[self.last]
            }
        };
        if route.outbox.is_some() {
            return self.outbox_row(self.last, origin, change, skip);
        }
        let mut sink = Sink {
            outputs: &mut self.outputs,
            first_output: route.first_output,
            partitions: route.partitions,
            skip,
            taken: false,
        };
        let encoded =
            route.encoder.encode(origin, change, self.now_us, &mut self.buffers, &mut sink);
        let taken = sink.taken;
        if encoded.is_err() {
            self.is_partly_written = taken;
        }
        encoded?;
        self.outputs.counts.events += u64::from(taken);
        Ok(())
    }

    /// Encodes the delete of the row that has `key`, framed, of which nothing else is told.
    ///
    /// # Errors
    ///
    /// As [`EventWriter::change`].
    pub fn delete_key(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        key: &[u8],
    ) -> Result<()> {
        let route = self.enter(schema)?;
        let route = &self.routes[route];
        let mut sink = Sink {
            outputs: &mut self.outputs,
            first_output: route.first_output,
            partitions: route.partitions,
            skip: |_: &[u8]| false,
            taken: false,
        };
        sink.outputs.counts.events += 1;
        route.encoder.delete_key(origin, key, self.now_us, &mut self.buffers, &mut sink)
    }

    /// Encodes the event of a truncate, without a key, into every partition of its table's topic.
    ///
    /// # Errors
    ///
    /// `Internal` if its schema was not prepared; as [`EventEncoder::truncate_event`].
    pub fn truncate(&mut self, schema: &Arc<TableSchema>, origin: &Origin<'_>) -> Result<()> {
        let route = self.enter(schema)?;
        let route = &self.routes[route];
        let value = route.encoder.truncate_event(origin, self.now_us, &mut self.buffers)?;
        for partition in 0..route.partitions as usize {
            self.outputs.push(route.first_output + partition, origin, None, Some(value))?;
        }
        self.outputs.counts.events += 1;
        Ok(())
    }

    /// Goes over to the topic of a schema that was prepared; whether that is another than before.
    ///
    /// # Errors
    ///
    /// `Internal` if its schema was not prepared.
    pub fn go_over(&mut self, schema: &Arc<TableSchema>) -> Result<bool> {
        let before = self.generations.of(&schema.name);
        self.enter(schema)?;
        Ok(self.generations.of(&schema.name) > before)
    }

    /// The route of a schema, whose topic is the table's from here on.
    fn enter(&mut self, schema: &Arc<TableSchema>) -> Result<usize> {
        let mut index = self.route_of(schema)?;
        let Route { generation, value_id, .. } = self.routes[index];
        if generation != self.generations.of(&schema.name) {
            self.open(schema, generation);
            index = self.route_of(schema)?;
        }
        if let Some(id) = value_id {
            self.written.set(&schema.name, id);
        }
        Ok(index)
    }

    /// Items to be stored with the records that were encoded since this was asked last.
    ///
    /// # Errors
    ///
    /// `Internal` if one cannot be written as JSON, which does not happen.
    pub fn take_items(&mut self) -> Result<Vec<StateItem>> {
        let mut items = self.written.take_items()?;
        items.extend(self.take_outbox_items()?);
        items.extend(self.take_emitted_items()?);
        Ok(items)
    }

    /// A table goes over to the topic of a later generation. Schemas that were prepared for an earlier
    /// one are prepared anew if they come again.
    #[cold]
    fn open(&mut self, schema: &TableSchema, generation: u32) {
        let table = &schema.name;
        let closed = self.generations.topic(&self.block.name, table);
        self.generations.set(table, generation);
        let topic = self.generations.topic(&self.block.name, table);
        tracing::warn!(%table, closed, topic, "readers cannot follow: another topic is opened");
        self.opened.push(table.clone());
        self.routes.retain(|r| r.schema.name != *table || r.generation >= generation);
        self.last = NO_ROUTE;
    }

    fn route_of(&self, schema: &Arc<TableSchema>) -> Result<usize> {
        self.routes.iter().position(|route| Arc::ptr_eq(&route.schema, schema)).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "encode an event")
                .because("its schema was not prepared")
                .with("table", &schema.name)
        })
    }

    /// The schema of a table that was prepared last for its present topic.
    #[must_use]
    pub fn schema_of(&self, table: &TableName) -> Option<&Arc<TableSchema>> {
        let generation = self.generations.of(table);
        let of_topic = |route: &&Route| route.generation == generation;
        let routes = self.routes.iter().rev().filter(of_topic);
        routes.map(|route| &route.schema).find(|schema| schema.name == *table)
    }

    /// The tables' generations.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Tables whose events go to another topic since this was asked last: what the topic before had
    /// of them it has no more.
    pub fn take_opened(&mut self) -> Vec<TableName> {
        std::mem::take(&mut self.opened)
    }

    /// Whether a schema that was prepared is of a topic that its table has left since.
    #[must_use]
    pub fn is_closed(&self, schema: &Arc<TableSchema>) -> bool {
        self.route_of(schema).is_err()
    }

    /// The keys, framed, of the event encoded last: the new one, and the old one if it was known.
    #[must_use]
    pub fn last_keys(&self) -> (&[u8], &[u8]) {
        (self.buffers.key(), self.buffers.old_key())
    }

    /// Bytes in the append under construction.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.outputs.counts.bytes
    }

    /// Ends the batch: its records, in an append to which state and writer are to be added.
    pub fn finish(&mut self) -> (Append, Counts) {
        self.outputs.finish()
    }

    /// Takes back the buffers of an append that was answered.
    pub fn recycle(&mut self, records: Vec<Records>) {
        self.outputs.recycle(records);
    }
}

/// Puts records where their keys belong.
struct Sink<'w, F> {
    outputs: &'w mut Outputs,
    first_output: usize,
    partitions: u32,
    /// Which keys are left out.
    skip: F,
    /// Whether any record was not left out.
    taken: bool,
}

impl<F: Fn(&[u8]) -> bool> RecordSink for Sink<'_, F> {
    #[inline]
    fn record(&mut self, origin: &Origin<'_>, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if (self.skip)(key) {
            return Ok(());
        }
        let output = self.first_output + partition_of(key, self.partitions) as usize;
        self.outputs.push(output, origin, Some(key), value)?;
        self.taken = true;
        Ok(())
    }
}
