//! The filters and computations of one branch, over columns.

use datafusion_common::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array,
};
use datafusion_common::arrow::compute::{FilterBuilder, prep_null_mask_filter};
use datafusion_common::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::arrow::error::ArrowError;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DataFusionError};
use datafusion_expr::Expr;
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::query::{Branch, Origin, Part, Step};

/// What a branch does with its rows. Columns are first the parts of the row that it reads, then what it
/// computes.
#[derive(Debug)]
pub(super) struct Steps {
    ops: Vec<Op>,
    /// The parts that are read; a part's slot is a column's place in the relation.
    pub(super) reads: Vec<Part>,
    /// The slots that are computed, in the order of their columns.
    computed: Vec<usize>,
}

#[derive(Debug)]
struct Op {
    expr: Arc<dyn PhysicalExpr>,
    /// The columns that there are before it.
    schema: SchemaRef,
    what: What,
    /// What it is to the user: the output's column, or a filter.
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Filter,
    Compute,
}

/// What is left of a batch.
#[derive(Debug)]
pub(super) struct Left {
    /// The columns, of the rows that are left.
    pub(super) columns: Vec<ArrayRef>,
    /// The rows that are left, by their places in the batch; none if all are.
    pub(super) rows: Option<Vec<u32>>,
}

impl Steps {
    /// Compiles a branch; `written` are slots that outputs take from columns, `names` the outputs'.
    ///
    /// # Errors
    ///
    /// `Internal` for a plan that does not fit its types; `Unsupported` for a lookup.
    pub(super) fn new(branch: &Branch, written: &[Part], names: &[String]) -> Result<Self> {
        let mut compiler = Compiler {
            branch,
            names,
            needed: branch.needed().into_iter().collect(),
            steps: Self { ops: Vec::new(), reads: Vec::new(), computed: Vec::new() },
        };
        compiler.find_reads(written)?;
        compiler.compile()?;
        Ok(compiler.steps)
    }

    /// The column of a slot, or of a part of the row that is read.
    pub(super) fn column(&self, branch: &Branch, part: &Part) -> Option<usize> {
        match branch.slots[part.0].origin {
            Origin::Input { column } => {
                let part = (column, part.1.clone());
                self.reads.iter().position(|other| *other == part)
            }
            Origin::Computed => {
                let place = self.computed.iter().position(|slot| *slot == part.0)?;
                part.1.is_empty().then_some(self.reads.len() + place)
            }
            Origin::Lookup { .. } => None,
        }
    }

    /// Runs the steps over `rows` rows, of which `columns` are what is read.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a value that an expression cannot handle: then nothing is left of the batch.
    pub(super) fn run(&self, mut columns: Vec<ArrayRef>, rows: usize) -> Result<Left> {
        let mut left: Option<Vec<u32>> = None;
        let mut count = rows;
        for op in &self.ops {
            let told = |error| evaluation(&error, &op.name);
            match op.what {
                What::Compute => columns.push(op.evaluate(&columns, count).map_err(told)?),
                What::Filter => {
                    let value = op.evaluate(&columns, count).map_err(told)?;
                    let mask = mask(&value).map_err(told)?;
                    if mask.true_count() < count {
                        count = mask.true_count();
                        columns = filtered(&columns, &mask).map_err(told)?;
                        left = Some(still_there(left, &mask));
                    }
                }
            }
        }
        Ok(Left { columns, rows: left })
    }
}

impl Op {
    fn evaluate(
        &self,
        columns: &[ArrayRef],
        count: usize,
    ) -> std::result::Result<ArrayRef, DataFusionError> {
        if count == 0 {
            // Its type is that of the column, whatever it would compute.
            return Ok(new_empty_array(&self.expr.data_type(&self.schema)?));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch =
            RecordBatch::try_new_with_options(self.schema.clone(), columns.to_vec(), &options)?;
        self.expr.evaluate(&batch)?.into_array(count)
    }
}

/// Why a row's evaluation failed: its kind only, since messages of the libraries repeat values.
#[cold]
fn evaluation(error: &DataFusionError, name: &str) -> Error {
    let why = match error {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => "a number is divided by zero",
            ArrowError::ArithmeticOverflow(_) => "a number leaves the range of its type",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                "a value cannot be cast to another type"
            }
            ArrowError::InvalidArgumentError(_) => "a value does not fit its type",
            _ => "an expression cannot handle a value",
        },
        DataFusionError::Internal(_) => {
            return Error::new(ErrorKind::Internal, "evaluate a row").with("in", name);
        }
        _ => "an expression cannot handle a value",
    };
    Error::new(ErrorKind::Unsupported, "evaluate a row").because(why).with("in", name)
}

/// Which rows a filter lets through: null is no.
fn mask(value: &ArrayRef) -> std::result::Result<BooleanArray, DataFusionError> {
    let value = match value.data_type() {
        DataType::Null => BooleanArray::from(vec![false; value.len()]),
        _ => value
            .as_boolean_opt()
            .ok_or_else(|| DataFusionError::Internal("a filter is no boolean".into()))?
            .clone(),
    };
    Ok(if value.null_count() > 0 { prep_null_mask_filter(&value) } else { value })
}

fn filtered(
    columns: &[ArrayRef],
    mask: &BooleanArray,
) -> std::result::Result<Vec<ArrayRef>, DataFusionError> {
    let mut builder = FilterBuilder::new(mask);
    if columns.len() > 1 {
        builder = builder.optimize();
    }
    let filter = builder.build();
    columns.iter().map(|column| Ok(filter.filter(column)?)).collect()
}

fn still_there(left: Option<Vec<u32>>, mask: &BooleanArray) -> Vec<u32> {
    let places = mask.values().set_indices_u32();
    match left {
        None => places.collect(),
        Some(left) => places.map(|place| left[place as usize]).collect(),
    }
}

struct Compiler<'c> {
    branch: &'c Branch,
    names: &'c [String],
    needed: Vec<usize>,
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
                Step::Lookup(_) => {
                    return Err(Error::new(ErrorKind::Unsupported, "run a pipeline")
                        .because("lookups are planned and not run yet"));
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

    fn read(&mut self, (slot, path): &Part) {
        if let Origin::Input { column } = self.branch.slots[*slot].origin {
            let part = (column, path.clone());
            if !self.steps.reads.contains(&part) {
                self.steps.reads.push(part);
            }
        }
    }

    fn compile(&mut self) -> Result<()> {
        let mut fields: Vec<Field> = Vec::new();
        for (place, part) in self.steps.reads.iter().enumerate() {
            fields.push(Field::new(read_name(place), self.part_type(part)?, true));
        }
        for step in &self.branch.steps {
            let (expr, slot) = match step {
                Step::Filter(expr) => (expr, None),
                Step::Compute { slot, value } if self.needed.contains(slot) => (value, Some(*slot)),
                _ => continue,
            };
            let schema = Arc::new(Schema::new(fields.clone()));
            let expr = self.physical(expr, &schema)?;
            let what = if slot.is_some() { What::Compute } else { What::Filter };
            if let Some(slot) = slot {
                let data_type = expr.data_type(&schema).map_err(misfit)?;
                fields.push(Field::new(computed_name(slot), data_type, true));
                self.steps.computed.push(slot);
            }
            self.steps.ops.push(Op { expr, schema, what, name: self.step_name(slot) });
        }
        Ok(())
    }

    fn step_name(&self, slot: Option<usize>) -> String {
        let Some(slot) = slot else { return "a filter".into() };
        let outputs = self.branch.outputs.iter().zip(self.names);
        let mut of_slot = outputs.filter(|(output, _)| output.slot() == Some(slot));
        match of_slot.next() {
            Some((_, name)) => format!("the column `{name}`"),
            None => "a column between processors".into(),
        }
    }

    fn part_type(&self, (column, names): &Part) -> Result<DataType> {
        let of_column =
            self.branch.slots.iter().find(|slot| slot.origin == Origin::Input { column: *column });
        let lost = || Error::new(ErrorKind::Internal, "find a column of a branch");
        let mut data_type = &of_column.ok_or_else(lost)?.sql.data_type;
        for name in names {
            let DataType::Struct(fields) = data_type else { return Err(lost()) };
            data_type = fields.find(name).ok_or_else(lost)?.1.data_type();
        }
        Ok(data_type.clone())
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
        let made = create_physical_expr(&expr, &names, &ExecutionProps::new()).map_err(misfit)?;
        let checked = made.transform_up(|expr| Ok(overflow_is_an_error(expr))).map_err(misfit)?;
        Ok(checked.data)
    }

    /// The name of a part's column; none for a field within something computed.
    fn name_of(&self, (slot, path): &Part) -> Option<String> {
        match self.branch.slots[*slot].origin {
            Origin::Input { column } => {
                let part = (column, path.clone());
                self.steps.reads.iter().position(|other| *other == part).map(read_name)
            }
            Origin::Computed => path.is_empty().then(|| computed_name(*slot)),
            Origin::Lookup { .. } => None,
        }
    }
}

fn read_name(place: usize) -> String {
    format!("r{place}")
}

fn computed_name(slot: usize) -> String {
    format!("c{slot}")
}

/// Arithmetic that leaves its type is an error, as in PostgreSQL; DataFusion's wraps around.
fn overflow_is_an_error(expr: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
    match expr.as_any().downcast_ref::<BinaryExpr>() {
        None => Transformed::no(expr),
        Some(binary) => {
            let checked =
                BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
            Transformed::yes(Arc::new(checked.with_fail_on_overflow(true)))
        }
    }
}

#[cold]
fn misfit(error: DataFusionError) -> Error {
    Error::new(ErrorKind::Internal, "compile a pipeline's expressions").caused_by(error)
}
