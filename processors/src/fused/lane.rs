//! One part of a UNION ALL at work: records of its input in, records of the output out.

use super::compile::{BranchPlan, compile};
use super::cursor::Cursor;
use super::emit::Emitter;
use super::image::{Image, SourceWay, ValueReader, source_of};
use super::lookup::{Found, Lookups};
use super::output::Layout;
use super::row::{Rows, alike};
use super::steps::{Left, Steps};
use super::write::Column;
use super::{InputRecord, RecordOut, UNKNOWN_IDS_MAX};
use datafusion_common::arrow::array::{ArrayRef, BooleanArray};
use datafusion_common::arrow::compute::filter;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use tidemesh_avro::frame;
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Operation, Result};
use tidemesh_plan::relation::{Form, Relation};

/// The most rows that are evaluated at once: enough that what a batch costs does not show, few enough
/// to stay in the processor's cache.
pub const ROWS_MAX: usize = 1024;

/// A row that no longer is among those that are left.
pub(super) const GONE: u32 = u32::MAX;

/// One branch, compiled.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) relation: Relation,
    pub(super) rows: Rows,
    pub(super) steps: Steps,
    pub(super) layout: Layout,
    pub(super) readers: HashMap<u32, (ValueReader, SourceWay)>,
    /// Ids that no schema has.
    unknown: HashSet<u32>,
    events: Vec<Event>,
    /// For each row its place among those that are left.
    pub(super) places: Vec<u32>,
    /// With lookups: for each row whether it has come to the first of them.
    pub(super) reached: Vec<bool>,
    buffers: Buffers,
    /// The key of the event that was a delete last: the tombstone behind it says nothing more.
    deleted: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A record of the input that waits for its batch.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) offset: u64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Range<usize>>,
    pub(super) position: Option<Range<usize>>,
    /// Where its value stands, and its schema; none for a tombstone.
    value: Option<Range<usize>>,
    pub(super) writer: Option<u32>,
    pub(super) image: Image,
}

impl Lane {
    pub(super) fn new(plan: BranchPlan<'_>, mut layout: Layout) -> Result<Self> {
        let relation = &plan.inputs[plan.branch.input].relation;
        let steps = compile(plan, &layout.read_parts(), layout.found())?;
        let rows = Rows::new(relation, layout.copies().to_vec(), steps.reads.clone())?;
        layout.bind(plan.branch, &steps)?;
        Ok(Self {
            relation: relation.clone(),
            rows,
            steps,
            layout,
            readers: HashMap::new(),
            unknown: HashSet::new(),
            events: Vec::new(),
            places: Vec::new(),
            reached: Vec::new(),
            buffers: Buffers::default(),
            deleted: Vec::new(),
        })
    }

    /// Whether values of this schema can be read already.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.readers.contains_key(&id) || self.unknown.contains(&id)
    }

    /// Tells that no schema has this id: records with it fail.
    pub(super) fn learn_unknown(&mut self, id: u32) {
        if self.unknown.len() >= UNKNOWN_IDS_MAX {
            self.unknown.clear();
        }
        self.unknown.insert(id);
    }

    /// Tells the schema behind an id.
    pub(super) fn learn(&mut self, id: u32, schema: &Schema) -> Result<()> {
        let reader = ValueReader::new(&self.relation, &self.rows, schema)?;
        let source = source_way(&self.relation.value, schema)?;
        self.readers.insert(id, (reader, source));
        Ok(())
    }

    /// Takes one record.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        record: &InputRecord<'_>,
        lookups: &Lookups,
        out: &mut impl RecordOut,
    ) -> Result<()> {
        let event = match self.event(bytes, record) {
            Ok(event) => event,
            Err(error) if !of_record(error.kind()) => return Err(error),
            Err(error) => {
                self.begin_anew(bytes)?;
                self.flush(bytes, lookups, out)?;
                return out.failed(record.offset, error);
            }
        };
        let Some(event) = event else { return Ok(()) };
        self.events.push(event);
        if self.rows.count() >= ROWS_MAX || self.events.len() >= ROWS_MAX {
            self.flush(bytes, lookups, out)?;
        }
        Ok(())
    }

    fn event(&mut self, bytes: &[u8], record: &InputRecord<'_>) -> Result<Option<Event>> {
        let mut event = Event {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(|key| range_in(bytes, key)),
            position: record.position.map(|position| range_in(bytes, position)),
            value: None,
            writer: None,
            image: Image::default(),
        };
        let Some(value) = record.value else {
            let said = self.relation.form == Form::Envelope
                && record.key.is_some_and(|key| key == self.deleted.as_slice());
            self.deleted.clear();
            event.image.operation = Some(Operation::Delete);
            return Ok((!said && self.relation.form != Form::Event).then_some(event));
        };
        let (id, _) = frame::split(value)?;
        let range = range_in(bytes, value);
        let Some((reader, _)) = self.readers.get(&id) else {
            return Err(if self.unknown.contains(&id) {
                Error::new(ErrorKind::NotFound, "read a record")
                    .because("the registry has no schema of its id")
                    .with("schema_id", id)
            } else {
                Error::new(ErrorKind::Internal, "read a record")
                    .because("its schema was not told")
                    .with("schema_id", id)
            });
        };
        let mut cursor = Cursor::new(&bytes[..range.end], range.start + frame::FRAME_HEAD_BYTES);
        event.image = reader.read(&mut cursor, &mut self.rows)?;
        if record.operation.is_some() {
            event.image.operation = record.operation;
        }
        event.writer = Some(id);
        event.value = Some(range);
        self.deleted.clear();
        if event.image.operation == Some(Operation::Delete) {
            self.deleted.extend_from_slice(record.key.unwrap_or_default());
        }
        Ok(Some(event))
    }

    /// Reads the records that wait once more: of one that could not be read some columns have a value
    /// and others none.
    fn begin_anew(&mut self, bytes: &[u8]) -> Result<()> {
        self.rows.restart(&self.relation)?;
        for event in &mut self.events {
            if let (Some(id), Some(range)) = (event.writer, event.value.clone()) {
                let mut cursor =
                    Cursor::new(&bytes[..range.end], range.start + frame::FRAME_HEAD_BYTES);
                event.image = self.readers[&id].0.read(&mut cursor, &mut self.rows)?;
            }
        }
        Ok(())
    }

    /// Writes what the records that were taken become. `bytes` are those of all of them.
    pub(super) fn flush(
        &mut self,
        bytes: &[u8],
        lookups: &Lookups,
        out: &mut impl RecordOut,
    ) -> Result<()> {
        if self.events.is_empty() {
            self.rows.clear();
            return Ok(());
        }
        let columns = self.rows.columns()?;
        let Evaluation { columns, found, mut failed } = self.evaluate(columns, lookups)?;
        let written = self.layout.columns(&columns)?;
        let writers = written.iter().map(Column::writer).collect::<Result<Vec<_>>>()?;
        let events = std::mem::take(&mut self.events);
        let mut buffers = std::mem::take(&mut self.buffers);
        let emitter = Emitter { lane: self, bytes, writers: &writers, found: &found };
        let answer = events
            .iter()
            .try_for_each(|event| emitter.event(event, &mut failed, &mut buffers, out));
        self.events = events;
        self.events.clear();
        self.rows.clear();
        self.buffers = buffers;
        answer
    }

    /// Runs the steps and notes which rows are left. Rows whose evaluation fails are told with why.
    fn evaluate<'t>(
        &mut self,
        columns: Vec<ArrayRef>,
        lookups: &'t Lookups,
    ) -> Result<Evaluation<'t>> {
        let count = self.rows.count();
        let (left, failed) = match self.steps.run(columns.clone(), count, lookups) {
            Ok(left) => (left, HashMap::new()),
            Err(_) => self.evaluate_each(&columns, count, lookups)?,
        };
        self.note(&left, count);
        Ok(Evaluation { columns: left.columns, found: left.found, failed })
    }

    /// Runs the steps over the rows that they can handle.
    fn evaluate_each<'t>(
        &mut self,
        columns: &[ArrayRef],
        count: usize,
        lookups: &'t Lookups,
    ) -> Result<(Left<'t>, HashMap<usize, Error>)> {
        let failed = self.failing(columns, count, lookups);
        let good: Vec<u32> = (0..count)
            .filter(|row| !failed.contains_key(row))
            .filter_map(|row| u32::try_from(row).ok())
            .collect();
        let mask: BooleanArray = (0..count).map(|row| Some(!failed.contains_key(&row))).collect();
        let columns = columns.iter().map(|column| filter(column, &mask));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
        let columns = columns
            .map_err(|error| Error::new(ErrorKind::Internal, "set rows aside").caused_by(error))?;
        let mut left = self.steps.run(columns, good.len(), lookups)?;
        let of_batch = |rows: Option<Vec<u32>>| match rows {
            None => good.clone(),
            Some(rows) => rows.into_iter().map(|row| good[row as usize]).collect(),
        };
        left.rows = Some(of_batch(left.rows));
        left.reached = Some(of_batch(left.reached));
        for found in &mut left.found {
            let mut all = vec![None; count];
            good.iter().zip(found.iter()).for_each(|(row, found)| all[*row as usize] = *found);
            *found = all;
        }
        Ok((left, failed))
    }

    /// Notes which rows are left, and which have come to a lookup.
    fn note(&mut self, left: &Left<'_>, count: usize) {
        self.places.clear();
        self.places.resize(count, GONE);
        match &left.rows {
            None => self.places.iter_mut().zip(0..).for_each(|(place, row)| *place = row),
            Some(rows) => {
                for (row, place) in rows.iter().zip(0..) {
                    self.places[*row as usize] = place;
                }
            }
        }
        if !self.steps.joins.is_empty() {
            self.reached.clear();
            self.reached.resize(count, left.reached.is_none());
            for row in left.reached.iter().flatten() {
                self.reached[*row as usize] = true;
            }
        }
    }

    /// The rows that an expression cannot handle, each tried alone.
    fn failing(
        &mut self,
        columns: &[ArrayRef],
        count: usize,
        lookups: &Lookups,
    ) -> HashMap<usize, Error> {
        let mut alone = |row: usize| {
            let columns = columns.iter().map(|column| column.slice(row, 1)).collect();
            Some((row, self.steps.run(columns, 1, lookups).err()?))
        };
        (0..count).filter_map(&mut alone).collect()
    }
}

/// What is left of a batch.
struct Evaluation<'t> {
    columns: Vec<ArrayRef>,
    /// For each lookup what was found for each row.
    found: Vec<Vec<Found<'t>>>,
    /// Rows whose evaluation failed, with why.
    failed: HashMap<usize, Error>,
}

/// Where a part of a batch's bytes stands in them.
pub(super) fn range_in(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
    start..start + part.len()
}

fn source_way(relation: &Schema, writer: &Schema) -> Result<SourceWay> {
    let (Some(own), Some(written)) = (source_of(relation), source_of(writer)) else {
        return Ok(SourceWay::Copy);
    };
    if alike(&written, written.root(), &own, own.root())? {
        return Ok(SourceWay::Copy);
    }
    Ok(SourceWay::Resolve(Box::new((Resolver::new(&written, &own)?, own))))
}

/// Whether an error is about one record: about the others it says nothing.
pub(super) fn of_record(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unsupported
            | ErrorKind::Malformed
            | ErrorKind::TooLarge
            | ErrorKind::Incompatible
            | ErrorKind::NotFound
    )
}

#[cold]
pub(super) fn truncated() -> Error {
    Error::new(ErrorKind::Prerequisite, "carry a truncate through a pipeline")
        .because("the event names no row, and other partitions may be ahead of it")
        .help("set truncate = \"reconcile\" for the source, which deletes each row instead")
}
