//! Avro schemas: parsed once into an arena in which every name is resolved.
//!
//! The parser is ours because the registry's contract is Avro Java's: it must accept what Java
//! accepts (empty unions, Unicode letters in names), keep the order of unknown properties, and
//! print a schema as Java's `Schema.toString()` does, by which Confluent's registry tells whether
//! two schemas are the same. `apache-avro` does not keep what that needs; it is the oracle in the
//! tests.

mod parse;
mod pointer;
mod short;
mod text;

pub(crate) use pointer::Definitions;
pub use short::SHORT_TYPE_BYTES_MAX;

use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tidemesh_model::Result;

/// The most bytes of one schema's text.
pub const SCHEMA_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The deepest nesting of a schema.
pub const SCHEMA_DEPTH_MAX: usize = 64;

/// A node's place in its schema's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The id of the node that a list of so many gets next; none if there are too many.
    pub(crate) fn next(count: usize) -> Option<Self> {
        u32::try_from(count).ok().map(Self)
    }

    /// Its place in the list.
    pub(crate) fn place(self) -> usize {
        self.0 as usize
    }
}

/// A parsed schema. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema {
    arena: Arc<Arena>,
    root: NodeId,
    /// It as it is printed, once it was: whoever judges many schemas asks for that again and again.
    printed: Arc<OnceLock<String>>,
}

#[derive(Debug, Default)]
struct Arena {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

/// A full name: its parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name without its namespace.
    pub name: String,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
}

/// One type within a schema.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// A named type's name.
    pub name: Option<Name>,
    /// A named type's aliases.
    pub aliases: Vec<Name>,
    /// A named type's documentation.
    pub doc: Option<String>,
    /// The logical type, where it is known and fits the type.
    pub logical: Option<Logical>,
    /// All other attributes, in their order; `logicalType` and its parameters are among them.
    pub properties: Map<String, Json>,
}

/// What a type is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Boolean,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// binary32.
    Float,
    /// binary64.
    Double,
    /// Bytes.
    Bytes,
    /// UTF-8.
    String,
    /// Many of one type.
    Array(NodeId),
    /// Many of one type, by text.
    Map(NodeId),
    /// One of several types.
    Union(Vec<NodeId>),
    /// Fields in order.
    Record(Vec<Field>),
    /// One of several symbols.
    Enum {
        /// The symbols in order.
        symbols: Vec<String>,
        /// The one a reader takes for a symbol that it does not know.
        default: Option<String>,
    },
    /// A fixed number of bytes.
    Fixed(usize),
}

/// A record's field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub node: NodeId,
    /// Its default, as JSON.
    pub default: Option<Json>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Names it had.
    pub aliases: Vec<String>,
    /// Its sort order, if it is not ascending.
    pub order: Option<String>,
    /// All other attributes, in their order.
    pub properties: Map<String, Json>,
}

/// A logical type that fits its type (specification 1.12, "Logical Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    /// On bytes or fixed.
    Decimal {
        /// Digits.
        precision: usize,
        /// Digits behind the point.
        scale: usize,
    },
    /// On string or fixed(16).
    Uuid,
    /// On int.
    Date,
    /// On int.
    TimeMillis,
    /// On long.
    TimeMicros,
    /// On long.
    TimestampMillis,
    /// On long.
    TimestampMicros,
    /// On long.
    TimestampNanos,
    /// On long.
    LocalTimestampMillis,
    /// On long.
    LocalTimestampMicros,
    /// On long.
    LocalTimestampNanos,
    /// On fixed(12).
    Duration,
}

impl Schema {
    /// Parses a schema.
    ///
    /// # Errors
    ///
    /// `Malformed`, with the place and the reason.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_with_references(text, &[])
    }

    /// Parses a schema that may use the named types of others, given as text in an order in which
    /// each only uses those before it.
    ///
    /// # Errors
    ///
    /// `Malformed`, with the place and the reason.
    pub fn parse_with_references(text: &str, references: &[&str]) -> Result<Self> {
        parse::parse(text, references)
    }

    /// The type the schema begins with.
    #[must_use]
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The node at `id`, which must come from this schema.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.arena.nodes[id.0 as usize]
    }

    /// A schema of nodes that are made. Names are as the nodes say: two may have one.
    pub(crate) fn of_nodes(nodes: Vec<Node>, root: NodeId) -> Self {
        Self::of_arena(Arena { nodes, ..Arena::default() }, root)
    }

    fn of_arena(arena: Arena, root: NodeId) -> Self {
        Self { arena: Arc::new(arena), root, printed: Arc::default() }
    }

    /// The type at `id`, which must come from this schema, as a schema of its own.
    #[must_use]
    pub fn at(&self, id: NodeId) -> Self {
        Self { arena: self.arena.clone(), root: id, printed: Arc::default() }
    }

    /// The same with other names for some types, which may then have one name.
    pub(crate) fn renamed(&self, names: &HashMap<NodeId, Name>) -> Self {
        let mut nodes = self.arena.nodes.clone();
        for (id, name) in names {
            nodes[id.place()].name = Some(name.clone());
        }
        Self::of_nodes(nodes, self.root)
    }

    /// Whether two types are the same one of the same schema: not merely alike.
    pub(crate) fn same_node(&self, id: NodeId, other: &Self, other_id: NodeId) -> bool {
        id == other_id && Arc::ptr_eq(&self.arena, &other.arena)
    }

    /// The schema as Avro Java's `Schema.toString()` prints it: what the registry stores, answers
    /// and compares.
    #[must_use]
    pub fn registry_text(&self) -> String {
        self.printed.get_or_init(|| text::print(self)).clone()
    }
}

impl Node {
    /// All but what it is, which is null.
    pub(crate) fn clone_head(&self) -> Self {
        Self {
            kind: Kind::Null,
            name: self.name.clone(),
            aliases: self.aliases.clone(),
            doc: self.doc.clone(),
            logical: self.logical,
            properties: self.properties.clone(),
        }
    }

    /// The type's name as Avro Java's `Schema.Type` spells it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "NULL",
            Kind::Boolean => "BOOLEAN",
            Kind::Int => "INT",
            Kind::Long => "LONG",
            Kind::Float => "FLOAT",
            Kind::Double => "DOUBLE",
            Kind::Bytes => "BYTES",
            Kind::String => "STRING",
            Kind::Array(_) => "ARRAY",
            Kind::Map(_) => "MAP",
            Kind::Union(_) => "UNION",
            Kind::Record(_) => "RECORD",
            Kind::Enum { .. } => "ENUM",
            Kind::Fixed(_) => "FIXED",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Name {
    /// A name as written: a point in it makes the part before the namespace; otherwise the
    /// namespace around it holds.
    fn resolve(written: &str, around: Option<&str>) -> Self {
        match written.rsplit_once('.') {
            Some((namespace, name)) => Self {
                name: name.to_owned(),
                namespace: Some(namespace.to_owned()).filter(|n| !n.is_empty()),
            },
            None => Self {
                name: written.to_owned(),
                namespace: around.map(str::to_owned).filter(|n| !n.is_empty()),
            },
        }
    }

    /// The name as it is written where `around` is the namespace.
    fn relative_to(&self, around: Option<&str>) -> String {
        if self.namespace.as_deref() == around && !is_primitive(&self.name) {
            self.name.clone()
        } else {
            self.to_string()
        }
    }
}

/// Whether a name is one of the eight primitive types'.
fn is_primitive(name: &str) -> bool {
    primitive(name).is_some()
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}
