//! The filters and computations of one branch, over columns.

use super::lookup::{Found, Join, Lookups};
use datafusion_common::DataFusionError;
use datafusion_common::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array,
};
use datafusion_common::arrow::compute::{FilterBuilder, prep_null_mask_filter};
use datafusion_common::arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::arrow::error::ArrowError;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::query::{Branch, Origin, Part};

/// What a branch does with its rows. Columns are first the parts of the row that it reads, then what it
/// computes and finds, in the order of its work.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) ops: Vec<Op>,
    /// The parts that are read; a part's slot is a column's place in the relation.
    pub(super) reads: Vec<Part>,
    /// The slots that are computed and the parts of rows that are found, in the order of their columns.
    pub(super) made: Vec<Part>,
    /// The branch's lookups.
    pub(super) joins: Vec<Join>,
}

#[derive(Debug)]
pub(super) enum Op {
    Filter(Evaluated),
    Compute(Evaluated),
    /// The next of the lookups, by the columns of its key.
    Join(Vec<Evaluated>),
}

/// An expression.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) expr: Arc<dyn PhysicalExpr>,
    /// The columns that there are before it.
    pub(super) schema: SchemaRef,
    /// What it is to the user: the output's column, or a filter.
    pub(super) name: String,
}

/// What is left of a batch.
#[derive(Debug)]
pub(super) struct Left<'t> {
    /// The columns, of the rows that are left.
    pub(super) columns: Vec<ArrayRef>,
    /// The rows that are left, by their places in the batch; none if all are.
    pub(super) rows: Option<Vec<u32>>,
    /// For each lookup what was found for each row of the batch.
    pub(super) found: Vec<Vec<Found<'t>>>,
    /// The rows that have come to the first lookup; none if all have, or there is none.
    pub(super) reached: Option<Vec<u32>>,
}

impl Steps {
    /// The column of a slot, or of a part of a row that is read or found.
    pub(super) fn column(&self, branch: &Branch, part: &Part) -> Option<usize> {
        if let Origin::Input { column } = branch.slots[part.0].origin {
            let part = (column, part.1.clone());
            return self.reads.iter().position(|other| *other == part);
        }
        let place = self.made.iter().position(|other| other == part)?;
        Some(self.reads.len() + place)
    }

    /// Runs the steps over `rows` rows, of which `columns` are what is read.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a value that an expression cannot handle: then nothing is left of the batch.
    pub(super) fn run<'t>(
        &mut self,
        columns: Vec<ArrayRef>,
        rows: usize,
        lookups: &'t Lookups,
    ) -> Result<Left<'t>> {
        let mut running = Running {
            left: Left { columns, rows: None, found: Vec::new(), reached: None },
            rows,
            count: rows,
        };
        let mut joins = self.joins.iter_mut();
        for op in &self.ops {
            match op {
                Op::Compute(value) => {
                    let column = value.evaluate(&running)?;
                    running.left.columns.push(column);
                }
                Op::Filter(value) => {
                    let column = value.evaluate(&running)?;
                    let mask = mask(&column).map_err(|error| evaluation(&error, &value.name))?;
                    running.keep(&mask, &value.name)?;
                }
                Op::Join(keys) => {
                    let join = joins.next().ok_or_else(no_lookup)?;
                    running.join(join, keys, lookups)?;
                }
            }
        }
        Ok(running.left)
    }
}

#[cold]
fn no_lookup() -> Error {
    Error::new(ErrorKind::Internal, "look rows up").because("a step has no lookup")
}

/// A batch under way.
struct Running<'t> {
    left: Left<'t>,
    /// How many rows the batch has.
    rows: usize,
    /// How many of them are left.
    count: usize,
}

impl<'t> Running<'t> {
    /// Keeps the rows of a mask over those that are left.
    fn keep(&mut self, mask: &BooleanArray, name: &str) -> Result<()> {
        if mask.true_count() == self.count {
            return Ok(());
        }
        self.count = mask.true_count();
        self.left.columns =
            filtered(&self.left.columns, mask).map_err(|error| evaluation(&error, name))?;
        self.left.rows = Some(still_there(self.left.rows.take(), mask));
        Ok(())
    }

    fn join(&mut self, join: &mut Join, keys: &[Evaluated], lookups: &'t Lookups) -> Result<()> {
        if self.left.found.is_empty() {
            self.left.reached.clone_from(&self.left.rows);
        }
        let keys = keys.iter().map(|key| key.evaluate(self)).collect::<Result<Vec<_>>>()?;
        let found = join.find(&keys, self.count, lookups.table(join.input)?)?;
        self.left.columns.extend(join.rows.columns()?);
        let mask: BooleanArray = found.iter().map(|found| Some(found.is_some())).collect();
        let found = match &self.left.rows {
            None => found,
            Some(rows) => {
                let mut of_batch = vec![None; self.rows];
                for (row, found) in rows.iter().zip(found) {
                    of_batch[*row as usize] = found;
                }
                of_batch
            }
        };
        self.left.found.push(found);
        if join.required { self.keep(&mask, "a lookup") } else { Ok(()) }
    }
}

impl Evaluated {
    fn evaluate(&self, running: &Running<'_>) -> Result<ArrayRef> {
        let evaluated = self.evaluated(&running.left.columns, running.count);
        evaluated.map_err(|error| evaluation(&error, &self.name))
    }

    fn evaluated(
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
