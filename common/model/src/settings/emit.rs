//! Which topics applications may write events to from within their database's transactions.

use super::wrong;
use crate::{Result, TOPIC_NAME_BYTES_MAX, glob};
use serde::{Deserialize, Serialize};

/// What begins no other message of `pg_logical_emit_message` than an event for a topic, as the emitter's
/// outbox makes it.
pub const EMIT_PREFIX: &str = "tidemesh.emit";

/// The most patterns.
const PATTERNS_MAX: usize = 100;

/// Events that applications write in transactions of their database, each with the topic that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmitSettings {
    /// The topics that they may be for: names, in which `*` stands for any characters and `?` for one. 1 to
    /// 100. No default: who may write to the database could else write to any topic.
    pub topics: Vec<String>,
}

impl EmitSettings {
    /// Whether events may be for this topic.
    #[must_use]
    pub fn allows(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| glob(pattern, topic))
    }

    pub(super) fn validate(&self) -> Result<()> {
        if !(1..=PATTERNS_MAX).contains(&self.topics.len()) {
            return Err(wrong("emit.topics", "must be 1 to 100 names or patterns")
                .with("patterns", self.topics.len()));
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-*?".contains(&b);
        let is_pattern = |pattern: &&String| {
            (1..=TOPIC_NAME_BYTES_MAX).contains(&pattern.len()) && pattern.bytes().all(is_plain)
        };
        match self.topics.iter().find(|pattern| !is_pattern(pattern)) {
            None => Ok(()),
            Some(pattern) => {
                Err(wrong("emit.topics", "each must be 1 to 249 of a-z A-Z 0-9 . _ - * ?")
                    .with("pattern", pattern.escape_debug()))
            }
        }
    }
}
