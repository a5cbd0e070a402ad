//! Rows gone through once: what is passed on is remembered by where it stands, what expressions read
//! goes into columns, everything else is skipped.

use super::cells::Cells;
use super::cursor::{Cursor, ShapeId, Shapes};
use datafusion_common::arrow::array::ArrayRef;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use tidemesh_avro::compat::Direction;
use tidemesh_avro::compose::Definitions;
use tidemesh_avro::consumption::{Reads, unreadable};
use tidemesh_avro::datum::encode;
use tidemesh_avro::flat::OPERATION;
use tidemesh_avro::project::{FieldPath, project};
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::{Field, Kind, Logical, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::query::Part;
use tidemesh_plan::relation::{Form, Relation};
use tidemesh_plan::sql::types::{null_branch, nullable_branch};

/// Where a value stands: in a record's bytes, or in those that were made for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    start: u32,
    end: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the batch's bytes.
    Batch,
    /// In the bytes that were made.
    Made,
    /// Nowhere: a record around it is null.
    Null,
}

impl Span {
    const NULL: Self = Self { start: 0, end: 0, place: Place::Null };

    fn new(start: usize, end: usize, place: Place) -> Result<Self> {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => Ok(Self { start, end, place }),
            _ => Err(Error::new(ErrorKind::TooLarge, "read a batch of records")),
        }
    }
}

/// What is taken of the rows of one input: the same whatever schema they were written with.
#[derive(Debug)]
pub(super) struct Rows {
    /// The parts that are passed on, each by where it stands; by the column's place and names.
    copies: Vec<Part>,
    /// The parts that expressions read.
    reads: Vec<Part>,
    cells: Vec<Cells>,
    /// For each row the spans of its copies.
    spans: Vec<Span>,
    /// Bytes that no record has: defaults, and values of other schemas as this one's.
    made: Vec<u8>,
    count: usize,
    /// What a flat row says of the operation: the letter, and its length.
    operation: ([u8; 1], usize),
}

impl Rows {
    /// Takes these parts of a relation's rows; a part's slot is a column's place.
    pub(super) fn new(relation: &Relation, copies: Vec<Part>, reads: Vec<Part>) -> Result<Self> {
        let cells = reads.iter().map(|part| {
            let node = part_node(relation, part)?;
            Cells::new(&relation.value, node)
        });
        Ok(Self {
            cells: cells.collect::<Result<_>>()?,
            copies,
            reads,
            spans: Vec::new(),
            made: Vec::new(),
            count: 0,
            operation: ([0], 0),
        })
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What the row that was added last says of the operation, if it is a flat one.
    pub(super) fn operation(&self) -> Option<&[u8]> {
        Some(&self.operation.0[..self.operation.1]).filter(|code| !code.is_empty())
    }

    /// The columns that expressions read; they begin anew.
    pub(super) fn columns(&mut self) -> Result<Vec<ArrayRef>> {
        self.cells.iter_mut().map(Cells::finish).collect()
    }

    /// Begins anew after a row that could not be read: some of its columns have a value and others none.
    ///
    /// # Errors
    ///
    /// As [`Rows::new`].
    pub(super) fn restart(&mut self, relation: &Relation) -> Result<()> {
        let (copies, reads) = (std::mem::take(&mut self.copies), std::mem::take(&mut self.reads));
        *self = Self::new(relation, copies, reads)?;
        Ok(())
    }

    /// Forgets the rows.
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.made.clear();
        self.count = 0;
    }

    /// The bytes of a row's copy; none if a record around it is null.
    #[inline]
    pub(super) fn copy<'b>(&'b self, batch: &'b [u8], row: usize, copy: usize) -> Option<&'b [u8]> {
        let span = self.spans[row * self.copies.len() + copy];
        let range = span.start as usize..span.end as usize;
        match span.place {
            Place::Batch => Some(&batch[range]),
            Place::Made => Some(&self.made[range]),
            Place::Null => None,
        }
    }

    /// Adds a row that is not there.
    pub(super) fn add_missing(&mut self) {
        self.spans.resize(self.spans.len() + self.copies.len(), Span::NULL);
        self.cells.iter_mut().for_each(Cells::append_null);
        self.count += 1;
    }

    /// Goes through one row; afterwards the cursor stands behind it.
    #[inline]
    pub(super) fn add(&mut self, reader: &RowReader, cursor: &mut Cursor<'_>) -> Result<()> {
        let first = self.spans.len();
        self.spans.resize(first + self.copies.len(), Span::NULL);
        match &reader.way {
            Way::Direct(direct) => self.direct(direct, cursor, first, Place::Batch)?,
            Way::Resolved { shapes, written, resolver, schema, own } => {
                let start = cursor.at();
                cursor.skip(shapes, *written)?;
                let datum = resolver.read(cursor.since(start))?;
                let made = self.made.len();
                encode(schema, &datum, &mut self.made)?;
                self.in_made(made, |rows, cursor| rows.direct(own, cursor, first, Place::Made))?;
            }
        }
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn direct(
        &mut self,
        direct: &Direct,
        cursor: &mut Cursor<'_>,
        first: usize,
        place: Place,
    ) -> Result<()> {
        for visit in &direct.fields {
            self.visit(&direct.shapes, visit, cursor, first, place)?;
        }
        for (visit, default) in &direct.missing {
            let made = self.made.len();
            self.made.extend_from_slice(default);
            self.in_made(made, |rows, cursor| {
                rows.visit(&direct.shapes, visit, cursor, first, Place::Made)
            })?;
        }
        Ok(())
    }

    /// Goes through a value that stands in the bytes that were made.
    fn in_made(
        &mut self,
        start: usize,
        visit: impl FnOnce(&mut Self, &mut Cursor<'_>) -> Result<()>,
    ) -> Result<()> {
        let made = std::mem::take(&mut self.made);
        let visited = visit(self, &mut Cursor::new(&made, start));
        self.made = made;
        visited
    }

    #[inline]
    fn visit(
        &mut self,
        shapes: &Shapes,
        visit: &Visit,
        cursor: &mut Cursor<'_>,
        first: usize,
        place: Place,
    ) -> Result<()> {
        let start = cursor.at();
        if visit.is_operation {
            self.operation = operation(&mut cursor.clone())?;
        }
        match (visit.cells, &visit.within) {
            (None, None) => cursor.skip(shapes, visit.shape)?,
            (Some(cells), None) => self.cells[cells].append(cursor)?,
            (None, Some(within)) => self.within(shapes, within, cursor, first, place)?,
            (Some(cells), Some(within)) => {
                self.cells[cells].append(&mut cursor.clone())?;
                self.within(shapes, within, cursor, first, place)?;
            }
        }
        if let Some(copy) = visit.copy {
            self.spans[first + copy] = Span::new(start, cursor.at(), place)?;
        }
        Ok(())
    }

    fn within(
        &mut self,
        shapes: &Shapes,
        within: &Within,
        cursor: &mut Cursor<'_>,
        first: usize,
        place: Place,
    ) -> Result<()> {
        if let Some(null) = within.null_branch
            && cursor.place(2)? == null
        {
            within.cells.iter().for_each(|cells| self.cells[*cells].append_null());
            return Ok(());
        }
        let mut fields = within.fields.iter();
        fields.try_for_each(|visit| self.visit(shapes, visit, cursor, first, place))
    }
}

/// How rows of one writer's schema are gone through.
#[derive(Debug)]
pub(super) struct RowReader {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Everything that is taken stands there as the relation has it, or has a default.
    Direct(Direct),
    /// Some of it has another type: the row is made one of the relation's schema first.
    Resolved { shapes: Shapes, written: ShapeId, resolver: Resolver, schema: Schema, own: Direct },
}

#[derive(Debug)]
struct Direct {
    shapes: Shapes,
    /// The writer's fields, in order.
    fields: Vec<Visit>,
    /// What the writer has not, with its default's bytes.
    missing: Vec<(Visit, Vec<u8>)>,
}

/// What is done with one value.
#[derive(Debug)]
struct Visit {
    shape: ShapeId,
    copy: Option<usize>,
    cells: Option<usize>,
    within: Option<Within>,
    /// Whether it is the operation of a flat row.
    is_operation: bool,
}

/// What is taken of a record's fields.
#[derive(Debug)]
struct Within {
    /// Which of two branches is null; none for a record that is always there.
    null_branch: Option<usize>,
    fields: Vec<Visit>,
    /// All cells within it, which are null where it is.
    cells: Vec<usize>,
}

impl RowReader {
    /// How rows that `schema` has at `row` are gone through for what `rows` take of a relation.
    ///
    /// # Errors
    ///
    /// `Incompatible` if rows of the writer cannot be read as the relation's; `Unsupported` for a
    /// decimal that has another scale.
    pub(super) fn new(
        relation: &Relation,
        rows: &Rows,
        schema: &Schema,
        row: NodeId,
    ) -> Result<Self> {
        let planner = Planner { relation, rows };
        if let Some(direct) = planner.direct(schema, row)? {
            return Ok(Self { way: Way::Direct(direct) });
        }
        let own_schema = planner.taken()?;
        let written = schema.at(row);
        readable(&own_schema, &written)?;
        let own = planner.direct(&own_schema, own_schema.root())?;
        let own = own.ok_or_else(|| Error::new(ErrorKind::Internal, "read a row's own schema"))?;
        let resolver = Resolver::new(&written, &own_schema)?;
        let mut shapes = Shapes::default();
        let written = shapes.add(schema, row);
        Ok(Self { way: Way::Resolved { shapes, written, resolver, schema: own_schema, own } })
    }
}

struct Planner<'p> {
    relation: &'p Relation,
    rows: &'p Rows,
}

impl Planner<'_> {
    /// The direct way; none if something that is taken has another type.
    fn direct(&self, schema: &Schema, row: NodeId) -> Result<Option<Direct>> {
        let Kind::Record(written) = &schema.node(row).kind else {
            return Err(
                Error::new(ErrorKind::Incompatible, "read rows").because("they are no records")
            );
        };
        let mut shapes = Shapes::default();
        let mut fields = Vec::with_capacity(written.len());
        let mut found = Vec::new();
        for field in written {
            let column = self.column_of(field, written);
            let taken = column.filter(|column| self.takes(*column));
            if let Some(column) = taken {
                if !alike(
                    schema,
                    field.node,
                    &self.relation.value,
                    self.relation.field(column).node,
                )? {
                    return Ok(None);
                }
                found.push(column);
            }
            let parts = taken.map(|column| (column, Vec::new()));
            let mut visit = self.visit(schema, field.node, parts.as_ref(), &mut shapes);
            visit.is_operation = self.relation.form == Form::Flat
                && field.name == OPERATION
                && nullable_branch(schema, field.node).is_some();
            fields.push(visit);
        }
        let mut missing = Vec::new();
        for column in 0..self.relation.columns.len() {
            if self.takes(column) && !found.contains(&column) {
                let field = self.relation.field(column);
                let default = default_bytes(&self.relation.value, field)?;
                let part = (column, Vec::new());
                let visit = self.visit(&self.relation.value, field.node, Some(&part), &mut shapes);
                missing.push((visit, default));
            }
        }
        Ok(Some(Direct { shapes, fields, missing }))
    }

    /// The relation's column that a writer's field becomes: by its name, or by a name that the column
    /// had and no other field has.
    fn column_of(&self, field: &Field, written: &[Field]) -> Option<usize> {
        let columns = 0..self.relation.columns.len();
        let by_name =
            columns.clone().find(|column| self.relation.field(*column).name == field.name);
        let is_alias = |column: &usize| {
            let own = self.relation.field(*column);
            own.aliases.contains(&field.name) && !written.iter().any(|other| other.name == own.name)
        };
        by_name.or_else(|| columns.clone().find(is_alias))
    }

    /// The relation's row with the columns that are taken.
    fn taken(&self) -> Result<Schema> {
        let columns = (0..self.relation.columns.len()).filter(|column| self.takes(*column));
        let paths = columns.map(|column| self.relation.field(column).name.parse());
        let mut paths: Vec<FieldPath> = paths.collect::<Result<_>>()?;
        if self.relation.form == Form::Flat {
            // No column, and read all the same.
            paths.push(OPERATION.parse()?);
        }
        project(&self.relation.value.at(self.relation.row), &paths)
    }

    fn takes(&self, column: usize) -> bool {
        self.rows.copies.iter().chain(&self.rows.reads).any(|(of, _)| *of == column)
    }

    /// What is done with the value at `id`, which is this part of the row; none if it is skipped.
    fn visit(
        &self,
        schema: &Schema,
        id: NodeId,
        part: Option<&Part>,
        shapes: &mut Shapes,
    ) -> Visit {
        let shape = shapes.add(schema, id);
        let Some(part) = part else {
            return Visit { shape, copy: None, cells: None, within: None, is_operation: false };
        };
        let place = |parts: &[Part]| parts.iter().position(|other| other == part);
        Visit {
            shape,
            copy: place(&self.rows.copies),
            cells: place(&self.rows.reads),
            within: self.within(schema, id, part, shapes),
            is_operation: false,
        }
    }

    fn within(
        &self,
        schema: &Schema,
        id: NodeId,
        part: &Part,
        shapes: &mut Shapes,
    ) -> Option<Within> {
        let is_within = |other: &Part| {
            other.0 == part.0 && other.1.len() > part.1.len() && other.1.starts_with(&part.1)
        };
        let all = || self.rows.copies.iter().chain(&self.rows.reads);
        if !all().any(is_within) {
            return None;
        }
        let record = nullable_branch(schema, id);
        let null_branch = null_branch(schema, id);
        let Kind::Record(fields) = &schema.node(record.unwrap_or(id)).kind else { return None };
        let visits = fields.iter().map(|field| {
            let mut path = part.1.clone();
            path.push(field.name.clone());
            let inner = (part.0, path);
            let taken = all().any(|other| other.0 == inner.0 && other.1.starts_with(&inner.1));
            self.visit(schema, field.node, taken.then_some(&inner), shapes)
        });
        let cells = self.rows.reads.iter().enumerate().filter(|(_, other)| is_within(other));
        Some(Within {
            null_branch,
            fields: visits.collect(),
            cells: cells.map(|(place, _)| place).collect(),
        })
    }
}

/// Whether any row of a writer's schema can be read; some of its values might be, and others not.
fn readable(own: &Schema, written: &Schema) -> Result<()> {
    let findings = unreadable(own, &Reads::All, written, Direction::Backward)?;
    let Some(finding) = findings.first() else { return Ok(()) };
    Err(Error::new(ErrorKind::Incompatible, "read rows")
        .because("they were written with a schema that cannot be read as the plan's")
        .with("rule", finding.rule.name())
        .with("field", finding.field.as_deref().unwrap_or("/"))
        .with("written", &finding.writer)
        .with("read", &finding.reader)
        .help("apply the pipeline again, so that it takes the topic's new schema"))
}

/// The operation's letter behind a union's branch; nothing if it is null.
fn operation(cursor: &mut Cursor<'_>) -> Result<([u8; 1], usize)> {
    cursor.place(2)?;
    Ok(match cursor.run() {
        Ok(&[letter]) => ([letter], 1),
        _ => ([0], 0),
    })
}

/// The type of a part of a relation's rows.
pub(super) fn part_node(relation: &Relation, (column, names): &Part) -> Result<NodeId> {
    let lost = || Error::new(ErrorKind::Internal, "find a part of a row");
    relation.field_in(*column, names).map(|field| field.node).ok_or_else(lost)
}

/// The bytes of a field's default.
fn default_bytes(schema: &Schema, field: &Field) -> Result<Vec<u8>> {
    let no_default = || {
        Error::new(ErrorKind::Incompatible, "read rows")
            .because("the records lack a field that has no default")
            .with("field", &field.name)
    };
    let default = field.default.as_ref().ok_or_else(no_default)?;
    let mut definitions = Definitions::new("default");
    let of = definitions.type_json(schema, field.node);
    let record = |fields: Json| json!({"type": "record", "name": "default.Row", "fields": fields});
    let reader = record(json!([{"name": "field", "type": of, "default": default}]));
    let reader = Schema::parse(&reader.to_string())?;
    let writer = Schema::parse(&record(json!([])).to_string())?;
    let datum = Resolver::new(&writer, &reader)?.read(&[])?;
    let mut bytes = Vec::new();
    encode(&reader, &datum, &mut bytes)?;
    Ok(bytes)
}

/// Whether values of two types have the same bytes and the same meaning.
///
/// # Errors
///
/// `Unsupported` for decimals of different scales, which no reading makes alike.
pub(super) fn alike(
    writer: &Schema,
    written: NodeId,
    reader: &Schema,
    read: NodeId,
) -> Result<bool> {
    let mut pairs = vec![(written, read)];
    let mut known = BTreeSet::new();
    while let Some((written, read)) = pairs.pop() {
        if !known.insert((written, read)) {
            continue;
        }
        let (one, other) = (writer.node(written), reader.node(read));
        match (one.logical, other.logical) {
            (
                Some(Logical::Decimal { scale, .. }),
                Some(Logical::Decimal { scale: wanted, .. }),
            ) if scale != wanted => {
                return Err(other_scale(scale, wanted));
            }
            (Some(Logical::Decimal { .. }), Some(Logical::Decimal { .. })) => {}
            (one, other) if one != other => return Ok(false),
            _ => {}
        }
        match (&one.kind, &other.kind) {
            (Kind::Array(one), Kind::Array(other)) | (Kind::Map(one), Kind::Map(other)) => {
                pairs.push((*one, *other));
            }
            (Kind::Union(one), Kind::Union(other)) if one.len() == other.len() => {
                pairs.extend(one.iter().copied().zip(other.iter().copied()));
            }
            (Kind::Record(one), Kind::Record(other)) if one.len() == other.len() => {
                for (one, other) in one.iter().zip(other) {
                    if one.name != other.name {
                        return Ok(false);
                    }
                    pairs.push((one.node, other.node));
                }
            }
            (Kind::Enum { symbols: one, .. }, Kind::Enum { symbols: other, .. })
                if one == other => {}
            (Kind::Fixed(one), Kind::Fixed(other)) if one == other => {}
            (Kind::Enum { .. }, _) | (Kind::Fixed(_), _) => return Ok(false),
            (Kind::Union(_) | Kind::Record(_), _) => return Ok(false),
            (one, other) if std::mem::discriminant(one) == std::mem::discriminant(other) => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn other_scale(written: usize, read: usize) -> Error {
    Error::new(ErrorKind::Unsupported, "read rows")
        .because("a decimal was written with another scale")
        .with("written", written)
        .with("read", read)
        .help("apply the pipeline again, so that it takes the topic's new schema")
}
