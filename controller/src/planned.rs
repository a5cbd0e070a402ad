//! The plan of all that is declared, and what of it could not be planned.

use crate::proposal::{Plans, is_about, plans};
use crate::state::{Id, State};
use crate::topics::{Basis, KnownTopics, Registry, external};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::{Document, Kind};
use tidemesh_plan::mesh::{self, Accepted, MeshPlan};
use tidemesh_plan::{Problem, Problems};

/// What is declared, as it would run now.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    /// The plan of all that can be planned.
    pub(crate) mesh: Option<MeshPlan>,
    /// The same, pipeline by pipeline.
    pub(crate) pipelines: Plans,
    /// Documents that cannot be planned as their sources are now, with the reasons.
    pub(crate) held: BTreeMap<Id, Vec<Problem>>,
    /// The schemas by which it was planned.
    pub(crate) basis: Basis,
    /// All topics that plans depend on, also of what is held.
    pub(crate) asked: BTreeSet<String>,
    /// Their schemas then.
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
pub(crate) async fn plan<R: Registry>(
    documents: &[Arc<Document>],
    accepted: &Accepted,
    must: &BTreeSet<Id>,
    topics: &KnownTopics<R>,
) -> Result<Planned, Unplanned> {
    let mut left: Vec<Document> = documents.iter().map(|document| (**document).clone()).collect();
    let mut held: BTreeMap<Id, Vec<Problem>> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    let mut answered = Basis::new();
    loop {
        let now = external(left.iter());
        answered.extend(topics.newest(now.difference(&asked).cloned().collect()).await?);
        let of_now = answered.iter().filter(|(topic, _)| now.contains(*topic));
        let basis: Basis = of_now.map(|(topic, schemas)| (topic.clone(), *schemas)).collect();
        asked.extend(now);
        let known = topics.topics(&basis, &left).await?;
        let problems = match mesh::plan(&left, &known, accepted) {
            Ok(mesh) => {
                let pipelines = plans(mesh.clone());
                return Ok(Planned { mesh: Some(mesh), pipelines, held, basis, asked, answered });
            }
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
            held.entry(Id::of(&left.remove(place))).or_default().push(problem.clone());
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
    /// What is accepted with a pipeline's plan: its fields, and the schemas of what it reads.
    pub(crate) fn accepts(&self, name: &str, paused: bool) -> Option<crate::state::PipelineState> {
        let plan = self.pipelines.get(name)?;
        let accepted = plan.inputs.iter().map(|input| (input.name.clone(), input.accepted.clone()));
        let topics = plan.inputs.iter().map(|input| &input.topic);
        let basis = topics.filter_map(|topic| Some((topic.clone(), *self.basis.get(topic)?)));
        Some(crate::state::PipelineState {
            paused,
            accepted: accepted.collect(),
            basis: basis.collect(),
        })
    }

    /// Whether plans would be others by now.
    pub(crate) async fn is_old<R: Registry>(&self, topics: &KnownTopics<R>) -> Result<bool> {
        Ok(self.mesh.is_none() || topics.newest(self.asked.clone()).await? != self.answered)
    }

    /// The lineage's plan.
    pub(crate) fn mesh(&self) -> Result<&MeshPlan> {
        self.mesh.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "look at the mesh")
                .because("nothing has been planned yet")
        })
    }

    /// Why a pipeline is held; empty if it is not.
    pub(crate) fn held(&self, name: &str) -> &[Problem] {
        let id = Id { kind: Kind::Pipeline, name: name.to_owned() };
        self.held.get(&id).map_or(&[], Vec::as_slice)
    }
}
