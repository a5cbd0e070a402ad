//! Events by the names that applications give them, so that one that comes again is not sent again.

use crate::delivery::Delivery;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};

/// How many names of events that have ended an emitter remembers; past it the oldest is forgotten. Names of
/// those that are on their way stay: the queue bounds them.
pub const IDEMPOTENCY_KEYS_MAX: usize = 65_536;

/// The longest name, in bytes.
const KEY_BYTES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Remembered {
    inner: Mutex<Inner>,
}

/// A topic and an event's name in it.
type Name = Arc<(Arc<str>, Box<str>)>;

#[derive(Debug, Default)]
struct Inner {
    events: HashMap<Name, Event>,
    order: VecDeque<Name>,
}

#[derive(Debug)]
struct Event {
    delivery: Delivery,
    told: Told,
}

/// What tells an event of a name from another one of that name: its schema's id, and a hash of its value.
#[derive(Debug, Clone, Copy)]
struct Told {
    schema: u32,
    value: u64,
}

/// An event with a name.
pub(crate) struct Named<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) key: &'a str,
    pub(crate) schema: u32,
    pub(crate) value: &'a [u8],
}

impl Named<'_> {
    fn name(&self) -> Result<Name> {
        if self.key.len() > KEY_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "emit an event")
                .because("its idempotency key is too long")
                .with("bytes", self.key.len())
                .with("bytes_max", KEY_BYTES_MAX));
        }
        Ok(Arc::new((Arc::clone(self.topic), self.key.into())))
    }

    fn told(&self) -> Told {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.value);
        Told { schema: self.schema, value: hasher.finish() }
    }
}

impl Remembered {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The delivery of an event of this name that was taken before and has not failed.
    ///
    /// # Errors
    ///
    /// `TooLarge` for the name; `Conflict` if it was another event's.
    pub(crate) fn known(&self, event: &Named<'_>) -> Result<Option<Delivery>> {
        self.lock().known(&event.name()?, event)
    }

    /// The delivery of the first event of this name; `take` takes it if this is the first, or the one
    /// before has failed.
    ///
    /// # Errors
    ///
    /// What `take` answers; as [`Remembered::known`].
    pub(crate) fn once(
        &self,
        event: &Named<'_>,
        take: impl FnOnce() -> Result<Delivery>,
    ) -> Result<Delivery> {
        let name = event.name()?;
        // Held over `take`, which does not wait: of two at once one is the first.
        let mut inner = self.lock();
        if let Some(before) = inner.known(&name, event)? {
            return Ok(before);
        }
        let delivery = take()?;
        let remembered = Event { delivery: delivery.clone(), told: event.told() };
        if inner.events.insert(Arc::clone(&name), remembered).is_none() {
            inner.order.push_back(name);
        }
        inner.forget();
        Ok(delivery)
    }
}

impl Inner {
    fn known(&self, name: &Name, event: &Named<'_>) -> Result<Option<Delivery>> {
        let Some(before) = self.events.get(name) else { return Ok(None) };
        let now = event.told();
        // By another schema the same event has other bytes.
        if before.told.schema == now.schema && before.told.value != now.value {
            return Err(Error::new(ErrorKind::Conflict, "emit an event")
                .because("its idempotency key was another event's")
                .with("topic", event.topic)
                .help("give each event a key of its own, and send it again as it was"));
        }
        Ok((!before.delivery.has_failed()).then(|| before.delivery.clone()))
    }

    /// Forgets the oldest events, of those that have ended.
    fn forget(&mut self) {
        while self.order.len() > IDEMPOTENCY_KEYS_MAX
            && let Some(oldest) = self.order.front()
            && self.events.get(oldest).is_none_or(|event| event.delivery.has_ended())
        {
            self.events.remove(oldest);
            self.order.pop_front();
        }
    }
}
