//! The data port's client: one connection, many requests at a time.

use super::protocol::{
    AppendHead, HELLO_BYTES, Request, Response, StartHead, WAIT_MAX, agree, fetched, frame,
    frame_length, hello, offset_head, parse_frame,
};
use super::session::READERS_MAX;
use super::socket;
use crate::{
    Append, Appended, Committer, FetchLimit, FetchedBatch, Progress, Reader, Retention, Start,
    Subscription, TopicConfig, TopicInfo, Transport, WriterEpoch,
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long connecting, and any request but a poll, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the answer to a poll may take beyond the wait that was asked for.
const POLL_MARGIN: Duration = Duration::from_secs(30);

/// Requests that may wait to be sent.
const REQUESTS_WAITING_MAX: usize = 64;

/// Readers that may wait to be closed: as many as a connection can have, so that there is always room.
const CLOSES_WAITING_MAX: usize = READERS_MAX;

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
    /// The version of the protocol that is spoken.
    version: u32,
    requests: mpsc::Sender<Vec<u8>>,
    /// Requests that close a reader, apart from the others: who drops a reader waits for no room.
    closes: mpsc::Sender<Vec<u8>>,
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
        in_time(ask(&connection, &self.address, request, payload)).await
    }
}

/// The answer to a request other than a poll.
async fn in_time<V>(asked: impl Future<Output = Result<V>>) -> Result<V> {
    tokio::time::timeout(REQUEST_TIMEOUT, asked).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> Error {
    Error::new(ErrorKind::Timeout, "use the log").because("the daemon did not answer in time")
}

async fn connect(address: &Address) -> Result<Connection> {
    let lost = |error| away(address).caused_by(error);
    match address {
        Address::Tcp(name) => {
            let stream = tokio::net::TcpStream::connect(name).await.map_err(lost)?;
            socket::set_up(&stream);
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
    let version = agree(said)?;
    let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
    let (requests, mut sent) = mpsc::channel::<Vec<u8>>(REQUESTS_WAITING_MAX);
    let (closes, mut closed) = mpsc::channel::<Vec<u8>>(CLOSES_WAITING_MAX);
    let closing = Arc::clone(&waiting);
    let writing = tokio::spawn(async move {
        while let Some(frame) = next_frame(&mut sent, &mut closed).await {
            if writer.write_all(&frame).await.is_err() {
                break;
            }
        }
        // Whoever waits learns that no answer will come.
        *lock(&closing) = None;
    });
    let (answers, unwanted) = (Arc::clone(&waiting), closes.clone());
    let reading = tokio::spawn(async move {
        if let Err(error) = read_answers(reader, &answers, &unwanted).await {
            tracing::debug!(error = error.report(), "the connection to the data port ended");
        }
        *lock(&answers) = None;
    });
    let tasks = vec![writing.abort_handle(), reading.abort_handle()];
    Ok(Connection { version, requests, closes, waiting, id_next: AtomicU64::new(1), tasks })
}

/// What is sent next; none once the connection is dropped.
async fn next_frame(
    requests: &mut mpsc::Receiver<Vec<u8>>,
    closes: &mut mpsc::Receiver<Vec<u8>>,
) -> Option<Vec<u8>> {
    tokio::select! {
        biased;
        Some(frame) = closes.recv() => Some(frame),
        frame = requests.recv() => frame,
    }
}

async fn read_answers(
    mut reader: impl AsyncRead + Send + Unpin,
    waiting: &Waiting,
    closes: &mpsc::Sender<Vec<u8>>,
) -> Result<()> {
    let lost = |error| Error::new(ErrorKind::Unavailable, "use the log").caused_by(error);
    loop {
        let mut head = [0; 4];
        reader.read_exact(&mut head).await.map_err(lost)?;
        let mut frame = vec![0; frame_length(head)?];
        reader.read_exact(&mut frame).await.map_err(lost)?;
        let (id, response, payload) = parse_frame(&Bytes::from(frame))?;
        let waits = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&id));
        let Some(sender) = waits else { continue };
        if let Err((Response::Reader { reader, .. }, _)) = sender.send((response, payload)) {
            // The call that subscribed was dropped: nobody else would ever leave the group.
            close(closes, reader);
        }
    }
}

/// Has a reader closed. With the connection gone the reader is, too.
fn close(closes: &mpsc::Sender<Vec<u8>>, reader: u64) {
    if let Ok(frame) = frame(0, &Request::Close { reader }, &[]) {
        let _ = closes.try_send(frame);
    }
}

fn lock(
    waiting: &Waiting,
) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a request and waits for its answer, without records; a failure becomes its error.
async fn ask(
    connection: &Connection,
    address: &Address,
    request: &Request,
    payload: &[&[u8]],
) -> Result<Response> {
    let mut answer = send(connection, address, request, payload).await?;
    receive(&mut answer, address).await.map(|(response, _)| response)
}

/// Sends a request; its answer comes by what this gives. A dropped call has sent nothing.
async fn send(
    connection: &Connection,
    address: &Address,
    request: &Request,
    payload: &[&[u8]],
) -> Result<oneshot::Receiver<Answer>> {
    request.check(connection.version)?;
    let id = connection.id_next.fetch_add(1, Ordering::Relaxed);
    let frame = frame(id, request, payload)?;
    let place = connection.requests.reserve().await.map_err(|_| away(address))?;
    let (sender, receiver) = oneshot::channel();
    match &mut *lock(&connection.waiting) {
        Some(waiting) => drop(waiting.insert(id, sender)),
        None => return Err(away(address)),
    }
    place.send(frame);
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

    async fn set_retention(&self, topic: &str, retention: &Retention) -> Result<TopicInfo> {
        let request = Request::SetRetention { topic: topic.to_owned(), retention: *retention };
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
        Ok(Appended { base_offsets, breaks: Vec::new(), recycled: recycled.collect() })
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
        let answer = in_time(ask(&connection, &self.address, &request, &[])).await?;
        let (reader, progress) =
            expect!(answer, Response::Reader { reader, progress } => (reader, progress))?;
        let (address, under_way) = (Arc::clone(&self.address), Arc::default());
        let at = RemoteCommitter { connection, address, reader, under_way };
        Ok(RemoteReader { at, progress: progress.into(), polled: None })
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, u32), u64>> {
        let request = Request::Committed { group: group.to_owned() };
        let answer = self.ask(&request, &[]).await?;
        expect!(answer, Response::Offsets(offsets) => by_partition(offsets))
    }

    async fn consumption(&self, topic: &str) -> Result<BTreeMap<(String, u32), u64>> {
        let request = Request::Consumption { topic: topic.to_owned() };
        let answer = self.ask(&request, &[]).await?;
        expect!(answer, Response::Offsets(offsets) => by_partition(offsets))
    }
}

/// Reads topics of a [`RemoteTransport`]; dropping it leaves its group.
pub struct RemoteReader {
    at: RemoteCommitter,
    /// Behind the answers that were handed out.
    progress: Progress,
    /// A poll whose call was dropped: the next call takes its answer.
    polled: Option<Polled>,
}

/// A poll that was sent.
struct Polled {
    answer: oneshot::Receiver<Answer>,
    /// When the other side is taken for gone.
    deadline: Instant,
}

/// Commits for a [`RemoteReader`].
#[derive(Clone)]
pub struct RemoteCommitter {
    connection: Arc<Connection>,
    address: Arc<Address>,
    reader: u64,
    /// A commit whose call was dropped: the other side might do it after the next one.
    under_way: Arc<tokio::sync::Mutex<Option<oneshot::Receiver<Answer>>>>,
}

impl Drop for RemoteReader {
    fn drop(&mut self) {
        close(&self.at.connection.closes, self.at.reader);
    }
}

impl RemoteReader {
    async fn ask_for(&self, bytes_max: usize, wait_max: Duration) -> Result<Polled> {
        let deadline = Instant::now() + wait_max + POLL_MARGIN;
        let request = Request::Poll {
            reader: self.at.reader,
            bytes_max: bytes_max as u64,
            wait_max_ms: u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX),
        };
        let sending = send(&self.at.connection, &self.at.address, &request, &[]);
        let answer = timeout_at(deadline, sending).await.map_err(|_| timed_out())??;
        Ok(Polled { answer, deadline })
    }

    fn take(&mut self, (answer, payload): Answer) -> Result<Vec<FetchedBatch>> {
        let (heads, progress) =
            expect!(answer, Response::Fetched { batches, progress } => (batches, progress))?;
        self.progress = progress.into();
        fetched(heads, &payload)
    }
}

impl Reader for RemoteReader {
    type Committer = RemoteCommitter;

    async fn poll(&mut self, limit: FetchLimit) -> Result<Vec<FetchedBatch>> {
        let wait_until = Instant::now() + limit.wait_max.min(WAIT_MAX);
        loop {
            let left_over = self.polled.take();
            let others = left_over.is_some();
            let polled = match left_over {
                Some(polled) => polled,
                None => {
                    let rest = wait_until.saturating_duration_since(Instant::now());
                    self.ask_for(limit.bytes_max, rest).await?
                }
            };
            let polled = self.polled.insert(polled);
            // A dropped call may have asked for a longer wait than this one.
            let until = if others { polled.deadline.min(wait_until) } else { polled.deadline };
            match timeout_at(until, receive(&mut polled.answer, &self.at.address)).await {
                Err(_) if Instant::now() < polled.deadline => return Ok(Vec::new()),
                Err(_) => return Err(timed_out()),
                Ok(answered) => {
                    self.polled = None;
                    let batches = self.take(answered?)?;
                    // Or for a shorter one, which has run out.
                    if !others || !batches.is_empty() || Instant::now() >= wait_until {
                        return Ok(batches);
                    }
                }
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        self.at.commit(self.progress.clone()).await
    }

    fn positions(&self) -> BTreeMap<(String, u32), u64> {
        self.progress.positions.clone()
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn committer(&self) -> RemoteCommitter {
        self.at.clone()
    }
}

impl Committer for RemoteCommitter {
    async fn commit(&self, progress: Progress) -> Result<()> {
        let request = Request::Commit { reader: self.reader, progress: progress.into() };
        in_time(async {
            let mut under_way = self.under_way.lock().await;
            if let Some(earlier) = &mut *under_way {
                // Whatever came of it, nobody wants to know any more.
                let _ = earlier.await;
                *under_way = None;
            }
            let sent = send(&self.connection, &self.address, &request, &[]).await?;
            let answered = receive(under_way.insert(sent), &self.address).await;
            *under_way = None;
            expect!(answered?.0, Response::Done => ())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: FetchLimit = FetchLimit { bytes_max: 1, wait_max: Duration::from_secs(5) };

    /// A connection to a daemon that says hello and then nothing, for as long as its end is held.
    async fn hung() -> (Arc<Connection>, tokio::io::DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(&hello()).await.unwrap();
        let (reader, writer) = tokio::io::split(ours);
        (Arc::new(shake(reader, writer).await.unwrap()), theirs)
    }

    fn address() -> Arc<Address> {
        Arc::new(Address::Tcp("nowhere:0".into()))
    }

    fn reader(connection: Arc<Connection>) -> RemoteReader {
        let (address, under_way) = (address(), Arc::default());
        let at = RemoteCommitter { connection, address, reader: 1, under_way };
        RemoteReader { at, progress: Progress::default(), polled: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_answers_nothing_is_told_at_every_request_of_a_reader() {
        let (connection, _daemon) = hung().await;
        let transport = RemoteTransport {
            address: address(),
            connection: Arc::new(tokio::sync::Mutex::new(Some(Arc::clone(&connection)))),
        };
        let topics = vec!["t".to_owned()];
        let subscription = Subscription { topics, group: None, start: Start::Latest };
        let error = transport.subscribe(subscription).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Timeout);

        let mut reader = reader(connection);
        assert_eq!(reader.commit().await.unwrap_err().kind(), ErrorKind::Timeout);
        let before = Instant::now();
        assert_eq!(reader.poll(WAIT).await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(before.elapsed(), WAIT.wait_max + POLL_MARGIN);
        assert_eq!(reader.poll(WAIT).await.unwrap_err().kind(), ErrorKind::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_reader_is_closed_however_many_requests_wait() {
        let (connection, mut daemon) = hung().await;
        daemon.read_exact(&mut [0; HELLO_BYTES]).await.unwrap();
        let place = address();
        let mut asked = Vec::new();
        let large = [0; 64 * 1024];
        let request = async || send(&connection, &place, &Request::Topics, &[&large]).await;
        while let Ok(sent) = tokio::time::timeout(Duration::from_secs(1), request()).await {
            asked.push(sent.unwrap());
        }
        assert!(asked.len() >= REQUESTS_WAITING_MAX);
        drop(reader(Arc::clone(&connection)));
        let closed = async {
            loop {
                let mut frame = vec![0; daemon.read_u32().await.unwrap() as usize];
                daemon.read_exact(&mut frame).await.unwrap();
                let (_, request, _) = parse_frame::<Request>(&Bytes::from(frame)).unwrap();
                if request == (Request::Close { reader: 1 }) {
                    break;
                }
            }
        };
        let closed = tokio::time::timeout(Duration::from_secs(10), closed).await;
        closed.expect("the reader stays, and what it has of its group nobody reads");
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_waits_no_longer_than_it_says_for_a_dropped_ones_answer() {
        let (connection, _daemon) = hung().await;
        let mut reader = reader(connection);
        let long = FetchLimit { wait_max: WAIT_MAX, ..WAIT };
        let dropped = tokio::time::timeout(Duration::from_secs(1), reader.poll(long)).await;
        assert!(dropped.is_err());
        let before = Instant::now();
        assert_eq!(reader.poll(WAIT).await.unwrap(), []);
        assert_eq!(before.elapsed(), WAIT.wait_max);
    }
}
