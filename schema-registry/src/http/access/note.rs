//! What is noted of a request in the audit log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::super::reply::Reply;
use super::need::Need;
use crate::access::{Denial, Entry, Exceeded, Guard, REFUSED};
use crate::store::rows::now_ms;

/// Names of settings whose value is noted: words, not documents.
const SETTINGS: [&str; 4] = ["compatibility", "mode", "compatibilityLevel", "alias"];

/// What is known of one request.
#[derive(Debug)]
pub(super) struct Note(Entry);

impl Note {
    pub(super) fn new(
        request_id: &str,
        name: Option<Arc<str>>,
        client: SocketAddr,
        method: &'static str,
        route: &str,
    ) -> Self {
        Self(Entry {
            time_ms: now_ms(),
            request_id: request_id.to_owned(),
            principal: name.map(|name| name.to_string()),
            client: client.to_string(),
            method,
            route: route.to_owned(),
            ..Entry::default()
        })
    }

    /// What the route tells; `name` gives the parts of its path.
    pub(super) fn about<'a>(
        &mut self,
        need: &Need,
        name: &dyn Fn(&str) -> Option<&'a str>,
        permanent: bool,
    ) {
        let (subject, context) = need.names();
        // Of what is for everything the path alone tells which: the default context, or all.
        let subject = subject.or_else(|| name("subject").filter(|_| need.is_for_all()));
        self.0.subject = subject.map(str::to_owned);
        self.0.context = context.map(str::to_owned);
        self.0.consumer = name("consumer").map(str::to_owned);
        self.0.version = name("version").map(Value::from);
        self.0.permanent = permanent && need.changes();
    }

    /// Who was not let in. Of a row of refusals for being too many, the first is noted; so it is of
    /// those of one address who are not known, beyond the first few.
    pub(super) async fn denied(mut self, guard: &Guard, denial: Denial, client: IpAddr) {
        let (status, code, reason) = match denial {
            Denial::TooMany { first: false, .. } => return,
            Denial::TooMany { .. } => (429, 42901, "too many requests".to_owned()),
            Denial::Unknown(reason) => match guard.notes_unknown(client) {
                Ok(()) => (401, 40101, reason.to_owned()),
                Err(Exceeded { first: false, .. }) => return,
                Err(_) => (401, 40101, format!("{reason}; more of this address are not noted")),
            },
        };
        self.0.outcome = REFUSED;
        (self.0.status, self.0.error_code) = (Some(status), Some(code));
        self.0.reason = Some(reason);
        guard.note(&self.0).await;
    }

    /// What was not allowed.
    pub(super) async fn refused(mut self, guard: &Guard, what: &str) {
        self.0.outcome = REFUSED;
        (self.0.status, self.0.error_code) = (Some(403), Some(40301));
        self.0.reason = Some(format!("not allowed: {what}"));
        guard.note(&self.0).await;
    }

    fn ended(&mut self, status: StatusCode, body: &Value) {
        self.0.time_ms = now_ms();
        self.0.outcome = outcome(status);
        self.0.status = Some(status.as_u16());
        self.0.error_code = body["error_code"].as_u64();
        if !status.is_success() {
            return;
        }
        self.0.id = body["id"].as_u64();
        let version = if body.is_object() { &body["version"] } else { body };
        if version.is_number() || version.is_array() {
            self.0.version = Some(version.clone());
        }
        let words = SETTINGS.iter().filter_map(|name| Some((name, body[*name].as_str()?)));
        let words: Vec<String> = words.map(|(name, word)| format!("{name}={word}")).collect();
        self.0.setting = (!words.is_empty()).then(|| words.join(" "));
    }
}

/// How a change ended, as far as its answer tells.
fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => REFUSED,
        // It waits still, or the store was lost on the way: it may be made all the same.
        500.. => "unknown",
        400.. => "failed",
        _ => "done",
    }
}

/// Makes a change and notes it; where that is required, only if it can be noted before.
pub(super) async fn change(
    guard: Arc<Guard>,
    mut note: Note,
    request: Request,
    next: Next,
) -> Response {
    if guard.audits_first() {
        note.0.outcome = "begun";
        if !guard.note(&note.0).await {
            let message = "The audit log cannot be written; nothing was changed";
            return Reply::error(StatusCode::INTERNAL_SERVER_ERROR, 50001, message).into_response();
        }
    }
    // On a task of its own: one that panics is noted too.
    let answered = tokio::spawn(next.run(request)).await;
    let lost = |_| Reply::status(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    let (parts, body) = answered.unwrap_or_else(lost).into_parts();
    // Answers of ours are whole in memory.
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    note.ended(parts.status, &serde_json::from_slice(&bytes).unwrap_or_default());
    guard.note(&note.0).await;
    Response::from_parts(parts, Body::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AuditConfig, Security, SecurityConfig};
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tower::ServiceExt;

    #[test]
    fn nothing_is_said_of_a_change_that_may_be_made_later() {
        for (status, told) in
            [(200, "done"), (204, "done"), (409, "failed"), (403, REFUSED), (500, "unknown")]
        {
            assert_eq!(outcome(StatusCode::from_u16(status).unwrap()), told, "{status}");
        }
    }

    async fn broken() -> StatusCode {
        panic!("a bug")
    }

    #[tokio::test]
    async fn a_change_that_panics_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let audit = Some(AuditConfig { file: Some(file.clone()), required: true });
        let config = SecurityConfig { audit, ..SecurityConfig::default() };
        let guard = Security::open(&config).unwrap().guard.unwrap();
        let changing = move |request, next| {
            let client = SocketAddr::from(([127, 0, 0, 1], 1));
            change(Arc::clone(&guard), Note::new("r", None, client, "POST", "/"), request, next)
        };
        let routes = Router::new().route("/", post(broken)).layer(from_fn(changing));
        let response = routes.oneshot(Request::post("/").body(Body::empty()).unwrap()).await;
        assert_eq!(response.unwrap().status(), 500);
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("begun") && lines[1].contains("unknown"), "{text}");
    }
}
