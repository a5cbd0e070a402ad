//! The emitter: takes events, and says when they are durable.

use crate::catalog::{Announcer, Drained, Tally, Told};
use crate::counts::{Counted, Counts};
use crate::delivery::{Delivery, Receipt, State};
use crate::event::Event;
use crate::options::EventOptions;
use crate::queue::{self, NewRecord, Queue, RECORD_HEAD_BYTES};
use crate::remember::Remembered;
use crate::sender::Sender;
use crate::settings::{Bounds, WhenFull};
use crate::stream::{Encoded, Stream, now_ms, with_scratch};
use crate::trace::{self, Propagator};
use serde::Serialize;
use std::any::TypeId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_avro::emitted::is_own_header;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::{Transport, WriterEpoch};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tracing::Instrument;

/// Takes an application's events. Cheap to clone; clones share everything.
///
/// Events of one partition become durable in the order in which they were taken. When the last clone goes,
/// what was taken is still delivered as long as the runtime lives; [`close`](Emitter::close) waits for it.
#[derive(Debug, Clone)]
pub struct Emitter {
    shared: Arc<Shared>,
}

/// What the clones of an emitter share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) bounds: Bounds,
    pub(crate) record_bytes_max: usize,
    pub(crate) propagator: Propagator,
    pub(crate) types: HashMap<TypeId, Arc<Stream>>,
    pub(crate) streams: HashMap<Arc<str>, Arc<Stream>>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) settled: Arc<Settled>,
    pub(crate) remembered: Remembered,
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Where events go to a spool: how far they are carried on from there.
    #[cfg(feature = "spool")]
    pub(crate) gate: Option<crate::gate::Gate>,
}

/// How many events have ended, for those who wait for all of them.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    ended: Mutex<Ended>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Ended {
    events: u64,
    failed: Option<Error>,
}

impl Settled {
    /// Notes the end of so many events.
    pub(crate) fn note(&self, events: u64, failed: Option<&Error>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.events += events;
        if let Some(error) = failed {
            ended.failed.get_or_insert_with(|| error.again());
        }
        drop(ended);
        self.told.notify_waiters();
    }

    /// Waits until so many events have ended; the first failure since the last call, if there was one.
    async fn wait(&self, events: u64) -> Result<()> {
        loop {
            let told = self.told.notified();
            {
                let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                if ended.events >= events {
                    return ended.failed.take().map_or(Ok(()), Err);
                }
            }
            told.await;
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close(closed());
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "emit an event").because("the emitter was closed")
}

impl Emitter {
    pub(crate) fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The emitter's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Emits an event, and waits until it is durable: in its topic; with a spool, in the spool.
    ///
    /// # Errors
    ///
    /// `Malformed` or `Unsupported` if it does not conform to its schema, naming the field; `TooLarge`;
    /// `Exhausted` if the queue is full and may not be waited for; `Config` for a type that the builder
    /// was not told of; what [`Delivery::receipt`] answers.
    pub async fn emit<E: Event>(&self, event: &E) -> Result<Receipt> {
        self.emit_with(event, EventOptions::new()).await
    }

    /// [`Emitter::emit`] with what is said of the event beside its fields.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit`].
    pub async fn emit_with<E: Event>(
        &self,
        event: &E,
        options: EventOptions<'_>,
    ) -> Result<Receipt> {
        let stream = self.stream::<E>()?;
        self.shared.emit(stream, |into| stream.encode(event, into), &options).await
    }

    /// Takes an event, waiting while the queue is full if it may ([`WhenFull`]); its delivery tells when
    /// it is durable.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit`], but for the delivery's.
    pub async fn enqueue<E: Event>(&self, event: &E) -> Result<Delivery> {
        self.enqueue_with(event, EventOptions::new()).await
    }

    /// [`Emitter::enqueue`] with what is said of the event beside its fields.
    ///
    /// # Errors
    ///
    /// As [`Emitter::enqueue`].
    pub async fn enqueue_with<E: Event>(
        &self,
        event: &E,
        options: EventOptions<'_>,
    ) -> Result<Delivery> {
        let stream = self.stream::<E>()?;
        self.shared.enqueue(stream, |into| stream.encode(event, into), &options).await
    }

    /// Takes an event at once, without waiting for anything; its delivery tells when it is durable.
    ///
    /// # Errors
    ///
    /// As [`Emitter::enqueue`]; `Exhausted` when the queue is full, unless it drops events then.
    pub fn emit_nowait<E: Event>(&self, event: &E) -> Result<Delivery> {
        self.emit_nowait_with(event, EventOptions::new())
    }

    /// [`Emitter::emit_nowait`] with what is said of the event beside its fields.
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit_nowait`].
    pub fn emit_nowait_with<E: Event>(
        &self,
        event: &E,
        options: EventOptions<'_>,
    ) -> Result<Delivery> {
        let stream = self.stream::<E>()?;
        self.shared.take(stream, |into| stream.encode(event, into), &options)
    }

    /// Emits to a topic by its name, values of any type: those that conform to its schema.
    ///
    /// # Errors
    ///
    /// `Config` for a topic that the builder was not told of.
    pub fn topic(&self, name: &str) -> Result<TopicEmitter> {
        let stream = self.shared.streams.get(name).cloned().ok_or_else(|| {
            unknown()
                .with("topic", name)
                .help("name it to the builder: `.topic(…)` or `.event::<…>(…)`")
        })?;
        Ok(TopicEmitter { shared: Arc::clone(&self.shared), stream })
    }

    /// Waits until every event taken so far has ended: is durable in its topic, or has failed.
    ///
    /// # Errors
    ///
    /// The first failure of an event since the last call.
    pub async fn flush(&self) -> Result<()> {
        let settled = self.shared.settled.wait(self.shared.counted.counts().taken).await;
        #[cfg(feature = "spool")]
        if let Some(gate) = &self.shared.gate {
            gate.flush().await?;
        }
        settled
    }

    /// Takes no more events, delivers what was taken, and ends.
    ///
    /// # Errors
    ///
    /// As [`Emitter::flush`].
    pub async fn close(self) -> Result<()> {
        self.shared.queue.close(closed());
        for task in self.shared.take_tasks() {
            task.await.map_err(|error| {
                Error::new(ErrorKind::Internal, "close an emitter").caused_by(error)
            })?;
        }
        self.flush().await
    }

    /// Ends at once, as a process does that is killed: what is not durable yet is lost. For tests of what
    /// an application does then.
    pub async fn abort(self) {
        self.shared.queue.close(closed());
        for task in self.shared.take_tasks() {
            task.abort();
            // Aborted is what it is to be.
            let _ = task.await;
        }
    }

    /// What it has done since it was connected.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counted.counts()
    }

    fn stream<E: Event>(&self) -> Result<&Arc<Stream>> {
        self.shared.types.get(&TypeId::of::<E>()).ok_or_else(|| {
            unknown()
                .with("type", std::any::type_name::<E>())
                .help("name its type to the builder: `.event::<…>(…)`")
        })
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Config, "emit an event").because("the emitter was not told of it")
}

/// Emits to one topic, values of any type: [`Emitter::topic`].
#[derive(Debug, Clone)]
pub struct TopicEmitter {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
}

impl TopicEmitter {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.stream.topic
    }

    /// The id of the schema that its values have.
    #[must_use]
    pub fn schema_id(&self) -> u32 {
        self.stream.value_id
    }

    /// That schema, as the registry or the builder has it.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.stream.schema
    }

    /// The same topic with another schema, as the registry has it under this id: for events that are taken
    /// by what is answered. Those of both go over one queue, in the order in which they are taken.
    ///
    /// # Errors
    ///
    /// `Config` or `Malformed` for a schema that is none of events or lacks a field of the key;
    /// `Incompatible` if the key's fields have other types in it.
    pub fn with_schema(&self, id: u32, schema: &str) -> Result<Self> {
        let stream = Arc::new(self.stream.with_schema(id, schema)?);
        Ok(Self { shared: Arc::clone(&self.shared), stream })
    }

    /// The fields of its key; none if its records have no key.
    #[must_use]
    pub fn key_fields(&self) -> &[String] {
        &self.stream.key_fields
    }

    /// How many partitions the topic has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.stream.partitions
    }

    /// As [`Emitter::emit_with`].
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit`].
    pub async fn emit<V: Serialize + ?Sized>(
        &self,
        value: &V,
        options: EventOptions<'_>,
    ) -> Result<Receipt> {
        let stream = &self.stream;
        self.shared.emit(stream, |into| stream.encode(value, into), &options).await
    }

    /// As [`Emitter::enqueue_with`].
    ///
    /// # Errors
    ///
    /// As [`Emitter::enqueue`].
    pub async fn enqueue<V: Serialize + ?Sized>(
        &self,
        value: &V,
        options: EventOptions<'_>,
    ) -> Result<Delivery> {
        let stream = &self.stream;
        self.shared.enqueue(stream, |into| stream.encode(value, into), &options).await
    }

    /// As [`Emitter::emit_nowait_with`].
    ///
    /// # Errors
    ///
    /// As [`Emitter::emit_nowait`].
    pub fn emit_nowait<V: Serialize + ?Sized>(
        &self,
        value: &V,
        options: EventOptions<'_>,
    ) -> Result<Delivery> {
        self.shared.take(&self.stream, |into| self.stream.encode(value, into), &options)
    }

    /// As [`TopicEmitter::enqueue`], of an event that is Avro data of the topic's schema, without a frame:
    /// it is read by the schema, and then sent byte for byte.
    ///
    /// # Errors
    ///
    /// As [`Emitter::enqueue`].
    pub async fn enqueue_encoded(
        &self,
        data: &[u8],
        options: EventOptions<'_>,
    ) -> Result<Delivery> {
        let stream = &self.stream;
        self.shared.enqueue(stream, |into| stream.take_encoded(data, into), &options).await
    }
}

/// What was made of an event: taken or dropped, or its bytes, for which there is no room.
enum Tried {
    Done(Delivery),
    Full(Encoded, u32),
}

impl Shared {
    /// Runs a task until the emitter is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(tokio::spawn(task));
    }

    /// Has the topics announced until what is answered is told that all is delivered.
    pub(crate) fn announce<T: Transport>(
        &self,
        transport: Arc<T>,
        tally: Arc<Tally>,
        topics: Vec<Told>,
    ) -> watch::Sender<Drained> {
        let (end, drained) = watch::channel(Drained::Not);
        let announcer = Announcer {
            transport,
            counted: Arc::clone(&self.counted),
            tally,
            topics,
            drained,
            #[cfg(feature = "spool")]
            gate: self.gate.clone(),
        };
        self.spawn(announcer.run());
        end
    }

    /// What hands on the events, under this writer.
    pub(crate) fn sender<T>(
        &self,
        transport: Arc<T>,
        tally: Arc<Tally>,
        writer: WriterEpoch,
        instance: u64,
    ) -> Sender<T> {
        Sender {
            transport,
            queue: Arc::clone(&self.queue),
            room: Arc::clone(&self.room),
            counted: Arc::clone(&self.counted),
            tally,
            settled: Arc::clone(&self.settled),
            #[cfg(feature = "spool")]
            gate: None,
            delivery_timeout: self.bounds.delivery_timeout,
            drained: None,
            writer,
            instance,
            next: 0,
            under_way: VecDeque::new(),
            is_unsure: false,
            is_waiting: false,
            is_taken: false,
            spare: Vec::new(),
        }
    }

    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes an event and waits for its receipt.
    async fn emit(
        &self,
        stream: &Stream,
        encode: impl FnOnce(&mut Encoded) -> Result<()>,
        options: &EventOptions<'_>,
    ) -> Result<Receipt> {
        let emitting =
            async { self.enqueue_traced(stream, encode, options).await?.receipt().await };
        emitting.instrument(trace::emitting(&stream.topic)).await
    }

    /// Takes an event, waiting for room if it may.
    async fn enqueue(
        &self,
        stream: &Stream,
        encode: impl FnOnce(&mut Encoded) -> Result<()>,
        options: &EventOptions<'_>,
    ) -> Result<Delivery> {
        let span = trace::emitting(&stream.topic);
        self.enqueue_traced(stream, encode, options).instrument(span).await
    }

    async fn enqueue_traced(
        &self,
        stream: &Stream,
        encode: impl FnOnce(&mut Encoded) -> Result<()>,
        options: &EventOptions<'_>,
    ) -> Result<Delivery> {
        let carrier = self.propagator.ask();
        let options = &*carrier.beside(options);
        let waits = self.bounds.when_full == WhenFull::Wait;
        let tried = self.counting(|| {
            self.prepared(stream, encode, options, |encoded, bytes| {
                if let Some(before) = self.known(stream, encoded, options)? {
                    return Ok(Tried::Done(before));
                }
                match self.room.try_acquire_many(bytes) {
                    Ok(room) => self.push(stream, encoded, options, room).map(Tried::Done),
                    Err(_) if waits => Ok(Tried::Full(std::mem::take(encoded), bytes)),
                    Err(_) => self.full().map(Tried::Done),
                }
            })
        })?;
        match tried {
            Tried::Done(delivery) => Ok(delivery),
            Tried::Full(encoded, bytes) => {
                let room = self.room.acquire_many(bytes).await.map_err(|_| closed())?;
                self.counting(|| self.push(stream, &encoded, options, room))
            }
        }
    }

    /// Takes an event at once.
    fn take(
        &self,
        stream: &Stream,
        encode: impl FnOnce(&mut Encoded) -> Result<()>,
        options: &EventOptions<'_>,
    ) -> Result<Delivery> {
        let _span = trace::emitting(&stream.topic).entered();
        let carrier = self.propagator.ask();
        let options = &*carrier.beside(options);
        self.counting(|| {
            self.prepared(stream, encode, options, |encoded, bytes| {
                if let Some(before) = self.known(stream, encoded, options)? {
                    return Ok(before);
                }
                match self.room.try_acquire_many(bytes) {
                    Ok(room) => self.push(stream, encoded, options, room),
                    Err(_) => self.full(),
                }
            })
        })
    }

    /// The delivery of an event of this name that was taken before, which needs no room.
    fn known(
        &self,
        stream: &Stream,
        encoded: &Encoded,
        options: &EventOptions<'_>,
    ) -> Result<Option<Delivery>> {
        let Some(key) = options.idempotency_key else { return Ok(None) };
        self.remembered.known(&stream.named(key, encoded))
    }

    /// Encodes an event and hands on its bytes, and for how many it counts.
    fn prepared<R>(
        &self,
        stream: &Stream,
        encode: impl FnOnce(&mut Encoded) -> Result<()>,
        options: &EventOptions<'_>,
        then: impl FnOnce(&mut Encoded, u32) -> Result<R>,
    ) -> Result<R> {
        check_headers(options)?;
        with_scratch(|encoded| {
            encode(encoded)?;
            let bytes = self.check_size(stream, encoded, options)?;
            then(encoded, bytes)
        })
    }

    fn check_size(
        &self,
        stream: &Stream,
        encoded: &Encoded,
        options: &EventOptions<'_>,
    ) -> Result<u32> {
        let headers: usize =
            options.headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
        let bytes = encoded.key.len() + encoded.value.len() + headers;
        let all = bytes + RECORD_HEAD_BYTES;
        let max = self.record_bytes_max.min(self.bounds.queue_bytes_max - RECORD_HEAD_BYTES);
        if bytes > max {
            return Err(Error::new(ErrorKind::TooLarge, "emit an event")
                .because("it is larger than a record may be")
                .with("topic", &stream.topic)
                .with("bytes", bytes)
                .with("record_bytes_max", max)
                .help("raise the brokers' and the emitter's bounds, or put the large part elsewhere and its address into the event"));
        }
        // The queue has at most a gibibyte.
        Ok(u32::try_from(all).unwrap_or(u32::MAX))
    }

    fn push(
        &self,
        stream: &Stream,
        encoded: &Encoded,
        options: &EventOptions<'_>,
        room: SemaphorePermit<'_>,
    ) -> Result<Delivery> {
        let lane = stream.lane(encoded, options)?;
        let new = NewRecord {
            lane,
            timestamp_ms: options.event_time_ms.unwrap_or_else(now_ms),
            key: stream.key_id.map(|_| &*encoded.key),
            headers: &options.headers,
            value: &encoded.value,
            bytes: room.num_permits(),
        };
        let push = || -> Result<Delivery> {
            let taken = self.queue.push(&new, &self.counted)?;
            room.forget();
            Ok(Delivery { state: State::Taken(taken) })
        };
        match options.idempotency_key {
            None => push(),
            Some(key) => self.remembered.once(&stream.named(key, encoded), push),
        }
    }

    fn full(&self) -> Result<Delivery> {
        if let Some(error) = self.queue.closed() {
            return Err(error);
        }
        if self.bounds.when_full != WhenFull::Drop {
            return Err(queue::full(self.bounds.queue_bytes_max));
        }
        self.counted.dropped();
        Ok(Delivery { state: State::Dropped })
    }

    fn counting<R>(&self, run: impl FnOnce() -> Result<R>) -> Result<R> {
        run().inspect_err(|_| self.counted.refused())
    }
}

pub(crate) fn check_headers(options: &EventOptions<'_>) -> Result<()> {
    let own = options.headers.iter().find(|(name, _)| is_own_header(name));
    own.map_or(Ok(()), |(name, _)| {
        Err(Error::new(ErrorKind::Config, "emit an event")
            .because("headers whose names begin with __ or tidemesh. are the platform's")
            .with("header", name.escape_debug()))
    })
}
