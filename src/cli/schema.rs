//! `tidemesh schema`: get, check, register.

use super::client::{Daemon, print_line};
use clap::{Args, Subcommand};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::ExitCode;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::Verdict;

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
    /// Check whether a schema may follow those of a subject: exit code 0 if so, 1 if not.
    #[command(
        after_help = "Example:\n  tidemesh schema check shop.public.orders-value orders.avsc"
    )]
    Check(SchemaFile),
    /// Register a schema and print its id: exit code 1 if it is incompatible.
    #[command(after_help = "Example:\n  tidemesh schema register payments-value payments.avsc")]
    Register(SchemaFile),
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

#[derive(Debug, Deserialize)]
struct Version {
    schema: String,
}

pub(super) async fn run(command: SchemaCommand) -> Result<ExitCode> {
    match command {
        SchemaCommand::Get { subject, at, daemon } => {
            get(subject.as_deref(), &at, &daemon).await?;
            Ok(ExitCode::SUCCESS)
        }
        SchemaCommand::Check(file) => check(&file).await,
        SchemaCommand::Register(file) => register(&file).await,
    }
}

async fn get(subject: Option<&str>, version: &str, daemon: &Daemon) -> Result<()> {
    let registry = Daemon { url: daemon.registry_url().await? };
    match subject {
        None => {
            let subjects: Vec<String> = registry.get("/subjects").await?;
            subjects.iter().try_for_each(|subject| print_line(subject))
        }
        Some(subject) => {
            let path = format!("/subjects/{subject}/versions/{version}");
            let found: Version = registry.get(&path).await?;
            print_line(&found.schema)
        }
    }
}

fn read(file: &SchemaFile) -> Result<String> {
    std::fs::read_to_string(&file.file).map_err(|error| {
        Error::new(ErrorKind::Config, "read a schema")
            .with("file", file.file.display())
            .caused_by(error)
    })
}

async fn check(file: &SchemaFile) -> Result<ExitCode> {
    let schema = read(file)?;
    let Verdict { is_compatible, messages } =
        file.daemon.registry().await?.check(&file.subject, &schema).await?;
    messages.iter().try_for_each(|message| print_line(message))?;
    print_line(if is_compatible { "compatible" } else { "incompatible" })?;
    Ok(ExitCode::from(u8::from(!is_compatible)))
}

async fn register(file: &SchemaFile) -> Result<ExitCode> {
    let schema = read(file)?;
    match file.daemon.registry().await?.register(&file.subject, &schema).await {
        Ok(id) => {
            print_line(&id.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.kind() == ErrorKind::Incompatible => {
            print_line(&error.report())?;
            Ok(ExitCode::from(1))
        }
        Err(error) => Err(error),
    }
}
