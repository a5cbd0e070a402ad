//! A MySQL source's settings as used.

use crate::place::LogFile;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tidemesh_model::{
    Error, ErrorKind, MysqlSettings, Result, SourceSettings, TableName, TablePattern,
};
use tidemesh_source::{Selection, Terms, Wanted};

/// How texts that all connectors share name the settings.
pub(crate) const TERMS: Terms =
    tidemesh_source::terms!("mysql", "char, varchar and the text types");

/// The lowest server id that is made of a source's name: below it are those that people give.
const SERVER_ID_MADE_MIN: u32 = 1 << 31;

/// What the connector works with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) source: String,
    pub(crate) settings: MysqlSettings,
    pub(crate) wanted: Wanted,
    /// Which columns are captured, and how.
    pub(crate) selection: Arc<Selection>,
    /// The tables that are captured; before the database was asked, those that are named.
    pub(crate) tables: Vec<TableName>,
    pub(crate) server_id: u32,
    /// The table of one row of the snapshots' marks, which is never captured.
    pub(crate) marks: TableName,
    /// The same where snapshots write their marks into it; none if nothing may be written.
    pub(crate) watermarks: Option<TableName>,
}

impl TryFrom<&SourceSettings> for Config {
    type Error = Error;

    fn try_from(source: &SourceSettings) -> Result<Self> {
        source.validate()?;
        let Some(settings) = &source.mysql else {
            return Err(Error::new(ErrorKind::Config, "use the configuration")
                .because("mysql: the source has no such table")
                .with("source", &source.name));
        };
        let marks = TablePattern::of("mysql.watermark_table", &settings.watermark_table)?;
        let marks = marks.exact().ok_or_else(|| {
            Error::new(ErrorKind::Config, "use the configuration")
                .because("mysql.watermark_table must name one table")
        })?;
        let (entries, excluded) = (settings.table_patterns()?, settings.excluded_tables()?);
        let wanted = Wanted::new(&TERMS, entries, excluded);
        Ok(Self {
            source: source.name.clone(),
            tables: wanted.named(),
            wanted,
            selection: Arc::new(selection(settings)?),
            server_id: settings.server_id.unwrap_or_else(|| server_id_of(&source.name)),
            watermarks: Some(marks.clone()).filter(|_| !source.snapshot.read_only),
            marks,
            settings: settings.clone(),
        })
    }
}

/// Which columns are captured, and how.
///
/// # Errors
///
/// `Config` for an entry that names no columns.
pub(crate) fn selection(settings: &MysqlSettings) -> Result<Selection> {
    Selection::new(&TERMS, &settings.include_columns, &settings.exclude_columns, &settings.mask)
}

/// The server id of a source that has none in its settings: the same at each start, so that the server
/// ends what it still has of an earlier connection.
fn server_id_of(source: &str) -> u32 {
    // Its keys are fixed (`DefaultHasher::new`), so that it is the same in each process.
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let hash = hasher.finish();
    SERVER_ID_MADE_MIN | u32::try_from(hash >> 33).unwrap_or(0)
}

/// The commit position of a place that is written as `binlog.000042:1234`, a server's `File` and `Position`
/// with a colon between; none if it is no such text.
#[must_use]
pub fn parse_place(text: &str) -> Option<u64> {
    let (file, offset) = text.rsplit_once(':')?;
    LogFile::of(file.as_bytes()).ok()?.commit(offset.parse().ok()?).ok()
}

/// A name for SQL, quoted.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table's name for SQL, quoted.
pub(crate) fn quoted_table(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_server_id_is_of_its_source_and_above_those_of_people() {
        assert_eq!(server_id_of("orders"), server_id_of("orders"));
        assert_ne!(server_id_of("orders"), server_id_of("shop"));
        assert!(server_id_of("orders") >= SERVER_ID_MADE_MIN);
    }

    #[test]
    fn a_place_is_read_as_servers_tell_it() {
        assert_eq!(parse_place("mysql-bin.000042:1234"), Some(42 << 36 | 1234));
        for text in ["", "binlog.000042", "binlog.000042:", "binlog:4", "0/1A2B3C8"] {
            assert_eq!(parse_place(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted_table(&TableName::new("a`b", "c")), "`a``b`.`c`");
    }
}
