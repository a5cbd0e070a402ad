//! How the tables are stored, as the catalog said when the log last told of them: what tells DDL that gives
//! rows other values than the log has told, of which there is no word in it.

use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use tidemesh_model::{Error, ErrorKind, Result, StateItem};
use tidemesh_source::{read_stored, stored_item};

/// What the key of a table's item begins with; its id follows.
const KEY: &str = "storage/";

/// The item of earlier versions, which had the files of all tables and nothing of their columns.
const FILES_KEY: &str = "storages";

/// The version of both stored forms.
const VERSION: u32 = 1;

/// Names of columns that are remembered of a table; one more has it read anew, and forgets those that went.
const NAMES_MAX: usize = 4096;

/// A column as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    /// Its number (`attnum`), which no other column of the table ever gets: one that is dropped and made
    /// again under its name has another.
    pub(crate) number: i16,
    /// Which transaction wrote its row of the catalog (`xmin`).
    pub(crate) written_by: u32,
    /// The id of its default (`pg_attrdef`), 0 without one: `ALTER COLUMN … TYPE` gives it another.
    pub(crate) default: u32,
    /// Whether old rows have a constant that was not written into them (`atthasmissing`).
    pub(crate) has_missing: bool,
    /// Whether it is computed from others: then the log does not have it.
    pub(crate) is_generated: bool,
}

impl Column {
    /// Whether it may have been altered since. Writing a constant into the rows that lacked it is none: a
    /// `VACUUM FULL` does so, and leaves the default alone.
    fn is_altered_since(&self, before: &Self) -> bool {
        let is_written_out = before.has_missing && !self.has_missing && self.default != 0;
        self.default != before.default || (self.written_by != before.written_by && !is_written_out)
    }
}

/// How a table is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Storage {
    /// The file (`relfilenode`), of which DDL that rewrites the table makes another, and so do `VACUUM FULL`
    /// and `TRUNCATE`; none for a partitioned table without partitions.
    pub(crate) file: Option<u32>,
    /// By name, with those that went since the table was read. Empty: not known.
    pub(crate) columns: BTreeMap<String, Column>,
}

impl Storage {
    /// Whether rows of which the log told nothing since may have other values than it told before.
    fn has_other_values(&self, before: &Self) -> bool {
        let is_another = |(name, column): (&String, &Column)| before.is_another(name, column);
        self.columns.iter().any(is_another)
            || (self.is_moved_since(before) && self.is_altered_since(before))
    }

    /// Whether the same is so of a column of the key. One that was not there makes the key itself another,
    /// which is told elsewhere.
    fn has_other_keys(&self, before: &Self, is_of_key: impl Fn(&str) -> bool) -> bool {
        let is_moved = self.is_moved_since(before);
        let is_altered = |column: &Column| {
            let known = before.column(column.number);
            is_moved && known.is_some_and(|known| column.is_altered_since(known))
        };
        let mut of_key = self.columns.iter().filter(|(name, _)| is_of_key(name));
        of_key.any(|(name, column)| before.is_another(name, column) || is_altered(column))
    }

    /// Whether a column of today has a name that another had, or is computed no more.
    fn is_another(&self, name: &str, today: &Column) -> bool {
        self.columns.get(name).is_some_and(|known| {
            known.number != today.number || (known.is_generated && !today.is_generated)
        })
    }

    fn is_moved_since(&self, before: &Self) -> bool {
        before.file.zip(self.file).is_some_and(|(before, now)| before != now)
    }

    fn column(&self, number: i16) -> Option<&Column> {
        self.columns.values().find(|known| known.number == number)
    }

    /// With the names that its columns had, and columns that went.
    fn with_names_of(mut self, before: &Self) -> Self {
        let now: HashMap<i16, Column> =
            self.columns.values().map(|column| (column.number, column.clone())).collect();
        for (name, column) in &before.columns {
            let column = now.get(&column.number).unwrap_or(column);
            self.columns.entry(name.clone()).or_insert_with(|| column.clone());
        }
        self
    }

    /// Whether a column is new, or may have been altered.
    fn is_altered_since(&self, before: &Self) -> bool {
        let is_altered = |column: &Column| {
            before.column(column.number).is_none_or(|known| column.is_altered_since(known))
        };
        self.columns.values().filter(|column| !column.is_generated).any(is_altered)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    table: u32,
    storage: Storage,
}

#[derive(Deserialize)]
struct StoredFiles {
    version: u32,
    /// A table's id and its file.
    tables: Vec<(u32, u32)>,
}

/// The tables' storages, by the tables' ids.
#[derive(Debug, Default)]
pub(crate) struct Storages {
    tables: BTreeMap<u32, Storage>,
    /// Whether they come from the item of earlier versions, which is to be replaced.
    is_earlier: bool,
}

impl Storages {
    /// What a checkpoint's items say.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `NewerVersion`, with the item.
    pub(crate) fn read(items: &BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let mut all = Self::default();
        let files = read_stored(items, FILES_KEY, VERSION, |stored: &StoredFiles| stored.version)?;
        if let Some(files) = files {
            let storage = |file| Storage { file: Some(file), columns: BTreeMap::new() };
            all.tables = files.tables.into_iter().map(|(id, file)| (id, storage(file))).collect();
            all.is_earlier = true;
        }
        for (key, value) in items.iter().filter(|(key, _)| key.starts_with(KEY)) {
            let wrong = |kind| Error::new(kind, "read a checkpoint").with("item", key);
            let stored: Stored = serde_json::from_slice(value)
                .map_err(|error| wrong(ErrorKind::Corrupt).caused_by(error))?;
            if stored.version > VERSION {
                return Err(wrong(ErrorKind::NewerVersion).with("version", stored.version));
            }
            all.tables.insert(stored.table, stored.storage);
        }
        Ok(all)
    }

    /// Takes in tables that are not known yet, and forgets those that are no more; answers what is to be
    /// stored.
    pub(crate) fn update(&mut self, today: HashMap<u32, Storage>) -> Result<Vec<StateItem>> {
        let mut items = Vec::new();
        let gone: Vec<u32> =
            self.tables.keys().filter(|table| !today.contains_key(table)).copied().collect();
        items.extend(gone.into_iter().filter_map(|table| self.forget(table)));
        if std::mem::take(&mut self.is_earlier) {
            items.push(StateItem { key: FILES_KEY.to_owned(), value: None });
            for table in self.tables.keys() {
                items.push(self.item(*table)?);
            }
        }
        for (table, storage) in today {
            if let Entry::Vacant(place) = self.tables.entry(table) {
                place.insert(storage);
                items.push(self.item(table)?);
            }
        }
        Ok(items)
    }

    /// Whether rows of a table that is stored so now may have other keys than the log told.
    pub(crate) fn has_other_keys(
        &self,
        table: u32,
        now: &Storage,
        is_of_key: impl Fn(&str) -> bool,
    ) -> bool {
        self.tables.get(&table).is_some_and(|before| now.has_other_keys(before, is_of_key))
    }

    /// Takes in how a table is stored now. Where `is_unsure`, it is read anew whatever that says.
    pub(crate) fn take(&mut self, table: u32, now: Storage, is_unsure: bool) -> Result<Taken> {
        let Some(before) = self.tables.get_mut(&table) else {
            self.tables.insert(table, now);
            return Ok(Taken { is_rewritten: is_unsure, item: Some(self.item(table)?) });
        };
        let is_new = |name: &&String| !before.columns.contains_key(*name);
        let names = before.columns.len() + now.columns.keys().filter(is_new).count();
        let is_rewritten = is_unsure || now.has_other_values(before) || names > NAMES_MAX;
        let merged = if is_rewritten { now } else { now.with_names_of(before) };
        if merged == *before && !is_rewritten {
            return Ok(Taken { is_rewritten, item: None });
        }
        *before = merged;
        Ok(Taken { is_rewritten, item: Some(self.item(table)?) })
    }

    /// Forgets a table; answers what is to be stored.
    pub(crate) fn forget(&mut self, table: u32) -> Option<StateItem> {
        self.tables.remove(&table).map(|_| StateItem { key: key(table), value: None })
    }

    fn item(&self, table: u32) -> Result<StateItem> {
        let storage = self.tables.get(&table).cloned().unwrap_or_default();
        stored_item(&key(table), &Stored { version: VERSION, table, storage })
    }
}

/// What came of a table's storage that was taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Whether the table is to be read anew.
    pub(crate) is_rewritten: bool,
    /// What is to be stored with that.
    pub(crate) item: Option<StateItem>,
}

fn key(table: u32) -> String {
    format!("{KEY}{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(number: i16) -> Column {
        Column { number, written_by: 7, default: 0, has_missing: false, is_generated: false }
    }

    fn storage(file: u32, columns: &[(&str, Column)]) -> Storage {
        let columns = columns.iter().map(|(name, column)| ((*name).to_owned(), column.clone()));
        Storage { file: Some(file), columns: columns.collect() }
    }

    /// Whether a table that was stored so at first is read anew, each time.
    fn rewritten(states: &[Storage]) -> Vec<bool> {
        let mut storages = Storages::default();
        let take = |state: &Storage| storages.take(1, state.clone(), false).unwrap().is_rewritten;
        states.iter().map(take).skip(1).collect()
    }

    #[test]
    fn a_column_that_is_made_again_is_seen_however_long_it_was_away() {
        let (before, without) =
            (storage(1, &[("id", column(1)), ("c", column(2))]), storage(1, &[("id", column(1))]));
        let again = storage(1, &[("id", column(1)), ("c", column(3))]);
        assert_eq!(rewritten(&[before.clone(), again.clone()]), [true]);
        assert_eq!(rewritten(&[before, without, again.clone(), again]), [false, true, false]);
    }

    #[test]
    fn names_that_columns_swap_are_seen_and_one_that_is_renamed_and_back_is_none() {
        let before = storage(1, &[("a", column(1)), ("b", column(2))]);
        let renamed = storage(1, &[("c", column(1)), ("b", column(2))]);
        let swapped = storage(1, &[("b", column(1)), ("a", column(2))]);
        assert_eq!(rewritten(&[before.clone(), renamed, before.clone()]), [false, false]);
        assert_eq!(rewritten(&[before, swapped]), [true]);
    }

    #[test]
    fn a_column_that_was_renamed_is_as_it_was_then() {
        let renamed = |file| storage(file, &[("b", Column { written_by: 8, ..column(1) })]);
        let states = [storage(1, &[("a", column(1))]), renamed(1), renamed(2)];
        assert_eq!(rewritten(&states), [false, false]);
    }

    #[test]
    fn what_was_read_anew_has_no_former_names() {
        let before = storage(1, &[("a", column(1)), ("gone", column(2))]);
        let swapped = storage(1, &[("a", column(3))]);
        let later = storage(1, &[("a", column(3)), ("gone", column(4))]);
        assert_eq!(rewritten(&[before, swapped, later]), [true, false]);
    }

    #[test]
    fn a_file_that_is_another_tells_only_with_a_column_that_is() {
        let before = storage(1, &[("a", column(1))]);
        let moved = storage(2, &[("a", column(1))]);
        let altered = storage(1, &[("a", Column { written_by: 8, ..column(1) })]);
        let both = storage(2, &[("a", Column { written_by: 8, ..column(1) })]);
        let dropped = storage(2, &[]);
        let added = storage(1, &[("a", column(1)), ("b", column(2))]);
        let filled = storage(2, &[("a", column(1)), ("b", column(2))]);
        for state in [moved, altered, dropped, added] {
            assert_eq!(rewritten(&[before.clone(), state]), [false]);
        }
        assert_eq!(rewritten(&[before.clone(), both]), [true]);
        assert_eq!(rewritten(&[before, filled]), [true]);
    }

    /// Whether the rows of a table with the key `id` get other keys.
    fn rekeyed(before: &Storage, now: &Storage) -> bool {
        let mut storages = Storages::default();
        storages.take(1, before.clone(), false).unwrap();
        storages.has_other_keys(1, now, |name| name == "id")
    }

    #[test]
    fn keys_are_others_where_a_column_of_the_key_is() {
        let altered = |number| Column { written_by: 8, ..column(number) };
        let before = storage(1, &[("id", column(1)), ("c", column(2))]);
        let again = storage(2, &[("c", column(2)), ("id", column(3))]);
        let swapped = storage(1, &[("c", column(1)), ("id", column(2))]);
        let retyped = storage(2, &[("id", altered(1)), ("c", column(2))]);
        for now in [again, swapped, retyped] {
            assert!(rekeyed(&before, &now), "{now:?}");
        }
        let moved = storage(2, &[("id", column(1)), ("c", column(2))]);
        let not_null = storage(1, &[("id", altered(1)), ("c", column(2))]);
        let of_value = storage(2, &[("id", column(1)), ("c", altered(2))]);
        let value_again = storage(1, &[("id", column(1)), ("c", column(3))]);
        for now in [moved, not_null, of_value, value_again, before.clone()] {
            assert!(!rekeyed(&before, &now), "{now:?}");
        }
        let unknown = Storage { columns: BTreeMap::new(), ..before.clone() };
        assert!(!rekeyed(&unknown, &storage(2, &[("id", column(1))])), "nothing tells");
    }

    #[test]
    fn a_constant_that_is_written_out_is_none_but_with_another_default() {
        let of = |written_by, default, has_missing| Column {
            written_by,
            default,
            has_missing,
            ..column(1)
        };
        let before = storage(1, &[("a", of(7, 5, true))]);
        let vacuumed = storage(2, &[("a", of(8, 5, false))]);
        let altered = storage(2, &[("a", of(8, 6, false))]);
        assert_eq!(rewritten(&[before.clone(), vacuumed]), [false]);
        assert_eq!(rewritten(&[before, altered]), [true]);
        let without_default =
            [storage(1, &[("a", of(7, 0, true))]), storage(2, &[("a", of(8, 0, false))])];
        assert_eq!(rewritten(&without_default), [true], "nothing tells which it was");
    }

    #[test]
    fn a_column_that_is_computed_no_more_is_seen() {
        let computed = Column { is_generated: true, ..column(2) };
        let before = storage(1, &[("id", column(1)), ("c", computed.clone())]);
        let plain = storage(1, &[("id", column(1)), ("c", column(2))]);
        assert_eq!(rewritten(&[before, plain]), [true]);
        let without = storage(1, &[("id", column(1))]);
        let added = storage(2, &[("id", column(1)), ("c", computed)]);
        assert_eq!(rewritten(&[without, added]), [false], "the log does not have it");
    }

    #[test]
    fn more_names_than_are_remembered_have_the_table_read_anew() {
        let state = |n: usize| storage(1, &[(&format!("c{n}"), column(1))]);
        let states: Vec<Storage> = (0..=NAMES_MAX).map(state).collect();
        let told = rewritten(&states);
        let (last, others) = told.split_last().unwrap();
        assert!(*last && !others.contains(&true));
    }

    #[test]
    fn they_come_back_and_earlier_ones_are_taken_over() {
        let files = br#"{"version":1,"tables":[[1,10],[2,20]]}"#.to_vec();
        let mut items = BTreeMap::from([(FILES_KEY.to_owned(), files)]);
        let mut storages = Storages::read(&items).unwrap();
        let today = || {
            let now = |file| storage(file, &[("a", column(1))]);
            HashMap::from([(1, now(11)), (3, now(30))])
        };
        for item in storages.update(today()).unwrap() {
            match item.value {
                Some(value) => items.insert(item.key, value),
                None => items.remove(&item.key),
            };
        }
        let keys: Vec<&str> = items.keys().map(String::as_str).collect();
        assert_eq!(keys, ["storage/1", "storage/3"]);
        let mut again = Storages::read(&items).unwrap();
        assert_eq!(again.tables, storages.tables);
        assert!(again.update(today()).unwrap().is_empty());
        // Of its columns nothing was known.
        let now = storage(11, &[("a", column(1))]);
        assert!(again.take(1, now.clone(), false).unwrap().is_rewritten);
        let taken = again.take(1, now.clone(), false).unwrap();
        assert!(!taken.is_rewritten && taken.item.is_none());
        assert!(again.take(1, now, true).unwrap().is_rewritten);
    }

    #[test]
    fn a_newer_form_is_refused() {
        let newer = br#"{"version":2,"table":1,"storage":{"file":1,"columns":{}}}"#.to_vec();
        let items = BTreeMap::from([(key(1), newer)]);
        assert_eq!(Storages::read(&items).unwrap_err().kind(), ErrorKind::NewerVersion);
    }
}
