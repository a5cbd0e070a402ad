//! What a reader gives: batches of the records that have come.

use super::reader::{Context, Place};
use crate::{FetchedBatch, Records};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tidemesh_model::Result;

/// Batches under construction, one for each run of records of a partition.
pub(super) struct Gathering<'c> {
    consumer: &'c StreamConsumer<Context>,
    batches: Vec<FetchedBatch>,
    current: Option<(Place, u64, u64, Records)>,
    pub(super) bytes: usize,
}

impl<'c> Gathering<'c> {
    pub(super) fn new(consumer: &'c StreamConsumer<Context>) -> Self {
        Self { consumer, batches: Vec::new(), current: None, bytes: 0 }
    }

    pub(super) fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        let place = self.consumer.context().place(message.topic(), message.partition());
        let offset = u64::try_from(message.offset()).unwrap_or(0);
        let fits = |base: u64| offset >= base && offset - base <= u64::from(u32::MAX);
        if !self.current.as_ref().is_some_and(|(at, base, ..)| *at == place && fits(*base)) {
            self.close();
            let base = self.goes_on_from(&place).filter(|base| fits(*base)).unwrap_or(offset);
            self.current = Some((place, base, offset, Records::default()));
        }
        let Some((_, base, next, records)) = &mut self.current else { return Ok(()) };
        *next = offset + 1;
        let delta = u32::try_from(offset - *base).unwrap_or(u32::MAX);
        let mut headers = Vec::new();
        if let Some(found) = message.headers() {
            headers.extend(found.iter().map(|h| (h.key, h.value.unwrap_or_default())));
        }
        let before = records.len_bytes();
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
        records.push_at(delta, timestamp_ms, message.key(), &headers, message.payload())?;
        self.bytes += records.len_bytes() - before;
        Ok(())
    }

    /// The offset up to which the partition was read. What lies between it and the next record ended
    /// transactions, was aborted or compacted away, and is no gap: the library passes it alone, and stops
    /// where records are gone that retention took (`auto.offset.reset`).
    fn goes_on_from(&self, place: &Place) -> Option<u64> {
        self.consumer.context().positions().get(place).copied()
    }

    fn close(&mut self) {
        if let Some((place, base_offset, next_offset, records)) = self.current.take() {
            self.consumer.context().positions().insert(place.clone(), next_offset);
            self.batches.push(FetchedBatch {
                topic: place.0.into(),
                partition: place.1,
                base_offset,
                from_offset: base_offset,
                next_offset,
                bytes: records.into_bytes(),
            });
        }
    }

    pub(super) fn finish(mut self) -> Vec<FetchedBatch> {
        self.close();
        self.batches
    }
}
