//! Change events as Confluent-framed records: the envelope's encoder. One a topic and schema;
//! nothing is allocated for an event.

use crate::frame;
use crate::row::{KeyCells, RowPlan};
use crate::varint::{write_length, write_long};
use tidemesh_model::{
    BlockCell, Change, Error, ErrorKind, Operation, Origin, Result, RowImage, SourceBlock,
    TableSchema,
};

/// The ids that the registry gave a topic's schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of the key's schema.
    pub key: u32,
    /// Of the value's schema.
    pub value: u32,
}

/// Takes one encoded record: key, then value or none for a tombstone. Both are framed.
pub trait RecordSink {
    /// Adds a record.
    ///
    /// # Errors
    ///
    /// What the sink cannot take.
    fn record(&mut self, origin: &Origin<'_>, key: &[u8], value: Option<&[u8]>) -> Result<()>;
}

/// Encodes the events of one table for one topic.
#[derive(Debug, Clone)]
pub struct EnvelopeEncoder {
    rows: RowPlan,
    ids: SchemaIds,
    source: SourceEncoder,
}

/// Encodes the `source` block.
#[derive(Debug, Clone)]
pub struct SourceEncoder {
    /// `version`, `connector` and `name`, encoded.
    head: Vec<u8>,
    /// `db` and an absent `sequence`, encoded.
    database: Vec<u8>,
    /// `schema` and `table`, encoded.
    table: Vec<u8>,
    block_fields: usize,
}

/// An event's place among those of its transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionOrder {
    /// The transaction's id in the transaction topic.
    pub id: String,
    /// From 1, among all its events.
    pub total: u64,
    /// From 1, among its events of this table.
    pub of_table: u64,
}

/// Memory that encoders share and reuse. One a writer.
#[derive(Debug, Clone, Default)]
pub struct EncodeBuffers {
    pub(crate) value: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) old_key: Vec<u8>,
    pub(crate) cells: KeyCells,
    /// What stands in the `transaction` block of the events that follow; none leaves it null.
    pub order: Option<TransactionOrder>,
}

impl EncodeBuffers {
    /// The framed key of the event encoded last.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Says what the old key is, framed.
    pub fn set_old_key(&mut self, key: Vec<u8>) {
        self.old_key = key;
    }

    /// The framed key that the event encoded last took from its row; empty if its old key is not
    /// known. May equal the new one.
    #[must_use]
    pub fn old_key(&self) -> &[u8] {
        &self.old_key
    }
}

pub(crate) const NULL: u8 = 0;
pub(crate) const NOT_NULL: u8 = 2;
/// The first branch of `["string", "null"]`.
const FIRST: u8 = 0;

impl EnvelopeEncoder {
    /// The encoder of `table`'s events, whose rows are written by `rows`.
    #[must_use]
    pub fn new(rows: RowPlan, table: &TableSchema, block: &SourceBlock, ids: SchemaIds) -> Self {
        let name = &table.name;
        Self { rows, ids, source: SourceEncoder::new(block, &name.schema, &name.table) }
    }

    /// Encodes one event into the records it becomes: a delete is followed by its tombstone, a
    /// change of the key is a delete of the old and a create of the new. `now_us` is the
    /// connector's clock, in microseconds since 1970-01-01 00:00:00 UTC.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a new row with an absent cell; `Internal` for rows that do not fit the
    /// schema and for a truncate, which has no key: see [`EnvelopeEncoder::truncate`].
    #[inline]
    pub fn encode<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        change: &Change<R>,
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        buffers.old_key.clear();
        match change {
            Change::Read { after } => {
                self.upsert(origin, Operation::Read, None, after, now_us, buffers, sink)
            }
            Change::Create { after } => {
                self.upsert(origin, Operation::Create, None, after, now_us, buffers, sink)
            }
            Change::Update { before: None, after } => {
                self.upsert(origin, Operation::Update, None, after, now_us, buffers, sink)
            }
            Change::Update { before: Some(before), after } => {
                self.update(origin, before, after, now_us, buffers, sink)
            }
            Change::Delete { before } => self.delete(origin, before, now_us, buffers, sink),
            Change::Truncate => {
                Err(Error::new(ErrorKind::Internal, "encode an event")
                    .because("a truncate has no row"))
            }
        }
    }

    /// An event with a new row and no old one.
    #[expect(clippy::too_many_arguments, reason = "the parts of an event, passed on once")]
    fn upsert<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        operation: Operation,
        before: Option<&R>,
        after: &R,
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        let EncodeBuffers { value, key, cells, order, .. } = buffers;
        begin_frame(value, self.ids.value);
        match before {
            None => value.push(NULL),
            Some(before) => {
                value.push(NOT_NULL);
                self.rows.encode(before, true, value, cells)?;
            }
        }
        value.push(NOT_NULL);
        self.rows.encode(after, false, value, cells)?;
        begin_frame(key, self.ids.key);
        self.rows.write_key(value, cells, key);
        self.tail(origin, operation, now_us, order.as_ref(), value)?;
        sink.record(origin, key, Some(value))
    }

    fn update<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        before: &R,
        after: &R,
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        let EncodeBuffers { value, key, old_key, cells, order } = &mut *buffers;
        begin_frame(value, self.ids.value);
        value.push(NOT_NULL);
        self.rows.encode(before, true, value, cells)?;
        begin_frame(old_key, self.ids.key);
        self.rows.write_key(value, cells, old_key);
        value.push(NOT_NULL);
        self.rows.encode(after, false, value, cells)?;
        begin_frame(key, self.ids.key);
        self.rows.write_key(value, cells, key);
        if key == old_key {
            self.tail(origin, Operation::Update, now_us, order.as_ref(), value)?;
            return sink.record(origin, key, Some(value));
        }
        self.delete(origin, before, now_us, buffers, sink)?;
        self.upsert(origin, Operation::Create, None, after, now_us, buffers, sink)
    }

    fn delete<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        before: &R,
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        let EncodeBuffers { value, key, cells, order, .. } = buffers;
        begin_frame(value, self.ids.value);
        value.push(NOT_NULL);
        self.rows.encode(before, true, value, cells)?;
        begin_frame(key, self.ids.key);
        self.rows.write_key(value, cells, key);
        value.push(NULL);
        self.tail(origin, Operation::Delete, now_us, order.as_ref(), value)?;
        sink.record(origin, key, Some(value))?;
        sink.record(origin, key, None)
    }

    /// Encodes a delete of the row that has `key` (framed), of which nothing else is known: what a
    /// reconciled truncate writes for each live key.
    ///
    /// # Errors
    ///
    /// What `sink` answers, and `Internal` if the origin does not fit the source's block.
    pub fn truncate<S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        key: &[u8],
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        let value = &mut buffers.value;
        begin_frame(value, self.ids.value);
        value.extend_from_slice(&[NULL, NULL]);
        self.tail(origin, Operation::Delete, now_us, None, value)?;
        sink.record(origin, key, Some(value))?;
        sink.record(origin, key, None)
    }

    /// Encodes the event of a truncate, which is about no row and has no key; answers its value.
    ///
    /// # Errors
    ///
    /// `Internal` if the origin does not fit the source's block.
    pub fn truncate_event<'b>(
        &self,
        origin: &Origin<'_>,
        now_us: i64,
        buffers: &'b mut EncodeBuffers,
    ) -> Result<&'b [u8]> {
        let EncodeBuffers { value, order, .. } = buffers;
        begin_frame(value, self.ids.value);
        value.extend_from_slice(&[NULL, NULL]);
        self.tail(origin, Operation::Truncate, now_us, order.as_ref(), value)?;
        Ok(value)
    }

    /// `source`, `transaction`, `op` and the envelope's clock.
    fn tail(
        &self,
        origin: &Origin<'_>,
        operation: Operation,
        now_us: i64,
        order: Option<&TransactionOrder>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.source.write(origin, operation == Operation::Read, out)?;
        match order {
            None => out.push(NULL),
            Some(order) => {
                out.push(NOT_NULL);
                write_text(out, &order.id);
                write_long(out, order.total.cast_signed());
                write_long(out, order.of_table.cast_signed());
            }
        }
        write_text(out, operation.code());
        write_clock(out, now_us);
        Ok(())
    }
}

impl SourceEncoder {
    /// The encoder of blocks about this table; of what is about none, both names are empty.
    #[must_use]
    pub fn new(block: &SourceBlock, schema: &str, table: &str) -> Self {
        let texts = |texts: &[&str]| {
            let mut out = Vec::new();
            texts.iter().for_each(|text| write_text(&mut out, text));
            out
        };
        let database = if block.database.is_empty() { schema } else { &block.database };
        let mut database = texts(&[database]);
        database.push(NULL);
        Self {
            head: texts(&[env!("CARGO_PKG_VERSION"), block.connector, &block.name]),
            database,
            table: texts(&[schema, table]),
            block_fields: block.fields.len(),
        }
    }

    /// Appends a block.
    ///
    /// # Errors
    ///
    /// `Internal` if the origin does not fit the source's block.
    pub fn write(&self, origin: &Origin<'_>, of_snapshot: bool, out: &mut Vec<u8>) -> Result<()> {
        if origin.block.len() != self.block_fields {
            return Err(Error::new(ErrorKind::Internal, "encode an event")
                .because("the origin does not fit the source's block")
                .with("cells", origin.block.len())
                .with("fields", self.block_fields));
        }
        let at_us = origin.committed_at_us;
        out.extend_from_slice(&self.head);
        write_long(out, at_us.div_euclid(1000));
        out.push(FIRST);
        write_text(out, if of_snapshot { "incremental" } else { "false" });
        out.extend_from_slice(&self.database);
        out.push(NOT_NULL);
        write_long(out, at_us);
        out.push(NOT_NULL);
        write_long(out, at_us.saturating_mul(1000));
        out.extend_from_slice(&self.table);
        for cell in origin.block {
            write_block_cell(out, *cell);
        }
        let position = origin.position;
        write_some_long(out, i64::from(position.epoch));
        write_some_long(out, position.commit.cast_signed());
        write_some_long(out, position.ordinal.cast_signed());
        Ok(())
    }
}

fn write_block_cell(out: &mut Vec<u8>, cell: BlockCell<'_>) {
    match cell {
        BlockCell::Null => out.push(NULL),
        BlockCell::Long(value) => write_some_long(out, value),
        BlockCell::Text(text) => {
            out.push(NOT_NULL);
            write_text(out, text);
        }
    }
}

pub(crate) fn write_some_long(out: &mut Vec<u8>, value: i64) {
    out.push(NOT_NULL);
    write_long(out, value);
}

/// `ts_ms`, `ts_us`, `ts_ns` of the envelope.
fn write_clock(out: &mut Vec<u8>, now_us: i64) {
    write_some_long(out, now_us.div_euclid(1000));
    write_some_long(out, now_us);
    write_some_long(out, now_us.saturating_mul(1000));
}

pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes());
}

/// Appends a length and bytes.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Begins a record anew in Confluent's frame.
pub fn begin_frame(out: &mut Vec<u8>, id: u32) {
    out.clear();
    out.extend_from_slice(&frame::head(id));
}
