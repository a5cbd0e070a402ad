//! What the source's database would say of a pipeline's outputs.

use crate::act::missing;
use crate::controller::Controller;
use crate::report::PipelineStatus;
use crate::state::Id;
use crate::topics::Registry;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::OutputPlan;
use tidemesh_plan::oracle::{Oracle, oracle};

/// An output of a pipeline, and what the database is to be asked for it.
#[derive(Debug)]
pub struct OutputOracle {
    /// The output.
    pub output: OutputPlan,
    /// The query; or why there is none.
    pub oracle: Result<Oracle>,
}

impl<R: Registry> Controller<R> {
    /// A pipeline's outputs, each with the query by which the database can confirm it.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such pipeline; `Unavailable` if it cannot be planned now.
    pub fn oracles(&self, pipeline: &str) -> Result<Vec<OutputOracle>> {
        let (state, planned) = (self.state(), self.planned());
        let id = Id::pipeline(pipeline);
        if state.document(&id).is_none() {
            return Err(missing(&id));
        }
        let mesh = planned.mesh()?;
        let plan = mesh.pipeline(pipeline).ok_or_else(|| stands(pipeline, "it has no plan now"))?;
        let documents = state.declared();
        let of = |output: &OutputPlan| {
            let found = oracle(mesh, &documents, plan, output);
            OutputOracle { output: output.clone(), oracle: found.and_then(|one| self.runs(one)) }
        };
        Ok(plan.outputs.iter().map(of).collect())
    }

    /// Whether all runs that stands on the way: what is held has not taken all that there is.
    fn runs(&self, oracle: Oracle) -> Result<Oracle> {
        let reports = self.pipelines();
        for step in &oracle.pipelines {
            let report = reports.iter().find(|report| report.name == step.pipeline);
            let state = report.map(|report| report.state);
            let moves = self.planned().moving.contains_key(&step.pipeline);
            match state {
                _ if moves => return Err(stands(&step.pipeline, "it goes over to another topic")),
                Some(
                    PipelineStatus::Running | PipelineStatus::Starting | PipelineStatus::Retrying,
                ) => {}
                Some(state) => return Err(stands(&step.pipeline, &format!("it is {state}"))),
                None => return Err(stands(&step.pipeline, "it is not there")),
            }
        }
        Ok(oracle)
    }
}

fn stands(pipeline: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "verify a pipeline")
        .because(why)
        .with("pipeline", pipeline)
        .help("`tidemesh describe` tells why; try again once it runs")
}
