//! A chunk: rows of an answer, read cell by cell so that each is the log's row.

use super::rows::{AnswerCells, AnswerRows, malformed};
use crate::relation::Relation;
use std::sync::Arc;
use tidemesh_model::{CellVisitor, Result, RowImage, TableSchema};
use tidemesh_source::{Chunk, Key, RowVisitor};

/// Rows of one table as they were when they were read.
#[derive(Debug)]
pub struct MysqlChunk {
    pub(super) relation: Arc<Relation>,
    pub(super) rows: AnswerRows,
    pub(super) last_key: Option<Key>,
    pub(super) is_last: bool,
}

impl Chunk for MysqlChunk {
    const SEES_ALL: bool = true;

    fn schema(&self) -> &Arc<TableSchema> {
        &self.relation.schema
    }

    fn rows(&self) -> u64 {
        self.rows.count() as u64
    }

    fn last_key(&self) -> Option<&Key> {
        self.last_key.as_ref()
    }

    fn is_last(&self) -> bool {
        self.is_last
    }

    fn generation(&self) -> Option<&str> {
        None
    }

    /// Commits become visible in the order of the log: what stands before a mark that has returned was
    /// seen by all that was read behind it.
    fn sees(&self, _: u64) -> bool {
        true
    }

    fn visit<V: RowVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.rows
            .rows()
            .try_for_each(|cells| visitor.row(&AnswerRow { relation: &self.relation, cells }))
    }
}

/// One row of a chunk.
pub(super) struct AnswerRow<'a> {
    pub(super) relation: &'a Relation,
    pub(super) cells: AnswerCells<'a>,
}

impl RowImage for AnswerRow<'_> {
    #[inline]
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        let (mut cells, schema) = (self.cells, &self.relation.schema);
        for ((_, reader), field) in self.relation.kept().zip(&schema.fields) {
            let read = match cells.next() {
                Some(Ok(Some(bytes))) => reader.visit_answer(bytes, visitor),
                Some(Ok(None)) => visitor.null(),
                Some(Err(error)) => Err(error),
                None => Err(malformed()),
            };
            read.map_err(|error| error.with("table", &schema.name).with("column", &field.name))?;
        }
        match cells.next() {
            None => Ok(()),
            Some(_) => Err(malformed().with("table", &schema.name)),
        }
    }
}
