//! Which tables are captured: the settings name them, by patterns too, and what there is of them is
//! asked of `information_schema`.

use crate::client::Sql;
use crate::config::Config;
use std::collections::BTreeSet;
use tidemesh_model::{Error, ErrorKind, Result, TableName, TablePattern};
use tidemesh_source::Wanted;

/// The tables that are captured today: base tables alone, none of the system's, and never the table of
/// the snapshots' marks.
///
/// # Errors
///
/// `Prerequisite` if there is none; `Config` if the table of the marks is named; what the server says.
pub(crate) async fn tables(sql: &mut Sql, config: &Config) -> Result<Vec<TableName>> {
    let rows: Vec<(String, String)> = sql.rows(TABLES, ()).await?;
    let found: BTreeSet<TableName> =
        rows.into_iter().map(|(schema, table)| TableName::new(schema, table)).collect();
    select(&config.wanted, &config.marks, &found)
}

/// A table that is captured today and is not among `config.tables`.
///
/// # Errors
///
/// As [`tables`].
pub(crate) async fn another(sql: &mut Sql, config: &Config) -> Result<Option<TableName>> {
    if !config.wanted.has_patterns() {
        return Ok(None);
    }
    let known: BTreeSet<&TableName> = config.tables.iter().collect();
    let tables = tables(sql, config).await?;
    Ok(tables.into_iter().find(|table| !known.contains(table)))
}

/// The tables that are captured of those that there are. One that is named and is not there is told by
/// the checks that follow.
fn select(
    wanted: &Wanted,
    marks: &TableName,
    found: &BTreeSet<TableName>,
) -> Result<Vec<TableName>> {
    let is_meant = |name: &&TableName| !wanted.excludes(name) && *name != marks;
    let matched = |entry: &TablePattern| {
        let matching = found.iter().filter(|name| entry.matches(name));
        matching.filter(is_meant).cloned().collect()
    };
    let named = |name: TableName| match wanted.excludes(&name) {
        true => Vec::new(),
        false => vec![name],
    };
    let tables = wanted.select(named, matched)?;
    if tables.contains(marks) {
        return Err(Error::new(ErrorKind::Config, "find the tables")
            .because("mysql.tables names the table of the snapshots' marks, which is not captured")
            .with("table", marks)
            .help("take it out of mysql.tables, or set mysql.watermark_table to another table"));
    }
    Ok(tables)
}

/// Views and sequences have other types.
const TABLES: &str = "
SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
  AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TERMS;

    fn name(table: &str) -> TableName {
        TableName::new("shop", table)
    }

    fn selected(tables: &[&str], excluded: &[&str]) -> Result<Vec<String>> {
        let pattern = |entry: &&str| TablePattern::of("mysql.tables", entry).unwrap();
        let patterns = |entries: &[&str]| entries.iter().map(pattern).collect();
        let wanted = Wanted::new(&TERMS, patterns(tables), patterns(excluded));
        let found = ["orders", "marks", "order_log", "Users"].map(name).into();
        let tables = select(&wanted, &name("marks"), &found)?;
        Ok(tables.into_iter().map(|table| table.table).collect())
    }

    #[test]
    fn named_tables_come_as_they_are_given_and_matched_ones_by_name() {
        let tables = selected(&["shop.orders", "shop.*"], &[]).unwrap();
        assert_eq!(tables, ["orders", "Users", "order_log"]);
        assert_eq!(selected(&["*.order*"], &["shop.*_log"]).unwrap(), ["orders"]);
        assert_eq!(selected(&["shop.gone", "shop.orders"], &[]).unwrap(), ["gone", "orders"]);
        let error = selected(&["other.*"], &[]).unwrap_err();
        assert!(error.to_string().contains("no table matches mysql.tables"), "{error}");
    }

    #[test]
    fn the_table_of_the_marks_is_never_captured() {
        let error = selected(&["shop.marks"], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(selected(&["shop.marks", "shop.orders"], &["*.marks"]).unwrap(), ["orders"]);
    }
}
