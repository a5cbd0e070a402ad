//! A chunk: rows in `COPY`'s binary format, read cell by cell as the log's rows are.

use super::copy::{CopyCells, CopyRows, malformed};
use super::view::View;
use crate::relation::Relation;
use std::sync::Arc;
use tidemesh_model::{CellVisitor, Result, RowImage, TableSchema};
use tidemesh_source::{Chunk, Key, RowVisitor};

/// Rows of one table in one view.
#[derive(Debug)]
pub struct PostgresChunk {
    pub(super) relation: Arc<Relation>,
    pub(super) view: View,
    pub(super) rows: CopyRows,
    /// Cells before the table's own.
    pub(super) leading: usize,
    pub(super) last_key: Option<Key>,
    pub(super) is_last: bool,
    pub(super) generation: Option<String>,
}

impl Chunk for PostgresChunk {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.relation.schema
    }

    fn rows(&self) -> u64 {
        self.rows.count()
    }

    fn last_key(&self) -> Option<&Key> {
        self.last_key.as_ref()
    }

    fn is_last(&self) -> bool {
        self.is_last
    }

    fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }

    fn sees(&self, transaction: u64) -> bool {
        self.view.sees(transaction)
    }

    fn visit<V: RowVisitor>(&self, visitor: &mut V) -> Result<()> {
        for cells in self.rows.rows() {
            let mut cells = cells?;
            for _ in 0..self.leading {
                cells.next().ok_or_else(malformed)??;
            }
            visitor.row(&CopyRow { relation: &self.relation, cells })?;
        }
        Ok(())
    }
}

/// One row of a chunk.
struct CopyRow<'a> {
    relation: &'a Relation,
    cells: CopyCells<'a>,
}

impl RowImage for CopyRow<'_> {
    #[inline]
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        let fields = &self.relation.schema.fields;
        if self.cells.len() != fields.len() {
            return Err(malformed()
                .with("table", &self.relation.shape.name)
                .with("cells", self.cells.len())
                .with("columns", fields.len()));
        }
        for ((cell, (_, reader)), field) in self.cells.zip(self.relation.kept()).zip(fields) {
            let read = match cell? {
                Some(bytes) => reader.visit(bytes, visitor),
                None => visitor.null(),
            };
            read.map_err(|error| {
                error.with("table", &self.relation.shape.name).with("column", &field.name)
            })?;
        }
        Ok(())
    }
}
