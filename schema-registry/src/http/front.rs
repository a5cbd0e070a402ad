//! What each request passes before the routes: its connection is told of it, and where nobody is asked
//! who they are, web pages are kept out.

use std::future::ready;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use tidemesh_http::{Answer, Entrance, Peer};
use tower::Service as _;

use super::access::PageRule;
use super::{Service, schemas, watch};
use crate::measure::One;

/// Where schemas are by their ids.
const ID_PATH: &str = "/schemas/ids/";

/// The route of one.
pub(super) const ID_ROUTE: &str = "/schemas/ids/{id}";

/// What stands before the routes.
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

impl Entrance for Front {
    fn enter(&self, peer: &Peer, mut request: Request) -> Answer {
        let open = peer.begin();
        let refused = self.pages.and_then(|rule| rule.refusal(&request));
        let at_once = refused.or_else(|| self.hot.as_ref()?.answer(&request));
        if let Some(response) = at_once {
            return Box::pin(ready(Ok(response)));
        }
        if self.guarded {
            request.extensions_mut().insert(ConnectInfo(peer.clone()));
        }
        let answer = self.routes.clone().call(request);
        Box::pin(async move {
            let _open = open;
            answer.await
        })
    }
}
