//! The visitor of a batch: encodes events, follows snapshots' windows, and emits a chunk where its
//! high mark stands.

use crate::snapshot::{
    Again, Chunk, Event, Key, Mark, RowVisitor, Touched, Verdict, Windows, emitted,
};
use crate::truncate::Truncated;
use std::sync::Arc;
use tidemesh_model::{
    Change, ChangeVisitor, EMIT_PREFIX, Operation, Origin, Position, Result, RowImage, TableName,
    TableSchema, TruncateMode,
};
use tidemesh_transport::EventWriter;

/// What cannot be done while a batch is visited, and is done behind it.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) truncated: Vec<Truncated>,
    /// Rows that are to be read again: the log lacks some of their values.
    pub(crate) incomplete: Vec<(TableName, Key)>,
    /// Windows whose high mark was decoded.
    pub(crate) closed: Vec<(u64, Event)>,
    /// Marks that somebody waits for.
    pub(crate) reached: Vec<(String, Position)>,
}

/// The visitor.
pub(crate) struct Encode<'w, K> {
    pub(crate) events: &'w mut EventWriter,
    pub(crate) windows: &'w mut Windows<K>,
    pub(crate) truncate: TruncateMode,
    /// Whether transactions' events are counted.
    pub(crate) counts: bool,
    pub(crate) noted: Noted,
}

impl<K: Chunk> ChangeVisitor for Encode<'_, K> {
    #[inline]
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        if matches!(change, Change::Truncate) {
            self.truncated(schema, origin)?;
            if self.windows.is_active() {
                self.windows.truncate(origin.transaction, &schema.name);
            }
            return Ok(());
        }
        if self.counts {
            self.events.count_event(schema, origin)?;
        }
        match self.events.change(schema, origin, &change) {
            Err(error) if self.events.is_dead_letter(&error) => {
                if !self.events.lesser(schema, origin, &change, &error)? {
                    // Its key is not known: the chunk that has the row must see this transaction.
                    self.windows.unknown(origin.transaction);
                    return Ok(());
                }
            }
            changed => changed?,
        }
        if self.windows.is_active() {
            let (key, old_key) = self.events.last_keys();
            self.windows.change(origin.transaction, schema, key, old_key);
        }
        Ok(())
    }

    fn incomplete(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        key: Vec<String>,
    ) -> Result<()> {
        if self.events.is_outbox(&schema.name) {
            // Read again it would be an event once more.
            tracing::warn!(table = %schema.name, "an update of an outbox is no event");
            return Ok(());
        }
        self.windows.incomplete(origin.transaction);
        self.noted.incomplete.push((schema.name.clone(), key));
        Ok(())
    }

    fn passed_over(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        operation: Operation,
    ) {
        let is_event = operation != Operation::Truncate || self.truncate == TruncateMode::Event;
        if self.counts && is_event {
            self.events.count_passed_over(schema, origin);
        }
    }

    fn commit(&mut self, origin: &Origin<'_>) -> Result<()> {
        if self.counts { self.events.end_transaction(origin) } else { Ok(()) }
    }

    fn message(&mut self, origin: &Origin<'_>, prefix: &str, content: &[u8]) -> Result<()> {
        if prefix != EMIT_PREFIX || !self.events.takes_emitted() {
            return self.events.message(origin, prefix, content);
        }
        match self.events.emitted(origin, content) {
            Err(error) if self.events.is_dead_letter(&error) => {
                self.events.emitted_letter(origin, content, &error)
            }
            written => written,
        }
    }

    fn mark(&mut self, origin: &Origin<'_>, mark: &str) -> Result<()> {
        match Mark::read(mark) {
            Some(Mark::Sync(name)) => self.noted.reached.push((name.to_owned(), origin.position)),
            Some(mark) => {
                if let Some((number, verdict)) = self.windows.mark(mark) {
                    let event = self.verdict(origin, verdict)?;
                    self.noted.closed.push((number, event));
                }
            }
            None => tracing::warn!(mark, "a mark in the log that this version does not know"),
        }
        Ok(())
    }
}

impl<K: Chunk> Encode<'_, K> {
    fn truncated(&mut self, schema: &Arc<TableSchema>, origin: &Origin<'_>) -> Result<()> {
        match self.truncate {
            // A topic that is opened by it has no rows yet.
            TruncateMode::Reconcile if self.events.go_over(schema)? => {}
            TruncateMode::Reconcile => self.noted.truncated.push(Truncated::new(schema, origin)),
            TruncateMode::Event => {
                if self.counts {
                    self.events.count_event(schema, origin)?;
                }
                self.events.truncate(schema, origin)?;
            }
            TruncateMode::Skip => {
                let (table, position) = (&schema.name, origin.position.to_string());
                tracing::warn!(%table, position, "a truncate is skipped: its topic keeps the rows");
            }
        }
        Ok(())
    }

    fn verdict(&mut self, origin: &Origin<'_>, verdict: Verdict<K>) -> Result<Event> {
        match verdict {
            Verdict::Again(again) => Ok(Event::Again(again)),
            Verdict::Emit(chunk, _) if self.events.is_closed(chunk.schema()) => {
                Ok(Event::Again(Again::Schema))
            }
            Verdict::Emit(chunk, touched) => {
                let schema = Arc::clone(chunk.schema());
                self.events.end_order();
                let mut rows =
                    Rows { events: self.events, schema: &schema, origin, touched: &touched };
                let before = rows.events.bytes();
                chunk.visit(&mut rows)?;
                let bytes = rows.events.bytes().saturating_sub(before);
                Ok(emitted(&chunk, bytes))
            }
        }
    }
}

/// Encodes a chunk's rows but for those that the log touched.
struct Rows<'w> {
    events: &'w mut EventWriter,
    schema: &'w Arc<TableSchema>,
    origin: &'w Origin<'w>,
    touched: &'w Touched,
}

impl RowVisitor for Rows<'_> {
    fn row<R: RowImage>(&mut self, row: &R) -> Result<()> {
        let touched = self.touched;
        let change = Change::Read { after: row };
        let skip = |key: &[u8]| touched.contains(key);
        match self.events.change_unless(self.schema, self.origin, &change, skip) {
            Err(error) if self.events.is_dead_letter(&error) => {
                self.events.dead_letter(self.schema, self.origin, &change, &error)
            }
            changed => changed,
        }
    }
}
