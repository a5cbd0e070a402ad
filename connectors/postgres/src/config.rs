//! A PostgreSQL source's settings as used.

use crate::discover::Wanted;
use tidemesh_model::{
    EMIT_PREFIX, Error, ErrorKind, NumericSpecial, PostgresSettings, Result, SourceSettings,
    TableName,
};
use tidemesh_source::{Selection, Terms};

/// How texts that all connectors share name the settings.
pub(crate) const TERMS: Terms =
    tidemesh_source::terms!("postgres", "text, varchar, char, name and citext");

/// What the connector works with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) source: String,
    pub(crate) settings: PostgresSettings,
    pub(crate) wanted: Wanted,
    /// The tables that are captured; before the database was asked, those that are named.
    pub(crate) tables: Vec<TableName>,
    pub(crate) slot: String,
    pub(crate) publication: String,
    /// Whether messages of applications are carried.
    pub(crate) messages: bool,
    /// Whether messages that are events for topics are carried.
    pub(crate) emits: bool,
}

impl TryFrom<&SourceSettings> for Config {
    type Error = Error;

    fn try_from(source: &SourceSettings) -> Result<Self> {
        source.validate()?;
        let Some(settings) = &source.postgres else {
            return Err(Error::new(ErrorKind::Config, "use the configuration")
                .because("postgres: the source has no such table")
                .with("source", &source.name));
        };
        let wanted = Wanted::of(settings)?;
        let mut settings = settings.clone();
        if source.dead_letter_topic.is_some() && settings.numeric_special == NumericSpecial::Stop {
            settings.numeric_special = NumericSpecial::DeadLetter;
        }
        Ok(Self {
            source: source.name.clone(),
            tables: wanted.named(),
            wanted,
            slot: settings.slot_of(&source.name),
            publication: settings.publication_of(&source.name),
            messages: source.message_topic.is_some(),
            emits: source.emit.is_some(),
            settings,
        })
    }
}

impl Config {
    /// Whether an application's message of this prefix is carried.
    pub(crate) fn takes_message(&self, prefix: &str) -> bool {
        if self.emits && prefix == EMIT_PREFIX {
            return true;
        }
        self.messages && self.settings.takes_message(prefix)
    }
}

/// Which columns are captured, and how.
///
/// # Errors
///
/// `Config` for an entry that names no columns.
pub(crate) fn selection(settings: &PostgresSettings) -> Result<Selection> {
    Selection::new(&TERMS, &settings.include_columns, &settings.exclude_columns, &settings.mask)
}

/// A name for SQL, quoted.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name for SQL, quoted.
pub(crate) fn quoted_table(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.table))
}

/// A log position as PostgreSQL prints it: `16/B374D848`.
pub(crate) fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// The log position that PostgreSQL prints as `16/B374D848`; none if it is no such text.
#[must_use]
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let high = u64::from(u32::from_str_radix(high, 16).ok()?);
    Some((high << 32) | u64::from(u32::from_str_radix(low, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_position_comes_back() {
        assert_eq!(lsn_text(0x16_b374_d848), "16/B374D848");
        assert_eq!(parse_lsn("16/B374D848"), Some(0x16_b374_d848));
        assert_eq!(parse_lsn("x"), None);
    }
}
