//! The topics of a gateway: an emitter each, connected when it is first used, and the schemas that their
//! events may have.

use crate::config::{GatewayConfig, Target, TopicRule};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tidemesh_emitter::{Emitter, TopicEmitter};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::RegistryClient;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// How long connecting a topic waits for a registry or a log that is away.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long whoever asks for a topic that could not be connected is told so, before it is tried again.
const FAILURE_HELD: Duration = Duration::from_secs(1);

/// How long the end waits for what was taken to become durable, all topics together.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// How many schemas of a topic are known, the newest first: clients that send Avro go on with an older one.
const SCHEMAS_MAX: usize = 16;

/// The topics that are connected, and those that are being.
#[derive(Debug)]
pub(crate) struct Topics {
    config: GatewayConfig,
    registry: RegistryClient,
    table: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// The place of a topic. It stays once the topic is known to be one: two emitters of a name would fence
/// each other.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    connected: OnceLock<Connected>,
    /// Held by the one attempt to connect that there is at a time, with how the last one failed.
    attempt: Arc<AsyncMutex<Option<Failure>>>,
    fenced: AtomicBool,
}

/// An attempt to connect that failed.
#[derive(Debug)]
struct Failure {
    error: Error,
    ended: Instant,
}

impl Failure {
    /// The same failure for who came at `came`: while it is fresh, and always if the attempt was still
    /// running then. Else those who queued would try one after another, each for as long as the first.
    fn for_who_came(&self, came: Instant) -> Option<Error> {
        let holds = self.ended >= came || self.ended.elapsed() < FAILURE_HELD;
        holds.then(|| self.error.again())
    }
}

/// An emitter with its topic, by each of its schemas.
#[derive(Debug)]
struct Connected {
    emitter: Emitter,
    schemas: RwLock<Schemas>,
}

/// A topic by each schema that its events may have, the newest first. There is one at least.
#[derive(Debug, Clone)]
pub(crate) struct Schemas {
    newest: TopicEmitter,
    older: Vec<TopicEmitter>,
}

impl Schemas {
    /// What events without a schema of their own go by.
    pub(crate) fn newest(&self) -> &TopicEmitter {
        &self.newest
    }

    /// What events go by that name their schema.
    pub(crate) fn of_id(&self, id: u32) -> Option<&TopicEmitter> {
        std::iter::once(&self.newest).chain(&self.older).find(|topic| topic.schema_id() == id)
    }

    /// The same with a newer one.
    fn followed_by(&self, newest: TopicEmitter) -> Self {
        let id = newest.schema_id();
        let before = std::iter::once(&self.newest).chain(&self.older);
        let older = before.filter(|topic| topic.schema_id() != id).take(SCHEMAS_MAX - 1).cloned();
        Self { newest, older: older.collect() }
    }
}

impl Connected {
    fn schemas(&self) -> Schemas {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It is connected when it is first used.
    Unused,
    /// It takes events.
    Connected,
    /// Another gateway of the same name has taken it over.
    Fenced,
}

impl Topics {
    pub(crate) fn new(config: GatewayConfig) -> Result<Self> {
        let access = config.registry_access.clone();
        let registry = RegistryClient::with_access(&config.registry_url, access)?;
        Ok(Self { config, registry, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Slot>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rule that a topic falls under: one of its name, or else the first that matches.
    pub(crate) fn rule(&self, topic: &str) -> Result<&TopicRule> {
        let rules = || self.config.topics.iter();
        let named = rules().find(|rule| rule.name == topic);
        named.or_else(|| rules().find(|rule| rule.pattern().matches(topic))).ok_or_else(|| {
            not_found("the gateway's configuration has no such topic")
                .with("topic", topic.escape_debug())
                .help("add a [[gateway.topic]] table with its name, or a pattern")
        })
    }

    /// The topics that the configuration names, and those that were used, with how they are.
    pub(crate) fn list(&self) -> BTreeMap<String, State> {
        let named =
            self.config.topics.iter().filter_map(|rule| rule.pattern().exact().map(str::to_owned));
        let mut all: BTreeMap<String, State> = named.map(|name| (name, State::Unused)).collect();
        all.extend(self.table().iter().map(|(name, slot)| (name.clone(), slot.state())));
        all
    }

    /// Where events of a topic go, connecting it if it is not.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is none of the gateway's, or has no schema; `Exhausted` if there are too many;
    /// as `EmitterBuilder::connect`.
    pub(crate) async fn get(self: &Arc<Self>, topic: &str) -> Result<(Arc<Slot>, Schemas)> {
        let rule = self.rule(topic)?;
        let there = self.table().get(topic).cloned();
        let slot = match there {
            Some(slot) => slot,
            None => {
                self.check_subject(rule, topic).await?;
                self.place(topic)?
            }
        };
        let schemas = self.schemas(&slot, rule, topic).await?;
        Ok((slot, schemas))
    }

    /// As `get`, until a moment; what goes on then goes on for those who come later.
    ///
    /// # Errors
    ///
    /// As `get`; `Timeout`.
    pub(crate) async fn get_until(
        self: &Arc<Self>,
        topic: &str,
        until: Instant,
    ) -> Result<(Arc<Slot>, Schemas)> {
        tokio::time::timeout_at(until, self.get(topic)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "connect a topic")
                .because("registry or log do not answer for as long as the request may take")
                .with("topic", topic.escape_debug())
                .help("send it again; gateway.answer_timeout_ms is how long a request may take"))
        })
    }

    /// Of those who come at once one connects, and the others take what comes of it.
    async fn schemas(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        rule: &TopicRule,
        topic: &str,
    ) -> Result<Schemas> {
        let came = Instant::now();
        if let Some(connected) = slot.connected.get() {
            return Ok(connected.schemas());
        }
        let mut last = Arc::clone(&slot.attempt).lock_owned().await;
        if let Some(connected) = slot.connected.get() {
            return Ok(connected.schemas());
        }
        if let Some(error) = last.as_ref().and_then(|failure| failure.for_who_came(came)) {
            return Err(error);
        }
        let (topics, slot) = (Arc::clone(self), Arc::clone(slot));
        let (rule, topic) = (rule.clone(), topic.to_owned());
        // On a task of its own: it goes on when who began it may wait no longer.
        let attempt = tokio::spawn(async move {
            match topics.connect(&rule, &topic).await {
                Ok(connected) => Ok(slot.connected.get_or_init(|| connected).schemas()),
                Err(error) => {
                    *last = Some(Failure { error: error.again(), ended: Instant::now() });
                    Err(error)
                }
            }
        });
        attempt.await.unwrap_or_else(|broke| {
            Err(Error::new(ErrorKind::Internal, "connect a topic").caused_by(broke))
        })
    }

    /// The subject of a topic's values, which has the name that other readers know the topic by.
    fn subject(&self, topic: &str) -> String {
        format!("{}{topic}-value", self.config.target.topic_prefix())
    }

    /// Places are for topics that have a schema alone: else whoever asks for any name would use them up.
    async fn check_subject(&self, rule: &TopicRule, topic: &str) -> Result<()> {
        if rule.schema.is_some() {
            return Ok(());
        }
        let subject = self.subject(topic);
        match self.registry.latest(&subject).await? {
            Some(_) => Ok(()),
            None => Err(not_found("the registry has no schema for the topic")
                .with("subject", subject.escape_debug())
                .help("register one, as by `tidemesh schema register`")),
        }
    }

    fn place(&self, topic: &str) -> Result<Arc<Slot>> {
        let topics_max = self.config.limits.topics_max;
        let mut table = self.table();
        if let Some(slot) = table.get(topic) {
            return Ok(Arc::clone(slot));
        }
        if table.len() >= topics_max {
            return Err(Error::new(ErrorKind::Exhausted, "connect a topic")
                .because("as many topics as there may be are connected")
                .with("topics_max", topics_max)
                .help("raise gateway.topics_max, or run another gateway for some topics"));
        }
        let slot = Arc::<Slot>::default();
        table.insert(topic.to_owned(), Arc::clone(&slot));
        Ok(slot)
    }

    async fn connect(&self, rule: &TopicRule, topic: &str) -> Result<Connected> {
        let GatewayConfig { name, target, limits, .. } = &self.config;
        let builder = Emitter::builder(format!("{name}.{topic}"));
        let builder = match target {
            Target::Remote(url) => builder.remote(url),
            #[cfg(feature = "kafka")]
            Target::Kafka(config) => builder.kafka((**config).clone()),
        };
        let builder = builder
            .registry(&self.config.registry_url)
            .registry_access(self.config.registry_access.clone())
            .queue_bytes_max(limits.queue_bytes_max)
            .when_full(self.config.when_full)
            .connect_timeout(CONNECT_MAX);
        let settings = rule.settings.clone();
        let builder = match &rule.schema {
            Some(schema) => builder.topic_with_schema(topic, schema, settings),
            None => builder.topic(topic, settings),
        };
        let emitter = Box::pin(builder.connect()).await?;
        let newest = emitter.topic(topic)?;
        tracing::info!(topic, schema_id = newest.schema_id(), "a topic is connected");
        let schemas = RwLock::new(Schemas { newest, older: Vec::new() });
        Ok(Connected { emitter, schemas })
    }

    /// Connects the topics that the configuration names, so that a mistake is told before the first event.
    pub(crate) async fn connect_named(self: &Arc<Self>) {
        let named =
            self.config.topics.iter().filter_map(|rule| rule.pattern().exact().map(str::to_owned));
        for topic in named.collect::<Vec<_>>() {
            if let Err(error) = self.get(&topic).await {
                tracing::warn!(
                    topic,
                    error = error.report(),
                    "a topic cannot be connected; it is tried again when it is used"
                );
            }
        }
    }

    /// Takes up schemas that are new in the registry, of topics that go by what the registry has.
    pub(crate) async fn look(&self) {
        let slots: Vec<_> =
            self.table().iter().map(|(name, slot)| (name.clone(), Arc::clone(slot))).collect();
        for (topic, slot) in slots {
            let Some(connected) = slot.connected.get() else { continue };
            if self.rule(&topic).is_ok_and(|rule| rule.schema.is_none())
                && let Err(error) = self.renew(&topic, connected).await
            {
                let error = error.report();
                tracing::warn!(topic, error, "a topic goes on with the schema that it has");
            }
        }
    }

    async fn renew(&self, topic: &str, connected: &Connected) -> Result<()> {
        let newest = self.registry.latest(&self.subject(topic)).await?;
        let schemas = connected.schemas();
        let Some((id, text)) = newest.filter(|(id, _)| *id != schemas.newest.schema_id()) else {
            return Ok(());
        };
        let renewed = schemas.followed_by(schemas.newest.with_schema(id, &text)?);
        *connected.schemas.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        tracing::info!(topic, schema_id = id, "a topic has a new schema");
        Ok(())
    }

    /// Delivers what was taken, and takes no more.
    pub(crate) async fn close(&self) {
        let slots: Vec<_> =
            self.table().iter().map(|(name, slot)| (name.clone(), Arc::clone(slot))).collect();
        let closing = async {
            for (topic, slot) in &slots {
                if let Some(connected) = slot.connected.get()
                    && let Err(error) = connected.emitter.clone().close().await
                {
                    tracing::error!(topic, error = error.report(), "a topic ended with an error");
                }
            }
        };
        if tokio::time::timeout(CLOSE_MAX, closing).await.is_err() {
            tracing::error!(
                limit_s = CLOSE_MAX.as_secs(),
                "events that are not durable yet are given up; none of them was answered for"
            );
        }
    }
}

impl Slot {
    /// Notes that another gateway has the topic.
    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        match (self.fenced.load(Ordering::Relaxed), self.connected.get().is_some()) {
            (true, _) => State::Fenced,
            (false, true) => State::Connected,
            (false, false) => State::Unused,
        }
    }
}

fn not_found(message: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find a topic").because(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(target: Target) -> String {
        let config = GatewayConfig::new("gate", target, "http://127.0.0.1:1");
        Topics::new(config).unwrap().subject("shop.orders")
    }

    #[test]
    fn a_subject_has_the_name_that_readers_know_its_topic_by() {
        assert_eq!(subject(Target::Remote("tcp://h:1".to_owned())), "shop.orders-value");
        #[cfg(feature = "kafka")]
        {
            let mut kafka = tidemesh_transport::kafka::KafkaConfig::new("h:1");
            kafka.prefix = "mesh.".to_owned();
            assert_eq!(subject(Target::Kafka(Box::new(kafka))), "mesh.shop.orders-value");
        }
    }
}
