//! What asks the database again and again beside the log, for as long as that is read.

use std::future::Future;
use std::time::Duration;
use tidemesh_model::{Error, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A task that asks, which ends with this.
#[derive(Debug)]
pub struct Watch {
    found: oneshot::Receiver<Error>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Begins to watch: `watch` goes on until something is found for which the log must be opened anew, and
    /// answers that. Where it fails it is begun again after `pause`.
    pub fn start<F>(pause: Duration, mut watch: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Error>> + Send + 'static,
    {
        let (finding, found) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                match watch().await {
                    // Who reads the log may have gone.
                    Ok(error) => return drop(finding.send(error)),
                    // The stream says by itself when the server is away.
                    Err(error) => tracing::debug!(error = error.report(), "the lag is not known"),
                }
                tokio::time::sleep(pause).await;
            }
        });
        Self { found, task }
    }

    /// What was found, once.
    pub fn found(&mut self) -> Option<Error> {
        self.found.try_recv().ok()
    }
}
