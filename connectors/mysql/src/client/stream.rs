//! The stream of the log: packets of the connection, each with one event.
//!
//! Source: MySQL 9.1, `Binlog_sender` in `sql/rpl_binlog_sender.cc`; MariaDB 10.11, `sql/sql_repl.cc`.

use super::protocol::{self, PACKET_HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::{Client, closed, failed, lost, malformed};
use crate::frame::{HEADER_BYTES, Header};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{LogConnection, LogStream, Socket, Vitals};

/// What stands before each event in the buffers of the stream: a packet's header, and a byte that says
/// that an event follows.
pub(crate) const BEFORE_EVENT_BYTES: usize = PACKET_HEADER_BYTES + 1;

/// How often the server says that it is there while it has nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a command before the stream may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// From where the log is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// A place of a file.
    Place { file: String, position: u32 },
    /// All but these transactions, of a MySQL server: the set in the form of a log's own.
    Gtids(Vec<u8>),
    /// All behind these transactions, of a MariaDB server: `domain-server-sequence,…`.
    MariadbGtids(String),
}

/// Begins to read the log. `name` is shown in the server's list of replicas.
///
/// # Errors
///
/// What the server says; `Timeout`. What it says of the place comes with the stream.
pub(crate) fn start(
    mut client: Client,
    server_id: u32,
    name: &str,
    from: &From,
    message_bytes_max: usize,
    vitals: Arc<Vitals>,
) -> Result<LogStream> {
    let heartbeat = HEARTBEAT.as_nanos();
    // Each server knows one of the names, or both.
    client.run(
        &format!(
            "SET @master_binlog_checksum = @@global.binlog_checksum, \
             @source_binlog_checksum = @@global.binlog_checksum, \
             @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
             @mariadb_slave_capability = 4"
        ),
        COMMAND_TIMEOUT,
    )?;
    client.register(server_id, name, COMMAND_TIMEOUT)?;
    let command = match from {
        From::Place { file, position } => protocol::dump(server_id, file, *position),
        From::Gtids(gtids) => protocol::dump_gtids(server_id, gtids),
        From::MariadbGtids(gtids) => {
            // No quote is in a set that was parsed.
            client.run(
                &format!(
                    "SET @slave_connect_state = '{gtids}', @slave_gtid_strict_mode = 1, \
                     @slave_gtid_ignore_duplicates = 0"
                ),
                COMMAND_TIMEOUT,
            )?;
            protocol::dump(server_id, "", 4)
        }
    };
    client.begin(&command)?;
    let reading = Reading { client, message_bytes_max, joined: 0 };
    LogStream::start("mysql-stream", reading, vitals)
}

/// What the thread has of the connection.
struct Reading {
    client: Client,
    message_bytes_max: usize,
    /// Bytes of an event's earlier packets, which stand joined behind the first one's header.
    joined: usize,
}

impl LogConnection for Reading {
    fn socket(&mut self) -> &mut Socket {
        &mut self.client.socket
    }

    fn find_whole(&mut self, buffer: &mut Vec<u8>, whole: &mut usize) -> Result<()> {
        loop {
            let payload_at = *whole + PACKET_HEADER_BYTES;
            let head_at = match self.joined {
                0 => *whole,
                joined => payload_at + joined,
            };
            let Some([low, middle, high, _]) = buffer.get(head_at..).and_then(<[u8]>::first_chunk)
            else {
                return Ok(());
            };
            let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
            let total = self.joined + length;
            if total > self.message_bytes_max {
                return self.too_large(&buffer[*whole..], total);
            }
            if buffer.len() < head_at + PACKET_HEADER_BYTES + length {
                return Ok(());
            }
            if self.joined > 0 {
                buffer.drain(head_at..head_at + PACKET_HEADER_BYTES);
            }
            if length == PAYLOAD_BYTES_MAX {
                self.joined = total;
                continue;
            }
            self.joined = 0;
            let end = payload_at + total;
            match &buffer[payload_at..end] {
                [0x00, ..] => *whole = end,
                [0xff, rest @ ..] => {
                    return Err(failed(&protocol::failure(rest), "read the log"));
                }
                // The server ends the stream: it shuts down.
                [0xfe, ..] => return Err(closed()),
                _ => return Err(malformed()),
            }
        }
    }

    /// The server asks for nothing.
    fn keep_up(&mut self, _: Instant) -> Result<()> {
        Ok(())
    }

    fn quiet_max(&self) -> Duration {
        HEARTBEAT
    }

    /// Nothing ends a stream but the connection's end.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn closed(&self) -> Error {
        closed()
    }

    fn lost(&self, error: std::io::Error) -> Error {
        lost(error)
    }
}

impl Reading {
    #[cold]
    fn too_large(&self, packet: &[u8], bytes: usize) -> Result<()> {
        let Some(event) = packet.get(BEFORE_EVENT_BYTES..BEFORE_EVENT_BYTES + HEADER_BYTES) else {
            // Its header comes next, and tells where it is.
            return Ok(());
        };
        let error = Error::new(ErrorKind::TooLarge, "read the log")
            .because("an event is larger than the limit")
            .with("bytes", bytes)
            .with("message_bytes_max", self.message_bytes_max)
            .help("raise mysql.message_bytes_max, and see that there is memory for it");
        Err(match Header::of(event) {
            Some(header) => header.locate(error),
            None => error,
        })
    }
}

#[cfg(test)]
mod tests;
