//! What every end-to-end test needs: a database of its own, a daemon of its own, conditions.

pub(crate) mod daemon;
pub(crate) mod flink;
pub(crate) mod kafka;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod readers;
pub(crate) mod secured;
pub(crate) mod tls;
pub(crate) mod topic;
pub(crate) mod writer;

use std::time::{Duration, Instant};

/// How long a condition may take to hold.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at. Those about topics look by a command, which costs 13 ms of a core:
/// shorter ones took two fifths of the cores' time.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `holds` gives something; panics with `what` if it never does.
pub(crate) async fn eventually<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = holds().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
