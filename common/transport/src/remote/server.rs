//! The data port's server: many requests of a connection at a time, each reader its own.

use super::protocol::{
    AppendHead, Failure, HELLO_BYTES, Request, Response, StartHead, append_batches, batch_heads,
    check_hello, frame, frame_length, hello, parse_frame,
};
use crate::{Append, FetchLimit, GroupOffset, Reader, Start, Subscription, Transport, WriterEpoch};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, StateItem};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

/// The most connections at a time; one more is closed at once.
const CONNECTIONS_MAX: usize = 256;

/// The most requests of one connection at a time; the next is not read until one is answered.
const REQUESTS_MAX: usize = 64;

/// The most bytes of requests of all connections at a time.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest wait of one poll.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Where the data port listens.
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// Serves `transport` until `shutdown` says true.
///
/// # Errors
///
/// `Unavailable` if the listener fails. What goes wrong on a connection ends that connection.
pub async fn serve_remote<T: Transport>(
    transport: Arc<T>,
    listener: Listener,
    mut shutdown: watch::Receiver<bool>,
) -> Result<()> {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let budget = Arc::new(Semaphore::new(REQUEST_BYTES_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        };
        let (reader, writer) = accepted.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "serve the data port").caused_by(error)
        })?;
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!(connections_max = CONNECTIONS_MAX, "a connection was refused");
            continue;
        };
        let (transport, budget, mut stop) =
            (Arc::clone(&transport), Arc::clone(&budget), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let served = tokio::select! {
                served = connection(transport, reader, writer, budget) => served,
                _ = stop.wait_for(|stop| *stop) => Ok(()),
            };
            if let Err(error) = served {
                tracing::debug!(error = error.report(), "a connection of the data port ended");
            }
        });
    }
}

type Half<T> = Box<T>;
type ReadHalf = Half<dyn AsyncRead + Send + Unpin>;
type WriteHalf = Half<dyn AsyncWrite + Send + Unpin>;

async fn accept(listener: &Listener) -> std::io::Result<(ReadHalf, WriteHalf)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        Listener::Unix(listener) => {
            let (reader, writer) = listener.accept().await?.0.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}

/// What a connection's requests share.
struct Connection<T: Transport> {
    transport: Arc<T>,
    readers: std::sync::Mutex<HashMap<u64, Arc<Mutex<T::Reader>>>>,
    reader_next: AtomicU64,
}

async fn connection<T: Transport>(
    transport: Arc<T>,
    mut reader: ReadHalf,
    mut writer: WriteHalf,
    budget: Arc<Semaphore>,
) -> Result<()> {
    let lost = |error| Error::new(ErrorKind::Unavailable, "serve a client").caused_by(error);
    writer.write_all(&hello()).await.map_err(lost)?;
    let mut said = [0; HELLO_BYTES];
    reader.read_exact(&mut said).await.map_err(lost)?;
    check_hello(said)?;
    let shared = Arc::new(Connection {
        transport,
        readers: std::sync::Mutex::default(),
        reader_next: AtomicU64::new(1),
    });
    let (answers, mut answered) = mpsc::channel::<Vec<u8>>(REQUESTS_MAX);
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    let writing = async move {
        while let Some(frame) = answered.recv().await {
            writer.write_all(&frame).await.map_err(lost)?;
        }
        Ok(())
    };
    let reading = async {
        loop {
            let mut head = [0; 4];
            reader.read_exact(&mut head).await.map_err(lost)?;
            let length = frame_length(head)?;
            let request = Arc::clone(&requests).acquire_owned().await;
            let share = u32::try_from(length.min(REQUEST_BYTES_MAX)).unwrap_or(u32::MAX);
            let bytes = Arc::clone(&budget).acquire_many_owned(share).await;
            let mut frame = vec![0; length];
            reader.read_exact(&mut frame).await.map_err(lost)?;
            let (id, head, payload) = parse_frame(&Bytes::from(frame))?;
            let (shared, answers) = (Arc::clone(&shared), answers.clone());
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let _held = (request, bytes);
                if let Ok(frame) = answer(&shared, id, head, payload).await {
                    // A client that is gone waits for no answer.
                    let _ = answers.send(frame).await;
                }
            });
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// The answer to one request, as a frame.
async fn answer<T: Transport>(
    connection: &Connection<T>,
    id: u64,
    request: Request,
    payload: Bytes,
) -> Result<Vec<u8>> {
    if let Request::Poll { reader, bytes_max, wait_max_ms } = request {
        return match poll(connection, reader, bytes_max, wait_max_ms).await {
            Ok((batches, positions)) => {
                let parts: Vec<&[u8]> = batches.iter().map(|batch| &batch.bytes[..]).collect();
                let head = Response::Fetched { batches: batch_heads(&batches), positions };
                frame(id, &head, &parts)
            }
            Err(error) => frame(id, &Response::Failed(Failure::of(&error)), &[]),
        };
    }
    let response = respond(connection, request, payload)
        .await
        .unwrap_or_else(|error| Response::Failed(Failure::of(&error)));
    frame(id, &response, &[])
}

async fn respond<T: Transport>(
    connection: &Connection<T>,
    request: Request,
    payload: Bytes,
) -> Result<Response> {
    let transport = &connection.transport;
    Ok(match request {
        Request::CreateTopic { topic, config } => {
            Response::Topic(transport.create_topic(&topic, &config).await?)
        }
        Request::DeleteTopic { topic } => {
            transport.delete_topic(&topic).await?;
            Response::Done
        }
        Request::Topics => Response::Topics(transport.topics().await?),
        Request::Topic { topic } => Response::Topic(transport.topic(&topic).await?),
        Request::OpenWriter { id } => Response::Epoch(transport.open_writer(&id).await?.epoch),
        Request::State { id } => Response::State(transport.state(&id).await?.into_iter().collect()),
        Request::Writers => Response::Writers(transport.writers().await?),
        Request::Append(head) => {
            let appended = transport.append(append(head, &payload)?).await?;
            Response::Appended(appended.base_offsets)
        }
        Request::Subscribe { topics, group, start } => {
            subscribe(connection, Subscription { topics, group, start: start_of(start) }).await?
        }
        Request::Committed { group } => Response::Offsets(flat(transport.committed(&group).await?)),
        Request::Commit { reader } => {
            find(connection, reader)?.lock().await.commit().await?;
            Response::Done
        }
        Request::Close { reader } => {
            readers(connection).remove(&reader);
            Response::Done
        }
        Request::Poll { .. } => {
            return Err(Error::new(ErrorKind::Internal, "serve a client")
                .because("a poll is answered with records"));
        }
    })
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
    match start {
        StartHead::Earliest => Start::Earliest,
        StartHead::Latest => Start::Latest,
        StartHead::Committed => Start::Committed,
        StartHead::Offsets(offsets) => Start::Offsets(
            offsets
                .into_iter()
                .map(|(topic, partition, offset)| ((topic, partition), offset))
                .collect(),
        ),
    }
}

fn flat(offsets: BTreeMap<(String, u32), u64>) -> Vec<(String, u32, u64)> {
    offsets.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect()
}

async fn subscribe<T: Transport>(
    connection: &Connection<T>,
    subscription: Subscription,
) -> Result<Response> {
    let reader = connection.transport.subscribe(subscription).await?;
    let id = connection.reader_next.fetch_add(1, Ordering::Relaxed);
    let positions = flat(reader.positions());
    readers(connection).insert(id, Arc::new(Mutex::new(reader)));
    Ok(Response::Reader { reader: id, positions })
}

fn readers<T: Transport>(
    connection: &Connection<T>,
) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mutex<T::Reader>>>> {
    connection.readers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find<T: Transport>(connection: &Connection<T>, reader: u64) -> Result<Arc<Mutex<T::Reader>>> {
    readers(connection)
        .get(&reader)
        .map(Arc::clone)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "find a reader").with("reader", reader))
}

type Polled = (Vec<crate::FetchedBatch>, Vec<(String, u32, u64)>);

async fn poll<T: Transport>(
    connection: &Connection<T>,
    reader: u64,
    bytes_max: u64,
    wait_max_ms: u64,
) -> Result<Polled> {
    let reader = find(connection, reader)?;
    let mut reader = reader.lock().await;
    let limit = FetchLimit {
        bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX).min(REQUEST_BYTES_MAX),
        wait_max: Duration::from_millis(wait_max_ms).min(WAIT_MAX),
    };
    let batches = reader.poll(limit).await?;
    Ok((batches, flat(reader.positions())))
}
