//! What a change of a table would do, asked before it is made; and what changes have done.

use crate::act::missing;
use crate::controller::{Controller, Refused};
use crate::http::extract::{JsonBody, Segments};
use crate::http::{Answer, Handle, error, no};
use crate::state::{Id, Upgrade};
use crate::topics::Registry;
use axum::extract::{OriginalUri, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemesh_plan::document::Document;
use tidemesh_plan::upgrade::impact::{Change, Impact, impact};
use tidemesh_plan::upgrade::{Question, Subjects};

/// The most changes that are asked about at once.
pub const CHANGES_MAX: usize = 1_000;

/// A change of a topic that is asked about.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImpactRequest {
    /// The topic that the table has now.
    pub topic: String,
    /// What would change, all of it together.
    pub changes: Vec<Change>,
}

impl<R: Registry> Controller<R> {
    /// What changes of one topic, made together, would do: by the same code that judges them when they
    /// come.
    ///
    /// # Errors
    ///
    /// `NotFound` for a topic or column that there is not; `Malformed` and `Unsupported` for a type that
    /// is none, or a change that the table cannot have; `TooLarge`; `Unavailable`.
    pub async fn impact(&self, request: &ImpactRequest) -> Result<Impact, Refused> {
        if request.changes.len() > CHANGES_MAX {
            let many =
                tidemesh_model::Error::new(tidemesh_model::ErrorKind::TooLarge, "judge changes");
            return Err(many.with("changes_max", CHANGES_MAX).into());
        }
        let (state, planned) = (self.state(), self.planned());
        let mut asked = planned.asks();
        asked.insert(request.topic.clone());
        let answered = self.topics.newest(asked).await?;
        let topics = self.topics.topics(&answered).await?;
        let documents = self.builtin.beside_state(&state);
        let documents: Vec<Document> = documents.iter().map(|one| (**one).clone()).collect();
        let question = Question {
            running: planned.mesh()?,
            documents: &documents,
            topics: &topics,
            subjects: &Subjects::new(),
            applied: &BTreeSet::new(),
            unfit: &planned.unfit,
        };
        Ok(impact(&question, &request.topic, &request.changes)?)
    }
}

/// The routes of these questions.
pub(crate) fn routes<R: Registry>() -> Router<Arc<Controller<R>>> {
    Router::new()
        .route("/v1/impact", post(ask::<R>))
        .route("/v1/pipelines/{name}/upgrades", get(upgrades::<R>))
}

async fn ask<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    JsonBody(request): JsonBody<ImpactRequest>,
) -> Answer<Impact> {
    controller.impact(&request).await.map(Json).map_err(|refused| no(refused, &uri))
}

async fn upgrades<R: Registry>(
    State(controller): Handle<R>,
    Segments(name): Segments<String>,
) -> Answer<Vec<Upgrade>> {
    let state = controller.state();
    let id = Id::pipeline(name);
    if state.document(&id).is_none() {
        return Err(error(&missing(&id)));
    }
    Ok(Json(state.upgrades(&id.name).iter().map(|record| Upgrade::clone(record)).collect()))
}
