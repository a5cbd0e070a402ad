//! What DDL means to captured tables: some are gone, others stand under their names, and of some what the
//! log does not tell may be other than before. Only that is found here; rows come by the log, or are read
//! anew.

use crate::batch::MysqlBatch;
use crate::relation::Relation;
use crate::source::MysqlSource;
use crate::statement::{Altered, Rename};
use crate::tables::{Purpose, name_bytes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Result, StateItem, TableName, TableSchema};
use tidemesh_source::{read_stored, stored_item};

/// The item that names captured tables that were dropped, and not made anew since: one that comes under
/// such a name is another one.
const DROPPED_KEY: &str = "dropped";

/// The item that names tables that DDL may have altered in what the log does not tell, and which it has
/// not described since.
const SUSPECTS_KEY: &str = "suspects";

/// The version of both stored forms.
const STORED_VERSION: u32 = 1;

/// Captured tables that were dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped(BTreeSet<TableName>);

#[derive(Serialize, Deserialize)]
struct StoredDropped {
    version: u32,
    tables: BTreeSet<TableName>,
}

impl Dropped {
    /// # Errors
    ///
    /// `Corrupt`, `NewerVersion`.
    pub(crate) fn read(items: &BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let version = |stored: &StoredDropped| stored.version;
        let stored = read_stored(items, DROPPED_KEY, STORED_VERSION, version)?;
        Ok(Self(stored.map(|stored| stored.tables).unwrap_or_default()))
    }

    pub(crate) fn has(&self, table: &TableName) -> bool {
        self.0.contains(table)
    }

    /// Adds tables; answers the item to store if one is new.
    pub(crate) fn add(
        &mut self,
        tables: impl IntoIterator<Item = TableName>,
    ) -> Result<Option<StateItem>> {
        let before = self.0.len();
        self.0.extend(tables);
        (self.0.len() > before).then(|| self.item()).transpose()
    }

    /// Takes a table out; answers the item to store if it was in.
    pub(crate) fn remove(&mut self, table: &TableName) -> Result<Option<StateItem>> {
        self.0.remove(table).then(|| self.item()).transpose()
    }

    fn item(&self) -> Result<StateItem> {
        let stored = StoredDropped { version: STORED_VERSION, tables: self.0.clone() };
        stored_item(DROPPED_KEY, &stored)
    }
}

/// Tables of which what the log does not tell is to be asked anew, with the names of columns that went.
#[derive(Debug, Default)]
pub(crate) struct Suspects(BTreeMap<TableName, Vec<String>>);

#[derive(Serialize, Deserialize)]
struct StoredSuspects {
    version: u32,
    tables: Vec<TableName>,
    /// Of the same tables, in their order.
    #[serde(default)]
    gone: Vec<Vec<String>>,
}

impl Suspects {
    /// # Errors
    ///
    /// `Corrupt`, `NewerVersion`.
    pub(crate) fn read(items: &BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let version = |stored: &StoredSuspects| stored.version;
        let Some(stored) = read_stored(items, SUSPECTS_KEY, STORED_VERSION, version)? else {
            return Ok(Self::default());
        };
        let gone = stored.gone.into_iter().chain(std::iter::repeat_with(Vec::new));
        Ok(Self(stored.tables.into_iter().zip(gone).collect()))
    }

    pub(crate) fn has(&self, table: &TableName) -> bool {
        self.0.contains_key(table)
    }

    /// The names of its columns that went, if the table is one of these.
    pub(crate) fn gone(&self, table: &TableName) -> Option<&[String]> {
        self.0.get(table).map(Vec::as_slice)
    }

    /// Adds tables; answers the item to store if something is new.
    pub(crate) fn add(&mut self, altered: Vec<Altered>) -> Result<Option<StateItem>> {
        let mut is_new = false;
        for Altered { table, gone } in altered {
            is_new |= !self.has(&table);
            let known = self.0.entry(table).or_default();
            for name in gone {
                if !known.contains(&name) {
                    known.push(name);
                    is_new = true;
                }
            }
        }
        is_new.then(|| self.item()).transpose()
    }

    /// Takes a table out; answers the item to store if it was in.
    pub(crate) fn remove(&mut self, table: &TableName) -> Result<Option<StateItem>> {
        self.0.remove(table).map(|_| self.item()).transpose()
    }

    fn item(&self) -> Result<StateItem> {
        let (tables, gone) = self.0.clone().into_iter().unzip();
        stored_item(SUSPECTS_KEY, &StoredSuspects { version: STORED_VERSION, tables, gone })
    }
}

/// What stands under a captured name behind a statement that renames tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Nothing.
    Nothing,
    /// A table with the rows that the log told of under this name.
    SameRows,
    /// A table with others.
    OtherRows,
}

/// What stands under the captured names that `renames` changes, one after the other. `was_there` says of a
/// name whether a table stood under it before.
fn renamed(
    renames: &[Rename],
    is_captured: impl Fn(&TableName) -> bool,
    was_there: impl Fn(&TableName) -> bool,
) -> BTreeMap<&TableName, Stands> {
    let mut stands = BTreeMap::new();
    for Rename { from, to } in renames {
        if is_captured(from) {
            stands.insert(from, Stands::Nothing);
        }
        if is_captured(to) {
            let is_copy = is_copy_of(from, to) && was_there(to);
            stands.insert(to, if is_copy { Stands::SameRows } else { Stands::OtherRows });
        }
    }
    stands
}

/// Whether a table is the copy that a tool for online schema changes makes of another one, and keeps equal
/// to it until both swap their names: gh-ost's `_t_gho`, pt-online-schema-change's `_t_new` with as many `_`
/// before it as make it a new name.
fn is_copy_of(copy: &TableName, table: &TableName) -> bool {
    let stem = copy.table.strip_suffix("_gho").or_else(|| copy.table.strip_suffix("_new"));
    let before = stem.and_then(|stem| stem.strip_suffix(table.table.as_str()));
    let is_marked = |before: &str| !before.is_empty() && before.bytes().all(|byte| byte == b'_');
    copy.schema == table.schema && before.is_some_and(is_marked)
}

impl MysqlSource {
    /// Whether what was done behind the batch that was cut last is in the topics already.
    fn is_passed_over(&self) -> bool {
        self.place.end <= self.resume_after
    }

    /// The log's next description of a table counts as a new one.
    fn forget_description(&mut self, table: &TableName) {
        if let Some(name) = name_bytes(table) {
            Arc::make_mut(&mut self.tables).remove(&name);
        }
    }

    /// Captured tables are gone: rows under their names are others' from here on.
    pub(crate) fn drop_tables(&mut self, tables: Vec<TableName>) -> Result<Option<StateItem>> {
        // Where rows are passed over, the topics tell of what came after this already.
        if self.is_passed_over() {
            return Ok(None);
        }
        for table in &tables {
            tracing::info!(%table, "was dropped");
            self.forget_description(table);
        }
        self.dropped.add(tables)
    }

    /// What the log does not tell of these tables is asked anew when they are described next.
    pub(crate) fn suspect(
        &mut self,
        altered: impl IntoIterator<Item = Altered>,
    ) -> Result<Option<StateItem>> {
        let altered: Vec<Altered> = altered.into_iter().collect();
        altered.iter().for_each(|altered| self.forget_description(&altered.table));
        // What was passed over is stored with what it led to: a suspicion, or the table's next version.
        if self.is_passed_over() {
            return Ok(None);
        }
        self.suspects.add(altered)
    }

    /// Captured tables have other rows than the log told of: with the place behind that, those that are told
    /// are deleted, and they are read anew.
    pub(crate) fn replace_tables(
        &mut self,
        batch: &mut MysqlBatch,
        tables: &[TableName],
    ) -> Result<()> {
        if self.is_passed_over() {
            return Ok(());
        }
        for table in tables {
            batch.state.extend(self.dropped.remove(table)?);
        }
        let known = tables.iter().filter_map(|table| self.schema_before(table));
        let schemas: Vec<Arc<TableSchema>> = known.collect();
        for schema in &schemas {
            tracing::warn!(table = %schema.name, "DDL has changed its rows: it is read anew");
        }
        batch.schemas.extend(schemas.iter().map(Arc::clone));
        batch.replaced.extend(schemas);
        Ok(())
    }

    /// Tables go by other names: under a captured one there may be nothing, or another table.
    pub(crate) fn rename_tables(
        &mut self,
        batch: &mut MysqlBatch,
        renames: &[Rename],
    ) -> Result<()> {
        let (captured, dropped) = (&self.captured, &self.dropped);
        let stands = renamed(renames, |name| captured.has(name), |name| !dropped.has(name));
        let of = |wanted: Stands| -> Vec<TableName> {
            let found = stands.iter().filter(|(_, stands)| **stands == wanted);
            found.map(|(table, _)| (*table).clone()).collect()
        };
        let [gone, same, other] = [Stands::Nothing, Stands::SameRows, Stands::OtherRows].map(of);
        batch.state.extend(self.drop_tables(gone)?);
        self.replace_tables(batch, &other)?;
        let others = same.into_iter().chain(other);
        let suspects = others.map(|table| Altered { table, gone: Vec::new() });
        batch.state.extend(self.suspect(suspects)?);
        Ok(())
    }

    /// A table of which a statement tells before the log has described it since the start.
    pub(crate) async fn find(&mut self, table: &TableName) -> Result<()> {
        let Some(name) = name_bytes(table) else { return Ok(()) };
        if let Some((definition, relation)) = self.stored(table) {
            // Of a suspect, the next description is a new one.
            let definition = if self.suspects.has(table) { Vec::new() } else { definition };
            self.describe(name, &definition, relation, Purpose::Events);
            return Ok(());
        }
        let Some(today) = self.today(table).await? else { return self.lose(table) };
        // Without a description of the log, the next one is a new one.
        let relation: Relation =
            self.shared(today.relation(&self.config.settings.types(), &self.config.selection)?);
        self.describe(name, &[], relation, Purpose::Events);
        Ok(())
    }

    /// A table whose rows a statement changed, and of which nothing is known: what its topic has stays until
    /// another one comes.
    fn lose(&mut self, table: &TableName) -> Result<()> {
        let message = "a table's rows were changed by DDL, and it is not there any more: its topic \
                       stays as it is until another one of its name comes";
        tracing::warn!(%table, "{message}");
        self.captured.forget(table);
        if self.here()? > self.resume_after
            && let Some(item) = self.dropped.add([table.clone()])?
        {
            let mut first = self.empty();
            first.state.push(item);
            self.first = Some(first);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
