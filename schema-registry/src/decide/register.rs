//! Registering a schema.

use std::sync::Arc;

use super::{Decision, NUMBER_MAX, Question, check_writable, judge, not_permitted};
use crate::avro::{Candidate, Parser};
use crate::consumer::{Consumer, Observed};
use crate::metadata::{
    Metadata, RuleSet, VERSION_PROPERTY, merge_metadata, merge_rules, with_version,
};
use crate::refusal::Refusal;
use crate::setting::Setting;
use crate::state::{Change, Filter, Identity, State, Version};
use crate::subject::{CONTEXT_DEFAULT, Name};

/// A schema to be registered.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The schema; none takes the subject's latest.
    pub(crate) candidate: Option<Arc<Candidate>>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) rules: Option<RuleSet>,
    /// The version that it is expected to get; 0 is any, -1 the next, noted in its metadata.
    pub(crate) version: i64,
    /// The id that it comes with, into a subject that imports.
    pub(crate) id: Option<u32>,
    /// Milliseconds since 1970-01-01 00:00:00 UTC.
    pub(crate) now_ms: i64,
    /// Who reads the subject's data, beside those that have registered.
    pub(crate) observed: Observed,
}

/// Registers a schema, or finds that it is.
///
/// A schema that was soft-deleted here gets a new version with its old id, and the soft-deleted
/// version is then gone for good, as in Confluent's registry. Numbers go on from the largest one
/// there is, soft-deleted ones included.
pub(crate) fn register(
    state: &State,
    parser: &Parser,
    subject: &str,
    draft: &Draft,
) -> Decision<Version> {
    let Weighed { candidate, identity, next, known } = weigh(state, parser, subject, draft)?;
    if let Some(found) = known {
        return Ok((Vec::new(), found));
    }
    let imports = state.mode_in_scope(subject).imports();
    check_room(state, parser, subject)?;
    if !imports {
        let metadata = identity.metadata.as_deref();
        let question = Question { metadata, ..Question::of(&candidate, &draft.observed) };
        let details = judge(state, parser, subject, &question)?.messages();
        if !details.is_empty() {
            return Err(Refusal::Incompatible { subject: subject.to_owned(), details });
        }
    }
    let number = number(state, subject, draft, &identity, imports, next)?;
    put(state, parser, subject, draft, identity, number)
}

/// The version that holds the schema already, if there is one that the draft is content with.
pub(crate) fn known(
    state: &State,
    parser: &Parser,
    subject: &str,
    draft: &Draft,
) -> Result<Option<Version>, Refusal> {
    weigh(state, parser, subject, draft).map(|weighed| weighed.known)
}

/// A draft with what it would become.
struct Weighed {
    candidate: Arc<Candidate>,
    identity: Identity,
    /// The number of the next version.
    next: u32,
    known: Option<Version>,
}

fn weigh(state: &State, parser: &Parser, subject: &str, draft: &Draft) -> Result<Weighed, Refusal> {
    check_mode(state, subject, draft.id)?;
    let imports = state.mode_in_scope(subject).imports();
    let latest = state.latest(subject).and_then(|version| state.schema_of(subject, version));
    let candidate = match (&draft.candidate, latest) {
        (Some(candidate), _) => Arc::clone(candidate),
        (None, Some(latest)) => parser.candidate_of(state, subject, latest)?,
        (None, None) => return Err(Refusal::empty_schema()),
    };
    let next = next_number(state, subject)?;
    let setting = state.setting_in_scope(subject);
    let identity = identity(&setting, draft, &candidate, latest, next, imports);
    let find = |identity| registered(state, parser, subject, draft, &candidate, identity);
    let sent = candidate.identity(draft.metadata.clone(), draft.rules.clone());
    // As it was sent first, unless the configuration would make another of it.
    let counts = draft.version == 0 && draft.candidate.is_some() && !setting.adds_to_schemas();
    let known = if counts && sent != identity { find(&sent) } else { None };
    let known = known.or_else(|| find(&identity));
    Ok(Weighed { candidate, identity, next, known })
}

/// Confluent's order: who may not write is told so before who may not choose an id.
fn check_mode(state: &State, subject: &str, id: Option<u32>) -> Result<(), Refusal> {
    check_writable(state, subject)?;
    let imports = state.mode_in_scope(subject).imports();
    match (imports, id) {
        (false, Some(_)) => Err(not_permitted(subject, "is not in import mode")),
        (true, None) => Err(not_permitted(subject, "is not in read-write mode")),
        _ => Ok(()),
    }
}

/// The metadata and rules that a schema gets: its own, or else those of the version before, between
/// the defaults and the overrides of the configuration.
pub(crate) fn notes(
    setting: &Setting,
    metadata: Option<Metadata>,
    rules: Option<RuleSet>,
    latest: Option<&Identity>,
) -> (Option<Metadata>, Option<RuleSet>) {
    let before = latest.and_then(|latest| latest.metadata.as_deref().cloned());
    let own = merge_metadata(setting.default_metadata.clone(), metadata.or(before));
    let metadata = merge_metadata(own, setting.override_metadata.clone());
    let before = latest.and_then(|latest| latest.rules.as_deref().cloned());
    let own = merge_rules(setting.default_rule_set.clone(), rules.or(before));
    (metadata, merge_rules(own, setting.override_rule_set.clone()))
}

/// The schema with its notes; one that is imported keeps its own.
fn identity(
    setting: &Setting,
    draft: &Draft,
    candidate: &Candidate,
    latest: Option<&Identity>,
    next: u32,
    imports: bool,
) -> Identity {
    let (mut metadata, mut rules) = (draft.metadata.clone(), draft.rules.clone());
    if !imports {
        (metadata, rules) = notes(setting, metadata, rules, latest);
        let noted = metadata.as_ref().is_some_and(|m| m.property(VERSION_PROPERTY).is_some());
        if draft.version != 0 || noted {
            metadata = Some(with_version(metadata, next));
        }
    }
    candidate.identity(metadata, rules)
}

/// The version that holds this already, if the draft is content with it.
fn registered(
    state: &State,
    parser: &Parser,
    subject: &str,
    draft: &Draft,
    candidate: &Candidate,
    identity: &Identity,
) -> Option<Version> {
    let is_same = |version: &Version| {
        let stored = state.schema_of(subject, version).cloned();
        stored.is_some_and(|stored| unversioned(stored) == unversioned(identity.clone()))
    };
    let found = match u32::try_from(draft.version) {
        Err(_) => state.latest(subject).filter(|latest| is_same(latest)).copied(),
        Ok(0) => find(state, parser, subject, candidate, identity, Filter::Live),
        Ok(wanted) => state
            .version(subject, wanted)
            .filter(|version| !version.deleted && is_same(version))
            .copied(),
    };
    found.filter(|version| draft.id.is_none_or(|id| id == version.id))
}

fn unversioned(mut identity: Identity) -> Identity {
    identity.metadata =
        identity.metadata.and_then(|metadata| (*metadata).clone().without_version()).map(Arc::new);
    identity
}

/// Finds the version of a subject that holds this schema, the newest one first.
///
/// A schema without references also equals a stored one with them, if it is that schema with its
/// references resolved: Avro's Java serializer sends what it has in memory. And one that does not
/// say which version it is equals one that does.
pub(crate) fn find(
    state: &State,
    parser: &Parser,
    subject: &str,
    candidate: &Candidate,
    identity: &Identity,
    filter: Filter,
) -> Option<Version> {
    let context = Name::of(subject).context;
    let same = state.id_of(context, identity).and_then(|id| {
        state.versions(subject, filter).rev().find(|version| version.id == id).copied()
    });
    if same.is_some() {
        return same;
    }
    let noted = identity.metadata.as_ref().is_some_and(|m| m.property(VERSION_PROPERTY).is_some());
    let equal = |version: &&Version| {
        let Some(stored) = state.schema_of(subject, version) else { return false };
        let same_notes = if noted {
            stored.metadata == identity.metadata
        } else {
            unversioned(stored.clone()).metadata == identity.metadata
        };
        if !same_notes || stored.rules != identity.rules {
            return false;
        }
        if stored.text == identity.text && stored.references == identity.references {
            return true;
        }
        identity.references.is_empty()
            && !stored.references.is_empty()
            && parser
                .resolve(state, subject, stored)
                .is_ok_and(|resolved| candidate.equals_resolved(&resolved))
    };
    state.versions(subject, filter).rev().find(equal).copied()
}

fn check_room(state: &State, parser: &Parser, subject: &str) -> Result<(), Refusal> {
    let full = |what: String| Err(Refusal::NotPermitted(what));
    let count = state.versions(subject, Filter::WithDeleted).count();
    if count == 0 && state.subject_count() >= parser.limits.subjects_max {
        return full(format!(
            "This registry holds its limit of {} subjects",
            parser.limits.subjects_max
        ));
    }
    if count >= parser.limits.subject_versions_max {
        let limit = parser.limits.subject_versions_max;
        return full(format!("Subject {subject} holds its limit of {limit} versions"));
    }
    let context = Name::of(subject).context;
    if !state.has_context(context) && state.contexts().count() >= parser.limits.contexts_max {
        return full(format!(
            "This registry holds its limit of {} contexts",
            parser.limits.contexts_max
        ));
    }
    Ok(())
}

fn next_number(state: &State, subject: &str) -> Result<u32, Refusal> {
    let last = state.versions(subject, Filter::WithDeleted).next_back();
    match last.map_or(0, |version| version.number) {
        number if number < NUMBER_MAX => Ok(number + 1),
        _ => Err(Refusal::NotPermitted(format!("Subject {subject} has used up its versions"))),
    }
}

/// The number that the new version gets. Who imports may choose any that is free: Confluent's
/// registry would lose the version that was there.
fn number(
    state: &State,
    subject: &str,
    draft: &Draft,
    identity: &Identity,
    imports: bool,
    next: u32,
) -> Result<u32, Refusal> {
    let Some(wanted) = u32::try_from(draft.version).ok().filter(|wanted| *wanted > 0) else {
        return Ok(next);
    };
    match state.version(subject, wanted) {
        // It was deleted, and comes back.
        Some(known)
            if imports
                && draft.id == Some(known.id)
                && state.schema_of(subject, known) == Some(identity) =>
        {
            Ok(wanted)
        }
        Some(_) if imports => Err(Refusal::NotPermitted(format!(
            "Version {wanted} of subject {subject} holds another schema"
        ))),
        None if imports && wanted <= NUMBER_MAX => Ok(wanted),
        _ if wanted == next => Ok(next),
        _ => {
            Err(Refusal::InvalidSchema("Version is not one more than previous version".to_owned()))
        }
    }
}

fn put(
    state: &State,
    parser: &Parser,
    subject: &str,
    draft: &Draft,
    identity: Identity,
    number: u32,
) -> Decision<Version> {
    let context = state.context_name(Name::of(subject).context);
    let mut changes = Vec::new();
    if *context != *CONTEXT_DEFAULT && !state.has_context(&context) {
        changes.push(Change::PutContext { context: Arc::clone(&context), id_next: 1 });
    }
    let id = match draft.id {
        Some(id) => chosen_id(state, &context, subject, id, &identity)?,
        None => state.id_of(&context, &identity).map_or_else(|| next_id(state, &context), Ok)?,
    };
    if state.schema(&context, id).is_none() {
        check_references(state, parser, subject, &identity)?;
        changes.push(Change::AddSchema { context, id, identity });
    }
    let name = state.subject_name(subject).unwrap_or_else(|| Arc::from(subject));
    for old in state.versions(subject, Filter::DeletedOnly) {
        if old.id == id && old.number < number {
            changes.push(Change::RemoveVersion { subject: Arc::clone(&name), number: old.number });
            follow(state, &name, old.number, number, &mut changes);
        }
    }
    let version = Version { number, id, deleted: false, created_ms: draft.now_ms };
    changes.push(Change::PutVersion { subject: name, version });
    Ok((changes, version))
}

/// Who reads with a version that gets another number reads with that one.
fn follow(state: &State, subject: &Arc<str>, old: u32, new: u32, changes: &mut Vec<Change>) {
    let consumers = state.consumers_of(subject);
    let own = consumers.iter().filter(|(_, consumer)| consumer.version == Some(old));
    changes.extend(own.map(|(name, consumer)| Change::PutConsumer {
        subject: Arc::clone(subject),
        name: Arc::clone(name),
        consumer: Arc::new(Consumer { version: Some(new), ..(**consumer).clone() }),
    }));
}

/// Between parsing and this decision something that is referred to may have gone.
fn check_references(
    state: &State,
    parser: &Parser,
    subject: &str,
    identity: &Identity,
) -> Result<(), Refusal> {
    if identity.references.is_empty() {
        return Ok(());
    }
    parser.resolve(state, subject, identity).map(|_| ())
}

fn next_id(state: &State, context: &str) -> Result<u32, Refusal> {
    match state.id_next(context) {
        id if id <= NUMBER_MAX => Ok(id),
        _ => Err(Refusal::NotPermitted("This registry has used up its ids".to_owned())),
    }
}

fn chosen_id(
    state: &State,
    context: &str,
    subject: &str,
    id: u32,
    identity: &Identity,
) -> Result<u32, Refusal> {
    match state.schema(context, id) {
        Some(stored) if stored != identity => Err(Refusal::NotPermitted(format!(
            "Overwrite new schema with id {id} in context {} is not permitted.",
            Name::of(subject).scope()
        ))),
        _ if id > NUMBER_MAX => Err(Refusal::NotPermitted(format!("Id {id} is too large"))),
        _ => Ok(id),
    }
}
