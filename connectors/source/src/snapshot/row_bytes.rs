//! How large rows are, so that no more of them are asked for than a chunk can have.

use std::collections::HashMap;
use tidemesh_model::TableName;

/// The bytes of a row that are assumed before any was read.
const ROW_BYTES_FIRST: usize = 2048;

/// Bytes of a row of each table, by the last chunk.
#[derive(Debug, Default)]
pub struct RowBytes(HashMap<TableName, usize>);

impl RowBytes {
    /// The rows to ask for where `rows_max` of `bytes_max` are wanted: one at least.
    #[must_use]
    pub fn rows_max(&self, table: &TableName, rows_max: u32, bytes_max: usize) -> u32 {
        let row_bytes = self.0.get(table).copied().unwrap_or(ROW_BYTES_FIRST);
        let by_bytes = u32::try_from(bytes_max / row_bytes.max(1)).unwrap_or(u32::MAX);
        rows_max.min(by_bytes.max(1))
    }

    /// Of a table of which nothing was read, the database says that a row has about so many bytes.
    pub fn expect(&mut self, table: &TableName, row_bytes: usize) {
        if row_bytes > 0 {
            self.0.entry(table.clone()).or_insert(row_bytes);
        }
    }

    /// So many rows had so many bytes.
    pub fn learn(&mut self, table: &TableName, bytes: usize, rows: usize) {
        if let Some(row_bytes) = bytes.checked_div(rows) {
            self.0.insert(table.clone(), row_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_asked_for_by_the_size_of_the_last_ones() {
        let (mut row_bytes, table) = (RowBytes::default(), TableName::new("a", "b"));
        assert_eq!(row_bytes.rows_max(&table, 1000, 20 * ROW_BYTES_FIRST), 20);
        row_bytes.expect(&table, 0);
        row_bytes.expect(&table, 10);
        row_bytes.expect(&table, 20);
        assert_eq!(row_bytes.rows_max(&table, 1000, 100), 10);
        row_bytes.learn(&table, 0, 0);
        row_bytes.learn(&table, 500, 10);
        assert_eq!(row_bytes.rows_max(&table, 1000, 100), 2);
        assert_eq!(row_bytes.rows_max(&table, 1000, 10), 1, "one at least");
        assert_eq!(row_bytes.rows_max(&table, 1, 100), 1);
    }
}
