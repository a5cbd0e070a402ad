//! Expressions as they are computed: what plans hold, made ready to run over columns.

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::Expr;
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;

/// Functions that DataFusion's optimizer, which is not run here, spells out as CASE: they have no
/// evaluation of their own.
const SPELLED_OUT: [&str; 3] = ["coalesce", "nvl", "nvl2"];

/// An expression over the columns of `schema`, ready to run.
///
/// # Errors
///
/// DataFusion's, for what it cannot compute of these types.
pub fn physical(expr: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let expr = expr.transform_up(spelled_out)?.data;
    let made = create_physical_expr(&expr, schema, &ExecutionProps::new())?;
    Ok(made.transform_up(|expr| Ok(overflow_is_an_error(expr)))?.data)
}

/// A function of [`SPELLED_OUT`] as the expression that it stands for.
fn spelled_out(expr: Expr) -> Result<Transformed<Expr>> {
    let (func, args) = match expr {
        Expr::ScalarFunction(ScalarFunction { func, args })
            if SPELLED_OUT.contains(&func.name()) =>
        {
            (func, args)
        }
        other => return Ok(Transformed::no(other)),
    };
    Ok(match func.simplify(args, &SimplifyContext::default())? {
        ExprSimplifyResult::Simplified(expr) => Transformed::yes(expr),
        ExprSimplifyResult::Original(args) => {
            Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))
        }
    })
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
