//! Where each output column comes from, and which fields a query reads at all: drawn from the resolved
//! query, so that it is exact.
//!
//! A *direct* source gives a value, or part of one; an *indirect* one only decides: which rows there are,
//! which branch of a CASE is taken, which row is looked up. The kinds are those of OpenLineage's
//! `columnLineage` facet (version 1-2-0, "Transformation type").

use crate::query::{Branch, Input, Origin, Output, Part, Query, Step, slot_of};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::Expr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A field of an input's rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputField {
    /// The input, by its place among the pipeline's.
    pub input: usize,
    /// The field's names in Avro, from the row on.
    pub path: Vec<String>,
}

/// How a field becomes part of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// As it is, perhaps under another name.
    Identity,
    /// As another type.
    Cast,
    /// Through a computation.
    Expression,
    /// It only decides which value is taken.
    Condition,
    /// It only decides which row is looked up.
    LookupKey,
    /// It only decides whether there is a row.
    Filter,
}

/// Where a query's output comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lineage {
    /// For each output column its fields, each by the ways it takes.
    pub columns: Vec<BTreeSet<(InputField, Via)>>,
    /// The fields that decide which rows there are.
    pub rows: BTreeSet<(InputField, Via)>,
}

impl Via {
    /// Its name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Cast => "cast",
            Self::Expression => "expression",
            Self::Condition => "condition",
            Self::LookupKey => "lookup_key",
            Self::Filter => "filter",
        }
    }

    /// Whether it gives a value and does not only decide.
    #[must_use]
    pub fn direct(self) -> bool {
        match self {
            Self::Identity | Self::Cast | Self::Expression => true,
            Self::Condition | Self::LookupKey | Self::Filter => false,
        }
    }

    /// The way of a field that goes this way and then another.
    #[must_use]
    pub fn then(self, outer: Self) -> Self {
        match (self.direct(), outer.direct()) {
            (true, true) => self.max(outer),
            (false, _) => self,
            (true, false) => outer,
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the output of `query` comes from. `inputs` are the pipeline's.
#[must_use]
pub fn lineage(query: &Query, inputs: &[Input]) -> Lineage {
    let mut lineage =
        Lineage { columns: vec![BTreeSet::new(); query.columns.len()], ..Lineage::default() };
    for branch in &query.branches {
        let sources = Sources::of(branch, inputs);
        for (column, output) in lineage.columns.iter_mut().zip(&branch.outputs) {
            if let Output::Slot { slot, path } = output {
                column.extend(sources.part(&(*slot, path.clone())));
            }
        }
        lineage.rows.extend(sources.rows);
    }
    lineage
}

/// The fields by which the steps of a branch from the one at `from` on decide which rows there are.
pub(crate) fn deciders(
    branch: &Branch,
    inputs: &[Input],
    from: usize,
) -> BTreeSet<(InputField, Via)> {
    Sources::from_step(branch, inputs, from).rows
}

/// Whether a column is nothing but a hash, of which what it was made of cannot be told.
#[must_use]
pub fn masked(query: &Query, column: usize) -> bool {
    let of_branch = |branch: &Branch| match branch.outputs.get(column) {
        Some(Output::Slot { slot, .. }) => hashed(branch, *slot),
        Some(Output::Constant(_)) | None => false,
    };
    query.branches.iter().all(of_branch)
}

/// Whether a slot holds a hash. What is computed stands behind what it is computed of, so the chain of
/// slots has an end.
fn hashed(branch: &Branch, mut slot: usize) -> bool {
    for step in branch.steps.iter().rev() {
        let Step::Compute { slot: computed, value } = step else { continue };
        if *computed != slot {
            continue;
        }
        match hash_or_slot(value) {
            HashOf::Hash => return true,
            HashOf::Slot(of) => slot = of,
            HashOf::Other => return false,
        }
    }
    false
}

enum HashOf {
    Hash,
    /// The value of a slot, in another form.
    Slot(usize),
    Other,
}

fn hash_or_slot(mut value: &Expr) -> HashOf {
    loop {
        value = match value {
            Expr::Alias(alias) => &alias.expr,
            Expr::Cast(cast) => &cast.expr,
            Expr::TryCast(cast) => &cast.expr,
            Expr::Column(column) => return slot_of(column).map_or(HashOf::Other, HashOf::Slot),
            Expr::ScalarFunction(call) => match (call.func.name(), call.args.first()) {
                ("md5" | "sha224" | "sha256" | "sha384" | "sha512", _) => return HashOf::Hash,
                ("encode", Some(of)) => of,
                _ => return HashOf::Other,
            },
            _ => return HashOf::Other,
        };
    }
}

/// The fields of each input that `query` reads: for values, filters, keys and lookups. A field within
/// another one that is read is not told apart. Key columns are always read.
#[must_use]
pub fn reads(query: &Query, inputs: &[Input]) -> BTreeMap<usize, BTreeSet<Vec<String>>> {
    let mut reads: BTreeMap<usize, BTreeSet<Vec<String>>> = BTreeMap::new();
    for branch in &query.branches {
        let of_input = reads.entry(branch.input).or_default();
        of_input.extend(key_fields(&inputs[branch.input]));
        let sources = Sources::of(branch, inputs);
        let outputs = branch.outputs.iter().filter_map(|output| match output {
            Output::Slot { slot, path } => Some((*slot, path.clone())),
            Output::Constant(_) => None,
        });
        let fields: Vec<(InputField, Via)> =
            outputs.flat_map(|part| sources.part(&part)).chain(sources.rows.clone()).collect();
        for (field, _) in fields {
            reads.entry(field.input).or_default().insert(field.path);
        }
        for step in &branch.steps {
            if let Step::Lookup(lookup) = step {
                let keys = key_fields(&inputs[lookup.input]);
                reads.entry(lookup.input).or_default().extend(keys);
            }
        }
    }
    reads.values_mut().for_each(drop_inner);
    reads
}

fn key_fields(input: &Input) -> Vec<Vec<String>> {
    let relation = &input.relation;
    let name = |column: &usize| vec![relation.field(*column).name.clone()];
    relation.key_columns.iter().map(name).collect()
}

/// Drops the fields that are within others.
pub(crate) fn drop_inner(paths: &mut BTreeSet<Vec<String>>) {
    let all = paths.clone();
    paths.retain(|path| !(1..path.len()).any(|length| all.contains(&path[..length])));
}

/// Where a branch's slots come from.
struct Sources<'s> {
    branch: &'s Branch,
    inputs: &'s [Input],
    /// Of each computed slot.
    computed: BTreeMap<usize, BTreeSet<(InputField, Via)>>,
    rows: BTreeSet<(InputField, Via)>,
}

impl<'s> Sources<'s> {
    fn of(branch: &'s Branch, inputs: &'s [Input]) -> Self {
        Self::from_step(branch, inputs, 0)
    }

    /// As [`Self::of`], with what decides from a step on.
    fn from_step(branch: &'s Branch, inputs: &'s [Input], from: usize) -> Self {
        let mut sources = Self { branch, inputs, computed: BTreeMap::new(), rows: BTreeSet::new() };
        for (place, step) in branch.steps.iter().enumerate() {
            match step {
                Step::Compute { slot, value } => {
                    let fields = sources.expr(value);
                    sources.computed.insert(*slot, fields);
                }
                Step::Filter(_) | Step::Lookup(_) if place < from => {}
                Step::Filter(predicate) => {
                    let fields = sources.expr(predicate);
                    sources.decide(fields, Via::Filter);
                }
                Step::Lookup(lookup) => {
                    for key in &lookup.key {
                        let fields = sources.expr(key);
                        sources.decide(fields, Via::LookupKey);
                    }
                }
            }
        }
        sources
    }

    fn decide(&mut self, fields: BTreeSet<(InputField, Via)>, via: Via) {
        self.rows.extend(fields.into_iter().map(|(field, _)| (field, via)));
    }

    /// Where a slot, or a field within it, comes from.
    fn part(&self, (slot, names): &Part) -> BTreeSet<(InputField, Via)> {
        let (input, column) = match self.branch.slots[*slot].origin {
            Origin::Input { column } => (self.branch.input, column),
            Origin::Lookup { input, column } => (input, column),
            Origin::Computed => return self.computed.get(slot).cloned().unwrap_or_default(),
        };
        let first = self.inputs[input].relation.field(column).name.clone();
        let path = std::iter::once(first).chain(names.iter().cloned()).collect();
        BTreeSet::from([(InputField { input, path }, Via::Identity)])
    }

    /// Where an expression's value comes from.
    fn expr(&self, expr: &Expr) -> BTreeSet<(InputField, Via)> {
        if let Some(part) = self.branch.part_of(expr) {
            return self.part(&part);
        }
        match expr {
            Expr::Alias(alias) => self.expr(&alias.expr),
            Expr::Cast(cast) => through(self.expr(&cast.expr), Via::Cast),
            Expr::TryCast(cast) => through(self.expr(&cast.expr), Via::Cast),
            Expr::Case(case) => {
                let mut fields = BTreeSet::new();
                // Of `CASE x WHEN 1 …` both x and 1 only decide.
                let whens = case.when_then_expr.iter().map(|(when, _)| when);
                for decides in case.expr.iter().chain(whens) {
                    fields.extend(through(self.expr(decides), Via::Condition));
                }
                let thens = case.when_then_expr.iter().map(|(_, then)| then);
                for gives in thens.chain(&case.else_expr) {
                    fields.extend(through(self.expr(gives), Via::Expression));
                }
                fields
            }
            other => {
                let mut fields = BTreeSet::new();
                // The closure never fails.
                let _ = other.apply_children(|child| {
                    fields.extend(through(self.expr(child), Via::Expression));
                    Ok(TreeNodeRecursion::Continue)
                });
                fields
            }
        }
    }
}

fn through(fields: BTreeSet<(InputField, Via)>, via: Via) -> BTreeSet<(InputField, Via)> {
    fields.into_iter().map(|(field, inner)| (field, inner.then(via))).collect()
}
