//! A connector's settings: the same type as a `[[source]]` table of the configuration, read by serde.

use super::catalog::CatalogEntry;
use super::names;
use super::read::At;
use super::report::Report;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_model::{CONNECTORS, Error, SourceSettings};

/// How a secret shows itself when it is written.
const HIDDEN: &str = "***";

/// How often settings are read anew, each time without what was wrong before.
const READS_MAX: usize = 32;

/// Reads a connector's settings, under the document's name, and checks their bounds.
pub(super) fn read(name: &str, at: &At<'_>, report: &mut Report) -> Option<SourceSettings> {
    let before = report.count();
    let mut json = at.json_table(report)?;
    let table = json.as_object_mut()?;
    table.remove("catalog");
    if table.remove("name").is_some() {
        let help = "leave it out: metadata.name is the source's name";
        report.wrong(&place(at, "name").at_key(), "there is no such key", help);
    }
    if !CONNECTORS.iter().any(|connector| table.contains_key(*connector)) {
        let help = "add the table postgres or mysql, pipeline for the output of a pipeline, or topic for \
                    one that others write";
        let message = "the source names neither a database nor a pipeline nor a topic";
        report.wrong(at, message, help);
        table.insert("postgres".into(), filler_database());
    }
    let name = if name.is_empty() { "source" } else { name };
    table.insert("name".into(), json!(name));
    let settings = deserialised(&mut json, at, report)?;
    refuse_secrets(&settings, &json, at, report);
    if report.count() == before
        && let Err(error) = settings.validate()
    {
        out_of_bounds(&error, at, report);
    }
    Some(settings)
}

/// In place of a database that is missing, so that the rest can be read.
fn filler_database() -> Value {
    json!({"database": "d", "user": "u", "tables": ["s.t"]})
}

/// Reads settings until nothing is wrong, each time without what was wrong the time before.
fn deserialised(json: &mut Value, at: &At<'_>, report: &mut Report) -> Option<SourceSettings> {
    let mut told = BTreeSet::new();
    for _ in 0..READS_MAX {
        let error = match serde_path_to_error::deserialize::<_, SourceSettings>(&*json) {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let path = if path == "." { "" } else { &path };
        let (wrong, filler) = mistake(path, &message);
        if told.insert(wrong.clone()) {
            tell(&wrong, &message, at, report);
        }
        if !put(json, &wrong, filler) {
            return None;
        }
    }
    None
}

/// Where the mistake is that serde tells of, and what to read in its place, where a key is missing.
fn mistake(path: &str, message: &str) -> (String, Option<Value>) {
    let key = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let named = message.split('`').nth(1).unwrap_or_default();
    if message.starts_with("unknown field") && !path.ends_with(named) {
        return (key(named), None);
    }
    if message.starts_with("missing field") {
        let filler =
            if matches!(named, "tables" | "columns") { json!(["s.t.c"]) } else { json!("redact") };
        return (key(named), Some(filler));
    }
    (path.to_owned(), None)
}

fn tell(path: &str, message: &str, at: &At<'_>, report: &mut Report) {
    let wrong = place(at, path);
    let quoted: Vec<_> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((name, known)) if message.starts_with("unknown field") => {
            report.unknown(
                &place(at, path).at_key(),
                "there is no such key",
                name,
                known.iter().copied(),
            );
        }
        Some((name, known)) if message.starts_with("unknown variant") => {
            let message = format!("{} is not known", names::shown(name));
            report.wrong(&wrong, message, format!("write one of {}", known.join(", ")));
        }
        Some((name, _)) if message.starts_with("missing field") => {
            report.wrong(&wrong, format!("`{name}` is missing"), format!("add the key {name}"));
        }
        _ => other_mistake(&wrong, message, report),
    }
}

/// A value of another type than is needed; the value itself is not told, since it may be a secret.
fn other_mistake(wrong: &At<'_>, message: &str, report: &mut Report) {
    let (_, expected) = message.split_once(", expected ").unwrap_or(("", "another value"));
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0 nor too large,",
        expected => expected,
    };
    let found = format!("this is {}", wrong.node.what());
    report.wrong(wrong, found, format!("{expected} is needed here"));
}

/// Puts a value in place of another, or takes that one out. Whether there is such a place.
fn put(json: &mut Value, path: &str, value: Option<Value>) -> bool {
    let (parent, key) = match path.rsplit_once('.') {
        Some((parent, key)) => (parent, key),
        None => ("", path),
    };
    let (key, index) = match key.split_once('[') {
        Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
        None => (key, None),
    };
    let pointer: String = steps(parent).map(|step| format!("/{step}")).collect();
    let Some(Value::Object(table)) = json.pointer_mut(&pointer) else { return false };
    match (index, value) {
        (Some(index), _) => match table.get_mut(key) {
            Some(Value::Array(items)) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        (None, Some(value)) => table.insert(key.to_owned(), value).is_none(),
        (None, None) => table.remove(key).is_some(),
    }
}

/// The steps of a path as serde_path_to_error and the settings' errors write it.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty())
}

/// Where a path leads to, or the last on its way that is there.
fn place<'t>(at: &At<'t>, path: &str) -> At<'t> {
    let mut at = at.clone();
    for step in steps(path) {
        let Some(next) = at.step(step) else { break };
        at = next;
    }
    at
}

/// A secret shows itself hidden. What does so, and was not written so, is one.
fn refuse_secrets(settings: &SourceSettings, json: &Value, at: &At<'_>, report: &mut Report) {
    let written = serde_json::to_value(settings).expect("settings are made of texts and numbers");
    let mut paths = Vec::new();
    hidden(&written, json, String::new(), &mut paths);
    for path in paths {
        let key = path.rsplit('.').next().unwrap_or_default();
        let help = format!("write it into a file, and name that as {key}_file");
        let message = format!("`{key}` is a secret, which must not stand in a document");
        report.wrong(&place(at, &path).at_key(), message, help);
    }
}

fn hidden(written: &Value, json: &Value, path: String, paths: &mut Vec<String>) {
    match written {
        Value::Object(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                hidden(value, json.get(key).unwrap_or(&Value::Null), path, paths);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let json = json.get(index).unwrap_or(&Value::Null);
                hidden(value, json, format!("{path}[{index}]"), paths);
            }
        }
        Value::String(text) if text == HIDDEN && secret(&path, json) => paths.push(path),
        _ => {}
    }
}

/// Whether a value that is written hidden is a secret: it was written otherwise, or its key says so.
fn secret(path: &str, json: &Value) -> bool {
    json != HIDDEN || path.ends_with("password") || path.ends_with("salt")
}

/// A bound of the settings, which names its key: `postgres.tables: names no table`.
fn out_of_bounds(error: &Error, at: &At<'_>, report: &mut Report) {
    let message = error.message().unwrap_or_default();
    let (key, problem) = message.split_once(": ").unwrap_or(("", message));
    let facts: Vec<_> =
        error.context().iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    let help = error.help_text().unwrap_or("the connector's documentation has the bounds");
    // The settings' own help is for TOML.
    let help = help.replace(" = ", ": ");
    report.wrong(&place(at, key), format!("{problem}{facts}"), help);
}

/// The settings as the document has them, without their name and what is not set.
pub(super) fn to_json(
    settings: &SourceSettings,
    catalog: &BTreeMap<String, CatalogEntry>,
) -> Value {
    let written = serde_json::to_value(settings).expect("settings are made of texts and numbers");
    let Value::Object(mut table) = without_nulls(written) else { return Value::Null };
    table.shift_remove("name");
    if !catalog.is_empty() {
        table.insert("catalog".into(), json!(catalog));
    }
    Value::Object(table)
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(table) = value else { return value };
    let set = table.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(set.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>())
}
