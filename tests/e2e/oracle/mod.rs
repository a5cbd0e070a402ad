//! The server is the oracle: values of every type, all edges and random ones, go in by SQL, come out
//! by a snapshot, by the log and by updates, and are what the server itself says of them.

mod forms;
mod kinds;

use crate::support::daemon::{Daemon, configuration, verified};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{fold, records};
use crate::support::writer::seed;
use forms::{expected, expression};
use kinds::{Kind, kinds};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value as Json;
use std::collections::BTreeMap;

const TOPIC: &str = "shop.public.oracle";

/// Rows of each of the two ways in.
const ROWS: usize = 40;

/// What the types beside the built-in ones need.
const TYPES: &str = "
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
CREATE TYPE mood AS ENUM ('sad', 'so, so', 'happy', 'NULL', 'q\"uote', 'back\\slash', '');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN words AS text[];
CREATE TYPE floatrange AS RANGE (subtype = float8);
CREATE TYPE textrange AS RANGE (subtype = text);
CREATE TYPE inetrange AS RANGE (subtype = inet);
CREATE TYPE timerange AS RANGE (subtype = time);
CREATE TYPE timetzrange AS RANGE (subtype = timetz);
CREATE TYPE intervalrange AS RANGE (subtype = interval);
CREATE TYPE byterange AS RANGE (subtype = bytea);
CREATE TYPE moodrange AS RANGE (subtype = mood);
CREATE TYPE boolrange AS RANGE (subtype = bool);
CREATE TYPE uuidrange AS RANGE (subtype = uuid)";

/// As `snapshot::sql::SESSION` of the connector sets a session that reads.
const SESSION: &str = "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET extra_float_digits = 1;
SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex'; SET lc_monetary = 'C'";

/// The statement that writes a row whose values begin with the one of this number.
fn insert(id: usize, first: usize, kinds: &[Kind]) -> String {
    let values: Vec<&str> = kinds.iter().map(|kind| kind.value(first)).collect();
    format!("INSERT INTO oracle VALUES ({id}, {});", values.join(", "))
}

fn update(id: usize, first: usize, kinds: &[Kind]) -> String {
    let set = |(column, kind): (usize, &Kind)| format!("c{column} = {}", kind.value(first));
    let sets: Vec<String> = kinds.iter().enumerate().map(set).collect();
    format!("UPDATE oracle SET {} WHERE id = {id};", sets.join(", "))
}

/// What the server says of every row, as the topic must have it.
async fn oracle(database: &Database, kinds: &[Kind]) -> BTreeMap<String, Json> {
    let columns = kinds.iter().enumerate().map(|(column, kind)| expression(kind, column));
    let query = format!("SELECT id::text, {} FROM oracle", columns.collect::<Vec<_>>().join(", "));
    let mut rows = BTreeMap::new();
    for row in database.client.query(&query, &[]).await.unwrap() {
        let id: String = row.get(0);
        let mut after = serde_json::Map::new();
        after.insert("id".into(), id.parse::<i64>().unwrap().into());
        for (column, kind) in kinds.iter().enumerate() {
            after.insert(format!("c{column}"), expected(kind, &row, column + 1));
        }
        rows.insert(format!("{{\"id\":{id}}}"), Json::Object(after));
    }
    rows
}

/// Waits until the topic has so many rows by this operation, and compares all with the server's.
async fn agrees(daemon: &Daemon, database: &Database, kinds: &[Kind], op: &str, count: usize) {
    let found = eventually("all rows are told", async || {
        let records = records(daemon, TOPIC);
        let told = records.iter().filter(|record| record["value"]["op"] == op).count();
        (told >= count).then_some(records)
    })
    .await;
    let (found, wanted) = (fold(&found), oracle(database, kinds).await);
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (key, row) in &wanted {
        for (column, kind) in kinds.iter().enumerate() {
            let name = format!("c{column}");
            let (found, wanted) = (&found[key][&name], &row[&name]);
            if found != wanted {
                let kind = &kind.name;
                wrong.push(format!("{kind} of the row {key}: {found} and not {wanted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "by {op}:\n{}", wrong.join("\n"));
}

async fn every_type(version: u32) {
    let mut random = StdRng::seed_from_u64(seed());
    let kinds = kinds(version, &mut random);
    let database = Database::on_version(version).await;
    database.execute(TYPES).await;
    database.execute(SESSION).await;
    let columns: Vec<String> =
        kinds.iter().enumerate().map(|(i, kind)| format!("c{i} {}", kind.name)).collect();
    database
        .execute(&format!("CREATE TABLE oracle (id int PRIMARY KEY, {})", columns.join(", ")))
        .await;
    let mut wrong = Vec::new();
    for kind in &kinds {
        for value in kind.values() {
            if let Err(error) = database.client.batch_execute(&format!("SELECT {value}")).await {
                wrong.push(format!("{}: {value}: {:?}", kind.name, error.as_db_error()));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for id in 0..ROWS {
        database.execute(&insert(id, id, &kinds)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.oracle"], "")).await;
    daemon.streaming().await;
    agrees(&daemon, &database, &kinds, "r", ROWS).await;
    for id in ROWS..2 * ROWS {
        database.execute(&insert(id, id, &kinds)).await;
    }
    agrees(&daemon, &database, &kinds, "c", ROWS).await;
    for id in 0..2 * ROWS {
        database.execute(&update(id, id + 7, &kinds)).await;
    }
    agrees(&daemon, &database, &kinds, "u", 2 * ROWS).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_what_the_server_says_14() {
    every_type(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_what_the_server_says_15() {
    every_type(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_what_the_server_says_18() {
    every_type(18).await;
}
