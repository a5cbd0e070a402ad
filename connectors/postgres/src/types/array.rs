//! Arrays (`array_send`): dimensions, flags, element type, each dimension's length and lower bound,
//! then each element behind its length.
//!
//! The catalog's number of dimensions binds nothing, so a column's declaration decides for all its
//! values, and a topic never mixes two forms: one that is declared with several pairs of brackets
//! (`int[][]`) is carried as PostgreSQL's text, any other as an array. A value of several dimensions
//! in the latter stops the source. Lower bounds, which are 1 unless somebody says otherwise, are kept
//! in the text and dropped from an array.

use super::bytes::{Bytes, malformed};
use super::reader::Reader;
use tidemesh_model::{CellVisitor, Error, ErrorKind, Result};

/// `MAXDIM` of `c.h`.
const DIMENSIONS_MAX: u32 = 6;

/// An array's shape: its elements follow in the bytes.
pub(super) struct Shape {
    /// Length and lower bound of each dimension; the first [`Shape::dimensions`] count.
    pub(super) bounds: [(u32, i32); DIMENSIONS_MAX as usize],
    pub(super) dimensions: usize,
}

impl Shape {
    /// How many elements follow.
    pub(super) fn elements(&self) -> Option<usize> {
        if self.dimensions == 0 {
            return Some(0);
        }
        let lengths = self.bounds[..self.dimensions].iter().map(|(length, _)| *length as usize);
        lengths.into_iter().try_fold(1_usize, usize::checked_mul)
    }
}

/// Reads the head of an array.
pub(super) fn shape(bytes: &mut Bytes<'_>) -> Option<Shape> {
    let dimensions = bytes.u32()?;
    // Whether there are nulls, and the element's type: both are seen elsewhere.
    bytes.fixed::<8>()?;
    if dimensions > DIMENSIONS_MAX {
        return None;
    }
    let mut shape = Shape { bounds: [(0, 1); 6], dimensions: dimensions as usize };
    for bound in &mut shape.bounds[..dimensions as usize] {
        *bound = (bytes.u32()?, bytes.i32()?);
    }
    Some(shape)
}

/// Hands an array of one dimension to the visitor.
pub(super) fn visit<V: CellVisitor>(element: &Reader, bytes: &[u8], visitor: &mut V) -> Result<()> {
    let mut bytes = Bytes(bytes);
    let shape = shape(&mut bytes).ok_or_else(malformed)?;
    if shape.dimensions > 1 {
        return Err(several(shape.dimensions));
    }
    let count = shape.elements().ok_or_else(malformed)?;
    visitor.array_start(count)?;
    for _ in 0..count {
        match bytes.value().ok_or_else(malformed)? {
            None => visitor.null()?,
            Some(bytes) => element.visit(bytes, visitor)?,
        }
    }
    bytes.end().ok_or_else(malformed)?;
    visitor.array_end()
}

#[cold]
fn several(dimensions: usize) -> Error {
    Error::new(ErrorKind::Unsupported, "read an array")
        .because("an array of several dimensions stands in a column declared with one")
        .with("dimensions", dimensions)
        .help(
            "change the row; or, to carry the column as text, declare it so (ALTER TABLE … ALTER \
             COLUMN … TYPE int[][], with the column's own type), run `tidemesh source remove … \
             --delete-topics` and start the source anew",
        )
}
