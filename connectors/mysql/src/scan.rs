//! How far the next batch reaches, found without decoding rows: up to a bound of bytes, to a table that
//! is new or changed, to what has to come alone. Pure.

mod distributed;

use crate::cursor::{Cursor, Statement, Told, next_in};
use crate::decode::{PayloadEvents, Rows, TableMap};
use crate::gtid::{GtidSet, TransactionId};
use crate::held::{Collected, Held, Prepared};
use crate::place::behind_event;
use crate::statement::{Altered, Effect, Rename};
use crate::tables::{Captured, OpenTables, Purpose, Tables};
use crate::transaction::Transaction;
use crate::xa::XaId;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Position, Result, TableName, TableSchema};

/// Where in the log the next batch begins.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) cursor: Cursor,
    /// Tables whose rows may follow.
    pub(crate) open: OpenTables,
    /// The numbers of the captured ones among those of a distributed transaction.
    pub(crate) open_held: Vec<u64>,
    /// All at or before it was given out.
    pub(crate) end: Position,
    /// Whether the transaction that is under way has rows of captured tables.
    pub(crate) has_rows: bool,
}

/// What a scan goes by.
pub(crate) struct Bounds<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) captured: &'a Captured,
    pub(crate) held: &'a Held,
    pub(crate) epoch: u32,
    pub(crate) bytes_max: usize,
    /// The most bytes of an event within a compressed transaction.
    pub(crate) event_bytes_max: usize,
    /// Nothing at or before it is told, so nothing there is refused.
    pub(crate) resume_after: Position,
    /// A commit position where the batch ends, if it comes there.
    pub(crate) stop_at: Option<u64>,
}

/// What a scan found.
pub(crate) struct Scan {
    /// Bytes that make the batch.
    pub(crate) bytes: usize,
    pub(crate) place: Place,
    /// Schemas of the tables that have rows in it.
    pub(crate) schemas: Vec<Arc<TableSchema>>,
    /// Transactions that end in it.
    pub(crate) ended: Vec<TransactionId>,
    /// Whether one without an id does.
    pub(crate) has_anonymous: bool,
    /// All transactions before it, if a file of the log begins with them in it.
    pub(crate) before: Option<GtidSet>,
    /// What is to be held of a distributed transaction.
    pub(crate) collected: Collected,
    /// Whether what was collected before it is of a transaction that is not held.
    pub(crate) drops_collected: bool,
    /// A distributed transaction that ends with it and is to be held.
    pub(crate) prepared: Option<Prepared>,
    /// Distributed transactions that are prepared in it and of which nothing is held.
    pub(crate) strangers: Vec<XaId>,
    /// Distributed transactions that end in it, and are not held; and whether that is a commit that is told.
    pub(crate) ended_strangers: Vec<(XaId, bool)>,
    /// Nothing at or before it is told: what another log has told stands before it.
    pub(crate) resume_after: Position,
    /// Whether it has transactions that are to be told.
    has_untold: bool,
    /// Whether nothing else may be told with it.
    pub(crate) is_alone: bool,
    pub(crate) stop: Option<Stop>,
}

/// Why a batch ends where it does.
pub(crate) enum Stop {
    /// Before the description of a table that is new or changed: all of it but its number.
    Changed(Box<[u8]>),
    /// Before a statement that changes all rows of a table that the log has not described since the start.
    Unknown(TableName),
    /// Behind a statement by which these captured tables are gone.
    Dropped(Vec<TableName>),
    /// Behind a statement by which these captured tables have other rows, of which the log tells nothing.
    Replaced(Vec<TableName>),
    /// Behind a statement that gives tables other names, of which one is captured.
    Renamed(Vec<Rename>),
    /// Behind a statement that may have altered this captured table: what the log does not tell of it may be
    /// other than before.
    Altered(Altered),
    /// Behind a compressed transaction, whose events come next.
    Payload(PayloadEvents),
    /// Behind the commit of a distributed transaction that is held, whose events come next.
    Committed(XaId, Transaction),
    /// Behind a distributed transaction that is committed at once, whose events come next.
    CommittedAtOnce(Transaction),
    /// Behind the rollback of a distributed transaction that is held.
    RolledBack(XaId),
}

/// What to do with an event.
enum Step {
    Take,
    /// The batch ends before it.
    Before(Option<Stop>),
    /// The batch ends behind it.
    Behind(Option<Stop>),
}

/// Looks how far the next batch reaches from `place` on.
///
/// # Errors
///
/// Of the first event alone: what cannot be carried, or is malformed. One behind others ends the batch.
pub(crate) fn scan<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    place: &Place,
    bounds: &Bounds<'_>,
) -> Result<Scan> {
    let mut scanning = Scanning { bounds, scan: Scan::begin(place, bounds) };
    let mut scratch = Vec::new();
    for piece in pieces {
        let mut input = piece;
        while let Some((event, bytes, number)) = next_in(&mut input)? {
            // One that is larger than a batch comes alone.
            if scanning.scan.bytes > 0 && scanning.scan.bytes + bytes > bounds.bytes_max {
                return Ok(scanning.scan);
            }
            let (mark, end) = (scanning.scan.place.cursor.mark(), scanning.scan.place.end);
            scanning.scan.place.cursor.turn_to(number);
            let step = match scanning.event(event, &mut scratch) {
                Ok(step) => step,
                Err(error) if scanning.scan.bytes == 0 => return Err(error),
                Err(_) => Step::Before(None),
            };
            if let Step::Before(stop) = step {
                scanning.scan.place.cursor.back_to(mark);
                scanning.scan.place.end = end;
                scanning.scan.stop = stop;
                return Ok(scanning.scan);
            }
            scanning.scan.bytes += bytes;
            if let Step::Behind(stop) = step {
                scanning.scan.stop = stop;
                return Ok(scanning.scan);
            }
            if scanning.scan.bytes >= bounds.bytes_max || scanning.is_at_stop()? {
                return Ok(scanning.scan);
            }
        }
    }
    Ok(scanning.scan)
}

impl Scan {
    fn begin(place: &Place, bounds: &Bounds<'_>) -> Self {
        Self {
            bytes: 0,
            place: place.clone(),
            schemas: Vec::new(),
            ended: Vec::new(),
            has_anonymous: false,
            before: None,
            collected: Collected::default(),
            drops_collected: false,
            prepared: None,
            strangers: Vec::new(),
            ended_strangers: Vec::new(),
            resume_after: bounds.resume_after,
            has_untold: place.cursor.transaction.is_some_and(|transaction| !transaction.is_told),
            is_alone: false,
            stop: None,
        }
    }
}

struct Scanning<'b> {
    bounds: &'b Bounds<'b>,
    scan: Scan,
}

impl Scanning<'_> {
    /// Whether a mark stands here, between transactions.
    fn is_at_stop(&self) -> Result<bool> {
        let Some(stop_at) = self.bounds.stop_at else { return Ok(false) };
        let cursor = &self.scan.place.cursor;
        Ok(cursor.transaction.is_none() && cursor.file.is_some() && cursor.commit()? >= stop_at)
    }

    fn event(&mut self, event: &[u8], scratch: &mut Vec<u8>) -> Result<Step> {
        match self.scan.place.cursor.advance(event, scratch)? {
            Told::Table(map) if self.scan.place.cursor.is_distributed() => {
                self.held_table(&map, event)
            }
            Told::Rows(rows) if self.scan.place.cursor.is_distributed() => {
                self.held_rows(&rows, event)
            }
            Told::Prepared(transaction, xid) => self.prepared(transaction, xid, event),
            Told::Table(map) => self.table(&map),
            Told::Rows(rows) => self.rows(&rows),
            Told::Ended(transaction) => {
                self.ended(&transaction)?;
                Ok(Step::Take)
            }
            Told::Statement(statement) => self.statement(&statement),
            Told::Payload(payload) if self.scan.bytes == 0 => {
                let events = payload.events(self.bounds.event_bytes_max)?;
                Ok(Step::Behind(Some(Stop::Payload(events))))
            }
            Told::Payload(_) => Ok(Step::Before(None)),
            // One file a batch.
            Told::File => {
                self.passed()?;
                Ok(Step::Behind(None))
            }
            Told::Begun => {
                // One before it may have been cut off by the server's end.
                self.drop_collected();
                Ok(self.begun())
            }
            Told::Before(before) => {
                self.scan.before = Some(before.set()?);
                self.passed()?;
                Ok(Step::Take)
            }
            Told::Nothing => {
                self.passed()?;
                Ok(Step::Take)
            }
        }
    }

    /// What another log has told is passed over, however it lies among what it has not: a batch passes over
    /// nothing behind what it tells.
    fn begun(&mut self) -> Step {
        let scan = &mut self.scan;
        match scan.place.cursor.transaction {
            Some(told) if told.is_told && scan.has_untold => Step::Before(None),
            Some(told) if told.is_told => {
                let all = Position {
                    ordinal: u64::MAX,
                    ..Position::before(self.bounds.epoch, told.commit)
                };
                scan.resume_after = scan.resume_after.max(all);
                Step::Take
            }
            _ => {
                scan.has_untold = true;
                Step::Take
            }
        }
    }

    /// Outside of transactions the log's place rises with every event.
    fn passed(&mut self) -> Result<()> {
        let (epoch, place) = (self.bounds.epoch, &mut self.scan.place);
        if place.cursor.transaction.is_none() && place.cursor.file.is_some() {
            place.end = place.end.max(Position::before(epoch, place.cursor.commit()?));
        }
        Ok(())
    }

    fn ended(&mut self, transaction: &Transaction) -> Result<()> {
        match transaction.id {
            Some(id) => self.scan.ended.push(id),
            None => self.scan.has_anonymous = true,
        }
        self.scan.place.open.end_statement();
        self.scan.place.has_rows = false;
        self.drop_collected();
        self.passed()?;
        if transaction.is_told {
            self.pass_over_end()?;
        }
        Ok(())
    }

    /// The end of what another log has told is passed over with it: what is done behind a statement goes by
    /// the place there.
    fn pass_over_end(&mut self) -> Result<()> {
        let (epoch, scan) = (self.bounds.epoch, &mut self.scan);
        let end = Position::before(epoch, scan.place.cursor.commit()?);
        scan.resume_after = scan.resume_after.max(end);
        Ok(())
    }

    fn table(&mut self, map: &TableMap<'_>) -> Result<Step> {
        let name = map.name_bytes();
        if self.bounds.captured.purpose(name).is_none() {
            self.scan.place.open.open(map.id, None)?;
            return Ok(Step::Take);
        }
        match self.bounds.tables.get(name) {
            Some(known) if *known.definition == *map.definition => {
                self.scan.place.open.open(map.id, Some(Arc::clone(known)))?;
                Ok(Step::Take)
            }
            _ => Ok(Step::Before(Some(Stop::Changed(map.definition.into())))),
        }
    }

    fn rows(&mut self, rows: &Rows<'_>) -> Result<Step> {
        let place = &mut self.scan.place;
        let Some(transaction) = place.cursor.transaction else { return Ok(Step::Take) };
        let found = match place.open.get(rows.table) {
            Some(found) => found,
            None if rows.is_dummy() => None,
            None => {
                let error = rows.header().malformed("rows come before their table's description");
                return Err(place.cursor.located(error).with("table_id", rows.table));
            }
        };
        if let Some(table) = found
            && table.purpose == Purpose::Events
        {
            let schema = &table.relation.schema;
            place.has_rows = true;
            if !self.scan.schemas.iter().any(|known| Arc::ptr_eq(known, schema)) {
                self.scan.schemas.push(Arc::clone(schema));
            }
        }
        place.end = behind_event(self.bounds.epoch, transaction.commit, transaction.events);
        if rows.ends_statement {
            place.open.end_statement();
        }
        Ok(Step::Take)
    }

    fn statement(&mut self, statement: &Statement<'_>) -> Result<Step> {
        let captured = self.bounds.captured;
        let mut step = Step::Take;
        match &statement.effect {
            Effect::CommitDistributed(id) if self.bounds.held.has(id) => {
                return Ok(self.committed(id, statement));
            }
            Effect::CommitDistributed(id) | Effect::RollbackDistributed(id) => {
                step = self.ended_distributed(id, statement);
            }
            // It comes alone: the run loop writes a delete for each live key.
            Effect::Truncate(table) if captured.has(table) => {
                if let Some(before) = self.alone(std::iter::once(table)) {
                    return Ok(before);
                }
                self.scan.schemas.extend(self.known(table));
                step = Step::Behind(None);
            }
            Effect::Drop(tables) => step = behind(captured.among(tables), Stop::Dropped),
            Effect::DropDatabase(database) => {
                step = behind(captured.of_database(database), Stop::Dropped);
            }
            Effect::Replace(tables) if tables.iter().any(|table| captured.has(table)) => {
                if let Some(before) = self.alone(tables.iter()) {
                    return Ok(before);
                }
                step = behind(captured.among(tables), Stop::Replaced);
            }
            Effect::Rename(renames)
                if renames.iter().any(|one| captured.has(&one.from) || captured.has(&one.to)) =>
            {
                if let Some(before) = self.alone(renames.iter().map(|rename| &rename.to)) {
                    return Ok(before);
                }
                step = Step::Behind(Some(Stop::Renamed(renames.clone())));
            }
            Effect::Alter(altered) if captured.has(&altered.table) => {
                step = Step::Behind(Some(Stop::Altered(altered.clone())));
            }
            Effect::Rollback | Effect::RollbackToSavepoint
                if self.scan.place.has_rows && !self.is_passed_over(statement) =>
            {
                return Err(self.scan.place.cursor.located(undone(statement)));
            }
            Effect::Change(word) => {
                let query = &statement.query;
                let is_told = !self.is_passed_over(statement);
                if is_told && captured.may_be_meant(query.database, &query.text()) {
                    return Err(self.scan.place.cursor.located(as_statement(statement, word)));
                }
            }
            _ => {}
        }
        let (epoch, transaction) = (self.bounds.epoch, statement.transaction);
        // Rows that are held may yet be told where they stand.
        if !transaction.is_distributed {
            self.scan.place.end = behind_event(epoch, transaction.commit, transaction.events);
        }
        if statement.ends {
            self.ended(&transaction)?;
        }
        Ok(step)
    }

    /// Whether a statement stands where all is in the topics, or was left out by hand.
    fn is_passed_over(&self, statement: &Statement<'_>) -> bool {
        let transaction = statement.transaction;
        behind_event(self.bounds.epoch, transaction.commit, transaction.events)
            <= self.scan.resume_after
    }

    /// What is behind such a statement is deleted and read anew, in one step with its place, so that it comes
    /// alone: the batch ends before it if it holds something, or if nothing is known of a captured table.
    fn alone<'t>(&mut self, mut tables: impl Iterator<Item = &'t TableName>) -> Option<Step> {
        if self.scan.bytes > 0 {
            return Some(Step::Before(None));
        }
        let is_unknown =
            |table: &&TableName| self.bounds.captured.has(table) && self.known(table).is_none();
        if let Some(unknown) = tables.find(is_unknown) {
            return Some(Step::Before(Some(Stop::Unknown(unknown.clone()))));
        }
        self.scan.is_alone = true;
        None
    }

    /// The schema that the table had last.
    fn known(&self, table: &TableName) -> Option<Arc<TableSchema>> {
        let name = crate::tables::name_bytes(table)?;
        self.bounds.tables.get(&name).map(|known| Arc::clone(&known.relation.schema))
    }
}

/// The batch ends behind a statement about captured tables; not behind one about none.
fn behind(tables: Vec<TableName>, stop: impl FnOnce(Vec<TableName>) -> Stop) -> Step {
    if tables.is_empty() { Step::Take } else { Step::Behind(Some(stop(tables))) }
}

#[cold]
fn undone(statement: &Statement<'_>) -> Error {
    Error::new(ErrorKind::Unsupported, "read the log")
        .because(
            "rows are logged and then undone, which happens where a transaction changes tables of an \
             engine without transactions, too",
        )
        .with("statement", statement.query.text())
        .help("let tables be of InnoDB; then remove the source's state and read the tables anew")
}

#[cold]
fn as_statement(statement: &Statement<'_>, word: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "read the log")
        .because("a change is logged as a statement, and not as rows")
        .with("statement", word)
        .with("database", String::from_utf8_lossy(statement.query.database))
        .with("session", statement.query.thread)
        .help(
            "run SET GLOBAL binlog_format = ROW, and see that no session sets another one; what this \
             statement changed is in no log, so the tables must be read anew: `tidemesh checkpoint` \
             passes over it, `tidemesh snapshot start` reads them",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::stream::BEFORE_EVENT_BYTES;
    use crate::frame::{FILE_MAGIC, Flavor, next_event};
    use crate::place::LogFile;

    /// A recorded log as the stream brings it.
    fn stream() -> Vec<u8> {
        let file = include_bytes!("../testdata/changes.bin").as_slice();
        let mut input = file.strip_prefix(&FILE_MAGIC).unwrap();
        let mut out = Vec::new();
        while let Some(event) = next_event(&mut input).unwrap() {
            out.extend_from_slice(&[0; BEFORE_EVENT_BYTES]);
            out.extend_from_slice(event);
        }
        out
    }

    fn begin() -> Place {
        let mut cursor = Cursor::new(Some(Flavor::MariaDb), false);
        cursor.file = Some(LogFile::of(b"log.000001").unwrap());
        cursor.offset = 4;
        let (open, end) = (OpenTables::default(), Position::before(1, 0));
        Place { cursor, open, open_held: Vec::new(), end, has_rows: false }
    }

    fn scanned(bytes: &[u8], place: &Place, bytes_max: usize, stop_at: Option<u64>) -> Scan {
        let bounds = Bounds {
            tables: &Tables::default(),
            captured: &Captured::default(),
            held: &Held::new(0),
            epoch: 1,
            bytes_max,
            event_bytes_max: 1 << 20,
            resume_after: Position::before(1, 0),
            stop_at,
        };
        scan(std::iter::once(bytes), place, &bounds).unwrap()
    }

    /// The commit positions between transactions, in order.
    fn boundaries(stream: &[u8]) -> Vec<u64> {
        let (mut place, mut rest, mut found) = (begin(), stream, Vec::new());
        while !rest.is_empty() {
            let scan = scanned(rest, &place, 1, None);
            rest = &rest[scan.bytes..];
            place = scan.place;
            if place.cursor.transaction.is_none() {
                found.push(place.cursor.commit().unwrap());
            }
        }
        found.dedup();
        found
    }

    #[test]
    fn a_batch_ends_where_a_mark_stands() {
        let stream = stream();
        let boundaries = boundaries(&stream);
        assert!(boundaries.len() > 10);
        for boundary in boundaries {
            let scan = scanned(&stream, &begin(), usize::MAX, Some(boundary));
            assert_eq!(scan.place.cursor.commit().unwrap(), boundary);
            assert!(scan.place.cursor.transaction.is_none());
        }
    }

    #[test]
    fn however_a_log_is_cut_its_places_are_the_same() {
        let stream = stream();
        let whole = scanned(&stream, &begin(), usize::MAX, None);
        for bytes_max in [1, 100, 1000] {
            let (mut place, mut rest, mut ended) = (begin(), stream.as_slice(), Vec::new());
            while !rest.is_empty() {
                let scan = scanned(rest, &place, bytes_max, None);
                assert!(scan.place.end >= place.end);
                rest = &rest[scan.bytes..];
                ended.extend(scan.ended);
                place = scan.place;
            }
            assert_eq!(place.end, whole.place.end);
            assert_eq!(ended, whole.ended);
        }
    }
}
