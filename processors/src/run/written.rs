//! What a job writes: the chain of each output topic, where its records go, and the dead letters.

use crate::fused::{Chain, ChainPlan, Lookups, RecordOut};
use std::collections::BTreeMap;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_model::{Error, Result};
use tidemesh_plan::mesh::{OutputPlan, PipelinePlan};
use tidemesh_transport::{FetchedBatch, Outputs, POSITION_HEADER, partition_of};

/// The headers of a dead letter, beside the record's own key and value.
const DEAD_LETTER_HEADERS: [&str; 4] =
    ["tidemesh.error", "tidemesh.topic", "tidemesh.partition", "tidemesh.offset"];

/// The most bytes of the reasons that one dead letter carries.
const REASON_BYTES_MAX: usize = 8 * 1024;

/// The chain of an output topic.
///
/// # Errors
///
/// As [`Chain::new`].
pub(super) fn chain(
    plan: &PipelinePlan,
    output: &OutputPlan,
    ids: SchemaIds,
    lookups: &Lookups,
) -> Result<Chain> {
    Chain::new(ChainPlan {
        query: &output.query,
        inputs: &plan.tables,
        lookups,
        schemas: &output.schemas,
        ids,
        pipeline: plan.name(),
        topic: &output.topic,
    })
    .map_err(|error| error.with("output", &output.name))
}

/// One output topic at work.
#[derive(Debug)]
pub(super) struct Written {
    /// The sink's or tap's name.
    pub(super) name: String,
    pub(super) chain: Chain,
    pub(super) places: Places,
}

/// Where an output's records go among the partitions of the append.
#[derive(Debug)]
pub(super) struct Places {
    /// How many partitions the topic has.
    pub(super) partitions: u32,
    /// The first of them.
    pub(super) first: usize,
    /// Where a record without a key goes next.
    pub(super) next: u32,
}

impl Places {
    #[inline]
    fn of(&mut self, key: Option<&[u8]>) -> usize {
        let partition = match key {
            Some(key) => partition_of(key, self.partitions),
            None => {
                self.next = (self.next + 1) % self.partitions;
                self.next
            }
        };
        self.first + partition as usize
    }
}

/// Records of one batch that could not be processed.
#[derive(Debug)]
pub(super) struct Failures {
    /// Where dead letters go among the partitions of the append; none stops at the first.
    letters: Option<usize>,
    /// Of records before this offset letters were written by an earlier run.
    pub(super) answered: u64,
    /// Why, by offset.
    reasons: BTreeMap<u64, String>,
}

impl Failures {
    pub(super) fn new(letters: Option<usize>) -> Self {
        Self { letters, answered: 0, reasons: BTreeMap::new() }
    }

    /// They are kept, and not written.
    pub(super) fn kept() -> Self {
        Self::new(Some(usize::MAX))
    }

    /// Why, by offset.
    pub(super) fn into_reasons(self) -> BTreeMap<u64, String> {
        self.reasons
    }

    /// Is told of a record and what could not make something of it.
    ///
    /// # Errors
    ///
    /// The error, with its place, if there are no dead letters.
    #[cold]
    pub(super) fn failed(
        &mut self,
        batch: &FetchedBatch,
        offset: u64,
        error: Error,
        of: &str,
    ) -> Result<()> {
        let error = error.with("of", of);
        if self.letters.is_none() {
            return Err(error
                .with("topic", &batch.topic)
                .with("partition", batch.partition)
                .with("offset", offset));
        }
        if offset < self.answered {
            return Ok(());
        }
        let reasons = self.reasons.entry(offset).or_default();
        if reasons.len() < REASON_BYTES_MAX {
            let separator = if reasons.is_empty() { "" } else { "\n" };
            reasons.push_str(separator);
            reasons.push_str(&error.report());
        }
        Ok(())
    }

    /// Writes the batch's dead letters: each record once, with all that was told of it.
    ///
    /// # Errors
    ///
    /// As [`Outputs::push_with`].
    pub(super) fn write(&mut self, batch: &FetchedBatch, outputs: &mut Outputs) -> Result<()> {
        let Some(place) = self.letters.filter(|_| !self.reasons.is_empty()) else { return Ok(()) };
        for record in batch.iter() {
            let (offset, record) = record?;
            let Some(reason) = self.reasons.remove(&offset) else { continue };
            let values =
                [reason, batch.topic.to_string(), batch.partition.to_string(), offset.to_string()];
            let values = values.iter().map(String::as_bytes);
            let headers: Vec<(&str, &[u8])> = DEAD_LETTER_HEADERS.into_iter().zip(values).collect();
            let (key, value) = (record.key, record.value);
            outputs.push_with(place, record.timestamp_ms, key, value, &headers)?;
            outputs.counts.dead_letters += 1;
        }
        Ok(())
    }
}

/// Where a chain's records go.
pub(super) struct Out<'o> {
    pub(super) outputs: &'o mut Outputs,
    pub(super) places: &'o mut Places,
    pub(super) failures: &'o mut Failures,
    pub(super) batch: &'o FetchedBatch,
    /// The output.
    pub(super) name: &'o str,
}

impl RecordOut for Out<'_> {
    #[inline]
    fn record(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        position: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let place = self.places.of(key);
        let headers = position.map(|position| [(POSITION_HEADER, position)]);
        let headers = headers.as_ref().map_or(&[][..], |headers| &headers[..]);
        self.outputs.push_with(place, timestamp_ms, key, value, headers)
    }

    fn failed(&mut self, offset: u64, error: Error) -> Result<()> {
        self.failures.failed(self.batch, offset, error, self.name)
    }
}
