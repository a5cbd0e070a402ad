//! SQL resolved: of which input, through which steps, from which values each output column is made.
//!
//! A query is one or more *branches*, the parts of its UNION ALL; each reads one input. A branch works on
//! *slots*: first the input's columns, then those of looked-up rows, then what is computed. Its steps run
//! in order over the rows that are left: what a filter drops is not computed. A processor that reads
//! another one continues that one's branches, so a chain of processors is one query.
//!
//! Expressions are DataFusion's, with types coerced; their columns are slots (`s0`, `s1`, …).

use crate::relation::{Form, Relation};
use crate::sql::types::SqlType;
use datafusion_common::arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, ScalarValue};
use datafusion_expr::Expr;
use datafusion_expr::expr::ScalarFunction;
use std::collections::BTreeSet;

/// The most branches of one query.
pub const BRANCHES_MAX: usize = 64;

/// The most slots of one branch.
pub const SLOTS_MAX: usize = 20_000;

/// One of the things that a pipeline's SQL can name beside its processors.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name in SQL.
    pub name: String,
    /// The rows of its topic.
    pub relation: Relation,
    /// Whether it is kept as a table that rows are looked up in.
    pub lookup: bool,
    /// Columns that no star takes.
    pub hidden: BTreeSet<String>,
}

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Its output's columns.
    pub columns: Vec<OutputColumn>,
    /// The parts of its UNION ALL; at least one.
    pub branches: Vec<Branch>,
}

/// A column of a query's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub sql: SqlType,
}

/// One part of a UNION ALL.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// The input that it reads, by its place among the pipeline's inputs.
    pub input: usize,
    /// What its steps work on.
    pub slots: Vec<Slot>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What each output column is.
    pub outputs: Vec<Output>,
}

/// One value that a branch has of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Where it comes from.
    pub origin: Origin,
    /// Its type.
    pub sql: SqlType,
}

/// Where a slot's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A column of the input's row.
    Input {
        /// By its place among the relation's columns.
        column: usize,
    },
    /// A column of a row that was looked up.
    Lookup {
        /// The lookup input, by its place among the pipeline's inputs.
        input: usize,
        /// The column, by its place among that relation's columns.
        column: usize,
    },
    /// A step.
    Computed,
}

/// One thing that is done with each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Rows of which this is not true go no further.
    Filter(Expr),
    /// A slot gets its value.
    Compute {
        /// The slot.
        slot: usize,
        /// The value.
        value: Expr,
    },
    /// A row is looked up by its key.
    Lookup(Lookup),
}

/// A row is looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct Lookup {
    /// In which input, by its place among the pipeline's.
    pub input: usize,
    /// The key's values, in the order of the relation's key columns.
    pub key: Vec<Expr>,
    /// Whether a row without a match goes no further; otherwise the looked-up columns are null.
    pub required: bool,
    /// The slot of the relation's first column; the others follow.
    pub first_slot: usize,
}

/// What an output column is.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A slot's value, or a field within it.
    Slot {
        /// The slot.
        slot: usize,
        /// The names that lead to the field; none for the whole.
        path: Vec<String>,
    },
    /// One value for all rows.
    Constant(ScalarValue),
}

impl Query {
    /// All columns of an input as they are.
    #[must_use]
    pub fn of_input(place: usize, input: &Input) -> Self {
        let relation = &input.relation;
        let slots: Vec<Slot> = relation
            .columns
            .iter()
            .enumerate()
            .map(|(column, of)| Slot { origin: Origin::Input { column }, sql: of.sql.clone() })
            .collect();
        let outputs = (0..slots.len()).map(|slot| Output::Slot { slot, path: Vec::new() });
        let columns = relation
            .columns
            .iter()
            .map(|column| OutputColumn { name: column.name.clone(), sql: column.sql.clone() });
        Self {
            columns: columns.collect(),
            branches: vec![Branch {
                input: place,
                outputs: outputs.collect(),
                slots,
                steps: Vec::new(),
            }],
        }
    }

    /// Leaves out the columns whose places are not kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        fn only<T>(items: &mut Vec<T>, keep: impl Fn(usize) -> bool) {
            let mut places = 0..;
            items.retain(|_| places.next().is_some_and(&keep));
        }
        only(&mut self.columns, &keep);
        self.branches.iter_mut().for_each(|branch| only(&mut branch.outputs, &keep));
    }

    /// Whether all of its input are events that nothing takes back.
    #[must_use]
    pub fn only_events(&self, inputs: &[Input]) -> bool {
        self.branches.iter().all(|branch| inputs[branch.input].relation.form == Form::Event)
    }
}

impl Branch {
    /// The slots' types, by which expressions over them are typed.
    ///
    /// # Errors
    ///
    /// What DataFusion answers; it does not for slots of distinct names.
    pub fn schema(&self) -> datafusion_common::Result<DFSchema> {
        let fields: Vec<Field> = self
            .slots
            .iter()
            .enumerate()
            .map(|(slot, of)| {
                Field::new(slot_name(slot), of.sql.data_type.clone(), of.sql.nullable)
            })
            .collect();
        DFSchema::try_from(Schema::new(fields))
    }

    /// The part of a row that an expression is, if it is one: a slot, or a record's field within it.
    #[must_use]
    pub fn part_of(&self, expr: &Expr) -> Option<Part> {
        let (slot, path) = look(expr)?;
        if self.slots[slot].origin == Origin::Computed && !path.is_empty() {
            return None;
        }
        let mut within = &self.slots[slot].sql.data_type;
        for name in &path {
            // A map's value is found by the same call, and is a computation.
            let DataType::Struct(fields) = within else { return None };
            within = fields.find(name)?.1.data_type();
        }
        Some((slot, path))
    }

    /// The slot and the type that a computed slot is a cast of, if it is no more than that.
    #[must_use]
    pub fn key_cast(&self, slot: usize) -> Option<(usize, DataType)> {
        let value = self.steps.iter().find_map(|step| match step {
            Step::Compute { slot: computed, value } if *computed == slot => Some(value),
            _ => None,
        })?;
        let Expr::Cast(cast) = value else { return None };
        let (from, path) = self.part_of(&cast.expr)?;
        path.is_empty().then(|| (from, cast.data_type.clone()))
    }

    /// The slots that something needs: a filter, a lookup, an output. What is computed and not needed
    /// is not among them, nor what only that reads.
    #[must_use]
    pub fn needed(&self) -> BTreeSet<usize> {
        let mut needed: BTreeSet<usize> = self.outputs.iter().filter_map(Output::slot).collect();
        for step in self.steps.iter().rev() {
            match step {
                Step::Filter(predicate) => needed.extend(slots_of(predicate)),
                Step::Lookup(lookup) => needed.extend(lookup.key.iter().flat_map(slots_of)),
                Step::Compute { slot, value } if needed.contains(slot) => {
                    needed.extend(slots_of(value));
                }
                Step::Compute { .. } => {}
            }
        }
        needed
    }
}

impl Output {
    /// The slot it takes its value from.
    #[must_use]
    pub fn slot(&self) -> Option<usize> {
        match self {
            Self::Slot { slot, .. } => Some(*slot),
            Self::Constant(_) => None,
        }
    }
}

/// The name of a slot in expressions.
#[must_use]
pub fn slot_name(slot: usize) -> String {
    format!("s{slot}")
}

/// A slot as an expression.
#[must_use]
pub fn slot_expr(slot: usize) -> Expr {
    Expr::Column(Column::new_unqualified(slot_name(slot)))
}

/// The slot that a column of an expression is.
#[must_use]
pub fn slot_of(column: &Column) -> Option<usize> {
    column.name.strip_prefix('s')?.parse().ok()
}

/// The slots that an expression reads.
#[must_use]
pub fn slots_of(expr: &Expr) -> BTreeSet<usize> {
    let mut slots = BTreeSet::new();
    // The closure never fails.
    let _ = expr.apply(|part| {
        if let Expr::Column(column) = part {
            slots.extend(slot_of(column));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    slots
}

/// A part of a row: a slot, and the names within it.
pub type Part = (usize, Vec<String>);

/// The slot and the names that an expression looks up in it.
fn look(expr: &Expr) -> Option<Part> {
    match expr {
        Expr::Column(column) => Some((slot_of(column)?, Vec::new())),
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "get_field" => {
            let (of, names) = args.split_first()?;
            let (slot, mut path) = look(of)?;
            for name in names {
                let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = name else { return None };
                path.push(name.clone());
            }
            Some((slot, path))
        }
        _ => None,
    }
}
