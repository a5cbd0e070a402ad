//! From the fields that are read to a schema of them.

use super::FieldPath;
use crate::compat::PairStep;
use crate::schema::{Field, Kind, Node, NodeId, Schema};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tidemesh_model::{Error, ErrorKind, Result};

/// The most types of a projection.
const TYPES_MAX: usize = 1_000_000;

/// A schema of some of another's fields, and where they come from.
#[derive(Debug)]
pub(crate) struct Projection<'s> {
    pub(crate) whole: &'s Schema,
    pub(crate) schema: Schema,
    /// For each record of the projection, of each field its place in the whole one's.
    kept: HashMap<NodeId, Vec<usize>>,
}

impl Projection<'_> {
    /// The checker's steps through the projection, as steps through the whole.
    pub(crate) fn whole_trail(&self, trail: &[PairStep]) -> Vec<PairStep> {
        let mut at = self.schema.root();
        trail.iter().map(|step| self.whole_step(&mut at, *step)).collect()
    }

    fn whole_step(&self, at: &mut NodeId, step: PairStep) -> PairStep {
        let record = *at;
        let place = |place: usize| {
            let kept = self.kept.get(&record);
            kept.and_then(|kept| kept.get(place).copied()).unwrap_or(place)
        };
        match (step, &self.schema.node(record).kind) {
            (PairStep::Items, Kind::Array(inner)) | (PairStep::Values, Kind::Map(inner)) => {
                *at = *inner;
                step
            }
            (PairStep::ReaderBranch(branch), Kind::Union(branches)) => {
                *at = branches.get(branch).copied().unwrap_or(record);
                step
            }
            (PairStep::Field(field), _) => PairStep::Field(place(field)),
            (PairStep::FieldType { reader, writer }, Kind::Record(fields)) => {
                *at = fields.get(reader).map_or(record, |field| field.node);
                PairStep::FieldType { reader: place(reader), writer }
            }
            _ => step,
        }
    }
}

/// Of each place exactly the fields of its own paths.
pub(super) fn exact<'s>(schema: &'s Schema, paths: &[&FieldPath]) -> Result<Projection<'s>> {
    let tree = Tree::new(paths);
    build(schema, Chosen::Exact(&tree), Part::Of(0))
}

/// Of each named type the fields of all paths that lead into it.
pub(super) fn merged(schema: &Schema, paths: &[&FieldPath]) -> Result<Schema> {
    let tree = Tree::new(paths);
    let mut marks = Marks { schema, tree: &tree, fields: HashMap::new(), seen: HashSet::new() };
    marks.mark(schema.root(), Part::Of(0));
    Ok(build(schema, Chosen::Merged(&marks.fields), Part::Whole)?.schema)
}

/// Paths by their common beginnings; the first node is the root.
struct Tree(Vec<Branches>);

#[derive(Default)]
struct Branches {
    by_name: BTreeMap<String, usize>,
    /// Whether a path ends here.
    whole: bool,
}

/// How much of a type is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Whole,
    /// What stands below this node of the tree.
    Of(usize),
}

impl Tree {
    fn new(paths: &[&FieldPath]) -> Self {
        let mut tree = Self(vec![Branches::default()]);
        for path in paths {
            let mut at = 0;
            for name in path.steps() {
                let next = tree.0.len();
                let known = *tree.0[at].by_name.entry(name.clone()).or_insert(next);
                if known == next {
                    tree.0.push(Branches::default());
                }
                at = known;
            }
            tree.0[at].whole = true;
        }
        tree
    }

    /// The fields of a record that are read, by their places, each with how much of it.
    fn fields(&self, fields: &[Field], part: Part) -> Vec<(usize, Part)> {
        let Part::Of(at) = part else {
            return (0..fields.len()).map(|place| (place, Part::Whole)).collect();
        };
        let chosen = fields.iter().enumerate().filter_map(|(place, field)| {
            let below = *self.0[at].by_name.get(&field.name)?;
            Some((place, if self.0[below].whole { Part::Whole } else { Part::Of(below) }))
        });
        chosen.collect()
    }
}

/// The fields of each record that any path reads.
struct Marks<'s> {
    schema: &'s Schema,
    tree: &'s Tree,
    fields: HashMap<NodeId, BTreeSet<usize>>,
    seen: HashSet<(NodeId, Part)>,
}

impl Marks<'_> {
    fn mark(&mut self, root: NodeId, part: Part) {
        let mut stack = vec![(root, part)];
        while let Some((id, part)) = stack.pop() {
            if !self.seen.insert((id, part)) {
                continue;
            }
            match &self.schema.node(id).kind {
                Kind::Array(inner) | Kind::Map(inner) => stack.push((*inner, part)),
                Kind::Union(branches) => stack.extend(branches.iter().map(|id| (*id, part))),
                Kind::Record(fields) => {
                    let marked = self.fields.entry(id).or_default();
                    for (place, part) in self.tree.fields(fields, part) {
                        marked.insert(place);
                        stack.push((fields[place].node, part));
                    }
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Chosen<'c> {
    Exact(&'c Tree),
    Merged(&'c HashMap<NodeId, BTreeSet<usize>>),
}

impl Chosen<'_> {
    fn fields(self, id: NodeId, fields: &[Field], part: Part) -> Vec<(usize, Part)> {
        match self {
            Self::Exact(tree) => tree.fields(fields, part),
            Self::Merged(marks) => {
                let marked = marks.get(&id).into_iter().flatten();
                marked.map(|place| (*place, Part::Whole)).collect()
            }
        }
    }
}

fn build<'s>(whole: &'s Schema, chosen: Chosen<'_>, part: Part) -> Result<Projection<'s>> {
    let mut builder =
        Builder { whole, chosen, nodes: Vec::new(), known: HashMap::new(), kept: HashMap::new() };
    let root = builder.node(whole.root(), part)?;
    let schema = Schema::of_nodes(builder.nodes, root);
    Ok(Projection { whole, schema, kept: builder.kept })
}

struct Builder<'s, 'c> {
    whole: &'s Schema,
    chosen: Chosen<'c>,
    nodes: Vec<Node>,
    known: HashMap<(NodeId, Part), NodeId>,
    kept: HashMap<NodeId, Vec<usize>>,
}

impl Builder<'_, '_> {
    /// The projection of a type. It has its place before what is within it: it may be recursive.
    fn node(&mut self, id: NodeId, part: Part) -> Result<NodeId> {
        if let Some(known) = self.known.get(&(id, part)) {
            return Ok(*known);
        }
        let whole = self.whole;
        let node = whole.node(id);
        let made = NodeId::next(self.nodes.len()).filter(|_| self.nodes.len() < TYPES_MAX);
        let made = made.ok_or_else(|| {
            Error::new(ErrorKind::TooLarge, "project a schema").with("types_max", TYPES_MAX)
        })?;
        self.known.insert((id, part), made);
        self.nodes.push(node.clone_head());
        let kind = match &node.kind {
            Kind::Array(items) => Kind::Array(self.node(*items, part)?),
            Kind::Map(values) => Kind::Map(self.node(*values, part)?),
            Kind::Union(branches) => Kind::Union(
                branches.iter().map(|branch| self.node(*branch, part)).collect::<Result<_>>()?,
            ),
            Kind::Record(fields) => self.record(id, made, fields, part)?,
            leaf => leaf.clone(),
        };
        self.nodes[made.place()].kind = kind;
        Ok(made)
    }

    fn record(&mut self, id: NodeId, made: NodeId, fields: &[Field], part: Part) -> Result<Kind> {
        let chosen = self.chosen.fields(id, fields, part);
        self.kept.insert(made, chosen.iter().map(|(place, _)| *place).collect());
        let mut projected = Vec::with_capacity(chosen.len());
        for (place, part) in chosen {
            let node = self.node(fields[place].node, part)?;
            projected.push(Field { node, ..fields[place].clone() });
        }
        Ok(Kind::Record(projected))
    }
}
