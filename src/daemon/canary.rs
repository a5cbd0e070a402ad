//! Tries plans for the controller, on the log's records.

use futures_util::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_controller::Canary;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_processors::PipelineJob;
use tidemesh_processors::sdk::Processors;
use tidemesh_transport::{RegistryClient, Transport};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a plan may be tried: several times what the reading of records takes at most.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Over a transport, with the processors of this binary.
pub(super) struct Canaries<T> {
    pub(super) transport: Arc<T>,
    pub(super) registry: RegistryClient,
    pub(super) processors: Processors,
}

impl<T: Transport> Canary for Canaries<T> {
    fn try_plan<'c>(
        &'c self,
        running: &'c PipelinePlan,
        next: &'c PipelinePlan,
        since: Instant,
    ) -> BoxFuture<'c, Result<Option<String>>> {
        async move {
            let job = |plan| PipelineJob::with_processors(plan, &self.processors);
            let (next, running) = match (job(next), job(running)) {
                (Ok(next), running) => (next, running.ok()),
                (Err(error), Ok(_)) => return Ok(Some(error.report())),
                // A worker's binary may have registered what this one has not.
                (Err(_), Err(_)) => return Ok(None),
            };
            let (transport, registry) = (Arc::clone(&self.transport), self.registry.clone());
            // A task of its own: what panics ends this try and nothing else.
            let mut trying = JoinSet::new();
            trying.spawn(async move {
                next.canary(running.as_ref(), transport.as_ref(), &registry, since).await
            });
            match tokio::time::timeout(TIME_MAX, trying.join_next()).await {
                Ok(Some(Ok(Err(error)))) if error.kind() == ErrorKind::Internal => {
                    Ok(Some(error.report()))
                }
                Ok(Some(Ok(tried))) => tried,
                Ok(Some(Err(error))) if error.is_panic() => Ok(Some(error.to_string())),
                Ok(_) => Err(Error::new(ErrorKind::Internal, "try a plan")),
                Err(_) => Ok(Some(format!("it came to no end within {} s", TIME_MAX.as_secs()))),
            }
        }
        .boxed()
    }
}
