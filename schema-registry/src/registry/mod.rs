//! The registry itself: a machine over the state in memory and the store behind it.
//!
//! Reads are answered from memory alone. A write decides on the state, commits to the store, and
//! only then shows in memory; writes go one after another on a thread of their own, readers never
//! wait for them. No HTTP here: [`crate::http`] calls the operations.

mod consumers;
mod judge;
mod read;
mod submit;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use serde_json::{Map, Value};
use tidemesh_model::Result;
use tokio::sync::Semaphore;

use crate::avro::Parser;
use crate::config::{IncompatibleCode, Limits, RegistryConfig};
use crate::consumer::GroupWatch;
use crate::decide;
use crate::refusal::Refusal;
use crate::setting::{Mode, Setting};
use crate::state::State;
use crate::store::{self, Loaded, Store};
use crate::subject::{beside, check_scope, normalized};
pub use consumers::RegisteredConsumer;
pub(crate) use judge::ExplainRequest;
pub use judge::{Explained, Explanation};
pub use read::{Page, SCHEMAS_PAGE_MAX, SUBJECTS_PAGE_MAX, SubjectVersion, VERSIONS_PAGE_MAX};
pub(crate) use submit::{Drafted, TagRequest};
pub use submit::{Registered, Submission};
use tidemesh_store::StoreConfig;
use writer::Writer;
pub(crate) use writer::schema_thread;

/// How long another process's write may stay unseen if its notification is lost.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// A schema registry.
///
/// Its operations may be called from any thread; those that write are to be waited for.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    writer: Writer,
    parser: Arc<Parser>,
    incompatible_code: IncompatibleCode,
    registry_id: String,
    /// Whether other processes may write.
    is_shared: bool,
    /// Who knows the log's consumer groups.
    watch: Option<Arc<dyn GroupWatch>>,
    /// Places for those that ask it.
    observing: Semaphore,
}

/// What the writing thread and the readers share.
#[derive(Debug)]
struct Shared {
    /// Swapped by each write; who reads keeps the one it began with, however long that takes.
    state: ArcSwap<State>,
    healthy: AtomicBool,
    /// Whether the writer has been told that others may have written, and has not looked yet.
    told: AtomicBool,
}

impl Shared {
    fn state(&self) -> Guard<Arc<State>> {
        self.state.load()
    }

    fn show(&self, state: State) {
        crate::measure::sizes(state.schema_count(), state.subject_count());
        self.state.store(Arc::new(state));
    }

    fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Release);
    }
}

impl Registry {
    /// Opens the store and reads all of it. Waits for the disk or the database.
    ///
    /// # Errors
    ///
    /// `NewerVersion` if a newer program wrote the store, `Conflict` if another process holds its
    /// file, `Config` if it is none of ours, `Corrupt`, `Storage` or `Unavailable` as the disk or
    /// the database has it.
    pub fn open(config: &RegistryConfig) -> Result<Self> {
        let (store, loaded) = open_store(&config.store)?;
        let registry_id = store.registry_id().to_owned();
        let shared = Arc::new(Shared {
            state: ArcSwap::default(),
            healthy: AtomicBool::new(true),
            told: AtomicBool::new(false),
        });
        shared.show(loaded.state);
        let writer = Writer::start(store, Arc::clone(&shared), loaded.mark)?;
        let is_shared = follow(&config.store, &writer, &shared)?;
        let parser = Arc::new(Parser::new(config.limits.clone()));
        let incompatible_code = config.incompatible_code;
        let observing = Semaphore::new(consumers::OBSERVED_AT_ONCE);
        Ok(Self {
            shared,
            writer,
            parser,
            incompatible_code,
            registry_id,
            is_shared,
            watch: None,
            observing,
        })
    }

    /// The bounds it works in.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.parser.limits
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

    /// Whether the last write to the store succeeded.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Acquire)
    }

    /// Tries after a failed write whether the store works again.
    ///
    /// # Errors
    ///
    /// 50001 if it does not.
    pub async fn recover(&self) -> Result<(), Refusal> {
        let message = "The store does not take writes";
        self.writer.probe().await.map_err(|cause| Refusal::Store { message, cause })
    }

    /// Whether other processes may write.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Takes over what other processes have written; without any, nothing is to be done.
    ///
    /// Who finds nothing asks this before saying so.
    pub async fn refresh(&self) {
        if self.is_shared {
            self.writer.refresh().await;
        }
    }

    /// Deletes a subject: its live versions softly, or all of them permanently once they are
    /// soft-deleted. Gives their numbers.
    ///
    /// # Errors
    ///
    /// 40401, 40404, 40405, 42205, 42206, 50001, 50002; then nothing is deleted.
    pub async fn delete_subject(
        &self,
        subject: &str,
        permanent: bool,
    ) -> Result<Vec<u32>, Refusal> {
        let subject = self.subject(subject);
        let message = "Delete subject operation failed while writing to the store";
        let timed_out = "Delete subject operation timed out";
        let decide = move |state: &State| decide::delete_subject(state, &subject, permanent);
        self.writer.run(message, timed_out, decide).await
    }

    /// Deletes one version: softly, or permanently once it is soft-deleted. Gives its number.
    ///
    /// # Errors
    ///
    /// 40401, 40402, 40406, 40407, 42202, 42205, 42206, 50001, 50002; then nothing is deleted.
    pub async fn delete_version(
        &self,
        subject: &str,
        version: &str,
        permanent: bool,
    ) -> Result<u32, Refusal> {
        let subject = self.subject(subject);
        let (spec, asked) = (version.parse()?, version.to_owned());
        let message = "Delete Schema Version operation failed while writing to the store";
        let timed_out = "Delete Schema Version operation timed out";
        let decide =
            move |state: &State| decide::delete_version(state, &subject, spec, &asked, permanent);
        self.writer.run(message, timed_out, decide).await
    }

    /// Deletes a context that has no subjects.
    ///
    /// # Errors
    ///
    /// 40401, 42205, 42211, 50001, 50002.
    pub async fn delete_context(&self, context: String) -> Result<(), Refusal> {
        let message = "Failed to delete the context";
        let timed_out = "Delete context operation timed out";
        let decide = move |state: &State| decide::delete_context(state, &context);
        self.writer.run(message, timed_out, decide).await
    }

    /// Changes the configuration of a subject, which need not exist yet, of a context, or without a
    /// scope the global one: by the members of Confluent's request, of which `null` takes away.
    ///
    /// # Errors
    ///
    /// 422, 42205, 42208, 42210, 50001, 50002.
    pub async fn set_setting(
        &self,
        scope: Option<&str>,
        members: Map<String, Value>,
    ) -> Result<(), Refusal> {
        let scope = self.scope(scope)?;
        let parser = Arc::clone(&self.parser);
        let message = "Failed to update compatibility level";
        let timed_out = "Update compatibility level operation timed out";
        let decide = move |state: &State| decide::set_setting(state, &parser, &scope, &members);
        self.writer.run(message, timed_out, decide).await
    }

    /// Takes a scope's configuration away, and gives what it was.
    ///
    /// # Errors
    ///
    /// 40401 if it has none of its own, 42205, 50001, 50002.
    pub async fn remove_setting(&self, scope: Option<&str>) -> Result<Setting, Refusal> {
        let scope = self.scope(scope)?;
        let message = "Failed to delete compatibility level";
        let timed_out = "Delete compatibility level operation timed out";
        let decide = move |state: &State| decide::remove_setting(state, &scope);
        self.writer.run(message, timed_out, decide).await
    }

    /// Sets the mode of a scope. With `force` schemas may be there that are then imported over.
    ///
    /// # Errors
    ///
    /// 42205, 42206, 42208, 50001, 50002.
    pub async fn set_mode(
        &self,
        scope: Option<&str>,
        mode: Mode,
        force: bool,
    ) -> Result<(), Refusal> {
        let scope = self.scope(scope)?;
        let parser = Arc::clone(&self.parser);
        let decide = move |state: &State| decide::set_mode(state, &parser, &scope, mode, force);
        self.writer.run("Failed to update mode", "Update mode operation timed out", decide).await
    }

    /// Takes a scope's mode away, and gives what it was; with `recursive` those within a context too.
    ///
    /// # Errors
    ///
    /// 40401 if there is none, 50001, 50002.
    pub async fn remove_mode(&self, scope: Option<&str>, recursive: bool) -> Result<Mode, Refusal> {
        let scope = self.scope(scope)?;
        let decide = move |state: &State| decide::remove_mode(state, &scope, recursive);
        self.writer.run("Failed to delete mode", "Delete mode operation timed out", decide).await
    }

    fn scope(&self, scope: Option<&str>) -> Result<String, Refusal> {
        let scope = normalized(scope.unwrap_or_default());
        check_scope(self.limits(), &scope)?;
        Ok(scope.into_owned())
    }

    /// Whether a subject that is `wanted` has the schema with this id.
    pub(crate) fn is_used(&self, context: &str, id: u32, wanted: impl Fn(&str) -> bool) -> bool {
        self.state().uses(context, id).any(|(subject, _)| wanted(subject))
    }

    /// The subject that is meant by a name: itself, or what it is an alias of.
    pub(crate) fn subject(&self, name: &str) -> String {
        let name = normalized(name);
        // No subject is named, so none is meant, whatever alias the configuration of all may have.
        if name.is_empty() {
            return String::new();
        }
        let state = self.state();
        let alias = state.setting(&name).and_then(|setting| setting.alias.as_deref());
        match alias.filter(|alias| !alias.is_empty()) {
            Some(alias) => beside(&name, alias).into_owned(),
            None => name.into_owned(),
        }
    }

    fn state(&self) -> Guard<Arc<State>> {
        self.shared.state()
    }
}

/// Opens and reads a store, on a thread of its own: it waits, which a thread with tasks must not.
fn open_store(config: &StoreConfig) -> Result<(Box<dyn Store>, Loaded)> {
    let open = || {
        let mut store = store::open(config)?;
        let loaded = store.load()?;
        Ok((store, loaded))
    };
    std::thread::scope(|scope| scope.spawn(open).join()).unwrap_or_else(|_| {
        use tidemesh_model::{Error, ErrorKind};
        Err(Error::new(ErrorKind::Internal, "open the registry's store"))
    })
}

/// Has the writer told when others may have written; says whether there can be others. The thread
/// ends with the writer.
fn follow(store: &StoreConfig, writer: &Writer, shared: &Arc<Shared>) -> Result<bool> {
    let StoreConfig::Postgres(url) = store else { return Ok(false) };
    let (url, writer, shared) = (url.clone(), writer.downgrade(), Arc::clone(shared));
    let told = move || Writer::upgrade(&writer).is_some_and(|writer| writer.tell(&shared));
    let started =
        std::thread::Builder::new().name("registry-follower".to_owned()).spawn(move || {
            if let Err(error) = store::listen(url.expose(), FOLLOW_PAUSE, told) {
                tracing::error!(error = error.report(), "other processes' writes are not followed");
            }
        });
    started.map(|_| true).map_err(|error| {
        use tidemesh_model::{Error, ErrorKind};
        Error::new(ErrorKind::Unavailable, "open the registry").caused_by(error)
    })
}

#[cfg(test)]
mod tests;
