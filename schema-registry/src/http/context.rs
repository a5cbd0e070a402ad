//! `/contexts/{context}/…`: the same routes within a context, whose subjects need not be written with
//! it (Confluent's `ContextFilter.java`).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower::ServiceExt;

use super::access::Asked;
use super::reply::Reply;
use crate::subject::{context_name, scope_of};

/// What is encoded of a context's name: all but RFC 3986's unreserved characters and the colon.
const IN_PATH: AsciiSet =
    NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Where consumers are.
const CONSUMERS: &str = "tidemesh/v1/consumers";

/// Answers as the route does that is meant.
pub(super) async fn within(
    State(routes): State<Router>,
    Path((context, _rest)): Path<(String, String)>,
    request: Request,
) -> Response {
    let scope = match context_name(&context) {
        Ok(name) => scope_of(&name),
        Err(message) => {
            return Reply::bad_body(StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    match rewritten(request.uri(), &scope) {
        Some(uri) => {
            let (mut parts, body) = request.into_parts();
            parts.uri = uri;
            // The parts of the path that this route has found are not the other's; who asks is.
            let asked = parts.extensions.remove::<Arc<Asked>>();
            parts.extensions = Extensions::new();
            asked.map(|asked| parts.extensions.insert(asked));
            let request = Request::from_parts(parts, body);
            routes.oneshot(request).await.unwrap_or_else(|never| match never {})
        }
        None => Reply::status(StatusCode::NOT_FOUND).into_response(),
    }
}

/// The address with the context in its subject: in the path behind `subjects`, `config` and `mode`, or
/// in the parameter that stands for one.
fn rewritten(uri: &Uri, scope: &str) -> Option<Uri> {
    let scope = utf8_percent_encode(scope, &IN_PATH).to_string();
    let mut parts = uri.path().trim_start_matches('/').splitn(3, '/');
    let (_, _, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let rest = rest.trim_end_matches('/');
    let mut segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
    let is_setting = matches!(segments[0].as_str(), "config" | "mode");
    // A consumer may have any name.
    let names = if rest.starts_with(CONSUMERS) { CONSUMERS.split('/').count() + 1 } else { 0 };
    let subjects = segments.iter().skip(names).position(|segment| segment == "subjects");
    let place = if is_setting { Some(0) } else { subjects.map(|place| place + names) };
    match place.map(|place| place + 1).filter(|place| *place < segments.len()) {
        Some(subject) if !is_qualified(&segments[subject]) => {
            segments[subject] = format!("{scope}{}", segments[subject]);
        }
        None if is_setting && !scope.is_empty() => segments.push(scope.clone()),
        _ => {}
    }
    let path = segments.join("/");
    let query = match path.as_str() {
        "schemas" | "subjects" => with_context(uri.query(), "subjectPrefix", &scope),
        // The subject is in the body, or all of the context are meant.
        CONSUMERS | "tidemesh/v1/compatibility/explain" => {
            with_context(uri.query(), "subject", &scope)
        }
        _ if path.starts_with("schemas/ids") => with_context(uri.query(), "subject", &scope),
        _ => uri.query().unwrap_or_default().to_owned(),
    };
    let text = if query.is_empty() { format!("/{path}") } else { format!("/{path}?{query}") };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

/// The parameters with the context before that one, which is added if it is absent.
fn with_context(query: Option<&str>, name: &str, scope: &str) -> String {
    let mut found = false;
    let pairs = query.into_iter().flat_map(|query| query.split('&')).filter(|p| !p.is_empty());
    let mut pairs: Vec<String> = pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if key == name => {
                found = true;
                let scope = if is_qualified(value) { "" } else { scope };
                format!("{name}={scope}{value}")
            }
            _ => pair.to_owned(),
        })
        .collect();
    if !found {
        pairs.push(format!("{name}={scope}"));
    }
    pairs.join("&")
}

/// Whether a name has a context of its own, percent-encoded or not.
fn is_qualified(text: &str) -> bool {
    let text = percent_decode_str(text).decode_utf8_lossy();
    text.starts_with(":.") || text.starts_with(":*:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_goes_where_the_subject_is() {
        for (path, scope, wanted) in [
            ("/contexts/.c/subjects/a/versions", ":.c:", "/subjects/:.c:a/versions"),
            ("/contexts/.c/subjects/:.d:a", ":.c:", "/subjects/:.d:a"),
            ("/contexts/.c/subjects/%3a%2ed:a", ":.c:", "/subjects/%3a%2ed:a"),
            ("/contexts/.c/subjects", ":.c:", "/subjects?subjectPrefix=:.c:"),
            (
                "/contexts/.c/subjects?subjectPrefix=a&x=1",
                ":.c:",
                "/subjects?subjectPrefix=:.c:a&x=1",
            ),
            ("/contexts/.c/schemas/ids/1", ":.c:", "/schemas/ids/1?subject=:.c:"),
            ("/contexts/.c/schemas/ids/1?subject=a", ":.c:", "/schemas/ids/1?subject=:.c:a"),
            ("/contexts/.c/config", ":.c:", "/config/:.c:"),
            ("/contexts/.c/config/a", ":.c:", "/config/:.c:a"),
            ("/contexts/.c/mode", ":.c:", "/mode/:.c:"),
            ("/contexts/./mode", "", "/mode"),
            (
                "/contexts/.c/compatibility/subjects/a/versions",
                ":.c:",
                "/compatibility/subjects/:.c:a/versions",
            ),
        ] {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(rewritten(&uri, scope).unwrap().to_string(), wanted, "{path}");
        }
    }
}
