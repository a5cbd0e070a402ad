//! Events by the names that applications give them, so that one that comes again is not sent again.

use crate::delivery::Delivery;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};

/// How many names an emitter remembers; past it the oldest is forgotten.
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
    deliveries: HashMap<Name, Delivery>,
    order: VecDeque<Name>,
}

impl Remembered {
    /// The delivery of the first event of this name; `take` takes it if this is the first, or the one
    /// before has failed.
    ///
    /// # Errors
    ///
    /// What `take` answers; `TooLarge` for the name.
    pub(crate) fn once(
        &self,
        topic: &Arc<str>,
        key: &str,
        take: impl FnOnce() -> Result<Delivery>,
    ) -> Result<Delivery> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "emit an event")
                .because("its idempotency key is too long")
                .with("bytes", key.len())
                .with("bytes_max", KEY_BYTES_MAX));
        }
        let name: Name = Arc::new((Arc::clone(topic), key.into()));
        // Held over `take`, which does not wait: of two at once one is the first.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = inner.deliveries.get(&name)
            && !before.has_failed()
        {
            return Ok(before.clone());
        }
        let delivery = take()?;
        if inner.deliveries.insert(Arc::clone(&name), delivery.clone()).is_none() {
            inner.order.push_back(name);
        }
        if inner.order.len() > IDEMPOTENCY_KEYS_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.deliveries.remove(&oldest);
        }
        Ok(delivery)
    }
}
