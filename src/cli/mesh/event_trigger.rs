//! `tidemesh event-trigger`: SQL that has PostgreSQL say inside a DDL's transaction what it would do to
//! pipelines, or refuse it. What it knows is what `impact` answered when it was written.

use crate::cli::client::{Daemon, print_line};
use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tidemesh_controller::{CATALOG_FOUND_MAX, ImpactRequest, TopicReport, Writer};
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::upgrade::impact::Change;

/// The most columns that are asked about, one after the other.
const COLUMNS_MAX: usize = 10_000;

#[derive(Debug, Args)]
pub(crate) struct EventTriggerArgs {
    /// The source of the tables.
    #[arg(long)]
    source: String,
    /// What becomes of a change by which a pipeline would be held.
    #[arg(long, value_enum, default_value_t = Mode::Warn)]
    mode: Mode,
    /// Print SQL that removes the event trigger.
    #[arg(long, conflicts_with = "mode")]
    remove: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// A warning says what would happen.
    Warn,
    /// The transaction fails.
    Refuse,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

pub(crate) async fn event_trigger(args: EventTriggerArgs) -> Result<()> {
    let names = Names::of(&args.source);
    if args.remove {
        let Names { function, .. } = &names;
        let function = format!("DROP FUNCTION IF EXISTS tidemesh.{function}();\n");
        return print_line(&format!("BEGIN;\n{}{function}COMMIT;", names.drop()));
    }
    let tables = tables(&args).await?;
    if tables.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "write an event trigger")
            .because("no pipeline reads a table of this source")
            .with("source", &args.source)
            .help("`tidemesh catalog` lists the topics, and who reads them"));
    }
    print_line(sql(&args, &names, &Json::from(tables)).trim_end())
}

/// What the database calls it.
struct Names {
    altered: String,
    dropped: String,
    function: String,
}

impl Names {
    fn of(source: &str) -> Self {
        Self {
            altered: identifier(&format!("tidemesh_{source}")),
            dropped: identifier(&format!("tidemesh_{source}_drop")),
            function: identifier(&format!("event_{source}")),
        }
    }

    fn drop(&self) -> String {
        let Self { altered, dropped, .. } = self;
        format!(
            "DROP EVENT TRIGGER IF EXISTS {altered};\nDROP EVENT TRIGGER IF EXISTS {dropped};\n"
        )
    }
}

fn sql(args: &EventTriggerArgs, names: &Names, tables: &Json) -> String {
    let values = [
        ("{source}", args.source.clone()),
        ("{tables}", literal(&tables.to_string())),
        ("{name}", literal(&args.source)),
        ("{mode}", literal(args.mode.name())),
        ("{function}", names.function.clone()),
        ("{altered}", names.altered.clone()),
        ("{dropped}", names.dropped.clone()),
        ("{drop}", names.drop()),
    ];
    fill(include_str!("event_trigger.sql"), &values)
}

/// Puts values in the place of their names; what a value holds is left as it is.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The source's tables that pipelines read, each with what dropping a column would do.
async fn tables(args: &EventTriggerArgs) -> Result<Vec<Json>> {
    let path = format!("/v1/catalog?search=&limit={CATALOG_FOUND_MAX}");
    let topics: Vec<TopicReport> = args.daemon.get(&path).await?;
    if topics.len() >= CATALOG_FOUND_MAX {
        return Err(Error::new(ErrorKind::TooLarge, "write an event trigger")
            .because("the catalog has more topics than can be asked about")
            .with("topics_max", CATALOG_FOUND_MAX));
    }
    let (mut tables, mut columns_asked) = (Vec::new(), 0);
    for topic in topics.iter().filter(|topic| !topic.read_by.is_empty()) {
        let Writer::Table { source, table } = &topic.written_by else { continue };
        if *source != args.source {
            continue;
        }
        columns_asked += topic.fields.len();
        if columns_asked > COLUMNS_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "write an event trigger")
                .because("the tables have more columns than are asked about")
                .with("columns_max", COLUMNS_MAX));
        }
        let (schema, name) = table.split_once('.').unwrap_or(("public", table));
        let quoted = format!("{}.{}", identifier(schema), identifier(name));
        let (readers, columns) = (topic.read_by.join(", "), columns(args, topic).await?);
        let told = json!({"quoted": quoted, "name": table, "readers": readers, "columns": columns});
        tables.push(told);
    }
    Ok(tables)
}

/// A table's columns that pipelines read.
async fn columns(args: &EventTriggerArgs, topic: &TopicReport) -> Result<Vec<Json>> {
    let mut columns = Vec::new();
    for field in topic.fields.iter().filter(|field| !field.path.contains('.')) {
        let name = field.column.as_ref().unwrap_or(&field.path);
        if topic.key.contains(&field.path) {
            // Without it the key is another, and the table goes on in another topic.
            let readers = topic.read_by.join(", ");
            columns.push(json!({"name": name, "held": null, "upgraded": readers}));
        } else {
            columns.extend(column(args, &topic.topic, name).await?);
        }
    }
    Ok(columns)
}

/// What dropping a column would do; none if nobody reads it.
async fn column(args: &EventTriggerArgs, topic: &str, column: &str) -> Result<Option<Json>> {
    let changes = vec![Change::DropColumn { column: column.to_owned() }];
    let request = ImpactRequest { topic: topic.to_owned(), changes };
    let answer: Json = args.daemon.post("/v1/impact", &request).await?;
    let mut who: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    for one in answer["pipelines"].as_array().into_iter().flatten() {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        if text("verdict") != "unaffected" {
            let owner = one["owner"].as_str().map(|owner| format!(" ({owner})"));
            let told = format!(
                "{} {}{}: {}",
                text("verdict"),
                text("pipeline"),
                owner.unwrap_or_default(),
                text("why")
            );
            who.entry(text("verdict") == "held").or_default().push(told);
        }
    }
    let all = |held: bool| who.get(&held).map(|who| who.join("; "));
    let (held, upgraded) = (all(true), all(false));
    let read = held.is_some() || upgraded.is_some();
    Ok(read.then(|| json!({"name": column, "held": held, "upgraded": upgraded})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_holds_is_no_name_of_another() {
        let values = [("{a}", "{b}".to_owned()), ("{b}", "{a}".to_owned())];
        assert_eq!(fill("x {a} {c} {b}", &values), "x {b} {c} {a}");
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
