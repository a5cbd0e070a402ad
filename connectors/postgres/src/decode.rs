//! The messages of `pgoutput`, protocol 1, borrowed from the log's bytes.
//!
//! Formats: PostgreSQL 18 documentation, 54.9 "Logical Replication Message Formats"; server source
//! `src/backend/replication/logical/proto.c`. Any bytes are decoded or refused as `Malformed`.
//!
//! Absent here: sockets, schemas, what a cell's bytes mean (`types`), streamed transactions
//! (protocol 2), which we do not ask for.

use tidemesh_model::{Error, ErrorKind, Result};

/// Microseconds from 1970-01-01 to 2000-01-01, PostgreSQL's epoch (`datatype/timestamp.h`).
pub(crate) const EPOCH_2000_US: i64 = 946_684_800_000_000;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// `B`: a transaction begins; all of it follows without another in between.
    Begin(Begin),
    /// `C`: the transaction ends.
    Commit(Commit),
    /// `O`: the transaction came from another server; carries nothing we use.
    Origin,
    /// `R`: a table's columns, before its first row and again after they may have changed.
    Relation(RelationMessage<'a>),
    /// `Y`: a type that is not built in; we ask the catalog instead.
    Type,
    /// `I`
    Insert { relation: u32, new: Tuple<'a> },
    /// `U`
    Update { relation: u32, old: Option<OldTuple<'a>>, new: Tuple<'a> },
    /// `D`
    Delete { relation: u32, old: OldTuple<'a> },
    /// `T`
    Truncate(Truncate<'a>),
    /// `M`: what `pg_logical_emit_message` wrote.
    Logical(LogicalMessage<'a>),
}

/// The start of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Where the transaction's commit record starts: our position's `commit`.
    pub(crate) commit_lsn: u64,
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    pub(crate) committed_at_us: i64,
    /// The transaction's id, without its epoch.
    pub(crate) xid: u32,
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Where the commit record starts, as in [`Begin`].
    pub(crate) commit_lsn: u64,
    /// Where it ends.
    pub(crate) end_lsn: u64,
}

/// A table's columns as the log has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationMessage<'a> {
    /// The table's oid.
    pub(crate) id: u32,
    /// Its schema; empty stands for `pg_catalog`.
    pub(crate) schema: &'a str,
    /// Its name.
    pub(crate) table: &'a str,
    /// `pg_class.relreplident`: d, n, f or i.
    pub(crate) replica_identity: u8,
    /// The columns that rows have, in their order.
    pub(crate) columns: Vec<ColumnMessage<'a>>,
}

/// One column of a [`RelationMessage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnMessage<'a> {
    /// Whether it is part of the replica identity.
    pub(crate) in_identity: bool,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its type's oid.
    pub(crate) type_oid: u32,
    /// `pg_attribute.atttypmod`; -1 for none.
    pub(crate) type_modifier: i32,
}

/// The old row of an update or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldTuple<'a> {
    /// Whether all columns are there (`O`, REPLICA IDENTITY FULL), not the identity's only (`K`).
    pub(crate) full: bool,
    /// The cells.
    pub(crate) tuple: Tuple<'a>,
}

/// Emptied tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Truncate<'a> {
    relations: &'a [u8],
}

impl Truncate<'_> {
    /// The tables' oids, in the message's order.
    pub(crate) fn relations(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.relations
            .chunks_exact(4)
            .map(|oid| oid.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
    }
}

/// What `pg_logical_emit_message` wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogicalMessage<'a> {
    /// Whether it is part of a transaction; else it stands between transactions.
    pub(crate) transactional: bool,
    /// Where it stands in the log.
    pub(crate) lsn: u64,
    /// Who wrote it.
    pub(crate) prefix: &'a str,
    /// What it says.
    pub(crate) content: &'a [u8],
}

/// The cells of one row image, not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple<'a> {
    columns: u16,
    cells: &'a [u8],
    /// Where the cells start in the message, for errors.
    offset: usize,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// `n`
    Null,
    /// `u`: an out-of-line value that did not change and is not in the log.
    Unchanged,
    /// `t`: as the type's output function writes it.
    Text(&'a [u8]),
    /// `b`: as the type's send function writes it.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    /// How many cells there are.
    pub(crate) fn columns(&self) -> u16 {
        self.columns
    }

    /// The cells from the first on.
    #[inline]
    pub(crate) fn cells(&self) -> Cells<'a> {
        Cells { input: Input { kind: "tuple", rest: self.cells, offset: self.offset } }
    }

    /// Whether a value is not in the log because it did not change.
    #[inline]
    pub(crate) fn is_incomplete(&self) -> Result<bool> {
        let mut cells = self.cells();
        for _ in 0..self.columns {
            if cells.next()? == Cell::Unchanged {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Cell `index`, found from the first on.
    pub(crate) fn cell(&self, index: usize) -> Result<Cell<'a>> {
        let mut cells = self.cells();
        for _ in 0..index {
            cells.next()?;
        }
        cells.next()
    }
}

/// Walks over a tuple's cells.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    input: Input<'a>,
}

impl<'a> Cells<'a> {
    /// The next cell.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Cell<'a>> {
        let input = &mut self.input;
        match input.u8()? {
            b'n' => Ok(Cell::Null),
            b'u' => Ok(Cell::Unchanged),
            b't' => Ok(Cell::Text(input.sized()?)),
            b'b' => Ok(Cell::Binary(input.sized()?)),
            _ => Err(input.wrong("an unknown kind of cell")),
        }
    }

    /// Refuses bytes after the last cell.
    #[inline]
    pub(crate) fn end(&self) -> Result<()> {
        self.input.end()
    }
}

/// The relation a row message is about, without decoding the row; none for other messages.
#[inline]
pub(crate) fn row_relation(message: &[u8]) -> Option<u32> {
    match message {
        [b'I' | b'U' | b'D', a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// Decodes one message. Rows' cells are checked when they are visited.
///
/// # Errors
///
/// `Malformed` with the message's kind and the offset where it went wrong.
#[inline]
pub(crate) fn decode(message: &[u8]) -> Result<Message<'_>> {
    let mut input = Input { kind: "empty", rest: message, offset: 0 };
    match input.u8()? {
        b'I' => insert(input.kind("insert")),
        b'U' => update(input.kind("update")),
        b'D' => delete(input.kind("delete")),
        b'B' => begin(input.kind("begin")),
        b'C' => commit(input.kind("commit")),
        b'R' => relation(input.kind("relation")),
        b'T' => truncate(input.kind("truncate")),
        b'M' => logical(input.kind("message")),
        b'O' => Ok(Message::Origin),
        b'Y' => Ok(Message::Type),
        other => Err(input.wrong("an unknown kind of message").with("byte", other)),
    }
}

fn insert(mut input: Input<'_>) -> Result<Message<'_>> {
    let relation = input.u32()?;
    input.expect(b'N')?;
    let new = input.last_tuple()?;
    Ok(Message::Insert { relation, new })
}

fn update(mut input: Input<'_>) -> Result<Message<'_>> {
    let relation = input.u32()?;
    let old = match input.u8()? {
        b'N' => None,
        kind => {
            let old = input.old_tuple(kind)?;
            input.expect(b'N')?;
            Some(old)
        }
    };
    let new = input.last_tuple()?;
    Ok(Message::Update { relation, old, new })
}

fn delete(mut input: Input<'_>) -> Result<Message<'_>> {
    let relation = input.u32()?;
    let kind = input.u8()?;
    let old = input.old_tuple(kind)?;
    input.end()?;
    Ok(Message::Delete { relation, old })
}

fn begin(mut input: Input<'_>) -> Result<Message<'_>> {
    let begin =
        Begin { commit_lsn: input.u64()?, committed_at_us: input.timestamp()?, xid: input.u32()? };
    input.end()?;
    Ok(Message::Begin(begin))
}

fn commit(mut input: Input<'_>) -> Result<Message<'_>> {
    input.u8()?; // flags, unused by the server
    let commit = Commit { commit_lsn: input.u64()?, end_lsn: input.u64()? };
    input.timestamp()?;
    input.end()?;
    Ok(Message::Commit(commit))
}

fn relation(mut input: Input<'_>) -> Result<Message<'_>> {
    let id = input.u32()?;
    let schema = input.name()?;
    let table = input.name()?;
    let replica_identity = input.u8()?;
    let count = usize::from(input.u16()?);
    // A column takes at least ten bytes: no more room is made than the message can fill.
    let mut columns = Vec::with_capacity(count.min(input.rest.len() / 10));
    for _ in 0..count {
        columns.push(ColumnMessage {
            in_identity: input.u8()? & 1 != 0,
            name: input.name()?,
            type_oid: input.u32()?,
            type_modifier: input.i32()?,
        });
    }
    input.end()?;
    Ok(Message::Relation(RelationMessage { id, schema, table, replica_identity, columns }))
}

fn truncate(mut input: Input<'_>) -> Result<Message<'_>> {
    let count = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
    input.u8()?; // CASCADE, RESTART IDENTITY: every table that was emptied is named
    let relations = input.take(count.saturating_mul(4))?;
    input.end()?;
    Ok(Message::Truncate(Truncate { relations }))
}

fn logical(mut input: Input<'_>) -> Result<Message<'_>> {
    let transactional = input.u8()? & 1 != 0;
    let lsn = input.u64()?;
    let prefix = input.name()?;
    let content = input.sized()?;
    input.end()?;
    Ok(Message::Logical(LogicalMessage { transactional, lsn, prefix, content }))
}

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
struct Input<'a> {
    kind: &'static str,
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Input<'a> {
    fn kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                self.offset += count;
                Ok(taken)
            }
            None => Err(self.short(count)),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                self.offset += N;
                Ok(*taken)
            }
            None => Err(self.short(N)),
        }
    }

    #[inline]
    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A timestamp, moved to 1970; what lies beyond is held at the bound.
    fn timestamp(&mut self) -> Result<i64> {
        let micros = self.array().map(i64::from_be_bytes)?;
        Ok(micros.saturating_add(EPOCH_2000_US))
    }

    /// A length and as many bytes.
    #[inline]
    fn sized(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(self.short(usize::MAX)),
        }
    }

    /// UTF-8 up to a zero byte.
    fn name(&mut self) -> Result<&'a str> {
        let Some(length) = self.rest.iter().position(|byte| *byte == 0) else {
            return Err(self.wrong("a name has no end"));
        };
        let name = std::str::from_utf8(&self.rest[..length])
            .map_err(|error| self.wrong("a name is not UTF-8").caused_by(error))?;
        self.take(length + 1)?;
        Ok(name)
    }

    fn expect(&mut self, kind: u8) -> Result<()> {
        if self.u8()? == kind {
            return Ok(());
        }
        Err(self.wrong("another kind of tuple was expected"))
    }

    fn old_tuple(&mut self, kind: u8) -> Result<OldTuple<'a>> {
        let full = match kind {
            b'O' => true,
            b'K' => false,
            _ => return Err(self.wrong("an unknown kind of tuple")),
        };
        let tuple = self.tuple()?;
        Ok(OldTuple { full, tuple })
    }

    /// A tuple behind which more follows: its end is found by walking over its cells.
    fn tuple(&mut self) -> Result<Tuple<'a>> {
        let columns = self.u16()?;
        let (start, offset) = (self.rest, self.offset);
        let mut cells = Cells { input: *self };
        for _ in 0..columns {
            cells.next()?;
        }
        *self = Input { kind: self.kind, ..cells.input };
        Ok(Tuple { columns, cells: &start[..self.offset - offset], offset })
    }

    /// A tuple that takes the rest of the message.
    #[inline]
    fn last_tuple(&mut self) -> Result<Tuple<'a>> {
        let columns = self.u16()?;
        Ok(Tuple { columns, cells: self.rest, offset: self.offset })
    }

    #[inline]
    fn end(&self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.wrong("bytes are left over"))
    }

    #[cold]
    fn short(&self, wanted: usize) -> Error {
        self.wrong("the message ends early").with("wanted", wanted)
    }

    #[cold]
    fn wrong(&self, message: &str) -> Error {
        Error::new(ErrorKind::Malformed, "decode a log message")
            .because(message)
            .with("message", self.kind)
            .with("offset", self.offset)
            .with("left", self.rest.len())
    }
}

#[cfg(test)]
mod tests;
