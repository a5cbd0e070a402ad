//! An append under construction: the records of each partition, in buffers that are used again.

use crate::event_writer::POSITION_HEADER;
use crate::{Append, PartitionBatch, Records};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Origin, Result};

/// The most emptied buffers kept for use again.
const SPARE_BUFFERS_MAX: usize = 64;

/// The most bytes of memory that they hold together.
const SPARE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What was encoded into the append under construction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Change events.
    pub events: u64,
    /// Records: a delete is two.
    pub records: u64,
    /// Bytes of the records.
    pub bytes: u64,
    /// Rows that could not be encoded.
    pub dead_letters: u64,
}

/// One partition's records.
#[derive(Debug)]
struct Output {
    topic: Arc<str>,
    partition: u32,
    records: Records,
}

/// An append under construction: every partition's records, in buffers that are used again.
#[derive(Debug, Default)]
pub struct Outputs {
    partitions: Vec<Output>,
    spare: Vec<Records>,
    /// What was encoded since the last [`Outputs::finish`]; records and bytes are counted here.
    pub counts: Counts,
    /// The most bytes of a record's key and value; 0: no bound but the records' own.
    record_bytes_max: usize,
}

impl Outputs {
    /// What the transport takes of one record.
    pub fn bound(&mut self, record_bytes_max: usize) {
        self.record_bytes_max = record_bytes_max;
    }

    /// The place of a topic's first partition, which the others follow; made if they are missing.
    pub fn of(&mut self, topic: &str, partitions: u32) -> usize {
        if let Some(first) = self.partitions.iter().position(|output| *output.topic == *topic) {
            return first;
        }
        let first = self.partitions.len();
        let topic: Arc<str> = topic.into();
        self.partitions.extend((0..partitions).map(|partition| Output {
            topic: Arc::clone(&topic),
            partition,
            records: Records::default(),
        }));
        first
    }

    /// The same with how many there are: as many as at first, though the topic has got more meanwhile. What
    /// follows them is another topic's, and the records of a key stay in one partition.
    pub(super) fn as_at_first(&mut self, topic: &str, partitions: u32) -> (usize, u32) {
        let first = self.of(topic, partitions);
        let is_next = |(output, partition): &(&Output, u32)| {
            output.partition == *partition && *output.topic == *topic
        };
        let run = self.partitions[first..].iter().zip(0..partitions).take_while(is_next);
        (first, run.map(|(_, partition)| partition + 1).last().unwrap_or(partitions))
    }

    /// The places of all of a topic's partitions; made where they are missing.
    pub(super) fn places(&mut self, topic: &str, partitions: u32) -> Box<[usize]> {
        (0..partitions).map(|partition| self.place(topic, partition)).collect()
    }

    fn place(&mut self, topic: &str, partition: u32) -> usize {
        let is_it = |output: &Output| output.partition == partition && *output.topic == *topic;
        if let Some(place) = self.partitions.iter().position(is_it) {
            return place;
        }
        self.partitions.push(Output {
            topic: topic.into(),
            partition,
            records: Records::default(),
        });
        self.partitions.len() - 1
    }

    /// Adds a record of a source's event to the partition at `place`.
    #[inline]
    pub(super) fn push(
        &mut self,
        place: usize,
        origin: &Origin<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let position = origin.position.to_bytes();
        let timestamp_ms = origin.committed_at_us.div_euclid(1000);
        self.push_with(place, timestamp_ms, key, value, &[(POSITION_HEADER, &position)])
    }

    /// Adds a record with these headers to the partition at `place`.
    ///
    /// # Errors
    ///
    /// `TooLarge` past what the transport takes; as [`Records::push`].
    #[inline]
    pub fn push_with(
        &mut self,
        place: usize,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<()> {
        let mut bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if headers.len() > 1 {
            bytes += headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        }
        if bytes > self.record_bytes_max && self.record_bytes_max > 0 {
            return Err(self.too_large(place, bytes));
        }
        let records = &mut self.partitions[place].records;
        let before = records.len_bytes();
        records.push(timestamp_ms, key, headers, value)?;
        self.counts.records += 1;
        self.counts.bytes += (records.len_bytes() - before) as u64;
        Ok(())
    }

    #[cold]
    fn too_large(&self, place: usize, bytes: usize) -> Error {
        Error::new(ErrorKind::TooLarge, "encode an event")
            .because("the transport takes no record of this size")
            .with("topic", &self.partitions[place].topic)
            .with("bytes", bytes)
            .with("record_bytes_max", self.record_bytes_max)
            .help(
                "raise kafka.record_bytes_max and the topic's max.message.bytes, or name a \
                 dead_letter_topic",
            )
    }

    /// Ends the append.
    pub fn finish(&mut self) -> (Append, Counts) {
        let mut batches = Vec::with_capacity(self.partitions.len().min(16));
        for output in &mut self.partitions {
            if output.records.is_empty() {
                continue;
            }
            let empty = self.spare.pop().unwrap_or_default();
            batches.push(PartitionBatch {
                topic: Arc::clone(&output.topic),
                partition: output.partition,
                records: std::mem::replace(&mut output.records, empty),
            });
        }
        (Append { batches, ..Append::default() }, std::mem::take(&mut self.counts))
    }

    /// Takes back the buffers of an append that was answered.
    pub fn recycle(&mut self, records: Vec<Records>) {
        let mut held: usize = self.spare.iter().map(Records::capacity_bytes).sum();
        for mut records in records {
            held += records.capacity_bytes();
            if self.spare.len() < SPARE_BUFFERS_MAX && held <= SPARE_BYTES_MAX {
                records.clear();
                self.spare.push(records);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_a_topic_gets_meanwhile_are_never_those_of_another() {
        let mut outputs = Outputs::default();
        assert_eq!(outputs.as_at_first("a", 2), (0, 2));
        assert_eq!(outputs.as_at_first("b", 2), (2, 2));
        assert_eq!(outputs.as_at_first("a", 3), (0, 2));
        assert_eq!(*outputs.places("a", 3), [0, 1, 4]);
        assert_eq!(*outputs.places("b", 2), [2, 3]);
        assert_eq!(outputs.as_at_first("a", 3), (0, 2));
    }
}
