//! A topic as a consumer with the table's schema of today sees it, as packed rows of text.

use super::TableTexts;
use super::ends::{Offsets, UpTo, behind, ends};
use super::texts::pack;
use super::value::{not_of_type, value_of};
use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use tidemesh_avro::datum::Datum;
use tidemesh_avro::frame;
use tidemesh_avro::name::avro_name;
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::table::topic_schemas;
use tidemesh_avro::{flat, types::ColumnCheck};
use tidemesh_model::{
    EnvelopeForm, Error, ErrorKind, EventFormat, Position, Result, SourceBlock, TableSchema,
};
use tidemesh_transport::{
    POSITION_HEADER, Reader, RecordRef, RegistryClient, Start, Subscription, Transport,
};

/// The most schemas whose resolution is kept: past it all are resolved anew.
const SCHEMAS_KEPT_MAX: usize = 1024;

/// One record, decoded.
pub(super) enum TopicRecord {
    /// Of one row.
    Row {
        /// The event's position.
        at: Position,
        /// The key's columns, packed.
        key: Vec<u8>,
        /// The row, packed; none for a delete.
        row: Option<Vec<u8>>,
    },
    /// The end of every row before.
    Truncate {
        /// The event's position.
        at: Position,
    },
}

/// What makes rows of a topic's records.
pub(super) trait Decodes: Send {
    /// Decodes one.
    fn record(
        &mut self,
        record: &RecordRef<'_>,
    ) -> impl Future<Output = Result<TopicRecord>> + Send;
}

/// Reads a topic on and on.
pub(super) struct TopicRows<T: Transport, D> {
    transport: Arc<T>,
    topic: String,
    /// None while there is no such topic.
    reader: Option<T::Reader>,
    decoder: D,
}

impl<T: Transport, D: Decodes> TopicRows<T, D> {
    /// From the topic's first record on.
    pub(super) fn new(transport: Arc<T>, topic: &str, decoder: D) -> Self {
        Self { transport, topic: topic.to_owned(), reader: None, decoder }
    }

    /// About how many records are left to be read.
    pub(super) async fn left(&mut self) -> Result<u64> {
        let positions = self.reader.as_ref().map(Reader::positions).unwrap_or_default();
        Ok(ends_of(self.transport.as_ref(), &self.topic)
            .await?
            .map_or(0, |ends| behind(&ends, &positions)))
    }

    /// Hands every record up to where the topic ends now to `take`.
    pub(super) async fn read_on(
        &mut self,
        mut take: impl FnMut(TopicRecord) -> Result<()>,
    ) -> Result<()> {
        let Some(ends) = ends_of(self.transport.as_ref(), &self.topic).await? else {
            return Ok(());
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let topics = vec![self.topic.clone()];
                let subscription = Subscription { topics, group: None, start: Start::Earliest };
                self.reader.insert(self.transport.subscribe(subscription).await?)
            }
        };
        let mut up_to = UpTo::new(reader, &ends);
        while let Some(batches) = up_to.next().await? {
            for batch in batches {
                for record in batch.iter() {
                    let (offset, record) = record?;
                    let decoded = self.decoder.record(&record).await.map_err(|error| {
                        error
                            .with("topic", &self.topic)
                            .with("partition", batch.partition)
                            .with("offset", offset)
                    })?;
                    take(decoded)?;
                }
            }
        }
        Ok(())
    }
}

/// Where a topic ends now; none if there is no such topic.
async fn ends_of<T: Transport>(transport: &T, topic: &str) -> Result<Option<Offsets>> {
    match ends(transport, &[topic.to_owned()]).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// How each column is compared; none where its values are written as its type says.
pub(super) fn column_checks(
    schema: &TableSchema,
    format: EventFormat,
) -> Result<Vec<Option<ColumnCheck>>> {
    schema.fields.iter().map(|field| ColumnCheck::new(format.types, field)).collect()
}

/// Data by the schemas that frames name.
pub(super) struct Resolvers {
    registry: RegistryClient,
    /// The schema that is wanted; none for that of the writer.
    of_today: Option<Schema>,
    /// By the writer's schema id; at most [`SCHEMAS_KEPT_MAX`].
    known: HashMap<u32, Resolver>,
}

impl Resolvers {
    /// As it was written.
    pub(super) fn as_written(registry: RegistryClient) -> Self {
        Self { registry, of_today: None, known: HashMap::new() }
    }

    /// As this schema has it.
    pub(super) fn of_today(registry: RegistryClient, schema: Schema) -> Self {
        Self { registry, of_today: Some(schema), known: HashMap::new() }
    }

    pub(super) async fn read(&mut self, framed: &[u8]) -> Result<Datum> {
        let (id, bytes) = frame::split(framed)?;
        if !self.known.contains_key(&id) {
            let writer = Schema::parse(&self.registry.schema(id).await?)?;
            let reader = self.of_today.as_ref().unwrap_or(&writer);
            if self.known.len() >= SCHEMAS_KEPT_MAX {
                self.known.clear();
            }
            self.known.insert(id, Resolver::new(&writer, reader)?);
        }
        self.known[&id].read(bytes)
    }
}

/// Decodes a table's records, as its schema of today.
pub(super) struct TableDecoder<R> {
    schema: Arc<TableSchema>,
    envelope: EnvelopeForm,
    /// How columns are read that have another form than their type's own.
    checks: Vec<Option<ColumnCheck>>,
    /// The columns' names in Avro.
    names: Vec<String>,
    keys: Resolvers,
    values: Resolvers,
    _texts: PhantomData<fn() -> R>,
}

impl<R: TableTexts> Decodes for TableDecoder<R> {
    async fn record(&mut self, record: &RecordRef<'_>) -> Result<TopicRecord> {
        let position = record.header(POSITION_HEADER).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "read a topic's record")
                .because("it has no position: something else writes to this topic")
        })?;
        let at = Position::from_bytes(position)?;
        // An event without a row has no key.
        let Some(key) = record.key else { return Ok(TopicRecord::Truncate { at }) };
        let datum = self.keys.read(key).await?;
        let key = self.texts(&datum, self.schema.key.columns.iter().copied())?;
        let row = match record.value {
            Some(value) => self.row(value).await?,
            None => None,
        };
        Ok(TopicRecord::Row { at, key, row })
    }
}

impl<R: TableTexts> TableDecoder<R> {
    pub(super) fn new(
        registry: RegistryClient,
        topic: &str,
        schema: &Arc<TableSchema>,
        block: &SourceBlock,
        format: EventFormat,
    ) -> Result<Self> {
        let (schemas, _) = topic_schemas(topic, schema, block, format)?;
        Ok(Self {
            schema: Arc::clone(schema),
            envelope: format.envelope,
            checks: column_checks(schema, format)?,
            names: schema.fields.iter().map(|field| avro_name(&field.name).into_owned()).collect(),
            keys: Resolvers::as_written(registry.clone()),
            values: Resolvers::of_today(registry, Schema::parse(&schemas.value)?),
            _texts: PhantomData,
        })
    }

    async fn row(&mut self, framed: &[u8]) -> Result<Option<Vec<u8>>> {
        let datum = self.values.read(framed).await?;
        match self.after(&datum) {
            Some(Datum::Null) => Ok(None),
            Some(after) => self.texts(after, 0..self.schema.fields.len()).map(Some),
            None => Err(Error::new(ErrorKind::Malformed, "read a topic's record")
                .because("it is no change event")),
        }
    }

    /// The row behind the event, null if there is none; none for what is no event.
    fn after<'d>(&self, event: &'d Datum) -> Option<&'d Datum> {
        match self.envelope {
            EnvelopeForm::Debezium => event.field("after"),
            EnvelopeForm::Flat => match event.field(flat::DELETED)? {
                Datum::String(deleted) if deleted == "true" => Some(&Datum::Null),
                _ => Some(event),
            },
        }
    }

    fn texts(&self, record: &Datum, columns: impl Iterator<Item = usize>) -> Result<Vec<u8>> {
        let mut cells = Vec::with_capacity(self.schema.fields.len());
        for column in columns {
            let field = &self.schema.fields[column];
            let datum = record.field(&self.names[column]).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "read a topic's record")
                    .because("it lacks a column of the table")
                    .with("column", &field.name)
            })?;
            let value = match &self.checks[column] {
                None => value_of(&field.data_type, datum),
                Some(check) => check.of_datum(datum).ok_or_else(|| not_of_type(field, datum)),
            };
            let value = value.map_err(|error| error.with("column", &field.name))?;
            cells.push(R::text(field, &value));
        }
        pack(cells.iter().map(Option::as_deref))
    }
}
