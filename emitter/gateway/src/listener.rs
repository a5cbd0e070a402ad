//! Connections: how many there may be, how long one may keep its place without a byte, and how long a
//! request's head may take.

use axum::serve::Listener;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// How long a connection may stay without a byte in either direction: longer than a request may wait for
/// its events.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// How long a request's head may take from its first byte: as long as its body may, since what still comes
/// of a body that was refused is taken for a head.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// The ends of lines, with nothing but carriage returns between, that end a head.
const HEAD_ENDS_MAX: usize = 2;

/// How an answer begins that asks for the body, and is none yet.
const CONTINUE: &[u8] = b"HTTP/1.1 100";

/// A listener that keeps to a number of connections.
#[derive(Debug)]
pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle_max: Duration,
    head_max: Duration,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener, connections_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections_max));
        Self { listener, places, idle_max: IDLE_MAX, head_max: HEAD_MAX }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed, so there always is a permit in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        // axum's own `accept` passes over connections that failed, and rests when there are no file
        // descriptors left.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Answers are written in one piece: waiting to fill a packet only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
        let (idle_max, deadline) = (self.idle_max, Box::pin(sleep(self.idle_max)));
        let head = Head::Awaited;
        let head_max = self.head_max;
        (Connection { stream, deadline, idle_max, head, head_max, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, which gives its place back when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    idle_max: Duration,
    head: Head,
    head_max: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

/// Where a connection is with a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Nothing of it is there; so it begins, and so it is after each answer.
    Awaited,
    /// Some of it is there: until when it may take, and how many ends of lines were seen last; none while
    /// nothing but empty lines has come, which may stand before it.
    Begun { until: Instant, ends: Option<usize> },
    /// It is there; a body may follow. The next answer ends that.
    Over,
}

impl Head {
    /// After these bytes were read.
    fn after(self, bytes: &[u8], head_max: Duration) -> Self {
        let (until, mut ends) = match self {
            Self::Over => return self,
            Self::Awaited if bytes.is_empty() => return self,
            Self::Awaited => (Instant::now() + head_max, None),
            Self::Begun { until, ends } => (until, ends),
        };
        for byte in bytes {
            ends = match byte {
                b'\r' => ends,
                b'\n' => ends.map(|ends| ends + 1),
                _ => Some(0),
            };
            if ends == Some(HEAD_ENDS_MAX) {
                return Self::Over;
            }
        }
        Self::Begun { until, ends }
    }
}

impl Connection {
    /// What the stream did, or an error if nothing has gone either way, or a head has come, for too long.
    fn watched<T>(
        &mut self,
        done: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            let idle_until = Instant::now() + self.idle_max;
            // A head's own deadline stays: else single bytes would keep a place for ever.
            let until = match self.head {
                Head::Begun { until, .. } if until <= Instant::now() => {
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
                Head::Begun { until, .. } => until.min(idle_until),
                Head::Awaited | Head::Over => idle_until,
            };
            self.deadline.as_mut().reset(until);
            return done;
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
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
        let new = buffer.filled().get(there..).unwrap_or_default();
        self.head = self.head.after(new, self.head_max);
        self.watched(done, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        if done.is_ready() && !bytes.starts_with(CONTINUE) {
            self.head = Head::Awaited;
        }
        self.watched(done, context)
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

    #[test]
    fn a_head_ends_with_an_empty_line_however_it_is_cut() {
        let max = Duration::from_secs(1);
        let whole = b"GET / HTTP/1.1\r\nhost: g\r\n\r\n";
        for cut in 1..whole.len() {
            let (first, second) = whole.split_at(cut);
            let begun = Head::Awaited.after(first, max);
            assert!(matches!(begun, Head::Begun { .. }), "{cut}");
            assert_eq!(begun.after(second, max), Head::Over, "{cut}");
        }
        assert_eq!(Head::Awaited.after(b"", max), Head::Awaited);
        assert_eq!(Head::Awaited.after(b"GET / HTTP/1.0\n\n", max), Head::Over);
        let empty = Head::Awaited.after(b"\r\n\r\n", max);
        assert!(
            matches!(empty, Head::Begun { ends: None, .. }),
            "empty lines before it are no head"
        );
    }

    #[tokio::test]
    async fn single_bytes_do_not_put_off_the_end_of_a_head() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut bounded = Bounded::new(listener, 1);
        bounded.head_max = Duration::from_millis(50);
        let address = Listener::local_addr(&bounded).unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        // A byte for each that was read: none of them is late by itself, and the stream is never idle.
        let error = loop {
            slow.write_all(b"x").await.unwrap();
            if let Err(error) = connection.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // One whose head is there may take its time for the body, and for the answer.
        drop(connection);
        let mut fast = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        fast.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        connection.read_exact(&mut [0; 18]).await.unwrap();
        connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert_eq!(connection.head, Head::Over);
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        assert_eq!(connection.head, Head::Awaited);
    }

    #[tokio::test]
    async fn a_connection_over_the_bound_waits_and_an_idle_one_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut bounded = Bounded::new(listener, 1);
        bounded.idle_max = Duration::from_millis(10);
        let address = Listener::local_addr(&bounded).unwrap();
        let _clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let (mut first, _) = bounded.accept().await;
        {
            let mut second = Box::pin(bounded.accept());
            let is_waiting = std::future::poll_fn(|context| {
                Poll::Ready(second.as_mut().poll(context).is_pending())
            });
            assert!(is_waiting.await);
        }
        let error = first.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(first);
        bounded.accept().await;
    }
}
