//! Settings that shape what is captured: masks of columns, and partitioned tables.

use crate::{ColumnPattern, Error, ErrorKind, Result, Secret};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The most characters that a mask may leave.
const LENGTH_MAX: u32 = 65_535;

/// What a partitioned table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitions {
    /// For itself: all its rows are in one topic, whichever partition holds them.
    #[default]
    Root,
    /// For its partitions: each that holds rows is a table with a topic of its own.
    Leaf,
}

/// Text columns whose values are made unreadable before they leave the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSettings {
    /// The columns, each as `schema.table.column`, where `*` stands for any characters and `?` for
    /// one. At least one. Of several masks that match a column the first counts.
    pub columns: Vec<String>,
    /// What becomes of a value.
    pub with: MaskForm,
    /// For `hash`: what is hashed before each value; or use `salt_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Secret>,
    /// A file whose first line is the salt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt_file: Option<PathBuf>,
    /// For `truncate`: how many characters are left. 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
}

/// What a mask makes of a value. Null stays null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskForm {
    /// The SHA-256 of salt and value, as 64 hexadecimal digits: equal values stay equal.
    Hash,
    /// Its first characters.
    Truncate,
    /// `***`.
    Redact,
}

impl MaskSettings {
    /// Checks that it has what its form needs, and nothing else. `key` is where it stands, as
    /// `postgres.mask`; `columns_key` where its columns do, as `postgres.mask.columns`.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn validate(&self, key: &'static str, columns_key: &'static str) -> Result<()> {
        self.patterns(columns_key)?;
        if self.columns.is_empty() {
            return Err(self.wrong(key, "columns names no column"));
        }
        let salts = usize::from(self.salt.is_some()) + usize::from(self.salt_file.is_some());
        match self.with {
            MaskForm::Hash if salts == 0 => {
                return Err(self
                    .wrong(key, "hash needs a salt: without one, values are found by trying them")
                    .help("set salt_file, or salt, to something long that nobody can guess"));
            }
            MaskForm::Hash if salts > 1 => {
                return Err(self.wrong(key, "salt and salt_file are both set; set one of them"));
            }
            MaskForm::Truncate | MaskForm::Redact if salts > 0 => {
                return Err(self.wrong(key, "a salt is for hash alone"));
            }
            _ => {}
        }
        if self.salt.as_ref().is_some_and(|salt| salt.expose().is_empty()) {
            return Err(self.wrong(key, "the salt must not be empty"));
        }
        match (self.with, self.length) {
            (MaskForm::Truncate, Some(length)) if (1..=LENGTH_MAX).contains(&length) => Ok(()),
            (MaskForm::Truncate, _) => {
                Err(self.wrong(key, "truncate needs a length of 1 to 65535"))
            }
            (_, Some(_)) => Err(self.wrong(key, "length is for truncate alone")),
            (_, None) => Ok(()),
        }
    }

    /// Its columns, each entry read; `key` is where they stand, as `postgres.mask.columns`.
    ///
    /// # Errors
    ///
    /// `Config` if one is not `schema.table.column`.
    pub fn patterns(&self, key: &'static str) -> Result<Vec<ColumnPattern>> {
        self.columns.iter().map(|entry| ColumnPattern::of(key, entry)).collect()
    }

    fn wrong(&self, key: &'static str, problem: &str) -> Error {
        Error::new(ErrorKind::Config, "use the configuration")
            .because(format!("{key}: {problem}"))
            .with("columns", self.columns.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(json: serde_json::Value) -> Result<()> {
        serde_json::from_value::<MaskSettings>(json)
            .unwrap()
            .validate("postgres.mask", "postgres.mask.columns")
    }

    #[test]
    fn a_mask_has_what_its_form_needs_and_nothing_else() {
        let columns = ["public.users.email"];
        let json = |more: serde_json::Value| {
            let mut json = serde_json::json!({"columns": columns});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json
        };
        for right in [
            serde_json::json!({"with": "hash", "salt": "pepper"}),
            serde_json::json!({"with": "hash", "salt_file": "salt"}),
            serde_json::json!({"with": "truncate", "length": 65_535}),
            serde_json::json!({"with": "redact"}),
        ] {
            mask(json(right)).unwrap();
        }
        for (wrong, why) in [
            (serde_json::json!({"with": "hash"}), "hash needs a salt"),
            (serde_json::json!({"with": "hash", "salt": ""}), "must not be empty"),
            (serde_json::json!({"with": "hash", "salt": "a", "salt_file": "b"}), "one of them"),
            (serde_json::json!({"with": "hash", "salt": "a", "length": 3}), "length is for"),
            (serde_json::json!({"with": "redact", "salt": "a"}), "a salt is for hash alone"),
            (serde_json::json!({"with": "truncate"}), "1 to 65535"),
            (serde_json::json!({"with": "truncate", "length": 0}), "1 to 65535"),
            (serde_json::json!({"with": "truncate", "length": 65_536}), "1 to 65535"),
        ] {
            let error = mask(json(wrong)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.report().contains(why), "{}", error.report());
        }
        let error = mask(serde_json::json!({"columns": ["email"], "with": "redact"})).unwrap_err();
        assert!(error.to_string().contains("schema.table.column"), "{error}");
        assert!(mask(serde_json::json!({"columns": [], "with": "redact"})).is_err());
    }

    #[test]
    fn a_salt_never_shows() {
        let json = serde_json::json!({"columns": ["a.b.c"], "with": "hash", "salt": "pepper"});
        let mask: MaskSettings = serde_json::from_value(json).unwrap();
        assert!(!format!("{mask:?}").contains("pepper"));
        assert!(!serde_json::to_string(&mask).unwrap().contains("pepper"));
    }
}
