//! Where in the SQL a refusal of DataFusion's planner stands, and what it says in our words.
//!
//! The planner tells the place of some mistakes. For the others the expression is looked for without
//! which there is no mistake: each is set to NULL in turn, from the outside in.

use super::context::Context;
use super::functions::{NotTaken, functions};
use super::implied::NOT_SILENTLY;
use super::parse::{at, place};
use super::runs::CANNOT_BE_CAST;
use crate::document::names::nearest;
use crate::{Place, Problem};
use datafusion_common::{DataFusionError, Diagnostic, SchemaError};
use datafusion_expr::planner::ContextProvider;
use sqlparser::ast::{Expr, Query, Spanned, Value, VisitMut, VisitorMut, visit_expressions};
use sqlparser::tokenizer::Location;
use std::ops::ControlFlow;

/// How often a query is planned again to find a mistake.
const TRIES_MAX: usize = 256;

/// How many names a message lists.
const LISTED_MAX: usize = 20;

/// What the planner refuses, as a problem.
pub(super) fn problem(
    error: &DataFusionError,
    query: &Query,
    context: &Context,
    plans: impl Fn(&Query) -> bool,
) -> Problem {
    let place = diagnostic(error)
        .and_then(|diagnostic| diagnostic.span)
        .and_then(|span| at(Location { line: span.start.line, column: span.start.column }))
        .or_else(|| culprit(query, plans));
    let (message, help) = words(error, context);
    let problem = Problem::new("", message).at_sql(place);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// What the planner adds to an error for its user.
fn diagnostic(error: &DataFusionError) -> Option<&Diagnostic> {
    match error {
        DataFusionError::Diagnostic(diagnostic, _) => Some(diagnostic),
        DataFusionError::Context(_, inner) => diagnostic(inner),
        DataFusionError::Collection(errors) => errors.first().and_then(diagnostic),
        DataFusionError::Shared(inner) => diagnostic(inner),
        _ => None,
    }
}

/// The smallest expression without which the query can be planned.
fn culprit(query: &Query, plans: impl Fn(&Query) -> bool) -> Option<Place> {
    let mut spans = Vec::new();
    let _: ControlFlow<()> = visit_expressions(query, |expr: &Expr| {
        spans.push((place(expr.span()), size(expr)));
        ControlFlow::Continue(())
    });
    let mut found = None;
    // Expressions come before those within them: after a find only those within it are tried.
    let (mut next, mut end) = (0, spans.len());
    for _ in 0..TRIES_MAX {
        if next >= end {
            break;
        }
        let (place, size) = spans[next];
        if plans(&without(query, next)) {
            found = place.or(found);
            end = next + size;
            next += 1;
        } else {
            next += size;
        }
    }
    found
}

/// How many expressions one is, with all within it.
fn size(expr: &Expr) -> usize {
    let mut size = 0;
    let _: ControlFlow<()> = visit_expressions(expr, |_: &Expr| {
        size += 1;
        ControlFlow::Continue(())
    });
    size
}

/// The query with its expression of this number as NULL.
fn without(query: &Query, number: usize) -> Query {
    let mut query = query.clone();
    let _: ControlFlow<()> = query.visit(&mut Without { left: number });
    query
}

/// Sets an expression to NULL, counted as `visit_expressions` counts: before those within it.
struct Without {
    left: usize,
}

impl VisitorMut for Without {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.left == 0 {
            *expr = Expr::Value(Value::Null.with_empty_span());
            return ControlFlow::Break(());
        }
        self.left -= 1;
        ControlFlow::Continue(())
    }
}

/// What was wrong, and what would work.
fn words(error: &DataFusionError, context: &Context) -> (String, Option<String>) {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            words(inner, context)
        }
        DataFusionError::Shared(inner) => words(inner, context),
        DataFusionError::Collection(errors) if !errors.is_empty() => words(&errors[0], context),
        DataFusionError::SchemaError(schema, _) => schema_words(schema),
        DataFusionError::Plan(message) | DataFusionError::Execution(message) => {
            plan_words(message, context)
        }
        DataFusionError::NotImplemented(message) if message.starts_with("compound identifier") => {
            let parts: Vec<&str> = message.split('"').skip(1).step_by(2).collect();
            let name = parts.join(".");
            (format!("there is no column `{name}`"), None)
        }
        DataFusionError::NotImplemented(message) => {
            (format!("not supported: {}", first_line(message)), None)
        }
        other => (first_line(&other.strip_backtrace()), None),
    }
}

fn schema_words(error: &SchemaError) -> (String, Option<String>) {
    match error {
        SchemaError::FieldNotFound { field, .. }
            if functions().not_taken(&field.name).is_some() =>
        {
            function_words(&field.name, &[])
        }
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<String> =
                valid_fields.iter().take(LISTED_MAX).map(|column| column.name.clone()).collect();
            let lower = field.name.to_lowercase();
            let twin = valid_fields.iter().find(|column| column.name.to_lowercase() == lower);
            let help = match twin {
                Some(twin) => {
                    format!("write \"{}\", in quotes: other letters are another name", twin.name)
                }
                None if names.is_empty() => "there are no columns here".to_owned(),
                None => {
                    let more = if valid_fields.len() > LISTED_MAX { ", …" } else { "" };
                    format!("there are: {}{more}", names.join(", "))
                }
            };
            (format!("there is no column `{}`", field.flat_name()), Some(help))
        }
        SchemaError::AmbiguousReference { field } => (
            format!("`{}` is a column of several tables", field.name),
            Some("write the table's name before it".into()),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => (
            format!("two columns are called `{name}`"),
            Some("give one another name with AS".into()),
        ),
        SchemaError::DuplicateQualifiedField { name, .. } => (
            format!("the column `{name}` stands there twice"),
            Some("give one another name with AS".into()),
        ),
    }
}

fn plan_words(message: &str, context: &Context) -> (String, Option<String>) {
    let line = first_line(message);
    if let Some(rest) = line.strip_prefix("there is no table") {
        let names = context.table_names();
        return (
            format!("there is no table{rest}"),
            Some(format!("there are: {}", names.join(", "))),
        );
    }
    if let Some(name) = between(&line, "Invalid function '", "'") {
        return function_words(name, &context.udf_names());
    }
    if line.starts_with("Function '") && line.contains(OPAQUE) {
        return ("a union of several types has no form in SQL: it can be selected, renamed and tested for NULL only".into(), None);
    }
    if line.contains("user-defined coercion failed") {
        let reason = between(&line, "Error during planning: ", "\"").map(str::to_owned);
        let name = between(&line, "Function '", "'").unwrap_or_default();
        let reason = reason.unwrap_or_else(|| format!("{name} does not take these types together"));
        return (reason, Some("cast the arguments to what it takes".into()));
    }
    if line.starts_with("Projections require unique expression names") {
        let help = "give one another name with AS".to_owned();
        return ("two columns have one name".into(), Some(help));
    }
    if line.contains("No function matches the given name and argument types") {
        let reason = line.split(" No function matches").next().unwrap_or(&line).trim();
        let reason = reason.strip_prefix("Error during planning: ").unwrap_or(reason);
        return (
            reason.trim_end_matches('.').to_owned(),
            Some("cast the arguments to what it takes".into()),
        );
    }
    let help = plan_help(&line);
    (line, help.map(str::to_owned))
}

/// PostgreSQL's types of times.
const TIMES: [&str; 4] = ["date", "time", "timestamp", "timestamptz"];

/// What would work in the place of what the planner refuses.
fn plan_help(line: &str) -> Option<&'static str> {
    let clashes = ["Cannot coerce", "Cannot infer common"];
    if clashes.iter().any(|clash| line.starts_with(clash)) || line.ends_with(NOT_SILENTLY) {
        return Some("cast one of them, as in CAST(x AS text)");
    }
    if line.starts_with("a record cannot be cast") {
        return Some("select its fields, as in (x).field");
    }
    if TIMES.iter().any(|of| line.starts_with(&format!("{of} {CANNOT_BE_CAST}")))
        || TIMES.iter().any(|to| line.ends_with(&format!("{CANNOT_BE_CAST} {to}")))
    {
        return Some(
            "a number is made a time by to_timestamp_seconds, _millis or _micros, and a time a \
             number by EXTRACT(EPOCH FROM …)",
        );
    }
    let is_type = line.contains(CANNOT_BE_CAST) || line.contains(" cannot be computed: ");
    is_type.then_some("cast it to another type first, or select it as it is")
}

fn function_words(name: &str, known: &[String]) -> (String, Option<String>) {
    match functions().not_taken(name) {
        Some(NotTaken::Volatile) => (
            format!("{name}() gives another answer each time, and a record that is read again must give the same"),
            Some("use a column of the record: its time of change is in the envelope, and in the source's own columns".into()),
        ),
        Some(NotTaken::LeftOut) => (format!("{name} is not among the functions of this runner"), None),
        None => {
            let near = nearest(name, known.iter().map(String::as_str));
            (format!("there is no function `{name}`"), near.map(|near| format!("did you mean `{near}`?")))
        }
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(between, _)| between)
}

/// A message's first line, without the planner's talk about itself, its types by PostgreSQL's names.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("Error during planning: ").unwrap_or(line);
    let line = line.trim_end_matches('.').to_owned();
    TYPE_NAMES.iter().fold(line, |line, (theirs, ours)| line.replace(theirs, ours))
}

/// What a value that expressions cannot handle is called.
const OPAQUE: &str = "a union of several types";

/// Arrow's names of types and PostgreSQL's.
const TYPE_NAMES: &[(&str, &str)] = &[
    ("Union(Sparse, 0: (\"opaque\": Null))", OPAQUE),
    ("LargeUtf8", "text"),
    ("Utf8View", "text"),
    ("Utf8", "text"),
    ("UInt64", "bigint"),
    ("Int64", "bigint"),
    ("Int32", "integer"),
    ("Int16", "smallint"),
    ("Float64", "double precision"),
    ("Float32", "real"),
    ("Boolean", "boolean"),
    ("LargeBinary", "bytea"),
    ("Binary", "bytea"),
    ("Date32", "date"),
    ("Decimal128", "numeric"),
    ("Decimal256", "numeric"),
    ("Time64(µs)", "time"),
    ("Timestamp(µs, \"+00:00\")", "timestamptz"),
    ("Timestamp(ms, \"+00:00\")", "timestamptz"),
    ("Timestamp(ns, \"+00:00\")", "timestamptz"),
    ("Timestamp(µs)", "timestamp"),
    ("Timestamp(ms)", "timestamp"),
    ("Timestamp(ns)", "timestamp"),
];
