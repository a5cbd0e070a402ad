//! What a table must be like. Pure.

use super::Judged;
use super::facts::{ServerFacts, TableFact};
use super::server::{has_partial_rows, logs_cascades};
use crate::config::{Config, TERMS, quoted, quoted_table};
use tidemesh_model::{KeyOrigin, TableName};
use tidemesh_source::Choice;

/// Engines whose tables keep their rows, and whose changes the server logs.
const ENGINES: [&str; 7] = ["InnoDB", "MyISAM", "Aria", "ROCKSDB", "TokuDB", "ARCHIVE", "CSV"];

/// Judges a table; answers its columns that are read.
pub(super) fn judge<'t>(
    server: &ServerFacts,
    config: &Config,
    name: &TableName,
    table: &'t TableFact,
    judged: &mut Judged,
) -> Vec<&'t str> {
    let text = quoted_table(name);
    let Some(kind) = &table.kind else {
        let user = &server.user;
        judged.findings.refuse(
            format!("the table {text} does not exist, or the user {user} may do nothing with it"),
            format!(
                "Correct mysql.tables, or create {text}, or run GRANT SELECT ON {text} TO {user};"
            ),
        );
        return Vec::new();
    };
    if !is_usable(kind, &text, table, judged) {
        return Vec::new();
    }
    if let Some(option) = unlogged(server, name) {
        judged.findings.refuse(
            format!("changes of {text} are not in the log ({option})"),
            format!("Correct {option} in the server's file and restart it."),
        );
    }
    keyed(server, &text, table, judged);
    if !logs_cascades(server) {
        cascades(&text, table, judged);
    }
    columns(config, name, &text, table, judged)
}

fn is_usable(kind: &str, text: &str, table: &TableFact, judged: &mut Judged) -> bool {
    let remedy = format!("Take {text} out of mysql.tables, or add it to mysql.exclude_tables.");
    if !matches!(kind, "BASE TABLE" | "SYSTEM VERSIONED") {
        judged
            .findings
            .refuse(format!("{text} is no ordinary table but a {}", kind.to_lowercase()), remedy);
        return false;
    }
    let engine = &table.engine;
    if !ENGINES.iter().any(|known| known.eq_ignore_ascii_case(engine)) {
        judged.findings.refuse(
            format!(
                "{text} is of the engine {engine}, whose rows or changes are not all in the log"
            ),
            format!("Run ALTER TABLE {text} ENGINE = InnoDB; or: {remedy}"),
        );
        return false;
    }
    true
}

/// The option by which the server does not log a table's database; none if it does.
fn unlogged(server: &ServerFacts, name: &TableName) -> Option<&'static str> {
    let filter = server.filter.as_ref()?;
    let (option, is_logged) = match filter.only.is_empty() {
        true => ("binlog_ignore_db", !filter.without.contains(&name.schema)),
        false => ("binlog_do_db", filter.only.contains(&name.schema)),
    };
    (!is_logged).then_some(option)
}

/// Marks that the log does not bring would be waited for without an end.
pub(super) fn judge_marks(server: &ServerFacts, config: &Config, judged: &mut Judged) {
    let Some(table) = &config.watermarks else { return };
    if server.is_replica == Some(true) {
        judged.warn(format!(
            "the server is a replica, and the snapshots' marks in {} are transactions of its own, which its \
             primary does not have: a failover to it spreads them; to write nothing set \
             snapshot.read_only = true",
            quoted_table(table)
        ));
    }
    let Some(option) = unlogged(server, table) else { return };
    judged.findings.refuse(
        format!("the snapshots' marks in {} are not in the log ({option})", quoted_table(table)),
        format!(
            "Correct {option} in the server's file and restart it, or set mysql.watermark_table to a \
             table of a database that is logged, or set snapshot.read_only = true."
        ),
    );
}

fn keyed(server: &ServerFacts, text: &str, table: &TableFact, judged: &mut Judged) {
    if table.has_key() {
        return;
    }
    if has_partial_rows(server) {
        judged.findings.refuse(
            format!(
                "{text} has no primary key, and binlog_row_image is {}: the log does not tell which \
                 row was changed",
                server.variable("binlog_row_image")
            ),
            format!(
                "Add a primary key to {text}, or set binlog_row_image = FULL, or add {text} to \
                 mysql.exclude_tables."
            ),
        );
        return;
    }
    judged.warn(format!(
        "{text} has no primary key: its rows are known by all of their columns, so that rows that are \
         alike are one; add a primary key to it"
    ));
}

/// InnoDB changes rows of the child table where the server does not see it: the log tells of the
/// parent's rows alone (measured on MariaDB 10.11.19).
fn cascades(text: &str, table: &TableFact, judged: &mut Judged) {
    for cascade in &table.cascades {
        let parent = quoted_table(&cascade.parent);
        judged.warn(format!(
            "rows of {text} that the foreign key {} changes with those of {parent} (ON UPDATE {}, ON \
             DELETE {}) are not in the log, so that the topic keeps what they were; have the \
             application or a trigger on {parent} change them and make the key RESTRICT, or read {text} \
             anew from time to time",
            quoted(&cascade.constraint),
            cascade.on_update,
            cascade.on_delete
        ));
    }
}

/// What becomes of each column; answers those that are read.
fn columns<'t>(
    config: &Config,
    name: &TableName,
    text: &str,
    table: &'t TableFact,
    judged: &mut Judged,
) -> Vec<&'t str> {
    let mut kept = Vec::new();
    for (column, in_key) in &table.columns {
        let of_key = match (in_key, table.has_key()) {
            (true, _) => Some(KeyOrigin::PrimaryKey),
            (false, false) => Some(KeyOrigin::WholeRow),
            (false, true) => None,
        };
        match config.selection.choose(name, column, of_key) {
            Ok(Choice::Skip) => {}
            Ok(Choice::Keep | Choice::Mask(_)) => kept.push(column.as_str()),
            Err(wrong) => judged.findings.refuse(
                format!("{text} has the column {}, which {}", quoted(column), wrong.why(&TERMS)),
                format!("For {}: {}.", quoted(column), wrong.remedy(&TERMS)),
            ),
        }
    }
    kept
}
