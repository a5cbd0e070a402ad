//! From DataFusion's plan to a query over inputs: names become slots, processors that are read become
//! their own steps.

use super::parse::{Parsed, at};
use crate::query::{
    BRANCHES_MAX, Branch, Input, Lookup, Origin, Output, OutputColumn, Query, SLOTS_MAX, Slot,
    Step, slot_expr,
};
use crate::sql::types::{SqlType, is_opaque};
use crate::{Place, Problem};
use datafusion_common::arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, ScalarValue};
use datafusion_expr::expr::TryCast;
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use sqlparser::tokenizer::Location;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The deepest nesting of one expression.
pub const EXPR_DEPTH_MAX: usize = 128;

/// What SQL can name.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'t> {
    /// The pipeline's inputs.
    pub inputs: &'t [Input],
    /// The processors before this one, by name.
    pub queries: &'t BTreeMap<String, Query>,
}

/// The query that a plan is.
///
/// # Errors
///
/// What this runner cannot do.
pub(super) fn resolve(
    plan: &LogicalPlan,
    tables: Tables<'_>,
    parsed: &Parsed,
) -> Result<Query, Problem> {
    let branches = Resolver { tables, parsed }.branches(plan)?;
    let columns = plan.schema().fields().iter().map(|field| OutputColumn {
        name: field.name().clone(),
        sql: SqlType { data_type: field.data_type().clone(), nullable: field.is_nullable() },
    });
    Ok(Query { columns: columns.collect(), branches })
}

struct Resolver<'t> {
    tables: Tables<'t>,
    /// The text, for the places of what is refused.
    parsed: &'t Parsed,
}

impl Resolver<'_> {
    fn branches(&self, plan: &LogicalPlan) -> Result<Vec<Branch>, Problem> {
        let branches = match plan {
            LogicalPlan::TableScan(scan) => self.table(scan.table_name.table())?,
            LogicalPlan::SubqueryAlias(alias) => self.branches(&alias.input)?,
            LogicalPlan::Projection(projection) => {
                let schema = projection.input.schema();
                let project = |branch| project(branch, &projection.expr, schema);
                self.branches(&projection.input)?
                    .into_iter()
                    .map(project)
                    .collect::<Result<_, _>>()?
            }
            LogicalPlan::Filter(filter) => {
                let schema = filter.input.schema();
                let restrict = |branch| restrict(branch, &filter.predicate, schema);
                self.branches(&filter.input)?.into_iter().map(restrict).collect::<Result<_, _>>()?
            }
            LogicalPlan::Union(union) => {
                let mut all = Vec::new();
                for input in &union.inputs {
                    all.extend(self.branches(input)?);
                }
                all
            }
            LogicalPlan::Join(join) => self.join(join)?,
            other => {
                let name = other.display().to_string();
                let name = name.split([':', ' ']).next().unwrap_or_default();
                return Err(Problem::new("", format!("{name} is not supported")));
            }
        };
        if branches.len() > BRANCHES_MAX {
            let message =
                format!("the parts of UNION ALL, multiplied, are more than {BRANCHES_MAX}");
            return Err(Problem::new("", message).help("write a topic between processors"));
        }
        Ok(branches)
    }

    fn table(&self, name: &str) -> Result<Vec<Branch>, Problem> {
        if let Some(query) = self.tables.queries.get(name) {
            return Ok(query.branches.clone());
        }
        let place = self.tables.inputs.iter().position(|input| input.name == name);
        match place {
            Some(place) => Ok(Query::of_input(place, &self.tables.inputs[place]).branches),
            None => Err(Problem::new("", format!("there is no table `{name}`"))),
        }
    }

    fn join(&self, join: &datafusion_expr::logical_plan::Join) -> Result<Vec<Branch>, Problem> {
        let Some(input) = self.lookup_input(&join.right) else {
            return Err(Problem::new("", "only a lookup input can be joined"));
        };
        let required = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left => false,
            _ => return Err(Problem::new("", "only JOIN and LEFT JOIN take a lookup")),
        };
        let equals = join.on.iter().map(|(left, right)| {
            Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left.clone()),
                Operator::Eq,
                Box::new(right.clone()),
            ))
        });
        let conditions: Vec<Expr> =
            equals.chain(join.filter.iter().cloned().flat_map(split_conjunction_owned)).collect();
        let joining =
            Joining { input, of: &self.tables.inputs[input], required, schema: &join.schema };
        let branches = self.branches(&join.left)?.into_iter();
        let joined = branches.map(|branch| joining.branch(branch, &conditions));
        joined.collect::<Result<_, _>>().map_err(|mut problem: Problem| {
            problem.sql_place = problem.sql_place.or_else(|| self.joined(&joining.of.name));
            problem
        })
    }

    /// Where a lookup is joined.
    fn joined(&self, name: &str) -> Option<Place> {
        let join = self.parsed.keyword("JOIN", Location { line: 0, column: 0 })?;
        let behind = Location { line: join.line.into(), column: join.column.into() };
        self.parsed.keyword(name, behind).or(Some(join))
    }

    /// The lookup input that a plan reads as it is.
    fn lookup_input(&self, plan: &LogicalPlan) -> Option<usize> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.lookup_input(&alias.input),
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                self.tables.inputs.iter().position(|input| input.lookup && input.name == name)
            }
            _ => None,
        }
    }
}

/// One lookup of a branch.
struct Joining<'j> {
    input: usize,
    of: &'j Input,
    required: bool,
    /// The columns of both sides.
    schema: &'j DFSchema,
}

impl Joining<'_> {
    fn branch(&self, mut branch: Branch, conditions: &[Expr]) -> Result<Branch, Problem> {
        let relation = &self.of.relation;
        let left = branch.outputs.len();
        let first_slot = branch.slots.len();
        for (column, of) in relation.columns.iter().enumerate() {
            let nullable = of.sql.nullable || !self.required;
            let sql = SqlType { data_type: of.sql.data_type.clone(), nullable };
            branch.slots.push(Slot { origin: Origin::Lookup { input: self.input, column }, sql });
            branch.outputs.push(Output::Slot { slot: first_slot + column, path: Vec::new() });
        }
        check_slots(&branch)?;
        let mut key: Vec<Option<Expr>> = vec![None; relation.key_columns.len()];
        let mut others = Vec::new();
        for condition in conditions {
            match self.key_condition(condition, left)? {
                Some((column, value))
                    if key
                        .iter()
                        .zip(&relation.key_columns)
                        .any(|(set, of)| *of == column && set.is_none()) =>
                {
                    let place = relation.key_columns.iter().position(|of| *of == column);
                    let value = substitute(value, self.schema, &branch)?;
                    if let Some(place) = place {
                        key[place] = Some(value);
                    }
                }
                _ => others.push(condition.clone()),
            }
        }
        let key = key.into_iter().collect::<Option<Vec<Expr>>>().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| self.wrong_key())?;
        branch.steps.push(Step::Lookup(Lookup {
            input: self.input,
            key,
            required: self.required,
            first_slot,
        }));
        if !others.is_empty() && !self.required {
            let message = "beside the key's equality ON takes no condition in a LEFT JOIN";
            return Err(Problem::new("", message).help("write it in a CASE, or in WHERE"));
        }
        for other in others {
            branch = restrict(branch, &other, self.schema)?;
        }
        Ok(branch)
    }

    /// `lookup.column = value`, either way round, as the column's place and the value in its type.
    fn key_condition(
        &self,
        condition: &Expr,
        left: usize,
    ) -> Result<Option<(usize, Expr)>, Problem> {
        let Expr::BinaryExpr(BinaryExpr { left: one, op: Operator::Eq, right: other }) = condition
        else {
            return Ok(None);
        };
        for (of_lookup, value) in [(one, other), (other, one)] {
            let (column, is_cast) = match of_lookup.as_ref() {
                Expr::Column(column) => (column, false),
                Expr::Cast(cast) => match cast.expr.as_ref() {
                    Expr::Column(column) => (column, true),
                    _ => continue,
                },
                _ => continue,
            };
            let place = index(self.schema, column)?;
            let value_is_left = {
                let mut all = true;
                for column in columns_of(value) {
                    all &= index(self.schema, &column)? < left;
                }
                all
            };
            if place < left || !value_is_left {
                continue;
            }
            let column = place - left;
            let data_type = self.of.relation.columns[column].sql.data_type.clone();
            // What the key's type cannot hold has no match.
            let value = if is_cast { try_cast(value, data_type) } else { value.as_ref().clone() };
            return Ok(Some((column, value)));
        }
        Ok(None)
    }

    fn wrong_key(&self) -> Problem {
        let relation = &self.of.relation;
        let names: Vec<&str> = relation
            .key_columns
            .iter()
            .map(|column| relation.columns[*column].name.as_str())
            .collect();
        let name = &self.of.name;
        if names.is_empty() {
            return Problem::new(
                "",
                format!("the lookup `{name}` has no key, by which a row could be found"),
            )
            .help("only a topic with a key among its columns can be a lookup");
        }
        let equals: Vec<String> = names.iter().map(|key| format!("{name}.{key} = …")).collect();
        Problem::new("", format!("a row of `{name}` is found by its key ({})", names.join(", ")))
            .help(format!("write ON {}", equals.join(" AND ")))
    }
}

fn try_cast(value: &Expr, data_type: DataType) -> Expr {
    // The cast that makes both sides alike says nothing about the value itself.
    Expr::TryCast(TryCast::new(Box::new(value.clone()), data_type))
}

fn columns_of(expr: &Expr) -> BTreeSet<Column> {
    expr.column_refs().into_iter().cloned().collect()
}

/// A branch behind a SELECT's list.
fn project(mut branch: Branch, exprs: &[Expr], schema: &DFSchema) -> Result<Branch, Problem> {
    let slots = slots_schema(&branch)?;
    let mut computed = Computed::of(&branch);
    let mut outputs = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let expr = substitute(expr.clone().unalias_nested().data, schema, &branch)?;
        outputs.push(match output(&branch, &expr) {
            Some(output) => output,
            None => computed.slot(&mut branch, expr, &slots)?,
        });
    }
    branch.outputs = outputs;
    check_slots(&branch)?;
    Ok(branch)
}

/// A branch behind a WHERE.
fn restrict(mut branch: Branch, predicate: &Expr, schema: &DFSchema) -> Result<Branch, Problem> {
    let predicate = substitute(predicate.clone().unalias_nested().data, schema, &branch)?;
    branch.steps.push(Step::Filter(predicate));
    Ok(branch)
}

/// What a branch has computed: nothing is computed twice.
struct Computed(Vec<(Expr, usize)>);

impl Computed {
    fn of(branch: &Branch) -> Self {
        let computed = branch.steps.iter().filter_map(|step| match step {
            Step::Compute { slot, value } => Some((value.clone(), *slot)),
            _ => None,
        });
        Self(computed.collect())
    }

    /// The slot that holds an expression's value.
    fn slot(
        &mut self,
        branch: &mut Branch,
        value: Expr,
        slots: &DFSchema,
    ) -> Result<Output, Problem> {
        let known = self.0.iter().find(|(computed, _)| *computed == value);
        let slot = match known {
            Some((_, slot)) => *slot,
            None => {
                let sql = type_of(&value, slots)?;
                let slot = branch.slots.len();
                branch.slots.push(Slot { origin: Origin::Computed, sql });
                branch.steps.push(Step::Compute { slot, value: value.clone() });
                self.0.push((value, slot));
                slot
            }
        };
        Ok(Output::Slot { slot, path: Vec::new() })
    }
}

fn type_of(value: &Expr, slots: &DFSchema) -> Result<SqlType, Problem> {
    let (_, field): (_, Arc<Field>) = value.to_field(slots).map_err(internal)?;
    Ok(SqlType { data_type: field.data_type().clone(), nullable: field.is_nullable() })
}

fn slots_schema(branch: &Branch) -> Result<DFSchema, Problem> {
    branch.schema().map_err(internal)
}

fn check_slots(branch: &Branch) -> Result<(), Problem> {
    if branch.slots.len() <= SLOTS_MAX {
        return Ok(());
    }
    Err(Problem::new("", format!("the columns of all steps together are more than {SLOTS_MAX}")))
}

/// What an expression is if it is no computation.
fn output(branch: &Branch, expr: &Expr) -> Option<Output> {
    match expr {
        Expr::Literal(value, _) => Some(Output::Constant(value.clone())),
        other => branch.part_of(other).map(|(slot, path)| Output::Slot { slot, path }),
    }
}

/// An output as an expression over slots.
fn expression(output: &Output) -> Expr {
    match output {
        Output::Constant(value) => Expr::Literal(value.clone(), None),
        Output::Slot { slot, path } => path.iter().fold(slot_expr(*slot), |of, name| {
            let name = Expr::Literal(ScalarValue::Utf8(Some(name.clone())), None);
            datafusion_functions::core::get_field().call(vec![of, name])
        }),
    }
}

/// An expression over a plan's columns as one over the branch's slots.
fn substitute(expr: Expr, schema: &DFSchema, branch: &Branch) -> Result<Expr, Problem> {
    check_depth(&expr)?;
    check_opaque(&expr, schema, branch)?;
    let replaced = expr.transform_up(|part| match part {
        Expr::Column(column) => {
            let place = schema.index_of_column(&column)?;
            Ok(Transformed::yes(expression(&branch.outputs[place])))
        }
        other => Ok(Transformed::no(other)),
    });
    replaced.map(|replaced| replaced.data).map_err(internal)
}

fn index(schema: &DFSchema, column: &Column) -> Result<usize, Problem> {
    schema.index_of_column(column).map_err(internal)
}

/// Refuses what looks into a value that expressions cannot handle.
fn check_opaque(expr: &Expr, schema: &DFSchema, branch: &Branch) -> Result<(), Problem> {
    let mut found = None;
    let mut look = |column: &Column| {
        let opaque = schema
            .index_of_column(column)
            .ok()
            .and_then(|place| branch.outputs.get(place).and_then(Output::slot))
            .is_some_and(|slot| is_opaque(&branch.slots[slot].sql.data_type));
        if opaque {
            found.get_or_insert_with(|| column.clone());
        }
    };
    if !matches!(expr, Expr::Column(_)) {
        // The closure never fails.
        let _ = expr.apply(|part| {
            Ok(match part {
                Expr::IsNull(of) | Expr::IsNotNull(of)
                    if matches!(of.as_ref(), Expr::Column(_)) =>
                {
                    TreeNodeRecursion::Jump
                }
                Expr::Column(column) => {
                    look(column);
                    TreeNodeRecursion::Continue
                }
                _ => TreeNodeRecursion::Continue,
            })
        });
    }
    match found {
        None => Ok(()),
        Some(column) => Err(Problem::new(
            "",
            format!("the type of `{}` has no form in SQL: it can be selected, renamed and tested for NULL only", column.name),
        )
        .help("select it as it is, or let a registered processor read it")
        .at_sql(column_place(&column))),
    }
}

fn column_place(column: &Column) -> Option<Place> {
    let start = column.spans.first()?.start;
    at(Location { line: start.line, column: start.column })
}

fn check_depth(expr: &Expr) -> Result<(), Problem> {
    if !too_deep(expr) {
        return Ok(());
    }
    Err(Problem::new("", format!("an expression is nested more than {EXPR_DEPTH_MAX} deep"))
        .help("give parts of it names in a WITH; write IN for many equalities joined by OR"))
}

/// Whether an expression is nested deeper than is taken.
pub(super) fn too_deep(expr: &Expr) -> bool {
    depth(expr) > EXPR_DEPTH_MAX
}

fn depth(expr: &Expr) -> usize {
    let mut deepest = 0;
    let mut level: Vec<&Expr> = vec![expr];
    while !level.is_empty() && deepest <= EXPR_DEPTH_MAX {
        deepest += 1;
        let mut next = Vec::new();
        for part in level {
            // The closure never fails.
            let _ = part.apply_children(|child| {
                next.push(child);
                Ok(TreeNodeRecursion::Continue)
            });
        }
        level = next;
    }
    deepest
}

/// What the plan itself ruled out.
fn internal(error: datafusion_common::DataFusionError) -> Problem {
    Problem::new("", error.strip_backtrace())
}
