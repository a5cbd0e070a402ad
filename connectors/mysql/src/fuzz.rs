//! Every decoder of the server's bytes, as the fuzz target in `connectors/mysql/fuzz` calls it: any bytes
//! are read or refused.

use crate::config::TERMS;
use crate::decode::{Message, RowChange, decode};
use crate::frame::{Event, FILE_MAGIC, Flavor, Frame, Framer, next_event};
use crate::relation::{Relation, Row, TableFacts};
use crate::types::Reader;
use std::collections::HashMap;
use tidemesh_model::{CellVisitor, MysqlTypes, Result, RowImage, Values};
use tidemesh_source::Selection;

/// Tables that are remembered at once: crafted bytes could name many.
const TABLES_MAX: usize = 64;

/// The most bytes of an event within a compressed transaction.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What has been read of a log.
#[derive(Default)]
struct Walk {
    flavor: Option<Flavor>,
    tables: HashMap<u64, Relation>,
    rows: usize,
}

/// A stream of events, as a server or a file has it, with all rows and all their cells. Answers how
/// many rows it found.
pub fn log(bytes: &[u8]) -> usize {
    let mut input = bytes.strip_prefix(&FILE_MAGIC).unwrap_or(bytes);
    let mut framer = Framer::default();
    let mut walk = Walk::default();
    while let Ok(Some(event)) = next_event(&mut input) {
        match framer.frame(event) {
            Ok(Frame::FormatDescription(format)) => walk.flavor = Some(format.flavor()),
            Ok(Frame::Event(event)) => drop(walk.event(event)),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    walk.rows
}

/// One event without a checksum, with both flavors of tables.
pub fn event(bytes: &[u8]) {
    let Ok(event) = Framer::nested(bytes) else { return };
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let mut walk = Walk { flavor: Some(flavor), ..Walk::default() };
        let _ = walk.event(event);
    }
}

/// A cell of each type that is carried.
pub fn cell(bytes: &[u8]) {
    struct One<'a>(&'a Reader, &'a [u8]);
    impl RowImage for One<'_> {
        fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
            self.0.visit(self.1, visitor)
        }
    }
    for reader in Reader::samples() {
        let _ = Values::of(&One(&reader, bytes));
        let (old, diff) = bytes.split_at(bytes.len() / 2);
        let _ = reader.visit_diff(old, diff, &mut Values::default());
    }
}

impl Walk {
    fn event(&mut self, event: Event<'_>) -> Result<()> {
        let mut scratch = Vec::new();
        match decode(event, &mut scratch)? {
            Message::TableMap(map) => {
                let flavor = self.flavor.unwrap_or(Flavor::MySql);
                let (facts, types) = (TableFacts::default(), MysqlTypes::default());
                let relation =
                    Relation::new(&map, flavor, &facts, &types, &Selection::all(&TERMS))?;
                if self.tables.len() < TABLES_MAX {
                    self.tables.insert(map.id, relation);
                }
                Ok(())
            }
            Message::Rows(rows) => {
                let Some(relation) = self.tables.get(&rows.table) else { return Ok(()) };
                let mut cursor = rows.cursor(&relation.wires)?;
                while let Some(change) = cursor.next()? {
                    self.rows += 1;
                    let (image, before) = match change {
                        RowChange::Insert { after } => (after, None),
                        RowChange::Delete { before } => (before, None),
                        RowChange::Update { before, after } => (after, Some(before)),
                    };
                    for image in before.into_iter().chain([image]) {
                        let row = Row { relation, image, before, header: rows.header() };
                        let _ = Values::of(&row);
                    }
                }
                Ok(())
            }
            Message::Payload(payload) => {
                let mut events = payload.events(EVENT_BYTES_MAX)?;
                while let Some(event) = events.next()? {
                    let _ = self.event(event);
                }
                Ok(())
            }
            Message::MariadbGtidList(list) => {
                list.iter().for_each(drop);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CHECKSUM_BYTES, HEADER_BYTES, kinds};
    use proptest::prelude::*;

    const TYPES: &[u8] = include_bytes!("../testdata/types.bin");
    const CHANGES: &[u8] = include_bytes!("../testdata/changes.bin");
    const COMPRESSED: &[u8] = include_bytes!("../testdata/compressed.bin");

    /// A recorded file as a server writes it that is set to have no checksums, so that a spoiled byte
    /// is not noticed before it is read.
    fn without_checksums(file: &[u8]) -> Vec<u8> {
        let mut input = file.strip_prefix(&FILE_MAGIC).unwrap();
        let mut out = Vec::new();
        while let Some(event) = next_event(&mut input).unwrap() {
            let (content, _) = event.split_last_chunk::<CHECKSUM_BYTES>().unwrap();
            let begin = out.len();
            if event[4] == kinds::FORMAT_DESCRIPTION.0 {
                out.extend_from_slice(event);
                let algorithm = out.len() - CHECKSUM_BYTES - 1;
                out[algorithm] = 0;
            } else {
                out.extend_from_slice(content);
                let size = u32::try_from(content.len()).unwrap().to_le_bytes();
                out[begin + 9..begin + 13].copy_from_slice(&size);
            }
        }
        out
    }

    #[test]
    fn recorded_rows_are_found_with_checksums_and_without() {
        for (file, rows) in [(CHANGES, 19), (COMPRESSED, 4)] {
            assert_eq!(log(file), log(&without_checksums(file)));
            assert!(log(file) >= rows, "{}", log(file));
        }
        assert!(log(TYPES) > 10);
    }

    proptest! {
        #[test]
        fn spoiled_logs_are_read_or_refused(
            which in 0_usize..3,
            places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
        ) {
            let mut file = without_checksums([TYPES, CHANGES, COMPRESSED][which]);
            let length = file.len();
            for (at, to) in &places {
                file[at.index(length)] = *to;
            }
            log(&file);
        }

        #[test]
        fn spoiled_bodies_are_read_or_refused(
            which in 0_usize..2, at: proptest::sample::Index, to: u8, more: u8,
        ) {
            // The events' heads stay, so that all of them are reached.
            let mut file = without_checksums([CHANGES, COMPRESSED][which]);
            let mut heads = vec![false; file.len()];
            let mut begin = 0;
            let mut input = file.as_slice();
            while let Some(event) = next_event(&mut input).unwrap() {
                heads[begin..begin + HEADER_BYTES].fill(true);
                begin += event.len();
            }
            for step in 0..8 {
                let place = (at.index(file.len()) + step * usize::from(more)) % file.len();
                if !heads[place] {
                    file[place] = to;
                }
            }
            log(&file);
        }
    }
}
