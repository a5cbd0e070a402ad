//! A processor's SQL: parsed, refused where it asks for what this runner cannot do, resolved.
//!
//! `parse` gives the syntax tree, `refuse` walks it for what is not supported, `rewrite` spells out
//! what stars take, `context`, `functions` and `declared` tell DataFusion's planner what there is and
//! what PostgreSQL means, `runs` tries what cannot be computed, `locate` finds the place of what is
//! refused, and `resolve` turns the plan into a [`crate::query::Query`].

mod context;
mod declared;
mod dialect;
mod functions;
mod implied;
mod locate;
mod names;
mod parse;
mod physical;
mod refuse;
mod resolve;
mod rewrite;
mod runs;
pub mod types;

pub use parse::SQL_TOKENS_MAX;
pub use physical::physical;
pub use resolve::{EXPR_DEPTH_MAX, Tables};

use crate::query::Query;
use crate::{Problem, Problems};
use context::{Context, OPTIONS};
use datafusion_common::DataFusionError;
use datafusion_common::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use parse::Parsed;
use sqlparser::ast::{Query as Ast, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The stack that planning may take: trees are walked by recursion, as deep as there are tokens.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// The functions that SQL can call, each with the other names that it has.
#[must_use]
pub fn function_names() -> BTreeMap<String, BTreeSet<String>> {
    functions::functions().aliases()
}

/// Resolves a processor's SQL.
///
/// # Errors
///
/// All that is refused before planning, else the planner's first refusal; each with its place in the
/// SQL where that is known.
pub fn resolve_sql(sql: &str, tables: Tables<'_>) -> Result<Query, Problems> {
    resolve_named(sql, tables).map(|(query, _)| query)
}

/// As [`resolve_sql`], with the names of the tables that the SQL reads.
pub(crate) fn resolve_named(
    sql: &str,
    tables: Tables<'_>,
) -> Result<(Query, BTreeSet<String>), Problems> {
    stacker::maybe_grow(STACK_BYTES, STACK_BYTES, || resolve_here(sql, tables))
}

/// Does something with a stack on which many queries can be resolved one after the other: a new one
/// for each would cost a page fault for each of its pages.
pub(crate) fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES + STACK_BYTES / 16, work)
}

fn resolve_here(sql: &str, tables: Tables<'_>) -> Result<(Query, BTreeSet<String>), Problems> {
    let mut parsed = parse::parse(sql)?;
    let lookups: BTreeSet<&str> = tables
        .inputs
        .iter()
        .filter(|input| input.lookup)
        .map(|input| input.name.as_str())
        .collect();
    let refused = refuse::refused(&parsed, &lookups);
    if !refused.is_empty() {
        return Err(Problems(refused));
    }
    let hidden = tables.inputs.iter().filter(|input| !input.hidden.is_empty());
    let hidden = hidden.map(|input| (input.name.clone(), input.hidden.clone())).collect();
    rewrite::rewrite(&mut parsed.query, &hidden);
    let context = context(tables);
    let plan = plan(&parsed.query, &context).map_err(|error| {
        let plans = |query: &Ast| plan(query, &context).is_ok();
        with_place(locate::problem(&error, &parsed.query, &context, plans), &parsed)
    })?;
    let query =
        resolve::resolve(&plan, tables, &parsed).map_err(|problem| with_place(problem, &parsed))?;
    Ok((query, scanned(&plan)))
}

/// The tables that a plan reads.
fn scanned(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // The closure never fails.
    let _ = plan.apply(|part| {
        if let LogicalPlan::TableScan(scan) = part {
            names.insert(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    names
}

/// Every table as the planner sees it.
fn context(tables: Tables<'_>) -> Context {
    let inputs = tables.inputs.iter().map(|input| {
        let columns = input.relation.columns.iter();
        let fields = columns.map(|column| {
            Field::new(&column.name, column.sql.data_type.clone(), column.sql.nullable)
        });
        (input.name.clone(), schema(fields))
    });
    let queries = tables.queries.iter().map(|(name, query)| {
        let fields = query.columns.iter().map(|column| {
            Field::new(&column.name, column.sql.data_type.clone(), column.sql.nullable)
        });
        (name.clone(), schema(fields))
    });
    Context::new(inputs.chain(queries))
}

fn schema(fields: impl Iterator<Item = Field>) -> SchemaRef {
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// DataFusion's plan of a query, its types made to fit.
fn plan(query: &Ast, context: &Context) -> Result<LogicalPlan, DataFusionError> {
    // Numbers with a point are exact, as in PostgreSQL; text is text, not a view of it.
    let options = ParserOptions::new()
        .with_parse_float_as_decimal(true)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true);
    let planner = SqlToRel::new_with_options(context, options);
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query.clone())))?;
    let plan = declared::as_postgres(plan)?;
    let written = implied::unsafe_casts(&plan)?;
    let plan = TypeCoercion::new().analyze(plan, &OPTIONS)?;
    implied::refuse(&written, &plan)?;
    let plan = declared::fold_casts(plan)?;
    runs::check(&plan)?;
    Ok(plan)
}

/// A problem of the whole query stands where it begins.
fn with_place(mut problem: Problem, parsed: &Parsed) -> Problem {
    let start = || parsed.tokens.iter().find(|token| !is_space(token));
    problem.sql_place =
        problem.sql_place.or_else(|| start().and_then(|token| parse::place(token.span)));
    problem
}

fn is_space(token: &sqlparser::tokenizer::TokenWithSpan) -> bool {
    use sqlparser::tokenizer::Token;
    matches!(token.token, Token::Whitespace(_))
}
