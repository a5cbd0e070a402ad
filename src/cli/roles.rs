//! `tidemesh pipeline` and `tidemesh workers`: pipelines in processes of their own.

use super::client::{Daemon, print_json, print_line};
use crate::daemon;
use clap::Args;
use serde_json::Value as Json;
use std::path::PathBuf;
use tidemesh_model::Result;
use tidemesh_processors::sdk::Processors;

#[derive(Debug, Args)]
pub(super) struct PipelineArgs {
    /// The pipeline's name.
    name: String,
    /// The TOML file; `TIDEMESH__A__B=value` in the environment overrides its key `a.b`.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The controller's address, in the place of `controller.url`.
    #[arg(long, value_name = "URL")]
    controller: Option<String>,
    /// A controller has started it: it ends once there is nothing to do.
    #[arg(long, hide = true)]
    spawned: bool,
}

#[derive(Debug, Args)]
pub(super) struct WorkersArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn pipeline(args: PipelineArgs, processors: Processors) -> Result<()> {
    let mut raw = super::read(&args.config)?;
    if args.controller.is_some() {
        raw.controller.url = args.controller;
    }
    daemon::pipeline(raw.pipeline()?, args.name, args.spawned, processors).await
}

pub(super) async fn workers(args: WorkersArgs) -> Result<()> {
    let workers: Vec<Json> = args.daemon.get("/v1/workers").await?;
    if args.json {
        return print_json(&workers);
    }
    print_line(&format!("{:<24} {:>8} {:<10} URL", "PIPELINE", "PID", "STARTED BY"))?;
    workers.iter().try_for_each(|worker| {
        let text = |key: &str| worker[key].as_str().unwrap_or_default();
        let by = if worker["spawned"] == true { "controller" } else { "others" };
        let (pipeline, pid, url) = (text("pipeline"), worker["pid"].to_string(), text("url"));
        print_line(&format!("{pipeline:<24} {pid:>8} {by:<10} {url}"))
    })
}
