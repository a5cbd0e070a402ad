//! What each request passes before the routes: its connection is told of it, and where nobody is asked
//! who they are, web pages are kept out.
//!
//! One service around the router, made for each connection: each layer within the router takes
//! several allocations a request.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};

use super::access::{PageRule, Peer};
use super::{Service, schemas, watch};
use crate::measure::One;

/// Where schemas are by their ids.
const ID_PATH: &str = "/schemas/ids/";

/// The route of one.
pub(super) const ID_ROUTE: &str = "/schemas/ids/{id}";

/// Makes the service of each connection.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) routes: Router,
    /// How web pages are kept out, if they are.
    pub(super) pages: Option<PageRule>,
    /// What is answered without the routes.
    pub(super) hot: Option<Hot>,
    /// Whether the routes ask who is at the other end; then nothing may be hot.
    pub(super) guarded: bool,
}

/// The request that consumers send again and again, a schema by its id: to find its route takes longer
/// than to answer it.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    service: Service,
    /// Its own way to the series: the one of all routes goes over a lock that processors share.
    counted: Arc<OnceLock<One>>,
}

impl Hot {
    pub(super) fn of(service: &Service) -> Self {
        Self { service: service.clone(), counted: Arc::default() }
    }

    /// The answer, if it is that request, with nothing else asked for, and the schema is there.
    fn answer(&self, request: &Request) -> Option<Response> {
        if request.method() != Method::GET || request.uri().query().is_some() {
            return None;
        }
        let started = Instant::now();
        let id = request.uri().path().strip_prefix(ID_PATH)?;
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
        let reply = schemas::known(&self.service, id.parse().ok().filter(|_| is_number)?)?;
        let took = started.elapsed();
        self.counted.get_or_init(|| One::of("GET", ID_ROUTE, 200)).count(took);
        watch::log("GET", ID_ROUTE, 200, took);
        Some(reply.into_response())
    }
}

impl<'a, L: Listener> tower::Service<IncomingStream<'a, L>> for Front
where
    Peer: Connected<IncomingStream<'a, L>>,
{
    type Response = Door;
    type Error = Infallible;
    type Future = Ready<Result<Door, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'a, L>) -> Self::Future {
        let entry = Entry { front: self.clone(), peer: Peer::connect_info(stream) };
        ready(Ok(Door(Arc::new(entry))))
    }
}

/// The service of one connection. It is cloned for each request, and what all connections share is
/// counted by processors that wait for one another: so a connection has one count of its own.
#[derive(Debug, Clone)]
pub(super) struct Door(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    front: Front,
    peer: Peer,
}

impl tower::Service<Request> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Entry { front: Front { routes, pages, hot, guarded }, peer } = &*self.0;
        let open = peer.begin();
        let refused = pages.and_then(|rule| rule.refusal(&request));
        let at_once = refused.or_else(|| hot.as_ref()?.answer(&request));
        if let Some(response) = at_once {
            return Box::pin(ready(Ok(response)));
        }
        if *guarded {
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
        }
        let answer = routes.clone().call(request);
        Box::pin(async move {
            let _open = open;
            answer.await
        })
    }
}
