//! `tidemesh verify --pipeline`: equal while everything moves, different where it is, and unknown, with
//! the reason, where no database could say.

use crate::pipelines::{applied, is, pipeline, streaming, verified};
use crate::support::daemon::{BINARY, Daemon, configuration, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use serde_json::Value as Json;

fn said(daemon: &Daemon, pipeline: &str) -> (Option<i32>, Json) {
    let output = daemon.command(&["verify", "--pipeline", pipeline, "--json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Json::Null))
}

async fn declared(daemon: &Daemon, folder: &std::path::Path, texts: &[String]) {
    let probe = texts.join("---\n");
    eventually("the table has its topic", async || {
        let (code, _) = crate::pipelines::with_documents(daemon, folder, "plan", &probe);
        (code != Some(2)).then_some(())
    })
    .await;
    applied(daemon, folder, &probe);
}

/// Every kind of type that has another form in the topic than in the database's text.
const TYPES: &str = "
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE place AS (city text, at timestamptz, since date, sum numeric(8, 3));
CREATE TABLE orders (
    id bigint PRIMARY KEY, yes boolean, small smallint, real real, double double precision,
    exact numeric(12, 4), free numeric, note text, short varchar(9), fixed char(6), day date,
    at_time time, at timestamp, atz timestamptz, raw bytea, uid uuid, doc jsonb, plain json,
    many int[], texts text[], feels mood, net inet, lasts interval, home place, days date[]);
INSERT INTO orders SELECT g, g % 2 = 0, g, g / 7.0, g / 3.0, g / 8.0, g / 16.0, 'n' || g, 's', 'f',
    DATE '1969-12-30' + g, TIME '01:02:03.5', TIMESTAMP '1969-12-31 23:59:59.25' + g * INTERVAL '1 h',
    TIMESTAMPTZ '2024-02-29 12:00:00.000001+05' + g * INTERVAL '1 d', decode('00ff', 'hex'),
    gen_random_uuid(), '{\"a\": [1, null]}'::jsonb, '{\"b\":  2}'::json, ARRAY[g, NULL],
    ARRAY['x', NULL, '\"y\"'],
    'glad'::mood, '10.0.0.0/8'::inet, INTERVAL '1 mon 2 d', ROW('c', now(), DATE '2024-01-31', 1.5)::place,
    ARRAY[DATE '2000-01-01'] FROM generate_series(1, 40) g;
INSERT INTO orders (id, double, real) VALUES (100, 'NaN', '-Infinity'), (101, 1e300, 1e-30)";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_compared() {
    let database = Database::new().await;
    database.execute(TYPES).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = streaming(&database, folder.path(), str::to_owned).await;
    let all = pipeline("all", "shop.public.orders", "SELECT * FROM rows");
    let flat = pipeline("flat", "mesh.all", "SELECT * FROM rows");
    let flat = flat.replace("partitions: 2", "partitions: 2, envelope: flat");
    let made = "SELECT id, small * 2 AS twice, exact + 1 AS more, note || fixed AS both, at + INTERVAL \
                '1 hour' AS later, CASE WHEN yes THEN day END AS day, double / 2 AS half FROM rows";
    declared(&daemon, folder.path(), &[all, flat, pipeline("made", "mesh.flat", made)]).await;
    for name in ["all", "flat", "made"] {
        verified(&daemon, name).await;
    }
    let (code, verdicts) = said(&daemon, "made");
    assert_eq!((code, &verdicts["outcome"]), (Some(0), &Json::from("equal")));
    assert_eq!(verdicts["outputs"][0]["rows"], 42, "{verdicts}");
    assert!(daemon.terminate().success());
}

async fn equal_while_all_of_it_moves(change: impl Fn(&str) -> String) {
    let database = Database::new().await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, status text, qty int)").await;
    let seed = "INSERT INTO orders SELECT g, 'open', g FROM generate_series(1, 2000) g";
    database.execute(seed).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), change).await;
    let paid = "SELECT id, qty FROM rows WHERE status = 'paid'";
    let twice = "SELECT id, qty * 2 AS twice FROM rows WHERE qty % 3 > 0";
    let texts =
        [pipeline("paid", "shop.public.orders", paid), pipeline("twice", "mesh.paid", twice)];
    declared(&daemon, folder.path(), &texts).await;
    let writing = tokio::spawn(async move {
        for round in 0..60 {
            let sql = format!(
                "UPDATE orders SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END, \
                     qty = qty + {round} WHERE id % 7 = {round} % 7;
                 DELETE FROM orders WHERE id = {round} + 1;
                 INSERT INTO orders VALUES ({round} + 5000, 'paid', {round})"
            );
            database.execute(&sql).await;
        }
        database
    });
    while !writing.is_finished() {
        verified(&daemon, "paid").await;
        verified(&daemon, "twice").await;
    }
    // The database goes with what is answered here.
    let _database = writing.await.unwrap();
    verified(&daemon, "twice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_while_all_of_it_moves_on_the_embedded_log() {
    equal_while_all_of_it_moves(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_while_all_of_it_moves_on_kafka() {
    equal_while_all_of_it_moves(|config| on_kafka(config, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_and_what_cannot_be_told_is_said() {
    let database = Database::new().await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    database.execute("INSERT INTO orders VALUES (1, 'plain'), (2, 'straße'), (3, NULL)").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), str::to_owned).await;
    let topic = "shop.public.orders";
    let upper = pipeline("upper", topic, "SELECT id, upper(note) AS note FROM rows");
    let own = pipeline("own", topic, "SELECT id, nvl(note, 'none') AS note FROM rows");
    declared(&daemon, folder.path(), &[upper, own]).await;

    // The database's collation makes no two letters of one; Unicode, and Tidemesh, do.
    let (code, verdicts) = said(&daemon, "upper");
    let verdict = &verdicts["outputs"][0];
    assert_eq!((code, &verdict["differing"]), (Some(1), &Json::from(1)), "{verdicts}");
    assert_eq!(verdict["differences"][0]["key"][0]["text"], "2", "{verdicts}");
    assert_eq!(verdict["differences"][0]["columns"][0]["topic"], "STRASSE", "{verdicts}");
    let output = daemon.command(&["verify", "--pipeline", "upper"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("id=\"2\": note is"), "{text}");

    let (code, verdicts) = said(&daemon, "own");
    assert_eq!(code, Some(2), "{verdicts}");
    let reason = verdicts["outputs"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("function nvl") && reason.contains("no database can confirm"),
        "{reason}"
    );

    assert!(daemon.command(&["pause", "upper"]).status.success());
    is(&daemon, "upper", "paused").await;
    let (code, verdicts) = said(&daemon, "upper");
    assert_eq!(code, Some(2), "{verdicts}");
    assert!(verdicts["outputs"][0]["reason"].to_string().contains("it is paused"), "{verdicts}");
    let output = daemon.command(&["verify", "--pipeline", "none"]);
    assert_eq!(output.status.code(), Some(2));
    let output = daemon.command(&["verify", "--pipeline", "own", "--output", "none"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("it has no such output"), "{text}");
}

/// What is written in two ways, by the database's casts and by the connector, or has no end.
const ODD: &str = "
CREATE DOMAIN code AS char(4);
CREATE TYPE price AS (sum numeric(6, 2), note text);
CREATE TYPE spot AS (sum numeric, at timestamp, since date[]);
CREATE TABLE orders (
    id code PRIMARY KEY, at timestamp, atz timestamptz, day date, days date[], ats timestamptz[],
    exact numeric(6, 2), exacts numeric(6, 2)[], priced price, prices price[], fixed char(5)[],
    padded char(5), nets inet[], net inet, docs xml[], class regclass, classes regclass[], oids oid[],
    zoned timetz, zones timetz[], paid money, pays money[], few smallint[], raws bytea[], boxes box[],
    plain json[], free numeric[], spot spot, times time[], bounds int[], bigs bigint[]);
INSERT INTO orders VALUES ('a', 'infinity', '-infinity', 'infinity', '{-infinity,0044-03-15 BC,10000-01-01}',
    '{infinity,0044-03-15 12:00:00+00 BC,2024-01-01 00:00:00.5+05:30}', 'NaN', '{1.50,NaN,NULL}',
    ROW('NaN', 'x'), ARRAY[ROW(1.25, 'y')::price, ROW('NaN', NULL)::price, NULL], '{ab,NULL}', 'ab',
    '{10.0.0.1,10.0.0.0/8,::1}', '10.0.0.1', '{<a/>}', 'pg_class', '{pg_class,pg_type}', '{1,4294967295}',
    '04:05:06+01', '{04:05:06+01,04:05:06-05:30,NULL}', 12.5, '{1,-2.5}', '{1,NULL}', '{\\x00ff}',
    '{(1,2),(0,1);(5,6),(4,5)}', ARRAY['{\"b\":  2}']::json[], '{1.50,NaN}', ROW(1.500, 'infinity',
    '{infinity}'), '{24:00:00,01:02:03.5}', '[3:4]={7,8}', '{9223372036854775807}');
INSERT INTO orders SELECT 'b', '-infinity', 'infinity', '-infinity', NULL, NULL, 1.5, '{}', NULL, '{}';
INSERT INTO orders SELECT 'c', NULL, NULL, NULL, NULL, NULL, 'NaN', NULL, ROW(NULL, NULL)::price";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_two_ways_is_compared() {
    let database = Database::new().await;
    database.execute(ODD).await;
    let folder = tempfile::tempdir().unwrap();
    let lines = "numeric_special = \"null\"";
    let config = configuration(&database, &["public.orders"], lines);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let told = crate::support::daemon::verified(&daemon);
    assert_eq!(told["tables"][0]["rows"], 3, "{told}");
    let priced = ["priced", "prices"];
    let columns = "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attnum > 0 AND \
                   attrelid = 'orders'::regclass AND attname NOT IN ('priced', 'prices')";
    let columns = database.text(columns).await;
    let all = pipeline("all", "shop.public.orders", &format!("SELECT {columns} FROM rows"));
    let again = pipeline("again", "mesh.all", "SELECT * FROM rows");
    let prices = pipeline("prices", "shop.public.orders", "SELECT id, priced, prices FROM rows");
    declared(&daemon, folder.path(), &[all, again, prices]).await;
    for name in ["all", "again"] {
        verified(&daemon, name).await;
    }
    // One part of a composite value cannot be told otherwise.
    let (code, verdicts) = said(&daemon, "prices");
    let reason = verdicts["outputs"][0]["reason"].to_string();
    assert_eq!(code, Some(2), "{verdicts}");
    assert!(priced.iter().any(|column| reason.contains(column)), "{reason}");
    // What is added behind the snapshot comes by the log.
    database
        .execute(
            "UPDATE orders SET few = '{2}'; INSERT INTO orders (id, at) VALUES ('d', 'infinity')",
        )
        .await;
    verified(&daemon, "again").await;
    crate::support::daemon::verified(&daemon);
}

const SHOP: &str = "
CREATE TABLE customers (id bigint PRIMARY KEY, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, qty int);
INSERT INTO customers SELECT g, 'name ' || g FROM generate_series(1, 5) g;
INSERT INTO orders SELECT g, 1 + g % 5, g FROM generate_series(1, 50) g";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_looked_up_before_it_changed_is_unknown_and_the_rest_is_not() {
    let database = Database::new().await;
    database.execute(SHOP).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders", "public.customers"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert!(daemon.command(&["snapshot", "status", "shop", "--wait"]).status.success());
    let named = |name: &str, join: &str| {
        let sql = format!(
            "SELECT o.id, o.qty, c.name FROM rows o {join} customers c ON c.id = o.customer_id"
        );
        let lookup = "inputs: {customers: {topic: shop.public.customers, lookup: true}, ";
        pipeline(name, "shop.public.orders", &sql).replace("inputs: {", lookup)
    };
    let counted = pipeline("counted", "mesh.named", "SELECT id, qty FROM rows");
    let texts = [named("named", "LEFT JOIN"), named("found", "JOIN"), counted];
    declared(&daemon, folder.path(), &texts).await;
    for name in ["named", "found", "counted"] {
        verified(&daemon, name).await;
    }
    database.execute("UPDATE customers SET name = 'other' WHERE id = 3").await;
    let (code, verdicts) = said(&daemon, "named");
    let verdict = &verdicts["outputs"][0];
    assert_eq!((code, &verdict["outcome"]), (Some(2), &Json::from("unknown")), "{verdicts}");
    assert_eq!(verdict["differing"], 10, "{verdicts}");
    let reason = verdict["reason"].as_str().unwrap();
    assert!(reason.contains("looked up in shop.public.customers"), "{reason}");
    assert_eq!(verdict["differences"][0]["columns"][0]["column"], "name", "{verdicts}");
    let shown = daemon.command(&["verify", "--pipeline", "named"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("name is \"other\" in the database"), "{shown}");
    // What was not looked up is as it must be.
    verified(&daemon, "counted").await;

    // From here on the log tells inserts alone, and the topics are wrong.
    let inserts = format!("ALTER PUBLICATION {} SET (publish = 'insert')", database.name);
    database.execute(&inserts).await;
    database.execute("UPDATE orders SET qty = -qty WHERE id = 7").await;
    database.execute("DELETE FROM orders WHERE id = 8").await;
    for (name, proven) in [("named", 2), ("counted", 2)] {
        let (code, verdicts) = said(&daemon, name);
        let verdict = &verdicts["outputs"][0];
        assert_eq!((code, &verdict["differing"]), (Some(1), &Json::from(proven)), "{verdicts}");
    }
    // Whether there is a row depends on the lookup there.
    assert_eq!(said(&daemon, "found").0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_all_read_yet_is_unknown() {
    let database = Database::new().await;
    database.execute(SHOP).await;
    let folder = tempfile::tempdir().unwrap();
    let slow = "snapshot.chunk_rows = 1\nsnapshot.rows_per_second_max = 1";
    let config = with(&configuration(&database, &["public.orders"], ""), slow);
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let all = pipeline("all", "shop.public.orders", "SELECT id, qty FROM rows");
    declared(&daemon, folder.path(), &[all]).await;
    eventually("it is said", async || {
        let (code, verdicts) = said(&daemon, "all");
        assert_eq!(code, Some(2), "{verdicts}");
        verdicts["outputs"][0]["reason"].to_string().contains("snapshot is running").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_given_up_or_loses_its_session_leaves_nothing_in_the_database() {
    let database = Database::new().await;
    database.execute(SHOP).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), str::to_owned).await;
    let all = pipeline("all", "shop.public.orders", "SELECT id, qty FROM rows");
    declared(&daemon, folder.path(), &[all]).await;
    verified(&daemon, "all").await;
    let waiting =
        "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let count = format!("SELECT count(*)::text {waiting}");
    let waits = async |wanted: &str| {
        eventually(&format!("{wanted} wait"), async || {
            (database.text(&count).await == wanted).then_some(())
        })
        .await;
    };
    let begin = || {
        let mut command = std::process::Command::new(BINARY);
        command.args(["verify", "--pipeline", "all", "--json"]).env("TIDEMESH_URL", &daemon.url);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let locking = database.connect_again().await.unwrap();
    locking.batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await.unwrap();

    let mut given_up = begin();
    waits("1").await;
    let (code, verdicts) = said(&daemon, "all");
    let reason = verdicts["outputs"][0]["reason"].to_string();
    assert!(
        code == Some(2) && reason.contains("verification of this source is running"),
        "{reason}"
    );
    given_up.kill().unwrap();
    given_up.wait().unwrap();
    waits("0").await;

    let ended = begin();
    waits("1").await;
    database.execute(&format!("SELECT pg_terminate_backend(pid) {waiting}")).await;
    let output = ended.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("terminating connection"), "{text}");
    locking.batch_execute("ROLLBACK").await.unwrap();
    verified(&daemon, "all").await;
}
