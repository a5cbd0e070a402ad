//! Rows that cannot be encoded: what can still be told of them, and the dead letters.

use super::EventWriter;
use std::sync::Arc;
use tidemesh_avro::side::{DeadLetter, SideKind, row_shown};
use tidemesh_model::{Change, Error, ErrorKind, Origin, Result, RowImage, TableName, TableSchema};

impl EventWriter {
    /// Whether an error is of one row alone, which goes to the dead letters then.
    #[must_use]
    pub fn is_dead_letter(&self, error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::TooLarge)
            && self.has_side(SideKind::DeadLetter)
    }

    /// Writes what can be told of an event that could not be encoded for `error`: where it is too large
    /// with its old row, the same without that, so that the topic's state is right; else a dead letter.
    /// Whether [`EventWriter::last_keys`] are the event's.
    ///
    /// # Errors
    ///
    /// As [`EventWriter::dead_letter`] and [`EventWriter::change`].
    pub fn lesser<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: &Change<R>,
        error: &Error,
    ) -> Result<bool> {
        if error.kind() != ErrorKind::TooLarge || self.is_outbox(&schema.name) {
            self.dead_letter(schema, origin, change, error)?;
            return Ok(false);
        }
        let (key, old_key) = self.last_keys();
        let (key, old_key) = (key.to_vec(), old_key.to_vec());
        match change {
            Change::Delete { .. } => self.delete_key(schema, origin, &key)?,
            Change::Update { before: Some(_), after } if !self.is_partly_written => {
                let alone = Change::Update { before: None, after };
                match self.change(schema, origin, &alone) {
                    Err(error) if self.is_dead_letter(&error) => {
                        self.dead_letter(schema, origin, change, &error)?;
                    }
                    changed => changed?,
                }
                if self.buffers.key() != old_key {
                    self.delete_key(schema, origin, &old_key)?;
                }
                self.buffers.set_old_key(old_key);
            }
            _ => self.dead_letter(schema, origin, change, error)?,
        }
        Ok(true)
    }

    /// Writes that an event could not be encoded, and why.
    ///
    /// # Errors
    ///
    /// `TooLarge` if even that record cannot be.
    pub fn dead_letter<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: &Change<R>,
        error: &Error,
    ) -> Result<()> {
        let row = match change {
            Change::Read { after } | Change::Create { after } | Change::Update { after, .. } => {
                row_shown(schema, after)
            }
            Change::Delete { before } => row_shown(schema, before),
            Change::Truncate => String::new(),
        };
        self.letter(origin, &schema.name, change.operation().code(), error, &row)
    }

    /// Writes a dead letter.
    pub(super) fn letter(
        &mut self,
        origin: &Origin<'_>,
        table: &TableName,
        op: &str,
        error: &Error,
        row: &str,
    ) -> Result<()> {
        let (source, reason) = (self.block.name.clone(), error.report());
        tracing::warn!(%table, position = %origin.position, reason, "a row goes to the dead letters");
        let letter = DeadLetter {
            source: &source,
            table,
            op,
            position: origin.position,
            at_us: origin.committed_at_us,
            reason: &reason,
            row,
        };
        self.side(SideKind::DeadLetter, origin, |record, ids, _, _| {
            record.dead_letter(ids, &letter);
        })?;
        self.outputs.counts.dead_letters += 1;
        Ok(())
    }
}
