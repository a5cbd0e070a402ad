//! Connections to the server: for SQL by `mysql_async`; for the log one of our own, because its stream
//! copies each event and a description with it, and unpacks compressed transactions as a whole. A
//! blocking socket and log-in here; the stream's thread in [`stream`].

mod login;
mod protocol;
mod rows;
mod server_error;
mod sql;
pub(crate) mod stream;

pub(crate) use rows::RowLimits;
pub(crate) use server_error::database_error;
pub(crate) use sql::Sql;

use protocol::{Answer, Failure, PACKET_HEADER_BYTES, PAYLOAD_BYTES_MAX};
use server_error::{TLS_AT_SERVER, server_error};
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, MysqlSettings, Result};
use tidemesh_source::{Broken, Endpoint, Socket};

/// The most bytes of one packet before the stream begins.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// A connection that is logged in, ready for a command.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// The connection's number at the server.
    pub(crate) thread: u32,
    /// The last packet's number.
    sequence: u8,
    deadline: Instant,
}

/// Where these settings' server is.
pub(crate) fn endpoint(settings: &MysqlSettings) -> Endpoint<'_> {
    Endpoint {
        doing: ["connect to MySQL", "talk to MySQL"],
        table: "mysql",
        host: &settings.host,
        port: settings.port,
        tls: settings.tls,
        tls_ca_file: settings.tls_ca_file.as_deref(),
        tls_at_server: TLS_AT_SERVER,
    }
}

impl Client {
    /// Connects and logs in. Blocks up to the settings' `connect_timeout_ms`.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Authentication`, `Prerequisite`, `Unsupported`.
    pub(crate) fn connect(settings: &MysqlSettings) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_millis(settings.connect_timeout_ms);
        let greeted = login::connect(settings, &endpoint(settings), deadline)?;
        let mut client = Self::over(greeted.socket, deadline);
        client.sequence = greeted.sequence;
        client.thread = greeted.greeting.thread;
        client.log_in(settings, &greeted.greeting)?;
        Ok(client)
    }

    fn over(socket: Socket, deadline: Instant) -> Self {
        Self { socket, thread: 0, sequence: u8::MAX, deadline }
    }

    /// Runs a statement that answers no rows.
    ///
    /// # Errors
    ///
    /// What the server says; `Timeout`.
    pub(crate) fn run(&mut self, statement: &str, timeout: Duration) -> Result<()> {
        self.command(&protocol::query(statement), timeout)
    }

    /// Tells the server who reads.
    ///
    /// # Errors
    ///
    /// As [`Client::run`].
    pub(crate) fn register(&mut self, server_id: u32, name: &str, timeout: Duration) -> Result<()> {
        self.command(&protocol::register(server_id, name), timeout)
    }

    fn command(&mut self, command: &[u8], timeout: Duration) -> Result<()> {
        self.deadline = Instant::now() + timeout;
        self.begin(command)?;
        let payload = self.receive()?;
        match protocol::answer(&payload) {
            Answer::Ok => Ok(()),
            Answer::Failed(failure) => Err(failed(&failure, "prepare to read the log")),
            _ => Err(malformed()),
        }
    }

    /// Sends a command, whose packets are numbered anew.
    fn begin(&mut self, command: &[u8]) -> Result<()> {
        self.sequence = u8::MAX;
        self.send(command)
    }

    fn send(&mut self, payload: &[u8]) -> Result<()> {
        if payload.len() >= PAYLOAD_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "talk to MySQL")
                .because("what is to be sent is larger than a packet")
                .with("bytes", payload.len()));
        }
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes().to_vec();
        packet[3] = self.sequence;
        packet.extend_from_slice(payload);
        self.socket.write_all_by(&packet, self.deadline).map_err(broken)
    }

    /// The next packet's payload.
    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; PACKET_HEADER_BYTES];
        self.socket.read_exact_by(&mut head, self.deadline).map_err(broken)?;
        let [low, middle, high, sequence] = head;
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        if length > PACKET_BYTES_MAX {
            return Err(malformed().with("bytes", length));
        }
        self.sequence = sequence;
        let mut payload = vec![0; length];
        self.socket.read_exact_by(&mut payload, self.deadline).map_err(broken)?;
        Ok(payload)
    }
}

fn failed(failure: &Failure<'_>, doing: &'static str) -> Error {
    let state = String::from_utf8_lossy(failure.state);
    server_error(failure.code, &state, &String::from_utf8_lossy(failure.message), doing)
}

fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "talk to MySQL")
        .because("its message does not follow the protocol")
}

fn broken(why: Broken) -> Error {
    match why {
        Broken::Closed => closed(),
        Broken::Lost(error) => lost(error),
        Broken::Late => Error::new(ErrorKind::Timeout, "talk to MySQL")
            .because("it did not answer in time")
            .help("see that it is reachable, or raise mysql.connect_timeout_ms"),
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "talk to MySQL").because("it closed the connection")
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "talk to MySQL")
        .because("the connection was lost")
        .caused_by(error)
}
