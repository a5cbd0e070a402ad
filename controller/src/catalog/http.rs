//! The catalog's routes.

use super::TopicReport;
use super::samples::{SAMPLES_MAX, Samples};
use super::search::{CATALOG_FOUND_MAX, found};
use crate::controller::Controller;
use crate::http::extract::{Parameters, Segments};
use crate::http::{Answer, Handle, error};
use crate::topics::Registry;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// How many topics are told where it is not said.
const FOUND_DEFAULT: usize = 100;

/// How many records are shown where it is not said.
const SAMPLES_DEFAULT: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    #[serde(default)]
    search: String,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SamplesQuery {
    limit: Option<usize>,
}

/// The routes of the catalog.
pub(crate) fn routes<R: Registry>() -> Router<Arc<Controller<R>>> {
    Router::new()
        .route("/v1/catalog", get(search::<R>))
        .route("/v1/catalog/{topic}", get(topic::<R>))
        .route("/v1/catalog/{topic}/samples", get(samples::<R>))
}

async fn search<R: Registry>(
    State(controller): Handle<R>,
    Parameters(query): Parameters<SearchQuery>,
) -> Answer<Vec<TopicReport>> {
    let limit = bounded(query.limit, FOUND_DEFAULT, CATALOG_FOUND_MAX);
    let limit = limit.map_err(|refused| error(&refused))?;
    let reports = controller.topic_reports().await.map_err(|refused| error(&refused))?;
    let mut reports = found(reports, &query.search);
    reports.truncate(limit);
    Ok(Json(reports))
}

async fn topic<R: Registry>(
    State(controller): Handle<R>,
    Segments(topic): Segments<String>,
) -> Answer<TopicReport> {
    controller.described(&topic).await.map(Json).map_err(|refused| error(&refused))
}

async fn samples<R: Registry>(
    State(controller): Handle<R>,
    Segments(topic): Segments<String>,
    Parameters(query): Parameters<SamplesQuery>,
) -> Answer<Samples> {
    let limit = bounded(query.limit, SAMPLES_DEFAULT, SAMPLES_MAX);
    let limit = limit.map_err(|refused| error(&refused))?;
    controller.samples(&topic, limit).await.map(Json).map_err(|refused| error(&refused))
}

fn bounded(asked: Option<usize>, default: usize, most: usize) -> Result<usize> {
    let limit = asked.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::new(ErrorKind::Config, "ask the catalog")
        .because(format!("limit: it must be 1 to {most}"))
        .with("limit", limit))
}
