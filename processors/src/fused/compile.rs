//! A branch's steps, compiled: which parts of rows they read, and their expressions over columns.

use super::lookup::{Join, Lookups, check_type};
use super::steps::{Evaluated, Op, Steps};
use datafusion_common::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DataFusionError};
use datafusion_expr::Expr;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::query::{Branch, Input, Lookup, Origin, Part, Step};
use tidemesh_plan::sql::physical;

/// What a branch is compiled from.
#[derive(Clone, Copy)]
pub(super) struct BranchPlan<'b> {
    pub(super) branch: &'b Branch,
    /// The pipeline's inputs.
    pub(super) inputs: &'b [Input],
    pub(super) lookups: &'b Lookups,
    /// The names of the outputs.
    pub(super) names: &'b [String],
}

/// The place of the lookup that a slot belongs to, among the branch's.
pub(super) fn lookup_of(branch: &Branch, slot: usize) -> Option<usize> {
    let Origin::Lookup { column, .. } = branch.slots[slot].origin else { return None };
    let first = slot.checked_sub(column)?;
    lookups_of(branch).position(|lookup| lookup.first_slot == first)
}

/// A branch's lookups.
pub(super) fn lookups_of(branch: &Branch) -> impl Iterator<Item = &Lookup> {
    branch.steps.iter().filter_map(|step| match step {
        Step::Lookup(lookup) => Some(lookup),
        _ => None,
    })
}

/// Compiles a branch; `written` are slots that outputs take from columns, `copies` for each lookup the
/// parts of its relation's rows that are passed on.
///
/// # Errors
///
/// `Internal` for a plan that does not fit its types; `Unsupported` for a lookup by values of another
/// type than the key's.
pub(super) fn compile(
    plan: BranchPlan<'_>,
    written: &[Part],
    copies: &[Vec<Part>],
) -> Result<Steps> {
    let branch = plan.branch;
    let mut compiler = Compiler {
        plan,
        branch,
        needed: branch.needed().into_iter().collect(),
        found: vec![Vec::new(); copies.len()],
        steps: Steps { ops: Vec::new(), reads: Vec::new(), made: Vec::new(), joins: Vec::new() },
    };
    compiler.find_reads(written)?;
    compiler.compile(copies)?;
    Ok(compiler.steps)
}

struct Compiler<'c> {
    plan: BranchPlan<'c>,
    branch: &'c Branch,
    needed: Vec<usize>,
    /// For each lookup the parts of found rows that are read, by their slots.
    found: Vec<Vec<Part>>,
    steps: Steps,
}

impl Compiler<'_> {
    /// Finds what has to be read: columns come before everything that is computed.
    fn find_reads(&mut self, written: &[Part]) -> Result<()> {
        for part in written {
            self.read(part);
        }
        for step in &self.branch.steps {
            match step {
                Step::Filter(expr) => self.find_in(expr)?,
                Step::Compute { slot, value } if self.needed.contains(slot) => {
                    self.find_in(value)?
                }
                Step::Compute { .. } => {}
                Step::Lookup(lookup) => {
                    lookup.key.iter().try_for_each(|value| self.find_in(value))?
                }
            }
        }
        Ok(())
    }

    fn find_in(&mut self, expr: &Expr) -> Result<()> {
        let mut parts = Vec::new();
        expr.apply(|expr| {
            Ok(match self.branch.part_of(expr) {
                Some(part) => {
                    parts.push(part);
                    TreeNodeRecursion::Jump
                }
                None => TreeNodeRecursion::Continue,
            })
        })
        .map_err(misfit)?;
        parts.iter().for_each(|part| self.read(part));
        Ok(())
    }

    fn read(&mut self, part: &Part) {
        let add = |parts: &mut Vec<Part>, part: Part| {
            if !parts.contains(&part) {
                parts.push(part);
            }
        };
        match self.branch.slots[part.0].origin {
            Origin::Input { column } => add(&mut self.steps.reads, (column, part.1.clone())),
            Origin::Lookup { .. } => {
                if let Some(lookup) = lookup_of(self.branch, part.0) {
                    add(&mut self.found[lookup], part.clone());
                }
            }
            Origin::Computed => {}
        }
    }

    fn compile(&mut self, copies: &[Vec<Part>]) -> Result<()> {
        let mut fields: Vec<Field> = Vec::new();
        for (place, (column, names)) in self.steps.reads.iter().enumerate() {
            let of_column = Origin::Input { column: *column };
            let slot = self.branch.slots.iter().position(|slot| slot.origin == of_column);
            let slot = slot.ok_or_else(lost)?;
            fields.push(Field::new(read_name(place), self.part_type(slot, names)?, true));
        }
        for step in &self.branch.steps {
            let schema = Arc::new(Schema::new(fields.clone()));
            match step {
                Step::Filter(expr) => {
                    let value = self.evaluated(expr, &schema, "a filter".into())?;
                    self.steps.ops.push(Op::Filter(value));
                }
                Step::Compute { slot, value } if self.needed.contains(slot) => {
                    let value = self.evaluated(value, &schema, self.slot_name(*slot))?;
                    let data_type = value.expr.data_type(&schema).map_err(misfit)?;
                    self.make((*slot, Vec::new()), data_type, &mut fields);
                    self.steps.ops.push(Op::Compute(value));
                }
                Step::Compute { .. } => {}
                Step::Lookup(lookup) => {
                    let place = self.steps.joins.len();
                    self.lookup(lookup, &schema, copies[place].clone())?;
                    for part in self.found[place].clone() {
                        let data_type = self.part_type(part.0, &part.1)?;
                        self.make(part, data_type, &mut fields);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a column behind those that there are.
    fn make(&mut self, part: Part, data_type: DataType, fields: &mut Vec<Field>) {
        fields.push(Field::new(made_name(self.steps.made.len()), data_type, true));
        self.steps.made.push(part);
    }

    fn lookup(&mut self, lookup: &Lookup, schema: &SchemaRef, copies: Vec<Part>) -> Result<()> {
        let BranchPlan { inputs, lookups, .. } = self.plan;
        let input = &inputs[lookup.input];
        let mut keys = Vec::with_capacity(lookup.key.len());
        for (value, column) in lookup.key.iter().zip(&input.relation.key_columns) {
            let column = &input.relation.columns[*column];
            let value = self.evaluated(value, schema, format!("the key of `{}`", input.name))?;
            let data_type = value.expr.data_type(schema).map_err(misfit)?;
            if !super::lookup::meet(&data_type, &column.sql.data_type) {
                return Err(Error::new(ErrorKind::Unsupported, "look rows up")
                    .because("what the key is compared with has another type")
                    .with("lookup", &input.name)
                    .with("column", &column.name)
                    .with("key", &column.sql.data_type)
                    .with("value", data_type)
                    .help("cast the value to the type of the key's column"));
            }
            check_type(&data_type)?;
            keys.push(value);
        }
        let place = self.steps.joins.len();
        let column = |(slot, names): &Part| (slot - lookup.first_slot, names.clone());
        let reads = self.found[place].iter().map(column).collect();
        let table = lookups.table(lookup.input)?;
        let join = Join::new(lookup.input, input, lookup.required, table, copies, reads)?;
        self.steps.joins.push(join);
        self.steps.ops.push(Op::Join(keys));
        Ok(())
    }

    fn slot_name(&self, slot: usize) -> String {
        let outputs = self.branch.outputs.iter().zip(self.plan.names);
        let mut of_slot = outputs.filter(|(output, _)| output.slot() == Some(slot));
        match of_slot.next() {
            Some((_, name)) => format!("the column `{name}`"),
            None => "a column between processors".into(),
        }
    }

    fn part_type(&self, slot: usize, names: &[String]) -> Result<DataType> {
        let mut data_type = &self.branch.slots[slot].sql.data_type;
        for name in names {
            let DataType::Struct(fields) = data_type else { return Err(lost()) };
            data_type = fields.find(name).ok_or_else(lost)?.1.data_type();
        }
        Ok(data_type.clone())
    }

    fn evaluated(&self, expr: &Expr, schema: &SchemaRef, name: String) -> Result<Evaluated> {
        Ok(Evaluated { expr: self.physical(expr, schema)?, schema: schema.clone(), name })
    }

    fn physical(&self, expr: &Expr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = expr.clone().transform_down(|expr| {
            let part = self.branch.part_of(&expr);
            Ok(match part.and_then(|part| self.name_of(&part)) {
                Some(name) => {
                    let column = Expr::Column(Column::new_unqualified(name));
                    Transformed::new(column, true, TreeNodeRecursion::Jump)
                }
                None => Transformed::no(expr),
            })
        });
        let expr = expr.map_err(misfit)?.data;
        let names = DFSchema::try_from(schema.as_ref().clone()).map_err(misfit)?;
        physical(expr, &names).map_err(misfit)
    }

    /// The name of a part's column; none for a field within something computed.
    fn name_of(&self, part: &Part) -> Option<String> {
        let column = self.steps.column(self.branch, part)?;
        Some(match column.checked_sub(self.steps.reads.len()) {
            None => read_name(column),
            Some(place) => made_name(place),
        })
    }
}

fn read_name(place: usize) -> String {
    format!("r{place}")
}

fn made_name(place: usize) -> String {
    format!("c{place}")
}

#[cold]
fn lost() -> Error {
    Error::new(ErrorKind::Internal, "find a column of a branch")
}

#[cold]
fn misfit(error: DataFusionError) -> Error {
    Error::new(ErrorKind::Internal, "compile a pipeline's expressions").caused_by(error)
}
