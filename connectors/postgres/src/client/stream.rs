//! The stream of the log: what its messages are to the connection, and what the server is told.

use super::{Client, closed, lost, malformed, server_error};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{LogConnection, LogStream, Socket, Vitals};
use tokio::sync::mpsc;

/// How often the server hears of us, far below `wal_sender_timeout`'s default of 60 s.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long the server may be silent before it is asked to answer.
const SILENCE_TO_ASK: Duration = Duration::from_secs(10);

/// How long writing a status may take.
const STATUS_WRITE_MAX: Duration = Duration::from_secs(30);

/// Where the log's own message begins in a message of the stream: behind tag and length, `w`, two
/// places of the log and a clock (chapter 54.4).
const ROW_AT: usize = 5 + 1 + 3 * 8;

/// Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;

/// The handle of a running stream. Dropping it ends the thread and the connection.
pub(crate) struct Stream {
    stream: LogStream,
    shared: Arc<Shared>,
}

struct Shared {
    /// The log up to here may be forgotten.
    flushed: AtomicU64,
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
        let (flushed, oversized) = (AtomicU64::new(flushed), AtomicU32::new(0));
        let shared = Arc::new(Shared { flushed, oversized });
        let reading = Reading {
            client,
            shared: Arc::clone(&shared),
            received: 0,
            status_at: Instant::now(),
            heard_at: Instant::now(),
            message_bytes_max,
        };
        Ok(Self { stream: LogStream::start("postgres-stream", reading, vitals)?, shared })
    }

    /// The next buffer of whole `CopyData` messages. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>> {
        self.stream.next().await
    }

    /// A buffer that waits already.
    pub(crate) fn try_next(&mut self) -> Option<Result<Vec<u8>>> {
        self.stream.try_next()
    }

    /// A place that gives buffers back.
    pub(crate) fn spare(&self) -> mpsc::Sender<Vec<u8>> {
        self.stream.spare()
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
    pub(crate) fn close(self) {
        self.stream.close();
    }
}

/// What the thread has of the connection.
struct Reading {
    client: Client,
    shared: Arc<Shared>,
    /// The log's end as the server told last.
    received: u64,
    status_at: Instant,
    /// When bytes of the server came last, as far as this was told.
    heard_at: Instant,
    message_bytes_max: usize,
}

impl LogConnection for Reading {
    fn socket(&mut self) -> &mut Socket {
        &mut self.client.socket
    }

    fn find_whole(&mut self, buffer: &mut Vec<u8>, whole: &mut usize) -> Result<()> {
        while let Some(head) = buffer.get(*whole..*whole + 5) {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if length < 4 || length > self.message_bytes_max {
                return self.too_large(&buffer[*whole..], length);
            }
            let (start, end) = (*whole + 5, *whole + 1 + length);
            let tag = head[0];
            let Some(body) = buffer.get(start..end) else {
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
                    *whole = end;
                }
                b'E' => return Err(server_error(body, "read the log")),
                // The server ends the stream: it shuts down.
                b'c' | b'C' | b'Z' => return Err(closed()),
                b'N' | b'S' => {
                    buffer.drain(*whole..end);
                }
                _ => return Err(malformed().with("tag", tag)),
            }
        }
        Ok(())
    }

    fn keep_up(&mut self, heard_at: Instant) -> Result<()> {
        self.heard_at = heard_at;
        if self.status_at.elapsed() < STATUS_INTERVAL {
            return Ok(());
        }
        self.send_status()
    }

    fn quiet_max(&self) -> Duration {
        STATUS_INTERVAL.saturating_sub(self.status_at.elapsed())
    }

    fn finish(&mut self) -> Result<()> {
        self.send_status()?;
        self.client.send(b'c', &[])?;
        self.client.send(b'X', &[])?;
        self.client.socket.flush().map_err(lost)
    }

    fn closed(&self) -> Error {
        closed()
    }

    fn lost(&self, error: std::io::Error) -> Error {
        lost(error)
    }
}

impl Reading {
    /// Refuses the message that comes next, once it has told its table.
    #[cold]
    fn too_large(&self, message: &[u8], length: usize) -> Result<()> {
        let is_data = message.first() == Some(&b'd');
        let row = message.get(ROW_AT..).and_then(<[u8]>::first_chunk::<5>);
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
}

#[cfg(test)]
mod tests;
