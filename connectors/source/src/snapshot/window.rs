//! The windows between low and high marks, and the rule by which a chunk is emitted.

use super::transactions::Transactions;
use super::{Chunk, Mark};
use std::collections::HashSet;
use std::sync::Arc;
use tidemesh_model::{Change, ChangeVisitor, Origin, Result, RowImage, TableName, TableSchema};

/// The most bytes of keys that a window holds; past it its chunk is read again.
const TOUCHED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The keys, framed, that the log touched in a window.
pub(crate) type Touched = HashSet<Box<[u8]>>;

/// What becomes of a chunk at its high mark.
#[derive(Debug)]
pub(crate) enum Verdict<K> {
    /// Its rows but for those of the touched keys are the table's at the high mark.
    Emit(K, Touched),
    /// It has to be read again.
    Again(Again),
}

/// Why a chunk is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Again {
    /// The table was truncated in the window.
    Truncated,
    /// The log has another schema of the table than the chunk.
    Schema,
    /// The log touched more keys than a window holds.
    Touched,
    /// More transactions came than are remembered.
    Forgotten,
    /// The chunk does not see these transactions, of which the log told before the low mark.
    Unseen(Vec<u64>),
}

#[derive(Debug)]
struct Window<K> {
    number: u64,
    table: TableName,
    /// When the low mark was decoded.
    low: Option<u64>,
    touched: Touched,
    touched_bytes: usize,
    /// The schema that the log had last in this window.
    schema: Option<Arc<TableSchema>>,
    spoiled: Option<Again>,
    chunk: Option<K>,
}

/// All windows of a run.
#[derive(Debug)]
pub(crate) struct Windows<K> {
    run: String,
    next: u64,
    open: Vec<Window<K>>,
    transactions: Transactions,
    active: bool,
}

impl<K: Chunk> Windows<K> {
    /// No window, in a run of this name, which no other run has.
    pub(crate) fn new(run: String) -> Self {
        let transactions = Transactions::default();
        Self { run, next: 1, open: Vec::new(), transactions, active: false }
    }

    /// Begins or ends to follow the log.
    pub(crate) fn follow(&mut self, active: bool) {
        if self.active != active {
            self.active = active;
            self.transactions.clear();
            self.open.clear();
        }
    }

    /// Whether the log must be followed.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Opens a window for a chunk that is about to be asked for; answers its number and its marks.
    pub(crate) fn begin(&mut self, table: &TableName) -> (u64, [String; 2]) {
        let number = self.next;
        self.next += 1;
        self.open.push(Window {
            number,
            table: table.clone(),
            low: None,
            touched: HashSet::new(),
            touched_bytes: 0,
            schema: None,
            spoiled: None,
            chunk: None,
        });
        let marks = [Mark::Low(&self.run, number), Mark::High(&self.run, number)];
        (number, marks.map(|mark| mark.to_string()))
    }

    /// Takes the chunk of a window, which is there before its high mark is decoded.
    pub(crate) fn deliver(&mut self, number: u64, chunk: K) {
        if let Some(window) = self.open.iter_mut().find(|window| window.number == number) {
            window.chunk = Some(chunk);
        }
    }

    /// Closes a window whose chunk could not be read.
    pub(crate) fn abandon(&mut self, number: u64) {
        self.open.retain(|window| window.number != number);
        self.forget();
    }

    /// The chunks that wait for their high marks.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &K> {
        self.open.iter().filter_map(|window| window.chunk.as_ref())
    }

    /// The chunk that waits for this mark.
    fn chunk_at(&self, mark: Mark<'_>) -> Option<&K> {
        let Mark::High(run, number) = mark else { return None };
        let window = self.open.iter().find(|window| window.number == number)?;
        window.chunk.as_ref().filter(|_| run == self.run)
    }

    #[inline]
    fn note(&mut self, transaction: u64) {
        if !K::SEES_ALL {
            self.transactions.note(transaction);
        }
    }

    /// The log told a change of `key` (and `old_key`, empty if there is none), both framed.
    pub(crate) fn change(
        &mut self,
        transaction: u64,
        schema: &Arc<TableSchema>,
        key: &[u8],
        old_key: &[u8],
    ) {
        self.note(transaction);
        for window in &mut self.open {
            if window.low.is_some() && window.table == schema.name {
                window.follow(schema);
                window.touch(key);
                if !old_key.is_empty() {
                    window.touch(old_key);
                }
            }
        }
    }

    /// The log told a change of a row whose key is not known: it can't be kept out of a chunk, but
    /// the chunk must be as new.
    pub(crate) fn unknown(&mut self, transaction: u64) {
        if self.active {
            self.note(transaction);
        }
    }

    /// The log told a change of a row, but not every value. From now on it is followed: the chunk
    /// that brings the row must see this transaction, and each that comes until then.
    pub(crate) fn incomplete(&mut self, transaction: u64) {
        self.follow(true);
        self.note(transaction);
    }

    /// The log told a truncate.
    pub(crate) fn truncate(&mut self, transaction: u64, table: &TableName) {
        self.note(transaction);
        for window in &mut self.open {
            if window.low.is_some() && window.table == *table {
                window.spoiled = Some(Again::Truncated);
            }
        }
    }

    /// The log told a mark; answers what becomes of the chunk if it is the high one.
    pub(crate) fn mark(&mut self, mark: Mark<'_>) -> Option<(u64, Verdict<K>)> {
        match mark {
            Mark::Low(run, number) if run == self.run => {
                let now = self.transactions.now();
                let window = self.open.iter_mut().find(|window| window.number == number)?;
                window.low = Some(now);
                None
            }
            Mark::High(run, number) if run == self.run => {
                let place = self.open.iter().position(|window| window.number == number)?;
                let window = self.open.remove(place);
                self.close(window).map(|verdict| (number, verdict))
            }
            _ => None,
        }
    }

    /// Whether transactions had to be forgotten that might not be visible: all chunks are to be
    /// read again, after every transaction has settled. Says so once.
    pub(crate) fn take_overflow(&mut self) -> bool {
        self.transactions.take_overflow()
    }

    fn close(&mut self, window: Window<K>) -> Option<Verdict<K>> {
        // A mark of this run was decoded before: the window that it opened was abandoned.
        let (Some(low), Some(chunk)) = (window.low, window.chunk) else { return None };
        let unseen = self.transactions.unseen(low, |id| chunk.sees(id));
        self.transactions.seen(self.next, |id| chunk.sees(id));
        self.forget();
        let other_schema = window.schema.as_ref().is_some_and(|s| !same_shape(s, chunk.schema()));
        Some(match window.spoiled {
            Some(spoiled) => Verdict::Again(spoiled),
            None if other_schema => Verdict::Again(Again::Schema),
            // What was forgotten may not have been visible to the chunk.
            None if self.transactions.is_overflowed() => Verdict::Again(Again::Forgotten),
            None if !unseen.is_empty() => Verdict::Again(Again::Unseen(unseen)),
            None => Verdict::Emit(chunk, window.touched),
        })
    }

    fn forget(&mut self) {
        let oldest = self.open.iter().map(|window| window.number).min().unwrap_or(self.next);
        self.transactions.forget(oldest);
    }
}

impl<K> Window<K> {
    fn follow(&mut self, schema: &Arc<TableSchema>) {
        match &self.schema {
            Some(known) if Arc::ptr_eq(known, schema) => return,
            Some(known) if !same_shape(known, schema) => self.spoiled = Some(Again::Schema),
            _ => {}
        }
        self.schema = Some(Arc::clone(schema));
    }

    fn touch(&mut self, key: &[u8]) {
        if self.spoiled.is_some() || self.touched.contains(key) {
            return;
        }
        self.touched_bytes += key.len();
        if self.touched_bytes > TOUCHED_BYTES_MAX {
            self.touched = HashSet::new();
            self.spoiled = Some(Again::Touched);
            return;
        }
        self.touched.insert(key.into());
    }
}

/// Looks ahead over a batch for the chunks whose high marks it holds.
pub(crate) struct Closed<'w, K> {
    windows: &'w Windows<K>,
    chunks: Vec<&'w K>,
}

impl<'w, K: Chunk> Closed<'w, K> {
    pub(crate) fn new(windows: &'w Windows<K>) -> Self {
        Self { windows, chunks: Vec::new() }
    }

    pub(crate) fn into_chunks(self) -> Vec<&'w K> {
        self.chunks
    }
}

impl<K: Chunk> ChangeVisitor for Closed<'_, K> {
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        _: &Origin<'_>,
        _: Change<R>,
    ) -> Result<()> {
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, mark: &str) -> Result<()> {
        self.chunks.extend(Mark::read(mark).and_then(|mark| self.windows.chunk_at(mark)));
        Ok(())
    }
}

/// Whether rows of both have the same cells: what the catalog adds to the log may differ.
fn same_shape(one: &TableSchema, other: &TableSchema) -> bool {
    one.key == other.key
        && one.fields.len() == other.fields.len()
        && one
            .fields
            .iter()
            .zip(&other.fields)
            .all(|(one, other)| one.name == other.name && one.data_type == other.data_type)
}

#[cfg(test)]
mod tests;
