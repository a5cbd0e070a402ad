//! What a statement in the log means to rows, by its first words: there is no parser of DDL here, since
//! tables describe themselves. Pure.

use crate::xa::XaId;
use tidemesh_model::TableName;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A transaction begins.
    Begin,
    /// A distributed transaction begins.
    BeginDistributed,
    /// A distributed transaction that was prepared holds.
    CommitDistributed(XaId),
    /// A distributed transaction that was prepared is undone.
    RollbackDistributed(XaId),
    /// It ends, and holds.
    Commit,
    /// It ends, and what it did is undone.
    Rollback,
    /// What was done since a savepoint is undone.
    RollbackToSavepoint,
    /// All rows of a table go.
    Truncate(TableName),
    /// Tables go.
    Drop(Vec<TableName>),
    /// All tables of a database go.
    DropDatabase(String),
    /// Tables have other rows from here on, without their being in the log: partitions that go, are
    /// emptied, exchanged, or become a table or a part of one; files that are imported.
    Replace(Vec<TableName>),
    /// Tables go by other names, one after the other.
    Rename(Vec<Rename>),
    /// A table of this name may be described otherwise from here on.
    Alter(Altered),
    /// It changes rows and is logged as a statement; its first word.
    Change(&'static str),
    /// Nothing that matters to rows.
    Nothing,
}

/// A table that goes by another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rename {
    pub(crate) from: TableName,
    pub(crate) to: TableName,
}

/// A table that may be described otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Altered {
    pub(crate) table: TableName,
    /// Names under which columns went: another one of such a name has none of their values.
    pub(crate) gone: Vec<String>,
}

impl Effect {
    /// Writes names as a server has them that does not tell their cases apart.
    pub(crate) fn fold_names(&mut self) {
        let fold = |table: &mut TableName| {
            *table = TableName::new(table.schema.to_lowercase(), table.table.to_lowercase());
        };
        match self {
            Self::Truncate(table) => fold(table),
            Self::Drop(tables) | Self::Replace(tables) => tables.iter_mut().for_each(fold),
            Self::Alter(altered) => fold(&mut altered.table),
            Self::Rename(renames) => {
                renames.iter_mut().flat_map(|one| [&mut one.from, &mut one.to]).for_each(fold);
            }
            Self::DropDatabase(database) => *database = database.to_lowercase(),
            _ => {}
        }
    }
}

/// First words of statements that change rows.
const CHANGES: [&str; 8] =
    ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "MERGE"];

/// Bits of a session's `sql_mode` by which it writes strings otherwise (MySQL 8.4, sql/system_variables.h,
/// and MariaDB 10.11, sql/sql_class.h).
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// What `sql` does, in a session of this mode whose default database is `database`.
pub(crate) fn effect(sql: &str, database: &str, sql_mode: u64) -> Effect {
    let mut words = Words { rest: sql, sql_mode };
    let first = words.next().unwrap_or_default();
    let is =
        |word: Option<&str>, wanted: &str| word.is_some_and(|w| w.eq_ignore_ascii_case(wanted));
    if let Some(change) = CHANGES.into_iter().find(|change| is(Some(first), change)) {
        return Effect::Change(change);
    }
    match first.to_ascii_uppercase().as_str() {
        "BEGIN" => Effect::Begin,
        "START" if is(words.next(), "TRANSACTION") => Effect::Begin,
        "COMMIT" => Effect::Commit,
        "ROLLBACK" => match words.next() {
            word if is(word, "TO") => Effect::RollbackToSavepoint,
            _ => Effect::Rollback,
        },
        "XA" => distributed(words),
        "TRUNCATE" => {
            let mut after = words.clone();
            if is(after.next(), "TABLE") {
                words = after;
            }
            table(&mut words, database).map_or(Effect::Nothing, Effect::Truncate)
        }
        "DROP" => dropped(words, database),
        "CREATE" => created(words, database),
        "ALTER" => altered(words, database),
        "RENAME" => renamed(words, database),
        _ => Effect::Nothing,
    }
}

/// `XA START X'67',X'62',7` and its like.
fn distributed(mut words: Words<'_>) -> Effect {
    let word = words.next().unwrap_or_default().to_ascii_uppercase();
    let id = || XaId::parse(words.rest);
    match word.as_str() {
        "START" | "BEGIN" => Effect::BeginDistributed,
        "COMMIT" => id().map_or(Effect::Nothing, Effect::CommitDistributed),
        "ROLLBACK" => id().map_or(Effect::Nothing, Effect::RollbackDistributed),
        _ => Effect::Nothing,
    }
}

/// `DROP TABLE [IF EXISTS] a, b.c …`; a temporary one is not in the log's rows.
fn dropped(mut words: Words<'_>, database: &str) -> Effect {
    let mut next = || words.next().unwrap_or_default().to_ascii_uppercase();
    let is_database = match next().as_str() {
        "TABLE" | "TABLES" => false,
        "DATABASE" | "SCHEMA" => true,
        _ => return Effect::Nothing,
    };
    pass_if_exists(&mut words);
    if is_database {
        let database = words.next().and_then(name);
        return database.map_or(Effect::Nothing, Effect::DropDatabase);
    }
    let mut tables = Vec::new();
    while let Some(name) = table(&mut words, database) {
        tables.push(name);
        if words.clone().next() != Some(",") {
            break;
        }
        words.next();
    }
    Effect::Drop(tables)
}

/// `CREATE OR REPLACE TABLE t …` (MariaDB): the one before goes.
fn created(mut words: Words<'_>, database: &str) -> Effect {
    let mut first = words.next().unwrap_or_default();
    let replaces = first.eq_ignore_ascii_case("OR");
    if replaces {
        words.next();
        first = words.next().unwrap_or_default();
    }
    if !first.eq_ignore_ascii_case("TABLE") {
        return Effect::Nothing;
    }
    pass_if_exists(&mut words);
    match table(&mut words, database) {
        Some(table) if replaces => Effect::Drop(vec![table]),
        Some(table) => Effect::Alter(Altered { table, gone: Vec::new() }),
        None => Effect::Nothing,
    }
}

/// `RENAME TABLE a TO b, …`: another table may stand under each of the names.
fn renamed(mut words: Words<'_>, database: &str) -> Effect {
    let word = words.next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(word.as_str(), "TABLE" | "TABLES") {
        return Effect::Nothing;
    }
    pass_if_exists(&mut words);
    let mut renames = Vec::new();
    while let Some(from) = table(&mut words, database) {
        // MariaDB has `WAIT` and a number, or `NOWAIT`, before it.
        if !words.any(|word| word.eq_ignore_ascii_case("TO")) {
            break;
        }
        let Some(to) = table(&mut words, database) else { break };
        renames.push(Rename { from, to });
        if words.next() != Some(",") {
            break;
        }
    }
    Effect::Rename(renames)
}

/// Passes over `IF EXISTS` and `IF NOT EXISTS`.
fn pass_if_exists(words: &mut Words<'_>) {
    let mut ahead = words.clone();
    let mut next = || ahead.next().unwrap_or_default().to_ascii_uppercase();
    if next() != "IF" {
        return;
    }
    let is_there = match next().as_str() {
        "EXISTS" => true,
        "NOT" => next() == "EXISTS",
        _ => false,
    };
    if is_there {
        *words = ahead;
    }
}

/// `ALTER TABLE t …`; of one that drops, empties or exchanges partitions, imports a file, or lets go of rows
/// that do not fit (`IGNORE`, MariaDB), the log has no rows.
fn altered(mut words: Words<'_>, database: &str) -> Effect {
    let mut is_lossy = false;
    let mut next = || words.next().unwrap_or_default().to_ascii_uppercase();
    loop {
        match next().as_str() {
            "ONLINE" => {}
            "IGNORE" => is_lossy = true,
            "TABLE" => break,
            _ => return Effect::Nothing,
        }
    }
    pass_if_exists(&mut words);
    let Some(from) = table(&mut words, database) else { return Effect::Nothing };
    let (mut replaced, mut to, mut gone) = (Vec::new(), None, Vec::new());
    while let Some(word) = words.next() {
        let mut after = words.clone();
        let next = after.next().unwrap_or_default().to_ascii_uppercase();
        match (word.to_ascii_uppercase().as_str(), next.as_str()) {
            ("DROP" | "TRUNCATE" | "EXCHANGE", "PARTITION") | ("IMPORT", "TABLESPACE") => {
                replaced.push(from.clone());
            }
            // MariaDB: a table becomes a partition, or a partition a table.
            ("CONVERT", "PARTITION") => {
                replaced.push(from.clone());
                if after.any(|word| word.eq_ignore_ascii_case("TABLE")) {
                    replaced.extend(table(&mut after, database));
                }
            }
            ("CONVERT", "TABLE") => {
                replaced.push(from.clone());
                replaced.extend(table(&mut after, database));
            }
            // The other side of an exchange.
            ("WITH", "TABLE") => replaced.extend(table(&mut after, database)),
            ("DROP", _) => gone.extend(gone_column(words.clone(), false)),
            ("CHANGE", _) => gone.extend(gone_column(words.clone(), true)),
            ("RENAME", "COLUMN") => gone.extend(gone_column(words.clone(), false)),
            ("RENAME", "INDEX" | "KEY") => {}
            ("RENAME", "TO" | "AS" | "=") => to = table(&mut after, database),
            ("RENAME", _) => to = table(&mut words.clone(), database),
            _ => {}
        }
    }
    match to {
        _ if !replaced.is_empty() => Effect::Replace(replaced),
        Some(to) => Effect::Rename(vec![Rename { from, to }]),
        None if is_lossy => Effect::Replace(vec![from]),
        None => Effect::Alter(Altered { table: from, gone }),
    }
}

/// What else than a column a table may drop.
const NO_COLUMNS: [&str; 10] = [
    "INDEX",
    "KEY",
    "PRIMARY",
    "FOREIGN",
    "CONSTRAINT",
    "CHECK",
    "DEFAULT",
    "NOT",
    "SYSTEM",
    "PERIOD",
];

/// The name of a column that goes, behind `DROP`, `RENAME` or `CHANGE`; of one that changes, if it goes by
/// another name then.
fn gone_column(mut words: Words<'_>, changes: bool) -> Option<String> {
    let mut first = words.clone();
    let word = first.next()?.to_ascii_uppercase();
    if NO_COLUMNS.contains(&word.as_str()) {
        return None;
    }
    if word == "COLUMN" {
        words = first;
    }
    pass_if_exists(&mut words);
    let column = name(words.next()?)?;
    let stays =
        changes && words.next().and_then(name).is_some_and(|to| is_same_column(&to, &column));
    (!stays).then_some(column)
}

/// Whether two names are of one column: their cases are not told apart.
pub(crate) fn is_same_column(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// A table's name, of the default database if it has none.
fn table(words: &mut Words<'_>, database: &str) -> Option<TableName> {
    let first = name(words.next()?)?;
    let mut after = words.clone();
    if after.next() != Some(".") {
        return Some(TableName::new(database, first));
    }
    let second = name(after.next()?)?;
    *words = after;
    Some(TableName::new(first, second))
}

/// A name, without its quotes.
fn name(word: &str) -> Option<String> {
    for quote in ['`', '"'] {
        if let Some(inner) = word.strip_prefix(quote) {
            let inner = inner.strip_suffix(quote)?;
            return Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()));
        }
    }
    let is_name = word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    is_name.then(|| word.to_owned())
}

/// The words of a statement: names with their quotes, other characters one by one; comments are passed
/// over, but not what a version's comment (`/*!…*/`) holds.
#[derive(Clone)]
struct Words<'a> {
    rest: &'a str,
    sql_mode: u64,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            let comment = if let Some(rest) = self.rest.strip_prefix("/*!") {
                rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == 'M')
            } else if let Some(rest) = self.rest.strip_prefix("*/") {
                rest
            } else if let Some(rest) = self.rest.strip_prefix("/*") {
                rest.split_once("*/").map_or("", |(_, after)| after)
            } else if self.rest.starts_with('#') || self.rest.starts_with("-- ") {
                self.rest.split_once('\n').map_or("", |(_, after)| after)
            } else {
                break;
            };
            self.rest = comment;
        }
        let first = self.rest.chars().next()?;
        let end = match first {
            '`' | '"' | '\'' => quoted_end(self.rest, first, self.escapes(first)),
            _ if is_word(first) => self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len()),
            _ => first.len_utf8(),
        };
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

impl Words<'_> {
    /// Whether a backslash within such quotes takes what follows it for itself: not in names.
    fn escapes(&self, quote: char) -> bool {
        let is_text = quote == '\'' || (quote == '"' && self.sql_mode & ANSI_QUOTES == 0);
        is_text && self.sql_mode & NO_BACKSLASH_ESCAPES == 0
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Where a quoted name or text ends, whose quotes are doubled within it, or in a text escaped.
fn quoted_end(text: &str, quote: char, escapes: bool) -> usize {
    let mut rest = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = rest.next() {
        if escapes && c == '\\' {
            rest.next();
        } else if c == quote {
            match rest.peek() {
                Some((_, next)) if *next == quote => drop(rest.next()),
                _ => return at + quote.len_utf8(),
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(names: &[(&str, &str)]) -> Vec<TableName> {
        names.iter().map(|(schema, table)| TableName::new(*schema, *table)).collect()
    }

    /// A table's database and name.
    type Name = (&'static str, &'static str);

    fn renames(renames: &[(Name, Name)]) -> Effect {
        let name = |(schema, table): Name| TableName::new(schema, table);
        let rename = |(from, to): &(Name, Name)| Rename { from: name(*from), to: name(*to) };
        Effect::Rename(renames.iter().map(rename).collect())
    }

    fn alter(gone: &[&str]) -> Effect {
        let gone = gone.iter().map(|&name| name.to_owned()).collect();
        Effect::Alter(Altered { table: TableName::new("d", "t"), gone })
    }

    #[test]
    fn first_words_tell() {
        let table = |schema, table| TableName::new(schema, table);
        for (sql, wanted) in [
            ("BEGIN", Effect::Begin),
            ("START TRANSACTION", Effect::Begin),
            ("COMMIT", Effect::Commit),
            ("ROLLBACK", Effect::Rollback),
            ("rollback TO `s p`", Effect::RollbackToSavepoint),
            ("SAVEPOINT `a`", Effect::Nothing),
            ("XA START X'61',X'',1", Effect::BeginDistributed),
            ("XA END X'61',X'',1", Effect::Nothing),
            ("XA COMMIT X'61',X'',1", Effect::CommitDistributed(XaId::new(1, b"a", b""))),
            ("xa rollback X'61',X'',1", Effect::RollbackDistributed(XaId::new(1, b"a", b""))),
            ("TRUNCATE TABLE t", Effect::Truncate(table("d", "t"))),
            ("truncate `a``b`.`c d`", Effect::Truncate(table("a`b", "c d"))),
            ("/* x */ TRUNCATE\n# y\n t -- z", Effect::Truncate(table("d", "t"))),
            ("TRUNCATE TABLE table", Effect::Truncate(table("d", "table"))),
            ("/*!40000 INSERT INTO t VALUES (1)*/", Effect::Change("INSERT")),
            ("update t set a = 1", Effect::Change("UPDATE")),
            ("CREATE TABLE IF NOT EXISTS t (a INT)", alter(&[])),
            ("CREATE VIEW v AS SELECT 1", Effect::Nothing),
            ("CREATE OR REPLACE TABLE `t` (a INT)", Effect::Drop(vec![table("d", "t")])),
            ("ALTER TABLE t ADD COLUMN b INT", alter(&[])),
            ("ALTER TABLE t DROP COLUMN `partition`", alter(&["partition"])),
            ("ALTER TABLE t DROP a, DROP COLUMN IF EXISTS b, ADD c INT", alter(&["a", "b"])),
            ("ALTER TABLE t DROP INDEX a, DROP PRIMARY KEY, ALTER b DROP DEFAULT", alter(&[])),
            ("ALTER TABLE t CHANGE a b INT, CHANGE COLUMN C c BIGINT", alter(&["a"])),
            ("ALTER ONLINE TABLE e.t DROP PARTITION p0", Effect::Replace(vec![table("e", "t")])),
            (
                "alter table t exchange partition p with table e.u",
                Effect::Replace(names(&[("d", "t"), ("e", "u")])),
            ),
            (
                "ALTER TABLE t CONVERT TABLE u TO PARTITION p VALUES LESS THAN (9)",
                Effect::Replace(names(&[("d", "t"), ("d", "u")])),
            ),
            ("ALTER TABLE t IMPORT TABLESPACE", Effect::Replace(vec![table("d", "t")])),
            (
                "RENAME TABLE t TO e.u, `v` TO t",
                renames(&[(("d", "t"), ("e", "u")), (("d", "v"), ("d", "t"))]),
            ),
            (
                "RENAME TABLES IF EXISTS t WAIT 5 TO u, u NOWAIT TO v",
                renames(&[(("d", "t"), ("d", "u")), (("d", "u"), ("d", "v"))]),
            ),
            ("ALTER TABLE e.t RENAME u", renames(&[(("e", "t"), ("d", "u"))])),
            ("ALTER TABLE t ADD b INT, rename to e.`u`", renames(&[(("d", "t"), ("e", "u"))])),
            ("ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a", alter(&["a", "b"])),
            ("ALTER IGNORE TABLE t ADD UNIQUE (a)", Effect::Replace(vec![table("d", "t")])),
            (
                "ALTER TABLE t CONVERT PARTITION p TO TABLE u",
                Effect::Replace(names(&[("d", "t"), ("d", "u")])),
            ),
            (r"ALTER TABLE t ADD a INT COMMENT 'don\'t rename to u'", alter(&[])),
            (
                r#"ALTER TABLE t MODIFY a INT COMMENT "it\"s", RENAME TO u"#,
                renames(&[(("d", "t"), ("d", "u"))]),
            ),
            ("RENAME USER t TO u", Effect::Nothing),
            ("ALTER USER t IDENTIFIED BY 'p'", Effect::Nothing),
            ("ALTER TABLE t RENAME KEY a TO b", alter(&[])),
            ("ALTER TABLE t ADD `rename` INT", alter(&[])),
            ("DROP DATABASE IF EXISTS `e`", Effect::DropDatabase("e".into())),
            ("DROP SCHEMA e", Effect::DropDatabase("e".into())),
            ("DROP VIEW v", Effect::Nothing),
            ("DROP TEMPORARY TABLE t", Effect::Nothing),
            ("", Effect::Nothing),
        ] {
            assert_eq!(effect(sql, "d", 0), wanted, "{sql}");
        }
        // As a MariaDB 10.11.19 logs it.
        let sql = "DROP TABLE IF EXISTS `t`,`e`.`u` /* generated by server */";
        assert_eq!(effect(sql, "d", 0), Effect::Drop(names(&[("d", "t"), ("e", "u")])));
        assert_eq!(effect("DROP TABLE `if`", "d", 0), Effect::Drop(names(&[("d", "if")])));
    }

    #[test]
    fn a_backslash_is_what_the_session_takes_it_for() {
        let sql = r"ALTER TABLE t ADD a INT COMMENT 'C:\', RENAME TO u";
        let renamed = renames(&[(("d", "t"), ("d", "u"))]);
        assert_eq!(effect(sql, "d", NO_BACKSLASH_ESCAPES), renamed);
        let sql = r#"ALTER TABLE t DROP "a\", RENAME TO u"#;
        assert_eq!(effect(sql, "d", ANSI_QUOTES), renamed);
        assert_eq!(effect(sql, "d", 0), alter(&[]));
    }

    proptest! {
        #[test]
        fn any_text_has_an_effect(sql in ".{0,80}", words in "[`'\"/*!# .,a\\-]{0,40}") {
            let _ = effect(&sql, "d", 0);
            let _ = effect(&format!("DROP TABLE {words}"), "d", 0);
            let _ = effect(&format!("TRUNCATE {words}"), "d", 0);
        }
    }
}
