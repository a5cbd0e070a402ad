//! What the server says before the log is touched.

use crate::client::Sql;
use crate::config::{Config, quoted_table};
use crate::frame::Flavor;
use crate::snapshot::mark_table_statements;
use crate::turn;
use mysql_async::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tidemesh_model::{Error, ErrorKind, Remedy, Result, TableName};

/// A server's version, by its first two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

/// The server, and what the user may do there.
#[derive(Debug, Clone)]
pub(super) struct ServerFacts {
    pub(super) flavor: Flavor,
    pub(super) version: Version,
    /// Global variables by name; one that is not there is none of this server's.
    pub(super) variables: BTreeMap<String, String>,
    /// The user, as statements name it.
    pub(super) user: String,
    /// What the user and the roles that are active may do everywhere; none if it is not known.
    pub(super) grants: Option<Vec<String>>,
    /// Which databases are logged; none if the user may not ask.
    pub(super) filter: Option<LogFilter>,
    /// Whether it is another server's replica; none if the user may not ask.
    pub(super) is_replica: Option<bool>,
    /// Who has registered to read the log: server id and name. None where the user may not ask.
    pub(super) readers: Vec<(u32, String)>,
}

/// Databases that alone are logged, if there are any, and such as are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogFilter {
    pub(super) only: BTreeSet<String>,
    pub(super) without: BTreeSet<String>,
}

/// A table that is captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TableFact {
    /// `BASE TABLE`, `VIEW`, …; none if the user sees no such table.
    pub(super) kind: Option<String>,
    pub(super) engine: String,
    /// All columns, in their order, each with whether it is of the key that the log names.
    pub(super) columns: Vec<(String, bool)>,
    /// Foreign keys by which the engine changes rows of this table.
    pub(super) cascades: Vec<Cascade>,
}

/// A foreign key with actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cascade {
    pub(super) constraint: String,
    pub(super) parent: TableName,
    pub(super) on_update: String,
    pub(super) on_delete: String,
}

impl Version {
    /// The beginning of what the server says: `8.0.mysql_aurora.3.05.2`, `10.11.19-MariaDB-log`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-']).map(|part| part.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl ServerFacts {
    /// Asks the server.
    ///
    /// # Errors
    ///
    /// What it says; `Unsupported` for a version that is none.
    pub(super) async fn ask(sql: &mut Sql) -> Result<Self> {
        let rows: Vec<(String, String)> = sql.rows(VARIABLES, ()).await?;
        let variables: BTreeMap<String, String> =
            rows.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let text = variables.get("version").map_or("", String::as_str);
        let version = Version::parse(text).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "check the server")
                .because("its version is none that is known")
                .with("version", text)
        })?;
        let flavor = match text.to_ascii_lowercase().contains("mariadb") {
            true => Flavor::MariaDb,
            false => Flavor::MySql,
        };
        let user: Option<String> = sql.row("SELECT CURRENT_USER()", ()).await?;
        Ok(Self {
            flavor,
            version,
            variables,
            user: account(&user.unwrap_or_default()),
            grants: grants(sql, flavor).await?,
            filter: filter(sql, flavor, version).await?,
            is_replica: is_replica(sql, flavor).await?,
            readers: turn::readers(sql).await?,
        })
    }

    /// The variable, by the name that this server has, by which it does not log what it replicates; none
    /// if it does.
    pub(super) fn log_updates_off(&self) -> Option<&'static str> {
        let names = ["log_replica_updates", "log_slave_updates"];
        names.into_iter().find(|name| self.variable(name) == "OFF")
    }

    /// A variable's value, in capitals; empty if the server has none of this name.
    pub(super) fn variable(&self, name: &str) -> String {
        self.variables.get(name).map(|value| value.to_ascii_uppercase()).unwrap_or_default()
    }
}

/// A user as statements name it: of `user@host`, `'user'@'host'`.
fn account(user: &str) -> String {
    let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
    let text = |part: &str| format!("'{}'", part.replace('\'', "''"));
    format!("{}@{}", text(name), text(host))
}

/// What somebody may not ask; any other error is one.
fn unless_denied<T>(asked: Result<T>) -> Result<Option<T>> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == ErrorKind::Privilege => Ok(None),
        Err(error) => Err(error),
    }
}

/// MariaDB shows what active roles may with the user's own; MySQL has to be asked for them.
async fn grants(sql: &mut Sql, flavor: Flavor) -> Result<Option<Vec<String>>> {
    let roles: Option<String> = match flavor {
        Flavor::MySql => sql.row("SELECT CURRENT_ROLE()", ()).await?,
        Flavor::MariaDb => None,
    };
    let question = match roles.filter(|roles| !roles.is_empty() && roles != "NONE") {
        Some(roles) => format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}"),
        None => "SHOW GRANTS".to_owned(),
    };
    unless_denied(sql.rows(&question, ()).await)
}

async fn filter(sql: &mut Sql, flavor: Flavor, version: Version) -> Result<Option<LogFilter>> {
    let statement = match flavor {
        Flavor::MySql if version >= Version(8, 2) => "SHOW BINARY LOG STATUS",
        Flavor::MySql | Flavor::MariaDb => "SHOW MASTER STATUS",
    };
    let Some(told) = unless_denied(sql.told::<Row>(statement).await)? else { return Ok(None) };
    let databases = |column: &str| {
        let text: Option<String> = told.as_ref().and_then(|row| row.get_opt(column)?.ok());
        let text = text.unwrap_or_default();
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    Ok(Some(LogFilter { only: databases("Binlog_Do_DB"), without: databases("Binlog_Ignore_DB") }))
}

/// Whether the server has another one that it replicates, running or not; none if the user may not ask.
async fn is_replica(sql: &mut Sql, flavor: Flavor) -> Result<Option<bool>> {
    let statements = match flavor {
        // One of the two is there: the new name since 8.0.22, the old one before 8.4.
        Flavor::MySql => &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"][..],
        // The other form tells of the connection without a name alone.
        Flavor::MariaDb => &["SHOW ALL SLAVES STATUS"],
    };
    for statement in statements {
        match sql.told::<Row>(statement).await {
            Ok(row) => return Ok(Some(row.is_some())),
            Err(error) if error.remedy() == Remedy::Stop => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl TableFact {
    /// Asks `information_schema` for a table.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub(super) async fn ask(sql: &mut Sql, table: &TableName) -> Result<Self> {
        let named = || {
            let [schema, name] = [&table.schema, &table.table].map(String::as_str);
            (schema, schema, name, name)
        };
        let kind: Option<(String, Option<String>)> = sql.row(TABLE, named()).await?;
        let Some((kind, engine)) = kind else { return Ok(Self::default()) };
        let columns: Vec<(String, String)> = sql.rows(COLUMNS, named()).await?;
        let cascades: Vec<(String, String, String, String, String)> =
            sql.rows(CASCADES, named()).await?;
        let cascade = |told: (String, String, String, String, String)| {
            let (constraint, schema, parent, on_update, on_delete) = told;
            Cascade { constraint, parent: TableName::new(schema, parent), on_update, on_delete }
        };
        Ok(Self {
            kind: Some(kind),
            engine: engine.unwrap_or_default(),
            columns: columns.into_iter().map(|(name, key)| (name, key == "PRI")).collect(),
            cascades: cascades.into_iter().map(cascade).collect(),
        })
    }

    /// Whether the log names a key for it.
    pub(super) fn has_key(&self) -> bool {
        self.columns.iter().any(|(_, in_key)| *in_key)
    }
}

/// Whether the user may read these columns, which are written as SQL has them: the server is asked for
/// none of the rows.
///
/// # Errors
///
/// What the server says, but for a privilege that is missing.
pub(super) async fn may_read(sql: &mut Sql, table: &TableName, columns: &str) -> Result<bool> {
    let question = format!("SELECT {columns} FROM {} WHERE 1 = 0", quoted_table(table));
    Ok(unless_denied(sql.run(&question).await)?.is_some())
}

/// The table of the snapshots' marks, made if it is missing, takes marks of the user.
///
/// # Errors
///
/// What the server says: `Privilege`; `Unavailable` where it takes no writes, as in a failover;
/// `Prerequisite` where the table is another one.
pub(super) async fn make_marks(sql: &mut Sql, config: &Config, table: &TableName) -> Result<()> {
    let fact = TableFact::ask(sql, table).await?;
    if fact.kind.is_none() {
        tracing::info!(source = config.source, %table, "makes the table of the snapshots' marks");
        let [database, made] = mark_table_statements(table);
        match sql.run(&made).await {
            // There is no such database; who may make the table alone need not make that.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                sql.run(&database).await?;
                sql.run(&made).await?;
            }
            made => made?,
        }
    }
    // What a mark is written by, for no row.
    let name = quoted_table(table);
    sql.run(&format!(
        "INSERT INTO {name} (id, mark) SELECT 1, '' FROM DUAL WHERE 1 = 0 \
         ON DUPLICATE KEY UPDATE mark = VALUES(mark)"
    ))
    .await
}

const VARIABLES: &str = "
SHOW GLOBAL VARIABLES WHERE Variable_name IN (
  'version', 'server_id', 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata',
  'binlog_checksum', 'binlog_order_commits', 'binlog_expire_logs_seconds', 'expire_logs_days',
  'binlog_expire_logs_auto_purge', 'gtid_mode', 'log_slave_updates', 'log_replica_updates',
  'gtid_slave_pos', 'innodb_native_foreign_keys')";

/// By its name alone, so that the server opens this table and no other; and in its letters, which
/// `information_schema` does not tell apart.
const TABLE: &str = "
SELECT TABLE_TYPE, ENGINE FROM information_schema.TABLES
WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = ? AND TABLE_NAME = ? AND BINARY TABLE_NAME = ?";

/// `PRI` is told of a unique key without nulls too where there is no primary one, as the log does.
const COLUMNS: &str = "
SELECT COLUMN_NAME, COLUMN_KEY FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = ? AND BINARY TABLE_SCHEMA = ? AND TABLE_NAME = ? AND BINARY TABLE_NAME = ?
ORDER BY ORDINAL_POSITION";

const CASCADES: &str = "
SELECT CONSTRAINT_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE
FROM information_schema.REFERENTIAL_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = ? AND BINARY CONSTRAINT_SCHEMA = ?
  AND TABLE_NAME = ? AND BINARY TABLE_NAME = ?
  AND (UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
       OR DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_say_them() {
        for (text, expected) in [
            ("8.0.mysql_aurora.3.05.2", Some(Version(8, 0))),
            ("10.11.19-MariaDB-0+deb12u1-log", Some(Version(10, 11))),
            ("9.1.0", Some(Version(9, 1))),
            ("8", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn users_are_named_as_statements_do() {
        assert_eq!(account("cdc@10.0.0.%"), "'cdc'@'10.0.0.%'");
        assert_eq!(account("o'a@b@%"), "'o''a@b'@'%'");
    }
}
