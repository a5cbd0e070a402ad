//! Debezium's types and flat records, from the database to the topic and back by `verify`.

use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, log_alone, verified, with};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{fold, records};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const TOPIC: &str = "shop.public.kinds";
const DEBEZIUM: &str = "types = \"debezium\"";
const FLAT: &str = "envelope = \"flat\"";
const FLAT_DEBEZIUM: &str = "types = \"debezium\"\nenvelope = \"flat\"";

/// A type, a value in SQL, and the value as `tidemesh topic read` must print it. The values are
/// those that Debezium 3.7.0.Final wrote, see `common/avro/testdata/debezium`.
fn cases() -> Vec<(&'static str, &'static str, Json)> {
    let number = |scale: i32, value: &str| json!({"scale": scale, "value": value});
    vec![
        ("bool", "true", json!(true)),
        ("int2", "-32768", json!(-32768)),
        ("int8", "-9223372036854775808", json!(i64::MIN)),
        ("oid", "4294967295", json!(4_294_967_295_u32)),
        ("float4", "'NaN'", json!("NaN")),
        ("float8", "1e300", json!(1e300)),
        ("numeric(12,2)", "-0.01", json!("-0.01")),
        ("numeric", "'0.000000001000'", number(9, "0x01")),
        ("numeric", "1e20", number(0, "0x056bc75e2d63100000")),
        ("numeric", "-123.4500", number(2, "0xcfc7")),
        ("money", "'-12.34'", json!("-12.34")),
        ("char(5)", "'abc'", json!("abc  ")),
        ("bytea", "'\\x00ff10'", json!("0x00ff10")),
        (
            "uuid",
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        ("jsonb", "'{\"a\":1}'", json!("{\"a\": 1}")),
        ("date", "'2024-02-29'", json!(19_782)),
        ("date", "'0044-03-15 BC'", json!(-735_160)),
        ("date", "'infinity'", json!(i32::MAX)),
        ("time", "'24:00:00'", json!(86_400_000_000_i64)),
        ("time(3)", "'04:05:06.789'", json!(14_706_789)),
        ("time(0)", "'24:00:00'", json!(86_400_000)),
        ("timetz", "'04:05:06+05:30'", json!("22:35:06Z")),
        ("timetz(3)", "'04:05:06.789-03'", json!("07:05:06.789Z")),
        ("timestamp", "'1969-12-31 23:59:59.999999'", json!(-1)),
        ("timestamp", "'-infinity'", json!(i64::MIN)),
        ("timestamp(0)", "'1969-12-31 23:59:59'", json!(-1000)),
        ("timestamp(3)", "'0044-03-15 10:00 BC'", json!(-63_517_788_000_000_i64)),
        ("timestamp(3)", "'infinity'", json!(9_223_372_036_825_200_000_i64)),
        ("timestamptz", "'2024-01-01 00:00:00+02'", json!("2023-12-31T22:00:00.000000Z")),
        ("timestamptz", "'0044-03-15 10:00+00 BC'", json!("-0043-03-15T10:00:00.000000Z")),
        ("timestamptz", "'infinity'", json!("infinity")),
        ("timestamptz(0)", "'2024-01-01 00:00:00+02'", json!("2023-12-31T22:00:00Z")),
        ("timestamptz(3)", "'2024-01-01 00:00:00.5+02'", json!("2023-12-31T22:00:00.500Z")),
        ("interval", "'1 year 2 mons 3 days 04:05:06.5'", json!(37_091_106_500_000_i64)),
        ("interval", "'-1 days'", json!(-86_400_000_000_i64)),
        ("mood", "'happy'", json!("happy")),
        ("positive", "7", json!(7)),
        ("moment", "'2024-01-01 00:00:00.123'", json!(1_704_067_200_123_i64)),
        ("int2[]", "'{1,NULL,3}'", json!([1, null, 3])),
        ("numeric[]", "'{1.50,NULL,20}'", json!([number(1, "0x0f"), null, number(0, "0x14")])),
        ("timetz[]", "'{04:05:06+05:30}'", json!(["22:35:06Z"])),
        ("interval[]", "'{\"1 day\",NULL}'", json!([86_400_000_000_i64, null])),
        ("timestamp(3)[]", "'{2024-01-01 00:00:00.123}'", json!([1_704_067_200_123_i64])),
        ("timestamptz[]", "'{2024-01-01 00:00:00.5+00}'", json!(["2024-01-01T00:00:00.500000Z"])),
        ("date[]", "'{2024-02-29}'", json!([19_782])),
        ("numeric[][]", "'{{1.50,2},{NULL,4}}'", json!("{{1.50,2},{NULL,4}}")),
        ("interval[][]", "'{{1 day}}'", json!("{{P1D}}")),
        ("xml", "'<a/>'", json!("<a/>")),
        ("bit(1)", "'1'", json!(true)),
        ("bit(3)", "'101'", json!("0x05")),
        ("bit(3)", "'000'", json!("0x")),
        ("varbit", "'100000001'", json!("0x0101")),
        (
            "point",
            "'(1.5,-2)'",
            json!({"x": 1.5, "y": -2.0, "srid": null,
            "wkb": "0x0101000000000000000000f83f00000000000000c0"}),
        ),
        ("line", "'{1,2,3}'", json!({"a": 1.0, "b": 2.0, "c": 3.0})),
        (
            "lseg",
            "'[(0,0),(1,1)]'",
            json!({"srid": null, "extensions": {"type": "lseg"},
            "wkb": concat!("0x0102000000020000000000000000000000", "0000000000000000",
                "000000000000f03f000000000000f03f")}),
        ),
        ("inet", "'10.0.0.1'", json!("10.0.0.1")),
        ("int4range", "'[1,5)'", json!("[1,5)")),
        ("tsvector", "'a b'", json!("'a' 'b'")),
        ("bit(3)[]", "'{101,NULL}'", json!(["0x05", null])),
        ("int4", "NULL", Json::Null),
    ]
}

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN moment AS timestamp(3)";

async fn kinds(database: &Database) {
    let column = |(index, (kind, ..)): (usize, &(&str, &str, Json))| format!("c{index} {kind}");
    let columns: Vec<String> = cases().iter().enumerate().map(column).collect();
    database.execute(TYPES).await;
    database
        .execute(&format!("CREATE TABLE kinds (id serial PRIMARY KEY, {})", columns.join(", ")))
        .await;
}

async fn insert(database: &Database, id: i32) {
    let values: Vec<&str> = cases().iter().map(|(_, value, _)| *value).collect();
    database.execute(&format!("INSERT INTO kinds VALUES ({id}, {})", values.join(", "))).await;
}

/// Every column of a row is as expected.
fn as_expected(row: &Json) {
    for (index, (kind, value, expected)) in cases().iter().enumerate() {
        assert_eq!(&row[format!("c{index}")], expected, "{kind} {value}");
    }
}

/// The first record of this operation, when it is there.
async fn told(daemon: &Daemon, operation: impl Fn(&Json) -> bool) -> Json {
    eventually("the record", async || records(daemon, TOPIC).into_iter().find(&operation)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn debeziums_types_tell_what_the_database_has() {
    let database = Database::new().await;
    kinds(&database).await;
    insert(&database, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.kinds"], ""), DEBEZIUM);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let read = told(&daemon, |record| record["value"]["op"] == "r").await;
    as_expected(&read["value"]["after"]);
    insert(&database, 2).await;
    let created = told(&daemon, |record| record["value"]["op"] == "c").await;
    as_expected(&created["value"]["after"]);
    database.execute("UPDATE kinds SET c0 = false WHERE id = 2").await;
    let updated = told(&daemon, |record| record["value"]["op"] == "u").await;
    assert_eq!(updated["value"]["after"]["c0"], false);
    database.execute("INSERT INTO kinds (id) VALUES (3); DELETE FROM kinds WHERE id = 1").await;
    let deleted = told(&daemon, |record| record["value"]["op"] == "d").await;
    assert_eq!(deleted["value"]["before"]["id"], 1);
    let said = verified(&daemon);
    // A float's text may be the server's alone.
    assert!(said["tables"][0]["rechecked"].as_u64() <= Some(1), "{said}");
    database.execute("TRUNCATE kinds").await;
    insert(&database, 4).await;
    verified(&daemon);
    assert_eq!(fold(&records(&daemon, TOPIC)).keys().collect::<Vec<_>>(), [r#"{"id":4}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_within_what_the_types_keep_is_found() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE kinds (id int PRIMARY KEY, n numeric, i interval, t timetz, s timestamp(3),
                                 z timestamptz, a numeric[])",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.kinds"], ""), DEBEZIUM);
    let daemon = Daemon::up(folder.path(), &log_alone(&config)).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO kinds SELECT g, 1.50, '1 day', '10:00+01', '2024-01-01', '2024-01-01', '{1.0}'
             FROM generate_series(1, 3) g",
        )
        .await;
    verified(&daemon);
    database
        .execute(&format!("ALTER PUBLICATION {} SET (publish = 'insert')", database.name))
        .await;
    // What is the same once it is in the topic's form is no difference.
    database
        .execute("UPDATE kinds SET n = 1.500, i = '24 hours', a = '{1.000}' WHERE id = 1")
        .await;
    verified(&daemon);
    database
        .execute(
            "UPDATE kinds SET n = 1.51, i = '2 days', t = '10:00+02', s = s + interval '1 ms',
                              z = z + interval '1 s', a = '{2}' WHERE id = 2",
        )
        .await;
    let output = daemon.command(&["verify", "--source", "shop", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    let columns = said["tables"][0]["differences"][0]["columns"].as_array().unwrap().clone();
    let named: Vec<&str> = columns.iter().map(|c| c["column"].as_str().unwrap()).collect();
    assert_eq!(named, ["n", "i", "t", "s", "z", "a"], "{said}");
    let texts = |column: usize| (&columns[column]["database"], &columns[column]["topic"]);
    assert_eq!(texts(0), (&json!("1.51"), &json!("1.5")));
    assert_eq!(texts(2), (&json!("08:00:00Z"), &json!("09:00:00Z")));
    assert_eq!(texts(4), (&json!("2024-01-01 00:00:01+00"), &json!("2024-01-01 00:00:00+00")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_debeziums_type_cannot_hold_stops_the_source() {
    let database = Database::new().await;
    database.execute("CREATE TABLE kinds (id int PRIMARY KEY, n numeric)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.kinds"], ""), DEBEZIUM);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO kinds VALUES (1, 'NaN')").await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("NaN is no number that Debezium's type can be"), "{error}");
    assert!(error.contains("column=n"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_types_for_a_topic_that_is_there_are_refused() {
    let database = Database::new().await;
    database.execute("CREATE TABLE kinds (id int PRIMARY KEY, z timestamptz)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.kinds"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // Else the row is read as well as told, and again by whoever goes on.
    daemon.logged("snapshot done").await;
    database.execute("INSERT INTO kinds VALUES (1, now())").await;
    told(&daemon, |record| record["value"]["op"] == "c").await;
    daemon.kill();
    let lines = format!("{DEBEZIUM}\non_incompatible = \"stop\"");
    let mut daemon = Daemon::up(folder.path(), &with(&config, &lines)).await;
    database.execute("INSERT INTO kinds VALUES (2, now())").await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("kinds-key"), "{error}");
    daemon.kill();
    let daemon = Daemon::up(folder.path(), &with(&config, DEBEZIUM)).await;
    eventually("one comes twice: told and read", async || {
        (records(&daemon, "shop.public.kinds.g2").len() == 3).then_some(())
    })
    .await;
    verified(&daemon);
}

/// The latest row of each key of a flat topic, without what is added to it.
fn fold_flat(records: &[Json]) -> BTreeMap<String, Json> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key = record["key"].to_string();
        match record["value"].clone() {
            Json::Object(mut row) => {
                row.retain(|name, _| !name.starts_with("__"));
                rows.insert(key, Json::Object(row));
            }
            _ => drop(rows.remove(&key)),
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_records_fold_to_the_table() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE kinds (id bigint PRIMARY KEY, n int, note text);
             INSERT INTO kinds SELECT g, g, 'before' FROM generate_series(1, 10) g",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.kinds"], ""), FLAT);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(
            "INSERT INTO kinds SELECT g, g, 'note ' || g FROM generate_series(11, 50) g;
             UPDATE kinds SET n = n + 1 WHERE id <= 10;
             DELETE FROM kinds WHERE id = 3;
             UPDATE kinds SET id = 1000 WHERE id = 4;
             INSERT INTO kinds VALUES (3, 30, 'again')",
        )
        .await;
    verified(&daemon);
    let found = records(&daemon, TOPIC);
    assert_eq!(fold_flat(&found), rows(&database, "kinds").await);
    let operations = |key: i64| -> Vec<&str> {
        let of_key = found.iter().filter(|record| record["key"]["id"] == key);
        of_key.map(|record| record["value"]["__op"].as_str().unwrap_or("tombstone")).collect()
    };
    assert_eq!(operations(3), ["r", "u", "tombstone", "c"]);
    assert_eq!(operations(4), ["r", "u", "tombstone"]);
    assert_eq!(operations(1000), ["c"]);
    assert_eq!(operations(20), ["c"]);
    for record in &found {
        // A tombstone has its position too.
        assert!(record["position"].is_string(), "{record}");
        if let Json::Object(row) = &record["value"] {
            assert_eq!(row["__deleted"], "false");
            assert_eq!(row["__position"], record["position"]);
            assert!(row["__source_ts_us"].as_i64() > Some(1_600_000_000_000_000));
        }
    }
    daemon.kill();
    database.execute("UPDATE kinds SET note = NULL WHERE id < 20; TRUNCATE kinds").await;
    database.execute("INSERT INTO kinds VALUES (7, 70)").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    let folded = fold_flat(&records(&daemon, TOPIC));
    assert_eq!(folded.keys().collect::<Vec<_>>(), [r#"{"id":7}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flat_records_of_debeziums_types_tell_what_the_database_has() {
    let database = Database::new().await;
    kinds(&database).await;
    insert(&database, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.kinds"], ""), FLAT_DEBEZIUM);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    as_expected(&told(&daemon, |record| record["value"]["__op"] == "r").await["value"]);
    insert(&database, 2).await;
    as_expected(&told(&daemon, |record| record["value"]["__op"] == "c").await["value"]);
    database.execute("DELETE FROM kinds WHERE id = 1").await;
    verified(&daemon);
    assert_eq!(fold_flat(&records(&daemon, TOPIC)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_come_with_a_default_are_read_in_debeziums_types() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds VALUES (1), (2)")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.kinds"], ""), DEBEZIUM);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(
            "ALTER TABLE kinds ADD n numeric DEFAULT 1.50, ADD i interval DEFAULT '1 day 2 hours',
                 ADD s timestamp(3) DEFAULT '2024-01-01 00:00:00.5', ADD t timetz DEFAULT '10:00+01',
                 ADD z timestamptz(0) DEFAULT '2024-01-01 00:00+00', ADD d numeric(5,2) DEFAULT 2.5,
                 ADD e time(0) DEFAULT '10:00', ADD x text NOT NULL DEFAULT 'x';
             INSERT INTO kinds (id) VALUES (3)",
        )
        .await;
    verified(&daemon);
    let one = json!({"id": 3, "n": {"scale": 1, "value": "0x0f"}, "i": 93_600_000_000_i64,
        "s": 1_704_067_200_500_i64, "t": "09:00:00Z", "z": "2024-01-01T00:00:00Z", "d": "2.50",
        "e": 36_000_000, "x": "x"});
    assert_eq!(fold(&records(&daemon, TOPIC))[r#"{"id":3}"#], one);
}
