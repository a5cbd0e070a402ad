//! A real Flink reads topics: what its SQL makes of them is what PostgreSQL holds, after inserts,
//! updates and deletes. What it cannot hold is in `docs/readers.md`, and told here where it fails.

use crate::support::flink::{Change, Session};
use crate::support::postgres::Database;
use crate::support::readers::{Mesh, Types, by_key, clock, day, kafka, make_types, moment};
use crate::values::cases;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How a column is read: as Flink's own type, or as the number that Avro has, where Flink's type has
/// no room for it.
enum Read {
    /// As text that Flink makes of it.
    Text,
    /// In JSON, as arrays and bytes are.
    Json,
    /// Days since 1970.
    Day,
    /// Microseconds of the day.
    Clock,
    /// Microseconds since 1970, of any place.
    Moment,
    /// Microseconds since 1970, in UTC.
    Instant,
}

/// A column's type in Flink's SQL, and how it is read; none if Flink has no way.
fn column(kind: &str, value: &str) -> Option<(String, Read)> {
    let own = |name: &str| Some((name.to_owned(), Read::Text));
    match kind {
        "bool" => own("BOOLEAN"),
        "int2" | "int4" | "positive" => own("INT"),
        "int8" | "oid" => own("BIGINT"),
        "float4" => own("FLOAT"),
        "float8" => own("DOUBLE"),
        "numeric(50,10)" => None,
        "money" => own("DECIMAL(19, 2)"),
        "date" if value.contains("BC") || value.contains("inf") => {
            Some(("INT".to_owned(), Read::Day))
        }
        "date" => own("DATE"),
        "time" => Some(("BIGINT".to_owned(), Read::Clock)),
        "timestamp" => Some(("BIGINT".to_owned(), Read::Moment)),
        "timestamptz" => Some(("BIGINT".to_owned(), Read::Instant)),
        "bytea" => Some(("BYTES".to_owned(), Read::Json)),
        "timestamptz[]" => None,
        "int4[]" => Some(("ARRAY<INT>".to_owned(), Read::Json)),
        _ if kind.ends_with("[]") => Some(("ARRAY<STRING>".to_owned(), Read::Json)),
        _ => match kind.strip_prefix("numeric(") {
            Some(rest) => own(&format!("DECIMAL({rest}")),
            None => own("STRING"),
        },
    }
}

/// Columns that Flink can read, with how.
fn columns() -> Vec<(&'static str, &'static str, String, Read)> {
    let columns = cases().into_iter();
    columns
        .filter_map(|(kind, value, _)| {
            let (name, read) = column(kind, value)?;
            Some((kind, value, name, read))
        })
        .collect()
}

impl Read {
    fn expression(&self, index: usize) -> String {
        match self {
            Self::Text => format!("CAST(c{index} AS STRING)"),
            _ => format!("c{index}"),
        }
    }

    /// What Flink gives, as text that PostgreSQL can read.
    fn cell(&self, given: &Json) -> Json {
        let number = given.as_i64();
        match (self, number) {
            (_, _) if given.is_null() => Json::Null,
            (Self::Day, Some(days)) => json!(day(i32::try_from(days).unwrap())),
            (Self::Clock, Some(us)) => json!(clock(us)),
            (Self::Moment, Some(us)) => json!(moment(us)),
            (Self::Instant, Some(us)) => json!(format!("{}+00", moment(us))),
            _ => given.clone(),
        }
    }
}

/// The rows that changes add up to. Each is checked: what is taken away must have been there.
fn fold(changes: Vec<Change>) -> Vec<Vec<Json>> {
    let mut rows: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for Change { kind, cells } in changes {
        let key = cells[0].to_string();
        match &*kind {
            "INSERT" | "UPDATE_AFTER" => assert!(rows.insert(key, cells).is_none()),
            "UPDATE_BEFORE" | "DELETE" => assert_eq!(rows.remove(&key), Some(cells)),
            other => panic!("{other}"),
        }
    }
    rows.into_values().collect()
}

/// The clause of a table over this topic, read from its beginning to its present end.
fn connector(name: &str, topic: &str, more: &str) -> String {
    format!(
        "WITH ('connector' = '{name}', 'topic' = '{topic}',
         'properties.bootstrap.servers' = '{}', 'properties.isolation.level' = 'read_committed',
         'scan.bounded.mode' = 'latest-offset', {more})",
        kafka()
    )
}

fn enveloped(mesh: &Mesh, table: &str) -> String {
    let more = format!(
        "'scan.startup.mode' = 'earliest-offset', 'format' = 'debezium-avro-confluent',
         'debezium-avro-confluent.url' = '{}'",
        mesh.daemon.registry
    );
    connector("kafka", &mesh.topic(table), &more)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enveloped_topic_is_a_table_for_debezium_avro_confluent() {
    let columns = columns();
    let types = Types {
        table: "whole",
        columns: columns.iter().map(|(kind, value, ..)| (*kind, *value)).collect(),
    };
    let database = Database::new().await;
    make_types(&database).await;
    types.make(&database).await;
    database.execute("ALTER TABLE whole REPLICA IDENTITY FULL").await;
    let mesh = Mesh::up(&database, &["whole"], "").await;
    types.change(&database).await;
    mesh.caught_up(&database).await;

    let session = Session::open().await;
    let fields = columns.iter().enumerate();
    let fields: Vec<String> = fields.map(|(i, (_, _, name, _))| format!("c{i} {name}")).collect();
    let (fields, clause) = (fields.join(", "), enveloped(&mesh, "whole"));
    session.run(&format!("CREATE TABLE whole (id INT, {fields}) {clause}")).await.unwrap();
    let select = columns.iter().enumerate().map(|(i, (.., read))| read.expression(i));
    let select = select.collect::<Vec<_>>().join(", ");
    let changes = session.run(&format!("SELECT id, {select} FROM whole")).await.unwrap();
    let updates = changes.iter().filter(|change| change.kind == "UPDATE_BEFORE").count();
    assert_eq!(updates, 3);
    let rows: Vec<Json> = fold(changes)
        .iter()
        .map(|cells| {
            let read = cells[1..].iter().zip(&columns).enumerate();
            let mut row: Json =
                read.map(|(i, (cell, (.., read)))| (format!("c{i}"), read.cell(cell))).collect();
            row["id"] = cells[0].clone();
            row
        })
        .collect();
    types.compare(&database, &by_key(&rows, columns.len())).await;
}
