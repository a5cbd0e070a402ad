//! What connectors announce of the tables that they capture, and emitters of their topics: records of JSON in
//! a compacted topic of the platform, so that whoever reads it knows of those in other processes too.

use crate::{
    Append, FetchLimit, PartitionBatch, Reader, RecordRef, Records, Start, Subscription,
    TopicConfig, Transport,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// The topic.
pub const ANNOUNCED_TOPIC: &str = "_tidemesh.catalog";

/// The most tables that are known of; more are passed over, with a word in the log.
pub const ANNOUNCED_MAX: usize = 20_000;

/// The version of the records' form.
const VERSION: u32 = 1;

/// The bounds of one fetch.
const FETCH: FetchLimit =
    FetchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_millis(100) };

/// After so many fetches without a record there is none: over Kafka the marks of transactions stand at
/// a topic's end.
const EMPTY_FETCHES_MAX: u32 = 10;

/// The longest that one call reads; the next one goes on from there.
const READ_MAX: Duration = Duration::from_secs(5);

/// What a connector announces of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    version: u32,
    /// The source.
    pub source: String,
    /// The table, as `public.orders`.
    pub table: String,
    /// The topic that it goes to now.
    pub topic: String,
    /// The names of its key's columns, in the key's order.
    pub key: Vec<String>,
    /// The id of its key's schema; 0 if it has none.
    pub key_schema: u32,
    /// The id of its values' schema.
    pub value_schema: u32,
    /// Records a second, over some seconds before it was announced, in thousandths.
    pub rate_milli: u64,
    /// When its newest change was made, by the database's clock, in milliseconds since 1970-01-01
    /// 00:00:00 UTC; 0 if the connector has seen none since it was started.
    pub newest_at_ms: u64,
    /// Up to when its log was in the topics, likewise; 0: not known.
    pub read_to_ms: u64,
    /// When this was announced, by the connector's clock.
    pub at_ms: u64,
    /// Who answers for it, as its emitter says; empty: not told, as of every table.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
}

impl Announced {
    /// A table of a source, as yet without anything to tell of it.
    #[must_use]
    pub fn new(source: &str, table: &str) -> Self {
        Self {
            version: VERSION,
            source: source.to_owned(),
            table: table.to_owned(),
            topic: String::new(),
            key: Vec::new(),
            key_schema: 0,
            value_schema: 0,
            rate_milli: 0,
            newest_at_ms: 0,
            read_to_ms: 0,
            at_ms: 0,
            owner: String::new(),
        }
    }
}

/// Under which key a table is announced: names of sources have no slash.
fn key(source: &str, table: &str) -> String {
    format!("{source}/{table}")
}

/// Announces tables, each in the place of what was announced of it before.
///
/// # Errors
///
/// What the transport answers; `TooLarge` for more than a record can hold.
pub async fn announce<T: Transport>(transport: &T, tables: &[Announced]) -> Result<()> {
    let mut records = Records::default();
    for table in tables {
        let value = serde_json::to_vec(table).map_err(|error| {
            Error::new(ErrorKind::Internal, "announce a table").caused_by(error)
        })?;
        let at_ms = i64::try_from(table.at_ms).unwrap_or(i64::MAX);
        let key = key(&table.source, &table.table);
        records.push(at_ms, Some(key.as_bytes()), &[], Some(&value))?;
    }
    append(transport, records).await
}

/// Takes back what was announced of tables.
///
/// # Errors
///
/// As [`announce`].
pub async fn withdraw<T: Transport>(transport: &T, tables: &[Announced], at_ms: i64) -> Result<()> {
    let mut records = Records::default();
    for Announced { source, table, .. } in tables {
        records.push(at_ms, Some(key(source, table).as_bytes()), &[], None)?;
    }
    append(transport, records).await
}

/// What is announced of a source's tables.
///
/// # Errors
///
/// What the transport answers.
pub async fn announced_by<T: Transport>(transport: &T, source: &str) -> Result<Vec<Announced>> {
    let mut reader = AnnouncedReader::default();
    let all = reader.read(transport).await?.values();
    Ok(all.filter(|announced| announced.source == source).cloned().collect())
}

async fn append<T: Transport>(transport: &T, records: Records) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    transport.create_topic(ANNOUNCED_TOPIC, &TopicConfig::default()).await?;
    let batch = PartitionBatch { topic: ANNOUNCED_TOPIC.into(), partition: 0, records };
    transport.append(Append { batches: vec![batch], ..Append::default() }).await.map(drop)
}

/// Reads what is announced; keeps it, and reads only what is new.
pub struct AnnouncedReader<R> {
    reader: Option<R>,
    known: BTreeMap<String, Announced>,
}

impl<R> Default for AnnouncedReader<R> {
    fn default() -> Self {
        Self { reader: None, known: BTreeMap::new() }
    }
}

impl<R: Reader> AnnouncedReader<R> {
    /// What is announced now, by source and table.
    ///
    /// # Errors
    ///
    /// What the transport answers: the next call reads all of it anew.
    pub async fn read<T: Transport<Reader = R>>(
        &mut self,
        transport: &T,
    ) -> Result<&BTreeMap<String, Announced>> {
        let info = match transport.topic(ANNOUNCED_TOPIC).await {
            // Nobody has announced anything yet.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(&self.known),
            info => info?,
        };
        let end = info.partitions.first().map_or(0, |partition| partition.end);
        let read = self.read_to(transport, end).await;
        if let Err(error) = read {
            self.reader = None;
            return Err(error);
        }
        Ok(&self.known)
    }

    async fn read_to<T: Transport<Reader = R>>(&mut self, transport: &T, end: u64) -> Result<()> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                self.known.clear();
                let topics = vec![ANNOUNCED_TOPIC.to_owned()];
                let start = Start::Earliest;
                transport.subscribe(Subscription { topics, group: None, start }).await?
            }
        };
        let (deadline, mut empty) = (Instant::now() + READ_MAX, 0);
        let partition = (ANNOUNCED_TOPIC.to_owned(), 0);
        let is_behind = |reader: &R| reader.positions().get(&partition).is_none_or(|at| *at < end);
        while end > 0
            && is_behind(&reader)
            && empty < EMPTY_FETCHES_MAX
            && Instant::now() < deadline
        {
            let batches = reader.poll(FETCH).await?;
            empty = if batches.is_empty() { empty + 1 } else { 0 };
            for record in batches.iter().flat_map(|batch| batch.iter()) {
                let (offset, record) = record?;
                self.take(offset, &record);
            }
        }
        self.reader = Some(reader);
        Ok(())
    }

    fn take(&mut self, offset: u64, record: &RecordRef<'_>) {
        let Some(key) = record.key.and_then(|key| std::str::from_utf8(key).ok()) else { return };
        let Some(value) = record.value else {
            self.known.remove(key);
            return;
        };
        let announced = serde_json::from_slice::<Announced>(value);
        let known = self.known.contains_key(key) || self.known.len() < ANNOUNCED_MAX;
        match announced.ok().filter(|announced| known && announced.version <= VERSION) {
            Some(announced) => drop(self.known.insert(key.to_owned(), announced)),
            // A newer program's, or too many: what is known of the others stays true.
            None => {
                tracing::warn!(topic = ANNOUNCED_TOPIC, offset, "an announcement is passed over")
            }
        }
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use super::*;
    use crate::{EmbeddedConfig, EmbeddedTransport};

    fn table(source: &str, table: &str, topic: &str) -> Announced {
        Announced { topic: topic.into(), ..Announced::new(source, table) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_announced_is_read_and_what_is_withdrawn_goes() {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig::new(folder.path().to_owned());
        let log = EmbeddedTransport::open(&config).unwrap();
        let mut reader = AnnouncedReader::default();
        assert!(reader.read(&log).await.unwrap().is_empty());
        announce(&log, &[table("a", "s.t", "one"), table("b", "s.t", "b")]).await.unwrap();
        assert_eq!(reader.read(&log).await.unwrap()["a/s.t"].topic, "one");
        announce(&log, &[table("a", "s.t", "two"), table("a", "s.u", "u")]).await.unwrap();
        assert_eq!(reader.read(&log).await.unwrap()["a/s.t"].topic, "two");
        withdraw(&log, &announced_by(&log, "a").await.unwrap(), 1).await.unwrap();
        let left: Vec<&String> = reader.read(&log).await.unwrap().keys().collect();
        assert_eq!(left, ["b/s.t"]);
        assert!(log.topics().await.unwrap().is_empty(), "it is no topic of users");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_read_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig::new(folder.path().to_owned());
        let log = EmbeddedTransport::open(&config).unwrap();
        let owned = Announced { owner: "shop-team".into(), ..Announced::new("b", "s.t") };
        announce(&log, std::slice::from_ref(&owned)).await.unwrap();
        let newer = Announced { version: VERSION + 1, ..Announced::new("a", "s.new") };
        announce(&log, &[newer, Announced::new("a", "s.t")]).await.unwrap();
        let mut records = Records::default();
        records.push(0, Some(b"\xff"), &[], Some(b"{")).unwrap();
        records.push(0, Some(b"a/s.broken"), &[], Some(b"{")).unwrap();
        append(&log, records).await.unwrap();
        let mut reader = AnnouncedReader::default();
        let known: Vec<&String> = reader.read(&log).await.unwrap().keys().collect();
        assert_eq!(known, ["a/s.t", "b/s.t"]);
        assert_eq!(reader.known["b/s.t"], owned);
        // What was announced before there were owners is read, and what has none is written as then.
        let before = serde_json::to_string(&Announced::new("a", "s.t")).unwrap();
        assert!(!before.contains("owner"), "{before}");
        assert_eq!(serde_json::from_str::<Announced>(&before).unwrap(), Announced::new("a", "s.t"));
    }
}
