//! A log that can no longer be taken up.

use tidemesh_model::{Error, ErrorKind};

/// The log lacks what comes behind the checkpoint, or is another one: the reason, and what helps.
#[must_use]
pub fn position_lost(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::PositionLost, "take up the log").because(reason).help(
        "events are lost: set on_position_lost = \"resnapshot\" to read every table anew, or run \
         `tidemesh source remove` for this source and start it anew",
    )
}
