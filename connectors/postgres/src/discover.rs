//! Which tables are captured: the settings name them, by patterns too, and what there is of them is
//! asked of the catalog.

use crate::catalog::{Catalog, asking};
use crate::config::TERMS;
use std::collections::{BTreeSet, HashMap};
use tidemesh_model::{
    Error, ErrorKind, Partitions, PostgresSettings, Result, TableName, TablePattern,
};

/// What the settings say of tables.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    named: tidemesh_source::Wanted,
    partitions: Partitions,
}

/// A table of the database.
#[derive(Debug, Clone)]
struct Found {
    oid: u32,
    name: TableName,
    is_partitioned: bool,
    /// What it is a partition of, by ids.
    ancestors: Vec<u32>,
}

impl Wanted {
    /// As the settings say.
    ///
    /// # Errors
    ///
    /// `Config` for an entry that is not `schema.table`.
    pub(crate) fn of(settings: &PostgresSettings) -> Result<Self> {
        let (entries, excluded) = (settings.table_patterns()?, settings.excluded_tables()?);
        let named = tidemesh_source::Wanted::new(&TERMS, entries, excluded);
        Ok(Self { named, partitions: settings.partitions })
    }

    /// The tables that are named, whatever there is in the database.
    pub(crate) fn named(&self) -> Vec<TableName> {
        self.named.named()
    }

    /// Whether a table of this name would be captured, if it could be.
    pub(crate) fn means(&self, name: &TableName) -> bool {
        self.named.means(name)
    }

    /// Whether tables that are made later may be captured, too.
    fn may_grow(&self) -> bool {
        self.partitions == Partitions::Leaf || self.named.has_patterns()
    }

    /// The tables that are captured of those that there are, which come in their names' order.
    fn select(&self, found: &[Found]) -> Result<Vec<TableName>> {
        let tables =
            self.named.select(|name| self.as_named(name, found), |e| self.matched(e, found))?;
        no_table_twice(&tables, found)?;
        Ok(tables)
    }

    /// What an entry without wildcards stands for; one that names no table is told by the checks that
    /// follow.
    fn as_named(&self, name: TableName, found: &[Found]) -> Vec<TableName> {
        match found.iter().find(|table| table.name == name) {
            Some(table) => self.captured(table, found),
            None if self.named.excludes(&name) => Vec::new(),
            None => vec![name],
        }
    }

    fn matched(&self, entry: &TablePattern, found: &[Found]) -> Vec<TableName> {
        // With its root a partition is captured already, or left out.
        let is_apart = |t: &Found| self.partitions == Partitions::Leaf || t.ancestors.is_empty();
        let matching = |table: &&Found| entry.matches(&table.name) && is_apart(table);
        found.iter().filter(matching).flat_map(|table| self.captured(table, found)).collect()
    }

    /// What is captured of a table: itself, or its leaves.
    fn captured(&self, table: &Found, found: &[Found]) -> Vec<TableName> {
        let is_leaf = |t: &&Found| !t.is_partitioned && t.ancestors.contains(&table.oid);
        let parts: Vec<&Found> = match self.partitions == Partitions::Leaf && table.is_partitioned {
            true => found.iter().filter(is_leaf).collect(),
            false => vec![table],
        };
        let kept = parts.into_iter().filter(|part| !self.is_excluded(part, found));
        kept.map(|part| part.name.clone()).collect()
    }

    /// Whether it is left out; as a leaf, or what it is a partition of.
    fn is_excluded(&self, table: &Found, found: &[Found]) -> bool {
        let excludes = |table: &Found| self.named.excludes(&table.name);
        let is_whole = |other: &&Found| table.ancestors.contains(&other.oid);
        let is_part = self.partitions == Partitions::Leaf && !table.ancestors.is_empty();
        excludes(table) || (is_part && found.iter().filter(is_whole).any(excludes))
    }
}

/// A partition whose root is captured must not be captured beside it: the log tells its rows as the
/// root's alone.
fn no_table_twice(tables: &[TableName], found: &[Found]) -> Result<()> {
    let captured: BTreeSet<&TableName> = tables.iter().collect();
    let by_oid: HashMap<u32, &TableName> = found.iter().map(|t| (t.oid, &t.name)).collect();
    for table in found.iter().filter(|table| captured.contains(&table.name)) {
        let ancestors = table.ancestors.iter().filter_map(|oid| by_oid.get(oid));
        if let Some(root) = ancestors.into_iter().find(|name| captured.contains(*name)) {
            return Err(Error::new(ErrorKind::Config, "find the tables")
                .because("postgres.tables: a partition is named beside the table it is part of")
                .with("partition", &table.name)
                .with("table", root)
                .help("name one of them, or set postgres.partitions = \"leaf\""));
        }
    }
    Ok(())
}

/// The tables that are captured today.
///
/// # Errors
///
/// `Prerequisite` if there is none; `Config` for a partition that would be captured twice;
/// `Unavailable`.
pub(crate) async fn tables(catalog: &Catalog, wanted: &Wanted) -> Result<Vec<TableName>> {
    let rows = catalog.client.query(TABLES, &[]).await.map_err(asking)?;
    let found = |row: &tokio_postgres::Row| Found {
        oid: row.get("oid"),
        name: TableName::new(row.get::<_, String>("nspname"), row.get::<_, String>("relname")),
        is_partitioned: row.get("is_partitioned"),
        ancestors: row.get("ancestors"),
    };
    wanted.select(&rows.iter().map(found).collect::<Vec<_>>())
}

/// A table that is captured today and is not among these.
///
/// # Errors
///
/// As [`tables`].
pub(crate) async fn another(
    catalog: &Catalog,
    wanted: &Wanted,
    captured: &[TableName],
) -> Result<Option<TableName>> {
    if !wanted.may_grow() {
        return Ok(None);
    }
    let known: BTreeSet<&TableName> = captured.iter().collect();
    let tables = tables(catalog, wanted).await?;
    Ok(tables.into_iter().find(|table| !known.contains(table)))
}

/// No pattern matches what is the system's, nor what is one session's alone.
const TABLES: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p' AS is_partitioned,
       ARRAY(SELECT a.relid::oid FROM pg_partition_ancestors(c.oid) a WHERE a.relid <> c.oid)
         AS ancestors
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> TableName {
        TableName::new("public", table)
    }

    fn wanted(tables: &[&str], excluded: &[&str], partitions: Partitions) -> Wanted {
        let json = serde_json::json!({
            "database": "d", "user": "u", "tables": tables, "exclude_tables": excluded,
        });
        let mut settings: PostgresSettings = serde_json::from_value(json).unwrap();
        settings.partitions = partitions;
        Wanted::of(&settings).unwrap()
    }

    /// `events` is partitioned: `events_1`, and `events_2`, whose own partition is `part_2`.
    fn found() -> Vec<Found> {
        let found = |oid, table: &str, is_partitioned, ancestors: &[u32]| Found {
            oid,
            name: name(table),
            is_partitioned,
            ancestors: ancestors.to_vec(),
        };
        vec![
            found(1, "events", true, &[]),
            found(2, "events_1", false, &[1]),
            found(3, "events_2", true, &[1]),
            found(4, "order_log", false, &[]),
            found(5, "orders", false, &[]),
            found(6, "part_2", false, &[3, 1]),
        ]
    }

    fn select(tables: &[&str], excluded: &[&str], partitions: Partitions) -> Vec<String> {
        let tables = wanted(tables, excluded, partitions).select(&found()).unwrap();
        tables.into_iter().map(|table| table.table).collect()
    }

    #[test]
    fn named_tables_come_as_they_are_given_and_matched_ones_by_name() {
        let root = Partitions::Root;
        assert_eq!(
            select(&["public.orders", "public.*"], &[], root),
            ["orders", "events", "order_log"]
        );
        assert_eq!(select(&["*.order*"], &["public.*_log"], root), ["orders"]);
        assert_eq!(select(&["public.nowhere", "public.orders"], &[], root), ["nowhere", "orders"]);
        assert_eq!(select(&["public.orders", "public.gone"], &["*.gone"], root), ["orders"]);
    }

    #[test]
    fn a_root_stands_for_its_leaves_if_they_are_wanted() {
        let leaf = Partitions::Leaf;
        assert_eq!(select(&["public.events"], &[], leaf), ["events_1", "part_2"]);
        assert_eq!(select(&["public.*"], &["public.events"], leaf), ["order_log", "orders"]);
        assert_eq!(select(&["public.events"], &["public.part_*"], leaf), ["events_1"]);
        assert_eq!(select(&["public.events_*"], &[], leaf), ["events_1", "part_2"]);
    }

    #[test]
    fn a_partition_is_captured_by_itself_or_with_its_root_not_both() {
        let root = Partitions::Root;
        assert_eq!(select(&["public.part_2"], &[], root), ["part_2"]);
        assert_eq!(select(&["public.part_2"], &["public.events*"], root), ["part_2"]);
        let both = wanted(&["public.part_2", "public.events"], &[], root);
        let error = both.select(&found()).unwrap_err();
        assert!(error.report().contains("part_2"), "{}", error.report());
    }
}
