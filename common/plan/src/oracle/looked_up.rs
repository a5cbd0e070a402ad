//! What of an output stands on rows that were looked up: a lookup's row that changes later writes nothing
//! anew, so there the database, which knows it as it is now, may rightly say something else.

use crate::lineage::{InputField, Via, lineage};
use crate::mesh::{OutputPlan, PipelinePlan};
use crate::query::{Query, Step};
use std::collections::BTreeSet;
use tidemesh_avro::name::avro_name;

/// What of an output was looked up when its rows were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// The columns, by their places.
    pub columns: BTreeSet<usize>,
    /// Whether it decides which rows there are, or by which key.
    pub rows: bool,
    /// The topics of the tables that were looked in.
    pub topics: BTreeSet<String>,
}

/// The same of an output, by what is known of each input of its pipeline.
pub(super) fn looked_up(plan: &PipelinePlan, output: &OutputPlan, inputs: &[LookedIn]) -> LookedUp {
    let of = lineage(&output.query, &plan.tables);
    let stands = |(field, _): &(InputField, Via)| {
        inputs.get(field.input).is_some_and(|input| input.has(&field.path))
    };
    let columns: BTreeSet<usize> = (0..)
        .zip(&of.columns)
        .filter(|(_, from)| from.iter().any(stands))
        .map(|(at, _)| at)
        .collect();
    let filtered = of.rows.iter().any(|row| row.1 == Via::Filter && stands(row));
    let keyed = output.schemas.key_columns.iter().any(|column| columns.contains(column));
    let branches = &output.query.branches;
    let inherited = |place: usize| inputs.get(place).is_some_and(|input| input.rows);
    let rows = filtered
        || keyed
        || requires(&output.query)
        || branches.iter().any(|branch| inherited(branch.input));
    let topics = inputs.iter().flat_map(|input| input.topics.iter().cloned());
    LookedUp { columns, rows, topics: topics.collect() }
}

/// Whether a row that finds nothing is left out.
fn requires(query: &Query) -> bool {
    let mut steps = query.branches.iter().flat_map(|branch| &branch.steps);
    steps.any(|step| matches!(step, Step::Lookup(lookup) if lookup.required))
}

/// What of an input's rows was looked up.
#[derive(Debug, Default)]
pub(super) struct LookedIn {
    /// The fields, by their names in Avro; none for all of them.
    fields: Option<BTreeSet<String>>,
    rows: bool,
    topics: BTreeSet<String>,
}

impl LookedIn {
    /// Of a table that a connector writes.
    pub(super) fn nothing() -> Self {
        Self { fields: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Of a lookup's table.
    pub(super) fn all(topic: &str) -> Self {
        Self { topics: BTreeSet::from([topic.to_owned()]), ..Self::default() }
    }

    /// Of what a pipeline writes.
    pub(super) fn of(output: &OutputPlan, found: LookedUp) -> Self {
        let columns = output.query.columns.iter().enumerate();
        let columns = columns.filter(|(place, _)| found.columns.contains(place));
        let fields = columns.map(|(_, column)| avro_name(&column.name).into_owned()).collect();
        Self { fields: Some(fields), rows: found.rows, topics: found.topics }
    }

    fn has(&self, path: &[String]) -> bool {
        let Some(fields) = &self.fields else { return true };
        path.first().is_some_and(|first| fields.contains(first))
    }
}
