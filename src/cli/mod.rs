//! The command line. Exit codes: 0 done and equal or compatible, 1 incompatible, 2 could not be
//! done.

mod checkpoint;
mod client;
mod mesh;
mod progress;
mod registry;
mod render;
mod roles;
mod schema;
mod snapshot;
mod source;
mod topic;
mod verify;

use crate::{config, daemon};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tidemesh_model::Result;
use tidemesh_processors::sdk::Processors;

/// Change data capture from databases to Avro topics under a schema registry, and pipelines over them.
#[derive(Debug, Parser)]
#[command(name = "tidemesh", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process: the log, the registry, the sources and the pipelines.
    #[command(after_help = "Example:\n  tidemesh up --config tidemesh.toml")]
    Up(ConfigFile),
    /// Run sources alone, writing to another process's log.
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// Run the controller alone, and each pipeline in a process of its own, over another process's log.
    #[command(after_help = "Example:\n  tidemesh controller --config controller.toml")]
    Controller(ConfigFile),
    /// Run one pipeline, which a controller elsewhere plans and watches.
    #[command(after_help = "Example:\n  tidemesh pipeline paid --config pipeline.toml")]
    Pipeline(roles::PipelineArgs),
    /// Write what systemd or Kubernetes need to run a controller, and each pipeline and connector of
    /// documents in a process of its own.
    #[command(
        after_help = "Example:\n  tidemesh render --for kubernetes --config mesh.toml -f mesh/ --out manifests"
    )]
    Render(render::RenderArgs),
    /// List the processes that run pipelines for a controller.
    Workers(roles::WorkersArgs),
    /// Run the schema registry alone.
    #[command(
        after_help = "Example:\n  tidemesh registry --listen 127.0.0.1:8081 --store sqlite:registry.sqlite"
    )]
    Registry(registry::RegistryArgs),
    /// Take events of applications over HTTP, as JSON or Avro, each answered once it is durable.
    #[command(after_help = "Example:\n  tidemesh emit-gateway --config gateway.toml")]
    EmitGateway(ConfigFile),
    /// Print the documents of the processors that this binary has registered, as `plan -f` takes them.
    Processors,
    /// Look at topics and read them.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Look at schemas, check and register them.
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Look at sources.
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Read tables beside the log, and watch how far that has come.
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Compare topics with their tables, or a pipeline's outputs with what its SQL says in the source's
    /// database, while all of it moves: exit code 0 if equal, 1 if not, 2 if that could not be found out.
    #[command(
        after_help = "Examples:\n  tidemesh verify --source shop\n  tidemesh verify --source shop --table public.orders --json --all\n  tidemesh verify --pipeline paid"
    )]
    Verify(verify::VerifyArgs),
    /// Look at checkpoints and mend them.
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Say what documents would change, without changing anything: exit code 0 if nothing, 1 if
    /// something, 2 if they are wrong or it cannot be told.
    #[command(
        after_help = "Examples:\n  tidemesh plan -f mesh/\n  tidemesh plan -f paid.yaml --json"
    )]
    Plan(mesh::FileArgs),
    /// Declare documents: what is new is started, what has changed goes on by its new plan.
    #[command(after_help = "Example:\n  tidemesh apply -f paid.yaml")]
    Apply(mesh::ApplyArgs),
    /// List what is declared, or print a document.
    #[command(
        after_help = "Examples:\n  tidemesh get\n  tidemesh get pipelines\n  tidemesh get pipeline paid"
    )]
    Get(mesh::GetArgs),
    /// Show how a pipeline is: what it reads and writes, what it has done, and why it is held; and how a
    /// source is.
    #[command(
        after_help = "Examples:\n  tidemesh describe pipeline paid\n  tidemesh describe source shop"
    )]
    Describe(mesh::DescribeArgs),
    /// Remove a document. A pipeline ends, and its topics and offsets stay; a connector ends, and it is
    /// said what stays of it and what drops that.
    #[command(
        after_help = "Examples:\n  tidemesh delete pipeline paid\n  tidemesh delete source shop --dry-run"
    )]
    Delete(mesh::DeleteArgs),
    /// Have a pipeline, or a source's connector, not run.
    #[command(after_help = "Examples:\n  tidemesh pause paid\n  tidemesh pause source shop")]
    Pause(mesh::PauseArgs),
    /// Have a pipeline or connector run again: one that was paused, has failed, or
    /// has lost records.
    #[command(after_help = "Examples:\n  tidemesh resume paid\n  tidemesh resume source shop")]
    Resume(mesh::ResumeArgs),
    /// Show the revisions of a document.
    #[command(after_help = "Example:\n  tidemesh history pipeline paid")]
    History(mesh::HistoryArgs),
    /// Declare again what an earlier revision said.
    #[command(after_help = "Example:\n  tidemesh rollback pipeline paid --to 3")]
    Rollback(mesh::RollbackArgs),
    /// Tell where a field comes from, or who reads it.
    #[command(
        after_help = "Examples:\n  tidemesh lineage mesh.paid total\n  tidemesh lineage shop.public.orders status --downstream"
    )]
    Lineage(mesh::LineageArgs),
    /// Find topics, look at what is in them, and at their last records.
    #[command(
        after_help = "Examples:\n  tidemesh catalog\n  tidemesh catalog search email\n  tidemesh catalog show mesh.paid\n  tidemesh catalog sample mesh.paid"
    )]
    Catalog(mesh::CatalogArgs),
    /// Tell what a change of a table would do to the pipelines, before it is made: exit code 0 if all of
    /// them go on, 1 if one would be held, 2 if it cannot be told.
    #[command(
        after_help = "Examples:\n  tidemesh impact --source shop --table public.orders --drop-column note\n  tidemesh impact --topic shop.public.orders --type qty=bigint --rename note=remark"
    )]
    Impact(mesh::ImpactArgs),
    /// Print SQL that has PostgreSQL warn of DDL that pipelines would be held by, or refuse it: it knows
    /// what `impact` says now.
    #[command(
        after_help = "Examples:\n  tidemesh event-trigger --source shop | psql shop\n  tidemesh event-trigger --source shop --mode refuse | psql shop\n  tidemesh event-trigger --source shop --remove | psql shop"
    )]
    EventTrigger(mesh::EventTriggerArgs),
    /// Show what changes of schemas have done to a pipeline.
    #[command(after_help = "Example:\n  tidemesh upgrades paid")]
    Upgrades(mesh::UpgradesArgs),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The TOML file; `TIDEMESH__A__B=value` in the environment overrides its key `a.b`.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum ConnectorCommand {
    /// Capture PostgreSQL.
    #[command(after_help = "Example:\n  tidemesh connector postgres --config connector.toml")]
    Postgres(ConfigFile),
    /// Capture MySQL or MariaDB.
    #[command(after_help = "Example:\n  tidemesh connector mysql --config connector.toml")]
    Mysql(ConfigFile),
}

impl ConnectorCommand {
    /// The connector's key in a source's table, and the file.
    fn parts(self) -> (&'static str, ConfigFile) {
        match self {
            Self::Postgres(file) => ("postgres", file),
            Self::Mysql(file) => ("mysql", file),
        }
    }
}

/// Runs a command to its end; pipelines may name these processors.
///
/// # Errors
///
/// Whatever kept it from being done: exit code 2.
pub async fn run(cli: Cli, processors: Processors) -> Result<ExitCode> {
    match cli.command {
        Command::Up(file) => daemon::up(read(&file.config)?.up()?, processors).await?,
        Command::Processors => print_processors(&processors)?,
        Command::Connector(command) => {
            let (connector, file) = command.parts();
            daemon::connector(read(&file.config)?.connector(connector)?).await?;
        }
        Command::Controller(file) => {
            daemon::controller(read(&file.config)?.controller()?, file.config, processors).await?;
        }
        Command::Render(args) => render::run(&args)?,
        Command::Pipeline(args) => roles::pipeline(args, processors).await?,
        Command::Workers(args) => roles::workers(args).await?,
        Command::Registry(args) => registry::run(args).await?,
        Command::EmitGateway(file) => {
            daemon::emit_gateway(read(&file.config)?.gateway()?).await?;
        }
        Command::Topic(command) => return topic::run(command).await,
        Command::Schema(command) => return schema::run(command).await,
        Command::Source(command) => source::run(command).await?,
        Command::Snapshot(command) => return snapshot::run(command).await,
        Command::Verify(args) => return verify::run(args).await,
        Command::Checkpoint(command) => checkpoint::run(command).await?,
        Command::Plan(args) => return mesh::plan(args).await,
        Command::Apply(args) => return mesh::apply(args).await,
        Command::Get(args) => mesh::get(args).await?,
        Command::Describe(args) => mesh::describe(args).await?,
        Command::Delete(args) => return mesh::delete(args).await,
        Command::Pause(args) => mesh::pause(args).await?,
        Command::Resume(args) => mesh::resume(args).await?,
        Command::History(args) => mesh::history(args).await?,
        Command::Rollback(args) => return mesh::rollback(args).await,
        Command::Lineage(args) => mesh::lineage(args).await?,
        Command::Catalog(args) => mesh::catalog(args).await?,
        Command::Impact(args) => return mesh::impact(args).await,
        Command::EventTrigger(args) => mesh::event_trigger(args).await?,
        Command::Upgrades(args) => mesh::upgrades(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One text with all documents.
fn print_processors(processors: &Processors) -> Result<()> {
    let documents = processors.documents();
    if documents.is_empty() { Ok(()) } else { client::print_line(&documents.join("\n---\n")) }
}

fn read(file: &std::path::Path) -> Result<config::RawConfig> {
    config::read(file, std::env::vars())
}
