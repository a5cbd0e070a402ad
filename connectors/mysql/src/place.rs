//! Places in the log as positions.
//!
//! A transaction's place is where its first event begins, which is known before its rows come; the end of
//! a transaction is the place of the next. Files are numbered, and so are the bytes in each.

use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Position, Result};

/// Bits of a commit position that say where in the file: 64 GiB. A transaction begins within the file's
/// `max_binlog_size`, at most 1 GiB, but ends where it ends.
const OFFSET_BITS: u32 = 36;

/// Rows of an event are told apart by so many bits of an ordinal; the others number the event.
const ROW_BITS: u32 = 32;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) name: Arc<str>,
    number: u64,
}

impl LogFile {
    /// The file of this name, which ends with its number.
    ///
    /// # Errors
    ///
    /// `Malformed` if it does not.
    pub(crate) fn of(name: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(name).ok();
        let number = text.and_then(|text| text.rsplit_once('.')?.1.parse().ok());
        match (text, number) {
            (Some(text), Some(number)) if number < 1 << (u64::BITS - OFFSET_BITS) => {
                Ok(Self { name: text.into(), number })
            }
            _ => Err(Error::new(ErrorKind::Malformed, "read the log")
                .because("a file's name does not end with a number")
                .with("file", String::from_utf8_lossy(name))),
        }
    }

    /// The commit position of what begins at `offset`.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond what a position holds.
    pub(crate) fn commit(&self, offset: u64) -> Result<u64> {
        if offset >> OFFSET_BITS != 0 {
            return Err(Error::new(ErrorKind::TooLarge, "read the log")
                .because("a file of the log is larger than a position can say")
                .with("file", &self.name)
                .with("offset", offset));
        }
        Ok(self.number << OFFSET_BITS | offset)
    }
}

/// Where in its file a commit position is.
pub(crate) fn offset_of(commit: u64) -> u64 {
    commit & ((1 << OFFSET_BITS) - 1)
}

/// The place of a row: the transaction's `event`th event of rows, from 1, and the `row`th in it, from 0.
#[inline]
pub(crate) fn row_position(epoch: u32, commit: u64, event: u64, row: u32) -> Position {
    Position { epoch, commit, ordinal: event << ROW_BITS | u64::from(row) }
}

/// The place behind all rows of an event.
pub(crate) fn behind_event(epoch: u32, commit: u64, event: u64) -> Position {
    row_position(epoch, commit, event, u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_rise_with_files_offsets_events_and_rows() {
        let file = |name: &str| LogFile::of(name.as_bytes()).unwrap();
        let [one, two] = ["a.b.000009", "a.b.000010"].map(file);
        let rising = [
            Position::before(1, one.commit(4).unwrap()),
            row_position(1, one.commit(4).unwrap(), 1, 0),
            row_position(1, one.commit(4).unwrap(), 1, 1),
            behind_event(1, one.commit(4).unwrap(), 1),
            row_position(1, one.commit(4).unwrap(), 2, 0),
            Position::before(1, one.commit(1 << 35).unwrap()),
            Position::before(1, two.commit(4).unwrap()),
        ];
        assert!(rising.is_sorted());
        assert_eq!(offset_of(two.commit(77).unwrap()), 77);
        assert_eq!(one.commit(1 << 36).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn a_name_without_a_number_is_refused() {
        for name in [&b"log"[..], b"log.", b"log.x", b"log.999999999999", b"\xff.1"] {
            assert_eq!(LogFile::of(name).unwrap_err().kind(), ErrorKind::Malformed);
        }
    }
}
