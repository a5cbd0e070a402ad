//! Writes what the events of one batch become.

use super::RecordOut;
use super::changelog::{Effect, Row, effect};
use super::image::SourceWay;
use super::lane::{Buffers, Event, GONE, Lane, of_record, truncated};
use super::lookup::Found;
use super::output::Cell;
use super::write::Writer;
use std::collections::HashMap;
use tidemesh_model::{Error, ErrorKind, Operation, Result};
use tidemesh_plan::relation::Form;

/// Writes what one batch's events become.
pub(super) struct Emitter<'e> {
    pub(super) lane: &'e Lane,
    pub(super) bytes: &'e [u8],
    pub(super) writers: &'e [Writer<'e>],
    pub(super) found: &'e [Vec<Found<'e>>],
}

impl Emitter<'_> {
    /// Writes what an event becomes; `failed` are the rows whose evaluation failed, with why.
    pub(super) fn event(
        &self,
        event: &Event,
        failed: &mut HashMap<usize, Error>,
        buffers: &mut Buffers,
        out: &mut impl RecordOut,
    ) -> Result<()> {
        let before = event.image.before.as_ref().map(|before| before.0);
        let mut rows = before.into_iter().chain(event.image.after);
        if let Some(error) = rows.find_map(|row| failed.remove(&row)) {
            return out.failed(event.offset, error);
        }
        match self.written(event, buffers, out) {
            Err(error) if of_record(error.kind()) => out.failed(event.offset, error),
            answer => answer,
        }
    }

    fn written(
        &self,
        event: &Event,
        buffers: &mut Buffers,
        out: &mut impl RecordOut,
    ) -> Result<()> {
        let form = self.lane.relation.form;
        let after = event.image.after.map_or(Row::Unknown, |row| self.row(row));
        if form == Form::Event {
            let (Row::Passes, Some(row)) = (after, event.image.after) else { return Ok(()) };
            self.begin_value(event, None, &mut buffers.value);
            self.cells(row, &mut buffers.value)?;
            return self.record(
                event,
                event.key.clone().map(|key| &self.bytes[key]),
                Some(&buffers.value),
                out,
            );
        }
        let before = self.before(event)?;
        let Some(effect) = effect(event.image.operation, before, after) else {
            return Err(truncated());
        };
        if effect == Effect::Nothing {
            return Ok(());
        }
        self.key(event, &mut buffers.key)?;
        match effect {
            Effect::Nothing => Ok(()),
            Effect::Upsert { operation, before } => {
                let before = row_before(event, before);
                self.value(event, operation, before, event.image.after, &mut buffers.value)?;
                self.record(event, Some(&buffers.key), Some(&buffers.value), out)
            }
            Effect::Delete { before } => {
                if self.lane.layout.form == Form::Envelope {
                    let before = row_before(event, before);
                    self.value(event, Operation::Delete, before, None, &mut buffers.value)?;
                    self.record(event, Some(&buffers.key), Some(&buffers.value), out)?;
                }
                if self.lane.layout.changes {
                    return Ok(());
                }
                self.record(event, Some(&buffers.key), None, out)
            }
        }
    }

    fn row(&self, row: usize) -> Row {
        match self.lane.places[row] {
            GONE => Row::Fails,
            _ => Row::Passes,
        }
    }

    /// What is known of the row before.
    fn before(&self, event: &Event) -> Result<Row> {
        let (Some((row, range)), Some(writer)) = (&event.image.before, event.writer) else {
            return Ok(Row::Unknown);
        };
        let row = match self.lane.reached.get(*row) {
            None => self.row(*row),
            // What it found when it was written last, nobody knows any more.
            Some(true) => Row::Unknown,
            Some(false) => Row::Fails,
        };
        if row == Row::Fails && self.lane.readers[&writer].0.only_key(self.bytes, range)? {
            return Ok(Row::Unknown);
        }
        Ok(row)
    }

    fn record(
        &self,
        event: &Event,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        out: &mut impl RecordOut,
    ) -> Result<()> {
        let position = event.position.clone().map(|position| &self.bytes[position]);
        out.record(event.timestamp_ms, key, position, value)
    }

    /// The row's columns, as the output has them.
    fn cells(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let place = self.lane.places[row] as usize;
        for cell in &self.lane.layout.cells {
            match cell {
                Cell::Constant(bytes) => out.extend_from_slice(bytes),
                Cell::Copy { copy, wrap, null } => {
                    match self.lane.rows.copy(self.bytes, row, *copy) {
                        Some(bytes) => {
                            out.extend_from_slice(wrap.before());
                            out.extend_from_slice(bytes);
                        }
                        None => out.extend_from_slice(null),
                    }
                }
                Cell::Found { lookup, copy, wrap, null } => {
                    let rows = &self.lane.steps.joins[*lookup].rows;
                    let found = self.found[*lookup][row];
                    match found.and_then(|(place, bytes)| rows.copy(bytes, place, *copy)) {
                        Some(bytes) => {
                            out.extend_from_slice(wrap.before());
                            out.extend_from_slice(bytes);
                        }
                        None if null.is_empty() => return Err(no_null()),
                        None => out.extend_from_slice(null),
                    }
                }
                Cell::Column { writer } => self.writers[*writer].write(place, out)?,
            }
        }
        Ok(())
    }

    fn key(&self, event: &Event, out: &mut Vec<u8>) -> Result<()> {
        let lost = || {
            Error::new(ErrorKind::Unsupported, "read a record's key")
                .because("a record of a topic with a key has none")
        };
        let range = event.key.clone().ok_or_else(lost)?;
        begin(out, self.lane.layout.ids.key);
        self.lane.layout.key.write(&self.bytes[range], out)
    }

    fn value(
        &self,
        event: &Event,
        operation: Operation,
        before: Option<usize>,
        after: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.begin_value(event, Some(operation), out);
        match self.lane.layout.form {
            Form::Envelope => {
                for row in [before, after] {
                    match row {
                        None => out.push(0),
                        Some(row) => {
                            out.push(2);
                            self.cells(row, out)?;
                        }
                    }
                }
                if self.lane.layout.changes {
                    return Ok(());
                }
                self.source(event, operation, out)?;
                self.lane.layout.envelope_tail(operation, &event.image.clock, self.bytes, out);
            }
            Form::Flat | Form::State | Form::Event => {
                if let Some(row) = after {
                    self.cells(row, out)?;
                }
                if self.lane.layout.form == Form::Flat {
                    let position = event.position.clone().map(|position| &self.bytes[position]);
                    self.lane.layout.flat_tail(operation, event.timestamp_ms, position, out);
                }
            }
        }
        Ok(())
    }

    /// Begins a value: with its frame, or as a change that a processor is handed.
    fn begin_value(&self, event: &Event, operation: Option<Operation>, out: &mut Vec<u8>) {
        match self.lane.layout.changes {
            true => super::changes::begin(out, operation, event.offset),
            false => begin(out, self.lane.layout.ids.value),
        }
    }

    fn source(&self, event: &Event, operation: Operation, out: &mut Vec<u8>) -> Result<()> {
        let passed_on = event.image.source.clone().zip(event.writer);
        match (&self.lane.layout.own_source, passed_on) {
            (None, Some((source, writer))) => {
                match &self.lane.readers[&writer].1 {
                    SourceWay::Copy => out.extend_from_slice(&self.bytes[source]),
                    SourceWay::Resolve(resolve) => {
                        let datum = resolve.0.read(&self.bytes[source])?;
                        tidemesh_avro::datum::encode(&resolve.1, &datum, out)?;
                    }
                }
                Ok(())
            }
            // A tombstone whose delete compaction has taken away has no block to pass on.
            (None, None) => {
                out.extend_from_slice(&self.lane.layout.empty_source);
                Ok(())
            }
            (Some(encoder), _) => {
                let position = event.position.clone().map(|position| &self.bytes[position]);
                let origin = super::output::origin(event.timestamp_ms, position);
                encoder.write(&origin, operation == Operation::Read, out)
            }
        }
    }
}

/// The row before, by its place among the rows, if it is written.
fn row_before(event: &Event, written: bool) -> Option<usize> {
    event.image.before.as_ref().map(|before| before.0).filter(|_| written)
}

#[cold]
fn no_null() -> Error {
    Error::new(ErrorKind::Unsupported, "write a column")
        .because("no row was found, and the schema has no null there")
}

fn begin(out: &mut Vec<u8>, id: u32) {
    tidemesh_avro::envelope::begin_frame(out, id);
}
