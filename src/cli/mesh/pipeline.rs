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

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Go on behind records that retention took before the pipeline had answered for them.
    #[arg(long)]
    accept_loss: bool,
}

pub(crate) async fn pause(args: PipelineArgs) -> Result<()> {
    command(&args, "pause").await?;
    print_line(&format!("{} is paused; its offsets stay", args.pipeline))
}

pub(crate) async fn resume(args: ResumeArgs) -> Result<()> {
    let word = if args.accept_loss { "resume?accept_loss=true" } else { "resume" };
    command(&args.pipeline, word).await?;
    print_line(&format!("{} goes on", args.pipeline.pipeline))
}

async fn command(args: &PipelineArgs, word: &str) -> Result<Json> {
    let path = format!("/v1/pipelines/{}/{word}", escape(&args.pipeline));
    args.daemon.post(&path, &json!({})).await
}
