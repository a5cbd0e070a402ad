//! The hot path allocates nothing for an event: rows of every type that a MariaDB 10.11.19 wrote
//! (`testdata/README.md`) are decoded and visited.

use crate::config::TERMS;
use crate::decode::{Message, RowChange, decode};
use crate::frame::{FILE_MAGIC, Flavor, Frame, Framer, next_event};
use crate::relation::{Relation, Row, TableFacts};
use allocation_counter::measure;
use std::collections::HashMap;
use tidemesh_model::{CellVisitor, DecimalRef, MysqlTypes, Result, RowImage, ZeroDates};
use tidemesh_source::Selection;

/// Counts cells.
#[derive(Default)]
struct Count(usize);

macro_rules! count {
    ($($name:ident($type:ty)),+ $(,)?) => {
        $(fn $name(&mut self, _: $type) -> Result<()> {
            self.0 += 1;
            Ok(())
        })+
    };
}

impl CellVisitor for Count {
    count!(
        boolean(bool),
        int32(i32),
        int64(i64),
        float32(f32),
        float64(f64),
        decimal(DecimalRef<'_>),
        text(&str),
        bytes(&[u8]),
        uuid(&[u8; 16]),
        date(i32),
        time(i64),
        timestamp(i64),
        timestamp_tz(i64),
        array_start(usize),
    );
    fn null(&mut self) -> Result<()> {
        self.0 += 1;
        Ok(())
    }
    fn absent(&mut self) -> Result<()> {
        Ok(())
    }
    fn array_end(&mut self) -> Result<()> {
        Ok(())
    }
    fn record_start(&mut self) -> Result<()> {
        Ok(())
    }
    fn record_end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The tables of a file, by their numbers.
fn relations(file: &[u8]) -> HashMap<u64, Relation> {
    let mut relations = HashMap::new();
    let (mut input, mut framer) = (file, Framer::default());
    let types = MysqlTypes { zero_dates: ZeroDates::Null, ..MysqlTypes::default() };
    while let Some(event) = next_event(&mut input).unwrap() {
        let Frame::Event(event) = framer.frame(event).unwrap() else { continue };
        if let Message::TableMap(map) = decode(event, &mut Vec::new()).unwrap() {
            let facts = TableFacts::default();
            let relation =
                Relation::new(&map, Flavor::MariaDb, &facts, &types, &Selection::all(&TERMS))
                    .unwrap();
            relations.insert(map.id, relation);
        }
    }
    relations
}

/// Reads a whole file and visits all cells; answers how many there are.
fn visit(file: &[u8], relations: &HashMap<u64, Relation>, scratch: &mut Vec<u8>) -> usize {
    let (mut input, mut framer) = (file, Framer::default());
    let mut count = Count::default();
    while let Some(event) = next_event(&mut input).unwrap() {
        let Frame::Event(event) = framer.frame(event).unwrap() else { continue };
        let Message::Rows(rows) = decode(event, scratch).unwrap() else { continue };
        let relation = &relations[&rows.table];
        let mut cursor = rows.cursor(&relation.wires).unwrap();
        while let Some(change) = cursor.next().unwrap() {
            let (image, before) = match change {
                RowChange::Insert { after } => (after, None),
                RowChange::Delete { before } => (before, None),
                RowChange::Update { before, after } => (after, Some(before)),
            };
            for image in before.into_iter().chain([image]) {
                let row = Row { relation, image, before, header: rows.header() };
                row.visit(&mut count).unwrap();
            }
        }
    }
    count.0
}

#[test]
fn an_event_costs_no_allocation() {
    for file in [
        &include_bytes!("../testdata/types.bin")[..],
        include_bytes!("../testdata/changes.bin"),
        include_bytes!("../testdata/compressed.bin"),
    ] {
        let file = file.strip_prefix(&FILE_MAGIC).unwrap();
        let relations = relations(file);
        let mut scratch = Vec::new();
        // Buffers grow to their size.
        let cells = visit(file, &relations, &mut scratch);
        let mut again = 0;
        let count = measure(|| again = visit(file, &relations, &mut scratch));
        assert!(cells > 20 && cells == again, "{cells}, {again}");
        assert_eq!(count.count_total, 0);
    }
}
