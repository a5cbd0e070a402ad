//! What each request passes first: its connection is told of it.
//!
//! One service around the routes, made for each connection: each layer within a router takes several
//! allocations a request.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::Connected;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tower::Service;

use crate::listener::Bounded;
use crate::requests::{OpenRequest, Requests};
use crate::secured::Secured;

/// A request's answer, on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// What requests come to. It is cloned for each connection.
pub trait Entrance: Clone + Send + Sync + 'static {
    /// Answers a request. It calls [`Peer::begin`] at once, and holds what that gives until the answer is
    /// there: else the connection is taken for idle, and closed while it waits.
    ///
    /// The answer is dropped with its client, in the midst of whatever it does.
    fn enter(&self, peer: &Peer, request: Request) -> Answer;
}

impl Entrance for Router {
    fn enter(&self, peer: &Peer, request: Request) -> Answer {
        let open = peer.begin();
        let answer = self.clone().call(request);
        Box::pin(async move {
            let _open = open;
            answer.await
        })
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    address: SocketAddr,
    requests: Requests,
}

impl Peer {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the connection that it has a request, until this is dropped.
    pub fn begin(&self) -> OpenRequest {
        self.requests.begin()
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self { address: *stream.remote_addr(), requests: stream.io().requests() }
    }
}

impl Connected<IncomingStream<'_, Secured>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Secured>) -> Self {
        let (connection, _) = stream.io().get_ref();
        Self { address: *stream.remote_addr(), requests: connection.requests() }
    }
}

/// Makes the service of each connection.
#[derive(Debug, Clone)]
pub(crate) struct Doors<E>(pub(crate) E);

impl<'a, L: Listener, E: Entrance> Service<IncomingStream<'a, L>> for Doors<E>
where
    Peer: Connected<IncomingStream<'a, L>>,
{
    type Response = Door<E>;
    type Error = Infallible;
    type Future = Ready<Result<Door<E>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'a, L>) -> Self::Future {
        let entry = Entry { entrance: self.0.clone(), peer: Peer::connect_info(stream) };
        ready(Ok(Door(Arc::new(entry))))
    }
}

/// The service of one connection. It is cloned for each request, and what all connections share is
/// counted by processors that wait for one another: so a connection has one count of its own.
#[derive(Debug, Clone)]
pub(crate) struct Door<E>(Arc<Entry<E>>);

#[derive(Debug)]
struct Entry<E> {
    entrance: E,
    peer: Peer,
}

impl<E: Entrance> Service<Request> for Door<E> {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        self.0.entrance.enter(&self.0.peer, request)
    }
}
