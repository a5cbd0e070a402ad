//! A batch of the log: whole messages in the buffers they were read into, and what is needed to
//! decode them without asking anybody.

use crate::config::Config;
use crate::decode::{Begin, Commit, LogicalMessage, Message, OldTuple, Tuple, decode};
use crate::frame::{Frame, next_frame};
use crate::relation::{Relation, Row};
use std::collections::HashMap;
use std::sync::Arc;
use tidemesh_model::{
    BlockCell, BlockField, BlockType, Change, ChangeBatch, ChangeVisitor, Error, ErrorKind,
    Operation, Origin, Position, Result, StateItem, TableName, TableSchema, Toast,
};
use tidemesh_source::{Pieces, now_us};

/// What PostgreSQL adds to the `source` block: Debezium's fields.
pub(crate) const BLOCK_FIELDS: &[BlockField] = &[
    BlockField { name: "txId", block_type: BlockType::Long },
    BlockField { name: "lsn", block_type: BlockType::Long },
    BlockField { name: "xmin", block_type: BlockType::Long },
];

/// The prefix of this project's own messages in the log.
pub(crate) const MARK_PREFIX: &str = "tidemesh";

/// A transaction that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) xid: u32,
    pub(crate) commit_lsn: u64,
    /// Since 1970.
    pub(crate) committed_at_us: i64,
    /// Rows so far.
    pub(crate) ordinal: u64,
}

impl Transaction {
    pub(crate) fn begin(begin: Begin) -> Self {
        let Begin { commit_lsn, committed_at_us, xid } = begin;
        Self { xid, commit_lsn, committed_at_us, ordinal: 0 }
    }

    pub(crate) fn position(&self, epoch: u32) -> Position {
        Position { epoch, commit: self.commit_lsn, ordinal: self.ordinal }
    }
}

/// The tables that the log has told of, by id; none for one that is not captured.
pub(crate) type Relations = HashMap<u32, Option<Arc<Relation>>>;

/// A batch.
pub struct PostgresBatch {
    pub(crate) pieces: Pieces,
    /// The transaction in the midst of which it begins.
    pub(crate) transaction: Option<Transaction>,
    pub(crate) epoch: u32,
    /// Events at or before this position are in the topics already.
    pub(crate) resume_after: Position,
    pub(crate) relations: Arc<Relations>,
    pub(crate) config: Arc<Config>,
    pub(crate) schemas: Vec<Arc<TableSchema>>,
    pub(crate) replaced: Vec<Arc<TableSchema>>,
    pub(crate) rewritten: Vec<TableName>,
    pub(crate) state: Vec<StateItem>,
    /// Whether it has messages that are events for topics.
    pub(crate) has_emitted: bool,
    pub(crate) end: Position,
    pub(crate) end_at_us: i64,
}

impl ChangeBatch for PostgresBatch {
    fn schemas(&self) -> &[Arc<TableSchema>] {
        &self.schemas
    }

    fn end(&self) -> Position {
        self.end
    }

    fn replaced(&self) -> &[Arc<TableSchema>] {
        &self.replaced
    }

    fn rewritten(&self) -> &[TableName] {
        &self.rewritten
    }

    fn has_emitted(&self) -> bool {
        self.has_emitted
    }

    fn end_at_us(&self) -> i64 {
        self.end_at_us
    }

    fn state(&self) -> &[StateItem] {
        &self.state
    }

    fn visit<C: ChangeVisitor>(&self, visitor: &mut C) -> Result<()> {
        let mut walk = Walk { batch: self, transaction: self.transaction, last: None };
        for mut input in self.pieces.iter() {
            while let Some(frame) = next_frame(&mut input)? {
                if let Frame::Data { lsn, message } = frame {
                    walk.message(lsn, message, visitor)?;
                }
            }
        }
        Ok(())
    }
}

/// Where a message stands that belongs to no transaction. `lsn` is the end of its record (PostgreSQL 18,
/// `logicalmsg_decode` in `decode.c`), which may be where the next transaction's commit begins: it stands
/// before the first row of that.
pub(crate) fn message_position(epoch: u32, lsn: u64) -> Position {
    Position::before(epoch, lsn)
}

#[inline]
fn with_origin_at<T>(
    position: Position,
    transaction: &Transaction,
    lsn: u64,
    take: impl FnOnce(&Origin<'_>) -> Result<T>,
) -> Result<T> {
    let block = [
        BlockCell::Long(transaction.xid.into()),
        BlockCell::Long(lsn.cast_signed()),
        BlockCell::Null,
    ];
    take(&Origin {
        position,
        transaction: transaction.xid.into(),
        committed_at_us: transaction.committed_at_us,
        block: &block,
    })
}

/// One walk over a batch.
struct Walk<'b> {
    batch: &'b PostgresBatch,
    transaction: Option<Transaction>,
    /// The relation of the row before: the next one is most often of the same.
    last: Option<(u32, Option<&'b Arc<Relation>>)>,
}

impl<'b> Walk<'b> {
    #[inline]
    fn message<C: ChangeVisitor>(
        &mut self,
        lsn: u64,
        message: &'b [u8],
        visitor: &mut C,
    ) -> Result<()> {
        match decode(message)? {
            Message::Insert { relation, new } => {
                let Some(relation) = self.row(relation)? else {
                    return Ok(());
                };
                let after = Row { relation, tuple: new, old: None, before: None };
                self.emit(lsn, relation, Change::Create { after }, visitor)
            }
            Message::Update { relation, old, new } => {
                let Some(relation) = self.row(relation)? else {
                    return Ok(());
                };
                let whole = old.filter(|old| old.full).map(|old| old.tuple);
                if whole.is_none()
                    && self.batch.config.settings.toast == Toast::Reread
                    && new.is_incomplete()?
                    && relation.lacks(new)?
                {
                    return self.incomplete(lsn, relation, old, new, visitor);
                }
                let after = Row { relation, tuple: new, old: None, before: whole };
                let before = old.map(|old| Row::old(relation, old));
                self.emit(lsn, relation, Change::Update { before, after }, visitor)
            }
            Message::Delete { relation, old } => {
                let Some(relation) = self.row(relation)? else {
                    return Ok(());
                };
                let before = Row::old(relation, old);
                self.emit(lsn, relation, Change::Delete { before }, visitor)
            }
            Message::Begin(begin) => {
                self.transaction = Some(Transaction::begin(begin));
                Ok(())
            }
            Message::Commit(commit) => {
                self.commit(lsn, commit, visitor)?;
                self.transaction = None;
                Ok(())
            }
            Message::Truncate(truncate) => {
                self.count()?;
                for id in truncate.relations() {
                    let Some(Some(relation)) = self.batch.relations.get(&id) else {
                        continue;
                    };
                    self.emit(lsn, relation, Change::<Row<'_>>::Truncate, visitor)?;
                }
                Ok(())
            }
            Message::Logical(logical) => {
                if logical.transactional {
                    self.count()?;
                }
                self.logical(lsn, &logical, visitor)
            }
            Message::Relation(_) | Message::Origin | Message::Type => Ok(()),
        }
    }

    /// Counts a row and finds its relation; none if its table is not captured.
    #[inline]
    fn row(&mut self, id: u32) -> Result<Option<&'b Relation>> {
        self.count()?;
        if let Some((last, relation)) = self.last
            && last == id
        {
            return Ok(relation.map(Arc::as_ref));
        }
        let Some(relation) = self.batch.relations.get(&id) else {
            return Err(Error::new(ErrorKind::Malformed, "decode the log")
                .because("a row comes before its table's description")
                .with("relation", id));
        };
        self.last = Some((id, relation.as_ref()));
        Ok(relation.as_deref())
    }

    #[inline]
    fn count(&mut self) -> Result<()> {
        match &mut self.transaction {
            Some(transaction) => {
                transaction.ordinal += 1;
                Ok(())
            }
            None => Err(Error::new(ErrorKind::Malformed, "decode the log")
                .because("a row stands outside of a transaction")),
        }
    }

    /// Hands the place where the walk stands to `take`; none outside of a transaction, or where the
    /// checkpoint says that it is in the topics already.
    #[inline]
    fn with_origin<T>(
        &self,
        lsn: u64,
        take: impl FnOnce(&Origin<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(transaction) = self.transaction else {
            return Ok(None);
        };
        let position = transaction.position(self.batch.epoch);
        if position <= self.batch.resume_after {
            return Ok(None);
        }
        with_origin_at(position, &transaction, lsn, take).map(Some)
    }

    #[inline]
    fn emit<C: ChangeVisitor>(
        &self,
        lsn: u64,
        relation: &'b Relation,
        change: Change<Row<'b>>,
        visitor: &mut C,
    ) -> Result<()> {
        let operation = change.operation();
        let told =
            self.with_origin(lsn, |origin| visitor.change(&relation.schema, origin, change))?;
        if told.is_none() {
            self.passed_over(lsn, relation, operation, visitor)?;
        }
        Ok(())
    }

    #[cold]
    fn passed_over<C: ChangeVisitor>(
        &self,
        lsn: u64,
        relation: &'b Relation,
        operation: Operation,
        visitor: &mut C,
    ) -> Result<()> {
        let Some(transaction) = self.transaction else { return Ok(()) };
        let position = transaction.position(self.batch.epoch);
        with_origin_at(position, &transaction, lsn, |origin| {
            visitor.passed_over(&relation.schema, origin, operation);
            Ok(())
        })
    }

    /// A transaction's end comes unless the checkpoint is behind it.
    fn commit<C: ChangeVisitor>(&self, lsn: u64, commit: Commit, visitor: &mut C) -> Result<()> {
        let Some(transaction) = self.transaction else { return Ok(()) };
        let epoch = self.batch.epoch;
        if Position::before(epoch, commit.end_lsn) <= self.batch.resume_after {
            return Ok(());
        }
        let position = transaction.position(epoch);
        with_origin_at(position, &transaction, lsn, |origin| visitor.commit(origin))
    }

    /// What `pg_logical_emit_message` wrote: a mark of ours, or an application's message.
    fn logical<C: ChangeVisitor>(
        &self,
        lsn: u64,
        logical: &LogicalMessage<'b>,
        visitor: &mut C,
    ) -> Result<()> {
        if logical.prefix == MARK_PREFIX {
            return if logical.transactional {
                self.mark(lsn, logical.content, visitor)
            } else {
                Ok(())
            };
        }
        if !self.batch.config.takes_message(logical.prefix) {
            return Ok(());
        }
        let mut take =
            |origin: &Origin<'_>| visitor.message(origin, logical.prefix, logical.content);
        if logical.transactional {
            self.with_origin(lsn, take)?;
            return Ok(());
        }
        // It stands between transactions, and has no commit's time.
        let position = message_position(self.batch.epoch, logical.lsn);
        if position <= self.batch.resume_after {
            return Ok(());
        }
        let block = [BlockCell::Null, BlockCell::Long(logical.lsn.cast_signed()), BlockCell::Null];
        // Right after a start no time was told yet.
        let committed_at_us = match self.batch.end_at_us {
            0 => now_us(),
            at_us => at_us,
        };
        take(&Origin { position, transaction: 0, committed_at_us, block: &block })
    }

    /// An update that lacks values: its key, and the delete of its old one if that was another.
    #[cold]
    fn incomplete<C: ChangeVisitor>(
        &self,
        lsn: u64,
        relation: &'b Relation,
        old: Option<OldTuple<'b>>,
        new: Tuple<'b>,
        visitor: &mut C,
    ) -> Result<()> {
        if let Some(old) = old {
            let before = Row::old(relation, old);
            self.emit(lsn, relation, Change::Delete { before }, visitor)?;
        }
        let key = relation.key_texts(new)?;
        self.with_origin(lsn, |origin| visitor.incomplete(&relation.schema, origin, key))?;
        Ok(())
    }

    fn mark<C: ChangeVisitor>(&self, lsn: u64, content: &[u8], visitor: &mut C) -> Result<()> {
        let Ok(text) = std::str::from_utf8(content) else {
            return Ok(());
        };
        self.with_origin(lsn, |origin| visitor.mark(origin, text))?;
        Ok(())
    }
}
