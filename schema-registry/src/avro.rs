//! Schemas as the registry sees them: parsed with their references, brought into the text that is
//! kept, and compared with earlier versions. The rules are `tidemesh-avro`'s.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use tidemesh_avro::compat::{Offence, Verdict, check_level};
use tidemesh_avro::schema::Schema;
use tidemesh_model::Error;

use crate::config::Limits;
use crate::level::CompatibilityLevel;
use crate::refusal::Refusal;
use crate::state::{Identity, Reference, State};
use crate::text;

/// The one schema type of this registry, by Confluent's name.
pub(crate) const TYPE: &str = "AVRO";

/// How much of an earlier schema's text an explanation repeats, in bytes; Confluent's registry
/// cuts at the same length (`SchemaValidatorBuilder.java`).
const OLD_SCHEMA_BYTES_MAX: usize = 10 * 1024;

/// A schema that was sent.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) identity: Identity,
    schema: Schema,
}

/// A stored schema, parsed, its references in place.
#[derive(Debug)]
pub(crate) struct Resolved(Schema);

impl Candidate {
    /// Whether it is the stored schema with its references written out.
    pub(crate) fn equals_resolved(&self, stored: &Resolved) -> bool {
        *self.identity.text == *stored.0.registry_text()
    }
}

/// Parses what was sent. With `normalize` its text is brought into Confluent's normal form.
///
/// Avro Java's text is the schema's identity; types that come from references are named in it,
/// not written out.
pub(crate) fn parse(
    state: &State,
    limits: &Limits,
    text: &str,
    references: Arc<[Reference]>,
    normalize: bool,
) -> Result<Candidate, Refusal> {
    let texts = reference_texts(state, limits, &references)?;
    let schema = Schema::parse_with_references(text, &as_strs(&texts)).map_err(|e| invalid(&e))?;
    let mut kept = schema.registry_text();
    if normalize || !texts.is_empty() {
        let mut foreign = HashSet::new();
        for text in &texts {
            text::defined_names(&parsed_json(text)?, &mut foreign);
        }
        let mut json = text::without(&parsed_json(&kept)?, &foreign);
        if normalize {
            text::normalize(&mut json);
        }
        kept = json.to_string();
    }
    Ok(Candidate { identity: Identity { text: kept.into(), references }, schema })
}

/// Parses a schema that is stored.
pub(crate) fn resolve(
    state: &State,
    limits: &Limits,
    stored: &Identity,
) -> Result<Resolved, Refusal> {
    let texts = reference_texts(state, limits, &stored.references)?;
    Schema::parse_with_references(&stored.text, &as_strs(&texts))
        .map(Resolved)
        .map_err(|error| invalid(&error))
}

/// What stands against a candidate on the side of one earlier version.
pub(crate) fn offences(
    level: CompatibilityLevel,
    candidate: &Candidate,
    version: u32,
    old: &Resolved,
) -> Vec<Offence> {
    let mut offences = check_level(level, &candidate.schema, &[(version, &old.0)]).offences;
    for offence in &mut offences {
        shorten(&mut offence.schema);
    }
    offences
}

/// The explanations of offences, in Confluent's form.
pub(crate) fn messages(level: CompatibilityLevel, offences: Vec<Offence>) -> Vec<String> {
    Verdict { level, offences }.messages()
}

fn shorten(text: &mut String) {
    if text.len() > OLD_SCHEMA_BYTES_MAX {
        let end = (0..=OLD_SCHEMA_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
}

/// What a reference to nothing is answered with.
pub(crate) fn reference_not_found(subject: &str, version: &str) -> Refusal {
    invalid_because(&format!(
        "No schema reference found for subject \"{subject}\" and version {version}"
    ))
}

fn invalid_because(details: &str) -> Refusal {
    Refusal::InvalidSchema(format!("Invalid schema of type {TYPE}, details: {details}"))
}

fn invalid(error: &Error) -> Refusal {
    let mut details = error.message().map_or_else(|| error.to_string(), str::to_owned);
    if let Some((_, path)) = error.context().iter().find(|(name, _)| *name == "path") {
        details.push_str(" at ");
        details.push_str(path);
    }
    invalid_because(&details)
}

fn parsed_json(text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|error| invalid_because(&error.to_string()))
}

fn as_strs(texts: &[Arc<str>]) -> Vec<&str> {
    texts.iter().map(AsRef::as_ref).collect()
}

/// The texts of all schemas that references reach, each after those that it uses itself. Of two
/// references with the same name the first counts; soft-deleted versions can be referred to.
fn reference_texts(
    state: &State,
    limits: &Limits,
    references: &[Reference],
) -> Result<Vec<Arc<str>>, Refusal> {
    /// A reference that is to be followed, or whose own references have been.
    enum Step<'a> {
        Follow(&'a Reference),
        Take(&'a Arc<str>),
    }
    let mut names = HashSet::new();
    let mut texts = Vec::new();
    let mut steps: Vec<Step<'_>> = references.iter().rev().map(Step::Follow).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Take(text) => texts.push(Arc::clone(text)),
            Step::Follow(reference) if names.insert(&reference.name) => {
                if names.len() > limits.references_max {
                    return Err(invalid_because(&format!(
                        "its references reach more than {} schemas",
                        limits.references_max
                    )));
                }
                let stored = referred(state, reference)?;
                steps.push(Step::Take(&stored.text));
                steps.extend(stored.references.iter().rev().map(Step::Follow));
            }
            Step::Follow(_) => {}
        }
    }
    Ok(texts)
}

fn referred<'a>(state: &'a State, reference: &Reference) -> Result<&'a Identity, Refusal> {
    state
        .version(&reference.subject, reference.version)
        .and_then(|version| state.schema(version.id))
        .ok_or_else(|| reference_not_found(&reference.subject, &reference.version.to_string()))
}
