//! Connections: how many there may be, and how long one may keep its place without a request.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::access::network;

/// How many connections are open at the same time; further ones wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 1_024;

/// How many of them one client may have, so that no few clients take all places. An IPv6 network is
/// one client.
const CONNECTIONS_EACH_MAX: usize = 256;

/// How long a new connection may take to its first request, a TLS handshake included, however many
/// bytes come meanwhile.
const FIRST_MS_MAX: u64 = 15_000;

/// How long a connection may take from an answer to the next request, and an answer may not be taken.
const IDLE_MS_MAX: u64 = 75_000;

/// The bounds on connections.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    connections_max: usize,
    each_max: usize,
    first_max: Duration,
    idle_max: Duration,
}

/// A listener that keeps to the bounds above.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    bounds: Bounds,
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with(
            listener,
            Bounds {
                connections_max: CONNECTIONS_MAX,
                each_max: CONNECTIONS_EACH_MAX,
                first_max: Duration::from_millis(FIRST_MS_MAX),
                idle_max: Duration::from_millis(IDLE_MS_MAX),
            },
        )
    }

    fn with(listener: TcpListener, bounds: Bounds) -> Self {
        let places = Arc::new(Semaphore::new(bounds.connections_max));
        Self { listener, bounds, places, clients: Arc::default() }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed, so there always is a permit in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address, share) = loop {
            // axum's own `accept` passes over connections that failed, and rests when there are no
            // file descriptors left.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            match self.clients.share(network(address.ip()), self.bounds.each_max) {
                Some(share) => break (stream, address, share),
                None => tracing::debug!(%address, "a client has too many connections"),
            }
        };
        // Answers are written in one piece: waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
        let connection = Connection {
            stream,
            requests: Requests::default(),
            deadline: Box::pin(sleep(self.bounds.first_max)),
            idle_max: self.bounds.idle_max,
            _share: share,
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// How many connections each client has.
#[derive(Debug, Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

impl Clients {
    /// One more for a client, unless it has its share.
    fn share(self: &Arc<Self>, client: IpAddr, each_max: usize) -> Option<Share> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= each_max {
            return None;
        }
        *count += 1;
        Some(Share { clients: Arc::clone(self), client })
    }
}

/// One connection of a client.
#[derive(Debug)]
struct Share {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// What the server tells a connection of its requests: bytes alone say nothing, and within TLS cannot
/// be read here.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    open: AtomicUsize,
}

impl Requests {
    /// A request has come, and is open until this is dropped.
    pub(super) fn begin(&self) -> OpenRequest {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(&self.0))
    }

    fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) > 0
    }

    fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Counts>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection, which gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    requests: Requests,
    deadline: Pin<Box<Sleep>>,
    idle_max: Duration,
    _share: Share,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    fn put_off(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.idle_max);
    }

    /// What the stream did, or an error if no request has come for too long. What comes puts that off
    /// only while a request is open, which has a limit of its own; else a client could keep its place
    /// by a byte now and then.
    fn watched<T>(
        &mut self,
        done: Poll<io::Result<T>>,
        puts_off: bool,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() && (puts_off || self.requests.is_open()) {
            self.put_off();
            return done;
        }
        while self.deadline.as_mut().poll(context).is_ready() {
            if !self.requests.is_open() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.put_off();
        }
        done
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watched(done, false, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        // A handshake writes too, before there is a request.
        let is_answer = self.requests.has_begun();
        self.watched(done, is_answer, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        let is_answer = self.requests.has_begun();
        self.watched(done, is_answer, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LONG: Duration = Duration::from_secs(60);

    async fn bounded(connections_max: usize, first_max: Duration) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { connections_max, each_max: 2, first_max, idle_max: LONG };
        (Bounded::with(listener, bounds), address)
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_a_place() {
        let (mut listener, address) = bounded(1, LONG).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let (held, _) = listener.accept().await;
        let _second = TcpStream::connect(address).await.unwrap();
        assert_eq!(listener.places.available_permits(), 0);
        drop(held);
        assert_eq!(listener.places.available_permits(), 1);
        listener.accept().await;
    }

    #[tokio::test]
    async fn a_silent_connection_is_given_up_and_a_speaking_one_read() {
        let (mut listener, address) = bounded(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'a');
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn bytes_that_make_no_request_keep_no_place() {
        let (mut listener, address) = bounded(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        tokio::spawn(async move { while client.write_all(b"a").await.is_ok() {} });
        let read = async {
            loop {
                if let Err(error) = connection.read_u8().await {
                    return error.kind();
                }
            }
        };
        assert_eq!(tokio::time::timeout(LONG, read).await.unwrap(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_is_kept_while_a_request_is_open() {
        let (mut listener, address) = bounded(1, Duration::from_millis(20)).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        let open = connection.requests().begin();
        let waited = tokio::time::timeout(Duration::from_millis(60), connection.read_u8()).await;
        assert!(waited.is_err(), "it waits on: {waited:?}");
        drop(open);
        // From its answer on it has as long as any other.
        client.write_all(b"a").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn one_client_has_but_its_share_of_the_places() {
        let (mut listener, address) = bounded(10, LONG).await;
        let mut clients = Vec::new();
        let mut held = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            held.push(listener.accept().await);
        }
        let mut beyond = TcpStream::connect(address).await.unwrap();
        let accepted = tokio::spawn(async move { listener.accept().await.1 });
        // Closed at once.
        assert!(matches!(beyond.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(!accepted.is_finished());
        held.pop();
        let next = TcpStream::connect(address).await.unwrap();
        assert_eq!(accepted.await.unwrap(), next.local_addr().unwrap());
    }
}
