//! How far snapshots have come: kept in the checkpoint, so that a restart repeats one chunk a
//! part at most.

use super::engine::Emitted;
use super::{Key, Part, TablePlan};
use crate::clock::now_us;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_model::{Result, StateItem, TableName};
use tidemesh_transport::{stored_item, take_stored};

/// The prefix of the items under which tables' progress is stored.
const PREFIX: &str = "snapshot/";

/// The item that says that snapshots are paused.
const PAUSED: &str = "snapshot";

/// The version this program writes.
const VERSION: u32 = 1;

/// What a table's snapshot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// It is read, or will be once its turn comes. Ended by the last chunk or an error.
    Running,
    /// All of it is in the topic.
    Done,
    /// It met an error that will not pass by itself. Ended by another start.
    Failed,
}

/// One part that is read in chunks, in the key's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Which rows.
    pub part: Part,
    /// The last key that is in the topic; none before the first chunk is.
    pub at: Option<Key>,
    /// Whether all of it is in the topic.
    pub done: bool,
}

/// One table's snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSnapshot {
    version: u32,
    /// The table.
    pub table: TableName,
    /// What it is doing.
    pub state: TableState,
    /// Its parts; none before it is planned.
    pub ranges: Option<Vec<Range>>,
    /// The storage that keys are places of, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// Rows of the chunks that are in the topic; rows that the log touched meanwhile included.
    pub rows: u64,
    /// Bytes of the records that were made of them.
    #[serde(default)]
    pub bytes: u64,
    /// About how many rows it has.
    pub rows_estimate: u64,
    /// Chunks that are in the topic.
    pub chunks: u64,
    /// Chunks that had to be read again.
    pub repeats: u64,
    /// When it was asked for, in microseconds since 1970 UTC.
    pub started_at_us: i64,
    /// When it ended.
    pub ended_at_us: Option<i64>,
    /// Once it is done, keys whose last record in the topic is of an older epoch than this are
    /// deleted there: neither the table nor the log has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep_below: Option<u32>,
    /// The error that ended it, with its causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl TableSnapshot {
    /// One that is to be planned, or that has one given part.
    pub(super) fn new(table: TableName, part: Option<Part>, now_us: i64) -> Self {
        let ranges = part.map(|part| vec![Range { part, at: None, done: false }]);
        Self {
            version: VERSION,
            table,
            state: TableState::Running,
            ranges,
            generation: None,
            rows: 0,
            bytes: 0,
            rows_estimate: 0,
            chunks: 0,
            repeats: 0,
            started_at_us: now_us,
            ended_at_us: None,
            sweep_below: None,
            error: None,
        }
    }

    pub(super) fn planned(&mut self, plan: TablePlan) {
        let range = |part| Range { part, at: None, done: false };
        self.ranges = Some(plan.parts.into_iter().map(range).collect());
        self.rows_estimate = plan.rows_estimate;
        self.generation = plan.generation;
    }

    /// Begins anew: what keys mean has changed.
    pub(super) fn unplan(&mut self) {
        self.ranges = None;
        self.generation = None;
        self.rows = 0;
        self.bytes = 0;
    }

    /// A chunk of a range is in the topic.
    pub(super) fn advanced(&mut self, range: usize, chunk: Emitted) {
        let Emitted { rows, bytes, at, last, generation: _ } = chunk;
        self.rows += rows;
        self.bytes += bytes;
        self.chunks += 1;
        if let Some(range) = self.ranges.as_mut().and_then(|ranges| ranges.get_mut(range)) {
            range.at = at.or_else(|| range.at.take());
            range.done = last;
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.ranges.as_ref().is_some_and(|ranges| ranges.iter().all(|range| range.done))
    }

    pub(super) fn end(&mut self, state: TableState, error: Option<String>, now_us: i64) {
        self.state = state;
        self.error = error;
        self.ended_at_us = Some(now_us);
    }

    fn item(&self) -> Result<StateItem> {
        stored_item(item_key(PREFIX, &self.table), self, "store a snapshot's progress")
    }
}

/// The key under which something of a table is stored: both names may have any characters.
pub(super) fn item_key(prefix: &str, table: &TableName) -> String {
    format!("{prefix}{}", serde_json::json!([table.schema, table.table]))
}

/// What is known of a source's snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// Whether no further chunk is read until they are resumed.
    pub paused: bool,
    /// Rows that are read again because the log lacks some of their values.
    #[serde(default)]
    pub rereads: u64,
    /// Each table that was read or is.
    pub tables: Vec<TableSnapshot>,
}

/// All snapshots of a source, and which of them have to be stored.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) report: SnapshotReport,
    changed: Vec<TableName>,
    /// Keys of items of tables that are no longer captured.
    forgotten: Vec<String>,
    paused_changed: bool,
}

impl Progress {
    /// Takes what was stored out of a checkpoint's items.
    ///
    /// # Errors
    ///
    /// `Corrupt` and `NewerVersion`, with the item.
    pub(super) fn take(items: &mut BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let mut progress = Self::default();
        progress.report.paused = items.remove(PAUSED).is_some_and(|value| value == b"paused");
        progress.report.tables = take_stored(items, PREFIX, VERSION, "read a snapshot's progress")?;
        Ok(progress)
    }

    pub(super) fn table(&self, table: &TableName) -> Option<&TableSnapshot> {
        self.report.tables.iter().find(|snapshot| snapshot.table == *table)
    }

    /// A table's snapshot, to be changed and then stored.
    pub(super) fn change(&mut self, table: &TableName) -> Option<&mut TableSnapshot> {
        let found = self.report.tables.iter_mut().find(|snapshot| snapshot.table == *table)?;
        if !self.changed.contains(table) {
            self.changed.push(table.clone());
        }
        Some(found)
    }

    /// Begins to read a table, or a part of it, whatever was read of it before. What is still to be
    /// swept of its topic stays to be.
    pub(super) fn begin(&mut self, table: TableName, part: Option<Part>) {
        let sweep_below = self.table(&table).and_then(|before| before.sweep_below);
        let snapshot = TableSnapshot::new(table, part, now_us());
        self.put(TableSnapshot { sweep_below, ..snapshot });
    }

    /// Begins to read a whole table; once it is done, keys of an epoch below this one, if one is
    /// given, are swept of its topic.
    pub(super) fn begin_anew(&mut self, table: TableName, sweep_below: Option<u32>) {
        let snapshot = TableSnapshot::new(table, None, now_us());
        self.put(TableSnapshot { sweep_below, ..snapshot });
    }

    fn put(&mut self, snapshot: TableSnapshot) {
        let table = snapshot.table.clone();
        self.report.tables.retain(|other| other.table != table);
        self.report.tables.push(snapshot);
        if !self.changed.contains(&table) {
            self.changed.push(table);
        }
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.paused_changed |= self.report.paused != paused;
        self.report.paused = paused;
    }

    pub(super) fn is_changed(&self) -> bool {
        self.paused_changed || !self.changed.is_empty() || !self.forgotten.is_empty()
    }

    /// Forgets every table but these: one that is captured again later has missed something.
    pub(super) fn forget_others(&mut self, captured: &[TableName]) {
        let is_captured = |snapshot: &TableSnapshot| captured.contains(&snapshot.table);
        let others = self.report.tables.extract_if(.., |snapshot| !is_captured(snapshot));
        for snapshot in others {
            tracing::info!(table = %snapshot.table, "is no longer captured: its snapshot is forgotten");
            self.forgotten.push(item_key(PREFIX, &snapshot.table));
        }
    }

    /// What has to be stored, once.
    pub(super) fn items(&mut self) -> Result<Vec<StateItem>> {
        let forgotten = std::mem::take(&mut self.forgotten).into_iter();
        let mut items: Vec<_> = forgotten.map(|key| StateItem { key, value: None }).collect();
        for table in std::mem::take(&mut self.changed) {
            if let Some(snapshot) = self.table(&table) {
                items.push(snapshot.item()?);
            }
        }
        if std::mem::take(&mut self.paused_changed) {
            let value = self.report.paused.then(|| b"paused".to_vec());
            items.push(StateItem { key: PAUSED.to_owned(), value });
        }
        Ok(items)
    }

    pub(super) fn is_running(&self) -> bool {
        self.report.tables.iter().any(|snapshot| snapshot.state == TableState::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::ErrorKind;

    fn stored(progress: &mut Progress) -> BTreeMap<String, Vec<u8>> {
        let items = progress.items().unwrap();
        items.into_iter().filter_map(|item| Some((item.key, item.value?))).collect()
    }

    #[test]
    fn progress_comes_back_from_a_checkpoint() {
        let table = TableName::new("a.b", "c");
        let mut progress = Progress::default();
        progress.put(TableSnapshot::new(table.clone(), None, 5));
        let whole = Part::Span { after: None, upto: None };
        progress.change(&table).unwrap().planned(TablePlan {
            parts: vec![whole],
            rows_estimate: 10,
            generation: None,
        });
        let at = Some(vec!["x".into()]);
        let chunk = Emitted { rows: 7, bytes: 70, at, last: false, generation: None };
        progress.change(&table).unwrap().advanced(0, chunk);
        progress.pause(true);
        let mut items = stored(&mut progress);
        assert!(!progress.is_changed());
        items.insert("relation/1".into(), Vec::new());
        let again = Progress::take(&mut items).unwrap();
        assert_eq!(again.report, progress.report);
        assert_eq!(items.len(), 1, "the source's own items stay");
    }

    #[test]
    fn a_table_that_is_no_longer_captured_is_forgotten_for_good() {
        let tables = [TableName::new("a", "b\""), TableName::new("a", "c")];
        let mut progress = Progress::default();
        for table in &tables {
            progress.put(TableSnapshot::new(table.clone(), None, 5));
        }
        let mut items = stored(&mut progress);
        let mut again = Progress::take(&mut items.clone()).unwrap();
        again.forget_others(&tables[1..]);
        assert!(again.is_changed());
        for item in again.items().unwrap() {
            assert_eq!(item.value, None);
            items.remove(&item.key).unwrap();
        }
        assert!(!again.is_changed());
        let left = Progress::take(&mut items).unwrap();
        assert_eq!(left.report.tables.len(), 1);
        assert_eq!(left.report.tables[0].table, tables[1]);
    }

    #[test]
    fn what_is_to_be_swept_is_not_forgotten_by_another_beginning() {
        let table = TableName::new("a", "b");
        let mut progress = Progress::default();
        progress.begin_anew(table.clone(), Some(3));
        progress.begin(table.clone(), None);
        assert_eq!(progress.table(&table).unwrap().sweep_below, Some(3));
        progress.begin_anew(table.clone(), None);
        assert_eq!(progress.table(&table).unwrap().sweep_below, None);
    }

    #[test]
    fn a_newer_progress_is_refused() {
        let mut progress = Progress::default();
        progress.put(TableSnapshot::new(TableName::new("a", "b"), None, 5));
        let mut items = stored(&mut progress);
        for value in items.values_mut() {
            *value = String::from_utf8(value.clone())
                .unwrap()
                .replace("\"version\":1", "\"version\":2")
                .into_bytes();
        }
        assert_eq!(Progress::take(&mut items).unwrap_err().kind(), ErrorKind::NewerVersion);
    }
}
