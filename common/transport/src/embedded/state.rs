//! The log's metadata in memory: topics, ends, writers, groups' offsets. What readers see is
//! replaced only once it is durable.

use super::store::{Store, storage_error};
use crate::{PartitionInfo, TopicConfig, TopicInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use tidemesh_model::{Error, ErrorKind, Result};

/// A topic.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) config: TopicConfig,
    pub(super) partitions: Vec<PartitionInfo>,
}

/// A topic as stored under `t<name>`.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredTopic {
    pub(super) id: u32,
    pub(super) config: TopicConfig,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) epochs: BTreeMap<String, u64>,
    /// Writers' state: by writer, then by key.
    pub(super) items: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Groups' offsets: by group, then by topic and partition.
    pub(super) offsets: BTreeMap<String, BTreeMap<(String, u32), u64>>,
    pub(super) topic_id_next: u32,
}

impl State {
    /// Reads the metadata of a log that was just opened.
    pub(super) fn load(store: &Store, folder: &Path) -> Result<Self> {
        let mut state = Self::default();
        let mut partitions = BTreeMap::new();
        for entry in store.meta.iter() {
            let (key, value) = entry
                .into_inner()
                .map_err(|e| storage_error(e, "read the log's metadata", folder))?;
            state.take(&key, &value, &mut partitions).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "read the log's metadata")
                    .with("folder", folder.display())
                    .with("key", String::from_utf8_lossy(&key).escape_debug())
            })?;
        }
        for topic in state.topics.values_mut() {
            topic.partitions = (0..topic.config.partitions)
                .map(|partition| {
                    let empty = PartitionInfo { begin: 0, end: 0, bytes: 0 };
                    partitions.get(&(topic.id, partition)).copied().unwrap_or(empty)
                })
                .collect();
            state.topic_id_next = state.topic_id_next.max(topic.id + 1);
        }
        Ok(state)
    }

    fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        partitions: &mut BTreeMap<(u32, u32), PartitionInfo>,
    ) -> Option<()> {
        let (letter, rest) = key.split_first()?;
        match letter {
            b't' => {
                let stored: StoredTopic = serde_json::from_slice(value).ok()?;
                let topic = Topic { id: stored.id, config: stored.config, partitions: Vec::new() };
                self.topics.insert(text(rest)?, topic);
            }
            b'p' => {
                let id = u32::from_be_bytes(*rest.get(..4)?.first_chunk()?);
                let partition = u32::from_be_bytes(*rest.get(4..8)?.first_chunk()?);
                partitions.insert((id, partition), read_partition(value)?);
            }
            b'w' => {
                self.epochs.insert(text(rest)?, u64::from_be_bytes(*value.first_chunk()?));
            }
            b's' => {
                let (writer, item) = split(rest)?;
                self.items.entry(writer).or_default().insert(text(item)?, value.to_vec());
            }
            b'g' => {
                let (group, rest) = split(rest)?;
                let (topic, partition) = split(rest)?;
                let partition = text(partition)?.parse().ok()?;
                let offset = u64::from_be_bytes(*value.first_chunk()?);
                self.offsets.entry(group).or_default().insert((topic, partition), offset);
            }
            b'v' => {}
            _ => return None,
        }
        Some(())
    }

    pub(super) fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics.get(name).ok_or_else(|| not_found(name))
    }

    pub(super) fn info(&self, name: &str) -> Result<TopicInfo> {
        let topic = self.topic(name)?;
        Ok(TopicInfo {
            name: name.to_owned(),
            config: topic.config.clone(),
            partitions: topic.partitions.clone(),
        })
    }
}

pub(super) fn not_found(topic: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find a topic").because("there is none").with("topic", topic)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn split(bytes: &[u8]) -> Option<(String, &[u8])> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some((text(&bytes[..at])?, &bytes[at + 1..]))
}

pub(super) fn partition_value(partition: &PartitionInfo) -> [u8; 24] {
    let mut value = [0; 24];
    value[..8].copy_from_slice(&partition.begin.to_be_bytes());
    value[8..16].copy_from_slice(&partition.end.to_be_bytes());
    value[16..].copy_from_slice(&partition.bytes.to_be_bytes());
    value
}

fn read_partition(value: &[u8]) -> Option<PartitionInfo> {
    let number = |at: usize| Some(u64::from_be_bytes(*value.get(at..at + 8)?.first_chunk()?));
    Some(PartitionInfo { begin: number(0)?, end: number(8)?, bytes: number(16)? })
}
