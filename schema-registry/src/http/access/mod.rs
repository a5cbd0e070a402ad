//! Who is let in, and for what: the layers around the routes, where a registry is guarded.
//!
//! [`identify`] stands before everything and finds out who asks; [`authorize`] stands before a route,
//! once it is known which, and asks for the role that it takes (`need`), and notes changes. What a
//! request can tell only in its body, or finds only in the registry, handlers check by [`Sight`].

mod local;
mod need;
mod note;
mod sight;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tidemesh_http::Peer;

use super::query::Parameters;
use super::reply::Reply;
use super::watch::Watch;
use super::{Service, known_method};
use crate::access::{Caller, Credentials, Denial, Guard, Role};
pub(super) use local::PageRule;
use note::Note;
pub(super) use sight::Sight;

/// By which requests are told apart, in answers and in the audit log; a client may send its own.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// How much of a path is noted whose route is not known yet.
const PATH_NOTED_MAX: usize = 256;

/// The path that load balancers ask, who have no password.
const HEALTH: &str = "/health";

/// What is known of a request before its route is.
#[derive(Debug)]
pub(super) struct Asked {
    caller: Caller,
    client: SocketAddr,
    request_id: String,
}

/// Finds out who asks; nobody goes on without that.
pub(super) async fn identify(
    State((guard, watch)): State<(Arc<Guard>, Watch)>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == HEALTH {
        return next.run(request).await;
    }
    let (started, client) = (Instant::now(), peer.address());
    let request_id = request_id(request.headers());
    let mut clear = String::new();
    let credentials = credentials(request.headers(), &mut clear);
    let mut response = match guard.admit(credentials, client.ip()).await {
        Ok(caller) => {
            let asked = Asked { caller, client, request_id: request_id.clone() };
            request.extensions_mut().insert(Arc::new(asked));
            next.run(request).await
        }
        Err((denial, name)) => {
            let method = known_method(request.method());
            let response = denied(&guard, denial);
            watch.count(method, "denied", response.status().as_u16(), started.elapsed());
            let path: String = request.uri().path().chars().take(PATH_NOTED_MAX).collect();
            let note = Note::new(&request_id, name, client, method, &path);
            note.denied(&guard, denial, client.ip()).await;
            response
        }
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(&REQUEST_ID, id);
    }
    response
}

/// What the request says of its sender; `clear` holds what had to be decoded.
fn credentials<'a>(headers: &'a HeaderMap, clear: &'a mut String) -> Credentials<'a> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, rest)) = value.and_then(|value| value.split_once(' ')) else {
        return Credentials::None;
    };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Credentials::Token(rest);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Credentials::None;
    }
    let decoded = BASE64_STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    *clear = decoded.unwrap_or_default();
    match clear.split_once(':') {
        Some((name, password)) => Credentials::Password { name, password },
        None => Credentials::None,
    }
}

fn denied(guard: &Guard, denial: Denial) -> Response {
    match denial {
        Denial::Unknown(reason) => {
            let message = format!("Unauthorized: {reason}");
            let mut response =
                Reply::error(StatusCode::UNAUTHORIZED, 40101, &message).into_response();
            let challenge = HeaderValue::from_static(guard.challenge());
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            response
        }
        Denial::TooMany { retry_after, .. } => {
            let message = "Too many requests; try again later";
            let mut response =
                Reply::error(StatusCode::TOO_MANY_REQUESTS, 42901, message).into_response();
            let seconds = retry_after.as_secs_f64().ceil().max(1.0);
            if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, seconds);
            }
            response
        }
    }
}

/// The client's own id if it is a plain word, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let sent = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_plain = |text: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match sent.filter(is_plain) {
        Some(sent) => sent.to_owned(),
        None => {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            format!("{:x}-{count:x}", crate::store::rows::now_ms())
        }
    }
}

/// Asks for the role that the route takes, and notes changes.
pub(super) async fn authorize(
    State((service, guard)): State<(Service, Arc<Guard>)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(asked) = parts.extensions.get::<Arc<Asked>>().cloned() else {
        // The health of the server, which nobody has to be known for, or a mistake of ours.
        let request = Request::from_parts(parts, body);
        let is_health = request.uri().path() == HEALTH;
        return if is_health { next.run(request).await } else { forbidden("Read", "anything") };
    };
    let route = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let query = Parameters::from_request_parts(&mut parts, &()).await;
    let names = RawPathParams::from_request_parts(&mut parts, &()).await;
    let (Some(route), Ok(query), Ok(names)) = (route, query, names) else {
        // No route, or none by Jersey's reading of the address.
        return Reply::status(StatusCode::NOT_FOUND).into_response();
    };
    let find = |name: &str| names.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let permanent = query.flag("permanent");
    let need = need::of(&parts.method, &route, permanent, &service.registry, &find);
    let name = asked.caller.name.clone();
    let method = known_method(&parts.method);
    let mut note = Note::new(&asked.request_id, name, asked.client, method, &route);
    note.about(&need, &find, permanent);
    if let Err((role, what)) = need.check(&asked.caller.rights) {
        let response = forbidden(role, &what);
        note.refused(&guard, &format!("{role} on {what}")).await;
        return response;
    }
    let request = Request::from_parts(parts, body);
    if !need.changes() || !guard.audits() {
        let response = next.run(request).await;
        if response.status() == StatusCode::FORBIDDEN {
            note.refused(&guard, "what it found or named").await;
        }
        return response;
    }
    // On a task of its own: a client that goes away does not keep the end from being noted.
    let changed = tokio::spawn(note::change(guard, note, request, next)).await;
    changed.unwrap_or_else(|_| Reply::status(StatusCode::INTERNAL_SERVER_ERROR).into_response())
}

/// 403 in Confluent's words.
fn forbidden(operation: &str, what: &str) -> Response {
    denied_operation(operation, what).into_response()
}

pub(super) fn denied_operation(operation: &str, what: &str) -> Reply {
    let message = format!("User is denied operation {operation} on {what}");
    Reply::error(StatusCode::FORBIDDEN, 40301, &message)
}

/// A role as operations are named.
fn operation(role: Role) -> &'static str {
    match role {
        Role::Read => "Read",
        Role::Write => "Write",
        Role::Admin => "Admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn credentials_are_read_from_the_header() {
        let read = |value: &str| {
            let mut clear = String::new();
            format!("{:?}", credentials(&headers(&AUTHORIZATION, value), &mut clear))
        };
        let password = r#"Password { name: "ann", password: "a:b" }"#;
        assert_eq!(read("Basic YW5uOmE6Yg=="), password);
        assert_eq!(read("basic  YW5uOmE6Yg=="), password);
        assert_eq!(read("Bearer abc"), r#"Token("abc")"#);
        for none in ["Basic", "Basic !", "Basic YW5u", "Basic /w==", "Digest x", ""] {
            assert_eq!(read(none), "None", "{none}");
        }
    }

    #[test]
    fn a_request_keeps_its_own_id_if_that_is_a_plain_word() {
        assert_eq!(request_id(&headers(&REQUEST_ID, "a-1")), "a-1");
        for other in ["", "a b", &"x".repeat(65), "\"x\""] {
            assert_ne!(request_id(&headers(&REQUEST_ID, other)), other);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
