//! A schema compiled for writing: one node a type, names resolved, defaults already bytes.

use super::union::{Branch, UnionPlan};
use crate::datum;
use crate::resolve::default_datum;
use crate::schema::{Field, Kind, Logical, NodeId, Schema};
use std::collections::HashMap;
use tidemesh_model::{Error, ErrorKind, Result};

/// A node's place in its plan.
pub(super) type Id = usize;

/// A field that is no part of the key.
pub(super) const NO_KEY: usize = usize::MAX;

/// How values of one type are written.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Boolean,
    Int(Option<Logical>),
    Long(Option<Logical>),
    Float,
    Double,
    /// Bytes, with a decimal's precision and scale.
    Bytes(Option<(usize, usize)>),
    String {
        uuid: bool,
    },
    Fixed(FixedPlan),
    Enum(EnumPlan),
    Array(Id),
    Map(Id),
    Record(RecordPlan),
    /// A union of null and one other type, in either order.
    Nullable {
        null: u8,
        value: u8,
        branch: Id,
    },
    Union(UnionPlan),
    /// A byte of bytes or fixed that are given as a sequence; no type of a schema.
    Byte,
}

/// A fixed number of bytes.
#[derive(Debug, Clone)]
pub(super) struct FixedPlan {
    pub(super) name: Box<str>,
    pub(super) size: usize,
    pub(super) logical: Option<Logical>,
}

/// One of several symbols.
#[derive(Debug, Clone)]
pub(super) struct EnumPlan {
    pub(super) name: Box<str>,
    pub(super) symbols: Box<[Box<str>]>,
    /// The symbols' places in the order of their text.
    sorted: Box<[usize]>,
}

/// Fields in order.
#[derive(Debug, Clone)]
pub(super) struct RecordPlan {
    pub(super) name: Box<str>,
    pub(super) fields: Box<[FieldPlan]>,
    /// The fields' places in the order of their names.
    sorted: Box<[usize]>,
}

/// One field of a record.
#[derive(Debug, Clone)]
pub(super) struct FieldPlan {
    pub(super) name: Box<str>,
    pub(super) node: Id,
    /// Its default as it is written.
    pub(super) default: Option<Box<[u8]>>,
    /// Its place in the key, or [`NO_KEY`].
    pub(super) key: usize,
}

/// Without its namespace.
fn simple(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, simple)| simple)
}

/// Whether `given`, a name in Rust, is that of the type `name`: in full, or without namespace.
pub(super) fn named(name: &str, given: &str) -> bool {
    name == given || simple(name) == given
}

impl EnumPlan {
    /// The place of a symbol.
    pub(super) fn place(&self, symbol: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|place| (*self.symbols[*place]).cmp(symbol));
        found.ok().map(|index| self.sorted[index])
    }
}

impl RecordPlan {
    /// The place of a field.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        let found = self.sorted.binary_search_by(|place| (*self.fields[*place].name).cmp(name));
        found.ok().map(|index| self.sorted[index])
    }
}

impl Node {
    /// The type as an error says it.
    #[cold]
    pub(super) fn describe(&self, nodes: &[Node]) -> String {
        match self {
            Self::Int(Some(logical)) => format!("{} (int)", logical_name(*logical)),
            Self::Long(Some(logical)) => format!("{} (long)", logical_name(*logical)),
            Self::Bytes(Some((precision, scale))) => format!("decimal({precision}, {scale})"),
            Self::String { uuid: true } => "uuid (string)".to_owned(),
            Self::Fixed(FixedPlan { name, size, logical: Some(logical) }) => {
                format!("{} (fixed {name} of {size} bytes)", logical_name(*logical))
            }
            Self::Fixed(fixed) => format!("fixed {} of {} bytes", fixed.name, fixed.size),
            Self::Enum(plan) => format!("enum {}", plan.name),
            Self::Record(plan) => format!("record {}", plan.name),
            Self::Array(items) => format!("array of {}", nodes[*items].type_name()),
            Self::Map(values) => format!("map of {}", nodes[*values].type_name()),
            Self::Nullable { branch, .. } => {
                format!("union of null and {}", nodes[*branch].type_name())
            }
            Self::Union(plan) => {
                let names: Vec<_> =
                    plan.branches.iter().map(|branch| nodes[branch.node].type_name()).collect();
                format!("union of {}", names.join(", "))
            }
            _ => self.type_name().to_owned(),
        }
    }

    /// The name by which a union's branch is known (specification 1.12, "JSON Encoding").
    pub(super) fn type_name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes(_) => "bytes",
            Self::String { .. } => "string",
            Self::Fixed(plan) => &plan.name,
            Self::Enum(plan) => &plan.name,
            Self::Record(plan) => &plan.name,
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Nullable { .. } | Self::Union(_) => "union",
            Self::Byte => "byte",
        }
    }

    /// Whether a Rust variant of the name `given` means this branch. Types without a name of their
    /// own are told without regard to case, as variants begin with a capital.
    pub(super) fn has_name(&self, given: &str) -> bool {
        match self {
            Self::Fixed(_) | Self::Enum(_) | Self::Record(_) => named(self.type_name(), given),
            _ => self.type_name().eq_ignore_ascii_case(given),
        }
    }
}

fn logical_name(logical: Logical) -> &'static str {
    match logical {
        Logical::Decimal { .. } => "decimal",
        Logical::Uuid => "uuid",
        Logical::Date => "date",
        Logical::TimeMillis => "time-millis",
        Logical::TimeMicros => "time-micros",
        Logical::TimestampMillis => "timestamp-millis",
        Logical::TimestampMicros => "timestamp-micros",
        Logical::TimestampNanos => "timestamp-nanos",
        Logical::LocalTimestampMillis => "local-timestamp-millis",
        Logical::LocalTimestampMicros => "local-timestamp-micros",
        Logical::LocalTimestampNanos => "local-timestamp-nanos",
        Logical::Duration => "duration",
    }
}

/// The nodes of `schema`, and which of them it begins with. Fields named in `key` are marked, at
/// the root alone: where the root's type stands within itself, it is another node.
pub(super) fn compile(schema: &Schema, key: &[&str]) -> Result<(Box<[Node]>, Id)> {
    let mut compiler = Compiler { schema, nodes: Vec::new(), known: HashMap::new() };
    let mut root = compiler.node(schema.root())?;
    if !key.is_empty() {
        let keyed = with_key(&compiler.nodes[root], key)?;
        root = compiler.nodes.len();
        compiler.nodes.push(Node::Record(keyed));
    }
    Ok((compiler.nodes.into(), root))
}

fn with_key(node: &Node, key: &[&str]) -> Result<RecordPlan> {
    let wrong = |message: &'static str| {
        Error::new(ErrorKind::Config, "choose an event's key").because(message)
    };
    let Node::Record(record) = node else {
        return Err(wrong("only a record has a key").with("type", node.type_name()));
    };
    let mut record = record.clone();
    for (place, name) in key.iter().enumerate() {
        let unknown =
            || wrong("the record has no such field").with("field", name).with("type", &record.name);
        let field = record.place(name).ok_or_else(unknown)?;
        if record.fields[field].key != NO_KEY {
            return Err(wrong("a field is named twice").with("field", name));
        }
        record.fields[field].key = place;
    }
    Ok(record)
}

struct Compiler<'s> {
    schema: &'s Schema,
    nodes: Vec<Node>,
    known: HashMap<NodeId, Id>,
}

impl Compiler<'_> {
    /// The node of a type. Its place is taken before it is compiled, since it may hold itself.
    fn node(&mut self, id: NodeId) -> Result<Id> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let place = self.nodes.len();
        self.nodes.push(Node::Null);
        self.known.insert(id, place);
        self.nodes[place] = self.compile(id)?;
        Ok(place)
    }

    fn compile(&mut self, id: NodeId) -> Result<Node> {
        let schema = self.schema;
        let node = schema.node(id);
        let name = || node.name.as_ref().map(ToString::to_string).unwrap_or_default().into();
        Ok(match &node.kind {
            Kind::Null => Node::Null,
            Kind::Boolean => Node::Boolean,
            Kind::Int => Node::Int(node.logical),
            Kind::Long => Node::Long(node.logical),
            Kind::Float => Node::Float,
            Kind::Double => Node::Double,
            Kind::Bytes => Node::Bytes(match node.logical {
                Some(Logical::Decimal { precision, scale }) => Some((precision, scale)),
                _ => None,
            }),
            Kind::String => Node::String { uuid: node.logical == Some(Logical::Uuid) },
            Kind::Fixed(size) => {
                Node::Fixed(FixedPlan { name: name(), size: *size, logical: node.logical })
            }
            Kind::Enum { symbols, .. } => Node::Enum(EnumPlan {
                name: name(),
                symbols: symbols.iter().map(|symbol| symbol.as_str().into()).collect(),
                sorted: sorted(symbols.len(), |place| symbols[place].as_str()),
            }),
            Kind::Array(items) => Node::Array(self.node(*items)?),
            Kind::Map(values) => Node::Map(self.node(*values)?),
            Kind::Union(branches) => self.union(branches)?,
            Kind::Record(fields) => Node::Record(RecordPlan {
                name: name(),
                fields: fields.iter().map(|field| self.field(field)).collect::<Result<_>>()?,
                sorted: sorted(fields.len(), |place| fields[place].name.as_str()),
            }),
        })
    }

    fn field(&mut self, field: &Field) -> Result<FieldPlan> {
        let default = match &field.default {
            None => None,
            Some(json) => {
                let within = |error: Error| error.with("field", &field.name);
                let datum = default_datum(self.schema, field.node, json).map_err(within)?;
                let mut bytes = Vec::new();
                datum::encode(&self.schema.at(field.node), &datum, &mut bytes).map_err(within)?;
                Some(bytes.into())
            }
        };
        let node = self.node(field.node)?;
        Ok(FieldPlan { name: field.name.as_str().into(), node, default, key: NO_KEY })
    }

    fn union(&mut self, branches: &[NodeId]) -> Result<Node> {
        let null = |id: &NodeId| matches!(self.schema.node(*id).kind, Kind::Null);
        match branches {
            [first, second] if null(first) => {
                return Ok(Node::Nullable { null: 0, value: 2, branch: self.node(*second)? });
            }
            [first, second] if null(second) => {
                return Ok(Node::Nullable { null: 2, value: 0, branch: self.node(*first)? });
            }
            _ => {}
        }
        let records = |id: &&NodeId| matches!(self.schema.node(**id).kind, Kind::Record(_));
        let several_records = branches.iter().filter(records).count() > 1;
        let branches = branches
            .iter()
            .map(|id| Ok(Branch { node: self.node(*id)? }))
            .collect::<Result<_>>()?;
        Ok(Node::Union(UnionPlan { branches, several_records }))
    }
}

fn sorted<'n>(count: usize, name: impl Fn(usize) -> &'n str) -> Box<[usize]> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_unstable_by_key(|place| name(*place));
    places.into()
}
