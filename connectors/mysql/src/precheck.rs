//! Every prerequisite, checked before the log is touched; all that is wrong is told at once, each with
//! the statement that mends it. What works and costs something is a warning in the process's log.

mod facts;
mod server;
mod tables;

use crate::catalog;
use crate::client::Sql;
use crate::config::{Config, TERMS, quoted, quoted_table};
use crate::frame::Flavor;
use crate::snapshot::mark_table_statements;
use facts::{ServerFacts, TableFact, make_marks, may_read};
use std::collections::HashMap;
use tidemesh_model::{Error, ErrorKind, Result, TableName};
use tidemesh_source::{Findings, Wrong};

/// What comes of the facts.
#[derive(Debug, Default)]
struct Judged {
    findings: Findings,
    warnings: Vec<String>,
}

impl Judged {
    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

/// Checks everything, and makes the table of the snapshots' marks.
///
/// # Errors
///
/// `Prerequisite`, `Privilege` or `Conflict`, with all that is wrong and what to do about each; what
/// the server says.
pub(crate) async fn run(sql: &mut Sql, config: &Config) -> Result<()> {
    let judged = judge(sql, config).await?;
    for warning in &judged.warnings {
        tracing::warn!(source = config.source, "{warning}");
    }
    judged.findings.told("prepare the MySQL source")
}

async fn judge(sql: &mut Sql, config: &Config) -> Result<Judged> {
    let mut judged = Judged::default();
    let facts = ServerFacts::ask(sql).await?;
    server::judge(&facts, config, &mut judged);
    tables::judge_marks(&facts, config, &mut judged);
    let mut columns = HashMap::new();
    for name in &config.tables {
        let table = TableFact::ask(sql, name).await?;
        let kept = tables::judge(&facts, config, name, &table, &mut judged);
        if !kept.is_empty() {
            carried(sql, config, facts.flavor, name, &mut judged).await?;
        }
        readable(sql, config, &facts, name, &kept, &mut judged).await?;
        columns.insert(name.clone(), table.columns.into_iter().map(|(name, _)| name).collect());
    }
    for pattern in config.selection.unmatched(&columns) {
        judged.warn(format!("no column of a captured table is of the pattern {pattern}"));
    }
    // Nothing is made where the source does not start.
    if let Some(table) = config.watermarks.as_ref().filter(|_| judged.findings.is_empty()) {
        let made = make_marks(sql, config, table).await;
        marks(&facts, table, made, &mut judged)?;
    }
    Ok(judged)
}

/// A column whose type is not carried, or not masked; what else the settings ask of columns is judged
/// already.
async fn carried(
    sql: &mut Sql,
    config: &Config,
    flavor: Flavor,
    name: &TableName,
    judged: &mut Judged,
) -> Result<()> {
    let types = config.settings.types();
    let Some(table) = catalog::table(sql, flavor, name, &types).await? else { return Ok(()) };
    let Err(error) = table.relation(&types, &config.selection) else { return Ok(()) };
    let no_text = format!("a column {}", Wrong::MaskOfNoText.why(&TERMS));
    if error.kind() == ErrorKind::Unsupported || error.message() == Some(&no_text) {
        let text = quoted_table(name);
        let remedy = error.help_text().unwrap_or_default();
        judged.findings.refuse(format!("{text}: {error}"), format!("For {text}: {remedy}."));
    }
    Ok(())
}

/// The user must be allowed to read the whole table: of a column that it may not read the server does
/// not even tell, so that nobody would know that it is missing. Where the settings list columns, those
/// do.
async fn readable(
    sql: &mut Sql,
    config: &Config,
    facts: &ServerFacts,
    name: &TableName,
    kept: &[&str],
    judged: &mut Judged,
) -> Result<()> {
    if kept.is_empty() || may_read(sql, name, "*").await? {
        return Ok(());
    }
    let mut columns = String::new();
    if config.selection.lists(name) {
        let names: Vec<String> = kept.iter().map(|name| quoted(name)).collect();
        let names = names.join(", ");
        if may_read(sql, name, &names).await? {
            return Ok(());
        }
        columns = format!(" ({names})");
    }
    let (user, text) = (&facts.user, quoted_table(name));
    judged.findings.lacks(
        format!("the user {user} may not read all of {text}"),
        format!("Run GRANT SELECT{columns} ON {text} TO {user};"),
    );
    Ok(())
}

/// What came of making the table of the marks and writing to it.
fn marks(
    facts: &ServerFacts,
    table: &TableName,
    made: Result<()>,
    judged: &mut Judged,
) -> Result<()> {
    let Err(error) = made else { return Ok(()) };
    let (user, text) = (&facts.user, quoted_table(table));
    let statements = mark_table_statements(table).join("; ");
    let or = "or set snapshot.read_only = true.";
    match error.kind() {
        ErrorKind::Privilege => judged.findings.lacks(
            format!("the user {user} may not make, or not write, the snapshots' marks in {text}"),
            format!("Run {statements}; GRANT SELECT, INSERT, UPDATE ON {text} TO {user}; {or}"),
        ),
        ErrorKind::Prerequisite => judged.findings.refuse(
            format!("snapshots' marks cannot be written to {text}: {}", reason(&error)),
            match error.help_text() {
                Some(help) => format!("For {text}: {help}."),
                None => format!(
                    "Where the table is another one, set mysql.watermark_table to one that is made \
                     by {statements}; {or}"
                ),
            },
        ),
        // A failover may be what makes the server read-only: the start is tried again, and says why.
        _ => return Err(error.with("table", table)),
    }
    Ok(())
}

/// What the server said.
fn reason(error: &Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
