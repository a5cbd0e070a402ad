//! What an event says: statements, transactions, tables, rows. Pure; all that is handed out borrows
//! from the event's bytes, or from a buffer into which a compressed one was unpacked.
//!
//! Sources: MySQL 9.1, `libs/mysql/binlog/event/` and `sql/log_event.cc`; MariaDB 10.11,
//! `sql/log_event.{h,cc}` and `log_event_server.cc`; a MariaDB 10.11.19 (`testdata`).

mod compressed;
mod gtid;
mod optional;
mod payload;
mod query;
mod rows;
mod table_map;

pub(crate) use compressed::column;
pub(crate) use gtid::{Gtid, MariadbGtid, MariadbGtidList, PreviousGtids, TAG_BYTES_MAX};
pub(crate) use optional::{BINARY_COLLATION, OptionalMetadata};
pub(crate) use payload::{Payload, PayloadEvents};
pub(crate) use query::Query;
pub(crate) use rows::{Cell, Image, Operation, RowChange, Rows};
pub(crate) use table_map::{ColumnShape, TableMap, TypeCode, type_codes};

use crate::bytes::Bytes;
use crate::frame::{Event, EventKind, Header, kinds};
use tidemesh_model::{Error, ErrorKind, Result};

/// What an event says.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "what the source has no use for is told all the same, and tested")]
pub(crate) enum Message<'a> {
    /// A statement: DDL, the begin or end of a transaction, or a change that is not logged as rows.
    Query(Query<'a>),
    /// A transaction's end, with its number at the server.
    Xid(u64),
    /// A transaction's begin at a MySQL server, with its id there, if it has one.
    Gtid(Gtid<'a>),
    /// All transactions that are in the files before this one.
    PreviousGtids(PreviousGtids<'a>),
    /// A transaction's begin at a MariaDB server.
    MariadbGtid(MariadbGtid<'a>),
    /// The last transaction of each domain and server in the files before this one.
    MariadbGtidList(MariadbGtidList<'a>),
    /// The oldest file that the server needs to recover.
    Checkpoint(&'a [u8]),
    /// A table whose rows follow.
    TableMap(TableMap<'a>),
    /// Rows.
    Rows(Rows<'a>),
    /// A compressed transaction.
    Payload(Payload<'a>),
    /// A distributed transaction is prepared: it ends here, and is committed or rolled back later.
    XaPrepare(Xid<'a>),
    /// The statement that the rows behind it are of.
    Statement(&'a [u8]),
    /// What belongs to a statement that is logged as such, and not as rows.
    StatementPart(EventKind),
    /// Of no interest here: group replication's own events, and such as may be ignored.
    Nothing,
}

/// The id of a distributed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Xid<'a> {
    pub(crate) format: u32,
    pub(crate) global: &'a [u8],
    pub(crate) branch: &'a [u8],
    /// Committed with this event: nothing else follows.
    pub(crate) is_one_phase: bool,
}

/// A description that was kept without its number and flags, behind some, as [`described`] takes it.
pub(crate) fn numbered(definition: &[u8]) -> Vec<u8> {
    const NUMBER_AND_FLAGS: [u8; 8] = [0; 8];
    [&NUMBER_AND_FLAGS, definition].concat()
}

/// A table's description that stands in no event any more: its number, which may be any, and the rest.
///
/// # Errors
///
/// `Malformed` if it is none.
pub(crate) fn described(bytes: &[u8]) -> Result<TableMap<'_>> {
    let header = Header { kind: kinds::TABLE_MAP, ..Header::default() };
    table_map::table_map(&header, Bytes(bytes))
}

/// What `event` says. A compressed one is unpacked into `scratch`, whose content is lost.
///
/// # Errors
///
/// `Malformed` for bytes that are not of the event's kind; `Unsupported` for an encrypted log, and a
/// compression that is not known.
#[inline]
pub(crate) fn decode<'a>(event: Event<'a>, scratch: &'a mut Vec<u8>) -> Result<Message<'a>> {
    let Event { header, body } = event;
    let cut = || header.malformed("its bytes are not of its kind");
    let mut bytes = Bytes(body);
    if let Some(kind) = RowsKind::of(header.kind) {
        return rows::rows(&header, kind, bytes, scratch).map(Message::Rows);
    }
    match header.kind {
        kinds::TABLE_MAP => table_map::table_map(&header, bytes).map(Message::TableMap),
        kinds::XID => bytes.u64().map(Message::Xid).ok_or_else(cut),
        kinds::QUERY => query::query(bytes).map(Message::Query).ok_or_else(cut),
        kinds::EXECUTE_LOAD_QUERY => query::load(bytes).map(Message::Query).ok_or_else(cut),
        kinds::MARIADB_QUERY_COMPRESSED => {
            query::compressed(&header, bytes, scratch).map(Message::Query)
        }
        kinds::MARIADB_GTID => {
            gtid::mariadb(&header, bytes).map(Message::MariadbGtid).ok_or_else(cut)
        }
        kinds::GTID | kinds::ANONYMOUS_GTID => {
            gtid::plain(bytes).map(Message::Gtid).ok_or_else(cut)
        }
        kinds::GTID_TAGGED => gtid::tagged(&header, bytes).map(Message::Gtid),
        kinds::PREVIOUS_GTIDS => gtid::previous(bytes).map(Message::PreviousGtids).ok_or_else(cut),
        kinds::MARIADB_GTID_LIST => {
            gtid::mariadb_list(bytes).map(Message::MariadbGtidList).ok_or_else(cut)
        }
        kinds::MARIADB_BINLOG_CHECKPOINT => checkpoint(bytes).ok_or_else(cut),
        kinds::TRANSACTION_PAYLOAD => payload::payload(&header, bytes).map(Message::Payload),
        kinds::XA_PREPARE => xa_prepare(bytes).map(Message::XaPrepare).ok_or_else(cut),
        kinds::MARIADB_ANNOTATE_ROWS => Ok(Message::Statement(body)),
        // Behind a length of one byte, which says nothing: a longer statement's does not fit it.
        kinds::ROWS_QUERY => bytes.u8().map(|_| Message::Statement(bytes.0)).ok_or_else(cut),
        kinds::MARIADB_START_ENCRYPTION => Err(encrypted(&header)),
        kinds::INTVAR
        | kinds::RAND
        | kinds::USER_VAR
        | kinds::APPEND_BLOCK
        | kinds::DELETE_FILE
        | kinds::BEGIN_LOAD_QUERY => Ok(Message::StatementPart(header.kind)),
        kinds::IGNORABLE | kinds::TRANSACTION_CONTEXT | kinds::VIEW_CHANGE => Ok(Message::Nothing),
        _ => Err(header.malformed("the event is none that stands here")),
    }
}

/// The kinds of events with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RowsKind {
    operation: Operation,
    /// The header goes on with data of any length.
    has_extra: bool,
    is_compressed: bool,
}

impl RowsKind {
    #[inline]
    fn of(kind: EventKind) -> Option<Self> {
        use Operation::{Delete, Insert, PartialUpdate, Update};
        let (operation, has_extra, is_compressed) = match kind {
            kinds::WRITE_ROWS_V1 => (Insert, false, false),
            kinds::UPDATE_ROWS_V1 => (Update, false, false),
            kinds::DELETE_ROWS_V1 => (Delete, false, false),
            kinds::WRITE_ROWS => (Insert, true, false),
            kinds::UPDATE_ROWS => (Update, true, false),
            kinds::DELETE_ROWS => (Delete, true, false),
            kinds::PARTIAL_UPDATE_ROWS => (PartialUpdate, true, false),
            kinds::MARIADB_WRITE_ROWS_COMPRESSED_V1 => (Insert, false, true),
            kinds::MARIADB_UPDATE_ROWS_COMPRESSED_V1 => (Update, false, true),
            kinds::MARIADB_DELETE_ROWS_COMPRESSED_V1 => (Delete, false, true),
            kinds::MARIADB_WRITE_ROWS_COMPRESSED => (Insert, true, true),
            kinds::MARIADB_UPDATE_ROWS_COMPRESSED => (Update, true, true),
            kinds::MARIADB_DELETE_ROWS_COMPRESSED => (Delete, true, true),
            _ => return None,
        };
        Some(Self { operation, has_extra, is_compressed })
    }
}

fn checkpoint(mut bytes: Bytes<'_>) -> Option<Message<'_>> {
    let length = usize::try_from(bytes.u32()?).ok()?;
    bytes.take(length).map(Message::Checkpoint)
}

/// `XA_prepare_event` in MySQL's `control_events.cpp`; MariaDB has the same in `XA_prepare_log_event`.
fn xa_prepare(mut bytes: Bytes<'_>) -> Option<Xid<'_>> {
    let is_one_phase = bytes.u8()? != 0;
    let format = bytes.u32()?;
    let global = usize::try_from(bytes.u32()?).ok()?;
    let branch = usize::try_from(bytes.u32()?).ok()?;
    Some(Xid { format, global: bytes.take(global)?, branch: bytes.take(branch)?, is_one_phase })
}

/// The server decrypts what it sends: only a file that was copied begins so.
#[cold]
fn encrypted(header: &Header) -> Error {
    header
        .locate(Error::new(ErrorKind::Unsupported, "decode the log"))
        .because("the log's bytes are encrypted, which the server does not send")
        .help("read the log over a replication connection, not from its file")
}

#[cfg(test)]
pub(crate) mod tests;
