//! Schemas as the registry sees them: parsed with their references, brought into the text that is
//! kept, and compared with earlier versions. The rules are `tidemesh-avro`'s.

use std::collections::HashSet;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use tidemesh_avro::compat::{Direction, Offence, Verdict, check_level};
use tidemesh_avro::consumption::{ConsumerVerdict, Written};
use tidemesh_avro::explain::{Finding, explain};
use tidemesh_avro::schema::{Kind, SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, Schema};
use tidemesh_model::Error;

use crate::config::Limits;
use crate::level::CompatibilityLevel;
use crate::metadata::{Metadata, RuleSet};
use crate::refusal::Refusal;
use crate::state::{Identity, Reference, State, Version};
use crate::subject::beside;
use crate::text;

/// The one schema type of this registry, by Confluent's name.
pub(crate) const TYPE: &str = "AVRO";

/// How much of an earlier schema's text an explanation repeats, in bytes; Confluent's registry
/// cuts at the same length (`SchemaValidatorBuilder.java`).
const OLD_SCHEMA_BYTES_MAX: usize = 10 * 1024;

/// A schema that was sent.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The text that is kept.
    pub(crate) text: Arc<str>,
    pub(crate) references: Arc<[Reference]>,
    schema: Schema,
}

/// A stored schema, parsed, its references in place.
#[derive(Debug)]
pub(crate) struct Resolved {
    schema: Schema,
}

impl Candidate {
    /// It with what is noted on it.
    pub(crate) fn identity(&self, metadata: Option<Metadata>, rules: Option<RuleSet>) -> Identity {
        Identity {
            text: Arc::clone(&self.text),
            references: Arc::clone(&self.references),
            metadata: metadata.map(Arc::new),
            rules: rules.map(Arc::new),
        }
    }

    /// It, parsed.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether it is the stored schema with its references written out.
    pub(crate) fn equals_resolved(&self, stored: &Resolved) -> bool {
        *self.text == stored.schema.registry_text()
    }

    /// The names of the fields of its outermost record.
    pub(crate) fn field_names(&self) -> Vec<&str> {
        match &self.schema.node(self.schema.root()).kind {
            Kind::Record(fields) => fields.iter().map(|field| field.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}

impl Resolved {
    /// It, parsed.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Its text with everything that it refers to written out.
    pub(crate) fn text(&self) -> String {
        self.schema.registry_text()
    }
}

/// The most bytes of text whose parsed form is kept: of what was sent, and of what is stored.
const CACHED_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How many texts are about as many bytes, for the first size of the tables.
const CACHED_COUNT: usize = 4096;

/// Parses schemas, within limits, and keeps those that were parsed last.
#[derive(Debug)]
pub(crate) struct Parser {
    pub(crate) limits: Limits,
    /// Those without references by their words; the second those to be brought into the normal form.
    sent: [Cache<Box<str>, Arc<Candidate>, ByText>; 2],
    /// By their words and those of all that their references reach.
    stored: Cache<Texts, Arc<Resolved>, ByText>,
}

/// A stored schema's text, behind those of all that its references reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Texts(Vec<Arc<str>>);

/// A parsed schema takes up about as much as its text, some ten times over.
#[derive(Debug, Clone)]
struct ByText;

impl<V> Weighter<Box<str>, V> for ByText {
    fn weight(&self, text: &Box<str>, _: &V) -> u64 {
        weight(text.len())
    }
}

impl<V> Weighter<Texts, V> for ByText {
    fn weight(&self, texts: &Texts, _: &V) -> u64 {
        weight(texts.0.iter().map(|text| text.len()).sum())
    }
}

/// What so many bytes weigh in a cache: an entry takes up something however short it is.
pub(crate) fn weight(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).max(64)
}

impl Parser {
    pub(crate) fn new(limits: Limits) -> Self {
        let sent = [(); 2].map(|()| Cache::with_weighter(CACHED_COUNT, CACHED_BYTES_MAX, ByText));
        let stored = Cache::with_weighter(CACHED_COUNT, CACHED_BYTES_MAX, ByText);
        Self { limits, sent, stored }
    }

    /// Whether it was sent before in the same words.
    pub(crate) fn is_known(&self, text: &str, normalize: bool) -> bool {
        self.known(text, normalize).is_some()
    }

    fn known(&self, text: &str, normalize: bool) -> Option<Arc<Candidate>> {
        self.sent[usize::from(normalize)].get(text)
    }

    /// Parses what was sent for a subject. With `normalize` its text is brought into Confluent's
    /// normal form.
    ///
    /// Avro Java's text is the schema's identity; types that come from references are named in it,
    /// not written out.
    pub(crate) fn parse(
        &self,
        state: &State,
        subject: &str,
        text: &str,
        references: Arc<[Reference]>,
        normalize: bool,
    ) -> Result<Arc<Candidate>, Refusal> {
        if !references.is_empty() {
            let texts = reference_texts(state, &self.limits, subject, &references)?;
            let candidate = parse(text, references, &texts, normalize)?;
            self.check_depth(&candidate.schema)?;
            return Ok(Arc::new(candidate));
        }
        if let Some(known) = self.known(text, normalize) {
            return Ok(known);
        }
        let candidate = Arc::new(parse(text, references, &[], normalize)?);
        self.check_depth(&candidate.schema)?;
        self.sent[usize::from(normalize)].insert(Box::from(text), Arc::clone(&candidate));
        Ok(candidate)
    }

    /// Refuses what is nested deeper than is set; what is deeper than the most is not even parsed.
    fn check_depth(&self, schema: &Schema) -> Result<(), Refusal> {
        let most = self.limits.schema_depth_max;
        if most >= SCHEMA_DEPTH_MAX || is_within(schema, most) {
            return Ok(());
        }
        Err(invalid_because(&format!("nested deeper than {most}")))
    }

    /// Parses a schema that is stored for a subject.
    pub(crate) fn resolve(
        &self,
        state: &State,
        subject: &str,
        stored: &Identity,
    ) -> Result<Arc<Resolved>, Refusal> {
        let mut texts = reference_texts(state, &self.limits, subject, &stored.references)?;
        texts.push(Arc::clone(&stored.text));
        let texts = Texts(texts);
        if let Some(known) = self.stored.get(&texts) {
            return Ok(known);
        }
        let resolved = Arc::new(resolved(&texts)?);
        self.stored.insert(texts, Arc::clone(&resolved));
        Ok(resolved)
    }

    /// Parses the schema of a version of a subject.
    pub(crate) fn resolve_version(
        &self,
        state: &State,
        subject: &str,
        version: &Version,
    ) -> Result<Arc<Resolved>, Refusal> {
        let missing = || Refusal::SchemaNotFound(Some(version.id));
        self.resolve(state, subject, state.schema_of(subject, version).ok_or_else(missing)?)
    }

    /// A stored schema as if it had been sent again.
    pub(crate) fn candidate_of(
        &self,
        state: &State,
        subject: &str,
        stored: &Identity,
    ) -> Result<Arc<Candidate>, Refusal> {
        let schema = self.resolve(state, subject, stored)?.schema.clone();
        let (text, references) = (Arc::clone(&stored.text), Arc::clone(&stored.references));
        Ok(Arc::new(Candidate { text, references, schema }))
    }
}

fn resolved(Texts(texts): &Texts) -> Result<Resolved, Refusal> {
    let (own, references) = texts.split_last().ok_or_else(Refusal::empty_schema)?;
    let schema = Schema::parse_with_references(own, &as_strs(references));
    schema.map(|schema| Resolved { schema }).map_err(|error| invalid(&error))
}

/// Whether records, arrays and maps are nested no deeper than so many levels.
fn is_within(schema: &Schema, most: usize) -> bool {
    let mut seen = HashSet::new();
    let mut stack = vec![(schema.root(), 0)];
    while let Some((id, depth)) = stack.pop() {
        let node = schema.node(id);
        if depth > most {
            return false;
        }
        if node.name.is_some() && !seen.insert(id) {
            continue;
        }
        match &node.kind {
            Kind::Array(inner) | Kind::Map(inner) => stack.push((*inner, depth + 1)),
            Kind::Union(branches) => stack.extend(branches.iter().map(|id| (*id, depth))),
            Kind::Record(fields) => {
                stack.extend(fields.iter().map(|field| (field.node, depth + 1)));
            }
            _ => {}
        }
    }
    true
}

fn parse(
    text: &str,
    references: Arc<[Reference]>,
    texts: &[Arc<str>],
    normalize: bool,
) -> Result<Candidate, Refusal> {
    let schema = Schema::parse_with_references(text, &as_strs(texts)).map_err(|e| invalid(&e))?;
    let mut kept = schema.registry_text();
    if normalize || !texts.is_empty() {
        let mut foreign = HashSet::new();
        for text in texts {
            text::defined_names(&parsed_json(text)?, &mut foreign);
        }
        let mut json = text::without(&parsed_json(&kept)?, &foreign);
        if normalize {
            text::normalize(&mut json);
        }
        kept = json.to_string();
    }
    Ok(Candidate { text: kept.into(), references, schema })
}

/// What stands against a candidate on the side of one earlier version, in one direction.
#[derive(Debug)]
pub(crate) struct Objection {
    pub(crate) offence: Offence,
    /// The same reasons, explained; fewer, if there are very many.
    pub(crate) findings: Vec<Finding>,
    pub(crate) old: Arc<Resolved>,
}

/// What one earlier version has against a candidate.
pub(crate) fn objections(
    level: CompatibilityLevel,
    candidate: &Candidate,
    version: u32,
    old: &Arc<Resolved>,
) -> Vec<Objection> {
    let offences = check_level(level, &candidate.schema, &[(version, &old.schema)]).offences;
    let explained = |mut offence: Offence| {
        shorten(&mut offence.schema);
        let (reader, writer) = offence.direction.roles(&candidate.schema, &old.schema);
        let findings = explain(reader, writer, offence.direction);
        Objection { offence, findings, old: Arc::clone(old) }
    };
    offences.into_iter().map(explained).collect()
}

/// What they say, in Confluent's form; after each reason where it is, and what to change.
pub(crate) fn messages(level: CompatibilityLevel, objections: &[Objection]) -> Vec<String> {
    let offences = objections.iter().map(|objection| objection.offence.clone()).collect();
    let verdict = Verdict { level, offences };
    verdict.messages_with(|place, reason| {
        let Offence { version, direction, .. } = verdict.offences[place];
        let finding = objections[place].findings.get(reason);
        finding.map_or_else(Vec::new, |finding| finding.lines(version, direction))
    })
}

/// What those say that are hurt.
pub(crate) fn consumer_messages(verdicts: &[ConsumerVerdict]) -> Vec<String> {
    let mut messages = Vec::new();
    for verdict in verdicts {
        for harm in &verdict.harms {
            let (direction, data) = match harm.written {
                Written::Candidate => (Direction::Forward, "of the new schema".to_owned()),
                Written::Version(number) => {
                    (Direction::Backward, format!("of version {number}, which it has yet to read"))
                }
            };
            for root in harm.finding.roots() {
                messages.push(format!(
                    "{{consumer: '{}', cannotRead: 'data {data}', {}, suggestion: '{}'}}",
                    verdict.consumer,
                    root.members(direction),
                    root.suggestion
                ));
            }
        }
    }
    if !messages.is_empty() {
        messages.push("{compatibility: 'CONSUMERS'}".to_owned());
    }
    messages
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

/// Where a schema refers to more than it may, by itself or through others.
pub(crate) fn too_many_references(limits: &Limits) -> Refusal {
    let most = limits.references_max;
    invalid_because(&format!("its references reach more than {most} schemas"))
}

/// The texts of all schemas that references reach, each after those that it uses itself. Of two
/// references with the same name the first counts; soft-deleted versions can be referred to.
fn reference_texts(
    state: &State,
    limits: &Limits,
    parent: &str,
    references: &[Reference],
) -> Result<Vec<Arc<str>>, Refusal> {
    /// A reference that is to be followed, beside a subject, or whose own references have been.
    enum Step<'a> {
        Follow(Arc<str>, &'a Reference),
        Take(&'a Arc<str>),
    }
    let follow = |parent: &Arc<str>, reference| Step::Follow(Arc::clone(parent), reference);
    let parent: Arc<str> = Arc::from(parent);
    let mut names = HashSet::new();
    let mut texts = Vec::new();
    let mut bytes = 0;
    let mut steps: Vec<Step<'_>> =
        references.iter().rev().map(|reference| follow(&parent, reference)).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Take(text) => texts.push(Arc::clone(text)),
            Step::Follow(parent, reference) if names.insert(&reference.name) => {
                if names.len() > limits.references_max {
                    return Err(too_many_references(limits));
                }
                let subject: Arc<str> = Arc::from(&*beside(&parent, &reference.subject));
                let stored = referred(state, &subject, reference)?;
                bytes += stored.text.len();
                if bytes > SCHEMA_BYTES_MAX {
                    let most = format!("its references reach more than {SCHEMA_BYTES_MAX} bytes");
                    return Err(invalid_because(&most));
                }
                steps.push(Step::Take(&stored.text));
                steps.extend(stored.references.iter().rev().map(|inner| follow(&subject, inner)));
            }
            Step::Follow(..) => {}
        }
    }
    Ok(texts)
}

fn referred<'a>(
    state: &'a State,
    subject: &str,
    reference: &Reference,
) -> Result<&'a Identity, Refusal> {
    state
        .version(subject, reference.version)
        .and_then(|version| state.schema_of(subject, version))
        .ok_or_else(|| reference_not_found(&reference.subject, &reference.version.to_string()))
}
