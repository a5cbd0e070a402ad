//! Rows of text packed into bytes, so that two rows are equal when their bytes are.

use tidemesh_model::{Error, ErrorKind, Result, TableSchema};

use super::TextRow;

/// Appends cells: each its length and one more (0: null) in four bytes, little-endian, then itself.
pub(super) fn pack<'a>(cells: impl IntoIterator<Item = Option<&'a str>>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for cell in cells {
        let length = cell.map_or(0, |text| text.len() + 1);
        let length = u32::try_from(length).map_err(|_| {
            Error::new(ErrorKind::TooLarge, "compare a row").because("a cell is too large")
        })?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(cell.unwrap_or_default().as_bytes());
    }
    Ok(out)
}

/// The inverse of [`pack`].
pub(super) fn unpack(mut bytes: &[u8]) -> TextRow {
    let mut cells = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let Some(length) = (u32::from_le_bytes(*length) as usize).checked_sub(1) else {
            cells.push(None);
            bytes = rest;
            continue;
        };
        let (cell, rest) = rest.split_at(length.min(rest.len()));
        cells.push(Some(String::from_utf8_lossy(cell).into_owned()));
        bytes = rest;
    }
    cells
}

/// A row and its key, packed.
pub(super) fn pack_row(schema: &TableSchema, row: &TextRow) -> Result<(Vec<u8>, Vec<u8>)> {
    let key = schema.key.columns.iter().map(|column| row[*column].as_deref());
    Ok((pack(key)?, pack(row.iter().map(Option::as_deref))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cells_come_back(row in prop::collection::vec(prop::option::of(".{0,5}"), 0..6)) {
            let packed = pack(row.iter().map(Option::as_deref)).unwrap();
            prop_assert_eq!(unpack(&packed), row);
        }
    }
}
