//! The registry itself: a synchronous machine over the state in memory and the store on disk.
//!
//! Reads are answered from memory alone. A write decides on the state, commits to the store, and
//! only then shows in memory; writers go one after another, readers never wait for the disk. No
//! HTTP and no tasks here: [`crate::http`] calls the writing operations from a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tidemesh_model::Result;

use crate::avro::{self, Candidate};
use crate::config::{IncompatibleCode, Limits, RegistryConfig, StoreConfig};
use crate::decide::{self, Decision};
use crate::level::CompatibilityLevel;
use crate::refusal::Refusal;
use crate::state::{Change, Filter, Identity, Reference, State, Version};
use crate::store::Store;
use crate::version::{VersionSpec, check_subject, explicit, subject_name, subject_prefix};

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
    fn of<T>(self, entries: impl Iterator<Item = T>, limit_max: usize) -> Vec<T> {
        let limit = self.limit.filter(|limit| (1..=limit_max).contains(limit));
        entries.skip(self.offset).take(limit.unwrap_or(limit_max)).collect()
    }
}

/// A schema that somebody sends: to register it, to look it up, or to have it checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission {
    /// The schema's text; absent, the subject's latest is meant.
    pub text: Option<String>,
    /// `AVRO`, which is also meant where it is absent.
    pub schema_type: Option<String>,
    /// What its names refer to: name, subject and version, where -1 is the latest.
    pub references: Vec<(String, String, i64)>,
    /// An id wished for; allowed in import mode only, which this registry does not have.
    pub id: Option<i64>,
    /// The version it is expected to get; 0, less and absent mean any.
    pub version: Option<i64>,
    /// Whether to bring the text into a normal form first (`normalize=true`).
    pub normalize: bool,
}

/// One version of a subject with its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectVersion {
    /// The subject.
    pub subject: Arc<str>,
    /// The number of the version, from 1.
    pub version: u32,
    /// The id of the schema.
    pub id: u32,
    /// Whether the version is soft-deleted.
    pub deleted: bool,
    /// The schema.
    pub schema: Identity,
}

/// What a registration gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The id of the schema: the same for the same schema in every subject.
    pub id: u32,
    /// The version of the subject.
    pub version: u32,
}

/// The disk side, which one writer at a time holds.
#[derive(Debug)]
struct Disk {
    store: Store,
    /// A commit failed, so the disk may hold what memory does not: it is read again first.
    suspect: bool,
}

/// A schema registry.
///
/// Its operations may be called from any thread; those that write wait for the disk.
#[derive(Debug)]
pub struct Registry {
    /// Swapped by each write; who reads keeps the one it began with, however long that takes.
    state: RwLock<Arc<State>>,
    disk: Mutex<Disk>,
    failed: AtomicBool,
    limits: Limits,
    incompatible_code: IncompatibleCode,
    registry_id: String,
}

impl Registry {
    /// Opens the store and reads all of it.
    ///
    /// # Errors
    ///
    /// `NewerVersion` if a newer program wrote the store, `Conflict` if another process holds it,
    /// `Config` if the file is none of ours, `Corrupt` or `Storage` as the disk has it.
    pub fn open(config: &RegistryConfig) -> Result<Self> {
        let StoreConfig::Sqlite(file) = &config.store;
        let store = Store::open(file)?;
        let state = store.load()?;
        let registry = Self {
            registry_id: store.registry_id().to_owned(),
            state: RwLock::new(Arc::new(state)),
            disk: Mutex::new(Disk { store, suspect: false }),
            failed: AtomicBool::new(false),
            limits: config.limits.clone(),
            incompatible_code: config.incompatible_code,
        };
        registry.report_size();
        Ok(registry)
    }

    /// The bounds it works in.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The `error_code` of an incompatible registration.
    #[must_use]
    pub fn incompatible_code(&self) -> IncompatibleCode {
        self.incompatible_code
    }

    /// A name that is made with the store and stays with it.
    #[must_use]
    pub fn registry_id(&self) -> &str {
        &self.registry_id
    }

    /// Registers a schema under a subject. The same schema gives the same id and version again.
    ///
    /// # Errors
    ///
    /// Confluent's 409 or 40901, 42201, 42205, 42208, 42209, 50001; then nothing is registered.
    pub fn register(&self, subject: &str, submission: &Submission) -> Result<Registered, Refusal> {
        let subject = subject_name(subject);
        self.check_registration(subject, submission)?;
        let version_wanted = explicit(submission.version)?;
        self.write("Register schema operation failed while writing to the store", |state| {
            let Some(candidate) = self.parse(state, submission)? else {
                // Without a text the latest schema is meant, which is registered already.
                let latest = state.latest(subject).copied();
                return latest.map(|version| (Vec::new(), version)).ok_or_else(empty_schema);
            };
            decide::register(state, &self.limits, subject, &candidate, version_wanted)
        })
        .map(registered)
    }

    /// The registration of this schema if it is there already: all that most calls of `register`
    /// need, without waiting for the disk.
    ///
    /// # Errors
    ///
    /// As for [`Self::register`], the incompatible schema apart.
    pub fn registered(
        &self,
        subject: &str,
        submission: &Submission,
    ) -> Result<Option<Registered>, Refusal> {
        let subject = subject_name(subject);
        self.check_registration(subject, submission)?;
        let wanted = explicit(submission.version)?;
        let state = self.state();
        let Some(candidate) = self.parse(&state, submission)? else {
            return Ok(None);
        };
        let found = decide::find(&state, &self.limits, subject, &candidate, Filter::Live);
        Ok(found.filter(|v| wanted.is_none_or(|wanted| wanted == v.number)).map(registered))
    }

    fn check_registration(&self, subject: &str, submission: &Submission) -> Result<(), Refusal> {
        check_subject(&self.limits, subject)?;
        if submission.id.is_some_and(|id| id >= 0) {
            let text = format!("Subject {subject} is not in import mode");
            return Err(Refusal::NotPermitted(text));
        }
        Ok(())
    }

    /// Finds the version of a subject that holds this schema.
    ///
    /// # Errors
    ///
    /// 40401 without such a subject, 40403 without such a schema in it, 42201.
    pub fn lookup(
        &self,
        subject: &str,
        submission: &Submission,
        deleted: bool,
    ) -> Result<SubjectVersion, Refusal> {
        let subject = subject_name(subject);
        let filter = if deleted { Filter::WithDeleted } else { Filter::Live };
        let state = self.state();
        let found = match self.parse(&state, submission)? {
            Some(candidate) => decide::find(&state, &self.limits, subject, &candidate, filter),
            None => None,
        };
        match found {
            Some(version) => subject_version(&state, subject, version),
            None if state.has_subject(subject, filter) => Err(Refusal::SchemaNotFound(None)),
            None => Err(Refusal::SubjectNotFound(subject.to_owned())),
        }
    }

    /// What is wrong with a schema under the subject's level: nothing, if it could be registered.
    /// With `version`, against that one only; a subject without versions takes every schema.
    ///
    /// # Errors
    ///
    /// 40402 without such a version, 42201.
    pub fn check(
        &self,
        subject: &str,
        version: Option<VersionSpec>,
        submission: &Submission,
    ) -> Result<Vec<String>, Refusal> {
        let subject = subject_name(subject);
        let state = self.state();
        let only = match version {
            Some(spec @ VersionSpec::Number(_)) => Some(
                decide::get_version(&state, subject, spec, false)
                    .map_err(|_| Refusal::VersionNotFound(spec.number()))?,
            ),
            Some(VersionSpec::Latest) => state.latest(subject),
            None => None,
        };
        let candidate = self.parse(&state, submission)?.ok_or_else(empty_schema)?;
        match (version, only) {
            (None, _) => decide::incompatibilities(&state, &self.limits, subject, &candidate),
            (Some(_), None) => Ok(Vec::new()),
            (Some(_), Some(only)) => {
                decide::against(&state, &self.limits, subject, &candidate, &[only])
            }
        }
    }

    /// The names of the subjects that begin with a prefix, in order.
    #[must_use]
    pub fn subjects(&self, prefix: &str, filter: Filter, page: Page) -> Vec<Arc<str>> {
        let state = self.state();
        let names = state.subjects(subject_prefix(prefix), filter).cloned();
        page.of(names, SUBJECTS_PAGE_MAX)
    }

    /// The numbers of a subject's versions, in order.
    ///
    /// # Errors
    ///
    /// 40401 without such a subject; a soft-deleted one is there only if the filter takes it.
    pub fn versions(&self, subject: &str, filter: Filter, page: Page) -> Result<Vec<u32>, Refusal> {
        let subject = subject_name(subject);
        let state = self.state();
        let visible = if filter == Filter::Live { Filter::Live } else { Filter::WithDeleted };
        if !state.has_subject(subject, visible) {
            return Err(Refusal::SubjectNotFound(subject.to_owned()));
        }
        let numbers = state.versions(subject, filter).map(|version| version.number);
        Ok(page.of(numbers, VERSIONS_PAGE_MAX))
    }

    /// One version of a subject; soft-deleted ones only with `deleted`.
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
        let subject = subject_name(subject);
        let state = self.state();
        let version = *decide::get_version(&state, subject, spec, deleted)?;
        subject_version(&state, subject, version)
    }

    /// The ids of the schemas that refer to a version, in order.
    ///
    /// # Errors
    ///
    /// 40401, 40402.
    pub fn referenced_by(
        &self,
        subject: &str,
        spec: VersionSpec,
        filter: Filter,
        page: Page,
    ) -> Result<Vec<u32>, Refusal> {
        let subject = subject_name(subject);
        let state = self.state();
        let number = decide::get_version(&state, subject, spec, true)?.number;
        let ids = state.referrers(subject, number, filter);
        Ok(page.of(ids.into_iter(), VERSIONS_PAGE_MAX))
    }

    /// Deletes a subject: its live versions softly, or all of them permanently once they are
    /// soft-deleted. Gives their numbers.
    ///
    /// # Errors
    ///
    /// 40401, 40404, 40405, 42206, 50001; then nothing is deleted.
    pub fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<u32>, Refusal> {
        let subject = subject_name(subject);
        self.write("Delete subject operation failed while writing to the store", |state| {
            decide::delete_subject(state, subject, permanent)
        })
    }

    /// Deletes one version: softly, or permanently once it is soft-deleted. Gives its number.
    ///
    /// # Errors
    ///
    /// 40401, 40402, 40406, 40407, 42202, 42206, 50001; then nothing is deleted.
    pub fn delete_version(
        &self,
        subject: &str,
        version: &str,
        permanent: bool,
    ) -> Result<u32, Refusal> {
        let subject = subject_name(subject);
        let spec = version.parse()?;
        self.write("Delete Schema Version operation failed while writing to the store", |state| {
            decide::delete_version(state, subject, spec, version, permanent)
        })
    }

    /// Versions of the subjects that begin with a prefix, by subject, then number; with
    /// `latest_only` the newest of each that the filter takes.
    #[must_use]
    pub fn schemas(
        &self,
        prefix: &str,
        filter: Filter,
        latest_only: bool,
        page: Page,
    ) -> Vec<SubjectVersion> {
        let state = self.state();
        let names = state.subjects(subject_prefix(prefix), Filter::WithDeleted);
        let versions = names.flat_map(|name| {
            let count = state.versions(name, filter).count();
            let skipped = if latest_only { count.saturating_sub(1) } else { 0 };
            state.versions(name, filter).skip(skipped).map(move |version| (name, *version))
        });
        page.of(versions, SCHEMAS_PAGE_MAX)
            .into_iter()
            .filter_map(|(name, version)| subject_version(&state, name, version).ok())
            .collect()
    }

    /// The schema with this id, soft-deleted or not.
    ///
    /// # Errors
    ///
    /// 40403.
    pub fn schema(&self, id: u32) -> Result<Identity, Refusal> {
        self.state().schema(id).cloned().ok_or(Refusal::SchemaNotFound(Some(id)))
    }

    /// The largest id given out so far, 0 if none was.
    #[must_use]
    pub fn id_max(&self) -> u32 {
        self.state().id_max()
    }

    /// The versions that hold the schema with this id, by subject, then number.
    ///
    /// # Errors
    ///
    /// 40403, in the form without the id, as Confluent answers here.
    pub fn versions_of(
        &self,
        id: u32,
        filter: Filter,
        page: Page,
    ) -> Result<Vec<(Arc<str>, u32)>, Refusal> {
        let state = self.state();
        state.schema(id).ok_or(Refusal::SchemaNotFound(None))?;
        let uses = state
            .uses(id)
            .filter(|(_, version)| filter.takes(version.deleted))
            .map(|(subject, version)| (Arc::clone(subject), version.number));
        Ok(page.of(uses, VERSIONS_PAGE_MAX))
    }

    /// The subjects that hold the schema with this id, in order.
    ///
    /// # Errors
    ///
    /// 40403, in the form without the id, as Confluent answers here.
    pub fn subjects_of(
        &self,
        id: u32,
        filter: Filter,
        page: Page,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let state = self.state();
        state.schema(id).ok_or(Refusal::SchemaNotFound(None))?;
        let mut names: Vec<_> = state
            .uses(id)
            .filter(|(_, version)| filter.takes(version.deleted))
            .map(|(subject, _)| Arc::clone(subject))
            .collect();
        names.dedup();
        Ok(page.of(names.into_iter(), SUBJECTS_PAGE_MAX))
    }

    /// The global compatibility level: what was set, or `BACKWARD`.
    #[must_use]
    pub fn level_global(&self) -> CompatibilityLevel {
        self.state().level_global()
    }

    /// The level of a subject; with `default_to_global` the one that holds for it.
    ///
    /// # Errors
    ///
    /// 40408 if it has none of its own and the global one is not wanted.
    pub fn level(
        &self,
        subject: &str,
        default_to_global: bool,
    ) -> Result<CompatibilityLevel, Refusal> {
        let subject = subject_name(subject);
        let state = self.state();
        if default_to_global {
            return Ok(state.level_in_scope(subject));
        }
        state.level_of(subject).ok_or_else(|| Refusal::LevelNotConfigured(subject.to_owned()))
    }

    /// Sets the level of a subject, which need not exist yet, or without one the global level.
    ///
    /// # Errors
    ///
    /// 42208, 50001.
    pub fn set_level(
        &self,
        subject: Option<&str>,
        level: CompatibilityLevel,
    ) -> Result<(), Refusal> {
        let subject = subject.map(subject_name);
        if let Some(subject) = subject {
            check_subject(&self.limits, subject)?;
        }
        self.write("Failed to update compatibility level", |state| {
            decide::check_levels(state, &self.limits, subject)?;
            Ok((vec![Change::SetLevel { subject: subject.map(Arc::from), level }], ()))
        })
    }

    /// Takes a subject's level away, or without one the global level, and gives what it was.
    ///
    /// # Errors
    ///
    /// 40401 if the subject has no level of its own, 50001.
    pub fn remove_level(&self, subject: Option<&str>) -> Result<CompatibilityLevel, Refusal> {
        let subject = subject.map(subject_name);
        self.write("Failed to delete compatibility level", |state| {
            let old = match subject {
                None => state.level_global(),
                Some(subject) => state
                    .level_of(subject)
                    .ok_or_else(|| Refusal::SubjectNotFound(subject.to_owned()))?,
            };
            Ok((vec![Change::RemoveLevel { subject: subject.map(Arc::from) }], old))
        })
    }

    /// Whether the last write to the store succeeded.
    #[must_use]
    pub fn healthy(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }

    /// Tries after a failed write whether the store works again.
    ///
    /// # Errors
    ///
    /// 50001 if it does not.
    pub fn recover(&self) -> Result<(), Refusal> {
        const MESSAGE: &str = "The store does not take writes";
        let mut disk = self.disk();
        let refuse = |cause| Refusal::Store { message: MESSAGE, cause };
        self.reload_if_suspect(&mut disk).map_err(refuse)?;
        disk.store.probe().map_err(refuse)?;
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Decides, commits, and then shows: the one way in which the state changes.
    fn write<T>(
        &self,
        message: &'static str,
        decide: impl FnOnce(&State) -> Decision<T>,
    ) -> Result<T, Refusal> {
        let refuse = |cause| {
            self.failed.store(true, Ordering::Release);
            Refusal::Store { message, cause }
        };
        let mut disk = self.disk();
        self.reload_if_suspect(&mut disk).map_err(refuse)?;
        let (changes, answer) = decide(&self.state())?;
        if changes.is_empty() {
            return Ok(answer);
        }
        if let Err(cause) = disk.store.commit(&changes) {
            disk.suspect = true;
            tracing::error!(error = %cause.report(), "a write to the registry's store failed");
            return Err(refuse(cause));
        }
        self.failed.store(false, Ordering::Release);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = Arc::make_mut(&mut state);
        changes.into_iter().for_each(|change| changed.apply(change));
        drop(state);
        self.report_size();
        Ok(answer)
    }

    fn reload_if_suspect(&self, disk: &mut Disk) -> Result<()> {
        if disk.suspect {
            let loaded = disk.store.load()?;
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
            disk.suspect = false;
            self.report_size();
        }
        Ok(())
    }

    fn report_size(&self) {
        let state = self.state();
        crate::measure::sizes(state.schema_count(), state.subject_count());
    }

    fn parse(&self, state: &State, submission: &Submission) -> Result<Option<Candidate>, Refusal> {
        if let Some(other) = submission.schema_type.as_deref().filter(|name| *name != avro::TYPE) {
            return Err(Refusal::InvalidSchema(format!(
                "Invalid schema type {other}; this registry holds schemas of type AVRO only"
            )));
        }
        let Some(text) = submission.text.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        if text.len() > self.limits.schema_bytes_max {
            return Err(Refusal::SchemaTooLarge);
        }
        let references = resolve_versions(state, &submission.references)?;
        avro::parse(state, &self.limits, text, references, submission.normalize).map(Some)
    }

    /// A panic while a lock was held leaves nothing half done: decisions change nothing, and
    /// changes are applied whole or are on disk for the next start.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn registered(version: Version) -> Registered {
    Registered { id: version.id, version: version.number }
}

fn empty_schema() -> Refusal {
    Refusal::InvalidSchema("Empty schema".to_owned())
}

fn subject_version(
    state: &State,
    subject: &str,
    version: Version,
) -> Result<SubjectVersion, Refusal> {
    let schema = state.schema(version.id).ok_or(Refusal::SchemaNotFound(Some(version.id)))?;
    Ok(SubjectVersion {
        subject: state.subject_name(subject).unwrap_or_else(|| Arc::from(subject)),
        version: version.number,
        id: version.id,
        deleted: version.deleted,
        schema: schema.clone(),
    })
}

/// References with numbers in place of -1.
fn resolve_versions(
    state: &State,
    references: &[(String, String, i64)],
) -> Result<Arc<[Reference]>, Refusal> {
    references
        .iter()
        .map(|(name, subject, version)| {
            let subject = subject_name(subject);
            let number = match version {
                -1 => state.latest(subject).map(|latest| latest.number),
                number => u32::try_from(*number).ok(),
            };
            let version =
                number.ok_or_else(|| avro::reference_not_found(subject, &version.to_string()))?;
            Ok(Reference { name: name.clone(), subject: subject.to_owned(), version })
        })
        .collect()
}

#[cfg(test)]
impl Registry {
    /// Makes every write to the store fail, or lets them succeed again.
    pub(crate) fn break_store(&self, broken: bool) {
        let disk = self.disk();
        for table in ["schema", "version", "counter", "level"] {
            let sql = if broken {
                format!(
                    "CREATE TEMP TRIGGER {table}_i BEFORE INSERT ON {table}
                     BEGIN SELECT RAISE(ABORT, 'broken'); END;
                     CREATE TEMP TRIGGER {table}_u BEFORE UPDATE ON {table}
                     BEGIN SELECT RAISE(ABORT, 'broken'); END;"
                )
            } else {
                format!("DROP TRIGGER {table}_i; DROP TRIGGER {table}_u;")
            };
            disk.store.connection().execute_batch(&sql).expect("triggers are made");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidemesh_model::Result;

    fn open(folder: &tempfile::TempDir) -> Registry {
        let file = folder.path().join("registry.db");
        Registry::open(&RegistryConfig::new(StoreConfig::Sqlite(file))).unwrap()
    }

    fn text(schema: &str) -> Submission {
        Submission { text: Some(schema.to_owned()), ..Submission::default() }
    }

    #[test]
    fn a_failed_write_shows_nowhere_and_uses_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(&folder);
        registry.register("a", &text("\"int\"")).unwrap();
        registry.break_store(true);
        let refusal = registry.register("a", &text("\"long\"")).unwrap_err();
        assert!(matches!(refusal, Refusal::Store { .. }), "{refusal:?}");
        assert_eq!((refusal.status(), refusal.code(IncompatibleCode::default())), (500, 50001));
        let level = registry.set_level(None, CompatibilityLevel::Full);
        assert!(matches!(level, Err(Refusal::Store { .. })));
        assert!(matches!(registry.delete_subject("a", false), Err(Refusal::Store { .. })));

        assert_eq!(registry.versions("a", Filter::WithDeleted, Page::default()).unwrap(), [1]);
        assert_eq!((registry.id_max(), registry.level_global()), (1, CompatibilityLevel::Backward));
        assert_eq!(registry.register("a", &text("\"int\"")).unwrap().id, 1, "reads go on");
        registry.break_store(false);
        let made = registry.register("a", &text("\"long\"")).unwrap();
        assert_eq!(made, Registered { id: 2, version: 2 });
        drop(registry);
        let registry = open(&folder);
        assert_eq!(registry.versions("a", Filter::Live, Page::default()).unwrap(), [1, 2]);
    }

    #[test]
    fn health_follows_the_last_write_and_comes_back_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(&folder);
        assert!(registry.healthy());
        registry.break_store(true);
        registry.register("a", &text("\"int\"")).unwrap_err();
        assert!(!registry.healthy());
        assert!(registry.recover().is_err());
        assert!(!registry.healthy());
        registry.break_store(false);
        registry.recover().unwrap();
        assert!(registry.healthy());
    }

    /// A disk that fails at the very last step may have kept the transaction all the same.
    #[test]
    fn a_write_that_failed_but_is_on_disk_is_found_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(&folder);
        let mut disk = registry.disk();
        let identity = Identity { text: "\"int\"".into(), references: Arc::from([]) };
        let version = Version { number: 1, id: 1, deleted: false };
        disk.store
            .commit(&[
                Change::AddSchema { id: 1, identity },
                Change::PutVersion { subject: "a".into(), version },
            ])
            .unwrap();
        disk.suspect = true;
        drop(disk);
        let made = registry.register("b", &text("\"long\"")).unwrap();
        assert_eq!(made.id, 2);
        assert_eq!(registry.version("a", VersionSpec::Latest, false).unwrap().id, 1);
    }

    #[test]
    fn a_page_bounds_what_is_answered() {
        let all = || 0..50;
        let page = |offset, limit| Page { offset, limit };
        assert_eq!(page(0, None).of(all(), 10).len(), 10);
        assert_eq!(page(48, None).of(all(), 10), [48, 49]);
        assert_eq!(page(1, Some(2)).of(all(), 10), [1, 2]);
        // As in Confluent's registry, a page that is too large is the default one.
        assert_eq!(page(0, Some(11)).of(all(), 10).len(), 10);
        assert_eq!(page(0, Some(0)).of(all(), 10).len(), 10);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Register { subject: usize, schema: usize },
        DeleteSubject { subject: usize, permanent: bool },
        DeleteVersion { subject: usize, version: u32, permanent: bool },
        SetLevel { subject: usize, level: CompatibilityLevel },
        RemoveLevel { subject: usize },
    }

    const SCHEMAS: [&str; 5] =
        ["\"int\"", "\"long\"", "\"float\"", "\"string\"", r#"{"type":"array","items":"int"}"#];

    fn step() -> impl Strategy<Value = Step> {
        let subject = 0..3_usize;
        let level = prop_oneof![
            Just(CompatibilityLevel::None),
            Just(CompatibilityLevel::Backward),
            Just(CompatibilityLevel::FullTransitive),
        ];
        prop_oneof![
            4 => (subject.clone(), 0..SCHEMAS.len())
                .prop_map(|(subject, schema)| Step::Register { subject, schema }),
            1 => (subject.clone(), any::<bool>())
                .prop_map(|(subject, permanent)| Step::DeleteSubject { subject, permanent }),
            3 => (subject.clone(), 1..5_u32, any::<bool>()).prop_map(
                |(subject, version, permanent)| Step::DeleteVersion { subject, version, permanent }
            ),
            2 => (subject.clone(), level)
                .prop_map(|(subject, level)| Step::SetLevel { subject, level }),
            1 => subject.prop_map(|subject| Step::RemoveLevel { subject }),
        ]
    }

    fn take(registry: &Registry, step: Step) -> Result<Option<Registered>, Refusal> {
        let name = |subject: usize| ["a", "b", "c"][subject];
        match step {
            Step::Register { subject, schema } => {
                registry.register(name(subject), &text(SCHEMAS[schema])).map(Some)
            }
            Step::DeleteSubject { subject, permanent } => {
                registry.delete_subject(name(subject), permanent).map(|_| None)
            }
            Step::DeleteVersion { subject, version, permanent } => registry
                .delete_version(name(subject), &version.to_string(), permanent)
                .map(|_| None),
            Step::SetLevel { subject, level } => {
                registry.set_level(Some(name(subject)), level).map(|()| None)
            }
            Step::RemoveLevel { subject } => {
                registry.remove_level(Some(name(subject))).map(|_| None)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn memory_is_what_the_disk_holds_and_an_id_means_one_schema_for_ever(
            steps in prop::collection::vec(step(), 1..25)
        ) {
            let folder = tempfile::tempdir().unwrap();
            let registry = open(&folder);
            let mut meaning: Vec<(u32, usize)> = Vec::new();
            for step in steps {
                let schema = match step {
                    Step::Register { schema, .. } => Some(schema),
                    _ => None,
                };
                let before = registry.disk().store.load().unwrap();
                match (take(&registry, step), schema) {
                    (Ok(Some(made)), Some(schema)) => {
                        let known = meaning.iter().find(|(id, _)| *id == made.id);
                        prop_assert!(known.is_none_or(|(_, other)| *other == schema));
                        meaning.push((made.id, schema));
                        prop_assert_eq!(&*registry.schema(made.id).unwrap().text, SCHEMAS[schema]);
                    }
                    (Err(_), _) => prop_assert_eq!(&before, &*registry.state()),
                    (Ok(_), _) => {}
                }
                prop_assert_eq!(&registry.disk().store.load().unwrap(), &*registry.state());
            }
        }
    }
}
