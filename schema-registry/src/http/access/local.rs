//! What keeps a port that only this machine reaches and that asks nobody who they are: web pages. A
//! browser here sends what a page of anybody's wants, without asking first where the request is simple;
//! and a page may have its own name mean this machine (DNS rebinding), to read the answers.
//!
//! Clients of a registry send no `Origin`, and come to an address or to `localhost`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::super::reply::Reply;

/// Refuses pages of others; and other names than this machine's, if these are not checked by TLS.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PageRule {
    pub(in super::super) in_clear: bool,
}

impl PageRule {
    /// What a request is refused with, if it is.
    pub(in super::super) fn refusal(self, request: &Request) -> Option<Response> {
        let headers = request.headers();
        let reason = if self.in_clear && !is_local(headers, request.uri()) {
            "this server has no log-in, and goes by no other name than an address or localhost"
        } else if is_foreign(headers) {
            "this server has no log-in, and takes nothing from web pages"
        } else {
            return None;
        };
        Some(Reply::error(StatusCode::FORBIDDEN, 40301, reason).into_response())
    }
}

/// Whether the server is called by an address or as `localhost`. No browser leaves that out.
fn is_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let sent = headers.get(HOST).map(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = sent.or_else(|| uri.authority().cloned().map(Some)) else { return true };
    authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
    })
}

/// Whether a page of another server sends it.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, own) {
        (Some((_, origin)), Some(own)) => !origin.eq_ignore_ascii_case(own),
        _ => true,
    }
}
