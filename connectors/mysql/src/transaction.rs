//! A transaction of the log, as its first event tells of it.

use crate::decode::{Gtid, MariadbGtid};
use crate::gtid::TransactionId;
use std::fmt::{self, Write};

/// The longest id as text: a UUID, a tag of 32 characters, a number of 20 digits, two colons.
const ID_BYTES_MAX: usize = 36 + 1 + 32 + 1 + 20;

/// A transaction that is being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transaction {
    /// Where it begins.
    pub(crate) commit: u64,
    /// Its events of rows so far.
    pub(crate) events: u64,
    /// Since 1970. MariaDB tells seconds.
    pub(crate) committed_at_us: i64,
    /// The server that wrote it first.
    pub(crate) server_id: u32,
    /// Its id; none if it has none.
    pub(crate) id: Option<TransactionId>,
    /// The same as the server prints it.
    pub(crate) text: IdText,
    /// Whether an end is to come: if not, the next statement is all of it.
    pub(crate) is_open: bool,
    /// Whether it is distributed: prepared here, and committed later.
    pub(crate) is_distributed: bool,
    /// Whether all of it was told, by another log.
    pub(crate) is_told: bool,
}

impl Transaction {
    pub(crate) fn of_mysql(gtid: &Gtid<'_>, commit: u64, at_s: u32, server_id: u32) -> Self {
        let at_us = i64::try_from(gtid.committed_at_us).unwrap_or(0);
        let mut text = IdText::default();
        if gtid.number > 0 {
            text.mysql(gtid);
        }
        Self {
            committed_at_us: if at_us > 0 { at_us } else { micros(at_s) },
            id: TransactionId::of_mysql(gtid),
            text,
            ..Self::begun(commit, at_s, server_id)
        }
    }

    pub(crate) fn of_mariadb(gtid: &MariadbGtid<'_>, commit: u64, at_s: u32) -> Self {
        let mut text = IdText::default();
        let _ = write!(text, "{}-{}-{}", gtid.domain, gtid.server, gtid.sequence);
        Self {
            id: Some(TransactionId::of_mariadb(gtid)),
            text,
            is_open: !gtid.is_standalone(),
            is_distributed: gtid.prepares(),
            ..Self::begun(commit, at_s, gtid.server)
        }
    }

    /// No transaction: what stands between two of them.
    pub(crate) fn none(commit: u64, at_us: i64) -> Self {
        Self { committed_at_us: at_us, ..Self::begun(commit, 0, 0) }
    }

    fn begun(commit: u64, at_s: u32, server_id: u32) -> Self {
        Self {
            commit,
            events: 0,
            committed_at_us: micros(at_s),
            server_id,
            id: None,
            text: IdText::default(),
            is_open: false,
            is_distributed: false,
            is_told: false,
        }
    }
}

fn micros(at_s: u32) -> i64 {
    i64::from(at_s) * 1_000_000
}

/// A transaction's id as text, without an allocation for each.
#[derive(Clone, Copy)]
pub(crate) struct IdText {
    bytes: [u8; ID_BYTES_MAX],
    length: u8,
}

impl Default for IdText {
    fn default() -> Self {
        Self { bytes: [0; ID_BYTES_MAX], length: 0 }
    }
}

impl IdText {
    /// The text; none if the transaction has no id.
    #[inline]
    pub(crate) fn as_str(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.bytes[..usize::from(self.length)]).ok()?;
        (!text.is_empty()).then_some(text)
    }

    fn mysql(&mut self, gtid: &Gtid<'_>) {
        for (index, byte) in gtid.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                let _ = self.write_char('-');
            }
            let _ = write!(self, "{byte:02x}");
        }
        if let Ok(tag) = std::str::from_utf8(gtid.tag)
            && !tag.is_empty()
        {
            let _ = write!(self, ":{tag}");
        }
        let _ = write!(self, ":{}", gtid.number);
    }
}

impl fmt::Write for IdText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let begin = usize::from(self.length);
        let place = self.bytes.get_mut(begin..begin + text.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = u8::try_from(begin + text.len()).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str().unwrap_or("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_printed_as_servers_print_them() {
        let uuid = *b"\x3e\x11\xfa\x47\x71\xca\x11\xe1\x9e\x33\xc8\x0a\xa9\x42\x95\x62";
        let tag = [b'x'; 32];
        let gtid = Gtid { uuid, number: u64::MAX, tag: &tag, ..Gtid::default() };
        let text = Transaction::of_mysql(&gtid, 4, 7, 1).text;
        let wanted =
            format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{}:18446744073709551615", "x".repeat(32));
        assert_eq!(text.as_str(), Some(wanted.as_str()));
        let anonymous = Transaction::of_mysql(&Gtid::default(), 4, 7, 1);
        assert_eq!((anonymous.text.as_str(), anonymous.committed_at_us), (None, 7_000_000));
    }
}
