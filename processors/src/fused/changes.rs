//! The form in which a chain hands rows to a registered processor: one byte of the operation, the offset of
//! the record that it comes from, and then the event's row, or the rows before and after, each behind a
//! byte that says whether it is there.

use super::cursor::{Cursor, ShapeId, Shapes};
use crate::sdk::{Change, Row};
use tidemesh_avro::datum::Datum;
use tidemesh_avro::frame;
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::{Kind, Schema};
use tidemesh_model::{Error, ErrorKind, Operation, Result};
use tidemesh_plan::mesh::Edge;
use tidemesh_plan::relation::Relation;

/// The bytes before the rows.
const HEAD_BYTES: usize = 9;

/// The operation of an event.
const EVENT: u8 = b'e';

/// Begins a change.
pub(super) fn begin(out: &mut Vec<u8>, operation: Option<Operation>, offset: u64) {
    out.clear();
    let code = operation.and_then(|operation| operation.code().bytes().next());
    out.push(code.unwrap_or(EVENT));
    out.extend_from_slice(&offset.to_le_bytes());
}

/// Reads changes as a processor has them: rows by the schema that it declares.
#[derive(Debug)]
pub(crate) struct ChangeReader {
    shapes: Shapes,
    row: ShapeId,
    rows: Resolver,
    /// None of events.
    keys: Option<Resolver>,
}

/// A key and what has happened; or why the declared schema cannot read it.
type Read = Result<(Option<Row>, Change)>;

impl ChangeReader {
    /// # Errors
    ///
    /// `Incompatible` if the declared schema cannot read what the edge hands out.
    pub(crate) fn new(edge: &Edge) -> Result<Self> {
        let written = Schema::parse(&edge.written)?;
        let mut shapes = Shapes::default();
        Ok(Self {
            row: shapes.add(&written, written.root()),
            shapes,
            rows: Resolver::new(&written, &edge.declared)?,
            keys: keys(&written, &edge.key_columns)?,
        })
    }

    /// The offset of the record that a change comes from, and the change.
    ///
    /// # Errors
    ///
    /// `Internal` for bytes that no chain has written.
    pub(crate) fn read(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(u64, Read)> {
        let value = value.ok_or_else(|| torn("it has no value"))?;
        let (head, _) = value.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| torn("it is cut"))?;
        let [code, offset @ ..] = *head;
        Ok((u64::from_le_bytes(offset), self.change(code, key, value)))
    }

    fn change(&self, code: u8, key: Option<&[u8]>, value: &[u8]) -> Read {
        let mut cursor = Cursor::new(value, HEAD_BYTES);
        if code == EVENT {
            let row = row(&self.rows, &value[HEAD_BYTES..])?;
            return Ok((None, Change::Event(row)));
        }
        let before = self.next_row(&mut cursor)?;
        let after = self.next_row(&mut cursor)?;
        let keys = self.keys.as_ref().zip(key).ok_or_else(|| torn("it has no key"))?;
        let (_, key) = frame::split(keys.1)?;
        let key = Some(row(keys.0, key)?);
        let change = match after {
            None => Change::Delete { before },
            Some(after) => Change::Upsert { operation: upsert(code), before, after },
        };
        Ok((key, change))
    }

    fn next_row(&self, cursor: &mut Cursor<'_>) -> Result<Option<Row>> {
        if cursor.chunk()? == [0] {
            return Ok(None);
        }
        let start = cursor.at();
        cursor.skip(&self.shapes, self.row)?;
        row(&self.rows, cursor.since(start)).map(Some)
    }
}

fn upsert(code: u8) -> Operation {
    match code {
        b'c' => Operation::Create,
        b'r' => Operation::Read,
        _ => Operation::Update,
    }
}

/// Reads the keys of rows of a schema; none if they have none.
fn keys(written: &Schema, columns: &[usize]) -> Result<Option<Resolver>> {
    let Kind::Record(fields) = &written.node(written.root()).kind else { return Ok(None) };
    let names = columns.iter().filter_map(|place| fields.get(*place));
    let names: Vec<String> = names.map(|field| field.name.clone()).collect();
    let relation = Relation::of_rows(&names, written.clone())
        .map_err(|why| torn("its rows have no key").with("why", why))?;
    relation.key.map(|key| Resolver::new(&key, &key)).transpose()
}

fn row(resolver: &Resolver, bytes: &[u8]) -> Result<Row> {
    match resolver.read(bytes)? {
        Datum::Record(fields) => Ok(Row(fields)),
        _ => Err(torn("a row is no record")),
    }
}

#[cold]
fn torn(why: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "hand a row to a processor").because(why)
}
