//! What an operation changes: pure functions from the state in memory to a list of changes.
//!
//! The rules are Confluent's (`AbstractSchemaRegistry.java`, `KafkaSchemaRegistry.java`, master,
//! 2026-08); where one of them surprises, its comment says so. Nothing is read or written here.

mod compatible;
mod consumer;
mod consumption;
mod delete;
mod register;
mod scope;

use std::sync::Arc;

use crate::avro::Parser;
use crate::refusal::Refusal;
use crate::state::{Change, Filter, State, Version};
use crate::subject::Name;
use crate::version::VersionSpec;

pub(crate) use compatible::{Judged, Question, judge};
pub(crate) use consumer::{not_found, put_consumer, remove_consumer};
pub(crate) use consumption::NOT_ASKED;
pub(crate) use delete::{delete_context, delete_subject, delete_version};
pub(crate) use register::{Draft, find, known, notes, register};
pub(crate) use scope::{remove_mode, remove_setting, set_mode, set_setting};

/// The largest id and version number: Confluent's clients hold both in a Java `int`.
pub(crate) const NUMBER_MAX: u32 = 0x7fff_ffff;

/// The changes to make, and what to answer once they are durable.
pub(crate) type Decision<T> = Result<(Vec<Change>, T), Refusal>;

/// One version of a subject; soft-deleted ones only with `deleted`, and never as `latest`. A subject
/// of the default context that is not there is looked for in the others, among those that are `seen`.
pub(crate) fn get_version(
    state: &State,
    subject: &str,
    spec: VersionSpec,
    deleted: bool,
    seen: impl Fn(&str) -> bool,
) -> Result<(Arc<str>, Version), Refusal> {
    let filter = if deleted { Filter::WithDeleted } else { Filter::Live };
    let found = in_contexts(state, subject, seen).find_map(|name| {
        let version = match spec {
            VersionSpec::Latest => state.latest(&name),
            VersionSpec::Number(number) => {
                state.version(&name, number).filter(|version| filter.takes(version.deleted))
            }
        };
        version.map(|version| (name, *version))
    });
    found.ok_or_else(|| {
        if state.has_subject(subject, filter) {
            Refusal::VersionNotFound(spec.number())
        } else {
            Refusal::SubjectNotFound(subject.to_owned())
        }
    })
}

/// What is seen where a change is made: a subject of another context is not what was named.
pub(crate) fn nowhere_else(_: &str) -> bool {
    false
}

/// The subject itself, and if it is one of the default context, those of its name in the others that
/// are `seen`: what somebody may not see must not stand before what they may, nor be told of.
pub(crate) fn in_contexts<'a>(
    state: &'a State,
    subject: &'a str,
    seen: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Arc<str>> + 'a {
    let others = Name::of(subject).is_default().then(|| {
        state
            .contexts()
            .filter_map(move |context| state.subject_name(&format!(":{context}:{subject}")))
            .filter(move |name| seen(name))
    });
    let own = state.subject_name(subject).unwrap_or_else(|| Arc::from(subject));
    std::iter::once(own).chain(others.into_iter().flatten())
}

/// Refuses where the mode lets nothing be changed.
fn check_writable(state: &State, subject: &str) -> Result<(), Refusal> {
    if state.mode_in_scope(subject).is_read_only() {
        return Err(not_permitted(subject, "is in read-only mode"));
    }
    Ok(())
}

fn not_permitted(subject: &str, what: &str) -> Refusal {
    let context = Name::of(subject).scope();
    Refusal::NotPermitted(format!("Subject {subject} in context {context} {what}"))
}

fn check_unreferenced(state: &State, subject: &str, version: u32) -> Result<(), Refusal> {
    if state.referrers(subject, version, Filter::Live).is_empty() {
        return Ok(());
    }
    Err(Refusal::ReferenceExists { subject: subject.to_owned(), version })
}

/// Scopes may be set for subjects that are not there yet, but not for any number of them.
fn check_scopes(state: &State, parser: &Parser, is_new: bool) -> Result<(), Refusal> {
    if is_new && state.scope_count() >= parser.limits.subjects_max {
        return Err(Refusal::NotPermitted(format!(
            "This registry holds its limit of {} configurations and modes",
            parser.limits.subjects_max
        )));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
