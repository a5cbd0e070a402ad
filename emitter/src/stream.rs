//! A topic that events go to, with everything that an event's bytes need.

use crate::encoded::Reader;
use crate::options::{EventOptions, Place};
use crate::register::{Registered, check};
use crate::remember::Named;
use serde::Serialize;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tidemesh_avro::frame;
use tidemesh_avro::serial::{Plan, Spans};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::partition_of;

/// A topic that events go to.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) topic: Arc<str>,
    pub(crate) plan: Plan,
    /// The schema that the plan is of.
    pub(crate) schema: Box<str>,
    pub(crate) key_fields: Vec<String>,
    /// Reads what comes as Avro data; made with the first that does.
    pub(crate) reader: OnceLock<Reader>,
    pub(crate) value_id: u32,
    /// The id of its key's schema, if it has one.
    pub(crate) key_id: Option<u32>,
    pub(crate) partitions: u32,
    /// The lane of its first partition.
    pub(crate) lane: usize,
    /// Deals events without a key round.
    pub(crate) turn: AtomicU32,
}

/// An event's bytes, framed.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) value: Vec<u8>,
    pub(crate) key: Vec<u8>,
    spans: Spans,
}

thread_local! {
    static SCRATCH: RefCell<Encoded> = RefCell::default();
}

/// Lends this thread's buffers; others to who emits within an emission.
pub(crate) fn with_scratch<R>(run: impl FnOnce(&mut Encoded) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => run(&mut scratch),
        Err(_) => run(&mut Encoded::default()),
    })
}

impl Stream {
    /// The stream to a topic whose first partition has this lane.
    pub(crate) fn new(topic: Registered, lane: usize) -> Self {
        Self {
            topic: topic.topic.into(),
            plan: topic.plan,
            schema: topic.schema.into(),
            key_fields: topic.key_fields,
            reader: OnceLock::new(),
            value_id: topic.value_id,
            key_id: topic.key_id,
            partitions: topic.partitions,
            lane,
            turn: AtomicU32::new(0),
        }
    }

    /// Writes an event's value, and its key if the topic has one.
    ///
    /// # Errors
    ///
    /// As [`Plan::encode`], naming topic and field.
    pub(crate) fn encode<E: Serialize + ?Sized>(
        &self,
        event: &E,
        into: &mut Encoded,
    ) -> Result<()> {
        into.value.clear();
        into.key.clear();
        into.value.extend_from_slice(&frame::head(self.value_id));
        self.plan
            .encode_with_key(event, &mut into.value, &mut into.spans)
            .map_err(|error| error.with("topic", &self.topic))?;
        if let Some(id) = self.key_id {
            into.key.extend_from_slice(&frame::head(id));
            self.plan.write_key(&into.value, &into.spans, &mut into.key)?;
        }
        Ok(())
    }

    /// The same topic with another schema, for events that are taken from then on.
    ///
    /// # Errors
    ///
    /// As [`check`], naming the topic; `Incompatible` if it would change the key's schema.
    pub(crate) fn with_schema(&self, value_id: u32, schema: &str) -> Result<Self> {
        let now = check(&self.topic, schema, &self.key_fields)?;
        let before = check(&self.topic, &self.schema, &self.key_fields)?;
        if now.key != before.key {
            return Err(Error::new(ErrorKind::Incompatible, "take up a topic's schema")
                .because(
                    "the key's fields would have other types, and a topic's key keeps its schema",
                )
                .with("topic", &self.topic)
                .with("schema_id", value_id));
        }
        Ok(Self {
            topic: Arc::clone(&self.topic),
            plan: now.plan,
            schema: schema.into(),
            key_fields: self.key_fields.clone(),
            reader: OnceLock::new(),
            value_id,
            key_id: self.key_id,
            partitions: self.partitions,
            lane: self.lane,
            turn: AtomicU32::new(self.turn.load(Ordering::Relaxed)),
        })
    }

    /// Takes an event's value as it is encoded, once it is known to be of the schema, and makes its key.
    ///
    /// # Errors
    ///
    /// As [`Reader::read`], naming the topic.
    pub(crate) fn take_encoded(&self, data: &[u8], into: &mut Encoded) -> Result<()> {
        into.value.clear();
        into.key.clear();
        let about = |error: Error| error.with("topic", &self.topic);
        let reader = match self.reader.get() {
            Some(reader) => reader,
            None => {
                let made = Reader::of(&self.topic, &self.schema, &self.key_fields)?;
                self.reader.get_or_init(|| made)
            }
        };
        if let Some(id) = self.key_id {
            into.key.extend_from_slice(&frame::head(id));
        }
        reader.read(data, &mut into.key).map_err(about)?;
        into.value.extend_from_slice(&frame::head(self.value_id));
        into.value.extend_from_slice(data);
        Ok(())
    }

    /// An event with a name, by which it is known again.
    pub(crate) fn named<'a>(&'a self, key: &'a str, encoded: &'a Encoded) -> Named<'a> {
        let (topic, schema, value) = (&self.topic, self.value_id, &*encoded.value);
        Named { topic, key, schema, value }
    }

    /// The lane that an event goes to.
    ///
    /// # Errors
    ///
    /// `NotFound` for a partition that the topic does not have.
    pub(crate) fn lane(&self, encoded: &Encoded, options: &EventOptions<'_>) -> Result<usize> {
        let partition = match options.place {
            Place::Partition(partition) if partition < self.partitions => partition,
            Place::Partition(partition) => {
                return Err(Error::new(ErrorKind::NotFound, "emit an event")
                    .because("its topic has no such partition")
                    .with("topic", &self.topic)
                    .with("partition", partition)
                    .with("partitions", self.partitions));
            }
            Place::By(key) => partition_of(key, self.partitions),
            Place::ByKey if self.key_id.is_some() => partition_of(&encoded.key, self.partitions),
            Place::ByKey => self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions,
        };
        Ok(self.lane + partition as usize)
    }
}

/// Milliseconds since 1970-01-01 00:00:00 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
