//! What stands against a new schema of a subject.

use std::collections::BTreeSet;

use crate::avro::{self, Candidate, Parser};
use crate::level::CompatibilityLevel;
use crate::metadata::Metadata;
use crate::refusal::Refusal;
use crate::setting::Setting;
use crate::state::{Filter, State, Version};

/// How many earlier versions an explanation names, from the newest back; an answer has to end, and
/// one version is enough to refuse.
const OFFENDED_VERSIONS_MAX: usize = 8;

/// The property that names fields which may not be used.
const RESERVED_PROPERTY: &str = "confluent:reserved";

/// What readers of the subject's live versions would object to, under the level that holds.
pub(crate) fn incompatibilities(
    state: &State,
    parser: &Parser,
    subject: &str,
    candidate: &Candidate,
    metadata: Option<&Metadata>,
) -> Result<Vec<String>, Refusal> {
    let history: Vec<&Version> = state.versions(subject, Filter::Live).collect();
    against(state, parser, subject, candidate, metadata, &history)
}

/// The same, against these versions (oldest first).
pub(crate) fn against(
    state: &State,
    parser: &Parser,
    subject: &str,
    candidate: &Candidate,
    metadata: Option<&Metadata>,
    history: &[&Version],
) -> Result<Vec<String>, Refusal> {
    let setting = state.setting_in_scope(subject);
    let mut messages = reserved(state, &setting, subject, candidate, metadata, history);
    let level = setting.compatibility_level.unwrap_or_default();
    let history = of_group(state, &setting, subject, metadata, history);
    let count = match level {
        CompatibilityLevel::None => 0,
        level if level.transitive() => history.len(),
        _ => 1,
    };
    let mut offences = Vec::new();
    let mut versions = 0;
    for version in history.iter().rev().take(count) {
        let missing = || Refusal::SchemaNotFound(Some(version.id));
        let stored = state.schema_of(subject, version).ok_or_else(missing)?;
        let old = parser.resolve(state, subject, stored)?;
        let found = avro::offences(level, candidate, version.number, &old);
        versions += usize::from(!found.is_empty());
        offences.extend(found);
        if versions == OFFENDED_VERSIONS_MAX {
            break;
        }
    }
    messages.extend(avro::messages(level, offences));
    Ok(messages)
}

/// The versions with the same value of the property that makes groups.
fn of_group<'a>(
    state: &State,
    setting: &Setting,
    subject: &str,
    metadata: Option<&Metadata>,
    history: &[&'a Version],
) -> Vec<&'a Version> {
    let Some(group) = &setting.compatibility_group else { return history.to_vec() };
    let own = metadata.and_then(|metadata| metadata.property(group));
    let same = |version: &&&Version| {
        let stored =
            state.schema_of(subject, version).and_then(|schema| schema.metadata.as_deref());
        stored.and_then(|metadata| metadata.property(group)) == own
    };
    history.iter().filter(same).copied().collect()
}

/// Fields that metadata reserves must stay reserved and unused, where that is checked.
fn reserved(
    state: &State,
    setting: &Setting,
    subject: &str,
    candidate: &Candidate,
    metadata: Option<&Metadata>,
    history: &[&Version],
) -> Vec<String> {
    if setting.validate_fields != Some(true) {
        return Vec::new();
    }
    let names = |metadata: Option<&Metadata>| -> BTreeSet<String> {
        let list = metadata.and_then(|metadata| metadata.property(RESERVED_PROPERTY));
        let names = list.unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let new = names(metadata);
    let last = history.last().and_then(|version| state.schema_of(subject, version));
    let old = names(last.and_then(|schema| schema.metadata.as_deref()));
    let removed = old.difference(&new).map(|name| {
        format!(
            "The new schema has reserved field {name} removed from its metadata \
             which is present in the old schema's metadata."
        )
    });
    let fields = candidate.field_names();
    let used = new.iter().filter(|name| fields.contains(&name.as_str())).map(|name| {
        format!("The new schema has field that conflicts with the reserved field {name}.")
    });
    removed.chain(used).collect()
}
