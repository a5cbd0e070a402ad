//! The registry on disk: one SQLite file in WAL mode, fsynced at each commit.
//!
//! [`Store::commit`] writes the changes of one operation in one transaction; only when it has
//! returned may memory show them. The file is locked for one process, because the memory of a
//! second one would not follow the first. Reading for requests is absent: memory answers those.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use tidemesh_model::{Error, ErrorKind, Result};

use super::rows::{
    SchemaRow, consumer_row, corrupt, now_ms, read_json, references_text, write_json,
};
use super::{Loaded, Mark, News, Store};
use crate::setting::Mode;
use crate::state::{Change, State, Version};

/// Marks the file as ours in SQLite's header: `tmsr`.
const APPLICATION_ID: u32 = 0x746d_7372;

/// How long to wait for another process to let go of the file.
const LOCK_WAIT_MS: u64 = 1_000;

/// The layout, step by step: step `n` brings a store of version `n` to `n + 1`. A step that has
/// been released is never edited.
const LAYOUT: &[&str] = &[
    "
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
",
    "
    CREATE TABLE contexts (
        name TEXT PRIMARY KEY,
        id_next INTEGER NOT NULL,
        listed INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO contexts SELECT '.', value, 1 FROM counter WHERE name = 'id_next';
    DELETE FROM counter WHERE name = 'id_next';
    CREATE TABLE schemas (
        context TEXT NOT NULL,
        id INTEGER NOT NULL,
        text TEXT NOT NULL,
        reference_list TEXT NOT NULL,
        metadata TEXT,
        rules TEXT,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (context, id)
    ) STRICT;
    INSERT INTO schemas
        SELECT '.', id, text, reference_list, NULL, NULL, created_at_ms FROM schema;
    CREATE TABLE versions (
        subject TEXT NOT NULL,
        number INTEGER NOT NULL,
        schema_id INTEGER NOT NULL,
        deleted INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        PRIMARY KEY (subject, number)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO versions SELECT subject, number, schema_id, deleted, created_at_ms FROM version;
    CREATE TABLE settings (scope TEXT PRIMARY KEY, setting TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO settings SELECT subject, json_object('compatibilityLevel', level) FROM level;
    CREATE TABLE modes (scope TEXT PRIMARY KEY, mode TEXT NOT NULL) STRICT, WITHOUT ROWID;
    DROP TABLE version;
    DROP TABLE schema;
    DROP TABLE level;
",
    "
    CREATE TABLE consumers (
        subject TEXT NOT NULL,
        name TEXT NOT NULL,
        consumer TEXT NOT NULL,
        PRIMARY KEY (subject, name)
    ) STRICT, WITHOUT ROWID;
",
];

/// One open store file.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    connection: Connection,
    registry_id: String,
}

impl SqliteStore {
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

    fn load_contexts(&self, state: &mut State) -> rusqlite::Result<()> {
        let mut statement =
            self.connection.prepare("SELECT name, id_next, listed FROM contexts")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let context: Arc<str> = Arc::from(row.get_ref(0)?.as_str()?);
            state.apply(Change::PutContext { context: Arc::clone(&context), id_next: row.get(1)? });
            if !row.get::<_, bool>(2)? {
                state.apply(Change::RemoveContext { context });
            }
        }
        Ok(())
    }

    fn load_schemas(&self, state: &mut State) -> Result<()> {
        let failed = |cause| store_failed(cause, "read the registry's schemas");
        let mut statement = self
            .connection
            .prepare(
                "SELECT context, id, text, reference_list, metadata, rules FROM schemas
                 ORDER BY context, id",
            )
            .map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            schema_row(row).map_err(failed)?.load(state)?;
        }
        Ok(())
    }

    fn load_versions(&self, state: &mut State) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(
            "SELECT subject, number, schema_id, deleted, created_at_ms FROM versions
             ORDER BY subject, number",
        )?;
        let mut rows = statement.query([])?;
        let mut subject: Arc<str> = Arc::from("");
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str()?;
            if *subject != *name {
                subject = Arc::from(name);
            }
            let version = Version {
                number: row.get(1)?,
                id: row.get(2)?,
                deleted: row.get(3)?,
                created_ms: row.get(4)?,
            };
            state.apply(Change::PutVersion { subject: Arc::clone(&subject), version });
        }
        Ok(())
    }

    fn load_scopes(&self, state: &mut State) -> Result<()> {
        let failed = |cause| store_failed(cause, "read the registry's configuration");
        let pairs = |sql| -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        for (scope, text) in pairs("SELECT scope, setting FROM settings").map_err(failed)? {
            let unknown = || corrupt("a configuration is unknown").with("scope", &scope);
            let setting = read_json(Some(&text)).ok().flatten().ok_or_else(unknown)?;
            let (scope, setting) = (Arc::from(scope), Arc::new(setting));
            state.apply(Change::SetSetting { scope, setting });
        }
        for (scope, name) in pairs("SELECT scope, mode FROM modes").map_err(failed)? {
            let unknown = || corrupt("a mode is unknown").with("mode", &name);
            let mode = Mode::from_name(&name).ok_or_else(unknown)?;
            state.apply(Change::SetMode { scope: Arc::from(scope), mode });
        }
        Ok(())
    }

    fn load_consumers(&self, state: &mut State) -> Result<()> {
        let failed = |cause| store_failed(cause, "read the registry's consumers");
        let mut statement = self
            .connection
            .prepare("SELECT subject, name, consumer FROM consumers ORDER BY subject, name")
            .map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let text = |place| row.get::<_, String>(place).map_err(failed);
            state.apply(consumer_row(&text(0)?, &text(1)?, &text(2)?)?);
        }
        Ok(())
    }
}

fn schema_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<SchemaRow> {
    Ok(SchemaRow {
        context: row.get(0)?,
        id: row.get(1)?,
        text: row.get(2)?,
        references: row.get(3)?,
        metadata: row.get(4)?,
        rules: row.get(5)?,
    })
}

/// One process has the file: others never write, and there is nothing to begin.
impl Store for SqliteStore {
    fn registry_id(&self) -> &str {
        &self.registry_id
    }

    fn load(&mut self) -> Result<Loaded> {
        let failed = |cause| store_failed(cause, "read the registry's store");
        let mut state = State::default();
        self.load_contexts(&mut state).map_err(failed)?;
        self.load_schemas(&mut state)?;
        self.load_versions(&mut state).map_err(failed)?;
        self.load_scopes(&mut state)?;
        self.load_consumers(&mut state)?;
        Ok(Loaded { state, mark: Mark::default() })
    }

    fn begin(&mut self, _known: Mark) -> Result<News> {
        Ok(News::None)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Mark> {
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            let now_ms = now_ms();
            for change in changes {
                write_change(&transaction, change, now_ms)?;
            }
            transaction.commit()
        };
        write().map_err(|cause| store_failed(cause, "write to the registry's store"))?;
        Ok(Mark::default())
    }

    fn give_up(&mut self) {}

    fn news(&mut self, _known: Mark) -> Result<News> {
        Ok(News::None)
    }

    fn probe(&mut self) -> Result<()> {
        self.connection
            .execute("UPDATE counter SET value = value + 1 WHERE name = 'probes'", [])
            .map(|_| ())
            .map_err(|cause| store_failed(cause, "write to the registry's store"))
    }

    #[cfg(test)]
    fn sqlite(&self) -> Option<&Connection> {
        Some(&self.connection)
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
        Change::PutContext { context, id_next } => put_context(transaction, context, *id_next),
        Change::RemoveContext { context } => {
            run("UPDATE contexts SET listed = 0 WHERE name = ?", params![&**context])
        }
        Change::AddSchema { context, id, identity } => {
            run(
                "INSERT INTO schemas
                 (context, id, text, reference_list, metadata, rules, created_at_ms)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
                params![
                    &**context,
                    id,
                    &*identity.text,
                    references_text(&identity.references),
                    write_json(identity.metadata.as_ref()),
                    write_json(identity.rules.as_ref()),
                    now_ms
                ],
            )?;
            put_context(transaction, context, id.saturating_add(1))
        }
        Change::RemoveSchema { context, id } => {
            run("DELETE FROM schemas WHERE context = ? AND id = ?", params![&**context, id])
        }
        Change::PutVersion { subject, version } => run(
            "INSERT INTO versions (subject, number, schema_id, deleted, created_at_ms)
             VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (subject, number)
             DO UPDATE SET schema_id = excluded.schema_id, deleted = excluded.deleted,
                           created_at_ms = excluded.created_at_ms",
            params![&**subject, version.number, version.id, version.deleted, version.created_ms],
        ),
        Change::RemoveVersion { subject, number } => run(
            "DELETE FROM versions WHERE subject = ? AND number = ?",
            params![&**subject, number],
        ),
        Change::SetSetting { scope, setting } => run(
            "INSERT INTO settings (scope, setting) VALUES (?, ?)
             ON CONFLICT (scope) DO UPDATE SET setting = excluded.setting",
            params![&**scope, write_json(Some(setting))],
        ),
        Change::RemoveSetting { scope } => {
            run("DELETE FROM settings WHERE scope = ?", params![&**scope])
        }
        Change::SetMode { scope, mode } => run(
            "INSERT INTO modes (scope, mode) VALUES (?, ?)
             ON CONFLICT (scope) DO UPDATE SET mode = excluded.mode",
            params![&**scope, mode.name()],
        ),
        Change::RemoveMode { scope } => run("DELETE FROM modes WHERE scope = ?", params![&**scope]),
        Change::PutConsumer { subject, name, consumer } => run(
            "INSERT INTO consumers (subject, name, consumer) VALUES (?, ?, ?)
             ON CONFLICT (subject, name) DO UPDATE SET consumer = excluded.consumer",
            params![&**subject, &**name, write_json(Some(consumer))],
        ),
        Change::RemoveConsumer { subject, name } => run(
            "DELETE FROM consumers WHERE subject = ? AND name = ?",
            params![&**subject, &**name],
        ),
    }
}

fn put_context(transaction: &Transaction<'_>, context: &str, id_next: u32) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO contexts (name, id_next, listed) VALUES (?, ?, 1)
             ON CONFLICT (name) DO UPDATE SET id_next = max(id_next, excluded.id_next), listed = 1",
        )?
        .execute(params![context, id_next])
        .map(|_| ())
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
    use crate::consumer::Consumer;
    use crate::level::CompatibilityLevel;
    use crate::setting::Setting;
    use crate::state::{Identity, Reference};

    fn schema(id: u32, text: &str) -> Change {
        let identity = Identity::new(text, Arc::from([]));
        Change::AddSchema { context: ".".into(), id, identity }
    }

    fn level_of(state: &State, subject: &str) -> CompatibilityLevel {
        state.setting_in_scope(subject).compatibility_level.unwrap()
    }

    fn version(subject: &str, number: u32, id: u32) -> Change {
        let version = Version { number, id, deleted: false, created_ms: 9 };
        Change::PutVersion { subject: subject.into(), version }
    }

    #[test]
    fn what_was_committed_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let reference =
            Reference { name: "a.B".into(), subject: "s\"'\u{1f600}".into(), version: 7 };
        let metadata = serde_json::from_str(r#"{"properties":{"a":"b"}}"#).unwrap();
        let identity = Identity {
            metadata: Some(Arc::new(metadata)),
            ..Identity::new("{}", Arc::from([reference]))
        };
        let set = |scope: &str, level| {
            let setting = Setting { compatibility_level: Some(level), ..Setting::default() };
            Change::SetSetting { scope: scope.into(), setting: Arc::new(setting) }
        };
        let consumer = Arc::new(Consumer {
            fields: Some(["a".to_owned()].into()),
            version: Some(2),
            group: None,
        });
        let mut store = SqliteStore::open(&file).unwrap();
        let id = store.registry_id().to_owned();
        store
            .commit(&[
                Change::AddSchema { context: ".c".into(), id: 4, identity: identity.clone() },
                version(":.c:s", 2, 4),
                set("", CompatibilityLevel::None),
                set(":.c:s", CompatibilityLevel::Full),
                Change::SetMode { scope: ":.c:".into(), mode: Mode::Import },
                Change::PutConsumer {
                    subject: ":.c:s".into(),
                    name: "billing".into(),
                    consumer: consumer.clone(),
                },
                Change::PutConsumer {
                    subject: ":.c:s".into(),
                    name: "gone".into(),
                    consumer: Arc::default(),
                },
                Change::RemoveConsumer { subject: ":.c:s".into(), name: "gone".into() },
            ])
            .unwrap();
        drop(store);

        let mut store = SqliteStore::open(&file).unwrap();
        let state = store.load().unwrap().state;
        assert_eq!(store.registry_id(), id);
        assert_eq!(state.schema(".c", 4), Some(&identity));
        let found = Version { number: 2, id: 4, deleted: false, created_ms: 9 };
        assert_eq!(state.version(":.c:s", 2), Some(&found));
        assert_eq!(level_of(&state, "x"), CompatibilityLevel::None);
        assert_eq!(level_of(&state, ":.c:s"), CompatibilityLevel::Full);
        assert_eq!(state.mode_in_scope(":.c:x"), Mode::Import);
        assert_eq!((state.id_next("."), state.id_next(".c")), (1, 5));
        let consumers = state.consumers_of(":.c:s");
        assert_eq!(consumers.iter().collect::<Vec<_>>(), [(&"billing".into(), &consumer)]);
    }

    #[test]
    fn ids_stay_used_up_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let mut store = SqliteStore::open(&file).unwrap();
        store.commit(&[schema(1, "x"), version("s", 1, 1)]).unwrap();
        let gone = Change::RemoveVersion { subject: "s".into(), number: 1 };
        store.commit(&[gone, Change::RemoveSchema { context: ".".into(), id: 1 }]).unwrap();
        drop(store);
        let state = SqliteStore::open(&file).unwrap().load().unwrap().state;
        assert_eq!((state.id_next("."), state.schema_count(), state.subject_count()), (2, 0, 0));
    }

    #[test]
    fn a_failed_commit_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("registry.db")).unwrap();
        let error = store.commit(&[schema(1, "x"), schema(1, "y")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        let state = store.load().unwrap().state;
        assert_eq!((state.id_next("."), state.schema_count(), state.subject_count()), (1, 0, 0));
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let _held = SqliteStore::open(&file).unwrap();
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[test]
    fn a_store_of_a_newer_program_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let store = SqliteStore::open(&file).unwrap();
        let newer = LAYOUT.len() + 1;
        store
            .connection
            .pragma_update(None, "user_version", i64::try_from(newer).unwrap())
            .unwrap();
        drop(store);
        let before = std::fs::read(&file).unwrap();
        let error = SqliteStore::open(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
        assert!(error.to_string().contains(&format!("version={newer}")), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }

    #[test]
    fn what_the_first_layout_held_is_there_in_the_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let connection = Connection::open(&file).unwrap();
        let mut store = SqliteStore { connection, registry_id: String::new() };
        store.prepare(&LAYOUT[..1]).unwrap();
        let rows = r#"INSERT INTO schema VALUES (3, '"int"', '[]', 5);
            INSERT INTO version VALUES ('s', 2, 3, 0, 6), ('s', 1, 3, 1, 5);
            INSERT INTO level VALUES ('', 'FULL'), ('s', 'NONE');
            UPDATE counter SET value = 8 WHERE name = 'id_next';"#;
        store.connection.execute_batch(rows).unwrap();
        let id = store.registry_id.clone();
        drop(store);
        let mut store = SqliteStore::open(&file).unwrap();
        assert_eq!(store.registry_id(), id);
        let state = store.load().unwrap().state;
        assert_eq!(state.id_next("."), 8);
        assert_eq!(state.latest("s").map(|version| (version.number, version.id)), Some((2, 3)));
        assert_eq!(state.versions("s", crate::Filter::WithDeleted).count(), 2);
        assert_eq!(level_of(&state, "s"), CompatibilityLevel::None);
        assert_eq!(level_of(&state, "x"), CompatibilityLevel::Full);
    }

    #[test]
    fn an_older_store_is_upgraded_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let mut store = SqliteStore::open(&file).unwrap();
        store.commit(&[schema(1, "x"), version("s", 1, 1)]).unwrap();
        drop(store);

        let mut layout = LAYOUT.to_vec();
        layout.push("CREATE TABLE later (n INTEGER) STRICT; INSERT INTO later VALUES (1);");
        for _ in 0..2 {
            let connection = Connection::open(&file).unwrap();
            let mut store = SqliteStore { connection, registry_id: String::new() };
            store.prepare(&layout).unwrap();
            let rows: i64 = store
                .connection
                .query_row("SELECT count(*) FROM later", [], |row| row.get(0))
                .unwrap();
            assert_eq!(rows, 1);
            assert_eq!(store.load().unwrap().state.schema_count(), 1);
        }
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::NewerVersion);
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.db");
        Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (n)").unwrap();
        let before = std::fs::read(&file).unwrap();
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(std::fs::read(&file).unwrap(), before);

        let file = folder.path().join("text.db");
        std::fs::write(&file, "not a database, but long enough to look at".repeat(100)).unwrap();
        assert_eq!(SqliteStore::open(&file).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    /// The write-ahead log as a power cut leaves it: its last frames cut off or overwritten. What
    /// was acknowledged before them is there, the torn transaction is gone as a whole.
    #[test]
    fn a_torn_last_write_takes_only_its_own_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let wal = folder.path().join("registry.db-wal");
        let mut store = SqliteStore::open(&file).unwrap();
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
            let state = SqliteStore::open(&copy).unwrap().load().unwrap().state;
            assert_eq!(state.schema_count(), 1, "cut at {cut}");
            assert_eq!(state.versions("s", crate::Filter::WithDeleted).count(), 1);
            assert_eq!(state.id_next("."), 2);
        }
    }
}
