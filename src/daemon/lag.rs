//! How many records pipelines have before them, looked at now and then.

use std::collections::BTreeSet;
use std::time::Duration;
use tidemesh_model::Result;
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_processors::PipelineJob;
use tidemesh_transport::Transport;

/// How often it is looked.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// About how many records of its topics a pipeline has not answered for. On Kafka what ends a transaction
/// is counted too, since it takes an offset.
pub(super) async fn lag<T: Transport>(transport: &T, plan: &PipelinePlan) -> Result<u64> {
    let committed = transport.committed(&PipelineJob::id_of(plan.name())).await?;
    let topics: BTreeSet<&str> = plan.inputs.iter().map(|input| input.topic.as_str()).collect();
    let mut lag = 0_u64;
    for topic in topics {
        let info = transport.topic(topic).await?;
        for (place, partition) in (0..).zip(info.partitions) {
            let done = committed.get(&(topic.to_owned(), place)).copied().unwrap_or_default();
            lag = lag.saturating_add(partition.end.saturating_sub(done.max(partition.begin)));
        }
    }
    Ok(lag)
}
