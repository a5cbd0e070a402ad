//! Answers: what became of each event, and errors in the registry's form, `error_code` and `message`, with
//! the kind and, where one is to blame, the path of a field.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidemesh_emitter::Receipt;
use tidemesh_model::{Error, ErrorKind};

/// After how many seconds a client that was told to come again may.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// How a client may log in.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="emit-gateway", Basic realm="emit-gateway""#);

/// An error, as it is written.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorBody {
    /// The status that this error alone has.
    error_code: u16,
    kind: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl ErrorBody {
    /// What an operation answered.
    pub(crate) fn of(error: &Error) -> Self {
        let path = error.context().iter().find(|(name, _)| *name == "path");
        Self {
            error_code: error.kind().http_status(),
            kind: error.kind().name(),
            message: error.report(),
            path: path.map(|(_, path)| path.clone()).filter(|path| !path.is_empty()),
        }
    }

    /// Why an event was not taken, or could not be made durable.
    fn of_event(error: &Error) -> Self {
        let error_code = match error.kind() {
            // The event's queue is full: its client is too fast.
            ErrorKind::Exhausted => 429,
            // The topic is there; what the event asks for is not.
            ErrorKind::NotFound => 422,
            kind => kind.http_status(),
        };
        Self { error_code, ..Self::of(error) }
    }
}

/// A request that is refused as a whole.
#[derive(Debug)]
pub(crate) struct Refusal(ErrorBody);

impl Refusal {
    pub(crate) fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        let (error_code, kind, message) = (status.as_u16(), kind.name(), message.into());
        Self(ErrorBody { error_code, kind, message, path: None })
    }

    pub(crate) fn at(mut self, path: String) -> Self {
        self.0.path = (!path.is_empty() && path != ".").then_some(path);
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(ErrorBody::of(&error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.0.error_code;
        with_status(code, Json(self.0))
    }
}

/// An answer with the headers that its status has.
fn with_status(code: u16, body: impl IntoResponse) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        _ => {}
    }
    response
}

/// 404 for a path that there is not.
pub(crate) async fn no_such_path() -> Refusal {
    let message = "there is no such path; /v1/openapi.json says which there are";
    Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
}

/// 405; axum adds what the path takes.
pub(crate) async fn no_such_method() -> Refusal {
    let message = "this path does not take this method; /v1/openapi.json says what it takes";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unsupported, message)
}

/// What became of one event.
#[derive(Debug)]
pub(crate) enum Outcome {
    Durable(Receipt),
    /// The queue was full, and the gateway is told to drop then.
    Dropped,
    Refused(Error),
}

/// What became of one event, as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum EventResult {
    Durable { partition: u32, offset: Option<u64>, sequence: u64 },
    Dropped { dropped: bool },
    Refused(ErrorBody),
}

/// The answer to events.
#[derive(Debug, Serialize)]
struct Results {
    /// Why none was taken, if all were refused with one status.
    #[serde(flatten)]
    refused: Option<ErrorBody>,
    results: Vec<EventResult>,
}

/// 200 if none was refused; the error's own status if all were, with the same; else 207.
pub(crate) fn answer(outcomes: Vec<Outcome>) -> Response {
    let results: Vec<_> = outcomes.into_iter().map(EventResult::from).collect();
    let refused = |result: &EventResult| match result {
        EventResult::Refused(error) => Some(error.error_code),
        _ => None,
    };
    let first = results.first().and_then(refused);
    let (code, refused) = if results.iter().all(|result| refused(result).is_none()) {
        (200, None)
    } else if first.is_some() && results.iter().all(|result| refused(result) == first) {
        let error = match results.first() {
            Some(EventResult::Refused(error)) => Some(error.clone()),
            _ => None,
        };
        (first.unwrap_or(500), error)
    } else {
        (207, None)
    };
    with_status(code, Json(Results { refused, results }))
}

impl From<Outcome> for EventResult {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Durable(Receipt { partition, offset, sequence, .. }) => {
                Self::Durable { partition, offset, sequence }
            }
            Outcome::Dropped => Self::Dropped { dropped: true },
            Outcome::Refused(error) => Self::Refused(ErrorBody::of_event(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: ErrorKind) -> Outcome {
        Outcome::Refused(Error::new(kind, "emit an event").with("path", "a.b"))
    }

    #[test]
    fn a_status_tells_whether_all_some_or_none_were_taken() {
        let status = |outcomes| answer(outcomes).status().as_u16();
        assert_eq!(status(Vec::new()), 200);
        assert_eq!(status(vec![Outcome::Dropped]), 200);
        assert_eq!(status(vec![refused(ErrorKind::Malformed)]), 422);
        assert_eq!(status(vec![refused(ErrorKind::Exhausted), refused(ErrorKind::Exhausted)]), 429);
        assert_eq!(status(vec![refused(ErrorKind::Malformed), Outcome::Dropped]), 207);
        assert_eq!(status(vec![refused(ErrorKind::Malformed), refused(ErrorKind::Timeout)]), 207);
        assert_eq!(status(vec![refused(ErrorKind::NotFound)]), 422);
    }

    #[test]
    fn who_may_come_again_is_told_when() {
        for kind in ErrorKind::ALL {
            let response = answer(vec![refused(kind)]);
            let again = matches!(response.status().as_u16(), 429 | 503);
            assert_eq!(response.headers().contains_key(RETRY_AFTER), again, "{kind}");
        }
    }
}
