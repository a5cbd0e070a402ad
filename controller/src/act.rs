//! What users ask for: decided, planned, made durable, and shown.

use crate::builtin::owned;
use crate::canary::{RolledBack, Tried};
use crate::controller::{Controller, Refused, now_ms};
use crate::draft::Draft;
use crate::evolve::{self, Followed, Means};
use crate::failpoint::failpoint;
use crate::planned::{self, Fresh, Planned, Unplanned};
use crate::proposal::{Changes, Handed, Refusal, Text, Verb, changes};
use crate::state::{Action, DOCUMENTS_MAX, Id, ManagedBy, PipelineState, State, parse_kept};
use crate::topics::{Registry, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind};
use tidemesh_plan::document::{Document, Evolution, Kind, Spec};
use tidemesh_plan::upgrade::Verdict;

/// Who asks, and how.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Who, if that is known.
    pub by: Option<String>,
    /// Whether it shall only be said what would be done.
    pub dry_run: bool,
}

/// What is to be: documents in the place of others, and without one.
struct Wanted<'w> {
    handed: &'w Handed,
    deleted: Option<&'w Id>,
    action: Action,
}

impl<R: Registry> Controller<R> {
    /// Declares the documents of these texts, beside and in the place of those that there are; with
    /// `dry_run` it only says what would change.
    ///
    /// # Errors
    ///
    /// All that is wrong, and then nothing is changed. [`Refused::Error`] if it could not be done.
    pub async fn apply(&self, texts: &[Text], asked: &Asked) -> Result<Changes, Refused> {
        let handed = Handed::read(texts).map_err(Refused::Wrong)?;
        let wanted = Wanted { handed: &handed, deleted: None, action: Action::Applied };
        self.change(wanted, asked).await
    }

    /// Removes a document. A pipeline's job ends; its topics and offsets stay. So does a connector, and
    /// what it tells it leaves.
    ///
    /// # Errors
    ///
    /// `NotFound`; [`Refused::Wrong`] if another document needs it.
    pub async fn delete(&self, id: &Id, asked: &Asked) -> Result<Changes, Refused> {
        self.own(id)?;
        let handed = Handed::default();
        let wanted = Wanted { handed: &handed, deleted: Some(id), action: Action::Deleted };
        self.change(wanted, asked).await
    }

    /// Declares again what an earlier revision said, as a new revision.
    ///
    /// # Errors
    ///
    /// `NotFound` if the revision is not kept; what [`Controller::apply`] says.
    pub async fn roll_back(&self, id: &Id, to: u64, asked: &Asked) -> Result<Changes, Refused> {
        let state = self.state();
        let revision = state.history(id).iter().find(|revision| revision.number == to);
        let revision = revision.ok_or_else(|| {
            let known = state.history(id).iter().map(|one| one.number.to_string());
            Error::new(ErrorKind::NotFound, "roll back")
                .because(format!("{id} has no such revision"))
                .with("revision", to)
                .help(format!("name one of {}", known.collect::<Vec<_>>().join(", ")))
        })?;
        let document = Arc::new(parse_kept(&revision.document.to_string())?);
        let handed = Handed::of_revision(document, to);
        let action = Action::RolledBack { to };
        self.change(Wanted { handed: &handed, deleted: None, action }, asked).await
    }

    /// Has a pipeline not run, or run again. One that has failed is started anew, and so is a plan tried
    /// that had failed its canary.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such pipeline.
    pub async fn pause(&self, pipeline: &str, paused: bool) -> Result<(), Refused> {
        self.set_paused(pipeline, paused, |_| Ok(())).await
    }

    /// The same with what else is to be kept of the pipeline, which is asked for while nothing else is
    /// changed.
    pub(crate) async fn set_paused(
        &self,
        pipeline: &str,
        paused: bool,
        keep: impl FnOnce(&mut PipelineState) -> Result<(), Error> + Send,
    ) -> Result<(), Refused> {
        let _writing = self.writing.lock().await;
        let epoch = self.epoch()?;
        let state = self.state();
        let id = Id::pipeline(pipeline);
        if state.document(&id).is_none() {
            return Err(missing(&id).into());
        }
        let mut draft = Draft::of(&state);
        let mut planned = Planned::clone(&self.planned());
        let mut accepted = PipelineState { paused, ..state.pipeline(pipeline) };
        if !paused && planned.try_again(pipeline) {
            accepted.unfit.clear();
        }
        keep(&mut accepted)?;
        draft.accept(pipeline, accepted);
        failpoint("pause.decided");
        self.write(epoch, draft.changes).await?;
        failpoint("pause.written");
        self.show(draft.state, planned);
        // Its job of before goes, whatever became of it.
        self.launcher.stop(pipeline).await;
        failpoint("pause.stopped");
        self.wake.notify_one();
        Ok(())
    }

    async fn change(&self, wanted: Wanted<'_>, asked: &Asked) -> Result<Changes, Refused> {
        let mut tried = Tried::default();
        loop {
            if let Some(changes) = self.change_once(&wanted, asked, &mut tried).await? {
                return Ok(changes);
            }
            tried.more(self.canary.as_deref()).await?;
        }
    }

    /// None if plans are to be tried first.
    async fn change_once(
        &self,
        wanted: &Wanted<'_>,
        asked: &Asked,
        tried: &mut Tried,
    ) -> Result<Option<Changes>, Refused> {
        let _writing = self.writing.lock().await;
        let epoch = self.epoch()?;
        // Else it has only just begun to act.
        if self.planned().mesh.is_none() && !self.follow_schemas(tried).await? {
            return Ok(None);
        }
        let state = self.state();
        for (document, _) in &wanted.handed.documents {
            self.allowed(&state, document)?;
        }
        self.check_connectors(wanted.handed)?;
        let all = self.builtin.beside(documents(&state, wanted));
        self.check_catalog(&all, wanted.handed)?;
        self.topics.written_by(&all);
        if all.len() > DOCUMENTS_MAX {
            return Err(too_many(all.len()).into());
        }
        let seen = self.planned();
        seen.mesh()?;
        // What other schemas have done meanwhile is nothing that is asked for here.
        let declared = self.builtin.beside_state(&state);
        let mut told = Told::default();
        let before = evolve::follow(&seen, &declared, self.means(tried), &mut told).await?;
        let Some(Followed { planned: before, judged: followed, failed }) = before else {
            return Ok(None);
        };
        let means = self.means(tried);
        let proposed = self.proposed(&state, &before, wanted, &all, means, &mut told).await?;
        let Some((planned, refused)) = proposed else { return Ok(None) };
        let mut changes =
            changes(wanted.handed, &state, &before.pipelines, &planned.pipelines, wanted.deleted);
        if asked.dry_run || changes.is_empty() {
            return Ok(Some(changes));
        }
        let mut draft = Draft::of(&state);
        draft.record_failed(&failed, now_ms());
        draft.record(&followed, now_ms());
        draft.record_failed(&refused, now_ms());
        declare(&mut draft, wanted, &mut changes, asked);
        accept(&mut draft, &planned);
        failpoint("change.decided");
        self.write(epoch, draft.changes).await?;
        failpoint("change.written");
        self.show(draft.state, planned);
        failpoint("change.shown");
        self.wake.notify_one();
        Ok(Some(changes))
    }

    /// What is to run; none if plans are to be tried first.
    async fn proposed(
        &self,
        state: &State,
        before: &Planned,
        wanted: &Wanted<'_>,
        all: &[Arc<Document>],
        means: Means<'_, R>,
        told: &mut Told,
    ) -> Result<Option<(Planned, Vec<RolledBack>)>, Refused> {
        let mut accepted = planned::accepted(state);
        for (document, _) in &wanted.handed.documents {
            // Whoever applies a pipeline that is upgraded by hand, upgrades it.
            if let Spec::Pipeline(spec) = &document.spec
                && spec.evolution == Evolution::Manual
            {
                accepted.remove(document.name());
            }
        }
        // What is held already may stay so: it is not what this is about.
        let handed = wanted.handed.ids();
        let is_held = |id: &Id| id.kind == Kind::Pipeline && before.held.contains_key(&id.name);
        let held = |id: &Id| is_held(id) && !handed.contains(id);
        let must: BTreeSet<Id> =
            all.iter().map(|document| Id::of(document)).filter(|id| !held(id)).collect();
        let now = planned::fresh(all, &accepted, &must, &self.topics, told, &self.plans).await;
        let now = now.map_err(|unplanned| match unplanned {
            Unplanned::Problems(problems) => Refused::Wrong(wanted.handed.refusals(problems)),
            Unplanned::Error(error) => error.into(),
        })?;
        self.check_outputs(before, &now, &handed, wanted.handed).await?;
        let followed = evolve::apply(before, now, &handed, all, means, told).await?;
        let Some(Followed { planned, judged, failed }) = followed else { return Ok(None) };
        let newly = judged
            .pipelines
            .iter()
            .filter(|one| one.verdict == Verdict::Held && before.held(&one.pipeline).is_empty());
        let refusals: Vec<Refusal> = newly
            .flat_map(|one| one.reasons.iter().map(move |reason| (one, reason)))
            .map(|(one, reason)| wanted.handed.refusal(&one.pipeline, reason))
            .collect();
        if refusals.is_empty() {
            Ok(Some((planned, failed)))
        } else {
            Err(Refused::Wrong(refusals))
        }
    }

    /// Asks the registry whether topics take what is to be written to them.
    async fn check_outputs(
        &self,
        before: &Planned,
        now: &Fresh,
        handed: &BTreeSet<Id>,
        texts: &Handed,
    ) -> Result<(), Refused> {
        let mut refusals = Vec::new();
        for plan in &now.mesh.pipelines {
            let (name, id) = (plan.name(), Id::pipeline(plan.name()));
            let same = before.pipelines.get(name).is_some_and(|old| old.digest == plan.digest);
            if !handed.contains(&id) || same {
                continue;
            }
            for output in &plan.outputs {
                if let Some(why) = self.topics.refuses(output).await? {
                    refusals.push(texts.refused_output(name, output, &why));
                }
            }
        }
        if refusals.is_empty() { Ok(()) } else { Err(Refused::Wrong(refusals)) }
    }

    /// Whether users may change a document.
    fn allowed(&self, state: &State, document: &Document) -> Result<(), Refused> {
        let id = Id::of(document);
        if state.document(&id).is_some() {
            self.own(&id)?;
        }
        self.builtin.allows(document)?;
        Ok(())
    }

    pub(crate) fn own(&self, id: &Id) -> Result<(), Refused> {
        let state = self.state();
        match state.document(id).map(|declared| declared.managed_by) {
            None if self.builtin.newest(id).is_some() => {
                Err(owned(id).help("run a binary that does not register it").into())
            }
            None => Err(missing(id).into()),
            Some(ManagedBy::User) => Ok(()),
            Some(ManagedBy::Binary) => Err(owned(id).into()),
            Some(ManagedBy::File) => Err(Error::new(ErrorKind::Conflict, "change a document")
                .because("a daemon's configuration file brings it")
                .with("document", id)
                .help("change it there")
                .into()),
        }
    }
}

pub(crate) fn missing(id: &Id) -> Error {
    Error::new(ErrorKind::NotFound, "find a document")
        .because("there is none of this kind and name")
        .with("document", id)
        .help(format!("tidemesh get {} lists what there is", id.kind.name().to_lowercase()))
}

fn too_many(documents: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "declare documents")
        .because("there would be more than a controller takes")
        .with("documents", documents)
        .with("documents_max", DOCUMENTS_MAX)
}

/// All documents as they shall be.
fn documents(state: &State, wanted: &Wanted<'_>) -> Vec<Arc<Document>> {
    let declared = state.documents.iter().map(|(id, one)| (id.clone(), Arc::clone(&one.document)));
    let mut all: BTreeMap<Id, Arc<Document>> = declared.collect();
    let handed = wanted.handed.documents.iter();
    all.extend(handed.map(|(document, _)| (Id::of(document), Arc::clone(document))));
    wanted.deleted.iter().for_each(|id| drop(all.remove(*id)));
    all.into_values().collect()
}

/// Writes what was handed in into the draft, and its revisions into what is told.
fn declare(draft: &mut Draft, wanted: &Wanted<'_>, changes: &mut Changes, asked: &Asked) {
    let (by, at_ms) = (asked.by.as_deref(), now_ms());
    let told = changes.documents.iter_mut();
    for ((document, _), change) in wanted.handed.documents.iter().zip(told) {
        if matches!(change.verb, Verb::Create | Verb::Change) {
            let action = wanted.action.clone();
            let document = Arc::clone(document);
            let id = Id::of(&document);
            change.revision = Some(draft.declare(document, ManagedBy::User, action, by, at_ms));
            draft.drop_accepted_loss(&id);
        }
    }
    wanted.deleted.iter().for_each(|id| draft.remove(id, by, at_ms));
}

/// Keeps what plans accept.
pub(crate) fn accept(draft: &mut Draft, planned: &Planned) {
    for name in planned.pipelines.keys() {
        if let Some(accepts) = planned.accepts(name, draft.state.pipeline(name)) {
            draft.accept(name, accepts);
        }
    }
}
