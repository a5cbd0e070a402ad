//! The thread that writes: operations in the order in which they came, as many in one commit as have
//! come meanwhile.
//!
//! Each decides on the state that those before it leave, and is answered once all are durable. If
//! that fails, all of them are refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use crate::decide::Decision;
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::store::{Loaded, Mark, News, Store};

/// How many operations may wait for the store; more requests wait for a place.
const WRITE_QUEUE_MAX: usize = 256;

/// How many operations one commit takes.
const GROUP_MAX: usize = 64;

/// How long a request waits for a place in the queue before it is refused with 50002.
const WRITE_WAIT_MS_MAX: u64 = 10_000;

/// The stack of a thread that works on schemas. Parsing, printing and comparing follow the nesting
/// of a schema, which references can make deep; memory is only taken up as it is used.
const SCHEMA_STACK_BYTES: usize = 64 * 1024 * 1024;

/// A thread with room for deep schemas.
pub(crate) fn schema_thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(SCHEMA_STACK_BYTES)
}

/// An operation, decided and then answered.
pub(super) trait Job: Send {
    /// The changes to make; none if it is refused or changes nothing.
    fn decide(&mut self, state: &State) -> Vec<Change>;

    /// Answers: what was decided, or that the store failed.
    fn settle(self: Box<Self>, failure: Option<&Failure>);
}

/// Why a store did not take a write.
pub(super) struct Failure {
    kind: ErrorKind,
    cause: String,
}

struct Pending<T, F> {
    decide: Option<F>,
    /// What is told if the store fails, and if it is too slow.
    message: &'static str,
    timed_out: &'static str,
    answer: Option<Result<T, Refusal>>,
    done: oneshot::Sender<Result<T, Refusal>>,
}

impl<T: Send, F: FnOnce(&State) -> Decision<T> + Send> Job for Pending<T, F> {
    fn decide(&mut self, state: &State) -> Vec<Change> {
        let Some(decide) = self.decide.take() else { return Vec::new() };
        let (changes, answer) = match decide(state) {
            Ok((changes, answer)) => (changes, Ok(answer)),
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        self.answer = Some(answer);
        changes
    }

    fn settle(self: Box<Self>, failure: Option<&Failure>) {
        let answer = match failure {
            None => self.answer,
            Some(Failure { kind: ErrorKind::Timeout, .. }) => {
                Some(Err(Refusal::Timeout(self.timed_out)))
            }
            Some(Failure { kind, cause }) => {
                let cause = Error::new(*kind, "write to the registry's store").because(cause);
                Some(Err(Refusal::Store { message: self.message, cause }))
            }
        };
        if let Some(answer) = answer {
            // The one who asked may be gone; the operation stands all the same.
            let _ = self.done.send(answer);
        }
    }
}

/// Who waits for it, if anybody does.
type Waiting = Option<oneshot::Sender<()>>;

pub(super) enum Work {
    Job(Box<dyn Job>),
    /// Others may have written.
    Refresh(Waiting),
    /// It failed before: does it work again?
    Probe(oneshot::Sender<Result<()>>),
    /// For tests.
    #[cfg(test)]
    Store(Box<dyn FnOnce(&mut Writing) + Send>),
}

/// The way to the writing thread. The thread ends, its queue done, with the last clone.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Work>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Starts the thread over a store that was read up to `known`.
    pub(super) fn start(store: Box<dyn Store>, shared: Arc<Shared>, known: Mark) -> Result<Self> {
        let (queue, works) = mpsc::channel(WRITE_QUEUE_MAX);
        let mut writing = Writing { store, shared, known, raised: Vec::new(), suspect: false };
        schema_thread("registry-writer").spawn(move || writing.run(works)).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "open the registry").caused_by(error)
        })?;
        Ok(Self { queue })
    }

    /// Decides, commits, and then shows: the one way in which the state changes. Once it has its
    /// place in the queue it is carried out even if the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        message: &'static str,
        timed_out: &'static str,
        decide: impl FnOnce(&State) -> Decision<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, answer) = oneshot::channel();
        let job = Pending { decide: Some(decide), message, timed_out, answer: None, done };
        let wait = Duration::from_millis(WRITE_WAIT_MS_MAX);
        let sent = self.queue.send_timeout(Work::Job(Box::new(job)), wait).await;
        if let Err(mpsc::error::SendTimeoutError::Timeout(_)) = sent {
            return Err(Refusal::Timeout(timed_out));
        }
        // Without an answer the operation panicked.
        answer.await.map_err(|_| Refusal::Internal)?
    }

    /// Takes over what others have written.
    pub(super) async fn refresh(&self) {
        let (done, over) = oneshot::channel();
        if self.queue.send(Work::Refresh(Some(done))).await.is_ok() {
            let _ = over.await;
        }
    }

    /// The same without waiting, from a thread without tasks; false once the writer has ended.
    pub(super) fn tell(&self, shared: &Shared) -> bool {
        if shared.told.swap(true, Ordering::AcqRel) {
            return true;
        }
        match self.queue.try_send(Work::Refresh(None)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                // Nobody has been told: the next time must try again.
                shared.told.store(false, Ordering::Release);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Tries whether the store takes writes.
    pub(super) async fn probe(&self) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let gone = || Error::new(ErrorKind::Internal, "write to the store");
        self.queue.send(Work::Probe(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// A way that does not keep the thread alive.
    pub(super) fn downgrade(&self) -> mpsc::WeakSender<Work> {
        self.queue.downgrade()
    }

    pub(super) fn upgrade(weak: &mpsc::WeakSender<Work>) -> Option<Self> {
        weak.upgrade().map(|queue| Self { queue })
    }

    /// Does something with the store on its thread.
    #[cfg(test)]
    pub(super) async fn with(&self, work: impl FnOnce(&mut Writing) + Send + 'static) {
        let (done, over) = oneshot::channel();
        let work = Work::Store(Box::new(move |writing| {
            work(writing);
            let _ = done.send(());
        }));
        assert!(self.queue.send(work).await.is_ok(), "the writer runs");
        over.await.expect("the work ends");
    }
}

/// What the thread holds.
pub(super) struct Writing {
    pub(super) store: Box<dyn Store>,
    shared: Arc<Shared>,
    known: Mark,
    /// Counters that the store has to be told of, after it was set back.
    raised: Vec<Change>,
    /// A commit failed, so the store may hold what memory does not: it is read again first.
    pub(super) suspect: bool,
}

impl Writing {
    fn run(&mut self, mut works: mpsc::Receiver<Work>) {
        let mut next = None;
        while let Some(work) = next.take().or_else(|| works.blocking_recv()) {
            match work {
                Work::Job(first) => next = self.jobs(first, &mut works),
                Work::Refresh(first) => next = self.refreshes(first, &mut works),
                Work::Probe(done) => {
                    // The one who waits may be gone.
                    let _ = done.send(self.probe());
                }
                #[cfg(test)]
                Work::Store(work) => work(self),
            }
        }
    }

    /// Carries out what waits together; gives what comes after it.
    fn jobs(&mut self, first: Box<dyn Job>, works: &mut mpsc::Receiver<Work>) -> Option<Work> {
        let mut jobs = vec![first];
        let mut next = None;
        while jobs.len() < GROUP_MAX && next.is_none() {
            match works.try_recv() {
                Ok(Work::Job(job)) => jobs.push(job),
                Ok(other) => next = Some(other),
                Err(_) => break,
            }
        }
        self.group(jobs);
        next
    }

    /// Asks the store once for all who wait for it; gives what comes after them.
    fn refreshes(&mut self, first: Waiting, works: &mut mpsc::Receiver<Work>) -> Option<Work> {
        let mut waiting = vec![first];
        let mut next = None;
        while next.is_none() {
            match works.try_recv() {
                Ok(Work::Refresh(more)) => waiting.push(more),
                Ok(other) => next = Some(other),
                Err(_) => break,
            }
        }
        self.shared.told.store(false, Ordering::Release);
        self.refresh();
        for done in waiting.into_iter().flatten() {
            let _ = done.send(());
        }
        next
    }

    fn group(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if let Err(error) = self.begin() {
            self.store.give_up();
            return self.refuse(jobs, &error);
        }
        let mut state = State::clone(&self.shared.state());
        let mut changes = std::mem::take(&mut self.raised);
        jobs.retain_mut(|job| {
            // A panic is a bug of ours; it costs its own request, not all later ones.
            let Ok(made) = catch_unwind(AssertUnwindSafe(|| job.decide(&state))) else {
                tracing::error!("a registry operation panicked");
                return false;
            };
            made.iter().cloned().for_each(|change| state.apply(change));
            changes.extend(made);
            true
        });
        if changes.is_empty() {
            self.store.give_up();
        } else {
            match self.store.commit(&changes) {
                Ok(mark) => self.show(state, mark),
                Err(error) => {
                    self.suspect = true;
                    return self.refuse(jobs, &error);
                }
            }
            self.shared.set_healthy(true);
        }
        jobs.into_iter().for_each(|job| job.settle(None));
    }

    fn refuse(&mut self, jobs: Vec<Box<dyn Job>>, error: &Error) {
        self.shared.set_healthy(false);
        tracing::error!(error = error.report(), "a write to the registry's store failed");
        let failure = Failure { kind: error.kind(), cause: error.report() };
        jobs.into_iter().for_each(|job| job.settle(Some(&failure)));
    }

    /// Keeps others from writing, with memory as the store is.
    fn begin(&mut self) -> Result<()> {
        if self.suspect {
            self.reload()?;
        }
        let news = self.store.begin(self.known)?;
        self.take(news);
        Ok(())
    }

    fn reload(&mut self) -> Result<()> {
        let loaded = self.store.load()?;
        self.take(News::Everything(loaded));
        self.suspect = false;
        Ok(())
    }

    fn refresh(&mut self) {
        match self.store.news(self.known) {
            Ok(news) => {
                self.take(news);
                if !self.raised.is_empty() {
                    // Others must not give out again what this process knows.
                    self.group(Vec::new());
                }
            }
            Err(error) => {
                // Reads go on with what is known; a write tells whoever waits for it.
                tracing::debug!(error = error.report(), "the registry's store cannot be read");
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::None => {}
            News::Changes(changes, mark) => {
                let mut state = State::clone(&self.shared.state());
                changes.into_iter().for_each(|change| state.apply(change));
                self.show(state, mark);
            }
            News::Everything(Loaded { mut state, mark }) => {
                self.raised = state.keep_ids_of(&self.shared.state());
                self.show(state, mark);
            }
        }
    }

    fn show(&mut self, state: State, mark: Mark) {
        self.known = mark;
        self.shared.show(state);
    }

    fn probe(&mut self) -> Result<()> {
        if self.suspect {
            self.reload()?;
        }
        self.store.probe()?;
        self.shared.set_healthy(true);
        Ok(())
    }
}
