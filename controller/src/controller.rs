//! The controller: takes what is declared, keeps it, and makes it so, for ever.
//!
//! Whatever changes the state goes one after the other, under one lock: it is decided, planned, made
//! durable, and only then shown (`act`). `lease` keeps the lease; the loop (`run`) plans anew when a schema of a
//! topic is another one, and compares the jobs that there are with those that there shall be. Each step
//! can be repeated, so that a controller that was killed goes on from what is durable.

use crate::builtin::Builtin;
use crate::canary::Canary;
use crate::catalog::TopicsOf;
use crate::config::ControllerConfig;
use crate::connectors::Connectors;
use crate::launcher::Launcher;
use crate::planned::Planned;
use crate::proposal::Refusal;
use crate::report::{PipelineReport, pipeline_report};
use crate::retention::{Kept, TopicKeeper};
use crate::state::State;
use crate::store::{self, Change, Holder, Store};
use crate::topics::{Basis, KnownTopics, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::{PIPELINES_CACHED_MAX, PlanCache};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Why something that was asked for was not done.
#[derive(Debug)]
pub enum Refused {
    /// What was handed in is wrong.
    Wrong(Vec<Refusal>),
    /// Another controller acts: ask that one, if it is known.
    NotLeading(Option<Holder>),
    /// It could not be done.
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The control plane of one mesh, or one of several that could be.
pub struct Controller<R> {
    pub(crate) config: ControllerConfig,
    pub(crate) holder: Holder,
    pub(crate) topics: KnownTopics<R>,
    pub(crate) launcher: Arc<dyn Launcher>,
    /// The types that the binary has registered.
    pub(crate) builtin: Builtin,
    /// What starts connectors, if anything does.
    pub(crate) connectors: Option<Arc<dyn Connectors>>,
    /// What the catalog reads, if anything.
    pub(crate) log: Option<Arc<dyn TopicsOf>>,
    /// What tries plans before they are taken, if anything does.
    pub(crate) canary: Option<Arc<dyn Canary>>,
    /// Plans that were made before.
    pub(crate) plans: PlanCache,
    /// Held by whatever changes the state.
    pub(crate) writing: tokio::sync::Mutex<()>,
    /// Told when there is something to do before the next round.
    pub(crate) wake: Notify,
    /// The schemas by which each pipeline was last started.
    pub(crate) started: Mutex<BTreeMap<String, Basis>>,
    /// What has topics keep their records; none lets them go.
    pub(crate) keeper: Option<Arc<dyn TopicKeeper>>,
    /// What is known of those topics.
    kept: Mutex<Kept>,
    /// Since when pipelines wait.
    pub(crate) waiting: Mutex<BTreeMap<String, Instant>>,
    store: Arc<Mutex<Box<dyn Store>>>,
    seen: Mutex<Seen>,
}

/// What is shown.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) role: Role,
    pub(crate) state: Arc<State>,
    pub(crate) planned: Arc<Planned>,
    /// Why the last round could not be done, if it could not.
    pub(crate) trouble: Option<String>,
    /// Why the lease cannot be had or kept, if it is not known whose it is.
    pub(crate) lease_trouble: Option<String>,
    /// The sources of documents that no process runs, as the last round found them.
    pub(crate) unassigned: BTreeSet<String>,
}

/// Whether this controller acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does, by this lease.
    Leading { epoch: u64 },
    /// It would by this lease, but does not know what of its last write is durable, and reads that first.
    Reading { epoch: u64 },
    /// Another one does, if one is known.
    Following(Option<Holder>),
}

impl<R: Registry> Controller<R> {
    /// Opens the store; nothing runs yet. `holder` is this controller, as others see it.
    ///
    /// # Errors
    ///
    /// What the store says: `NewerVersion`, `Config`, `Storage`.
    pub fn open(
        config: ControllerConfig,
        holder: Holder,
        registry: R,
        launcher: Arc<dyn Launcher>,
    ) -> Result<Self> {
        let store = store::open(&config.store)?;
        let seen = Seen {
            role: Role::Following(None),
            state: Arc::default(),
            planned: Arc::default(),
            trouble: None,
            lease_trouble: None,
            unassigned: BTreeSet::new(),
        };
        Ok(Self {
            holder,
            topics: KnownTopics::new(registry, &config),
            config,
            launcher,
            builtin: Builtin::default(),
            connectors: None,
            log: None,
            canary: None,
            writing: tokio::sync::Mutex::default(),
            plans: PlanCache::new(PIPELINES_CACHED_MAX),
            wake: Notify::new(),
            started: Mutex::default(),
            keeper: None,
            kept: Mutex::default(),
            waiting: Mutex::default(),
            store: Arc::new(Mutex::new(store)),
            seen: Mutex::new(seen),
        })
    }

    /// The same with the `Processor` documents of types that the binary has registered: they are
    /// planned with as if they were declared, and nobody else changes them.
    ///
    /// # Errors
    ///
    /// `Config` for a text that is no such document.
    pub fn with_processors(mut self, documents: &[String]) -> Result<Self> {
        self.builtin = Builtin::read(documents)?;
        Ok(self)
    }

    /// What is declared.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.seen().state)
    }

    /// Whether it acts.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.seen().role, Role::Leading { .. })
    }

    /// The controller that acts in the place of this one, if one is known that can be asked: one that
    /// was here before this one may hold the lease until it runs out.
    #[must_use]
    pub fn leader(&self) -> Option<Holder> {
        match &self.seen().role {
            Role::Leading { .. } | Role::Reading { .. } => None,
            Role::Following(other) => other.clone().filter(|other| other.url != self.holder.url),
        }
    }

    /// Why it does not know whether it acts, or the last round of comparing could not be done.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let seen = self.seen();
        seen.lease_trouble.clone().or_else(|| seen.trouble.clone())
    }

    /// All pipelines, by their names.
    #[must_use]
    pub fn pipelines(&self) -> Vec<PipelineReport> {
        let seen = self.seen().clone();
        let jobs = self.launcher.jobs();
        let pipelines = seen.state.documents.values();
        pipelines.filter_map(|declared| pipeline_report(declared, &seen, &jobs)).collect()
    }

    /// A pipeline.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> Option<PipelineReport> {
        self.pipelines().into_iter().find(|report| report.name == name)
    }

    pub(crate) fn planned(&self) -> Arc<Planned> {
        Arc::clone(&self.seen().planned)
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is durable, with the plans that follow from it.
    pub(crate) fn show(&self, state: State, planned: Planned) {
        let mut seen = self.seen();
        (seen.state, seen.planned) = (Arc::new(state), Arc::new(planned));
    }

    /// The lease's epoch, if this controller acts.
    pub(crate) fn epoch(&self) -> Result<u64, Refused> {
        if let Role::Leading { epoch } = self.seen().role {
            return Ok(epoch);
        }
        Err(Refused::NotLeading(self.leader()))
    }

    /// The lease's epoch, if it is this controller's.
    pub(crate) fn held_epoch(&self) -> Option<u64> {
        match self.seen().role {
            Role::Leading { epoch } | Role::Reading { epoch } => Some(epoch),
            Role::Following(_) => None,
        }
    }

    /// Uses the store, on a thread that may wait.
    pub(crate) async fn with_store<V: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<V> + Send + 'static,
    ) -> Result<V> {
        let store = Arc::clone(&self.store);
        let working = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            work(store.as_mut())
        });
        working.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "use the controller's store").caused_by(error)
        })?
    }

    /// Makes changes durable. Whoever is no longer the one that acts learns it here; whoever does not know
    /// whether they are durable, reads.
    pub(crate) async fn write(&self, epoch: u64, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let written = self.with_store(move |store| store.write(epoch, &changes)).await;
        if let Err(error) = &written {
            let mut seen = self.seen();
            if error.kind() == ErrorKind::Fenced {
                seen.role = Role::Following(None);
            } else if seen.role == (Role::Leading { epoch }) {
                seen.role = Role::Reading { epoch };
            }
        }
        written
    }
}

/// Milliseconds since 1970-01-01 00:00:00 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
