//! Places of marks where nothing may be written into the database (`snapshot.read_only`).
//!
//! A transaction is in the log before readers see it. So a low mark must stand where all before it is
//! visible, since its chunk is read next; any other mark must stand behind all that a chunk may have seen,
//! which is the log's end.

use crate::client::Sql;
use crate::frame::Flavor;
use crate::gtid::GtidSet;
use crate::marks::{Passed, PlacedMarks};
use crate::place::LogFile;
use crate::server::{not_understood, status};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};

/// What the texts of low marks begin with (`Mark` in `tidemesh_source`).
pub(super) const LOW: &str = "low ";

/// The first pause before it is looked again what readers see.
const PAUSE_FIRST: Duration = Duration::from_millis(1);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Places a mark at the log's end, and before a chunk is read waits until readers see all up to there.
///
/// # Errors
///
/// What the server says; `Prerequisite` of a MySQL server without GTIDs; `Unavailable` if the log is no
/// longer read.
pub(super) async fn place(
    sql: &mut Sql,
    flavor: Flavor,
    marks: &PlacedMarks,
    text: &str,
) -> Result<()> {
    let (place, passed) = marks.place(log_end(sql, flavor).await?, text)?;
    match flavor {
        _ if !text.starts_with(LOW) => Ok(()),
        Flavor::MariaDb => await_visible(sql, place).await,
        Flavor::MySql => await_executed(sql, passed).await,
    }
}

/// The log's end, as a commit position.
pub(super) async fn log_end(sql: &mut Sql, flavor: Flavor) -> Result<u64> {
    let (file, position, _) = status(sql, flavor).await?;
    LogFile::of(file.as_bytes())?.commit(position)
}

/// Waits until a MySQL has executed all that the log has before a mark: it counts a transaction so once its
/// engine has committed it (MySQL 9.1, `MYSQL_BIN_LOG::process_commit_stage_queue`).
async fn await_executed(sql: &mut Sql, passed: Passed) -> Result<()> {
    let before = passed.await.map_err(|_| {
        Error::new(ErrorKind::Unavailable, "place a mark").because("the log is no longer read")
    })?;
    let Some(before) = before else {
        return Err(Error::new(ErrorKind::Prerequisite, "place a mark")
            .because("snapshot.read_only needs GTIDs, by which the server tells what is visible")
            .help("set gtid_mode = ON at the server, or unset snapshot.read_only"));
    };
    let mut pause = PAUSE_FIRST;
    loop {
        let told: Option<String> = sql.row("SELECT @@global.gtid_executed", ()).await?;
        let executed = GtidSet::parse(Flavor::MySql, &told.unwrap_or_default())?;
        if before.is_subset(&executed) {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits until readers of a MariaDB see all before a place: it tells the place of a consistent snapshot, which
/// is where a transaction ends.
async fn await_visible(sql: &mut Sql, place: u64) -> Result<()> {
    let mut pause = PAUSE_FIRST;
    while snapshot_place(sql).await? < place {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Ok(())
}

/// The commit position up to which a consistent snapshot has all (`facts`: `Binlog_snapshot_file` and
/// `Binlog_snapshot_position` of the snapshot's session).
async fn snapshot_place(sql: &mut Sql) -> Result<u64> {
    sql.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    let told: Vec<(String, String)> = sql.all("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
    sql.run("COMMIT").await?;
    let of = |wanted: &str| {
        let found = told.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let not_told = || not_understood("binlog_snapshot_position");
    let file = of("binlog_snapshot_file").ok_or_else(not_told)?;
    let position = of("binlog_snapshot_position").and_then(|text| text.parse().ok());
    LogFile::of(file.as_bytes())?.commit(position.ok_or_else(not_told)?)
}
