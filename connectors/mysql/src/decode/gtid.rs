//! Ids of transactions, and lists of them.

use crate::bytes::Bytes;
use crate::frame::Header;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most bytes that a tag has (MySQL 9.1, `Tag::tag_max_length`).
pub(crate) const TAG_BYTES_MAX: usize = 32;

/// A transaction's id at a MySQL server, and what is told with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gtid<'a> {
    /// The server that it is of.
    pub(crate) uuid: [u8; 16],
    /// The tag, which may be empty.
    pub(crate) tag: &'a [u8],
    /// Its number there; 0 is a transaction without an id.
    pub(crate) number: u64,
    /// Whether it may hold changes that are not logged as rows.
    pub(crate) may_have_statements: bool,
    /// When it was committed where this log was written, microseconds since 1970; 0 is unknown.
    pub(crate) committed_at_us: u64,
    /// The same where it was committed first.
    pub(crate) originally_committed_at_us: u64,
    /// Bytes of all its events, this one included; 0 is unknown.
    pub(crate) length: u64,
}

/// `Gtid_event::Gtid_event` in MySQL 9.1's `control_events.cpp`.
pub(super) fn plain(mut bytes: Bytes<'_>) -> Option<Gtid<'_>> {
    const MAY_HAVE_STATEMENTS: u8 = 1;
    const LOGICAL_CLOCK: u8 = 2;
    /// The highest bit of the first time: another one follows.
    const HAS_ORIGINAL: u64 = 1 << 55;
    let flags = bytes.u8()?;
    let mut gtid = Gtid {
        uuid: bytes.fixed()?,
        number: bytes.u64()?,
        may_have_statements: flags & MAY_HAVE_STATEMENTS != 0,
        ..Gtid::default()
    };
    // What follows is missing at the end of what older servers write.
    if bytes.is_empty() || bytes.u8()? != LOGICAL_CLOCK {
        return Some(gtid);
    }
    let _last_committed = bytes.u64()?;
    let _sequence_number = bytes.u64()?;
    if bytes.is_empty() {
        return Some(gtid);
    }
    let at_us = bytes.uint(7)?;
    gtid.committed_at_us = at_us & !HAS_ORIGINAL;
    gtid.originally_committed_at_us = match at_us & HAS_ORIGINAL {
        0 => gtid.committed_at_us,
        _ => bytes.uint(7)?,
    };
    if !bytes.is_empty() {
        gtid.length = bytes.packed()?;
    }
    Some(gtid)
}

/// A message of numbered fields (MySQL 9.1, `libs/mysql/serialization/readme.md`, and
/// `Gtid_event::define_fields` in `control_events.h`).
///
/// # Errors
///
/// `Unsupported` for a field that must be known and is not.
pub(super) fn tagged<'a>(header: &Header, bytes: Bytes<'a>) -> Result<Gtid<'a>> {
    let cut = || header.malformed("its bytes are not of its kind");
    match tagged_fields(bytes).ok_or_else(cut)? {
        Ok(gtid) => Ok(gtid),
        Err(field) => Err(header
            .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
            .because("a transaction's id has a part that is not known here")
            .with("field", field)
            .help("a newer version of this program may know it")),
    }
}

/// The inner error is the number of a field that must be known and is not.
fn tagged_fields(whole: Bytes<'_>) -> Option<Result<Gtid<'_>, u64>> {
    const VERSION: u64 = 1;
    const KNOWN_FIELDS: u64 = 12;
    let mut bytes = whole;
    (variable(&mut bytes)? == VERSION).then_some(())?;
    let size = usize::try_from(variable(&mut bytes)?).ok()?;
    (size == whole.0.len()).then_some(())?;
    let last_needed = variable(&mut bytes)?;
    if last_needed > KNOWN_FIELDS {
        return Some(Err(last_needed - 1));
    }
    let mut gtid = Gtid::default();
    while !bytes.is_empty() {
        match variable(&mut bytes)? {
            0 => gtid.may_have_statements = variable(&mut bytes)? & 1 != 0,
            1 => {
                for byte in &mut gtid.uuid {
                    *byte = u8::try_from(variable(&mut bytes)?).ok()?;
                }
            }
            2 => gtid.number = u64::try_from(signed(variable(&mut bytes)?)).ok()?,
            3 => {
                let length = usize::try_from(variable(&mut bytes)?).ok()?;
                (length <= TAG_BYTES_MAX).then_some(())?;
                gtid.tag = bytes.take(length)?;
            }
            6 => gtid.committed_at_us = variable(&mut bytes)?,
            7 => gtid.originally_committed_at_us = variable(&mut bytes)?,
            8 => gtid.length = variable(&mut bytes)?,
            // The logical clock, the servers' versions, the ticket of a group.
            4 | 5 | 9..KNOWN_FIELDS => drop(variable(&mut bytes)?),
            // One that may be ignored; nothing that is known stands behind it.
            _ => break,
        }
    }
    if gtid.originally_committed_at_us == 0 {
        gtid.originally_committed_at_us = gtid.committed_at_us;
    }
    Some(Ok(gtid))
}

/// A number of one to nine bytes: the ones at the low end of the first say how many more there are.
fn variable(bytes: &mut Bytes<'_>) -> Option<u64> {
    let first = bytes.u8()?;
    let more = first.trailing_ones();
    let low = u64::from(first).checked_shr(more + 1).unwrap_or(0);
    let high = bytes.uint(more as usize)?;
    Some(low | high.checked_shl(7 - more.min(7)).unwrap_or(0))
}

/// The sign is the lowest bit; a negative number is all others turned around.
fn signed(value: u64) -> i64 {
    let magnitude = (value >> 1).cast_signed();
    if value & 1 == 0 { magnitude } else { !magnitude }
}

/// All transactions before a file, as sets of intervals by server and tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PreviousGtids<'a> {
    is_tagged: bool,
    servers: u64,
    bytes: Bytes<'a>,
}

/// Transactions of one server and tag, from `first` to the one before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GtidInterval<'a> {
    pub(crate) uuid: [u8; 16],
    pub(crate) tag: &'a [u8],
    pub(crate) first: u64,
    pub(crate) end: u64,
}

/// `Gtid_set::encode` in MySQL 9.1's `sql/rpl_gtid_set.cc`: the highest byte of the count tells the
/// form, which with tags is in the lowest as well.
pub(super) fn previous(mut bytes: Bytes<'_>) -> Option<PreviousGtids<'_>> {
    let head = bytes.u64()?;
    let (is_tagged, servers) = match head >> 56 {
        0 => (false, head),
        1 => (true, (head << 8) >> 16),
        _ => return None,
    };
    let previous = PreviousGtids { is_tagged, servers, bytes };
    previous.each(|_| {})?;
    Some(previous)
}

impl<'a> PreviousGtids<'a> {
    /// Hands every interval to `take`; none if the bytes are not a set.
    pub(crate) fn each(&self, mut take: impl FnMut(GtidInterval<'a>)) -> Option<()> {
        let mut bytes = self.bytes;
        for _ in 0..self.servers {
            let uuid = bytes.fixed()?;
            let tag = match self.is_tagged {
                true => {
                    let length = usize::try_from(variable(&mut bytes)?).ok()?;
                    (length <= TAG_BYTES_MAX).then_some(())?;
                    bytes.take(length)?
                }
                false => &[],
            };
            for _ in 0..bytes.u64()? {
                let (first, end) = (bytes.u64()?, bytes.u64()?);
                (first > 0 && first < end).then_some(())?;
                take(GtidInterval { uuid, tag, first, end });
            }
        }
        bytes.end()
    }
}

/// A transaction's id at a MariaDB server, and what is told with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MariadbGtid<'a> {
    pub(crate) domain: u32,
    /// The server that wrote it first.
    pub(crate) server: u32,
    pub(crate) sequence: u64,
    flags: u8,
    /// The id of the distributed transaction that is prepared or completed.
    pub(crate) xid: Option<(u32, &'a [u8], &'a [u8])>,
}

impl MariadbGtid<'_> {
    /// One event follows, and nothing ends it: DDL.
    pub(crate) fn is_standalone(&self) -> bool {
        self.flags & 0x01 != 0
    }

    /// A distributed transaction is prepared, and ends with that.
    pub(crate) fn prepares(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// A distributed transaction that was prepared is committed or rolled back.
    #[cfg(test)]
    pub(crate) fn completes(&self) -> bool {
        self.flags & 0x80 != 0
    }
}

/// `Gtid_log_event` in MariaDB 10.11's `log_event.cc`; what stands behind is not needed here.
pub(super) fn mariadb<'a>(header: &Header, mut bytes: Bytes<'a>) -> Option<MariadbGtid<'a>> {
    const GROUP_COMMIT: u8 = 0x02;
    const HAS_XID: u8 = 0x40 | 0x80;
    let (sequence, domain, flags) = (bytes.u64()?, bytes.u32()?, bytes.u8()?);
    if flags & GROUP_COMMIT != 0 {
        let _commit_id = bytes.u64()?;
    }
    let xid = match flags & HAS_XID {
        0 => None,
        _ => {
            let format = bytes.u32()?;
            let (global, branch) = (usize::from(bytes.u8()?), usize::from(bytes.u8()?));
            Some((format, bytes.take(global)?, bytes.take(branch)?))
        }
    };
    Some(MariadbGtid { domain, server: header.server_id, sequence, flags, xid })
}

/// The last transactions before a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MariadbGtidList<'a>(&'a [[u8; 16]]);

pub(super) fn mariadb_list(mut bytes: Bytes<'_>) -> Option<MariadbGtidList<'_>> {
    let count = usize::try_from(bytes.u32()? & 0x0fff_ffff).ok()?;
    let (list, _) = bytes.0.as_chunks::<16>();
    list.get(..count).map(MariadbGtidList)
}

impl<'a> MariadbGtidList<'a> {
    /// Domain, server, and number of each.
    pub(crate) fn iter(self) -> impl Iterator<Item = (u32, u32, u64)> + 'a {
        self.0.iter().map(|entry| {
            let mut bytes = Bytes(entry);
            let mut next = || bytes.u32().unwrap_or_default();
            (next(), next(), u64::from(next()) | u64::from(next()) << 32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write_variable(value: u64, out: &mut Vec<u8>) {
        let bits = 64 - value.leading_zeros();
        let more = (bits.max(1).div_ceil(7) - 1).min(8) as usize;
        if more == 8 {
            out.push(0xff);
            out.extend_from_slice(&value.to_le_bytes());
            return;
        }
        let bytes = ((value << (more + 1)) | ((1 << more) - 1)).to_le_bytes();
        out.extend_from_slice(&bytes[..=more]);
    }

    proptest! {
        #[test]
        fn variable_numbers_come_back(value: u64, shift in 0_u32..64) {
            let mut out = Vec::new();
            write_variable(value >> shift, &mut out);
            let mut bytes = Bytes(&out);
            prop_assert_eq!(variable(&mut bytes), Some(value >> shift));
            prop_assert!(bytes.is_empty());
        }
    }

    /// The examples of MySQL 9.1's `libs/mysql/serialization/readme.md`; no real MySQL 8 was at hand.
    #[test]
    fn the_first_bytes_ones_tell_the_length() {
        let read = |bytes: &[u8]| variable(&mut Bytes(bytes)).unwrap();
        assert_eq!(read(&[0xfb, 0xff, 0x07]), 65_535);
        assert_eq!(signed(read(&[0xf3, 0xff, 0x0f])), 65_535);
        assert_eq!(signed(read(&[0xeb, 0xff, 0x0f])), -65_535);
        assert_eq!(signed(read(&[0xfb, 0xff, 0x0f])), -65_536);
        assert_eq!(read(&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80]), 0x8000_0000_0000_0001);
    }
}
