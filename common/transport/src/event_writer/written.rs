//! With which schema each table's records were written last, kept with the records: a schema that a
//! table had before is told from records of that schema that come again after a crash.

use crate::stored::{stored_item, take_stored};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_model::{Result, StateItem, TableName};

/// The prefix of the items under which they are stored.
const PREFIX: &str = "written/";

/// The version this program writes.
const VERSION: u32 = 1;

/// The ids of the schemas of the values that were written last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenSchemas {
    ids: BTreeMap<TableName, u32>,
    /// Tables whose id is another since it was stored.
    changed: BTreeSet<TableName>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    table: TableName,
    id: u32,
}

impl WrittenSchemas {
    /// Takes what was stored out of a checkpoint's items.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub fn take(items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let stored: Vec<Stored> = take_stored(items, PREFIX, VERSION, "read a table's schema id")?;
        let ids = stored.into_iter().map(|stored| (stored.table, stored.id)).collect();
        Ok(Self { ids, changed: BTreeSet::new() })
    }

    /// The id that a table's records have.
    pub(super) fn of(&self, table: &TableName) -> Option<u32> {
        self.ids.get(table).copied()
    }

    /// From here on a table's records have this id.
    pub(super) fn set(&mut self, table: &TableName, id: u32) {
        if self.of(table) != Some(id) {
            self.ids.insert(table.clone(), id);
            self.changed.insert(table.clone());
        }
    }

    /// What is to be stored with the records that were encoded since this was asked last.
    ///
    /// # Errors
    ///
    /// `Internal` if it cannot be written as JSON, which does not happen.
    pub(super) fn take_items(&mut self) -> Result<Vec<StateItem>> {
        let changed = std::mem::take(&mut self.changed);
        let stored = changed.into_iter().filter_map(|table| {
            let id = self.of(&table)?;
            Some(Stored { version: VERSION, table, id })
        });
        let item = |stored: Stored| {
            let Stored { table, .. } = &stored;
            let key = format!("{PREFIX}{}", serde_json::json!([table.schema, table.table]));
            stored_item(key, &stored, "store a table's schema id")
        };
        stored.map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_stored_once_and_read_again() {
        let table = TableName::new("public", "orders");
        let mut written = WrittenSchemas::default();
        written.set(&table, 3);
        written.set(&table, 4);
        let items = written.take_items().unwrap();
        assert_eq!(items.len(), 1);
        written.set(&table, 4);
        assert!(written.take_items().unwrap().is_empty());
        let mut items = BTreeMap::from_iter(items.into_iter().map(|i| (i.key, i.value.unwrap())));
        assert_eq!(WrittenSchemas::take(&mut items).unwrap(), written);
        assert!(items.is_empty());
    }
}
