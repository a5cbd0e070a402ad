//! Hands on what the queue holds, one append after the other, each until it is durable: in the order in
//! which events were taken, each once.
//!
//! An append whose answer was lost may have happened. The number of the append is stored with it, in the
//! writer's state: before it is tried again the writer is opened anew, which fences whatever of it is
//! still under way, and the state tells whether it is there.

use crate::catalog::{Drained, Tally};
use crate::counts::Counted;
use crate::delivery::End;
use crate::emitter::Settled;
#[cfg(feature = "spool")]
use crate::gate::Gate;
use crate::own::{Owner, open_again, taken};
use crate::queue::{Load, Part, Queue};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tidemesh_transport::{Append, Appended, PartitionBatch, Records, Transport, WriterEpoch};
use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

/// The first pause after a failure; each one is twice as long as the one before.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);

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
    /// Of whose load an append may be under way, or have happened.
    pub(crate) under_way: Option<Whose>,
    /// Whether the last append was tried again, or is.
    pub(crate) is_waiting: bool,
    /// Whether another has the name.
    pub(crate) is_taken: bool,
    /// Emptied buffers.
    pub(crate) spare: Vec<Records>,
}

/// Whose an append is of which it is not known whether it has happened.
#[derive(Debug)]
pub(crate) enum Whose {
    /// Of what is being delivered; with what refuses it for good, if it has not happened.
    This(Option<Error>),
    /// Of what was given up.
    Earlier,
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
            let Some(load) = self.queue.take() else {
                if is_closed {
                    break;
                }
                self.queue.filled.notified().await;
                continue;
            };
            let end = match self.room_at_target(&load).await {
                Ok(()) => {
                    let (writer, events, bytes) = (&*self.writer.id, load.count, load.bytes);
                    let span = tracing::debug_span!("deliver", writer, events, bytes);
                    self.deliver(&load).instrument(span).await
                }
                Err(error) => End::Whole(Err(error)),
            };
            self.settle(load, end);
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

    /// Waits until a spool has room.
    async fn room_at_target(&self, load: &Load) -> Result<()> {
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

    /// Delivers a load: at once, or where that is refused for good, each part for itself.
    async fn deliver(&mut self, load: &Load) -> End {
        match self.append_all(&load.parts, load).await {
            Err(Failed::Refused(_)) if load.parts.len() > 1 => {}
            end => return End::Whole(end.map_err(Failed::into_error)),
        }
        let mut ends = Vec::with_capacity(load.parts.len());
        for part in &load.parts {
            let end = self.append_all(std::slice::from_ref(part), load).await;
            ends.push(end.map_err(Failed::into_error));
        }
        End::Parts(ends)
    }

    /// Appends parts of a load until they are durable, or cannot be.
    async fn append_all(&mut self, parts: &[Part], load: &Load) -> Result<Appended, Failed> {
        let until = self.until(load);
        let mut pause = PAUSE_MIN;
        // What may be under way is of a load that was given up.
        self.under_way = self.under_way.take().map(|_| Whose::Earlier);
        loop {
            if until.is_some_and(|until| Instant::now() > until) {
                let waited = Error::new(ErrorKind::Timeout, "deliver events");
                return Err(Failed::Late(late(waited.because("others were before them"), load)));
            }
            let error = match self.attempt(parts, until).await {
                Ok(appended) => {
                    self.next += 1;
                    if std::mem::take(&mut self.is_waiting) {
                        tracing::info!(writer = &*self.writer.id, "events go on");
                    }
                    return Ok(appended);
                }
                Err(Failed::Unsure(error)) => error,
                Err(failed) => return Err(failed),
            };
            self.counted.retried(&error, !std::mem::replace(&mut self.is_waiting, true));
            if let Some(until) = until
                && Instant::now() + pause > until
            {
                return Err(Failed::Late(late(error, load)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One append. Whatever it fails by may have happened, so that the next attempt begins by looking.
    async fn attempt(
        &mut self,
        parts: &[Part],
        until: Option<Instant>,
    ) -> Result<Appended, Failed> {
        if self.under_way.is_some() {
            let next = self.reached_until(until).await?;
            let is_there = next > self.next;
            match self.under_way.take() {
                Some(Whose::This(_)) if is_there => return Ok(Appended::default()),
                Some(Whose::Earlier) if is_there => self.next = next,
                Some(Whose::This(Some(refused))) => return Err(Failed::Refused(refused)),
                _ => {}
            }
        }
        self.append(parts).await.map_err(|error| {
            let refused = (error.remedy() == Remedy::Stop).then(|| error.again());
            self.under_way = Some(Whose::This(refused));
            Failed::Unsure(error)
        })
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

    async fn append(&mut self, parts: &[Part]) -> Result<Appended> {
        let batches = parts.iter().map(|part| self.copy(part)).collect();
        let state = vec![Owner { instance: self.instance, next: self.next + 1 }.item()];
        let writer = Some(self.writer.clone());
        let append = Append { writer, batches, state, offsets: Vec::new() };
        let mut appended = self.transport.append(append).await?;
        self.spare = std::mem::take(&mut appended.recycled);
        Ok(appended)
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
