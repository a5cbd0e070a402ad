//! What is known of the topics that pipelines read and no pipeline writes: their newest schemas, as
//! the registry has them.

use crate::config::ControllerConfig;
use crate::state::{State, TopicSchemas};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_avro::compat::CompatibilityLevel;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::{Document, InputFrom, SourceSpec, Spec};
use tidemesh_plan::mesh::{OutputPlan, Topic, Topics};
use tidemesh_plan::upgrade::{self, Subject, Subjects};
use tidemesh_transport::RegistryClient;

/// How many topics are asked for at once.
pub(crate) const ASKED_AT_ONCE: usize = 8;

/// The most schemas that are kept parsed; past it they are parsed anew.
const PARSED_MAX: usize = 10_000;

/// What the controller asks a registry.
pub trait Registry: Send + Sync + 'static {
    /// The newest schema of a subject: its id and text; none if the subject has none.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away.
    fn latest(&self, subject: &str)
    -> impl Future<Output = Result<Option<(u32, Arc<str>)>>> + Send;

    /// Why a schema could not follow those of a subject; none if it can.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away.
    fn refuses(
        &self,
        subject: &str,
        schema: &str,
    ) -> impl Future<Output = Result<Option<String>>> + Send;

    /// The level of a subject, and the ids and texts of its versions, the oldest first; none if it has none.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away.
    fn history(&self, subject: &str) -> impl Future<Output = Result<Option<History>>> + Send;

    /// The text of the schema with this id.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Unavailable` if the registry is away.
    fn schema(&self, id: u32) -> impl Future<Output = Result<Arc<str>>> + Send;
}

/// What a subject has, and lets follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Its level.
    pub level: CompatibilityLevel,
    /// Its versions' numbers, ids and texts, the oldest first.
    pub versions: Vec<(u32, u32, Arc<str>)>,
}

impl Registry for RegistryClient {
    async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>> {
        self.latest(subject).await
    }

    async fn refuses(&self, subject: &str, schema: &str) -> Result<Option<String>> {
        match self.check(subject, schema).await {
            Ok(verdict) if verdict.is_compatible => Ok(None),
            Ok(verdict) => Ok(Some(verdict.messages.join("; "))),
            // It has no schema that this one could not follow.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn history(&self, subject: &str) -> Result<Option<History>> {
        let found = match self.history(subject).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let versions = found.versions.into_iter();
        let versions = versions.map(|one| (one.version, one.id, one.schema.into())).collect();
        Ok(Some(History { level: found.level.parse()?, versions }))
    }

    async fn schema(&self, id: u32) -> Result<Arc<str>> {
        self.schema(id).await
    }
}

/// The schemas of each topic, by their ids.
pub(crate) type Basis = BTreeMap<String, TopicSchemas>;

/// The newest schemas of a topic: their ids, and those of them that are Avro's.
pub(crate) struct Newest {
    pub(crate) ids: TopicSchemas,
    pub(crate) key: Option<Schema>,
    pub(crate) value: Option<Schema>,
}

/// What the registry has answered within one operation, so that all of that is decided by one answer.
#[derive(Default)]
pub(crate) struct Told {
    asked: BTreeSet<String>,
    found: Basis,
}

/// A registry, and what it has told.
pub(crate) struct KnownTopics<R> {
    registry: R,
    /// Begins the names of all subjects.
    prefix: String,
    /// Sources whose connectors run elsewhere.
    elsewhere: Vec<String>,
    /// The sources whose connectors write topics.
    connectors: Mutex<BTreeSet<String>>,
    parsed: Mutex<HashMap<u32, Schema>>,
}

impl<R: Registry> KnownTopics<R> {
    pub(crate) fn new(registry: R, config: &ControllerConfig) -> Self {
        let prefix = config.topic_prefix.clone();
        let elsewhere = config.connectors.clone();
        let (connectors, parsed) = (Mutex::default(), Mutex::default());
        Self { registry, prefix, elsewhere, connectors, parsed }
    }

    /// Notes which sources' connectors write topics.
    pub(crate) fn written_by(&self, documents: &[Arc<Document>]) {
        let connectors = documents.iter().filter(|document| State::is_connector(document));
        let names = connectors.map(|document| document.name().to_owned());
        let names = names.chain(self.elsewhere.iter().cloned()).collect();
        *self.connectors.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The source whose connector writes a topic.
    pub(crate) fn source(&self, topic: &str) -> Option<String> {
        let (source, _) = topic.split_once('.')?;
        let connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        connectors.get(source).cloned()
    }

    /// Why a topic does not take what is to be written to it, if so: it has another key, or the registry
    /// refuses the schema of its values.
    pub(crate) async fn refuses(&self, output: &OutputPlan) -> Result<Option<String>> {
        let subject = format!("{}{}", self.prefix, output.topic);
        let known = self.registry.latest(&format!("{subject}-key")).await?;
        if let (Some((_, known)), Some(key)) = (known, &output.schemas.key) {
            let text = |text: &str| Schema::parse(text).map(|schema| schema.registry_text());
            if text(&known)? != text(key)? {
                return Ok(Some("its records have another key".to_owned()));
            }
        }
        self.registry.refuses(&format!("{subject}-value"), &output.schemas.value).await
    }

    /// The newest schemas of these topics; without those that have none.
    pub(crate) async fn newest(&self, topics: BTreeSet<String>) -> Result<Basis> {
        let asked = topics.into_iter().map(|topic| async move {
            let prefix = &self.prefix;
            let key = self.registry.latest(&format!("{prefix}{topic}-key")).await?;
            let value = self.registry.latest(&format!("{prefix}{topic}-value")).await?;
            let Some((id, text)) = value else { return Ok(None) };
            self.keep(id, &text)?;
            if let Some((id, text)) = &key {
                self.keep(*id, text)?;
            }
            Ok(Some((topic, TopicSchemas { key: key.map(|(id, _)| id), value: id })))
        });
        let found: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The newest schemas of one topic; none if its values have none.
    pub(crate) async fn newest_of(&self, topic: &str) -> Result<Option<Newest>> {
        let subject = |part: &str| format!("{}{topic}-{part}", self.prefix);
        let (key, value) = (subject("key"), subject("value"));
        let (key, value) =
            future::try_join(self.registry.latest(&key), self.registry.latest(&value)).await?;
        let Some((id, text)) = value else { return Ok(None) };
        let ids = TopicSchemas { key: key.as_ref().map(|(id, _)| *id), value: id };
        let avro = |(id, text): (u32, Arc<str>)| self.keep(id, &text).ok();
        Ok(Some(Newest { ids, key: key.and_then(avro), value: avro((id, text)) }))
    }

    /// The same as [`Self::newest`], of those that were asked for before what was answered then.
    pub(crate) async fn newest_once(
        &self,
        topics: &BTreeSet<String>,
        told: &mut Told,
    ) -> Result<Basis> {
        let unknown = topics - &told.asked;
        told.asked.extend(unknown.iter().cloned());
        told.found.extend(self.newest(unknown).await?);
        let of_these = |topic: &String| Some((topic.clone(), *told.found.get(topic)?));
        Ok(topics.iter().filter_map(of_these).collect())
    }

    /// What is known of the subjects of these topics' values; without those that have none.
    pub(crate) async fn subjects(&self, topics: BTreeSet<String>) -> Result<Subjects> {
        let asked = topics.into_iter().map(|topic| async move {
            let subject = format!("{}{topic}-value", self.prefix);
            let Some(found) = self.registry.history(&subject).await? else { return Ok(None) };
            let version = |(version, id, text): &(u32, u32, Arc<str>)| {
                self.keep(*id, text).map(|schema| (*version, schema))
            };
            let history = found.versions.iter().map(version).collect::<Result<Vec<_>>>()?;
            Ok(Some((topic, Subject { level: found.level, history })))
        });
        let found: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What plans are made by.
    pub(crate) async fn topics(&self, basis: &Basis) -> Result<Topics> {
        let mut topics = Topics::new();
        for (topic, TopicSchemas { key, value }) in basis {
            let key = match key {
                Some(id) => Some(self.schema(*id).await?),
                None => None,
            };
            let value = self.schema(*value).await?;
            let source = self.source(topic);
            topics.insert(topic.clone(), Topic { key, value, source });
        }
        Ok(topics)
    }

    /// The schema of this id.
    pub(crate) async fn schema(&self, id: u32) -> Result<Schema> {
        match self.parsed(id) {
            Some(schema) => Ok(schema),
            None => self.keep(id, &self.registry.schema(id).await?),
        }
    }

    /// The same if nobody has to be asked for it.
    pub(crate) fn parsed(&self, id: u32) -> Option<Schema> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn keep(&self, id: u32, text: &str) -> Result<Schema> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = parsed.get(&id) {
            return Ok(schema.clone());
        }
        let schema = Schema::parse(text).map_err(|error| {
            Error::new(ErrorKind::Malformed, "read a schema").with("id", id).caused_by(error)
        })?;
        if parsed.len() >= PARSED_MAX {
            parsed.clear();
        }
        parsed.insert(id, schema.clone());
        Ok(schema)
    }
}

/// The topics that these documents' pipelines read, and none of them writes; of a table those that it
/// could go on in too.
pub(crate) fn external<'d>(
    documents: impl Iterator<Item = &'d Document> + Clone,
) -> BTreeSet<String> {
    let of_others = |document: &'d Document| match &document.spec {
        Spec::Source(SourceSpec::Topic { topic, .. }) => Some((document.name(), topic)),
        _ => None,
    };
    let of_others: BTreeMap<&str, &String> = documents.clone().filter_map(of_others).collect();
    let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
    for document in documents {
        let Spec::Pipeline(spec) = &document.spec else { continue };
        written.extend(spec.topics_written().map(|(_, topic)| topic.to_owned()));
        read.extend(spec.inputs.values().filter_map(|input| match &input.from {
            InputFrom::Topic(topic) => Some(topic.clone()),
            InputFrom::Source(name) => of_others.get(name.as_str()).map(|topic| (*topic).clone()),
        }));
    }
    read.retain(|topic| !written.contains(topic));
    let next: Vec<String> = read.iter().map(|topic| upgrade::next(topic)).collect();
    read.extend(next);
    read
}
