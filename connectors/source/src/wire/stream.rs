//! The thread that reads a database's log: into large buffers, of which it hands whole messages over a
//! bounded channel.
//!
//! A server sends each row, or a few, as a message of its own. A reader that wakes for each pays for it,
//! and makes the server slower too; so while messages come densely, the thread pauses before it reads
//! and lets the socket fill. As soon as little comes, it reads at once again.

use super::{Socket, Wait, would_block};
use crate::Vitals;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

/// Bytes of one buffer at first; it grows for a message that is larger.
const BUFFER_BYTES: usize = 512 * 1024;

/// The largest buffer that is used again.
const BUFFER_KEPT_MAX: usize = 4 * BUFFER_BYTES;

/// Buffers that may wait for the decoder; the thread stops reading when they do.
const BUFFERS_WAITING_MAX: usize = 4;

/// Emptied buffers that may wait for use again.
const BUFFERS_SPARE_MAX: usize = 8;

/// How long the server may be silent before the connection is given up: a host that vanished says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Wake-ups closer than this are dense.
const DENSE_WITHIN: Duration = Duration::from_micros(200);

/// So many dense wake-ups in a row begin a burst.
const DENSE_TO_BURST: u32 = 3;

/// A burst goes on while a read after a pause brings at least so much.
const BURST_BYTES_MIN: usize = 2048;

/// How long the thread waits when the decoder is behind, before it looks again.
const BEHIND_PAUSE: Duration = Duration::from_millis(1);

/// How long the thread sleeps at most, so that a stop need not wait.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// A connection over which a database sends its log.
pub trait LogConnection: Send + 'static {
    /// Its bytes.
    fn socket(&mut self) -> &mut Socket;

    /// Moves `whole` behind the last message of `buffer` that is whole, and answers the server where it
    /// asks. All before `whole` was looked at already.
    ///
    /// # Errors
    ///
    /// What the server tells; `Malformed`; `TooLarge`; `Unavailable` where the server ends the stream.
    fn find_whole(&mut self, buffer: &mut Vec<u8>, whole: &mut usize) -> Result<()>;

    /// Sends what is due by now; `heard_at` is when bytes of the server came last.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn keep_up(&mut self, heard_at: Instant) -> Result<()>;

    /// How long it may be until [`LogConnection::keep_up`] is called again.
    fn quiet_max(&self) -> Duration;

    /// Ends the stream in order.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    fn finish(&mut self) -> Result<()>;

    /// The server closed the connection.
    fn closed(&self) -> Error;

    /// The connection broke.
    fn lost(&self, error: std::io::Error) -> Error;
}

/// The handle of a running stream. Dropping it ends the thread and the connection.
#[derive(Debug)]
pub struct LogStream {
    messages: mpsc::Receiver<Result<Vec<u8>>>,
    spare: mpsc::Sender<Vec<u8>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LogStream {
    /// Begins to read, on a thread of this name. `vitals` are told when the server is heard.
    ///
    /// # Errors
    ///
    /// `Unavailable` if there can be no thread.
    pub fn start(name: &str, connection: impl LogConnection, vitals: Arc<Vitals>) -> Result<Self> {
        let (sender, messages) = mpsc::channel(BUFFERS_WAITING_MAX);
        let (spare, returned) = mpsc::channel(BUFFERS_SPARE_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let mut reading = Reading {
            connection,
            sender,
            returned,
            stop: Arc::clone(&stop),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            whole: 0,
            heard_at: Instant::now(),
            vitals,
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || reading.run())
            .map_err(|e| Error::new(ErrorKind::Unavailable, "read the log").caused_by(e))?;
        Ok(Self { messages, spare, stop, thread: Some(thread) })
    }

    /// The next buffer of whole messages. Cancel-safe.
    ///
    /// # Errors
    ///
    /// What ended the stream, behind all that came before.
    pub async fn next(&mut self) -> Result<Vec<u8>> {
        self.messages.recv().await.unwrap_or_else(|| Err(ended()))
    }

    /// A buffer that waits already.
    pub fn try_next(&mut self) -> Option<Result<Vec<u8>>> {
        self.messages.try_recv().ok()
    }

    /// A place that gives buffers back.
    #[must_use]
    pub fn spare(&self) -> mpsc::Sender<Vec<u8>> {
        self.spare.clone()
    }

    /// Ends the stream in order and waits for the thread. Blocks.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.messages.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads the log panicked");
        }
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.end();
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "read the log").because("its stream has ended")
}

/// What the thread holds.
struct Reading<C> {
    connection: C,
    sender: mpsc::Sender<Result<Vec<u8>>>,
    returned: mpsc::Receiver<Vec<u8>>,
    stop: Arc<AtomicBool>,
    buffer: Vec<u8>,
    /// Bytes of whole messages at the buffer's beginning.
    whole: usize,
    /// When bytes of the server came last.
    heard_at: Instant,
    vitals: Arc<Vitals>,
}

impl<C: LogConnection> Reading<C> {
    fn run(&mut self) {
        match self.read_until_stopped() {
            Ok(()) => {
                if let Err(error) = self.connection.finish() {
                    tracing::debug!(error = error.report(), "the stream did not end in order");
                }
            }
            Err(error) => {
                // What was read whole before the error comes first.
                let _ = self.hand_over();
                let _ = self.sender.blocking_send(Err(error));
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.sender.is_closed()
    }

    fn read_until_stopped(&mut self) -> Result<()> {
        let pause = self.connection.socket().burst_pause();
        let (mut dense, mut burst, mut woken_at) = (0_u32, false, Instant::now());
        while !self.stopped() {
            self.keep_up()?;
            let read = self.read()?;
            if burst && read < BURST_BYTES_MIN {
                (burst, dense) = (false, 0);
            }
            if burst {
                if self.whole >= BUFFER_BYTES / 2 {
                    self.hand_over()?;
                }
                std::thread::sleep(pause);
                continue;
            }
            // Not only what this read brought: a burst may have left messages behind.
            self.hand_over()?;
            self.wait()?;
            let now = Instant::now();
            dense = if now - woken_at < DENSE_WITHIN { dense + 1 } else { 0 };
            woken_at = now;
            if dense >= DENSE_TO_BURST {
                burst = true;
                std::thread::sleep(pause);
            }
        }
        Ok(())
    }

    /// Sleeps until bytes come or something is due.
    fn wait(&mut self) -> Result<()> {
        let most = self.connection.quiet_max().clamp(Duration::from_millis(1), SLEEP_MAX);
        let waited = self.connection.socket().wait(Wait::Read, most);
        waited.map(drop).map_err(|error| self.connection.lost(error))
    }

    /// Reads what is there; answers how many bytes that were.
    fn read(&mut self) -> Result<usize> {
        let mut count = 0;
        loop {
            self.make_room()?;
            match self.read_once() {
                Ok(0) => return Err(self.connection.closed()),
                Ok(more) => count += more,
                Err(error) if would_block(&error) => return Ok(count),
                Err(error) => return Err(self.connection.lost(error)),
            }
            self.heard();
            self.connection.find_whole(&mut self.buffer, &mut self.whole)?;
            // TLS hands out a record at a time, and of what it still holds no `poll` tells.
            if !self.connection.socket().is_tls() || self.stopped() {
                return Ok(count);
            }
            self.keep_up()?;
        }
    }

    /// Sees that there is room to read into.
    fn make_room(&mut self) -> Result<()> {
        let is_short = |buffer: &Vec<u8>| buffer.capacity() - buffer.len() < BUFFER_BYTES / 8;
        if is_short(&self.buffer) {
            self.hand_over()?;
        }
        // The message that is left over may fill all of the next buffer.
        if is_short(&self.buffer) {
            self.buffer.reserve(self.buffer.capacity().max(BUFFER_BYTES));
        }
        Ok(())
    }

    fn read_once(&mut self) -> std::io::Result<usize> {
        let filled = self.buffer.len();
        // What is not read into need not be filled with zeros.
        let room = self.buffer.capacity().min(filled + BUFFER_BYTES);
        self.buffer.resize(room, 0);
        let read = self.connection.socket().read(&mut self.buffer[filled..]);
        let count = match &read {
            Ok(count) => *count,
            Err(_) => 0,
        };
        self.buffer.truncate(filled + count);
        read
    }

    /// Hands the whole messages over and keeps the rest. While the decoder is behind, the server
    /// still hears of us.
    fn hand_over(&mut self) -> Result<()> {
        if self.whole == 0 {
            return Ok(());
        }
        let mut next = self.returned.try_recv().unwrap_or_default();
        // One that has grown for a large message is freed.
        if next.capacity() > BUFFER_KEPT_MAX {
            next = Vec::new();
        }
        next.clear();
        next.reserve(BUFFER_BYTES);
        next.extend_from_slice(&self.buffer[self.whole..]);
        let mut full = std::mem::replace(&mut self.buffer, next);
        full.truncate(std::mem::take(&mut self.whole));
        let mut message = Ok(full);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(back)) => message = back,
            }
            if self.stopped() {
                return Ok(());
            }
            std::thread::sleep(BEHIND_PAUSE);
            // Nobody listens meanwhile.
            self.heard();
            self.keep_up()?;
        }
    }

    fn heard(&mut self) {
        self.heard_at = Instant::now();
        self.vitals.heard(self.heard_at);
    }

    fn keep_up(&mut self) -> Result<()> {
        if self.heard_at.elapsed() >= SILENCE_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "read the log")
                .because("the server has been silent, though it should not be")
                .with("silent_s", self.heard_at.elapsed().as_secs()));
        }
        self.connection.keep_up(self.heard_at)
    }
}
