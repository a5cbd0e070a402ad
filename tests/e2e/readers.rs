//! Readers that are not ours, on topics that lie in a real Kafka: what they make of every type is
//! what PostgreSQL holds. What each cannot read is in `docs/readers.md`.

use crate::support::kafka;
use crate::support::postgres::Database;
use crate::support::readers::{
    Mesh, Types, by_key, clock, day, decimal, every_type, make_types, moment, variable,
};
use apache_avro::Schema;
use apache_avro::schema::{NamesRef, ResolvedSchema};
use apache_avro::types::Value;
use num_bigint::BigInt;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use schema_registry_converter::async_impl::avro::AvroDecoder;
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// How long a reader waits for a record.
const READ_WAIT_MAX: Duration = Duration::from_secs(30);

/// Values that Python's `datetime` has no room for.
const BEYOND_DATETIME: &[&str] = &["'0044-03-15 BC'", "'infinity'", "'24:00:00'", "'-infinity'"];

/// What `Types` does to a table, as records: three rows that are read and one more, three inserts,
/// the last and the moved row's, three updates, and three deletes with their tombstones.
fn told() -> Json {
    json!({"r": 4, "c": 5, "u": 3, "d": 3, "tombstone": 3})
}

/// Two tables with the same types: every value, and those that `datetime` can hold.
fn tables() -> [Types<'static>; 2] {
    let timely = |(kind, value): &(&str, &str)| {
        kind.starts_with("float") || !BEYOND_DATETIME.contains(value)
    };
    let (all, some) = (every_type(), every_type().into_iter().filter(timely).collect());
    [Types { table: "whole", columns: all }, Types { table: "timely", columns: some }]
}

async fn mesh(tables: &[Types<'_>]) -> (Database, Mesh) {
    let database = Database::new().await;
    make_types(&database).await;
    for table in tables {
        table.make(&database).await;
    }
    let names: Vec<&str> = tables.iter().map(|table| table.table).collect();
    let mesh = Mesh::up(&database, &names, "").await;
    for table in tables {
        table.change(&database).await;
    }
    mesh.caught_up(&database).await;
    (database, mesh)
}

/// Runs `tests/readers/confluent.py`; answers the lines that it prints, or its error.
fn confluent(arguments: &[&str]) -> Result<Vec<Json>, String> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers/confluent.py");
    let output = Command::new(variable("TIDEMESH_TEST_PYTHON"))
        .arg(program)
        .args(arguments)
        .output()
        .expect("the interpreter of TIDEMESH_TEST_PYTHON starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn confluent_kafka_reads_every_type() {
    let tables = tables();
    let [whole, timely] = &tables;
    let (database, mesh) = mesh(&tables).await;
    for (table, wide) in [(timely, None), (whole, Some("--wide"))] {
        let (servers, topic) = (kafka::shared(), mesh.topic(table.table));
        let mut arguments = vec!["rows"];
        arguments.extend(wide);
        arguments.extend([&*servers, &*mesh.daemon.registry, &*topic]);
        let mut lines = confluent(&arguments).unwrap();
        assert_eq!(lines.pop().unwrap()["told"], told());
        table.compare(&database, &by_key(&lines, table.columns.len())).await;
    }
    let error = confluent(&["rows", &kafka::shared(), &mesh.daemon.registry, &mesh.topic("whole")]);
    let error = error.expect_err("`datetime` holds a year before the first");
    assert!(error.contains("ValueDeserializationError"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_registry_converter_reads_every_type() {
    let [whole, _] = tables();
    let (database, mesh) = mesh(std::slice::from_ref(&whole)).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let decoder = AvroDecoder::new(SrSettings::new(mesh.daemon.registry.clone()));
    let (mut rows, mut operations) = (BTreeMap::new(), BTreeMap::<String, u32>::new());
    for (key, value) in messages(&mesh.topic(whole.table)) {
        let key = decode(&decoder, key.as_deref()).await.to_string();
        let event = decode(&decoder, value.as_deref()).await;
        let operation = event["op"].as_str().unwrap_or("tombstone");
        *operations.entry(operation.to_owned()).or_default() += 1;
        match &event["after"] {
            Json::Null => rows.remove(&key),
            row => rows.insert(key, row.clone()),
        };
    }
    assert_eq!(json!(operations), told());
    let rows: Vec<Json> = rows.into_values().collect();
    whole.compare(&database, &by_key(&rows, whole.columns.len())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_partitioned_as_java_clients_do() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE numbers (id int PRIMARY KEY);
             CREATE TABLE words (id int, word text, PRIMARY KEY (id, word));
             INSERT INTO numbers SELECT generate_series(1, 300);
             INSERT INTO words SELECT g, repeat('ü', g % 20) || g FROM generate_series(1, 300) g",
        )
        .await;
    let mesh = Mesh::up(&database, &["numbers", "words"], "topics.partitions = 4").await;
    for table in ["numbers", "words"] {
        let lines = confluent(&["partitions", &kafka::shared(), &mesh.topic(table)]).unwrap();
        assert_eq!(lines.len(), 300, "{table}");
        for line in &lines {
            assert_eq!(line["partition"], line["java"], "{table}: key {}", line["key"]);
        }
        let used = |partition| lines.iter().any(|line| line["partition"] == partition);
        assert!((0..4).all(used), "{table} has all its rows in few partitions");
    }
}

/// A record's key and value.
type Message = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Every record of the topic, by a consumer as another program would make it.
fn messages(topic: &str) -> Vec<Message> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka::shared())
        .set("group.id", "not-used")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut messages = Vec::new();
    loop {
        match consumer.poll(READ_WAIT_MAX).expect("a record or the end") {
            Ok(message) => messages
                .push((message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec))),
            Err(KafkaError::PartitionEOF(_)) => return messages,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn decode(decoder: &AvroDecoder, bytes: Option<&[u8]>) -> Json {
    match decoder.decode_with_schema(bytes).await.unwrap() {
        None => Json::Null,
        Some(decoded) => {
            let schema = &decoded.schema.parsed;
            let resolved = ResolvedSchema::try_from(schema).unwrap();
            cell(&decoded.value, schema, resolved.get_names())
        }
    }
}

/// A value as text, as `tests/readers/confluent.py` prints it with `--wide`.
fn cell(value: &Value, schema: &Schema, names: &NamesRef<'_>) -> Json {
    match (value, schema) {
        (value, Schema::Ref { name }) => cell(value, names[name], names),
        (Value::Null, _) => Json::Null,
        (Value::Union(branch, value), Schema::Union(union)) => {
            cell(value, &union.variants()[usize::try_from(*branch).unwrap()], names)
        }
        (Value::Record(fields), Schema::Record(record)) => {
            let fields = fields.iter().zip(&record.fields);
            fields
                .map(|((name, value), field)| (name.clone(), cell(value, &field.schema, names)))
                .collect()
        }
        (Value::Array(items), Schema::Array(array)) => {
            items.iter().map(|item| cell(item, &array.items, names)).collect()
        }
        (Value::Boolean(value), _) => json!(value.to_string()),
        (Value::Int(value), _) => json!(value.to_string()),
        (Value::Long(value), _) => json!(value.to_string()),
        (Value::Float(value), _) => json!(value.to_string()),
        (Value::Double(value), _) => json!(value.to_string()),
        (Value::String(value), _) => json!(value),
        (Value::Uuid(value), _) => json!(value.to_string()),
        (Value::Bytes(bytes), _) => {
            json!(bytes.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}")))
        }
        (Value::Decimal(value), Schema::Decimal(schema)) => {
            json!(decimal(&BigInt::from(value.clone()), schema.scale))
        }
        (Value::Date(days), _) => json!(day(*days)),
        (Value::TimeMicros(us), _) => json!(clock(*us)),
        (Value::LocalTimestampMicros(us), _) => json!(moment(*us)),
        (Value::TimestampMicros(us), _) => json!(format!("{}+00", moment(*us))),
        (value, schema) => panic!("{value:?} of {schema:?}"),
    }
}
