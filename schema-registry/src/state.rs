//! The registry in memory: every schema, version and level, indexed for reading.
//!
//! It is built by [`Change`]s only: those that the store reads back at the start, then those that
//! the store has just made durable. So memory can never be ahead of the disk. No I/O and no
//! decisions here: [`crate::decide`] makes the changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::level::CompatibilityLevel;

/// A name that a schema uses for another one that is registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The full name of the type, as the referring schema writes it.
    pub name: String,
    /// The subject that holds the schema referred to.
    pub subject: String,
    /// Its version there, from 1.
    pub version: u32,
}

/// What makes a schema the same as another: its text as Avro's Java library writes it, and its
/// references. Confluent hashes the same two (`MD5.java`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The schema's text.
    pub text: Arc<str>,
    /// Its references, in the order in which they were given.
    pub references: Arc<[Reference]>,
}

/// One version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// The number in the subject, from 1.
    pub(crate) number: u32,
    /// The id of its schema.
    pub(crate) id: u32,
    /// Whether it is soft-deleted: hidden, but its number and schema are kept.
    pub(crate) deleted: bool,
}

/// Which versions or subjects are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Those that are not deleted.
    #[default]
    Live,
    /// Those that are not deleted and those that are soft-deleted.
    WithDeleted,
    /// Those that are soft-deleted.
    DeletedOnly,
}

impl Filter {
    /// Whether something with this state is wanted.
    pub(crate) fn takes(self, deleted: bool) -> bool {
        match self {
            Self::Live => !deleted,
            Self::WithDeleted => true,
            Self::DeletedOnly => deleted,
        }
    }
}

/// One step from a state to the next: what the store writes and the memory takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new id. Ids up to it are used up, for ever.
    AddSchema { id: u32, identity: Identity },
    /// The last version with this id is gone, and the id with it.
    RemoveSchema { id: u32 },
    /// A new version, or the new state of one.
    PutVersion { subject: Arc<str>, version: Version },
    /// A version is gone for good.
    RemoveVersion { subject: Arc<str>, number: u32 },
    /// The level of a subject, or without one the global level.
    SetLevel { subject: Option<Arc<str>>, level: CompatibilityLevel },
    /// The subject, or without one the registry, returns to its default.
    RemoveLevel { subject: Option<Arc<str>> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SchemaEntry {
    identity: Identity,
    /// Every version that has this id, soft-deleted ones included.
    uses: BTreeSet<(Arc<str>, u32)>,
}

/// Everything the registry knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    schemas: BTreeMap<u32, SchemaEntry>,
    ids: HashMap<Identity, u32>,
    subjects: BTreeMap<Arc<str>, BTreeMap<u32, Version>>,
    levels: BTreeMap<Arc<str>, CompatibilityLevel>,
    level_global: Option<CompatibilityLevel>,
    /// The ids of schemas that refer to a version, whether their own versions are live or not.
    referrers: HashMap<(String, u32), BTreeSet<u32>>,
    id_next: u32,
}

impl State {
    /// An empty registry whose next id is `id_next`.
    pub(crate) fn new(id_next: u32) -> Self {
        Self {
            schemas: BTreeMap::new(),
            ids: HashMap::new(),
            subjects: BTreeMap::new(),
            levels: BTreeMap::new(),
            level_global: None,
            referrers: HashMap::new(),
            id_next,
        }
    }

    /// Takes over a change that the store holds.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::AddSchema { id, identity } => self.add_schema(id, identity),
            Change::RemoveSchema { id } => self.remove_schema(id),
            Change::PutVersion { subject, version } => {
                if let Some(entry) = self.schemas.get_mut(&version.id) {
                    entry.uses.insert((Arc::clone(&subject), version.number));
                }
                self.subjects.entry(subject).or_default().insert(version.number, version);
            }
            Change::RemoveVersion { subject, number } => self.remove_version(&subject, number),
            Change::SetLevel { subject: Some(subject), level } => {
                self.levels.insert(subject, level);
            }
            Change::SetLevel { subject: None, level } => self.level_global = Some(level),
            Change::RemoveLevel { subject: Some(subject) } => {
                self.levels.remove(&subject);
            }
            Change::RemoveLevel { subject: None } => self.level_global = None,
        }
    }

    fn add_schema(&mut self, id: u32, identity: Identity) {
        for reference in identity.references.iter() {
            self.referrers
                .entry((reference.subject.clone(), reference.version))
                .or_default()
                .insert(id);
        }
        self.ids.insert(identity.clone(), id);
        self.schemas.insert(id, SchemaEntry { identity, uses: BTreeSet::new() });
        self.id_next = self.id_next.max(id.saturating_add(1));
    }

    fn remove_schema(&mut self, id: u32) {
        let Some(entry) = self.schemas.remove(&id) else {
            return;
        };
        self.ids.remove(&entry.identity);
        for reference in entry.identity.references.iter() {
            let key = (reference.subject.clone(), reference.version);
            if let Some(ids) = self.referrers.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.referrers.remove(&key);
                }
            }
        }
    }

    fn remove_version(&mut self, subject: &Arc<str>, number: u32) {
        let Some(versions) = self.subjects.get_mut(subject) else {
            return;
        };
        if let Some(version) = versions.remove(&number)
            && let Some(entry) = self.schemas.get_mut(&version.id)
        {
            entry.uses.remove(&(Arc::clone(subject), number));
        }
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
    }

    /// The id that the next new schema gets.
    pub(crate) fn id_next(&self) -> u32 {
        self.id_next
    }

    /// The largest id given out so far, 0 if none was.
    pub(crate) fn id_max(&self) -> u32 {
        self.id_next.saturating_sub(1)
    }

    /// How many schemas there are.
    pub(crate) fn schema_count(&self) -> usize {
        self.schemas.len()
    }

    /// How many subjects there are, soft-deleted ones included.
    pub(crate) fn subject_count(&self) -> usize {
        self.subjects.len()
    }

    /// The schema with this id.
    pub(crate) fn schema(&self, id: u32) -> Option<&Identity> {
        self.schemas.get(&id).map(|entry| &entry.identity)
    }

    /// The id of this schema.
    pub(crate) fn id_of(&self, identity: &Identity) -> Option<u32> {
        self.ids.get(identity).copied()
    }

    /// The versions that have this id, by subject, then number; soft-deleted ones included.
    pub(crate) fn uses(&self, id: u32) -> impl Iterator<Item = (&Arc<str>, &Version)> {
        self.schemas.get(&id).into_iter().flat_map(|entry| &entry.uses).filter_map(
            |(subject, number)| {
                self.subjects.get(subject)?.get(number).map(|version| (subject, version))
            },
        )
    }

    /// The subject's own copy of its name.
    pub(crate) fn subject_name(&self, subject: &str) -> Option<Arc<str>> {
        self.subjects.get_key_value(subject).map(|(name, _)| Arc::clone(name))
    }

    /// The names of the subjects that begin with `prefix`, in the order of their bytes. A subject
    /// counts as deleted if all its versions are.
    pub(crate) fn subjects<'a>(
        &'a self,
        prefix: &'a str,
        filter: Filter,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        self.subjects
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .filter(move |(_, versions)| filter.takes(versions.values().all(|v| v.deleted)))
            .map(|(name, _)| name)
    }

    /// The versions of a subject, by number, backwards too; none if there is no such subject.
    pub(crate) fn versions(
        &self,
        subject: &str,
        filter: Filter,
    ) -> impl DoubleEndedIterator<Item = &Version> {
        self.subjects
            .get(subject)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(move |version| filter.takes(version.deleted))
    }

    /// One version of a subject, soft-deleted or not.
    pub(crate) fn version(&self, subject: &str, number: u32) -> Option<&Version> {
        self.subjects.get(subject)?.get(&number)
    }

    /// The newest version of a subject that is not deleted.
    pub(crate) fn latest(&self, subject: &str) -> Option<&Version> {
        self.versions(subject, Filter::Live).next_back()
    }

    /// Whether the subject has a version that is wanted.
    pub(crate) fn has_subject(&self, subject: &str, filter: Filter) -> bool {
        self.versions(subject, filter).next().is_some()
    }

    /// The ids of the schemas with a wanted version that refer to this version, ascending.
    pub(crate) fn referrers(&self, subject: &str, number: u32, filter: Filter) -> Vec<u32> {
        let Some(ids) = self.referrers.get(&(subject.to_owned(), number)) else {
            return Vec::new();
        };
        ids.iter()
            .copied()
            .filter(|id| self.uses(*id).any(|(_, version)| filter.takes(version.deleted)))
            .collect()
    }

    /// The global level; Confluent's default where none is set.
    pub(crate) fn level_global(&self) -> CompatibilityLevel {
        self.level_global.unwrap_or(CompatibilityLevel::Backward)
    }

    /// The level that a subject has of its own.
    pub(crate) fn level_of(&self, subject: &str) -> Option<CompatibilityLevel> {
        self.levels.get(subject).copied()
    }

    /// How many subjects have a level of their own.
    pub(crate) fn level_count(&self) -> usize {
        self.levels.len()
    }

    /// The level that holds for a subject.
    pub(crate) fn level_in_scope(&self, subject: &str) -> CompatibilityLevel {
        self.level_of(subject).unwrap_or_else(|| self.level_global())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str, references: &[(&str, u32)]) -> Identity {
        Identity {
            text: text.into(),
            references: references
                .iter()
                .map(|(subject, version)| Reference {
                    name: "n".into(),
                    subject: (*subject).into(),
                    version: *version,
                })
                .collect(),
        }
    }

    fn put(subject: &str, number: u32, id: u32, deleted: bool) -> Change {
        Change::PutVersion { subject: subject.into(), version: Version { number, id, deleted } }
    }

    fn state(changes: impl IntoIterator<Item = Change>) -> State {
        let mut state = State::new(1);
        for change in changes {
            state.apply(change);
        }
        state
    }

    fn names<'a>(subjects: impl Iterator<Item = &'a Arc<str>>) -> Vec<&'a str> {
        subjects.map(AsRef::as_ref).collect()
    }

    #[test]
    fn a_subject_is_deleted_when_all_its_versions_are() {
        let add = Change::AddSchema { id: 1, identity: identity("x", &[]) };
        let state = state([add, put("a", 1, 1, true), put("b", 1, 1, true), put("b", 2, 1, false)]);
        assert_eq!(names(state.subjects("", Filter::Live)), ["b"]);
        assert_eq!(names(state.subjects("", Filter::WithDeleted)), ["a", "b"]);
        assert_eq!(names(state.subjects("", Filter::DeletedOnly)), ["a"]);
    }

    #[test]
    fn a_prefix_takes_neither_neighbour() {
        let add = Change::AddSchema { id: 1, identity: identity("x", &[]) };
        let state = state([
            add,
            put("a", 1, 1, false),
            put("ab", 1, 1, false),
            put("ab\u{10ffff}", 1, 1, false),
            put("ac", 1, 1, false),
        ]);
        assert_eq!(names(state.subjects("ab", Filter::Live)), ["ab", "ab\u{10ffff}"]);
    }

    #[test]
    fn ids_stay_used_up_when_their_schema_goes() {
        let state = state([
            Change::AddSchema { id: 1, identity: identity("x", &[]) },
            Change::RemoveSchema { id: 1 },
        ]);
        assert_eq!((state.id_next(), state.schema_count()), (2, 0));
        assert_eq!(state.id_of(&identity("x", &[])), None);
    }

    #[test]
    fn a_reference_counts_while_a_version_that_makes_it_is_live() {
        let mut state = state([
            Change::AddSchema { id: 1, identity: identity("x", &[]) },
            put("base", 1, 1, false),
            Change::AddSchema { id: 2, identity: identity("y", &[("base", 1)]) },
            put("user", 1, 2, false),
        ]);
        assert_eq!(state.referrers("base", 1, Filter::Live), [2]);
        state.apply(put("user", 1, 2, true));
        assert!(state.referrers("base", 1, Filter::Live).is_empty());
        assert_eq!(state.referrers("base", 1, Filter::DeletedOnly), [2]);
        state.apply(Change::RemoveVersion { subject: "user".into(), number: 1 });
        state.apply(Change::RemoveSchema { id: 2 });
        assert!(state.referrers("base", 1, Filter::WithDeleted).is_empty());
    }
}
