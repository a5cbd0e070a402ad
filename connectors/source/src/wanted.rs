//! Which tables the settings mean, by names and patterns.

use crate::Terms;
use std::collections::BTreeSet;
use tidemesh_model::{Error, ErrorKind, Result, TableName, TablePattern};

/// What the settings say of tables.
#[derive(Debug, Clone)]
pub struct Wanted {
    terms: &'static Terms,
    entries: Vec<TablePattern>,
    excluded: Vec<TablePattern>,
}

impl Wanted {
    /// The tables that `entries` name or match, without those that `excluded` does.
    #[must_use]
    pub fn new(
        terms: &'static Terms,
        entries: Vec<TablePattern>,
        excluded: Vec<TablePattern>,
    ) -> Self {
        Self { terms, entries, excluded }
    }

    /// The tables that are named, whatever there is in the database.
    #[must_use]
    pub fn named(&self) -> Vec<TableName> {
        let named = self.entries.iter().filter_map(TablePattern::exact);
        named.filter(|name| !self.excludes(name)).collect()
    }

    /// Whether a table of this name would be captured, if it could be.
    #[must_use]
    pub fn means(&self, name: &TableName) -> bool {
        self.entries.iter().any(|entry| entry.matches(name)) && !self.excludes(name)
    }

    /// Whether a table of this name is left out, though an entry may name it.
    #[must_use]
    pub fn excludes(&self, name: &TableName) -> bool {
        self.excluded.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether an entry may match tables that are made later.
    #[must_use]
    pub fn has_patterns(&self) -> bool {
        self.entries.iter().any(|entry| entry.exact().is_none())
    }

    /// The tables that are captured, none twice, in the entries' order: for one without wildcards what
    /// `named` answers, for another what `matched` does.
    ///
    /// # Errors
    ///
    /// `Prerequisite` if there is none.
    pub fn select(
        &self,
        named: impl Fn(TableName) -> Vec<TableName>,
        matched: impl Fn(&TablePattern) -> Vec<TableName>,
    ) -> Result<Vec<TableName>> {
        let (mut seen, mut tables) = (BTreeSet::new(), Vec::new());
        for entry in &self.entries {
            let found = match entry.exact() {
                Some(name) => named(name),
                None => matched(entry),
            };
            tables.extend(found.into_iter().filter(|table| seen.insert(table.clone())));
        }
        if tables.is_empty() {
            let Terms { tables, exclude_tables, .. } = self.terms;
            return Err(Error::new(ErrorKind::Prerequisite, "find the tables")
                .because(format!("no table matches {tables}"))
                .help(format!("correct {tables} and {exclude_tables}, or create a table")));
        }
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = crate::terms!("postgres", "text");

    fn name(table: &str) -> TableName {
        TableName::new("public", table)
    }

    fn wanted(tables: &[&str], excluded: &[&str]) -> Wanted {
        let pattern = |entry: &&str| TablePattern::of("postgres.tables", entry).unwrap();
        let patterns = |entries: &[&str]| entries.iter().map(pattern).collect();
        Wanted::new(&TERMS, patterns(tables), patterns(excluded))
    }

    #[test]
    fn what_is_excluded_is_not_meant() {
        let wanted = wanted(&["public.*", "public.a1"], &["public.a*"]);
        assert!(wanted.means(&name("b")) && !wanted.means(&name("a1")));
        assert!(wanted.named().is_empty() && wanted.has_patterns());
    }

    #[test]
    fn no_table_comes_twice_and_none_at_all_is_told() {
        let found = [name("a"), name("b")];
        let matching = |entry: &TablePattern| {
            found.iter().filter(|name| entry.matches(name)).cloned().collect::<Vec<_>>()
        };
        let select = |tables: &[&str]| wanted(tables, &[]).select(|name| vec![name], matching);
        assert_eq!(select(&["public.b", "public.*"]).unwrap(), [name("b"), name("a")]);
        let error = select(&["other.*"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
        assert!(error.to_string().contains("no table matches postgres.tables"), "{error}");
    }
}
