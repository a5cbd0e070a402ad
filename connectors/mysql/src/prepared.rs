//! Distributed (XA) transactions that were prepared before the log is read: what they change stands before
//! the place from which it is read, and is committed behind it. So a first start waits until they have ended,
//! before it reads tables.

use crate::client::Sql;
use crate::frame::Flavor;
use crate::server::not_understood;
use crate::xa::XaId;
use mysql_async::{Row, Value};
use std::collections::BTreeSet;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tokio::time::Instant;

/// How long a start waits before it is told that it does; then it is tried again.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Ids that are shown.
const SHOWN: usize = 5;

/// Waits until all have ended that are prepared now.
///
/// # Errors
///
/// `Unavailable` if some have not ended after [`WAIT_MAX`]; what the server says, but for a user who may not
/// ask, which is warned of.
pub(crate) async fn await_ended(sql: &mut Sql, flavor: Flavor) -> Result<()> {
    let mut left = match prepared(sql).await {
        Err(error) if error.remedy() == Remedy::Stop => {
            warn_of_unseen(flavor, &error);
            return Ok(());
        }
        prepared => prepared?,
    };
    let deadline = Instant::now() + WAIT_MAX;
    while !left.is_empty() {
        if Instant::now() >= deadline {
            return Err(not_ended(&left));
        }
        tokio::time::sleep(PAUSE).await;
        let now = prepared(sql).await?;
        left.retain(|id| now.contains(id));
    }
    Ok(())
}

/// The transactions that are prepared.
///
/// # Errors
///
/// What the server says; `Malformed` if it is not understood.
pub(crate) async fn prepared(sql: &mut Sql) -> Result<BTreeSet<XaId>> {
    let rows: Vec<Row> = sql.all("XA RECOVER").await?;
    rows.iter().map(|row| id(row).ok_or_else(|| not_understood("XA RECOVER"))).collect()
}

/// The format, the bytes of both parts, and both parts together.
fn id(row: &Row) -> Option<XaId> {
    let format: i64 = row.get(0)?;
    let global: usize = row.get(1)?;
    let branch: usize = row.get(2)?;
    let Some(Value::Bytes(parts)) = row.as_ref(3) else { return None };
    let (global, rest) = parts.split_at_checked(global)?;
    let format = u32::try_from(format & i64::from(u32::MAX)).ok()?;
    Some(XaId::new(format, global, rest.get(..branch)?))
}

/// The first ids.
pub(crate) fn shown(ids: &BTreeSet<XaId>) -> String {
    let shown: Vec<String> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
    shown.join(" and ")
}

#[cold]
fn not_ended(left: &BTreeSet<XaId>) -> Error {
    Error::new(ErrorKind::Unavailable, "begin to read the log")
        .because(
            "transactions are prepared (XA) since before the log is read: what they changed would be in \
             neither the log nor the tables as they are read",
        )
        .with("prepared", left.len())
        .with("xids", shown(left))
        .help(
            "run XA COMMIT or XA ROLLBACK for each that XA RECOVER lists and nobody ends; the start is tried \
             again by itself",
        )
}

#[cold]
fn warn_of_unseen(flavor: Flavor, error: &Error) {
    let needed = match flavor {
        Flavor::MySql => "GRANT XA_RECOVER_ADMIN ON *.* TO the source's user",
        Flavor::MariaDb => "look at the server's error",
    };
    tracing::warn!(
        error = error.report(),
        needed,
        "XA RECOVER cannot be asked: a transaction that is prepared now and committed while tables are read \
         may be missed"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_some_of_them_and_what_to_do() {
        let left = (0..9_u32).map(|n| XaId::new(n, b"g", b"")).collect();
        let error = not_ended(&left);
        assert_eq!(error.remedy(), Remedy::Retry);
        let text = error.report();
        for part in ["prepared=9", "X'67',X'',0", "XA RECOVER", "XA ROLLBACK"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
