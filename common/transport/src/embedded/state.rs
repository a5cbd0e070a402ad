//! The log's metadata in memory, and its changes.
//!
//! A [`Change`] has two renderings: [`Change::store`] as keys of the storage's `meta` keyspace, and
//! [`State::apply`] in memory. The writing thread has a state that runs ahead; what readers see is
//! changed only once the changes are durable.
//!
//! Keys of `meta`, texts in UTF-8, numbers big-endian:
//!
//! ```text
//! t <topic>                          JSON: id and configuration
//! p u32 topic id, u32 partition      u64 begin, end, bytes, cleaned, bytes cleaned
//! d u32 topic id                     (empty) a topic that is gone and whose records are being removed
//! n                                  u32 the next topic's id
//! w <writer>                         u64 epoch
//! s <writer> 0 <key>                 the writer's state
//! g <group> 0 <topic> 0 u32          u64 the offset committed for a partition
//! ```

use super::damage::located;
use super::store::{Store, storage_error};
use crate::{PartitionInfo, Retention, TopicConfig, TopicInfo};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// A partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) bytes: u64,
    /// Compaction has been here: before this offset each key comes once.
    pub(super) cleaned: u64,
    /// Bytes of the records before it.
    pub(super) cleaned_bytes: u64,
}

/// A topic.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) config: TopicConfig,
    pub(super) partitions: Vec<Partition>,
}

/// What is stored of a topic under `t`.
#[derive(Serialize, Deserialize)]
struct StoredTopic {
    id: u32,
    config: TopicConfig,
}

/// Offsets by topic and partition.
pub(super) type Offsets = BTreeMap<(Arc<str>, u32), u64>;

/// A writer's state, by key.
pub(super) type Items = BTreeMap<Arc<str>, Arc<[u8]>>;

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    /// Topics that are gone and whose records are being removed.
    pub(super) gone: BTreeSet<u32>,
    pub(super) topic_id_next: u32,
    pub(super) epochs: BTreeMap<Arc<str>, u64>,
    /// Writers' state: by writer, then by key. Writers without state are not here.
    pub(super) items: BTreeMap<Arc<str>, Items>,
    /// Groups' offsets: by group.
    pub(super) offsets: BTreeMap<Arc<str>, Offsets>,
}

/// One change of the metadata.
#[derive(Debug, Clone)]
pub(super) enum Change {
    TopicMade(Arc<str>, u32, TopicConfig),
    /// The topic keeps its records for another time.
    TopicKept(Arc<str>, Retention),
    /// The topic and its groups' offsets go now, its records later.
    TopicGone(Arc<str>),
    /// All records of a topic that is gone are removed.
    TopicCleared(u32),
    Partition(Arc<str>, u32, Partition),
    Epoch(Arc<str>, u64),
    Item(Arc<str>, Arc<str>, Option<Arc<[u8]>>),
    Offset(Arc<str>, (Arc<str>, u32), u64),
}

/// Keys of `meta` to be written: the last value of each, none to remove it.
pub(super) type Puts = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Change {
    /// Adds what has to be stored, `state` being as it was before this change.
    pub(super) fn store(&self, state: &State, puts: &mut Puts) -> Result<()> {
        match self {
            Self::TopicMade(name, id, config) => {
                store_topic(name, *id, config.clone(), puts)?;
                puts.insert(b"n".to_vec(), Some((id + 1).to_be_bytes().to_vec()));
            }
            Self::TopicKept(name, retention) => {
                let topic = state.topic(name)?;
                let config = topic.config.clone().with_retention(retention);
                store_topic(name, topic.id, config, puts)?;
            }
            Self::TopicGone(name) => store_gone(name, state, puts),
            Self::TopicCleared(id) => {
                puts.insert(id_key(b'd', *id), None);
            }
            Self::Partition(name, number, partition) => {
                let key = partition_key(state.topic(name)?.id, *number);
                puts.insert(key, Some(partition.to_bytes()));
            }
            Self::Epoch(writer, epoch) => {
                puts.insert(text_key(b'w', &[writer]), Some(epoch.to_be_bytes().to_vec()));
            }
            Self::Item(writer, key, value) => {
                let value = value.as_ref().map(|value| value.to_vec());
                puts.insert(text_key(b's', &[writer, key]), value);
            }
            Self::Offset(group, place, offset) => {
                puts.insert(offset_key(group, place), Some(offset.to_be_bytes().to_vec()));
            }
        }
        Ok(())
    }
}

fn store_topic(name: &str, id: u32, config: TopicConfig, puts: &mut Puts) -> Result<()> {
    let value = serde_json::to_vec(&StoredTopic { id, config })
        .map_err(|e| Error::new(ErrorKind::Internal, "store a topic").caused_by(e))?;
    puts.insert(text_key(b't', &[name]), Some(value));
    Ok(())
}

fn store_gone(name: &Arc<str>, state: &State, puts: &mut Puts) {
    puts.insert(text_key(b't', &[name]), None);
    if let Some(topic) = state.topics.get(name) {
        for number in 0..topic.config.partitions {
            puts.insert(partition_key(topic.id, number), None);
        }
        puts.insert(id_key(b'd', topic.id), Some(Vec::new()));
    }
    for (group, offsets) in &state.offsets {
        for place in offsets.keys().filter(|(topic, _)| topic == name) {
            puts.insert(offset_key(group, place), None);
        }
    }
}

impl State {
    /// Makes a change that was or will be stored.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::TopicMade(name, id, config) => {
                let topic = Topic {
                    id: *id,
                    config: config.clone(),
                    partitions: vec![Partition::default(); config.partitions as usize],
                };
                self.topics.insert(Arc::clone(name), topic);
                self.topic_id_next = self.topic_id_next.max(id + 1);
            }
            Change::TopicKept(name, retention) => {
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.config = topic.config.clone().with_retention(retention);
                }
            }
            Change::TopicGone(name) => {
                if let Some(topic) = self.topics.remove(name) {
                    self.gone.insert(topic.id);
                }
                for offsets in self.offsets.values_mut() {
                    offsets.retain(|(topic, _), _| topic != name);
                }
                self.offsets.retain(|_, offsets| !offsets.is_empty());
            }
            Change::TopicCleared(id) => {
                self.gone.remove(id);
            }
            Change::Partition(name, number, new) => {
                let found = self
                    .topics
                    .get_mut(name)
                    .and_then(|topic| topic.partitions.get_mut(*number as usize));
                if let Some(partition) = found {
                    *partition = *new;
                }
            }
            Change::Epoch(writer, epoch) => {
                self.epochs.insert(Arc::clone(writer), *epoch);
            }
            Change::Item(writer, key, value) => self.apply_item(writer, key, value.as_ref()),
            Change::Offset(group, place, offset) => {
                let offsets = self.offsets.entry(Arc::clone(group)).or_default();
                offsets.insert(place.clone(), *offset);
            }
        }
    }

    fn apply_item(&mut self, writer: &Arc<str>, key: &Arc<str>, value: Option<&Arc<[u8]>>) {
        let items = self.items.entry(Arc::clone(writer)).or_default();
        match value {
            Some(value) => {
                items.insert(Arc::clone(key), Arc::clone(value));
            }
            None => {
                items.remove(key);
                if items.is_empty() {
                    self.items.remove(writer);
                }
            }
        }
    }

    /// Reads the metadata of a log that was just opened.
    pub(super) fn load(store: &Store, folder: &Path) -> Result<Self> {
        let mut state = Self::default();
        let mut partitions = BTreeMap::new();
        for entry in store.meta.iter() {
            let (key, value) = entry
                .into_inner()
                .map_err(|e| storage_error(e, "read the log's metadata", folder))
                .map_err(|e| located(e, store))?;
            state.take(&key, &value, &mut partitions).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "read the log's metadata")
                    .because("an entry is not what was written")
                    .with("folder", folder.display())
                    .with("key", key.escape_ascii())
            })?;
        }
        for topic in state.topics.values_mut() {
            for (number, partition) in (0..).zip(&mut topic.partitions) {
                if let Some(stored) = partitions.get(&(topic.id, number)) {
                    *partition = *stored;
                }
            }
        }
        Ok(state)
    }

    fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        partitions: &mut BTreeMap<(u32, u32), Partition>,
    ) -> Option<()> {
        let (letter, rest) = key.split_first()?;
        match letter {
            b't' => {
                let stored: StoredTopic = serde_json::from_slice(value).ok()?;
                stored.config.validate().ok()?;
                self.apply(&Change::TopicMade(text(rest)?, stored.id, stored.config));
            }
            b'p' => {
                let number = read_u32(rest.get(4..)?)?;
                partitions.insert((read_u32(rest)?, number), Partition::from_bytes(value)?);
            }
            b'd' => {
                self.gone.insert(read_u32(rest)?);
            }
            b'n' => self.topic_id_next = self.topic_id_next.max(read_u32(value)?),
            b'w' => self.apply(&Change::Epoch(text(rest)?, read_u64(value)?)),
            b's' => {
                let (writer, item) = split(rest)?;
                self.apply(&Change::Item(writer, text(item)?, Some(value.into())));
            }
            b'g' => {
                let (group, rest) = split(rest)?;
                let (topic, number) = split(rest)?;
                let place = (topic, read_u32(number)?);
                self.apply(&Change::Offset(group, place, read_u64(value)?));
            }
            _ => return None,
        }
        Some(())
    }

    pub(super) fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics.get(name).ok_or_else(|| not_found(name))
    }

    pub(super) fn info(&self, name: &str) -> Result<TopicInfo> {
        let topic = self.topic(name)?;
        let info = |partition: &Partition| PartitionInfo {
            begin: partition.begin,
            end: partition.end,
            bytes: Some(partition.bytes),
        };
        Ok(TopicInfo {
            name: name.to_owned(),
            config: topic.config.clone(),
            partitions: topic.partitions.iter().map(info).collect(),
        })
    }
}

impl Partition {
    fn to_bytes(self) -> Vec<u8> {
        [self.begin, self.end, self.bytes, self.cleaned, self.cleaned_bytes]
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    fn from_bytes(value: &[u8]) -> Option<Self> {
        let number = |index: usize| read_u64(value.get(index * 8..)?);
        Some(Self {
            begin: number(0)?,
            end: number(1)?,
            bytes: number(2)?,
            cleaned: number(3)?,
            cleaned_bytes: number(4)?,
        })
    }
}

pub(super) fn not_found(topic: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find a topic").because("there is none").with("topic", topic)
}

fn read_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

fn read_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}

fn text(bytes: &[u8]) -> Option<Arc<str>> {
    std::str::from_utf8(bytes).ok().map(Arc::from)
}

fn split(bytes: &[u8]) -> Option<(Arc<str>, &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((text(&bytes[..at])?, &bytes[at + 1..]))
}

/// A letter and texts, a zero byte between them.
fn text_key(letter: u8, parts: &[&str]) -> Vec<u8> {
    let mut key = vec![letter];
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            key.push(0);
        }
        key.extend_from_slice(part.as_bytes());
    }
    key
}

fn id_key(letter: u8, id: u32) -> Vec<u8> {
    let mut key = vec![letter];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

fn partition_key(id: u32, number: u32) -> Vec<u8> {
    let mut key = id_key(b'p', id);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn offset_key(group: &str, (topic, number): &(Arc<str>, u32)) -> Vec<u8> {
    let mut key = text_key(b'g', &[group, topic]);
    key.push(0);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Arc<str>> {
        "[a-c]{1,2}".prop_map(Arc::from)
    }

    fn change() -> impl Strategy<Value = Change> {
        let config = TopicConfig { partitions: 2, ..TopicConfig::default() };
        let item = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3));
        prop_oneof![
            (name(), 0..9_u32).prop_map(move |(n, id)| Change::TopicMade(n, id, config.clone())),
            name().prop_map(Change::TopicGone),
            (name(), any::<u64>()).prop_map(|(n, ms)| Change::TopicKept(
                n,
                Retention {
                    retention_ms: Some(ms),
                    retention_bytes: None,
                    delete_retention_ms: ms / 2,
                }
            )),
            (0..9_u32).prop_map(Change::TopicCleared),
            (name(), 0..2_u32, any::<u64>()).prop_map(|(n, p, end)| {
                let partition = Partition { end, ..Partition::default() };
                Change::Partition(n, p, partition)
            }),
            (name(), any::<u64>()).prop_map(|(n, epoch)| Change::Epoch(n, epoch)),
            (name(), name(), item).prop_map(|(w, k, v)| Change::Item(w, k, v.map(Into::into))),
            (name(), name(), 0..2_u32, any::<u64>()).prop_map(|(g, t, p, o)| Change::Offset(
                g,
                (t, p),
                o
            )),
        ]
    }

    proptest! {
        /// The two renderings of a change agree: what is stored loads as what was applied.
        #[test]
        fn stored_changes_load_as_they_were_applied(
            changes in proptest::collection::vec(change(), 0..30),
        ) {
            let (mut state, mut stored) = (State::default(), Puts::new());
            for change in &changes {
                // As the writing thread does: ids are never used twice, partitions have topics.
                let fits = match change {
                    Change::TopicMade(name, id, _) =>
                        *id >= state.topic_id_next && !state.topics.contains_key(name),
                    Change::Partition(name, _, _) | Change::TopicKept(name, _) =>
                        state.topics.contains_key(name),
                    _ => true,
                };
                if fits {
                    change.store(&state, &mut stored).unwrap();
                    state.apply(change);
                }
            }
            let (mut loaded, mut partitions) = (State::default(), BTreeMap::new());
            for (key, value) in &stored {
                if let Some(value) = value {
                    loaded.take(key, value, &mut partitions).unwrap();
                }
            }
            for topic in loaded.topics.values_mut() {
                for (number, partition) in (0..).zip(&mut topic.partitions) {
                    if let Some(stored) = partitions.get(&(topic.id, number)) {
                        *partition = *stored;
                    }
                }
            }
            prop_assert_eq!(format!("{loaded:?}"), format!("{state:?}"));
        }

        #[test]
        fn any_entry_is_read_or_refused(
            key in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let _ = State::default().take(&key, &value, &mut BTreeMap::new());
        }
    }
}
