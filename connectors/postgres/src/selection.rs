//! Which columns of a table are captured, and which are masked, by the settings.

use crate::types::Mask;
use std::collections::HashMap;
use tidemesh_model::{ColumnPattern, KeyOrigin, PostgresSettings, Result, TableName};

/// What the settings say of columns.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    include: Vec<ColumnPattern>,
    exclude: Vec<ColumnPattern>,
    /// The first whose patterns match counts.
    masks: Vec<(Vec<ColumnPattern>, Mask)>,
}

/// What becomes of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    Keep,
    /// It never leaves the process.
    Skip,
    Mask(Mask),
}

/// What cannot be done with a column that it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    KeyLeftOut,
    KeyMasked,
    /// A row is known by all of its columns.
    NoKey,
    MaskOfNoText,
}

impl Wrong {
    /// What is wrong, behind the column's name.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::KeyLeftOut => "is of the key by which rows are known, so it cannot be left out",
            Self::KeyMasked => "is of the key by which rows are known, so it cannot be masked",
            Self::NoKey => {
                "is of a table without a key, whose rows are known by all of their columns, so none \
                 can be left out"
            }
            Self::MaskOfNoText => {
                "is of a type that cannot be masked: masks are for text, varchar, char, name and \
                 citext"
            }
        }
    }

    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::KeyLeftOut => "correct postgres.exclude_columns",
            Self::KeyMasked => "correct postgres.mask",
            Self::NoKey => {
                "correct postgres.include_columns and postgres.exclude_columns, or give the table a \
                 primary key"
            }
            Self::MaskOfNoText => {
                "correct postgres.mask, or leave the column out by postgres.exclude_columns"
            }
        }
    }
}

impl Selection {
    /// As the settings say.
    ///
    /// # Errors
    ///
    /// `Config` for an entry that names no columns.
    pub(crate) fn of(settings: &PostgresSettings) -> Result<Self> {
        let read = |key: &'static str, entries: &[String]| -> Result<Vec<ColumnPattern>> {
            entries.iter().map(|entry| ColumnPattern::of(key, entry)).collect()
        };
        let masks = settings
            .mask
            .iter()
            .map(|mask| Ok((mask.patterns("postgres.mask.columns")?, Mask::of(mask))));
        Ok(Self {
            include: read("postgres.include_columns", &settings.include_columns)?,
            exclude: read("postgres.exclude_columns", &settings.exclude_columns)?,
            masks: masks.collect::<Result<_>>()?,
        })
    }

    /// What becomes of a column, which may be of a key of this origin.
    pub(crate) fn choose(
        &self,
        table: &TableName,
        column: &str,
        key: Option<KeyOrigin>,
    ) -> Result<Choice, Wrong> {
        let is_of = |patterns: &[ColumnPattern]| patterns.iter().any(|p| p.matches(table, column));
        let is_excluded = is_of(&self.exclude);
        let is_listed = || self.include.iter().any(|pattern| pattern.is_of(table));
        let is_left_out = is_excluded || (!is_of(&self.include) && is_listed());
        let mask = self.masks.iter().find(|(patterns, _)| is_of(patterns));
        match (key, mask) {
            (None, _) if is_left_out => Ok(Choice::Skip),
            (Some(KeyOrigin::WholeRow), _) if is_left_out => Err(Wrong::NoKey),
            (Some(_), _) if is_excluded => Err(Wrong::KeyLeftOut),
            (Some(_), Some(_)) => Err(Wrong::KeyMasked),
            (None, Some((_, mask))) => Ok(Choice::Mask(mask.clone())),
            (_, None) => Ok(Choice::Keep),
        }
    }

    /// The patterns that match none of these columns, which may be mistakes.
    pub(crate) fn unmatched(&self, columns: &HashMap<TableName, Vec<String>>) -> Vec<String> {
        let masks = self.masks.iter().flat_map(|(patterns, _)| patterns);
        let patterns = self.include.iter().chain(&self.exclude).chain(masks);
        let matches = |pattern: &&ColumnPattern| {
            columns
                .iter()
                .any(|(table, columns)| columns.iter().any(|column| pattern.matches(table, column)))
        };
        patterns.filter(|pattern| !matches(pattern)).map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(settings: serde_json::Value) -> Selection {
        let mut json = serde_json::json!({"database": "d", "user": "u", "tables": ["*.*"]});
        json.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        Selection::of(&serde_json::from_value(json).unwrap()).unwrap()
    }

    fn users() -> TableName {
        TableName::new("public", "users")
    }

    #[test]
    fn what_is_included_is_kept_with_the_key_and_what_is_excluded_is_not() {
        let selection = selection(serde_json::json!({
            "include_columns": ["public.users.name", "public.users.secret_*"],
            "exclude_columns": ["*.*.secret_*"],
        }));
        let choose = |column, key| selection.choose(&users(), column, key);
        assert_eq!(choose("name", None), Ok(Choice::Keep));
        assert_eq!(choose("age", None), Ok(Choice::Skip));
        assert_eq!(choose("secret_a", None), Ok(Choice::Skip));
        assert_eq!(choose("id", Some(KeyOrigin::PrimaryKey)), Ok(Choice::Keep));
        let key = Some(KeyOrigin::UniqueIndex);
        assert_eq!(choose("secret_a", key), Err(Wrong::KeyLeftOut));
        assert_eq!(choose("age", Some(KeyOrigin::WholeRow)), Err(Wrong::NoKey));
        let other = TableName::new("public", "orders");
        assert_eq!(
            selection.choose(&other, "age", None),
            Ok(Choice::Keep),
            "no entry speaks of it"
        );
    }

    #[test]
    fn the_first_mask_that_matches_counts_and_none_is_of_a_key() {
        let selection = selection(serde_json::json!({
            "mask": [
                {"columns": ["public.users.email"], "with": "truncate", "length": 3},
                {"columns": ["*.*.*"], "with": "redact"},
            ],
        }));
        let choose = |column, key| selection.choose(&users(), column, key);
        let truncate = Mask::Truncate { characters: 3 };
        assert_eq!(choose("email", None), Ok(Choice::Mask(truncate)));
        assert_eq!(choose("phone", None), Ok(Choice::Mask(Mask::Redact)));
        assert_eq!(choose("id", Some(KeyOrigin::PrimaryKey)), Err(Wrong::KeyMasked));
    }

    #[test]
    fn an_entry_that_matches_no_column_is_told() {
        let selection = selection(serde_json::json!({
            "exclude_columns": ["public.users.pasword", "public.*.password"],
        }));
        let columns = HashMap::from([(users(), vec!["id".to_owned(), "password".to_owned()])]);
        assert_eq!(selection.unmatched(&columns), ["public.users.pasword"]);
    }
}
