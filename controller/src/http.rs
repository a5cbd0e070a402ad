//! The REST API. `openapi.json` describes it, and is served with it.
//!
//! What is refused has a JSON body ([`ErrorAnswer`]). A controller that does not act sends whoever
//! asks for a change to the one that does (307), and answers what is read from what it has seen. What
//! changes something is done [`whole`], whoever still waits for the answer.

pub(crate) mod extract;
mod whole;

pub use self::whole::whole;

use self::extract::{JsonBody, Parameters, Segments, no_such_method};
use crate::act::Asked;
use crate::connectors::SourceReport;
use crate::controller::{Controller, Refused, now_ms};
use crate::lineage::{LineageQuery, lineage, openlineage};
use crate::proposal::{Changes, Refusal, Text};
use crate::report::PipelineReport;
use crate::state::{Action, Declared, Id, ManagedBy};
use crate::topics::Registry;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind};
use tidemesh_plan::document::{Document, Kind};

/// The most bytes of a request's body: several texts of the size that a text may have.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The API's description (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");

/// What `plan` and `apply` take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Texts with documents.
    pub texts: Vec<Text>,
    /// Who asks, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackRequest {
    revision: u64,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    by: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeQuery {
    #[serde(default)]
    accept_loss: bool,
}

/// Why something was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// In words, with causes and remedy.
    pub message: String,
    /// All that is wrong with what was handed in, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Refusal>,
}

/// A document as it is declared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentReport {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its revision; 0 of what the daemon's binary brings.
    pub revision: u64,
    /// Who brings it.
    pub managed_by: ManagedBy,
    /// How its connector is, of a source that a document has run; `unassigned` if no process runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why no process runs it, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The document in its canonical form.
    pub document: Value,
}

/// Whether a document's pipeline or connector shall not run for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedReport {
    /// The document's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub paused: bool,
}

/// A revision, without the document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevisionReport {
    /// Its number.
    pub number: u64,
    /// When, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub at_ms: u64,
    /// Who, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What made it.
    pub action: Action,
    /// The document as it said then.
    pub document: Value,
}

pub(crate) type Handle<R> = State<Arc<Controller<R>>>;
pub(crate) type Answer<T> = Result<Json<T>, Response>;

/// The API's routes, under `/v1`.
pub fn router<R: Registry>(controller: Arc<Controller<R>>) -> Router {
    Router::new()
        .route("/v1/openapi.json", get(description))
        .route("/v1/plan", post(plan::<R>))
        .route("/v1/apply", post(apply::<R>))
        .route("/v1/documents", get(documents::<R>))
        .route("/v1/documents/{kind}", get(documents_of::<R>))
        .route("/v1/documents/{kind}/{name}", get(document::<R>).delete(delete::<R>))
        .route("/v1/documents/{kind}/{name}/history", get(history::<R>))
        .route("/v1/documents/{kind}/{name}/rollback", post(roll_back::<R>))
        .route("/v1/documents/{kind}/{name}/pause", post(pause_document::<R>))
        .route("/v1/documents/{kind}/{name}/resume", post(resume_document::<R>))
        .route("/v1/pipelines", get(pipelines::<R>))
        .route("/v1/pipelines/{name}", get(pipeline::<R>))
        .route("/v1/pipelines/{name}/plan", get(pipeline_plan::<R>))
        .route("/v1/pipelines/{name}/pause", post(pause::<R>))
        .route("/v1/pipelines/{name}/resume", post(resume::<R>))
        .route("/v1/pipelines/{name}/openlineage", get(pipeline_openlineage::<R>))
        .route("/v1/lineage", get(field_lineage::<R>))
        .merge(crate::impact::routes())
        .merge(crate::watch::routes())
        .merge(crate::catalog::routes())
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(controller)
}

async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn plan<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    JsonBody(request): JsonBody<ApplyRequest>,
) -> Answer<Changes> {
    let asked = Asked { by: request.by, dry_run: true };
    controller.apply(&request.texts, &asked).await.map(Json).map_err(|refused| no(refused, &uri))
}

async fn apply<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    JsonBody(request): JsonBody<ApplyRequest>,
) -> Answer<Changes> {
    let asked = Asked { by: request.by, dry_run: false };
    let done = whole(async move { controller.apply(&request.texts, &asked).await });
    done.await.map(Json).map_err(|refused| no(refused, &uri))
}

async fn documents<R: Registry>(State(controller): Handle<R>) -> Json<Vec<DocumentReport>> {
    Json(document_reports(&controller))
}

async fn documents_of<R: Registry>(
    State(controller): Handle<R>,
    Segments(kind): Segments<String>,
) -> Answer<Vec<DocumentReport>> {
    let kind = kind_of(&kind)?;
    let mut all = document_reports(&controller);
    all.retain(|report| report.kind == kind.name());
    Ok(Json(all))
}

async fn document<R: Registry>(
    State(controller): Handle<R>,
    Segments((kind, name)): Segments<(String, String)>,
) -> Answer<DocumentReport> {
    let id = Id { kind: kind_of(&kind)?, name };
    let state = controller.state();
    let declared =
        state.document(&id).map(|one| document_report(&controller.source_reports(), &id, one));
    let builtin = || controller.builtin.newest(&id).map(|document| builtin_report(document));
    let found = declared.or_else(builtin);
    found.map(Json).ok_or_else(|| error(&crate::act::missing(&id)))
}

async fn delete<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    Segments((kind, name)): Segments<(String, String)>,
    Parameters(query): Parameters<DeleteQuery>,
) -> Answer<Changes> {
    let id = Id { kind: kind_of(&kind)?, name };
    let asked = Asked { by: query.by, dry_run: query.dry_run };
    let done = whole(async move { controller.delete(&id, &asked).await });
    done.await.map(Json).map_err(|refused| no(refused, &uri))
}

async fn history<R: Registry>(
    State(controller): Handle<R>,
    Segments((kind, name)): Segments<(String, String)>,
) -> Answer<Vec<RevisionReport>> {
    let id = Id { kind: kind_of(&kind)?, name };
    let state = controller.state();
    let report = |one: &Arc<crate::state::Revision>| RevisionReport {
        number: one.number,
        at_ms: one.at_ms,
        by: one.by.clone(),
        action: one.action.clone(),
        document: one.document.clone(),
    };
    match state.history(&id) {
        [] if state.document(&id).is_none() => Err(error(&crate::act::missing(&id))),
        history => Ok(Json(history.iter().map(report).collect())),
    }
}

async fn roll_back<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    Segments((kind, name)): Segments<(String, String)>,
    JsonBody(request): JsonBody<RollbackRequest>,
) -> Answer<Changes> {
    let id = Id { kind: kind_of(&kind)?, name };
    let asked = Asked { by: request.by, dry_run: request.dry_run };
    let done = whole(async move { controller.roll_back(&id, request.revision, &asked).await });
    done.await.map(Json).map_err(|refused| no(refused, &uri))
}

async fn pipelines<R: Registry>(State(controller): Handle<R>) -> Json<Vec<PipelineReport>> {
    Json(controller.pipelines())
}

async fn pipeline<R: Registry>(
    State(controller): Handle<R>,
    Segments(name): Segments<String>,
) -> Answer<PipelineReport> {
    controller.pipeline(&name).map(Json).ok_or_else(|| no_pipeline(name))
}

/// The plan for people.
async fn pipeline_plan<R: Registry>(
    State(controller): Handle<R>,
    Segments(name): Segments<String>,
) -> Result<String, Response> {
    let planned = controller.planned();
    planned.pipelines.get(&name).map(ToString::to_string).ok_or_else(|| no_pipeline(name))
}

async fn pause<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    Segments(name): Segments<String>,
) -> Answer<Value> {
    let pipeline = name.clone();
    let done = whole(async move { controller.pause(&pipeline, true).await });
    paused_or_resumed(done.await, &name, true, &uri)
}

async fn resume<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    Segments(name): Segments<String>,
    Parameters(query): Parameters<ResumeQuery>,
) -> Answer<Value> {
    let pipeline = name.clone();
    let done = whole(async move {
        match query.accept_loss {
            true => controller.resume_behind_loss(&pipeline).await,
            false => controller.pause(&pipeline, false).await,
        }
    });
    paused_or_resumed(done.await, &name, false, &uri)
}

fn paused_or_resumed(
    done: Result<(), Refused>,
    name: &str,
    paused: bool,
    uri: &Uri,
) -> Answer<Value> {
    done.map_err(|refused| no(refused, uri))?;
    Ok(Json(serde_json::json!({ "pipeline": name, "paused": paused })))
}

async fn pause_document<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    Segments((kind, name)): Segments<(String, String)>,
) -> Answer<PausedReport> {
    paused_document(controller, Id { kind: kind_of(&kind)?, name }, true, &uri).await
}

async fn resume_document<R: Registry>(
    State(controller): Handle<R>,
    uri: OriginalUri,
    Segments((kind, name)): Segments<(String, String)>,
) -> Answer<PausedReport> {
    paused_document(controller, Id { kind: kind_of(&kind)?, name }, false, &uri).await
}

async fn paused_document<R: Registry>(
    controller: Arc<Controller<R>>,
    id: Id,
    paused: bool,
    uri: &Uri,
) -> Answer<PausedReport> {
    let report = PausedReport { kind: id.kind.name().to_owned(), name: id.name.clone(), paused };
    let done = whole(async move { controller.pause_document(&id, paused).await });
    done.await.map_err(|refused| no(refused, uri))?;
    Ok(Json(report))
}

async fn pipeline_openlineage<R: Registry>(
    State(controller): Handle<R>,
    Segments(name): Segments<String>,
) -> Answer<Value> {
    let planned = controller.planned();
    let plan = planned.pipelines.get(&name).ok_or_else(|| no_pipeline(name))?;
    Ok(Json(openlineage(plan, &controller.config.dataset_namespace, now_ms())))
}

async fn field_lineage<R: Registry>(
    State(controller): Handle<R>,
    Parameters(query): Parameters<LineageQuery>,
) -> Answer<crate::lineage::LineageAnswer> {
    let planned = controller.planned();
    let mesh = planned.mesh().map_err(|refused| error(&refused))?;
    lineage(mesh, &query).map(Json).map_err(|refused| error(&refused))
}

/// What is declared, then what the binary brings.
fn document_reports<R: Registry>(controller: &Controller<R>) -> Vec<DocumentReport> {
    let state = controller.state();
    let sources = controller.source_reports();
    let declared = state.documents().map(|(id, one)| document_report(&sources, id, one));
    let builtin = controller.builtin.documents().iter().map(|document| builtin_report(document));
    declared.chain(builtin).collect()
}

fn builtin_report(document: &Document) -> DocumentReport {
    DocumentReport {
        kind: document.kind().name().to_owned(),
        name: document.name().to_owned(),
        revision: 0,
        managed_by: ManagedBy::Binary,
        state: None,
        reason: None,
        document: document.to_json(),
    }
}

fn document_report(
    sources: &BTreeMap<String, SourceReport>,
    id: &Id,
    declared: &Declared,
) -> DocumentReport {
    let ours = id.kind == Kind::Source && declared.managed_by == ManagedBy::User;
    let source = sources.get(&id.name).filter(|_| ours);
    DocumentReport {
        state: source.map(|source| source.state.clone()),
        reason: source.and_then(|source| source.reason.clone()),
        kind: id.kind.name().to_owned(),
        name: id.name.clone(),
        revision: declared.revision,
        managed_by: declared.managed_by,
        document: declared.document.to_json(),
    }
}

fn kind_of(text: &str) -> Result<Kind, Response> {
    Id::kind(text).map_err(|refused| error(&refused))
}

pub(crate) fn no_pipeline(name: String) -> Response {
    error(&crate::act::missing(&Id::pipeline(name)))
}

/// The answer to what was not done.
pub(crate) fn no(refused: Refused, uri: &Uri) -> Response {
    match refused {
        Refused::Wrong(problems) => {
            let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            let answer = ErrorAnswer { message, problems };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(answer)).into_response()
        }
        Refused::NotLeading(Some(other)) => {
            let place = format!("{}{uri}", other.url.trim_end_matches('/'));
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, place)]).into_response()
        }
        Refused::NotLeading(None) => error(
            &Error::new(ErrorKind::Unavailable, "change what is declared")
                .because("no controller acts yet")
                .help("try again in a few seconds"),
        ),
        Refused::Error(refused) => error(&refused),
    }
}

pub(crate) fn error(error: &Error) -> Response {
    let answer = ErrorAnswer { message: error.report(), problems: Vec::new() };
    (status(error.kind()), Json(answer)).into_response()
}

/// The status of what is refused, here and by the rest of a daemon's control port.
#[must_use]
pub fn status(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_names_every_route() {
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = description["paths"].as_object().unwrap().keys().map(String::as_str);
        let sources = [
            include_str!("http.rs"),
            include_str!("impact.rs"),
            include_str!("watch/mod.rs"),
            include_str!("catalog/http.rs"),
        ];
        let sources =
            sources.into_iter().flat_map(|text| text.split("\n        .route(\"").skip(1));
        let routes = sources.filter_map(|route| route.split('"').next());
        assert_eq!(described.collect::<BTreeSet<_>>(), routes.collect::<BTreeSet<_>>());
    }

    #[test]
    fn every_kind_of_error_has_a_status_that_is_described() {
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = &description["components"]["responses"];
        for kind in ErrorKind::ALL {
            let answer = error(&Error::new(kind, "do it"));
            let code = answer.status().as_u16();
            assert_eq!(code, kind.http_status(), "{kind}");
            assert!(described[format!("Error-{code}")].is_object(), "{kind}: {code}");
        }
    }
}
