//! What whoever runs a plan asks of it, when it meets a record, or a topic, that is newer than the plan.

use super::carry::{Missing, lost};
use super::generations;
use crate::mesh::PipelinePlan;
use crate::relation::Relation;
use tidemesh_avro::schema::Schema;

/// Why a plan cannot take records of a schema that is newer than the one with which it was planned; none
/// if it can. Of a field that is gone Avro's resolution would make the default, silently.
///
/// `input` is the input's place in the plan. Of an older schema nothing is lost: its records were
/// written before there was such a field.
#[must_use]
pub fn loses(plan: &PipelinePlan, input: usize, value: &Schema) -> Option<String> {
    let (input, table) = (plan.inputs.get(input)?, plan.tables.get(input)?);
    // A topic's key is one type for ever.
    let written = match Relation::of_topic(table.relation.key.clone(), value.clone()) {
        Ok(written) => written,
        Err(why) => return Some(why),
    };
    let lost = lost(&table.relation, &input.reads, &written, Missing::Lost).into_iter().next()?;
    let names = [&input.name].into_iter().chain(&lost.path).map(String::as_str);
    Some(format!("{} {}", names.collect::<Vec<_>>().join("."), lost.loss))
}

/// The topic that a table would go on in behind this one.
#[must_use]
pub fn next(topic: &str) -> String {
    generations::name_of_next(topic)
}

/// The topic that a table was in before this one; none for its first.
#[must_use]
pub fn former(topic: &str) -> Option<String> {
    generations::name_before(topic)
}
