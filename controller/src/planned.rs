//! The plan of all that is declared: by the schemas of now ([`fresh`]), and as it runs ([`Planned`]).

use crate::proposal::{Plans, is_about};
use crate::state::{Id, PipelineState, State};
use crate::topics::{Basis, KnownTopics, Registry, Told, external};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::Problems;
use tidemesh_plan::document::Document;
use tidemesh_plan::mesh::{self, Accepted, MeshPlan, PipelinePlan, PlanCache};
use tidemesh_plan::upgrade::{self, Move, Unfit};

/// What is declared, as it runs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Planned {
    /// The plans by which pipelines run, in order; none before anything was planned.
    pub(crate) mesh: Option<MeshPlan>,
    /// The same, pipeline by pipeline.
    pub(crate) pipelines: Plans,
    /// The schemas by which each was planned.
    pub(crate) bases: BTreeMap<String, Basis>,
    /// Pipelines that cannot go on as what they read is now, with the reasons.
    pub(crate) held: BTreeMap<String, Vec<String>>,
    /// Pipelines that go on as they are although there is another plan, with the reasons.
    pub(crate) stays: BTreeMap<String, Vec<String>>,
    /// Pipelines that go over to a table's next topic once the former one is read to its end.
    pub(crate) moving: BTreeMap<String, Moving>,
    /// Plans that failed when they were tried.
    pub(crate) unfit: Unfit,
    /// Whether it is to be judged anew, whatever the schemas are.
    pub(crate) outdated: bool,
    /// The topics that the documents depend on.
    pub(crate) asked: BTreeSet<String>,
    /// The newest schemas of all topics that plans depend on, when they were last looked at.
    pub(crate) answered: Basis,
}

/// A pipeline on its way to a table's next topic.
#[derive(Debug, Clone)]
pub(crate) struct Moving {
    pub(crate) plan: Arc<PipelinePlan>,
    pub(crate) moves: Vec<Move>,
}

/// A plan by the schemas of now.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) mesh: MeshPlan,
    /// Documents that cannot be planned, with the reasons.
    pub(crate) held: BTreeMap<Id, Vec<String>>,
    pub(crate) asked: BTreeSet<String>,
    pub(crate) answered: Basis,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum Unplanned {
    /// What is declared is wrong.
    Problems(Problems),
    /// It could not be found out.
    Error(Error),
}

impl From<Error> for Unplanned {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Problems> for Unplanned {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

/// Plans documents by the newest schemas. What is wrong with a document of `must` is an error; any other
/// is held, and what reads its topics is planned by the schemas that those have.
pub(crate) async fn fresh<R: Registry>(
    documents: &[Arc<Document>],
    accepted: &Accepted,
    must: &BTreeSet<Id>,
    topics: &KnownTopics<R>,
    told: &mut Told,
    plans: &PlanCache,
) -> Result<Fresh, Unplanned> {
    let mut left: Vec<Document> = documents.iter().map(|document| (**document).clone()).collect();
    let mut held: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    let (mut asked, mut answered) = (BTreeSet::new(), Basis::new());
    loop {
        let now = external(left.iter());
        let basis = topics.newest_once(&now, told).await?;
        answered.extend(basis.clone());
        asked.extend(now);
        let known = topics.topics(&basis).await?;
        let problems = match mesh::plan_with(&left, &known, accepted, plans) {
            Ok(mesh) => return Ok(Fresh { mesh, held, asked, answered }),
            Err(problems) => problems,
        };
        let before = left.len();
        for problem in &problems.0 {
            let Some(place) = left.iter().position(|one| is_about(problem, &Id::of(one))) else {
                continue;
            };
            if must.contains(&Id::of(&left[place])) {
                return Err(problems.into());
            }
            let reasons = held.entry(Id::of(&left.remove(place))).or_default();
            let of = problems.0.iter().filter(|other| other.about == problem.about);
            reasons.extend(of.map(ToString::to_string));
        }
        if left.len() == before {
            return Err(problems.into());
        }
    }
}

/// What was accepted with each pipeline, as plans are made by.
pub(crate) fn accepted(state: &State) -> Accepted {
    let kept = state.pipelines.iter();
    kept.map(|(name, kept)| (name.clone(), kept.accepted.clone())).collect()
}

impl Planned {
    /// Puts what runs in the place of what ran, with the schemas by which each plan was made.
    pub(crate) fn run(&mut self, pipelines: Vec<(PipelinePlan, Basis)>) {
        self.bases =
            pipelines.iter().map(|(plan, basis)| (plan.name().to_owned(), basis.clone())).collect();
        let pipelines: Vec<PipelinePlan> = pipelines.into_iter().map(|(plan, _)| plan).collect();
        let kept = |plan: &PipelinePlan| {
            let same = self.pipelines.get(plan.name()).filter(|old| old.digest == plan.digest);
            same.cloned().unwrap_or_else(|| Arc::new(plan.clone()))
        };
        self.pipelines =
            pipelines.iter().map(|plan| (plan.name().to_owned(), kept(plan))).collect();
        self.mesh = Some(MeshPlan { pipelines });
    }

    /// What is accepted with a pipeline's plan: its fields, and the schemas of what it reads. What is kept of
    /// the pipeline beside its plan stays.
    pub(crate) fn accepts(&self, name: &str, kept: PipelineState) -> Option<PipelineState> {
        let (plan, basis) = (self.pipelines.get(name)?, self.bases.get(name)?.clone());
        let accepted = plan.inputs.iter().map(|input| (input.name.clone(), input.accepted.clone()));
        let (accepted, digest) = (accepted.collect(), plan.digest.clone());
        let unfit = self.unfit.get(name).cloned().unwrap_or_default();
        Some(PipelineState { accepted, digest, basis, unfit, ..kept })
    }

    /// Whether plans would be others by now.
    pub(crate) async fn is_old<R: Registry>(&self, topics: &KnownTopics<R>) -> Result<bool> {
        Ok(self.mesh.is_none()
            || self.outdated
            || topics.newest(self.asks()).await? != self.answered)
    }

    /// All topics that plans depend on: those of the documents, and those that pipelines have gone over to,
    /// with what could come behind them.
    pub(crate) fn asks(&self) -> BTreeSet<String> {
        let plans = || self.pipelines.values();
        let written: BTreeSet<&String> =
            plans().flat_map(|plan| &plan.outputs).map(|output| &output.topic).collect();
        let read = plans().flat_map(|plan| &plan.inputs).map(|input| &input.topic);
        let read = read.filter(|topic| !written.contains(topic));
        let both = read.flat_map(|topic| [topic.clone(), upgrade::next(topic)]);
        both.chain(self.asked.iter().cloned()).collect()
    }

    /// What runs.
    pub(crate) fn mesh(&self) -> Result<&MeshPlan> {
        self.mesh.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "look at the mesh")
                .because("nothing has been planned yet")
        })
    }

    /// Why a pipeline is held; empty if it is not.
    pub(crate) fn held(&self, name: &str) -> &[String] {
        self.held.get(name).map_or(&[], Vec::as_slice)
    }

    /// The newest schemas of what a pipeline of these plans reads, also by those before it.
    pub(crate) fn newest_of(plan: &PipelinePlan, of: &MeshPlan, answered: &Basis) -> Basis {
        let (mut open, mut seen) = (vec![plan], BTreeSet::new());
        let mut basis = Basis::new();
        while let Some(plan) = open.pop() {
            for input in &plan.inputs {
                if let Some(schemas) = answered.get(&input.topic) {
                    basis.insert(input.topic.clone(), *schemas);
                }
                let writer = input.writer.as_ref().and_then(|writer| of.pipeline(writer));
                open.extend(writer.filter(|writer| seen.insert(writer.name().to_owned())));
            }
        }
        basis
    }
}
