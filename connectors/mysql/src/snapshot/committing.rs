//! Distributed (XA) transactions that a MariaDB is committing: it logs `XA COMMIT` before its engines commit
//! (MariaDB 10.11, `ha_commit_or_rollback_by_xid`), and so outside of the order in which commits become visible
//! otherwise. A chunk that is read behind its low mark must see all that the log has before that mark.

use super::read_only::log_end;
use crate::client::Sql;
use crate::frame::Flavor;
use crate::marks::PlacedMarks;
use crate::prepared::prepared;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};

/// A mark of which nobody is told but who has placed it.
const MARK: &str = "sync committing";

/// The first pause before it is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(1);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Waits until none is prepared any more whose commit is in the log up to now. Which those are the source knows
/// once it has read up to there; it is asked only if one is prepared at all.
///
/// # Errors
///
/// What the server says; `Unavailable` if the log is no longer read.
pub(super) async fn await_committed(sql: &mut Sql, marks: &PlacedMarks) -> Result<()> {
    let mut left = prepared(sql).await?;
    if left.is_empty() {
        return Ok(());
    }
    let (_, passed) = marks.place(log_end(sql, Flavor::MariaDb).await?, MARK)?;
    passed.await.map_err(|_| {
        Error::new(ErrorKind::Unavailable, "read a table").because("the log is no longer read")
    })?;
    left.retain(|id| marks.committed.has(id));
    let mut pause = PAUSE_FIRST;
    while !left.is_empty() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        let now = prepared(sql).await?;
        left.retain(|id| now.contains(id));
    }
    Ok(())
}
