//! Rows in the log, of both versions of their events (MySQL 9.1, `Rows_event` in `rows_event.cpp`,
//! `unpack_row` in `sql/rpl_record.cc`). A row is found by the lengths of its cells alone; what the
//! cells are, `types` reads.

use super::RowsKind;
use super::compressed::inflate;
use crate::bytes::{Bitmap, Bytes};
use crate::frame::Header;
use crate::types::Wire;
use tidemesh_model::{Error, Result};

/// What an event does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    /// An update whose JSON columns may hold what changed in them, and not the whole.
    PartialUpdate,
    Delete,
}

/// The table of an event that only ends a statement.
const NO_TABLE: u64 = 0x00ff_ffff;

/// An event's rows, all of one table and one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    header: Header,
    pub(crate) operation: Operation,
    /// The table's number, from its description before.
    pub(crate) table: u64,
    /// Whether the statement ends here, and all tables' numbers with it.
    pub(crate) ends_statement: bool,
    columns: usize,
    /// The columns that old rows have.
    before: Bitmap<'a>,
    /// The columns that new rows have.
    after: Bitmap<'a>,
    rows: &'a [u8],
}

#[inline]
pub(super) fn rows<'a>(
    header: &Header,
    kind: RowsKind,
    bytes: Bytes<'a>,
    scratch: &'a mut Vec<u8>,
) -> Result<Rows<'a>> {
    let cut = || header.malformed("its bytes are not of its kind");
    let mut rows = parts(header, kind, bytes).ok_or_else(cut)?;
    if kind.is_compressed {
        scratch.clear();
        inflate(header, Bytes(rows.rows), scratch)?;
        rows.rows = scratch;
    }
    Ok(rows)
}

#[inline]
fn parts<'a>(header: &Header, kind: RowsKind, mut bytes: Bytes<'a>) -> Option<Rows<'a>> {
    const ENDS_STATEMENT: u16 = 1;
    let table = bytes.uint(6)?;
    let flags = bytes.u16()?;
    if kind.has_extra {
        let length = usize::from(bytes.u16()?).checked_sub(2)?;
        extra(Bytes(bytes.take(length)?), kind.operation)?;
    }
    let columns = bytes.packed_len()?;
    let first = Bitmap::take(&mut bytes, columns)?;
    let (before, after) = match kind.operation {
        Operation::Insert => (Bitmap(&[]), first),
        Operation::Delete => (first, Bitmap(&[])),
        Operation::Update | Operation::PartialUpdate => (first, Bitmap::take(&mut bytes, columns)?),
    };
    let ends_statement = flags & ENDS_STATEMENT != 0;
    let (header, operation, rows) = (*header, kind.operation, bytes.0);
    Some(Rows { header, operation, table, ends_statement, columns, before, after, rows })
}

/// Walks over the data that the header goes on with: NDB's, and the partitions. What is not known
/// ends the walk, as a server's: its length is in no place.
fn extra(mut bytes: Bytes<'_>, operation: Operation) -> Option<()> {
    const NDB: u8 = 0;
    const PARTITION: u8 = 1;
    while let Some(tag) = bytes.u8() {
        match tag {
            // Its length counts itself.
            NDB => {
                let length = usize::from(bytes.u8()?).checked_sub(1)?;
                bytes.take(length)?;
            }
            PARTITION => {
                bytes.u16()?;
                if matches!(operation, Operation::Update | Operation::PartialUpdate) {
                    bytes.u16()?;
                }
            }
            _ => break,
        }
    }
    Some(())
}

/// One row's images.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowChange<'a> {
    Insert { after: Image<'a> },
    Update { before: Image<'a>, after: Image<'a> },
    Delete { before: Image<'a> },
}

/// A row as the log has it: some of its columns, of which some are null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'a> {
    present: Bitmap<'a>,
    nulls: Bitmap<'a>,
    /// A bit for each JSON column of the table: its cell is what changed in it.
    partial: Option<Bitmap<'a>>,
    cells: &'a [u8],
}

/// One cell of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// The image does not have the column.
    Absent,
    Null,
    /// The value's bytes, without their length.
    Value(&'a [u8]),
    /// What changed in a JSON document.
    Diff(&'a [u8]),
}

impl<'a> Rows<'a> {
    /// Whether there are none, and cannot be: the event only ends a statement.
    pub(crate) fn is_dummy(&self) -> bool {
        self.table == NO_TABLE && self.rows.is_empty()
    }

    /// Its rows, one after the other, by the lengths of the table's cells.
    ///
    /// # Errors
    ///
    /// `Malformed` if the table has another number of columns.
    #[inline]
    pub(crate) fn cursor<'w>(&self, wires: &'w [Wire]) -> Result<RowsCursor<'a, 'w>> {
        if wires.len() != self.columns {
            return Err(self
                .header
                .malformed("rows have another number of columns than their table")
                .with("row_columns", self.columns)
                .with("table_columns", wires.len()));
        }
        let is_done = self.is_dummy() || self.columns == 0;
        Ok(RowsCursor { rows: *self, wires, bytes: Bytes(self.rows), is_done })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
}

/// Rows that are not read yet.
#[derive(Debug, Clone)]
pub(crate) struct RowsCursor<'a, 'w> {
    rows: Rows<'a>,
    wires: &'w [Wire],
    bytes: Bytes<'a>,
    is_done: bool,
}

impl<'a> RowsCursor<'a, '_> {
    /// The next row; none at the end.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are no row, with the number of the column where they are not.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<RowChange<'a>>> {
        if self.is_done {
            return Ok(None);
        }
        let left = self.bytes.0.len();
        let Rows { operation, before, after, .. } = self.rows;
        let change = match operation {
            Operation::Insert => RowChange::Insert { after: self.image(after, false)? },
            Operation::Delete => RowChange::Delete { before: self.image(before, false)? },
            Operation::Update | Operation::PartialUpdate => RowChange::Update {
                before: self.image(before, false)?,
                after: self.image(after, operation == Operation::PartialUpdate)?,
            },
        };
        // A row without any column has no bytes, and stands alone: a minimal image of an insert of
        // nothing but defaults.
        self.is_done = self.bytes.is_empty();
        if self.bytes.0.len() == left && left > 0 {
            return Err(self.rows.header.malformed("a row has no bytes where some are left"));
        }
        Ok(Some(change))
    }

    #[inline]
    fn image(&mut self, present: Bitmap<'a>, may_be_partial: bool) -> Result<Image<'a>> {
        let partial = match may_be_partial {
            true => self.partial().ok_or_else(|| self.cut(0))?,
            false => None,
        };
        let ones = present.ones(self.wires.len());
        let nulls = Bitmap::take(&mut self.bytes, ones).ok_or_else(|| self.cut(0))?;
        let begin = self.bytes.0;
        let mut place = 0;
        for (index, wire) in self.wires.iter().enumerate() {
            if !present.has(index) {
                continue;
            }
            if !nulls.has(place) && wire.take(&mut self.bytes).is_none() {
                return Err(self.cut(index));
            }
            place += 1;
        }
        let cells = &begin[..begin.len() - self.bytes.0.len()];
        Ok(Image { present, nulls, partial, cells })
    }

    /// What stands before a new row of a partial update: options, and which JSON columns hold what
    /// changed in them. The outer none is bytes that end.
    fn partial(&mut self) -> Option<Option<Bitmap<'a>>> {
        const PARTIAL_JSON: u64 = 1;
        let options = self.bytes.packed()?;
        if options & PARTIAL_JSON == 0 {
            return Some(None);
        }
        let columns = self.wires.iter().filter(|wire| **wire == Wire::Json).count();
        Bitmap::take(&mut self.bytes, columns).map(Some)
    }

    #[cold]
    fn cut(&self, column: usize) -> Error {
        self.rows.header.malformed("a row is cut").with("column", column)
    }
}

impl<'a> Image<'a> {
    /// Its cells, in the table's order.
    #[inline]
    pub(crate) fn cells(&self) -> Cells<'a> {
        Cells { image: *self, index: 0, place: 0, json: 0, bytes: Bytes(self.cells) }
    }

    /// Whether it has this column.
    #[inline]
    pub(crate) fn has(&self, column: usize) -> bool {
        self.present.has(column)
    }

    /// Whether a JSON column may hold what changed in it, and not the whole.
    #[inline]
    pub(crate) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// One cell; none if the wires are not those by which the image was found.
    pub(crate) fn cell(&self, column: usize, wires: &[Wire]) -> Option<Cell<'a>> {
        let mut cells = self.cells();
        let mut found = None;
        for wire in wires.get(..=column)? {
            found = Some(cells.next(*wire)?);
        }
        found
    }
}

/// Cells that are not read yet.
#[derive(Debug, Clone)]
pub(crate) struct Cells<'a> {
    image: Image<'a>,
    /// Columns of the table so far, columns of the image, JSON columns of the table.
    index: usize,
    place: usize,
    json: usize,
    bytes: Bytes<'a>,
}

impl<'a> Cells<'a> {
    /// The next column's cell; none if the bytes end, which they do not by the wires that the image was
    /// found by.
    #[inline]
    pub(crate) fn next(&mut self, wire: Wire) -> Option<Cell<'a>> {
        let index = self.index;
        self.index += 1;
        let is_diff = wire == Wire::Json && {
            self.json += 1;
            self.image.partial.is_some_and(|partial| partial.has(self.json - 1))
        };
        if !self.image.present.has(index) {
            return Some(Cell::Absent);
        }
        self.place += 1;
        if self.image.nulls.has(self.place - 1) {
            return Some(Cell::Null);
        }
        let value = wire.take(&mut self.bytes)?;
        Some(if is_diff { Cell::Diff(value) } else { Cell::Value(value) })
    }
}
