//! `diff`: what changed from one schema to another, in words, and what it means for each level.

use super::super::client::{Daemon, print_json, print_line};
use super::http::Registry;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use tidemesh_avro::compat::{CompatibilityLevel, Direction};
use tidemesh_avro::diff::{SchemaDiff, diff};
use tidemesh_avro::explain::explain;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::escape;

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    /// The subject.
    subject: String,
    /// The file that holds the new schema.
    #[arg(required_unless_present = "from", conflicts_with = "to")]
    file: Option<PathBuf>,
    /// The old version: a number or `latest`, which it is without one.
    #[arg(long, value_name = "VERSION")]
    from: Option<String>,
    /// The new version, if no file is given; `latest` without one.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) async fn run(args: &DiffArgs) -> Result<ExitCode> {
    let registry = Registry::of(&args.daemon).await?;
    let version = async |version: Option<&str>| {
        registered(&registry, &args.subject, version.unwrap_or("latest")).await
    };
    let old = version(args.from.as_deref()).await?;
    let new = match &args.file {
        Some(file) => {
            let text = super::look::read_file(file)?;
            Schema::parse(&text).map_err(|error| error.with("file", file.display()))?
        }
        None => version(args.to.as_deref()).await?,
    };
    let found = diff(&old, &new);
    if args.json {
        print_json(&as_json(&found, &old, &new))?;
    } else {
        print(&found, &old, &new)?;
    }
    Ok(ExitCode::from(u8::from(!found.differences.is_empty())))
}

/// A version's schema with all that it refers to written out.
async fn registered(registry: &Registry, subject: &str, version: &str) -> Result<Schema> {
    let path =
        format!("/subjects/{}/versions/{}?format=resolved", escape(subject), escape(version));
    let found = registry.get(&path).await?;
    let text = found["schema"].as_str().ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "read a version")
            .because("the registry's answer has no schema")
            .with("path", &path)
    })?;
    Schema::parse(text).map_err(|error| error.with("subject", subject).with("version", version))
}

fn print(found: &SchemaDiff, old: &Schema, new: &Schema) -> Result<()> {
    if found.differences.is_empty() {
        return print_line("no differences");
    }
    found.differences.iter().try_for_each(|each| print_line(&each.to_string()))?;
    if found.truncated {
        print_line("… and more")?;
    }
    for (level, compatible) in found.verdicts() {
        print_line(&format!(
            "{level}\t{}",
            if compatible { "compatible" } else { "incompatible" }
        ))?;
        // FULL has no reasons but those of the two before it.
        for reason in reasons(level, old, new) {
            print_line(&format!("  {reason}"))?;
        }
    }
    Ok(())
}

/// Why the pair is incompatible in a level's own direction, each with what to change.
fn reasons(level: CompatibilityLevel, old: &Schema, new: &Schema) -> Vec<String> {
    let [direction] = level.directions() else { return Vec::new() };
    let (reader, writer) = direction.roles(new, old);
    let findings = explain(reader, writer, *direction);
    let roots = findings.iter().flat_map(|finding| finding.roots());
    roots
        .map(|root| {
            let field = root.field.as_deref().unwrap_or("(root)");
            let data = match direction {
                Direction::Backward => "old data",
                Direction::Forward => "new data",
            };
            format!("{field}: {data} cannot be read ({}); {}", root.rule.name(), root.suggestion)
        })
        .collect()
}

fn as_json(found: &SchemaDiff, old: &Schema, new: &Schema) -> serde_json::Value {
    let differences = found.differences.iter().map(|each| {
        json!({
            "change": each.change.name(),
            "field": each.field,
            "old_path": each.old_path,
            "new_path": each.new_path,
            "text": each.change.to_string(),
        })
    });
    let levels = found.verdicts().into_iter().map(|(level, compatible)| {
        let verdict = json!({"compatible": compatible, "reasons": reasons(level, old, new)});
        (level.name().to_owned(), verdict)
    });
    json!({
        "differences": differences.collect::<Vec<_>>(),
        "truncated": found.truncated,
        "levels": levels.collect::<serde_json::Map<_, _>>(),
    })
}
