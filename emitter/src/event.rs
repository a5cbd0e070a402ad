//! What an application's events are: types with a schema, a topic and a key.

use serde::Serialize;
use std::borrow::Cow;

/// A type of events: what serde writes of it is what its schema says.
///
/// It is made of an `.avsc` file ([`avro_event!`](crate::avro_event)), derived (`#[derive(Event)]` beside
/// apache-avro's `#[derive(AvroSchema)]`), or written by hand.
pub trait Event: Serialize + 'static {
    /// The topic that its events go to, where the builder says no other.
    const TOPIC: &'static str;
    /// The fields, of the record itself and by their Avro names, whose values are the record's key: each a
    /// boolean, int, long, string or bytes, or one of these or null. None: records have no key and are
    /// dealt round.
    const KEY: &'static [&'static str];

    /// Its Avro schema as JSON: a record.
    fn schema() -> Cow<'static, str>;
}
