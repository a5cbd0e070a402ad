//! Threads that work on schemas: parsing and comparing need the processor and a deep stack.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::registry::schema_thread;

/// How many schemas are worked on at the same time.
const THREADS: usize = 4;

/// How many more requests may wait; others wait for a place.
const WAITING_MAX: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// A way to the threads, which end with the last of these.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    jobs: mpsc::Sender<Job>,
}

impl Pool {
    /// Starts the threads.
    pub(super) fn start() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>(WAITING_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let queue = Arc::clone(&queue);
            let started = schema_thread("registry-check").spawn(move || work(&queue));
            if let Err(error) = started {
                tracing::error!(%error, "a thread of the registry could not be started");
            }
        }
        Self { jobs }
    }

    /// Runs something on one of them; none if it panicked. Once it has its place it is carried out
    /// even if the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // The one who asked may be gone.
            let _ = done.send(work());
        });
        self.jobs.send(job).await.ok()?;
        result.await.ok()
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a check of the registry panicked");
        }
    }
}
