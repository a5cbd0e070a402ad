//! What is known of a pipeline: what is declared, what of it runs, and how that is.

use crate::controller::Seen;
use crate::launcher::{JobCounts, JobReport, JobState};
use crate::retention::not_kept;
use crate::state::Declared;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidemesh_plan::document::Kind;
use tidemesh_plan::mesh::{OutputKind, PipelinePlan};

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineReport {
    /// Its name.
    pub name: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its document's revision.
    pub revision: u64,
    /// How it is.
    pub state: PipelineStatus,
    /// Why it does not run, or why it runs by the plan that it has although there is another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The digest of the plan by which it shall run; none if it cannot be planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The topics that it reads.
    pub inputs: Vec<InputReport>,
    /// The topics that it writes.
    pub outputs: Vec<OutputReport>,
    /// What it has done since the process that runs it was started.
    pub counts: JobCounts,
}

/// How a pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineStatus {
    /// It is about to be started.
    Starting,
    /// It runs.
    Running,
    /// Somebody has paused it.
    Paused,
    /// It waits until it, or the schema of what it reads, is mended.
    Held,
    /// It is tried again after a failure that passes.
    Retrying,
    /// It has ended for a reason that does not pass by itself.
    Failed,
    /// It has ended where records are gone that it has not answered for.
    Lost,
}

impl PipelineStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Held,
        Self::Retrying,
        Self::Failed,
        Self::Lost,
    ];
}

impl std::fmt::Display for PipelineStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Lost => "lost",
        })
    }
}

/// A topic that a pipeline reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputReport {
    /// Its name in SQL.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The fields of it that are read, as paths joined by points.
    pub reads: Vec<String>,
}

/// A topic that a pipeline writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReport {
    /// The sink's name; the processor's, of a tap.
    pub name: String,
    /// Whether it is a tap.
    pub tap: bool,
    /// The topic.
    pub topic: String,
    /// The fields of its key.
    pub key: Vec<String>,
    /// The fields of its rows.
    pub fields: Vec<String>,
}

impl PipelineReport {
    /// What a process knows that runs a pipeline for a controller elsewhere: how its job is, and nothing of
    /// the document, whose revision is told as 0.
    #[must_use]
    pub fn of_job(name: &str, job: Option<&JobReport>) -> Self {
        let (state, reasons) = status(job);
        Self {
            name: name.to_owned(),
            owner: None,
            revision: 0,
            state,
            reasons,
            digest: job.map(|job| job.digest.clone()),
            inputs: Vec::new(),
            outputs: Vec::new(),
            counts: job.map(|job| job.counts).unwrap_or_default(),
        }
    }
}

/// A pipeline's report; none of another document.
pub(crate) fn pipeline_report(
    declared: &Declared,
    seen: &Seen,
    jobs: &BTreeMap<String, JobReport>,
) -> Option<PipelineReport> {
    let document = &declared.document;
    if document.kind() != Kind::Pipeline {
        return None;
    }
    let name = document.name();
    let (plan, job) = (seen.planned.pipelines.get(name), jobs.get(name));
    let state = pipeline_status(name, seen, jobs);
    let mut reasons = match waits(name, seen) {
        Some(PipelineStatus::Held) => seen.planned.held(name).to_vec(),
        Some(_) => Vec::new(),
        None => {
            let stays = seen.planned.stays.get(name).into_iter().flatten().cloned();
            status(job).1.into_iter().chain(stays).collect()
        }
    };
    reasons.extend(not_kept(&seen.state, name));
    Some(PipelineReport {
        name: name.to_owned(),
        owner: document.metadata.owner.clone(),
        revision: declared.revision,
        state,
        reasons,
        digest: plan.map(|plan| plan.digest.clone()),
        inputs: plan.map(|plan| inputs(plan)).unwrap_or_default(),
        outputs: plan.map(|plan| outputs(plan)).unwrap_or_default(),
        counts: job.map(|job| job.counts).unwrap_or_default(),
    })
}

/// How a pipeline is, of which there is a document.
pub(crate) fn pipeline_status(
    name: &str,
    seen: &Seen,
    jobs: &BTreeMap<String, JobReport>,
) -> PipelineStatus {
    waits(name, seen).unwrap_or_else(|| status_of(jobs.get(name)))
}

/// Whether a pipeline shall not run for now, or cannot, whatever its job does.
fn waits(name: &str, seen: &Seen) -> Option<PipelineStatus> {
    if seen.state.is_paused(name) {
        return Some(PipelineStatus::Paused);
    }
    (!seen.planned.held(name).is_empty()).then_some(PipelineStatus::Held)
}

fn status_of(job: Option<&JobReport>) -> PipelineStatus {
    match job.map(|job| &job.state) {
        None | Some(JobState::Starting) => PipelineStatus::Starting,
        // One that has read a table's former topic goes on in the next.
        Some(JobState::Running | JobState::Drained) => PipelineStatus::Running,
        Some(JobState::Retrying { .. }) => PipelineStatus::Retrying,
        Some(JobState::Held { .. }) => PipelineStatus::Held,
        Some(JobState::Failed { .. }) => PipelineStatus::Failed,
        Some(JobState::Lost { .. }) => PipelineStatus::Lost,
    }
}

fn status(job: Option<&JobReport>) -> (PipelineStatus, Vec<String>) {
    let error = match job.map(|job| &job.state) {
        None | Some(JobState::Starting | JobState::Running | JobState::Drained) => None,
        Some(
            JobState::Retrying { error }
            | JobState::Held { error }
            | JobState::Failed { error }
            | JobState::Lost { error, .. },
        ) => Some(error.clone()),
    };
    (status_of(job), error.into_iter().collect())
}

fn inputs(plan: &PipelinePlan) -> Vec<InputReport> {
    let report = |input: &tidemesh_plan::mesh::InputPlan| InputReport {
        name: input.name.clone(),
        topic: input.topic.clone(),
        reads: input.reads.iter().map(|path| path.join(".")).collect(),
    };
    plan.inputs.iter().map(report).collect()
}

fn outputs(plan: &PipelinePlan) -> Vec<OutputReport> {
    let outputs = plan.outputs.iter().map(|output| {
        let fields: Vec<String> =
            output.query.columns.iter().map(|column| column.name.clone()).collect();
        let key = output.schemas.key_columns.iter();
        OutputReport {
            name: output.name.clone(),
            tap: output.kind == OutputKind::Tap,
            topic: output.topic.clone(),
            key: key.filter_map(|place| fields.get(*place).cloned()).collect(),
            fields,
        }
    });
    outputs.collect()
}
