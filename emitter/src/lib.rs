//! Publishes an application's events to Tidemesh: schema first, each accepted event once.

// What the macros write names this crate, within it too.
#![allow(unused_extern_crates)]
extern crate self as tidemesh_emitter;

mod builder;
mod counts;
mod delivery;
mod emitter;
mod event;
#[cfg(feature = "spool")]
mod forward;
#[cfg(feature = "spool")]
mod gate;
mod options;
mod own;
mod queue;
mod register;
mod remember;
mod sender;
mod settings;
#[cfg(feature = "spool")]
mod spool;
mod stream;

pub use builder::EmitterBuilder;
pub use counts::Counts;
pub use delivery::{Delivery, Receipt};
pub use emitter::{Emitter, TopicEmitter};
pub use event::Event;
pub use options::EventOptions;
pub use remember::IDEMPOTENCY_KEYS_MAX;
pub use settings::{Topic, WhenFull};
#[cfg(feature = "spool")]
pub use spool::Spool;
pub use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
#[cfg(feature = "kafka")]
pub use tidemesh_transport::kafka::KafkaConfig;
#[cfg(feature = "embedded")]
pub use tidemesh_transport::EmbeddedConfig;
pub use tidemesh_transport::{RegistryAccess, RegistryLogin, TopicConfig};

/// The header that tells whose event it is and which: 16 bytes, the emitter's instance and the event's
/// number among that one's in the partition, each a 64-bit integer, big-endian. An instance is one
/// connection of an emitter without a spool, or one spool.
pub const EMITTER_HEADER: &str = "__emitter";

/// The header that has an event's idempotency key, where it was given one.
pub const IDEMPOTENCY_HEADER: &str = "__idempotency_key";
