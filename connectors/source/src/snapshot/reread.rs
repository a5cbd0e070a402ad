//! Rows of which the log told a change but not every value: they are read again by their keys, many
//! in one chunk. Which ones is stored with the records that lack them, so that none is forgotten.

use super::Key;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_model::{Error, ErrorKind, Result, StateItem, TableName};

/// The prefix of the items under which tables' keys are stored.
const PREFIX: &str = "reread/";

/// The version this program writes.
const VERSION: u32 = 1;

/// Keys of a table that may wait; past them the whole table is read.
const KEYS_MAX: usize = 2000;

/// The most bytes of their texts: what is stored stays far below the smallest record limit.
const KEYS_BYTES_MAX: usize = 256 * 1024;

/// The most keys of one chunk.
const KEYS_PER_CHUNK_MAX: usize = 500;

/// The rows of one table.
#[derive(Debug, Default)]
struct Waiting {
    keys: BTreeSet<Key>,
    bytes: usize,
    /// Those of the chunk that is being read.
    reading: Vec<Key>,
    /// The last of them that is in the topic already.
    after: Option<Key>,
    /// There were too many: the whole table is to be read, from the start.
    whole: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    keys: Vec<Key>,
    whole: bool,
}

/// A chunk that is to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) table: TableName,
    pub(super) keys: Vec<Key>,
    pub(super) after: Option<Key>,
}

/// All rows of a source that are to be read again.
#[derive(Debug, Default)]
pub(super) struct Rereads {
    tables: BTreeMap<TableName, Waiting>,
    changed: BTreeSet<TableName>,
    /// Whether some were asked for before this session, which has not followed the log since.
    restored: bool,
}

impl Rereads {
    /// Takes what was stored out of a checkpoint's items.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub(super) fn take(items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let mut rereads = Self::default();
        let names: Vec<String> =
            items.keys().filter(|key| key.starts_with(PREFIX)).cloned().collect();
        for name in names {
            let value = items.remove(&name).unwrap_or_default();
            let wrong = |kind| Error::new(kind, "read the keys to read again").with("item", &name);
            let (schema, table): (String, String) = serde_json::from_str(&name[PREFIX.len()..])
                .map_err(|e| wrong(ErrorKind::Corrupt).caused_by(e))?;
            let stored: Stored = serde_json::from_slice(&value)
                .map_err(|e| wrong(ErrorKind::Corrupt).caused_by(e))?;
            if stored.version > VERSION {
                return Err(wrong(ErrorKind::NewerVersion).with("version", stored.version));
            }
            let table = TableName { schema, table };
            stored.keys.into_iter().for_each(|key| rereads.add(&table, key));
            rereads.tables.entry(table).or_default().whole |= stored.whole;
        }
        rereads.changed.clear();
        rereads.restored = !rereads.tables.is_empty();
        Ok(rereads)
    }

    /// A row is to be read again.
    pub(super) fn add(&mut self, table: &TableName, key: Key) {
        let waiting = self.tables.entry(table.clone()).or_default();
        let bytes: usize = key.iter().map(String::len).sum();
        if waiting.whole || !waiting.keys.insert(key) {
            return;
        }
        waiting.bytes += bytes;
        if waiting.keys.len() > KEYS_MAX || waiting.bytes > KEYS_BYTES_MAX {
            waiting.whole = true;
            waiting.keys.clear();
            waiting.bytes = 0;
        }
        self.changed.insert(table.clone());
    }

    /// What to read next, which is being read from now on.
    pub(super) fn next(&mut self) -> Option<Wanted> {
        let is_free = |waiting: &Waiting| waiting.reading.is_empty() && !waiting.keys.is_empty();
        let (table, waiting) = self.tables.iter_mut().find(|(_, waiting)| is_free(waiting))?;
        while waiting.reading.len() < KEYS_PER_CHUNK_MAX
            && let Some(key) = waiting.keys.pop_first()
        {
            waiting.bytes -= key.iter().map(String::len).sum::<usize>();
            waiting.reading.push(key);
        }
        let (keys, after) = (waiting.reading.clone(), waiting.after.take());
        Some(Wanted { table: table.clone(), keys, after })
    }

    /// A chunk is in the topic, up to this key; whether it was the last.
    pub(super) fn emitted(&mut self, table: &TableName, at: Option<Key>, last: bool) {
        let Some(waiting) = self.tables.get_mut(table) else { return };
        if last {
            waiting.reading.clear();
        } else {
            // The rest of the same keys, behind this one.
            waiting.after = at;
            self.put_back(table);
        }
        self.changed.insert(table.clone());
        self.drop_empty(table);
    }

    /// A chunk of a table, if there is one, did not come.
    pub(super) fn put_back(&mut self, table: &TableName) {
        let Some(waiting) = self.tables.get_mut(table) else { return };
        for key in std::mem::take(&mut waiting.reading) {
            waiting.bytes += key.iter().map(String::len).sum::<usize>();
            waiting.keys.insert(key);
        }
    }

    /// No chunk comes.
    pub(super) fn put_all_back(&mut self) {
        let tables: Vec<TableName> = self.tables.keys().cloned().collect();
        tables.iter().for_each(|table| self.put_back(table));
    }

    /// All of a table is read, or nothing of it is there any more.
    pub(super) fn forget(&mut self, table: &TableName) {
        if self.tables.remove(table).is_some() {
            self.changed.insert(table.clone());
        }
        self.restored &= !self.tables.is_empty();
    }

    /// Forgets every table but these.
    pub(super) fn retain(&mut self, captured: &[TableName]) {
        let others = self.tables.keys().filter(|table| !captured.contains(table));
        let others: Vec<TableName> = others.cloned().collect();
        others.iter().for_each(|table| self.forget(table));
    }

    /// Tables of which too many rows were to be read.
    pub(super) fn wholes(&self) -> Vec<TableName> {
        let whole = self.tables.iter().filter(|(_, waiting)| waiting.whole);
        whole.map(|(table, _)| table.clone()).collect()
    }

    /// A table is read whole from now on.
    pub(super) fn begun(&mut self, table: &TableName) {
        if let Some(waiting) = self.tables.get_mut(table) {
            waiting.whole = false;
            self.changed.insert(table.clone());
        }
        self.drop_empty(table);
    }

    fn drop_empty(&mut self, table: &TableName) {
        let is_empty = |waiting: &Waiting| {
            waiting.keys.is_empty() && waiting.reading.is_empty() && !waiting.whole
        };
        if self.tables.get(table).is_some_and(is_empty) {
            self.tables.remove(table);
        }
        self.restored &= !self.tables.is_empty();
    }

    /// Whether rows wait or are being read.
    pub(super) fn is_waiting(&self) -> bool {
        !self.tables.is_empty()
    }

    /// Whether the log was not followed since some of them were asked for.
    pub(super) fn is_restored(&self) -> bool {
        self.restored
    }

    /// How many rows wait or are being read.
    pub(super) fn count(&self) -> u64 {
        let count = |waiting: &Waiting| waiting.keys.len() + waiting.reading.len();
        self.tables.values().map(count).sum::<usize>() as u64
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What has to be stored, once.
    pub(super) fn items(&mut self) -> Result<Vec<StateItem>> {
        std::mem::take(&mut self.changed).iter().map(|table| self.item(table)).collect()
    }

    fn item(&self, table: &TableName) -> Result<StateItem> {
        let key = format!("{PREFIX}{}", serde_json::json!([table.schema, table.table]));
        let Some(waiting) = self.tables.get(table) else {
            return Ok(StateItem { key, value: None });
        };
        let keys = waiting.keys.iter().chain(&waiting.reading).cloned().collect();
        let stored = Stored { version: VERSION, keys, whole: waiting.whole };
        let value = serde_json::to_vec(&stored).map_err(|error| {
            Error::new(ErrorKind::Internal, "store the keys to read again").caused_by(error)
        })?;
        Ok(StateItem { key, value: Some(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableName {
        TableName::new("a.b", "c\"")
    }

    fn key(text: &str) -> Key {
        vec![text.to_owned()]
    }

    fn restored(rereads: &mut Rereads) -> Rereads {
        let items = rereads.items().unwrap();
        let mut stored: BTreeMap<_, _> =
            items.into_iter().filter_map(|item| Some((item.key, item.value?))).collect();
        let again = Rereads::take(&mut stored).unwrap();
        assert!(stored.is_empty());
        again
    }

    #[test]
    fn keys_wait_until_they_are_in_the_topic_over_restarts() {
        let mut rereads = Rereads::default();
        rereads.add(&table(), key("1"));
        rereads.add(&table(), key("2"));
        let wanted = rereads.next().unwrap();
        assert_eq!((wanted.keys.len(), wanted.after), (2, None));
        assert_eq!(rereads.next(), None, "one chunk of a table at a time");
        // Changed again while it is read.
        rereads.add(&table(), key("1"));
        let again = restored(&mut rereads);
        assert_eq!((again.count(), again.is_restored()), (2, true));
        rereads.emitted(&table(), Some(key("2")), true);
        assert_eq!(rereads.next().unwrap().keys, [key("1")]);
        rereads.emitted(&table(), None, true);
        assert!(!rereads.is_waiting());
        assert_eq!(rereads.items().unwrap()[0].value, None);
    }

    #[test]
    fn a_chunk_that_was_cut_goes_on_behind_its_last_key() {
        let mut rereads = Rereads::default();
        rereads.add(&table(), key("1"));
        rereads.add(&table(), key("2"));
        rereads.next().unwrap();
        rereads.emitted(&table(), Some(key("1")), false);
        let rest = rereads.next().unwrap();
        assert_eq!((rest.keys.len(), rest.after), (2, Some(key("1"))));
    }

    #[test]
    fn too_many_keys_make_it_the_whole_table() {
        let mut rereads = Rereads::default();
        for number in 0..=KEYS_MAX {
            rereads.add(&table(), key(&number.to_string()));
        }
        assert_eq!((rereads.count(), rereads.wholes()), (0, vec![table()]));
        assert_eq!(restored(&mut rereads).wholes(), [table()]);
        rereads.begun(&table());
        assert!(!rereads.is_waiting() && rereads.is_changed());
        rereads.add(&table(), key(&"x".repeat(KEYS_BYTES_MAX + 1)));
        assert_eq!(rereads.wholes(), [table()]);
    }
}
