//! Casts that nobody wrote. DataFusion casts text to whatever it meets; such a cast fails at whichever
//! row has other text, where PostgreSQL refuses the query.

use super::names::type_name;
use datafusion_common::arrow::datatypes::DataType;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::expr::Cast;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan};

/// What messages end with: a cast that is written out would do.
pub(super) const NOT_SILENTLY: &str = "and nothing is cast silently";

/// A cast: from which type, and to which.
type Types = (DataType, DataType);

/// The casts of a plan that not every value survives.
pub(super) fn unsafe_casts(plan: &LogicalPlan) -> Result<Vec<Types>> {
    let mut casts = Vec::new();
    plan.apply(|part| {
        let mut schema = None;
        part.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr {
                    let schema = schema.get_or_insert_with(|| inputs(part));
                    casts.extend(unsafe_cast(cast, schema)?);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(casts)
}

/// The columns that a part of a plan works on.
pub(super) fn inputs(part: &LogicalPlan) -> DFSchema {
    let mut schema = DFSchema::empty();
    part.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
    schema
}

fn unsafe_cast(cast: &Cast, schema: &DFSchema) -> Result<Option<Types>> {
    // What is written out is cast while planning.
    if matches!(cast.expr.as_ref(), Expr::Literal(..)) {
        return Ok(None);
    }
    let from = cast.expr.get_type(schema)?;
    let to = &cast.data_type;
    Ok(is_unsafe(&from, to).then(|| (from, to.clone())))
}

fn is_unsafe(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::List(from), DataType::List(to)) => is_unsafe(from.data_type(), to.data_type()),
        _ => match (is_text(from), is_text(to)) {
            (true, false) => !is_bytes(to),
            (false, true) => is_bytes(from),
            _ => (from.is_floating() || from.is_decimal()) && to.is_integer(),
        },
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Refuses casts that a plan has beside those that were written.
///
/// # Errors
///
/// What is taken for what.
pub(super) fn refuse(written: &[Types], plan: &LogicalPlan) -> Result<()> {
    let mut written = written.to_vec();
    for cast in unsafe_casts(plan)? {
        match written.iter().position(|other| *other == cast) {
            Some(place) => drop(written.swap_remove(place)),
            None => {
                let (from, to) = (type_name(&cast.0), type_name(&cast.1));
                return plan_err!("{from} stands where {to} is needed, {NOT_SILENTLY}");
            }
        }
    }
    Ok(())
}
