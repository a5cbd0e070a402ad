//! The tables as the log had them, with what was asked beside it, so that the same log gives the same
//! events again: what `information_schema` says today is not what it said then.

use crate::decode::{described, numbered};
use crate::frame::Flavor;
use crate::relation::TableFacts;
use crate::statement::is_same_column;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{
    Error, ErrorKind, Field, Position, Result, StateItem, TableName, TableSchema,
};
use tidemesh_source::stored_item;

/// Versions of one table that are kept; the oldest goes first.
const VERSIONS_MAX: usize = 8;

/// The version of the stored form.
const STORED_VERSION: u32 = 1;

/// What the items' keys begin with.
const KEY: &str = "relation/";

/// A table from one place of the log on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// The place where the log described it so first, as [`Position`] prints itself.
    since: String,
    /// The description, as hexadecimal digits.
    definition: String,
    flavor: Flavor,
    facts: TableFacts,
}

impl Version {
    /// Whether it has a column of this name; not where it is not understood.
    fn has(&self, column: &str) -> bool {
        let Some(definition) = unhex(&self.definition) else { return false };
        let bytes = numbered(&definition);
        let told = described(&bytes).and_then(|map| map.optional(self.flavor));
        let names = told.ok().and_then(|told| told.names).unwrap_or_default();
        names.iter().any(|name| is_same_column(&String::from_utf8_lossy(name), column))
    }
}

/// All versions that are kept.
#[derive(Debug, Default)]
pub(crate) struct Versions(BTreeMap<TableName, Vec<Version>>);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    table: TableName,
    versions: Vec<Version>,
}

impl Versions {
    /// What a checkpoint's items say.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `NewerVersion`, with the item.
    pub(crate) fn read(items: &BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let mut all = Self::default();
        for (key, value) in items.iter().filter(|(key, _)| key.starts_with(KEY)) {
            let wrong = |kind| Error::new(kind, "read a stored schema").with("item", key);
            let stored: Stored = serde_json::from_slice(value)
                .map_err(|error| wrong(ErrorKind::Corrupt).caused_by(error))?;
            if stored.version > STORED_VERSION {
                return Err(wrong(ErrorKind::NewerVersion).with("version", stored.version));
            }
            all.0.insert(stored.table, stored.versions);
        }
        Ok(all)
    }

    /// What was known of the table when the log described it so at this place; none if that is new.
    pub(crate) fn facts_at(
        &self,
        table: &TableName,
        definition: &[u8],
        at: Position,
    ) -> Option<&TableFacts> {
        let is_before =
            |version: &&Version| version.since.parse().is_ok_and(|since: Position| since <= at);
        let latest = self.0.get(table)?.iter().rev().find(is_before)?;
        (latest.definition == hex(definition)).then_some(&latest.facts)
    }

    /// The table as the log described it last: its description, whose server wrote it, and what was known
    /// beside it.
    pub(crate) fn last(&self, table: &TableName) -> Option<(Vec<u8>, Flavor, &TableFacts)> {
        let last = self.0.get(table)?.last()?;
        Some((unhex(&last.definition)?, last.flavor, &last.facts))
    }

    /// The tables of which something is known.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.0.keys()
    }

    /// Whether a table had a column of this name in a version that is kept.
    pub(crate) fn had(&self, table: &TableName, column: &str) -> bool {
        self.0.get(table).into_iter().flatten().any(|version| version.has(column))
    }

    /// Adds a version; answers the item to store. One that is known is not added.
    ///
    /// # Errors
    ///
    /// `Internal` if it cannot be written as JSON, which does not happen.
    pub(crate) fn add(
        &mut self,
        table: &TableName,
        (definition, flavor): (&[u8], Flavor),
        facts: &TableFacts,
        since: Position,
    ) -> Result<Option<StateItem>> {
        if self.facts_at(table, definition, since) == Some(facts) {
            return Ok(None);
        }
        let versions = self.0.entry(table.clone()).or_default();
        if versions.len() >= VERSIONS_MAX {
            versions.remove(0);
        }
        let (since, definition, facts) = (since.to_string(), hex(definition), facts.clone());
        versions.push(Version { since, definition, flavor, facts });
        let stored =
            Stored { version: STORED_VERSION, table: table.clone(), versions: versions.clone() };
        stored_item(&format!("{KEY}{table}"), &stored).map(Some)
    }
}

/// What is known of a table's columns beside its schemas.
pub(crate) struct Columns<'a> {
    /// Of the new schema.
    pub(crate) facts: &'a TableFacts,
    /// Names under which columns went since the one before.
    pub(crate) gone: &'a [String],
    /// Whether a column of this name was there in an earlier version.
    pub(crate) had: &'a dyn Fn(&str) -> bool,
}

impl Columns<'_> {
    /// Whether a column that the log tells of as before is another one.
    fn is_another(&self, name: &str) -> bool {
        self.gone.iter().any(|gone| is_same_column(gone, name))
    }

    /// Whether old rows have in a new column what the schema says of records without it.
    fn is_filled_as_told(&self, field: &Field) -> bool {
        let is_filled = self.facts.of(&field.name).is_some_and(|facts| facts.is_filled);
        !is_filled && (field.nullable || field.default.is_some()) && !(self.had)(&field.name)
    }
}

/// Whether a table's rows may have other values under its columns than the log told of: DDL changes them
/// without a word in the log. Where columns only went, or such were added whose old rows have what the schema
/// says, they have not.
pub(crate) fn is_rewritten(
    before: &TableSchema,
    after: &TableSchema,
    columns: &Columns<'_>,
) -> bool {
    let find = |schema: &TableSchema, name: &str| {
        schema.fields.iter().find(|field| field.name == name).cloned()
    };
    let is_gone = before.fields.iter().any(|field| find(after, &field.name).is_none());
    after.fields.iter().any(|field| match find(before, &field.name) {
        // Another type, or another length, charset or set of values under the same one.
        Some(old) => {
            old.data_type != field.data_type
                || old.source_type != field.source_type
                || columns.is_another(&field.name)
        }
        // A column that is new where another one went may be that one, renamed.
        None => is_gone || !columns.is_filled_as_told(field),
    })
}

/// Hexadecimal digits of bytes.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes of hexadecimal digits; none if they are none.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_from_its_place_on_and_comes_back() {
        let table = TableName::new("d", "t.u");
        let mut versions = Versions::default();
        let at = |commit| Position::before(1, commit);
        let facts = TableFacts::default();
        let item = versions.add(&table, (b"ab", Flavor::MariaDb), &facts, at(5)).unwrap().unwrap();
        assert_eq!(versions.add(&table, (b"ab", Flavor::MariaDb), &facts, at(9)).unwrap(), None);
        let items = BTreeMap::from([(item.key, item.value.unwrap())]);
        let versions = Versions::read(&items).unwrap();
        assert!(versions.facts_at(&table, b"ab", at(5)).is_some());
        assert!(versions.facts_at(&table, b"ab", at(4)).is_none(), "before its place");
        assert!(versions.facts_at(&table, b"ac", at(5)).is_none(), "another shape");
    }

    #[test]
    fn bytes_come_back_from_their_digits() {
        assert_eq!(hex(b"\x00\x9f\xff"), "009fff");
        assert_eq!(unhex("009fff"), Some(b"\x00\x9f\xff".to_vec()));
        assert_eq!((unhex("0"), unhex("0g")), (None, None));
    }
}
