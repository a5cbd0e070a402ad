//! Finds the rows of a table for a batch.

use super::super::cursor::Cursor;
use super::super::row::{RowReader, Rows};
use super::super::write::Column;
use super::Table;
use datafusion_common::arrow::array::{Array, ArrayRef};
use tidemesh_model::Result;
use tidemesh_plan::query::{Input, Part};
use tidemesh_plan::relation::Relation;

/// What was found for a row: its place among the rows that were looked up, and the table's bytes.
pub(in super::super) type Found<'t> = Option<(usize, &'t [u8])>;

/// One lookup of a branch.
#[derive(Debug)]
pub(in super::super) struct Join {
    /// The place of the lookup's input.
    pub(in super::super) input: usize,
    /// Whether a row without a match goes no further.
    pub(in super::super) required: bool,
    /// The rows that were found last.
    pub(in super::super) rows: Rows,
    reader: RowReader,
    relation: Relation,
    key: Vec<u8>,
}

impl Join {
    /// A lookup whose rows' `copies` are passed on, and whose `reads` are read; parts of the relation.
    ///
    /// # Errors
    ///
    /// `Internal` for parts that the table does not keep.
    pub(in super::super) fn new(
        place: usize,
        input: &Input,
        required: bool,
        table: &Table,
        copies: Vec<Part>,
        reads: Vec<Part>,
    ) -> Result<Self> {
        let rows = Rows::new(&input.relation, copies, reads)?;
        let kept = table.schema();
        let reader = RowReader::new(&input.relation, &rows, kept, kept.root())?;
        let relation = input.relation.clone();
        Ok(Self { input: place, required, rows, reader, relation, key: Vec::new() })
    }

    /// Looks `count` rows up by their keys' columns. Nothing is equal to null.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a value that a key cannot be.
    pub(in super::super) fn find<'t>(
        &mut self,
        keys: &[ArrayRef],
        count: usize,
        table: &'t Table,
    ) -> Result<Vec<Found<'t>>> {
        let found = self.find_each(keys, count, table);
        if found.is_err() {
            self.rows.restart(&self.relation)?;
        }
        found
    }

    fn find_each<'t>(
        &mut self,
        keys: &[ArrayRef],
        count: usize,
        table: &'t Table,
    ) -> Result<Vec<Found<'t>>> {
        self.rows.clear();
        let columns = keys.iter().map(|key| Column::new(key, false)).collect::<Result<Vec<_>>>()?;
        let writers = columns.iter().map(Column::writer).collect::<Result<Vec<_>>>()?;
        let mut found = Vec::with_capacity(count);
        for row in 0..count {
            self.key.clear();
            let is_whole = keys.iter().all(|key| !key.is_null(row));
            if is_whole {
                writers.iter().try_for_each(|writer| writer.write(row, &mut self.key))?;
            }
            let bytes = if is_whole { table.row(&self.key) } else { None };
            match bytes {
                Some(bytes) => {
                    found.push(Some((self.rows.count(), bytes)));
                    self.rows.add(&self.reader, &mut Cursor::new(bytes, 0))?;
                }
                None => {
                    found.push(None);
                    self.rows.add_missing();
                }
            }
        }
        Ok(found)
    }
}
