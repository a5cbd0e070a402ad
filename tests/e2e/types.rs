//! Types that are made of others, that are altered, that are not known, and values beyond a limit:
//! carried, or refused with what to do, and nothing told wrongly.

use crate::support::daemon::{Daemon, configuration, log_alone, verified};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{fold, records};
use serde_json::{Value as Json, json};
use std::path::Path;

const TOPIC: &str = "shop.public.t";

async fn start(folder: &Path, database: &Database, more: &str) -> Daemon {
    Daemon::up(folder, &configuration(database, &["public.t"], more)).await
}

/// The row of this id, once the topic has so many records.
async fn row(daemon: &Daemon, id: i64, count: usize) -> Json {
    eventually("the row", async || {
        let records = records(daemon, TOPIC);
        let row = fold(&records).remove(&format!("{{\"id\":{id}}}"));
        row.filter(|_| records.len() >= count)
    })
    .await
}

/// Why the source does not take a table with this column, after these statements.
async fn refused(before: &str, column: &str, more: &str) -> String {
    let database = Database::new().await;
    database.execute(before).await;
    database.execute(&format!("CREATE TABLE t (id int PRIMARY KEY, c {column})")).await;
    let folder = tempfile::tempdir().unwrap();
    start(folder.path(), &database, more).await.stopped_with().await
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "«{word}» is missing in: {error}");
    }
}

const ADDRESS: &str = "
CREATE EXTENSION hstore;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE place AS (\"the x\" float8, y numeric(6,2));
CREATE TYPE address AS (street text, number positive, mood mood, tags text[], at timestamptz,
                        place place, places place[], payload bytea, span int4range,
                        more hstore, boxes box[], yes bool, of regclass, cost money);
CREATE TABLE t (id int PRIMARY KEY, home address, others address[], again place, d positive)";

const HOME: &str = "ROW('a \"b\", \\c', 7, 'happy', '{x,NULL,\"y z\"}', '2024-01-01 00:00:00+00',
    ROW(1.5, 2.25)::place, ARRAY[ROW(1, NULL)::place, NULL], '\\x00ff', '[1,3)',
    'k=>\"v w\", n=>NULL', '{(3,4),(1,2);(7,8),(5,6)}', true, 'pg_class', 12.5)::address";

fn home() -> Json {
    json!({
        "street": "a \"b\", \\c", "number": 7, "mood": "happy", "tags": ["x", null, "y z"],
        "at": "2024-01-01T00:00:00Z", "place": {"the_u0020x": 1.5, "y": "2.25"},
        "places": [{"the_u0020x": 1.0, "y": null}, null], "payload": "0x00ff", "span": "[1,3)",
        "more": "{\"k\": \"v w\", \"n\": null}", "boxes": ["(3,4),(1,2)", "(7,8),(5,6)"],
        "yes": true, "of": 1259, "cost": "12.50",
    })
}

fn nothing() -> Json {
    json!({
        "street": null, "number": null, "mood": null, "tags": null, "at": null, "place": null,
        "places": null, "payload": null, "span": null,
        "more": null, "boxes": null, "yes": null, "of": null, "cost": null,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_values_are_records() {
    let database = Database::new().await;
    database.execute(ADDRESS).await;
    let insert = |id: i64| {
        format!(
            "INSERT INTO t VALUES ({id}, {HOME}, ARRAY[NULL, {HOME}, ROW()::address]::address[],
                ROW(NULL, 1)::place, 1), ({}, NULL, '{{}}', ROW(NULL, NULL)::place, NULL)",
            id + 1
        )
        .replace("ROW()", &format!("ROW(NULL{})", ",NULL".repeat(13)))
    };
    let whole = |id: i64| {
        json!({"id": id, "home": home(), "others": [null, home(), nothing()],
               "again": {"the_u0020x": null, "y": "1.00"}, "d": 1})
    };
    let empty = |id: i64| {
        json!({"id": id, "home": null, "others": [],
               "again": {"the_u0020x": null, "y": null}, "d": null})
    };
    database.execute(&insert(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &database, "").await;
    daemon.streaming().await;
    assert_eq!(row(&daemon, 1, 2).await, whole(1));
    assert_eq!(row(&daemon, 2, 2).await, empty(2));
    database.execute(&insert(3)).await;
    assert_eq!(row(&daemon, 3, 4).await, whole(3));
    assert_eq!(row(&daemon, 4, 4).await, empty(4));
    database.execute(&format!("UPDATE t SET home = {HOME} WHERE id = 2")).await;
    assert_eq!(row(&daemon, 2, 5).await["home"], home());
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composite_key_is_a_record_in_the_key() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TYPE pair AS (a int, b text);
             CREATE TABLE t (id pair PRIMARY KEY, n int);
             INSERT INTO t VALUES (ROW(1, 'x,y'), 1), (ROW(2, NULL), 2)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &database, "").await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("DELETE FROM t WHERE n = 1; UPDATE t SET n = 3").await;
    let keyed = |records: &[Json], key: &Json| records.iter().any(|r| r["key"]["id"] == *key);
    eventually("the delete", async || {
        let records = records(&daemon, TOPIC);
        let rows = fold(&records);
        let of = json!({"a": 2, "b": null});
        (rows.len() == 1 && keyed(&records, &of)).then_some(())
    })
    .await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_composite_type_stops_the_source() {
    for (alter, value) in [
        ("ALTER TYPE pair ADD ATTRIBUTE c int", Some("ROW(3, 4, 5)")),
        ("ALTER TYPE pair DROP ATTRIBUTE a", Some("ROW(3)")),
        // A value shows nothing of this: the catalog does.
        ("ALTER TYPE pair DROP ATTRIBUTE a, ADD ATTRIBUTE c int", None),
    ] {
        let database = Database::new().await;
        database
            .execute(
                "CREATE TYPE pair AS (a int, b int);
                 CREATE TABLE t (id int PRIMARY KEY, c pair)",
            )
            .await;
        let folder = tempfile::tempdir().unwrap();
        let daemon = start(folder.path(), &database, "").await;
        daemon.streaming().await;
        database.execute("INSERT INTO t VALUES (1, ROW(1, 2))").await;
        row(&daemon, 1, 1).await;
        database.execute(alter).await;
        if let Some(value) = value {
            database.execute(&format!("INSERT INTO t VALUES (2, {value})")).await;
        }
        let error = daemon.stopped_with().await;
        assert_says(&error, &["was altered", "type=public.pair", "source remove"]);
        drop(daemon);
        // Nor does it go on when it is started again.
        let daemon = start(folder.path(), &database, "").await;
        if value.is_none() {
            database.execute("INSERT INTO t VALUES (2, ROW(3, 4))").await;
        }
        assert_says(&daemon.stopped_with().await, &["was altered"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_attribute_keeps_its_values() {
    let database = Database::new().await;
    database
        .execute("CREATE TYPE pair AS (a int, b int); CREATE TABLE t (id int PRIMARY KEY, c pair)")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &database, "").await;
    daemon.streaming().await;
    database.execute("INSERT INTO t VALUES (1, ROW(1, 2))").await;
    assert_eq!(row(&daemon, 1, 1).await["c"], json!({"a": 1, "b": 2}));
    database.execute("ALTER TYPE pair RENAME ATTRIBUTE a TO z").await;
    database.execute("INSERT INTO t VALUES (2, ROW(3, 4))").await;
    assert_eq!(row(&daemon, 2, 2).await["c"], json!({"a": 3, "b": 4}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_in_a_decimal_stops_the_source_or_is_null() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TYPE pair AS (a numeric(5,2), b numeric);
             CREATE TABLE t (id int PRIMARY KEY, n numeric(5,2), a numeric(5,2)[], p pair)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &database, "").await;
    daemon.streaming().await;
    database.execute("INSERT INTO t VALUES (1, 'NaN', '{1,NaN}', ROW('NaN', 'Infinity'))").await;
    let error = daemon.stopped_with().await;
    assert_says(&error, &["table=public.t", "column=n", "postgres.numeric_special"]);
    drop(daemon);
    let daemon = start(folder.path(), &database, "numeric_special = \"null\"").await;
    let row = row(&daemon, 1, 1).await;
    let pair = json!({"a": null, "b": "Infinity"});
    assert_eq!(row, json!({"id": 1, "n": null, "a": ["1.00", null], "p": pair}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_that_is_null_by_choice_verifies_as_null_and_a_key_of_it_stops() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE t (id int PRIMARY KEY, n numeric(5,2));
             CREATE TABLE k (id numeric(5,2) PRIMARY KEY);
             INSERT INTO t VALUES (1, 'NaN'), (2, 1), (3, NULL)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let tables = ["public.t", "public.k"];
    let config = configuration(&database, &tables, "numeric_special = \"null\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("INSERT INTO k VALUES ('NaN')").await;
    assert_says(&daemon.stopped_with().await, &["table=public.k", "column=id", "a key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_dimensions_in_a_column_declared_with_one_stop_the_source() {
    let database = Database::new().await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a int[], b int[][])").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &database, "").await;
    daemon.streaming().await;
    database.execute("INSERT INTO t VALUES (1, '[5:6]={1,2}', '{1,2}')").await;
    let wanted = json!({"id": 1, "a": [1, 2], "b": "{1,2}"});
    assert_eq!(row(&daemon, 1, 1).await, wanted);
    database.execute("INSERT INTO t VALUES (2, '{}', '{{1},{2}}'), (3, '{{1},{2}}', NULL)").await;
    let error = daemon.stopped_with().await;
    assert_says(&error, &["several dimensions", "table=public.t", "column=a", "int[][]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_known_is_refused_by_column_type_and_remedy() {
    let cube = "CREATE EXTENSION cube";
    let error = refused(cube, "cube", "").await;
    assert_says(&error, &["\"c\" of type cube", "public.cube is not known", "a binary form"]);
    assert_says(&error, &["change the column's type", "postgres.exclude_tables"]);
    let error = refused(cube, "cube", "text_types = [\"public.cube\"]").await;
    assert_says(&error, &["public.cube in postgres.text_types has a binary form"]);
    let error = refused("", "int", "text_types = [\"public.nothing\"]").await;
    assert_says(&error, &["public.nothing in postgres.text_types is not there"]);
    let seg = "CREATE EXTENSION seg";
    let error = refused(seg, "seg", "").await;
    assert_says(&error, &["public.seg", "postgres.text_types to carry it as text"]);
    let error = refused(seg, "seg[]", "text_types = [\"public.seg\"]").await;
    assert_says(&error, &["of type seg[]", "public.seg is not known, and has no binary form"]);
    let error = refused("CREATE TYPE r AS RANGE (subtype = money)", "r", "").await;
    assert_says(&error, &["pg_catalog.money has no text of its own"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_without_a_binary_form_is_text_by_declaration() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE SCHEMA more; CREATE EXTENSION seg SCHEMA more; CREATE EXTENSION isn;
             CREATE DOMAIN code AS isbn;
             CREATE TABLE t (id isbn PRIMARY KEY, s more.seg, c code);
             INSERT INTO t VALUES ('1-4133-0454-0', '1.5 .. 2', NULL)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let types = "text_types = [\"more.seg\", \"public.isbn\"]";
    let daemon = start(folder.path(), &database, types).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("INSERT INTO t VALUES ('0-393-04002-X', '<3', '1-4133-0454-0')").await;
    database.execute("UPDATE t SET s = '~7' WHERE c IS NULL").await;
    let wanted = [
        json!({"id": "0-393-04002-X", "s": "<3", "c": "1-4133-0454-0"}),
        json!({"id": "1-4133-0454-0", "s": "~7", "c": null}),
    ];
    eventually("the rows", async || {
        let rows = fold(&records(&daemon, TOPIC));
        rows.into_values().eq(wanted.iter().cloned()).then_some(())
    })
    .await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_above_the_limit_stops_the_source_and_is_told_once_the_limit_is_raised() {
    let database = Database::new().await;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, c text)").await;
    let folder = tempfile::tempdir().unwrap();
    let limit = |mib: u32| {
        let more = format!("message_bytes_max = {}", mib * 1024 * 1024);
        log_alone(&configuration(&database, &["public.t"], &more))
    };
    let daemon = Daemon::up(folder.path(), &limit(1)).await;
    daemon.streaming().await;
    database.execute("INSERT INTO t VALUES (1, 'before')").await;
    database.execute("INSERT INTO t VALUES (2, repeat('x', 2 * 1024 * 1024))").await;
    database.execute("INSERT INTO t VALUES (3, 'behind')").await;
    let error = daemon.stopped_with().await;
    assert_says(
        &error,
        &["larger than the limit", "table=public.t", "raise postgres.message_bytes_max"],
    );
    assert_eq!(records(&daemon, TOPIC).len(), 1);
    drop(daemon);
    let daemon = Daemon::up(folder.path(), &limit(8)).await;
    let rows = eventually("all rows", async || {
        let rows = fold(&records(&daemon, TOPIC));
        (rows.len() == 3).then_some(rows)
    })
    .await;
    assert_eq!(rows["{\"id\":2}"]["c"].as_str().unwrap().len(), 2 * 1024 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_above_the_limit_fails_the_snapshot_of_its_table() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE t (id int PRIMARY KEY, c text);
             INSERT INTO t VALUES (1, repeat('x', 2 * 1024 * 1024))",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path(), &database, "message_bytes_max = 1048576").await;
    let error = daemon.logged("snapshot failed").await["error"].as_str().unwrap().to_owned();
    assert_says(&error, &["a row is larger than the limit", "table=public.t", "message_bytes_max"]);
}
