//! What is said of one event beside its fields.

use std::time::{SystemTime, UNIX_EPOCH};

/// What is said of one event beside its fields: headers, its time, where it goes.
#[derive(Debug, Clone, Default)]
pub struct EventOptions<'a> {
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) event_time_ms: Option<i64>,
    pub(crate) place: Place<'a>,
    pub(crate) idempotency_key: Option<&'a str>,
}

/// Which partition an event goes to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Place<'a> {
    /// By its key; without one, in turn.
    #[default]
    ByKey,
    By(&'a [u8]),
    Partition(u32),
}

impl<'a> EventOptions<'a> {
    /// Nothing beside the fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header. Names that begin with `__` are the emitter's own and are refused.
    #[must_use]
    pub fn header(mut self, name: &'a str, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.headers.push((name, value.as_ref()));
        self
    }

    /// When what the event tells of happened: the record's timestamp. Default: now.
    #[must_use]
    pub fn event_time(mut self, at: SystemTime) -> Self {
        let ms = |since: std::time::Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        self.event_time_ms = Some(match at.duration_since(UNIX_EPOCH) {
            Ok(since) => ms(since),
            Err(before) => ms(before.duration()).saturating_neg(),
        });
        self
    }

    /// Events of one ordering key keep their order: it decides the partition in the key's place, as
    /// Kafka's clients hash keys, and does not become part of the record.
    #[must_use]
    pub fn ordering_key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.place = Place::By(key.as_ref());
        self
    }

    /// The partition, in the key's place.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.place = Place::Partition(partition);
        self
    }

    /// Names the event: of those with one name that an emitter takes, the first alone is sent, and the
    /// others' deliveries tell of that one; another event of that name is refused with `Conflict`. One that
    /// failed is sent when it comes again, unless it may be durable all the same (`Timeout`). The names of
    /// events on their way are remembered, and those of the last
    /// [`IDEMPOTENCY_KEYS_MAX`](crate::IDEMPOTENCY_KEYS_MAX) that ended, for the emitter's life; consumers have it as the
    /// header [`IDEMPOTENCY_HEADER`](crate::IDEMPOTENCY_HEADER).
    #[must_use]
    pub fn idempotency_key(mut self, key: &'a str) -> Self {
        self.idempotency_key = Some(key);
        self.headers.push((crate::IDEMPOTENCY_HEADER, key.as_bytes()));
        self
    }
}
