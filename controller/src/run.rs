//! The loop: keeps the lease, follows the schemas, and has the jobs run that shall run.

use crate::act::accept;
use crate::controller::{Controller, Role, now_ms};
use crate::evolve;
use crate::launcher::{JobReport, JobState, Start};
use crate::planned::{self, Fresh, Moving, Planned, Unplanned};
use crate::state::{Draft, State};
use crate::store::Lease;
use crate::topics::Registry;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::Document;
use tidemesh_plan::mesh::PipelinePlan;
use tidemesh_plan::upgrade::{Judged, Verdict};
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
                let asked = Instant::now();
                if self.renew().await? {
                    renewed = Some(asked);
                }
            }
            if self.leads() && renewed.is_none_or(|at| at.elapsed() >= self.config.lease) {
                self.step_down().await;
            }
            if self.leads() {
                let done = self.round().await;
                self.note(done);
            }
        }
        self.release().await;
        Ok(())
    }

    /// The lease has run out without being renewed: another controller may act by now.
    async fn step_down(&self) {
        let _writing = self.writing.lock().await;
        tracing::warn!("the lease could not be renewed in time: pipelines are stopped until it is");
        self.seen().role = Role::Following(None);
        self.stop_all(|_| true).await;
        self.stop_connectors().await;
    }

    /// Takes or renews the lease; answers whether the store could tell. Who gets it reads what is durable.
    async fn renew(&self) -> Result<bool> {
        let _writing = self.writing.lock().await;
        let (holder, time) = (self.holder.clone(), self.config.lease);
        let lease = match self.with_store(move |store| store.lease(&holder, time)).await {
            Ok(lease) => lease,
            Err(error) => {
                self.note(Err(error));
                return Ok(false);
            }
        };
        match lease {
            Lease::Ours { epoch } if self.seen().role == (Role::Leading { epoch }) => {}
            Lease::Ours { epoch } => self.lead(epoch).await?,
            Lease::Others(other) => self.follow(other).await?,
        }
        Ok(true)
    }

    async fn lead(&self, epoch: u64) -> Result<()> {
        let items = self.with_store(|store| store.load()).await?;
        let state = Arc::new(State::load(&items)?.configured(&self.config.sources));
        let documents = state.documents.len();
        let mut seen = self.seen();
        (seen.state, seen.planned) = (state, Arc::default());
        self.raised().clear();
        seen.role = Role::Leading { epoch };
        tracing::info!(epoch, documents, "the controller acts");
        Ok(())
    }

    /// Shows what the other one has written, and runs nothing.
    async fn follow(&self, other: crate::store::Holder) -> Result<()> {
        let items = self.with_store(|store| store.load()).await?;
        let state = Arc::new(State::load(&items)?.configured(&self.config.sources));
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
        self.stop_connectors().await;
        Ok(())
    }

    /// Compares what shall be with what is, and makes it so.
    pub(crate) async fn round(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let connected = self.run_connectors().await;
        let followed = self.follow_schemas().await;
        let ran = self.run_jobs().await;
        let kept = self.keep_topics().await;
        followed.and(ran).and(kept).and(connected)
    }

    /// Judges anew if a schema is another one, or nothing is planned yet.
    async fn follow_schemas(&self) -> Result<()> {
        let Ok(epoch) = self.epoch() else { return Ok(()) };
        let (state, before) = (self.state(), self.planned());
        self.topics.written_by(&state.declared());
        if !before.is_old(&self.topics).await? {
            return Ok(());
        }
        let documents = state.declared();
        let planned = match &before.mesh {
            Some(_) => Planned::clone(&before),
            None => {
                let now = self.planned_now(&state, &documents).await?;
                evolve::recall(&state, &documents, now, &self.topics).await?
            }
        };
        let (mut planned, judged) = evolve::follow(&planned, &documents, &self.topics).await?;
        if planned.held.keys().any(|name| !planned.pipelines.contains_key(name)) {
            planned.add(self.planned_now(&state, &documents).await?);
        }
        tell(&judged);
        self.keep(epoch, &state, planned, Some(&judged)).await
    }

    async fn planned_now(&self, state: &State, documents: &[Arc<Document>]) -> Result<Fresh> {
        let accepted = planned::accepted(state);
        let now =
            planned::fresh(documents, &accepted, &BTreeSet::new(), &self.topics, &self.plans).await;
        now.map_err(|unplanned| match unplanned {
            Unplanned::Error(error) => error,
            Unplanned::Problems(problems) => {
                Error::new(ErrorKind::Config, "plan what is declared").because(problems.to_string())
            }
        })
    }

    /// Makes durable what plans accept, and shows it.
    async fn keep(
        &self,
        epoch: u64,
        state: &State,
        planned: Planned,
        judged: Option<&Judged>,
    ) -> Result<()> {
        let mut draft = Draft::of(state);
        judged.into_iter().for_each(|judged| draft.record(judged, now_ms()));
        accept(&mut draft, &planned);
        self.write(epoch, draft.changes).await?;
        let mut seen = self.seen();
        seen.state = Arc::new(draft.state);
        seen.planned = Arc::new(planned);
        Ok(())
    }

    /// Starts what shall run and does not, or by another plan, and ends what shall not run.
    async fn run_jobs(&self) -> Result<()> {
        let (state, planned) = (self.state(), self.planned());
        let Some(mesh) = &planned.mesh else {
            // It is not known yet what shall run.
            return Ok(());
        };
        let shall =
            |name: &str| !state.pipeline(name).paused && planned.pipelines.contains_key(name);
        self.stop_all(|name| !shall(name)).await;
        let jobs = self.launcher.jobs();
        let all = || mesh.pipelines.iter().filter(|plan| shall(plan.name()));
        // A new plan reads what was written before, so that whoever reads changes before who writes: no
        // row of a new schema goes through an old plan.
        for plan in all().rev() {
            let job = jobs.get(plan.name());
            if job.is_some_and(|job| self.to_start(plan, job, &planned)) {
                self.start(plan.name(), &planned).await;
            }
        }
        // Whoever makes a topic comes before who reads it.
        for plan in all() {
            let Some(job) = jobs.get(plan.name()) else {
                self.start(plan.name(), &planned).await;
                continue;
            };
            if let Some(moving) = planned.moving.get(plan.name()) {
                self.go_over(plan.name(), moving, job).await?;
            }
        }
        Ok(())
    }

    /// Whether a pipeline's job is of another plan, or has stopped before a record that it could take by
    /// now.
    fn to_start(&self, plan: &PipelinePlan, job: &JobReport, planned: &Planned) -> bool {
        let name = plan.name();
        if job.digest != plan.digest {
            return true;
        }
        let newest = planned.newest(name);
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        match job.state {
            JobState::Held { .. } => {
                planned.held(name).is_empty() && started.get(name) != Some(&newest)
            }
            JobState::Drained => !planned.moving.contains_key(name),
            JobState::Running
            | JobState::Retrying { .. }
            | JobState::Failed { .. }
            | JobState::Lost { .. } => false,
        }
    }

    async fn start(&self, name: &str, planned: &Planned) {
        let Some(plan) = planned.pipelines.get(name) else { return };
        let newest = planned.newest(name);
        // What is held was judged, and must not be taken.
        let held = !planned.held(name).is_empty();
        let judged = if held { planned.bases.get(name).cloned() } else { Some(newest.clone()) };
        let judged = judged.unwrap_or_default();
        let planned_by = judged.iter().map(|(topic, schemas)| (topic.clone(), schemas.value));
        let accepts = &self.accepts_loss;
        let accept_loss = accepts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let planned_by = planned_by.collect();
        let start = Start { plan: Arc::clone(plan), planned_by, accept_loss };
        self.launcher.start(start).await;
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.insert(name.to_owned(), newest);
    }

    /// Has a pipeline read a table's former topic to its end, and then go on in the next.
    async fn go_over(&self, name: &str, moving: &Moving, job: &JobReport) -> Result<()> {
        if job.state != JobState::Drained {
            let topics: Vec<(String, String)> =
                moving.moves.iter().map(|one| (one.from.clone(), one.to.clone())).collect();
            return self.launcher.drain(name, &topics).await;
        }
        let Ok(epoch) = self.epoch() else { return Ok(()) };
        let mut planned = Planned::clone(&self.planned());
        planned.moved(name);
        tracing::info!(pipeline = name, "goes on in the next topic");
        self.keep(epoch, &self.state(), planned, None).await?;
        self.start(name, &self.planned()).await;
        Ok(())
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

/// Logs what schemas mean for pipelines.
fn tell(judged: &Judged) {
    for one in judged.pipelines.iter().filter(|one| one.verdict != Verdict::Unaffected) {
        let reasons: Vec<String> = one.reasons.iter().map(ToString::to_string).collect();
        let (pipeline, verdict) = (&one.pipeline, one.verdict.name());
        tracing::info!(pipeline, verdict, why = one.why, reasons = reasons.join("; "), "judged");
    }
}
