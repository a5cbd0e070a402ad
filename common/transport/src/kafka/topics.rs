//! Topics of a cluster: made, removed, looked at.

use super::config::{KafkaConfig, RECORD_BYTES_DEFAULT};
use super::error::{Quiet, code};
use crate::{PartitionInfo, Retention, TopicConfig, TopicInfo, check_topic_name};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};

/// The topic of writers' state.
pub(super) const CHECKPOINTS: &str = "_tidemesh.checkpoints";

/// Bytes after which a segment of that topic is closed, so that compaction can take it: what a
/// start reads is about so much.
const CHECKPOINTS_SEGMENT_BYTES: &str = "16777216";

/// How long a topic that was made may take until every broker knows it.
const KNOWN_MAX: Duration = Duration::from_secs(10);

/// The most that is heard at once of what the library tells of its connections.
const TOLD_MAX: usize = 1000;

/// How long to wait before it is looked again.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Looks at partitions.
pub(super) type Inspector = BaseConsumer<Quiet>;

/// What looks at a cluster and changes its topics.
pub(super) struct Topics {
    config: KafkaConfig,
    admin: AdminClient<Quiet>,
    /// Knows metadata and where partitions end, whatever transactions are open.
    inspector: Arc<Inspector>,
    /// Partitions of topics that are known to be there, by their names in the cluster.
    known: Mutex<HashMap<String, u32>>,
}

impl Topics {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self> {
        let wrong = |error| super::error::failed(error, "use the configuration");
        let admin = AdminClient::from_config_and_context(&config.inspector(), Quiet::default());
        let inspector =
            BaseConsumer::from_config_and_context(&config.inspector(), Quiet::default());
        Ok(Self {
            config: config.clone(),
            admin: admin.map_err(wrong)?,
            inspector: Arc::new(inspector.map_err(wrong)?),
            known: Mutex::default(),
        })
    }

    /// A name as the cluster has it.
    pub(super) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }

    pub(super) fn inspector(&self) -> Arc<Inspector> {
        Arc::clone(&self.inspector)
    }

    /// Takes in what the library tells of its connections, which is handed over by polls only.
    fn hear(&self) {
        for _ in 0..TOLD_MAX {
            // Its context has noted what comes as an error.
            if self.inspector.poll(Duration::ZERO).is_none() {
                break;
            }
        }
    }

    fn explain(&self, error: KafkaError, doing: &'static str) -> Error {
        self.hear();
        let explained = self.inspector.context().told.explain(error, doing);
        match explained.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                let explained = explained.with("bootstrap_servers", &self.config.bootstrap_servers);
                explained.help("see that the brokers are up, and kafka.bootstrap_servers")
            }
            _ => explained,
        }
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.config.request_timeout))
            .operation_timeout(Some(self.config.request_timeout))
    }

    /// Makes a topic unless it is there.
    pub(super) async fn create(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        check_topic_name(topic)?;
        config.validate()?;
        let full = self.full(topic);
        check_topic_name(&full)?;
        if !self.is_there(topic).await? {
            let policy = match config.cleanup_policy {
                CleanupPolicy::Compact => "compact",
                CleanupPolicy::Delete => "delete",
            };
            let mut settings = vec![("cleanup.policy", policy.to_owned())];
            settings.extend(of_retention(&config.retention()));
            if self.config.record_bytes_max > RECORD_BYTES_DEFAULT {
                settings.push(("max.message.bytes", self.config.record_bytes_max.to_string()));
            }
            self.make(&full, config.partitions, &settings).await?;
        }
        self.info(topic).await
    }

    /// Sets a topic's retention. The library knows only the request that sets all that is not the
    /// cluster's default anew, so that what is set otherwise is asked for and sent again.
    pub(super) async fn set_retention(
        &self,
        topic: &str,
        retention: &Retention,
    ) -> Result<TopicInfo> {
        let full = self.full(topic);
        let ours = of_retention(retention);
        let described = self.described(topic, &full).await?;
        let kept = described.entries.iter().filter(|entry| {
            entry.source == ConfigSource::DynamicTopic
                && ours.iter().all(|(name, _)| *name != entry.name)
        });
        let kept = kept.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
        let all = kept.chain(ours.iter().map(|(name, value)| (*name, value.as_str())));
        let altered = all
            .fold(AlterConfig::new(ResourceSpecifier::Topic(&full)), |all, (name, value)| {
                all.set(name, value)
            });
        let doing = "set a topic's retention";
        let done = self.admin.alter_configs([&altered], &self.options()).await;
        let done = done.map_err(|error| self.explain(error, doing))?.pop();
        if let Some(Err((_, code))) = done {
            return Err(self.explain(KafkaError::AdminOp(code), doing));
        }
        self.info(topic).await
    }

    /// Makes the topic of writers' state unless it is there.
    pub(super) async fn create_checkpoints(&self) -> Result<()> {
        if self.is_there(CHECKPOINTS).await? {
            return Ok(());
        }
        let settings = [
            ("cleanup.policy", "compact".to_owned()),
            ("segment.bytes", CHECKPOINTS_SEGMENT_BYTES.to_owned()),
            ("min.cleanable.dirty.ratio", "0.1".to_owned()),
            (
                "max.message.bytes",
                self.config.record_bytes_max.max(RECORD_BYTES_DEFAULT).to_string(),
            ),
        ];
        self.make(&self.full(CHECKPOINTS), 1, &settings).await
    }

    async fn is_there(&self, topic: &str) -> Result<bool> {
        match self.partitions(topic).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn make(&self, full: &str, partitions: u32, settings: &[(&str, String)]) -> Result<()> {
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        // -1: the broker's default.
        let replicas = self.config.replication_factor.map_or(-1, i32::from);
        let mut topic = NewTopic::new(full, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = self.admin.create_topics([&topic], &self.options()).await;
        let made = made.map_err(|error| self.explain(error, "make a topic"))?;
        for result in made {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    return Err(self
                        .explain(KafkaError::AdminOp(code), "make a topic")
                        .with("topic", full));
                }
            }
        }
        tracing::info!(topic = full, partitions, "made a topic");
        let deadline = Instant::now() + KNOWN_MAX;
        while self.look(full.to_owned()).await?.is_none() {
            if Instant::now() > deadline {
                return Err(Error::new(ErrorKind::Unavailable, "make a topic")
                    .because("the brokers do not come to know it")
                    .with("topic", full));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, topic: &str) -> Result<()> {
        let full = self.full(topic);
        self.forget(&full);
        let deleted = self.admin.delete_topics(&[&full], &self.options()).await;
        let deleted = deleted.map_err(|error| self.explain(error, "delete a topic"))?;
        for result in deleted {
            if let Err((_, code)) = result {
                let error = self.explain(KafkaError::AdminOp(code), "delete a topic");
                return Err(error.with("topic", topic));
            }
        }
        let deadline = Instant::now() + KNOWN_MAX;
        while self.look(full.clone()).await?.is_some() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        self.forget(&full);
        Ok(())
    }

    /// Has the cluster asked again.
    pub(super) fn forget(&self, full: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(full);
    }

    /// How many partitions a topic has, by what was seen last; asked for if nothing was.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Unavailable`.
    pub(super) async fn partitions(&self, topic: &str) -> Result<u32> {
        let full = self.full(topic);
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&full) {
            return Ok(*known);
        }
        self.look(full).await?.ok_or_else(|| not_found(topic))
    }

    /// The same for whoever writes: a partition that has no leader for a while is no topic that is gone.
    ///
    /// # Errors
    ///
    /// As [`Topics::partitions_led`].
    pub(super) async fn partitions_to_write(&self, topic: &str) -> Result<u32> {
        match self.partitions(topic).await {
            Err(error) if error.kind() == ErrorKind::NotFound => self.partitions_led(topic).await,
            known => known,
        }
    }

    /// How many partitions a topic has in the cluster now; none if it, or a leader, is not there.
    async fn look(&self, full: String) -> Result<Option<u32>> {
        let (inspector, timeout) = (Arc::clone(&self.inspector), self.config.request_timeout);
        let asked = full.clone();
        let found = blocking(move || {
            let metadata = inspector.fetch_metadata(Some(&asked), timeout);
            metadata.map(|metadata| {
                let topic = metadata.topics().iter().find(|topic| topic.name() == asked)?;
                let led = topic.partitions().iter().all(|p| p.leader() >= 0 && p.error().is_none());
                let there = topic.error().is_none() && !topic.partitions().is_empty() && led;
                there.then(|| u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX))
            })
        })
        .await?
        .map_err(|error| self.explain(error, "look at a topic"))?;
        if let Some(partitions) = found {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(full, partitions);
        }
        Ok(found)
    }

    /// How many partitions a topic has now. Unlike elsewhere, one that is there and has no leader is not
    /// taken for one that is not.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Unavailable`.
    pub(super) async fn partitions_led(&self, topic: &str) -> Result<u32> {
        let full = self.full(topic);
        if let Some(partitions) = self.look(full.clone()).await? {
            return Ok(partitions);
        }
        let (inspector, timeout) = (Arc::clone(&self.inspector), self.config.request_timeout);
        let is_unknown = blocking(move || {
            let metadata = inspector.fetch_metadata(Some(&full), timeout)?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == full);
            let error = topic.map(|topic| topic.error().map(Code::from));
            Ok(matches!(
                error,
                None | Some(Some(Code::UnknownTopicOrPartition | Code::UnknownTopic))
            ))
        });
        let is_unknown = is_unknown.await?.map_err(|e| self.explain(e, "look at a topic"))?;
        if is_unknown {
            return Err(not_found(topic));
        }
        Err(Error::new(ErrorKind::Unavailable, "look at a topic")
            .because("a partition has no leader, or the topic may not be seen")
            .with("topic", topic))
    }

    /// All topics of this mesh, by name, but for the brokers' own and ours.
    pub(super) async fn list(&self) -> Result<Vec<TopicInfo>> {
        let (inspector, timeout) = (Arc::clone(&self.inspector), self.config.request_timeout);
        let found = blocking(move || {
            inspector.fetch_metadata(None, timeout).map(|metadata| {
                metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>()
            })
        })
        .await?
        .map_err(|error| self.explain(error, "list the topics"))?;
        let mut names: Vec<String> = found
            .iter()
            .filter_map(|full| full.strip_prefix(self.config.prefix.as_str()))
            .filter(|name| !name.starts_with("__") && !name.starts_with("_tidemesh."))
            .map(str::to_owned)
            .collect();
        names.sort();
        let mut infos = Vec::with_capacity(names.len());
        for name in names {
            match self.info(&name).await {
                Ok(info) => infos.push(info),
                // It went while the others were looked at.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// A topic as the cluster has it.
    pub(super) async fn info(&self, topic: &str) -> Result<TopicInfo> {
        let full = self.full(topic);
        let partitions = self.look(full.clone()).await?.ok_or_else(|| not_found(topic))?;
        let config = self.config_of(topic, &full, partitions).await?;
        let ends = self.ends(&full, partitions).await?;
        Ok(TopicInfo { name: topic.to_owned(), config, partitions: ends })
    }

    async fn described(&self, topic: &str, full: &str) -> Result<ConfigResource> {
        let asked = [ResourceSpecifier::Topic(full)];
        let described = self.admin.describe_configs(&asked, &self.options()).await;
        let mut described = described.map_err(|error| self.explain(error, "look at a topic"))?;
        match described.pop() {
            Some(Ok(resource)) => Ok(resource),
            Some(Err(Code::UnknownTopicOrPartition)) | None => Err(not_found(topic)),
            Some(Err(code)) => Err(self.explain(KafkaError::AdminOp(code), "look at a topic")),
        }
    }

    async fn config_of(&self, topic: &str, full: &str, partitions: u32) -> Result<TopicConfig> {
        let resource = self.described(topic, full).await?;
        let text = |key| resource.get(key).and_then(|entry| entry.value.as_deref());
        // -1 is "without a limit".
        let number = |key| text(key).and_then(|value| value.parse::<u64>().ok());
        let compacts = text("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
        let default = TopicConfig::default();
        Ok(TopicConfig {
            partitions,
            cleanup_policy: if compacts { CleanupPolicy::Compact } else { CleanupPolicy::Delete },
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes"),
            delete_retention_ms: number("delete.retention.ms")
                .unwrap_or(default.delete_retention_ms),
        })
    }

    /// Where partitions begin and end, records of open transactions included. A leader that was
    /// chosen just now may not know of it yet.
    async fn ends(&self, full: &str, partitions: u32) -> Result<Vec<PartitionInfo>> {
        let deadline = Instant::now() + KNOWN_MAX;
        loop {
            let error = match self.ends_now(full, partitions).await? {
                Ok(ends) => return Ok(ends),
                Err(error) => error,
            };
            let is_gone = self.look(full.to_owned()).await?.is_none();
            match code(&error) {
                _ if is_gone => return Err(not_found(full)),
                Some(
                    Code::NotLeaderForPartition
                    | Code::LeaderNotAvailable
                    | Code::UnknownTopicOrPartition
                    | Code::UnknownPartition,
                ) if Instant::now() < deadline => tokio::time::sleep(LOOK_PAUSE).await,
                _ => return Err(self.explain(error, "look at a topic").with("topic", full)),
            }
        }
    }

    async fn ends_now(
        &self,
        full: &str,
        partitions: u32,
    ) -> Result<std::result::Result<Vec<PartitionInfo>, KafkaError>> {
        let (inspector, timeout) = (Arc::clone(&self.inspector), self.config.request_timeout);
        let topic = full.to_owned();
        blocking(move || {
            (0..partitions)
                .map(|partition| {
                    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
                    let (begin, end) = inspector.fetch_watermarks(&topic, partition, timeout)?;
                    let offset = |value| u64::try_from(value).unwrap_or(0);
                    Ok(PartitionInfo { begin: offset(begin), end: offset(end), bytes: None })
                })
                .collect()
        })
        .await
    }

    /// The consumer groups of the cluster, by their names in it.
    pub(super) async fn groups(&self) -> Result<Vec<String>> {
        let (inspector, timeout) = (Arc::clone(&self.inspector), self.config.request_timeout);
        // Of another kind are Connect's workers, which read no topic by it.
        let consumers = |kind: &str| kind.is_empty() || kind == "consumer";
        let names = move || {
            let found = inspector.fetch_group_list(None, timeout)?;
            let groups = found.groups().iter().filter(|group| consumers(group.protocol_type()));
            Ok(groups.map(|group| group.name().to_owned()).collect())
        };
        blocking(names).await?.map_err(|error| self.explain(error, "list consumer groups"))
    }

    /// Where the topic of writers' state ends.
    pub(super) async fn checkpoints_end(&self) -> Result<u64> {
        let ends = self.ends(&self.full(CHECKPOINTS), 1).await?;
        Ok(ends.first().map_or(0, |partition| partition.end))
    }
}

pub(super) fn not_found(topic: &str) -> Error {
    Error::new(ErrorKind::NotFound, "use a topic")
        .because("there is no such topic, or it has no leader")
        .with("topic", topic)
}

/// Runs what waits for the network on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "talk to Kafka").caused_by(error))
}
/// A topic's settings that keep its records; -1 is "without a limit".
fn of_retention(retention: &Retention) -> [(&'static str, String); 3] {
    let number = |value: Option<u64>| value.map_or("-1".to_owned(), |value| value.to_string());
    [
        ("delete.retention.ms", retention.delete_retention_ms.to_string()),
        ("retention.ms", number(retention.retention_ms)),
        ("retention.bytes", number(retention.retention_bytes)),
    ]
}
