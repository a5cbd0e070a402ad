//! The one thread that writes: it takes all that waits, writes it as one batch of the storage,
//! syncs once, makes it visible and answers each. And it mends what a failed write leaves.

use super::Shared;
use super::batch::Piece;
use super::journal;
use super::round::Round;
use super::state::State;
use super::store::{Store, Writes, storage_error};
use crate::{Append, Appended, GroupOffset, Retention, TopicConfig, TopicInfo, WriterEpoch};
use std::sync::{Arc, PoisonError};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// The most jobs that are written and synced together.
const ROUND_JOBS_MAX: usize = 256;

/// A round takes no further job from so many bytes on.
const ROUND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One change of the log, and where its answer goes.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) bytes: usize,
    /// Its share of the bytes in flight, given back when it is answered. Cleaning has none.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// What a job does.
pub(super) enum Work {
    /// The append, and the pieces in which each of its batches is stored.
    Append(Append, Vec<Vec<Piece>>, Answer<Appended>),
    Commit(Commit, Answer<()>),
    CreateTopic(String, TopicConfig, Answer<TopicInfo>),
    SetRetention(String, Retention, Answer<TopicInfo>),
    DeleteTopic(String, Answer<()>),
    OpenWriter(String, Answer<WriterEpoch>),
    Rewrite(Rewrite, Answer<()>),
    Clear(Clear, Answer<()>),
}

/// Offsets that a member of a group commits, of those partitions that are still its own.
pub(super) struct Commit {
    pub(super) group: Arc<str>,
    pub(super) member: u64,
    /// When the member had these partitions.
    pub(super) generation: u64,
    pub(super) offsets: Vec<CommitOffset>,
}

/// An offset to commit, and the topic that it is of: another of that name is left alone.
pub(super) struct CommitOffset {
    /// None for a topic that the member has not subscribed to.
    pub(super) topic_id: Option<u32>,
    pub(super) offset: GroupOffset,
}

/// Batches of one partition that cleaning replaces.
pub(super) struct Rewrite {
    pub(super) topic: Arc<str>,
    /// Another topic of that name is left alone.
    pub(super) topic_id: u32,
    pub(super) partition: u32,
    pub(super) writes: Writes,
    /// The partition's first offset, if it is higher than it was.
    pub(super) begin: u64,
    pub(super) bytes_freed: u64,
    /// Compaction has come to its end: how far, and the bytes that it left before.
    pub(super) cleaned: Option<(u64, u64)>,
}

/// Records of a topic that is gone.
pub(super) struct Clear {
    pub(super) topic_id: u32,
    pub(super) writes: Writes,
    /// There are no more.
    pub(super) done: bool,
}

impl Work {
    pub(super) fn refuse(self, error: Error) {
        // A caller that no longer waits is none of our business.
        match self {
            Self::Append(_, _, answer) => drop(answer.send(Err(error))),
            Self::CreateTopic(_, _, answer) | Self::SetRetention(_, _, answer) => {
                drop(answer.send(Err(error)));
            }
            Self::OpenWriter(_, answer) => drop(answer.send(Err(error))),
            Self::DeleteTopic(_, answer)
            | Self::Commit(_, answer)
            | Self::Rewrite(_, answer)
            | Self::Clear(_, answer) => drop(answer.send(Err(error))),
        }
    }
}

/// Writes until every sender is gone.
pub(super) fn run(shared: &Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    let state = shared.read_state().clone();
    let mut writer = Writer { shared, state, take_back: None };
    while let Some(first) = jobs.blocking_recv() {
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while group.len() < ROUND_JOBS_MAX
            && bytes < ROUND_BYTES_MAX
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes;
            group.push(job);
        }
        writer.round(group);
    }
}

struct Writer<'s> {
    shared: &'s Arc<Shared>,
    /// The visible state and the changes of the round under way.
    state: State,
    /// A failed write that must be taken back from the journal before the storage is opened again,
    /// by its sequence number.
    take_back: Option<u64>,
}

impl Writer<'_> {
    fn round(&mut self, group: Vec<Job>) {
        if let Err(error) = self.heal() {
            group.into_iter().for_each(|job| job.work.refuse(error.again()));
            return;
        }
        let mut round = Round::new(self.shared, &mut self.state);
        let mut permits = Vec::with_capacity(group.len());
        for job in group {
            permits.push(job.permit);
            round.take(job.work);
        }
        let (writes, puts, changes, answers) = round.finish();
        let written =
            if writes.is_empty() && puts.is_empty() { Ok(()) } else { self.write(writes, puts) };
        match &written {
            Ok(()) => self.shared.publish(&changes),
            Err(error) => {
                tracing::error!(error = error.report(), "the log could not be written");
                self.state = self.shared.read_state().clone();
            }
        }
        for answer in answers {
            answer(written.as_ref().copied());
        }
    }

    fn write(&mut self, writes: Writes, puts: super::state::Puts) -> Result<()> {
        let shared = self.shared;
        let (sequence, written) = {
            let guard = shared.store.read().unwrap_or_else(PoisonError::into_inner);
            let Some(store) = guard.as_ref() else { return Err(shared.closed()) };
            let room = store.make_room();
            let sequence = store.database.seqno();
            (sequence, room.and_then(|()| store.write(writes, puts)))
        };
        let Err(error) = written else { return Ok(()) };
        let error = storage_error(error, "append to the log", shared.folder.path());
        self.take_back = Some(sequence);
        match self.reopen() {
            Err(again) if self.take_back.is_some() => Err(unknown(again, shared)),
            Err(again) => {
                tracing::error!(error = again.report(), "the log could not be opened again");
                Err(error)
            }
            Ok(()) => Err(error),
        }
    }

    /// After a failure, of a write or of the storage's own thread, opens the storage anew.
    fn heal(&mut self) -> Result<()> {
        let guard = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        if guard.as_ref().is_some_and(Store::healthy) {
            return Ok(());
        }
        drop(guard);
        tracing::warn!("the log's storage has failed and is opened again");
        self.reopen()
    }

    fn reopen(&mut self) -> Result<()> {
        let shared = self.shared;
        let mut guard = shared.store.write().unwrap_or_else(PoisonError::into_inner);
        let path = shared.folder.store();
        if let Some(store) = guard.take() {
            drop(store);
        }
        // The storage's threads may still hold the journal, and write to it as they let go.
        journal::wait_closed(&path)?;
        if let Some(sequence) = self.take_back {
            journal::take_back(&path, sequence)?;
            self.take_back = None;
        }
        let (store, _) = Store::open(&shared.folder, &shared.config)?;
        *guard = Some(store);
        Ok(())
    }
}

/// The write failed, and could not be taken back: it may show after a restart.
fn unknown(error: Error, shared: &Shared) -> Error {
    Error::new(ErrorKind::Unavailable, "append to the log")
        .because("the write failed and could not be taken back: whether it happened is unknown")
        .with("folder", shared.folder.path().display())
        .caused_by(error)
}
