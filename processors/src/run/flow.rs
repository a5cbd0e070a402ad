//! All that is between a pipeline's topics: its tables and chains, which know neither topics nor offsets.

use super::written::{Failures, Out, Written};
use crate::fused::{InputRecord, Lookups};
use tidemesh_avro::schema::Schema;
use tidemesh_model::Result;
use tidemesh_transport::{FetchedBatch, Outputs, POSITION_HEADER, RecordRef};

/// A pipeline's work, compiled.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) lookups: Lookups,
    pub(super) written: Vec<Written>,
}

/// The records of a batch between two offsets.
#[derive(Clone, Copy)]
pub(super) struct Taken<'t> {
    pub(super) batch: &'t FetchedBatch,
    pub(super) from: u64,
    pub(super) end: u64,
}

impl<'t> Taken<'t> {
    fn records(self) -> impl Iterator<Item = Result<InputRecord<'t>>> + Clone {
        let before = move |record: &Result<(u64, _)>| !matches!(record, Ok((offset, _)) if *offset >= self.end);
        let behind = move |record: &Result<(u64, _)>| !matches!(record, Ok((offset, _)) if *offset < self.from);
        let records = self.batch.iter().take_while(before).filter(behind);
        records.map(|record| record.map(|(offset, record)| input(offset, &record)))
    }
}

impl Flow {
    /// Whether values with this schema id can be read from inputs already.
    pub(super) fn knows(&self, places: &[usize], id: u32) -> bool {
        places.iter().all(|place| {
            let chains = self.written.iter().map(|written| &written.chain);
            self.lookups.knows(*place, id)
                && chains.into_iter().all(|chain| chain.knows(*place, id))
        })
    }

    /// Tells the schema behind an id of inputs' values.
    ///
    /// # Errors
    ///
    /// As [`crate::fused::Chain::learn`].
    pub(super) fn learn(&mut self, places: &[usize], id: u32, schema: &Schema) -> Result<()> {
        for place in places {
            self.lookups.learn(*place, id, schema)?;
            for written in &mut self.written {
                written.chain.learn(*place, id, schema)?;
            }
        }
        Ok(())
    }

    /// Tells that the registry has no schema of this id.
    pub(super) fn learn_unknown(&mut self, places: &[usize], id: u32) {
        for place in places {
            self.lookups.learn_unknown(*place, id);
            for written in &mut self.written {
                written.chain.learn_unknown(*place, id);
            }
        }
    }

    /// Changes the tables of lookups by their topics' records.
    ///
    /// # Errors
    ///
    /// As [`Lookups::take`] and [`Failures::failed`].
    pub(super) fn fill(
        &mut self,
        taken: Taken<'_>,
        places: &[usize],
        failures: &mut Failures,
    ) -> Result<()> {
        let batch = taken.batch;
        for place in places {
            let failed = |offset, error| failures.failed(batch, offset, error, "a lookup");
            let filled = self.lookups.take(*place, &batch.bytes, taken.records(), failed);
            filled.map_err(|error| {
                error.with("topic", &batch.topic).with("partition", batch.partition)
            })?;
        }
        Ok(())
    }

    /// Writes what records become.
    ///
    /// # Errors
    ///
    /// As [`crate::fused::Chain::process`].
    pub(super) fn process(
        &mut self,
        taken: Taken<'_>,
        places: &[usize],
        failures: &mut Failures,
        outputs: &mut Outputs,
    ) -> Result<()> {
        let (batch, lookups) = (taken.batch, &self.lookups);
        for Written { name, chain, places: to } in &mut self.written {
            let mut out = Out { outputs, places: to, failures, batch, name };
            for place in places {
                // The iterator only borrows: it is made anew for each part of the query.
                chain.process(*place, &batch.bytes, taken.records(), lookups, &mut out)?;
            }
        }
        Ok(())
    }
}

fn input<'r>(offset: u64, record: &RecordRef<'r>) -> InputRecord<'r> {
    InputRecord {
        offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        position: record.header(POSITION_HEADER),
    }
}
