//! What an input record says: which operation, the rows before and after, and what is passed on beside
//! them.

use super::cursor::{Cursor, ShapeId, Shapes};
use super::row::{RowReader, Rows};
use std::ops::Range;
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Operation, Result};
use tidemesh_plan::relation::{Form, Relation};
use tidemesh_plan::sql::types::{null_branch, nullable_branch};

/// The operation of Debezium's letter; none for one that is about no row.
fn operation_of(code: &[u8]) -> Option<Operation> {
    Some(match code {
        b"r" => Operation::Read,
        b"c" => Operation::Create,
        b"u" => Operation::Update,
        b"d" => Operation::Delete,
        b"t" => Operation::Truncate,
        _ => return None,
    })
}

/// A record's value, read.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    /// The operation; none where the record does not tell.
    pub(super) operation: Option<Operation>,
    /// The row before, by its place among the rows, and where it stands.
    pub(super) before: Option<(usize, Range<usize>)>,
    /// The row after.
    pub(super) after: Option<usize>,
    /// Where the `source` block stands.
    pub(super) source: Option<Range<usize>>,
    /// Where `ts_ms`, `ts_us` and `ts_ns` of the envelope stand.
    pub(super) clock: [Option<Range<usize>>; 3],
}

/// Reads values of one writer's schema.
#[derive(Debug)]
pub(super) struct ValueReader {
    rows: RowReader,
    layout: Layout,
}

#[derive(Debug)]
enum Layout {
    /// The row is all there is.
    Row,
    Envelope {
        shapes: Shapes,
        fields: Vec<Member>,
        /// The row's fields: where null stands in each, and its shape.
        row: Vec<(Option<usize>, ShapeId)>,
    },
}

/// One of an envelope's fields.
#[derive(Debug)]
struct Member {
    what: What,
    shape: ShapeId,
    /// The branch of null, and how many there are; none for a field that is no union.
    null: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Before,
    After,
    Source,
    Operation,
    Clock(usize),
    Other,
}

impl What {
    fn of(name: &str) -> Self {
        match name {
            "before" => Self::Before,
            "after" => Self::After,
            "source" => Self::Source,
            "op" => Self::Operation,
            "ts_ms" => Self::Clock(0),
            "ts_us" => Self::Clock(1),
            "ts_ns" => Self::Clock(2),
            _ => Self::Other,
        }
    }
}

#[cold]
fn not_of_its_form(message: &'static str) -> Error {
    Error::new(ErrorKind::Incompatible, "read a topic's records").because(message)
}

impl ValueReader {
    /// A reader of values that were written with `schema`, for a topic whose rows are `relation`'s.
    ///
    /// # Errors
    ///
    /// `Incompatible` for a schema whose rows cannot be read as the relation's.
    pub(super) fn new(relation: &Relation, rows: &Rows, schema: &Schema) -> Result<Self> {
        if relation.form != Form::Envelope {
            let rows = RowReader::new(relation, rows, schema, schema.root())?;
            return Ok(Self { rows, layout: Layout::Row });
        }
        let Kind::Record(fields) = &schema.node(schema.root()).kind else {
            return Err(not_of_its_form("a value is no envelope"));
        };
        let after = fields.iter().find(|field| field.name == "after");
        let row = after.and_then(|field| nullable_branch(schema, field.node));
        let row = row.ok_or_else(|| not_of_its_form("a value is no envelope"))?;
        let mut shapes = Shapes::default();
        let member = |field: &Field| Member {
            what: What::of(&field.name),
            shape: shapes.add(schema, field.node),
            null: null_of(schema, field.node),
        };
        let members = fields.iter().map(member).collect();
        let Kind::Record(columns) = &schema.node(row).kind else {
            return Err(not_of_its_form("an envelope's rows are no records"));
        };
        let columns = columns
            .iter()
            .map(|field| (null_branch(schema, field.node), shapes.add(schema, field.node)))
            .collect();
        let rows = RowReader::new(relation, rows, schema, row)?;
        Ok(Self { rows, layout: Layout::Envelope { shapes, fields: members, row: columns } })
    }

    /// Reads the value at the cursor, which ends the bytes.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not of the schema: rows may have been added then.
    #[inline]
    pub(super) fn read(&self, cursor: &mut Cursor<'_>, rows: &mut Rows) -> Result<Image> {
        let mut image = Image::default();
        match &self.layout {
            Layout::Row => {
                image.after = Some(rows.count());
                rows.add(&self.rows, cursor)?;
                image.operation = rows.operation().and_then(operation_of);
            }
            Layout::Envelope { shapes, fields, .. } => {
                for member in fields {
                    self.member(shapes, member, cursor, rows, &mut image)?;
                }
            }
        }
        if cursor.is_at_end() { Ok(image) } else { Err(cursor.wrong("bytes are left over")) }
    }

    #[inline]
    fn member(
        &self,
        shapes: &Shapes,
        member: &Member,
        cursor: &mut Cursor<'_>,
        rows: &mut Rows,
        image: &mut Image,
    ) -> Result<()> {
        let start = cursor.at();
        match member.what {
            What::Before | What::After => {
                if let Some((null, count)) = member.null
                    && cursor.place(count)? == null
                {
                    return Ok(());
                }
                let (row, row_start) = (rows.count(), cursor.at());
                rows.add(&self.rows, cursor)?;
                match member.what {
                    What::Before => image.before = Some((row, row_start..cursor.at())),
                    _ => image.after = Some(row),
                }
            }
            What::Operation => {
                if let Some((null, count)) = member.null
                    && cursor.place(count)? == null
                {
                    return Ok(());
                }
                image.operation = operation_of(cursor.run()?);
            }
            What::Source => {
                cursor.skip(shapes, member.shape)?;
                image.source = Some(start..cursor.at());
            }
            What::Clock(place) => {
                cursor.skip(shapes, member.shape)?;
                // Only `["null","long"]` is passed on as it is.
                image.clock[place] = (member.null == Some((0, 2))).then(|| start..cursor.at());
            }
            What::Other => cursor.skip(shapes, member.shape)?,
        }
        Ok(())
    }

    /// Whether a row before holds nothing but its key: all that may be null is. What a table's log has
    /// of an old row is often no more, and then says nothing of a filter.
    ///
    /// # Errors
    ///
    /// As [`ValueReader::read`].
    pub(super) fn only_key(&self, bytes: &[u8], row: &Range<usize>) -> Result<bool> {
        let Layout::Envelope { shapes, row: columns, .. } = &self.layout else { return Ok(false) };
        let mut cursor = Cursor::new(bytes, row.start);
        for (null, shape) in columns {
            let is_null = match null {
                Some(null) => cursor.clone().long()? == i64::try_from(*null).unwrap_or(i64::MAX),
                None => true,
            };
            if !is_null {
                return Ok(false);
            }
            cursor.skip(shapes, *shape)?;
        }
        // A table of nothing but a key is known whole.
        Ok(columns.iter().any(|(null, _)| null.is_some()))
    }
}

/// Where null stands in a union, and how many branches it has.
fn null_of(schema: &Schema, id: NodeId) -> Option<(usize, usize)> {
    let Kind::Union(branches) = &schema.node(id).kind else { return None };
    Some((null_branch(schema, id)?, branches.len()))
}

/// How the `source` blocks of one writer become those of the output.
#[derive(Debug)]
pub(super) enum SourceWay {
    /// Their bytes are passed on.
    Copy,
    /// They are of another version of the block.
    Resolve(Box<(Resolver, Schema)>),
}

/// The type of an envelope's `source` block.
pub(super) fn source_of(schema: &Schema) -> Option<Schema> {
    let Kind::Record(fields) = &schema.node(schema.root()).kind else { return None };
    let source = fields.iter().find(|field| field.name == "source")?;
    Some(schema.at(source.node))
}
