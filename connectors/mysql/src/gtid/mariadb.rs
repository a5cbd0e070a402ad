//! Sets of MariaDB's transactions: of each domain a prefix, told by the last transaction of each
//! server in it.

use super::{INTERVALS_MAX, malformed, parts, too_large};
use crate::decode::MariadbGtidList;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use tidemesh_model::{Error, Result};

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MariadbId {
    pub(crate) domain: u32,
    /// The server that wrote it first.
    pub(crate) server: u32,
    /// Rises in its domain, whatever server writes (`gtid_strict_mode` has the server insist on it).
    pub(crate) sequence: u64,
}

/// Transactions of MariaDB servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct MariadbGtids {
    domains: BTreeMap<u32, Domain>,
    /// Servers of all domains.
    servers: usize,
}

/// A domain's transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Domain {
    /// The server of the last one.
    last: u32,
    /// The last one of each server.
    servers: BTreeMap<u32, u64>,
}

impl MariadbGtids {
    pub(crate) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Adds the transaction that is the last of its domain now.
    #[inline]
    pub(super) fn add(&mut self, id: MariadbId) -> Result<()> {
        let new = Domain { last: id.server, servers: BTreeMap::new() };
        let domain = self.domains.entry(id.domain).or_insert(new);
        domain.last = id.server;
        match domain.servers.get_mut(&id.server) {
            Some(sequence) => *sequence = id.sequence.max(*sequence),
            None => {
                domain.servers.insert(id.server, id.sequence);
                self.servers += 1;
                if self.servers > INTERVALS_MAX {
                    return Err(too_large("servers_max", INTERVALS_MAX));
                }
            }
        }
        Ok(())
    }

    /// Whether it stands before the last one of its server, which is known.
    pub(super) fn contains(&self, id: MariadbId) -> bool {
        let sequence = self.domains.get(&id.domain).and_then(|of| of.servers.get(&id.server));
        sequence.is_some_and(|sequence| id.sequence <= *sequence)
    }

    /// Whether it has transactions of this domain.
    pub(crate) fn has_domain(&self, domain: u32) -> bool {
        self.domains.contains_key(&domain)
    }

    /// The last transaction of each domain, by domains.
    pub(crate) fn positions(&self) -> impl Iterator<Item = MariadbId> {
        self.domains.iter().map(|(domain, of)| MariadbId {
            domain: *domain,
            server: of.last,
            sequence: of.servers.get(&of.last).copied().unwrap_or_default(),
        })
    }

    /// The last transaction of each server: in a domain by servers, the last of all at its end, as
    /// `@@gtid_binlog_state` has it.
    fn states(&self) -> impl Iterator<Item = MariadbId> {
        let servers = |(domain, of): (&u32, &Domain)| {
            let (domain, last) = (*domain, of.last);
            let id = move |(server, sequence): (&u32, &u64)| MariadbId {
                domain,
                server: *server,
                sequence: *sequence,
            };
            let others = of.servers.iter().filter(|(server, _)| **server != last).map(id);
            others.chain(of.servers.get_key_value(&last).map(id)).collect::<Vec<_>>()
        };
        self.domains.iter().flat_map(servers)
    }

    /// The text that `@slave_connect_state` takes: one position of each domain.
    pub(crate) fn connect_state(&self) -> String {
        let positions: Vec<String> = self.positions().map(|id| id.to_string()).collect();
        positions.join(",")
    }

    /// The last transaction of each domain that `other` has not.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.positions().filter(|id| !other.contains(*id)).collect()
    }

    /// The last transaction of each domain in which `other` is not as far.
    pub(super) fn ahead_of(&self, other: &Self) -> Self {
        let reached = |domain| other.positions().find(|id| id.domain == domain);
        let is_ahead = |id: &MariadbId| {
            reached(id.domain).is_none_or(|reached| reached.sequence < id.sequence)
        };
        self.positions().filter(is_ahead).collect()
    }

    /// All transactions before a file of the log.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond [`INTERVALS_MAX`].
    pub(crate) fn before(list: MariadbGtidList<'_>) -> Result<Self> {
        let mut set = Self::default();
        let mut ids =
            list.iter().map(|(domain, server, sequence)| MariadbId { domain, server, sequence });
        // The last of a domain stands behind its others (`rpl_binlog_state::get_gtid_list`).
        ids.try_for_each(|id| set.add(id))?;
        Ok(set)
    }
}

/// One position of each domain.
impl FromIterator<MariadbId> for MariadbGtids {
    fn from_iter<I: IntoIterator<Item = MariadbId>>(ids: I) -> Self {
        let domain = |id: MariadbId| {
            let servers = BTreeMap::from([(id.server, id.sequence)]);
            (id.domain, Domain { last: id.server, servers })
        };
        let domains: BTreeMap<u32, Domain> = ids.into_iter().map(domain).collect();
        Self { servers: domains.len(), domains }
    }
}

impl FromStr for MariadbGtids {
    type Err = Error;

    /// A position, of one transaction a domain, or a state, of one a server, where the last of a domain
    /// stands behind its others.
    fn from_str(text: &str) -> Result<Self> {
        let mut set = Self::default();
        for part in parts(text)? {
            let id = id(part).ok_or_else(|| malformed(part, "it is no domain-server-number"))?;
            set.add(id)?;
        }
        Ok(set)
    }
}

fn id(part: &str) -> Option<MariadbId> {
    let mut numbers = part.split('-').map(|number| {
        number.parse::<u64>().ok().filter(|_| number.starts_with(|c: char| c.is_ascii_digit()))
    });
    let mut next = || numbers.next().flatten();
    let domain = u32::try_from(next()?).ok()?;
    let server = u32::try_from(next()?).ok()?;
    let sequence = next()?;
    numbers.next().is_none().then_some(MariadbId { domain, server, sequence })
}

impl TryFrom<String> for MariadbGtids {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MariadbGtids> for String {
    fn from(set: MariadbGtids) -> Self {
        set.to_string()
    }
}

impl fmt::Display for MariadbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// The state, which says all that is known.
impl fmt::Display for MariadbGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, id) in self.states().enumerate() {
            write!(f, "{}{id}", if place > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}
