//! A PostgreSQL database's settings.

use super::{Secret, in_range, wrong};
use crate::{ColumnPattern, MaskSettings, Partitions, Result, TablePattern};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A PostgreSQL database, 14 to 18.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// A host name or address, or the folder of a unix socket (begins with `/`).
    /// Default 127.0.0.1.
    #[serde(default = "defaults::host")]
    pub host: String,
    /// The port. Default 5432.
    #[serde(default = "defaults::postgres_port")]
    pub port: u16,
    /// The database. No default.
    pub database: String,
    /// The user: needs REPLICATION and SELECT on the tables. No default.
    pub user: String,
    /// The password; or use `password_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// How TLS is used. Default `prefer` over TCP; a unix socket has none.
    #[serde(default)]
    pub tls: TlsMode,
    /// PEM certificates that the server's is checked against, for `verify-ca` and `verify-full`;
    /// none takes the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// The tables to capture, each as `schema.table`, where `*` stands for any characters and `?`
    /// for one. At least one. No default.
    pub tables: Vec<String>,
    /// Tables that are left out though `tables` names or matches them; of the same form. Default
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_tables: Vec<String>,
    /// Columns, each as `schema.table.column`, each part as in `tables`: of a table of which an entry
    /// speaks, only those that one matches are captured, and its key. Default none: all columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_columns: Vec<String>,
    /// Columns that are left out, of the same form; a key's column cannot be. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_columns: Vec<String>,
    /// Text columns whose values are made unreadable. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<MaskSettings>,
    /// What a partitioned table stands for. Default `root`.
    #[serde(default)]
    pub partitions: Partitions,
    /// The replication slot, made if it is missing. Default `tidemesh_<source>`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The publication, made if it is missing. Default `tidemesh_<source>`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<String>,
    /// How long making a connection may take, in milliseconds. 100 to 600000; default 10000.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// What becomes of an update that leaves a large (TOASTed) value unchanged, which the log does
    /// not hold unless the table has REPLICA IDENTITY FULL. Default `reread`.
    #[serde(default)]
    pub toast: Toast,
    /// The most bytes one message of the log may have. 1 MiB to 1 GiB; default 64 MiB.
    #[serde(default = "defaults::message_bytes_max")]
    pub message_bytes_max: usize,
    /// What becomes of NaN and infinities in a `numeric(p,s)`, which no decimal can be. Default
    /// `stop`: nothing is lost without being told.
    #[serde(default)]
    pub numeric_special: NumericSpecial,
    /// Which messages go to `message_topic`, by the prefix that `pg_logical_emit_message` was given: a
    /// prefix, or the begin of prefixes and a `*`. Default all.
    #[serde(default = "defaults::message_prefixes")]
    pub message_prefixes: Vec<String>,
    /// Types that are carried as the database's text though they are not known here, each as
    /// `schema.type`; only types without a binary form. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text_types: Vec<String>,
}

/// What becomes of NaN and infinities in a number that is carried as a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumericSpecial {
    /// As any value that cannot be carried: the source stops, with an error that names table and
    /// column; with a `dead_letter_topic` the row goes there.
    #[default]
    Stop,
    /// They are carried as null; in a key, which has no null, the source stops all the same.
    Null,
    /// Their rows go to the source's `dead_letter_topic`, which must be set.
    DeadLetter,
}

/// What becomes of an update whose log record lacks a value that did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toast {
    /// The row is read again by its key, and comes as `r` in the update's place.
    #[default]
    Reread,
    /// The update comes at once; texts and bytes that it lacks are
    /// `__debezium_unavailable_value`, as Debezium has it.
    Placeholder,
}

/// How TLS is used, as libpq's `sslmode` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server offers it; its certificate is not checked.
    #[default]
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; the certificate's chain is checked, not the host name.
    VerifyCa,
    /// Always; chain and host name are checked.
    VerifyFull,
}

impl PostgresSettings {
    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [("postgres.database", &self.database), ("postgres.user", &self.user)] {
            if value.is_empty() {
                return Err(wrong(key, "must not be empty"));
            }
        }
        tables_bounds("postgres.tables", &self.tables, "public.orders")?;
        self.table_patterns()?;
        self.excluded_tables()?;
        column_patterns("postgres.include_columns", &self.include_columns)?;
        column_patterns("postgres.exclude_columns", &self.exclude_columns)?;
        let (mask, columns) = ("postgres.mask", "postgres.mask.columns");
        self.mask.iter().try_for_each(|one| one.validate(mask, columns))?;
        for (index, entry) in self.text_types.iter().enumerate() {
            let named = entry.split_once('.').is_some_and(|(s, t)| !s.is_empty() && !t.is_empty());
            if !named {
                let problem = "each must be schema.type";
                return Err(wrong("postgres.text_types", problem).with("type", entry));
            }
            if self.text_types[..index].contains(entry) {
                return Err(wrong("postgres.text_types", "names a type twice").with("type", entry));
            }
        }
        for (key, name) in
            [("postgres.slot", &self.slot), ("postgres.publication", &self.publication)]
        {
            if let Some(name) = name {
                slot_name(key, name)?;
            }
        }
        connection_bounds(
            ("postgres.connect_timeout_ms", self.connect_timeout_ms),
            ("postgres.message_bytes_max", self.message_bytes_max),
        )?;
        let has_password = self.password.is_some();
        one_password("postgres.password_file", has_password, self.password_file.is_some())
    }

    /// The replication slot of the source of this name.
    #[must_use]
    pub fn slot_of(&self, source: &str) -> String {
        self.slot.clone().unwrap_or_else(|| default_name(source))
    }

    /// The publication of the source of this name.
    #[must_use]
    pub fn publication_of(&self, source: &str) -> String {
        self.publication.clone().unwrap_or_else(|| default_name(source))
    }

    /// The files that it names, each with its key.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let salts =
            self.mask.iter_mut().map(|mask| ("postgres.mask.salt_file", &mut mask.salt_file));
        let files = [
            ("postgres.password_file", &mut self.password_file),
            ("postgres.tls_ca_file", &mut self.tls_ca_file),
        ];
        let all = files.into_iter().chain(salts);
        all.filter_map(|(key, file)| Some((key, file.as_mut()?)))
    }

    /// Whether a message of this prefix is wanted.
    #[must_use]
    pub fn takes_message(&self, prefix: &str) -> bool {
        self.message_prefixes.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(begin) => prefix.starts_with(begin),
            None => prefix == wanted,
        })
    }

    /// `tables`, each entry read.
    ///
    /// # Errors
    ///
    /// `Config` if one is not `schema.table`.
    pub fn table_patterns(&self) -> Result<Vec<TablePattern>> {
        self.tables.iter().map(|entry| TablePattern::of("postgres.tables", entry)).collect()
    }

    /// `exclude_tables`, each entry read.
    ///
    /// # Errors
    ///
    /// As [`PostgresSettings::table_patterns`].
    pub fn excluded_tables(&self) -> Result<Vec<TablePattern>> {
        let pattern = |entry: &String| TablePattern::of("postgres.exclude_tables", entry);
        self.exclude_tables.iter().map(pattern).collect()
    }
}

/// There must be a table, and none twice.
pub(super) fn tables_bounds(key: &'static str, tables: &[String], example: &str) -> Result<()> {
    if tables.is_empty() {
        return Err(wrong(key, "names no table")
            .help(format!("list the tables to capture, as tables = [\"{example}\"]")));
    }
    for (index, table) in tables.iter().enumerate() {
        if tables[..index].contains(table) {
            return Err(wrong(key, "names a table twice").with("table", table));
        }
    }
    Ok(())
}

/// The bounds of how long connecting may take, and of one message.
pub(super) fn connection_bounds(
    (timeout_key, timeout_ms): (&'static str, u64),
    (bytes_key, bytes_max): (&'static str, usize),
) -> Result<()> {
    in_range((timeout_key, timeout_ms, 100, 600_000))?;
    bytes_bounds(bytes_key, bytes_max)
}

/// What a bound of memory may be.
pub(super) fn bytes_bounds(key: &'static str, bytes: usize) -> Result<()> {
    in_range((key, bytes as u64, 1024 * 1024, 1024 * 1024 * 1024))
}

/// A password comes from one place.
pub(super) fn one_password(key: &'static str, is_set: bool, has_file: bool) -> Result<()> {
    if is_set && has_file {
        return Err(wrong(key, "password is set too; set one of them"));
    }
    Ok(())
}

/// Entries that name columns, each read.
pub(super) fn column_patterns(key: &'static str, entries: &[String]) -> Result<Vec<ColumnPattern>> {
    entries.iter().map(|entry| ColumnPattern::of(key, entry)).collect()
}

/// PostgreSQL's rule for slot names (documentation 18, 26.2.6.1), which suits publications too.
fn slot_name(key: &'static str, name: &str) -> Result<()> {
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fits {
        return Ok(());
    }
    Err(wrong(key, "must be 1 to 63 of a-z 0-9 _").with("value", name))
}

/// What a source's slot and publication are called unless they are named.
fn default_name(source: &str) -> String {
    let name = format!("tidemesh_{}", source.to_lowercase().replace('-', "_"));
    name.chars().take(63).collect()
}

mod defaults {
    pub(super) fn host() -> String {
        "127.0.0.1".to_owned()
    }
    pub(super) fn postgres_port() -> u16 {
        5432
    }
    pub(super) fn connect_timeout_ms() -> u64 {
        10_000
    }
    pub(super) fn message_prefixes() -> Vec<String> {
        vec!["*".to_owned()]
    }
    pub(super) fn message_bytes_max() -> usize {
        64 * 1024 * 1024
    }
}
