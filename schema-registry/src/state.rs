//! The registry in memory: every schema, version, configuration and mode, indexed for reading.
//!
//! It is built by [`Change`]s only: those that the store reads back at the start, then those that
//! the store has just made durable. So memory can never be ahead of the disk. A copy costs nothing:
//! the maps share what has not changed, so that who reads keeps the state that it began with. No
//! I/O and no decisions here: [`crate::decide`] makes the changes.

mod identity;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};

use crate::consumer::Consumer;
use crate::level::CompatibilityLevel;
use crate::setting::{Mode, Setting};
use crate::subject::{CONTEXT_DEFAULT, Name, Prefix, SCOPE_ALL, SCOPE_GLOBAL};
pub use identity::{Guid, Identity, Reference};

/// One version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// The number in the subject, from 1.
    pub(crate) number: u32,
    /// The id of its schema, in the subject's context.
    pub(crate) id: u32,
    /// Whether it is soft-deleted: hidden, but its number and schema are kept.
    pub(crate) deleted: bool,
    /// When it was made, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub(crate) created_ms: i64,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// A context is there, and the next id in it is at least this one.
    PutContext { context: Arc<str>, id_next: u32 },
    /// A context is gone; its ids stay used up.
    RemoveContext { context: Arc<str> },
    /// A new id. Ids up to it are used up in its context, for ever.
    AddSchema { context: Arc<str>, id: u32, identity: Identity },
    /// The last version with this id is gone, and the id with it.
    RemoveSchema { context: Arc<str>, id: u32 },
    /// A new version, or the new state of one.
    PutVersion { subject: Arc<str>, version: Version },
    /// A version is gone for good.
    RemoveVersion { subject: Arc<str>, number: u32 },
    /// The configuration of a scope: a subject, a context, or the whole.
    SetSetting { scope: Arc<str>, setting: Arc<Setting> },
    /// The scope returns to what holds around it.
    RemoveSetting { scope: Arc<str> },
    /// The mode of a scope.
    SetMode { scope: Arc<str>, mode: Mode },
    /// The scope returns to the mode that holds around it.
    RemoveMode { scope: Arc<str> },
    /// A consumer of a subject, or another state of one.
    PutConsumer { subject: Arc<str>, name: Arc<str>, consumer: Arc<Consumer> },
    /// A consumer is gone.
    RemoveConsumer { subject: Arc<str>, name: Arc<str> },
}

/// The consumers of a subject, by name.
pub(crate) type Consumers = Arc<BTreeMap<Arc<str>, Arc<Consumer>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct SchemaEntry {
    identity: Identity,
    guid: Guid,
    /// Every version that has this id, soft-deleted ones included.
    uses: RedBlackTreeSetSync<(Arc<str>, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Context {
    schemas: HashTrieMapSync<u32, SchemaEntry>,
    id_next: u32,
    /// Whether it is shown; one that was deleted keeps its ids.
    listed: bool,
}

impl Default for Context {
    fn default() -> Self {
        Self { schemas: HashTrieMapSync::new_sync(), id_next: 1, listed: false }
    }
}

/// Where schemas are: context and id, in order.
type Places = Arc<[(Arc<str>, u32)]>;

/// What refers to a version: context and id of schemas.
type Referrers = RedBlackTreeSetSync<(Arc<str>, u32)>;

/// Everything the registry knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    contexts: RedBlackTreeMapSync<Arc<str>, Context>,
    /// Where a schema is, by what it is known by.
    guids: HashTrieMapSync<Guid, Places>,
    subjects: RedBlackTreeMapSync<Arc<str>, Arc<BTreeMap<u32, Version>>>,
    settings: RedBlackTreeMapSync<Arc<str>, Arc<Setting>>,
    modes: RedBlackTreeMapSync<Arc<str>, Mode>,
    consumers: RedBlackTreeMapSync<Arc<str>, Consumers>,
    /// The schemas that refer to a version, whether their own versions are live or not.
    referrers: HashTrieMapSync<(Arc<str>, u32), Referrers>,
    schema_count: usize,
}

impl Default for State {
    /// An empty registry.
    fn default() -> Self {
        Self {
            contexts: RedBlackTreeMapSync::new_sync(),
            guids: HashTrieMapSync::new_sync(),
            subjects: RedBlackTreeMapSync::new_sync(),
            settings: RedBlackTreeMapSync::new_sync(),
            modes: RedBlackTreeMapSync::new_sync(),
            consumers: RedBlackTreeMapSync::new_sync(),
            referrers: HashTrieMapSync::new_sync(),
            schema_count: 0,
        }
    }
}

impl State {
    /// Takes over a change that the store holds.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::PutContext { context, id_next } => {
                let mut entry = self.context(&context);
                entry.id_next = entry.id_next.max(id_next);
                entry.listed = true;
                self.contexts.insert_mut(context, entry);
            }
            Change::RemoveContext { context } => {
                let mut entry = self.context(&context);
                entry.listed = false;
                self.contexts.insert_mut(context, entry);
            }
            Change::AddSchema { context, id, identity } => self.add_schema(context, id, identity),
            Change::RemoveSchema { context, id } => self.remove_schema(&context, id),
            Change::PutVersion { subject, version } => self.put_version(subject, version),
            Change::RemoveVersion { subject, number } => self.remove_version(&subject, number),
            Change::SetSetting { scope, setting } => self.settings.insert_mut(scope, setting),
            Change::RemoveSetting { scope } => {
                self.settings.remove_mut(&scope);
            }
            Change::SetMode { scope, mode } => self.modes.insert_mut(scope, mode),
            Change::RemoveMode { scope } => {
                self.modes.remove_mut(&scope);
            }
            Change::PutConsumer { subject, name, consumer } => {
                let mut consumers = self.consumers_of(&subject);
                Arc::make_mut(&mut consumers).insert(name, consumer);
                self.consumers.insert_mut(subject, consumers);
            }
            Change::RemoveConsumer { subject, name } => {
                let mut consumers = self.consumers_of(&subject);
                Arc::make_mut(&mut consumers).remove(&name);
                if consumers.is_empty() {
                    self.consumers.remove_mut(&subject);
                } else {
                    self.consumers.insert_mut(subject, consumers);
                }
            }
        }
    }

    fn context(&self, context: &str) -> Context {
        self.contexts.get(context).cloned().unwrap_or_default()
    }

    fn add_schema(&mut self, context: Arc<str>, id: u32, identity: Identity) {
        for reference in identity.referred(&context) {
            let mut referrers = self.referrers.get(&reference).cloned().unwrap_or_default();
            referrers.insert_mut((Arc::clone(&context), id));
            self.referrers.insert_mut(reference, referrers);
        }
        let guid = identity.guid();
        let mut places = self.guids.get(&guid).map_or_else(Vec::new, |places| places.to_vec());
        places.push((Arc::clone(&context), id));
        places.sort();
        self.guids.insert_mut(guid, places.into());
        let mut entry = self.context(&context);
        let schema = SchemaEntry { identity, guid, uses: RedBlackTreeSetSync::new_sync() };
        entry.schemas.insert_mut(id, schema);
        entry.id_next = entry.id_next.max(id.saturating_add(1));
        entry.listed = true;
        self.contexts.insert_mut(context, entry);
        self.schema_count += 1;
    }

    fn remove_schema(&mut self, context: &Arc<str>, id: u32) {
        let mut entry = self.context(context);
        let Some(schema) = entry.schemas.get(&id).cloned() else {
            return;
        };
        entry.schemas.remove_mut(&id);
        self.contexts.insert_mut(Arc::clone(context), entry);
        self.schema_count -= 1;
        let here = (Arc::clone(context), id);
        let guid = schema.guid;
        let places = self.guids.get(&guid).map_or_else(Vec::new, |places| places.to_vec());
        let places: Vec<_> = places.into_iter().filter(|place| *place != here).collect();
        if places.is_empty() {
            self.guids.remove_mut(&guid);
        } else {
            self.guids.insert_mut(guid, places.into());
        }
        for reference in schema.identity.referred(context) {
            let mut referrers = self.referrers.get(&reference).cloned().unwrap_or_default();
            referrers.remove_mut(&here);
            if referrers.is_empty() {
                self.referrers.remove_mut(&reference);
            } else {
                self.referrers.insert_mut(reference, referrers);
            }
        }
    }

    fn put_version(&mut self, subject: Arc<str>, version: Version) {
        if let Some(before) = self.version(&subject, version.number).copied()
            && before.id != version.id
        {
            self.change_uses(&subject, before.id, |uses| {
                uses.remove_mut(&(Arc::clone(&subject), version.number));
            });
        }
        self.change_uses(&subject, version.id, |uses| {
            uses.insert_mut((Arc::clone(&subject), version.number));
        });
        // In place: only an older state that still has the map makes it be copied, and that once.
        if let Some(versions) = self.subjects.get_mut(&subject) {
            Arc::make_mut(versions).insert(version.number, version);
        } else {
            let versions = BTreeMap::from([(version.number, version)]);
            self.subjects.insert_mut(subject, Arc::new(versions));
        }
    }

    fn remove_version(&mut self, subject: &Arc<str>, number: u32) {
        let Some(versions) = self.subjects.get_mut(subject) else {
            return;
        };
        let Some(version) = Arc::make_mut(versions).remove(&number) else {
            return;
        };
        let is_last = versions.is_empty();
        self.change_uses(subject, version.id, |uses| {
            uses.remove_mut(&(Arc::clone(subject), number));
        });
        if is_last {
            self.subjects.remove_mut(subject);
        }
    }

    fn change_uses(
        &mut self,
        subject: &str,
        id: u32,
        change: impl FnOnce(&mut RedBlackTreeSetSync<(Arc<str>, u32)>),
    ) {
        let context = Name::of(subject).context;
        let Some((name, mut entry)) =
            self.contexts.get_key_value(context).map(|(name, entry)| (name.clone(), entry.clone()))
        else {
            return;
        };
        if let Some(mut schema) = entry.schemas.get(&id).cloned() {
            change(&mut schema.uses);
            entry.schemas.insert_mut(id, schema);
            self.contexts.insert_mut(name, entry);
        }
    }

    /// Takes over the counters of a state before: an id that any node knows of is never given out
    /// again, even if the store was set back since. Gives what the store is to be told of it.
    pub(crate) fn keep_ids_of(&mut self, before: &Self) -> Vec<Change> {
        let mut raised = Vec::new();
        for (context, known) in &before.contexts {
            let mut entry = self.context(context);
            if known.id_next > entry.id_next {
                entry.id_next = known.id_next;
                if entry.listed {
                    let (context, id_next) = (Arc::clone(context), known.id_next);
                    raised.push(Change::PutContext { context, id_next });
                }
                self.contexts.insert_mut(Arc::clone(context), entry);
            }
        }
        raised
    }

    /// The names of the contexts that have been used, after the default one.
    pub(crate) fn contexts(&self) -> impl Iterator<Item = &Arc<str>> {
        let listed = self.contexts.iter().filter(|(_, context)| context.listed);
        listed.map(|(name, _)| name).filter(|name| ***name != *CONTEXT_DEFAULT)
    }

    /// Whether a context is there. The default one always is.
    pub(crate) fn has_context(&self, context: &str) -> bool {
        context == CONTEXT_DEFAULT || self.contexts.get(context).is_some_and(|c| c.listed)
    }

    /// The id that the next new schema of a context gets.
    pub(crate) fn id_next(&self, context: &str) -> u32 {
        self.contexts.get(context).map_or(1, |context| context.id_next)
    }

    /// How many schemas there are.
    pub(crate) fn schema_count(&self) -> usize {
        self.schema_count
    }

    /// How many subjects there are, soft-deleted ones included.
    pub(crate) fn subject_count(&self) -> usize {
        self.subjects.size()
    }

    /// The schema with this id in a context.
    pub(crate) fn schema(&self, context: &str, id: u32) -> Option<&Identity> {
        Some(&self.contexts.get(context)?.schemas.get(&id)?.identity)
    }

    /// The schema of a version of a subject.
    pub(crate) fn schema_of(&self, subject: &str, version: &Version) -> Option<&Identity> {
        self.schema(Name::of(subject).context, version.id)
    }

    /// The same, with what the schema is known by.
    pub(crate) fn schema_with_guid(
        &self,
        subject: &str,
        version: &Version,
    ) -> Option<(&Identity, Guid)> {
        let entry = self.contexts.get(Name::of(subject).context)?.schemas.get(&version.id)?;
        Some((&entry.identity, entry.guid))
    }

    /// The id of this schema in a context.
    pub(crate) fn id_of(&self, context: &str, identity: &Identity) -> Option<u32> {
        let places = self.guids.get(&identity.guid())?;
        places
            .iter()
            .find(|(name, id)| **name == *context && self.schema(context, *id) == Some(identity))
            .map(|(_, id)| *id)
    }

    /// Where schemas of this guid are: context and id, by context.
    pub(crate) fn places(&self, guid: &Guid) -> Vec<(Arc<str>, u32)> {
        self.guids.get(guid).map_or_else(Vec::new, |places| places.to_vec())
    }

    /// The versions that have this id, by subject, then number; soft-deleted ones included.
    pub(crate) fn uses(
        &self,
        context: &str,
        id: u32,
    ) -> impl Iterator<Item = (&Arc<str>, &Version)> {
        let entry = self.contexts.get(context).and_then(|context| context.schemas.get(&id));
        entry.into_iter().flat_map(|entry| &entry.uses).filter_map(|(subject, number)| {
            self.subjects.get(subject)?.get(number).map(|version| (subject, version))
        })
    }

    /// The subject's own copy of its name.
    pub(crate) fn subject_name(&self, subject: &str) -> Option<Arc<str>> {
        self.subjects.get_key_value(subject).map(|(name, _)| Arc::clone(name))
    }

    /// The context's own copy of its name.
    pub(crate) fn context_name(&self, context: &str) -> Arc<str> {
        self.contexts.get_key_value(context).map_or_else(|| Arc::from(context), |(n, _)| n.clone())
    }

    /// The names of the subjects that a prefix means, in the order of their bytes. A subject
    /// counts as deleted if all its versions are.
    pub(crate) fn subjects<'a>(
        &'a self,
        prefix: &'a Prefix<'a>,
        filter: Filter,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let common: Arc<str> = Arc::from(&*prefix.common());
        let from = (Bound::Included(Arc::clone(&common)), Bound::Unbounded);
        self.subjects
            .range::<Arc<str>, _>(from)
            .take_while(move |(name, _)| name.starts_with(&*common))
            .filter(|(name, _)| prefix.takes(name))
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
            .flat_map(|versions| versions.values())
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
        self.referrers_seen(subject, number, filter, |_| true)
    }

    /// The same of those that a `seen` subject has.
    pub(crate) fn referrers_seen(
        &self,
        subject: &str,
        number: u32,
        filter: Filter,
        seen: impl Fn(&str) -> bool,
    ) -> Vec<u32> {
        let Some(referrers) = self.referrers.get(&(Arc::from(subject), number)) else {
            return Vec::new();
        };
        let wanted = |(context, id): &&(Arc<str>, u32)| {
            let mut uses = self.uses(context, *id);
            uses.any(|(user, version)| filter.takes(version.deleted) && seen(user))
        };
        let mut ids: Vec<u32> = referrers.iter().filter(wanted).map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// The configuration that a scope has of its own.
    pub(crate) fn setting(&self, scope: &str) -> Option<&Arc<Setting>> {
        self.settings.get(scope)
    }

    /// Every scope with a configuration of its own.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Setting>)> {
        self.settings.iter()
    }

    /// The configuration that holds for a subject or a context: its own, or that of the scope around
    /// it. A level that is not set there comes from further out.
    pub(crate) fn setting_in_scope(&self, subject: &str) -> Setting {
        let mut found = scopes(subject).into_iter().filter_map(|scope| self.settings.get(&*scope));
        let mut setting = found.next().map_or_else(Setting::default, |own| (**own).clone());
        let level = || found.find_map(|outer| outer.compatibility_level);
        setting.compatibility_level =
            setting.compatibility_level.or_else(level).or(Some(CompatibilityLevel::Backward));
        setting
    }

    /// The mode that a scope has of its own; the one that overrides all, if that is set.
    pub(crate) fn mode(&self, scope: &str) -> Option<Mode> {
        self.mode_override().or_else(|| self.modes.get(scope).copied())
    }

    /// The mode that holds for a subject or a context.
    pub(crate) fn mode_in_scope(&self, subject: &str) -> Mode {
        let own = || scopes(subject).into_iter().find_map(|scope| self.modes.get(&*scope).copied());
        self.mode_override().or_else(own).unwrap_or_default()
    }

    fn mode_override(&self) -> Option<Mode> {
        let wanted = |mode: &&Mode| **mode == Mode::ReadOnlyOverride;
        let of = |scope| self.modes.get(scope).filter(wanted).copied();
        of(SCOPE_GLOBAL).or_else(|| of(SCOPE_ALL))
    }

    /// Every scope with a mode of its own.
    pub(crate) fn modes(&self) -> impl Iterator<Item = (&Arc<str>, Mode)> {
        self.modes.iter().map(|(scope, mode)| (scope, *mode))
    }

    /// The consumers of a subject.
    pub(crate) fn consumers_of(&self, subject: &str) -> Consumers {
        self.consumers.get(subject).map(Arc::clone).unwrap_or_default()
    }

    /// Every subject that has consumers, in order.
    pub(crate) fn consumers(&self) -> impl Iterator<Item = (&Arc<str>, &Consumers)> {
        self.consumers.iter()
    }

    /// How many scopes have a configuration or a mode of their own.
    pub(crate) fn scope_count(&self) -> usize {
        self.settings.size() + self.modes.size()
    }
}

/// What a subject or context takes its settings from, the nearest first.
fn scopes(subject: &str) -> [Cow<'_, str>; 3] {
    let context = Name::of(subject).scope();
    [Cow::Borrowed(subject), Cow::Owned(context), Cow::Borrowed(SCOPE_ALL)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str, references: &[(&str, u32)]) -> Identity {
        let reference = |(subject, version): &(&str, u32)| Reference {
            name: "n".into(),
            subject: (*subject).into(),
            version: *version,
        };
        Identity::new(text, references.iter().map(reference).collect())
    }

    fn add(id: u32, identity: Identity) -> Change {
        Change::AddSchema { context: CONTEXT_DEFAULT.into(), id, identity }
    }

    fn put(subject: &str, number: u32, id: u32, deleted: bool) -> Change {
        let version = Version { number, id, deleted, created_ms: 0 };
        Change::PutVersion { subject: subject.into(), version }
    }

    fn state(changes: impl IntoIterator<Item = Change>) -> State {
        let mut state = State::default();
        changes.into_iter().for_each(|change| state.apply(change));
        state
    }

    fn names(state: &State, prefix: Option<&str>, filter: Filter) -> Vec<String> {
        let prefix = Prefix::of(prefix);
        state.subjects(&prefix, filter).map(ToString::to_string).collect()
    }

    #[test]
    fn a_subject_is_deleted_when_all_its_versions_are() {
        let state = state([
            add(1, identity("x", &[])),
            put("a", 1, 1, true),
            put("b", 1, 1, true),
            put("b", 2, 1, false),
        ]);
        assert_eq!(names(&state, None, Filter::Live), ["b"]);
        assert_eq!(names(&state, None, Filter::WithDeleted), ["a", "b"]);
        assert_eq!(names(&state, None, Filter::DeletedOnly), ["a"]);
    }

    #[test]
    fn a_prefix_takes_neither_neighbour() {
        let subjects = ["a", "ab", "ab\u{10ffff}", "ac", ":.c:ab"];
        let puts = subjects.map(|subject| put(subject, 1, 1, false));
        let state = state(std::iter::once(add(1, identity("x", &[]))).chain(puts));
        assert_eq!(names(&state, Some("ab"), Filter::Live), ["ab", "ab\u{10ffff}"]);
        assert_eq!(names(&state, Some(":*:ab"), Filter::Live), [":.c:ab", "ab", "ab\u{10ffff}"]);
    }

    #[test]
    fn ids_stay_used_up_when_their_schema_goes() {
        let remove = Change::RemoveSchema { context: CONTEXT_DEFAULT.into(), id: 1 };
        let state = state([add(1, identity("x", &[])), remove]);
        assert_eq!((state.id_next(CONTEXT_DEFAULT), state.schema_count()), (2, 0));
        assert_eq!(state.id_of(CONTEXT_DEFAULT, &identity("x", &[])), None);
    }

    #[test]
    fn an_id_known_before_is_not_given_out_after_the_store_was_set_back() {
        let before = state([add(7, identity("x", &[]))]);
        let mut after = state([add(3, identity("x", &[]))]);
        assert_eq!(after.keep_ids_of(&before).len(), 1);
        assert_eq!(after.id_next(CONTEXT_DEFAULT), 8);
    }

    #[test]
    fn a_reference_counts_while_a_version_that_makes_it_is_live() {
        let mut state = state([
            add(1, identity("x", &[])),
            put("base", 1, 1, false),
            add(2, identity("y", &[("base", 1)])),
            put("user", 1, 2, false),
        ]);
        assert_eq!(state.referrers("base", 1, Filter::Live), [2]);
        state.apply(put("user", 1, 2, true));
        assert!(state.referrers("base", 1, Filter::Live).is_empty());
        assert_eq!(state.referrers("base", 1, Filter::DeletedOnly), [2]);
        state.apply(Change::RemoveVersion { subject: "user".into(), number: 1 });
        state.apply(Change::RemoveSchema { context: CONTEXT_DEFAULT.into(), id: 2 });
        assert!(state.referrers("base", 1, Filter::WithDeleted).is_empty());
    }

    #[test]
    fn each_context_has_its_own_ids_and_settings() {
        let context: Arc<str> = ".c".into();
        let full =
            Setting { compatibility_level: Some(CompatibilityLevel::Full), ..Setting::default() };
        let state = state([
            add(5, identity("x", &[])),
            Change::PutContext { context: context.clone(), id_next: 1 },
            Change::AddSchema { context, id: 1, identity: identity("x", &[]) },
            Change::SetSetting { scope: ":.c:".into(), setting: Arc::new(full) },
            Change::SetMode { scope: ":.c:".into(), mode: Mode::Import },
        ]);
        assert_eq!((state.id_next("."), state.id_next(".c")), (6, 2));
        assert_eq!(state.id_of(".c", &identity("x", &[])), Some(1));
        let level = |subject| state.setting_in_scope(subject).compatibility_level;
        assert_eq!(level(":.c:a"), Some(CompatibilityLevel::Full));
        assert_eq!(level("a"), Some(CompatibilityLevel::Backward));
        assert_eq!(state.mode_in_scope(":.c:a"), Mode::Import);
        let guid = identity("x", &[]).guid();
        assert_eq!(state.places(&guid), [(".".into(), 5), (".c".into(), 1)]);
        assert_eq!(state.contexts().map(AsRef::<str>::as_ref).collect::<Vec<_>>(), [".c"]);
    }
}
