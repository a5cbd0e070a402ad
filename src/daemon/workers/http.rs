//! Beats by HTTP, on the controller's control port.

use super::{Beat, Hub, Worker};
use crate::daemon::control::refused;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;
use tidemesh_controller::Controller;
use tidemesh_transport::{RegistryClient, escape};

/// A hub, and whether it is the one to ask.
struct Workers {
    hub: Arc<Hub>,
    controller: Arc<Controller<RegistryClient>>,
}

/// A worker, as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    pipeline: String,
    #[serde(flatten)]
    worker: Worker,
}

/// The routes of workers.
pub(in crate::daemon) fn routes(
    hub: Arc<Hub>,
    controller: Arc<Controller<RegistryClient>>,
) -> Router {
    Router::new()
        .route("/v1/workers", get(list))
        .route("/v1/workers/{pipeline}/beat", post(beat))
        .with_state(Arc::new(Workers { hub, controller }))
}

async fn list(State(workers): State<Arc<Workers>>) -> Json<Vec<Listed>> {
    let all = workers.hub.workers(Instant::now()).into_iter();
    Json(all.map(|(pipeline, worker)| Listed { pipeline, worker }).collect())
}

/// Only the controller that acts knows what is to run; the others know which one that is.
async fn beat(
    State(workers): State<Arc<Workers>>,
    Path(pipeline): Path<String>,
    Json(beat): Json<Beat>,
) -> Response {
    if workers.controller.leads() {
        return match workers.hub.beat(&pipeline, &beat, Instant::now()) {
            Ok(answer) => Json(answer).into_response(),
            Err(error) => refused(&error),
        };
    }
    match workers.controller.leader() {
        Some(other) => {
            let url = other.url.trim_end_matches('/');
            let place = format!("{url}/v1/workers/{}/beat", escape(&pipeline));
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, place)]).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "no controller acts yet\n").into_response(),
    }
}
