//! Verification of pipelines: the controller says what the database would have to say, and the source
//! whose tables they are asks it.

use super::control::{Control, refused};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidemesh_controller::{Controller, OutputOracle, Registry};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::OutputPlan;
use tidemesh_plan::oracle::{OnTheWay, Oracle, SqlPart};
use tidemesh_plan::relation::Form;
use tidemesh_processors::PipelineJob;
use tidemesh_source::{
    Comparison, LookedUp, OutputRequest, OutputVerdict, QueryPart, RecordForm, SourceHandle,
    StepBefore,
};

/// What is asked of a pipeline.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VerifyPipeline {
    /// Only the output of this name; none verifies all of them.
    pub(crate) output: Option<String>,
    /// List every difference.
    pub(crate) all: bool,
}

/// Verifies a pipeline's outputs, one after the other.
pub(super) async fn verify_pipeline(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Json(request): Json<VerifyPipeline>,
) -> Response {
    match control.verify_pipeline(&name, &request).await {
        Ok(verdicts) => Json(verdicts).into_response(),
        Err(error) => refused(&error),
    }
}

impl Control {
    async fn verify_pipeline(
        &self,
        name: &str,
        request: &VerifyPipeline,
    ) -> Result<Vec<OutputVerdict>> {
        let controller = self.controller.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "verify a pipeline")
                .because("no controller runs here")
                .help("ask the daemon that runs pipelines")
        })?;
        let mut outputs = controller.oracles(name)?;
        if let Some(wanted) = &request.output {
            outputs.retain(|one| one.output.name == *wanted);
            if outputs.is_empty() {
                return Err(Error::new(ErrorKind::NotFound, "verify a pipeline")
                    .because("it has no such output")
                    .with("output", wanted)
                    .help("`tidemesh describe` of it lists them"));
            }
        }
        let mut verdicts = Vec::new();
        for OutputOracle { output, oracle } in outputs {
            let verdict = match oracle {
                Ok(oracle) => {
                    let verdict = self.verify_output(name, &output, &oracle, request.all).await;
                    verdict.and_then(|found| as_planned(controller, name, &output, &oracle, found))
                }
                Err(error) => Err(error),
            };
            verdicts.push(verdict.unwrap_or_else(|error| unknown(name, &output, &error)));
        }
        Ok(verdicts)
    }

    async fn verify_output(
        &self,
        pipeline: &str,
        output: &OutputPlan,
        oracle: &Oracle,
        all: bool,
    ) -> Result<OutputVerdict> {
        let source = self.source_of(oracle)?;
        source.verifier.verify_output(asked(pipeline, output, oracle, all)?).await
    }

    /// The source whose tables a query reads.
    fn source_of(&self, oracle: &Oracle) -> Result<SourceHandle> {
        let tables = oracle.tables();
        let writes = |source: &SourceHandle, topic: &str| {
            let rest = topic.strip_prefix(source.status.name());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let sources = self.sources.handles().into_iter().map(|(_, source)| source);
        let all_of = |source: &SourceHandle| tables.iter().all(|topic| writes(source, topic));
        // Another source's name may go on where one ends.
        let longest = sources.filter(all_of).max_by_key(|source| source.status.name().len());
        longest.ok_or_else(|| {
            let tables: Vec<&str> = tables.into_iter().collect();
            Error::new(ErrorKind::Unsupported, "verify a pipeline")
                .because("what it comes from is not all in one source that runs here")
                .with("topics", tables.join(", "))
                .help(
                    "ask the daemon that runs the source; topics of applications have no database",
                )
        })
    }
}

/// What was found, if what was asked is still what is planned, and runs.
fn as_planned<R: Registry>(
    controller: &Controller<R>,
    pipeline: &str,
    output: &OutputPlan,
    oracle: &Oracle,
    found: OutputVerdict,
) -> Result<OutputVerdict> {
    let outputs = controller.oracles(pipeline)?;
    let same = |now: &OutputOracle| {
        let (now, then) = (&now.output, output);
        (&now.name, &now.topic, &now.schemas.value)
            == (&then.name, &then.topic, &then.schemas.value)
    };
    match outputs.into_iter().find(same).map(|now| now.oracle).transpose()? {
        Some(now) if now == *oracle => Ok(found),
        _ => Err(Error::new(ErrorKind::Unavailable, "verify a pipeline")
            .because("what it is planned to do changed meanwhile")
            .help("try again")),
    }
}

fn asked(pipeline: &str, output: &OutputPlan, oracle: &Oracle, all: bool) -> Result<OutputRequest> {
    let part = |part: &SqlPart| match part {
        SqlPart::Text(text) => QueryPart::Text(text.clone()),
        SqlPart::Table(topic) => QueryPart::Table(topic.clone()),
    };
    let step = |OnTheWay { pipeline, topics }: &OnTheWay| StepBefore {
        pipeline: pipeline.clone(),
        group: PipelineJob::id_of(pipeline),
        topics: topics.iter().cloned().collect(),
    };
    let form = match output.schemas.form {
        Form::Envelope => RecordForm::Envelope,
        Form::Flat => RecordForm::Flat,
        Form::State => RecordForm::State,
        Form::Event => {
            return Err(Error::new(ErrorKind::Unsupported, "verify a pipeline")
                .because("its rows are events, which no table holds"));
        }
    };
    Ok(OutputRequest {
        pipeline: pipeline.to_owned(),
        output: output.name.clone(),
        topic: output.topic.clone(),
        form,
        value: output.schemas.value.clone(),
        columns: output.query.columns.iter().map(|column| column.name.clone()).collect(),
        key_columns: output.schemas.key_columns.clone(),
        query: oracle.sql.iter().map(part).collect(),
        steps: oracle.pipelines.iter().map(step).collect(),
        looked_up: LookedUp {
            columns: oracle.looked_up.columns.clone(),
            rows: oracle.looked_up.rows,
            topics: oracle.looked_up.topics.clone(),
        },
        all,
    })
}

fn unknown(pipeline: &str, output: &OutputPlan, error: &Error) -> OutputVerdict {
    OutputVerdict {
        pipeline: pipeline.to_owned(),
        output: output.name.clone(),
        topic: output.topic.clone(),
        found: Comparison::unknown(error.report()),
    }
}
