//! Sets of MySQL's transactions: by server and tag, intervals of numbers.

use super::intervals::Intervals;
use super::{INTERVALS_MAX, malformed, parts, too_large};
use crate::decode::{PreviousGtids, TAG_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use tidemesh_model::{Error, ErrorKind, Result};

/// One above the largest number of a transaction (MySQL 9.1, `mysql::gtid::gno_end`).
const NUMBER_END: u64 = i64::MAX.cast_unsigned();

/// Where a text of an id has its dashes.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// Characters of a server's id as text.
const UUID_CHARACTERS: usize = 36;

/// Where transactions come from: a server, and a tag if they have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    uuid: [u8; 16],
    /// Lower case, zeros behind it: it has no zeros itself.
    tag: [u8; TAG_BYTES_MAX],
}

/// Transactions of MySQL servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct MysqlGtids {
    /// None of them is empty.
    origins: BTreeMap<Origin, Intervals>,
    intervals: usize,
}

/// Whether a transaction may have this number.
pub(super) fn is_number(number: u64) -> bool {
    (1..NUMBER_END).contains(&number)
}

impl Origin {
    /// A server's transactions with this tag; the empty one is none. None if it cannot be one (MySQL
    /// 9.1, `mysql::gtid::Tag::is_valid`).
    #[inline]
    pub(crate) fn new(uuid: [u8; 16], tag: &[u8]) -> Option<Self> {
        let mut filled = [0; TAG_BYTES_MAX];
        let is_right = |(place, byte): (usize, &u8)| {
            byte.is_ascii_alphabetic() || *byte == b'_' || (place > 0 && byte.is_ascii_digit())
        };
        if !tag.iter().enumerate().all(is_right) {
            return None;
        }
        filled.get_mut(..tag.len())?.copy_from_slice(tag);
        filled.make_ascii_lowercase();
        Some(Self { uuid, tag: filled })
    }

    fn tag(&self) -> &str {
        let end = self.tag.iter().position(|byte| *byte == 0).unwrap_or(TAG_BYTES_MAX);
        std::str::from_utf8(&self.tag[..end]).unwrap_or_default()
    }
}

impl MysqlGtids {
    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    #[inline]
    pub(super) fn add(&mut self, origin: Origin, number: u64) -> Result<()> {
        self.add_all(origin, number..number.saturating_add(1))
    }

    fn add_all(&mut self, origin: Origin, numbers: Range<u64>) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let intervals = self.origins.entry(origin).or_default();
        let before = intervals.len();
        intervals.add(numbers);
        self.intervals = self.intervals + intervals.len() - before;
        if self.intervals > INTERVALS_MAX {
            return Err(too_large("intervals_max", INTERVALS_MAX));
        }
        Ok(())
    }

    pub(super) fn contains(&self, origin: Origin, number: u64) -> bool {
        self.origins.get(&origin).is_some_and(|intervals| intervals.contains(number))
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (origin, intervals) in &self.origins {
            let rest = match other.origins.get(origin) {
                Some(theirs) => intervals.difference(theirs),
                None => intervals.clone(),
            };
            if rest.len() > 0 {
                left.intervals += rest.len();
                left.origins.insert(*origin, rest);
            }
        }
        left
    }

    /// All transactions before a file of the log.
    ///
    /// # Errors
    ///
    /// `Malformed` for one that is no set; `TooLarge` beyond [`INTERVALS_MAX`].
    pub(crate) fn before(previous: &PreviousGtids<'_>) -> Result<Self> {
        let mut set = Self::default();
        let mut added = Ok(());
        let wrong = || {
            Error::new(ErrorKind::Malformed, "decode the log")
                .because("what stands before a file of the log is no set of transactions")
        };
        previous
            .each(|interval| {
                if added.is_ok() {
                    added = match Origin::new(interval.uuid, interval.tag) {
                        Some(origin) => set.add_all(origin, interval.first..interval.end),
                        None => Err(wrong()),
                    };
                }
            })
            .ok_or_else(wrong)?;
        added.map(|()| set)
    }

    /// The form in which `COM_BINLOG_DUMP_GTID` takes it, and which the log has: MySQL 9.1,
    /// `Gtid_set::encode` in `sql/rpl_gtid_set.cc`, with tags only where there are some, so that
    /// servers before 8.3 read it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        const TAGGED: u64 = 1;
        let is_tagged = self.origins.keys().any(|origin| !origin.tag().is_empty());
        let count = self.origins.len() as u64;
        let head = if is_tagged { TAGGED << 56 | count << 8 | TAGGED } else { count };
        let mut out = head.to_le_bytes().to_vec();
        for (origin, intervals) in &self.origins {
            out.extend_from_slice(&origin.uuid);
            if is_tagged {
                // A number below 128 is one byte, twice as large (`variable` in `decode::gtid`).
                let tag = origin.tag().as_bytes();
                out.push(u8::try_from(tag.len() << 1).unwrap_or_default());
                out.extend_from_slice(tag);
            }
            out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
            for numbers in intervals.iter() {
                out.extend_from_slice(&numbers.start.to_le_bytes());
                out.extend_from_slice(&numbers.end.to_le_bytes());
            }
        }
        out
    }

    /// What one part of a text adds: a server, then numbers, each behind the tag that it is of.
    fn add_part(&mut self, part: &str) -> Result<()> {
        let wrong = |why| malformed(part, why);
        let mut items = part.split(':').map(str::trim);
        let uuid = items.next().and_then(uuid).ok_or_else(|| wrong("a server's id is none"))?;
        let mut origin = Origin { uuid, tag: [0; TAG_BYTES_MAX] };
        let mut has_numbers = false;
        for item in items {
            if item.starts_with(|first: char| first.is_ascii_digit()) {
                let numbers = interval(item).ok_or_else(|| wrong("an interval is none"))?;
                self.add_all(origin, numbers)?;
                has_numbers = true;
            } else {
                let tagged = Origin::new(uuid, item.as_bytes()).filter(|_| !item.is_empty());
                origin = tagged.ok_or_else(|| wrong("a tag is none"))?;
                has_numbers = false;
            }
        }
        match has_numbers {
            true => Ok(()),
            false => Err(wrong("numbers are missing behind a server or a tag")),
        }
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let has_dashes = |place: &usize| bytes.get(*place) == Some(&b'-');
    if bytes.len() != UUID_CHARACTERS || !DASHES.iter().all(has_dashes) {
        return None;
    }
    let mut digits =
        bytes.iter().enumerate().filter(|(place, _)| !DASHES.contains(place)).map(|(_, digit)| {
            char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
        });
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    Some(uuid)
}

/// One number, or the first and the last.
fn interval(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..last + 1)
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let number = text.parse().ok().filter(|_| !text.starts_with('+'))?;
    is_number(number).then_some(number)
}

impl FromStr for MysqlGtids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut set = Self::default();
        parts(text)?.try_for_each(|part| set.add_part(part))?;
        Ok(set)
    }
}

impl TryFrom<String> for MysqlGtids {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MysqlGtids> for String {
    fn from(set: MysqlGtids) -> Self {
        set.to_string()
    }
}

/// As MySQL prints it (`Gtid_set::to_string`), without the line breaks.
impl fmt::Display for MysqlGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<[u8; 16]> = None;
        for (origin, intervals) in &self.origins {
            if before != Some(origin.uuid) {
                f.write_str(if before.is_some() { "," } else { "" })?;
                write_uuid(f, &origin.uuid)?;
            }
            before = Some(origin.uuid);
            if !origin.tag().is_empty() {
                write!(f, ":{}", origin.tag())?;
            }
            for numbers in intervals.iter() {
                let (first, last) = (numbers.start, numbers.end.saturating_sub(1));
                write!(f, ":{first}")?;
                if last > first {
                    write!(f, "-{last}")?;
                }
            }
        }
        Ok(())
    }
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (place, byte) in uuid.iter().enumerate() {
        // Dashes stand behind 4, 6, 8 and 10 bytes.
        f.write_str(if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" })?;
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}
