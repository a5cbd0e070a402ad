//! What one connection's requests ask of the log, and their answers.

use super::connection::REQUESTS_MAX;
use super::protocol::{
    AppendHead, Failure, ProgressHead, Request, Response, StartHead, WAIT_MAX, append_batches,
    batch_heads, frame,
};
use crate::{
    Append, Committer, FetchLimit, GroupOffset, Reader, Start, Subscription, Transport, WriterEpoch,
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};

/// The most readers of one connection. Fewer than requests, so that all of them can wait in polls
/// and other requests are still read.
pub(super) const READERS_MAX: usize = REQUESTS_MAX / 2;

/// The most bytes of records that one poll is answered with; a batch that is larger comes alone.
pub(super) const POLL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a connection's requests share.
pub(super) struct Session<T: Transport> {
    transport: Arc<T>,
    readers: std::sync::Mutex<HashMap<u64, Arc<Shared<T::Reader>>>>,
    reader_next: AtomicU64,
    readers_left: Arc<Semaphore>,
}

/// A reader: one poll at a time, and commits at any time.
struct Shared<R: Reader> {
    polling: Mutex<Polling<R>>,
    committer: R::Committer,
    /// True once the client is done with the reader: a poll that waits must not keep it.
    closed: watch::Sender<bool>,
    _counted: OwnedSemaphorePermit,
}

struct Polling<R> {
    reader: R,
    /// Why the records that come next cannot be sent. The reader has gone past them, the client has
    /// not: it gets nothing else.
    refused: Option<Failure>,
}

impl<T: Transport> Session<T> {
    pub(super) fn new(transport: Arc<T>) -> Self {
        Self {
            transport,
            readers: std::sync::Mutex::default(),
            reader_next: AtomicU64::new(1),
            readers_left: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// The answer to one request, as a frame.
    pub(super) async fn answer(&self, id: u64, request: Request, payload: Bytes) -> Vec<u8> {
        let answered = match request {
            Request::Poll { reader, bytes_max, wait_max_ms } => {
                let limit = FetchLimit {
                    bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX).min(POLL_BYTES_MAX),
                    wait_max: Duration::from_millis(wait_max_ms).min(WAIT_MAX),
                };
                match self.reader(reader) {
                    Ok(reader) => reader.poll(id, limit).await,
                    Err(error) => Err(error),
                }
            }
            request => match self.respond(request, payload).await {
                Ok(response) => frame(id, &response, &[]),
                Err(error) => Err(error),
            },
        };
        answered.unwrap_or_else(|error| failed(id, &Failure::of(&error)))
    }

    async fn respond(&self, request: Request, payload: Bytes) -> Result<Response> {
        let transport = &self.transport;
        Ok(match request {
            Request::CreateTopic { topic, config } => {
                Response::Topic(transport.create_topic(&topic, &config).await?)
            }
            Request::SetRetention { topic, retention } => {
                Response::Topic(transport.set_retention(&topic, &retention).await?)
            }
            Request::DeleteTopic { topic } => {
                transport.delete_topic(&topic).await?;
                Response::Done
            }
            Request::Topics => Response::Topics(transport.topics().await?),
            Request::Topic { topic } => Response::Topic(transport.topic(&topic).await?),
            Request::OpenWriter { id } => Response::Epoch(transport.open_writer(&id).await?.epoch),
            Request::State { id } => {
                Response::State(transport.state(&id).await?.into_iter().collect())
            }
            Request::Writers => Response::Writers(transport.writers().await?),
            Request::Append(head) => {
                let appended = transport.append(append(head, &payload)?).await?;
                Response::Appended(appended.base_offsets)
            }
            Request::Subscribe { topics, group, start } => {
                self.subscribe(Subscription { topics, group, start: start_of(start) }).await?
            }
            Request::Committed { group } => {
                Response::Offsets(flat(transport.committed(&group).await?))
            }
            Request::Consumption { topic } => {
                Response::Offsets(flat(transport.consumption(&topic).await?))
            }
            Request::Commit { reader, progress } => {
                self.reader(reader)?.committer.commit(progress.into()).await?;
                Response::Done
            }
            Request::Close { reader } => {
                if let Some(reader) = self.readers().remove(&reader) {
                    reader.closed.send_replace(true);
                }
                Response::Done
            }
            Request::Poll { .. } => {
                return Err(Error::new(ErrorKind::Internal, "serve a client")
                    .because("a poll is answered with records"));
            }
        })
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Response> {
        let counted = Arc::clone(&self.readers_left).try_acquire_owned().map_err(|_| {
            Error::new(ErrorKind::Exhausted, "subscribe")
                .because("the connection has as many readers as it may")
                .with("readers_max", READERS_MAX)
                .help("drop a reader first, or use another connection")
        })?;
        let reader = self.transport.subscribe(subscription).await?;
        let progress = ProgressHead::from(reader.progress());
        let id = self.reader_next.fetch_add(1, Ordering::Relaxed);
        self.readers().insert(id, Arc::new(Shared::new(reader, counted)));
        Ok(Response::Reader { reader: id, progress })
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Shared<T::Reader>>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self, reader: u64) -> Result<Arc<Shared<T::Reader>>> {
        self.readers().get(&reader).map(Arc::clone).ok_or_else(no_reader)
    }
}

impl<R: Reader> Shared<R> {
    fn new(reader: R, counted: OwnedSemaphorePermit) -> Self {
        Self {
            committer: reader.committer(),
            polling: Mutex::new(Polling { reader, refused: None }),
            closed: watch::Sender::new(false),
            _counted: counted,
        }
    }

    /// The answer to a poll, as a frame.
    async fn poll(&self, id: u64, limit: FetchLimit) -> Result<Vec<u8>> {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            polled = async { self.polling.lock().await.poll(id, limit).await } => polled,
            _ = closed.wait_for(|closed| *closed) => Err(no_reader()),
        }
    }
}

impl<R: Reader> Polling<R> {
    async fn poll(&mut self, id: u64, limit: FetchLimit) -> Result<Vec<u8>> {
        if let Some(failure) = &self.refused {
            return Ok(failed(id, failure));
        }
        let batches = self.reader.poll(limit).await?;
        let parts: Vec<&[u8]> = batches.iter().map(|batch| &batch.bytes[..]).collect();
        let progress = self.reader.progress().into();
        let head = Response::Fetched { batches: batch_heads(&batches), progress };
        frame(id, &head, &parts).inspect_err(|error| self.refused = Some(Failure::of(error)))
    }
}

/// A failure as a frame. It always fits: it holds names and numbers.
fn failed(id: u64, failure: &Failure) -> Vec<u8> {
    frame(id, &Response::Failed(failure.clone()), &[]).unwrap_or_else(|error| {
        tracing::error!(error = error.report(), "a failure could not be answered");
        Vec::new()
    })
}

fn no_reader() -> Error {
    Error::new(ErrorKind::NotFound, "find a reader").because("it was closed, or never opened")
}

fn append(head: AppendHead, payload: &Bytes) -> Result<Append> {
    let offset =
        |(group, topic, partition, offset)| GroupOffset { group, topic, partition, offset };
    Ok(Append {
        batches: append_batches(&head.batches, payload)?,
        writer: head.writer.map(|(id, epoch)| WriterEpoch { id: id.into(), epoch }),
        state: head.state.into_iter().map(|(key, value)| StateItem { key, value }).collect(),
        offsets: head.offsets.into_iter().map(offset).collect(),
    })
}

fn start_of(start: StartHead) -> Start {
    let keyed = |(topic, partition, offset)| ((topic, partition), offset);
    match start {
        StartHead::Earliest => Start::Earliest,
        StartHead::Latest => Start::Latest,
        StartHead::Committed => Start::Committed,
        StartHead::Offsets(offsets) => Start::Offsets(offsets.into_iter().map(keyed).collect()),
    }
}

fn flat(offsets: BTreeMap<(String, u32), u64>) -> Vec<(String, u32, u64)> {
    offsets.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{FRAME_BYTES_MAX, parse_frame};
    use super::*;
    use crate::{FetchedBatch, Progress};

    const MIB: usize = 1024 * 1024;

    /// A reader whose next records are more than a frame holds.
    struct Huge {
        polls: Arc<AtomicU64>,
    }

    struct NoCommits;

    impl Committer for NoCommits {
        async fn commit(&self, _: Progress) -> Result<()> {
            Ok(())
        }
    }

    impl Reader for Huge {
        type Committer = NoCommits;

        async fn poll(&mut self, _: FetchLimit) -> Result<Vec<FetchedBatch>> {
            self.polls.fetch_add(1, Ordering::Relaxed);
            let batch = FetchedBatch {
                topic: "t".into(),
                partition: 0,
                base_offset: 0,
                from_offset: 0,
                next_offset: 1,
                bytes: vec![0; MIB].into(),
            };
            Ok(vec![batch; FRAME_BYTES_MAX / MIB])
        }

        async fn commit(&mut self) -> Result<()> {
            Ok(())
        }

        fn positions(&self) -> BTreeMap<(String, u32), u64> {
            BTreeMap::new()
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }

        fn committer(&self) -> NoCommits {
            NoCommits
        }
    }

    #[tokio::test]
    async fn records_that_do_not_fit_a_frame_are_told_at_every_poll() {
        let polls = Arc::new(AtomicU64::new(0));
        let counted = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let reader = Shared::new(Huge { polls: Arc::clone(&polls) }, counted);
        let limit = FetchLimit { bytes_max: 1, wait_max: Duration::ZERO };
        let error = reader.poll(1, limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        for id in 2..4 {
            let bytes = Bytes::from(reader.poll(id, limit).await.unwrap());
            let (_, answer, _) = parse_frame::<Response>(&bytes.slice(4..)).unwrap();
            let Response::Failed(failure) = answer else { panic!("{answer:?}") };
            assert_eq!(failure.into_error().kind(), ErrorKind::TooLarge);
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1, "the reader did not go on");
    }
}
