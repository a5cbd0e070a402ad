//! Events that come from elsewhere than the stream, piece by piece: those of a compressed transaction, and
//! those of a distributed one that was held until it was committed.

use crate::client::stream::BEFORE_EVENT_BYTES;
use crate::cursor::Cursor;
use crate::decode::PayloadEvents;
use crate::held::HeldEvents;
use crate::xa::XaId;
use tidemesh_model::Result;
use tidemesh_source::Pending;

/// An event's number stands at the beginning of what is before it.
const NUMBER_BYTES: usize = size_of::<u32>();

/// What events come from.
pub(crate) enum Origin {
    /// A compressed transaction.
    Payload(PayloadEvents),
    /// A distributed transaction: its id if it is held until all of it is told.
    Held(HeldEvents, Option<XaId>),
}

/// Events that are being unpacked.
pub(crate) struct Unpacking {
    origin: Origin,
    /// All events came out of it.
    is_whole: bool,
    /// Events that were not given out.
    pub(crate) pending: Pending,
    /// The place behind it.
    outer: Cursor,
}

impl Unpacking {
    pub(crate) fn new(origin: Origin, outer: Cursor) -> Self {
        Self { origin, is_whole: false, pending: Pending::default(), outer }
    }

    /// Unpacks up to `bytes_max` more bytes, or one event that is larger.
    ///
    /// # Errors
    ///
    /// `Malformed`, `TooLarge`: as the events' origin.
    pub(crate) fn fill(&mut self, bytes_max: usize) -> Result<()> {
        if self.is_whole || self.pending.bytes() > 0 {
            return Ok(());
        }
        let mut buffer = Vec::with_capacity(bytes_max);
        while buffer.len() < bytes_max {
            let event = match &mut self.origin {
                Origin::Payload(events) => events.next_bytes()?.map(|event| (0, event)),
                Origin::Held(events, _) => events.next_bytes()?,
            };
            let Some((number, event)) = event else {
                self.is_whole = true;
                break;
            };
            let mut before = [0; BEFORE_EVENT_BYTES];
            before[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
            buffer.extend_from_slice(&before);
            buffer.extend_from_slice(event);
        }
        if !buffer.is_empty() {
            self.pending.push(buffer);
        }
        Ok(())
    }

    /// Whether all of it was given out.
    pub(crate) fn is_done(&self) -> bool {
        self.is_whole && self.pending.bytes() == 0
    }

    /// The held transaction whose events these are.
    pub(crate) fn held(&self) -> Option<&XaId> {
        match &self.origin {
            Origin::Payload(_) => None,
            Origin::Held(_, id) => id.as_ref(),
        }
    }

    /// The place behind it, once `inner` has walked over all of its events.
    pub(crate) fn behind(self, inner: &Cursor) -> Cursor {
        let mut outer = self.outer;
        outer.behind(inner);
        outer
    }
}
