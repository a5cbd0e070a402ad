//! Names by pattern: `*` stands for any characters, `?` for one, all else for itself. Upper case
//! counts, as it does in the database.

use crate::{Error, ErrorKind, Result, TableName};
use std::fmt;

/// Whether `text` is of the form of `pattern`.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Behind the last `*`: what of the pattern and of the text it is tried with next.
    let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let text_before = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = text_before;
                again = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((behind, mut rest)) = again.take() else { return false };
                if rest.next().is_none() {
                    return false;
                }
                pattern = behind.clone();
                text = rest.clone();
                again = Some((behind, rest));
            }
        }
    }
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// Tables by `schema.table`, each part a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    schema: String,
    table: String,
}

impl TablePattern {
    /// Splits an entry of `key` at its first point.
    ///
    /// # Errors
    ///
    /// `Config` if it is not `schema.table`.
    pub fn of(key: &'static str, entry: &str) -> Result<Self> {
        match entry.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(Self { schema: schema.to_owned(), table: table.to_owned() })
            }
            _ => Err(wrong(key, "each must be schema.table").with("table", entry)),
        }
    }

    /// The one table that it names; none if it has `*` or `?`.
    #[must_use]
    pub fn exact(&self) -> Option<TableName> {
        let exact = !has_wildcard(&self.schema) && !has_wildcard(&self.table);
        exact.then(|| TableName::new(&self.schema, &self.table))
    }

    /// The schema that it names; none if that may be several.
    #[must_use]
    pub fn exact_schema(&self) -> Option<&str> {
        (!has_wildcard(&self.schema)).then_some(&*self.schema)
    }

    /// Whether a table is one of those that are meant.
    #[must_use]
    pub fn matches(&self, name: &TableName) -> bool {
        glob(&self.schema, &name.schema) && glob(&self.table, &name.table)
    }
}

/// Columns by `schema.table.column`, each part a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnPattern {
    table: TablePattern,
    column: String,
}

impl ColumnPattern {
    /// Splits an entry of `key` at its first two points.
    ///
    /// # Errors
    ///
    /// `Config` if it is not `schema.table.column`.
    pub fn of(key: &'static str, entry: &str) -> Result<Self> {
        let mut parts = entry.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(schema), Some(table), Some(column)) if ![schema, table, column].contains(&"") => {
                let table = TablePattern { schema: schema.to_owned(), table: table.to_owned() };
                Ok(Self { table, column: column.to_owned() })
            }
            _ => Err(wrong(key, "each must be schema.table.column").with("column", entry)),
        }
    }

    /// Whether it speaks of the columns of this table.
    #[must_use]
    pub fn is_of(&self, table: &TableName) -> bool {
        self.table.matches(table)
    }

    /// Whether a column is one of those that are meant.
    #[must_use]
    pub fn matches(&self, table: &TableName, column: &str) -> bool {
        self.is_of(table) && glob(&self.column, column)
    }
}

impl fmt::Display for ColumnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.table.schema, self.table.table, self.column)
    }
}

fn wrong(key: &'static str, problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration").because(format!("{key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        for (pattern, text) in [
            ("orders", "orders"),
            ("*", ""),
            ("*", "orders"),
            ("order*", "orders"),
            ("*_log_*", "a_log_log_b"),
            ("a*b*c", "aXbXbXc"),
            ("?rders", "örders"),
            ("**s", "orders"),
            ("a*", "a*"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("orders", "Orders"),
            ("order", "orders"),
            ("orders", "order"),
            ("?", ""),
            ("a*b", "abc"),
            ("", "a"),
            ("*a", "ab"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_that_was_made_of_a_text_matches_it(
            parts in prop::collection::vec("[a-c]{0,3}", 1..5),
            between in prop::collection::vec("[a-c]{0,3}", 5),
        ) {
            let text: String =
                parts.iter().zip(&between).map(|(part, gap)| format!("{part}{gap}")).collect();
            let pattern: String = parts.iter().map(|part| format!("{part}*")).collect();
            prop_assert!(glob(&pattern, &text), "{} {}", pattern, text);
        }
    }

    #[test]
    fn a_table_is_split_at_its_first_point() {
        let pattern = TablePattern::of("tables", "public.a.b").unwrap();
        assert_eq!(pattern.exact(), Some(TableName::new("public", "a.b")));
        let pattern = TablePattern::of("tables", "sales_*.order?").unwrap();
        assert_eq!(pattern.exact(), None);
        assert!(pattern.matches(&TableName::new("sales_eu", "orders")));
        assert!(!pattern.matches(&TableName::new("sales", "orders")));
        let error = TablePattern::of("postgres.exclude_tables", "orders").unwrap_err();
        assert!(error.to_string().contains("postgres.exclude_tables"), "{error}");
    }

    #[test]
    fn a_column_is_split_at_its_first_two_points() {
        let pattern = ColumnPattern::of("c", "public.*.secret.*").unwrap();
        let table = TableName::new("public", "users");
        assert!(pattern.matches(&table, "secret.key") && !pattern.matches(&table, "secret"));
        assert!(!pattern.matches(&TableName::new("other", "users"), "secret.key"));
        let error = ColumnPattern::of("postgres.exclude_columns", "public.users").unwrap_err();
        assert!(error.to_string().contains("schema.table.column"), "{error}");
    }
}
