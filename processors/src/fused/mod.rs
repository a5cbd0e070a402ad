//! A chain of SQL processors as one step: from the bytes of input records to those of output records.
//!
//! `image` reads what a record says; `row` goes through its rows once (`cursor`), remembers what is
//! passed on and puts what expressions read into columns (`cells`); `steps` filters and computes over
//! those columns, for which `lookup` finds rows of the tables it keeps; `changelog` decides what an event becomes, and `output` and `write` put that together.
//! A `lane` is one part of a UNION ALL with all of these, and `emit` what it writes; `changes` is the form
//! that registered processors are handed.
//!
//! Nothing is allocated for a record whose schema is the plan's: columns, spans and buffers are reused
//! or made once a batch.

mod cells;
mod changelog;
pub(crate) mod changes;
mod compile;
mod cursor;
mod emit;
mod image;
mod lane;
mod lookup;
mod output;
mod row;
mod steps;
mod write;

pub(crate) use changes::ChangeReader;
pub use lane::ROWS_MAX;
pub use lookup::{LOOKUP_BYTES_MAX, Lookups};

use compile::BranchPlan;
use lane::Lane;
use output::Layout;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, Operation, Result};
use tidemesh_plan::mesh::Edge;
use tidemesh_plan::output::OutputSchemas;
use tidemesh_plan::query::{Branch, Input, Query};

/// The most ids without a schema that are remembered: beyond them the registry is asked again.
const UNKNOWN_IDS_MAX: usize = 1024;

/// A record of an input topic; its parts stand in the bytes of its batch.
#[derive(Debug, Clone, Copy)]
pub struct InputRecord<'r> {
    /// Its offset, by which a failure is told.
    pub offset: u64,
    /// Its timestamp, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp_ms: i64,
    /// Its key, framed.
    pub key: Option<&'r [u8]>,
    /// Its value, framed; none is a tombstone.
    pub value: Option<&'r [u8]>,
    /// Its position in its source's log, if a header tells it.
    pub position: Option<&'r [u8]>,
    /// What it does, where something beside its bytes tells that.
    pub operation: Option<Operation>,
}

/// Takes what comes out.
pub trait RecordOut {
    /// Takes one record of the output topic.
    ///
    /// # Errors
    ///
    /// What it cannot take.
    fn record(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        position: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()>;

    /// Is told of an input record that cannot be processed, in the order of the records. Who goes on
    /// answers `Ok`: the record then has no output.
    ///
    /// # Errors
    ///
    /// The error itself, to stop.
    fn failed(&mut self, offset: u64, error: Error) -> Result<()>;
}

/// A chain of processors, compiled.
#[derive(Debug)]
pub struct Chain {
    /// The branches, each with its input's place.
    lanes: Vec<(usize, Lane)>,
}

/// What a chain is compiled from.
#[derive(Debug, Clone, Copy)]
pub struct ChainPlan<'p> {
    /// What it computes.
    pub query: &'p Query,
    /// The pipeline's inputs.
    pub inputs: &'p [Input],
    /// The tables that rows are looked up in: those of the pipeline.
    pub lookups: &'p Lookups,
    /// The schemas of its output.
    pub schemas: &'p OutputSchemas,
    /// Their ids.
    pub ids: SchemaIds,
    /// The pipeline's name.
    pub pipeline: &'p str,
    /// The output's topic.
    pub topic: &'p str,
}

impl Chain {
    /// Compiles a chain.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a lookup by values of another type than the key's; `Internal` if the schemas are not the query's.
    pub fn new(plan: ChainPlan<'_>) -> Result<Self> {
        let ChainPlan { query, inputs, lookups, schemas, ids, .. } = plan;
        Self::of_layout(query, inputs, lookups, |of| {
            Layout::new(of, schemas, ids, plan.pipeline, plan.topic)
        })
    }

    /// Compiles what hands rows to a registered processor, in the form that [`ChangeReader`] reads.
    pub(crate) fn changes(edge: &Edge, inputs: &[Input], lookups: &Lookups) -> Result<Self> {
        Self::of_layout(&edge.query, inputs, lookups, |of| Layout::changes(of, edge))
    }

    fn of_layout(
        query: &Query,
        inputs: &[Input],
        lookups: &Lookups,
        layout: impl Fn(BranchPlan<'_>) -> Result<Layout>,
    ) -> Result<Self> {
        let names: Vec<String> = query.columns.iter().map(|column| column.name.clone()).collect();
        let lane = |branch: &Branch| {
            let of = BranchPlan { branch, inputs, lookups, names: &names };
            Ok((branch.input, Lane::new(of, layout(of)?)?))
        };
        Ok(Self { lanes: query.branches.iter().map(lane).collect::<Result<_>>()? })
    }

    /// Whether values with this schema id can be read from an input already.
    #[must_use]
    pub fn knows(&self, input: usize, id: u32) -> bool {
        self.lanes.iter().filter(|(of, _)| *of == input).all(|(_, lane)| lane.knows(id))
    }

    /// Tells the schema behind an id of an input's values.
    ///
    /// # Errors
    ///
    /// `Incompatible` if such values cannot be read as the plan's; `Unsupported` for a decimal of
    /// another scale.
    pub fn learn(&mut self, input: usize, id: u32, schema: &Schema) -> Result<()> {
        let lanes = self.lanes.iter_mut().filter(|(of, _)| *of == input);
        lanes.map(|(_, lane)| lane).try_for_each(|lane| lane.learn(id, schema))
    }

    /// Tells that the registry has no schema of this id: records with it fail.
    pub fn learn_unknown(&mut self, input: usize, id: u32) {
        let lanes = self.lanes.iter_mut().filter(|(of, _)| *of == input);
        lanes.for_each(|(_, lane)| lane.learn_unknown(id));
    }

    /// Processes records of one partition of an input, in their order. `bytes` are what all of their
    /// parts stand in; the schemas of all values were told before. `lookups` are the tables that the
    /// chain was compiled for, as they are now.
    ///
    /// # Errors
    ///
    /// What `out` answers; `Internal` for a schema that was not told. Output of records before the one
    /// that failed may have been given.
    pub fn process<'r>(
        &mut self,
        input: usize,
        bytes: &[u8],
        records: impl Iterator<Item = Result<InputRecord<'r>>> + Clone,
        lookups: &Lookups,
        out: &mut impl RecordOut,
    ) -> Result<()> {
        for (_, lane) in self.lanes.iter_mut().filter(|(of, _)| *of == input) {
            for record in records.clone() {
                lane.take(bytes, &record?, lookups, out)?;
            }
            lane.flush(bytes, lookups, out)?;
        }
        Ok(())
    }
}
