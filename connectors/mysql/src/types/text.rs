//! Text that is put together: in one buffer a thread, so that no cell allocates.

use std::cell::RefCell;
use tidemesh_model::{CellVisitor, Error, ErrorKind, Result};

/// A buffer is kept up to so many bytes; a larger one, for one large cell, is given back.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[cold]
pub(super) fn malformed() -> Error {
    Error::new(ErrorKind::Malformed, "read a cell").because("its bytes are not of its type")
}

/// Hands a text that `write` puts together to the visitor.
pub(super) fn with_text<V: CellVisitor>(
    visitor: &mut V,
    write: impl FnOnce(&mut String) -> Result<()>,
) -> Result<()> {
    with_string(write, |text| visitor.text(text))
}

/// Hands a text that `write` puts together to `take`.
pub(super) fn with_string(
    write: impl FnOnce(&mut String) -> Result<()>,
    take: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        text.shrink_to(KEPT_BYTES_MAX);
        write(text)?;
        take(text)
    })
}

/// Hands bytes that `write` puts together to `take`.
pub(super) fn with_bytes<T>(
    write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    take: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    BYTES.with_borrow_mut(|bytes| {
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES_MAX);
        write(bytes).ok_or_else(malformed)?;
        take(bytes)
    })
}

/// Hands a text that `write` puts together as UTF-8 bytes to the visitor.
pub(super) fn with_utf8<V: CellVisitor>(
    visitor: &mut V,
    write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Result<()> {
    with_bytes(write, |bytes| visitor.text(utf8(bytes)?))
}

#[inline]
pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| malformed().caused_by(error))
}
