//! The transactional outbox: events that an application writes in a transaction of its own database, and a
//! source of that database carries to their topics. What comes out there is what the emitter would have
//! written. Statements and their parameters are made here; whose driver runs them is the application's choice.

use crate::emitter::check_headers;
use crate::event::Event;
use crate::options::{EventOptions, Place};
use crate::register::{Declared, check_all, register_schemas};
use crate::settings::Topic;
use crate::stream::{Encoded, Stream, now_ms, with_scratch};
use crate::trace::{self, Carrier, Propagator};
use serde::Serialize;
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_avro::emitted::{Emitted, EmittedHead, EmittedPlace};
use tidemesh_model::{EMIT_PREFIX, Error, ErrorKind, Result};
use tidemesh_transport::{RegistryAccess, RegistryClient};
use tokio::time::Instant;

/// The default of [`OutboxBuilder::record_bytes_max`]: that of a source's `kafka.record_bytes_max`, and of
/// Kafka's own `message.max.bytes`.
const RECORD_BYTES_MAX: usize = 1_048_588;

/// What a source adds to a record: the header with its place in the log.
const POSITION_BYTES: usize = 64;

/// Makes an [`Outbox`]: [`Outbox::builder`].
#[derive(Debug)]
#[must_use = "an outbox is made by `connect`"]
pub struct OutboxBuilder {
    registry: String,
    access: RegistryAccess,
    declared: Vec<(Option<TypeId>, Declared)>,
    connect_timeout: Duration,
    topic_prefix: String,
    record_bytes_max: usize,
    propagator: Propagator,
}

impl OutboxBuilder {
    /// The schema registry. Default `http://127.0.0.1:8081`.
    pub fn registry(mut self, url: impl Into<String>) -> Self {
        self.registry = url.into();
        self
    }

    /// How the registry is reached, where it asks who comes.
    pub fn registry_access(mut self, access: RegistryAccess) -> Self {
        self.access = access;
        self
    }

    /// Events of a type, to the topic that the type says.
    pub fn event<E: Event>(self) -> Self {
        self.event_to::<E>(Topic::new())
    }

    /// Events of a type, to this topic. A type goes to one topic. How the topic is made is the source's: of
    /// [`Topic`] name, key, whether schemas are registered, and the cleanup policy, of which the key's schema
    /// tells, count here.
    pub fn event_to<E: Event>(mut self, settings: Topic) -> Self {
        self.declared.push((Some(TypeId::of::<E>()), Declared::of::<E>(settings)));
        self
    }

    /// A topic for [`Outbox::topic`], whose schema is the newest that the registry has for it.
    pub fn topic(mut self, name: impl Into<String>, settings: Topic) -> Self {
        self.declared.push((None, Declared::named(name.into(), None, settings)));
        self
    }

    /// A topic for [`Outbox::topic`] with this schema.
    pub fn topic_with_schema(
        mut self,
        name: impl Into<String>,
        schema: impl Into<String>,
        settings: Topic,
    ) -> Self {
        let schema = Some(schema.into());
        self.declared.push((None, Declared::named(name.into(), schema, settings)));
        self
    }

    /// What the source's mesh puts before topics' names (`kafka.prefix` there), under which the schemas are
    /// registered. Default empty.
    pub fn topic_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.topic_prefix = prefix.into();
        self
    }

    /// How long `connect` waits for a registry that is away. Default 30 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The most bytes of an event's key, value and headers: what the source's transport takes
    /// (`kafka.record_bytes_max` there). Default 1,048,588. A larger event would stop the source, or end
    /// among its dead letters.
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// Has this asked for the headers of the trace that an event is part of, as
    /// [`EmitterBuilder::propagate`](crate::EmitterBuilder::propagate).
    pub fn propagate(mut self, context: impl Fn(&mut Carrier) + Send + Sync + 'static) -> Self {
        self.propagator = Propagator::new(context);
        self
    }

    /// Registers or finds every schema.
    ///
    /// # Errors
    ///
    /// `Config` for what was declared, naming it; `Incompatible` with the registry's explanation for a
    /// schema that its topic's readers cannot read; `NotFound` for one that is not registered and may not
    /// be; `Unavailable` or `Timeout` if the registry is away for longer than the connect timeout.
    pub async fn connect(self) -> Result<Outbox> {
        check_all(&self.declared)?;
        let registry = RegistryClient::with_access(&self.registry, self.access)?;
        let until = Instant::now() + self.connect_timeout;
        let (mut types, mut streams) = (HashMap::new(), HashMap::new());
        for (kind, declared) in &self.declared {
            let cleanup = declared.settings.config.cleanup_policy;
            let ask = || register_schemas(declared, &registry, &self.topic_prefix, cleanup);
            // Which partition an event goes to the source finds.
            let stream = Arc::new(Stream::new(crate::builder::asked(until, ask).await?, 0));
            if let Some(kind) = kind {
                types.insert(*kind, Arc::clone(&stream));
            }
            streams.insert(Arc::clone(&stream.topic), stream);
        }
        let Self { record_bytes_max, propagator, .. } = self;
        Ok(Outbox { shared: Arc::new(Shared { types, streams, record_bytes_max, propagator }) })
    }
}

/// Makes an application's events parts of transactions of its own database. Cheap to clone.
///
/// An event is written as a message of PostgreSQL's log ([`Outbox::message`], which needs no table), or as a
/// row of a table ([`Outbox::row`], for MySQL, MariaDB and PostgreSQL). If the transaction is committed, a
/// source of the database writes it to its topic once, with the same key, value and headers as an
/// [`Emitter`](crate::Emitter) would; if not, it never was. In place of the header
/// [`EMITTER_HEADER`](crate::EMITTER_HEADER) it has the source's `tidemesh.position`. The source takes events
/// whose topics its setting `emit.topics` names.
///
/// ```no_run
/// use tidemesh_emitter::{EventOptions, Message, Outbox, avro_event};
///
/// avro_event! {
///     file = "schemas/order_placed.avsc",
///     topic = "shop.events.orders",
///     key = ["order_id"],
/// }
///
/// # async fn example(order: OrderPlaced) -> tidemesh_emitter::Result<()> {
/// let outbox = Outbox::builder().event::<OrderPlaced>().connect().await?;
///
/// // In the transaction that places the order, here with tokio-postgres:
/// let message = outbox.message(&order, EventOptions::new())?;
/// // transaction.execute(Message::SQL, &[&message.prefix, &message.content]).await?;
/// # let _ = (Message::SQL, message);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    types: HashMap<TypeId, Arc<Stream>>,
    streams: HashMap<Arc<str>, Arc<Stream>>,
    record_bytes_max: usize,
    propagator: Propagator,
}

/// An event as a message of PostgreSQL's log, for [`Message::SQL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What such messages begin with: the statement's first parameter, a text.
    pub prefix: &'static str,
    /// The event: the statement's second parameter, a `bytea`.
    pub content: Vec<u8>,
}

impl Message {
    /// The statement that makes a message part of the transaction that it is run in. Its parameters are
    /// `prefix` and `content`. It returns a row with a place in the log, which says nothing here.
    pub const SQL: &'static str = "SELECT pg_logical_emit_message(true, $1, $2::bytea)";

    /// [`Message::SQL`].
    #[must_use]
    pub fn sql(&self) -> &'static str {
        Self::SQL
    }
}

/// A database's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's, with parameters as `$1`.
    Postgres,
    /// MySQL's and MariaDB's, with parameters as `?`.
    Mysql,
}

/// An event as a row of an outbox table: [`Outbox::table_ddl`]. It may be deleted in the transaction that
/// inserts it, since the log has it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The topic: column `aggregatetype`.
    pub aggregate_type: String,
    /// The record's key, framed, if it has one: column `aggregateid`.
    pub aggregate_id: Option<Vec<u8>>,
    /// The record's value, framed: column `payload`.
    pub payload: Vec<u8>,
    /// Headers, event time and partition: column `headers`.
    pub headers: Vec<u8>,
}

impl Row {
    /// The statement that inserts a row. Its parameters are `aggregate_type`, `aggregate_id`, `payload` and
    /// `headers`; the database makes the row's `id`.
    #[must_use]
    pub fn sql(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Postgres => {
                "INSERT INTO tidemesh_outbox (aggregatetype, aggregateid, payload, headers) VALUES ($1, $2, $3, $4)"
            }
            Dialect::Mysql => {
                "INSERT INTO tidemesh_outbox (aggregatetype, aggregateid, payload, headers) VALUES (?, ?, ?, ?)"
            }
        }
    }
}

impl Outbox {
    /// Begins an outbox. Unlike an emitter it has no name: it holds nothing, and any number may run.
    pub fn builder() -> OutboxBuilder {
        OutboxBuilder {
            registry: "http://127.0.0.1:8081".to_owned(),
            access: RegistryAccess::default(),
            declared: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            topic_prefix: String::new(),
            record_bytes_max: RECORD_BYTES_MAX,
            propagator: Propagator::default(),
        }
    }

    /// The statement that makes the table of [`Row`]s, if it is not there. A source reads it with
    /// `outbox = {table = "…", format = "tidemesh"}`; columns are named as Debezium's outbox event router
    /// names them.
    #[must_use]
    pub fn table_ddl(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Postgres => {
                "CREATE TABLE IF NOT EXISTS tidemesh_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aggregatetype varchar(249) NOT NULL,
    aggregateid bytea,
    payload bytea NOT NULL,
    headers bytea NOT NULL
)"
            }
            Dialect::Mysql => {
                "CREATE TABLE IF NOT EXISTS tidemesh_outbox (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    aggregatetype varchar(249) NOT NULL,
    aggregateid mediumblob,
    payload longblob NOT NULL,
    headers mediumblob NOT NULL
)"
            }
        }
    }

    /// An event as a message of PostgreSQL's log.
    ///
    /// # Errors
    ///
    /// `Malformed` or `Unsupported` if it does not conform to its schema, naming the field; `TooLarge`;
    /// `Config` for a type that the builder was not told of, or a header that is the platform's.
    pub fn message<E: Event>(&self, event: &E, options: EventOptions<'_>) -> Result<Message> {
        self.shared.message(self.stream::<E>()?, event, &options)
    }

    /// An event as a row of an outbox table.
    ///
    /// # Errors
    ///
    /// As [`Outbox::message`].
    pub fn row<E: Event>(&self, event: &E, options: EventOptions<'_>) -> Result<Row> {
        self.shared.row(self.stream::<E>()?, event, &options)
    }

    /// Events for a topic by its name, values of any type: those that conform to its schema.
    ///
    /// # Errors
    ///
    /// `Config` for a topic that the builder was not told of.
    pub fn topic(&self, name: &str) -> Result<TopicOutbox> {
        let stream = self.shared.streams.get(name).cloned().ok_or_else(|| {
            unknown()
                .with("topic", name)
                .help("name it to the builder: `.topic(…)` or `.event::<…>(…)`")
        })?;
        Ok(TopicOutbox { shared: Arc::clone(&self.shared), stream })
    }

    fn stream<E: Event>(&self) -> Result<&Stream> {
        self.shared.types.get(&TypeId::of::<E>()).map(Arc::as_ref).ok_or_else(|| {
            unknown()
                .with("type", std::any::type_name::<E>())
                .help("name its type to the builder: `.event::<…>(…)`")
        })
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Config, "write an event to an outbox")
        .because("the outbox was not told of it")
}

/// Events for one topic, values of any type: [`Outbox::topic`].
#[derive(Debug, Clone)]
pub struct TopicOutbox {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
}

impl TopicOutbox {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.stream.topic
    }

    /// As [`Outbox::message`].
    ///
    /// # Errors
    ///
    /// As [`Outbox::message`].
    pub fn message<V: Serialize + ?Sized>(
        &self,
        value: &V,
        options: EventOptions<'_>,
    ) -> Result<Message> {
        self.shared.message(&self.stream, value, &options)
    }

    /// As [`Outbox::row`].
    ///
    /// # Errors
    ///
    /// As [`Outbox::message`].
    pub fn row<V: Serialize + ?Sized>(&self, value: &V, options: EventOptions<'_>) -> Result<Row> {
        self.shared.row(&self.stream, value, &options)
    }
}

impl Shared {
    fn message<V: Serialize + ?Sized>(
        &self,
        stream: &Stream,
        value: &V,
        options: &EventOptions<'_>,
    ) -> Result<Message> {
        self.encoded(stream, value, options, |key, value, mut content| {
            Emitted::write(&stream.topic, key, Some(value), &mut content)?;
            Ok(Message { prefix: EMIT_PREFIX, content })
        })
    }

    fn row<V: Serialize + ?Sized>(
        &self,
        stream: &Stream,
        value: &V,
        options: &EventOptions<'_>,
    ) -> Result<Row> {
        self.encoded(stream, value, options, |key, value, headers| {
            let (aggregate_id, payload) = (key.map(<[u8]>::to_vec), value.to_vec());
            Ok(Row { aggregate_type: stream.topic.to_string(), aggregate_id, payload, headers })
        })
    }

    /// Hands on an event's key and value, framed, and its head.
    fn encoded<V: Serialize + ?Sized, R>(
        &self,
        stream: &Stream,
        value: &V,
        options: &EventOptions<'_>,
        then: impl FnOnce(Option<&[u8]>, &[u8], Vec<u8>) -> Result<R>,
    ) -> Result<R> {
        let _span = trace::emitting(&stream.topic).entered();
        let carrier = self.propagator.ask();
        let options = &*carrier.beside(options);
        check_headers(options)?;
        with_scratch(|encoded| {
            stream.encode(value, encoded)?;
            self.check_size(stream, encoded, options)?;
            let place = match options.place {
                Place::ByKey => EmittedPlace::ByKey,
                Place::By(key) => EmittedPlace::By(key),
                Place::Partition(partition) => EmittedPlace::Partition(partition),
            };
            let at_ms = options.event_time_ms.unwrap_or_else(now_ms);
            let mut head = Vec::with_capacity(64 + encoded.key.len() + encoded.value.len());
            EmittedHead::write(at_ms, place, &options.headers, &mut head)
                .map_err(|error| error.with("topic", &stream.topic))?;
            then(stream.key_id.map(|_| &*encoded.key), &encoded.value, head)
        })
    }

    fn check_size(
        &self,
        stream: &Stream,
        encoded: &Encoded,
        options: &EventOptions<'_>,
    ) -> Result<()> {
        let headers: usize =
            options.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = encoded.key.len() + encoded.value.len() + headers + POSITION_BYTES;
        if bytes <= self.record_bytes_max {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooLarge, "write an event to an outbox")
            .because("it is larger than a record may be")
            .with("topic", &stream.topic)
            .with("bytes", bytes)
            .with("record_bytes_max", self.record_bytes_max)
            .help("raise kafka.record_bytes_max of the source and the outbox's bound, or put the large part elsewhere and its address into the event"))
    }
}
