//! Distributed (XA) transactions that a MariaDB is committing: it logs `XA COMMIT` before its engines commit
//! (MariaDB 10.11, `ha_commit_or_rollback_by_xid`), and so outside of the order in which commits become visible
//! otherwise. A chunk that is read behind its low mark must see all that the log has before that mark.

use super::read_only::log_end;
use crate::client::Sql;
use crate::frame::Flavor;
use crate::marks::PlacedMarks;
use crate::prepared::{prepared, shown};
use crate::xa::XaId;
use std::collections::BTreeSet;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::time::Instant;

/// A mark of which nobody is told but who has placed it.
const MARK: &str = "sync committing";

/// The first pause before it is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(1);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long it is waited before that is warned of: an engine commits within milliseconds.
const LONG: Duration = Duration::from_secs(10);

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
    let (mut pause, began, mut is_warned) = (PAUSE_FIRST, Instant::now(), false);
    while !left.is_empty() {
        if !is_warned && began.elapsed() >= LONG {
            warn_of_long(&left);
            is_warned = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        let now = prepared(sql).await?;
        // One that is prepared again by the same id is another one, as the source learns once it is there.
        left.retain(|id| now.contains(id) && marks.committed.has(id));
    }
    Ok(())
}

#[cold]
fn warn_of_long(left: &BTreeSet<XaId>) {
    tracing::warn!(
        prepared = left.len(),
        xids = shown(left),
        "the log has commits of XA transactions that the server has not ended yet: a table is read once it \
         has; see XA RECOVER"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::OwnServer;
    use std::pin::pin;

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_is_prepared_again_is_not_waited_for() {
        let own = OwnServer::start(51).await;
        let mut sql = own.server.database("again").await;
        let prepared = "CREATE TABLE t (id INT PRIMARY KEY); XA START 'x'; INSERT INTO t VALUES (1); \
                        XA END 'x'; XA PREPARE 'x'";
        sql.run(prepared).await.unwrap();
        let (marks, id) = (PlacedMarks::default(), XaId::new(1, b"x", b""));
        let mut other = own.server.sql().await;
        let mut waiting = pin!(await_committed(&mut other, &marks));
        marks.committed.add(id.clone());
        tokio::select! {
            _ = &mut waiting => panic!("the log was not read"),
            () = marks.placed() => {}
        }
        marks.hold().reached(u64::MAX, None);
        // Polled once, it asks the server again later.
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        // The source has come to where another one is prepared by that id.
        marks.committed.remove(&id);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    }
}
