//! A batch of the log: whole events in the buffers they were read into, and what is needed to decode them
//! without asking anybody.

use crate::cursor::{Cursor, Statement, Told, next_in};
use crate::decode::{RowChange, Rows, TableMap};
use crate::history::of_current;
use crate::place::{offset_of, row_position};
use crate::relation::Row;
use crate::statement::Effect;
use crate::tables::{Described, OpenTables, Purpose, Tables, name_bytes};
use crate::transaction::Transaction;
use std::sync::Arc;
use tidemesh_model::{
    BlockCell, BlockField, BlockType, Change, ChangeBatch, ChangeVisitor, Error, ErrorKind,
    Operation, Origin, Position, Result, StateItem, TableName, TableSchema, Value, Values,
};
use tidemesh_source::Pieces;

/// What MySQL adds to the `source` block: Debezium's fields.
pub(crate) const BLOCK_FIELDS: &[BlockField] = &[
    BlockField { name: "server_id", block_type: BlockType::Long },
    BlockField { name: "gtid", block_type: BlockType::Text },
    BlockField { name: "file", block_type: BlockType::Text },
    BlockField { name: "pos", block_type: BlockType::Long },
    BlockField { name: "row", block_type: BlockType::Long },
    BlockField { name: "thread", block_type: BlockType::Long },
    BlockField { name: "query", block_type: BlockType::Text },
];

/// The column of the watermark table that has the mark.
pub(crate) const MARK_COLUMN: &str = "mark";

/// A batch.
pub struct MysqlBatch {
    pub(crate) pieces: Pieces,
    /// Where it begins.
    pub(crate) cursor: Cursor,
    pub(crate) open: OpenTables,
    pub(crate) tables: Arc<Tables>,
    pub(crate) epoch: u32,
    /// Events at or before this position are in the topics already.
    pub(crate) resume_after: Position,
    pub(crate) schemas: Vec<Arc<TableSchema>>,
    pub(crate) replaced: Vec<Arc<TableSchema>>,
    pub(crate) rewritten: Vec<TableName>,
    pub(crate) state: Vec<StateItem>,
    /// Marks that stand at its end, and are in no log.
    pub(crate) marks: Vec<String>,
    pub(crate) end: Position,
    pub(crate) end_at_us: i64,
}

impl ChangeBatch for MysqlBatch {
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

    fn end_at_us(&self) -> i64 {
        self.end_at_us
    }

    fn state(&self) -> &[StateItem] {
        &self.state
    }

    fn visit<C: ChangeVisitor>(&self, visitor: &mut C) -> Result<()> {
        let cursor = self.cursor.trusting();
        let mut walk = Walk { batch: self, cursor, open: self.open.clone() };
        let mut scratch = Vec::new();
        for mut input in self.pieces.iter() {
            while let Some((event, _, number)) = next_in(&mut input)? {
                walk.cursor.turn_to(number);
                walk.event(event, &mut scratch, visitor)?;
            }
        }
        self.marks.iter().try_for_each(|mark| self.placed_mark(mark, visitor))
    }
}

impl MysqlBatch {
    /// A mark at the batch's end, which is between transactions.
    fn placed_mark<C: ChangeVisitor>(&self, mark: &str, visitor: &mut C) -> Result<()> {
        let transaction = Transaction::none(self.end.commit, self.end_at_us);
        let file = self.cursor.file.as_ref().map_or("", |file| &*file.name);
        let (position, offset) = (self.end, offset_of(self.end.commit));
        let at = At { position, transaction: &transaction, file, offset, row: 0 };
        at.with_origin(|origin| visitor.mark(origin, mark))
    }
}

/// One walk over a batch.
struct Walk<'b> {
    batch: &'b MysqlBatch,
    cursor: Cursor,
    open: OpenTables,
}

/// A row's place, for its origin.
#[derive(Clone, Copy)]
struct At<'a> {
    position: Position,
    transaction: &'a Transaction,
    file: &'a str,
    offset: u64,
    row: u32,
}

impl At<'_> {
    /// The next row's place.
    #[inline]
    fn next(&mut self) -> Result<()> {
        self.row = self.row.checked_add(1).ok_or_else(too_many_rows)?;
        self.position.ordinal += 1;
        Ok(())
    }

    #[inline]
    fn with_origin<T>(&self, take: impl FnOnce(&Origin<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.transaction;
        let block = [
            BlockCell::Long(transaction.server_id.into()),
            transaction.text.as_str().map_or(BlockCell::Null, BlockCell::Text),
            BlockCell::Text(self.file),
            BlockCell::Long(self.offset.cast_signed()),
            BlockCell::Long(self.row.into()),
            BlockCell::Null,
            BlockCell::Null,
        ];
        take(&Origin {
            position: self.position,
            transaction: transaction.commit,
            committed_at_us: transaction.committed_at_us,
            block: &block,
        })
    }
}

impl Walk<'_> {
    #[inline]
    fn event<C: ChangeVisitor>(
        &mut self,
        event: &[u8],
        scratch: &mut Vec<u8>,
        visitor: &mut C,
    ) -> Result<()> {
        let offset = self.cursor.offset;
        let told = self.cursor.advance(event, scratch)?;
        match told {
            // They are told once it is committed.
            Told::Rows(_) | Told::Table(_) if self.cursor.is_distributed() => Ok(()),
            Told::Rows(rows) => {
                let (id, ends) = (rows.table, rows.ends_statement);
                if let Some(Some(table)) = self.open.get(id) {
                    self.rows(table, &rows, offset, visitor)?;
                }
                if ends {
                    self.open.end_statement();
                }
                Ok(())
            }
            Told::Table(map) => self.table(&map),
            Told::Ended(transaction) => {
                self.open.end_statement();
                self.commit(&transaction, offset, visitor)
            }
            Told::Statement(statement) => {
                self.statement(&statement, offset, visitor)?;
                if statement.ends {
                    self.open.end_statement();
                    self.commit(&statement.transaction, offset, visitor)?;
                }
                Ok(())
            }
            Told::Prepared(..)
            | Told::Begun
            | Told::File
            | Told::Payload(_)
            | Told::Before(_)
            | Told::Nothing => Ok(()),
        }
    }

    fn table(&mut self, map: &TableMap<'_>) -> Result<()> {
        let known = self.batch.tables.get(map.name_bytes()).map(Arc::clone);
        self.open.open(map.id, known)
    }

    fn at<'a>(&'a self, transaction: &'a Transaction, offset: u64, row: u32) -> At<'a> {
        let (epoch, commit) = (self.batch.epoch, transaction.commit);
        let position = row_position(epoch, commit, transaction.events, row);
        let file = self.cursor.file.as_ref().map_or("", |file| &*file.name);
        At { position, transaction, file, offset, row }
    }

    #[inline]
    fn rows<C: ChangeVisitor>(
        &self,
        table: &Described,
        rows: &Rows<'_>,
        offset: u64,
        visitor: &mut C,
    ) -> Result<()> {
        let Some(transaction) = &self.cursor.transaction else { return Ok(()) };
        let relation = &*table.relation;
        let mut changes = rows.cursor(&relation.wires).map_err(|e| self.cursor.located(e))?;
        let mut at = self.at(transaction, offset, 0);
        let mut lacking = None;
        while let Some(change) = changes.next().map_err(|error| self.cursor.located(error))? {
            let row = |image, before| Row { relation, image, before, header: rows.header() };
            let Some(change) = (match relation.row_end {
                Some(end) => of_current(change, end, &relation.wires),
                None => Some(change),
            }) else {
                at.next()?;
                continue;
            };
            // Columns that the log leaves out: all rows of an event have the same ones.
            let mut lacks_columns =
                |row: &Row<'_>| *lacking.get_or_insert_with(|| row.is_incomplete());
            let lacks = match change {
                RowChange::Insert { after } => lacks_columns(&row(after, None)),
                RowChange::Update { before, after } => {
                    let row = row(after, Some(before));
                    lacks_columns(&row) || row.lacks_document()
                }
                RowChange::Delete { .. } => false,
            };
            let change = match change {
                RowChange::Insert { after } => Change::Create { after: row(after, None) },
                RowChange::Update { before, after } => Change::Update {
                    before: Some(row(before, None)),
                    after: row(after, Some(before)),
                },
                RowChange::Delete { before } => Change::Delete { before: row(before, None) },
            };
            match table.purpose {
                Purpose::Events if lacks => {
                    self.incomplete(&at, &relation.schema, change, visitor)?;
                }
                Purpose::Events => self.emit(&at, &relation.schema, change, visitor)?,
                Purpose::Marks => self.mark(&at, &relation.schema, change, visitor)?,
            }
            at.next()?;
        }
        Ok(())
    }

    #[inline]
    fn emit<C: ChangeVisitor>(
        &self,
        at: &At<'_>,
        schema: &Arc<TableSchema>,
        change: Change<Row<'_>>,
        visitor: &mut C,
    ) -> Result<()> {
        if at.position <= self.batch.resume_after {
            return self.passed_over(at, schema, change.operation(), visitor);
        }
        at.with_origin(|origin| visitor.change(schema, origin, change))
            .map_err(|error| self.cursor.located(error))
    }

    /// A new row of which the log lacks columns (`binlog_row_image` is not `FULL`, or was not in the
    /// session): its key, and the delete of its old one if that was another.
    #[cold]
    fn incomplete<C: ChangeVisitor>(
        &self,
        at: &At<'_>,
        schema: &Arc<TableSchema>,
        change: Change<Row<'_>>,
        visitor: &mut C,
    ) -> Result<()> {
        let operation = change.operation();
        let (before, after) = match change {
            Change::Create { after } => (None, after),
            Change::Update { before, after } => (before, after),
            _ => return Ok(()),
        };
        if at.position <= self.batch.resume_after {
            return self.passed_over(at, schema, operation, visitor);
        }
        if let Some(before) = before.filter(|_| after.has_other_key()) {
            self.emit(at, schema, Change::Delete { before }, visitor)?;
        }
        let key = after.key_texts().map_err(|error| self.cursor.located(error))?;
        at.with_origin(|origin| visitor.incomplete(schema, origin, key))
    }

    #[cold]
    fn passed_over<C: ChangeVisitor>(
        &self,
        at: &At<'_>,
        schema: &Arc<TableSchema>,
        operation: Operation,
        visitor: &mut C,
    ) -> Result<()> {
        at.with_origin(|origin| {
            visitor.passed_over(schema, origin, operation);
            Ok(())
        })
    }

    /// What snapshots wrote into the table of marks.
    #[cold]
    fn mark<C: ChangeVisitor>(
        &self,
        at: &At<'_>,
        schema: &TableSchema,
        change: Change<Row<'_>>,
        visitor: &mut C,
    ) -> Result<()> {
        let (Change::Create { after } | Change::Update { after, .. }) = change else {
            return Ok(());
        };
        if at.position <= self.batch.resume_after {
            return Ok(());
        }
        let place = schema.fields.iter().position(|field| field.name == MARK_COLUMN);
        let values = Values::of(&after)?;
        match place.and_then(|place| values.get(place)) {
            Some(Value::Text(text)) => at.with_origin(|origin| visitor.mark(origin, text)),
            _ => Ok(()),
        }
    }

    fn statement<C: ChangeVisitor>(
        &self,
        statement: &Statement<'_>,
        offset: u64,
        visitor: &mut C,
    ) -> Result<()> {
        let Effect::Truncate(name) = &statement.effect else { return Ok(()) };
        let table = name_bytes(name).and_then(|name| self.batch.tables.get(&name));
        let Some(table) = table.filter(|table| table.purpose == Purpose::Events) else {
            return Ok(());
        };
        let at = self.at(&statement.transaction, offset, 0);
        self.emit(&at, &table.relation.schema, Change::Truncate, visitor)
    }

    /// A transaction's end comes unless the checkpoint is behind it.
    fn commit<C: ChangeVisitor>(
        &self,
        transaction: &Transaction,
        offset: u64,
        visitor: &mut C,
    ) -> Result<()> {
        let behind = Position::before(self.batch.epoch, self.cursor.commit()?);
        if behind <= self.batch.resume_after {
            return Ok(());
        }
        self.at(transaction, offset, u32::MAX).with_origin(|origin| visitor.commit(origin))
    }
}

#[cold]
fn too_many_rows() -> Error {
    Error::new(ErrorKind::TooLarge, "decode the log")
        .because("an event has more rows than a place has")
}

#[cfg(test)]
mod tests;
