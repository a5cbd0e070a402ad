//! Types as PostgreSQL means them: what a name of a type stands for, and what text that is written out
//! is when it meets another type.

use super::names::type_name;
use super::runs::CANNOT_BE_CAST;
use super::types::UTC;
use datafusion_common::arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::{Between, Cast, InList, ScalarFunction};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::planner::TypePlanner;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use sqlparser::ast::{CharacterLength, DataType as SqlDataType, ExactNumberInfo, TimezoneInfo};

/// PostgreSQL's types where DataFusion takes their names for others, or does not know them.
#[derive(Debug)]
pub(super) struct PostgresTypes;

impl TypePlanner for PostgresTypes {
    fn plan_type(&self, sql_type: &SqlDataType) -> Result<Option<DataType>> {
        Ok(Some(match sql_type {
            SqlDataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            SqlDataType::Timestamp(_, _) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
            }
            SqlDataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            SqlDataType::Float(ExactNumberInfo::Precision(1..=24)) => DataType::Float32,
            SqlDataType::Float(_) => DataType::Float64,
            SqlDataType::Uuid | SqlDataType::JSON | SqlDataType::JSONB => DataType::Utf8,
            SqlDataType::Varchar(length)
            | SqlDataType::Char(length)
            | SqlDataType::Character(length)
            | SqlDataType::CharacterVarying(length)
            | SqlDataType::CharVarying(length) => text(*length, sql_type)?,
            _ => return Ok(None),
        }))
    }
}

/// Text whose length has a bound is cut by a cast, which DataFusion's does not do.
fn text(length: Option<CharacterLength>, written: &SqlDataType) -> Result<DataType> {
    // `char` alone is one character long.
    let is_char = matches!(written, SqlDataType::Char(_) | SqlDataType::Character(_));
    if length.is_some() || is_char {
        return plan_err!("a cast to {written} is not supported: write left(…, n), which cuts");
    }
    Ok(DataType::Utf8)
}

/// Gives what is written out the type that it has in PostgreSQL, and has casts round as its do.
pub(super) fn as_postgres(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_expressions(plan, Types::Change, |expr, schema| match expr {
        Expr::Literal(..) => Ok(small_integer(expr)),
        Expr::Cast(cast) => rounding_cast(cast, schema),
        Expr::TryCast(cast) => {
            check_cast(&cast.expr.get_type(schema)?, &cast.data_type)?;
            Ok(Transformed::no(Expr::TryCast(cast)))
        }
        Expr::ScalarFunction(call) => Ok(monday_first(call)),
        other => comparison(other, schema),
    })
}

/// A whole number is an `integer` where it fits.
fn small_integer(expr: Expr) -> Transformed<Expr> {
    match &expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => match i32::try_from(*number) {
            Ok(number) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(number)), None)),
            Err(_) => Transformed::no(expr),
        },
        _ => Transformed::no(expr),
    }
}

/// A cast of a number with a fraction to a whole one rounds, and does not cut.
fn rounding_cast(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Cast { expr: inner, data_type } = cast;
    let of = inner.get_type(schema)?;
    check_cast(&of, &data_type)?;
    if !data_type.is_integer() || !(of.is_floating() || of.is_decimal()) {
        return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, data_type })));
    }
    let rounded = datafusion_functions::math::round().call(vec![*inner]);
    Ok(Transformed::yes(Expr::Cast(Cast { expr: Box::new(rounded), data_type })))
}

/// Refuses casts that PostgreSQL does not have, and that would have the unit of Arrow's numbers.
fn check_cast(of: &DataType, to: &DataType) -> Result<()> {
    let is_time = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..)
        )
    };
    let refused = match (of.is_numeric(), to.is_numeric()) {
        (true, false) => is_time(to) || *to == DataType::Binary,
        (false, true) => is_time(of),
        _ => false,
    };
    if refused {
        return plan_err!("{} {CANNOT_BE_CAST} {}", type_name(of), type_name(to));
    }
    Ok(())
}

/// The days of a week by ISO 8601 begin with Monday as 1; DataFusion's with 0.
fn monday_first(call: ScalarFunction) -> Transformed<Expr> {
    let is_isodow = call.func.name() == "date_part"
        && matches!(call.args.first(), Some(Expr::Literal(part, _))
            if part.try_as_str().flatten().is_some_and(|part| part.eq_ignore_ascii_case("isodow")));
    let call = Expr::ScalarFunction(call);
    if !is_isodow {
        return Transformed::no(call);
    }
    let one = Expr::Literal(ScalarValue::Int32(Some(1)), None);
    let both = BinaryExpr::new(Box::new(call), Operator::Plus, Box::new(one));
    Transformed::yes(Expr::BinaryExpr(both))
}

/// Does the casts of what is written out: a wrong date is found while planning, and not in each row.
pub(super) fn fold_casts(plan: LogicalPlan) -> Result<LogicalPlan> {
    map_expressions(plan, Types::Stay, |expr, _| match &expr {
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _) => match value.cast_to(&cast.data_type) {
                Ok(value) => Ok(Transformed::yes(Expr::Literal(value, None))),
                Err(_) => plan_err!("{value} cannot be cast to {}", cast.data_type),
            },
            _ => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    })
}

/// Whether a change of expressions changes their types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    Change,
    Stay,
}

/// Changes each expression of a plan from the inside out; names and types of columns follow. Schemas
/// cost more than all else here: they are computed anew only where types behind them may have changed,
/// and handed to `change` only then.
fn map_expressions(
    plan: LogicalPlan,
    types: Types,
    change: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let mut anything = false;
    let changed = plan.transform_up(|plan| {
        let mut schema = DFSchema::empty();
        if types == Types::Change && computes(&plan) {
            plan.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
        }
        let names = NamePreserver::new(&plan);
        let changed = plan.map_expressions(|expr| {
            // Most are columns, in which there is nothing to change; to save a name costs a text.
            if is_column(&expr) {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| change(expr, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })?;
        anything |= types == Types::Change && changed.transformed;
        if anything { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    })?;
    Ok(changed.data)
}

/// Whether a part of a plan has an expression that is more than a column.
fn computes(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // The closure never fails.
    let _ = plan.apply_expressions(|expr| {
        found = !is_column(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Whether an expression is a column, perhaps under another name.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => matches!(alias.expr.as_ref(), Expr::Column(_)),
        _ => false,
    }
}

/// Gives text that is written out the type of what it is compared with, as PostgreSQL does, and refuses
/// to compare other text with what is none. DataFusion would look for a type that both have: text for
/// numbers, and for times nanoseconds, which end in 2262.
fn comparison(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let (of_left, of_right) = (left.get_type(schema)?, right.get_type(schema)?);
            let left = literal_as(*left, &of_left, &of_right)?;
            let right = literal_as(*right, &of_right, &of_left)?;
            let changed = left.transformed || right.transformed;
            let both = BinaryExpr::new(Box::new(left.data), op, Box::new(right.data));
            Ok(Transformed::new_transformed(Expr::BinaryExpr(both), changed))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.is_numerical_operators() => {
            let (of_left, of_right) = (left.get_type(schema)?, right.get_type(schema)?);
            let left = as_double(*left, &of_left, &of_right);
            let right = as_double(*right, &of_right, &of_left);
            let changed = left.transformed || right.transformed;
            let both = BinaryExpr::new(Box::new(left.data), op, Box::new(right.data));
            Ok(Transformed::new_transformed(Expr::BinaryExpr(both), changed))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let of = expr.get_type(schema)?;
            let low = typed(*low, &of, schema)?;
            let high = typed(*high, &of, schema)?;
            let changed = low.transformed || high.transformed;
            let between = Between::new(expr, negated, Box::new(low.data), Box::new(high.data));
            Ok(Transformed::new_transformed(Expr::Between(between), changed))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let of = expr.get_type(schema)?;
            let list = list.into_iter().map(|item| typed(item, &of, schema));
            let list = list.collect::<Result<Vec<_>>>()?;
            let changed = list.iter().any(|item| item.transformed);
            let list = list.into_iter().map(|item| item.data).collect();
            let in_list = InList { expr, list, negated };
            Ok(Transformed::new_transformed(Expr::InList(in_list), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn typed(expr: Expr, other: &DataType, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let of = expr.get_type(schema)?;
    literal_as(expr, &of, other)
}

/// One side of a comparison with something of the type `other`.
fn literal_as(expr: Expr, of: &DataType, other: &DataType) -> Result<Transformed<Expr>> {
    if !is_text(of) || is_text(other) || !has_text_form(other) {
        return Ok(as_double(expr, of, other));
    }
    let Expr::Literal(value, _) = &expr else {
        return plan_err!("text is compared with {other}: cast one of them");
    };
    let Some(Some(text)) = value.try_as_str() else { return Ok(Transformed::no(expr)) };
    let cast = match exact_type(text, other) {
        None => ScalarValue::from(text).cast_to(other),
        Some(exact) => ScalarValue::from(text).cast_to(&exact),
    };
    match cast {
        Ok(value) => Ok(Transformed::yes(Expr::Literal(value, None))),
        Err(_) => plan_err!("'{text}' is no {other}, with which it is compared"),
    }
}

/// An exact number that meets an inexact one becomes inexact, as in PostgreSQL. DataFusion would make
/// both exact, and a large number would leave the type.
fn as_double(expr: Expr, of: &DataType, other: &DataType) -> Transformed<Expr> {
    if of.is_decimal() && other.is_floating() {
        return Transformed::yes(Expr::Cast(Cast::new(Box::new(expr), DataType::Float64)));
    }
    Transformed::no(expr)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether values of a type are written as text in comparisons.
fn has_text_form(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}

/// The decimal type that holds all digits of a number as it is written: one that is compared with a
/// decimal is not rounded to that one's scale.
fn exact_type(text: &str, other: &DataType) -> Option<DataType> {
    let (DataType::Decimal128(..) | DataType::Decimal256(..)) = other else { return None };
    let digits = text.trim().trim_start_matches(['+', '-']);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain =
        !digits.is_empty() && (whole.chars().chain(part.chars())).all(|c| c.is_ascii_digit());
    let scale = i8::try_from(part.len()).ok()?;
    let precision = u8::try_from(whole.len() + part.len()).ok()?;
    (plain && (1..=38).contains(&precision)).then_some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_number_keeps_its_digits() {
        let decimal = DataType::Decimal128(12, 2);
        assert_eq!(exact_type("10.555", &decimal), Some(DataType::Decimal128(5, 3)));
        assert_eq!(exact_type("-7", &decimal), Some(DataType::Decimal128(1, 0)));
        assert_eq!(exact_type("1e3", &decimal), None);
        assert_eq!(exact_type("7", &DataType::Int32), None);
    }
}
