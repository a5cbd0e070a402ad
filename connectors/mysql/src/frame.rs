//! The log's events: their headers and checksums, and those that speak of the log itself. Pure.
//!
//! Sources: MySQL 9.1, `libs/mysql/binlog/event/binlog_event.h`, `control_events.{h,cpp}` and
//! `codecs/binary.cpp`; MariaDB 10.11, `sql/log_event.h`; a MariaDB 10.11.19 (`testdata`).

mod kind;

pub(crate) use kind::{EventKind, kinds};

use crate::bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use tidemesh_model::{Error, ErrorKind, Result};

/// Bytes of an event's header, version 4.
pub(crate) const HEADER_BYTES: usize = 19;

/// Bytes of an event's checksum.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// What a log's file begins with; a stream of the log has none.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) const FILE_MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// The file is still written: not part of what the checksum is of.
const FLAG_IN_USE: u16 = 0x1;
/// Made by the server for this stream, and in no file.
const FLAG_ARTIFICIAL: u16 = 0x20;
/// Whoever does not know the event may skip it.
const FLAG_IGNORABLE: u16 = 0x80;

/// The version of the format that all servers of interest write.
const BINLOG_VERSION: u16 = 4;

/// No checksums.
const CHECKSUM_OFF: u8 = 0;
/// CRC-32 as zlib has it.
const CHECKSUM_CRC32: u8 = 1;

/// An event's header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// When its statement began, seconds since 1970; 0 of an artificial event.
    pub(crate) at_s: u32,
    pub(crate) kind: EventKind,
    /// The server that wrote it first.
    pub(crate) server_id: u32,
    /// Bytes of the whole event.
    pub(crate) size: u32,
    /// Where the event after it begins in its file; 0 of an artificial event. Wraps around at 4 GiB.
    pub(crate) end: u32,
    pub(crate) flags: u16,
}

impl Header {
    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            at_s: bytes.u32()?,
            kind: EventKind(bytes.u8()?),
            server_id: bytes.u32()?,
            size: bytes.u32()?,
            end: bytes.u32()?,
            flags: bytes.u16()?,
        })
    }

    /// The header that these bytes begin with.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        Self::read(&mut Bytes(bytes))
    }

    /// Whether the event is in no file.
    pub(crate) fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// A malformed event, with its place.
    #[cold]
    pub(crate) fn malformed(&self, why: &'static str) -> Error {
        self.locate(Error::new(ErrorKind::Malformed, "decode the log").because(why))
    }

    /// The error with the event's place.
    #[cold]
    pub(crate) fn locate(&self, error: Error) -> Error {
        error.with("event", self.kind).with("ends_at", self.end)
    }
}

/// An event without its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) header: Header,
    /// What stands behind the header.
    pub(crate) body: &'a [u8],
}

/// One event, told apart by what it is to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// How the events from here on are written.
    FormatDescription(FormatDescription<'a>),
    /// The log goes on in another file.
    Rotate(Rotate<'a>),
    /// Nothing happened up to here.
    Heartbeat(Heartbeat<'a>),
    /// The server stopped: its next file follows.
    Stop,
    /// An event that may be skipped by whoever does not know it.
    Skipped(EventKind),
    /// Anything else, for `decode`.
    Event(Event<'a>),
}

/// What the first event of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FormatDescription<'a> {
    /// The server's version: `8.4.3`, `10.11.19-MariaDB-log`.
    pub(crate) server_version: &'a [u8],
    /// When the server was started, if this is its first file since then; else 0. Seconds since 1970.
    pub(crate) started_at_s: u32,
    /// Whether events have checksums.
    pub(crate) has_checksums: bool,
}

/// Whose log it is: the two write some things differently under the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flavor {
    MySql,
    MariaDb,
}

impl Flavor {
    /// Its name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        }
    }
}

impl FormatDescription<'_> {
    /// Which server wrote it: MariaDB names itself in its version.
    pub(crate) fn flavor(&self) -> Flavor {
        let names_it = |part: &[u8]| part.eq_ignore_ascii_case(b"mariadb");
        match self.server_version.windows(7).any(names_it) {
            true => Flavor::MariaDb,
            false => Flavor::MySql,
        }
    }
}

/// Where the log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotate<'a> {
    /// The file's name.
    pub(crate) file: &'a [u8],
    /// Where in it.
    pub(crate) position: u64,
    /// The server tells which file it sends; in the log itself there is nothing.
    pub(crate) is_artificial: bool,
}

/// How far the server has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heartbeat<'a> {
    pub(crate) file: &'a [u8],
    pub(crate) position: u64,
}

/// Reads events by the format that the log has told last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Framer {
    /// Whether events have checksums; none before the first format description.
    has_checksums: Option<bool>,
    /// They were verified before.
    is_trusting: bool,
}

/// The event at the front of `input`, which holds whole events; none at its end.
///
/// # Errors
///
/// `Malformed` if its header is cut, or says of its size what cannot be.
#[inline]
pub(crate) fn next_event<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    if input.is_empty() {
        return Ok(None);
    }
    let header = Header::read(&mut Bytes(input));
    let size = header.and_then(|header| usize::try_from(header.size).ok());
    let event = size.filter(|size| *size >= HEADER_BYTES).and_then(|size| {
        let (event, rest) = input.split_at_checked(size)?;
        *input = rest;
        Some(event)
    });
    event.map(Some).ok_or_else(|| match header {
        Some(header) => header.malformed("the event's size is not that of its bytes"),
        None => Error::new(ErrorKind::Malformed, "decode the log")
            .because("an event's header is cut")
            .with("bytes", input.len()),
    })
}

impl Framer {
    /// For the same bytes once more: their checksums were verified.
    pub(crate) fn trusting(self) -> Self {
        Self { is_trusting: true, ..self }
    }

    /// For events without checksums, as those within another one are.
    pub(crate) fn plain() -> Self {
        Self { has_checksums: Some(false), is_trusting: false }
    }

    /// One event of the stream: its header, its body, its checksum.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are no event, a checksum that is not theirs, and an event that is
    /// not known and may not be skipped; `PositionLost` for one by which the server says that its log
    /// lacks changes; `Unsupported` for a format or checksum that is not known.
    #[inline]
    pub(crate) fn frame<'a>(&mut self, event: &'a [u8]) -> Result<Frame<'a>> {
        let mut bytes = Bytes(event);
        let header = Header::read(&mut bytes).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "decode the log")
                .because("an event's header is cut")
                .with("bytes", event.len())
        })?;
        if usize::try_from(header.size) != Ok(event.len()) {
            return Err(header.malformed("the event's size is not that of its bytes"));
        }
        if header.kind == kinds::FORMAT_DESCRIPTION {
            let format = format_description(&header, event)?;
            self.has_checksums = Some(format.has_checksums);
            return Ok(Frame::FormatDescription(format));
        }
        let body = self.without_checksum(&header, event)?;
        told(Event { header, body })
    }

    /// An event that stands within another one, whose checksum is of both.
    ///
    /// # Errors
    ///
    /// As [`Framer::frame`].
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn nested(event: &[u8]) -> Result<Event<'_>> {
        match Self::plain().frame(event)? {
            Frame::Event(event) => Ok(event),
            _ => Err(Error::new(ErrorKind::Malformed, "decode the log")
                .because("an event stands within another one that cannot")),
        }
    }

    /// The body of an event, whose checksum is verified if it has one.
    #[inline]
    fn without_checksum<'a>(&self, header: &Header, event: &'a [u8]) -> Result<&'a [u8]> {
        let body = &event[HEADER_BYTES..];
        let Some((content, checksum)) = event.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Ok(body);
        };
        let is_right =
            || self.is_trusting || crc32fast::hash(content) == u32::from_le_bytes(*checksum);
        let has_checksum = match self.has_checksums {
            Some(has_checksums) => has_checksums,
            // Before the format is known there is only the artificial rotate, whose file's name would
            // end with the checksum if there is one: it is one if it is right.
            None => event.len() >= HEADER_BYTES + CHECKSUM_BYTES && is_right(),
        };
        if !has_checksum {
            return Ok(body);
        }
        let body = content.get(HEADER_BYTES..);
        body.filter(|_| self.has_checksums.is_none() || is_right()).ok_or_else(|| {
            header.malformed("the event's checksum is not that of its bytes").help(
                "the log is damaged at the server or was on the way here: try again, and look at the \
                 file there by mysqlbinlog --verify-binlog-checksum",
            )
        })
    }
}

/// What an event is to the stream.
#[inline]
fn told<'a>(event: Event<'a>) -> Result<Frame<'a>> {
    let Event { header, body } = event;
    let cut = || header.malformed("the event is cut");
    match header.kind {
        kinds::ROTATE => rotate(&header, body).map(Frame::Rotate).ok_or_else(cut),
        kinds::HEARTBEAT => {
            Ok(Frame::Heartbeat(Heartbeat { file: body, position: header.end.into() }))
        }
        kinds::HEARTBEAT_V2 => heartbeat_v2(body).map(Frame::Heartbeat).ok_or_else(cut),
        kinds::STOP => Ok(Frame::Stop),
        kinds::INCIDENT => Err(incident(&header, body)),
        kind if kind.is_known() => Ok(Frame::Event(event)),
        kind if header.flags & FLAG_IGNORABLE != 0 => Ok(Frame::Skipped(kind)),
        _ => Err(header
            .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
            .because("the log has an event that is not known here and must not be skipped")
            .help("a newer version of this program may know it")),
    }
}

fn rotate<'a>(header: &Header, body: &'a [u8]) -> Option<Rotate<'a>> {
    let mut bytes = Bytes(body);
    let position = bytes.u64()?;
    let is_artificial = header.is_artificial() || header.at_s == 0;
    (!bytes.is_empty()).then_some(Rotate { file: bytes.0, position, is_artificial })
}

/// Fields, each behind its number and length; 0 ends them (`codecs/binary.cpp`).
fn heartbeat_v2(body: &[u8]) -> Option<Heartbeat<'_>> {
    const END: u64 = 0;
    const FILE: u64 = 1;
    const POSITION: u64 = 2;
    let mut bytes = Bytes(body);
    let (mut file, mut position) = (None, None);
    while !bytes.is_empty() {
        let field = bytes.packed()?;
        if field == END {
            break;
        }
        let value = bytes.packed_bytes()?;
        match field {
            FILE => file = Some(value),
            POSITION => position = Some(Bytes(value).packed()?),
            _ => {}
        }
    }
    Some(Heartbeat { file: file?, position: position? })
}

/// The server lost changes on the way to its log, and says so.
#[cold]
fn incident(header: &Header, body: &[u8]) -> Error {
    let mut bytes = Bytes(body);
    let number = bytes.u16().unwrap_or_default();
    let message = String::from_utf8_lossy(bytes.short_bytes().unwrap_or_default());
    header
        .locate(Error::new(ErrorKind::PositionLost, "decode the log"))
        .because("the server says that its log lacks changes (an incident event)")
        .with("incident", number)
        .with("message", message)
        .help("the tables must be read anew: see on_position_lost")
}

fn format_description<'a>(header: &Header, event: &'a [u8]) -> Result<FormatDescription<'a>> {
    let cut = || header.malformed("the format description is cut");
    let mut bytes = Bytes(event.get(HEADER_BYTES..).ok_or_else(cut)?);
    let version = bytes.u16().ok_or_else(cut)?;
    if version != BINLOG_VERSION {
        return Err(header
            .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
            .because("the log is of a version that is not known here")
            .with("binlog_version", version));
    }
    let server_version = bytes.take(50).ok_or_else(cut)?;
    let end = server_version.iter().position(|byte| *byte == 0);
    let server_version = &server_version[..end.unwrap_or(server_version.len())];
    let started_at_s = bytes.u32().ok_or_else(cut)?;
    let header_bytes = bytes.u8().ok_or_else(cut)?;
    let (lengths, _) = bytes.0.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(cut)?;
    let (algorithm, lengths) = lengths.split_last().ok_or_else(cut)?;
    if usize::from(header_bytes) != HEADER_BYTES || !has_known_lengths(lengths) {
        return Err(header
            .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
            .because("the log is written in an older form than MySQL 5.6 and MariaDB 10.0 have")
            .with("server_version", String::from_utf8_lossy(server_version)));
    }
    let has_checksums = match *algorithm {
        CHECKSUM_OFF => false,
        CHECKSUM_CRC32 => true,
        other => {
            return Err(header
                .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
                .because("the log has checksums of a kind that is not known here")
                .with("algorithm", other)
                .help("set binlog_checksum to CRC32 or NONE at the server"));
        }
    };
    if has_checksums && !is_format_right(event) {
        return Err(header.malformed("the event's checksum is not that of its bytes"));
    }
    Ok(FormatDescription { server_version, started_at_s, has_checksums })
}

/// Whether the fixed parts of tables' and rows' events are as long as `decode` has them.
fn has_known_lengths(lengths: &[u8]) -> bool {
    let length = |kind: EventKind| lengths.get(usize::from(kind.0).wrapping_sub(1)).copied();
    let known = |kind, known: u8| length(kind).is_none_or(|length| length == known || length == 0);
    lengths.len() >= usize::from(kinds::DELETE_ROWS_V1.0)
        && known(kinds::TABLE_MAP, 8)
        && known(kinds::WRITE_ROWS_V1, 8)
        && known(kinds::WRITE_ROWS, 10)
}

/// Whether a format description's checksum is right: it is taken without the flag that the file is
/// still written.
fn is_format_right(event: &[u8]) -> bool {
    let Some((content, checksum)) = event.split_last_chunk::<CHECKSUM_BYTES>() else {
        return false;
    };
    let Some((before, [flags, behind @ ..])) = content.split_at_checked(HEADER_BYTES - 2) else {
        return false;
    };
    let in_use = u8::try_from(FLAG_IN_USE).unwrap_or_default();
    let mut hasher = crc32fast::Hasher::new();
    [before, &[flags & !in_use], behind].into_iter().for_each(|part| hasher.update(part));
    hasher.finalize() == u32::from_le_bytes(*checksum)
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} up to {}", self.kind, self.end)
    }
}

#[cfg(test)]
pub(crate) mod tests;
