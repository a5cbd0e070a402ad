//! What is answered from memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Registry;
use crate::decide;
use crate::refusal::Refusal;
use crate::setting::{Mode, Setting};
use crate::state::{Filter, Guid, Identity, State, Version};
use crate::subject::{CONTEXT_DEFAULT, Name, Prefix, beside, normalized};
use crate::tags::{self, TaggedEntity};
use crate::version::VersionSpec;

/// The largest page of subjects in one answer, and the page where none is asked for.
pub const SUBJECTS_PAGE_MAX: usize = 20_000;

/// The largest page of schemas in one answer, and the page where none is asked for.
pub const SCHEMAS_PAGE_MAX: usize = 1_000;

/// The largest page of versions or ids in one answer, and the page where none is asked for: as
/// many as a subject may have by default, so that clients which know no pages miss nothing.
pub const VERSIONS_PAGE_MAX: usize = 10_000;

/// A part of a list, as a request asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    /// How many entries to leave out at the beginning.
    pub offset: usize,
    /// How many entries at most; the largest page where it is absent, 0 or larger than that.
    pub limit: Option<usize>,
}

impl Page {
    pub(super) fn of<T>(self, entries: impl Iterator<Item = T>, limit_max: usize) -> Vec<T> {
        let limit = self.limit.filter(|limit| (1..=limit_max).contains(limit));
        entries.skip(self.offset).take(limit.unwrap_or(limit_max)).collect()
    }
}

/// One version of a subject with its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectVersion {
    /// The subject.
    pub subject: Arc<str>,
    /// The number of the version, from 1.
    pub version: u32,
    /// The id of the schema, in the subject's context.
    pub id: u32,
    /// Whether the version is soft-deleted.
    pub deleted: bool,
    /// When it was registered, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub created_ms: i64,
    /// The schema.
    pub schema: Identity,
    /// What the schema is known by.
    pub guid: Guid,
    /// Names that mean the subject; empty unless they were asked for.
    pub aliases: Vec<Arc<str>>,
}

impl Registry {
    /// The names of the subjects that a prefix means and that may be `seen`, in order; without one, of
    /// all contexts.
    #[must_use]
    pub fn subjects(
        &self,
        prefix: Option<&str>,
        filter: Filter,
        seen: impl Fn(&str) -> bool,
        page: Page,
    ) -> Vec<Arc<str>> {
        let (state, prefix) = (self.state(), Prefix::of(prefix));
        let names = state.subjects(&prefix, filter).filter(|name| seen(name));
        page.of(names.cloned(), SUBJECTS_PAGE_MAX)
    }

    /// The names of the contexts that begin with a prefix and may be `seen`, the default one first.
    #[must_use]
    pub fn contexts(&self, prefix: &str, seen: impl Fn(&str) -> bool, page: Page) -> Vec<Arc<str>> {
        let state = self.state();
        let names = std::iter::once(Arc::from(CONTEXT_DEFAULT)).chain(state.contexts().cloned());
        let names = names.filter(|name| name.starts_with(prefix) && seen(name));
        page.of(names, SUBJECTS_PAGE_MAX)
    }

    /// The numbers of a subject's versions, in order.
    ///
    /// # Errors
    ///
    /// 40401 without such a subject; a soft-deleted one is there only if the filter takes it.
    pub fn versions(&self, subject: &str, filter: Filter, page: Page) -> Result<Vec<u32>, Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let visible = if filter == Filter::Live { Filter::Live } else { Filter::WithDeleted };
        if !state.has_subject(&subject, visible) {
            return Err(Refusal::SubjectNotFound(subject));
        }
        let numbers = state.versions(&subject, filter).map(|version| version.number);
        Ok(page.of(numbers, VERSIONS_PAGE_MAX))
    }

    /// One version of a subject; soft-deleted ones only with `deleted`. A subject of the default
    /// context that is not there is looked for in the others.
    ///
    /// # Errors
    ///
    /// 40401, 40402.
    pub fn version(
        &self,
        subject: &str,
        spec: VersionSpec,
        deleted: bool,
    ) -> Result<SubjectVersion, Refusal> {
        self.version_seen(subject, spec, deleted, |_| true)
    }

    /// The same for somebody who may not see every other context's subjects.
    ///
    /// # Errors
    ///
    /// 40401, 40402.
    pub fn version_seen(
        &self,
        subject: &str,
        spec: VersionSpec,
        deleted: bool,
        seen: impl Fn(&str) -> bool,
    ) -> Result<SubjectVersion, Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let (subject, version) = decide::get_version(&state, &subject, spec, deleted, seen)?;
        subject_version(&state, subject, version)
    }

    /// The newest version of a subject whose metadata has these properties.
    ///
    /// # Errors
    ///
    /// 40401, 40403.
    pub fn version_with_metadata(
        &self,
        subject: &str,
        properties: &BTreeMap<String, String>,
        deleted: bool,
    ) -> Result<SubjectVersion, Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let filter = if deleted { Filter::WithDeleted } else { Filter::Live };
        if !state.has_subject(&subject, filter) {
            return Err(Refusal::SubjectNotFound(subject));
        }
        let has_all = |version: &&Version| {
            let schema = state.schema_of(&subject, version);
            let metadata = schema.and_then(|schema| schema.metadata.as_deref());
            metadata.is_some_and(|metadata| {
                properties.iter().all(|(name, value)| metadata.property(name) == Some(value))
            })
        };
        let found = state.versions(&subject, filter).rev().find(has_all).copied();
        let version = found.ok_or(Refusal::SchemaNotFound(None))?;
        subject_version(&state, Arc::from(subject), version)
    }

    /// The ids of the schemas that refer to a version and that a `seen` subject has, in order; with the
    /// subject that the version is of.
    ///
    /// # Errors
    ///
    /// 40401, 40402.
    pub fn referenced_by(
        &self,
        subject: &str,
        spec: VersionSpec,
        filter: Filter,
        seen: impl Fn(&str) -> bool,
        page: Page,
    ) -> Result<(Arc<str>, Vec<u32>), Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let (subject, version) = decide::get_version(&state, &subject, spec, true, &seen)?;
        let ids = state.referrers_seen(&subject, version.number, filter, seen);
        Ok((subject, page.of(ids.into_iter(), VERSIONS_PAGE_MAX)))
    }

    /// Versions of the subjects that a prefix means, by subject, then number; with `latest_only` the
    /// newest of each that the filter takes; with `aliases` those of subjects too that an alias of
    /// this prefix means. `wanted` chooses among them, by subject and schema, before they are counted.
    #[must_use]
    pub fn schemas(
        &self,
        prefix: Option<&str>,
        filter: Filter,
        latest_only: bool,
        aliases: bool,
        wanted: impl Fn(&str, &Identity) -> bool,
        page: Page,
    ) -> Vec<SubjectVersion> {
        let (state, prefix) = (self.state(), Prefix::of(prefix));
        let aliases = if aliases { alias_names(&state) } else { BTreeMap::new() };
        let mut names: Vec<Arc<str>> =
            state.subjects(&prefix, Filter::WithDeleted).cloned().collect();
        let meant = |names: &[Arc<str>]| names.iter().any(|alias| prefix.takes(alias));
        names.extend(aliases.iter().filter(|(_, by)| meant(by)).map(|(name, _)| name.clone()));
        names.sort();
        names.dedup();
        let versions = names.iter().flat_map(|name| {
            let count = state.versions(name, filter).count();
            let skipped = if latest_only { count.saturating_sub(1) } else { 0 };
            state.versions(name, filter).skip(skipped).map(move |version| (name, *version))
        });
        let versions = versions.filter(|(name, version)| {
            state.schema_of(name, version).is_some_and(|schema| wanted(name, schema))
        });
        let found = page.of(versions, SCHEMAS_PAGE_MAX).into_iter();
        found
            .filter_map(|(name, version)| {
                let mut found = subject_version(&state, Arc::clone(name), version).ok()?;
                found.aliases = aliases.get(name).cloned().unwrap_or_default();
                Some(found)
            })
            .collect()
    }

    /// The schema with this id, soft-deleted or not, in the context of a subject: `:.ctx:`, or the
    /// default one. A subject that is named must have it, unless it is one of the default context:
    /// that one is looked for in the others.
    ///
    /// # Errors
    ///
    /// 40403.
    pub fn schema(&self, id: u32, subject: &str) -> Result<(Arc<str>, Identity), Refusal> {
        self.schema_seen(id, subject, |_| true)
    }

    /// The same for somebody who may not see every other context's subjects.
    ///
    /// # Errors
    ///
    /// 40403.
    pub fn schema_seen(
        &self,
        id: u32,
        subject: &str,
        seen: impl Fn(&str) -> bool,
    ) -> Result<(Arc<str>, Identity), Refusal> {
        let state = self.state();
        let context = context_of(&state, id, &self.subject(subject), seen);
        let found = context.and_then(|context| {
            let schema = state.schema(&context, id)?.clone();
            Some((context, schema))
        });
        found.ok_or(Refusal::SchemaNotFound(Some(id)))
    }

    /// Reads the schema that has this id in the default context, without a copy of it.
    pub(crate) fn with_schema<T>(&self, id: u32, read: impl FnOnce(&Identity) -> T) -> Option<T> {
        self.state().schema(CONTEXT_DEFAULT, id).map(read)
    }

    /// The schema with this guid, with the first context where a `seen` subject has it.
    ///
    /// # Errors
    ///
    /// 40403.
    pub fn schema_by_guid(
        &self,
        guid: &Guid,
        seen: impl Fn(&str) -> bool,
    ) -> Result<(Arc<str>, Identity), Refusal> {
        let state = self.state();
        let places = self.ids_of_guid(guid, seen);
        let found = places.into_iter().find_map(|(context, id)| {
            let schema = state.schema(&context, id)?.clone();
            Some((context, schema))
        });
        found.ok_or(Refusal::SchemaNotFound(None))
    }

    /// Context and id of the schemas with this guid that a `seen` subject has.
    #[must_use]
    pub fn ids_of_guid(&self, guid: &Guid, seen: impl Fn(&str) -> bool) -> Vec<(Arc<str>, u32)> {
        let state = self.state();
        let mut places = state.places(guid);
        places.retain(|(context, id)| state.uses(context, *id).any(|(subject, _)| seen(subject)));
        places
    }

    /// The largest id given out so far in a context, 0 if none was.
    #[must_use]
    pub fn id_max(&self, context: &str) -> u32 {
        self.state().id_next(context).saturating_sub(1)
    }

    /// The versions that hold the schema with this id, of `seen` subjects, by subject, then number; the
    /// context as for
    /// [`Self::schema`].
    ///
    /// # Errors
    ///
    /// 40403, in the form without the id, as Confluent answers here.
    pub fn versions_of(
        &self,
        id: u32,
        subject: &str,
        filter: Filter,
        seen: impl Fn(&str) -> bool,
        page: Page,
    ) -> Result<Vec<(Arc<str>, u32)>, Refusal> {
        let state = self.state();
        let context = context_of(&state, id, &self.subject(subject), &seen);
        let context = context.ok_or(Refusal::SchemaNotFound(None))?;
        let uses = state
            .uses(&context, id)
            .filter(|(subject, version)| filter.takes(version.deleted) && seen(subject))
            .map(|(subject, version)| (Arc::clone(subject), version.number));
        Ok(page.of(uses, VERSIONS_PAGE_MAX))
    }

    /// The `seen` subjects that hold the schema with this id, in order; the context as for
    /// [`Self::schema`].
    ///
    /// # Errors
    ///
    /// 40403, in the form without the id, as Confluent answers here.
    pub fn subjects_of(
        &self,
        id: u32,
        subject: &str,
        filter: Filter,
        seen: impl Fn(&str) -> bool,
        page: Page,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let state = self.state();
        let context = context_of(&state, id, &self.subject(subject), &seen);
        let context = context.ok_or(Refusal::SchemaNotFound(None))?;
        let mut names: Vec<_> = state
            .uses(&context, id)
            .filter(|(subject, version)| filter.takes(version.deleted) && seen(subject))
            .map(|(subject, _)| Arc::clone(subject))
            .collect();
        names.dedup();
        Ok(page.of(names.into_iter(), SUBJECTS_PAGE_MAX))
    }

    /// The text of a schema with everything that it refers to written out. Needs a deep stack.
    ///
    /// # Errors
    ///
    /// 42201 if what it refers to is gone.
    pub fn resolved_text(&self, subject: &str, schema: &Identity) -> Result<String, Refusal> {
        self.parser.resolve(&self.state(), subject, schema).map(|resolved| resolved.text())
    }

    /// What of a schema has one of these tags, `*` for any.
    ///
    /// # Errors
    ///
    /// 42201 if its text is no JSON.
    pub(crate) fn tagged(
        &self,
        schema: &Identity,
        wanted: &[String],
    ) -> Result<Vec<TaggedEntity>, Refusal> {
        tags::find(&schema.text, wanted)
    }

    /// The configuration of a scope; with `default_to_global` the one that holds for it. Without a
    /// scope, the global one.
    ///
    /// # Errors
    ///
    /// 40408 if it has none of its own and the one around it is not wanted.
    pub fn setting(
        &self,
        scope: Option<&str>,
        default_to_global: bool,
    ) -> Result<Setting, Refusal> {
        let state = self.state();
        let Some(scope) = scope.map(normalized) else { return Ok(state.setting_in_scope("")) };
        if default_to_global {
            return Ok(state.setting_in_scope(&scope));
        }
        match state.setting(&scope) {
            Some(setting) => Ok((**setting).clone()),
            None => Err(Refusal::LevelNotConfigured(scope.into_owned())),
        }
    }

    /// The mode of a scope; with `default_to_global` the one that holds for it. Without a scope, the
    /// global one.
    ///
    /// # Errors
    ///
    /// 40409 if it has none of its own and the one around it is not wanted.
    pub fn mode(&self, scope: Option<&str>, default_to_global: bool) -> Result<Mode, Refusal> {
        let state = self.state();
        let Some(scope) = scope.map(normalized) else { return Ok(state.mode_in_scope("")) };
        if default_to_global {
            return Ok(state.mode_in_scope(&scope));
        }
        state.mode(&scope).ok_or_else(|| Refusal::ModeNotConfigured(scope.into_owned()))
    }
}

/// The subjects that aliases mean, with the aliases of each.
fn alias_names(state: &State) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let mut names: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
    for (scope, setting) in state.settings() {
        if let Some(alias) = setting.alias.as_deref().filter(|alias| !alias.is_empty()) {
            names.entry(Arc::from(&*beside(scope, alias))).or_default().push(Arc::clone(scope));
        }
    }
    names
}

/// In which context an id is meant; of the other contexts, by subjects that are `seen`.
fn context_of(
    state: &State,
    id: u32,
    subject: &str,
    seen: impl Fn(&str) -> bool,
) -> Option<Arc<str>> {
    let name = Name::of(subject);
    let context = state.context_name(name.context);
    let has = |subject: &str| {
        state.versions(subject, Filter::WithDeleted).any(|version| version.id == id)
    };
    let is_there = state.schema(&context, id).is_some();
    if name.subject.is_empty() {
        return is_there.then_some(context);
    }
    if !name.is_default() || has(subject) {
        return (is_there && has(subject)).then_some(context);
    }
    let is_seen = |subject: String| seen(&subject) && has(&subject);
    let elsewhere = state.contexts().find(|context| is_seen(format!(":{context}:{subject}")));
    elsewhere.cloned().or_else(|| is_there.then_some(context))
}

pub(super) fn subject_version(
    state: &State,
    subject: Arc<str>,
    version: Version,
) -> Result<SubjectVersion, Refusal> {
    let missing = || Refusal::SchemaNotFound(Some(version.id));
    let (schema, guid) = state.schema_with_guid(&subject, &version).ok_or_else(missing)?;
    let schema = schema.clone();
    Ok(SubjectVersion {
        subject,
        version: version.number,
        id: version.id,
        deleted: version.deleted,
        created_ms: version.created_ms,
        schema,
        guid,
        aliases: Vec::new(),
    })
}
