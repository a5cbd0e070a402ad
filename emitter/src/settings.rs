//! What an emitter is told: its bounds, and what each of its topics is to be.

use std::time::Duration;
use tidemesh_model::CleanupPolicy;
use tidemesh_transport::TopicConfig;

/// What to do with an event that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// `emit` and `enqueue` wait until there is room: the application goes at the brokers' pace.
    /// `emit_nowait`, which does not wait, fails with `Exhausted`.
    #[default]
    Wait,
    /// Each fails at once, with `Exhausted`.
    Fail,
    /// The event is dropped, counted ([`Counts::dropped`](crate::Counts::dropped)) and said so in its
    /// delivery; nothing fails.
    Drop,
}

/// The bounds of an emitter.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// The most bytes of events that are taken and not yet durable.
    pub(crate) queue_bytes_max: usize,
    pub(crate) when_full: WhenFull,
    /// How long an append is tried; none: for ever.
    pub(crate) delivery_timeout: Option<Duration>,
    /// How long `connect` waits for registry and topics.
    pub(crate) connect_timeout: Duration,
}

/// The least and the most of `queue_bytes_max`.
pub(crate) const QUEUE_BYTES: std::ops::RangeInclusive<usize> = 64 * 1024..=1024 * 1024 * 1024;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queue_bytes_max: 32 * 1024 * 1024,
            when_full: WhenFull::default(),
            delivery_timeout: None,
            connect_timeout: Duration::from_secs(30),
        }
    }
}

/// What a topic of an emitter is to be. A topic that is there stays as it is.
#[derive(Debug, Clone)]
pub struct Topic {
    pub(crate) name: Option<String>,
    pub(crate) key: Option<Vec<String>>,
    pub(crate) config: TopicConfig,
    pub(crate) register: bool,
}

impl Default for Topic {
    fn default() -> Self {
        let config = TopicConfig {
            partitions: 1,
            // Each event counts, not only a key's last.
            cleanup_policy: CleanupPolicy::Delete,
            ..TopicConfig::default()
        };
        Self { name: None, key: None, config, register: true }
    }
}

impl Topic {
    /// The topic of the event's type, with one partition, whose records are kept.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another name than the type's [`TOPIC`](crate::Event::TOPIC).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Other key fields than the type's [`KEY`](crate::Event::KEY); none: records have no key.
    #[must_use]
    pub fn key<N: Into<String>>(mut self, fields: impl IntoIterator<Item = N>) -> Self {
        self.key = Some(fields.into_iter().map(Into::into).collect());
        self
    }

    /// How many partitions it is made with; 1 to 1000.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.config.partitions = partitions;
        self
    }

    /// How it is made and kept, in everything.
    #[must_use]
    pub fn config(mut self, config: TopicConfig) -> Self {
        self.config = config;
        self
    }

    /// Whether the schema is registered if it is new. If not, it must be among its subject's versions:
    /// `connect` fails otherwise. Default true.
    #[must_use]
    pub fn register(mut self, register: bool) -> Self {
        self.register = register;
        self
    }
}
