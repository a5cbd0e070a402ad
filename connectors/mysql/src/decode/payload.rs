//! Compressed transactions: their events come out of the stream one after the other, so that no more
//! than one of them is in memory (MySQL 9.1, `Transaction_payload_event` in `control_events.cpp`,
//! `codecs/binary.cpp`, `compression/zstd_dec.cpp`).

use crate::bytes::Bytes;
#[cfg(any(test, feature = "fuzz"))]
use crate::frame::Framer;
use crate::frame::{HEADER_BYTES, Header, kinds};
use std::io::{BufReader, Cursor, Read};
use tidemesh_model::{Error, ErrorKind, Result};
use zstd::stream::read::Decoder;

/// The largest window, as a power of two, that is allowed to the decompressor: 128 MiB, which the
/// highest level that MySQL has takes.
const WINDOW_LOG_MAX: u32 = 27;

/// Where an event's header has its kind.
const KIND_AT: usize = 4;

/// How the events are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
}

/// A compressed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    header: Header,
    compression: Compression,
    /// Bytes of all its events, if that is told.
    uncompressed_bytes: Option<u64>,
    bytes: &'a [u8],
}

/// Fields, each behind its number and length; 0 ends them.
pub(super) fn payload<'a>(header: &Header, mut bytes: Bytes<'a>) -> Result<Payload<'a>> {
    let cut = || header.malformed("its bytes are not of its kind");
    let fields = fields(&mut bytes).ok_or_else(cut)?;
    let length = usize::try_from(fields.length).map_err(|_| cut())?;
    let compression = match fields.compression {
        0 => Compression::Zstd,
        255 => Compression::None,
        other => {
            return Err(header
                .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
                .because("a transaction is compressed in a way that is not known here")
                .with("compression", other)
                .help("set binlog_transaction_compression to OFF at the server"));
        }
    };
    let bytes = bytes.take(length).ok_or_else(cut)?;
    Ok(Payload { header: *header, compression, uncompressed_bytes: fields.uncompressed, bytes })
}

struct Fields {
    length: u64,
    compression: u64,
    uncompressed: Option<u64>,
}

fn fields(bytes: &mut Bytes<'_>) -> Option<Fields> {
    let (mut length, mut compression, mut uncompressed) = (None, None, None);
    loop {
        let field = bytes.packed()?;
        if field == 0 {
            break;
        }
        let mut value = Bytes(bytes.packed_bytes()?);
        match field {
            1 => length = Some(value.packed()?),
            2 => compression = Some(value.packed()?),
            3 => uncompressed = Some(value.packed()?),
            _ => {}
        }
    }
    Some(Fields { length: length?, compression: compression?, uncompressed })
}

impl Payload<'_> {
    /// Its events, none of which may have more bytes than `event_bytes_max`.
    ///
    /// # Errors
    ///
    /// `Internal` if the decompressor cannot be made.
    pub(crate) fn events(&self, event_bytes_max: usize) -> Result<PayloadEvents> {
        // Copied, so that they may come while the log is read on.
        let input = match self.compression {
            Compression::None => Input::Plain(Cursor::new(self.bytes.to_vec())),
            Compression::Zstd => Input::Zstd(self.decoder().map_err(|error| {
                Error::new(ErrorKind::Internal, "make a decompressor").caused_by(error)
            })?),
        };
        Ok(PayloadEvents {
            header: self.header,
            input,
            left: self.uncompressed_bytes,
            event_bytes_max,
            event: Vec::new(),
        })
    }

    fn decoder(&self) -> std::io::Result<Decoder<'static, BufReader<Cursor<Vec<u8>>>>> {
        let mut decoder = Decoder::new(Cursor::new(self.bytes.to_vec()))?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(decoder)
    }
}

enum Input {
    Zstd(Decoder<'static, BufReader<Cursor<Vec<u8>>>>),
    Plain(Cursor<Vec<u8>>),
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Zstd(decoder) => decoder.read(out),
            Self::Plain(bytes) => bytes.read(out),
        }
    }
}

/// The events of a compressed transaction, one at a time.
pub(crate) struct PayloadEvents {
    /// The header of the event that holds them.
    header: Header,
    input: Input,
    /// Bytes that are still to come, if that is told.
    left: Option<u64>,
    event_bytes_max: usize,
    event: Vec<u8>,
}

impl PayloadEvents {
    /// The next event; none at the end.
    ///
    /// # Errors
    ///
    /// As [`PayloadEvents::next_bytes`].
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn next(&mut self) -> Result<Option<crate::frame::Event<'_>>> {
        let header = self.header;
        let Some(bytes) = self.next_bytes()? else { return Ok(None) };
        Framer::nested(bytes).map(Some).map_err(|error| header.locate(error))
    }

    /// The next event's bytes, header and all, without a checksum; none at the end.
    ///
    /// # Errors
    ///
    /// `Malformed` if the bytes are not compressed, or no events; `TooLarge` for an event that is
    /// larger than allowed.
    pub(crate) fn next_bytes(&mut self) -> Result<Option<&[u8]>> {
        self.event.clear();
        if self.read(HEADER_BYTES)? == 0 {
            return match self.left {
                None | Some(0) => Ok(None),
                Some(_) => Err(self.broken("a compressed transaction is cut")),
            };
        }
        if self.event.len() < HEADER_BYTES {
            return Err(self.broken("a compressed transaction is cut"));
        }
        let size =
            self.event[9..13].iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
        if size > self.event_bytes_max {
            return Err(self
                .header
                .locate(Error::new(ErrorKind::TooLarge, "decode the log"))
                .because("an event of a compressed transaction is larger than allowed")
                .with("bytes", size)
                .with("bytes_max", self.event_bytes_max));
        }
        let more = size.checked_sub(HEADER_BYTES);
        let more = more.ok_or_else(|| self.broken("an event's size is less than its header's"))?;
        if self.read(more)? < more {
            return Err(self.broken("a compressed transaction is cut"));
        }
        if self.event.get(KIND_AT) == Some(&kinds::TRANSACTION_PAYLOAD.0) {
            return Err(self.broken("a compressed transaction stands within another one"));
        }
        Ok(Some(&self.event))
    }

    /// Reads at most `count` bytes behind what there is of the event.
    fn read(&mut self, count: usize) -> Result<usize> {
        let most = u64::try_from(count).unwrap_or(u64::MAX);
        let read = self.input.by_ref().take(most).read_to_end(&mut self.event);
        let read = read.map_err(|error| {
            self.header.malformed("a compressed transaction is broken").caused_by(error)
        })?;
        if let Some(left) = self.left {
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            let left = left.checked_sub(read);
            self.left =
                Some(left.ok_or_else(|| {
                    self.broken("a compressed transaction is longer than it says")
                })?);
        }
        Ok(read)
    }

    #[cold]
    fn broken(&self, why: &'static str) -> Error {
        self.header.malformed(why)
    }
}
