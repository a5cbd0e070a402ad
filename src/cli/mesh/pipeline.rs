//! `tidemesh pause` and `resume`.

use crate::cli::client::{Daemon, print_line};
use clap::Args;
use serde_json::{Value as Json, json};
use tidemesh_model::Result;
use tidemesh_transport::escape;

#[derive(Debug, Args)]
pub(crate) struct PipelineArgs {
    /// The pipeline.
    pipeline: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(crate) async fn pause(args: PipelineArgs) -> Result<()> {
    command(&args, "pause").await?;
    print_line(&format!("{} is paused; its offsets stay", args.pipeline))
}

pub(crate) async fn resume(args: PipelineArgs) -> Result<()> {
    command(&args, "resume").await?;
    print_line(&format!("{} goes on", args.pipeline))
}

async fn command(args: &PipelineArgs, word: &str) -> Result<Json> {
    let path = format!("/v1/pipelines/{}/{word}", escape(&args.pipeline));
    args.daemon.post(&path, &json!({})).await
}
