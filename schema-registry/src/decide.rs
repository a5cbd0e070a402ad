//! What an operation changes: pure functions from the state in memory to a list of changes.
//!
//! The rules are Confluent's (`AbstractSchemaRegistry.java`, `KafkaSchemaRegistry.java`, master,
//! 2026); where one of them surprises, its comment says so. Nothing is read or written here.

use std::sync::Arc;

use crate::avro::{self, Candidate};
use crate::config::Limits;
use crate::level::CompatibilityLevel;
use crate::refusal::Refusal;
use crate::state::{Change, Filter, State, Version};
use crate::version::VersionSpec;

/// The largest id and version number: Confluent's clients hold both in a Java `int`.
pub(crate) const NUMBER_MAX: u32 = 0x7fff_ffff;

/// How many earlier versions an explanation names, from the newest back; an answer has to end, and
/// one version is enough to refuse.
const OFFENDED_VERSIONS_MAX: usize = 8;

/// The changes to make, and what to answer once they are durable.
pub(crate) type Decision<T> = Result<(Vec<Change>, T), Refusal>;

/// Finds the version of a subject that holds this schema, the newest one first.
///
/// A schema without references also equals a stored one with them, if it is that schema with its
/// references resolved: Avro's Java serializer sends what it has in memory.
pub(crate) fn find(
    state: &State,
    limits: &Limits,
    subject: &str,
    candidate: &Candidate,
    filter: Filter,
) -> Option<Version> {
    let same = state.id_of(&candidate.identity).and_then(|id| {
        state.versions(subject, filter).rev().find(|version| version.id == id).copied()
    });
    if same.is_some() || !candidate.identity.references.is_empty() {
        return same;
    }
    state
        .versions(subject, filter)
        .rev()
        .find(|version| {
            state.schema(version.id).is_some_and(|stored| {
                !stored.references.is_empty()
                    && avro::resolve(state, limits, stored)
                        .is_ok_and(|resolved| candidate.equals_resolved(&resolved))
            })
        })
        .copied()
}

/// Registers a schema, or finds that it is.
///
/// A schema that was soft-deleted here gets a new version with its old id, and the soft-deleted
/// version is then gone for good, as in Confluent's registry. Numbers go on from the largest one
/// there is, soft-deleted ones included.
pub(crate) fn register(
    state: &State,
    limits: &Limits,
    subject: &str,
    candidate: &Candidate,
    version_wanted: Option<u32>,
) -> Decision<Version> {
    if let Some(found) = find(state, limits, subject, candidate, Filter::Live)
        && version_wanted.is_none_or(|wanted| wanted == found.number)
    {
        return Ok((Vec::new(), found));
    }
    check_room(state, limits, subject)?;
    let details = incompatibilities(state, limits, subject, candidate)?;
    if !details.is_empty() {
        return Err(Refusal::Incompatible { subject: subject.to_owned(), details });
    }
    let number = next_number(state, subject)?;
    if version_wanted.is_some_and(|wanted| wanted != number) {
        let text = "Version is not one more than previous version";
        return Err(Refusal::InvalidSchema(text.to_owned()));
    }

    let mut changes = Vec::new();
    let id = match state.id_of(&candidate.identity) {
        Some(id) => id,
        None => {
            let id = next_id(state)?;
            changes.push(Change::AddSchema { id, identity: candidate.identity.clone() });
            id
        }
    };
    let name = state.subject_name(subject).unwrap_or_else(|| Arc::from(subject));
    for old in state.versions(subject, Filter::DeletedOnly).filter(|old| old.id == id) {
        changes.push(Change::RemoveVersion { subject: Arc::clone(&name), number: old.number });
    }
    let version = Version { number, id, deleted: false };
    changes.push(Change::PutVersion { subject: name, version });
    Ok((changes, version))
}

fn check_room(state: &State, limits: &Limits, subject: &str) -> Result<(), Refusal> {
    let count = state.versions(subject, Filter::WithDeleted).count();
    if count == 0 && state.subject_count() >= limits.subjects_max {
        return Err(Refusal::NotPermitted(format!(
            "This registry holds its limit of {} subjects",
            limits.subjects_max
        )));
    }
    if count >= limits.subject_versions_max {
        return Err(Refusal::NotPermitted(format!(
            "Subject {subject} holds its limit of {} versions",
            limits.subject_versions_max
        )));
    }
    Ok(())
}

/// Levels may be set for subjects that are not there yet, but not for any number of them.
pub(crate) fn check_levels(
    state: &State,
    limits: &Limits,
    subject: Option<&str>,
) -> Result<(), Refusal> {
    let is_new = subject.is_some_and(|subject| state.level_of(subject).is_none());
    if is_new && state.level_count() >= limits.subjects_max {
        return Err(Refusal::NotPermitted(format!(
            "This registry holds its limit of {} subjects with a level",
            limits.subjects_max
        )));
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

fn next_id(state: &State) -> Result<u32, Refusal> {
    match state.id_next() {
        id if id <= NUMBER_MAX => Ok(id),
        _ => Err(Refusal::NotPermitted("This registry has used up its ids".to_owned())),
    }
}

/// What readers of the subject's live versions would object to, under the level that holds.
pub(crate) fn incompatibilities(
    state: &State,
    limits: &Limits,
    subject: &str,
    candidate: &Candidate,
) -> Result<Vec<String>, Refusal> {
    let history: Vec<&Version> = state.versions(subject, Filter::Live).collect();
    against(state, limits, subject, candidate, &history)
}

/// The same, against these versions (oldest first).
pub(crate) fn against(
    state: &State,
    limits: &Limits,
    subject: &str,
    candidate: &Candidate,
    history: &[&Version],
) -> Result<Vec<String>, Refusal> {
    let level = state.level_in_scope(subject);
    let count = match level {
        CompatibilityLevel::None => 0,
        level if level.transitive() => history.len(),
        _ => 1,
    };
    let mut offences = Vec::new();
    let mut versions = 0;
    for version in history.iter().rev().take(count) {
        let stored = state.schema(version.id).ok_or(Refusal::SchemaNotFound(Some(version.id)))?;
        let old = avro::resolve(state, limits, stored)?;
        let found = avro::offences(level, candidate, version.number, &old);
        versions += usize::from(!found.is_empty());
        offences.extend(found);
        if versions == OFFENDED_VERSIONS_MAX {
            break;
        }
    }
    Ok(avro::messages(level, offences))
}

/// Deletes a subject: softly all its live versions, or permanently all that are soft-deleted.
pub(crate) fn delete_subject(state: &State, subject: &str, permanent: bool) -> Decision<Vec<u32>> {
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
        remove_versions(state, &name, &versions, &mut changes);
    } else {
        for version in &versions {
            let version = Version { deleted: true, ..*version };
            changes.push(Change::PutVersion { subject: Arc::clone(&name), version });
        }
        forget_level(state, &name, &mut changes);
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
    let version = *get_version(state, subject, spec, true)?;
    if version.deleted && !permanent {
        return Err(Refusal::VersionSoftDeleted {
            subject: subject.to_owned(),
            version: asked.to_owned(),
        });
    }
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
        remove_versions(state, &name, &[version], &mut changes);
    } else {
        let deleted = Version { deleted: true, ..version };
        changes.push(Change::PutVersion { subject: Arc::clone(&name), version: deleted });
        if state.versions(subject, Filter::Live).count() == 1 {
            forget_level(state, &name, &mut changes);
        }
    }
    Ok((changes, version.number))
}

/// One version of a subject; soft-deleted ones only with `deleted`, and never as `latest`.
pub(crate) fn get_version<'a>(
    state: &'a State,
    subject: &str,
    spec: VersionSpec,
    deleted: bool,
) -> Result<&'a Version, Refusal> {
    let filter = if deleted { Filter::WithDeleted } else { Filter::Live };
    let found = match spec {
        VersionSpec::Latest => state.latest(subject),
        VersionSpec::Number(number) => {
            state.version(subject, number).filter(|version| filter.takes(version.deleted))
        }
    };
    found.ok_or_else(|| {
        if state.has_subject(subject, filter) {
            Refusal::VersionNotFound(spec.number())
        } else {
            Refusal::SubjectNotFound(subject.to_owned())
        }
    })
}

fn check_unreferenced(state: &State, subject: &str, version: u32) -> Result<(), Refusal> {
    if state.referrers(subject, version, Filter::Live).is_empty() {
        return Ok(());
    }
    Err(Refusal::ReferenceExists { subject: subject.to_owned(), version })
}

/// Removes versions for good, and each id whose last version they are. The same text registered
/// again later gets a new id: ids are never given out twice.
fn remove_versions(
    state: &State,
    subject: &Arc<str>,
    versions: &[Version],
    changes: &mut Vec<Change>,
) {
    for version in versions {
        let number = version.number;
        changes.push(Change::RemoveVersion { subject: Arc::clone(subject), number });
    }
    let mut ids: Vec<u32> = versions.iter().map(|version| version.id).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let last = state.uses(id).all(|(user, used)| {
            user == subject && versions.iter().any(|version| version.number == used.number)
        });
        if last {
            changes.push(Change::RemoveSchema { id });
        }
    }
}

/// With its last live version a subject loses its own level, as in Confluent's registry.
fn forget_level(state: &State, subject: &Arc<str>, changes: &mut Vec<Change>) {
    if state.level_of(subject).is_some() {
        changes.push(Change::RemoveLevel { subject: Some(Arc::clone(subject)) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Identity, Reference};

    /// A state that takes over its own decisions, as if the disk never failed.
    struct Machine {
        state: State,
        limits: Limits,
    }

    impl Machine {
        fn new() -> Self {
            Self { state: State::new(1), limits: Limits::default() }
        }

        fn apply<T>(&mut self, decision: Decision<T>) -> Result<T, Refusal> {
            let (changes, answer) = decision?;
            changes.into_iter().for_each(|change| self.state.apply(change));
            Ok(answer)
        }

        fn candidate(&self, text: &str, references: &[Reference]) -> Candidate {
            avro::parse(&self.state, &self.limits, text, references.into(), false).unwrap()
        }

        /// Registers and gives (version, id).
        fn register(&mut self, subject: &str, text: &str) -> (u32, u32) {
            let candidate = self.candidate(text, &[]);
            let decision = register(&self.state, &self.limits, subject, &candidate, None);
            let version = self.apply(decision).unwrap();
            (version.number, version.id)
        }

        fn delete(&mut self, subject: &str, number: u32, permanent: bool) -> u32 {
            let spec = VersionSpec::Number(number);
            let decision = delete_version(&self.state, subject, spec, "", permanent);
            self.apply(decision).unwrap()
        }

        fn numbers(&self, subject: &str, filter: Filter) -> Vec<u32> {
            self.state.versions(subject, filter).map(|version| version.number).collect()
        }
    }

    #[test]
    fn registering_twice_changes_nothing() {
        let mut machine = Machine::new();
        machine.register("a", "\"int\"");
        let candidate = machine.candidate("\"int\"", &[]);
        let (changes, version) =
            register(&machine.state, &machine.limits, "a", &candidate, None).unwrap();
        assert!(changes.is_empty());
        assert_eq!((version.number, version.id), (1, 1));
    }

    #[test]
    fn a_soft_deleted_version_is_replaced_by_its_schemas_new_one() {
        let mut machine = Machine::new();
        machine.register("a", "\"int\"");
        machine.register("a", "\"long\"");
        machine.delete("a", 1, false);
        machine.delete("a", 2, false);
        assert_eq!(machine.register("a", "\"int\""), (3, 1));
        assert_eq!(machine.numbers("a", Filter::WithDeleted), [2, 3]);
    }

    #[test]
    fn numbers_go_on_after_soft_deleted_ones_and_take_up_permanently_deleted_ones() {
        let mut machine = Machine::new();
        machine.register("a", "\"int\"");
        machine.register("a", "\"long\"");
        machine.delete("a", 2, false);
        assert_eq!(machine.register("a", "\"float\""), (3, 3));
        machine.delete("a", 3, false);
        machine.delete("a", 3, true);
        machine.delete("a", 2, true);
        assert_eq!(machine.register("a", "\"double\""), (2, 4));
    }

    #[test]
    fn an_id_goes_with_its_last_version_and_never_comes_back() {
        let mut machine = Machine::new();
        machine.register("a", "\"int\"");
        machine.register("b", "\"int\"");
        machine.delete("a", 1, false);
        machine.delete("a", 1, true);
        assert!(machine.state.schema(1).is_some(), "b still holds it");
        machine.delete("b", 1, false);
        machine.delete("b", 1, true);
        assert!(machine.state.schema(1).is_none());
        assert_eq!(machine.register("a", "\"int\""), (1, 2));
    }

    #[test]
    fn the_last_id_and_the_last_version_are_javas_largest_int() {
        let mut machine = Machine::new();
        machine.state = State::new(NUMBER_MAX);
        assert_eq!(machine.register("a", "\"int\""), (1, NUMBER_MAX));
        let candidate = machine.candidate("\"long\"", &[]);
        let refused = register(&machine.state, &machine.limits, "b", &candidate, None);
        assert!(matches!(refused, Err(Refusal::NotPermitted(_))));

        let version = Version { number: NUMBER_MAX, id: NUMBER_MAX, deleted: false };
        machine.state.apply(Change::PutVersion { subject: "a".into(), version });
        let refused = register(&machine.state, &machine.limits, "a", &candidate, None);
        assert!(matches!(refused, Err(Refusal::NotPermitted(_))));
    }

    #[test]
    fn a_subject_with_a_referenced_version_is_kept_as_a_whole() {
        let mut machine = Machine::new();
        let record = r#"{"type":"record","name":"R","fields":[]}"#;
        machine.register("base", "\"int\"");
        machine.state.apply(Change::SetLevel {
            subject: Some("base".into()),
            level: CompatibilityLevel::None,
        });
        machine.register("base", record);
        let reference = Reference { name: "R".into(), subject: "base".into(), version: 2 };
        let identity = Identity { text: "\"R\"".into(), references: [reference].into() };
        machine.state.apply(Change::AddSchema { id: 3, identity });
        let version = Version { number: 1, id: 3, deleted: false };
        machine.state.apply(Change::PutVersion { subject: "user".into(), version });

        let refused = delete_subject(&machine.state, "base", false);
        assert!(matches!(refused, Err(Refusal::ReferenceExists { version: 2, .. })));
        assert_eq!(machine.numbers("base", Filter::Live), [1, 2]);
        let deleted = delete_subject(&machine.state, "user", false);
        machine.apply(deleted).unwrap();
        let deleted = delete_subject(&machine.state, "base", false);
        assert_eq!(machine.apply(deleted).unwrap(), [1, 2]);
        assert_eq!(machine.state.level_of("base"), None, "its level goes with it");
    }
}
