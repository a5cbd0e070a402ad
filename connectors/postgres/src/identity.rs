//! Which log and which tables a checkpoint is of: what the start compares with what it finds.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{Result, StateItem, TableName};
use tidemesh_source::{read_stored, stored_item};

/// The item under which [`Identity`] is stored.
const IDENTITY_KEY: &str = "identity";

/// The item under which [`TableIds`] is stored.
const TABLES_KEY: &str = "tables";

/// The version of both stored forms.
const VERSION: u32 = 1;

/// Which log this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) version: u32,
    pub(crate) system_identifier: String,
    pub(crate) timeline: u32,
    pub(crate) database: String,
    pub(crate) slot: String,
}

impl Identity {
    pub(crate) const VERSION: u32 = VERSION;

    /// What the checkpoint's items say; none without a checkpoint.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `NewerVersion`.
    pub(crate) fn read(items: &BTreeMap<String, Vec<u8>>) -> Result<Option<Self>> {
        read(items, IDENTITY_KEY, |identity: &Self| identity.version)
    }

    pub(crate) fn item(&self) -> Result<StateItem> {
        stored_item(IDENTITY_KEY, self)
    }
}

/// The tables that the topics tell of, by the ids that the database knows them by: a name may come
/// to another table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableIds(BTreeMap<TableName, u32>);

#[derive(Serialize, Deserialize)]
struct StoredTableIds {
    version: u32,
    tables: Vec<(TableName, u32)>,
}

impl TableIds {
    /// As [`Identity::read`]; empty where nothing is stored.
    pub(crate) fn read(items: &BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let stored = read(items, TABLES_KEY, |stored: &StoredTableIds| stored.version)?;
        Ok(Self(stored.map(|stored| stored.tables.into_iter().collect()).unwrap_or_default()))
    }

    pub(crate) fn item(&self) -> Result<StateItem> {
        let tables = self.0.iter().map(|(name, id)| (name.clone(), *id)).collect();
        stored_item(TABLES_KEY, &StoredTableIds { version: VERSION, tables })
    }

    /// Takes in the tables that are captured today and forgets those that are no longer meant; one
    /// that is known keeps its id until the log itself tells of another, even if it is gone for a
    /// while.
    pub(crate) fn update(
        &mut self,
        today: &BTreeMap<TableName, u32>,
        is_meant: impl Fn(&TableName) -> bool,
    ) {
        self.0.retain(|name, _| today.contains_key(name) || is_meant(name));
        for (name, id) in today {
            self.0.entry(name.clone()).or_insert(*id);
        }
    }

    /// Whether the name belonged to another table so far.
    pub(crate) fn had_other(&self, name: &TableName, id: u32) -> bool {
        self.0.get(name).is_some_and(|known| *known != id)
    }

    /// From here on the name is this table's; answers whose it was, if that one has no name here any more.
    pub(crate) fn set(&mut self, name: &TableName, id: u32) -> Option<u32> {
        let before = self.0.insert(name.clone(), id);
        before.filter(|before| self.0.values().all(|known| known != before))
    }
}

fn read<T: for<'de> Deserialize<'de>>(
    items: &BTreeMap<String, Vec<u8>>,
    key: &'static str,
    version: impl Fn(&T) -> u32,
) -> Result<Option<T>> {
    read_stored(items, key, VERSION, version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::ErrorKind;

    #[test]
    fn a_name_keeps_its_table_until_the_log_tells_of_another() {
        let name = |table: &str| TableName::new("public", table);
        let mut ids = TableIds::default();
        let is_meant = |name: &TableName| name.table == "d";
        ids.update(&BTreeMap::from([(name("a"), 1), (name("b"), 2), (name("d"), 4)]), is_meant);
        ids.update(&BTreeMap::from([(name("a"), 9), (name("c"), 3)]), is_meant);
        assert!(ids.had_other(&name("a"), 9) && !ids.had_other(&name("a"), 1));
        assert!(!ids.had_other(&name("b"), 7), "it is captured no more");
        assert!(ids.had_other(&name("d"), 7), "it was dropped, and may come back");
        let item = ids.item().unwrap();
        let items = BTreeMap::from([(item.key, item.value.unwrap())]);
        assert_eq!(TableIds::read(&items).unwrap(), ids);
        assert_eq!(ids.set(&name("a"), 9), Some(1));
        assert!(!ids.had_other(&name("a"), 9));
        // Two tables that swap their names.
        assert_eq!(ids.set(&name("c"), 9), Some(3));
        assert_eq!(ids.set(&name("a"), 3), None, "it is the other name's still");
    }

    #[test]
    fn a_newer_form_is_refused() {
        let items =
            BTreeMap::from([("tables".to_owned(), br#"{"version":2,"tables":[]}"#.to_vec())]);
        assert_eq!(TableIds::read(&items).unwrap_err().kind(), ErrorKind::NewerVersion);
    }
}
