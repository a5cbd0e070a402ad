//! Distributed transactions as a MariaDB 10.11.19 wrote them (`testdata/README.md`), scanned in pieces of any
//! size, as the source does it, without a server. What only MySQL writes is made of them: each such test says so.

use super::*;
use crate::batch::MysqlBatch;
use crate::client::stream::BEFORE_EVENT_BYTES;
use crate::config::TERMS;
use crate::cursor::Cursor;
use crate::decode::{described, numbered};
use crate::follow::Follower;
use crate::frame::tests::{event, format};
use crate::frame::{FILE_MAGIC, Flavor, kinds, next_event};
use crate::gtid::GtidSet;
use crate::held::Held;
use crate::place::LogFile;
use crate::relation::{Relation, TableFacts};
use crate::scan::{Bounds, Place, Scan, scan};
use crate::tables::{Captured, Described, OpenTables, Tables};
use crate::takeup::LogPlace;
use crate::unpacking::{Origin as From, Unpacking};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, ErrorKind, MysqlTypes, Origin, Position, RowImage,
    TableName, TableSchema, Value, Values,
};
use tidemesh_source::{Pending, Selection};

const FILE: &[u8] = include_bytes!("../../../testdata/xa.bin");

/// Bytes that a scan takes at most, where one event may be all of it.
const SIZES: [usize; 4] = [1, 100, 400, WHOLE];

/// More than a whole log.
const WHOLE: usize = 1 << 20;

const EPOCH: u32 = 1;

/// The kinds of events of rows that MariaDB writes.
const WRITTEN: [u8; 3] = [kinds::WRITE_ROWS_V1.0, kinds::UPDATE_ROWS_V1.0, kinds::DELETE_ROWS_V1.0];

/// A row that was told: where its transaction begins, its operation and its key.
type Told = (u64, char, i32);

/// Reads a log as the source does.
struct Reading {
    pending: Pending,
    place: Place,
    captured: Captured,
    tables: Tables,
    held: Held,
    unpacking: Vec<Unpacking>,
    log: LogPlace,
    /// What would have been stored behind each batch.
    stored: Vec<Stored>,
    resume_after: Position,
    unknown: Vec<XaId>,
    rows: Rows,
}

/// A checkpoint.
struct Stored {
    place: LogPlace,
    position: Position,
    /// No transaction is under way.
    is_between: bool,
    /// Rows that were told before.
    told: usize,
}

#[derive(Default)]
struct Rows {
    told: Vec<Told>,
    positions: Vec<Position>,
}

impl ChangeVisitor for Rows {
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        let operation = change.operation().code().chars().next().unwrap();
        let (Change::Create { after: row }
        | Change::Update { after: row, .. }
        | Change::Delete { before: row }) = change
        else {
            panic!("{operation}")
        };
        let Some(Value::Int32(key)) = Values::of(&row)?.first().cloned() else { panic!("no key") };
        self.told.push((origin.transaction, operation, key));
        self.positions.push(origin.position);
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, key: Vec<String>) -> Result<()> {
        panic!("a whole row: {key:?}")
    }

    fn mark(&mut self, _: &Origin<'_>, mark: &str) -> Result<()> {
        panic!("no mark: {mark}")
    }
}

impl Reading {
    fn of(events: &[Vec<u8>], offset: u64) -> Self {
        let mut bytes = Vec::new();
        for event in events {
            bytes.extend_from_slice(&[0; BEFORE_EVENT_BYTES]);
            bytes.extend_from_slice(event);
        }
        let mut pending = Pending::default();
        pending.push(bytes);
        let mut cursor = Cursor::new(Some(Flavor::MariaDb), false);
        cursor.file = Some(LogFile::of(b"log.000001").unwrap());
        cursor.offset = offset;
        let gtids = Some(GtidSet::empty(Flavor::MariaDb));
        let (open, open_held, end) =
            (OpenTables::default(), Vec::new(), Position::before(EPOCH, 0));
        Self {
            pending,
            place: Place { cursor, open, open_held, end, has_rows: false },
            captured: Captured::new(&[TableName::new("x", "t")], None),
            tables: Tables::default(),
            held: Held::new(1 << 20),
            unpacking: Vec::new(),
            log: LogPlace {
                flavor: Flavor::MariaDb,
                server: "101".to_owned(),
                file: "log.000001".to_owned(),
                position: offset,
                gtids,
                ahead: None,
            },
            stored: Vec::new(),
            resume_after: Position::before(EPOCH, 0),
            unknown: Vec::new(),
            rows: Rows::default(),
        }
    }

    /// Reads all of it, in pieces of so many bytes.
    fn read(mut self, bytes_max: usize) -> Result<Self> {
        loop {
            if let Some(unpacking) = self.unpacking.last_mut() {
                unpacking.fill(bytes_max)?;
            }
            if let Some(unpacking) = self.unpacking.pop_if(|unpacking| unpacking.is_done()) {
                self.place.cursor = unpacking.behind(&self.place.cursor);
                continue;
            }
            let waiting = self.unpacking.last().map_or(&self.pending, |one| &one.pending);
            if waiting.bytes() == 0 {
                return Ok(self);
            }
            let bounds = Bounds {
                tables: &self.tables,
                captured: &self.captured,
                held: &self.held,
                epoch: EPOCH,
                bytes_max,
                event_bytes_max: 1 << 20,
                resume_after: self.resume_after,
                stop_at: None,
            };
            let scan = scan(waiting.pieces(), &self.place, &bounds)?;
            self.take(scan)?;
        }
    }

    fn take(&mut self, mut scan: Scan) -> Result<()> {
        let origin = match &scan.stop {
            Some(Stop::Changed(definition)) if scan.bytes == 0 => {
                let definition = definition.clone();
                self.describe(&definition);
                return Ok(());
            }
            Some(Stop::Committed(id, transaction)) => {
                let (events, framer) = self.held.committed(id).unwrap();
                let inner = scan.place.cursor.telling(framer, *transaction);
                Some((inner, From::Held(events, Some(id.clone()))))
            }
            Some(Stop::CommittedAtOnce(transaction)) => {
                let inner = scan.place.cursor.telling(scan.place.cursor.framer(), *transaction);
                self.held.collect(std::mem::take(&mut scan.collected));
                Some((inner, From::Held(self.held.take_collected(), None)))
            }
            Some(Stop::RolledBack(id)) => {
                self.held.release(id);
                None
            }
            _ => None,
        };
        match origin {
            Some((inner, origin)) => {
                self.waiting().take(scan.bytes);
                self.place.cursor = inner;
                self.place.has_rows = false;
                self.unpacking.push(Unpacking::new(origin, scan.place.cursor));
                Ok(())
            }
            None => self.cut(scan),
        }
    }

    fn waiting(&mut self) -> &mut Pending {
        self.unpacking.last_mut().map_or(&mut self.pending, |one| &mut one.pending)
    }

    fn cut(&mut self, mut scan: Scan) -> Result<()> {
        let (cursor, open) = (self.place.cursor.clone(), self.place.open.clone());
        let telling = self.unpacking.last().and_then(|unpacking| unpacking.held());
        let mut follower = Follower { log: &mut self.log, held: &mut self.held, telling };
        self.unknown.extend(follower.follow(&mut scan)?);
        assert!(scan.place.end >= self.place.end, "a place goes back");
        self.place = scan.place;
        self.resume_after = scan.resume_after;
        let pieces = self.waiting().take(scan.bytes);
        let batch = MysqlBatch {
            pieces,
            cursor,
            open,
            tables: Arc::new(self.tables.clone()),
            epoch: EPOCH,
            resume_after: self.resume_after,
            schemas: scan.schemas,
            replaced: Vec::new(),
            rewritten: Vec::new(),
            state: Vec::new(),
            marks: Vec::new(),
            end: self.place.end,
            end_at_us: 0,
        };
        batch.visit(&mut self.rows)?;
        self.stored.push(Stored {
            place: self.held.place(&self.log),
            position: self.place.end.max(self.resume_after),
            is_between: self.place.cursor.transaction.is_none(),
            told: self.rows.told.len(),
        });
        Ok(())
    }

    fn describe(&mut self, definition: &[u8]) {
        let bytes = numbered(definition);
        let map = described(&bytes).unwrap();
        let (facts, types) = (TableFacts::default(), MysqlTypes::default());
        let selection = Selection::all(&TERMS);
        let relation = Relation::new(&map, Flavor::MariaDb, &facts, &types, &selection).unwrap();
        let described = Described {
            definition: definition.into(),
            relation: Arc::new(relation),
            purpose: Purpose::Events,
        };
        self.tables.insert(map.name_bytes().into(), Arc::new(described));
    }
}

fn events(file: &[u8]) -> Vec<Vec<u8>> {
    let mut input = file.strip_prefix(&FILE_MAGIC).unwrap();
    std::iter::from_fn(|| next_event(&mut input).unwrap().map(<[u8]>::to_vec)).collect()
}

/// Where an event ends, as it says itself.
fn end(event: &[u8]) -> u64 {
    u32::from_le_bytes(event[13..17].try_into().unwrap()).into()
}

fn keys(told: &[Told]) -> Vec<(char, i32)> {
    told.iter().map(|(_, operation, key)| (*operation, *key)).collect()
}

const EXPECTED: [(char, i32); 8] =
    [('c', 3), ('c', 4), ('c', 1), ('c', 2), ('u', 2), ('c', 5), ('c', 6), ('c', 7)];

#[test]
fn however_a_log_is_cut_what_is_prepared_is_told_where_it_is_committed() {
    let mut told = Vec::new();
    for bytes_max in SIZES {
        let read = Reading::of(&events(FILE), 4).read(bytes_max).unwrap();
        assert_eq!(keys(&read.rows.told), EXPECTED, "{bytes_max}");
        assert!(read.rows.positions.is_sorted_by(|one, other| one < other), "{bytes_max}");
        assert!(read.held.is_empty() && read.unknown.is_empty() && read.unpacking.is_empty());
        told.push(read.rows.told);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "places differ by how a log is cut");
}

#[test]
fn behind_a_place_that_is_stored_all_that_was_not_told_is_told_once() {
    let all = events(FILE);
    for bytes_max in SIZES {
        let whole = Reading::of(&all, 4).read(bytes_max).unwrap();
        for stored in &whole.stored {
            let offset = stored.place.position;
            // The format first, as a server sends it, and then what is behind the place.
            let is_sent =
                |event: &&Vec<u8>| event[4] == kinds::FORMAT_DESCRIPTION.0 || end(event) > offset;
            let rest: Vec<Vec<u8>> = all.iter().filter(is_sent).cloned().collect();
            let mut again = Reading::of(&rest, offset);
            (again.log, again.resume_after) = (stored.place.clone(), stored.position);
            again.place.cursor.told = stored.place.ahead.clone().map(Arc::new);
            let again = again.read(WHOLE).unwrap();
            let left = &whole.rows.told[stored.told..];
            assert_eq!(again.rows.told, left, "{bytes_max}, {:?}", stored.place);
            assert!(again.unknown.iter().all(|id| *id == XaId::new(1, b"stranger", b"")));
            assert_eq!(again.log.gtids, whole.log.gtids, "{bytes_max}, {:?}", stored.place);
        }
    }
}

#[test]
fn of_another_servers_log_that_is_told_which_was_not() {
    let all = events(FILE);
    let whole = Reading::of(&all, 4).read(1).unwrap();
    // What a place says that is told does not come again, and all else does, what is held with it.
    let is_ahead = |stored: &&Stored| stored.is_between && stored.place.ahead.is_some();
    let stored: Vec<_> = whole.stored.iter().filter(is_ahead).collect();
    assert!(stored.len() > 5);
    for stored in stored {
        for bytes_max in SIZES {
            let mut again = Reading::of(&all, 4);
            again.log.ahead = stored.place.ahead.clone();
            again.place.cursor.told = stored.place.ahead.clone().map(Arc::new);
            let again = again.read(bytes_max).unwrap();
            assert_eq!(again.rows.told, whole.rows.told[stored.told..], "{:?}", stored.place);
            assert!(again.log.ahead.is_none() && again.place.cursor.told.is_none());
        }
    }
}

#[test]
fn no_more_is_held_than_may_be_and_the_error_says_of_what() {
    let mut reading = Reading::of(&events(FILE), 4);
    reading.held = Held::new(100);
    let Err(error) = reading.read(WHOLE) else { panic!("too much is held") };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.report();
    for part in ["mysql.xa_held_bytes_max", "tables=x.t", "log.000001", "XA RECOVER"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// As a statement has it that names a table and changes none of its rows.
#[test]
fn nothing_is_kept_of_tables_without_rows() {
    let all = events(FILE);
    let prepare = all.iter().position(|event| event[4] == kinds::XA_PREPARE.0).unwrap();
    let mut rest = all[..=prepare].to_vec();
    rest.retain(|event| !WRITTEN.contains(&event[4]));
    assert!(rest.len() < prepare);
    for bytes_max in SIZES {
        let mut reading = Reading::of(&rest, 4);
        reading.held = Held::new(1 << 20);
        let read = reading.read(bytes_max).unwrap();
        assert!(read.held.is_empty());
        read.held.has_room(1 << 20, &BTreeSet::new()).unwrap();
        assert!(read.rows.told.is_empty(), "{bytes_max}");
    }
}

#[test]
fn a_commit_of_what_was_not_read_is_told_of() {
    let all = events(FILE);
    // Behind the first prepare.
    let prepare = all.iter().position(|event| event[4] == kinds::XA_PREPARE.0).unwrap();
    let offset = end(&all[prepare]);
    let rest: Vec<Vec<u8>> =
        [all[0].clone()].into_iter().chain(all[prepare + 1..].to_vec()).collect();
    let read = Reading::of(&rest, offset).read(WHOLE).unwrap();
    assert_eq!(read.unknown, [XaId::new(1, b"a", b"b")]);
    let expected: Vec<_> = EXPECTED.into_iter().filter(|(_, key)| !matches!(key, 1 | 2)).collect();
    assert_eq!(keys(&read.rows.told), expected);
}

/// By `XA_prepare_event` in MySQL 9.1's `control_events.cpp`, whose flag says that it is committed with it:
/// the first prepare is made one such. No real MySQL was at hand.
#[test]
fn one_that_is_committed_at_once_is_told_where_it_begins() {
    let mut all = events(FILE);
    let prepare = all.iter_mut().find(|event| event[4] == kinds::XA_PREPARE.0).unwrap();
    prepare[19] = 1;
    let (content, checksum) = prepare.split_last_chunk_mut::<4>().unwrap();
    *checksum = crc32fast::hash(content).to_le_bytes();
    for bytes_max in SIZES {
        let read = Reading::of(&all, 4).read(bytes_max).unwrap();
        assert_eq!(
            keys(&read.rows.told)[..4],
            [('c', 1), ('c', 2), ('u', 2), ('c', 3)],
            "{bytes_max}"
        );
        assert!(read.rows.positions.is_sorted_by(|one, other| one < other), "{bytes_max}");
        assert_eq!(read.unknown, [XaId::new(1, b"a", b"b")], "its own commit does not come");
    }
}

/// A transaction of MySQL without an id: `gtid_mode` was not `ON` yet. By `Gtid_event` and `Query_event` in MySQL
/// 9.1's `control_events.cpp` and `statement_events.cpp`; no real MySQL was at hand.
fn without_an_id() -> Vec<Vec<u8>> {
    let mut query = vec![0; 13];
    query.extend_from_slice(b"\0CREATE DATABASE y");
    vec![event(kinds::ANONYMOUS_GTID, 0, &[0; 25], false), event(kinds::QUERY, 0, &query, false)]
}

/// The begin of a next file, with all transactions before it: the first five of one server. By
/// `Gtid_set::encode` in MySQL 9.1's `sql/rpl_gtid_set.cc`.
fn next_file() -> Vec<Vec<u8>> {
    let mut rotate = 4_u64.to_le_bytes().to_vec();
    rotate.extend_from_slice(b"log.000002");
    let mut before = 1_u64.to_le_bytes().to_vec();
    before.extend_from_slice(&[7; 16]);
    [1_u64, 1, 6].iter().for_each(|number| before.extend_from_slice(&number.to_le_bytes()));
    vec![
        event(kinds::ROTATE, 0, &rotate, false),
        format(0),
        event(kinds::PREVIOUS_GTIDS, 0, &before, false),
    ]
}

#[test]
fn after_a_transaction_without_an_id_ids_are_known_again_with_the_next_file() {
    let mysql = |events: Vec<Vec<u8>>| {
        let mut reading = Reading::of(&[vec![format(0)], events].concat(), 4);
        reading.log.flavor = Flavor::MySql;
        reading.log.gtids = Some(GtidSet::empty(Flavor::MySql));
        reading.read(WHOLE).unwrap().log.gtids.map(|gtids| gtids.to_string())
    };
    let first_five = Some("07070707-0707-0707-0707-070707070707:1-5".to_owned());
    assert_eq!(mysql(without_an_id()), None);
    assert_eq!(mysql([without_an_id(), next_file()].concat()), first_five);
    assert_eq!(mysql([next_file(), without_an_id()].concat()), None);
    let mut mariadb = Reading::of(&events(FILE), 4);
    mariadb.log.gtids = None;
    let ids = mariadb.read(WHOLE).unwrap().log.gtids;
    assert!(ids.is_some_and(|ids| ids.to_string().starts_with("0-101-")));
}
