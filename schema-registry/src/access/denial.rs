//! Why somebody is not let in.

use std::time::Duration;

use super::rate::Exceeded;

/// Why a request goes no further than the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    /// 401: it is not known who asks.
    Unknown(&'static str),
    /// 429: too often.
    TooMany {
        /// After so long it may be tried again.
        retry_after: Duration,
        /// Whether this is the first refusal in a row.
        first: bool,
    },
}

impl From<Exceeded> for Denial {
    fn from(exceeded: Exceeded) -> Self {
        Self::TooMany { retry_after: exceeded.retry_after, first: exceeded.first }
    }
}
