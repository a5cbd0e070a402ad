//! The tables that the log tells of, and those whose rows follow. Pure.

use crate::decode::TableMap;
use crate::relation::Relation;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result, TableName};

/// The most tables that a statement may change: far above what a join can have (61).
const OPEN_MAX: usize = 4096;

/// How a description names its table: the database's name behind its length and before a zero, and the
/// table's likewise. A description begins with it.
pub(crate) type NameBytes = Box<[u8]>;

/// A table's name as descriptions have it; none for a name that is longer than any.
pub(crate) fn name_bytes(name: &TableName) -> Option<NameBytes> {
    let mut bytes = Vec::new();
    for part in [&name.schema, &name.table] {
        bytes.push(u8::try_from(part.len()).ok()?);
        bytes.extend_from_slice(part.as_bytes());
        bytes.push(0);
    }
    Some(bytes.into())
}

impl<'a> TableMap<'a> {
    /// The bytes that name the table.
    #[inline]
    pub(crate) fn name_bytes(&self) -> &'a [u8] {
        const LENGTHS_AND_ZEROS: usize = 4;
        &self.definition[..LENGTHS_AND_ZEROS + self.database.len() + self.table.len()]
    }
}

/// What a table is captured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its rows are events.
    Events,
    /// Its rows are the marks that snapshots write.
    Marks,
}

/// The tables that are captured.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    purposes: HashMap<NameBytes, Purpose>,
    names: HashSet<TableName>,
}

impl Captured {
    pub(crate) fn new(tables: &[TableName], watermarks: Option<&TableName>) -> Self {
        let events = tables.iter().map(|name| (name, Purpose::Events));
        let marks = watermarks.map(|name| (name, Purpose::Marks));
        let purposes = events.chain(marks).filter_map(|(name, p)| Some((name_bytes(name)?, p)));
        Self { purposes: purposes.collect(), names: tables.iter().cloned().collect() }
    }

    #[inline]
    pub(crate) fn purpose(&self, name: &[u8]) -> Option<Purpose> {
        self.purposes.get(name).copied()
    }

    pub(crate) fn has(&self, name: &TableName) -> bool {
        self.names.contains(name)
    }

    /// Those of these tables that are captured.
    pub(crate) fn among(&self, tables: &[TableName]) -> Vec<TableName> {
        tables.iter().filter(|table| self.has(table)).cloned().collect()
    }

    /// The captured tables of a database.
    pub(crate) fn of_database(&self, database: &str) -> Vec<TableName> {
        self.names.iter().filter(|name| name.schema == database).cloned().collect()
    }

    /// A table that is there no more: what is said of it means nothing here, until the log describes it.
    pub(crate) fn forget(&mut self, name: &TableName) {
        self.names.remove(name);
    }

    /// The log has described the table, so it is there again.
    pub(crate) fn remember(&mut self, name: &TableName) {
        self.names.insert(name.clone());
    }

    /// Whether a statement in this default database may be of a captured table: it is of a database that
    /// has one, or names a table or a database of one. Not more can be told without a parser.
    pub(crate) fn may_be_meant(&self, database: &[u8], sql: &str) -> bool {
        let sql = sql.to_lowercase();
        self.names.iter().any(|name| {
            name.schema.as_bytes() == database
                || sql.contains(&name.schema.to_lowercase())
                || sql.contains(&name.table.to_lowercase())
        })
    }
}

/// A captured table as the log has described it last.
#[derive(Debug)]
pub(crate) struct Described {
    /// All of its description but its number.
    pub(crate) definition: Box<[u8]>,
    pub(crate) relation: Arc<Relation>,
    pub(crate) purpose: Purpose,
}

/// The captured tables that the log has described, by how descriptions name them.
pub(crate) type Tables = HashMap<NameBytes, Arc<Described>>;

/// The tables whose rows follow, by the numbers that rows name them by; none for one that is not
/// captured. Their statement's end ends them.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenTables(Vec<(u64, Option<Arc<Described>>)>);

impl OpenTables {
    /// Rows of this table may follow.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond what a statement can change.
    pub(crate) fn open(&mut self, id: u64, table: Option<Arc<Described>>) -> Result<()> {
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == id) {
            *known = table;
            return Ok(());
        }
        if self.0.len() >= OPEN_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "read the log")
                .because("a statement changes more tables than there can be")
                .with("tables_max", OPEN_MAX));
        }
        self.0.push((id, table));
        Ok(())
    }

    /// The table of this number; the outer none: it was not described.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<Option<&Arc<Described>>> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, table)| table.as_ref())
    }

    pub(crate) fn end_statement(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_tables_are_known_by_the_bytes_of_descriptions() {
        let name = TableName::new("shop", "orders");
        let marks = TableName::new("tidemesh", "watermarks");
        let captured = Captured::new(std::slice::from_ref(&name), Some(&marks));
        assert_eq!(captured.purpose(b"\x04shop\0\x06orders\0"), Some(Purpose::Events));
        assert_eq!(captured.purpose(b"\x08tidemesh\0\x0awatermarks\0"), Some(Purpose::Marks));
        assert_eq!(captured.purpose(b"\x04shop\0\x05order\0"), None);
        assert!(captured.has(&name) && !captured.has(&marks));
    }

    #[test]
    fn a_statement_that_may_be_of_a_captured_table_is_found() {
        let captured = Captured::new(&[TableName::new("Shop", "Orders")], None);
        assert!(captured.may_be_meant(b"Shop", "CALL x()"));
        assert!(captured.may_be_meant(b"mysql", "INSERT INTO shop.orders VALUES (1)"));
        assert!(!captured.may_be_meant(b"mysql", "INSERT INTO mysql.rds_heartbeat2 VALUES (1)"));
    }

    #[test]
    fn a_statement_has_its_tables_until_its_end() {
        let mut open = OpenTables::default();
        open.open(7, None).unwrap();
        open.open(7, None).unwrap();
        assert!(matches!(open.get(7), Some(None)));
        assert!(open.get(8).is_none());
        open.end_statement();
        assert!(open.get(7).is_none());
        for id in 0..OPEN_MAX as u64 {
            open.open(id, None).unwrap();
        }
        assert_eq!(open.open(u64::MAX, None).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
