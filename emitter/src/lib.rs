#![doc = include_str!("../README.md")]
// What the macros write names this crate, within it too.
#![allow(unused_extern_crates)]
extern crate self as tidemesh_emitter;

mod builder;
pub mod bytes;
mod catalog;
mod check;
mod counts;
mod delivery;
mod emitter;
mod encoded;
mod event;
#[cfg(feature = "spool")]
mod forward;
#[cfg(feature = "spool")]
mod gate;
mod options;
#[cfg(feature = "outbox")]
mod outbox;
mod own;
mod queue;
mod register;
mod remember;
mod sender;
mod settings;
#[cfg(feature = "spool")]
mod spool;
mod stream;
mod trace;

pub use builder::EmitterBuilder;
pub use check::{Declaration, Finding, check_declarations};
pub use counts::Counts;
pub use delivery::{Delivery, Receipt};
pub use emitter::{Emitter, TopicEmitter};
pub use event::Event;
pub use options::EventOptions;
#[cfg(feature = "outbox")]
pub use outbox::{Dialect, Message, Outbox, OutboxBuilder, Row, TopicOutbox};
pub use remember::IDEMPOTENCY_KEYS_MAX;
pub use settings::{Topic, WhenFull};
#[cfg(feature = "spool")]
pub use spool::Spool;
pub use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
#[cfg(feature = "embedded")]
pub use tidemesh_transport::EmbeddedConfig;
#[cfg(feature = "kafka")]
pub use tidemesh_transport::kafka::KafkaConfig;
pub use tidemesh_transport::{RegistryAccess, RegistryClient, RegistryLogin, TopicConfig};
pub use trace::Carrier;

/// The header that tells whose event it is and which: 16 bytes, the emitter's start and the event's number
/// among those that this start took for the partition, each a 64-bit integer, big-endian. Where a number is
/// missing, an event that was taken has failed, or was lost with the process.
pub const EMITTER_HEADER: &str = "__emitter";

/// The header that has an event's idempotency key, where it was given one.
pub const IDEMPOTENCY_HEADER: &str = tidemesh_avro::emitted::IDEMPOTENCY_HEADER;

/// The type of an event, from an `.avsc` file that is checked while the crate is compiled.
///
/// ```
/// use tidemesh_emitter::{Event, avro_event};
///
/// avro_event! {
///     file = "schemas/order_placed.avsc",
///     topic = "shop.orders",
///     key = ["order_id"],
/// }
///
/// let order = OrderPlaced {
///     order_id: 7,
///     customer: Customer { name: "Ada".to_owned(), email: None },
///     status: Status::InTransit,
///     total: "12.50".to_owned(),
///     placed_at: 1_780_000_000_000_000,
///     lines: vec![OrderLine { sku: "A-1".to_owned(), quantity: 2 }],
/// };
/// assert_eq!(OrderPlaced::TOPIC, "shop.orders");
/// assert_eq!(OrderPlaced::KEY, ["order_id"]);
/// assert!(OrderPlaced::schema().contains("\"OrderPlaced\""));
/// # assert_eq!(serde_json::to_value(&order).unwrap()["status"], "IN_TRANSIT");
/// ```
pub use tidemesh_emitter_macros::avro_event;

/// `Event` for a type of one's own, beside apache-avro's derive, of which the schema comes.
///
/// ```
/// use tidemesh_emitter::{AvroSchema, Event}; // the trait `Event` too
///
/// #[derive(serde::Serialize, AvroSchema, Event)]
/// #[event(topic = "shop.orders", key = ["order_id"])]
/// #[avro(namespace = "shop")]
/// struct OrderShipped {
///     order_id: i64,
///     /// Days that the parcel takes.
///     days: Option<i32>,
/// }
///
/// assert_eq!(OrderShipped::TOPIC, "shop.orders");
/// assert!(OrderShipped::schema().contains("\"OrderShipped\""));
/// ```
///
/// What apache-avro's derive writes names the crates `apache_avro` and `serde_json` themselves, so both
/// must be dependencies of the crate that uses it, under these names and in the version of this crate's
/// [`AvroSchema`]; and serde's own derive names `serde`:
///
/// ```toml
/// apache-avro = { version = "0.22", default-features = false, features = ["derive"] }
/// serde = { version = "1", features = ["derive"] }
/// serde_json = "1"
/// ```
///
/// To apache-avro a `Vec<u8>` is an array of int. What shall be bytes says so twice, once for the schema:
/// `#[avro(with)] #[serde(with = "apache_avro::serde::bytes")]`.
#[cfg(feature = "derive")]
pub use tidemesh_emitter_macros::Event;

/// apache-avro's trait of types that have a schema, and its derive.
#[cfg(feature = "derive")]
pub use apache_avro::AvroSchema;

/// What the macros write names; no part of the surface.
#[doc(hidden)]
pub mod __private {
    pub use serde;

    /// The JSON of a type's schema.
    #[cfg(feature = "derive")]
    #[must_use]
    pub fn schema_of<T: apache_avro::AvroSchema>() -> String {
        serde_json::to_string(&T::get_schema()).expect("a schema's parts all have a form in JSON")
    }
}
