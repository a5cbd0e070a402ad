//! Connections: how many there may be, and how long one may keep its place without a request.
//!
//! Bytes are not looked at: within TLS they cannot be. Whoever serves a connection tells it of its requests.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::network::network;
use crate::requests::Requests;

/// The bounds on a listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many are open at the same time; further ones wait to be accepted.
    pub connections_max: usize,
    /// How many of them one client may have, so that no few clients take all places. An IPv6 network is
    /// one client.
    pub each_max: usize,
    /// How long a new connection may take to its first request, a TLS handshake included, however many
    /// bytes come meanwhile.
    pub first_max: Duration,
    /// How long a connection may take from an answer to the next request, and an answer may not be taken.
    pub idle_max: Duration,
    /// How long a request's head may take from its first byte; it never puts off the two above. What is
    /// left of a body that was refused is taken for a head, so this is as long as a body may take.
    pub head_max: Duration,
}

/// A listener that keeps to its bounds.
#[derive(Debug)]
pub(crate) struct Bounded {
    listener: TcpListener,
    bounds: Bounds,
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener, bounds: Bounds) -> Self {
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
            bounds: self.bounds,
            is_head_begun: false,
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

/// One connection, which gives its place back when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    requests: Requests,
    deadline: Pin<Box<Sleep>>,
    bounds: Bounds,
    /// Whether something has come since the last answer, of which no request has come yet.
    is_head_begun: bool,
    _share: Share,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(crate) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    fn put_off(&mut self) {
        self.is_head_begun = false;
        self.deadline.as_mut().reset(Instant::now() + self.bounds.idle_max);
    }

    /// Something has come. If no request is open it begins one, whose head has its own time from now on.
    fn begin_head(&mut self) {
        if self.is_head_begun || self.requests.is_open() {
            return;
        }
        self.is_head_begun = true;
        let until = Instant::now() + self.bounds.head_max;
        if until < self.deadline.deadline() {
            self.deadline.as_mut().reset(until);
        }
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
        let there = buffer.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > there {
            self.begin_head();
        }
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

    const LOOSE: Bounds =
        Bounds { connections_max: 1, each_max: 2, first_max: LONG, idle_max: LONG, head_max: LONG };

    async fn bounded(bounds: Bounds) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Bounded::new(listener, bounds), address)
    }

    fn short_first() -> Bounds {
        Bounds { first_max: Duration::from_millis(20), ..LOOSE }
    }

    /// Sends a byte for each that is read, so that none is late by itself, until reading fails.
    async fn dripped(client: &mut TcpStream, connection: &mut Connection) -> io::ErrorKind {
        let read = async {
            loop {
                client.write_all(b"x").await.unwrap();
                if let Err(error) = connection.read_u8().await {
                    return error.kind();
                }
            }
        };
        tokio::time::timeout(LONG, read).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_a_place() {
        let (mut listener, address) = bounded(LOOSE).await;
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
        let (mut listener, address) = bounded(short_first()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'a');
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn bytes_that_make_no_request_keep_no_place() {
        let (mut listener, address) = bounded(short_first()).await;
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
        let (mut listener, address) = bounded(short_first()).await;
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
    async fn single_bytes_do_not_put_off_the_end_of_a_head() {
        let (mut listener, address) =
            bounded(Bounds { head_max: Duration::from_millis(50), ..LOOSE }).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        assert_eq!(dripped(&mut slow, &mut connection).await, io::ErrorKind::TimedOut);
        drop(connection);
        // One whose head is there may take its time for the body, and for the answer.
        let mut fast = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = listener.accept().await;
        let until = Instant::now() + Duration::from_millis(100);
        fast.write_all(b"x").await.unwrap();
        connection.read_u8().await.unwrap();
        let open = connection.requests().begin();
        while Instant::now() < until {
            fast.write_all(b"x").await.unwrap();
            connection.read_u8().await.unwrap();
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        drop(open);
        // The next one on the connection is held to it as the first was.
        assert_eq!(dripped(&mut fast, &mut connection).await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_that_is_idle_makes_room() {
        let (mut listener, address) =
            bounded(Bounds { idle_max: Duration::from_millis(20), ..LOOSE }).await;
        let _clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let (mut first, _) = listener.accept().await;
        drop(first.requests().begin());
        first.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let error = first.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(first);
        listener.accept().await;
    }

    #[tokio::test]
    async fn one_client_has_but_its_share_of_the_places() {
        let (mut listener, address) = bounded(Bounds { connections_max: 10, ..LOOSE }).await;
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
