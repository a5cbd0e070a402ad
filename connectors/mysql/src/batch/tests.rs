//! Batches of events that are written here byte by byte.

use super::*;
use crate::client::stream::BEFORE_EVENT_BYTES;
use crate::config::TERMS;
use crate::decode::Message;
use crate::decode::tests::{Written, with_message};
use crate::frame::tests::event;
use crate::frame::{Flavor, kinds};
use crate::place::LogFile;
use crate::relation::{Relation, TableFacts};
use tidemesh_model::{MysqlTypes, RowImage};
use tidemesh_source::{Pending, Selection};

/// What a batch tells.
#[derive(Debug, PartialEq)]
enum Seen {
    Update(Vec<Value>),
    Incomplete(Vec<String>),
}

#[derive(Default)]
struct Sees(Vec<Seen>);

impl ChangeVisitor for Sees {
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        _: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        let Change::Update { after, .. } = change else { panic!("only updates are written here") };
        self.0.push(Seen::Update(Values::of(&after)?));
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, key: Vec<String>) -> Result<()> {
        self.0.push(Seen::Incomplete(key));
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

/// A batch of these events, within a transaction.
fn batch_of(written: &Written, events: &[Vec<u8>]) -> MysqlBatch {
    let (name, described) = with_message(kinds::TABLE_MAP, &written.body(), |message| {
        let Message::TableMap(map) = message.unwrap() else { panic!() };
        let (facts, types) = (TableFacts::default(), MysqlTypes::default());
        let relation =
            Relation::new(&map, Flavor::MySql, &facts, &types, &Selection::all(&TERMS)).unwrap();
        let (definition, relation) = (map.definition.into(), Arc::new(relation));
        let described = Described { definition, relation, purpose: Purpose::Events };
        (map.name_bytes().into(), Arc::new(described))
    });
    let mut cursor = Cursor::new(Some(Flavor::MySql), false).nested();
    cursor.file = Some(LogFile::of(b"log.000001").unwrap());
    cursor.transaction = Some(Transaction::none(4, 0));
    let mut bytes = Vec::new();
    for event in events {
        bytes.extend_from_slice(&[0; BEFORE_EVENT_BYTES]);
        bytes.extend_from_slice(event);
    }
    let (mut pending, length) = (Pending::default(), bytes.len());
    pending.push(bytes);
    MysqlBatch {
        pieces: pending.take(length),
        cursor,
        open: OpenTables::default(),
        tables: Arc::new(Tables::from([(name, described)])),
        epoch: 1,
        resume_after: Position::before(1, 0),
        schemas: Vec::new(),
        replaced: Vec::new(),
        rewritten: Vec::new(),
        state: Vec::new(),
        marks: Vec::new(),
        end: Position::before(1, 0),
        end_at_us: 0,
    }
}

/// By MySQL 9.1's `rows_event.h` and `unpack_row`, under `binlog_row_value_options = PARTIAL_JSON` and
/// `binlog_row_image = MINIMAL`; no real MySQL 8 was at hand.
#[test]
fn a_part_of_a_document_without_the_old_one_is_read_again_row_by_row() {
    let written = Written { types: vec![3, 245], metadata: vec![4], ..Written::default() };
    let written = written.field(1, &[0]).names(&["id", "doc"]).field(8, &[0]);
    // The old rows have the key alone, the new ones the document alone.
    let mut rows = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 0b01, 0b10];
    let replacement = [0, 3, b'$', b'.', b'a', 3, 5, 7, 0];
    let document = [0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 1, 0, b'a'];
    for (id, is_partial, cell) in
        [(1, 1, &document[..0]), (2, 0, &document[..]), (3, 1, &replacement[..])]
    {
        rows.extend_from_slice(&[0, id, 0, 0, 0]);
        rows.extend_from_slice(&[1, is_partial, 0, u8::try_from(cell.len()).unwrap(), 0, 0, 0]);
        rows.extend_from_slice(cell);
    }
    let events = [
        event(kinds::TABLE_MAP, 0, &written.body(), false),
        event(kinds::PARTIAL_UPDATE_ROWS, 0, &rows, false),
    ];
    let mut seen = Sees::default();
    batch_of(&written, &events).visit(&mut seen).unwrap();
    let whole = Seen::Update(vec![Value::Int32(2), Value::Text("{\"a\": 1}".to_owned())]);
    let key = |text: &str| Seen::Incomplete(vec![text.to_owned()]);
    assert_eq!(seen.0, [key("1"), whole, key("3")]);
}
