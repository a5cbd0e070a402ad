//! Verification of pipelines: the controller says what the database would have to say, and the source
//! whose tables they are asks it.

use super::control::{Control, refused};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidemesh_controller::OutputOracle;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::OutputPlan;
use tidemesh_plan::oracle::{OnTheWay, Oracle, SqlPart};
use tidemesh_plan::relation::Form;
use tidemesh_processors::PipelineJob;
use tidemesh_source::{
    Outcome, OutputRequest, OutputVerdict, QueryPart, RecordForm, SourceHandle, StepBefore,
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
                Ok(oracle) => self.verify_output(name, &output, &oracle, request.all).await,
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
        let mut sources = self.sources.handles().into_iter().map(|(_, source)| source);
        sources.find(|source| tables.iter().all(|topic| writes(source, topic))).ok_or_else(|| {
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
        all,
    })
}

fn unknown(pipeline: &str, output: &OutputPlan, error: &Error) -> OutputVerdict {
    OutputVerdict {
        pipeline: pipeline.to_owned(),
        output: output.name.clone(),
        topic: output.topic.clone(),
        outcome: Outcome::Unknown,
        rows: 0,
        rechecked: 0,
        differing: 0,
        differences: Vec::new(),
        reason: Some(error.report()),
    }
}
