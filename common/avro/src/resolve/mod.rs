//! Schema resolution: data of a writer's schema as data of a reader's (specification 1.12, "Schema
//! Resolution"). Compiled once for a pair of schemas, then run for each datum.
//!
//! Where the specification leaves room: named types match by their name without namespace or by a
//! reader's alias, as `compat` judges them. A field of the reader takes the writer's field of its
//! name or of one of its aliases; that it could take several is refused, as Avro Java does. Of a
//! reader's union the branch is taken that has the writer's full name, else the first of the
//! writer's own type that can read all of its data, else the first by promotion (so Avro Java takes
//! the int of `["double","int"]`). What `compat` finds compatible can be read here.
//!
//! Absent here: logical types. A decimal of another scale is read as its bytes, as Java does.

mod breaks;
mod compile;
mod default;

pub(crate) use breaks::{Break, LenientPlan};
pub use default::DEFAULT_VALUES_MAX;

use crate::datum::Datum;
use crate::datum::read::{Reader, payload_weight};
use crate::schema::{Field, Kind, NodeId, Schema};
use compile::Mode;
use std::collections::HashMap;
use std::sync::Arc;
use tidemesh_model::{ErrorKind, Result};

/// The most that one resolver may hold: pairs of types, their fields, branches and symbols, and the
/// values of defaults.
pub const RESOLVER_WORK_MAX: usize = 4_000_000;

/// Reads data of a writer's schema as data of a reader's. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resolver {
    program: Arc<Program>,
}

#[derive(Debug)]
struct Program {
    writer: Schema,
    steps: Vec<Step>,
    root: StepId,
}

/// The datum that a field's default stands for, of the type at `id`.
///
/// # Errors
///
/// `Malformed` for a default that is not of the type; `TooLarge` for one past a limit.
pub(crate) fn default_datum(
    schema: &Schema,
    id: NodeId,
    default: &serde_json::Value,
) -> Result<Datum> {
    default::datum(schema, &mut FieldNames::default(), id, default).map(|(datum, _)| datum)
}

type StepId = usize;

/// How one type of the writer becomes one of the reader.
#[derive(Debug)]
enum Step {
    /// A value that holds no others.
    Leaf(Leaf),
    /// For each of the writer's symbols the reader's.
    Enum(Vec<Option<String>>),
    Array(StepId),
    Map(StepId),
    Record {
        /// The writer's fields, in order.
        fields: Vec<FieldStep>,
        template: Template,
    },
    /// The writer's union: each branch by its own step.
    Choice(Vec<StepId>),
    /// The reader's union alone: always one branch.
    Branch(StepId),
    /// Data that stands here cannot be read, for this reason.
    Unreadable(String),
}

/// How a value that holds no others is read, and what it becomes.
#[derive(Debug, Clone, Copy)]
enum Leaf {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    IntToLong,
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
    StringToBytes,
}

/// A reader's record before data takes the places of nulls; what has a default is there already.
#[derive(Debug)]
struct Template {
    fields: Vec<(Arc<str>, Datum)>,
    /// How many values the defaults are.
    weight: usize,
}

/// What becomes of one of the writer's fields.
#[derive(Debug)]
struct FieldStep {
    name: String,
    node: NodeId,
    /// The reader's fields that take it; none if it is skipped, several only by aliases.
    taken_by: Vec<(usize, StepId)>,
}

impl FieldStep {
    fn new(field: &Field) -> Self {
        Self { name: field.name.clone(), node: field.node, taken_by: Vec::new() }
    }
}

/// The names of records' fields, made once for all data.
#[derive(Debug, Default)]
struct FieldNames(HashMap<NodeId, Arc<[Arc<str>]>>);

impl FieldNames {
    /// The names of the fields of the record at `id`.
    fn of(&mut self, schema: &Schema, id: NodeId) -> Arc<[Arc<str>]> {
        let make = || match &schema.node(id).kind {
            Kind::Record(fields) => fields.iter().map(|field| field.name.as_str().into()).collect(),
            _ => Arc::from([]),
        };
        self.0.entry(id).or_insert_with(make).clone()
    }
}

impl Resolver {
    /// Compiles the way from `writer` to `reader`.
    ///
    /// # Errors
    ///
    /// `Incompatible` if no data of the writer can be read, with the first reason. Where some can
    /// (a branch that the data may not take, a list that may be empty), the data is refused when it
    /// comes; [`crate::compat::incompatibilities`] tells beforehand. `TooLarge` past
    /// [`RESOLVER_WORK_MAX`], [`DEFAULT_VALUES_MAX`] or a depth; `Malformed` for a default that is
    /// not of its field's type.
    pub fn new(writer: &Schema, reader: &Schema) -> Result<Self> {
        let (program, _) = compile::compile(writer, reader, Mode::Strict)?;
        Ok(Self { program: Arc::new(program) })
    }

    /// As [`Resolver::new`], but what cannot be read fails only when data reaches it, as in Avro
    /// Java's `ResolvingDecoder`: a pair of schemas is never refused as a whole. It answers whether
    /// *this* datum can be read, and where not, down to the field.
    ///
    /// # Errors
    ///
    /// As [`Resolver::new`], without `Incompatible`.
    pub fn lenient(writer: &Schema, reader: &Schema) -> Result<Self> {
        let (program, _) = compile::compile(writer, reader, Mode::Lenient)?;
        Ok(Self { program: Arc::new(program) })
    }

    /// A lenient resolver, and for each of its steps the writer's type that it reads.
    pub(crate) fn lenient_with_types(writer: &Schema, reader: &Schema) -> Result<LenientPlan> {
        let (program, known) = compile::compile(writer, reader, Mode::Lenient)?;
        let mut types = vec![writer.root(); program.steps.len()];
        for ((written, _), step) in known {
            types[step] = written;
        }
        Ok(LenientPlan { resolver: Self { program: Arc::new(program) }, types })
    }

    /// Decodes `bytes`, all of them, and gives the datum in the reader's schema.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not of the writer's schema or left over, with the field's
    /// path; `Incompatible` for data that the reader's schema has no place for; `TooLarge` past
    /// [`crate::datum::DATA_DEPTH_MAX`] or [`crate::datum::VALUES_PER_BYTE_MAX`].
    pub fn read(&self, bytes: &[u8]) -> Result<Datum> {
        let mut reader = Reader::new(&self.program.writer, bytes);
        let datum = self.program.value(self.program.root, &mut reader)?;
        reader.end()?;
        Ok(datum)
    }
}

impl Program {
    fn value<'p>(&'p self, step: StepId, reader: &mut Reader<'p, '_>) -> Result<Datum> {
        reader.nested(|reader| self.value_inside(step, reader))
    }

    fn value_inside<'p>(&'p self, step: StepId, reader: &mut Reader<'p, '_>) -> Result<Datum> {
        match &self.steps[step] {
            Step::Enum(symbols) => symbol(symbols, reader),
            Step::Array(items) => self.array(*items, reader),
            Step::Map(values) => self.map(*values, reader),
            Step::Record { fields, template } => self.record(fields, template, reader),
            Step::Choice(branches) => {
                let branch = reader.place(branches.len(), "branch")?;
                self.value_inside(branches[branch], reader)
            }
            Step::Branch(value) => self.value_inside(*value, reader),
            Step::Unreadable(why) => Err(reader.error(ErrorKind::Incompatible, why.as_str())),
            Step::Leaf(leaf) => leaf.read(reader),
        }
    }

    fn array<'p>(&'p self, items: StepId, reader: &mut Reader<'p, '_>) -> Result<Datum> {
        let mut elements = Vec::new();
        reader.blocks(|reader| {
            elements.push(self.value(items, reader)?);
            Ok(())
        })?;
        Ok(Datum::Array(elements))
    }

    fn map<'p>(&'p self, values: StepId, reader: &mut Reader<'p, '_>) -> Result<Datum> {
        let mut entries = Vec::new();
        reader.blocks(|reader| {
            let key = reader.text()?.to_owned();
            entries.push((key, self.value(values, reader)?));
            Ok(())
        })?;
        Ok(Datum::Map(entries))
    }

    fn record<'p>(
        &'p self,
        fields: &'p [FieldStep],
        template: &Template,
        reader: &mut Reader<'p, '_>,
    ) -> Result<Datum> {
        reader.charge(template.weight)?;
        let mut values = template.fields.clone();
        for field in fields {
            reader.field(&field.name, |reader| self.field(field, &mut values, reader))?;
        }
        Ok(Datum::Record(values))
    }

    /// Skips a field of the writer, or puts it where it belongs.
    fn field<'p>(
        &'p self,
        field: &'p FieldStep,
        values: &mut [(Arc<str>, Datum)],
        reader: &mut Reader<'p, '_>,
    ) -> Result<()> {
        if field.taken_by.is_empty() {
            return reader.skip(field.node);
        }
        let start = reader.rest();
        for (place, step) in &field.taken_by {
            reader.rewind(start);
            values[*place].1 = self.value(*step, reader)?;
        }
        Ok(())
    }
}

impl Leaf {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the specification promotes whole numbers to the nearest float or double"
    )]
    fn read(self, reader: &mut Reader<'_, '_>) -> Result<Datum> {
        Ok(match self {
            Self::Null => Datum::Null,
            Self::Boolean => Datum::Boolean(reader.boolean()?),
            Self::Int => Datum::Int(reader.int()?),
            Self::Long => Datum::Long(reader.long()?),
            Self::Float => Datum::Float(reader.float()?),
            Self::Double => Datum::Double(reader.double()?),
            Self::Bytes => Datum::Bytes(reader.run()?.to_vec()),
            Self::String => Datum::String(reader.text()?.to_owned()),
            Self::StringToBytes => Datum::Bytes(reader.text()?.as_bytes().to_vec()),
            Self::Fixed(size) => Datum::Fixed(reader.take(size)?.to_vec()),
            Self::IntToLong => Datum::Long(i64::from(reader.int()?)),
            Self::IntToFloat => Datum::Float(reader.int()? as f32),
            Self::IntToDouble => Datum::Double(f64::from(reader.int()?)),
            Self::LongToFloat => Datum::Float(reader.long()? as f32),
            Self::LongToDouble => Datum::Double(reader.long()? as f64),
            Self::FloatToDouble => Datum::Double(f64::from(reader.float()?)),
        })
    }
}

fn symbol(symbols: &[Option<String>], reader: &mut Reader<'_, '_>) -> Result<Datum> {
    let place = reader.place(symbols.len(), "symbol")?;
    let Some(symbol) = &symbols[place] else {
        let message = "the reader's enum has not the writer's symbol, nor a default";
        return Err(reader.error(ErrorKind::Incompatible, message));
    };
    reader.charge(payload_weight(symbol.len()))?;
    Ok(Datum::Enum(symbol.clone()))
}

#[cfg(test)]
mod tests;
