//! What every reader's test needs: a daemon on the real Kafka, a table of every type with a history,
//! and PostgreSQL's own judgement of what the reader has made of it.

use super::daemon::{Daemon, configuration, with};
use super::eventually;
use super::kafka::{on_kafka, prefix};
use super::postgres::Database;
use crate::values::cases;
use num_bigint::BigInt;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Julian day of 1970-01-01.
const EPOCH_JULIAN_DAY: i32 = 2_440_588;

/// The key of a row that is written last.
const LAST: i32 = 99;

/// A variable that `scripts/test` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the servers and the tests with `scripts/test`")
    })
}

/// A daemon whose records travel through the real Kafka, with a prefix of its own there.
pub(crate) struct Mesh {
    pub(crate) daemon: Daemon,
    prefix: String,
    _folder: tempfile::TempDir,
}

impl Mesh {
    /// Captures these tables of `public`, with more lines for the source.
    pub(crate) async fn up(database: &Database, tables: &[&str], lines: &str) -> Self {
        let tables: Vec<String> = tables.iter().map(|table| format!("public.{table}")).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let text = on_kafka(&with(&configuration(database, &tables, ""), lines), "");
        let prefix = prefix(&text);
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::up(folder.path(), &text).await;
        daemon.streaming().await;
        assert!(daemon.command(&["snapshot", "status", "shop", "--wait"]).status.success());
        Self { daemon, prefix, _folder: folder }
    }

    /// The topic of a table, as the brokers know it.
    pub(crate) fn topic(&self, table: &str) -> String {
        format!("{}shop.public.{table}", self.prefix)
    }

    /// Waits until the topics have all that was committed. What the database has been told is done
    /// lies in the topics.
    pub(crate) async fn caught_up(&self, database: &Database) {
        let end = database.text("SELECT pg_current_wal_lsn()::text").await;
        let confirmed = format!(
            "SELECT (confirmed_flush_lsn >= '{end}')::text FROM pg_replication_slots
             WHERE slot_name = '{}'",
            database.name
        );
        eventually("the log is confirmed", async || {
            (database.text(&confirmed).await == "true").then_some(())
        })
        .await;
    }
}

/// Types beside those of `values::cases`, each with a value in SQL.
const MORE: &[(&str, &str)] = &[
    ("hstore", "'a=>1, \"b c\"=>NULL'"),
    ("citext", "'Ünï'"),
    ("ltree", "'a.b'"),
    ("int4[][]", "'{{1,2},{3,NULL}}'"),
    ("int4range", "'[1,5)'"),
    ("tstzrange", "'[2024-01-01 00:00:00+00,)'"),
    ("int4multirange", "'{[1,3),[5,7)}'"),
    ("point", "'(1.5,-2)'"),
    ("polygon", "'((0,0),(1,1),(1,0))'"),
    ("inet", "'10.0.0.1/24'"),
    ("cidr", "'10.0.0.0/8'"),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'"),
    ("bit(3)", "'101'"),
    ("varbit", "'1011'"),
    ("tsvector", "'a:1 b'"),
    ("tsquery", "'a & b'"),
    ("xml", "'<a>b</a>'"),
    ("jsonpath", "'$.a'"),
    ("pg_lsn", "'0/16B3748'"),
    ("xid8", "'5'"),
    ("regclass", "'pg_class'"),
    ("address", ADDRESS),
    ("address[]", "ARRAY[NULL, ('', NULL, NULL, '{}', NULL)::address]"),
];

/// A value of the composite type.
const ADDRESS: &str = "('a \"b\", \\c', 7, 'happy', '{x,NULL,\"y z\"}', 2.5)";

/// Every type that is carried, each with a value in SQL.
pub(crate) fn every_type() -> Vec<(&'static str, &'static str)> {
    let first = cases().into_iter().map(|(kind, value, _)| (kind, value));
    first.chain(MORE.iter().copied()).collect()
}

/// Makes the types that the cases name.
pub(crate) async fn make_types(database: &Database) {
    database
        .execute(
            "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
             CREATE TYPE mood AS ENUM ('sad', 'happy');
             CREATE DOMAIN positive AS int CHECK (VALUE > 0);
             CREATE TYPE address AS
                 (street text, number positive, mood mood, tags text[], area numeric(6,2))",
        )
        .await;
}

/// A table with a column for each of these types; the values are as SQL has them.
pub(crate) struct Types<'a> {
    pub(crate) table: &'a str,
    pub(crate) columns: Vec<(&'a str, &'a str)>,
}

impl Types<'_> {
    /// Makes the table, and rows that a snapshot will read: 1 with values, 2 without any, 3 and 4.
    pub(crate) async fn make(&self, database: &Database) {
        let columns = self.columns.iter().enumerate();
        let columns: Vec<String> = columns.map(|(i, (kind, _))| format!("c{i} {kind}")).collect();
        let (table, columns) = (self.table, columns.join(", "));
        database.execute(&format!("CREATE TABLE {table} (id int PRIMARY KEY, {columns})")).await;
        database.execute(&format!("INSERT INTO {table} VALUES (2)")).await;
        for id in [1, 3, 4] {
            self.insert(database, id).await;
        }
    }

    async fn insert(&self, database: &Database, id: i32) {
        let values: Vec<&str> = self.columns.iter().map(|(_, value)| *value).collect();
        let (table, values) = (self.table, values.join(", "));
        database.execute(&format!("INSERT INTO {table} VALUES ({id}, {values})")).await;
    }

    /// Changes it while the log is read: every value comes and goes, rows come and go.
    pub(crate) async fn change(&self, database: &Database) {
        let table = self.table;
        self.insert(database, 5).await;
        self.insert(database, 6).await;
        database.execute(&format!("INSERT INTO {table} VALUES (7)")).await;
        let columns = self.columns.iter().enumerate();
        let set: Vec<String> = columns.map(|(i, (_, value))| format!("c{i} = {value}")).collect();
        let set = set.join(", ");
        database.execute(&format!("UPDATE {table} SET {set} WHERE id IN (2, 7)")).await;
        let columns = 0..self.columns.len();
        let clear = columns.map(|i| format!("c{i} = NULL")).collect::<Vec<_>>().join(", ");
        database.execute(&format!("UPDATE {table} SET {clear} WHERE id = 5")).await;
        database.execute(&format!("DELETE FROM {table} WHERE id IN (3, 6)")).await;
        database.execute(&format!("UPDATE {table} SET id = 8 WHERE id = 4")).await;
        self.insert(database, LAST).await;
    }

    /// Compares rows that a reader gives, by key, with the table's. The texts are read by the server,
    /// as values of the columns' types, and compared as it prints them.
    pub(crate) async fn compare(&self, database: &Database, rows: &BTreeMap<i32, Vec<Json>>) {
        let ids = database.client.query(&format!("SELECT id FROM {}", self.table), &[]).await;
        let mut ids: Vec<i32> = ids.unwrap().iter().map(|row| row.get(0)).collect();
        ids.sort_unstable();
        assert_eq!(rows.keys().copied().collect::<Vec<_>>(), ids, "keys of {}", self.table);
        assert!(ids.contains(&LAST));
        for (id, cells) in rows {
            assert_eq!(cells.len(), self.columns.len());
            for (index, (kind, _)) in self.columns.iter().enumerate() {
                let (held, given) = self.cell(database, *id, index, &cells[index]).await;
                assert_eq!(given, held, "{} {id}: {kind}, given {}", self.table, cells[index]);
            }
        }
    }

    /// A cell as the server prints its own, and what the reader gives for it.
    async fn cell(
        &self,
        database: &Database,
        id: i32,
        index: usize,
        given: &Json,
    ) -> (Option<String>, Option<String>) {
        let kind = self.columns[index].0;
        let (held, read) = match kind {
            "hstore" => (format!("hstore_to_jsonb(c{index})"), "jsonb"),
            "regclass" => (format!("c{index}::oid"), "oid"),
            _ => (format!("c{index}"), kind),
        };
        // `concat` prints a value as its type does: a cast to text would cut a char(5)'s blanks.
        let sql = format!(
            "SELECT CASE WHEN c{index}::text IS NOT NULL THEN concat({held}) END,
                    CASE WHEN $1::text IS NOT NULL THEN concat(CAST($1::text AS {read})) END
             FROM {} WHERE id = $2",
            self.table
        );
        let row = database.client.query_one(&sql, &[&literal(given), &id]).await;
        let row = row.unwrap_or_else(|error| panic!("{kind} of {given}: {error:?}"));
        (row.get(0), row.get(1))
    }
}

/// A reader's cell as the text of a value: lists become array literals, objects row literals.
fn literal(cell: &Json) -> Option<String> {
    let quoted = |cell: &Json, null: &str| match literal(cell) {
        None => null.to_owned(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    let list = |cells: Vec<String>| cells.join(",");
    match cell {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        Json::Array(cells) => {
            Some(format!("{{{}}}", list(cells.iter().map(|cell| quoted(cell, "NULL")).collect())))
        }
        Json::Object(cells) => {
            Some(format!("({})", list(cells.values().map(|cell| quoted(cell, "")).collect())))
        }
        other => Some(other.to_string()),
    }
}

/// Rows by their key, from objects with `id` and `c0`, `c1` and so on.
pub(crate) fn by_key(rows: &[Json], columns: usize) -> BTreeMap<i32, Vec<Json>> {
    let id = |row: &Json| match &row["id"] {
        Json::String(text) => text.parse().unwrap(),
        other => i32::try_from(other.as_i64().unwrap()).unwrap(),
    };
    let cells = |row: &Json| (0..columns).map(|i| row[format!("c{i}")].clone()).collect();
    let found: BTreeMap<i32, Vec<Json>> = rows.iter().map(|row| (id(row), cells(row))).collect();
    assert_eq!(found.len(), rows.len(), "a key is there twice");
    found
}

/// A number of this scale by all its digits.
pub(crate) fn decimal(unscaled: &BigInt, scale: usize) -> String {
    let sign = if *unscaled < BigInt::ZERO { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.magnitude().to_string(), width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{rest}")
}

/// Days since 1970 as PostgreSQL reads them: a Julian day has room for all of them.
pub(crate) fn day(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        _ => format!("J{}", EPOCH_JULIAN_DAY + days),
    }
}

/// Microseconds of a day.
pub(crate) fn clock(us: i64) -> String {
    let (seconds, us) = (us / 1_000_000, us % 1_000_000);
    format!("{:02}:{:02}:{:02}.{us:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Microseconds since 1970.
pub(crate) fn moment(us: i64) -> String {
    const DAY_US: i64 = 86_400_000_000;
    match us {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => {
            let days = i32::try_from(us.div_euclid(DAY_US)).unwrap();
            format!("{} {}", day(days), clock(us.rem_euclid(DAY_US)))
        }
    }
}
