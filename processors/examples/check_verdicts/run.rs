//! Chains really run: records of partitions in, records of the output out, each with the input record
//! that it came of.

use super::feed::{Record, key_partition};
use super::support::{Batch, Given, shown};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tidemesh_avro::datum::decode;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_processors::fused::{Chain, ChainPlan, LOOKUP_BYTES_MAX, Lookups};

/// The schemas of values by their ids.
pub(crate) type Schemas = BTreeMap<u32, Schema>;

/// How many partitions a topic has.
pub(crate) const PARTITIONS: usize = 3;

/// What came out: for each record the place of the input record that it came of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Out {
    pub(crate) records: Vec<(usize, Record)>,
}

/// Runs a pipeline's sink over what an input's topic holds; its values get the schema id `id`.
///
/// # Errors
///
/// Why it cannot: a schema that it cannot read, or a record.
pub(crate) fn run(
    plan: &PipelinePlan,
    input: &str,
    records: &[Record],
    schemas: &Schemas,
    id: u32,
) -> Result<Out, String> {
    let output = &plan.outputs[0];
    let lookups = Lookups::new(std::iter::once(&output.query), &plan.tables, LOOKUP_BYTES_MAX)
        .map_err(|error| error.report())?;
    let mut chain = Chain::new(ChainPlan {
        query: &output.query,
        inputs: &plan.tables,
        lookups: &lookups,
        schemas: &output.schemas,
        ids: SchemaIds { key: 1, value: id },
        pipeline: plan.name(),
        topic: &output.topic,
    })
    .map_err(|error| error.report())?;
    let place = plan.inputs.iter().position(|of| of.name == input).unwrap();
    learn(&mut chain, place, records, schemas)?;
    let mut out = Out::default();
    for partition in 0..PARTITIONS {
        for (at, record) in records.iter().enumerate() {
            if key_partition(at, record) == partition {
                one(&mut chain, place, &lookups, (at, record), &mut out)?;
            }
        }
    }
    out.records.sort_by_key(|(at, _)| *at);
    Ok(out)
}

fn learn(
    chain: &mut Chain,
    place: usize,
    records: &[Record],
    schemas: &Schemas,
) -> Result<(), String> {
    for record in records {
        let Some(value) = &record.value else { continue };
        let (id, _) = frame::split(value).unwrap();
        if !chain.knows(place, id) {
            chain.learn(place, id, &schemas[&id]).map_err(|error| error.report())?;
        }
    }
    Ok(())
}

fn one(
    chain: &mut Chain,
    place: usize,
    lookups: &Lookups,
    (at, record): (usize, &Record),
    out: &mut Out,
) -> Result<(), String> {
    let mut batch = Batch::default();
    batch.push(record.key.as_deref(), record.value.as_deref());
    let mut given = Given::default();
    chain
        .process(place, &batch.bytes, batch.records(), lookups, &mut given)
        .map_err(|error| error.report())?;
    if let Some((_, why)) = given.failures.first() {
        return Err(why.clone());
    }
    out.records.extend(given.records.into_iter().map(|(key, value)| (at, Record { key, value })));
    Ok(())
}

/// Records as JSON: key and value, without what tells of the source.
pub(crate) fn seen(
    records: &[Record],
    key: Option<&Schema>,
    schemas: &Schemas,
) -> Vec<(Json, Json)> {
    let of = |record: &Record| {
        let of_key = record.key.as_ref().zip(key).map(|(bytes, key)| {
            let (_, payload) = frame::split(bytes).unwrap();
            shown(&decode(key, payload).unwrap())
        });
        let value = record.value.as_ref().map(|bytes| {
            let (id, payload) = frame::split(bytes).unwrap();
            let mut value = shown(&decode(&schemas[&id], payload).unwrap());
            if let Some(object) = value.as_object_mut() {
                object.shift_remove("source");
            }
            value
        });
        (json!(of_key), json!(value))
    };
    records.iter().map(of).collect()
}
