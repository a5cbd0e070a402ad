//! Looks after the log that the database keeps while nobody reads it: a source that has stopped, or
//! tries again, keeps its slot, and the slot the log.

use crate::{Connector, SourceStatus};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the session tells of the slot.
const INTERVAL: Duration = Duration::from_secs(5);

/// So long a session may be silent about the slot before the database is asked beside it.
const SILENCE_MAX: Duration = Duration::from_secs(12);

/// The longest pause after the database could not be asked: a wrong password is not to be tried
/// every few seconds.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Asks the database about the slot for as long as no session does. Never returns; cancel-safe.
pub async fn observe<C: Connector>(connector: Arc<C>, status: Arc<SourceStatus>) {
    let mut pause = INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        if connector.vitals().slot_told_within(SILENCE_MAX) {
            pause = INTERVAL;
            continue;
        }
        pause = match connector.look().await {
            Ok(()) => INTERVAL,
            Err(error) => {
                let (source, error) = (status.name(), error.report());
                tracing::debug!(source, error, "the database cannot be asked about the slot");
                (pause * 2).min(PAUSE_MAX)
            }
        };
    }
}
