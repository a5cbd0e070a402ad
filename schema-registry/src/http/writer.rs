//! The thread that writes: one operation after another, in the order in which they came.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::refusal::Refusal;
use crate::registry::Registry;

/// How many operations may wait for the disk; more requests wait for a place.
const WRITE_QUEUE_MAX: usize = 256;

/// How long a request waits for a place in the queue before it is refused with 50002.
const WRITE_WAIT_MS_MAX: u64 = 10_000;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the writing thread. The thread ends, its queue done, with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start() -> Self {
        let (jobs, mut queue) = mpsc::channel::<Job>(WRITE_QUEUE_MAX);
        let started = super::schema_thread("registry-writer").spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                // A panic is a bug of ours; it costs its own request, not all later ones.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a registry operation panicked");
                }
            }
        });
        if let Err(error) = started {
            // The queue is dropped with the closure: every write is then answered with 500.
            tracing::error!(%error, "the registry's writing thread could not be started");
        }
        Self { jobs }
    }

    /// Runs an operation on the thread and waits for it. Once it has its place in the queue it is
    /// carried out even if the caller goes away. `None` if it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        registry: Arc<Registry>,
        timed_out: &'static str,
        work: impl FnOnce(&Registry) -> Result<T, Refusal> + Send + 'static,
    ) -> Option<Result<T, Refusal>> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // The one who asked may be gone; the operation stands all the same.
            let _ = done.send(work(&registry));
        });
        let wait = Duration::from_millis(WRITE_WAIT_MS_MAX);
        match self.jobs.send_timeout(job, wait).await {
            Ok(()) => result.await.ok(),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Some(Err(Refusal::Timeout(timed_out)))
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => None,
        }
    }
}
