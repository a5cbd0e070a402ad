//! A plan that is tried: it takes records, and what it makes of them goes nowhere.

use crate::run::PipelineJob;
use crate::run::flow::{Flow, Taken};
use crate::run::work::Takes;
use crate::run::written::{Failures, Places, Written, chain};
use crate::schemas::Schemas;
use std::collections::BTreeMap;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, Result};
use tidemesh_transport::{FetchedBatch, Outputs};

/// The ids of what is written: nobody reads it.
const IDS: SchemaIds = SchemaIds { key: 0, value: 0 };

/// A plan that is tried.
pub(super) struct Trial<'t> {
    pub(super) job: &'t PipelineJob,
    flow: Flow,
    outputs: Outputs,
}

/// On which records of a batch a plan fails.
#[derive(Default)]
pub(super) struct Failed {
    by_offset: BTreeMap<u64, String>,
    /// It fails on the batch.
    whole: Option<String>,
}

impl Failed {
    /// How it fails on a record, if it does.
    pub(super) fn at(&self, offset: u64) -> Option<&str> {
        self.by_offset.get(&offset).or(self.whole.as_ref()).map(String::as_str)
    }
}

impl<'t> Trial<'t> {
    /// # Errors
    ///
    /// Why it cannot be compiled.
    pub(super) fn new(job: &'t PipelineJob, record_bytes_max: usize) -> Result<Self> {
        let (mut flow, mut outputs) = (job.flow()?, Outputs::default());
        outputs.bound(record_bytes_max);
        for output in &job.plan.outputs {
            let chain = chain(&job.plan, output, IDS, &flow.lookups)?;
            let places = Places { partitions: 1, first: outputs.of(&output.topic, 1), next: 0 };
            flow.written.push(Written { name: output.name.clone(), chain, places });
        }
        flow.learn_tables(&job.plan.tables)?;
        Ok(Self { job, flow, outputs })
    }

    /// Asks for the schemas of a batch's values, read as those of `topic`. Answers the offset of the first
    /// record that cannot be read.
    ///
    /// # Errors
    ///
    /// What the registry answers.
    pub(super) async fn learn<S: Schemas>(
        &mut self,
        batch: &FetchedBatch,
        topic: &str,
        schemas: &S,
    ) -> Result<u64> {
        let places = self.places(topic);
        for record in batch.iter() {
            let (offset, record) = record?;
            let Some(Ok((id, _))) = record.value.map(frame::split) else { continue };
            if self.flow.meet(&places, id, schemas, |_| None).await?.is_some() {
                return Ok(offset);
            }
        }
        Ok(u64::MAX)
    }

    /// Tells the schema behind an id; answers whether its values can be read.
    pub(super) fn learn_as(&mut self, topic: &str, id: u32, schema: &Schema) -> bool {
        let places = self.places(topic);
        self.flow.knows(&places, id) || self.flow.learn(&places, id, schema).is_ok()
    }

    fn places(&self, topic: &str) -> Vec<usize> {
        let of = |takes| self.job.places_of(&self.flow.lookups, topic, takes);
        [of(Takes::Tables), of(Takes::Rows)].concat()
    }

    /// Takes a batch's records before `end`, read as those of `topic`.
    pub(super) fn take(&mut self, batch: &FetchedBatch, topic: &str, end: u64) -> Failed {
        let mut failures = Failures::kept();
        let taken = self.take_here(batch, topic, end, &mut failures);
        let (append, _) = self.outputs.finish();
        let records = append.batches.into_iter().map(|batch| batch.records);
        self.outputs.recycle(records.collect());
        Failed {
            by_offset: failures.into_reasons(),
            whole: taken.err().map(|error| error.report()),
        }
    }

    fn take_here(
        &mut self,
        batch: &FetchedBatch,
        topic: &str,
        end: u64,
        failures: &mut Failures,
    ) -> Result<(), Error> {
        let taken = Taken { batch, from: batch.from_offset.max(batch.base_offset), end };
        let tables = self.job.places_of(&self.flow.lookups, topic, Takes::Tables);
        self.flow.fill(taken, &tables, failures)?;
        let rows = self.job.places_of(&self.flow.lookups, topic, Takes::Rows);
        self.flow.process(taken, &rows, failures, &mut self.outputs)
    }
}
