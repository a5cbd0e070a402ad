//! Whose turn it is: one instance at a time reads a slot, others wait as standbys until it is free.

use crate::catalog::{Catalog, answered};
use crate::config::Config;
use std::time::Duration;
use tidemesh_model::Result;

/// How long a standby waits before it looks again: with what a take-over does, well below 5 s.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Waits until nobody reads the slot; `held` is told who does, as often as that changes.
///
/// `own` is the server process of a connection that this process had before. Where that one still
/// holds the slot, the server has not seen its end (a half-open connection), and is told of it.
///
/// # Errors
///
/// `Unavailable`, `Timeout`, `Authentication`: as any question to the database.
pub(crate) async fn await_turn(
    config: &Config,
    own: i32,
    mut held: impl FnMut(String) + Send,
) -> Result<()> {
    let catalog = Catalog::connect(&config.settings).await?;
    let mut told = None;
    loop {
        let rows = answered(catalog.client.query(HOLDER, &[&config.slot])).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let holder: i32 = row.get("process");
        if holder == own {
            tracing::info!(slot = config.slot, process = own, "ends its own old connection");
            answered(catalog.client.execute(TERMINATE, &[&config.slot, &own])).await?;
        } else if told != Some(holder) {
            held(row.get("holder"));
            told = Some(holder);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Of another role's session the server tells no address.
const HOLDER: &str = "
SELECT s.active_pid AS process,
       concat('server process ', s.active_pid, ' for ',
              coalesce(host(a.client_addr), nullif(a.application_name, ''), 'another client')) AS holder
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE s.slot_name = $1 AND s.active_pid IS NOT NULL";

const TERMINATE: &str = "
SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
WHERE slot_name = $1 AND active_pid = $2";
