//! `get`, `list`, `check`: what changes nothing.

use super::super::client::{Daemon, print_line};
use super::http::Registry;
use super::{CheckArgs, SchemaFile};
use serde_json::Value as Json;
use std::path::Path;
use std::process::ExitCode;
use tidemesh_emitter::{Declaration, Finding, check_declarations};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{RegistryClient, Verdict, escape};

pub(super) async fn get(subject: Option<&str>, version: &str, daemon: &Daemon) -> Result<()> {
    let Some(subject) = subject else { return list(None, None, false, daemon).await };
    let registry = Registry::of(daemon).await?;
    let path = format!("/subjects/{}/versions/{}", escape(subject), escape(version));
    let found = registry.get(&path).await?;
    print_line(found["schema"].as_str().unwrap_or_default())
}

pub(super) async fn list(
    subject: Option<&str>,
    prefix: Option<&str>,
    deleted: bool,
    daemon: &Daemon,
) -> Result<()> {
    let registry = Registry::of(daemon).await?;
    let Some(subject) = subject else {
        let subjects = registry.list(&subjects_path(prefix, deleted)).await?;
        return texts(&subjects).try_for_each(print_line);
    };
    let path = format!("/subjects/{}/versions?deleted={deleted}", escape(subject));
    registry.get(&path).await?;
    for version in registry.list(&path).await? {
        let path = format!("/subjects/{}/versions/{version}?deleted=true", escape(subject));
        let found = registry.get(&path).await?;
        let hidden = if found["deleted"] == true { "\tdeleted" } else { "" };
        print_line(&format!("{version}\tid {}{hidden}", found["id"]))?;
    }
    Ok(())
}

/// Where subjects are listed.
pub(super) fn subjects_path(prefix: Option<&str>, deleted: bool) -> String {
    let prefix = prefix.map(|prefix| format!("&subjectPrefix={}", escape(prefix)));
    format!("/subjects?deleted={deleted}{}", prefix.unwrap_or_default())
}

/// The texts of a list.
pub(super) fn texts(list: &[Json]) -> impl Iterator<Item = &str> {
    list.iter().filter_map(Json::as_str)
}

pub(super) fn read(file: &SchemaFile) -> Result<String> {
    read_file(&file.file)
}

/// The text of a file that holds a schema.
pub(super) fn read_file(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| {
        Error::new(ErrorKind::Config, "read a schema").with("file", file.display()).caused_by(error)
    })
}

pub(super) async fn check(args: &CheckArgs) -> Result<ExitCode> {
    let registry = args.daemon.registry().await?;
    let (Some(subject), Some(file)) = (&args.subject, &args.file) else {
        return check_emitter(&registry, args.emitter.as_deref().unwrap_or(Path::new(""))).await;
    };
    let Verdict { is_compatible, messages } = registry.check(subject, &read_file(file)?).await?;
    messages.iter().try_for_each(|message| print_line(message))?;
    print_line(if is_compatible { "compatible" } else { "incompatible" })?;
    Ok(ExitCode::from(u8::from(!is_compatible)))
}

async fn check_emitter(registry: &RegistryClient, file: &Path) -> Result<ExitCode> {
    let declarations =
        Declaration::read(&read_file(file)?).map_err(|error| error.with("file", file.display()))?;
    let findings = check_declarations(registry, &declarations).await?;
    for Finding { topic, is_compatible, messages } in &findings {
        messages.iter().try_for_each(|message| print_line(message))?;
        let verdict = if *is_compatible { "compatible" } else { "incompatible" };
        print_line(&format!("{topic}\t{verdict}"))?;
    }
    let is_compatible = findings.iter().all(|finding| finding.is_compatible);
    Ok(ExitCode::from(u8::from(!is_compatible)))
}
