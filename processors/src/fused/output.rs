//! How a query's rows and keys are written.

use super::compile::{BranchPlan, lookup_of, lookups_of};
use super::cursor::{Cursor, ShapeId, Shapes};
use super::row::{alike, part_node};
use super::steps::Steps;
use super::write::{Column, constant};
use datafusion_common::ScalarValue;
use datafusion_common::arrow::array::ArrayRef;
use datafusion_common::arrow::datatypes::DataType;
use std::ops::Range;
use tidemesh_avro::envelope::{SchemaIds, SourceEncoder, write_bytes};
use tidemesh_avro::flat::write_added;
use tidemesh_avro::frame;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_avro::write_long;
use tidemesh_model::{Error, ErrorKind, Operation, Origin as EventOrigin, Position, Result};
use tidemesh_plan::mesh::Edge;
use tidemesh_plan::output::{OutputSchemas, Parsed, own_block};
use tidemesh_plan::query::{Branch, Origin, Output, Part};
use tidemesh_plan::relation::{Form, Relation};
use tidemesh_plan::sql::types::{null_branch, nullable_branch};

/// How one branch's output is written.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) form: Form,
    /// Whether values are the changes that a processor is handed, and no records of a topic.
    pub(super) changes: bool,
    pub(super) ids: SchemaIds,
    pub(super) cells: Vec<Cell>,
    pub(super) key: KeyWriter,
    /// Our own `source` block, where the input's is not passed on.
    pub(super) own_source: Option<SourceEncoder>,
    /// A block that says nothing, for a delete of which nothing else is known.
    pub(super) empty_source: Vec<u8>,
    copies: Vec<Part>,
    /// For each lookup of the branch the parts of found rows that are passed on.
    found: Vec<Vec<Part>>,
    written: Vec<Written>,
}

/// One column of the output.
#[derive(Debug)]
pub(super) enum Cell {
    /// The same bytes for all rows.
    Constant(Vec<u8>),
    /// The input's bytes.
    Copy {
        copy: usize,
        wrap: Wrap,
        /// What is written where a record around it is null: the branch of null.
        null: Vec<u8>,
    },
    /// The bytes of a row that was found.
    Found {
        lookup: usize,
        copy: usize,
        wrap: Wrap,
        /// What is written where there is none.
        null: Vec<u8>,
    },
    /// A column of the batch.
    Column { writer: usize },
}

/// What stands before bytes that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrap {
    /// Nothing: the types are alike.
    None,
    /// The branch of `["null", T]` that a value takes.
    Value,
}

impl Wrap {
    #[inline]
    pub(super) fn before(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::Value => &[2],
        }
    }
}

/// A column of the batch that is written.
#[derive(Debug)]
struct Written {
    part: Part,
    nullable: bool,
    column: usize,
}

#[cold]
fn internal(what: &'static str) -> Error {
    Error::new(ErrorKind::Internal, "lay out a pipeline's output").because(what)
}

impl Layout {
    /// The layout of a branch in a topic of these schemas.
    ///
    /// # Errors
    ///
    /// `Internal` if the schemas are not the branch's; `Malformed` for schemas that are none.
    pub(super) fn new(
        plan: BranchPlan<'_>,
        schemas: &OutputSchemas,
        ids: SchemaIds,
        pipeline: &str,
        topic: &str,
    ) -> Result<Self> {
        let key = schemas.key.as_deref().map(Schema::parse).transpose()?;
        let value = Schema::parse(&schemas.value)?;
        let made = Relation::of_topic(key, value)
            .map_err(|why| internal("it is none").with("why", why))?;
        let mut layout = Self::empty(plan, schemas, ids)?;
        layout.own_source = (schemas.form == Form::Envelope && !schemas.source_passed_on)
            .then(|| SourceEncoder::new(&own_block(pipeline), "", topic));
        layout.empty_source = super::image::source_of(&made.value)
            .map(|source| smallest(&source, source.root(), 0))
            .unwrap_or_default();
        layout.lay_out(plan, &made)?;
        Ok(layout)
    }

    /// The layout of the changes that a registered processor is handed.
    ///
    /// # Errors
    ///
    /// As [`Layout::new`].
    pub(super) fn changes(plan: BranchPlan<'_>, edge: &Edge) -> Result<Self> {
        let made = Relation::of_rows(&[], Schema::parse(&edge.written)?)
            .map_err(|why| internal("it is none").with("why", why))?;
        let is_event = edge.key_columns.is_empty();
        let schemas = OutputSchemas {
            form: if is_event { Form::Event } else { Form::Envelope },
            key: None,
            value: edge.written.clone(),
            key_columns: edge.key_columns.clone(),
            source_passed_on: true,
            parsed: Parsed::default(),
        };
        let mut layout = Self::empty(plan, &schemas, SchemaIds { key: 0, value: 0 })?;
        layout.changes = true;
        layout.lay_out(plan, &made)?;
        Ok(layout)
    }

    /// A layout without cells.
    fn empty(plan: BranchPlan<'_>, schemas: &OutputSchemas, ids: SchemaIds) -> Result<Self> {
        let relation = &plan.inputs[plan.branch.input].relation;
        Ok(Self {
            form: schemas.form,
            changes: false,
            ids,
            cells: Vec::with_capacity(plan.branch.outputs.len()),
            key: KeyWriter::new(plan.branch, relation, &schemas.key_columns)?,
            own_source: None,
            empty_source: Vec::new(),
            copies: Vec::new(),
            found: vec![Vec::new(); lookups_of(plan.branch).count()],
            written: Vec::new(),
        })
    }

    /// Lays out the columns as those of `made`.
    fn lay_out(&mut self, plan: BranchPlan<'_>, made: &Relation) -> Result<()> {
        for (place, output) in plan.branch.outputs.iter().enumerate() {
            let field = made.fields().get(place).ok_or_else(|| internal("a column is missing"))?;
            let cell = self.cell(plan, output, &made.value, field.node)?;
            self.cells.push(cell);
        }
        Ok(())
    }

    fn cell(
        &mut self,
        plan: BranchPlan<'_>,
        output: &Output,
        schema: &Schema,
        node: NodeId,
    ) -> Result<Cell> {
        let inner = nullable_branch(schema, node);
        let (slot, path) = match output {
            Output::Constant(value) => {
                return Ok(Cell::Constant(constant(value, inner.is_some())?));
            }
            Output::Slot { slot, path } => (*slot, path.clone()),
        };
        let (input, column) = match plan.branch.slots[slot].origin {
            Origin::Input { column } => (plan.branch.input, column),
            Origin::Lookup { input, column } => (input, column),
            Origin::Computed => return Ok(self.column(slot, path, inner.is_some())),
        };
        let (part, relation) = ((column, path.clone()), &plan.inputs[input].relation);
        let Some(wrap) = wrap(relation, &part, schema, node)? else {
            return Ok(self.column(slot, path, inner.is_some()));
        };
        let mut null = Vec::new();
        if let Some(branch) = null_branch(schema, node) {
            write_long(&mut null, i64::try_from(branch).unwrap_or_default());
        }
        Ok(match lookup_of(plan.branch, slot) {
            None => Cell::Copy { copy: place_of(&mut self.copies, part), wrap, null },
            Some(lookup) => {
                let copy = place_of(&mut self.found[lookup], part);
                Cell::Found { lookup, copy, wrap, null }
            }
        })
    }

    /// A cell that is written from a column.
    fn column(&mut self, slot: usize, path: Vec<String>, nullable: bool) -> Cell {
        self.written.push(Written { part: (slot, path), nullable, column: 0 });
        Cell::Column { writer: self.written.len() - 1 }
    }

    /// For each lookup the parts of its rows that are passed on.
    pub(super) fn found(&self) -> &[Vec<Part>] {
        &self.found
    }

    /// The parts of rows that are passed on as they are.
    pub(super) fn copies(&self) -> &[Part] {
        &self.copies
    }

    /// The slots, and parts of them, that are written from columns.
    pub(super) fn read_parts(&self) -> Vec<Part> {
        self.written.iter().map(|written| written.part.clone()).collect()
    }

    /// Finds the columns that are written.
    pub(super) fn bind(&mut self, branch: &Branch, steps: &Steps) -> Result<()> {
        for written in &mut self.written {
            let column = steps.column(branch, &written.part);
            written.column = column.ok_or_else(|| internal("a column is not there"))?;
        }
        Ok(())
    }

    /// The batch's columns that are written.
    pub(super) fn columns(&self, columns: &[ArrayRef]) -> Result<Vec<Column>> {
        let of = |written: &Written| Column::new(&columns[written.column], written.nullable);
        self.written.iter().map(of).collect()
    }

    /// What stands behind an envelope's `source`: no transaction, since the topic's are not the source's.
    pub(super) fn envelope_tail(
        &self,
        operation: Operation,
        clock: &[Option<Range<usize>>; 3],
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.push(0);
        write_bytes(out, operation.code().as_bytes());
        for number in clock {
            match number {
                None => out.push(0),
                Some(range) => out.extend_from_slice(&bytes[range.clone()]),
            }
        }
    }

    /// What stands behind a flat row.
    pub(super) fn flat_tail(
        &self,
        operation: Operation,
        timestamp_ms: i64,
        position: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        let position = position.and_then(|bytes| Position::from_bytes(bytes).ok());
        write_added(timestamp_ms.saturating_mul(1000), position, operation, out);
    }
}

/// What our own block says of a record.
pub(super) fn origin(timestamp_ms: i64, position: Option<&[u8]>) -> EventOrigin<'static> {
    EventOrigin {
        position: position.and_then(|bytes| Position::from_bytes(bytes).ok()).unwrap_or_default(),
        transaction: 0,
        committed_at_us: timestamp_ms.saturating_mul(1000),
        block: &[],
    }
}

/// What stands before the bytes of a part where they can be passed on; none if they cannot.
fn wrap(relation: &Relation, part: &Part, schema: &Schema, node: NodeId) -> Result<Option<Wrap>> {
    let of = part_node(relation, part)?;
    if alike(&relation.value, of, schema, node)? {
        return Ok(Some(Wrap::None));
    }
    let Some(inner) = nullable_branch(schema, node) else { return Ok(None) };
    Ok(alike(&relation.value, of, schema, inner)?.then_some(Wrap::Value))
}

fn place_of(parts: &mut Vec<Part>, part: Part) -> usize {
    match parts.iter().position(|other| *other == part) {
        Some(place) => place,
        None => {
            parts.push(part);
            parts.len() - 1
        }
    }
}

/// The value of a type that has the fewest bytes.
fn smallest(schema: &Schema, id: NodeId, depth: usize) -> Vec<u8> {
    if depth > tidemesh_avro::datum::DATA_DEPTH_MAX {
        return Vec::new();
    }
    match &schema.node(id).kind {
        Kind::Null => Vec::new(),
        Kind::Float => vec![0; 4],
        Kind::Double => vec![0; 8],
        Kind::Fixed(size) => vec![0; *size],
        Kind::Boolean
        | Kind::Int
        | Kind::Long
        | Kind::Bytes
        | Kind::String
        | Kind::Enum { .. }
        | Kind::Array(_)
        | Kind::Map(_) => vec![0],
        Kind::Union(branches) => {
            let mut bytes = vec![0];
            bytes.extend(
                branches.first().map(|id| smallest(schema, *id, depth + 1)).unwrap_or_default(),
            );
            bytes
        }
        Kind::Record(fields) => {
            fields.iter().flat_map(|field| smallest(schema, field.node, depth + 1)).collect()
        }
    }
}

/// Writes the output's keys from the input's: the row is not needed for them.
#[derive(Debug)]
pub(super) struct KeyWriter {
    shapes: Shapes,
    /// The fields of the input's key.
    fields: Vec<ShapeId>,
    cells: Vec<KeyCell>,
}

#[derive(Debug)]
enum KeyCell {
    Constant(Vec<u8>),
    /// The bytes of the key's field at this place.
    Copy(usize),
    /// The field's text.
    Text(usize, DataType),
}

impl KeyWriter {
    fn new(branch: &Branch, relation: &Relation, key_columns: &[usize]) -> Result<Self> {
        let mut shapes = Shapes::default();
        let fields = match &relation.key {
            Some(key) => match &key.node(key.root()).kind {
                Kind::Record(fields) => {
                    fields.iter().map(|field| shapes.add(key, field.node)).collect()
                }
                _ => Vec::new(),
            },
            None => Vec::new(),
        };
        let cell = |place: &usize| match &branch.outputs[*place] {
            Output::Constant(value) => Ok(KeyCell::Constant(constant(value, false)?)),
            Output::Slot { slot, .. } => key_cell(branch, relation, *slot),
        };
        let cells = key_columns.iter().map(cell).collect::<Result<_>>()?;
        Ok(Self { shapes, fields, cells })
    }

    /// Appends the key that `key`, framed, becomes.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are no key of the input.
    pub(super) fn write(&self, key: &[u8], out: &mut Vec<u8>) -> Result<()> {
        frame::split(key)?;
        for cell in &self.cells {
            match cell {
                KeyCell::Constant(bytes) => out.extend_from_slice(bytes),
                KeyCell::Copy(place) => out.extend_from_slice(self.field(key, *place)?),
                KeyCell::Text(place, data_type) => {
                    write_text_of(self.field(key, *place)?, data_type, out)?;
                }
            }
        }
        Ok(())
    }

    fn field<'k>(&self, key: &'k [u8], place: usize) -> Result<&'k [u8]> {
        let mut cursor = Cursor::new(key, frame::FRAME_HEAD_BYTES);
        for shape in &self.fields[..place] {
            cursor.skip(&self.shapes, *shape)?;
        }
        let start = cursor.at();
        cursor.skip(&self.shapes, self.fields[place])?;
        Ok(cursor.since(start))
    }
}

/// How a key column's slot is taken from the input's key.
fn key_cell(branch: &Branch, relation: &Relation, slot: usize) -> Result<KeyCell> {
    let (slot, to) = match branch.key_cast(slot) {
        Some((from, to)) => (from, Some(to)),
        None => (slot, None),
    };
    let Origin::Input { column } = branch.slots[slot].origin else {
        return Err(internal("a key column is computed"));
    };
    let place = relation.key_columns.iter().position(|of| *of == column);
    let place = place.ok_or_else(|| internal("a key column is not in the input's key"))?;
    Ok(match to {
        Some(DataType::Utf8) => KeyCell::Text(place, branch.slots[slot].sql.data_type.clone()),
        // A whole number has the same bytes in both of its types.
        _ => KeyCell::Copy(place),
    })
}

/// Appends the text of a key's field.
fn write_text_of(bytes: &[u8], data_type: &DataType, out: &mut Vec<u8>) -> Result<()> {
    let mut cursor = Cursor::new(bytes, 0);
    let value = match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(cursor.boolean()?)),
        DataType::Int32 => ScalarValue::Int32(Some(cursor.int()?)),
        DataType::Date32 => ScalarValue::Date32(Some(cursor.int()?)),
        DataType::Int64 => ScalarValue::Int64(Some(cursor.long()?)),
        DataType::Utf8 => {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        _ => return Err(internal("a key of this type has no text")),
    };
    let text = value
        .cast_to(&DataType::Utf8)
        .map_err(|error| internal("a key has no text").caused_by(error))?;
    match text.try_as_str() {
        Some(Some(text)) => {
            write_bytes(out, text.as_bytes());
            Ok(())
        }
        _ => Err(internal("a key has no text")),
    }
}
