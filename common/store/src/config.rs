//! Where a store is.

use std::path::PathBuf;
use std::str::FromStr;
use tidemesh_model::{Error, ErrorKind, Secret};

/// Where a store keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// One SQLite file (with its `-wal` beside it), made if it does not exist.
    Sqlite(PathBuf),
    /// A PostgreSQL database, which any number of processes may use at once: a connection URL as
    /// libpq reads it, `postgresql://user:password@host:5432/database`.
    Postgres(Secret),
}

impl FromStr for StoreConfig {
    type Err = Error;

    /// Reads `sqlite:FILE` or `postgresql://…`. What cannot be read is not repeated: it may hold a
    /// password.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(PathBuf::from(file))),
            Some(("postgresql" | "postgres", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(Secret::new(text)))
            }
            _ => Err(Error::new(ErrorKind::Config, "read a store's setting")
                .because("it is neither sqlite:FILE nor postgresql://USER:PASSWORD@HOST/DATABASE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_scheme_and_file() {
        assert_eq!(
            "sqlite:/data/registry.db".parse::<StoreConfig>().unwrap(),
            StoreConfig::Sqlite(PathBuf::from("/data/registry.db"))
        );
    }

    #[test]
    fn a_store_without_scheme_or_file_is_a_configuration_error() {
        for text in ["", "sqlite:", "/data/registry.db", "postgres:hush", "mysql://u:hush@h/d"] {
            let error = text.parse::<StoreConfig>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!error.report().to_string().contains("hush"));
        }
        let store: StoreConfig = "postgresql://u:hush@h/d".parse().unwrap();
        assert!(!format!("{store:?}").contains("hush"));
    }
}
