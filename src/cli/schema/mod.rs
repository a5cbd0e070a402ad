//! `tidemesh schema`: a schema's life in the terminal.

mod change;
mod copy;
mod diff;
mod http;
mod look;

use super::client::Daemon;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tidemesh_model::Result;

#[derive(Debug, Subcommand)]
pub(super) enum SchemaCommand {
    /// Print a subject's schema.
    #[command(after_help = "Example:\n  tidemesh schema get shop.public.orders-value --at latest")]
    Get {
        /// The subject; without one, all subjects are listed.
        subject: Option<String>,
        /// A number or `latest`.
        #[arg(long, default_value = "latest", value_name = "VERSION")]
        at: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List subjects, or the versions of one with their ids.
    #[command(after_help = "Example:\n  tidemesh schema list shop.public.orders-value")]
    List {
        /// The subject.
        subject: Option<String>,
        /// Only subjects that begin so; `:.ctx:` for those of a context.
        #[arg(long, conflicts_with = "subject")]
        prefix: Option<String>,
        /// What is soft-deleted too.
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Check whether a schema may follow those of a subject, or whether an emitter may start with what it
    /// declares: exit code 0 if so, 1 if not.
    #[command(
        after_help = "Examples:\n  tidemesh schema check shop.public.orders-value orders.avsc\n  \
                      tidemesh schema check --emitter target/emitter.json"
    )]
    Check(CheckArgs),
    /// Tell what changed from one schema of a subject to another, or to a file, and whether that is
    /// compatible by each level: exit code 0 if nothing changed, 1 if something did.
    #[command(after_help = "Examples:\n  tidemesh schema diff payments-value payments.avsc\n  \
                            tidemesh schema diff payments-value --from 1 --to 3")]
    Diff(diff::DiffArgs),
    /// Register a schema and print its id: exit code 1 if it is incompatible.
    #[command(after_help = "Example:\n  tidemesh schema register payments-value payments.avsc")]
    Register(SchemaFile),
    /// Delete a subject or one version: softly, and with --permanent for good.
    #[command(after_help = "Example:\n  tidemesh schema delete payments-value --at 3")]
    Delete {
        /// The subject.
        subject: String,
        /// A number or `latest`; without one, the whole subject.
        #[arg(long, value_name = "VERSION")]
        at: Option<String>,
        /// For good, once it is soft-deleted.
        #[arg(long)]
        permanent: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show, set or delete the configuration of a subject, a context, or all.
    #[command(after_help = "Examples:\n  tidemesh schema config payments-value\n  \
                            tidemesh schema config payments-value --set '{\"compatibility\":\"FULL\"}'")]
    Config(Scope),
    /// Show, set or delete the mode of a subject, a context, or all.
    #[command(after_help = "Example:\n  tidemesh schema mode payments-value --set READONLY")]
    Mode(Scope),
    /// Write everything the registry holds as JSON lines: exit code 1 if something could not be read,
    /// which is told.
    #[command(after_help = "Example:\n  tidemesh schema export > registry.jsonl")]
    Export {
        /// Only subjects that begin so; `:.ctx:` for those of a context.
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Take over schemas with their ids, versions and deletions, configurations and modes: from an
    /// export, or from any registry with Confluent's REST API. May be repeated, and goes on where it
    /// ended. Compares afterwards: exit code 1 if something differs or was left out, which is told.
    #[command(after_help = "Examples:\n  tidemesh schema import registry.jsonl\n  \
                            tidemesh schema import --from http://other:8081")]
    Import {
        /// The export.
        #[arg(required_unless_present = "from")]
        file: Option<PathBuf>,
        /// The address of the other registry.
        #[arg(long, value_name = "URL", conflicts_with = "file")]
        from: Option<String>,
        /// Only subjects that begin so; `:.ctx:` for those of a context.
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
}

#[derive(Debug, Args)]
pub(super) struct SchemaFile {
    /// The subject.
    subject: String,
    /// The file that holds the schema.
    file: PathBuf,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The subject.
    #[arg(required_unless_present = "emitter")]
    subject: Option<String>,
    /// The file that holds the schema.
    #[arg(required_unless_present = "emitter")]
    file: Option<PathBuf>,
    /// What an emitter declares: `EmitterBuilder::declarations` as JSON.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "file"])]
    emitter: Option<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(super) struct Scope {
    /// The subject, or a context as `:.ctx:`; without one, all.
    subject: Option<String>,
    /// What it is to be: a mode's name, or a configuration as JSON or the name of a level.
    #[arg(long, value_name = "VALUE")]
    set: Option<String>,
    /// Back to what holds around it.
    #[arg(long, conflicts_with = "set")]
    delete: bool,
    /// For modes: import even where schemas are.
    #[arg(long, requires = "set")]
    force: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn run(command: SchemaCommand) -> Result<ExitCode> {
    match command {
        SchemaCommand::Get { subject, at, daemon } => {
            look::get(subject.as_deref(), &at, &daemon).await?;
        }
        SchemaCommand::List { subject, prefix, deleted, daemon } => {
            look::list(subject.as_deref(), prefix.as_deref(), deleted, &daemon).await?;
        }
        SchemaCommand::Check(args) => return look::check(&args).await,
        SchemaCommand::Diff(args) => return diff::run(&args).await,
        SchemaCommand::Register(file) => return change::register(&file).await,
        SchemaCommand::Delete { subject, at, permanent, daemon } => {
            change::delete(&subject, at.as_deref(), permanent, &daemon).await?;
        }
        SchemaCommand::Config(scope) => change::scope("config", &scope).await?,
        SchemaCommand::Mode(scope) => change::scope("mode", &scope).await?,
        SchemaCommand::Export { prefix, daemon } => {
            return copy::export(prefix.as_deref(), &daemon).await;
        }
        SchemaCommand::Import { file, from, prefix, daemon } => {
            let peer = from.as_deref();
            return copy::import(file.as_deref(), peer, prefix.as_deref(), &daemon).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}
