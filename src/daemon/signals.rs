//! SIGTERM and SIGINT as one message that every role watches.

use tidemesh_model::{Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Watches for SIGTERM and SIGINT. The value turns true at the first of either; a second one ends
/// the process at once.
pub(super) fn watch_signals() -> Result<watch::Receiver<bool>> {
    let listen = |kind| {
        signal(kind).map_err(|e| Error::new(ErrorKind::Internal, "watch for signals").caused_by(e))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut first = true;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                std::process::exit(130);
            }
            first = false;
            tracing::info!("told to stop: draining");
            let _ = sender.send(true);
        }
    });
    Ok(receiver)
}

/// Returns once `shutdown` says true.
pub(super) async fn stopped(mut shutdown: watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
