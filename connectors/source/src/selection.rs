//! Which columns of a table are captured, and which are masked, by the settings.

use crate::{Mask, Terms};
use std::collections::HashMap;
use tidemesh_model::{ColumnPattern, KeyOrigin, MaskSettings, Result, TableName};

/// What the settings say of columns.
#[derive(Debug)]
pub struct Selection {
    terms: &'static Terms,
    include: Vec<ColumnPattern>,
    exclude: Vec<ColumnPattern>,
    /// The first whose patterns match counts.
    masks: Vec<(Vec<ColumnPattern>, Mask)>,
}

/// What becomes of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// It is carried as it is.
    Keep,
    /// It never leaves the process.
    Skip,
    /// Its masked form alone leaves the process.
    Mask(Mask),
}

/// What cannot be done with a column that it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A row is known by it.
    KeyLeftOut,
    /// A row is known by it.
    KeyMasked,
    /// A row is known by all of its columns.
    NoKey,
    /// Its type is none of which there is a masked form.
    MaskOfNoText,
}

impl Wrong {
    /// What is wrong, behind the column's name.
    #[must_use]
    pub fn why(self, terms: &Terms) -> String {
        match self {
            Self::KeyLeftOut => {
                "is of the key by which rows are known, so it cannot be left out".to_owned()
            }
            Self::KeyMasked => {
                "is of the key by which rows are known, so it cannot be masked".to_owned()
            }
            Self::NoKey => {
                "is of a table without a key, whose rows are known by all of their columns, \
                            so none can be left out"
                    .to_owned()
            }
            Self::MaskOfNoText => {
                format!("is of a type that cannot be masked: masks are for {}", terms.maskable)
            }
        }
    }

    /// What helps.
    #[must_use]
    pub fn remedy(self, terms: &Terms) -> String {
        let Terms { include_columns, exclude_columns, mask, .. } = terms;
        match self {
            Self::KeyLeftOut => format!("correct {exclude_columns}"),
            Self::KeyMasked => format!("correct {mask}"),
            Self::NoKey => format!(
                "correct {include_columns} and {exclude_columns}, or give the table a primary key"
            ),
            Self::MaskOfNoText => {
                format!("correct {mask}, or leave the column out by {exclude_columns}")
            }
        }
    }
}

impl Selection {
    /// Every column as it is.
    #[must_use]
    pub fn all(terms: &'static Terms) -> Self {
        Self { terms, include: Vec::new(), exclude: Vec::new(), masks: Vec::new() }
    }

    /// As the settings say.
    ///
    /// # Errors
    ///
    /// `Config` for an entry that names no columns.
    pub fn new(
        terms: &'static Terms,
        include: &[String],
        exclude: &[String],
        masks: &[MaskSettings],
    ) -> Result<Self> {
        let read = |key: &'static str, entries: &[String]| -> Result<Vec<ColumnPattern>> {
            entries.iter().map(|entry| ColumnPattern::of(key, entry)).collect()
        };
        let masks =
            masks.iter().map(|mask| Ok((mask.patterns(terms.mask_columns)?, Mask::of(mask))));
        Ok(Self {
            terms,
            include: read(terms.include_columns, include)?,
            exclude: read(terms.exclude_columns, exclude)?,
            masks: masks.collect::<Result<_>>()?,
        })
    }

    /// How texts name the settings.
    #[must_use]
    pub fn terms(&self) -> &'static Terms {
        self.terms
    }

    /// What becomes of a column, which may be of a key of this origin.
    ///
    /// # Errors
    ///
    /// What cannot be done with it.
    pub fn choose(
        &self,
        table: &TableName,
        column: &str,
        key: Option<KeyOrigin>,
    ) -> Result<Choice, Wrong> {
        let is_of = |patterns: &[ColumnPattern]| patterns.iter().any(|p| p.matches(table, column));
        let is_excluded = is_of(&self.exclude);
        let is_left_out = is_excluded || (!is_of(&self.include) && self.lists(table));
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

    /// Whether the settings list the columns of this table, so that all others are left out.
    #[must_use]
    pub fn lists(&self, table: &TableName) -> bool {
        self.include.iter().any(|pattern| pattern.is_of(table))
    }

    /// The patterns that match none of these columns, which may be mistakes.
    #[must_use]
    pub fn unmatched(&self, columns: &HashMap<TableName, Vec<String>>) -> Vec<String> {
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
    use tidemesh_model::PostgresSettings;

    const TERMS: Terms = crate::terms!("postgres", "text");

    fn selection(settings: serde_json::Value) -> Selection {
        let mut json = serde_json::json!({"database": "d", "user": "u", "tables": ["*.*"]});
        json.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let settings: PostgresSettings = serde_json::from_value(json).unwrap();
        let (include, exclude) = (&settings.include_columns, &settings.exclude_columns);
        Selection::new(&TERMS, include, exclude, &settings.mask).unwrap()
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

    #[test]
    fn texts_name_the_connectors_own_settings() {
        let terms = crate::terms!("mysql", "char and text");
        assert_eq!(Wrong::KeyMasked.remedy(&terms), "correct mysql.mask");
        assert!(Wrong::MaskOfNoText.why(&terms).ends_with("masks are for char and text"));
        let error = Selection::new(&TERMS, &["a".to_owned()], &[], &[]).unwrap_err();
        assert!(error.report().contains("postgres.include_columns"), "{}", error.report());
    }
}
