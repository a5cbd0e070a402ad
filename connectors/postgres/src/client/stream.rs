//! The stream's thread: reads the log into large buffers, answers the server, and hands whole
//! messages over a bounded channel.
//!
//! The server sends each row as a message of its own. A reader that wakes for each pays for it, and
//! makes the server slower too; so while messages come densely, the thread pauses before it reads
//! and lets the socket fill. As soon as little comes, it reads at once again.

use super::{Client, closed, lost, malformed, server_error};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{Vitals, Wait, would_block};
use tokio::sync::mpsc;

/// Bytes of one buffer at first; it grows for a message that is larger.
const BUFFER_BYTES: usize = 512 * 1024;

/// Buffers that may wait for the decoder; the thread stops reading when they do.
const BUFFERS_WAITING_MAX: usize = 4;

/// Emptied buffers that may wait for use again.
const BUFFERS_SPARE_MAX: usize = 8;

/// How often the server hears of us, far below `wal_sender_timeout`'s default of 60 s.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long the server may be silent before it is asked to answer.
const SILENCE_TO_ASK: Duration = Duration::from_secs(10);

/// How long it may be silent before the connection is given up: a host that vanished says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long writing a status may take.
const STATUS_WRITE_MAX: Duration = Duration::from_secs(30);

/// Wake-ups closer than this are dense.
const DENSE_WITHIN: Duration = Duration::from_micros(200);

/// So many dense wake-ups in a row begin a burst.
const DENSE_TO_BURST: u32 = 3;

/// A burst goes on while a read after a pause brings at least so much.
const BURST_BYTES_MIN: usize = 2048;

/// How long the thread waits when the decoder is behind, before it looks again.
const BEHIND_PAUSE: Duration = Duration::from_millis(1);

/// Where the log's own message begins in a message of the stream: behind tag and length, `w`, two
/// places of the log and a clock (chapter 54.4).
const ROW_AT: usize = 5 + 1 + 3 * 8;

/// Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;

/// The handle of a running stream. Dropping it ends the thread and the connection.
pub(crate) struct Stream {
    messages: mpsc::Receiver<Result<Vec<u8>>>,
    spare: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    /// The log up to here may be forgotten.
    flushed: AtomicU64,
    stop: AtomicBool,
    /// The table of the row that was larger than the limit; 0 if there was none.
    oversized: AtomicU32,
}

impl Stream {
    /// Begins to read the stream that `client`'s last command has begun. Nothing before `flushed`
    /// is needed any more. `vitals` are told when the server is heard.
    pub(crate) fn start(
        client: Client,
        flushed: u64,
        message_bytes_max: usize,
        vitals: Arc<Vitals>,
    ) -> Result<Self> {
        let (sender, messages) = mpsc::channel(BUFFERS_WAITING_MAX);
        let (spare, returned) = mpsc::channel(BUFFERS_SPARE_MAX);
        let shared = Arc::new(Shared {
            flushed: AtomicU64::new(flushed),
            stop: AtomicBool::new(false),
            oversized: AtomicU32::new(0),
        });
        let mut reading = Reading {
            client,
            sender,
            returned,
            shared: Arc::clone(&shared),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            whole: 0,
            received: 0,
            status_at: Instant::now(),
            heard_at: Instant::now(),
            vitals,
            message_bytes_max,
        };
        let thread = std::thread::Builder::new()
            .name("postgres-stream".to_owned())
            .spawn(move || reading.run())
            .map_err(|e| Error::new(ErrorKind::Unavailable, "read the log").caused_by(e))?;
        Ok(Self { messages, spare, shared, thread: Some(thread) })
    }

    /// The next buffer of whole `CopyData` messages. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>> {
        self.messages.recv().await.unwrap_or_else(|| Err(closed()))
    }

    /// A buffer that waits already.
    pub(crate) fn try_next(&mut self) -> Option<Result<Vec<u8>>> {
        self.messages.try_recv().ok()
    }

    /// A place that gives buffers back.
    pub(crate) fn spare(&self) -> mpsc::Sender<Vec<u8>> {
        self.spare.clone()
    }

    /// Tells the server, with the next status message, that it may forget the log before `lsn`.
    pub(crate) fn confirm(&self, lsn: u64) {
        self.shared.flushed.fetch_max(lsn, Ordering::Release);
    }

    /// The id of the table whose row was larger than the limit.
    pub(crate) fn oversized(&self) -> Option<u32> {
        Some(self.shared.oversized.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    /// Sends the last status, ends the stream in order and waits for the thread.
    pub(crate) fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.messages.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads the log panicked");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread holds.
struct Reading {
    client: Client,
    sender: mpsc::Sender<Result<Vec<u8>>>,
    returned: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    /// Bytes of whole messages at the buffer's beginning.
    whole: usize,
    /// The log's end as the server told last.
    received: u64,
    status_at: Instant,
    /// When bytes of the server came last.
    heard_at: Instant,
    vitals: Arc<Vitals>,
    message_bytes_max: usize,
}

impl Reading {
    fn run(&mut self) {
        match self.read_until_stopped() {
            Ok(()) => {
                if let Err(error) = self.finish() {
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
        self.shared.stop.load(Ordering::Acquire) || self.sender.is_closed()
    }

    fn read_until_stopped(&mut self) -> Result<()> {
        let pause = self.client.socket.burst_pause();
        let (mut dense, mut burst, mut woken_at) = (0_u32, false, Instant::now());
        while !self.stopped() {
            self.send_status_if_due()?;
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
            self.client.socket.wait(Wait::Read, self.wait_max()).map_err(lost)?;
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

    /// How long the thread may sleep: until the next status, and never so long that a stop waits.
    fn wait_max(&self) -> Duration {
        STATUS_INTERVAL
            .saturating_sub(self.status_at.elapsed())
            .clamp(Duration::from_millis(1), Duration::from_millis(100))
    }

    /// Reads what is there; answers how many bytes that were.
    fn read(&mut self) -> Result<usize> {
        let mut count = 0;
        loop {
            self.make_room()?;
            match self.read_once() {
                Ok(0) => return Err(closed()),
                Ok(more) => count += more,
                Err(error) if would_block(&error) => return Ok(count),
                Err(error) => return Err(lost(error)),
            }
            self.heard();
            self.find_whole()?;
            // TLS hands out a record at a time, and of what it still holds no `poll` tells.
            if !self.client.socket.is_tls() || self.stopped() {
                return Ok(count);
            }
            self.send_status_if_due()?;
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
        let room = self.buffer.capacity();
        self.buffer.resize(room, 0);
        let read = self.client.socket.read(&mut self.buffer[filled..]);
        let count = match &read {
            Ok(count) => *count,
            Err(_) => 0,
        };
        self.buffer.truncate(filled + count);
        read
    }

    /// Walks the messages that have become whole, and answers the server where it asks.
    fn find_whole(&mut self) -> Result<()> {
        while let Some(head) = self.buffer.get(self.whole..self.whole + 5) {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if length < 4 || length > self.message_bytes_max {
                return self.too_large(length);
            }
            let (start, end) = (self.whole + 5, self.whole + 1 + length);
            let tag = head[0];
            let Some(body) = self.buffer.get(start..end) else {
                return Ok(());
            };
            match tag {
                b'd' => {
                    if let (Some(b'k'), Some(asked)) = (body.first(), body.get(17)) {
                        let end = body.get(1..9).and_then(<[u8]>::first_chunk);
                        self.received = end.map_or(self.received, |b| u64::from_be_bytes(*b));
                        if *asked == 1 {
                            self.send_status()?;
                        }
                    }
                    self.whole = end;
                }
                b'E' => return Err(server_error(body, "read the log")),
                // The server ends the stream: it shuts down.
                b'c' | b'C' | b'Z' => return Err(closed()),
                b'N' | b'S' => {
                    self.buffer.drain(self.whole..end);
                }
                _ => return Err(malformed().with("tag", tag)),
            }
        }
        Ok(())
    }

    /// Refuses the message that comes next, once it has told its table.
    #[cold]
    fn too_large(&self, length: usize) -> Result<()> {
        let is_data = self.buffer.get(self.whole) == Some(&b'd');
        let row = self.buffer.get(self.whole + ROW_AT..).and_then(<[u8]>::first_chunk::<5>);
        match row {
            None if is_data && length > ROW_AT => return Ok(()),
            Some([b'I' | b'U' | b'D', id @ ..]) if is_data => {
                self.shared.oversized.store(u32::from_be_bytes(*id), Ordering::Release);
            }
            _ => {}
        }
        Err(Error::new(ErrorKind::TooLarge, "read the log")
            .because("a message is larger than the limit")
            .with("bytes", length)
            .with("message_bytes_max", self.message_bytes_max)
            .help("raise postgres.message_bytes_max, and see that there is memory for it"))
    }

    /// Hands the whole messages over and keeps the rest. While the decoder is behind, the server
    /// still hears of us.
    fn hand_over(&mut self) -> Result<()> {
        if self.whole == 0 {
            return Ok(());
        }
        let mut next = self.returned.try_recv().unwrap_or_default();
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
            self.send_status_if_due()?;
        }
    }

    fn heard(&mut self) {
        self.heard_at = Instant::now();
        self.vitals.heard(self.heard_at);
    }

    fn send_status_if_due(&mut self) -> Result<()> {
        if self.status_at.elapsed() < STATUS_INTERVAL {
            return Ok(());
        }
        if self.heard_at.elapsed() >= SILENCE_MAX {
            return Err(Error::new(ErrorKind::Unavailable, "read the log")
                .because("the server has been silent, though it was asked to answer")
                .with("silent_s", self.heard_at.elapsed().as_secs()));
        }
        self.send_status()
    }

    /// "Standby status update" (chapter 54.4): written and flushed up to what is durable.
    fn send_status(&mut self) -> Result<()> {
        self.status_at = Instant::now();
        let flushed = self.shared.flushed.load(Ordering::Acquire);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX) - EPOCH_US;
        let mut body = vec![b'r'];
        for lsn in [flushed.max(self.received), flushed, flushed] {
            body.extend_from_slice(&lsn.to_be_bytes());
        }
        body.extend_from_slice(&now_us.to_be_bytes());
        body.push(u8::from(self.heard_at.elapsed() >= SILENCE_TO_ASK));
        self.client.allow(STATUS_WRITE_MAX);
        self.client.send(b'd', &body)
    }

    fn finish(&mut self) -> Result<()> {
        self.send_status()?;
        self.client.send(b'c', &[])?;
        self.client.send(b'X', &[])?;
        self.client.socket.flush().map_err(lost)
    }
}

#[cfg(test)]
mod tests;
