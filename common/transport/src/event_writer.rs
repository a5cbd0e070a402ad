//! The writer of events: registers a table's schemas, makes its topic, and encodes change events
//! into one [`Append`] a batch, in buffers that are used again.

use crate::partition::partition_of;
use crate::registry_client::RegistryClient;
use crate::{Append, PartitionBatch, Records, TopicConfig, Transport};
use std::sync::Arc;
use tidemesh_avro::envelope::{EncodeBuffers, RecordSink, SchemaIds};
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::name::topic_part;
use tidemesh_avro::table::topic_schemas;
use tidemesh_model::{
    Change, Error, ErrorKind, EventFormat, Origin, Result, RowImage, SourceBlock, TableName,
    TableSchema,
};

/// The header that carries an event's position, [`tidemesh_model::Position::to_bytes`].
pub const POSITION_HEADER: &str = "tidemesh.position";

/// The level of a captured table's value subject: the database goes first and old readers meet new
/// data, and new readers meet old data.
const VALUE_LEVEL: &str = "FULL_TRANSITIVE";

/// Schemas of one table that are kept ready at a time; the oldest goes first.
const SCHEMAS_PER_TABLE_MAX: usize = 4;

/// The most emptied buffers kept for use again.
const SPARE_BUFFERS_MAX: usize = 64;

/// The most bytes of memory that they hold together.
const SPARE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The name of a table's topic: `<source>.<schema>.<table>`, what Kafka forbids escaped.
#[must_use]
pub fn topic_name(source: &str, table: &TableName) -> String {
    let part = |name| topic_part(name).replace('.', "_u002e");
    format!("{source}.{}.{}", part(&table.schema), part(&table.table))
}

/// Checks that no two tables share a topic.
///
/// # Errors
///
/// `Config`, naming both.
pub fn check_topics(source: &str, tables: &[TableName]) -> Result<()> {
    for (index, table) in tables.iter().enumerate() {
        let topic = topic_name(source, table);
        crate::check_topic_name(&topic)?;
        if let Some(other) = tables[..index].iter().find(|t| topic_name(source, t) == topic) {
            return Err(Error::new(ErrorKind::Config, "name the topics")
                .because("two tables would share a topic")
                .with("first", other)
                .with("second", table)
                .with("topic", topic)
                .help("rename one of the tables or capture it by a source of its own"));
        }
    }
    Ok(())
}

/// Encodes a source's events for its topics.
#[derive(Debug)]
pub struct EventWriter {
    block: SourceBlock,
    format: EventFormat,
    topic_config: TopicConfig,
    registry: RegistryClient,
    routes: Vec<Route>,
    /// The route of the event encoded last: the next one is most often of the same table.
    last: usize,
    outputs: Vec<Output>,
    spare: Vec<Records>,
    buffers: EncodeBuffers,
    now_us: i64,
    counts: Counts,
}

/// What was encoded into the append under construction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Change events.
    pub events: u64,
    /// Records: a delete is two.
    pub records: u64,
    /// Bytes of the records.
    pub bytes: u64,
}

/// Where the events of one schema go.
#[derive(Debug)]
struct Route {
    schema: Arc<TableSchema>,
    encoder: EventEncoder,
    /// The topic's first partition among the outputs; the others follow.
    first_output: usize,
    partitions: u32,
}

/// One partition's records under construction.
#[derive(Debug)]
struct Output {
    topic: Arc<str>,
    partition: u32,
    records: Records,
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
            routes: Vec::new(),
            last: 0,
            outputs: Vec::new(),
            spare: Vec::new(),
            buffers: EncodeBuffers::default(),
            now_us: 0,
            counts: Counts::default(),
        }
    }

    /// Makes ready for events of `schema`: its topic is made, its schemas are registered. Once for
    /// each schema; before any event of it is encoded.
    ///
    /// # Errors
    ///
    /// `Incompatible` if the registry refuses the schema; `Unavailable` if the registry or the
    /// transport is away: call again.
    pub async fn prepare<T: Transport>(
        &mut self,
        transport: &T,
        schema: &Arc<TableSchema>,
    ) -> Result<()> {
        if self.routes.iter().any(|route| Arc::ptr_eq(&route.schema, schema)) {
            return Ok(());
        }
        let topic = topic_name(&self.block.name, &schema.name);
        let info = transport.create_topic(&topic, &self.topic_config).await?;
        let (schemas, rows) = topic_schemas(&topic, schema, &self.block, self.format)?;
        let value_subject = format!("{topic}-value");
        self.registry.set_level(&value_subject, VALUE_LEVEL).await?;
        let ids = SchemaIds {
            key: self.registry.register(&format!("{topic}-key"), &schemas.key).await?,
            value: self.registry.register(&value_subject, &schemas.value).await?,
        };
        let encoder = EventEncoder::new(self.format.envelope, rows, schema, &self.block, ids);
        let first_output = self.outputs_of(&topic, info.config.partitions);
        self.forget_oldest(&schema.name);
        self.routes.push(Route {
            schema: Arc::clone(schema),
            encoder,
            first_output,
            partitions: info.config.partitions,
        });
        Ok(())
    }

    /// The first of the topic's outputs, which are made if they are missing.
    fn outputs_of(&mut self, topic: &str, partitions: u32) -> usize {
        if let Some(first) = self.outputs.iter().position(|output| *output.topic == *topic) {
            return first;
        }
        let first = self.outputs.len();
        let topic: Arc<str> = topic.into();
        self.outputs.extend((0..partitions).map(|partition| Output {
            topic: Arc::clone(&topic),
            partition,
            records: Records::default(),
        }));
        first
    }

    fn forget_oldest(&mut self, table: &TableName) {
        let of_table = |route: &Route| route.schema.name == *table;
        if self.routes.iter().filter(|route| of_table(route)).count() >= SCHEMAS_PER_TABLE_MAX
            && let Some(oldest) = self.routes.iter().position(of_table)
        {
            self.routes.remove(oldest);
            self.last = 0;
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
                self.last = self.route_of(schema)?;
                &self.routes[self.last]
            }
        };
        let mut sink = Sink {
            outputs: &mut self.outputs
                [route.first_output..route.first_output + route.partitions as usize],
            partitions: route.partitions,
            counts: &mut self.counts,
            skip,
            taken: false,
        };
        route.encoder.encode(origin, change, self.now_us, &mut self.buffers, &mut sink)?;
        let taken = sink.taken;
        self.counts.events += u64::from(taken);
        Ok(())
    }

    /// Encodes the delete of the row that has `key`, framed, for a reconciled truncate.
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
        let route = &self.routes[self.route_of(schema)?];
        let mut sink = Sink {
            outputs: &mut self.outputs
                [route.first_output..route.first_output + route.partitions as usize],
            partitions: route.partitions,
            counts: &mut self.counts,
            skip: |_: &[u8]| false,
            taken: false,
        };
        sink.counts.events += 1;
        route.encoder.delete_key(origin, key, self.now_us, &mut self.buffers, &mut sink)
    }

    fn route_of(&self, schema: &Arc<TableSchema>) -> Result<usize> {
        self.routes.iter().position(|route| Arc::ptr_eq(&route.schema, schema)).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "encode an event")
                .because("its schema was not prepared")
                .with("table", &schema.name)
        })
    }

    /// The schema of a table that was prepared last.
    #[must_use]
    pub fn schema_of(&self, table: &TableName) -> Option<&Arc<TableSchema>> {
        self.routes.iter().rev().map(|route| &route.schema).find(|schema| schema.name == *table)
    }

    /// The keys, framed, of the event encoded last: the new one, and the old one if it was known.
    #[must_use]
    pub fn last_keys(&self) -> (&[u8], &[u8]) {
        (self.buffers.key(), self.buffers.old_key())
    }

    /// Bytes in the append under construction.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counts.bytes
    }

    /// Ends the batch: its records, in an append to which state and writer are to be added.
    pub fn finish(&mut self) -> (Append, Counts) {
        let mut batches = Vec::with_capacity(self.outputs.len().min(16));
        for output in &mut self.outputs {
            if output.records.is_empty() {
                continue;
            }
            let empty = self.spare.pop().unwrap_or_default();
            batches.push(PartitionBatch {
                topic: Arc::clone(&output.topic),
                partition: output.partition,
                records: std::mem::replace(&mut output.records, empty),
            });
        }
        (Append { batches, ..Append::default() }, std::mem::take(&mut self.counts))
    }

    /// Takes back the buffers of an append that was answered.
    pub fn recycle(&mut self, records: Vec<Records>) {
        let mut held: usize = self.spare.iter().map(Records::capacity_bytes).sum();
        for mut records in records {
            held += records.capacity_bytes();
            if self.spare.len() < SPARE_BUFFERS_MAX && held <= SPARE_BYTES_MAX {
                records.clear();
                self.spare.push(records);
            }
        }
    }
}

/// Puts records where their keys belong.
struct Sink<'w, F> {
    outputs: &'w mut [Output],
    partitions: u32,
    counts: &'w mut Counts,
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
        self.taken = true;
        let output = &mut self.outputs[partition_of(key, self.partitions) as usize];
        let before = output.records.len_bytes();
        let position = origin.position.to_bytes();
        output.records.push(
            origin.committed_at_us.div_euclid(1000),
            Some(key),
            &[(POSITION_HEADER, &position)],
            value,
        )?;
        self.counts.records += 1;
        self.counts.bytes += (output.records.len_bytes() - before) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_the_sources_and_the_tables_names() {
        let name = |schema: &str, table: &str| topic_name("shop", &TableName::new(schema, table));
        assert_eq!(name("public", "orders"), "shop.public.orders");
        assert_eq!(name("public", "my orders"), "shop.public.my_u0020orders");
        assert_eq!(name("a.b", "c"), "shop.a_u002eb.c");
    }

    #[test]
    fn two_tables_that_would_share_a_topic_are_refused() {
        let tables = [TableName::new("public", "a b"), TableName::new("public", "a_u0020b")];
        let error = check_topics("shop", &tables).unwrap_err();
        assert!(error.to_string().contains("two tables would share a topic"), "{error}");
        check_topics("shop", &tables[..1]).unwrap();
    }
}
