//! What a request holds, read as axum reads it; what cannot be read is refused with the API's own
//! body, not with axum's plain text.

use super::ErrorAnswer;
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

/// A body of JSON. 400 if it is none, 413 if it is too large, 415 if it does not say that it is JSON,
/// 422 if it is another thing than what the route takes.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read = Json::from_request(request, state).await;
        let Json(body) = read.map_err(|no| refused(no.status(), no.body_text()))?;
        Ok(Self(body))
    }
}

/// What stands behind the question mark. 400 if the route does not take it.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Query::from_request_parts(parts, state).await;
        let Query(parameters) = read.map_err(|no| refused(no.status(), no.body_text()))?;
        Ok(Self(parameters))
    }
}

/// The parts of the path that the route leaves open. 400 if they are no text.
pub(crate) struct Segments<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = Path::from_request_parts(parts, state).await;
        let Path(segments) = read.map_err(|no| refused(no.status(), no.body_text()))?;
        Ok(Self(segments))
    }
}

/// The answer to a method that a path does not have.
pub(super) async fn no_such_method() -> Response {
    let message = "this path does not take this method; /v1/openapi.json says what it takes";
    refused(StatusCode::METHOD_NOT_ALLOWED, message.to_owned())
}

fn refused(code: StatusCode, message: String) -> Response {
    (code, Json(ErrorAnswer { message, problems: Vec::new() })).into_response()
}
