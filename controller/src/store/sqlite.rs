//! The controller's state in one SQLite file in WAL mode, fsynced at each commit.
//!
//! Several controllers of one machine may have it open: each call is a transaction of its own, and
//! the lease says who writes. Its time is that of the system's clock.

use super::{Change, Holder, Items, Lease, Store};
use crate::failpoint::failpoint;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidemesh_model::{Error, ErrorKind, Result};

/// Marks the file as ours in SQLite's header: `tmct`.
const APPLICATION_ID: i64 = 0x746d_6374;

/// How long to wait for another process to end its transaction.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The layout, step by step: step `n` brings a store of version `n` to `n + 1`. A step that has been
/// released is never edited.
const LAYOUT: &[&str] = &["
    CREATE TABLE items (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE lease (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        id TEXT NOT NULL,
        url TEXT NOT NULL,
        until_ms INTEGER NOT NULL
    ) STRICT;
    INSERT INTO lease VALUES (1, 0, '', '', 0);
"];

/// One open file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// Opens the file, making or upgrading it.
    ///
    /// # Errors
    ///
    /// `NewerVersion` if a newer program wrote it, `Config` if it is some other SQLite file, `Storage`
    /// as the disk has it. In every case the file is as it was.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let doing = "open the controller's store";
        let place = |error: Error| error.with("file", path.display());
        let connection = Connection::open(path).map_err(|cause| place(failed(cause, doing)))?;
        let mut store = Self { connection };
        store.prepare(doing).map_err(place)?;
        Ok(store)
    }

    fn prepare(&mut self, doing: &'static str) -> Result<()> {
        let failed = |cause| failed(cause, doing);
        self.connection.busy_timeout(LOCK_WAIT).map_err(failed)?;
        let version = self.check_origin(doing)?;
        // WAL is set only once the file is known to be ours: it changes the file.
        self.connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        if version == LAYOUT.len() {
            return Ok(());
        }
        let transaction = begin(&mut self.connection, doing)?;
        // Another process may have done it since.
        let version = number(&transaction, "user_version").map_err(failed)?;
        for step in LAYOUT.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
            transaction.execute_batch(step).map_err(failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        let version_now = i64::try_from(LAYOUT.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version_now).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// The layout's version in the file, 0 for an empty file.
    fn check_origin(&self, doing: &'static str) -> Result<usize> {
        let failed = |cause| failed(cause, doing);
        // In one transaction: another process may just be making it.
        let now = self.connection.unchecked_transaction().map_err(failed)?;
        let version = number(&now, "user_version").map_err(failed)?;
        let origin = number(&now, "application_id").map_err(failed)?;
        let tables: i64 = now
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        let fresh = version == 0 && origin == 0 && tables == 0;
        if !fresh && origin != APPLICATION_ID {
            return Err(Error::new(ErrorKind::Config, doing)
                .because("the file is an SQLite database of another program")
                .help("name another file, or one that does not exist yet"));
        }
        let version = usize::try_from(version).unwrap_or(usize::MAX);
        if version > LAYOUT.len() {
            return Err(Error::new(ErrorKind::NewerVersion, doing)
                .because("a newer version of this program wrote it")
                .with("version", version)
                .with("version_known", LAYOUT.len())
                .help("run the newer program; this one would not understand the data"));
        }
        Ok(version)
    }
}

impl Store for SqliteStore {
    fn lease(&mut self, holder: &Holder, time: Duration) -> Result<Lease> {
        let doing = "take the controller's lease";
        let failed = |cause| failed(cause, doing);
        let now_ms = now_ms();
        let transaction = begin(&mut self.connection, doing)?;
        let (epoch, has, until_ms) = held(&transaction).map_err(failed)?;
        let ours = has.id == holder.id;
        if !ours && until_ms > now_ms {
            return Ok(Lease::Others(has));
        }
        let epoch = if ours { epoch } else { epoch + 1 };
        let until_ms = now_ms + i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
        transaction
            .execute(
                "UPDATE lease SET epoch = ?1, id = ?2, url = ?3, until_ms = ?4",
                params![epoch, holder.id, holder.url, until_ms],
            )
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Lease::Ours { epoch: epoch.unsigned_abs() })
    }

    fn release(&mut self, epoch: u64) -> Result<()> {
        let doing = "release the controller's lease";
        let let_go = "UPDATE lease SET until_ms = 0, id = '' WHERE epoch = ?1";
        let done = self.connection.execute(let_go, [epoch.cast_signed()]);
        done.map(|_| ()).map_err(|cause| failed(cause, doing))
    }

    fn load(&mut self) -> Result<Items> {
        let doing = "read the controller's state";
        let read = || -> rusqlite::Result<Items> {
            let mut statement = self.connection.prepare("SELECT name, text FROM items")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        read().map_err(|cause| failed(cause, doing))
    }

    fn write(&mut self, epoch: u64, changes: &[Change]) -> Result<()> {
        let doing = "write the controller's state";
        let failed = |cause| failed(cause, doing);
        let transaction = begin(&mut self.connection, doing)?;
        let (held, by, _) = held(&transaction).map_err(failed)?;
        if held.unsigned_abs() != epoch {
            return Err(Error::new(ErrorKind::Fenced, doing)
                .because("another controller has taken over")
                .with("epoch", epoch)
                .with("epoch_now", held)
                .with("controller", by.url));
        }
        for Change { name, text } in changes {
            let done = match text {
                Some(text) => transaction.execute(
                    "INSERT INTO items VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET text = excluded.text",
                    params![name, text],
                ),
                None => transaction.execute("DELETE FROM items WHERE name = ?1", [name]),
            };
            done.map_err(failed)?;
        }
        failpoint("store.uncommitted");
        transaction.commit().map_err(failed)
    }
}

/// The lease: its epoch, who has it, and until when.
fn held(transaction: &Transaction<'_>) -> rusqlite::Result<(i64, Holder, i64)> {
    let row = transaction.query_row("SELECT epoch, id, url, until_ms FROM lease", [], |row| {
        Ok((row.get(0)?, Holder { id: row.get(1)?, url: row.get(2)? }, row.get(3)?))
    });
    Ok(row.optional()?.unwrap_or_else(|| (0, Holder { id: String::new(), url: String::new() }, 0)))
}

/// A transaction that holds all others off from its begin.
fn begin<'c>(connection: &'c mut Connection, doing: &'static str) -> Result<Transaction<'c>> {
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    begun.map_err(|cause| failed(cause, doing))
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn failed(cause: rusqlite::Error, doing: &'static str) -> Error {
    let kind = match cause.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            ErrorKind::Unavailable
        }
        Some(rusqlite::ErrorCode::NotADatabase) => ErrorKind::Config,
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => ErrorKind::Corrupt,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, doing).caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;
    use tidemesh_store::StoreConfig;

    #[test]
    fn it_does_what_every_store_does() {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| StoreConfig::Sqlite(folder.path().join(name));
        conformance::every_store(store);
    }

    #[test]
    fn a_file_of_another_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.sqlite");
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::Config);
        std::fs::write(&file, "not a database, but long enough to be taken for one: ".repeat(99))
            .unwrap();
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn a_newer_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("controller.sqlite");
        drop(SqliteStore::open(&file).unwrap());
        Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::NewerVersion);
    }
}
