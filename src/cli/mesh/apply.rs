//! `tidemesh plan`, `apply`, `delete` and `rollback`: what would change, printed as a difference, and
//! making it so.

use crate::cli::client::{Daemon, Refusable, print_json, print_line};
use clap::Args;
use serde_json::{Value as Json, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidemesh_controller::{ApplyRequest, Changes, DocumentChange, FieldChange, Text, Verb};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::escape;

/// The most files that are taken from the folders that are named.
const FILES_MAX: usize = 10_000;

/// Which documents.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A file of documents, YAML or JSON, or a folder of such files; `-` reads the standard input. May
    /// be given again.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Who applies it, for the history. Default: the user's name.
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
    by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The kind: `source`, `pipeline`, `processor`, `alert`.
    kind: String,
    /// The name.
    name: String,
    /// Who deletes it, for the history. Default: the user's name.
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
    by: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The kind: `source`, `pipeline`, `processor`, `alert`.
    kind: String,
    /// The name.
    name: String,
    /// The revision to go back to: see `tidemesh history`.
    #[arg(long, value_name = "REVISION")]
    to: u64,
    /// Who does it, for the history. Default: the user's name.
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true)]
    by: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Exit code 0 if nothing would change, 1 if something would, 2 if it is wrong or cannot be told.
pub(crate) async fn plan(args: FileArgs) -> Result<ExitCode> {
    let request = ApplyRequest { texts: texts(&args.files)?, by: None };
    match args.daemon.post_refusable("/v1/plan", &request).await? {
        Refusable::Done(changes) => {
            show(&changes, args.json, "Nothing would change.", "would be")?;
            Ok(ExitCode::from(u8::from(!changes.is_empty())))
        }
        Refusable::Refused(answer) => refused(&answer.message),
    }
}

pub(crate) async fn apply(args: ApplyArgs) -> Result<ExitCode> {
    let ApplyArgs { files: FileArgs { files, json, daemon }, by } = args;
    let request = ApplyRequest { texts: texts(&files)?, by };
    finish(daemon.post_refusable("/v1/apply", &request).await?, json, "are")
}

pub(crate) async fn delete(args: DeleteArgs) -> Result<ExitCode> {
    let DeleteArgs { kind, name, by, dry_run, daemon } = args;
    let mut path = format!("/v1/documents/{}/{}?dry_run={dry_run}", escape(&kind), escape(&name));
    if let Some(by) = by {
        path += &format!("&by={}", escape(&by));
    }
    finish(daemon.delete_refusable(&path).await?, false, if dry_run { "would be" } else { "are" })
}

pub(crate) async fn rollback(args: RollbackArgs) -> Result<ExitCode> {
    let RollbackArgs { kind, name, to, by, dry_run, daemon } = args;
    let path = format!("/v1/documents/{}/{}/rollback", escape(&kind), escape(&name));
    let request = json!({ "revision": to, "by": by, "dry_run": dry_run });
    let words = if dry_run { "would be" } else { "are" };
    finish(daemon.post_refusable(&path, &request).await?, false, words)
}

fn finish(answer: Refusable<Changes>, json: bool, words: &str) -> Result<ExitCode> {
    match answer {
        Refusable::Done(changes) => {
            show(&changes, json, "Nothing has changed.", words)?;
            Ok(ExitCode::SUCCESS)
        }
        Refusable::Refused(answer) => refused(&answer.message),
    }
}

/// What is wrong with the documents stands alone on its lines, for people and editors.
fn refused(message: &str) -> Result<ExitCode> {
    for line in message.lines() {
        eprintln!("{line}");
    }
    Ok(ExitCode::from(2))
}

/// The texts of these files and folders.
pub(crate) fn texts(files: &[PathBuf]) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| unreadable(Path::new("standard input"), error))?;
            texts.push(Text { name: "-".into(), text });
        } else if file.is_dir() {
            for file in within(file)? {
                texts.push(text(&file)?);
            }
        } else {
            texts.push(text(file)?);
        }
    }
    Ok(texts)
}

fn text(file: &Path) -> Result<Text> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, error))?;
    Ok(Text { name: file.display().to_string(), text })
}

/// The files of documents in a folder and those within it, by their names.
fn within(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&folder, error))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                open.push(path);
            } else if matches!(extension, Some("yaml" | "yml" | "json")) {
                files.push(path);
            }
        }
        if files.len() + open.len() > FILES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "read documents")
                .because("the folder has too many files")
                .with("files_max", FILES_MAX));
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(file: &Path, error: std::io::Error) -> Error {
    let wrong = Error::new(ErrorKind::Config, "read documents");
    wrong.because("a file cannot be read").with("file", file.display()).caused_by(error)
}

fn show(changes: &Changes, json: bool, nothing: &str, words: &str) -> Result<()> {
    if json {
        return print_json(changes);
    }
    changes.documents.iter().try_for_each(show_document)?;
    if changes.is_empty() {
        return print_line(nothing);
    }
    let count = |verb| changes.documents.iter().filter(|one| one.verb == verb).count();
    let follow = match count(Verb::Follow) {
        1 => "1 pipeline follows".to_owned(),
        many => format!("{many} pipelines follow"),
    };
    print_line(&format!(
        "{} {words} created, {} changed, {} deleted; {follow}.",
        count(Verb::Create),
        count(Verb::Change),
        count(Verb::Delete),
    ))
}

fn show_document(change: &DocumentChange) -> Result<()> {
    let sign = match change.verb {
        Verb::Create => "+",
        Verb::Change | Verb::Follow => "~",
        Verb::Delete => "-",
        Verb::Keep => return Ok(()),
    };
    let revision = change.revision.map(|number| format!(" (revision {number})"));
    let revision = revision.unwrap_or_default();
    print_line(&format!("{sign} {} {}{revision}", change.kind, change.name))?;
    change.fields.iter().try_for_each(show_field)?;
    change.effects.iter().try_for_each(|effect| print_line(&format!("    > {effect}")))
}

fn show_field(change: &FieldChange) -> Result<()> {
    let FieldChange { path, before, after } = change;
    match (before, after) {
        (None, Some(after)) => print_line(&format!("    + {path}: {}", shown(after))),
        (Some(before), None) => print_line(&format!("    - {path}: {}", shown(before))),
        (Some(before), Some(after)) => {
            print_line(&format!("    ~ {path}:"))?;
            print_line(&format!("        - {}", shown(before)))?;
            print_line(&format!("        + {}", shown(after)))
        }
        (None, None) => Ok(()),
    }
}

/// A value in one line; a text of one line as it is.
fn shown(value: &Json) -> String {
    match value.as_str() {
        Some(text) if !text.contains('\n') => text.to_owned(),
        Some(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        None => value.to_string(),
    }
}
