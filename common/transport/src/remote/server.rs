//! The data port's listener: takes connections, up to a limit, until it is told to stop.

use super::connection::{Budget, serve_connection};
use super::socket;
use crate::Transport;
use std::io::ErrorKind as IoKind;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::Result;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

/// The most connections at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 256;

/// How long the listener rests after an accept failed for want of something, such as files: at once
/// it would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Where the data port listens.
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// What connections come from.
pub(super) trait Accept: Send + Sync {
    /// The next connection. Cancel-safe.
    fn accept(&self) -> impl Future<Output = std::io::Result<(ReadHalf, WriteHalf)>> + Send;
}

impl Accept for Listener {
    async fn accept(&self) -> std::io::Result<(ReadHalf, WriteHalf)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                socket::set_up(&stream);
                let (reader, writer) = stream.into_split();
                Ok((Box::new(reader), Box::new(writer)))
            }
            Self::Unix(listener) => {
                let (reader, writer) = listener.accept().await?.0.into_split();
                Ok((Box::new(reader), Box::new(writer)))
            }
        }
    }
}

/// Serves `transport` until `shutdown` says true.
///
/// # Errors
///
/// None so far: what goes wrong on a connection ends that connection, and an accept that fails is
/// logged and tried again.
pub async fn serve_remote<T: Transport>(
    transport: Arc<T>,
    listener: Listener,
    shutdown: watch::Receiver<bool>,
) -> Result<()> {
    serve(transport, listener, shutdown).await;
    Ok(())
}

pub(super) async fn serve<T: Transport>(
    transport: Arc<T>,
    listener: impl Accept,
    mut shutdown: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let budget = Budget::default();
    // They are told, as 0, before the first connection.
    let accepted = metrics::counter!("tidemesh_data_connections_total");
    accepted.increment(0);
    let refused = metrics::counter!("tidemesh_data_connections_refused_total");
    refused.increment(0);
    let open = metrics::gauge!("tidemesh_data_connections");
    open.increment(0);
    loop {
        let (reader, writer) = tokio::select! {
            connection = next(&listener) => connection,
            _ = shutdown.wait_for(|stop| *stop) => return,
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!(connections_max = CONNECTIONS_MAX, "a connection was refused");
            refused.increment(1);
            continue;
        };
        accepted.increment(1);
        let connected = Connected::new(&open);
        let (transport, budget, mut stop) =
            (Arc::clone(&transport), budget.clone(), shutdown.clone());
        tokio::spawn(async move {
            let (_permit, _connected) = (permit, connected);
            let served = tokio::select! {
                served = serve_connection(transport, reader, writer, budget) => served,
                _ = stop.wait_for(|stop| *stop) => Ok(()),
            };
            if let Err(error) = served {
                tracing::debug!(error = error.report(), "a connection of the data port ended");
            }
        });
    }
}

/// A connection, counted for as long as this lives.
struct Connected(metrics::Gauge);

impl Connected {
    fn new(open: &metrics::Gauge) -> Self {
        open.increment(1);
        Self(open.clone())
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// The next connection that comes whole.
async fn next(listener: &impl Accept) -> (ReadHalf, WriteHalf) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has hung up already: nothing of ours is wrong.
            Err(error) if is_the_clients(&error) => {
                tracing::debug!(%error, "a connection was lost before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "the data port could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_clients(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        IoKind::ConnectionRefused | IoKind::ConnectionAborted | IoKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::super::protocol::HELLO_BYTES;
    use super::*;
    use crate::{EmbeddedConfig, EmbeddedTransport};
    use std::sync::Mutex;
    use tokio::io::AsyncReadExt;

    /// Fails as often as it has errors, then gives its one connection.
    struct Failing {
        errors: Mutex<Vec<std::io::Error>>,
        connection: Mutex<Option<(ReadHalf, WriteHalf)>>,
    }

    impl Accept for Failing {
        async fn accept(&self) -> std::io::Result<(ReadHalf, WriteHalf)> {
            if let Some(error) = self.errors.lock().unwrap().pop() {
                return Err(error);
            }
            let connection = self.connection.lock().unwrap().take();
            match connection {
                Some(connection) => Ok(connection),
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_accept_that_fails_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
        let (mut client, theirs) = tokio::io::duplex(64);
        let (reader, writer) = tokio::io::split(theirs);
        let too_many_files = || std::io::Error::from(rustix::io::Errno::MFILE);
        let listener = Failing {
            errors: Mutex::new(vec![
                too_many_files(),
                IoKind::ConnectionAborted.into(),
                too_many_files(),
            ]),
            connection: Mutex::new(Some((Box::new(reader), Box::new(writer)))),
        };
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(Arc::new(log), listener, stopped));
        let mut said = [0; HELLO_BYTES];
        let greeted = tokio::time::timeout(ACCEPT_PAUSE * 10, client.read_exact(&mut said)).await;
        greeted.expect("the listener gave up").unwrap();
        stop.send(true).unwrap();
        serving.await.unwrap();
    }
}
