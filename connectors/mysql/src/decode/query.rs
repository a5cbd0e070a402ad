//! Statements in the log (MySQL 9.1, `Query_event` in `statement_events.cpp`; MariaDB 10.11,
//! `Query_log_event` in `log_event.cc`).

use super::compressed::inflate;
use crate::bytes::Bytes;
use crate::frame::Header;
use crate::types::Charset;
use std::borrow::Cow;
use tidemesh_model::Result;

/// A statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// The session that ran it.
    pub(crate) thread: u32,
    /// What it ended with; 0 is success.
    pub(crate) error_code: u16,
    /// The session's default database; may be empty.
    pub(crate) database: &'a [u8],
    /// The statement, in the charset of `charset`.
    pub(crate) sql: &'a [u8],
    /// The id of the collation of the session's `character_set_client`, if it is told.
    pub(crate) charset: Option<u16>,
    /// The session's `sql_mode`, if it is told.
    pub(crate) sql_mode: Option<u64>,
    /// Microseconds of the second in which it began, if they are told.
    pub(crate) micros: Option<u32>,
}

impl<'a> Query<'a> {
    /// The statement's text. Bytes that are not of the session's charset are shown as far as they are
    /// UTF-8: a server writes some statements anew, and not in that charset.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        if !self.sql.is_ascii()
            && let Some(charset) = self.charset.and_then(|id| Charset::of_collation(id.into()))
            && charset.has_ascii()
            && !charset.is_utf8()
        {
            let mut text = String::new();
            if charset.decode(self.sql, &mut text).is_some() {
                return Cow::Owned(text);
            }
        }
        String::from_utf8_lossy(self.sql)
    }
}

/// What the variables before a statement say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Status {
    charset: Option<u16>,
    sql_mode: Option<u64>,
    micros: Option<u32>,
}

pub(super) fn query(mut bytes: Bytes<'_>) -> Option<Query<'_>> {
    let head = head(&mut bytes, 0)?;
    Some(Query { sql: bytes.0, ..head })
}

/// `LOAD DATA` that is logged as a statement: the file's number, where its name stands, and what becomes of
/// rows that are there already stand in between (MySQL 9.1, `Execute_load_query_event`).
pub(super) fn load(mut bytes: Bytes<'_>) -> Option<Query<'_>> {
    const OF_FILE_BYTES: usize = 4 + 4 + 4 + 1;
    let head = head(&mut bytes, OF_FILE_BYTES)?;
    Some(Query { sql: bytes.0, ..head })
}

/// A statement whose text is compressed, which is unpacked into `scratch`.
pub(super) fn compressed<'a>(
    header: &Header,
    mut bytes: Bytes<'a>,
    scratch: &'a mut Vec<u8>,
) -> Result<Query<'a>> {
    let cut = || header.malformed("its bytes are not of its kind");
    let head = head(&mut bytes, 0).ok_or_else(cut)?;
    scratch.clear();
    inflate(header, bytes, scratch)?;
    Ok(Query { sql: scratch, ..head })
}

/// All but the text; so many bytes more stand before the variables.
fn head<'a>(bytes: &mut Bytes<'a>, more: usize) -> Option<Query<'a>> {
    let thread = bytes.u32()?;
    let _seconds_it_took = bytes.u32()?;
    let database = usize::from(bytes.u8()?);
    let error_code = bytes.u16()?;
    let status = usize::from(bytes.u16()?);
    bytes.take(more)?;
    let Status { charset, sql_mode, micros } = status_of(bytes.take(status)?)?;
    let database = bytes.take(database)?;
    (bytes.u8()? == 0).then_some(())?;
    Some(Query { thread, error_code, database, sql: &[], charset, sql_mode, micros })
}

/// Walks over the variables. At one that is not known the walk ends, as a server's does: how long it
/// is nobody can tell, and all of them together are told.
fn status_of(bytes: &[u8]) -> Option<Status> {
    let mut bytes = Bytes(bytes);
    let mut status = Status::default();
    while let Some(variable) = bytes.u8() {
        match variable {
            // Flags.
            0 => drop(bytes.u32()?),
            1 => status.sql_mode = Some(bytes.u64()?),
            // The catalog, with a zero behind it.
            2 => drop((bytes.short_bytes()?, bytes.u8()?)),
            // Auto-increment: step and offset.
            3 => drop(bytes.u32()?),
            4 => {
                status.charset = Some(bytes.u16()?);
                // Those of the connection and the server.
                bytes.u32()?;
            }
            // The time zone; the catalog without a zero.
            5 | 6 => drop(bytes.short_bytes()?),
            // Names of months and days; the database's charset.
            7 | 8 => drop(bytes.u16()?),
            // The tables that an update writes.
            9 => drop(bytes.u64()?),
            // How long the event was at the first server.
            10 => drop(bytes.u32()?),
            // Whose rights it has: user and host.
            11 => drop((bytes.short_bytes()?, bytes.short_bytes()?)),
            12 => databases(&mut bytes)?,
            // MySQL's number for microseconds, and MariaDB's.
            13 | 128 => status.micros = u32::try_from(bytes.uint(3)?).ok(),
            // Defaults of timestamps; whether a key is needed; encryption's default.
            16 | 19 | 20 => drop(bytes.u8()?),
            // The number of DDL's transaction; MariaDB's for the same.
            17 | 129 => drop(bytes.u64()?),
            // What utf8mb4 is by default.
            18 => drop(bytes.u16()?),
            130 => alter(&mut bytes)?,
            // What charsets are by default.
            131 => {
                let count = usize::from(bytes.u8()?);
                bytes.take(count * 4)?;
            }
            _ => break,
        }
    }
    Some(status)
}

/// The databases that a statement changes; of too many, there are none.
fn databases(bytes: &mut Bytes<'_>) -> Option<()> {
    const TOO_MANY: u8 = 254;
    let count = bytes.u8()?;
    if count == TOO_MANY {
        return Some(());
    }
    (0..count).try_for_each(|_| bytes.until_zero().map(drop))
}

/// An `ALTER TABLE` in two parts names the first one (MariaDB, `Q_GTID_FLAGS3`).
fn alter(bytes: &mut Bytes<'_>) -> Option<()> {
    const COMMIT_OR_ROLLBACK: u8 = 0x04 | 0x08;
    if bytes.u8()? & COMMIT_OR_ROLLBACK != 0 {
        bytes.u64()?;
    }
    Some(())
}
