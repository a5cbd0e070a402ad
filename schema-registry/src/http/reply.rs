//! Answers: JSON under Confluent's content type, and errors with exactly two members.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::IncompatibleCode;
use crate::refusal::Refusal;

/// The content type of every answer of the contract.
static CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/vnd.schemaregistry.v1+json");

/// The content type of others.
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    content_type: &'static HeaderValue,
    body: Bytes,
}

impl Reply {
    /// 200 with a JSON value.
    pub(super) fn json(value: &Value) -> Self {
        Self::with_status(StatusCode::OK, value)
    }

    /// 200 with what is written as JSON.
    pub(super) fn of(answer: &impl Serialize) -> Self {
        match serde_json::to_vec(answer) {
            Ok(body) => Self::raw(body),
            // Only maps with keys that are no text cannot be written, and there are none.
            Err(_) => Self::refusal(&Refusal::Internal, IncompatibleCode::default()),
        }
    }

    /// 200 with bytes that are JSON already: a schema's own text.
    pub(super) fn raw(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: &CONTENT_TYPE, body: body.into() }
    }

    /// What it says, if it is no error.
    pub(super) fn ok_body(&self) -> Option<&Bytes> {
        (self.status == StatusCode::OK).then_some(&self.body)
    }

    /// 200 with a document that is no part of the contract.
    pub(super) fn document(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, content_type: &JSON, body: body.into() }
    }

    /// 204.
    pub(super) fn nothing() -> Self {
        let (status, body) = (StatusCode::NO_CONTENT, Bytes::new());
        Self { status, content_type: &CONTENT_TYPE, body }
    }

    /// A JSON value with a status.
    pub(super) fn with_status(status: StatusCode, value: &Value) -> Self {
        Self { status, content_type: &CONTENT_TYPE, body: value.to_string().into() }
    }

    /// An error: the status, and in the body a code and a message and nothing else, because an
    /// extra member has crashed strict Java clients (Apicurio issue 1081).
    pub(super) fn error(status: StatusCode, code: u32, message: &str) -> Self {
        Self::with_status(status, &json!({"error_code": code, "message": message}))
    }

    /// What the registry refused.
    pub(super) fn refusal(refusal: &Refusal, incompatible: IncompatibleCode) -> Self {
        let status =
            StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::error(status, refusal.code(incompatible), &refusal.message())
    }

    /// An error of HTTP itself, in the words of Jersey, on which Confluent's registry is built.
    pub(super) fn status(status: StatusCode) -> Self {
        let reason = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
            other => other.canonical_reason().unwrap_or("Unknown"),
        };
        let code = status.as_u16();
        Self::error(status, u32::from(code), &format!("HTTP {code} {reason}"))
    }

    /// A body that could not be taken as it is.
    pub(super) fn bad_body(status: StatusCode, message: &str) -> Self {
        Self::error(status, u32::from(status.as_u16()), message)
    }

    /// A request that took too long.
    pub(super) fn timed_out(message: &'static str) -> Self {
        Self::refusal(&Refusal::Timeout(message), IncompatibleCode::default())
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let content_type = (header::CONTENT_TYPE, self.content_type.clone());
        (self.status, [content_type], Body::from(self.body)).into_response()
    }
}
