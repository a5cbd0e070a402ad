//! Deleting: softly, which hides, then permanently.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::{Decision, check_unreferenced, check_writable};
use crate::refusal::Refusal;
use crate::state::{Change, Filter, State, Version};
use crate::subject::{CONTEXT_DEFAULT, Name, Prefix, scope_of};
use crate::version::VersionSpec;

/// Deletes a subject: softly all its live versions, or permanently all that are soft-deleted.
pub(crate) fn delete_subject(state: &State, subject: &str, permanent: bool) -> Decision<Vec<u32>> {
    check_writable(state, subject)?;
    if !state.has_subject(subject, Filter::WithDeleted) {
        return Err(Refusal::SubjectNotFound(subject.to_owned()));
    }
    if !permanent && !state.has_subject(subject, Filter::Live) {
        return Err(Refusal::SubjectSoftDeleted(subject.to_owned()));
    }
    let filter = if permanent { Filter::WithDeleted } else { Filter::Live };
    for version in state.versions(subject, filter) {
        check_unreferenced(state, subject, version.number)?;
        if permanent && !version.deleted {
            return Err(Refusal::SubjectNotSoftDeleted(subject.to_owned()));
        }
    }
    let name = state.subject_name(subject).unwrap_or_else(|| Arc::from(subject));
    let versions: Vec<Version> = state.versions(subject, filter).copied().collect();
    let mut changes = Vec::new();
    if permanent {
        remove_versions(state, &[(name, versions.clone())], &mut changes);
    } else {
        for version in &versions {
            let version = Version { deleted: true, ..*version };
            changes.push(Change::PutVersion { subject: Arc::clone(&name), version });
        }
        forget_scope(state, &name, &mut changes);
    }
    Ok((changes, versions.iter().map(|version| version.number).collect()))
}

/// Deletes one version: softly if it is live, permanently if it is soft-deleted. `asked` is the
/// version in the words of the request, which one of the messages repeats.
pub(crate) fn delete_version(
    state: &State,
    subject: &str,
    spec: VersionSpec,
    asked: &str,
    permanent: bool,
) -> Decision<u32> {
    let version = own_version(state, subject, spec)?;
    if version.deleted && !permanent {
        return Err(Refusal::VersionSoftDeleted {
            subject: subject.to_owned(),
            version: asked.to_owned(),
        });
    }
    check_writable(state, subject)?;
    check_unreferenced(state, subject, version.number)?;
    if permanent && !version.deleted {
        return Err(Refusal::VersionNotSoftDeleted {
            subject: subject.to_owned(),
            version: version.number,
        });
    }
    let name = state.subject_name(subject).unwrap_or_else(|| Arc::from(subject));
    let mut changes = Vec::new();
    if permanent {
        remove_versions(state, &[(name, vec![version])], &mut changes);
    } else {
        let deleted = Version { deleted: true, ..version };
        changes.push(Change::PutVersion { subject: Arc::clone(&name), version: deleted });
        if state.versions(subject, Filter::Live).count() == 1 {
            forget_scope(state, &name, &mut changes);
        }
    }
    Ok((changes, version.number))
}

/// The version of this very subject: what is deleted is not looked for in other contexts.
fn own_version(state: &State, subject: &str, spec: VersionSpec) -> Result<Version, Refusal> {
    let found = match spec {
        VersionSpec::Latest => state.latest(subject),
        VersionSpec::Number(number) => state.version(subject, number),
    };
    let missing = || {
        if state.has_subject(subject, Filter::WithDeleted) {
            Refusal::VersionNotFound(spec.number())
        } else {
            Refusal::SubjectNotFound(subject.to_owned())
        }
    };
    found.copied().ok_or_else(missing)
}

/// Takes a context away that has no subjects any more, with its configuration and mode.
pub(crate) fn delete_context(state: &State, context: &str) -> Decision<()> {
    let scope = scope_of(context);
    check_writable(state, &scope)?;
    if context == CONTEXT_DEFAULT || !state.has_context(context) {
        return Err(Refusal::ContextNotFound(context.to_owned()));
    }
    let prefix = Prefix::of(Some(&scope));
    if state.subjects(&prefix, Filter::WithDeleted).next().is_some() {
        return Err(Refusal::ContextNotEmpty(context.to_owned()));
    }
    let mut changes = vec![Change::RemoveContext { context: state.context_name(context) }];
    let within = state.consumers().filter(|(subject, _)| Name::of(subject).context == context);
    changes.extend(within.flat_map(|(subject, consumers)| {
        let gone = |name: &Arc<str>| Change::RemoveConsumer {
            subject: Arc::clone(subject),
            name: Arc::clone(name),
        };
        consumers.keys().map(gone)
    }));
    forget_scope(state, &Arc::from(scope), &mut changes);
    Ok((changes, ()))
}

/// Removes versions for good, and each id whose last version they are. The same text registered
/// again later gets a new id: ids are never given out twice.
pub(super) fn remove_versions(
    state: &State,
    removed: &[(Arc<str>, Vec<Version>)],
    changes: &mut Vec<Change>,
) {
    let mut gone = HashSet::new();
    let mut ids = BTreeSet::new();
    for (subject, versions) in removed {
        if state.versions(subject, Filter::WithDeleted).count() == versions.len() {
            let names = state.consumers_of(subject).keys().cloned().collect::<Vec<_>>();
            let gone = |name| Change::RemoveConsumer { subject: Arc::clone(subject), name };
            changes.extend(names.into_iter().map(gone));
        }
        let context = state.context_name(Name::of(subject).context);
        for Version { number, id, .. } in versions {
            let (subject, number) = (Arc::clone(subject), *number);
            changes.push(Change::RemoveVersion { subject: Arc::clone(&subject), number });
            gone.insert((subject, number));
            ids.insert((Arc::clone(&context), *id));
        }
    }
    for (context, id) in ids {
        let is_last = state
            .uses(&context, id)
            .all(|(user, used)| gone.contains(&(Arc::clone(user), used.number)));
        if is_last {
            changes.push(Change::RemoveSchema { context, id });
        }
    }
}

/// With its last live version a subject loses its own configuration and mode, as in Confluent's
/// registry.
fn forget_scope(state: &State, scope: &Arc<str>, changes: &mut Vec<Change>) {
    if state.setting(scope).is_some() {
        changes.push(Change::RemoveSetting { scope: Arc::clone(scope) });
    }
    if state.modes().any(|(name, _)| name == scope) {
        changes.push(Change::RemoveMode { scope: Arc::clone(scope) });
    }
}
