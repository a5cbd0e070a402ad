//! All that is between a pipeline's topics: its tables and chains, which know neither topics nor offsets.

use super::written::{Failures, Out, Written};
use crate::fused::{Chain, InputRecord, Lookups};
use crate::schemas::Schemas;
use crate::sdk::stage::{Failed, SCHEMA_ID, Stage};
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::query::Input;
use tidemesh_transport::{FetchedBatch, Outputs, POSITION_HEADER, RecordRef};

/// A pipeline's work, compiled.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) lookups: Lookups,
    /// Registered processors, each behind those whose tables it reads.
    pub(super) stages: Vec<Stage>,
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
        let knows = |place: &usize| {
            self.lookups.knows(*place, id) && self.chains().all(|chain| chain.knows(*place, id))
        };
        places.iter().all(knows)
    }

    /// Asks for a schema where it is not known; answers why values of it cannot be read, if so, or why
    /// `refuses` does not want them to be.
    ///
    /// # Errors
    ///
    /// What the registry answers; `Internal` for a plan that does not fit together.
    pub(super) async fn meet<S: Schemas>(
        &mut self,
        places: &[usize],
        id: u32,
        schemas: &S,
        refuses: impl Fn(&Schema) -> Option<Error>,
    ) -> Result<Option<Error>> {
        if self.knows(places, id) {
            return Ok(None);
        }
        let text = match schemas.schema(id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.learn_unknown(places, id);
                return Ok(None);
            }
            answer => answer?,
        };
        let schema = Schema::parse(&text);
        if let Some(refused) = schema.as_ref().ok().and_then(refuses) {
            return Ok(Some(refused));
        }
        match schema.and_then(|schema| self.learn(places, id, &schema)) {
            Err(error) if error.kind() == ErrorKind::Internal => Err(error),
            learnt => Ok(learnt.err()),
        }
    }

    /// Tells the schema behind an id of inputs' values.
    ///
    /// # Errors
    ///
    /// As [`Chain::learn`].
    pub(super) fn learn(&mut self, places: &[usize], id: u32, schema: &Schema) -> Result<()> {
        for place in places {
            self.lookups.learn(*place, id, schema)?;
            self.chains_mut().try_for_each(|chain| chain.learn(*place, id, schema))?;
        }
        Ok(())
    }

    /// Tells that the registry has no schema of this id.
    pub(super) fn learn_unknown(&mut self, places: &[usize], id: u32) {
        for place in places {
            self.lookups.learn_unknown(*place, id);
            self.chains_mut().for_each(|chain| chain.learn_unknown(*place, id));
        }
    }

    fn chains(&self) -> impl Iterator<Item = &Chain> {
        let of_stages = self.stages.iter().flat_map(Stage::chains);
        of_stages.chain(self.written.iter().map(|written| &written.chain))
    }

    fn chains_mut(&mut self) -> impl Iterator<Item = &mut Chain> {
        let of_stages = self.stages.iter_mut().flat_map(Stage::chains_mut);
        of_stages.chain(self.written.iter_mut().map(|written| &mut written.chain))
    }

    /// Tells what the tables of registered processors are written with.
    ///
    /// # Errors
    ///
    /// As [`Chain::learn`].
    pub(super) fn learn_tables(&mut self, tables: &[Input]) -> Result<()> {
        let stages: Vec<usize> = self.stages.iter().map(|stage| stage.table).collect();
        for table in stages {
            let schema = &tables[table].relation.value;
            self.chains_mut().try_for_each(|chain| chain.learn(table, SCHEMA_ID, schema))?;
        }
        Ok(())
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
    /// As [`Chain::process`] and [`Stage::process`].
    pub(super) fn process(
        &mut self,
        taken: Taken<'_>,
        places: &[usize],
        failures: &mut Failures,
        outputs: &mut Outputs,
    ) -> Result<()> {
        self.process_stages(taken, places, failures)?;
        let (batch, lookups) = (taken.batch, &self.lookups);
        for Written { name, chain, places: to } in &mut self.written {
            let mut out = Out { outputs, places: to, failures, batch, name };
            for place in places {
                // The iterator only borrows: it is made anew for each part of the query.
                chain.process(*place, &batch.bytes, taken.records(), lookups, &mut out)?;
            }
            for Stage { table, made, .. } in &self.stages {
                chain.process(*table, &made.bytes, made.records(), lookups, &mut out)?;
            }
        }
        Ok(())
    }

    /// Has the registered processors make their tables of the records.
    fn process_stages(
        &mut self,
        taken: Taken<'_>,
        places: &[usize],
        failures: &mut Failures,
    ) -> Result<()> {
        let (batch, lookups) = (taken.batch, &self.lookups);
        for at in 0..self.stages.len() {
            let (before, rest) = self.stages.split_at_mut(at);
            let Some(stage) = rest.first_mut() else { continue };
            let name = stage.name.clone();
            let mut failed = Told { failures, batch, name: &name };
            for place in places {
                stage.take(*place, &batch.bytes, taken.records(), lookups, &mut failed)?;
            }
            for Stage { table, made, .. } in before.iter() {
                stage.take(*table, &made.bytes, made.records(), lookups, &mut failed)?;
            }
            stage.process(&mut failed)?;
        }
        Ok(())
    }
}

/// Tells of a batch's records that a registered processor cannot process.
struct Told<'t> {
    failures: &'t mut Failures,
    batch: &'t FetchedBatch,
    /// The stage.
    name: &'t str,
}

impl Failed for Told<'_> {
    fn failed(&mut self, offset: u64, error: Error) -> Result<()> {
        self.failures.failed(self.batch, offset, error, self.name)
    }
}

fn input<'r>(offset: u64, record: &RecordRef<'r>) -> InputRecord<'r> {
    InputRecord {
        offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key,
        value: record.value,
        position: record.header(POSITION_HEADER),
        operation: None,
    }
}
