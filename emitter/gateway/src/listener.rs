//! Connections: how many there may be, and how long one may keep its place without a byte.

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

/// A listener that keeps to a number of connections.
#[derive(Debug)]
pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle_max: Duration,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener, connections_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections_max));
        Self { listener, places, idle_max: IDLE_MAX }
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
        (Connection { stream, deadline, idle_max, _place: place }, address)
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
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// What the stream did, or an error if nothing has gone either way for too long.
    fn watched<T>(
        &mut self,
        done: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            let until = Instant::now() + self.idle_max;
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
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
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
    use tokio::io::AsyncReadExt;

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
