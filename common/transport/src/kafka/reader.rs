//! Readers of a cluster's topics: what is committed, by assignment or in a consumer group.

use super::config::KafkaConfig;
use super::error::{Told, code, failed};
use super::gathering::Gathering;
use super::topics::{Inspector, Topics, blocking, not_found};
use crate::{Committer, FetchLimit, FetchedBatch, Progress, Reader, Start, Subscription};
use futures_util::FutureExt;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};

/// A topic, without the mesh's prefix, and a partition.
pub(super) type Place = (String, u32);

/// What a consumer's callbacks keep.
#[derive(Debug, Default)]
pub(super) struct Context {
    told: Told,
    /// How often partitions were dealt anew.
    generation: AtomicU64,
    /// The offset read next, of each partition that is ours and was read.
    positions: Mutex<BTreeMap<Place, u64>>,
    prefix: String,
}

impl Context {
    pub(super) fn positions(&self) -> std::sync::MutexGuard<'_, BTreeMap<Place, u64>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self, topic: &str, partition: i32) -> Place {
        let name = topic.strip_prefix(self.prefix.as_str()).unwrap_or(topic);
        (name.to_owned(), u32::try_from(partition).unwrap_or(0))
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::error::log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.note(error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        if let Rebalance::Revoke(list) = rebalance {
            let mut positions = self.positions();
            for element in list.elements() {
                positions.remove(&self.place(element.topic(), element.partition()));
            }
        }
    }
}

/// Reads topics of a [`KafkaTransport`](super::KafkaTransport); dropping it leaves its group.
pub struct KafkaReader {
    /// None only while it is dropped.
    consumer: Option<Arc<StreamConsumer<Context>>>,
    in_group: bool,
    request_timeout: Duration,
    /// Knows where partitions begin and end, whatever transactions are open.
    inspector: Arc<Inspector>,
    /// What ended the reading for good: a topic that was removed.
    ended: Option<String>,
    /// Whether a partition stands still because what it was to go on with is not there.
    stands: bool,
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        // Leaving a group waits for the broker.
        if let Some(consumer) = self.consumer.take() {
            std::thread::spawn(move || drop(consumer));
        }
    }
}

impl KafkaReader {
    pub(super) async fn new(
        config: &KafkaConfig,
        topics: &Topics,
        subscription: Subscription,
    ) -> Result<Self> {
        let Subscription { topics: names, group, start } = subscription;
        if group.is_none() && start == Start::Committed {
            return Err(Error::new(ErrorKind::Config, "subscribe")
                .because("a start at the committed offset needs a group"));
        }
        let mut places = Vec::new();
        for name in &names {
            let partitions = topics.partitions(name).await?;
            places.extend((0..partitions).map(|partition| (name.clone(), partition)));
        }
        let full_group = group.as_deref().map(|group| topics.full(group));
        let mut properties = config.consumer(full_group.as_deref());
        if full_group.is_none() {
            // By assignment a partition begins where it is told to: that this is not there must be seen.
            properties.set("auto.offset.reset", "error");
        }
        let context = Context { prefix: config.prefix.clone(), ..Context::default() };
        let consumer = StreamConsumer::from_config_and_context(&properties, context)
            .map_err(|error| failed(error, "subscribe"))?;
        let reader = Self {
            consumer: Some(Arc::new(consumer)),
            in_group: group.is_some(),
            request_timeout: config.request_timeout,
            inspector: topics.inspector(),
            ended: None,
            stands: false,
        };
        if let Some(group) = full_group {
            reader.join(config, &group, &names, places, &start).await?;
        } else {
            let start = match start {
                Start::Latest => ends(topics, &names).await?,
                start => start,
            };
            reader.assign(places, start).await?;
        }
        Ok(reader)
    }

    fn consumer(&self) -> &Arc<StreamConsumer<Context>> {
        // It is there until the reader is dropped.
        self.consumer.as_ref().unwrap_or_else(|| unreachable!("the reader was dropped"))
    }

    async fn assign(&self, places: Vec<Place>, start: Start) -> Result<()> {
        let (consumer, timeout) = (Arc::clone(self.consumer()), self.request_timeout);
        blocking(move || {
            let explain = |error| consumer.context().told.explain(error, "subscribe");
            let firsts = firsts(consumer.as_ref(), places, &start, timeout)?;
            let list = list(&consumer.context().prefix, &firsts)?;
            consumer.assign(&list).map_err(explain)?;
            *consumer.context().positions() = firsts;
            Ok(())
        })
        .await?
    }

    /// Joins a group. Where it is to begin elsewhere than where it has come, that is committed first,
    /// so that whoever gets a partition begins there; a group with members goes on where it is.
    async fn join(
        &self,
        config: &KafkaConfig,
        group: &str,
        names: &[String],
        places: Vec<Place>,
        start: &Start,
    ) -> Result<()> {
        if *start != Start::Committed {
            let properties = config.consumer(Some(group));
            let (start, timeout) = (start.clone(), self.request_timeout);
            let prefix = config.prefix.clone();
            blocking(move || seed(&properties, &prefix, places, &start, timeout)).await??;
        }
        let full: Vec<String> =
            names.iter().map(|name| format!("{}{name}", config.prefix)).collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        self.consumer().subscribe(&full).map_err(|error| failed(error, "subscribe"))
    }

    /// What the records that are here already make, up to the limit.
    fn gather(
        &mut self,
        first: BorrowedMessage<'_>,
        limit: FetchLimit,
    ) -> Result<Vec<FetchedBatch>> {
        let consumer = Arc::clone(self.consumer());
        let mut gathering = Gathering::new(&consumer);
        gathering.take(&first)?;
        while gathering.bytes < limit.bytes_max {
            match consumer.recv().now_or_never() {
                Some(Ok(message)) => gathering.take(&message)?,
                // It comes again with the next poll, or passes.
                Some(Err(error)) => {
                    self.note(&error);
                    break;
                }
                None => break,
            }
        }
        Ok(gathering.finish())
    }

    /// Remembers an error after which nothing more can come, or not without us.
    fn note(&mut self, error: &KafkaError) {
        let gone = [Code::UnknownTopicOrPartition, Code::UnknownTopic, Code::UnknownTopicId];
        let code = code(error);
        if code.is_some_and(|code| gone.contains(&code)) {
            self.ended = Some(error.to_string());
        }
        self.stands |= code == Some(Code::AutoOffsetReset);
    }

    /// Goes on in all partitions, at their first records where what was to come next is not there. What was
    /// fetched ahead is fetched again. A call that was dropped changes nothing behind the next one.
    async fn go_on(&mut self) -> Result<()> {
        let (consumer, timeout) = (Arc::clone(self.consumer()), self.request_timeout);
        let inspector = Arc::clone(&self.inspector);
        let turn = consumer.context().generation.fetch_add(1, Ordering::AcqRel) + 1;
        blocking(move || {
            let context = consumer.context();
            let explain = |error| context.told.explain(error, "read a topic");
            let mut positions = passed(&consumer);
            for ((topic, partition), position) in &mut positions {
                let full = format!("{}{topic}", context.prefix);
                let number = i32::try_from(*partition).unwrap_or(i32::MAX);
                let found = inspector.fetch_watermarks(&full, number, timeout).map_err(explain)?;
                let [begin, end] = [found.0, found.1].map(|at| u64::try_from(at).unwrap_or(0));
                if !(begin..=end).contains(position) {
                    tracing::warn!(
                        topic,
                        partition,
                        position = *position,
                        begin,
                        end,
                        "its records are gone"
                    );
                    *position = begin;
                }
            }
            let list = list(&context.prefix, &positions)?;
            let mut known = context.positions();
            if context.generation.load(Ordering::Acquire) == turn {
                consumer.assign(&list).map_err(explain)?;
                *known = positions;
            }
            Ok(())
        })
        .await??;
        self.stands = false;
        Ok(())
    }
}

/// The offset read next, of each partition that is ours and was read. What ends a transaction and
/// what an aborted one left have offsets and are no records: the library passes them alone.
fn passed(consumer: &StreamConsumer<Context>) -> BTreeMap<Place, u64> {
    let context = consumer.context();
    let mut positions = context.positions().clone();
    for element in consumer.position().iter().flat_map(TopicPartitionList::elements) {
        if let Offset::Offset(offset) = element.offset() {
            let place = context.place(element.topic(), element.partition());
            let offset = u64::try_from(offset).unwrap_or(0);
            let known = positions.entry(place).or_insert(offset);
            *known = offset.max(*known);
        }
    }
    positions
}

/// Commits where a group is to begin that has no members.
fn seed(
    properties: &rdkafka::ClientConfig,
    prefix: &str,
    mut places: Vec<Place>,
    start: &Start,
    timeout: Duration,
) -> Result<()> {
    let context = Context { prefix: prefix.to_owned(), ..Context::default() };
    let consumer: BaseConsumer<Context> =
        BaseConsumer::from_config_and_context(properties, context)
            .map_err(|error| failed(error, "subscribe"))?;
    let explain = |error| consumer.context().told.explain(error, "subscribe");
    if *start == Start::Latest {
        // What the group has come to stays: it would skip what it has not read.
        let none: BTreeMap<Place, u64> = places.iter().map(|place| (place.clone(), 0)).collect();
        let asked = list(prefix, &none)?;
        let committed = consumer.committed_offsets(asked, timeout).map_err(explain)?;
        places.retain(|(topic, partition)| {
            let full = format!("{prefix}{topic}");
            let found = committed.find_partition(&full, i32::try_from(*partition).unwrap_or(0));
            !matches!(found.map(|found| found.offset()), Some(Offset::Offset(_)))
        });
    }
    let firsts = firsts(&consumer, places, start, timeout)?;
    if firsts.is_empty() {
        return Ok(());
    }
    match consumer.commit(&list(prefix, &firsts)?, CommitMode::Sync) {
        Ok(()) => Ok(()),
        // The group has members: it goes on where it is.
        Err(error) if failed(error.clone(), "subscribe").kind() == ErrorKind::Fenced => Ok(()),
        Err(error) => Err(explain(error)),
    }
}

/// Where reading begins in each partition.
fn firsts<C: Consumer<Context>>(
    consumer: &C,
    places: Vec<Place>,
    start: &Start,
    timeout: Duration,
) -> Result<BTreeMap<Place, u64>> {
    let mut firsts = BTreeMap::new();
    for place in places {
        let topic = format!("{}{}", consumer.context().prefix, place.0);
        let partition = i32::try_from(place.1).unwrap_or(i32::MAX);
        let found = consumer.fetch_watermarks(&topic, partition, timeout);
        let (begin, end) = found.map_err(|error| match code(&error) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownPartition) => not_found(&place.0),
            _ => consumer.context().told.explain(error, "subscribe"),
        })?;
        let offset = |offset| u64::try_from(offset).unwrap_or(0);
        let first = match start {
            Start::Earliest | Start::Committed => offset(begin),
            Start::Latest => offset(end),
            Start::Offsets(offsets) => offsets.get(&place).copied().unwrap_or(0).max(offset(begin)),
        };
        firsts.insert(place, first);
    }
    Ok(firsts)
}

/// Behind the last records of these topics. A transaction's commit is answered before its end is in the
/// partitions: what readers of committed records take for the end may lie before its records.
async fn ends(topics: &Topics, names: &[String]) -> Result<Start> {
    let mut ends = BTreeMap::new();
    for name in names {
        let partitions = topics.info(name).await?.partitions;
        ends.extend((0..).zip(partitions).map(|(place, p)| ((name.clone(), place), p.end)));
    }
    Ok(Start::Offsets(ends))
}

/// Positions as the library takes them.
fn list(prefix: &str, positions: &BTreeMap<Place, u64>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in positions {
        let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition_offset(&format!("{prefix}{topic}"), partition, offset)
            .map_err(|error| failed(error, "name a partition"))?;
    }
    Ok(list)
}

impl Reader for KafkaReader {
    type Committer = KafkaCommitter;

    async fn poll(&mut self, limit: FetchLimit) -> Result<Vec<FetchedBatch>> {
        let until = tokio::time::Instant::now() + limit.wait_max;
        loop {
            if let Some(reason) = &self.ended {
                return Err(Error::new(ErrorKind::NotFound, "read a topic").because(reason.clone()));
            }
            if self.stands {
                self.go_on().await?;
            }
            let consumer = Arc::clone(self.consumer());
            match tokio::time::timeout_at(until, consumer.recv()).await {
                Err(_) => return Ok(Vec::new()),
                Ok(Ok(first)) => return self.gather(first, limit),
                Ok(Err(error)) => self.fail(error)?,
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        self.committer().commit(self.progress()).await
    }

    fn positions(&self) -> BTreeMap<(String, u32), u64> {
        let consumer = self.consumer();
        let context = consumer.context();
        let mut positions = passed(consumer);
        if self.in_group {
            // Ours, and not read yet: where the group has come, which the next read tells.
            for element in consumer.assignment().iter().flat_map(TopicPartitionList::elements) {
                positions.entry(context.place(element.topic(), element.partition())).or_insert(0);
            }
        }
        positions
    }

    fn progress(&self) -> Progress {
        let generation = self.consumer().context().generation.load(Ordering::Acquire);
        Progress { generation, positions: passed(self.consumer()) }
    }

    fn committer(&self) -> KafkaCommitter {
        KafkaCommitter { consumer: Arc::clone(self.consumer()), in_group: self.in_group }
    }
}

impl KafkaReader {
    /// What is for ever is an error; what passes is waited for, as the library tries again.
    fn fail(&mut self, error: KafkaError) -> Result<()> {
        self.note(&error);
        let error = self.consumer().context().told.explain(error, "read a topic");
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                tracing::debug!(error = error.report(), "it is tried again");
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// Commits for a [`KafkaReader`].
#[derive(Clone)]
pub struct KafkaCommitter {
    consumer: Arc<StreamConsumer<Context>>,
    in_group: bool,
}

impl Committer for KafkaCommitter {
    async fn commit(&self, progress: Progress) -> Result<()> {
        if !self.in_group {
            return Err(Error::new(ErrorKind::Config, "commit offsets")
                .because("the reader is in no group"));
        }
        let consumer = Arc::clone(&self.consumer);
        blocking(move || {
            let context = consumer.context();
            let own = passed(&consumer);
            let is_old = progress.generation != context.generation.load(Ordering::Acquire);
            let mut positions = progress.positions;
            let before = positions.len();
            positions.retain(|place, _| own.contains_key(place));
            if !positions.is_empty() {
                let list = list(&context.prefix, &positions)?;
                consumer
                    .commit(&list, CommitMode::Sync)
                    .map_err(|error| context.told.explain(error, "commit offsets"))?;
            }
            if is_old && positions.len() < before {
                return Err(Error::new(ErrorKind::Fenced, "commit offsets")
                    .because("a partition went to another member of the group"));
            }
            Ok(())
        })
        .await?
    }
}
