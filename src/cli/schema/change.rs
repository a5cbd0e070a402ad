//! `register`, `delete`, `config`, `mode`.

use super::super::client::{Daemon, print_json, print_line};
use super::http::Registry;
use super::look::read;
use super::{SchemaFile, Scope};
use serde_json::{Value as Json, json};
use std::process::ExitCode;
use tidemesh_model::{ErrorKind, Result};
use tidemesh_transport::escape;

pub(super) async fn register(file: &SchemaFile) -> Result<ExitCode> {
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

pub(super) async fn delete(
    subject: &str,
    version: Option<&str>,
    permanent: bool,
    daemon: &Daemon,
) -> Result<()> {
    let registry = Registry::of(daemon).await?;
    let version = version.map(|version| format!("/versions/{}", escape(version)));
    let path = format!(
        "/subjects/{}{}?permanent={permanent}",
        escape(subject),
        version.unwrap_or_default()
    );
    print_line(&registry.delete(&path).await?.to_string())
}

/// Shows, sets or deletes what a scope has of its own.
pub(super) async fn scope(what: &str, scope: &Scope) -> Result<()> {
    let registry = Registry::of(&scope.daemon).await?;
    let subject = scope.subject.as_deref().map(|subject| format!("/{}", escape(subject)));
    let path = format!("/{what}{}", subject.unwrap_or_default());
    let answer = match &scope.set {
        Some(value) => {
            let path = format!("{path}?force={}", scope.force);
            registry.put(&path, &body(what, value)).await?
        }
        None if scope.delete => registry.delete(&path).await?,
        None => registry.get(&format!("{path}?defaultToGlobal=true")).await?,
    };
    print_json(&answer)
}

fn body(what: &str, value: &str) -> Json {
    match serde_json::from_str(value) {
        Ok(body @ Json::Object(_)) => body,
        _ if what == "mode" => json!({"mode": value}),
        _ => json!({"compatibility": value}),
    }
}
