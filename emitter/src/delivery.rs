//! What becomes of an event after it was taken: a batch's end, and the handle of each event in it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::Appended;
use tokio::sync::Notify;

/// Where an event is, once it is durable there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Its offset in the partition; with a spool, in the spool's partition of that name. None where the
    /// append's answer was lost, and only a look at what had become durable told that it is there.
    pub offset: Option<u64>,
    /// Its number among the events that this start of the emitter took for the partition, from 0; also in the record's header
    /// [`EMITTER_HEADER`](crate::EMITTER_HEADER).
    pub sequence: u64,
}

/// Events that are appended together: all of them are durable, or none is.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    end: OnceLock<End>,
    ended: Notify,
}

/// How a batch has ended. An append without offsets: the events are there, and where is not known.
#[derive(Debug)]
pub(crate) enum End {
    /// All of it in one append.
    Whole(Result<Appended, Error>),
    /// Each part in one of its own, since together they could not be: so those of a topic that is gone fail
    /// alone.
    Parts(Vec<Result<Appended, Error>>),
}

impl End {
    /// The append that has a part, and the part's place in it.
    fn of(&self, part: usize) -> Option<(&Result<Appended, Error>, usize)> {
        match self {
            Self::Whole(end) => Some((end, part)),
            Self::Parts(ends) => ends.get(part).map(|end| (end, 0)),
        }
    }
}

impl Batch {
    /// Tells everybody who waits how it ended; the first end counts.
    pub(crate) fn end(&self, end: End) {
        if self.end.set(end).is_ok() {
            self.ended.notify_waiters();
        }
    }

    async fn wait(&self) -> &End {
        loop {
            let ended = self.ended.notified();
            if let Some(end) = self.end.get() {
                return end;
            }
            ended.await;
        }
    }
}

/// An event that was taken. Awaiting it tells where it has become durable; dropping it changes nothing.
#[derive(Debug, Clone)]
#[must_use = "an event that was taken may yet fail: await it, or flush the emitter"]
pub struct Delivery {
    pub(crate) state: State,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Taken(Taken),
    Dropped,
}

/// Where an event is in its batch.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) batch: Arc<Batch>,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
    /// Which of the batch's partitions.
    pub(crate) part: usize,
    /// Its place there.
    pub(crate) index: u32,
    pub(crate) sequence: u64,
}

impl Delivery {
    /// Whether the event was dropped at once, as [`WhenFull::Drop`](crate::WhenFull::Drop) has it.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        matches!(self.state, State::Dropped)
    }

    /// Whether it is known not to be durable.
    pub(crate) fn has_failed(&self) -> bool {
        match self.ended() {
            Some(Err(error)) => error.kind() != ErrorKind::Timeout,
            Some(Ok(())) => false,
            None => self.is_dropped(),
        }
    }

    /// Whether what has become of it is told.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_dropped() || self.ended().is_some()
    }

    fn ended(&self) -> Option<Result<(), &Error>> {
        let State::Taken(taken) = &self.state else { return None };
        let (end, _) = taken.batch.end.get()?.of(taken.part)?;
        Some(end.as_ref().map(drop))
    }

    /// Waits until the event is durable: in the topic; with a spool, in the spool.
    ///
    /// # Errors
    ///
    /// What ended its batch: `Timeout` past the delivery timeout, `Fenced` where another emitter of
    /// the same name took over, what the topic's store answered that will not pass. `Exhausted` if the
    /// event was dropped.
    pub async fn receipt(&self) -> Result<Receipt> {
        let State::Taken(taken) = &self.state else { return Err(crate::queue::dropped()) };
        let Some((end, part)) = taken.batch.wait().await.of(taken.part) else {
            return Err(Error::new(ErrorKind::Internal, "look for a receipt"));
        };
        match end {
            Ok(appended) => Ok(Receipt {
                topic: Arc::clone(&taken.topic),
                partition: taken.partition,
                offset: appended.offset(part, taken.index),
                sequence: taken.sequence,
            }),
            Err(error) => Err(error.again().with("topic", &taken.topic)),
        }
    }
}

impl IntoFuture for Delivery {
    type Output = Result<Receipt>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.receipt().await })
    }
}
