//! Which branch of a union a value is of: the ranks that the module's documentation lists.

use super::error::{Fault, shown};
use super::plan::{Id, Node, named};
use super::scalar::{exact_double, exact_float, near_float};
use super::text;
use super::writer::Writer;

/// A union of more or other than null and one more type.
#[derive(Debug, Clone)]
pub(super) struct UnionPlan {
    pub(super) branches: Box<[Branch]>,
    /// Whether a struct's fields may be needed to tell which record is meant.
    pub(super) several_records: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) node: Id,
}

/// What serde gives, as far as it says which branch is meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'v> {
    Null,
    Boolean,
    /// At most 32 bits with their sign.
    Narrow(i128),
    Wide(i128),
    Single,
    Double(f64),
    Text(&'v str),
    Bytes(usize),
    /// So many elements, if that is known.
    Sequence(Option<usize>),
    Map,
    Struct(&'v str),
    Variant(&'v str),
}

/// How well `node` suits what is given: the lower the better.
fn rank(node: &Node, given: &Given<'_>, several_records: bool) -> Option<u8> {
    match given {
        Given::Null => matches!(node, Node::Null).then_some(0),
        Given::Boolean => matches!(node, Node::Boolean).then_some(0),
        Given::Narrow(value) => match node {
            Node::Int(_) => Some(0),
            Node::Long(_) => Some(1),
            Node::Double => Some(2),
            Node::Float => exact_float(*value).map(|_| 3),
            _ => None,
        },
        Given::Wide(value) => match node {
            Node::Long(_) => i64::try_from(*value).ok().map(|_| 0),
            Node::Int(_) => i32::try_from(*value).ok().map(|_| 1),
            Node::Double => exact_double(*value).map(|_| 2),
            Node::Float => exact_float(*value).map(|_| 3),
            _ => None,
        },
        Given::Single => match node {
            Node::Float => Some(0),
            Node::Double => Some(1),
            _ => None,
        },
        Given::Double(value) => match node {
            Node::Double => Some(0),
            Node::Float => near_float(*value).map(|_| 1),
            _ => None,
        },
        Given::Text(value) => match node {
            Node::String { uuid } => (!uuid || text::is_uuid(value)).then_some(0),
            Node::Enum(plan) => plan.place(value).map(|_| 1),
            _ => text::fits(node, value).then_some(2),
        },
        Given::Bytes(count) => match node {
            Node::Bytes(_) => Some(0),
            Node::Fixed(fixed) => (fixed.size == *count).then_some(1),
            _ => None,
        },
        Given::Sequence(count) => match node {
            Node::Array(_) => Some(0),
            Node::Bytes(_) => Some(1),
            Node::Fixed(fixed) => (Some(fixed.size) == *count).then_some(2),
            _ => None,
        },
        Given::Map => match node {
            Node::Map(_) => Some(0),
            Node::Record(_) => (!several_records).then_some(1),
            _ => None,
        },
        Given::Struct(name) => match node {
            Node::Record(record) if *record.name == **name => Some(0),
            Node::Record(record) if named(&record.name, name) => Some(1),
            Node::Record(_) => (!several_records).then_some(2),
            Node::Map(_) => Some(3),
            _ => None,
        },
        Given::Variant(name) => match node {
            Node::Enum(plan) => plan.place(name).map(|_| 0),
            Node::Null => node.has_name(name).then_some(1),
            Node::String { uuid: false } => Some(2),
            _ => None,
        },
    }
}

impl UnionPlan {
    /// The best branch for what is given.
    pub(super) fn pick(&self, nodes: &[Node], given: &Given<'_>) -> Option<usize> {
        let ranked = self.branches.iter().enumerate().filter_map(|(place, branch)| {
            Some((rank(&nodes[branch.node], given, self.several_records)?, place))
        });
        ranked.min().map(|(_, place)| place)
    }

    /// The branch of a name: of those with a namespace the full name counts first.
    fn place(&self, nodes: &[Node], name: &str) -> Option<usize> {
        let mut names = self.branches.iter().map(|branch| nodes[branch.node].type_name());
        names
            .position(|full| full == name)
            .or_else(|| self.branches.iter().position(|branch| nodes[branch.node].has_name(name)))
    }
}

static NULL: Node = Node::Null;

impl<'a> Writer<'a> {
    /// Writes the branch of what is given, if `node` is a union, and answers the branch's node.
    #[inline]
    pub(super) fn branch(
        &mut self,
        node: &'a Node,
        given: &Given<'_>,
        found: &'static str,
    ) -> Result<&'a Node, Fault> {
        match node {
            Node::Nullable { null, value, branch } => {
                let taken = &self.nodes[*branch];
                let is_null = match given {
                    Given::Null => true,
                    Given::Variant(name) => {
                        NULL.has_name(name) && rank(taken, given, false) != Some(0)
                    }
                    _ => false,
                };
                self.out.push(if is_null { *null } else { *value });
                Ok(if is_null { &NULL } else { taken })
            }
            Node::Union(union) => match union.pick(self.nodes, given) {
                Some(branch) => Ok(self.enter_branch(union.branches[branch].node, branch)),
                None => Err(self.no_branch(node, given, found)),
            },
            _ => Ok(node),
        }
    }

    /// Writes the branch that a Rust variant names, and answers its node. A type that is no union
    /// must have that name itself.
    pub(super) fn named_branch(
        &mut self,
        node: &'a Node,
        variant: &'static str,
    ) -> Result<&'a Node, Fault> {
        let found = match node {
            Node::Nullable { null, value, branch } => {
                let taken = &self.nodes[*branch];
                let is_null = !taken.has_name(variant) && NULL.has_name(variant);
                self.out.push(if is_null { *null } else { *value });
                if is_null { Some(&NULL) } else { Some(taken).filter(|_| taken.has_name(variant)) }
            }
            Node::Union(union) => {
                let place = union.place(self.nodes, variant);
                place.map(|branch| self.enter_branch(union.branches[branch].node, branch))
            }
            _ => Some(node).filter(|node| node.has_name(variant)),
        };
        found.ok_or_else(|| {
            Fault::new("a variant that holds a value must have the name of a branch of a union")
                .found(format!("variant {}", shown(variant)))
                .expected(node.describe(self.nodes))
        })
    }

    #[cold]
    fn no_branch(&self, node: &Node, given: &Given<'_>, found: &'static str) -> Fault {
        let fault = Fault::new("no branch of the union takes the value");
        let fault = match given {
            Given::Struct(name) => fault.found(format!("{found} {}", shown(name))),
            _ => fault.found(found),
        };
        fault.expected(node.describe(self.nodes))
    }
}
