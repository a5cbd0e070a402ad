//! A MySQL or MariaDB server's settings, and what its values become where there is a choice.

use super::postgres::{
    bytes_bounds, column_patterns, connection_bounds, one_password, tables_bounds,
};
use super::{Secret, TlsMode, wrong};
use crate::{MaskSettings, Result, TablePattern};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A MySQL server, 8.0 to 9, or a MariaDB server, 10.5 to 11, with row-based binary logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlSettings {
    /// A host name or address, or the path of a unix socket (begins with `/`).
    /// Default 127.0.0.1.
    #[serde(default = "defaults::host")]
    pub host: String,
    /// The port. Default 3306.
    #[serde(default = "defaults::port")]
    pub port: u16,
    /// The user: needs SELECT on the tables, REPLICATION SLAVE, and REPLICATION CLIENT (MariaDB: BINLOG
    /// MONITOR). No default.
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
    /// The tables to capture, each as `database.table`, where `*` stands for any characters and `?`
    /// for one. At least one. No default.
    pub tables: Vec<String>,
    /// Tables that are left out though `tables` names or matches them; of the same form. Default
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_tables: Vec<String>,
    /// Columns, each as `database.table.column`, each part as in `tables`: of a table of which an entry
    /// speaks, only those that one matches are captured, and its key. Default none: all columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_columns: Vec<String>,
    /// Columns that are left out, of the same form; a key's column cannot be. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_columns: Vec<String>,
    /// Text columns whose values are made unreadable. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<MaskSettings>,
    /// The id under which the server knows who reads its log: no other replica of it, and no other
    /// source, may have the same. 1 to 4294967295; default one made of the source's name, at or above
    /// 2147483648.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<u32>,
    /// The table of one row by which snapshots find their place in the log, as `database.table`; made
    /// if it is missing. Not used with `snapshot.read_only`. Default `tidemesh.watermarks`.
    #[serde(default = "defaults::watermark_table")]
    pub watermark_table: String,
    /// How long making a connection may take, in milliseconds. 100 to 600000; default 10000.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// The most bytes one event of the log, or one row of a table, may have. 1 MiB to 1 GiB; default
    /// 64 MiB.
    #[serde(default = "defaults::message_bytes_max")]
    pub message_bytes_max: usize,
    /// The most bytes of events that are held of distributed (XA) transactions that are prepared and not yet
    /// committed, all together; a transaction that is committed in one phase counts until its end. 1 MiB to
    /// 1 GiB; default 64 MiB.
    #[serde(default = "defaults::xa_held_bytes_max")]
    pub xa_held_bytes_max: usize,
    /// What becomes of dates that are none, as `0000-00-00` and `2024-02-31`. Default `stop`.
    #[serde(default)]
    pub zero_dates: ZeroDates,
    /// How `BIGINT UNSIGNED` is carried. Default `decimal`.
    #[serde(default)]
    pub unsigned_bigint: UnsignedBigint,
    /// How `TIME` is carried, which may be negative and longer than a day. Default `text`.
    #[serde(default)]
    pub time: MysqlTime,
}

impl MysqlSettings {
    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn validate(&self) -> Result<()> {
        if self.user.is_empty() {
            return Err(wrong("mysql.user", "must not be empty"));
        }
        tables_bounds("mysql.tables", &self.tables, "shop.orders")?;
        self.table_patterns()?;
        self.excluded_tables()?;
        column_patterns("mysql.include_columns", &self.include_columns)?;
        column_patterns("mysql.exclude_columns", &self.exclude_columns)?;
        let (mask, columns) = ("mysql.mask", "mysql.mask.columns");
        self.mask.iter().try_for_each(|one| one.validate(mask, columns))?;
        if self.server_id == Some(0) {
            return Err(wrong("mysql.server_id", "must be 1 to 4294967295"));
        }
        let watermarks = TablePattern::of("mysql.watermark_table", &self.watermark_table)?;
        if watermarks.exact().is_none() {
            let problem = "must name one table, without * and ?";
            return Err(
                wrong("mysql.watermark_table", problem).with("value", &self.watermark_table)
            );
        }
        connection_bounds(
            ("mysql.connect_timeout_ms", self.connect_timeout_ms),
            ("mysql.message_bytes_max", self.message_bytes_max),
        )?;
        bytes_bounds("mysql.xa_held_bytes_max", self.xa_held_bytes_max)?;
        one_password("mysql.password_file", self.password.is_some(), self.password_file.is_some())
    }

    /// The choices about types.
    #[must_use]
    pub fn types(&self) -> MysqlTypes {
        MysqlTypes {
            zero_dates: self.zero_dates,
            unsigned_bigint: self.unsigned_bigint,
            time: self.time,
        }
    }

    /// The files that it names, each with its key.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let salts = self.mask.iter_mut().map(|mask| ("mysql.mask.salt_file", &mut mask.salt_file));
        let files = [
            ("mysql.password_file", &mut self.password_file),
            ("mysql.tls_ca_file", &mut self.tls_ca_file),
        ];
        let all = files.into_iter().chain(salts);
        all.filter_map(|(key, file)| Some((key, file.as_mut()?)))
    }

    /// `tables`, each entry read.
    ///
    /// # Errors
    ///
    /// `Config` if one is not `database.table`.
    pub fn table_patterns(&self) -> Result<Vec<TablePattern>> {
        self.tables.iter().map(|entry| TablePattern::of("mysql.tables", entry)).collect()
    }

    /// `exclude_tables`, each entry read.
    ///
    /// # Errors
    ///
    /// As [`MysqlSettings::table_patterns`].
    pub fn excluded_tables(&self) -> Result<Vec<TablePattern>> {
        let pattern = |entry: &String| TablePattern::of("mysql.exclude_tables", entry);
        self.exclude_tables.iter().map(pattern).collect()
    }
}

/// Choices about types, each of which loses nothing without telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlTypes {
    /// What becomes of dates that are none, as `0000-00-00` and `2024-02-31`. Default `stop`.
    #[serde(default)]
    pub zero_dates: ZeroDates,
    /// How `BIGINT UNSIGNED` is carried. Default `decimal`.
    #[serde(default)]
    pub unsigned_bigint: UnsignedBigint,
    /// How `TIME` is carried, which may be negative and longer than a day. Default `text`.
    #[serde(default)]
    pub time: MysqlTime,
}

/// What becomes of dates that no calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroDates {
    /// As any value that cannot be carried: the source stops, with an error that names table and
    /// column.
    #[default]
    Stop,
    /// They are carried as null; in a key, which has no null, the source stops all the same.
    Null,
    /// All of `DATE`, `DATETIME` and `TIMESTAMP` are carried as the database's text, in UTC.
    Text,
}

/// How numbers are carried that may be above the largest of 64 bits with a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnsignedBigint {
    /// As `decimal(20,0)`, which holds all of them.
    #[default]
    Decimal,
    /// As a long; a larger one stops the source.
    Long,
}

/// How spans of time are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MysqlTime {
    /// As the database's text: `-838:59:59`.
    #[default]
    Text,
    /// As a time of day; one that is negative or longer than a day stops the source.
    TimeOfDay,
}

mod defaults {
    pub(super) fn host() -> String {
        "127.0.0.1".to_owned()
    }
    pub(super) fn port() -> u16 {
        3306
    }
    pub(super) fn watermark_table() -> String {
        "tidemesh.watermarks".to_owned()
    }
    pub(super) fn connect_timeout_ms() -> u64 {
        10_000
    }
    pub(super) fn message_bytes_max() -> usize {
        64 * 1024 * 1024
    }
    pub(super) fn xa_held_bytes_max() -> usize {
        64 * 1024 * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, SourceSettings};
    use serde_json::json;

    #[test]
    fn the_defaults_lose_nothing() {
        let types: MysqlTypes = serde_json::from_str("{}").unwrap();
        assert_eq!(types, MysqlTypes::default());
        assert_eq!(types.zero_dates, ZeroDates::Stop);
        assert_eq!(types.unsigned_bigint, UnsignedBigint::Decimal);
        assert_eq!(types.time, MysqlTime::Text);
        let text = r#"{"zero_dates": "null", "unsigned_bigint": "long", "time": "time_of_day"}"#;
        let types: MysqlTypes = serde_json::from_str(text).unwrap();
        assert_eq!(types.zero_dates, ZeroDates::Null);
    }

    fn source(mysql: serde_json::Value) -> SourceSettings {
        let mut table = serde_json::json!({"user": "u", "tables": ["shop.orders"]});
        for (key, value) in mysql.as_object().unwrap() {
            table[key] = value.clone();
        }
        serde_json::from_value(serde_json::json!({"name": "shop", "mysql": table})).unwrap()
    }

    #[test]
    fn the_smallest_settings_have_the_documented_defaults() {
        let source = source(json!({}));
        source.validate().unwrap();
        let mysql = source.mysql.unwrap();
        assert_eq!((mysql.host.as_str(), mysql.port), ("127.0.0.1", 3306));
        assert_eq!(mysql.tls, TlsMode::Prefer);
        assert_eq!(mysql.server_id, None);
        assert_eq!(mysql.watermark_table, "tidemesh.watermarks");
        assert_eq!(mysql.connect_timeout_ms, 10_000);
        assert_eq!(mysql.message_bytes_max, 64 * 1024 * 1024);
        assert_eq!(mysql.xa_held_bytes_max, 64 * 1024 * 1024);
        assert_eq!(mysql.types(), MysqlTypes::default());
    }

    #[test]
    fn every_bound_is_named_with_its_key() {
        let hash = json!([{"columns": ["shop.orders.mail"], "with": "hash"}]);
        let wrong = [
            (json!({"user": ""}), "mysql.user: must not be empty"),
            (json!({"tables": []}), "mysql.tables: names no table"),
            (json!({"tables": ["a.b", "a.b"]}), "mysql.tables: names a table twice"),
            (json!({"tables": ["orders"]}), "mysql.tables: each must be"),
            (json!({"exclude_tables": ["orders"]}), "mysql.exclude_tables: each must be"),
            (json!({"include_columns": ["shop.orders"]}), "mysql.include_columns: "),
            (json!({"exclude_columns": ["a..c"]}), "mysql.exclude_columns: "),
            (json!({ "mask": hash }), "mysql.mask: hash needs a salt"),
            (json!({"mask": [{"columns": ["mail"], "with": "redact"}]}), "mysql.mask.columns: "),
            (json!({"server_id": 0}), "mysql.server_id: must be 1 to 4294967295"),
            (json!({"watermark_table": "marks"}), "mysql.watermark_table: each must be"),
            (json!({"watermark_table": "a.*"}), "mysql.watermark_table: must name one table"),
            (json!({"connect_timeout_ms": 99}), "mysql.connect_timeout_ms: must be 100 to 600000"),
            (json!({"connect_timeout_ms": 600_001}), "mysql.connect_timeout_ms: must be 100"),
            (json!({"message_bytes_max": 1_048_575}), "mysql.message_bytes_max: must be 1048576"),
            (json!({"message_bytes_max": 1_073_741_825}), "mysql.message_bytes_max: must be"),
            (json!({"xa_held_bytes_max": 1_048_575}), "mysql.xa_held_bytes_max: must be 1048576"),
            (json!({"password": "p", "password_file": "f"}), "mysql.password_file: password is"),
        ];
        for (settings, told) in wrong {
            let error = source(settings.clone()).validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(told), "{settings}: {error}");
        }
        for least_and_most in [
            json!({"server_id": 1, "connect_timeout_ms": 100, "message_bytes_max": 1_048_576}),
            json!({"server_id": u32::MAX, "connect_timeout_ms": 600_000,
                   "message_bytes_max": 1_073_741_824}),
        ] {
            source(least_and_most).validate().unwrap();
        }
    }

    #[test]
    fn a_source_is_of_one_connector_and_read_only_is_for_this_one() {
        let postgres = json!({"database": "d", "user": "u", "tables": ["a.b"]});
        let mut both = source(json!({}));
        both.snapshot.read_only = true;
        both.validate().unwrap();
        both.postgres = serde_json::from_value(postgres).unwrap();
        let error = both.validate().unwrap_err().to_string();
        assert!(error.contains("mysql: postgres is there too"), "{error}");
        both.mysql = None;
        let error = both.validate().unwrap_err().to_string();
        assert!(error.contains("snapshot.read_only: is for mysql alone"), "{error}");
        both.postgres = None;
        both.snapshot.read_only = false;
        let error = both.validate().unwrap_err().report();
        assert!(error.contains("[source.mysql]"), "{error}");
    }
}
