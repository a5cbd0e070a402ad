//! Bounds each request in time, and counts it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};

use super::known_method;
use super::reply::Reply;
use crate::measure::Requests;

/// The longest a request may take, its body included, before it is answered with 50002.
const REQUEST_MS_MAX: u64 = 30_000;

/// The layer. It stands within the router, where the route is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    requests: Arc<Requests>,
}

impl Watch {
    /// Counts an answered request, by its route or why it came to none.
    pub(super) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        self.requests.count(method, route, status, took);
    }
}

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, route: S) -> Watched<S> {
        Watched { route, watch: self.clone() }
    }
}

/// A route that is watched.
#[derive(Debug, Clone)]
pub(super) struct Watched<S> {
    route: S,
    watch: Watch,
}

impl<S> Service<Request> for Watched<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let path = request.extensions().get::<MatchedPath>().cloned();
        let method = known_method(request.method());
        let watch = self.watch.clone();
        let limit = Duration::from_millis(REQUEST_MS_MAX);
        let answer = tokio::time::timeout(limit, self.route.call(request));
        Box::pin(async move {
            let response = match answer.await {
                Ok(Ok(response)) => response,
                Err(_) => Reply::timed_out("The request took too long").into_response(),
            };
            let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
            let (status, took) = (response.status().as_u16(), started.elapsed());
            watch.count(method, route, status, took);
            log(method, route, status, took);
            Ok(response)
        })
    }
}

/// Logs an answered request.
pub(super) fn log(method: &str, route: &str, status: u16, took: Duration) {
    tracing::debug!(method, route, status, took_us = took.as_micros(), "answered");
}
