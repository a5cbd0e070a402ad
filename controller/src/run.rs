//! The loop: keeps the lease, follows the schemas, and has the jobs run that shall run.

use crate::act::accept;
use crate::controller::{Controller, Role};
use crate::planned::{self, Planned, Unplanned};
use crate::state::{Draft, State};
use crate::store::Lease;
use crate::topics::Registry;
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::Document;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

impl<R: Registry> Controller<R> {
    /// Acts until `stop` says so. What fails is tried again with the next round; jobs go on meanwhile.
    ///
    /// # Errors
    ///
    /// What the store says and will not pass: `Corrupt`, `NewerVersion`.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut rounds = interval(self.config.reconcile_every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed: Option<Instant> = None;
        while !*stop.borrow() {
            tokio::select! {
                _ = rounds.tick() => {}
                () = self.wake.notified() => {}
                // Whoever could say so has gone.
                changed = stop.changed() => if changed.is_err() { break } else { continue },
            }
            let due = |at: Instant| at.elapsed() * 3 >= self.config.lease;
            if !self.leads() || renewed.is_none_or(due) {
                self.renew().await?;
                renewed = Some(Instant::now());
            }
            if self.leads() {
                let done = self.round().await;
                self.note(done);
            }
        }
        self.release().await;
        Ok(())
    }

    /// Takes or renews the lease. Who gets it reads what is durable.
    async fn renew(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let (holder, time) = (self.holder.clone(), self.config.lease);
        let lease = match self.with_store(move |store| store.lease(&holder, time)).await {
            Ok(lease) => lease,
            Err(error) => {
                self.note(Err(error));
                return Ok(());
            }
        };
        match lease {
            Lease::Ours { epoch } if self.seen().role == (Role::Leading { epoch }) => {}
            Lease::Ours { epoch } => self.lead(epoch).await?,
            Lease::Others(other) => self.follow(other).await?,
        }
        Ok(())
    }

    async fn lead(&self, epoch: u64) -> Result<()> {
        let items = self.with_store(|store| store.load()).await?;
        let state = Arc::new(State::load(&items)?);
        let documents = state.documents.len();
        let mut seen = self.seen();
        (seen.state, seen.planned) = (state, Arc::default());
        seen.role = Role::Leading { epoch };
        tracing::info!(epoch, documents, "the controller acts");
        Ok(())
    }

    /// Shows what the other one has written, and runs nothing.
    async fn follow(&self, other: crate::store::Holder) -> Result<()> {
        let items = self.with_store(|store| store.load()).await?;
        let state = Arc::new(State::load(&items)?);
        let led = self.leads();
        {
            let mut seen = self.seen();
            seen.state = state;
            seen.role = Role::Following(Some(other.clone()));
        }
        if led {
            tracing::warn!(controller = other.url, "another controller acts from here on");
        }
        self.stop_all(|_| true).await;
        Ok(())
    }

    /// Compares what shall be with what is, and makes it so.
    pub(crate) async fn round(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let planned = self.follow_schemas().await;
        self.run_jobs().await;
        planned
    }

    /// Plans anew if a schema is another one, or nothing is planned yet.
    async fn follow_schemas(&self) -> Result<()> {
        let Ok(epoch) = self.epoch() else { return Ok(()) };
        let (state, before) = (self.state(), self.planned());
        if !before.is_old(&self.topics).await? {
            return Ok(());
        }
        let documents: Vec<Arc<Document>> =
            state.documents.values().map(|declared| Arc::clone(&declared.document)).collect();
        let (accepted, none) = (planned::accepted(&state), BTreeSet::new());
        let planned = planned::plan(&documents, &accepted, &none, &self.topics).await;
        let planned = planned.map_err(|unplanned| match unplanned {
            Unplanned::Error(error) => error,
            Unplanned::Problems(problems) => {
                Error::new(ErrorKind::Config, "plan what is declared").because(problems.to_string())
            }
        })?;
        tell(&before, &planned);
        let mut draft = Draft::of(&state);
        accept(&mut draft, &planned);
        self.write(epoch, draft.changes).await?;
        let mut seen = self.seen();
        seen.state = Arc::new(draft.state);
        seen.planned = Arc::new(planned);
        Ok(())
    }

    /// Starts what shall run and does not, or by another plan, and ends what shall not run.
    async fn run_jobs(&self) {
        let (state, planned) = (self.state(), self.planned());
        if planned.mesh.is_none() {
            // It is not known yet what shall run.
            return;
        }
        let shall =
            |name: &str| !state.pipeline(name).paused && planned.pipelines.contains_key(name);
        // A pipeline that is held goes on by its old plan, to the first record that this cannot read.
        let may = |name: &str| !state.pipeline(name).paused && !planned.held(name).is_empty();
        self.stop_all(|name| !shall(name) && !may(name)).await;
        let jobs = self.launcher.jobs();
        // Whoever makes a topic comes before who reads it.
        let order = planned.mesh.iter().flat_map(|mesh| &mesh.pipelines);
        let order = order.filter_map(|plan| planned.pipelines.get_key_value(plan.name()));
        for (name, plan) in order {
            let runs = jobs.get(name).is_some_and(|job| job.digest == plan.digest);
            if shall(name) && !runs {
                self.launcher.start(Arc::clone(plan)).await;
            }
        }
    }

    async fn stop_all(&self, which: impl Fn(&str) -> bool) {
        for name in self.launcher.jobs().keys().filter(|name| which(name)) {
            self.launcher.stop(name).await;
        }
    }

    /// Shows what a round came to; its log has each trouble once.
    fn note(&self, done: Result<()>) {
        let trouble = done.err().map(|error| error.report());
        let mut seen = self.seen();
        if let Some(error) = trouble.as_ref().filter(|_| seen.trouble != trouble) {
            tracing::warn!(error, "the controller tries again");
        }
        seen.trouble = trouble;
    }

    async fn release(&self) {
        let Ok(epoch) = self.epoch() else { return };
        self.seen().role = Role::Following(None);
        if let Err(error) = self.with_store(move |store| store.release(epoch)).await {
            // It runs out by itself.
            tracing::debug!(error = error.report(), "the lease could not be let go");
        }
    }
}

/// Logs what another plan means for pipelines.
fn tell(before: &Planned, after: &Planned) {
    for (id, problems) in &after.held {
        if before.held.get(id) != Some(problems) {
            let reasons: Vec<String> = problems.iter().map(ToString::to_string).collect();
            tracing::warn!(document = id.to_string(), reason = reasons.join("; "), "held");
        }
    }
    for (name, plan) in &after.pipelines {
        let old = before.pipelines.get(name);
        if old.is_some_and(|old| old.digest != plan.digest) {
            tracing::info!(pipeline = name, "upgraded");
        }
    }
}
