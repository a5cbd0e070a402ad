//! The routes, as `openapi.json` has them, and the server around them.

use crate::answer::{Refusal, answer, no_such_method, no_such_path};
use crate::body::{Defaults, Format};
use crate::gateway::{Caller, Gateway};
use crate::places::Place;
use crate::topics::State as TopicState;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, Path, Query};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_http::Bounds;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::net::TcpListener;

/// The contract.
const OPENAPI: &str = include_str!("openapi.json");

/// How long a body may take to come.
const BODY_MAX: Duration = Duration::from_secs(30);

/// The most bytes of a body that nobody wants, and how long they may take.
const PASSED_OVER_BYTES_MAX: usize = 64 * 1024;
const PASSED_OVER_MAX: Duration = Duration::from_secs(5);

/// How long a new connection may take to its first request, a TLS handshake included (which has 10 s of it),
/// and a request's head from its first byte.
const HEAD_MAX: Duration = BODY_MAX;

/// How long a connection may take from an answer to the next request, and an answer may not be taken:
/// longer than a request may wait for its events.
const IDLE_MAX: Duration = Duration::from_secs(75);

type App = State<Arc<Gateway>>;

/// Serves a gateway until `shutdown` is done and the open requests are answered, or 8 s later; then
/// delivers what was taken, for 10 s at most.
///
/// # Errors
///
/// `Unavailable` if the listener fails.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let (bounds, certificates) = (bounds(&gateway, is_local), gateway.certificates.clone());
    let routes = router(Arc::clone(&gateway));
    let served = tidemesh_http::serve(listener, bounds, certificates, routes, shutdown).await;
    gateway.close().await;
    served.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "serve the emit gateway").caused_by(cause)
    })
}

/// The bounds on connections. On loopback one client may have all: behind a proxy all clients are one.
fn bounds(gateway: &Gateway, is_local: bool) -> Bounds {
    let connections_max = gateway.limits.connections_max;
    Bounds {
        connections_max,
        each_max: if is_local { connections_max } else { (connections_max / 4).max(1) },
        first_max: HEAD_MAX,
        idle_max: IDLE_MAX,
        head_max: HEAD_MAX,
    }
}

/// The routes, to be served alone or inside another program's router.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let body_bytes_max = gateway.limits.body_bytes_max;
    Router::new()
        .route("/health", get(health))
        .route("/v1/openapi.json", get(openapi))
        .route("/v1/topics", get(topics))
        .route("/v1/topics/{topic}", get(topic))
        .route("/v1/topics/{topic}/events", post(emit))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::from_fn(counted))
        .with_state(gateway)
}

/// Counts requests by route and status.
async fn counted(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    // Any other path of a client's must not become a label of its own.
    let route = route.as_ref().map_or("other", MatchedPath::as_str).to_owned();
    let status = response.status().as_u16().to_string();
    metrics::counter!("tidemesh_gateway_requests_total", "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("tidemesh_gateway_request_duration_seconds", "route" => route)
        .record(started.elapsed());
    response
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Refusal> {
        gateway.admit(&parts.headers)
    }
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// 503 if another gateway of the name has taken a topic over. Whether registry and log are there is not
/// asked: a load balancer that took every gateway away then would help nobody.
async fn health(State(gateway): App) -> Response {
    let topics = gateway.topics.list();
    let is_fenced = topics.values().any(|state| *state == TopicState::Fenced);
    let (code, status) = match is_fenced {
        true => (StatusCode::SERVICE_UNAVAILABLE, "fenced"),
        false => (StatusCode::OK, "up"),
    };
    let count = |wanted| topics.values().filter(|state| **state == wanted).count();
    let topics = json!({
        "connected": count(TopicState::Connected),
        "fenced": count(TopicState::Fenced),
    });
    (code, Json(json!({ "status": status, "topics": topics }))).into_response()
}

async fn topics(State(gateway): App, caller: Caller) -> Json<BTreeMap<&'static str, Value>> {
    let all = gateway.visible(&caller);
    let topics = all.into_iter().map(|(topic, state)| json!({ "topic": topic, "state": state }));
    Json(BTreeMap::from([("topics", topics.collect())]))
}

async fn topic(
    State(gateway): App,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let name = named(name)?;
    caller.check(&name)?;
    gateway.topics.rule(&name)?;
    let _place = gateway.enter(&caller, &name)?;
    let topic = gateway.topic(&name).await?;
    Ok(Json(json!({
        "topic": topic.topic(),
        "schema_id": topic.schema_id(),
        "schema": topic.schema(),
        "key": topic.key_fields(),
        "partitions": topic.partitions(),
    })))
}

async fn emit(
    State(gateway): App,
    caller: Result<Caller, Refusal>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<Defaults>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let (work, reading) = match Work::admit(&gateway, caller, name, query, &headers) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            pass_over(request.into_body()).await;
            return Err(refusal);
        }
    };
    let body = read(request).await?;
    // Only now: a body that comes slowly holds up nobody whose events are there.
    let place = gateway.enter(&work.caller, &work.topic)?;
    drop(reading);
    let events = work.format.events(&body, gateway.limits.events_max, &work.defaults, &headers)?;
    // On a task of its own: axum drops this with its client, in the midst of what was sent together.
    let working = tokio::spawn(async move {
        let _place = place;
        gateway.emit(&work.topic, events).await
    });
    let outcomes = working.await.map_err(|broke| {
        let error = Error::new(ErrorKind::Internal, "emit events").caused_by(broke);
        tracing::error!(error = error.report(), "a request broke");
        error
    })??;
    Ok(answer(outcomes))
}

/// What a request to emit says before its body.
struct Work {
    caller: Caller,
    topic: String,
    format: Format,
    defaults: Defaults,
}

impl Work {
    /// What can be told of a request without its body, and its place among those whose bodies are read.
    fn admit(
        gateway: &Gateway,
        caller: Result<Caller, Refusal>,
        name: Result<Path<String>, PathRejection>,
        query: Result<Query<Defaults>, QueryRejection>,
        headers: &HeaderMap,
    ) -> Result<(Self, Place), Refusal> {
        let (caller, topic) = (caller?, named(name)?);
        caller.check(&topic)?;
        gateway.topics.rule(&topic)?;
        let Query(defaults) = query.map_err(|_| {
            let message =
                "the address takes event_time_ms, ordering_key and partition, and nothing else";
            Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Malformed, message)
        })?;
        let format = Format::of(headers)?;
        let place = gateway.enter_body(&caller, &topic)?;
        Ok((Self { caller, topic, format, defaults }, place))
    }
}

/// Reads a short body that nobody wants, so that its client can write it to its end, sees the answer, and
/// keeps its connection. A longer one ends the connection.
async fn pass_over(body: Body) {
    let _ = tokio::time::timeout(PASSED_OVER_MAX, to_bytes(body, PASSED_OVER_BYTES_MAX)).await;
}

fn named(name: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    name.map(|Path(name)| name).map_err(|_| {
        let message = "the topic's name in the address is no UTF-8";
        Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Malformed, message)
    })
}

/// The body, up to the limit that the router's layer has.
async fn read(request: Request) -> Result<Bytes, Refusal> {
    let Ok(read) = tokio::time::timeout(BODY_MAX, Bytes::from_request(request, &())).await else {
        let message = "the body took longer to come than it may";
        return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Timeout, message));
    };
    read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = "the body is larger than gateway.body_bytes_max: send fewer events";
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
        }
        _ => {
            let message = "the body could not be read to its end";
            Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Malformed, message)
        }
    })
}
