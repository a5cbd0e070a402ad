//! Hands on what the queue holds, in the order in which events were taken, each once. Appends follow each
//! other without waiting for the one before, where there is so much to hand on that they are full and the
//! target takes them so.
//!
//! An append whose answer was lost may have happened. The number of the append is stored with it, in the
//! writer's state: before it is tried again the writer is opened anew, which fences whatever of it is
//! still under way, and the state tells whether it is there. What was submitted behind an append that
//! failed has failed too: each of those is looked for likewise, and then delivered by itself.

use crate::catalog::{Drained, Tally};
use crate::counts::Counted;
use crate::delivery::End;
use crate::emitter::Settled;
#[cfg(feature = "spool")]
use crate::gate::Gate;
use crate::own::{Owner, open_again, taken};
use crate::queue::{Load, Part, Queue};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tidemesh_transport::{
    Append, Appended, PartitionBatch, Records, Submitted, Transport, WriterEpoch,
};
use tokio::sync::{Semaphore, watch};
use tracing::{Instrument, Span};

/// The first pause after a failure; each one is twice as long as the one before.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Appends that are under way at most. Their bytes are bounded by the queue's, and by the target's.
const UNDER_WAY_MAX: usize = 16;

/// Emptied buffers that are kept, where an append has not more.
const SPARE_MAX: usize = 8;

/// Hands on an emitter's events.
pub(crate) struct Sender<T> {
    pub(crate) transport: Arc<T>,
    pub(crate) queue: Arc<Queue>,
    /// The bytes that the queue has left.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) tally: Arc<Tally>,
    /// Told of events that have ended.
    pub(crate) settled: Arc<Settled>,
    /// Where they go to a spool: what it may hold.
    #[cfg(feature = "spool")]
    pub(crate) gate: Option<Gate>,
    pub(crate) delivery_timeout: Option<Duration>,
    /// Told when all is delivered, where it does not go to a spool.
    pub(crate) drained: Option<watch::Sender<Drained>>,
    pub(crate) writer: WriterEpoch,
    /// Sets this emitter apart from others of its name.
    pub(crate) instance: u64,
    /// The number of the append that is next.
    pub(crate) next: u64,
    /// The appends that follow each other, oldest first.
    pub(crate) under_way: VecDeque<UnderWay>,
    /// Whether an append that failed may have happened, or happen yet.
    pub(crate) is_unsure: bool,
    /// Whether the last append was tried again, or is.
    pub(crate) is_waiting: bool,
    /// Whether another has the name.
    pub(crate) is_taken: bool,
    /// Emptied buffers.
    pub(crate) spare: Vec<Records>,
}

/// An append that was submitted.
pub(crate) struct UnderWay {
    load: Load,
    answer: Submitted,
    span: Span,
}

/// How long a load is tried, and how patiently.
struct Trial<'l> {
    load: &'l Load,
    until: Option<Instant>,
    pause: Duration,
}

/// Why events are not delivered.
enum Failed {
    /// They were refused for good, and are not there.
    Refused(Error),
    /// Their time is over.
    Late(Error),
    /// Another emitter has the name.
    Taken(Error),
    /// Not yet: they may be there.
    Unsure(Error),
}

impl Failed {
    fn into_error(self) -> Error {
        let (Self::Refused(error) | Self::Late(error) | Self::Taken(error) | Self::Unsure(error)) =
            self;
        error
    }
}

impl<T: Transport> Sender<T> {
    /// Hands on until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        loop {
            // Asked first: what is taken before the queue is closed is in it by then.
            let is_closed = self.queue.closed().is_some();
            let is_free = self.under_way.is_empty();
            if let Some(ended) = self.has_ended().await {
                self.ended(ended).await;
                continue;
            }
            let load = match self.under_way.len() {
                0 => self.queue.take(),
                UNDER_WAY_MAX => None,
                _ => self.queue.take_full(),
            };
            match load {
                Some(load) => self.hand_on(load).await,
                None if !is_free => self.one_end().await,
                None if is_closed => break,
                None => self.queue.filled.notified().await,
            }
        }
        #[cfg(feature = "spool")]
        if let Some(gate) = &self.gate {
            gate.complete();
        }
        // What the state says matters to nobody once all is delivered.
        let state = vec![Owner::nobody()];
        let append = Append { writer: Some(self.writer.clone()), state, ..Append::default() };
        let removed = self.transport.append(append).await;
        if let Err(error) = &removed {
            tracing::debug!(error = error.report(), "an emitter's state could not be removed");
        }
        if let Some(drained) = self.drained {
            // Done under its name: no other has it.
            drained.send_replace(if removed.is_ok() { Drained::Whole } else { Drained::Short });
        }
    }

    /// Submits a load, or where it is not known what became of the last one, delivers it.
    async fn hand_on(&mut self, load: Load) {
        if let Err(error) = self.room_at_target(&load).await {
            return self.settle(load, End::Whole(Err(error)));
        }
        let (writer, events, bytes) = (&*self.writer.id, load.count, load.bytes);
        let span = tracing::debug_span!("deliver", writer, events, bytes);
        if self.is_unsure || self.is_overdue(&load) {
            // Events end in the order in which they were taken.
            self.all_end().await;
            let end = self.deliver(&load).instrument(span).await;
            return self.settle(load, end);
        }
        let number = self.next + 1 + self.under_way.len() as u64;
        let append = self.append_of(&load.parts, number);
        match self.submit(append).instrument(span.clone()).await {
            Ok(answer) => self.under_way.push_back(UnderWay { load, answer, span }),
            Err(error) => {
                let answer = Box::pin(std::future::ready(Err(error)));
                self.under_way.push_back(UnderWay { load, answer, span });
                // Nothing is submitted behind it.
                self.all_end().await;
            }
        }
    }

    /// Submits an append; while it waits for its place, those before it end.
    async fn submit(&mut self, append: Append) -> Result<Submitted> {
        let transport = Arc::clone(&self.transport);
        let mut submitting = pin!(transport.submit(append));
        while let Some(oldest) = self.under_way.front_mut() {
            tokio::select! {
                biased;
                submitted = &mut submitting => return submitted,
                ended = &mut oldest.answer => match ended {
                    Ok(appended) => self.ended(Ok(appended)).await,
                    Err(error) => {
                        // In its turn: what was submitted behind it fails with it.
                        oldest.answer = Box::pin(std::future::ready(Err(error)));
                        break;
                    }
                },
            }
        }
        submitting.await
    }

    /// Waits until all that is under way has ended.
    async fn all_end(&mut self) {
        while let Some(oldest) = self.under_way.front_mut() {
            let ended = oldest.answer.as_mut().await;
            self.ended(ended).await;
        }
    }

    /// How the oldest append has ended, if it has.
    async fn has_ended(&mut self) -> Option<Result<Appended>> {
        let oldest = self.under_way.front_mut()?;
        poll_fn(|context| match oldest.answer.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Waits until the oldest append has ended, or more is there to submit.
    async fn one_end(&mut self) {
        let may_submit = self.under_way.len() < UNDER_WAY_MAX;
        let Some(oldest) = self.under_way.front_mut() else { return };
        tokio::select! {
            biased;
            ended = &mut oldest.answer => self.ended(ended).await,
            () = self.queue.filled.notified(), if may_submit => {}
        }
    }

    /// The oldest append has ended so.
    async fn ended(&mut self, ended: Result<Appended>) {
        let Some(UnderWay { load, span, .. }) = self.under_way.pop_front() else { return };
        match ended {
            Ok(appended) => {
                let appended = self.is_there(appended);
                self.settle(load, End::Whole(Ok(appended)));
            }
            Err(error) => {
                let mut loads = VecDeque::from([load]);
                for later in std::mem::take(&mut self.under_way) {
                    // Whatever it says: it is there only if all before it is.
                    drop(later.answer.await);
                    loads.push_back(later.load);
                }
                self.failed(loads, error).instrument(span).await;
            }
        }
    }

    /// Waits until a spool has room.
    async fn room_at_target(&mut self, load: &Load) -> Result<()> {
        #[cfg(feature = "spool")]
        if let Some(gate) = &self.gate {
            let waiting = gate.wait();
            return match self.until(load) {
                None => {
                    waiting.await;
                    Ok(())
                }
                Some(until) => tokio::time::timeout_at(until.into(), waiting).await.map_err(|_| {
                    let full = Error::new(ErrorKind::Exhausted, "spool events");
                    late(full.because("the spool is full"), load)
                }),
            };
        }
        let _ = load;
        Ok(())
    }

    /// Until when a load may be tried.
    fn until(&self, load: &Load) -> Option<Instant> {
        self.delivery_timeout.map(|timeout| load.since + timeout)
    }

    /// Delivers loads of which the first one's append has failed by this, and those of the others with it.
    async fn failed(&mut self, mut loads: VecDeque<Load>, error: Error) {
        self.is_unsure = true;
        let mut number = self.next;
        // Of several it is not known which one was refused.
        let refused = loads.len() == 1 && error.remedy() == Remedy::Stop;
        let mut refused = refused.then(|| error.again());
        let mut error = Some(error);
        let mut there = None;
        while let Some(load) = loads.pop_front() {
            number += 1;
            let looked = match there {
                Some(there) => Ok(there),
                None => self.looked_after(&load, error.take()).await,
            };
            let end = match looked {
                Err(failed) => End::Whole(Err(failed.into_error())),
                Ok(next) => {
                    there = Some(next);
                    if number <= next {
                        self.goes_on();
                        End::Whole(Ok(Appended::default()))
                    } else if let Some(refused) = refused.take() {
                        self.each_part(&load, refused).await
                    } else {
                        self.deliver(&load).await
                    }
                }
            };
            self.settle(load, end);
        }
    }

    /// How far it has come, after an append of a load failed by this, or one of a load before it.
    async fn looked_after(&mut self, load: &Load, error: Option<Error>) -> Result<u64, Failed> {
        let mut trial = self.trial(load);
        if let Some(error) = error {
            self.wait(&mut trial, error).await?;
        }
        self.look(&mut trial).await
    }

    fn is_overdue(&self, load: &Load) -> bool {
        self.until(load).is_some_and(|until| Instant::now() > until)
    }

    /// Delivers a load: at once, or where that is refused for good, each part for itself.
    async fn deliver(&mut self, load: &Load) -> End {
        match self.append_all(&load.parts, load).await {
            Err(Failed::Refused(error)) => self.each_part(load, error).await,
            end => End::Whole(end.map_err(Failed::into_error)),
        }
    }

    /// Delivers each part of a load that was refused.
    async fn each_part(&mut self, load: &Load, refused: Error) -> End {
        if load.parts.len() < 2 {
            return End::Whole(Err(refused));
        }
        let mut ends = Vec::with_capacity(load.parts.len());
        for part in &load.parts {
            let end = self.append_all(std::slice::from_ref(part), load).await;
            ends.push(end.map_err(Failed::into_error));
        }
        End::Parts(ends)
    }

    /// Appends parts of a load until they are durable, or cannot be. Whatever an append fails by may have
    /// happened, so that each one after that begins by looking.
    async fn append_all(&mut self, parts: &[Part], load: &Load) -> Result<Appended, Failed> {
        let mut trial = self.trial(load);
        loop {
            if self.is_unsure {
                self.look(&mut trial).await?;
            }
            if self.is_overdue(load) {
                let waited = Error::new(ErrorKind::Timeout, "deliver events");
                return Err(Failed::Late(late(waited.because("others were before them"), load)));
            }
            let number = self.next + 1;
            let append = self.append_of(parts, number);
            let error = match self.transport.append(append).await {
                Ok(appended) => return Ok(self.is_there(appended)),
                Err(error) => error,
            };
            self.is_unsure = true;
            let refused = (error.remedy() == Remedy::Stop).then(|| error.again());
            self.wait(&mut trial, error).await?;
            if self.look(&mut trial).await? >= number {
                self.goes_on();
                return Ok(Appended::default());
            }
            if let Some(refused) = refused {
                return Err(Failed::Refused(refused));
            }
        }
    }

    fn trial<'l>(&self, load: &'l Load) -> Trial<'l> {
        Trial { load, until: self.until(load), pause: PAUSE_MIN }
    }

    /// Pauses after a failure, each time longer.
    async fn wait(&mut self, trial: &mut Trial<'_>, error: Error) -> Result<(), Failed> {
        self.counted.retried(&error, !std::mem::replace(&mut self.is_waiting, true));
        if let Some(until) = trial.until
            && Instant::now() + trial.pause > until
        {
            return Err(Failed::Late(late(error, trial.load)));
        }
        tokio::time::sleep(trial.pause).await;
        trial.pause = (trial.pause * 2).min(PAUSE_MAX);
        Ok(())
    }

    /// Looks how far it has come: the number of the last append that is there.
    async fn look(&mut self, trial: &mut Trial<'_>) -> Result<u64, Failed> {
        loop {
            match self.reached_until(trial.until).await {
                Ok(next) => {
                    (self.next, self.is_unsure) = (next, false);
                    return Ok(next);
                }
                Err(Failed::Unsure(error)) => self.wait(trial, error).await?,
                Err(failed) => return Err(failed),
            }
        }
    }

    /// The append that was next is there, and answers this.
    fn is_there(&mut self, mut appended: Appended) -> Appended {
        self.next += 1;
        self.goes_on();
        let kept = SPARE_MAX.max(appended.recycled.len());
        self.spare.append(&mut appended.recycled);
        self.spare.truncate(kept);
        appended
    }

    /// How far it has come; what cannot be asked now is asked again.
    async fn reached_until(&mut self, until: Option<Instant>) -> Result<u64, Failed> {
        let asked = match until {
            None => self.reached().await,
            Some(until) => {
                let asking = tokio::time::timeout_at(until.into(), self.reached());
                asking.await.unwrap_or_else(|_| {
                    Err(Error::new(ErrorKind::Timeout, "look for what was delivered"))
                })
            }
        };
        asked.map_err(
            |error| {
                if self.is_taken { Failed::Taken(error) } else { Failed::Unsure(error) }
            },
        )
    }

    fn goes_on(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            tracing::info!(writer = &*self.writer.id, "events go on");
        }
    }

    fn append_of(&mut self, parts: &[Part], number: u64) -> Append {
        let batches = parts.iter().map(|part| self.copy(part)).collect();
        let state = vec![Owner { instance: self.instance, next: number }.item()];
        Append { writer: Some(self.writer.clone()), batches, state, offsets: Vec::new() }
    }

    /// Opens the writer anew, which fences what is under way, and looks how far it has come.
    async fn reached(&mut self) -> Result<u64> {
        let again = open_again(self.transport.as_ref(), &self.writer.id, self.instance).await?;
        let Some((epoch, owner)) = again else {
            let taken = taken(&self.writer.id);
            self.queue.close(taken.again());
            self.is_taken = true;
            return Err(taken);
        };
        self.writer = epoch;
        Ok(owner.next)
    }

    fn copy(&mut self, part: &Part) -> PartitionBatch {
        let mut records = self.spare.pop().unwrap_or_default();
        records.copy_from(&part.records);
        PartitionBatch { topic: Arc::clone(&part.topic), partition: part.partition, records }
    }

    fn is_to_spool(&self) -> bool {
        #[cfg(feature = "spool")]
        let is = self.gate.is_some();
        #[cfg(not(feature = "spool"))]
        let is = false;
        is
    }

    /// Tells of a load's end and makes room.
    fn settle(&mut self, load: Load, end: End) {
        let Load { parts, batch, bytes, count, since } = load;
        match &end {
            End::Whole(end) => self.count(&parts, end, count, since),
            End::Parts(ends) => {
                for (part, end) in parts.iter().zip(ends) {
                    let count = u64::from(part.records.count());
                    self.count(std::slice::from_ref(part), end, count, since);
                }
            }
        }
        batch.end(end);
        self.queue.give_back(parts);
        self.room.add_permits(bytes);
    }

    /// Counts the end of so many events, those of these parts.
    fn count(&self, parts: &[Part], end: &Result<Appended>, count: u64, since: Instant) {
        if let Err(error) = end {
            self.counted.failed(count);
            tracing::error!(
                events = count,
                error = error.report(),
                "events could not be delivered"
            );
        } else if self.is_to_spool() {
            self.counted.spooled(count);
        } else {
            // First, for who sees that nothing is on its way takes the tally for whole.
            for part in parts {
                self.tally.add(&part.topic, u64::from(part.records.count()));
            }
            self.counted.delivered(count, since.elapsed());
        }
        self.settled.note(count, end.as_ref().err());
    }
}

fn late(error: Error, load: &Load) -> Error {
    Error::new(ErrorKind::Timeout, "deliver events")
        .because(
            "they did not become durable in their time; whether they did in the end is not known",
        )
        .with("events", load.count)
        .caused_by(error)
        .help("raise delivery_timeout, or have a spool keep them")
}

#[cfg(test)]
mod tests;
