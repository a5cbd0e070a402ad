//! The encoder of a source's events in the form that it asks for.

use crate::envelope::{EncodeBuffers, EnvelopeEncoder, RecordSink, SchemaIds};
use crate::flat::FlatEncoder;
use crate::row::RowPlan;
use tidemesh_model::{
    Change, EnvelopeForm, Error, ErrorKind, Origin, Result, RowImage, SourceBlock, TableSchema,
};

/// Encodes the events of one table for one topic.
#[derive(Debug, Clone)]
pub enum EventEncoder {
    /// With Debezium's envelope.
    Envelope(EnvelopeEncoder),
    /// As the row alone.
    Flat(FlatEncoder),
}

impl EventEncoder {
    /// The encoder of `table`'s events, whose rows are written by `rows`.
    #[must_use]
    pub fn new(
        form: EnvelopeForm,
        rows: RowPlan,
        table: &TableSchema,
        block: &SourceBlock,
        ids: SchemaIds,
    ) -> Self {
        match form {
            EnvelopeForm::Debezium => Self::Envelope(EnvelopeEncoder::new(rows, table, block, ids)),
            EnvelopeForm::Flat => Self::Flat(FlatEncoder::new(rows, ids)),
        }
    }

    /// Encodes one event into the records it becomes. `now_us` is the connector's clock, in
    /// microseconds since 1970-01-01 00:00:00 UTC.
    ///
    /// # Errors
    ///
    /// As [`EnvelopeEncoder::encode`] and [`FlatEncoder::encode`].
    #[inline]
    pub fn encode<R: RowImage, S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        change: &Change<R>,
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        match self {
            Self::Envelope(encoder) => encoder.encode(origin, change, now_us, buffers, sink),
            Self::Flat(encoder) => encoder.encode(origin, change, buffers, sink),
        }
    }

    /// Encodes the delete of the row that has `key` (framed), of which nothing else is known.
    ///
    /// # Errors
    ///
    /// As [`EnvelopeEncoder::truncate`] and [`FlatEncoder::delete_key`].
    pub fn delete_key<S: RecordSink>(
        &self,
        origin: &Origin<'_>,
        key: &[u8],
        now_us: i64,
        buffers: &mut EncodeBuffers,
        sink: &mut S,
    ) -> Result<()> {
        match self {
            Self::Envelope(encoder) => encoder.truncate(origin, key, now_us, buffers, sink),
            Self::Flat(encoder) => encoder.delete_key(origin, key, sink),
        }
    }

    /// Encodes the event of a truncate, which has no key; answers its value.
    ///
    /// # Errors
    ///
    /// `Config` for flat records, which have no form for it; as [`EnvelopeEncoder::truncate_event`].
    pub fn truncate_event<'b>(
        &self,
        origin: &Origin<'_>,
        now_us: i64,
        buffers: &'b mut EncodeBuffers,
    ) -> Result<&'b [u8]> {
        match self {
            Self::Envelope(encoder) => encoder.truncate_event(origin, now_us, buffers),
            Self::Flat(_) => Err(Error::new(ErrorKind::Config, "encode a truncate")
                .because("flat records have no form for it")
                .help("set truncate = \"reconcile\", or envelope = \"debezium\"")),
        }
    }
}
