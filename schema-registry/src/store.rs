//! The registry on disk: one SQLite file in WAL mode, fsynced at each commit.
//!
//! [`Store::commit`] writes the changes of one operation in one transaction; only when it has
//! returned may memory show them. The file is locked for one process, because the memory of a
//! second one would not follow the first. Reading for requests is absent: memory answers those.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, params};
use serde_json::{Value, json};
use tidemesh_model::{Error, ErrorKind, Result};

use crate::level;
use crate::state::{Change, Identity, Reference, State, Version};

/// Marks the file as ours in SQLite's header: `tmsr`.
const APPLICATION_ID: u32 = 0x746d_7372;

/// How long to wait for another process to let go of the file.
const LOCK_WAIT_MS: u64 = 1_000;

/// The layout, step by step: step `n` brings a store of version `n` to `n + 1`. A step that has
/// been released is never edited.
const LAYOUT: &[&str] = &["
    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE schema (
        id INTEGER PRIMARY KEY,
        text TEXT NOT NULL,
        reference_list TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE version (
        subject TEXT NOT NULL,
        number INTEGER NOT NULL,
        schema_id INTEGER NOT NULL REFERENCES schema (id),
        deleted INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (subject, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX version_by_schema ON version (schema_id);
    CREATE TABLE level (subject TEXT PRIMARY KEY, level TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO counter VALUES ('id_next', 1), ('probes', 0);
    INSERT INTO fact VALUES ('registry_id', lower(hex(randomblob(8))));
"];

/// The subject under which the global level is stored; no subject has an empty name.
const GLOBAL: &str = "";

/// One open store file.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    registry_id: String,
}

impl Store {
    /// Opens the file, making or upgrading it, and locks it for this process.
    ///
    /// # Errors
    ///
    /// `NewerVersion` if a newer program wrote it, `Conflict` if another process holds it,
    /// `Config` if it is some other SQLite file, `Corrupt` or `Storage` as the disk has it. In
    /// every case the file is as it was.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || -> Result<Self, rusqlite::Error> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_millis(LOCK_WAIT_MS))?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            Ok(Self { connection, registry_id: String::new() })
        };
        let mut store = open().map_err(|cause| open_failed(cause, path))?;
        store.prepare(LAYOUT).map_err(|error| error.with("file", path.display()))?;
        Ok(store)
    }

    /// Checks whose file it is, then locks and upgrades it.
    fn prepare(&mut self, layout: &[&str]) -> Result<()> {
        let version = self.check_origin(layout.len())?;
        let failed = |cause| store_failed(cause, "prepare the registry's store");
        // WAL is set only once the file is known to be ours: it changes the file.
        self.connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)
            .map_err(failed)?;
        for step in layout.iter().skip(version) {
            transaction.execute_batch(step).map_err(failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        let version_now = i64::try_from(layout.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version_now).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.registry_id = self
            .connection
            .query_row("SELECT value FROM fact WHERE name = 'registry_id'", [], |row| row.get(0))
            .map_err(failed)?;
        Ok(())
    }

    /// The layout's version in the file, 0 for an empty file.
    fn check_origin(&self, version_max: usize) -> Result<usize> {
        let failed = |cause| store_failed(cause, "open the registry's store");
        let pragma =
            |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let version = pragma("user_version").map_err(failed)?;
        let origin = pragma("application_id").map_err(failed)?;
        let tables: i64 = self
            .connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        let fresh = version == 0 && origin == 0 && tables == 0;
        if !fresh && origin != i64::from(APPLICATION_ID) {
            return Err(Error::new(ErrorKind::Config, "open the registry's store")
                .because("the file is an SQLite database of another program")
                .help("name another file, or one that does not exist yet"));
        }
        let version = usize::try_from(version).unwrap_or(usize::MAX);
        if version > version_max {
            return Err(Error::new(ErrorKind::NewerVersion, "open the registry's store")
                .because("a newer version of this program wrote it")
                .with("version", version)
                .with("version_known", version_max)
                .help("run the newer program; this one would not understand the data"));
        }
        Ok(version)
    }

    /// A name for this registry that is made with the file and never changes.
    pub(crate) fn registry_id(&self) -> &str {
        &self.registry_id
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> Result<State> {
        let failed = |cause| store_failed(cause, "read the registry's store");
        let id_next = self
            .connection
            .query_row("SELECT value FROM counter WHERE name = 'id_next'", [], |row| row.get(0))
            .map_err(failed)?;
        let mut state = State::new(id_next);
        self.load_schemas(&mut state)?;
        self.load_versions(&mut state).map_err(failed)?;
        self.load_levels(&mut state)?;
        Ok(state)
    }

    fn load_schemas(&self, state: &mut State) -> Result<()> {
        let failed = |cause| store_failed(cause, "read the registry's schemas");
        let mut statement = self
            .connection
            .prepare("SELECT id, text, reference_list FROM schema ORDER BY id")
            .map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let id = row.get(0).map_err(failed)?;
            let text: String = row.get(1).map_err(failed)?;
            let list: String = row.get(2).map_err(failed)?;
            let references = references_from_text(&list)
                .ok_or_else(|| corrupt("its references cannot be read").with("id", id))?;
            let identity = Identity { text: text.into(), references };
            state.apply(Change::AddSchema { id, identity });
        }
        Ok(())
    }

    fn load_versions(&self, state: &mut State) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(
            "SELECT subject, number, schema_id, deleted FROM version ORDER BY subject, number",
        )?;
        let mut rows = statement.query([])?;
        let mut subject: Arc<str> = Arc::from("");
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str()?;
            if *subject != *name {
                subject = Arc::from(name);
            }
            let version = Version { number: row.get(1)?, id: row.get(2)?, deleted: row.get(3)? };
            state.apply(Change::PutVersion { subject: Arc::clone(&subject), version });
        }
        Ok(())
    }

    fn load_levels(&self, state: &mut State) -> Result<()> {
        let failed = |cause| store_failed(cause, "read the registry's compatibility levels");
        let mut statement =
            self.connection.prepare("SELECT subject, level FROM level").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let name: String = row.get(0).map_err(failed)?;
            let text: String = row.get(1).map_err(failed)?;
            let level = level::from_name(&text)
                .ok_or_else(|| corrupt("a compatibility level is unknown").with("level", text))?;
            let subject = (name != GLOBAL).then(|| Arc::from(name));
            state.apply(Change::SetLevel { subject, level });
        }
        Ok(())
    }

    /// Makes all of the changes durable, or none of them.
    ///
    /// # Errors
    ///
    /// `Storage`, `Corrupt` or `Internal`. Whether they are durable is then unknown if the disk
    /// failed at the very last step: read the store again before the next write.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<()> {
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            let now_ms = now_ms();
            for change in changes {
                write_change(&transaction, change, now_ms)?;
            }
            transaction.commit()
        };
        write().map_err(|cause| store_failed(cause, "write to the registry's store"))
    }

    /// Writes something of no meaning, to learn whether writing works.
    pub(crate) fn probe(&mut self) -> Result<()> {
        self.connection
            .execute("UPDATE counter SET value = value + 1 WHERE name = 'probes'", [])
            .map(|_| ())
            .map_err(|cause| store_failed(cause, "write to the registry's store"))
    }

    /// The connection, for tests that break things.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn write_change(
    transaction: &Transaction<'_>,
    change: &Change,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(sql)?.execute(values).map(|_| ())
    };
    match change {
        Change::AddSchema { id, identity } => {
            let list = references_text(&identity.references);
            run(
                "INSERT INTO schema (id, text, reference_list, created_at_ms) VALUES (?, ?, ?, ?)",
                params![id, &*identity.text, list, now_ms],
            )?;
            run("UPDATE counter SET value = ? WHERE name = 'id_next'", params![i64::from(*id) + 1])
        }
        Change::RemoveSchema { id } => run("DELETE FROM schema WHERE id = ?", params![id]),
        Change::PutVersion { subject, version } => run(
            "INSERT INTO version (subject, number, schema_id, deleted, created_at_ms)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (subject, number)
             DO UPDATE SET schema_id = excluded.schema_id, deleted = excluded.deleted",
            params![&**subject, version.number, version.id, version.deleted, now_ms],
        ),
        Change::RemoveVersion { subject, number } => {
            run("DELETE FROM version WHERE subject = ? AND number = ?", params![&**subject, number])
        }
        Change::SetLevel { subject, level } => run(
            "INSERT INTO level (subject, level) VALUES (?, ?)
             ON CONFLICT (subject) DO UPDATE SET level = excluded.level",
            params![subject.as_deref().unwrap_or(GLOBAL), level.name()],
        ),
        Change::RemoveLevel { subject } => run(
            "DELETE FROM level WHERE subject = ?",
            params![subject.as_deref().unwrap_or(GLOBAL)],
        ),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// References as they are stored: `[[name, subject, version], ...]`.
fn references_text(references: &[Reference]) -> String {
    let list: Vec<Value> = references
        .iter()
        .map(|reference| json!([reference.name, reference.subject, reference.version]))
        .collect();
    Value::Array(list).to_string()
}

fn references_from_text(text: &str) -> Option<Arc<[Reference]>> {
    let Ok(Value::Array(list)) = serde_json::from_str(text) else {
        return None;
    };
    list.iter()
        .map(|entry| {
            Some(Reference {
                name: entry.get(0)?.as_str()?.to_owned(),
                subject: entry.get(1)?.as_str()?.to_owned(),
                version: u32::try_from(entry.get(2)?.as_u64()?).ok()?,
            })
        })
        .collect()
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read the registry's store").because(message)
}

fn open_failed(cause: rusqlite::Error, path: &Path) -> Error {
    store_failed(cause, "open the registry's store").with("file", path.display())
}

/// The kind of a failure of SQLite (result codes: sqlite.org/rescode.html).
fn store_failed(cause: rusqlite::Error, operation: &'static str) -> Error {
    use rusqlite::ErrorCode;
    let kind = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Conflict,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::ConstraintViolation) => ErrorKind::Internal,
        Some(_) => ErrorKind::Storage,
        None => ErrorKind::Corrupt,
    };
    let error = Error::new(kind, operation);
    let error = match kind {
        ErrorKind::Conflict => error
            .because("another process holds the file")
            .help("stop the other registry; one process at a time serves a store"),
        _ => error,
    };
    error.caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::CompatibilityLevel;

    fn schema(id: u32, text: &str) -> Change {
        Change::AddSchema {
            id,
            identity: Identity { text: text.into(), references: Arc::from([]) },
        }
    }

    fn version(subject: &str, number: u32, id: u32) -> Change {
        let version = Version { number, id, deleted: false };
        Change::PutVersion { subject: subject.into(), version }
    }

    #[test]
    fn what_was_committed_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let reference =
            Reference { name: "a.B".into(), subject: "s\"'\u{1f600}".into(), version: 7 };
        let identity = Identity { text: "{}".into(), references: Arc::from([reference]) };
        let mut store = Store::open(&file).unwrap();
        let id = store.registry_id().to_owned();
        store
            .commit(&[
                Change::AddSchema { id: 4, identity: identity.clone() },
                version("s", 2, 4),
                Change::SetLevel { subject: None, level: CompatibilityLevel::None },
                Change::SetLevel { subject: Some("s".into()), level: CompatibilityLevel::Full },
            ])
            .unwrap();
        drop(store);

        let store = Store::open(&file).unwrap();
        let state = store.load().unwrap();
        assert_eq!(store.registry_id(), id);
        assert_eq!(state.schema(4), Some(&identity));
        assert_eq!(state.version("s", 2), Some(&Version { number: 2, id: 4, deleted: false }));
        assert_eq!(state.level_global(), CompatibilityLevel::None);
        assert_eq!(state.level_of("s"), Some(CompatibilityLevel::Full));
        assert_eq!(state.id_next(), 5);
    }

    #[test]
    fn ids_stay_used_up_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let mut store = Store::open(&file).unwrap();
        store.commit(&[schema(1, "x"), version("s", 1, 1)]).unwrap();
        let gone = Change::RemoveVersion { subject: "s".into(), number: 1 };
        store.commit(&[gone, Change::RemoveSchema { id: 1 }]).unwrap();
        drop(store);
        let state = Store::open(&file).unwrap().load().unwrap();
        assert_eq!((state.id_next(), state.schema_count(), state.subject_count()), (2, 0, 0));
    }

    #[test]
    fn a_failed_commit_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("registry.db")).unwrap();
        let error = store.commit(&[schema(1, "x"), version("s", 1, 99)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        let state = store.load().unwrap();
        assert_eq!((state.id_next(), state.schema_count(), state.subject_count()), (1, 0, 0));
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let _held = Store::open(&file).unwrap();
        assert_eq!(Store::open(&file).unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[test]
    fn a_store_of_a_newer_program_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let store = Store::open(&file).unwrap();
        let newer = LAYOUT.len() + 1;
        store
            .connection
            .pragma_update(None, "user_version", i64::try_from(newer).unwrap())
            .unwrap();
        drop(store);
        let before = std::fs::read(&file).unwrap();
        let error = Store::open(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
        assert!(error.to_string().contains(&format!("version={newer}")), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }

    #[test]
    fn an_older_store_is_upgraded_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let mut store = Store::open(&file).unwrap();
        store.commit(&[schema(1, "x"), version("s", 1, 1)]).unwrap();
        drop(store);

        let mut layout = LAYOUT.to_vec();
        layout.push("CREATE TABLE later (n INTEGER) STRICT; INSERT INTO later VALUES (1);");
        for _ in 0..2 {
            let connection = Connection::open(&file).unwrap();
            let mut store = Store { connection, registry_id: String::new() };
            store.prepare(&layout).unwrap();
            let rows: i64 = store
                .connection
                .query_row("SELECT count(*) FROM later", [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, 1);
            assert_eq!(store.load().unwrap().schema_count(), 1);
        }
        assert_eq!(Store::open(&file).unwrap_err().kind(), ErrorKind::NewerVersion);
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.db");
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let before = std::fs::read(&file).unwrap();
        assert_eq!(Store::open(&file).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(std::fs::read(&file).unwrap(), before);

        let file = folder.path().join("text.db");
        std::fs::write(&file, "not a database, but long enough to look at".repeat(100)).unwrap();
        assert_eq!(Store::open(&file).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    /// The write-ahead log as a power cut leaves it: its last frames cut off or overwritten. What
    /// was acknowledged before them is there, the torn transaction is gone as a whole.
    #[test]
    fn a_torn_last_write_takes_only_its_own_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let wal = folder.path().join("registry.db-wal");
        let mut store = Store::open(&file).unwrap();
        store.commit(&[schema(1, "first"), version("s", 1, 1)]).unwrap();
        let length_kept = std::fs::metadata(&wal).unwrap().len();
        store.commit(&[schema(2, "second"), version("s", 2, 2)]).unwrap();
        let bytes = std::fs::read(&wal).unwrap();
        let kept = usize::try_from(length_kept).unwrap();
        assert!(bytes.len() > kept);

        for (index, cut) in (kept..bytes.len()).step_by(509).enumerate() {
            let copy = folder.path().join(format!("copy-{index}.db"));
            std::fs::copy(&file, &copy).unwrap();
            let mut torn = bytes.clone();
            if index % 2 == 0 {
                torn.truncate(cut);
            } else {
                torn[cut..].fill(0);
            }
            std::fs::write(folder.path().join(format!("copy-{index}.db-wal")), torn).unwrap();
            let state = Store::open(&copy).unwrap().load().unwrap();
            assert_eq!(state.schema_count(), 1, "cut at {cut}");
            assert_eq!(state.versions("s", crate::Filter::WithDeleted).count(), 1);
            assert_eq!(state.id_next(), 2);
        }
    }
}
