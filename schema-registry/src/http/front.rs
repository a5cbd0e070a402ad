//! What each request passes before the routes: its connection is told of it, and where nobody is asked
//! who they are, web pages are kept out.
//!
//! One service around the router, made for each connection: each layer within the router takes
//! several allocations a request.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tower::Service;

use super::access::{PageRule, Peer};

/// Makes the service of each connection.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) routes: Router,
    /// How web pages are kept out, if they are.
    pub(super) pages: Option<PageRule>,
    /// Whether the routes ask who is at the other end.
    pub(super) guarded: bool,
}

impl<'a, L: Listener> Service<IncomingStream<'a, L>> for Front
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
        ready(Ok(Door { front: self.clone(), peer: Peer::connect_info(stream) }))
    }
}

/// The service of one connection.
#[derive(Debug, Clone)]
pub(super) struct Door {
    front: Front,
    peer: Peer,
}

impl Service<Request> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let open = self.peer.begin();
        let refused = self.front.pages.and_then(|rule| rule.refusal(&request));
        if let Some(refused) = refused {
            return Box::pin(async move {
                let _open = open;
                Ok(refused)
            });
        }
        if self.front.guarded {
            request.extensions_mut().insert(ConnectInfo(self.peer.clone()));
        }
        let answer = self.front.routes.call(request);
        Box::pin(async move {
            let _open = open;
            answer.await
        })
    }
}
