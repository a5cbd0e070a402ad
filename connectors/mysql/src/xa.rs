//! Ids of distributed (XA) transactions, as events and statements of the log have them. Pure.

use crate::decode::Xid;
use std::fmt;

/// The most bytes of either part of an id (MySQL 9.1 and MariaDB 10.11, `MAXGTRIDSIZE`).
const PART_BYTES_MAX: usize = 64;

/// The id of a distributed transaction. No two that are prepared at a time have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct XaId {
    format: u32,
    global: Box<[u8]>,
    branch: Box<[u8]>,
}

impl XaId {
    pub(crate) fn new(format: u32, global: &[u8], branch: &[u8]) -> Self {
        Self { format, global: global.into(), branch: branch.into() }
    }

    /// The id behind `XA COMMIT` and its like, as servers log it: `X'67',X'62',7` (MySQL 9.1,
    /// `serialize_xid`; MariaDB 10.11, `xid_t::serialize`); none if it is no such text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(',').map(str::trim);
        let (global, branch) = (unquoted(parts.next()?)?, unquoted(parts.next()?)?);
        let format: i64 = parts.next()?.parse().ok()?;
        // It is a signed number of 32 bits to some servers and an unsigned one to others.
        let format = u32::try_from(format & i64::from(u32::MAX)).ok()?;
        parts.next().is_none().then(|| Self::new(format, &global, &branch))
    }
}

impl From<Xid<'_>> for XaId {
    fn from(xid: Xid<'_>) -> Self {
        Self::new(xid.format, xid.global, xid.branch)
    }
}

/// As it can be typed behind `XA COMMIT` and `XA ROLLBACK`.
impl fmt::Display for XaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.global, &self.branch] {
            f.write_str("X'")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("',")?;
        }
        write!(f, "{}", self.format)
    }
}

/// The bytes of `X'67'`.
fn unquoted(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(['X', 'x'])?.strip_prefix('\'')?.strip_suffix('\'')?.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * PART_BYTES_MAX {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_read_as_servers_log_it() {
        let id = XaId::new(7, b"g", b"");
        assert_eq!(XaId::parse(" X'67',X'',7"), Some(id.clone()));
        assert_eq!(id.to_string(), "X'67',X'',7");
        assert_eq!(XaId::parse("X'',X'',-1"), Some(XaId::new(u32::MAX, b"", b"")));
        for text in ["", "'g'", "X'6',X'',7", "X'67',X''", "X'67',X'',7,8", "X'6g',X'',7"] {
            assert_eq!(XaId::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_id_comes_back(
            format: u32,
            global in proptest::collection::vec(any::<u8>(), 0..=PART_BYTES_MAX),
            branch in proptest::collection::vec(any::<u8>(), 0..=PART_BYTES_MAX),
        ) {
            let id = XaId::new(format, &global, &branch);
            prop_assert_eq!(XaId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn any_text_is_read(text in ".{0,60}", parts in "[X',0-9a-f]{0,40}") {
            let _ = (XaId::parse(&text), XaId::parse(&parts));
        }
    }
}
