//! One connection of the data port: hello, then requests as they come and answers as they are ready,
//! each within its time and its share of memory, so that no client can hold up the others.

use super::order::Order;
use super::protocol::{
    FRAME_BYTES_MAX, HELLO_BYTES, Request, agree, frame_length, hello, parse_frame,
};
use super::server::{ReadHalf, WriteHalf};
use super::session::Session;
use crate::Transport;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

/// How long the first bytes may take, each way.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the rest of a request may take, once its length was read and there is room for it. A
/// client gives up on a request after as long.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most requests of one connection that are not answered yet, or whose answers are not read; the
/// next is not read until there is one less.
pub(super) const REQUESTS_MAX: usize = 64;

/// The most bytes of requests of all connections at a time.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The share of one connection in them: what is past it waits for its own, not for others'.
const CONNECTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests larger than a connection's share, of all connections at a time. Each counts a whole share,
/// and [`FRAME_BYTES_MAX`] bounds the rest.
const LARGE_REQUESTS_MAX: usize = 1;

const _: () =
    assert!(CONNECTION_BYTES_MAX < REQUEST_BYTES_MAX && REQUEST_BYTES_MAX < FRAME_BYTES_MAX);

/// The memory that requests of all connections may take.
#[derive(Clone)]
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(REQUEST_BYTES_MAX)),
            large: Arc::new(Semaphore::new(LARGE_REQUESTS_MAX)),
        }
    }
}

/// Room for one request; given back when it is dropped.
type Room = [Option<OwnedSemaphorePermit>; 3];

/// One connection's way to the budget.
struct Share {
    all: Budget,
    own: Arc<Semaphore>,
}

impl Share {
    fn of(all: Budget) -> Self {
        Self { all, own: Arc::new(Semaphore::new(CONNECTION_BYTES_MAX)) }
    }

    /// Waits for room, first for what is the connection's own: a connection that has used its share
    /// up takes nothing of the others' while it waits.
    async fn room(&self, length: usize) -> Room {
        let share = u32::try_from(length.min(CONNECTION_BYTES_MAX)).unwrap_or(u32::MAX);
        let take = |from: &Arc<Semaphore>, count| Arc::clone(from).acquire_many_owned(count);
        // None of these is ever closed.
        let own = take(&self.own, share).await.ok();
        let large =
            if length > CONNECTION_BYTES_MAX { take(&self.all.large, 1).await.ok() } else { None };
        [own, large, take(&self.all.bytes, share).await.ok()]
    }
}

/// An answer, and what keeps the next request from being read until this one is written.
type Answer = (Vec<u8>, OwnedSemaphorePermit);

/// Serves one connection until it ends.
///
/// # Errors
///
/// `Unavailable` when the client has gone or is of a version that is not spoken any more, `Timeout` when
/// it stalls, `Malformed` and `TooLarge` for what it sends: the connection is to be closed after each.
pub(super) async fn serve_connection<T: Transport>(
    transport: Arc<T>,
    mut reader: ReadHalf,
    mut writer: WriteHalf,
    budget: Budget,
) -> Result<()> {
    // A client of an older version does not ask for what that does not have.
    in_time(HELLO_TIMEOUT, "hello", shake(&mut reader, &mut writer)).await.and_then(agree)?;
    let (answers, answered) = mpsc::channel(REQUESTS_MAX);
    let (session, share) = (Arc::new(Session::new(transport)), Share::of(budget));
    let mut tasks = JoinSet::new();
    let ended = tokio::select! {
        ended = read_requests(&session, reader, &share, answers, &mut tasks) => ended,
        ended = write_answers(&mut writer, answered) => ended,
    };
    // Before the client can see that it was hung up on: nothing of this connection begins after what it
    // asks for over the next one.
    tasks.shutdown().await;
    drop(writer);
    ended
}

async fn shake(
    reader: &mut ReadHalf,
    writer: &mut WriteHalf,
) -> std::io::Result<[u8; HELLO_BYTES]> {
    writer.write_all(&hello()).await?;
    let mut said = [0; HELLO_BYTES];
    reader.read_exact(&mut said).await?;
    Ok(said)
}

async fn read_requests<T: Transport>(
    session: &Arc<Session<T>>,
    mut reader: ReadHalf,
    share: &Share,
    answers: mpsc::Sender<Answer>,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    let turns = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut order = Order::default();
    loop {
        let mut head = [0; 4];
        reader.read_exact(&mut head).await.map_err(lost)?;
        let length = frame_length(head)?;
        let turn = Arc::clone(&turns).acquire_owned().await;
        let turn = turn.map_err(|e| Error::new(ErrorKind::Internal, "serve").caused_by(e))?;
        let room = share.room(length).await;
        let frame = in_time(BODY_TIMEOUT, "request", body(&mut reader, length)).await?;
        let (id, request, payload) = parse_frame::<Request>(&frame)?;
        drop(frame);
        let place = order.place(&request);
        let (session, answers) = (Arc::clone(session), answers.clone());
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let done = place.reached().await;
            let answer = session.answer(id, request, payload).await;
            // The request is done with, whether or not its answer is read.
            drop((room, done));
            // There is room for as many as have a turn; and who is gone waits for no answer.
            let _ = answers.send((answer, turn)).await;
        });
    }
}

async fn body(reader: &mut ReadHalf, length: usize) -> std::io::Result<Bytes> {
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame).await?;
    Ok(Bytes::from(frame))
}

async fn write_answers(writer: &mut WriteHalf, mut answers: mpsc::Receiver<Answer>) -> Result<()> {
    while let Some((frame, _turn)) = answers.recv().await {
        in_time(ANSWER_TIMEOUT, "answer", writer.write_all(&frame)).await?;
    }
    Ok(())
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "serve a client").caused_by(error)
}

async fn in_time<V>(
    limit: Duration,
    what: &'static str,
    io: impl Future<Output = std::io::Result<V>>,
) -> Result<V> {
    match tokio::time::timeout(limit, io).await {
        Ok(done) => done.map_err(lost),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "serve a client")
            .because("it stalled")
            .with("waiting_for", what)
            .with("timeout_s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::frame;
    use super::*;
    use crate::{EmbeddedConfig, EmbeddedTransport};
    use tokio::io::DuplexStream;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    /// A client's end of a connection whose pipe holds `pipe_bytes`, and the service of it.
    struct Client {
        stream: DuplexStream,
        served: JoinHandle<Result<()>>,
        _folder: tempfile::TempDir,
    }

    fn connect(budget: &Budget, pipe_bytes: usize) -> Client {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder.path())).unwrap();
        let (stream, theirs) = tokio::io::duplex(pipe_bytes);
        let (reader, writer) = tokio::io::split(theirs);
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        let serving = serve_connection(Arc::new(log), reader, writer, budget.clone());
        Client { stream, served: tokio::spawn(serving), _folder: folder }
    }

    impl Client {
        async fn greet(&mut self) {
            self.stream.write_all(&hello()).await.unwrap();
            let mut said = [0; HELLO_BYTES];
            self.stream.read_exact(&mut said).await.unwrap();
        }

        /// How the service ended, and after how long.
        async fn end(self) -> (ErrorKind, Duration) {
            let before = Instant::now();
            let ended = self.served.await.unwrap().unwrap_err();
            (ended.kind(), before.elapsed())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_hung_up_on() {
        let client = connect(&Budget::default(), 1024);
        assert_eq!(client.end().await, (ErrorKind::Timeout, HELLO_TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_stalls_is_hung_up_on_and_its_room_given_back() {
        let budget = Budget::default();
        let mut client = connect(&budget, 1024);
        client.greet().await;
        client.stream.write_all(&1000_u32.to_be_bytes()).await.unwrap();
        assert_eq!(client.end().await, (ErrorKind::Timeout, BODY_TIMEOUT));
        assert_eq!(budget.bytes.available_permits(), REQUEST_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_client_is_left_alone() {
        let mut client = connect(&Budget::default(), 1024);
        client.greet().await;
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, &mut client.served).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_no_answer_is_hung_up_on_and_holds_no_room() {
        let budget = Budget::default();
        let mut client = connect(&budget, 16);
        client.greet().await;
        let request = frame(1, &Request::Topics, &[&[0; 1000]]).unwrap();
        client.stream.write_all(&request).await.unwrap();
        // There is an answer, and it does not fit the pipe.
        client.stream.read_u8().await.unwrap();
        assert_eq!(budget.bytes.available_permits(), REQUEST_BYTES_MAX);
        assert_eq!(client.end().await, (ErrorKind::Timeout, ANSWER_TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_that_stalls_does_not_hold_up_another() {
        let budget = Budget::default();
        let (mut stalled, mut other) = (connect(&budget, 1024), connect(&budget, 1024));
        stalled.greet().await;
        other.greet().await;
        let length = u32::try_from(FRAME_BYTES_MAX).unwrap();
        stalled.stream.write_all(&length.to_be_bytes()).await.unwrap();
        while budget.bytes.available_permits() == REQUEST_BYTES_MAX {
            tokio::task::yield_now().await;
        }
        let before = Instant::now();
        let request = frame(1, &Request::Topics, &[&[0; 1024 * 1024]]).unwrap();
        other.stream.write_all(&request).await.unwrap();
        other.stream.read_u32().await.unwrap();
        assert!(before.elapsed() < BODY_TIMEOUT, "it waited until the other was hung up on");
        assert!(!stalled.served.is_finished());
    }
}
