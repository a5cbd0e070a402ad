//! The loop: connections are served until the process is told to end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::certificates::Certificates;
use crate::entrance::{Doors, Entrance};
use crate::listener::{Bounded, Bounds};
use crate::secured::Secured;

/// The longest that open requests may hold up a shutdown.
const SHUTDOWN_MS_MAX: u64 = 8_000;

/// Serves until `shutdown` is done and the open requests are answered, or 8 s later. With certificates it
/// speaks TLS alone.
///
/// # Errors
///
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    bounds: Bounds,
    certificates: Option<Arc<Certificates>>,
    entrance: impl Entrance,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (ending, mut ended) = watch::channel(false);
    let graceful = async move {
        shutdown.await;
        ending.send_replace(true);
    };
    let deadline = async move {
        // An error means that the server is gone, and with it this deadline.
        let _ = ended.wait_for(|ending| *ending).await;
        tokio::time::sleep(Duration::from_millis(SHUTDOWN_MS_MAX)).await;
    };
    let listener = Bounded::new(listener, bounds);
    tokio::select! {
        served = server(listener, certificates, Doors(entrance), graceful) => served,
        () = deadline => {
            tracing::warn!(limit_ms = SHUTDOWN_MS_MAX, "requests still open are given up");
            Ok(())
        }
    }
}

type Server = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The server of a listener.
fn server<E: Entrance>(
    listener: Bounded,
    certificates: Option<Arc<Certificates>>,
    doors: Doors<E>,
    graceful: impl Future<Output = ()> + Send + 'static,
) -> Server {
    match certificates {
        None => {
            Box::pin(axum::serve(listener, doors).with_graceful_shutdown(graceful).into_future())
        }
        Some(certificates) => {
            let listener = Secured::new(listener, certificates);
            Box::pin(axum::serve(listener, doors).with_graceful_shutdown(graceful).into_future())
        }
    }
}
