//! Whether what is planned can be computed: DataFusion plans more than it can run. Each function,
//! operator and cast is run once over a row of nulls of its arguments' types, which only a type can fail, or what is written out beside them.

use super::implied::inputs;
use super::names::type_name;
use super::physical::physical;
use super::resolve::too_deep;
use super::types::is_opaque;
use datafusion_common::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion_common::arrow::compute::can_cast_types;
use datafusion_common::arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan};
use quick_cache::sync::Cache;
use std::sync::{Arc, LazyLock};

/// What is said of casts that there are not.
pub(super) const CANNOT_BE_CAST: &str = "cannot be cast to";

/// How many functions and operators over types are kept that have run: plans are made of few.
const KNOWN_MAX: usize = 4096;

/// What has run once.
static KNOWN: LazyLock<Cache<(Expr, Vec<DataType>), ()>> = LazyLock::new(|| Cache::new(KNOWN_MAX));

/// Refuses a plan that cannot be computed; what is nested too deep is refused elsewhere.
///
/// # Errors
///
/// What cannot be, by its name and types.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|part| {
        let mut schema = None;
        part.apply_expressions(|expr| {
            if too_deep(expr) {
                return Ok(TreeNodeRecursion::Continue);
            }
            expr.apply(|expr| {
                if computes(expr) {
                    one(expr, schema.get_or_insert_with(|| inputs(part)))?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

/// Whether there is something to run beside what an expression is made of.
fn computes(expr: &Expr) -> bool {
    !matches!(expr, Expr::Column(_) | Expr::Literal(..) | Expr::Alias(_))
}

/// Runs one function or operator over nulls in the place of what it is given.
fn one(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let mut types = Vec::new();
    let alone = expr.clone().map_children(|child| place(child, schema, &mut types))?.data;
    // What may be done with such a value is told where it is resolved.
    if types.iter().any(is_opaque) {
        return Ok(());
    }
    castable(expr, &types)?;
    let asked = (alone, types);
    if KNOWN.get(&asked).is_some() {
        return Ok(());
    }
    let (alone, types) = &asked;
    match tried(alone.clone(), types) {
        Ok(()) => {
            KNOWN.insert(asked, ());
            Ok(())
        }
        Err(error) => {
            let of: Vec<String> = types.iter().map(type_name).collect();
            let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(", ")) };
            let why = error.strip_backtrace();
            let why = why.lines().next().unwrap_or_default();
            plan_err!("{}{of} cannot be computed: {why}", name(expr))
        }
    }
}

/// A column in the place of an argument; what is written out stays, since some take nothing else.
fn place(child: Expr, schema: &DFSchema, types: &mut Vec<DataType>) -> Result<Transformed<Expr>> {
    if matches!(child, Expr::Literal(..)) {
        return Ok(Transformed::no(child));
    }
    let column = Expr::Column(Column::new_unqualified(column_name(types.len())));
    types.push(child.get_type(schema)?);
    Ok(Transformed::yes(column))
}

fn column_name(place: usize) -> String {
    format!("a{place}")
}

fn castable(expr: &Expr, types: &[DataType]) -> Result<()> {
    let (Expr::Cast(_) | Expr::TryCast(_), [from]) = (expr, types) else { return Ok(()) };
    let to = match expr {
        Expr::Cast(cast) => &cast.data_type,
        Expr::TryCast(cast) => &cast.data_type,
        _ => return Ok(()),
    };
    let both_records = matches!((from, to), (DataType::Struct(_), DataType::Struct(_)));
    if both_records || can_cast_types(from, to) {
        return Ok(());
    }
    plan_err!("{} {CANNOT_BE_CAST} {}", type_name(from), type_name(to))
}

fn tried(expr: Expr, types: &[DataType]) -> Result<()> {
    let fields = types.iter().enumerate();
    let fields: Vec<Field> =
        fields.map(|(place, of)| Field::new(column_name(place), of.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let physical = physical(expr, &DFSchema::try_from(schema.as_ref().clone())?)?;
    let nulls: Vec<ArrayRef> = types.iter().map(|of| new_null_array(of, 1)).collect();
    let data_type = physical.data_type(&schema)?;
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(schema, nulls, &one)?;
    let made = physical.evaluate(&row)?.into_array(1)?;
    if *made.data_type() != data_type {
        return plan_err!("it makes {} of {data_type}", made.data_type());
    }
    Ok(())
}

/// What an expression is called.
fn name(expr: &Expr) -> String {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, .. }) => func.name().to_owned(),
        Expr::BinaryExpr(binary) => binary.op.to_string(),
        other => other.variant_name().to_owned(),
    }
}
