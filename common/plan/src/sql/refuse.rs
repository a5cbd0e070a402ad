//! What SQL can say and the embedded runner cannot do: found in the syntax tree, each with its place.

use super::parse::{Parsed, place};
use super::rewrite::implied_name;
use crate::{Place, Problem};
use sqlparser::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    Join, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableFactor, TableWithJoins, Value, visit_expressions,
};
use sqlparser::tokenizer::{Location, Span};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What there is to say where a construct needs another runner.
const NEEDS_FLINK: &str =
    "it needs state over many records, which the embedded runner does not keep; Flink's will";

/// Functions over many rows, by their names in PostgreSQL and DataFusion.
const AGGREGATES: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "every",
    "first_value",
    "grouping",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "last_value",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "nth_value",
    "percentile_cont",
    "percentile_disc",
    "regr_slope",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

/// Functions over a window of rows.
const WINDOWS: &[&str] =
    &["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "row_number"];

/// All that the query asks for and this runner cannot do. `lookups` are the tables that may be joined.
pub(super) fn refused(parsed: &Parsed, lookups: &BTreeSet<&str>) -> Vec<Problem> {
    let mut refuser = Refuser { parsed, lookups, problems: Vec::new() };
    refuser.query(&parsed.query);
    refuser.names(&parsed.query.body);
    refuser.expressions(&parsed.query);
    refuser.problems.sort_by_key(|problem| problem.sql_place);
    refuser.problems
}

struct Refuser<'p> {
    parsed: &'p Parsed,
    lookups: &'p BTreeSet<&'p str>,
    problems: Vec<Problem>,
}

impl Refuser<'_> {
    fn add(&mut self, message: &str, help: &str, place: Option<Place>) {
        self.problems.push(Problem::new("", message).help(help).at_sql(place));
    }

    /// Adds a problem if `there`, at the keyword that makes it.
    fn clause(&mut self, there: bool, word: &str, from: Span, message: &str, help: &str) {
        if there {
            let place = self.parsed.keyword(word, from.start).or_else(|| place(from));
            self.add(message, help, place);
        }
    }

    fn query(&mut self, query: &Query) {
        let span = query.span();
        let no_order = "records keep the order of their topic's partition; leave it out";
        let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        self.clause(
            recursive,
            "RECURSIVE",
            Span::empty(),
            "WITH RECURSIVE is not supported",
            NEEDS_FLINK,
        );
        let Query { order_by, limit_clause, fetch, locks, .. } = query;
        self.clause(
            order_by.is_some(),
            "ORDER",
            body_start(query),
            "ORDER BY has no meaning on a stream",
            no_order,
        );
        let limit_word =
            if limit_clause.is_some() && self.has("LIMIT", span) { "LIMIT" } else { "OFFSET" };
        let no_limit = "a stream has no end; filter with WHERE";
        self.clause(
            limit_clause.is_some(),
            limit_word,
            body_start(query),
            "LIMIT and OFFSET have no meaning on a stream",
            no_limit,
        );
        self.clause(
            fetch.is_some(),
            "FETCH",
            body_start(query),
            "FETCH has no meaning on a stream",
            no_limit,
        );
        self.clause(
            !locks.is_empty(),
            "FOR",
            body_start(query),
            "there are no rows to lock",
            "leave FOR out",
        );
        let dialect = query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        self.clause(dialect, "", span, "this is another database's SQL", "write PostgreSQL's");
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.query(&cte.query);
        }
        self.set_expr(&query.body);
    }

    fn has(&self, word: &str, span: Span) -> bool {
        self.parsed.keyword(word, span.start).is_some()
    }

    fn set_expr(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                self.set_operation(*op, *set_quantifier, right.span());
                self.set_expr(left);
                self.set_expr(right);
            }
            SetExpr::Values(values) => {
                let start = place(values.span());
                self.add("VALUES are no stream", "SELECT from an input", start);
            }
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => {
                let start = place(body.span());
                self.add("this is no SELECT", "write SELECT … FROM an input", start);
            }
        }
    }

    fn set_operation(&mut self, op: SetOperator, quantifier: SetQuantifier, right: Span) {
        let place = place(right);
        match (op, quantifier) {
            (SetOperator::Union, SetQuantifier::All) => {}
            (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => {
                self.add(
                    "UNION removes doubles, for which all rows have to be kept",
                    "write UNION ALL",
                    place,
                );
            }
            (SetOperator::Union, _) => {
                self.add(
                    "UNION BY NAME is not supported",
                    "write UNION ALL, with the columns in one order",
                    place,
                );
            }
            _ => self.add(&format!("{op} is not supported"), NEEDS_FLINK, place),
        }
    }

    fn select(&mut self, select: &Select) {
        let start = Span { start: select.select_token.0.span.start, end: select.span().end };
        let grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(expressions, modifiers) => {
                !expressions.is_empty() || !modifiers.is_empty()
            }
        };
        let distinct = matches!(&select.distinct, Some(Distinct::Distinct | Distinct::On(_)));
        for (there, word, message) in [
            (distinct, "DISTINCT", "DISTINCT is not supported"),
            (grouped, "GROUP", "GROUP BY is not supported"),
            (select.having.is_some(), "HAVING", "HAVING is not supported"),
            (!select.named_window.is_empty(), "WINDOW", "windows are not supported"),
            (select.qualify.is_some(), "QUALIFY", "QUALIFY is not supported"),
        ] {
            self.clause(there, word, start, message, NEEDS_FLINK);
        }
        self.dialect(select, start);
        match select.from.as_slice() {
            [] => {
                let place = place(start);
                self.add(
                    "this SELECT reads nothing",
                    "name an input or a processor in FROM",
                    place,
                );
            }
            [from] => self.from(from),
            [first, second, ..] => {
                self.from(first);
                let place = place(second.relation.span());
                self.add(
                    "several tables in FROM are a join",
                    "write LEFT JOIN … ON … with a lookup input, or UNION ALL",
                    place,
                );
            }
        }
    }

    /// What other databases have beside PostgreSQL's SELECT.
    fn dialect(&mut self, select: &Select, start: Span) {
        let write_to_sink = "a sink takes what a processor gives; leave INTO out";
        self.clause(
            select.into.is_some(),
            "INTO",
            start,
            "SELECT INTO is not supported",
            write_to_sink,
        );
        let other = select.top.is_some()
            || select.exclude.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.value_table_mode.is_some();
        self.clause(other, "", start, "this is another database's SELECT", "write PostgreSQL's");
    }

    fn from(&mut self, from: &TableWithJoins) {
        self.table(&from.relation);
        if let Some(name) = table_name(&from.relation)
            && self.lookups.contains(name.as_str())
        {
            let place = place(from.relation.span());
            self.add(
                &format!("`{name}` is a lookup: it has no changes of its own to follow"),
                "read another input and join this one, or declare it without `lookup: true`",
                place,
            );
        }
        from.joins.iter().for_each(|join| self.join(join));
    }

    fn table(&mut self, factor: &TableFactor) {
        let start = place(factor.span());
        match factor {
            TableFactor::Table {
                name,
                args: None,
                version: None,
                with_ordinality: false,
                json_path: None,
                sample: None,
                ..
            } => {
                if name.0.len() > 1 {
                    self.add(
                        &format!("`{name}` has several parts, and tables are named by one"),
                        "declare the topic under `inputs` and write the input's name",
                        start,
                    );
                }
            }
            TableFactor::Derived { lateral: false, subquery, sample: None, .. } => {
                self.query(subquery)
            }
            TableFactor::NestedJoin { .. } => {
                self.add(
                    "joins in brackets are not supported",
                    "write FROM input LEFT JOIN lookup ON …",
                    start,
                );
            }
            _ => self.add(
                "this is no table",
                "name an input or a processor, or write a SELECT in brackets",
                start,
            ),
        }
    }

    fn join(&mut self, join: &Join) {
        let start = place(join.relation.span());
        let lookup = table_name(&join.relation).filter(|name| self.lookups.contains(name.as_str()));
        if lookup.is_none() {
            let known: Vec<&str> = self.lookups.iter().copied().collect();
            let help = if known.is_empty() {
                "declare the other input with `lookup: true`: it is kept as a table, and each record \
                 takes the row that is there when it comes"
                    .to_owned()
            } else {
                format!("only lookup inputs can be joined: {}", known.join(", "))
            };
            self.add(&format!("this JOIN is not supported: {NEEDS_FLINK}"), &help, start);
            return;
        }
        let constraint = match &join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint) => Some(constraint),
            _ => None,
        };
        let help = "write JOIN or LEFT JOIN … ON the lookup's key = a column";
        match constraint {
            None => self.add("only JOIN and LEFT JOIN take a lookup", help, start),
            Some(JoinConstraint::On(_)) => {}
            Some(_) => self.add("a lookup needs ON", help, start),
        }
    }

    /// The output's columns need names: those of the first SELECT are the whole's.
    fn names(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Query(query) => self.names(&query.body),
            SetExpr::SetOperation { left, .. } => self.names(left),
            SetExpr::Select(select) => {
                let mut known = BTreeSet::new();
                for item in &select.projection {
                    self.name(item, &mut known);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, item: &SelectItem, known: &mut BTreeSet<String>) {
        let (name, start) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (Some(alias.clone()), expr.span()),
            SelectItem::UnnamedExpr(expr) => (implied_name(expr), expr.span()),
            _ => return,
        };
        match name.map(|name| normal(&name)) {
            None => self.add("this column has no name", "give it one: … AS name", place(start)),
            Some(name) if known.contains(&name) => {
                let message = format!("two columns are called `{name}`");
                self.add(&message, "give one another name with AS", place(start));
            }
            Some(name) => {
                known.insert(name);
            }
        }
    }

    fn expressions(&mut self, query: &Query) {
        let _: ControlFlow<()> = visit_expressions(query, |expr: &Expr| {
            if let Some((message, help)) = refused_expression(expr) {
                self.add(&message, help, place(expr.span()));
            }
            ControlFlow::Continue(())
        });
    }
}

/// Where a query's body ends: what stands behind it are clauses of the query.
fn body_start(query: &Query) -> Span {
    let end = query.body.span().end;
    Span { start: Location { line: end.line, column: end.column }, end }
}

/// A plain table's name, as PostgreSQL reads it.
pub(super) fn table_name(factor: &TableFactor) -> Option<String> {
    let TableFactor::Table { name, .. } = factor else { return None };
    let [part] = name.0.as_slice() else { return None };
    Some(normal(part.as_ident()?))
}

/// A name as PostgreSQL reads it: in small letters unless it is quoted.
pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Why an expression is refused, and what would work.
fn refused_expression(expr: &Expr) -> Option<(String, &'static str)> {
    let with = |message: &str, help| Some((message.to_owned(), help));
    match expr {
        Expr::Exists { .. } | Expr::Subquery(_) | Expr::InSubquery { .. } => {
            with("a subquery in an expression is not supported", "join a lookup input instead")
        }
        Expr::InUnnest { .. } => with("UNNEST is not supported", NEEDS_FLINK),
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
            with("grouping is not supported", NEEDS_FLINK)
        }
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            with("there are no parameters to fill in", "write the value itself")
        }
        Expr::SimilarTo { .. } => {
            with("SIMILAR TO is not supported", "write LIKE, or ~ with a regular expression")
        }
        Expr::Function(function) => refused_function(function),
        _ => None,
    }
}

fn refused_function(function: &Function) -> Option<(String, &'static str)> {
    let name = function.name.to_string().to_lowercase();
    let listed = |list: &[&str]| list.contains(&name.as_str());
    if function.over.is_some() || listed(WINDOWS) {
        return Some((format!("{name}(…) OVER a window is not supported"), NEEDS_FLINK));
    }
    if listed(AGGREGATES) {
        let message = format!("{name} is over many rows, and here each row stands alone");
        return Some((message, NEEDS_FLINK));
    }
    if name == "unnest" {
        return Some(("UNNEST makes many rows of one, which have no key".into(), NEEDS_FLINK));
    }
    if let Some(refused) = refused_format(&name, function) {
        return Some(refused);
    }
    let special = function.filter.is_some()
        || function.null_treatment.is_some()
        || !function.within_group.is_empty()
        || matches!(function.parameters, FunctionArguments::List(_));
    special.then(|| (format!("{name} takes arguments only"), "leave out what stands beside them"))
}

/// Functions whose second argument says how a time is written.
const FORMATTED: &[&str] =
    &["to_char", "date_format", "to_date", "to_time", "to_timestamp", "to_unixtime"];

/// PostgreSQL's formats, which would be taken for what stands between.
fn refused_format(name: &str, function: &Function) -> Option<(String, &'static str)> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(format))) = list.args.get(1)? else {
        return None;
    };
    let Value::SingleQuotedString(text) = &format.value else { return None };
    (FORMATTED.contains(&name) && !text.contains('%')).then(|| {
        let message = format!("{name} takes a format as of strftime, and '{text}' is none");
        (message, "write '%Y-%m-%d %H:%M:%S'")
    })
}
