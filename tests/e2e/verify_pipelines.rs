//! `tidemesh verify --pipeline`: equal while everything moves, different where it is, and unknown, with
//! the reason, where no database could say.

use crate::pipelines::{applied, is, pipeline, streaming, verified};
use crate::support::daemon::Daemon;
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
