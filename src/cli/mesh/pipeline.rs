//! `tidemesh pause` and `resume`: of a pipeline, or of a source's connector.

use crate::cli::client::{Daemon, print_line};
use clap::Args;
use serde_json::{Value as Json, json};
use tidemesh_controller::Id;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::Kind;
use tidemesh_transport::escape;

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The pipeline; or a kind, `pipeline` or `source`, before the name.
    #[arg(num_args = 1..=2, value_names = ["KIND", "NAME"], required = true)]
    what: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    what: PauseArgs,
    /// Go on behind the records that the pipeline has told are gone, and no others.
    #[arg(long)]
    accept_loss: bool,
}

pub(crate) async fn pause(args: PauseArgs) -> Result<()> {
    let (kind, name) = args.document()?;
    args.command(kind, name, "pause").await?;
    let stays = match kind {
        Kind::Source => {
            "its slot stays, and keeps the database's log until it is resumed or removed"
        }
        _ => "its offsets stay",
    };
    print_line(&format!("{name} is paused; {stays}"))
}

pub(crate) async fn resume(args: ResumeArgs) -> Result<()> {
    let (kind, name) = args.what.document()?;
    if args.accept_loss && kind != Kind::Pipeline {
        return Err(Error::new(ErrorKind::Config, "resume a document")
            .because("--accept-loss is for pipelines alone")
            .with("name", name));
    }
    let word = if args.accept_loss { "resume?accept_loss=true" } else { "resume" };
    args.what.command(kind, name, word).await?;
    print_line(&format!("{name} goes on"))
}

impl PauseArgs {
    /// The kind and the name.
    fn document(&self) -> Result<(Kind, &str)> {
        match self.what.as_slice() {
            [kind, name] => Ok((Id::kind(kind)?, name)),
            what => Ok((Kind::Pipeline, what.first().map_or("", String::as_str))),
        }
    }

    async fn command(&self, kind: Kind, name: &str, word: &str) -> Result<Json> {
        let path = match kind {
            Kind::Pipeline => format!("/v1/pipelines/{}/{word}", escape(name)),
            _ => format!("/v1/documents/{}/{}/{word}", escape(kind.name()), escape(name)),
        };
        self.daemon.post(&path, &json!({})).await
    }
}
