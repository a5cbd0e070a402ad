//! The replication connection: our own, because reading the log through the crates that offer one
//! costs more than all the rest. A blocking socket, start-up and log-in here; the stream's thread in
//! [`stream`].
//!
//! Source: PostgreSQL 18 documentation, chapter 54, "Frontend/Backend Protocol".

mod connect;
mod login;
mod server_error;
pub(crate) mod stream;

pub(crate) use connect::endpoint;
pub(crate) use server_error::{database_error, server_error};

use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, PostgresSettings, Result};
use tidemesh_source::{Broken, Socket};

/// The most bytes of one message before the stream begins.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A connection in replication mode, ready for a command.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// The server's process for this connection; 0 until the log-in has told it.
    pub(crate) process: i32,
    deadline: Instant,
}

/// One message of the server.
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects and logs in. Blocks up to the settings' `connect_timeout_ms`.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Privilege`, `NotFound` (no such database).
    pub(crate) fn connect(settings: &PostgresSettings) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_millis(settings.connect_timeout_ms);
        let socket = connect::connect(settings, deadline)?;
        let mut client = Self { socket, process: 0, deadline };
        client.log_in(settings)?;
        Ok(client)
    }

    /// Sends a command and reads until the server is ready or the stream begins; answers the
    /// first row's cells, if there is a row.
    pub(crate) fn command(
        &mut self,
        command: &str,
        timeout: Duration,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        self.allow(timeout);
        let mut body = command.as_bytes().to_vec();
        body.push(0);
        self.send(b'Q', &body)?;
        let mut row = Vec::new();
        let mut failed = None;
        loop {
            let message = self.receive()?;
            match message.tag {
                b'D' if row.is_empty() => row = data_row(&message.body).ok_or_else(malformed)?,
                b'E' => failed = Some(server_error(&message.body, "run a replication command")),
                b'Z' => return failed.map_or(Ok(row), Err),
                b'W' => return Ok(row),
                _ => {}
            }
        }
    }

    /// What is sent and received from now on may take so long.
    pub(crate) fn allow(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    pub(crate) fn send(&mut self, tag: u8, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 4).map_err(|_| malformed())?;
        let mut frame = Vec::with_capacity(body.len() + 5);
        frame.push(tag);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(body);
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all_by(bytes, self.deadline).map_err(broken)
    }

    pub(crate) fn receive(&mut self) -> Result<Message> {
        let mut head = [0; 5];
        self.socket.read_exact_by(&mut head, self.deadline).map_err(broken)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(malformed().with("bytes", length));
        }
        let mut body = vec![0; length - 4];
        self.socket.read_exact_by(&mut body, self.deadline).map_err(broken)?;
        Ok(Message { tag: head[0], body })
    }
}

fn data_row(body: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let count = u16::from_be_bytes(*body.first_chunk()?);
    let mut rest = body.get(2..)?;
    let mut cells = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(*rest.first_chunk()?);
        rest = rest.get(4..)?;
        match usize::try_from(length) {
            Err(_) => cells.push(None),
            Ok(length) => {
                cells.push(Some(rest.get(..length)?.to_vec()));
                rest = rest.get(length..)?;
            }
        }
    }
    Some(cells)
}

pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "talk to PostgreSQL")
        .because("its message does not follow the protocol")
}

fn broken(why: Broken) -> Error {
    match why {
        Broken::Closed => closed(),
        Broken::Lost(error) => lost(error),
        Broken::Late => Error::new(ErrorKind::Timeout, "talk to PostgreSQL")
            .because("it did not answer in time")
            .help("see that it is reachable, or raise postgres.connect_timeout_ms"),
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "talk to PostgreSQL").because("it closed the connection")
}

pub(crate) fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "talk to PostgreSQL")
        .because("the connection was lost")
        .caused_by(error)
}
