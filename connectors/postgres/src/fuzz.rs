//! Every decoder of the server's bytes, as the fuzz targets in `connectors/postgres/fuzz` call it:
//! any bytes are read or refused.

use crate::decode::{Message, Tuple, decode};
use crate::frame::{Frame, next_frame};
use crate::snapshot::fuzz_rows;
use crate::types::Reader;
use tidemesh_model::{CellVisitor, Result, RowImage, Values};

/// What the stream's thread hands over: frames, their messages, and all cells of these.
pub fn log(mut bytes: &[u8]) {
    while let Ok(Some(frame)) = next_frame(&mut bytes) {
        if let Frame::Data { message, .. } = frame {
            self::message(message);
        }
    }
}

/// One message of pgoutput.
pub fn message(bytes: &[u8]) {
    match decode(bytes) {
        Ok(Message::Insert { new, .. }) => cells(new),
        Ok(Message::Update { old, new, .. }) => {
            old.into_iter().for_each(|old| cells(old.tuple));
            cells(new);
        }
        Ok(Message::Delete { old, .. }) => cells(old.tuple),
        Ok(Message::Truncate(truncate)) => truncate.relations().for_each(drop),
        Ok(_) | Err(_) => {}
    }
}

fn cells(tuple: Tuple<'_>) {
    let mut cells = tuple.cells();
    for _ in 0..tuple.columns() {
        if cells.next().is_err() {
            return;
        }
    }
}

/// A stream of `COPY … BINARY`, which comes in pieces of this many bytes.
pub fn copy(bytes: &[u8], piece: u8, bytes_max: u16) {
    fuzz_rows(bytes, usize::from(piece).max(1), usize::from(bytes_max));
}

/// A binary cell of each type that is carried.
pub fn cell(bytes: &[u8]) {
    struct One<'a>(&'a Reader, &'a [u8]);
    impl RowImage for One<'_> {
        fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
            self.0.visit(self.1, visitor)
        }
    }
    for reader in Reader::samples() {
        let _ = Values::of(&One(&reader, bytes));
    }
}
