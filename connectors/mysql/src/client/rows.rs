//! Statements and the rows that they answer, for whoever reads tables: each row's bytes are handed over as
//! they came, and no object is made for it.
//!
//! Source: MySQL 9.1 source documentation, "Client/Server Protocol", `page_protocol_com_query_response`.

use super::protocol::{self, Answer, PACKET_HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::{Client, broken, closed, failed, lost, malformed};
use std::io::Read;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::{Wait, would_block};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What ends rows is shorter than a row that begins with the same byte, which is a length of 8 bytes.
const END_BYTES_MAX: usize = 8;

/// The bounds of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowLimits {
    /// The most bytes of a row.
    pub(crate) row_bytes_max: usize,
    /// How long the server may be silent: one that has to sort rows first takes long.
    pub(crate) silence_max: Duration,
}

impl Client {
    /// Runs a statement, and hands over each row that it answers until `take` answers false; a row is
    /// its cells, each behind its packed length, null as `0xFB`. Answers whether all were taken. What
    /// is left is on its way all the same: the connection is of no use behind it, nor behind an error.
    ///
    /// # Errors
    ///
    /// What the server says; `Timeout`; `TooLarge`; what `take` refuses.
    pub(crate) fn rows(
        &mut self,
        statement: &str,
        limits: RowLimits,
        mut take: impl FnMut(&[u8]) -> Result<bool>,
    ) -> Result<bool> {
        self.deadline = Instant::now() + limits.silence_max;
        self.begin(&protocol::query(statement))?;
        let mut packets = Packets::new(limits);
        let first = packets.next(self)?;
        let columns = match protocol::answer(first) {
            Answer::Ok => return Ok(true),
            Answer::Failed(failure) => return Err(failed(&failure, DOING)),
            _ => crate::bytes::Bytes(first).packed_len().ok_or_else(malformed)?,
        };
        for _ in 0..columns {
            packets.next(self)?;
        }
        if !is_end(packets.next(self)?) {
            return Err(malformed());
        }
        loop {
            match packets.next(self)? {
                packet if is_end(packet) => return Ok(true),
                [0xff, rest @ ..] => return Err(failed(&protocol::failure(rest), DOING)),
                row if take(row)? => {}
                _ => return Ok(false),
            }
        }
    }

    /// Reads some bytes at the end of what is filled; answers how many.
    fn read_some(&mut self, buffer: &mut [u8], silence_max: Duration) -> Result<usize> {
        self.deadline = Instant::now() + silence_max;
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(closed()),
                Ok(count) => return Ok(count),
                Err(error) if would_block(&error) => {
                    self.socket.wait_by(Wait::Read, self.deadline).map_err(broken)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
    }
}

const DOING: &str = "read a table";

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() <= END_BYTES_MAX
}

/// The packets of an answer, in a buffer.
struct Packets {
    buffer: Vec<u8>,
    /// Where the next packet begins.
    begin: usize,
    /// Up to where the buffer is filled.
    end: usize,
    limits: RowLimits,
}

impl Packets {
    fn new(limits: RowLimits) -> Self {
        Self { buffer: vec![0; BUFFER_BYTES], begin: 0, end: 0, limits }
    }

    /// The next payload, joined where it comes in several packets.
    fn next(&mut self, client: &mut Client) -> Result<&[u8]> {
        let mut joined = 0;
        loop {
            // Later pieces come behind a header of their own, which goes.
            let head_at = if joined == 0 { 0 } else { PACKET_HEADER_BYTES + joined };
            self.fill(client, head_at + PACKET_HEADER_BYTES)?;
            let head = &self.buffer[self.begin + head_at..];
            let length = head.first_chunk().map_or(0, |[low, middle, high]| {
                u32::from_le_bytes([*low, *middle, *high, 0]) as usize
            });
            if joined + length > self.limits.row_bytes_max {
                return Err(self.too_large(joined + length));
            }
            self.fill(client, head_at + PACKET_HEADER_BYTES + length)?;
            if joined > 0 {
                let at = self.begin + head_at;
                self.buffer.copy_within(at + PACKET_HEADER_BYTES..self.end, at);
                self.end -= PACKET_HEADER_BYTES;
            }
            joined += length;
            if length < PAYLOAD_BYTES_MAX {
                break;
            }
        }
        let begin = self.begin + PACKET_HEADER_BYTES;
        self.begin = begin + joined;
        Ok(&self.buffer[begin..self.begin])
    }

    /// Sees that so many bytes are there from the next packet's beginning on.
    fn fill(&mut self, client: &mut Client, count: usize) -> Result<()> {
        if self.end - self.begin >= count {
            return Ok(());
        }
        if self.begin + count > self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            if count > self.buffer.len() {
                self.buffer.resize(count + BUFFER_BYTES, 0);
            }
        }
        while self.end - self.begin < count {
            let free = &mut self.buffer[self.end..];
            self.end += client.read_some(free, self.limits.silence_max)?;
        }
        Ok(())
    }

    #[cold]
    fn too_large(&self, bytes: usize) -> Error {
        Error::new(ErrorKind::TooLarge, DOING)
            .because("a row is larger than the limit")
            .with("bytes", bytes)
            .with("message_bytes_max", self.limits.row_bytes_max)
            .help("raise mysql.message_bytes_max, and see that there is memory for it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use tidemesh_source::Socket;

    const LIMITS: RowLimits =
        RowLimits { row_bytes_max: 1 << 26, silence_max: Duration::from_secs(20) };

    fn packets(payload: &[u8], out: &mut Vec<u8>) {
        let mut rest = payload;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PAYLOAD_BYTES_MAX));
            out.extend_from_slice(&u32::try_from(piece.len()).unwrap().to_le_bytes()[..3]);
            out.push(7);
            out.extend_from_slice(piece);
            rest = after;
            if piece.len() < PAYLOAD_BYTES_MAX {
                return;
            }
        }
    }

    /// An answer of one column with these rows, and what ends it.
    fn answer(rows: &[Vec<u8>], end: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in [&[1][..], b"\x03def", b"\xfe\0\0\x02\0"] {
            packets(payload, &mut out);
        }
        rows.iter().for_each(|row| packets(row, &mut out));
        packets(end, &mut out);
        out
    }

    /// What is read of an answer that comes in pieces.
    fn read(answer: Vec<u8>, piece: usize, limits: RowLimits) -> Result<Vec<Vec<u8>>> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            // Nothing is answered, and the socket not closed, before it was asked.
            let _ = theirs.read(&mut [0; 64]).unwrap();
            for piece in answer.chunks(piece) {
                // Whoever reads may have gone.
                if theirs.write_all(piece).is_err() {
                    return;
                }
            }
        });
        let mut client = Client::over(Socket::Unix(ours), Instant::now());
        let mut rows = Vec::new();
        let found = client.rows("SELECT", limits, |row| {
            rows.push(row.to_vec());
            Ok(true)
        });
        drop(client);
        writer.join().unwrap();
        found.map(|_| rows)
    }

    const END: &[u8] = b"\xfe\0\0\x02\0";

    #[test]
    fn rows_of_several_packets_are_joined() {
        for length in [PAYLOAD_BYTES_MAX - 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 5] {
            let mut row = vec![0xfe; length];
            row[length - 1] = 9;
            let rows = vec![vec![3; 10], row, vec![4; 7]];
            assert!(read(answer(&rows, END), 1 << 20, LIMITS).unwrap() == rows, "{length}");
        }
    }

    #[test]
    fn errors_and_rows_that_are_too_large_end_the_reading() {
        let told = b"\xff\x2c\x04#42000no";
        let error = read(answer(&[vec![1, 2]], told), 99, LIMITS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
        let limits = RowLimits { row_bytes_max: 100, ..LIMITS };
        let error = read(answer(&[vec![1; 101]], END), 99, limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_come_back_however_they_are_cut(
            lengths in prop::collection::vec(1_usize..2000, 0..300), piece in 1_usize..5000,
        ) {
            let rows: Vec<Vec<u8>> = lengths.iter().map(|length| vec![2; *length]).collect();
            prop_assert_eq!(read(answer(&rows, END), piece, LIMITS).unwrap(), rows);
        }

        #[test]
        fn any_answer_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(bytes, 50, LIMITS);
        }
    }
}
