//! Tables that are kept from topics, for rows to be looked up in.
//!
//! A table holds the newest row of each key, of which only those columns stay that something of the
//! pipeline reads, as bytes. `kept` says which columns those are, `key` makes one form of a topic's keys
//! and of what SQL compares them with, and `join` finds rows for a batch.
//!
//! What a record finds is the row that the table has when the record is processed. A row that changes
//! later takes nothing back of what was written before.

mod join;
mod kept;
mod key;

pub(super) use join::{Found, Join};
pub(super) use key::{check_type, meet};

use super::cursor::Cursor;
use super::image::{Image, ValueReader};
use super::lane::{ROWS_MAX, of_record, range_in, truncated};
use super::row::Rows;
use super::{InputRecord, UNKNOWN_IDS_MAX};
use kept::{Kept, kept_columns};
use key::KeyReader;
use std::collections::{BTreeMap, HashMap, HashSet};
use tidemesh_avro::frame;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Operation, Result};
use tidemesh_plan::query::{Input, Query};
use tidemesh_plan::relation::{Form, Relation};

/// The most bytes of memory that the tables of one pipeline take, unless it is set otherwise.
pub const LOOKUP_BYTES_MAX: usize = 256 * 1024 * 1024;

/// About what a row takes beside its bytes: its places in the table and in the allocator.
const ROW_OVERHEAD_BYTES: usize = 96;

/// The lookup tables of a pipeline.
#[derive(Debug, Default)]
pub struct Lookups {
    /// By their inputs' places.
    tables: BTreeMap<usize, Table>,
    bytes_max: usize,
}

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    relation: Relation,
    kept: Kept,
    key: KeyReader,
    /// The row of a record under way. Its columns are read to see that they can be.
    rows: Rows,
    /// How many rows the columns have.
    seen: usize,
    readers: HashMap<u32, ValueReader>,
    /// Ids that no schema has.
    unknown: HashSet<u32>,
    held: HashMap<Box<[u8]>, Box<[u8]>>,
    /// What they take.
    bytes: usize,
    /// The key and the row of a record under way.
    key_bytes: Vec<u8>,
    row_bytes: Vec<u8>,
}

/// What a record does to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Set,
    Remove,
}

impl Lookups {
    /// The tables that queries look up rows in, all empty; `bytes_max` bounds what they hold together.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a key of a type that cannot be compared.
    pub fn new<'q>(
        queries: impl Iterator<Item = &'q Query>,
        inputs: &[Input],
        bytes_max: usize,
    ) -> Result<Self> {
        let tables = kept_columns(queries).into_iter().map(|(place, columns)| {
            let input = &inputs[place];
            let table = Table::new(input, Kept::new(&input.relation, columns)?);
            Ok((place, table.map_err(|error| error.with("lookup", &input.name))?))
        });
        Ok(Self { tables: tables.collect::<Result<_>>()?, bytes_max })
    }

    /// The places of the inputs that are kept as tables.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        self.tables.keys().copied()
    }

    /// How many rows the tables hold, and about how many bytes of memory.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let rows = self.tables.values().map(|table| table.held.len()).sum();
        (rows, self.bytes())
    }

    fn bytes(&self) -> usize {
        self.tables.values().map(|table| table.bytes).sum()
    }

    /// Whether values with this schema id can be read from an input already.
    #[must_use]
    pub fn knows(&self, input: usize, id: u32) -> bool {
        let table = self.tables.get(&input);
        table.is_none_or(|table| table.readers.contains_key(&id) || table.unknown.contains(&id))
    }

    /// Tells the schema behind an id of an input's values.
    ///
    /// # Errors
    ///
    /// As [`super::Chain::learn`].
    pub fn learn(&mut self, input: usize, id: u32, schema: &Schema) -> Result<()> {
        let Some(table) = self.tables.get_mut(&input) else { return Ok(()) };
        let reader = ValueReader::new(&table.relation, &table.rows, schema)?;
        table.readers.insert(id, reader);
        Ok(())
    }

    /// Tells that the registry has no schema of this id: records with it fail.
    pub fn learn_unknown(&mut self, input: usize, id: u32) {
        let Some(table) = self.tables.get_mut(&input) else { return };
        if table.unknown.len() >= UNKNOWN_IDS_MAX {
            table.unknown.clear();
        }
        table.unknown.insert(id);
    }

    /// Takes records of a lookup's topic, in the order of their partition. `bytes` are what all of their
    /// parts stand in. `failed` is told of those that cannot be read, which change nothing.
    ///
    /// # Errors
    ///
    /// `TooLarge` once the tables have no room for a row; what `failed` answers.
    pub fn take<'r>(
        &mut self,
        input: usize,
        bytes: &[u8],
        records: impl Iterator<Item = Result<InputRecord<'r>>>,
        mut failed: impl FnMut(u64, Error) -> Result<()>,
    ) -> Result<()> {
        let mut room = self.bytes_max.saturating_sub(self.bytes());
        let bytes_max = self.bytes_max;
        let Some(table) = self.tables.get_mut(&input) else { return Ok(()) };
        for record in records {
            let record = record?;
            match table.change(bytes, &record) {
                Ok(change) => {
                    let full = || table_is_full(bytes_max).with("offset", record.offset);
                    room = table.apply(change, room).ok_or_else(full)?;
                }
                Err(error) if of_record(error.kind()) => failed(record.offset, error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn table(&self, input: usize) -> Result<&Table> {
        let lost = || Error::new(ErrorKind::Internal, "look rows up").because("there is no table");
        self.tables.get(&input).ok_or_else(lost)
    }
}

#[cold]
fn table_is_full(bytes_max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, "keep a lookup's rows")
        .because("they take more memory than is allowed")
        .with("lookup_bytes_max", bytes_max)
        .help(
            "raise lookup_bytes_max, read fewer of the lookup's columns, or look up in a topic of \
             fewer rows: a pipeline before this one can filter it",
        )
}

impl Table {
    fn new(input: &Input, kept: Kept) -> Result<Self> {
        let relation = input.relation.clone();
        Ok(Self {
            name: input.name.clone(),
            key: KeyReader::new(&relation)?,
            rows: Rows::new(&relation, kept.parts(), kept.readable(&relation))?,
            seen: 0,
            relation,
            kept,
            readers: HashMap::new(),
            unknown: HashSet::new(),
            held: HashMap::new(),
            bytes: 0,
            key_bytes: Vec::new(),
            row_bytes: Vec::new(),
        })
    }

    /// The schema of the rows that it holds.
    pub(super) fn schema(&self) -> &Schema {
        &self.kept.schema
    }

    /// The row of a key, whose bytes [`Join`] makes.
    pub(super) fn row(&self, key: &[u8]) -> Option<&[u8]> {
        self.held.get(key).map(AsRef::as_ref)
    }

    /// What a record changes, with its key and its row in the buffers.
    fn change(&mut self, bytes: &[u8], record: &InputRecord<'_>) -> Result<Change> {
        let change = self.read(bytes, record);
        self.seen += self.rows.count();
        self.rows.clear();
        if change.is_err() || self.seen > ROWS_MAX {
            self.rows.restart(&self.relation)?;
            self.seen = 0;
        }
        change
    }

    fn read(&mut self, bytes: &[u8], record: &InputRecord<'_>) -> Result<Change> {
        self.key_bytes.clear();
        let change = match record.value {
            None => Change::Remove,
            Some(value) => self.value(bytes, value)?,
        };
        if change == Change::Nothing {
            return Ok(change);
        }
        let no_key = || {
            Error::new(ErrorKind::Unsupported, "read a lookup's key")
                .because("a record of a topic with a key has none")
        };
        let key = record.key.ok_or_else(no_key)?;
        // What has no whole key, nothing is equal to.
        let whole = self.key.read(key, &mut self.key_bytes)?;
        Ok(if whole { change } else { Change::Nothing })
    }

    fn value(&mut self, bytes: &[u8], value: &[u8]) -> Result<Change> {
        let (id, _) = frame::split(value)?;
        let range = range_in(bytes, value);
        let reader = self.readers.get(&id).ok_or_else(|| {
            let is_unknown = self.unknown.contains(&id);
            let kind = if is_unknown { ErrorKind::NotFound } else { ErrorKind::Internal };
            Error::new(kind, "read a lookup's record")
                .because("the registry has no schema of its id")
                .with("schema_id", id)
        })?;
        let mut cursor = Cursor::new(&bytes[..range.end], range.start + frame::FRAME_HEAD_BYTES);
        let Image { operation, after, .. } = reader.read(&mut cursor, &mut self.rows)?;
        match (operation, after) {
            (Some(Operation::Truncate), _) => Err(truncated()),
            (Some(Operation::Delete), _) => Ok(Change::Remove),
            (_, Some(row)) => {
                self.row_bytes.clear();
                for column in 0..self.kept.columns.len() {
                    self.row_bytes
                        .extend_from_slice(self.rows.copy(bytes, row, column).unwrap_or_default());
                }
                Ok(Change::Set)
            }
            (None, None) if self.relation.form == Form::Envelope => Ok(Change::Nothing),
            (_, None) => Err(Error::new(ErrorKind::Malformed, "read a lookup's record")
                .because("it has no row")
                .with("lookup", &self.name)),
        }
    }

    /// Changes the table, if there is room for what it takes; answers the room that is left.
    fn apply(&mut self, change: Change, room: usize) -> Option<usize> {
        let had = match self.held.get(self.key_bytes.as_slice()) {
            Some(row) => size(self.key_bytes.len(), row.len()),
            None => 0,
        };
        match change {
            Change::Nothing => Some(room),
            Change::Remove => {
                self.held.remove(self.key_bytes.as_slice());
                self.bytes -= had;
                Some(room + had)
            }
            Change::Set => {
                let has = size(self.key_bytes.len(), self.row_bytes.len());
                let room = (room + had).checked_sub(has)?;
                let row = self.row_bytes.as_slice().into();
                match self.held.get_mut(self.key_bytes.as_slice()) {
                    Some(held) => *held = row,
                    None => drop(self.held.insert(self.key_bytes.as_slice().into(), row)),
                }
                self.bytes = self.bytes + has - had;
                Some(room)
            }
        }
    }
}

fn size(key: usize, row: usize) -> usize {
    key + row + ROW_OVERHEAD_BYTES
}
