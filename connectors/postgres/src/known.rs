//! The tables that are known, shared by the log and by those who read tables: both have one schema
//! of a table as long as its shape is the same, and a column's earlier names. Beside them, which tables the
//! log's reader goes by.

use crate::relation::{Relation, RelationShape, VERSIONS_MAX};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidemesh_model::TableName;

/// Every table's relations, the latest last.
#[derive(Debug, Default)]
pub(crate) struct KnownTables {
    tables: Mutex<HashMap<TableName, Vec<Arc<Relation>>>>,
    /// The id of the table that each captured name stands for, or will once the log is read up to it.
    standing: Mutex<BTreeMap<TableName, u32>>,
}

impl KnownTables {
    fn tables(&self) -> MutexGuard<'_, HashMap<TableName, Vec<Arc<Relation>>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing_now(&self) -> MutexGuard<'_, BTreeMap<TableName, u32>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the captured names stand for.
    pub(crate) fn standing(&self) -> BTreeMap<TableName, u32> {
        self.standing_now().clone()
    }

    /// What the captured names stand for in this session.
    pub(crate) fn set_standing(&self, tables: BTreeMap<TableName, u32>) {
        *self.standing_now() = tables;
    }

    /// A name stands for another table.
    pub(crate) fn stand(&self, name: TableName, id: u32) {
        self.standing_now().insert(name, id);
    }

    /// The latest relation, if it has this shape. An earlier one of the same shape does not do: a
    /// column that was renamed and back has a name more.
    pub(crate) fn find(&self, shape: &RelationShape) -> Option<Arc<Relation>> {
        let tables = self.tables();
        tables.get(&shape.name)?.last().filter(|known| known.is_of(shape)).cloned()
    }

    /// Each table as it is now.
    pub(crate) fn latest(&self) -> Vec<Arc<Relation>> {
        self.tables().values().filter_map(|versions| versions.last().cloned()).collect()
    }

    /// What the table was before.
    pub(crate) fn earlier(&self, table: &TableName) -> Vec<Arc<Relation>> {
        self.tables().get(table).cloned().unwrap_or_default()
    }

    /// Adds a relation; where another was faster with the same shape, answers that one.
    pub(crate) fn add(&self, relation: Arc<Relation>) -> Arc<Relation> {
        let mut tables = self.tables();
        let known = tables.entry(relation.shape.name.clone()).or_default();
        let is_same = |k: &&Arc<Relation>| {
            k.is_of(&relation.shape)
                && k.schema.key == relation.schema.key
                && k.numbers == relation.numbers
        };
        if let Some(first) = known.last().filter(is_same) {
            return Arc::clone(first);
        }
        if known.len() >= VERSIONS_MAX {
            known.remove(0);
        }
        known.push(Arc::clone(&relation));
        relation
    }
}
