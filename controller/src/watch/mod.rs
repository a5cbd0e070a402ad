//! What watches pipelines and sources from outside: Prometheus' rules and Grafana's dashboards, made of
//! what is declared.

mod dashboard;
mod rules;

use crate::controller::Controller;
use crate::http::extract::Segments;
use crate::http::{Answer, Handle, no_pipeline};
use crate::state::Id;
use crate::topics::Registry;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use std::sync::Arc;

/// The routes of what watches.
pub(crate) fn routes<R: Registry>() -> Router<Arc<Controller<R>>> {
    Router::new()
        .route("/v1/prometheus/rules", get(rules::<R>))
        .route("/v1/pipelines/{name}/dashboard", get(dashboard::<R>))
}

async fn rules<R: Registry>(State(controller): Handle<R>) -> Response {
    let text = rules::text(&controller.state().declared());
    ([(CONTENT_TYPE, "application/yaml")], text).into_response()
}

async fn dashboard<R: Registry>(
    State(controller): Handle<R>,
    Segments(name): Segments<String>,
) -> Answer<Value> {
    let id = Id::pipeline(name);
    match controller.state().document(&id) {
        Some(declared) => Ok(Json(dashboard::of_pipeline(&declared.document))),
        None => Err(no_pipeline(id.name)),
    }
}
