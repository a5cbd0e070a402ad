//! Pipelines in processes of their own.
//!
//! A worker is a process that runs one pipeline (`worker`). It tells the controller of itself again and
//! again, and is answered what it shall do: a beat and its order, one HTTP request, so that a worker needs
//! no port that others reach, and a controller that was started anew finds the workers that there are.
//! While no controller answers, a worker goes on with what it has; while it carries out an order, it goes on
//! telling. `hub` is the controller's side, its
//! launcher; with `runtime = "process"` `spawn` starts a worker for each pipeline that has none.
//!
//! That two workers of one pipeline write nothing twice is the log's doing, which fences the older one,
//! not that of beats. A worker that is fenced ends its job: whoever took its place has it from the controller,
//! which tells the fenced one what to do once it hears of it again.

mod entry;
mod http;
mod hub;
mod spawn;
mod worker;

pub(super) use http::routes;
pub(super) use hub::Hub;
pub(super) use spawn::{Command, spawn};
pub(super) use worker::{Station, run};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_controller::{AcceptedLoss, JobReport};
use tidemesh_plan::mesh::Recipe;

/// How often a worker tells of itself.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// After so long without a beat a worker counts as gone, and another one may take its place.
const LAPSE: Duration = Duration::from_secs(10);

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Beat {
    /// Who.
    pub(super) worker: Worker,
    /// What it runs, or ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Run>,
    /// Whether it ends now.
    #[serde(default)]
    pub(super) leaves: bool,
}

/// A worker's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    /// What no other process is called.
    pub(super) id: String,
    /// Its number in its machine's system.
    pub(super) pid: u32,
    /// Its control address: health and metrics.
    pub(super) url: String,
    /// Whether a controller has started it; then it ends when there is nothing for it to do.
    pub(super) spawned: bool,
}

/// A job of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// The assignment by which it runs.
    pub(super) assignment: String,
    /// Up to which schemas of values each topic was judged.
    pub(super) planned_by: BTreeMap<String, u32>,
    /// How it is.
    pub(super) job: JobReport,
}

/// What a worker is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) order: Order,
    /// Topics to read to their ends, each with the one that comes behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) drain: Vec<(String, String)>,
}

/// What a worker shall do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// What it does.
    Keep,
    /// Run this, in the place of what it runs.
    Run(Box<Assignment>),
    /// End its job, and stay.
    Stop,
    /// End.
    Leave,
}

/// A pipeline to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assignment {
    /// What no other assignment is called.
    pub(super) id: String,
    /// What its plan is made of.
    pub(super) recipe: Recipe,
    /// Up to which schemas of values each topic was judged.
    pub(super) planned_by: BTreeMap<String, u32>,
    /// Behind which losses it goes on.
    #[serde(default, skip_serializing_if = "AcceptedLoss::is_empty")]
    pub(super) accepted_loss: AcceptedLoss,
    /// What controllers of earlier versions say of losses: leave to pass over whatever is gone. It names none,
    /// so none is accepted.
    #[serde(default, skip_serializing)]
    pub(super) accept_loss: IgnoredAny,
}
