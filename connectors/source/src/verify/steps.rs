//! Pipelines on the way to an output: whether they have taken all that their topics hold.

use super::StepBefore;
use super::ends::{Offsets, Stands, behind, behind_records, ends};
use super::run::Verifier;
use crate::Connector;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::Transport;

/// How often it is looked how far a pipeline has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a pipeline may stand still with records before it.
const STANDS_MAX: Duration = Duration::from_secs(60);

impl<C: Connector, T: Transport> Verifier<C, T> {
    /// Waits until a pipeline has taken all that is in its topics now.
    pub(super) async fn caught_up(&self, step: &StepBefore) -> Result<()> {
        let transport = self.transport.as_ref();
        let ends = ends(transport, &step.topics).await?;
        let committed = self.committed(step).await?;
        let wanted = behind_records(transport, &step.topics, committed, &ends).await?;
        let mut stands = Stands::new(STANDS_MAX);
        loop {
            let committed = self.committed(step).await?;
            if behind(&wanted, &committed) == 0 {
                return Ok(());
            }
            if stands.at(committed) {
                return Err(Error::new(ErrorKind::Unavailable, "wait for a pipeline")
                    .because("it does not come on")
                    .with("pipeline", &step.pipeline)
                    .help("see `tidemesh describe` of it"));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn committed(&self, step: &StepBefore) -> Result<Offsets> {
        let mut committed = self.transport.committed(&step.group).await?;
        committed.retain(|(topic, _), _| step.topics.contains(topic));
        Ok(committed)
    }
}
