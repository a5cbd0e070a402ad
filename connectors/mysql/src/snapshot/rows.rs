//! Rows of an answer, kept as the text protocol has them: each cell behind its packed length, null as
//! `0xFB` (MySQL 9.1, "Protocol::ResultsetRow"). Pure: any bytes are read or refused.

use crate::bytes::Bytes;
use tidemesh_model::{Error, ErrorKind, Result};

/// What stands in the place of a length for a null.
const NULL: u8 = 0xfb;

/// Rows, one behind the other.
#[derive(Debug, Default)]
pub(super) struct AnswerRows {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl AnswerRows {
    /// Adds a row as the protocol has it.
    pub(super) fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    /// Adds a row if there are no more bytes then than these, or if it is the first; false if not.
    pub(super) fn push_within(&mut self, row: &[u8], bytes_max: usize) -> bool {
        let fits = self.ends.is_empty() || self.bytes.len() + row.len() <= bytes_max;
        if fits {
            self.push(row);
        }
        fits
    }

    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = AnswerCells<'_>> {
        (0..self.ends.len()).filter_map(|index| self.row(index))
    }

    pub(super) fn last(&self) -> Option<AnswerCells<'_>> {
        self.row(self.ends.len().checked_sub(1)?)
    }

    fn row(&self, index: usize) -> Option<AnswerCells<'_>> {
        let begin = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(begin..*self.ends.get(index)?).map(|row| AnswerCells(Bytes(row)))
    }
}

/// The cells of a row, none for null.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerCells<'a>(Bytes<'a>);

impl<'a> Iterator for AnswerCells<'a> {
    type Item = Result<Option<&'a [u8]>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.0.0.split_first()? {
            (&NULL, rest) => {
                self.0 = Bytes(rest);
                Some(Ok(None))
            }
            _ => match self.0.packed_bytes() {
                Some(cell) => Some(Ok(Some(cell))),
                None => {
                    // What is behind a cell that is cut is no cell.
                    self.0 = Bytes(&[]);
                    Some(Err(malformed()))
                }
            },
        }
    }
}

#[cold]
pub(super) fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "read a table")
        .because("the server's rows are not of their form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Adds a cell to a row, as the protocol has it.
    fn write(cell: Option<&[u8]>, row: &mut Vec<u8>) {
        let Some(cell) = cell else { return row.push(NULL) };
        let length = (cell.len() as u64).to_le_bytes();
        match cell.len() {
            0..=250 => row.push(length[0]),
            251..=0xffff => row.extend_from_slice(&[252, length[0], length[1]]),
            0x1_0000..=0xff_ffff => {
                row.extend_from_slice(&[253, length[0], length[1], length[2]]);
            }
            _ => {
                row.push(254);
                row.extend_from_slice(&length);
            }
        }
        row.extend_from_slice(cell);
    }

    #[test]
    fn long_cells_have_long_lengths() {
        let lengths = [0, 250, 251, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000];
        let (mut rows, mut row) = (AnswerRows::default(), Vec::new());
        for length in lengths {
            write(Some(&vec![7; length]), &mut row);
        }
        rows.push(&row);
        let found = rows.last().unwrap().map(|cell| cell.unwrap().unwrap().len());
        assert_eq!(found.collect::<Vec<_>>(), lengths);
    }

    proptest! {
        #[test]
        fn cells_come_back(
            table in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 1..5),
                0..5,
            ),
        ) {
            let mut rows = AnswerRows::default();
            for cells in &table {
                let mut row = Vec::new();
                cells.iter().for_each(|cell| write(cell.as_deref(), &mut row));
                rows.push(&row);
            }
            prop_assert_eq!(rows.count(), table.len());
            let found: Vec<Vec<Option<Vec<u8>>>> = rows
                .rows()
                .map(|row| row.map(|cell| cell.unwrap().map(<[u8]>::to_vec)).collect())
                .collect();
            prop_assert_eq!(found, table);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut rows = AnswerRows::default();
            rows.push(&bytes);
            let _ = rows.rows().map(Iterator::count).sum::<usize>();
        }
    }
}
