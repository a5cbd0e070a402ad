//! The spool: a log of the emitter's own on local disk. An event is taken once it is durable there, also
//! while the topics' store is away; `forward` carries it on, and what is delivered leaves the disk.
//!
//! It has a topic for each topic, with as many partitions. Beside them, in the state of its one writer,
//! stands what a start needs to know where registry and topics are away: [`Known`] topics.

use crate::own::take_over;
use crate::register::{Checked, Declared, Registered, check};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result, StateItem};
use tidemesh_transport::{
    Append, EmbeddedConfig, EmbeddedTransport, TopicConfig, Transport, WriterEpoch, read_stored,
    stored_item, take_stored,
};

/// The spool's writer.
const WRITER: &str = "spool";

/// The item that tells whose spool it is.
const IDENTITY: &str = "identity";

/// What the keys of items of topics begin with.
const TOPIC: &str = "topic/";

/// The version of the items' form.
const VERSION: u32 = 1;

/// The bounds of `spool_bytes_max`.
const SPOOL_BYTES: std::ops::RangeInclusive<u64> = 1024 * 1024..=1024 * 1024 * 1024 * 1024;

/// Where events are kept until they are delivered.
#[derive(Debug, Clone)]
pub struct Spool {
    pub(crate) folder: PathBuf,
    pub(crate) bytes_max: u64,
}

impl Spool {
    /// A spool in this folder, which is made if it is missing and belongs to one emitter at a time, with
    /// up to 1 GiB of events.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), bytes_max: 1024 * 1024 * 1024 }
    }

    /// How many bytes of events it may hold: 1 MiB to 1 TiB. Beyond them the queue in memory fills up,
    /// and then [`WhenFull`](crate::WhenFull) decides. The storage's journal, of 64 MiB or some more, comes on top.
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    version: u32,
    emitter: String,
    instance: u64,
}

/// What is known of a topic since the last start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    version: u32,
    topic: String,
    schema: String,
    value_id: u32,
    key_id: u32,
    key: Vec<String>,
    /// The key's schema; none where an earlier version kept it, or there is no key.
    #[serde(default)]
    key_schema: Option<String>,
    partitions: u32,
}

/// An open spool.
pub(crate) struct OpenSpool {
    pub(crate) log: Arc<EmbeddedTransport>,
    pub(crate) writer: WriterEpoch,
    /// Sets what was carried of it apart from what was of other spools.
    pub(crate) instance: u64,
    pub(crate) bytes_max: u64,
    known: BTreeMap<String, Known>,
}

impl OpenSpool {
    /// Opens the spool of the emitter of this name.
    ///
    /// # Errors
    ///
    /// `Config` for its bounds, or if it is another emitter's; `Conflict` if another process has it; what
    /// [`EmbeddedTransport::open`] answers.
    pub(crate) async fn open(spool: &Spool, emitter: &str, instance: u64) -> Result<Self> {
        if !SPOOL_BYTES.contains(&spool.bytes_max) {
            return Err(Error::new(ErrorKind::Config, "open a spool")
                .because("its bytes_max must be 1 MiB to 1 TiB")
                .with("bytes_max", spool.bytes_max));
        }
        let config = EmbeddedConfig::new(&spool.folder);
        let opening = tokio::task::spawn_blocking(move || EmbeddedTransport::open(&config));
        let log = opening
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "open a spool").caused_by(error))??;
        let mut state = log.state(WRITER).await?;
        let doing = "read a spool's state";
        let known: Vec<Known> = take_stored(&mut state, TOPIC, VERSION, doing)?;
        let identity: Option<Identity> =
            state.get(IDENTITY).map(|item| read_stored(item, VERSION, doing)).transpose()?;
        let instance = match identity {
            Some(identity) if identity.emitter == emitter => identity.instance,
            Some(other) => {
                return Err(Error::new(ErrorKind::Config, "open a spool")
                    .because("it is another emitter's")
                    .with("folder", spool.folder.display())
                    .with("emitter", other.emitter)
                    .help("give each emitter a folder of its own"));
            }
            None => {
                identify(&log, emitter, instance).await?;
                instance
            }
        };
        let writer = take_over(&log, WRITER, instance).await?;
        let known = known.into_iter().map(|known| (known.topic.clone(), known)).collect();
        Ok(Self { log: Arc::new(log), writer, instance, bytes_max: spool.bytes_max, known })
    }

    /// What the last start knew of a topic, if it was told the same of it.
    ///
    /// # Errors
    ///
    /// As [`check`].
    pub(crate) fn remembered(&self, declared: &Declared) -> Result<Option<Registered>> {
        let Some(known) = self.known.get(&declared.topic) else { return Ok(None) };
        let same_schema = declared.schema.as_ref().is_none_or(|schema| *schema == known.schema);
        if !same_schema || known.key != declared.key {
            return Ok(None);
        }
        let Checked { plan, key } = check(&known.topic, &known.schema, &known.key)?;
        if key.is_some() != known.key_schema.is_some() {
            return Ok(None);
        }
        Ok(Some(Registered {
            topic: known.topic.clone(),
            plan,
            schema: known.schema.clone(),
            value_id: known.value_id,
            key_id: key.map(|_| known.key_id),
            key_schema: known.key_schema.clone(),
            key_fields: known.key.clone(),
            partitions: known.partitions,
        }))
    }

    /// Keeps what is known of a topic now, and answers how many partitions it has here.
    ///
    /// # Errors
    ///
    /// What the log answers.
    pub(crate) async fn prepare(&mut self, topic: &Registered) -> Result<u32> {
        let config = TopicConfig {
            partitions: topic.partitions,
            cleanup_policy: CleanupPolicy::Delete,
            ..TopicConfig::default()
        };
        let info = self.log.create_topic(&topic.topic, &config).await?;
        let known = Known {
            version: VERSION,
            topic: topic.topic.clone(),
            schema: topic.schema.clone(),
            value_id: topic.value_id,
            key_id: topic.key_id.unwrap_or(0),
            key_schema: topic.key_schema.clone(),
            key: topic.key_fields.clone(),
            // One that was made with fewer goes on with those.
            partitions: u32::try_from(info.partitions.len()).unwrap_or(u32::MAX),
        };
        let partitions = known.partitions;
        if self.known.get(&known.topic) != Some(&known) {
            let item = stored_item(format!("{TOPIC}{}", known.topic), &known, "keep a topic")?;
            let (writer, state) = (Some(self.writer.clone()), vec![item]);
            self.log.append(Append { writer, state, ..Append::default() }).await?;
            self.known.insert(known.topic.clone(), known);
        }
        Ok(partitions)
    }
}

/// Stores whose spool it is.
async fn identify(log: &EmbeddedTransport, emitter: &str, instance: u64) -> Result<()> {
    let own = Identity { version: VERSION, emitter: emitter.to_owned(), instance };
    let state = vec![stored_item(IDENTITY.to_owned(), &own, "name a spool")?];
    let writer = Some(log.open_writer(WRITER).await?);
    log.append(Append { writer, state, ..Append::default() }).await.map(drop)
}

/// What the keys of a target's items begin with that tell how far a spool's partitions have been carried on.
pub(crate) fn carried_prefix(instance: u64) -> String {
    format!("spool/{instance:016x}/")
}

/// Such an item.
pub(crate) fn carried_item(instance: u64, topic: &str, partition: u32, next: u64) -> StateItem {
    let key = format!("{}{topic}/{partition}", carried_prefix(instance));
    StateItem { key, value: Some(next.to_be_bytes().to_vec()) }
}
