//! How an emitter is made: where its events go, what they are, what it may hold.

use crate::catalog::{Tally, Told};
use crate::check::Declaration;
use crate::counts::Counted;
use crate::emitter::{Emitter, Shared};
use crate::event::Event;
#[cfg(feature = "spool")]
use crate::forward::Forwarder;
#[cfg(feature = "spool")]
use crate::gate::Gate;
use crate::own::{take_over, writer_id};
use crate::queue::Queue;
use crate::register::{Declared, Registered, check_all, register};
use crate::settings::{Bounds, QUEUE_BYTES, Topic, WhenFull};
#[cfg(feature = "spool")]
use crate::spool::{OpenSpool, Spool};
use crate::stream::Stream;
use crate::trace::{Carrier, Propagator};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
#[cfg(feature = "remote")]
use tidemesh_transport::RemoteTransport;
#[cfg(feature = "kafka")]
use tidemesh_transport::kafka::{KafkaConfig, KafkaTransport};
#[cfg(feature = "embedded")]
use tidemesh_transport::{EmbeddedConfig, EmbeddedTransport};
use tidemesh_transport::{RegistryAccess, RegistryClient, Transport};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

/// The most characters of an owner.
const OWNER_CHARS_MAX: usize = 200;

/// How long is waited before registry and topics are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How long an emitter whose spool knows its topics waits for those who could say more.
#[cfg(feature = "spool")]
const ASKED_MAX: Duration = Duration::from_secs(3);

/// Makes an [`Emitter`]: [`Emitter::builder`].
#[derive(Debug)]
#[must_use = "an emitter is made by `connect`"]
pub struct EmitterBuilder {
    name: String,
    owner: String,
    target: Option<Target>,
    registry: String,
    access: RegistryAccess,
    bounds: Bounds,
    declared: Vec<(Option<TypeId>, Declared)>,
    propagator: Propagator,
    #[cfg(feature = "spool")]
    spool: Option<Spool>,
}

/// Where events go.
#[derive(Debug)]
enum Target {
    #[cfg(feature = "remote")]
    Remote(String),
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaConfig>),
    #[cfg(feature = "embedded")]
    Embedded(EmbeddedConfig),
}

impl Emitter {
    /// Begins an emitter of this name: 1 to 200 of `a-z A-Z 0-9 . _ -`.
    ///
    /// One emitter of a name runs at a time: the newest fences those before it, as Kafka's
    /// `transactional.id` has it. Give each running instance of an application a name of its own, which
    /// stays the same over restarts, as a pod's in a stateful set.
    pub fn builder(name: impl Into<String>) -> EmitterBuilder {
        EmitterBuilder {
            name: name.into(),
            owner: String::new(),
            target: None,
            registry: "http://127.0.0.1:8081".to_owned(),
            access: RegistryAccess::default(),
            bounds: Bounds::default(),
            declared: Vec::new(),
            propagator: Propagator::default(),
            #[cfg(feature = "spool")]
            spool: None,
        }
    }
}

impl EmitterBuilder {
    /// To the embedded log of a running `tidemesh up`, through its data port: `tcp://127.0.0.1:8092` or
    /// `unix:///path`.
    #[cfg(feature = "remote")]
    pub fn remote(mut self, url: impl Into<String>) -> Self {
        self.target = Some(Target::Remote(url.into()));
        self
    }

    /// To Apache Kafka.
    #[cfg(feature = "kafka")]
    pub fn kafka(mut self, config: KafkaConfig) -> Self {
        self.target = Some(Target::Kafka(Box::new(config)));
        self
    }

    /// To a log of this process's own.
    #[cfg(feature = "embedded")]
    pub fn embedded(mut self, config: EmbeddedConfig) -> Self {
        self.target = Some(Target::Embedded(config));
        self
    }

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

    /// Who answers for its topics, for the catalog: a team, at most 200 characters. What a `Source`
    /// document of a topic says stands before it. Default: nobody is named.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// Events of a type, to the topic that the type says.
    pub fn event<E: Event>(self) -> Self {
        self.event_to::<E>(Topic::new())
    }

    /// Events of a type, to this topic. A type goes to one topic.
    pub fn event_to<E: Event>(mut self, settings: Topic) -> Self {
        self.declared.push((Some(TypeId::of::<E>()), Declared::of::<E>(settings)));
        self
    }

    /// A topic for [`Emitter::topic`], whose schema is the newest that the registry has for it.
    pub fn topic(self, name: impl Into<String>, settings: Topic) -> Self {
        self.declare(name.into(), None, settings)
    }

    /// A topic for [`Emitter::topic`] with this schema.
    pub fn topic_with_schema(
        self,
        name: impl Into<String>,
        schema: impl Into<String>,
        settings: Topic,
    ) -> Self {
        self.declare(name.into(), Some(schema.into()), settings)
    }

    fn declare(mut self, topic: String, schema: Option<String>, settings: Topic) -> Self {
        self.declared.push((None, Declared::named(topic, schema, settings)));
        self
    }

    /// The most bytes of events that are taken and not yet durable, 64 KiB to 1 GiB. Default 32 MiB.
    pub fn queue_bytes_max(mut self, bytes: usize) -> Self {
        self.bounds.queue_bytes_max = bytes;
        self
    }

    /// What to do with an event that finds the queue full. Default: wait.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.bounds.when_full = when_full;
        self
    }

    /// How long events are tried to be made durable, from when they were taken; those that are not then
    /// fail with `Timeout`. Default: for ever.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.bounds.delivery_timeout = Some(timeout);
        self
    }

    /// How long `connect` waits for a registry and topics that are away. Default 30 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.bounds.connect_timeout = timeout;
        self
    }

    /// Has this asked, when an event is emitted, for the headers of the trace that it is part of: W3C's
    /// `traceparent` and `tracestate`. It runs within the span `emit` of the event.
    ///
    /// With OpenTelemetry, whose propagator wants an `Injector` of the application's own:
    ///
    /// ```
    /// use opentelemetry::propagation::Injector;
    /// use tidemesh_emitter::{Carrier, Emitter};
    /// use tracing_opentelemetry::OpenTelemetrySpanExt;
    ///
    /// struct Headers<'c>(&'c mut Carrier);
    ///
    /// impl Injector for Headers<'_> {
    ///     fn set(&mut self, name: &str, value: String) {
    ///         self.0.set(name, value);
    ///     }
    /// }
    ///
    /// let builder = Emitter::builder("orders-api-1").propagate(|carrier| {
    ///     let context = tracing::Span::current().context();
    ///     opentelemetry::global::get_text_map_propagator(|propagator| {
    ///         propagator.inject_context(&context, &mut Headers(carrier));
    ///     });
    /// });
    /// # drop(builder);
    /// ```
    pub fn propagate(mut self, context: impl Fn(&mut Carrier) + Send + Sync + 'static) -> Self {
        self.propagator = Propagator::new(context);
        self
    }

    /// Keeps events on local disk until they are delivered: an event is taken once it is durable there,
    /// also while the topics' store is away, and survives the end of the process.
    #[cfg(feature = "spool")]
    pub fn spool(mut self, spool: Spool) -> Self {
        self.spool = Some(spool);
        self
    }

    /// Registers or finds every schema, makes the topics that are not there, and takes over as the
    /// emitter of this name.
    ///
    /// # Errors
    ///
    /// `Config` for what was declared, naming it; `Incompatible` with the registry's explanation for a
    /// schema that its topic's readers cannot read; `NotFound` for one that is not registered and may not
    /// be; `Unavailable` or `Timeout` if registry or topics are away for longer than the connect timeout.
    /// With a spool that knows all of its topics from an earlier start it begins without either.
    pub async fn connect(mut self) -> Result<Emitter> {
        let target = self.target.take().ok_or_else(|| {
            wrong("it is not told where events go")
                .help("name a target: `.remote(…)` or `.kafka(…)`")
        })?;
        self.check()?;
        match target {
            #[cfg(feature = "remote")]
            Target::Remote(url) => self.start(RemoteTransport::new(&url)?).await,
            #[cfg(feature = "kafka")]
            Target::Kafka(config) => self.start(KafkaTransport::new(&config)?).await,
            #[cfg(feature = "embedded")]
            Target::Embedded(config) => {
                let opening = tokio::task::spawn_blocking(move || EmbeddedTransport::open(&config));
                let opened = opening.await.map_err(|error| wrong("its log").caused_by(error))?;
                self.start(opened?).await
            }
        }
    }

    /// What it declares: for `tidemesh schema check --emitter`, which reads it as JSON, and
    /// [`check_declarations`](crate::check_declarations). Without the topics whose schema is to be found.
    #[must_use]
    pub fn declarations(&self) -> Vec<Declaration> {
        let prefix = self.topic_prefix();
        let declared = self.declared.iter().map(|(_, declared)| declared);
        declared.filter_map(|declared| Declaration::of(declared, prefix)).collect()
    }

    /// What stands before topics' names where they go.
    fn topic_prefix(&self) -> &str {
        match &self.target {
            #[cfg(feature = "kafka")]
            Some(Target::Kafka(config)) => &config.prefix,
            _ => "",
        }
    }

    /// What can be told without asking anybody.
    fn check(&self) -> Result<()> {
        writer_id(&self.name)?;
        let characters = self.owner.chars().count();
        if characters > OWNER_CHARS_MAX {
            return Err(wrong("an owner has at most 200 characters").with("characters", characters));
        }
        if !QUEUE_BYTES.contains(&self.bounds.queue_bytes_max) {
            return Err(wrong("queue_bytes_max must be 64 KiB to 1 GiB")
                .with("queue_bytes_max", self.bounds.queue_bytes_max));
        }
        check_all(&self.declared)
    }

    async fn start<T: Transport>(self, transport: T) -> Result<Emitter> {
        let span = tracing::debug_span!("connect", emitter = self.name);
        self.started(transport).instrument(span).await
    }

    async fn started<T: Transport>(self, transport: T) -> Result<Emitter> {
        let transport = Arc::new(transport);
        let registry = RegistryClient::with_access(&self.registry, self.access.clone())?;
        let instance = random();
        #[cfg(feature = "spool")]
        if let Some(spool) = self.spool.clone() {
            let spool = OpenSpool::open(&spool, &self.name, instance).await?;
            return self.start_spooled(transport, registry, spool, instance).await;
        }
        let until = Instant::now() + self.bounds.connect_timeout;
        let mut registered = Vec::new();
        for (_, declared) in &self.declared {
            registered.push(registered_by(declared, &registry, transport.as_ref(), until).await?);
        }
        let id = writer_id(&self.name)?;
        let writer = asked(until, || take_over(transport.as_ref(), &id, instance)).await?;
        let load_bytes = load_bytes(transport.as_ref());
        let queue = Arc::new(Queue::new(load_bytes, instance));
        let (shared, tally, told) = self.prepared(transport.as_ref(), queue, registered);
        let drained = shared.announce(Arc::clone(&transport), Arc::clone(&tally), told);
        let mut sender = shared.sender(transport, tally, writer, instance);
        sender.drained = Some(drained);
        shared.spawn(sender.run());
        Ok(Emitter::of(shared))
    }

    #[cfg(feature = "spool")]
    async fn start_spooled<T: Transport>(
        self,
        transport: Arc<T>,
        registry: RegistryClient,
        mut spool: OpenSpool,
        instance: u64,
    ) -> Result<Emitter> {
        let until = Instant::now() + self.bounds.connect_timeout;
        let mut registered = Vec::new();
        for (_, declared) in &self.declared {
            let asking = registered_by(declared, &registry, transport.as_ref(), until);
            let mut topic = match spool.remembered(declared)? {
                None => asking.await?,
                Some(known) => newer(asking, known).await?,
            };
            topic.partitions = spool.prepare(&topic).await?;
            registered.push(topic);
        }
        let log = Arc::clone(&spool.log);
        let gate = Gate::new(Arc::clone(&log), spool.bytes_max);
        let queue = Arc::new(Queue::new(load_bytes(log.as_ref()), instance));
        let writer = writer_id(&self.name)?;
        // What will not pass is told now; what will, the forwarder waits for.
        let is_owner = match soon(take_over(transport.as_ref(), &writer, spool.instance)).await {
            Ok(_) => true,
            Err(error) if error.remedy() == Remedy::Retry => false,
            Err(error) => return Err(error),
        };
        let (mut shared, tally, told) = self.prepared(transport.as_ref(), queue, registered);
        shared.gate = Some(gate.clone());
        let drained = shared.announce(Arc::clone(&transport), Arc::clone(&tally), told);
        let forwarder = Forwarder {
            target: transport,
            spool: Arc::clone(&log),
            writer,
            instance: spool.instance,
            queue: Arc::clone(&shared.queue),
            gate: gate.clone(),
            counted: Arc::clone(&shared.counted),
            tally: Arc::clone(&tally),
            is_owner,
            is_waiting: false,
            drained,
            refusing: crate::forward::Refusing::default(),
        };
        let mut sender = shared.sender(log, tally, spool.writer, spool.instance);
        sender.gate = Some(gate);
        shared.spawn(sender.run());
        shared.spawn(forwarder.run());
        Ok(Emitter::of(shared))
    }

    /// What the clones share, the tally of its topics, and what is to be announced of them.
    fn prepared<T: Transport>(
        self,
        transport: &T,
        queue: Arc<Queue>,
        registered: Vec<Registered>,
    ) -> (Shared, Arc<Tally>, Vec<Told>) {
        let tally = Arc::new(Tally::of(registered.iter()));
        let told = |topic| Told::new(&self.name, &self.owner, topic);
        let told = registered.iter().map(told).collect();
        (self.shared(queue, registered, transport.record_bytes_max()), tally, told)
    }

    fn shared(
        self,
        queue: Arc<Queue>,
        registered: Vec<Registered>,
        record_bytes_max: usize,
    ) -> Shared {
        let (mut types, mut streams) = (HashMap::new(), HashMap::new());
        let kinds = self.declared.iter().map(|(kind, _)| *kind);
        for (kind, topic) in kinds.zip(registered) {
            let name: Arc<str> = topic.topic.as_str().into();
            let lane = queue.add_lanes(&name, topic.partitions);
            let stream = Arc::new(Stream::new(topic, lane));
            if let Some(kind) = kind {
                types.insert(kind, Arc::clone(&stream));
            }
            streams.insert(name, stream);
        }
        Shared {
            counted: Arc::new(Counted::new(&self.name)),
            room: Arc::new(Semaphore::new(self.bounds.queue_bytes_max)),
            name: self.name,
            bounds: self.bounds,
            record_bytes_max,
            propagator: self.propagator,
            types,
            streams,
            queue,
            settled: Arc::default(),
            remembered: crate::remember::Remembered::default(),
            tasks: Mutex::default(),
            #[cfg(feature = "spool")]
            gate: None,
        }
    }
}

/// A topic as it is registered now; where nobody says so soon, as the spool knows it.
#[cfg(feature = "spool")]
async fn newer(
    asking: impl Future<Output = Result<Registered>>,
    known: Registered,
) -> Result<Registered> {
    match soon(asking).await {
        Err(error) if error.remedy() == Remedy::Retry => {
            let (topic, error) = (&known.topic, error.report());
            tracing::warn!(topic, error, "it starts by what the spool knows");
            Ok(known)
        }
        asked => asked,
    }
}

/// The answer, if it comes soon.
#[cfg(feature = "spool")]
async fn soon<A>(asking: impl Future<Output = Result<A>>) -> Result<A> {
    tokio::time::timeout(ASKED_MAX, asking).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "make an emitter").because("nobody has answered soon"))
    })
}

/// How many bytes an append gathers.
fn load_bytes<T: Transport>(transport: &T) -> usize {
    usize::try_from(transport.gathered_bytes()).unwrap_or(usize::MAX)
}

async fn registered_by<T: Transport>(
    declared: &Declared,
    registry: &RegistryClient,
    transport: &T,
    until: Instant,
) -> Result<Registered> {
    asked(until, || register(declared, registry, transport)).await
}

/// Asks until there is an answer, or one that will not pass, or it is late.
pub(crate) async fn asked<A, F: Future<Output = Result<A>>>(
    until: Instant,
    ask: impl Fn() -> F,
) -> Result<A> {
    loop {
        let asking = tokio::time::timeout_at(until, ask());
        match asking.await.unwrap_or_else(|_| Err(no_answer())) {
            Err(error) if error.remedy() == Remedy::Retry && Instant::now() + ASK_AGAIN < until => {
                tracing::debug!(error = error.report(), "is asked again");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "make an emitter")
        .because("registry, or topics' store, did not answer in the connect timeout")
        .help("see that both are up and their addresses right, or raise connect_timeout")
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Config, "make an emitter").because(message)
}

/// A number that no other emitter has.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each of its hashers with randomness of the system.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_i64(crate::stream::now_ms());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
