//! The data port's client: one connection, many requests at a time.

use super::protocol::{
    AppendHead, HELLO_BYTES, Request, Response, StartHead, check_hello, fetched, frame,
    frame_length, hello, offset_head, parse_frame,
};
use crate::{
    Append, Appended, FetchLimit, FetchedBatch, Reader, Start, Subscription, TopicConfig,
    TopicInfo, Transport, WriterEpoch,
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// How long connecting, and any request but a poll, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests that may wait to be sent.
const REQUESTS_WAITING_MAX: usize = 64;

/// A log held by another process. Connects at the first call, and again at the next call after the
/// connection was lost; nothing is sent twice by itself.
#[derive(Clone)]
pub struct RemoteTransport {
    pub(super) address: Arc<Address>,
    connection: Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>,
}

#[derive(Debug)]
pub(super) enum Address {
    Tcp(String),
    Unix(std::path::PathBuf),
}

/// One connection; its tasks end when it is dropped.
struct Connection {
    requests: mpsc::Sender<Vec<u8>>,
    waiting: Waiting,
    id_next: AtomicU64,
    tasks: Vec<tokio::task::AbortHandle>,
}

type Answer = (Response, Bytes);
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

fn away(address: &Address) -> Error {
    let address = match address {
        Address::Tcp(address) => format!("tcp://{address}"),
        Address::Unix(path) => format!("unix://{}", path.display()),
    };
    Error::new(ErrorKind::Unavailable, "use the log")
        .because("the daemon that holds it does not answer")
        .with("data_port", address)
        .help("start `tidemesh up`, or correct the address")
}

impl RemoteTransport {
    /// A log at `tcp://host:port` or `unix:///path`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Config` for another form.
    pub fn new(url: &str) -> Result<Self> {
        let address = match (url.strip_prefix("tcp://"), url.strip_prefix("unix://")) {
            (Some(address), _) if address.contains(':') => Address::Tcp(address.to_owned()),
            (_, Some(path)) if path.starts_with('/') => Address::Unix(path.into()),
            _ => {
                return Err(Error::new(ErrorKind::Config, "use a data port's address")
                    .because("it must be tcp://HOST:PORT or unix:///PATH")
                    .with("url", url));
            }
        };
        Ok(Self { address: Arc::new(address), connection: Arc::default() })
    }

    async fn connection(&self) -> Result<Arc<Connection>> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot
            && lock(&connection.waiting).is_some()
        {
            return Ok(Arc::clone(connection));
        }
        let connecting = tokio::time::timeout(REQUEST_TIMEOUT, connect(&self.address));
        let connection = Arc::new(connecting.await.map_err(|_| away(&self.address))??);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    async fn ask(&self, request: &Request, payload: &[&[u8]]) -> Result<Response> {
        let connection = self.connection().await?;
        let asked = ask(&connection, &self.address, request, payload);
        match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
            Ok(answer) => answer.map(|(response, _)| response),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "use the log")
                .because("the daemon did not answer in time")),
        }
    }
}

async fn connect(address: &Address) -> Result<Connection> {
    let lost = |error| away(address).caused_by(error);
    match address {
        Address::Tcp(name) => {
            let stream = tokio::net::TcpStream::connect(name).await.map_err(lost)?;
            stream.set_nodelay(true).map_err(lost)?;
            let (reader, writer) = stream.into_split();
            shake(reader, writer).await
        }
        Address::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await.map_err(lost)?;
            let (reader, writer) = stream.into_split();
            shake(reader, writer).await
        }
    }
}

async fn shake(
    mut reader: impl AsyncRead + Send + Unpin + 'static,
    mut writer: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<Connection> {
    let lost = |error| Error::new(ErrorKind::Unavailable, "use the log").caused_by(error);
    writer.write_all(&hello()).await.map_err(lost)?;
    let mut said = [0; HELLO_BYTES];
    reader.read_exact(&mut said).await.map_err(lost)?;
    check_hello(said)?;
    let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
    let (requests, mut sent) = mpsc::channel::<Vec<u8>>(REQUESTS_WAITING_MAX);
    let closing = Arc::clone(&waiting);
    let writing = tokio::spawn(async move {
        while let Some(frame) = sent.recv().await {
            if writer.write_all(&frame).await.is_err() {
                break;
            }
        }
        // Whoever waits learns that no answer will come.
        *lock(&closing) = None;
    });
    let answers = Arc::clone(&waiting);
    let reading = tokio::spawn(async move {
        if let Err(error) = read_answers(reader, &answers).await {
            tracing::debug!(error = error.report(), "the connection to the data port ended");
        }
        *lock(&answers) = None;
    });
    let tasks = vec![writing.abort_handle(), reading.abort_handle()];
    Ok(Connection { requests, waiting, id_next: AtomicU64::new(1), tasks })
}

async fn read_answers(mut reader: impl AsyncRead + Send + Unpin, waiting: &Waiting) -> Result<()> {
    let lost = |error| Error::new(ErrorKind::Unavailable, "use the log").caused_by(error);
    loop {
        let mut head = [0; 4];
        reader.read_exact(&mut head).await.map_err(lost)?;
        let mut frame = vec![0; frame_length(head)?];
        reader.read_exact(&mut frame).await.map_err(lost)?;
        let (id, response, payload) = parse_frame(&Bytes::from(frame))?;
        let waits = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(sender) = waits {
            let _ = sender.send((response, payload));
        }
    }
}

fn lock(
    waiting: &Waiting,
) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a request and waits for its answer; a failure becomes its error.
async fn ask(
    connection: &Connection,
    address: &Address,
    request: &Request,
    payload: &[&[u8]],
) -> Result<Answer> {
    let mut answer = send(connection, address, request, payload).await?;
    receive(&mut answer, address).await
}

/// Sends a request; its answer comes by what this gives.
async fn send(
    connection: &Connection,
    address: &Address,
    request: &Request,
    payload: &[&[u8]],
) -> Result<oneshot::Receiver<Answer>> {
    let id = connection.id_next.fetch_add(1, Ordering::Relaxed);
    let frame = frame(id, request, payload)?;
    let (sender, receiver) = oneshot::channel();
    match &mut *lock(&connection.waiting) {
        Some(waiting) => drop(waiting.insert(id, sender)),
        None => return Err(away(address)),
    }
    connection.requests.send(frame).await.map_err(|_| away(address))?;
    Ok(receiver)
}

async fn receive(answer: &mut oneshot::Receiver<Answer>, address: &Address) -> Result<Answer> {
    match answer.await.map_err(|_| away(address))? {
        (Response::Failed(failure), _) => Err(failure.into_error()),
        answer => Ok(answer),
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Malformed, "use the log")
        .because("the answer is not of the request's kind")
}

/// An answer of one kind, or the error that it is none.
macro_rules! expect {
    ($response:expr, $pattern:pat => $value:expr) => {
        match $response {
            $pattern => Ok($value),
            _ => Err(unexpected()),
        }
    };
}

fn by_partition(offsets: Vec<(String, u32, u64)>) -> BTreeMap<(String, u32), u64> {
    offsets.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect()
}

impl Transport for RemoteTransport {
    type Reader = RemoteReader;

    async fn create_topic(&self, topic: &str, config: &TopicConfig) -> Result<TopicInfo> {
        let request = Request::CreateTopic { topic: topic.to_owned(), config: config.clone() };
        expect!(self.ask(&request, &[]).await?, Response::Topic(info) => info)
    }

    async fn delete_topic(&self, topic: &str) -> Result<()> {
        let request = Request::DeleteTopic { topic: topic.to_owned() };
        expect!(self.ask(&request, &[]).await?, Response::Done => ())
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        expect!(self.ask(&Request::Topics, &[]).await?, Response::Topics(topics) => topics)
    }

    async fn topic(&self, topic: &str) -> Result<TopicInfo> {
        let request = Request::Topic { topic: topic.to_owned() };
        expect!(self.ask(&request, &[]).await?, Response::Topic(info) => info)
    }

    async fn open_writer(&self, id: &str) -> Result<WriterEpoch> {
        let request = Request::OpenWriter { id: id.to_owned() };
        let answer = self.ask(&request, &[]).await?;
        expect!(answer, Response::Epoch(epoch) => WriterEpoch { id: id.into(), epoch })
    }

    async fn state(&self, id: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let request = Request::State { id: id.to_owned() };
        let answer = self.ask(&request, &[]).await?;
        expect!(answer, Response::State(items) => items.into_iter().collect())
    }

    async fn writers(&self) -> Result<Vec<String>> {
        expect!(self.ask(&Request::Writers, &[]).await?, Response::Writers(writers) => writers)
    }

    async fn append(&self, append: Append) -> Result<Appended> {
        let Append { writer, batches, state, offsets } = append;
        let head = AppendHead {
            writer: writer.map(|writer| (writer.id.to_string(), writer.epoch)),
            batches: batches
                .iter()
                .map(|b| (b.topic.to_string(), b.partition, b.records.len_bytes() as u64))
                .collect(),
            state: state.into_iter().map(|item| (item.key, item.value)).collect(),
            offsets: offsets.into_iter().map(offset_head).collect(),
        };
        let payload: Vec<&[u8]> = batches.iter().map(|batch| batch.records.as_bytes()).collect();
        let answer = self.ask(&Request::Append(head), &payload).await?;
        let base_offsets = expect!(answer, Response::Appended(offsets) => offsets)?;
        let recycled = batches.into_iter().map(|batch| batch.records);
        let recycled = recycled.map(|mut records| {
            records.clear();
            records
        });
        Ok(Appended { base_offsets, recycled: recycled.collect() })
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<RemoteReader> {
        let Subscription { topics, group, start } = subscription;
        let start = match start {
            Start::Earliest => StartHead::Earliest,
            Start::Latest => StartHead::Latest,
            Start::Committed => StartHead::Committed,
            Start::Offsets(offsets) => StartHead::Offsets(
                offsets.into_iter().map(|((topic, p), offset)| (topic, p, offset)).collect(),
            ),
        };
        let connection = self.connection().await?;
        let request = Request::Subscribe { topics, group, start };
        let (answer, _) = ask(&connection, &self.address, &request, &[]).await?;
        let (reader, positions) =
            expect!(answer, Response::Reader { reader, positions } => (reader, positions))?;
        let (address, positions) = (Arc::clone(&self.address), by_partition(positions));
        Ok(RemoteReader { connection, address, reader, positions, polled: None })
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        let request = Request::Committed { group: group.to_owned() };
        let answer = self.ask(&request, &[]).await?;
        expect!(answer, Response::Offsets(offsets) => by_partition(offsets))
    }
}

/// Reads topics of a [`RemoteTransport`]; dropping it leaves its group.
pub struct RemoteReader {
    connection: Arc<Connection>,
    address: Arc<Address>,
    reader: u64,
    positions: BTreeMap<(String, u32), u64>,
    /// The answer to a poll whose call was dropped: the next call takes it.
    polled: Option<oneshot::Receiver<Answer>>,
}

impl Drop for RemoteReader {
    fn drop(&mut self) {
        let request = Request::Close { reader: self.reader };
        if let Ok(frame) = frame(0, &request, &[]) {
            // With the connection gone, or full, the reader ends with it.
            let _ = self.connection.requests.try_send(frame);
        }
    }
}

impl Reader for RemoteReader {
    async fn poll(&mut self, limit: FetchLimit) -> Result<Vec<FetchedBatch>> {
        let request = Request::Poll {
            reader: self.reader,
            bytes_max: limit.bytes_max as u64,
            wait_max_ms: u64::try_from(limit.wait_max.as_millis()).unwrap_or(u64::MAX),
        };
        let polled = match self.polled.take() {
            Some(polled) => polled,
            None => send(&self.connection, &self.address, &request, &[]).await?,
        };
        let polled = self.polled.insert(polled);
        let answered = receive(polled, &self.address).await;
        self.polled = None;
        let (answer, payload) = answered?;
        let (heads, positions) =
            expect!(answer, Response::Fetched { batches, positions } => (batches, positions))?;
        self.positions = by_partition(positions);
        fetched(heads, &payload)
    }

    async fn commit(&mut self) -> Result<()> {
        let request = Request::Commit { reader: self.reader };
        let (answer, _) = ask(&self.connection, &self.address, &request, &[]).await?;
        expect!(answer, Response::Done => ())
    }

    fn positions(&self) -> BTreeMap<(String, u32), u64> {
        self.positions.clone()
    }
}
