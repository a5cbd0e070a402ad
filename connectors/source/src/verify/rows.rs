//! Rows as a database sends their texts.

use super::TextRow;
use crate::Mask;
use tidemesh_model::{Error, Result};

/// A row of these cells; `malformed` makes the error of one that is no text.
///
/// # Errors
///
/// What `malformed` makes, or what a cell is.
pub fn text_row<'a>(
    cells: impl IntoIterator<Item = Result<Option<&'a [u8]>>>,
    malformed: fn() -> Error,
) -> Result<TextRow> {
    let text = |cell: Result<Option<&[u8]>>| {
        cell?
            .map(|bytes| String::from_utf8(bytes.to_vec()).map_err(|e| malformed().caused_by(e)))
            .transpose()
    };
    cells.into_iter().map(text).collect()
}

/// Masks what the database has as what the log has is masked: of each column how, in the rows' order.
///
/// # Errors
///
/// As [`Mask::apply`].
pub fn mask_rows<'a>(
    masks: impl IntoIterator<Item = Option<&'a Mask>>,
    rows: &mut [TextRow],
) -> Result<()> {
    for (index, mask) in masks.into_iter().enumerate() {
        let Some(mask) = mask else { continue };
        for text in rows.iter_mut().filter_map(|row| row.get_mut(index)?.as_mut()) {
            *text = mask.apply(text)?;
        }
    }
    Ok(())
}
