//! What is asked of the server about its log.

use crate::client::Sql;
use crate::frame::Flavor;
use crate::gtid::GtidSet;
use crate::takeup::{GtidMode, LogFile, LogPlace, ServerLog};
use tidemesh_model::{Error, ErrorKind, Result};

/// Where the first event of a file begins.
const FIRST: u64 = 4;

/// Which of the two servers answers: MariaDB names itself in its version.
///
/// # Errors
///
/// What the server says; `Timeout` if it does not answer.
pub(crate) async fn flavor(sql: &mut Sql) -> Result<Flavor> {
    let version: Option<String> = sql.row("SELECT VERSION()", ()).await?;
    let names_it = version.is_some_and(|version| version.to_lowercase().contains("mariadb"));
    Ok(if names_it { Flavor::MariaDb } else { Flavor::MySql })
}

/// What the server says of its log, beside a checkpoint's place.
///
/// # Errors
///
/// What the server says; `Malformed` for a set that is none.
pub(crate) async fn log(
    sql: &mut Sql,
    flavor: Flavor,
    place: Option<&LogPlace>,
) -> Result<ServerLog> {
    let files = files(sql).await?;
    match flavor {
        Flavor::MySql => mysql(sql, files).await,
        Flavor::MariaDb => mariadb(sql, files, place).await,
    }
}

/// The log's files, the oldest first.
///
/// # Errors
///
/// `Privilege` and what else the server says; `Prerequisite` if it writes no log.
pub(crate) async fn files(sql: &mut Sql) -> Result<Vec<LogFile>> {
    // More columns follow at MySQL (`Encrypted`).
    let rows: Vec<mysql_async::Row> = sql.all("SHOW BINARY LOGS").await?;
    let file = |row: mysql_async::Row| {
        let (name, size_bytes) = (row.get::<String, _>(0)?, row.get::<u64, _>(1)?);
        Some(LogFile { name, size_bytes })
    };
    rows.into_iter()
        .map(|row| file(row).ok_or_else(|| not_understood("SHOW BINARY LOGS")))
        .collect()
}

async fn mysql(sql: &mut Sql, files: Vec<LogFile>) -> Result<ServerLog> {
    let asked: Option<(String, String, String, String)> = sql
        .row(
            "SELECT @@global.server_uuid, @@global.gtid_mode, @@global.gtid_executed, \
             @@global.gtid_purged",
            (),
        )
        .await?;
    let (server, mode, executed, purged) = asked.ok_or_else(|| not_understood("gtid_executed"))?;
    Ok(ServerLog {
        flavor: Flavor::MySql,
        server,
        gtid_mode: GtidMode::parse(&mode).ok_or_else(|| not_understood("gtid_mode"))?,
        executed: GtidSet::parse(Flavor::MySql, &executed)?,
        purged: GtidSet::parse(Flavor::MySql, &purged)?,
        files,
        at_place: None,
    })
}

async fn mariadb(
    sql: &mut Sql,
    files: Vec<LogFile>,
    place: Option<&LogPlace>,
) -> Result<ServerLog> {
    let asked: Option<(u64, String)> =
        sql.row("SELECT @@global.server_id, @@global.gtid_binlog_state", ()).await?;
    let (server, state) = asked.ok_or_else(|| not_understood("gtid_binlog_state"))?;
    let oldest = match files.first() {
        Some(file) => mariadb_at(sql, &file.name, FIRST).await?,
        None => None,
    };
    let at_place = match place {
        Some(place) => mariadb_at(sql, &place.file, place.position).await?,
        None => None,
    };
    Ok(ServerLog {
        flavor: Flavor::MariaDb,
        server: server.to_string(),
        gtid_mode: GtidMode::On,
        executed: GtidSet::parse(Flavor::MariaDb, &state)?,
        purged: oldest.unwrap_or_else(|| GtidSet::empty(Flavor::MariaDb)),
        files,
        at_place,
    })
}

/// All transactions before a place of a MariaDB's log; none if no transaction begins or ends there, or
/// the file is gone.
async fn mariadb_at(sql: &mut Sql, file: &str, position: u64) -> Result<Option<GtidSet>> {
    let told: Option<Option<String>> =
        sql.row("SELECT BINLOG_GTID_POS(?, ?)", (file, position)).await?;
    told.flatten().map(|text| GtidSet::parse(Flavor::MariaDb, &text)).transpose()
}

/// All transactions before a place, where the server can tell: MySQL cannot.
///
/// # Errors
///
/// As [`log`].
pub(crate) async fn gtids_at(
    sql: &mut Sql,
    flavor: Flavor,
    file: &str,
    position: u64,
) -> Result<Option<GtidSet>> {
    match flavor {
        Flavor::MySql => Ok(None),
        Flavor::MariaDb => mariadb_at(sql, file, position).await,
    }
}

/// Whether names of tables are the same whatever their case is (`lower_case_table_names`): statements in
/// the log have them as they were typed.
///
/// # Errors
///
/// What the server says.
pub(crate) async fn folds_names(sql: &mut Sql) -> Result<bool> {
    let folds: Option<u64> = sql.row("SELECT @@global.lower_case_table_names", ()).await?;
    Ok(folds.unwrap_or(0) != 0)
}

/// The end of the log now.
///
/// # Errors
///
/// As [`log`]; `Prerequisite` if the server writes no log.
pub(crate) async fn end(sql: &mut Sql, log: &ServerLog) -> Result<LogPlace> {
    let (file, position, executed) = status(sql, log.flavor).await?;
    let gtids = match log.flavor {
        Flavor::MariaDb => mariadb_at(sql, &file, position).await?,
        Flavor::MySql if log.gtid_mode == GtidMode::Off => None,
        Flavor::MySql => Some(GtidSet::parse(Flavor::MySql, &executed)?),
    };
    let (flavor, server) = (log.flavor, log.server.clone());
    Ok(LogPlace { flavor, server, file, position, gtids, ahead: None })
}

/// The log's end: file, place in it, and at a MySQL server what it has executed.
///
/// # Errors
///
/// As [`end`].
pub(crate) async fn status(sql: &mut Sql, flavor: Flavor) -> Result<(String, u64, String)> {
    // MySQL 8.4 has the new form alone, MySQL 8.0 the old one alone.
    let statements = match flavor {
        Flavor::MariaDb => &["SHOW MASTER STATUS"][..],
        Flavor::MySql => &["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"],
    };
    let mut failed = None;
    for statement in statements {
        match sql.told::<mysql_async::Row>(statement).await {
            Ok(Some(row)) => {
                let place = (row.get(0), row.get(1), row.get(4));
                let (Some(file), Some(position), executed) = place else {
                    return Err(not_understood(statement));
                };
                return Ok((file, position, executed.unwrap_or_default()));
            }
            Ok(None) => {
                return Err(Error::new(ErrorKind::Prerequisite, "take up the log")
                    .because("the server writes no binary log")
                    .help("set log_bin in the server's file, and restart it"));
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| not_understood("SHOW MASTER STATUS")))
}

/// The server's answer is none that is known.
pub(crate) fn not_understood(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, "ask MySQL")
        .because("the server's answer is not understood")
        .with("asked", what)
}
