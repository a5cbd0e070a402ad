//! Topics: names, configuration, and what is known of their partitions.

use serde::{Deserialize, Serialize};
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result, is_topic_name};

/// The most partitions of one topic.
pub const PARTITIONS_MAX: u32 = 1000;

/// How a topic is made and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// How many partitions; 1 to [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// What happens to old records.
    pub cleanup_policy: CleanupPolicy,
    /// With `delete`: how long records are kept, in milliseconds.
    pub retention_ms: Option<u64>,
    /// With `delete`: how many bytes a partition keeps.
    pub retention_bytes: Option<u64>,
    /// With `compact`: how long a tombstone stays after it was written, in milliseconds.
    /// Kafka's default is a day.
    pub delete_retention_ms: u64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: 1,
            cleanup_policy: CleanupPolicy::Compact,
            retention_ms: None,
            retention_bytes: None,
            delete_retention_ms: 86_400_000,
        }
    }
}

/// How long a topic keeps its records: what of [`TopicConfig`] can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// As [`TopicConfig::retention_ms`].
    pub retention_ms: Option<u64>,
    /// As [`TopicConfig::retention_bytes`].
    pub retention_bytes: Option<u64>,
    /// As [`TopicConfig::delete_retention_ms`].
    pub delete_retention_ms: u64,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How it was made.
    pub config: TopicConfig,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// The offset of the first record that may still be there.
    pub begin: u64,
    /// The offset that the next record will have.
    pub end: u64,
    /// Bytes of its records as stored, before the storage's own compression; none where the
    /// transport does not tell.
    pub bytes: Option<u64>,
}

/// Checks a topic's name by Kafka's rule: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`.
///
/// # Errors
///
/// `Config`, with the name.
pub fn check_topic_name(name: &str) -> Result<()> {
    if is_topic_name(name) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "name a topic")
        .because("a topic's name has 1 to 249 of a-z A-Z 0-9 . _ -")
        .with("topic", name))
}

impl TopicConfig {
    /// How long records are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            delete_retention_ms: self.delete_retention_ms,
        }
    }

    /// The same with another retention.
    #[must_use]
    pub fn with_retention(self, retention: &Retention) -> Self {
        let Retention { retention_ms, retention_bytes, delete_retention_ms } = *retention;
        Self { retention_ms, retention_bytes, delete_retention_ms, ..self }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// `Config`, naming the bound.
    pub fn validate(&self) -> Result<()> {
        if (1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "make a topic")
            .because(format!("partitions must be 1 to {PARTITIONS_MAX}"))
            .with("partitions", self.partitions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_rule_for_names_holds() {
        for name in ["a", "shop.public.orders", "A-9_x", &"x".repeat(249)] {
            check_topic_name(name).unwrap();
        }
        for name in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert!(check_topic_name(name).is_err(), "{name}");
        }
    }
}
