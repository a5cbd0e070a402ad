//! A real Flink reads topics: what its SQL makes of them is what PostgreSQL holds, after inserts,
//! updates and deletes. What it cannot hold is in `docs/readers.md`, and told here where it fails.

use crate::support::flink::{Change, Session};
use crate::support::kafka;
use crate::support::postgres::Database;
use crate::support::readers::{
    Mesh, Types, by_key, clock, day, decimal, every_type, make_types, moment,
};
use num_bigint::BigInt;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How a column is read: as Flink's own type, or as the number that Avro has, where Flink's type has
/// no room for it.
enum Read {
    /// As text that Flink makes of it.
    Text,
    /// In JSON, as arrays are.
    Json,
    /// In base64, as bytes are.
    Bytes,
    /// Its digits as a number of this scale, in base64.
    Unscaled(usize),
    /// Days since 1970.
    Day,
    /// Microseconds of the day.
    Clock,
    /// A `TIME` by its parts: Flink holds its milliseconds, and does not print them.
    Parts,
    /// Microseconds since 1970, of any place.
    Moment,
    /// Microseconds since 1970, in UTC.
    Instant,
    /// Arrays of such.
    Instants,
}

/// A composite type.
const ADDRESS: &str =
    "ROW<street STRING, `number` INT, mood STRING, tags ARRAY<STRING>, area DECIMAL(6, 2)>";

/// A column's type in Flink's SQL, and how it is read.
fn column(kind: &str, value: &str) -> (String, Read) {
    let own = |name: &str| (name.to_owned(), Read::Text);
    match kind {
        "bool" => own("BOOLEAN"),
        "int2" | "int4" | "positive" => own("INT"),
        "int8" | "oid" | "regclass" => own("BIGINT"),
        "float4" => own("FLOAT"),
        "float8" => own("DOUBLE"),
        "numeric(50,10)" => ("BYTES".to_owned(), Read::Unscaled(10)),
        "money" => own("DECIMAL(19, 2)"),
        "date" if value.contains("BC") || value.contains("inf") => ("INT".to_owned(), Read::Day),
        "date" => own("DATE"),
        "time" => ("BIGINT".to_owned(), Read::Clock),
        "timestamp" => ("BIGINT".to_owned(), Read::Moment),
        "timestamptz" => ("BIGINT".to_owned(), Read::Instant),
        "bytea" => ("BYTES".to_owned(), Read::Bytes),
        "timestamptz[]" => ("ARRAY<BIGINT>".to_owned(), Read::Instants),
        "address" => (ADDRESS.to_owned(), Read::Json),
        "address[]" => (format!("ARRAY<{ADDRESS}>"), Read::Json),
        "int4[][]" => own("STRING"),
        "int4[]" => ("ARRAY<INT>".to_owned(), Read::Json),
        "numeric(6,2)[]" => ("ARRAY<DECIMAL(6, 2)>".to_owned(), Read::Json),
        _ if kind.ends_with("[]") => ("ARRAY<STRING>".to_owned(), Read::Json),
        _ => match kind.strip_prefix("numeric(") {
            Some(rest) => own(&format!("DECIMAL({rest}")),
            None => own("STRING"),
        },
    }
}

/// A column's type, its value in SQL, its type in Flink's, and how it is read.
type Column = (&'static str, &'static str, String, Read);

/// Every type that is carried.
fn columns() -> Vec<Column> {
    let columns = every_type().into_iter();
    columns
        .map(|(kind, value)| {
            let (name, read) = column(kind, value);
            (kind, value, name, read)
        })
        .collect()
}

impl Read {
    fn expression(&self, index: usize) -> String {
        match self {
            Self::Text => format!("CAST(c{index} AS STRING)"),
            Self::Parts => format!(
                "EXTRACT(HOUR FROM c{index}) * 3600000 + EXTRACT(MINUTE FROM c{index}) * 60000
                 + EXTRACT(SECOND FROM c{index}) * 1000 + EXTRACT(MILLISECOND FROM c{index})"
            ),
            _ => format!("c{index}"),
        }
    }

    /// What Flink gives, as text that PostgreSQL can read.
    fn cell(&self, given: &Json) -> Json {
        let bytes = || base64(given.as_str().unwrap());
        let number = || given.as_i64().unwrap();
        match self {
            _ if given.is_null() => Json::Null,
            Self::Text | Self::Json => given.clone(),
            Self::Bytes => {
                json!(
                    bytes().iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
                )
            }
            Self::Unscaled(scale) => {
                json!(decimal(&BigInt::from_signed_bytes_be(&bytes()), *scale))
            }
            Self::Day => json!(day(i32::try_from(number()).unwrap())),
            Self::Clock => json!(clock(number())),
            Self::Parts => json!(clock(number() * 1000)),
            Self::Moment => json!(moment(number())),
            Self::Instant => json!(format!("{}+00", moment(number()))),
            Self::Instants => {
                given.as_array().unwrap().iter().map(|item| Self::Instant.cell(item)).collect()
            }
        }
    }
}

/// What base64 stands for.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS.iter().position(|digit| *digit == byte).unwrap();
        bits = (bits << 6) | u32::try_from(digit).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    bytes
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
        kafka::shared()
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

fn flat(mesh: &Mesh, table: &str) -> String {
    let registry = &mesh.daemon.registry;
    let more = format!(
        "'key.format' = 'avro-confluent', 'key.avro-confluent.url' = '{registry}',
         'value.format' = 'avro-confluent', 'value.avro-confluent.url' = '{registry}'"
    );
    connector("upsert-kafka", &mesh.topic(table), &more)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enveloped_topic_is_a_table_for_debezium_avro_confluent() {
    let database = Database::new().await;
    let columns = columns();
    let mesh = whole(&database, &columns, "FULL", "").await;
    let changes = read(&columns, "id INT", &enveloped(&mesh, "whole")).await;
    let updates = changes.iter().filter(|change| change.kind == "UPDATE_BEFORE").count();
    assert_eq!(updates, 3);
    compare(&database, &columns, changes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flat_topic_is_a_table_for_upsert_kafka() {
    let database = Database::new().await;
    let columns = columns();
    let mesh = whole(&database, &columns, "DEFAULT", "envelope = \"flat\"").await;
    let key = "id INT PRIMARY KEY NOT ENFORCED";
    let changes = read(&columns, key, &flat(&mesh, "whole")).await;
    assert!(changes.iter().any(|change| change.kind == "DELETE"), "{changes:?}");
    compare(&database, &columns, changes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_times_of_milliseconds_are_flinks() {
    let columns = [
        ("date", "'2024-02-29'", "DATE", Read::Text),
        ("time(3)", "'04:05:06.789'", "TIME(3)", Read::Parts),
        ("time", "'04:05:06.789123'", "BIGINT", Read::Clock),
        ("timestamp(3)", "'2024-01-01 00:00:00.123'", "TIMESTAMP(3)", Read::Text),
        ("timestamp", "'1969-12-31 23:59:59.999999'", "BIGINT", Read::Moment),
        ("timestamptz", "'2024-01-01 00:00:00.123456+02'", "STRING", Read::Text),
        ("timetz", "'04:05:06+00'", "STRING", Read::Text),
    ];
    let columns = columns.map(|(kind, value, name, read)| (kind, value, name.to_owned(), read));
    let database = Database::new().await;
    let mesh = whole(&database, &columns, "FULL", "types = \"debezium\"").await;
    let changes = read(&columns, "id INT", &enveloped(&mesh, "whole")).await;
    compare(&database, &columns, changes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flink_cannot_read_it_says() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE times (id int PRIMARY KEY, t time, ts timestamp, wide numeric(50,10));
             INSERT INTO times VALUES (1, '04:05:06.789', '2024-01-01 00:00:00.123456', 1e35);
             CREATE TABLE keyed (id int PRIMARY KEY, n int);
             INSERT INTO keyed VALUES (1, 1)",
        )
        .await;
    let mesh = Mesh::up(&database, &["times", "keyed"], "").await;
    database.execute("UPDATE keyed SET n = 2").await;
    mesh.caught_up(&database).await;
    let session = Session::open().await;
    let (times, keyed) = (enveloped(&mesh, "times"), enveloped(&mesh, "keyed"));
    for (index, (columns, clause, says)) in [
        ("id INT, t TIME(3)", &times, "Found long, expecting union"),
        (
            "id INT, ts TIMESTAMP(6)",
            &times,
            "Avro does not support TIMESTAMP type with precision: 6",
        ),
        ("id INT, ts TIMESTAMP_LTZ(6)", &times, "Unsupported to derive Schema for type"),
        ("id INT, n INT", &keyed, "REPLICA IDENTITY"),
    ]
    .into_iter()
    .enumerate()
    {
        let create = session.run(&format!("CREATE TABLE t{index} ({columns}) {clause}")).await;
        let read = match create {
            Ok(_) => session.run(&format!("SELECT * FROM t{index}")).await,
            Err(error) => Err(error),
        };
        let error = read.expect_err(columns);
        assert!(error.contains(says), "{columns}: {error}");
    }
    // Not refused, and wrong: microseconds are taken for milliseconds, one scale for another, and
    // what has more than 38 digits is lost.
    let columns = "ts TIMESTAMP(3), wide DECIMAL(50, 10)";
    session.run(&format!("CREATE TABLE wrong ({columns}) {times}")).await.unwrap();
    let wrong = "SELECT CAST(ts AS STRING), CAST(wide AS STRING) FROM wrong";
    let wrong = session.run(wrong).await.unwrap();
    assert_eq!(wrong[0].cells, [json!("5969-09-28 00:02:03.456"), Json::Null]);
}

/// A daemon on a table of these columns, with a history that is in its topic.
async fn whole(database: &Database, columns: &[Column], identity: &str, lines: &str) -> Mesh {
    let types = types(columns);
    make_types(database).await;
    types.make(database).await;
    database.execute(&format!("ALTER TABLE whole REPLICA IDENTITY {identity}")).await;
    let mesh = Mesh::up(database, &["whole"], lines).await;
    types.change(database).await;
    mesh.caught_up(database).await;
    mesh
}

fn types(columns: &[Column]) -> Types<'static> {
    let columns = columns.iter().map(|(kind, value, ..)| (*kind, *value)).collect();
    Types { table: "whole", columns }
}

/// What Flink reads of that table's topic: its key, then every column.
async fn read(columns: &[Column], key: &str, clause: &str) -> Vec<Change> {
    let session = Session::open().await;
    let (mut fields, mut select) = (vec![key.to_owned()], vec!["id".to_owned()]);
    for (index, (_, _, name, read)) in columns.iter().enumerate() {
        fields.push(format!("c{index} {name}"));
        select.push(read.expression(index));
    }
    let (fields, select) = (fields.join(", "), select.join(", "));
    session.run(&format!("CREATE TABLE whole ({fields}) {clause}")).await.unwrap();
    session.run(&format!("SELECT {select} FROM whole")).await.unwrap()
}

/// Compares what the changes add up to with the table.
async fn compare(database: &Database, columns: &[Column], changes: Vec<Change>) {
    let row = |cells: Vec<Json>| {
        let read = cells[1..].iter().zip(columns).enumerate();
        let named = read.map(|(i, (cell, (.., read)))| (format!("c{i}"), read.cell(cell)));
        let mut row: Json = named.collect();
        row["id"] = cells[0].clone();
        row
    };
    let rows: Vec<Json> = fold(changes).into_iter().map(row).collect();
    types(columns).compare(database, &by_key(&rows, columns.len())).await;
}
