//! A place in a source's log, comparable across restarts.

use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// A place in a source's log: ordered by epoch, then commit position, then ordinal.
///
/// `epoch` is the connector's and rises whenever the log's order may restart. `commit` is the
/// source's own number for a transaction (PostgreSQL: the LSN of its commit; MySQL: the file and the
/// offset where it begins). `ordinal` rises with the rows of the transaction, before any filter; 0 is "nothing of it yet", [`Position::END`] is
/// "all of it". Outside its source a position is opaque: it may be compared, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Which run of the log this is.
    pub epoch: u32,
    /// The transaction, by the source's own rising number.
    pub commit: u64,
    /// The row within the transaction, from 1 on.
    pub ordinal: u64,
}

impl Position {
    /// The ordinal after the last row of every transaction.
    pub const END: u64 = u64::MAX;

    /// Bytes of [`Position::to_bytes`].
    pub const BYTES: usize = 20;

    /// The place before the first row of transaction `commit`.
    #[must_use]
    pub const fn before(epoch: u32, commit: u64) -> Self {
        Self { epoch, commit, ordinal: 0 }
    }

    /// The place after the last row of transaction `commit`.
    #[must_use]
    pub const fn after(epoch: u32, commit: u64) -> Self {
        Self { epoch, commit, ordinal: Self::END }
    }

    /// Big-endian epoch, commit, ordinal: sorts as the position does.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.commit.to_be_bytes());
        bytes[12..].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes
    }

    /// The inverse of [`Position::to_bytes`].
    ///
    /// # Errors
    ///
    /// `Malformed` unless there are exactly [`Position::BYTES`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| {
            Error::new(ErrorKind::Malformed, "read a position").with("bytes", bytes.len())
        })?;
        let (epoch, rest) = bytes.split_at(4);
        let (commit, ordinal) = rest.split_at(8);
        let mut four = [0; 4];
        let mut eight = [0; 8];
        four.copy_from_slice(epoch);
        eight.copy_from_slice(commit);
        let commit = u64::from_be_bytes(eight);
        eight.copy_from_slice(ordinal);
        Ok(Self { epoch: u32::from_be_bytes(four), commit, ordinal: u64::from_be_bytes(eight) })
    }
}

/// Fixed-width hexadecimal, so that the text sorts as the position does.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}-{:016x}", self.epoch, self.commit, self.ordinal)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            Error::new(ErrorKind::Malformed, "read a position")
                .because("expected epoch-commit-ordinal in hexadecimal")
                .with("text", text)
        };
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next().ok_or_else(malformed);
        let epoch = u32::from_str_radix(next()?, 16).map_err(|_| malformed())?;
        let commit = u64::from_str_radix(next()?, 16).map_err(|_| malformed())?;
        let ordinal = u64::from_str_radix(next()?, 16).map_err(|_| malformed())?;
        Ok(Self { epoch, commit, ordinal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn positions() -> impl Strategy<Value = Position> {
        (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(epoch, commit, ordinal)| Position {
            epoch,
            commit,
            ordinal,
        })
    }

    proptest! {
        #[test]
        fn bytes_and_text_sort_as_the_position_does(a in positions(), b in positions()) {
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn bytes_and_text_come_back(a in positions()) {
            prop_assert_eq!(Position::from_bytes(&a.to_bytes()).unwrap(), a);
            prop_assert_eq!(a.to_string().parse::<Position>().unwrap(), a);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn a_transaction_lies_between_its_before_and_after() {
        let row = Position { epoch: 1, commit: 7, ordinal: 1 };
        assert!(Position::before(1, 7) < row && row < Position::after(1, 7));
        assert!(Position::after(1, 7) < Position::before(2, 0));
    }
}
