//! What a processor makes of a batch.

use super::{Record, Row, RowWriter};
use std::collections::BTreeMap;
use std::ops::Range;
use tidemesh_model::{Error, ErrorKind, Operation, Result};

/// The most bytes that a processor makes of what one append of its job answers for, which is about 4 MiB
/// of input.
pub const OUTPUT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Takes what is made of a batch. Each row belongs to the record that it is made of: it has its
/// timestamp, and if the record fails, all that was made of it is dropped.
#[derive(Debug)]
pub struct Output<'o> {
    writer: &'o RowWriter,
    /// The most bytes that it takes.
    room: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) emitted: Vec<Emitted>,
    /// Records that failed, by their places.
    pub(crate) failed: BTreeMap<usize, Error>,
}

/// A record that was made.
#[derive(Debug, Clone)]
pub(crate) struct Emitted {
    /// The place of the record that it is made of.
    pub(crate) of: usize,
    /// None for an event.
    pub(crate) operation: Option<Operation>,
    pub(crate) key: Option<Range<usize>>,
    /// None for a delete.
    pub(crate) value: Option<Range<usize>>,
}

impl<'o> Output<'o> {
    pub(crate) fn new(writer: &'o RowWriter, room: usize) -> Self {
        Self { writer, room, bytes: Vec::new(), emitted: Vec::new(), failed: BTreeMap::new() }
    }

    /// An event: a row of an output without a key.
    pub fn event(&mut self, of: &Record, row: Row) {
        let emitted = match &self.writer.key {
            None => self.row(None, row, None),
            Some(_) => Err(Error::new(ErrorKind::Unsupported, "write a processor's output")
                .because("its output has a key, and so is no event")
                .help("write an upsert")),
        };
        self.emit(of, emitted);
    }

    /// A row that was not there before.
    pub fn create(&mut self, of: &Record, row: Row) {
        let emitted = self.keyed(Operation::Create, row);
        self.emit(of, emitted);
    }

    /// A row that may have been there before as another.
    pub fn upsert(&mut self, of: &Record, row: Row) {
        let emitted = self.keyed(Operation::Update, row);
        self.emit(of, emitted);
    }

    /// No row of this key is there any more; there may have been none. Other fields than the key's are
    /// passed over.
    pub fn delete(&mut self, of: &Record, key: Row) {
        let emitted = self.key(&key).map(|key| Emitted {
            of: 0,
            operation: Some(Operation::Delete),
            key: Some(key),
            value: None,
        });
        self.emit(of, emitted);
    }

    /// The record cannot be processed: what becomes of it the pipeline's `on_error` says. The first error
    /// of a record counts. An error is written to logs and headers: it tells no values.
    pub fn fail(&mut self, of: &Record, error: Error) {
        self.failed.entry(of.place).or_insert(error);
    }

    fn keyed(&mut self, operation: Operation, row: Row) -> Result<Emitted> {
        let key = self.key(&row)?;
        self.row(Some(operation), row, Some(key))
    }

    fn key(&mut self, row: &Row) -> Result<Range<usize>> {
        let start = self.bytes.len();
        self.writer.write_key(row, &mut self.bytes)?;
        self.within(start)
    }

    fn row(
        &mut self,
        operation: Option<Operation>,
        row: Row,
        key: Option<Range<usize>>,
    ) -> Result<Emitted> {
        let start = self.bytes.len();
        self.writer.write_value(row, &mut self.bytes)?;
        Ok(Emitted { of: 0, operation, key, value: Some(self.within(start)?) })
    }

    /// What was written from `start` on, if there is room for it.
    fn within(&mut self, start: usize) -> Result<Range<usize>> {
        if self.bytes.len() > self.room {
            self.bytes.truncate(start);
            return Err(Error::new(ErrorKind::TooLarge, "write a processor's output")
                .because("more is made of the records of one append than is allowed")
                .with("output_bytes_max", OUTPUT_BYTES_MAX)
                .help("make less of a record, or filter the rows that the processor is handed"));
        }
        Ok(start..self.bytes.len())
    }

    fn emit(&mut self, of: &Record, emitted: Result<Emitted>) {
        match emitted {
            Ok(emitted) => self.emitted.push(Emitted { of: of.place, ..emitted }),
            Err(error) => self.fail(of, error),
        }
    }
}
