//! Events that applications write into the log, over a real PostgreSQL: what is told of them is what was
//! committed, in its place among the rows, and again only what is not stored.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;

use bench::{Database, make};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, EMIT_PREFIX, Origin, Position, Result, RowImage,
    SourceSettings, TableSchema,
};
use tidemesh_postgres::{PostgresConnector, PostgresSource};
use tidemesh_source::conformance::{Bench, Session};
use tidemesh_source::{BatchLimit, Checkpoint, Connector, Source};

/// What was told, in the log's order.
#[derive(Debug, Default)]
struct Told {
    /// `row` or the message's content, each with its place and its transaction.
    events: Vec<(String, Position, u64)>,
}

impl ChangeVisitor for Told {
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        origin: &Origin<'_>,
        _: Change<R>,
    ) -> Result<()> {
        self.events.push(("row".to_owned(), origin.position, origin.transaction));
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn message(&mut self, origin: &Origin<'_>, prefix: &str, content: &[u8]) -> Result<()> {
        assert_eq!(prefix, EMIT_PREFIX);
        let content = String::from_utf8(content.to_vec()).unwrap();
        self.events.push((content, origin.position, origin.transaction));
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}

impl Told {
    fn what(&self) -> Vec<&str> {
        self.events.iter().map(|(what, ..)| what.as_str()).collect()
    }
}

fn connector(database: &Database, takes: bool) -> PostgresConnector {
    let port: u16 = std::env::var("TIDEMESH_TEST_POSTGRES_15").unwrap().parse().unwrap();
    let mut settings = serde_json::json!({
        "name": database.name,
        "postgres": {
            "host": "127.0.0.1", "port": port, "database": database.name, "user": database.name,
            "tables": ["public.t"],
        },
    });
    if takes {
        settings["emit"] = serde_json::json!({"topics": ["t.*"]});
    }
    let settings: SourceSettings = serde_json::from_value(settings).unwrap();
    PostgresConnector::new(&settings).unwrap()
}

async fn open(connector: &PostgresConnector, checkpoint: Option<Checkpoint>) -> PostgresSource {
    connector.discover().await.unwrap();
    connector.await_turn(|_| ()).await.unwrap();
    connector.open(checkpoint, 1).await.unwrap()
}

/// Reads until `last` was told; answers whether batches said that they have events of applications, and
/// what is stored with the last one.
async fn read(source: &mut PostgresSource, told: &mut Told, last: &str) -> (bool, Checkpoint) {
    let limit = BatchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_millis(100) };
    let (mut has_emitted, mut items) = (false, BTreeMap::new());
    let reading = async {
        loop {
            let batch = source.next_batch(limit).await.unwrap();
            batch.visit(told).unwrap();
            has_emitted |= batch.has_emitted();
            let state = batch.state().iter().cloned();
            items.extend(state.filter_map(|item| Some((item.key, item.value?))));
            if told.what().last() == Some(&last) {
                return batch.end();
            }
        }
    };
    let reading = tokio::time::timeout(Duration::from_secs(60), reading);
    let position = reading.await.expect("never told");
    (has_emitted, Checkpoint { position, items })
}

fn emit(content: &str) -> String {
    format!("SELECT pg_logical_emit_message(true, 'tidemesh.emit', '{content}')")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_told_in_its_place_and_nothing_else() {
    let database = make().await;
    let mut session = database.session().await;
    session.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let connector = connector(&database, true);
    let mut source = open(&connector, None).await;
    let sql = format!(
        "BEGIN; {}; INSERT INTO t VALUES (1); {}; COMMIT;
         BEGIN; INSERT INTO t VALUES (2); {}; ROLLBACK;
         BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s; INSERT INTO t VALUES (3); COMMIT;
         SELECT pg_logical_emit_message(true, 'other', 'of another prefix');
         BEGIN; {}; COMMIT",
        emit("a"),
        emit("b"),
        emit("rolled back"),
        emit("c"),
        emit("rolled back too"),
        emit("d"),
    );
    session.run(&sql).await;
    let mut told = Told::default();
    let (has_emitted, stored) = read(&mut source, &mut told, "d").await;
    assert!(has_emitted, "topics are made before the batch is written");
    assert_eq!(told.what(), ["a", "row", "b", "c", "row", "d"]);
    assert!(told.events.iter().is_sorted_by(|a, b| a.1 < b.1), "{told:?}");
    assert!(told.events.iter().all(|event| event.2 > 0), "each is of a transaction");
    source.close().await.unwrap();
    // From the midst of a transaction on: what stands there is not told again.
    let checkpoint = Checkpoint { position: told.events[1].1, items: stored.items.clone() };
    let before = std::mem::take(&mut told.events);
    let mut source = open(&connector, Some(checkpoint)).await;
    read(&mut source, &mut told, "d").await;
    assert_eq!(told.events, before[2..], "with the same places");
    source.close().await.unwrap();
    // From behind all on.
    told.events.clear();
    let mut source = open(&connector, Some(stored)).await;
    session.run(&emit("e")).await;
    read(&mut source, &mut told, "e").await;
    assert_eq!(told.what(), ["e"]);
    source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_takes_none_is_told_of_none() {
    let database = make().await;
    let mut session = database.session().await;
    session.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let connector = connector(&database, false);
    let mut source = open(&connector, None).await;
    session.run(&format!("BEGIN; {}; INSERT INTO t VALUES (1); COMMIT", emit("a"))).await;
    let mut told = Told::default();
    let (has_emitted, _) = read(&mut source, &mut told, "row").await;
    assert!(!has_emitted);
    assert_eq!(told.what(), ["row"]);
    source.close().await.unwrap();
    database.end().await;
}
