//! Configurations and modes of subjects, contexts and the whole.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::delete::remove_versions;
use super::{Decision, check_scopes, check_unreferenced, check_writable};
use crate::avro::Parser;
use crate::metadata::METADATA_BYTES_MAX;
use crate::refusal::Refusal;
use crate::setting::{Mode, Setting};
use crate::state::{Change, Filter, State, Version};
use crate::subject::{Name, Prefix, SCOPE_ALL, SCOPE_GLOBAL};

/// Changes the members of a scope's configuration that a request has.
pub(crate) fn set_setting(
    state: &State,
    parser: &Parser,
    scope: &str,
    members: &Map<String, Value>,
) -> Decision<()> {
    check_writable(state, scope)?;
    let old = state.setting(scope);
    check_scopes(state, parser, old.is_none())?;
    let old = old.map(|old| (**old).clone()).unwrap_or_default();
    let setting = old.updated(members).map_err(Refusal::InvalidSetting)?;
    let rules = [&setting.default_rule_set, &setting.override_rule_set];
    if let Some(problem) = rules.into_iter().flatten().find_map(|rules| rules.problem()) {
        return Err(Refusal::InvalidRuleSet(problem));
    }
    let bytes = serde_json::to_string(&setting).map_or(usize::MAX, |text| text.len());
    if bytes > METADATA_BYTES_MAX {
        let text = format!("the configuration takes more than {METADATA_BYTES_MAX} bytes");
        return Err(Refusal::InvalidSetting(text));
    }
    let change = Change::SetSetting { scope: Arc::from(scope), setting: Arc::new(setting) };
    Ok((vec![change], ()))
}

/// Takes a scope's configuration away, and gives what it was.
pub(crate) fn remove_setting(state: &State, scope: &str) -> Decision<Setting> {
    check_writable(state, scope)?;
    let old = match state.setting(scope) {
        Some(old) => (**old).clone(),
        None if scope == SCOPE_GLOBAL => return Ok((Vec::new(), state.setting_in_scope(scope))),
        None => return Err(Refusal::SubjectNotFound(scope.to_owned())),
    };
    Ok((vec![Change::RemoveSetting { scope: Arc::from(scope) }], old))
}

/// Sets a scope's mode. Where schemas are to be imported none may be there, unless `force`d: what is
/// soft-deleted is then removed for good.
pub(crate) fn set_mode(
    state: &State,
    parser: &Parser,
    scope: &str,
    mode: Mode,
    force: bool,
) -> Decision<()> {
    check_scopes(state, parser, state.modes().all(|(name, _)| **name != *scope))?;
    let mut changes = Vec::new();
    if mode.imports() && !state.mode_in_scope(scope).imports() && !force {
        clear(state, scope, &mut changes)?;
    }
    changes.push(Change::SetMode { scope: Arc::from(scope), mode });
    Ok((changes, ()))
}

fn clear(state: &State, scope: &str, changes: &mut Vec<Change>) -> Result<(), Refusal> {
    let everything = Prefix::of(None);
    let subjects: Vec<Arc<str>> = state
        .subjects(&everything, Filter::WithDeleted)
        .filter(|subject| is_within(scope, subject))
        .cloned()
        .collect();
    if subjects.iter().any(|subject| state.has_subject(subject, Filter::Live)) {
        let text = "Cannot import since found existing subjects";
        return Err(Refusal::NotPermitted(text.to_owned()));
    }
    let mut removed = Vec::new();
    for subject in subjects {
        let versions: Vec<Version> =
            state.versions(&subject, Filter::WithDeleted).copied().collect();
        for version in &versions {
            check_unreferenced(state, &subject, version.number)?;
        }
        removed.push((subject, versions));
    }
    remove_versions(state, &removed, changes);
    Ok(())
}

/// Whether what is set for a scope is for this subject.
fn is_within(scope: &str, subject: &str) -> bool {
    let (of_scope, of_subject) = (Name::of(scope), Name::of(subject));
    match scope {
        SCOPE_ALL => true,
        _ if of_scope.subject.is_empty() => of_scope.context == of_subject.context,
        _ => scope == subject,
    }
}

/// Takes a scope's mode away, and gives what it was; with `recursive` those of the subjects in a
/// context too.
pub(crate) fn remove_mode(state: &State, scope: &str, recursive: bool) -> Decision<Mode> {
    let own = state.modes().find(|(name, _)| ***name == *scope).map(|(_, mode)| mode);
    let inner = state.modes().filter(|(name, _)| ***name != *scope && is_within(scope, name));
    let inner: Vec<Arc<str>> =
        inner.filter(|_| recursive).map(|(name, _)| Arc::clone(name)).collect();
    let old = match own {
        Some(old) => old,
        None if scope == SCOPE_GLOBAL || !inner.is_empty() => state.mode_in_scope(scope),
        None => return Err(Refusal::SubjectNotFound(scope.to_owned())),
    };
    let names = own.map(|_| Arc::from(scope)).into_iter().chain(inner);
    Ok((names.map(|scope| Change::RemoveMode { scope }).collect(), old))
}
