//! A walk over the log's events: in which file and transaction it is, and what each event says there.
//! The scan that cuts batches and the visit of a batch go by the same walk, so that both find the same
//! places. Pure.

use crate::client::stream::BEFORE_EVENT_BYTES;
use crate::decode::{
    Gtid, MariadbGtid, MariadbGtidList, Message, Payload, PreviousGtids, Query, Rows, TableMap,
    Xid, decode,
};
use crate::frame::{Event, Flavor, Frame, Framer, Header, next_event};
use crate::gtid::{GtidSet, MariadbGtids, MysqlGtids};
use crate::place::LogFile;
use crate::statement::{Effect, effect};
use crate::transaction::Transaction;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_source::position_lost;

/// What an event says to the walk.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// A transaction has begun.
    Begun,
    /// A table whose rows follow.
    Table(TableMap<'a>),
    /// Rows, of the transaction that is under way.
    Rows(Rows<'a>),
    /// A statement that is logged as such.
    Statement(Statement<'a>),
    /// The transaction has ended.
    Ended(Transaction),
    /// The same of a distributed one, which is prepared with that: or, if it says so of itself, committed.
    Prepared(Transaction, Xid<'a>),
    /// All transactions before a file of the log.
    Before(Before<'a>),
    /// A compressed transaction, whose events follow from elsewhere.
    Payload(Payload<'a>),
    /// The log goes on in another file.
    File,
    /// Nothing that matters.
    Nothing,
}

/// All transactions before a file of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before<'a> {
    MySql(PreviousGtids<'a>),
    MariaDb(MariadbGtidList<'a>),
}

impl Before<'_> {
    /// The same as a set.
    ///
    /// # Errors
    ///
    /// `Malformed` for one that is no set; `TooLarge`.
    pub(crate) fn set(self) -> Result<GtidSet> {
        match self {
            Self::MySql(previous) => MysqlGtids::before(&previous).map(GtidSet::MySql),
            Self::MariaDb(list) => MariadbGtids::before(list).map(GtidSet::MariaDb),
        }
    }
}

/// A statement in the log.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) query: Query<'a>,
    pub(crate) effect: Effect,
    /// The transaction that it belongs to.
    pub(crate) transaction: Transaction,
    /// Whether the transaction is this statement alone, and ends with it.
    pub(crate) ends: bool,
}

/// Where a walk is.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    framer: Framer,
    /// None before the log has told.
    flavor: Option<Flavor>,
    /// None before the log has told.
    pub(crate) file: Option<LogFile>,
    /// Where in the file the next event begins.
    pub(crate) offset: u64,
    pub(crate) transaction: Option<Transaction>,
    /// When the last event was written, seconds since 1970; 0 if none has told.
    pub(crate) at_s: u32,
    /// Names of tables are the same whatever their case is.
    folds_names: bool,
    /// Events come out of a compressed or held transaction, and stand at no place of their own.
    is_nested: bool,
    /// Transactions that were told already, by another log, where this one was taken up before them.
    pub(crate) told: Option<Arc<GtidSet>>,
}

/// See [`Cursor::mark`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    offset: u64,
    transaction: Option<Transaction>,
    at_s: u32,
}

/// The next event of a buffer of the stream, the bytes that it takes, and what stands before it, which is a
/// number among the events of a held transaction ([`Cursor::turn_to`]); none at its end.
///
/// # Errors
///
/// `Malformed` if an event is cut.
#[inline]
pub(crate) fn next_in<'a>(input: &mut &'a [u8]) -> Result<Option<(&'a [u8], usize, u32)>> {
    let Some((number, _)) = input.split_first_chunk() else { return Ok(None) };
    let number = u32::from_le_bytes(*number);
    let Some(mut events) = input.get(BEFORE_EVENT_BYTES..) else { return Ok(None) };
    let Some(event) = next_event(&mut events)? else { return Ok(None) };
    *input = events;
    Ok(Some((event, BEFORE_EVENT_BYTES + event.len(), number)))
}

impl Cursor {
    /// At the beginning of a stream.
    pub(crate) fn new(flavor: Option<Flavor>, folds_names: bool) -> Self {
        Self {
            framer: Framer::default(),
            flavor,
            file: None,
            offset: 0,
            transaction: None,
            at_s: 0,
            folds_names,
            is_nested: false,
            told: None,
        }
    }

    /// The same place, for bytes whose checksums were verified.
    pub(crate) fn trusting(&self) -> Self {
        Self { framer: self.framer.trusting(), ..self.clone() }
    }

    /// The same place, for the events of a compressed transaction.
    pub(crate) fn nested(&self) -> Self {
        Self { framer: Framer::plain(), is_nested: true, ..self.clone() }
    }

    /// The same place, for the events of a transaction that was held, as `framer` reads them: they are told
    /// as those of `transaction`.
    pub(crate) fn telling(&self, framer: Framer, transaction: Transaction) -> Self {
        let transaction =
            Transaction { events: 0, is_open: true, is_distributed: false, ..transaction };
        let transaction = Some(transaction);
        Self { framer: framer.trusting(), is_nested: true, transaction, ..self.clone() }
    }

    /// Events of a held transaction keep the numbers that they had among all of its rows, so that a place is
    /// the same whichever tables are captured. Others have none.
    #[inline]
    pub(crate) fn turn_to(&mut self, number: u32) {
        if self.is_nested
            && number > 0
            && let Some(transaction) = &mut self.transaction
        {
            transaction.events = u64::from(number) - 1;
        }
    }

    /// Whether the transaction that is under way is a distributed one, whose rows are told once it is
    /// committed.
    #[inline]
    pub(crate) fn is_distributed(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.is_distributed)
    }

    /// How events are read here.
    pub(crate) fn framer(&self) -> Framer {
        self.framer
    }

    /// The place behind a compressed transaction whose events were walked over by `nested`.
    pub(crate) fn behind(&mut self, nested: &Self) {
        self.transaction = nested.transaction;
        self.at_s = nested.at_s;
    }

    pub(crate) fn flavor(&self) -> Flavor {
        self.flavor.unwrap_or(Flavor::MySql)
    }

    /// What an event changes of the place, so that the walk can go back before it.
    pub(crate) fn mark(&self) -> Mark {
        Mark { offset: self.offset, transaction: self.transaction, at_s: self.at_s }
    }

    /// Goes back before an event that is neither a rotate nor a format description.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        let Mark { offset, transaction, at_s } = mark;
        (self.offset, self.transaction, self.at_s) = (offset, transaction, at_s);
    }

    /// The commit position of what begins at the next event.
    ///
    /// # Errors
    ///
    /// `Malformed` if the log has not told its file.
    pub(crate) fn commit(&self) -> Result<u64> {
        self.commit_at(self.offset)
    }

    fn commit_at(&self, offset: u64) -> Result<u64> {
        let file = self.file.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "read the log")
                .because("a transaction comes before the log has told its file")
        })?;
        file.commit(offset)
    }

    /// Walks over one event; a compressed one is unpacked into `scratch`.
    ///
    /// # Errors
    ///
    /// `Malformed`, `PositionLost`, `Unsupported`: as the decoders, with the event's place.
    #[inline]
    pub(crate) fn advance<'a>(
        &mut self,
        event: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Told<'a>> {
        let frame = self.framer.frame(event).map_err(|error| self.located(error))?;
        match frame {
            Frame::Event(event) => self.event(event, scratch),
            Frame::FormatDescription(format) => {
                self.flavor = Some(format.flavor());
                self.pass_event(event);
                self.cut_off(format.started_at_s)?;
                Ok(Told::Nothing)
            }
            Frame::Rotate(rotate) => {
                self.file = Some(LogFile::of(rotate.file)?);
                self.offset = rotate.position;
                Ok(Told::File)
            }
            Frame::Heartbeat(heartbeat) => {
                // The server has passed over what was not asked for.
                if self.transaction.is_none() {
                    self.offset = self.offset.max(heartbeat.position);
                }
                Ok(Told::Nothing)
            }
            Frame::Stop | Frame::Skipped(_) => {
                self.pass_event(event);
                Ok(Told::Nothing)
            }
        }
    }

    /// A server that was started anew undoes what it had begun to log when it ended (MySQL 9.1,
    /// `Format_description_log_event::do_apply_event`).
    fn cut_off(&mut self, started_at_s: u32) -> Result<()> {
        match self.transaction.take_if(|_| started_at_s != 0) {
            Some(transaction) if transaction.events > 0 => Err(self.located(position_lost(
                "the server ended while it logged a transaction, and undid it",
            ))),
            _ => Ok(()),
        }
    }

    fn pass_event(&mut self, event: &[u8]) {
        if let Some(header) = Header::of(event) {
            self.pass(&header);
        }
    }

    /// Goes behind an event, whose place is told by 32 bits; answers where it began.
    #[inline]
    fn pass(&mut self, header: &Header) -> u64 {
        if self.is_nested || header.is_artificial() || header.end == 0 {
            return self.offset;
        }
        let expected = self.offset + u64::from(header.size);
        #[expect(clippy::cast_possible_truncation, reason = "that is how the log tells it")]
        let is_expected = expected as u32 == header.end;
        // A server passes over events that it need not send; only behind 4 GiB the place is not told.
        self.offset = if is_expected { expected } else { header.end.into() };
        if header.at_s > 0 {
            self.at_s = header.at_s;
        }
        self.offset.saturating_sub(header.size.into())
    }

    #[inline]
    fn event<'a>(&mut self, event: Event<'a>, scratch: &'a mut Vec<u8>) -> Result<Told<'a>> {
        let header = event.header;
        let begin = self.pass(&header);
        match decode(event, scratch).map_err(|error| self.located(error))? {
            Message::Rows(rows) => self.rows(rows),
            Message::TableMap(map) => Ok(Told::Table(map)),
            Message::Xid(_) => self.end(&header),
            Message::XaPrepare(xid) => match self.end(&header)? {
                // Of one that was held, all is known by now.
                Told::Ended(transaction) if transaction.is_distributed => {
                    Ok(Told::Prepared(transaction, xid))
                }
                ended => Ok(ended),
            },
            Message::MariadbGtid(gtid) => self.begin_mariadb(&header, &gtid, begin),
            Message::Gtid(gtid) => self.begin_mysql(&header, &gtid, begin),
            Message::Query(query) => self.query(&header, query),
            Message::Payload(payload) => Ok(Told::Payload(payload)),
            Message::StatementPart(_)
            | Message::Statement(_)
            | Message::Checkpoint(_)
            | Message::Nothing => Ok(Told::Nothing),
            // One that a server makes up says how far a reader is, and not what its log has.
            Message::PreviousGtids(_) | Message::MariadbGtidList(_) if header.is_artificial() => {
                Ok(Told::Nothing)
            }
            Message::PreviousGtids(previous) => Ok(Told::Before(Before::MySql(previous))),
            Message::MariadbGtidList(list) => Ok(Told::Before(Before::MariaDb(list))),
        }
    }

    #[inline]
    fn rows<'a>(&mut self, rows: Rows<'a>) -> Result<Told<'a>> {
        match &mut self.transaction {
            Some(transaction) => {
                transaction.events += 1;
                Ok(Told::Rows(rows))
            }
            None => {
                Err(self.located(rows.header().malformed("rows stand outside of a transaction")))
            }
        }
    }

    fn begin_mariadb(
        &mut self,
        header: &Header,
        gtid: &MariadbGtid<'_>,
        begin: u64,
    ) -> Result<Told<'static>> {
        let commit = self.commit_at(begin)?;
        self.begin(header, Transaction::of_mariadb(gtid, commit, header.at_s))
    }

    fn begin_mysql(
        &mut self,
        header: &Header,
        gtid: &Gtid<'_>,
        begin: u64,
    ) -> Result<Told<'static>> {
        let commit = self.commit_at(begin)?;
        self.begin(header, Transaction::of_mysql(gtid, commit, header.at_s, header.server_id))
    }

    fn begin(&mut self, header: &Header, mut transaction: Transaction) -> Result<Told<'static>> {
        if self.transaction.is_some() {
            return Err(self.located(header.malformed("a transaction begins within another one")));
        }
        let (told, id) = (self.told.as_ref(), transaction.id);
        transaction.is_told = told.zip(id).is_some_and(|(told, id)| told.contains(id));
        self.transaction = Some(transaction);
        Ok(Told::Begun)
    }

    fn end(&mut self, header: &Header) -> Result<Told<'static>> {
        match self.transaction.take() {
            Some(transaction) => Ok(Told::Ended(transaction)),
            None => Err(self.located(header.malformed("a transaction ends that has not begun"))),
        }
    }

    fn query<'a>(&mut self, header: &Header, query: Query<'a>) -> Result<Told<'a>> {
        let Some(transaction) = &mut self.transaction else {
            // A server that is asked for no GTIDs, or an old one, begins without one.
            return Err(
                self.located(header.malformed("a statement stands outside of a transaction"))
            );
        };
        // Names of databases are UTF-8, in whatever charset a session writes.
        let database = String::from_utf8_lossy(query.database);
        let mut effect = effect(&query.text(), &database, query.sql_mode.unwrap_or(0));
        if self.folds_names {
            effect.fold_names();
        }
        match effect {
            Effect::Begin => {
                transaction.is_open = true;
                Ok(Told::Begun)
            }
            Effect::BeginDistributed => {
                (transaction.is_open, transaction.is_distributed) = (true, true);
                Ok(Told::Begun)
            }
            Effect::Commit if transaction.is_open => self.end(header),
            effect => {
                // Its place is that of an event of rows: some statements are events.
                transaction.events += 1;
                let transaction = *transaction;
                let ends = !transaction.is_open || effect == Effect::Rollback;
                if ends {
                    self.transaction = None;
                }
                Ok(Told::Statement(Statement { query, effect, transaction, ends }))
            }
        }
    }

    /// The error with the file where it came.
    #[cold]
    pub(crate) fn located(&self, error: Error) -> Error {
        match &self.file {
            Some(file) => error.with("file", &file.name),
            None => error,
        }
    }
}
