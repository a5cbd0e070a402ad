//! What is spelled out before planning: stars that must not take every column, names that PostgreSQL
//! gives by itself, its way to look into a composite value, `(customer).city`, and its time zones.

use super::refuse::{normal, table_name};
use sqlparser::ast::{
    AccessExpr, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, Value,
    WildcardAdditionalOptions, visit_expressions_mut,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The most parts of a name that the planner can refuse: of a longer one that nothing has it panics
/// (`datafusion-sql` 53.1, `sql_compound_identifier_to_expr`).
const NAME_PARTS_MAX: usize = 5;

/// Columns that no star takes, by table.
pub(super) type Hidden = BTreeMap<String, BTreeSet<String>>;

/// Rewrites the query in place.
pub(super) fn rewrite(query: &mut Query, hidden: &Hidden) {
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr: &mut Expr| {
        if let Some(path) = field_path(expr) {
            *expr = Expr::CompoundIdentifier(path);
        } else if let Expr::AtTimeZone { timestamp, time_zone } = expr {
            *expr = call("timezone", vec![time_zone.as_ref().clone(), timestamp.as_ref().clone()]);
        }
        ControlFlow::Continue(())
    });
    Selects { hidden, shadowed: Vec::new() }.query(query);
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr: &mut Expr| {
        if let Expr::CompoundIdentifier(path) = expr
            && path.len() > NAME_PARTS_MAX
        {
            *expr = looked_into(std::mem::take(path));
        }
        ControlFlow::Continue(())
    });
}

/// A name of many parts as one of fewer that is looked into.
fn looked_into(mut path: Vec<Ident>) -> Expr {
    let fields = path.split_off(NAME_PARTS_MAX).into_iter().map(|ident| {
        let name = Value::SingleQuotedString(normal(&ident)).with_span(ident.span);
        AccessExpr::Dot(Expr::Value(name))
    });
    let access_chain = fields.collect();
    Expr::CompoundFieldAccess { root: Box::new(Expr::CompoundIdentifier(path)), access_chain }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let unnamed = |arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg));
    let args = FunctionArgumentList {
        duplicate_treatment: None,
        args: args.into_iter().map(unnamed).collect(),
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The name that PostgreSQL gives a column that has none: that of the field, the function or what is
/// cast. None where it would say `?column?`.
pub(super) fn implied_name(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident.clone()),
        Expr::CompoundIdentifier(idents) => idents.last().cloned(),
        Expr::CompoundFieldAccess { .. } => field_path(expr)?.pop(),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => implied_name(inner),
        Expr::Function(function) => function.name.0.last()?.as_ident().cloned(),
        Expr::Case { .. } => Some(Ident::new("case")),
        Expr::Extract { .. } => Some(Ident::new("extract")),
        Expr::Substring { .. } => Some(Ident::new("substring")),
        Expr::Position { .. } => Some(Ident::new("position")),
        Expr::Trim { .. } => Some(Ident::new("btrim")),
        Expr::Ceil { .. } => Some(Ident::new("ceil")),
        Expr::Floor { .. } => Some(Ident::new("floor")),
        Expr::AtTimeZone { .. } => Some(Ident::new("timezone")),
        _ => None,
    }
}

/// A column of a SELECT with the name that it has by itself.
fn named(item: SelectItem) -> SelectItem {
    match item {
        SelectItem::UnnamedExpr(expr) if !matches!(expr, Expr::Identifier(_)) => {
            match implied_name(&expr) {
                Some(alias) => SelectItem::ExprWithAlias { expr, alias },
                None => SelectItem::UnnamedExpr(expr),
            }
        }
        other => other,
    }
}

/// `(a.b).c` as the names it consists of.
fn field_path(expr: &Expr) -> Option<Vec<Ident>> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let Expr::Nested(inner) = root.as_ref() else { return None };
    let mut path = match inner.as_ref() {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(idents) => idents.clone(),
        nested => field_path(nested)?,
    };
    for access in access_chain {
        match access {
            AccessExpr::Dot(Expr::Identifier(ident)) => path.push(ident.clone()),
            _ => return None,
        }
    }
    Some(path)
}

struct Selects<'h> {
    hidden: &'h Hidden,
    /// Names that a WITH has given to something else than the input of that name.
    shadowed: Vec<String>,
}

impl Selects<'_> {
    fn query(&mut self, query: &mut Query) {
        let known = self.shadowed.len();
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            self.query(&mut cte.query);
            self.shadowed.push(normal(&cte.alias.name));
        }
        self.set_expr(&mut query.body);
        self.shadowed.truncate(known);
    }

    fn set_expr(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left);
                self.set_expr(right);
            }
            _ => {}
        }
    }

    fn select(&mut self, select: &mut Select) {
        for from in &mut select.from {
            let joined = from.joins.iter_mut().map(|join| &mut join.relation);
            for factor in std::iter::once(&mut from.relation).chain(joined) {
                if let TableFactor::Derived { subquery, .. } = factor {
                    self.query(subquery);
                }
            }
        }
        let tables: Vec<Table> = select
            .from
            .iter()
            .flat_map(|from| {
                let joined = from.joins.iter().map(|join| &join.relation);
                std::iter::once(&from.relation).chain(joined)
            })
            .map(|factor| self.table(factor))
            .collect();
        let items = std::mem::take(&mut select.projection).into_iter().map(named);
        select.projection = if tables.iter().all(|table| table.hidden.is_empty()) {
            items.collect()
        } else {
            items.flat_map(|item| spelled_out(item, &tables)).collect()
        };
    }

    fn table(&self, factor: &TableFactor) -> Table {
        let name = table_name(factor).filter(|name| !self.shadowed.contains(name));
        let hidden = name.and_then(|name| self.hidden.get(&name)).cloned().unwrap_or_default();
        let alias = match factor {
            TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.as_ref(),
            _ => None,
        };
        let written = match factor {
            TableFactor::Table { name, .. } => name.0.last().and_then(ObjectNamePart::as_ident),
            _ => None,
        };
        Table { name: alias.map(|alias| &alias.name).or(written).cloned(), hidden }
    }
}

/// A table of a FROM: the name by which columns are qualified, and what no star takes of it.
struct Table {
    name: Option<Ident>,
    hidden: BTreeSet<String>,
}

/// A star as one star for each table, without what is hidden.
fn spelled_out(item: SelectItem, tables: &[Table]) -> Vec<SelectItem> {
    match item {
        SelectItem::Wildcard(options) if tables.iter().all(|table| table.name.is_some()) => {
            let star = |table: &Table| {
                let name = table.name.clone()?;
                let kind =
                    SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![name]));
                Some(SelectItem::QualifiedWildcard(kind, without(&options, &table.hidden)))
            };
            tables.iter().filter_map(star).collect()
        }
        SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(name),
            options,
        ) => {
            let named = |table: &&Table| match (&table.name, name.0.as_slice()) {
                (Some(table), [part]) => part.as_ident().is_some_and(|part| same(table, part)),
                _ => false,
            };
            let options = match tables.iter().find(named) {
                Some(table) => without(&options, &table.hidden),
                None => options,
            };
            let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
            vec![SelectItem::QualifiedWildcard(kind, options)]
        }
        other => vec![other],
    }
}

/// Whether PostgreSQL takes two names for one.
fn same(left: &Ident, right: &Ident) -> bool {
    normal(left) == normal(right)
}

fn without(
    options: &WildcardAdditionalOptions,
    hidden: &BTreeSet<String>,
) -> WildcardAdditionalOptions {
    let mut options = options.clone();
    if !hidden.is_empty() {
        let names = hidden.iter().map(|name| Ident::with_quote('"', name)).collect();
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    }
    options
}
