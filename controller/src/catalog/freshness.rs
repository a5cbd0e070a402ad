//! How far topics are behind the databases that their rows come from.

use super::Catalog;
use crate::controller::now_ms;
use std::collections::BTreeMap;
use tidemesh_plan::mesh::MeshPlan;
use tidemesh_transport::Announced;

/// In milliseconds, by topic; what is not in it is not known. All that is older is in the topic.
pub(super) type Freshness = BTreeMap<String, u64>;

/// Of tables as far as their logs were read, and of outputs as far as the topics that they are made of, and
/// behind those as far as their pipelines: at the most, since a pipeline may have caught up meanwhile.
///
/// `lag_ms` is how far each pipeline is behind what it reads. Plans stand in order, so that whoever writes a
/// topic comes before who reads it.
pub(super) fn freshness(
    announced: &BTreeMap<String, Announced>,
    mesh: Option<&MeshPlan>,
    lag_ms: &BTreeMap<String, u64>,
) -> Freshness {
    let tables = announced.values().filter(|table| table.read_to_ms > 0);
    let age = |table: &Announced| now_ms().saturating_sub(table.read_to_ms);
    let mut known: Freshness = tables.map(|table| (table.topic.clone(), age(table))).collect();
    for plan in mesh.into_iter().flat_map(|mesh| &mesh.pipelines) {
        let Some(lag_ms) = lag_ms.get(plan.name()) else { continue };
        let inputs = plan.inputs.iter().map(|input| known.get(&input.topic).copied());
        let Some(of_inputs) = inputs.collect::<Option<Vec<u64>>>() else { continue };
        let behind = lag_ms.saturating_add(of_inputs.into_iter().max().unwrap_or_default());
        known.extend(plan.outputs.iter().map(|output| (output.topic.clone(), behind)));
    }
    known
}

impl Catalog {
    /// How far a topic is behind, if that is known.
    pub(super) fn freshness_ms(&self, topic: &str) -> Option<u64> {
        self.freshness.get(topic).copied()
    }
}
