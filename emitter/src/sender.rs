//! Hands on what the queue holds, one append after the other, each until it is durable: in the order in
//! which events were taken, each once.
//!
//! An append whose answer was lost may have happened. The number of the append is stored with it, in the
//! writer's state: before it is tried again the writer is opened anew, which fences whatever of it is
//! still under way, and the state tells whether it is there.

use crate::catalog::Tally;
use crate::counts::Counted;
use crate::emitter::Settled;
#[cfg(feature = "spool")]
use crate::gate::Gate;
use crate::own::{Owner, open_again, taken};
use crate::queue::{Load, Part, Queue};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Remedy, Result};
use tidemesh_transport::{Append, Appended, PartitionBatch, Records, Transport, WriterEpoch};
use tokio::sync::Semaphore;

/// The first pause after a failure; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

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
    pub(crate) writer: WriterEpoch,
    /// Sets this emitter apart from others of its name.
    pub(crate) instance: u64,
    /// The number of the append that is next.
    pub(crate) next: u64,
    /// Of whose load an append may be under way, or have happened.
    pub(crate) under_way: Option<Whose>,
    /// Whether another has the name.
    pub(crate) is_taken: bool,
    /// Emptied buffers.
    pub(crate) spare: Vec<Records>,
}

/// Whose an append is whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of the load that is being delivered.
    This,
    /// Of one that was given up.
    Earlier,
}

impl<T: Transport> Sender<T> {
    /// Hands on until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        loop {
            let Some(load) = self.queue.take() else {
                if self.queue.closed().is_some() {
                    break;
                }
                self.queue.filled.notified().await;
                continue;
            };
            #[cfg(feature = "spool")]
            if let Some(gate) = &self.gate {
                gate.wait().await;
            }
            let delivered = self.deliver(&load).await;
            self.settle(load, delivered);
        }
        #[cfg(feature = "spool")]
        if let Some(gate) = &self.gate {
            gate.complete();
        }
        // What the state says matters to nobody once all is delivered.
        let state = vec![Owner::nobody()];
        let append = Append { writer: Some(self.writer.clone()), state, ..Append::default() };
        if let Err(error) = self.transport.append(append).await {
            tracing::debug!(error = error.report(), "an emitter's state could not be removed");
        }
    }

    /// Appends until it is durable, or cannot be.
    async fn deliver(&mut self, load: &Load) -> Result<Appended> {
        let until = self.delivery_timeout.map(|timeout| load.since + timeout);
        let mut pause = PAUSE_MIN;
        // What may be under way is of a load that was given up.
        self.under_way = self.under_way.map(|_| Whose::Earlier);
        loop {
            let error = match self.attempt(load).await {
                Ok(appended) => {
                    self.next += 1;
                    return Ok(appended);
                }
                Err(error) if self.is_taken || error.remedy() == Remedy::Stop => return Err(error),
                Err(error) => error,
            };
            self.counted.retried(&error);
            if let Some(until) = until
                && Instant::now() + pause > until
            {
                return Err(late(error, load));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&mut self, load: &Load) -> Result<Appended> {
        if let Some(whose) = self.under_way {
            let next = self.reached().await?;
            let is_there = next > self.next;
            self.under_way = None;
            match whose {
                Whose::This if is_there => return Ok(Appended::default()),
                Whose::Earlier if is_there => self.next = next,
                _ => {}
            }
        }
        let appended = self.append(load).await;
        if let Err(error) = &appended
            && error.remedy() == Remedy::Retry
        {
            self.under_way = Some(Whose::This);
        }
        appended
    }

    async fn append(&mut self, load: &Load) -> Result<Appended> {
        let batches = load.parts.iter().map(|part| self.copy(part)).collect();
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
    fn settle(&mut self, load: Load, delivered: Result<Appended>) {
        let Load { parts, batch, bytes, count, since } = load;
        match &delivered {
            Ok(_) => {
                if self.is_to_spool() {
                    self.counted.spooled(count);
                } else {
                    self.counted.delivered(count, since.elapsed());
                    for part in &parts {
                        self.tally.add(&part.topic, u64::from(part.records.count()));
                    }
                }
                self.settled.note(count, None);
            }
            Err(error) => {
                self.counted.failed(count);
                self.settled.note(count, Some(error));
                tracing::error!(
                    events = count,
                    error = error.report(),
                    "events could not be delivered"
                );
            }
        }
        batch.end(delivered);
        self.queue.give_back(parts);
        self.room.add_permits(bytes);
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
