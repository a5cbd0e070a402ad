//! The loop: follows the schemas, and has the jobs run that shall run.

use crate::act::accept;
use crate::canary::Tried;
use crate::controller::{Controller, now_ms};
use crate::draft::Draft;
use crate::evolve::{self, Followed, Means};
use crate::failpoint::failpoint;
use crate::launcher::{JobReport, JobState, Start};
use crate::loss::AcceptedLoss;
use crate::planned::{self, Fresh, Moving, Planned, Unplanned};
use crate::state::{Id, State};
use crate::topics::{Registry, Told};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::Document;
use tidemesh_plan::mesh::{PipelinePlan, Recipe};
use tidemesh_plan::upgrade::{Judged, Verdict};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

impl<R: Registry> Controller<R> {
    /// Acts until `stop` says so, while it has the lease. What fails is tried again with the next round;
    /// jobs go on meanwhile.
    ///
    /// # Errors
    ///
    /// What the store says and will not pass: `Corrupt`, `NewerVersion`.
    pub async fn run(&self, stop: watch::Receiver<bool>) -> Result<()> {
        tokio::select! {
            lost = self.keep_lease() => match lost? {},
            () = self.keep_acting(stop) => {}
        }
        self.release().await;
        Ok(())
    }

    async fn keep_acting(&self, mut stop: watch::Receiver<bool>) {
        let mut rounds = interval(self.config.reconcile_every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*stop.borrow() {
            tokio::select! {
                _ = rounds.tick() => {}
                () = self.wake.notified() => {}
                // Whoever could say so has gone.
                changed = stop.changed() => if changed.is_err() { break } else { continue },
            }
            if self.leads() {
                let done = self.round().await;
                self.note(done);
            } else if self.held_epoch().is_none() {
                // A round may have started some while the lease was lost.
                self.launcher.leave().await;
                self.stop_connectors().await;
            }
        }
    }

    /// Compares what shall be with what is, and makes it so. Plans that schemas call for are tried first.
    pub(crate) async fn round(&self) -> Result<()> {
        let mut tried = Tried::default();
        loop {
            let done = self.round_once(&mut tried).await;
            if !tried.more(self.canary.as_deref()).await? {
                return done;
            }
        }
    }

    async fn round_once(&self, tried: &mut Tried) -> Result<()> {
        let _writing = self.writing.lock().await;
        let connected = self.run_connectors().await;
        let followed = self.follow_schemas(tried).await.map(drop);
        let ran = self.run_jobs().await;
        let kept = self.keep_topics().await;
        let answered = self.drop_answered_losses().await;
        followed.and(ran).and(kept).and(answered).and(connected)
    }

    /// Judges anew if a schema is another one, or nothing is planned yet; answers whether that is done, and
    /// not to be done again once plans were tried.
    pub(crate) async fn follow_schemas(&self, tried: &mut Tried) -> Result<bool> {
        let Ok(epoch) = self.epoch() else { return Ok(true) };
        let (state, before) = (self.state(), self.planned());
        self.topics.written_by(&state.declared());
        if !before.is_old(&self.topics).await? {
            return Ok(true);
        }
        let documents = self.builtin.beside_state(&state);
        let mut told = Told::default();
        let planned = match &before.mesh {
            Some(_) => Planned::clone(&before),
            None => {
                failpoint("recall.due");
                let now = self.planned_now(&state, &documents, &mut told).await?;
                let recalled = evolve::recall(&state, &documents, now, &self.topics).await?;
                failpoint("recall.done");
                recalled
            }
        };
        let followed = evolve::follow(&planned, &documents, self.means(tried), &mut told).await?;
        let Some(Followed { mut planned, judged, failed }) = followed else { return Ok(false) };
        if planned.held.keys().any(|name| !planned.pipelines.contains_key(name)) {
            planned.add(self.planned_now(&state, &documents, &mut told).await?);
        }
        tell(&judged);
        let mut draft = Draft::of(&state);
        draft.record_failed(&failed, now_ms());
        draft.record(&judged, now_ms());
        self.keep(epoch, draft, planned).await?;
        Ok(true)
    }

    pub(crate) fn means<'m>(&'m self, tried: &'m mut Tried) -> Means<'m, R> {
        Means { topics: &self.topics, tried: self.canary.is_some().then_some(tried) }
    }

    async fn planned_now(
        &self,
        state: &State,
        documents: &[Arc<Document>],
        told: &mut Told,
    ) -> Result<Fresh> {
        let accepted = planned::accepted(state);
        let now =
            planned::fresh(documents, &accepted, &BTreeSet::new(), &self.topics, told, &self.plans)
                .await;
        now.map_err(|unplanned| match unplanned {
            Unplanned::Error(error) => error,
            Unplanned::Problems(problems) => {
                Error::new(ErrorKind::Config, "plan what is declared").because(problems.to_string())
            }
        })
    }

    /// Makes durable what plans accept, and shows it.
    async fn keep(&self, epoch: u64, mut draft: Draft, planned: Planned) -> Result<()> {
        accept(&mut draft, &planned);
        failpoint("judged.decided");
        self.write(epoch, draft.changes).await?;
        failpoint("judged.written");
        self.show(draft.state, planned);
        failpoint("judged.shown");
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
        failpoint("jobs.stopped");
        let jobs = self.launcher.jobs();
        let all = || mesh.pipelines.iter().filter(|plan| shall(plan.name()));
        // A new plan reads what was written before, so that whoever reads changes before who writes: no
        // row of a new schema goes through an old plan.
        for plan in all().rev() {
            let job = jobs.get(plan.name());
            let accepted = &state.pipeline(plan.name()).accepted_loss;
            if job.is_some_and(|job| self.to_start(plan, job, &planned, accepted)) {
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
    /// now, or before a loss that was accepted since.
    fn to_start(
        &self,
        plan: &PipelinePlan,
        job: &JobReport,
        planned: &Planned,
        accepted: &AcceptedLoss,
    ) -> bool {
        let name = plan.name();
        if job.digest != plan.digest {
            return true;
        }
        let newest = planned.newest(name);
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        match &job.state {
            JobState::Held { .. } => {
                planned.held(name).is_empty() && started.get(name) != Some(&newest)
            }
            JobState::Drained => !planned.moving.contains_key(name),
            JobState::Lost { places, .. } => accepted.covers_any(places),
            JobState::Starting
            | JobState::Running
            | JobState::Retrying { .. }
            | JobState::Failed { .. } => false,
        }
    }

    async fn start(&self, name: &str, planned: &Planned) {
        // The lease may have been lost since the round began.
        if !self.leads() {
            return;
        }
        let Some(plan) = planned.pipelines.get(name) else { return };
        let Some(recipe) = self.recipe(plan) else { return };
        let newest = planned.newest(name);
        // What is held was judged, and must not be taken.
        let held = !planned.held(name).is_empty();
        let judged = if held { planned.bases.get(name).cloned() } else { Some(newest.clone()) };
        let judged = judged.unwrap_or_default();
        let planned_by = judged.iter().map(|(topic, schemas)| (topic.clone(), schemas.value));
        let planned_by = planned_by.collect();
        let accepted_loss = self.state().pipeline(name).accepted_loss;
        let start = Start { plan: Arc::clone(plan), recipe, planned_by, accepted_loss };
        failpoint("job.to-start");
        self.launcher.start(start).await;
        failpoint("job.started");
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.insert(name.to_owned(), newest);
    }

    /// What a plan is made of; none if its document has gone.
    fn recipe(&self, plan: &PipelinePlan) -> Option<Recipe> {
        let state = self.state();
        let id = Id::pipeline(plan.name());
        let all = self.builtin.beside_state(&state);
        let declared = state.document(&id)?;
        Some(Recipe::of(plan, &declared.document, all.iter().map(Arc::as_ref)))
    }

    /// Has a pipeline read a table's former topic to its end, and then go on in the next.
    async fn go_over(&self, name: &str, moving: &Moving, job: &JobReport) -> Result<()> {
        if job.state != JobState::Drained {
            let topics: Vec<(String, String)> =
                moving.moves.iter().map(|one| (one.from.clone(), one.to.clone())).collect();
            failpoint("drain.due");
            self.launcher.drain(name, &topics).await?;
            failpoint("drain.told");
            return Ok(());
        }
        failpoint("drain.done");
        let Ok(epoch) = self.epoch() else { return Ok(()) };
        let mut planned = Planned::clone(&self.planned());
        planned.moved(name);
        tracing::info!(pipeline = name, "goes on in the next topic");
        self.keep(epoch, Draft::of(&self.state()), planned).await?;
        failpoint("next-topic.taken");
        self.start(name, &self.planned()).await;
        failpoint("next-topic.started");
        Ok(())
    }

    pub(crate) async fn stop_all(&self, which: impl Fn(&str) -> bool) {
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
}

/// Logs what schemas mean for pipelines.
fn tell(judged: &Judged) {
    for one in judged.pipelines.iter().filter(|one| one.verdict != Verdict::Unaffected) {
        let reasons: Vec<String> = one.reasons.iter().map(ToString::to_string).collect();
        let (pipeline, verdict) = (&one.pipeline, one.verdict.name());
        tracing::info!(pipeline, verdict, why = one.why, reasons = reasons.join("; "), "judged");
    }
}
