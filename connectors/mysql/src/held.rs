//! Distributed (XA) transactions that are prepared and not yet ended. The log has their rows where they are
//! prepared, and a statement where they are committed or rolled back: so the events of captured tables are
//! kept until then, and told as the committing statement's. While one is held, the log would be taken up
//! before it. Pure.
//!
//! Kept are copies of the events, not pieces of the stream's buffers, which would be kept whole for a few of
//! their bytes. Tables describe themselves among them: what DDL does meanwhile does not matter, and cannot
//! be, since a prepared transaction holds the tables' metadata locks.

use crate::cursor::Cursor;
use crate::frame::{Flavor, Framer, next_event};
use crate::gtid::{GtidSet, TransactionId};
use crate::place::offset_of;
use crate::takeup::LogPlace;
use crate::transaction::Transaction;
use crate::xa::XaId;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result, TableName};

/// The most transactions that are held at a time.
pub(crate) const HELD_MAX: usize = 16_384;

/// The most ids that are remembered of prepared transactions that change no captured table.
const STRANGERS_MAX: usize = 4096;

/// How long a transaction may be held before that is warned of, and how long until it is again.
const LONG: Duration = Duration::from_secs(600);

/// Tables that an error names.
const SHOWN_TABLES: usize = 8;

/// Events of captured tables that a scan found in a distributed transaction.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Events, one behind the other, each behind the number of its rows in 4 bytes.
    pub(crate) events: Vec<u8>,
    pub(crate) tables: BTreeSet<TableName>,
}

/// The end of a distributed transaction that is to be held.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: XaId,
    pub(crate) transaction: Transaction,
}

/// A transaction that is held.
#[derive(Debug)]
struct HeldTransaction {
    id: XaId,
    /// Where it begins.
    file: Arc<str>,
    offset: u64,
    /// Its id in the log.
    transaction: Option<TransactionId>,
    /// MariaDB: all transactions before it, if they have ids.
    before: Option<GtidSet>,
    events: Arc<Vec<u8>>,
    framer: Framer,
    tables: BTreeSet<TableName>,
    since: Instant,
    warned_at: Option<Instant>,
}

/// The transactions that are held.
#[derive(Debug)]
pub(crate) struct Held {
    bytes_max: usize,
    /// Bytes of all, and of what is collected.
    bytes: usize,
    /// In the order of the log.
    transactions: VecDeque<HeldTransaction>,
    /// Of the transaction that is under way.
    collected: Collected,
    /// Prepared ones of which nothing is held; the oldest first.
    strangers: VecDeque<XaId>,
}

/// The events of a transaction that was held, one at a time; the last one ends it.
#[derive(Debug)]
pub(crate) struct HeldEvents {
    events: Arc<Vec<u8>>,
    left: Range<usize>,
}

/// A transaction that has been held for long.
#[derive(Debug)]
pub(crate) struct Long {
    pub(crate) id: XaId,
    pub(crate) file: Arc<str>,
    pub(crate) offset: u64,
    pub(crate) tables: String,
    pub(crate) held_for: Duration,
}

impl HeldEvents {
    fn new(events: Arc<Vec<u8>>) -> Self {
        let left = 0..events.len();
        Self { events, left }
    }

    /// The number of the next event of rows, or of the one that comes behind a table; and the event's bytes,
    /// header and all. None at the end.
    ///
    /// # Errors
    ///
    /// `Malformed` for what is no event, which is not held.
    pub(crate) fn next_bytes(&mut self) -> Result<Option<(u32, &[u8])>> {
        let left = &self.events[self.left.clone()];
        let Some((number, mut left)) = left.split_first_chunk() else { return Ok(None) };
        let event = next_event(&mut left)?;
        self.left.start = self.left.end - left.len();
        Ok(event.map(|event| (u32::from_le_bytes(*number), event)))
    }
}

impl Held {
    /// None, of which all together may have so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            transactions: VecDeque::new(),
            collected: Collected::default(),
            strangers: VecDeque::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Whether it is held.
    pub(crate) fn has(&self, id: &XaId) -> bool {
        self.transactions.iter().any(|held| held.id == *id)
    }

    /// Whether it was seen to be prepared.
    pub(crate) fn knows(&self, id: &XaId) -> bool {
        self.has(id) || self.strangers.contains(id)
    }

    /// Whether `more` bytes of the transaction that is under way may be kept.
    ///
    /// # Errors
    ///
    /// `TooLarge`, with the tables of all that is held.
    pub(crate) fn has_room(&self, more: usize, tables: &BTreeSet<TableName>) -> Result<()> {
        if self.bytes + more <= self.bytes_max {
            return Ok(());
        }
        let error =
            self.too_many("prepared (XA) transactions have more bytes than may be held", tables);
        Err(error.with("mysql.xa_held_bytes_max", self.bytes_max).help(
            "raise mysql.xa_held_bytes_max, and see that there is memory for it: all are held until their ends \
             are read; see XA RECOVER, and run XA COMMIT or XA ROLLBACK for those that nobody ends",
        ))
    }

    /// Whether one more may be held.
    ///
    /// # Errors
    ///
    /// `TooLarge`, with the tables of all that is held.
    pub(crate) fn has_place(&self, tables: &BTreeSet<TableName>) -> Result<()> {
        if self.transactions.len() < HELD_MAX {
            return Ok(());
        }
        let error = self.too_many("more transactions are prepared (XA) than may be held", tables);
        Err(error.with("held_max", HELD_MAX).help(
            "run XA COMMIT or XA ROLLBACK for what XA RECOVER lists; then pass over it by `tidemesh checkpoint \
             set`, and have the tables read by `tidemesh snapshot start`",
        ))
    }

    #[cold]
    fn too_many(&self, why: &'static str, tables: &BTreeSet<TableName>) -> Error {
        let held = self.transactions.iter().flat_map(|held| &held.tables);
        let all: BTreeSet<&TableName> = held.chain(&self.collected.tables).chain(tables).collect();
        Error::new(ErrorKind::TooLarge, "read the log")
            .because(why)
            .with("held", self.transactions.len())
            .with("held_bytes", self.bytes)
            .with("tables", shown(all.into_iter()))
    }

    /// Keeps what a scan found of the transaction that is under way.
    pub(crate) fn collect(&mut self, found: Collected) {
        self.bytes += found.events.len();
        match self.collected.events.is_empty() {
            true => self.collected.events = found.events,
            false => self.collected.events.extend_from_slice(&found.events),
        }
        self.collected.tables.extend(found.tables);
    }

    /// What is collected is of a transaction that is not held.
    pub(crate) fn drop_collected(&mut self) {
        let Collected { events, .. } = std::mem::take(&mut self.collected);
        self.bytes -= events.len();
    }

    /// Holds the transaction that was collected, at whose end `cursor` is; `before` are all transactions
    /// before it. One of the same id is gone: the server was killed before it had prepared it.
    pub(crate) fn hold(&mut self, prepared: Prepared, cursor: &Cursor, before: Option<&GtidSet>) {
        let Prepared { id, transaction } = prepared;
        self.release(&id);
        let Collected { mut events, tables } = std::mem::take(&mut self.collected);
        events.shrink_to_fit();
        self.transactions.push_back(HeldTransaction {
            id,
            file: cursor.file.as_ref().map_or_else(|| "".into(), |file| Arc::clone(&file.name)),
            offset: offset_of(transaction.commit),
            transaction: transaction.id,
            before: before.filter(|_| cursor.flavor() == Flavor::MariaDb).cloned(),
            events: Arc::new(events),
            framer: cursor.framer(),
            tables,
            since: Instant::now(),
            warned_at: None,
        });
    }

    /// The events of the transaction that is under way, which is committed at its own end.
    pub(crate) fn take_collected(&mut self) -> HeldEvents {
        let Collected { events, .. } = std::mem::take(&mut self.collected);
        self.bytes -= events.len();
        HeldEvents::new(Arc::new(events))
    }

    /// The events of a transaction that is committed, and how they are read. It stays held until all of
    /// them are told.
    pub(crate) fn committed(&self, id: &XaId) -> Option<(HeldEvents, Framer)> {
        let held = self.transactions.iter().find(|held| held.id == *id)?;
        Some((HeldEvents::new(Arc::clone(&held.events)), held.framer))
    }

    /// It was told, or rolled back.
    pub(crate) fn release(&mut self, id: &XaId) {
        if let Some(at) = self.transactions.iter().position(|held| held.id == *id)
            && let Some(held) = self.transactions.remove(at)
        {
            self.bytes -= held.events.len();
        }
        self.strangers.retain(|stranger| stranger != id);
    }

    /// One was prepared of which nothing is held.
    pub(crate) fn pass(&mut self, id: XaId) {
        self.release(&id);
        if self.strangers.len() >= STRANGERS_MAX {
            self.strangers.pop_front();
        }
        self.strangers.push_back(id);
    }

    /// Where the log is taken up if all up to `log` was told or is held: before the oldest one that is held.
    ///
    /// MySQL's sets can lack what is held, and have all behind it. MariaDB's cannot: a server is asked for
    /// all behind the oldest one, and what was told of that is known by the set beside (`ahead`).
    pub(crate) fn place(&self, log: &LogPlace) -> LogPlace {
        let Some(oldest) = self.transactions.front() else { return log.clone() };
        let (gtids, ahead) = match log.flavor {
            Flavor::MySql => (self.without_held(log), None),
            Flavor::MariaDb => {
                let read = log.ahead.as_ref().or(log.gtids.as_ref());
                (oldest.before.clone(), oldest.before.as_ref().and(read).cloned())
            }
        };
        LogPlace {
            file: oldest.file.as_ref().to_owned(),
            position: oldest.offset,
            gtids,
            ahead,
            ..log.clone()
        }
    }

    /// The transactions that were read and are not held; none if one has no id.
    fn without_held(&self, log: &LogPlace) -> Option<GtidSet> {
        let mut held = GtidSet::empty(log.flavor);
        for transaction in &self.transactions {
            held.add(transaction.transaction?).ok()?;
        }
        log.gtids.as_ref().map(|read| read.difference(&held))
    }

    /// The oldest one, if it has been held for so long that that is to be told again.
    pub(crate) fn long(&mut self) -> Option<Long> {
        let oldest = self.transactions.front_mut()?;
        let (held_for, told) = (oldest.since.elapsed(), oldest.warned_at);
        if held_for < LONG || told.is_some_and(|at| at.elapsed() < LONG) {
            return None;
        }
        oldest.warned_at = Some(Instant::now());
        Some(Long {
            id: oldest.id.clone(),
            file: Arc::clone(&oldest.file),
            offset: oldest.offset,
            tables: shown(oldest.tables.iter()),
            held_for,
        })
    }
}

/// The first names of tables.
fn shown<'a>(tables: impl Iterator<Item = &'a TableName>) -> String {
    let names: Vec<String> = tables.take(SHOWN_TABLES + 1).map(ToString::to_string).collect();
    match names.get(..SHOWN_TABLES) {
        Some(first) if names.len() > SHOWN_TABLES => format!("{}, …", first.join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Gtid;
    use crate::place::LogFile;

    const ONE: &str = "07070707-0707-0707-0707-070707070707";

    fn id(number: u32) -> XaId {
        XaId::new(number, b"g", b"b")
    }

    fn cursor(flavor: Flavor) -> Cursor {
        let mut cursor = Cursor::new(Some(flavor), false);
        cursor.file = Some(LogFile::of(b"log.000002").unwrap());
        cursor
    }

    fn log(flavor: Flavor, gtids: &str) -> LogPlace {
        LogPlace {
            flavor,
            server: "a".to_owned(),
            file: "log.000009".to_owned(),
            position: 900,
            gtids: Some(GtidSet::parse(flavor, gtids).unwrap()),
            ahead: None,
        }
    }

    /// Holds a transaction of so many bytes, which begins at its number.
    fn hold(held: &mut Held, number: u32, bytes: usize, flavor: Flavor, before: Option<&GtidSet>) {
        let commit = u64::from(number);
        let transaction = match flavor {
            Flavor::MySql => {
                let gtid = Gtid { uuid: [7; 16], number: commit, ..Gtid::default() };
                Transaction::of_mysql(&gtid, commit, 7, 1)
            }
            Flavor::MariaDb => Transaction::none(commit, 7),
        };
        let tables = BTreeSet::from([TableName::new("d", format!("t{number}"))]);
        held.collect(Collected { events: vec![0; bytes], tables });
        held.hold(Prepared { id: id(number), transaction }, &cursor(flavor), before);
    }

    #[test]
    fn mysqls_sets_lack_what_is_held_and_no_more() {
        let mut held = Held::new(1000);
        let read = log(Flavor::MySql, &format!("{ONE}:1-9"));
        assert_eq!(held.place(&read), read);
        hold(&mut held, 4, 10, Flavor::MySql, read.gtids.as_ref());
        hold(&mut held, 7, 10, Flavor::MySql, read.gtids.as_ref());
        let place = held.place(&read);
        assert_eq!((place.file.as_str(), place.position), ("log.000002", 4));
        assert_eq!(place.gtids.unwrap().to_string(), format!("{ONE}:1-3:5-6:8-9"));
        assert_eq!(place.ahead, None);
        held.release(&id(4));
        assert_eq!(held.place(&read).gtids.unwrap().to_string(), format!("{ONE}:1-6:8-9"));
        held.release(&id(7));
        assert_eq!(held.place(&read), read);
    }

    #[test]
    fn mariadbs_place_has_what_is_before_it_and_what_was_read() {
        let mut held = Held::new(1000);
        let before = GtidSet::parse(Flavor::MariaDb, "0-1-3").unwrap();
        let mut read = log(Flavor::MariaDb, "0-1-9");
        hold(&mut held, 4, 10, Flavor::MariaDb, Some(&before));
        let place = held.place(&read);
        assert_eq!((place.position, place.gtids.as_ref()), (4, Some(&before)));
        assert_eq!(place.ahead, read.gtids);
        // What another log had told is not forgotten on the way.
        read.ahead = Some(GtidSet::parse(Flavor::MariaDb, "0-1-12").unwrap());
        assert_eq!(held.place(&read).ahead, read.ahead);
    }

    #[test]
    fn no_more_bytes_and_transactions_are_held_than_may_be() {
        let mut held = Held::new(100);
        let none = BTreeSet::new();
        hold(&mut held, 1, 60, Flavor::MariaDb, None);
        held.has_room(40, &none).unwrap();
        let error = held.has_room(41, &none).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.report().contains("tables=d.t1"), "{}", error.report());
        // One of the same id is another one.
        hold(&mut held, 1, 10, Flavor::MariaDb, None);
        held.has_room(90, &none).unwrap();
        held.release(&id(1));
        held.has_room(100, &none).unwrap();
        for number in 0..u32::try_from(HELD_MAX).unwrap() {
            held.has_place(&none).unwrap();
            hold(&mut held, number, 0, Flavor::MariaDb, None);
        }
        let text = held.has_place(&none).unwrap_err().report();
        assert!(
            text.contains("d.t0, ") && text.contains("…") && !text.contains("d.t999"),
            "{text}"
        );
    }

    #[test]
    fn those_of_other_tables_are_remembered_up_to_a_bound() {
        let mut held = Held::new(0);
        let last = u32::try_from(STRANGERS_MAX).unwrap();
        (0..=last).for_each(|number| held.pass(id(number)));
        assert!(!held.knows(&id(0)) && held.knows(&id(1)) && held.knows(&id(last)));
        held.release(&id(last));
        assert!(!held.knows(&id(last)) && held.is_empty());
    }

    #[test]
    fn events_come_out_one_by_one() {
        let one = crate::frame::tests::event(crate::frame::kinds::XID, 0, &[1], false);
        let other = crate::frame::tests::event(crate::frame::kinds::XID, 0, &[2, 2], false);
        let mut events = HeldEvents::new(Arc::new(
            [&[3, 0, 0, 0], one.as_slice(), &[7, 1, 0, 0], other.as_slice()].concat(),
        ));
        assert_eq!(events.next_bytes().unwrap(), Some((3, one.as_slice())));
        assert_eq!(events.next_bytes().unwrap(), Some((263, other.as_slice())));
        assert_eq!(events.next_bytes().unwrap(), None);
    }
}
