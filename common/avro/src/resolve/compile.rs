//! From two schemas to the steps between them.

use super::default;
use super::{FieldNames, FieldStep, Leaf, Program, RESOLVER_WORK_MAX, Step, StepId, Template};
use crate::compat::{Checker, WriterField, names_match, writer_fields};
use crate::datum::Datum;
use crate::schema::{Field, Kind, NodeId, SCHEMA_DEPTH_MAX, Schema};
use std::collections::HashMap;
use std::mem::discriminant;
use tidemesh_model::{Error, ErrorKind, Result};

/// The deepest nesting of pairs: twice that of the deepest schema, which is three a type.
const DEPTH_MAX: usize = 6 * SCHEMA_DEPTH_MAX;

const OPERATION: &str = "resolve a writer's schema";

/// What becomes of a pair of types that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It makes the record around it unreadable, and, at the root, the pair of schemas an error.
    Strict,
    /// It fails when data reaches it, and not before.
    Lenient,
}

pub(super) fn compile(writer: &Schema, reader: &Schema, mode: Mode) -> Result<(Program, Known)> {
    let mut compiler = Compiler {
        mode,
        writer,
        reader,
        checker: Checker::new(reader, writer),
        names: FieldNames::default(),
        steps: Vec::new(),
        known: HashMap::new(),
        depth: 0,
        work: 0,
    };
    let root = compiler.pair(writer.root(), reader.root())?;
    if let (Mode::Strict, Some(why)) = (mode, compiler.unreadable(root)) {
        return Err(Error::new(ErrorKind::Incompatible, OPERATION)
            .because(why)
            .help("give the reader a schema that is compatible with the writer's"));
    }
    let steps = compiler.steps.into_iter().flatten().collect();
    Ok((Program { writer: writer.clone(), steps, root }, compiler.known))
}

/// The step of each pair of a writer's and a reader's type.
pub(super) type Known = HashMap<(NodeId, NodeId), StepId>;

struct Compiler<'s> {
    mode: Mode,
    writer: &'s Schema,
    reader: &'s Schema,
    checker: Checker<'s>,
    names: FieldNames,
    /// None while a step is being compiled; all are there in the end.
    steps: Vec<Option<Step>>,
    known: Known,
    depth: usize,
    work: usize,
}

impl Compiler<'_> {
    fn too_large(message: &str) -> Error {
        Error::new(ErrorKind::TooLarge, OPERATION)
            .because(message)
            .with("resolver_work_max", RESOLVER_WORK_MAX)
            .with("depth_max", DEPTH_MAX)
    }

    /// Counts what is compared or kept against the limit.
    fn charge(&mut self, work: usize) -> Result<()> {
        self.work = self.work.saturating_add(work);
        if self.work <= RESOLVER_WORK_MAX {
            return Ok(());
        }
        Err(Self::too_large("the schemas have too many pairs of types"))
    }

    fn pair(&mut self, writer: NodeId, reader: NodeId) -> Result<StepId> {
        if let Some(step) = self.known.get(&(writer, reader)) {
            return Ok(*step);
        }
        if self.depth >= DEPTH_MAX {
            return Err(Self::too_large("the schemas are nested too deep"));
        }
        let parts = parts(&self.writer.node(writer).kind) + parts(&self.reader.node(reader).kind);
        self.charge(1 + parts)?;
        let id = self.steps.len();
        self.steps.push(None);
        self.known.insert((writer, reader), id);
        self.depth += 1;
        let step = self.step(writer, reader)?;
        self.depth -= 1;
        self.steps[id] = Some(step);
        Ok(id)
    }

    fn unreadable(&self, step: StepId) -> Option<&str> {
        match &self.steps[step] {
            Some(Step::Unreadable(why)) => Some(why),
            _ => None,
        }
    }

    fn step(&mut self, writer: NodeId, reader: NodeId) -> Result<Step> {
        let (read, written) = (self.reader, self.writer);
        let (r, w) = (&read.node(reader).kind, &written.node(writer).kind);
        Ok(match (w, r) {
            (Kind::Union(branches), _) => self.choice(branches, reader)?,
            (_, Kind::Union(branches)) => self.branch(writer, branches)?,
            (Kind::Array(w), Kind::Array(r)) => Step::Array(self.pair(*w, *r)?),
            (Kind::Map(w), Kind::Map(r)) => Step::Map(self.pair(*w, *r)?),
            _ if discriminant(w) != discriminant(r) => self.leaf(promotion(w, r), writer, reader),
            _ if !names_match(read.node(reader), written.node(writer)) => {
                self.misfit(writer, reader)
            }
            (Kind::Fixed(w), Kind::Fixed(r)) if w == r => Step::Leaf(Leaf::Fixed(*w)),
            (Kind::Enum { symbols: w, .. }, Kind::Enum { symbols, default }) => {
                symbols_step(w, symbols, default.as_ref())
            }
            (Kind::Record(w), Kind::Record(r)) => {
                self.record(w, r, reader, written.same_node(writer, read, reader))?
            }
            _ => self.leaf(same(w), writer, reader),
        })
    }

    fn leaf(&self, leaf: Option<Leaf>, writer: NodeId, reader: NodeId) -> Step {
        leaf.map_or_else(|| self.misfit(writer, reader), Step::Leaf)
    }

    fn misfit(&self, writer: NodeId, reader: NodeId) -> Step {
        let shown = |schema: &Schema, id: NodeId| {
            let node = schema.node(id);
            let kind = node.type_name().to_lowercase();
            match &node.name {
                Some(name) => format!("{kind} {name}"),
                None => kind,
            }
        };
        let (written, read) = (shown(self.writer, writer), shown(self.reader, reader));
        Step::Unreadable(format!("the reader's {read} cannot take the writer's {written}"))
    }

    /// The writer's union: it is unreadable only if all of its branches are. Leniently each branch
    /// keeps its own reason.
    fn choice(&mut self, branches: &[NodeId], reader: NodeId) -> Result<Step> {
        let steps: Vec<StepId> =
            branches.iter().map(|branch| self.pair(*branch, reader)).collect::<Result<_>>()?;
        let all_unreadable =
            self.mode == Mode::Strict && steps.iter().all(|step| self.unreadable(*step).is_some());
        Ok(match steps.first().and_then(|step| self.unreadable(*step)) {
            Some(why) if all_unreadable => Step::Unreadable(why.to_owned()),
            _ => Step::Choice(steps),
        })
    }

    fn branch(&mut self, writer: NodeId, branches: &[NodeId]) -> Result<Step> {
        let Some(branch) = self.best_branch(writer, branches) else {
            let kind = self.writer.node(writer).type_name().to_lowercase();
            return Ok(Step::Unreadable(format!(
                "no branch of the reader's union takes the writer's {kind}"
            )));
        };
        let value = self.pair(writer, branches[branch])?;
        Ok(match self.unreadable(value) {
            Some(why) => Step::Unreadable(why.to_owned()),
            None => Step::Branch(value),
        })
    }

    /// The branch of a reader's union that takes the writer's type; see the module's rules.
    fn best_branch(&mut self, writer: NodeId, branches: &[NodeId]) -> Option<usize> {
        let (reader, written) = (self.reader, self.writer.node(writer));
        let node = |place: usize| reader.node(branches[place]);
        let (alike, others): (Vec<usize>, Vec<usize>) = (0..branches.len()).partition(|place| {
            let read = node(*place);
            discriminant(&read.kind) == discriminant(&written.kind) && names_match(read, written)
        });
        let same_name = |places: &[usize]| {
            places.iter().copied().find(|place| node(*place).name == written.name)
        };
        let mut readable = |place: &usize| self.checker.readable(branches[*place], writer);
        let whole: Vec<usize> = alike.iter().copied().filter(&mut readable).collect();
        same_name(&whole)
            .or_else(|| whole.first().copied())
            .or_else(|| others.into_iter().find(readable))
            .or_else(|| same_name(&alike))
            .or_else(|| alike.first().copied())
    }

    /// A record that is read as itself takes its own fields: its aliases are of no concern, as in
    /// Java's `Schema.applyAliases`.
    fn record(
        &mut self,
        written: &[Field],
        read: &[Field],
        reader: NodeId,
        same: bool,
    ) -> Result<Step> {
        let names = self.names.of(self.reader, reader);
        let mut template: Vec<_> = names.iter().map(|name| (name.clone(), Datum::Null)).collect();
        let mut fields: Vec<FieldStep> = written.iter().map(FieldStep::new).collect();
        let mut weight = 0;
        let sources = writer_fields(read, written)
            .enumerate()
            .map(|(place, source)| if same { WriterField::One(place) } else { source });
        for (place, (field, source)) in read.iter().zip(sources).enumerate() {
            match (source, &field.default) {
                (WriterField::One(source), _) => {
                    let step = self.pair(written[source].node, field.node)?;
                    if let (Mode::Strict, Some(why)) = (self.mode, self.unreadable(step)) {
                        return Ok(Step::Unreadable(format!("{why}, in field {}", field.name)));
                    }
                    fields[source].taken_by.push((place, step));
                }
                (WriterField::None, Some(json)) => {
                    let (datum, values) =
                        default::datum(self.reader, &mut self.names, field.node, json)
                            .map_err(|error| error.with("field", &field.name))?;
                    self.charge(values)?;
                    weight += values;
                    template[place].1 = datum;
                }
                (source, _) => return Ok(no_source(field, source)),
            }
        }
        Ok(Step::Record { fields, template: Template { fields: template, weight } })
    }
}

/// Why a reader's field has no data.
fn no_source(field: &Field, source: WriterField) -> Step {
    let name = &field.name;
    Step::Unreadable(match source {
        WriterField::Several => {
            format!("the name and aliases of the reader's field {name} fit several of the writer's")
        }
        _ => format!("the writer has no field {name}, and the reader's has no default"),
    })
}

/// How many parts of a type a step of it must look at.
fn parts(kind: &Kind) -> usize {
    match kind {
        Kind::Union(branches) => branches.len(),
        Kind::Record(fields) => fields.len(),
        Kind::Enum { symbols, .. } => symbols.len(),
        _ => 0,
    }
}

/// How a type that holds no others is read as itself.
fn same(kind: &Kind) -> Option<Leaf> {
    Some(match kind {
        Kind::Null => Leaf::Null,
        Kind::Boolean => Leaf::Boolean,
        Kind::Int => Leaf::Int,
        Kind::Long => Leaf::Long,
        Kind::Float => Leaf::Float,
        Kind::Double => Leaf::Double,
        Kind::Bytes => Leaf::Bytes,
        Kind::String => Leaf::String,
        _ => return None,
    })
}

fn promotion(written: &Kind, read: &Kind) -> Option<Leaf> {
    Some(match (written, read) {
        (Kind::Int, Kind::Long) => Leaf::IntToLong,
        (Kind::Int, Kind::Float) => Leaf::IntToFloat,
        (Kind::Int, Kind::Double) => Leaf::IntToDouble,
        (Kind::Long, Kind::Float) => Leaf::LongToFloat,
        (Kind::Long, Kind::Double) => Leaf::LongToDouble,
        (Kind::Float, Kind::Double) => Leaf::FloatToDouble,
        // Text is UTF-8 on both ways.
        (Kind::Bytes, Kind::String) => Leaf::String,
        (Kind::String, Kind::Bytes) => Leaf::StringToBytes,
        _ => return None,
    })
}

fn symbols_step(written: &[String], read: &[String], default: Option<&String>) -> Step {
    let known: HashMap<&str, &String> =
        read.iter().map(|symbol| (symbol.as_str(), symbol)).collect();
    let symbols =
        written.iter().map(|symbol| known.get(symbol.as_str()).copied().or(default).cloned());
    Step::Enum(symbols.collect())
}
