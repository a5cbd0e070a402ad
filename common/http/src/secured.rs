//! Connections that speak TLS: handshakes are made beside one another, each in its time, so that one
//! client that says nothing holds up no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::Certificates;
use crate::listener::{Bounded, Connection};

/// The longest that a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A connection after its handshake, with who is at its other end.
type Accepted = (TlsStream<Connection>, SocketAddr);

/// A listener whose connections have had their handshake. As many are made at the same time as there
/// are places for connections.
#[derive(Debug)]
pub(crate) struct Secured {
    listener: Bounded,
    certificates: Arc<Certificates>,
    handshakes: JoinSet<Option<Accepted>>,
    handshake_max: Duration,
}

impl Secured {
    pub(crate) fn new(listener: Bounded, certificates: Arc<Certificates>) -> Self {
        let (handshakes, handshake_max) = (JoinSet::new(), HANDSHAKE_MAX);
        Self { listener, certificates, handshakes, handshake_max }
    }

    fn greet(&mut self, connection: Connection, address: SocketAddr) {
        let acceptor = TlsAcceptor::from(self.certificates.get());
        let limit = self.handshake_max;
        self.handshakes.spawn(async move {
            match tokio::time::timeout(limit, acceptor.accept(connection)).await {
                Ok(Ok(stream)) => Some((stream, address)),
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "a TLS handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%address, "a TLS handshake took too long");
                    None
                }
            }
        });
    }
}

impl Listener for Secured {
    type Io = TlsStream<Connection>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                (connection, address) = Listener::accept(&mut self.listener) => {
                    self.greet(connection, address);
                }
                Some(done) = self.handshakes.join_next() => {
                    // One that failed, or panicked, is passed over.
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
