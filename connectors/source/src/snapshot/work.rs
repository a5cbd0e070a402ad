//! The tasks that read tables: each has a connection of its own, made when it is first needed.

use super::{ChunkRequest, TablePlan, TableReader};
use crate::Connector;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, Result, TableName};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The first pause before it is looked again whether transactions have become visible.
const UNSEEN_PAUSE_FIRST: Duration = Duration::from_millis(10);

/// The longest such pause.
const UNSEEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a worker is to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Wait until all that has begun has ended and is visible.
    Settle,
    /// Plan a table in at most so many parts.
    Plan(TableName, u32),
    /// Read one chunk between its marks.
    Chunk(ChunkJob),
}

#[derive(Debug)]
pub(super) struct ChunkJob {
    pub(super) window: u64,
    /// The low and the high mark.
    pub(super) marks: [String; 2],
    pub(super) request: ChunkRequest,
    /// Transactions that must be visible first.
    pub(super) wait_for: Vec<u64>,
}

/// What a worker tells.
#[derive(Debug)]
pub(super) enum Told<K> {
    Settled,
    Planned(TableName, TablePlan),
    /// The chunk of a window; its high mark follows in the log.
    Chunk(u64, K),
    /// The job is done and the worker is free.
    Free,
    /// The job came to this error and the worker is free.
    Failed(Error),
}

/// The workers of a session. Dropping them ends their tasks and connections.
pub(super) struct Workers<K> {
    jobs: Vec<mpsc::Sender<(Duration, Job)>>,
    told: mpsc::Receiver<(usize, Told<K>)>,
    _tasks: JoinSet<()>,
}

impl<K> Workers<K> {
    pub(super) fn start<C>(connector: &Arc<C>, count: u32) -> Self
    where
        C: Connector,
        C::Reader: TableReader<Chunk = K>,
        K: Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let mut jobs = Vec::new();
        let (telling, told) = mpsc::channel(2 * count as usize);
        for index in 0..count as usize {
            let (sender, receiver) = mpsc::channel(1);
            jobs.push(sender);
            tasks.spawn(work(Arc::clone(connector), index, receiver, telling.clone()));
        }
        Self { jobs, told, _tasks: tasks }
    }

    pub(super) fn count(&self) -> usize {
        self.jobs.len()
    }

    /// Gives a free worker its next job, which begins after `pause`.
    pub(super) fn give(&self, worker: usize, pause: Duration, job: Job) {
        // A worker ends only with the session.
        let _ = self.jobs[worker].try_send((pause, job));
    }

    /// What is told next; never, if nothing is. Cancel-safe.
    pub(super) async fn told(&mut self) -> (usize, Told<K>) {
        match self.told.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }

    /// What was told already.
    pub(super) fn try_told(&mut self) -> Option<(usize, Told<K>)> {
        self.told.try_recv().ok()
    }
}

async fn work<C: Connector>(
    connector: Arc<C>,
    index: usize,
    mut jobs: mpsc::Receiver<(Duration, Job)>,
    telling: mpsc::Sender<(usize, Told<<C::Reader as TableReader>::Chunk>)>,
) {
    let mut reader = None;
    while let Some((pause, job)) = jobs.recv().await {
        tokio::time::sleep(pause).await;
        let done = perform(connector.as_ref(), &mut reader, job).await;
        let done = match done {
            Ok(Performed::Read(job, chunk)) => {
                // Before the high mark is written: who decodes it has the chunk.
                if telling.send((index, Told::Chunk(job.window, chunk))).await.is_err() {
                    return;
                }
                end(&mut reader, &job).await
            }
            Ok(Performed::Done(told)) => {
                if telling.send((index, told)).await.is_err() {
                    return;
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        let told = match done {
            Ok(()) => Told::Free,
            Err(error) => {
                reader = None;
                Told::Failed(error)
            }
        };
        if telling.send((index, told)).await.is_err() {
            return;
        }
    }
}

/// What came of a job.
enum Performed<K> {
    Done(Told<K>),
    /// A chunk, whose high mark is not written yet.
    Read(ChunkJob, K),
}

async fn perform<C: Connector>(
    connector: &C,
    reader: &mut Option<C::Reader>,
    job: Job,
) -> Result<Performed<<C::Reader as TableReader>::Chunk>> {
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(connector.reader().await?),
    };
    match job {
        Job::Settle => {
            reader.settle().await?;
            Ok(Performed::Done(Told::Settled))
        }
        Job::Plan(table, parts_max) => {
            let plan = reader.plan(&table, parts_max).await?;
            Ok(Performed::Done(Told::Planned(table, plan)))
        }
        Job::Chunk(job) => {
            wait_until_seen(reader, &job.wait_for).await?;
            reader.mark(&job.marks[0]).await?;
            let chunk = reader.chunk(&job.request).await?;
            Ok(Performed::Read(job, chunk))
        }
    }
}

async fn end<R: TableReader>(reader: &mut Option<R>, job: &ChunkJob) -> Result<()> {
    match reader {
        Some(reader) => reader.mark(&job.marks[1]).await,
        None => Ok(()),
    }
}

async fn wait_until_seen<R: TableReader>(reader: &mut R, transactions: &[u64]) -> Result<()> {
    let mut pause = UNSEEN_PAUSE_FIRST;
    while !transactions.is_empty() && !reader.sees(transactions).await? {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(UNSEEN_PAUSE_MAX);
    }
    Ok(())
}
