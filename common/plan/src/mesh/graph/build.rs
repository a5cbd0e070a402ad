//! Each query of a plan as what it takes from topics and registered processors.

use crate::lineage::{InputField, Via, deciders, lineage};
use crate::mesh::{NamedQuery, Path, PipelinePlan, StagePlan};
use crate::query::{Branch, Query, Step};
use std::collections::BTreeSet;
use tidemesh_avro::name::avro_name;
use tidemesh_avro::schema::{Kind, NodeId, Schema};

/// How deep within each other the declared fields of a registered processor are told apart.
const DECLARED_DEPTH_MAX: usize = 16;

/// Where something is taken from, within a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mesh) enum From {
    /// An input, by its place.
    Input(usize),
    /// What a registered processor makes, by its place among the stages. Its fields are not told apart.
    Stage(usize),
}

/// A field that is taken, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mesh) struct Taken {
    pub(in crate::mesh) from: From,
    pub(in crate::mesh) path: Path,
    pub(in crate::mesh) via: Via,
}

/// What a query takes.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Takes {
    /// For each column, by its name in Avro.
    pub(in crate::mesh) columns: Vec<(String, BTreeSet<Taken>)>,
    /// What decides which rows there are.
    pub(in crate::mesh) rows: BTreeSet<Taken>,
    /// Whose rows it has.
    pub(in crate::mesh) of: BTreeSet<From>,
}

/// A pipeline's queries.
#[derive(Debug)]
pub(in crate::mesh) struct Flows<'p> {
    pub(in crate::mesh) plan: &'p PipelinePlan,
    /// What each registered processor takes: all of it may be in all that it makes.
    pub(in crate::mesh) stages: Vec<Takes>,
    /// What each processor of SQL does itself; what those before it decide is not in its rows.
    pub(in crate::mesh) queries: Vec<Takes>,
    pub(in crate::mesh) outputs: Vec<Takes>,
}

impl<'p> Flows<'p> {
    pub(in crate::mesh) fn of(plan: &'p PipelinePlan) -> Self {
        let build = Build { plan };
        Self {
            plan,
            stages: plan.stages.iter().map(|stage| build.stage(stage)).collect(),
            queries: (0..plan.queries.len()).map(|place| build.processor(place)).collect(),
            outputs: plan.outputs.iter().map(|output| build.query(&output.query)).collect(),
        }
    }
}

struct Build<'p> {
    plan: &'p PipelinePlan,
}

impl Build<'_> {
    fn query(&self, query: &Query) -> Takes {
        let lineage = lineage(query, &self.plan.tables);
        let mut takes = Takes::default();
        for (column, fields) in query.columns.iter().zip(lineage.columns) {
            let taken = fields.into_iter().map(|field| self.taken(field)).collect();
            takes.columns.push((avro_name(&column.name).into_owned(), taken));
        }
        takes.rows.extend(lineage.rows.into_iter().map(|field| self.taken(field)));
        for branch in &query.branches {
            takes.of.insert(self.from(branch.input));
            takes.rows.extend(self.lookup_keys(&branch.steps));
        }
        takes
    }

    fn processor(&self, place: usize) -> Takes {
        let NamedQuery { query, reads, .. } = &self.plan.queries[place];
        let mut takes = self.query(query);
        takes.rows.clear();
        let before = || self.plan.queries[..place].iter().filter(|one| reads.contains(&one.name));
        for branch in &query.branches {
            let inherited = before().flat_map(|one| &one.query.branches);
            let inherited = inherited.filter_map(|one| begins_with(branch, one)).max();
            let from = inherited.unwrap_or_default();
            let fields = deciders(branch, &self.plan.tables, from);
            takes.rows.extend(fields.into_iter().map(|field| self.taken(field)));
            takes.rows.extend(self.lookup_keys(&branch.steps[from..]));
        }
        takes
    }

    fn stage(&self, stage: &StagePlan) -> Takes {
        let mut takes = Takes::default();
        let mut values = BTreeSet::new();
        for edge in &stage.edges {
            let of_edge = self.query(&edge.query);
            for path in declared_paths(&edge.declared) {
                values.extend(declared(&of_edge, &path));
            }
            takes.rows.extend(of_edge.rows);
            takes.of.extend(of_edge.of);
        }
        takes.columns.push((stage.name.clone(), values));
        takes
    }

    fn from(&self, table: usize) -> From {
        match table.checked_sub(self.plan.inputs.len()) {
            None => From::Input(table),
            Some(stage) => From::Stage(stage),
        }
    }

    fn taken(&self, (field, via): (InputField, Via)) -> Taken {
        match self.from(field.input) {
            from @ From::Input(_) => Taken { from, path: field.path, via },
            from @ From::Stage(_) => Taken { from, path: Path::new(), via },
        }
    }

    /// The keys of looked-up tables: they too decide which row is found.
    fn lookup_keys(&self, steps: &[Step]) -> Vec<Taken> {
        let lookups = steps.iter().filter_map(|step| match step {
            Step::Lookup(lookup) => Some(lookup.input),
            Step::Filter(_) | Step::Compute { .. } => None,
        });
        let keys = lookups.flat_map(|table| {
            let relation = &self.plan.tables[table].relation;
            let from = self.from(table);
            relation.key_columns.iter().map(move |column| Taken {
                from,
                path: vec![relation.field(*column).name.clone()],
                via: Via::LookupKey,
            })
        });
        keys.collect()
    }
}

/// How many steps a branch has from another one that it continues.
fn begins_with(branch: &Branch, other: &Branch) -> Option<usize> {
    let continues = branch.input == other.input && branch.steps.starts_with(&other.steps);
    continues.then_some(other.steps.len())
}

/// What a declared field is made of: of an edge's column, or of a field within it.
fn declared(edge: &Takes, path: &[String]) -> Vec<Taken> {
    let Some((column, within)) = path.split_first() else { return Vec::new() };
    let found = edge.columns.iter().find(|(name, _)| name == column);
    let taken = found.into_iter().flat_map(|(_, taken)| taken);
    taken
        .map(|taken| {
            let mut path = taken.path.clone();
            if taken.via == Via::Identity && matches!(taken.from, From::Input(_)) {
                path.extend_from_slice(within);
            }
            Taken { from: taken.from, path, via: taken.via.then(Via::Expression) }
        })
        .collect()
}

/// The paths of the fields that hold no others.
fn declared_paths(schema: &Schema) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut open: Vec<(Path, NodeId)> = vec![(Path::new(), schema.root())];
    while let Some((path, id)) = open.pop() {
        let id = crate::sql::types::nullable_branch(schema, id).unwrap_or(id);
        match &schema.node(id).kind {
            Kind::Record(fields) if path.len() < DECLARED_DEPTH_MAX => {
                open.extend(fields.iter().map(|field| {
                    let path = path.iter().chain([&field.name]).cloned().collect();
                    (path, field.node)
                }));
            }
            _ => paths.push(path),
        }
    }
    paths
}
