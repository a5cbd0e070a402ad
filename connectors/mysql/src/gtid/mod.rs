//! Sets of transactions, as the two flavours name them. Pure.
//!
//! MySQL: every transaction of a server (and a tag) has a number of its own, and a set is intervals of
//! them (MySQL 9.1, `sql/rpl_gtid_set.cc`). MariaDB: a transaction is of a domain, a server and a
//! sequence number that rises in its domain; a set is a prefix of each domain, told by the last
//! transaction in it, or by the last one of each server (MariaDB 10.11, `sql/rpl_gtid.cc`).

#![allow(dead_code, reason = "the algebra of sets is whole, whichever part of it is used today")]

mod intervals;
mod mariadb;
mod mysql;

pub(crate) use mariadb::{MariadbGtids, MariadbId};
pub(crate) use mysql::{MysqlGtids, Origin};

use crate::decode::{Gtid, MariadbGtid};
use crate::frame::Flavor;
use serde::{Deserialize, Serialize};
use std::fmt;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most bytes that the text of a set may have: the largest that is seen has a few hundred KiB.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;

/// The most intervals (MariaDB: servers in domains) of a set.
pub(crate) const INTERVALS_MAX: usize = 1 << 17;

/// The transactions that a log has, or that were read of it.
///
/// Two sets of different flavours have nothing in common. As JSON: the flavour and the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GtidSet {
    MySql(MysqlGtids),
    MariaDb(MariadbGtids),
}

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TransactionId {
    MySql(Origin, u64),
    MariaDb(MariadbId),
}

impl TransactionId {
    /// The transaction that begins with this event; none if it is anonymous, or its tag is none.
    #[inline]
    pub(crate) fn of_mysql(gtid: &Gtid<'_>) -> Option<Self> {
        let origin = Origin::new(gtid.uuid, gtid.tag)?;
        mysql::is_number(gtid.number).then_some(Self::MySql(origin, gtid.number))
    }

    /// The transaction that begins with this event.
    #[inline]
    pub(crate) fn of_mariadb(gtid: &MariadbGtid<'_>) -> Self {
        let MariadbGtid { domain, server, sequence, .. } = *gtid;
        Self::MariaDb(MariadbId { domain, server, sequence })
    }
}

impl GtidSet {
    /// The set without transactions.
    pub(crate) fn empty(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySql => Self::MySql(MysqlGtids::default()),
            Flavor::MariaDb => Self::MariaDb(MariadbGtids::default()),
        }
    }

    /// A set as a server of this flavour prints it, whatever its order, case and white space.
    ///
    /// # Errors
    ///
    /// `Malformed` for a text that is none; `TooLarge` beyond [`TEXT_BYTES_MAX`] and
    /// [`INTERVALS_MAX`].
    pub(crate) fn parse(flavor: Flavor, text: &str) -> Result<Self> {
        match flavor {
            Flavor::MySql => text.parse().map(Self::MySql),
            Flavor::MariaDb => text.parse().map(Self::MariaDb),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(set) => set.is_empty(),
        }
    }

    /// Adds a transaction, as they come in the log: what follows on the one before costs a look-up.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond [`INTERVALS_MAX`]; `Internal` for one of the other flavour.
    #[inline]
    pub(crate) fn add(&mut self, transaction: TransactionId) -> Result<()> {
        match (self, transaction) {
            (Self::MySql(set), TransactionId::MySql(origin, number)) => set.add(origin, number),
            (Self::MariaDb(set), TransactionId::MariaDb(id)) => set.add(id),
            (Self::MySql(_) | Self::MariaDb(_), _) => Err(other_flavor()),
        }
    }

    /// Whether it has this transaction. MariaDB: whether that stands before the last one of its server
    /// that is known.
    pub(crate) fn contains(&self, transaction: TransactionId) -> bool {
        match (self, transaction) {
            (Self::MySql(set), TransactionId::MySql(origin, number)) => {
                set.contains(origin, number)
            }
            (Self::MariaDb(set), TransactionId::MariaDb(id)) => set.contains(id),
            (Self::MySql(_) | Self::MariaDb(_), _) => false,
        }
    }

    /// Whether `other` has all of it. MariaDB: whether it has the last transaction of each domain,
    /// behind all others of which it stands.
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// What is here and not in `other`. MariaDB: the last transaction of each domain that `other` has
    /// not.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MySql(one), Self::MySql(other)) => Self::MySql(one.difference(other)),
            (Self::MariaDb(one), Self::MariaDb(other)) => Self::MariaDb(one.difference(other)),
            (Self::MySql(_) | Self::MariaDb(_), _) => self.clone(),
        }
    }

    /// What it lacks of the transactions that a server's log has no more, so that this log cannot be
    /// taken up behind it; empty if it lacks none. MariaDB: where each such domain would have to be.
    pub(crate) fn lacks_of(&self, purged: &Self) -> Self {
        match (self, purged) {
            (Self::MariaDb(ours), Self::MariaDb(purged)) => Self::MariaDb(purged.ahead_of(ours)),
            (Self::MySql(_) | Self::MariaDb(_), purged) => purged.difference(self),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(set) => set.fmt(f),
        }
    }
}

#[cold]
fn other_flavor() -> Error {
    Error::new(ErrorKind::Internal, "keep transactions' ids")
        .because("a set of MySQL's and one of MariaDB's have nothing in common")
}

#[cold]
fn too_large(limit: &'static str, max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "keep transactions' ids")
        .because("the set of transactions has more parts than any replication has")
        .with(limit, max)
        .help("look at gtid_executed (MariaDB: gtid_binlog_state) of the server")
}

/// A part of a text that is no part of a set.
#[cold]
fn malformed(part: &str, why: &'static str) -> Error {
    /// What is shown of a part, which may be of any length.
    const SHOWN_CHARACTERS: usize = 80;
    Error::new(ErrorKind::Malformed, "read a set of transactions")
        .because(why)
        .with("part", part.chars().take(SHOWN_CHARACTERS).collect::<String>())
}

/// The parts of a text, which commas separate; white space around them says nothing.
fn parts(text: &str) -> Result<impl Iterator<Item = &str>> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(too_large("text_bytes_max", TEXT_BYTES_MAX));
    }
    Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()))
}

#[cfg(test)]
mod tests;
