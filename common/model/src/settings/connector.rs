//! What every connector's table has, whichever the source's is: who works with settings of any source
//! asks here, so that a new connector is added in one place.

use super::{Secret, SourceSettings};
use crate::{MaskSettings, Result, TablePattern};
use std::path::PathBuf;

/// The keys of the connectors' tables, of which a source has exactly one.
pub const CONNECTORS: [&str; 2] = ["mysql", "postgres"];

/// The secrets of a connector's table, and the files that hold them.
#[derive(Debug)]
pub struct SecretsMut<'s> {
    /// The table's key, with which errors begin: `postgres`.
    pub connector: &'static str,
    /// The password.
    pub password: &'s mut Option<Secret>,
    /// The file whose first line is the password.
    pub password_file: &'s mut Option<PathBuf>,
    /// The masks, each with its salt.
    pub mask: &'s mut [MaskSettings],
}

impl SourceSettings {
    /// The key of its connector's table, one of [`CONNECTORS`]; none if the settings have no such table.
    #[must_use]
    pub fn connector(&self) -> Option<&'static str> {
        match (&self.mysql, &self.postgres) {
            (Some(_), _) => Some("mysql"),
            (None, Some(_)) => Some("postgres"),
            (None, None) => None,
        }
    }

    /// The tables to capture, each entry read; none if there is no connector's table.
    ///
    /// # Errors
    ///
    /// `Config` for an entry that names no table.
    pub fn table_patterns(&self) -> Result<Vec<TablePattern>> {
        match (&self.mysql, &self.postgres) {
            (Some(mysql), _) => mysql.table_patterns(),
            (None, Some(postgres)) => postgres.table_patterns(),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The files that its connectors' tables name, each with its key.
    pub fn files_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let mysql = self.mysql.iter_mut().flat_map(|mysql| mysql.files_mut());
        mysql.chain(self.postgres.iter_mut().flat_map(|postgres| postgres.files_mut()))
    }

    /// The secrets of its connector; none if there is no connector's table.
    pub fn secrets_mut(&mut self) -> Option<SecretsMut<'_>> {
        if let Some(mysql) = &mut self.mysql {
            let (password, password_file) = (&mut mysql.password, &mut mysql.password_file);
            let mask = &mut mysql.mask;
            return Some(SecretsMut { connector: "mysql", password, password_file, mask });
        }
        let postgres = self.postgres.as_mut()?;
        let (password, password_file) = (&mut postgres.password, &mut postgres.password_file);
        let mask = &mut postgres.mask;
        Some(SecretsMut { connector: "postgres", password, password_file, mask })
    }

    /// The same settings as they may be shown and kept.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        if let Some(secrets) = self.secrets_mut() {
            *secrets.password = None;
            secrets.mask.iter_mut().for_each(|mask| mask.salt = None);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(connector: &str) -> SourceSettings {
        let mut table = json!({
            "user": "u", "tables": ["a.b", "a.c*"], "password": "hush", "tls_ca_file": "ca",
            "mask": [{"columns": ["a.b.c"], "with": "hash", "salt": "pepper"},
                     {"columns": ["a.b.d"], "with": "hash", "salt_file": "salt"}],
        });
        if connector == "postgres" {
            table["database"] = "d".into();
        }
        serde_json::from_value(json!({"name": "shop", connector: table})).unwrap()
    }

    #[test]
    fn each_connectors_table_is_found_by_its_key() {
        for connector in CONNECTORS {
            let mut settings = settings(connector);
            settings.validate().unwrap();
            assert_eq!(settings.connector(), Some(connector));
            assert_eq!(settings.table_patterns().unwrap().len(), 2);
            let files: Vec<_> = settings.files_mut().map(|(key, _)| key).collect();
            let key = |key: &str| format!("{connector}.{key}");
            assert_eq!(files, [key("tls_ca_file"), key("mask.salt_file")]);
        }
        let none: SourceSettings = serde_json::from_value(json!({"name": "shop"})).unwrap();
        assert_eq!(none.connector(), None);
        assert!(none.table_patterns().unwrap().is_empty());
    }

    #[test]
    fn what_may_be_shown_has_no_secret_of_any_connector() {
        for connector in CONNECTORS {
            let mut shown = settings(connector).without_secrets();
            let secrets = shown.secrets_mut().unwrap();
            assert_eq!(secrets.connector, connector);
            assert!(secrets.password.is_none());
            assert!(secrets.mask.iter().all(|mask| mask.salt.is_none()));
            assert!(secrets.mask[1].salt_file.is_some());
        }
    }
}
