//! Distributed (XA) transactions through the source itself, ended and opened again wherever its batches are
//! cut, at MariaDB servers of their own.

use super::{OwnServer, Server};
use crate::MysqlConnector;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, Origin, Position, Remedy, Result, RowImage, SourceSettings,
    TableSchema, Value, Values,
};
use tidemesh_source::{BatchLimit, Checkpoint, Connector, Source, TableReader};

/// The key of the row that is written last.
const LAST: i32 = 99;

/// How long a mark may take where no commit is under way.
const MARKED_MAX: Duration = Duration::from_secs(20);

/// What is durable: the checkpoint, and the keys and positions that were told.
#[derive(Default, Clone)]
struct Durable {
    checkpoint: Option<Checkpoint>,
    keys: Vec<i32>,
    positions: Vec<Position>,
    marks: Vec<String>,
    /// Tables whose rows are replaced.
    replaced: Vec<String>,
}

impl ChangeVisitor for Durable {
    fn change<R: RowImage>(
        &mut self,
        _: &Arc<TableSchema>,
        origin: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        let Change::Create { after } = change else { panic!("a row that is new") };
        let Some(Value::Int32(key)) = Values::of(&after)?.first().cloned() else { panic!("a key") };
        self.keys.push(key);
        self.positions.push(origin.position);
        Ok(())
    }

    fn incomplete(&mut self, _: &Arc<TableSchema>, _: &Origin<'_>, key: Vec<String>) -> Result<()> {
        panic!("a whole row: {key:?}")
    }

    fn mark(&mut self, _: &Origin<'_>, mark: &str) -> Result<()> {
        self.marks.push(mark.to_owned());
        Ok(())
    }
}

impl Durable {
    /// What a run loop makes durable with a batch.
    fn take(&mut self, batch: &crate::MysqlBatch) {
        batch.visit(self).unwrap();
        self.replaced.extend(batch.replaced().iter().map(|schema| schema.name.table.clone()));
        let position = batch.end();
        let none = || Checkpoint { position, items: BTreeMap::new() };
        let checkpoint = self.checkpoint.get_or_insert_with(none);
        assert!(position >= checkpoint.position, "a checkpoint goes back");
        checkpoint.position = position;
        for item in batch.state() {
            match &item.value {
                Some(value) => drop(checkpoint.items.insert(item.key.clone(), value.clone())),
                None => drop(checkpoint.items.remove(&item.key)),
            }
        }
    }

    /// Reads up to the last row, in batches of so many bytes; the source is dropped and opened again behind
    /// every so many batches that went on. Or, without a last row, up to so many rows.
    async fn read(
        &mut self,
        server: &Server,
        bytes_max: usize,
        batches: usize,
        rows: Option<usize>,
    ) {
        self.read_tables(server, (bytes_max, batches), rows, &["xa.t"]).await;
    }

    async fn read_tables(
        &mut self,
        server: &Server,
        (bytes_max, batches): (usize, usize),
        rows: Option<usize>,
        tables: &[&str],
    ) {
        let connector = connector_of(server, tables);
        let limit = BatchLimit { bytes_max, wait_max: Duration::from_millis(100) };
        loop {
            let mut source = connector.open(self.checkpoint.clone(), 1).await.unwrap();
            for _ in 0..batches {
                let before = self.checkpoint.as_ref().map(|checkpoint| checkpoint.position);
                loop {
                    let batch = source.next_batch(limit).await.unwrap();
                    self.take(&batch);
                    if before.is_none_or(|before| batch.end() > before) {
                        break;
                    }
                }
                let is_there = match rows {
                    Some(rows) => self.keys.len() >= rows,
                    None => self.keys.contains(&LAST),
                };
                if is_there {
                    source.close().await.unwrap();
                    return;
                }
            }
        }
    }
}

fn connector(server: &Server) -> MysqlConnector {
    connector_of(server, &["xa.t"])
}

fn connector_of(server: &Server, tables: &[&str]) -> MysqlConnector {
    let settings = &server.settings;
    let settings: SourceSettings = serde_json::from_value(serde_json::json!({
        "name": "shop",
        "snapshot": {"read_only": true},
        "mysql": {
            "host": settings.host, "port": settings.port, "user": settings.user,
            "password": settings.password, "tables": tables, "tls": "disable",
        },
    }))
    .unwrap();
    MysqlConnector::new(&settings).unwrap()
}

/// Runs statements in a session of its own, again until the session is gone that prepared what they end.
async fn run(server: &Server, sql: &str) {
    loop {
        let mut session = server.sql().await;
        let ran = session.run(sql).await;
        match ran {
            Err(error) if error.report().contains("XAER_NOTA") => {}
            ran => return ran.unwrap_or_else(|error| panic!("{sql}: {}", error.report())),
        }
    }
}

async fn prepare(server: &Server, xid: &str, key: i32) {
    let sql = format!(
        "XA START {xid}; INSERT INTO xa.t VALUES ({key}, 1); INSERT INTO xa.u VALUES ({key}, 1);
         INSERT INTO xa.t VALUES ({key} + 1, 2); XA END {xid}; XA PREPARE {xid}"
    );
    run(server, &sql).await;
}

async fn insert(server: &Server, key: i32) {
    run(server, &format!("INSERT INTO xa.t VALUES ({key}, 1)")).await;
}

/// Tables, and a checkpoint before anything is written to them.
async fn begin(server: &Server) -> Durable {
    run(
        server,
        "CREATE DATABASE xa; CREATE TABLE xa.t (id INT PRIMARY KEY, n INT);
         CREATE TABLE xa.u (id INT PRIMARY KEY, n INT)",
    )
    .await;
    let mut durable = Durable::default();
    let mut source = connector(server).open(None, 1).await.unwrap();
    let limit = BatchLimit { bytes_max: 1, wait_max: Duration::from_secs(1) };
    durable.take(&source.next_batch(limit).await.unwrap());
    durable
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_ends_what_is_prepared_is_told_once_and_where_it_is_committed() {
    let own = OwnServer::start(11).await;
    let server = &own.server;
    let first = begin(server).await.checkpoint;
    insert(server, 1).await;
    prepare(server, "'x'", 10).await;
    insert(server, 2).await;
    prepare(server, "'y','b',7", 20).await;
    prepare(server, "'gone'", 30).await;
    run(server, "FLUSH BINARY LOGS").await;
    insert(server, 3).await;
    run(server, "XA COMMIT 'y','b',7").await;
    insert(server, 4).await;
    run(server, "XA ROLLBACK 'gone'").await;
    run(server, "XA COMMIT 'x'").await;
    prepare(server, "'x'", 40).await;
    run(
        server,
        "XA START 'z'; INSERT INTO xa.t VALUES (5, 1); XA END 'z'; XA COMMIT 'z' ONE PHASE",
    )
    .await;
    run(server, "XA COMMIT 'x'").await;
    insert(server, LAST).await;
    for (bytes_max, batches) in [(1, 1), (1, 3), (150, 1), (1 << 20, 1), (1 << 20, 100)] {
        let mut durable = Durable { checkpoint: first.clone(), ..Durable::default() };
        durable.read(server, bytes_max, batches, None).await;
        let expected = [1, 2, 3, 20, 21, 4, 10, 11, 5, 40, 41, LAST];
        assert_eq!(durable.keys, expected, "{bytes_max} bytes, {batches} batches");
        assert!(durable.positions.is_sorted_by(|one, other| one < other), "{bytes_max}");
    }
}

/// Lets a server follow another one.
async fn replicate(first: &Server, second: &Server) {
    let port = first.settings.port;
    let sql = format!(
        "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = 'root', \
         master_use_gtid = slave_pos; START SLAVE"
    );
    run(second, &sql).await;
}

/// Lets the second one take over, once it has all of the first.
async fn fail_over(first: &Server, second: &Server) {
    let at = told(first, "SELECT @@gtid_binlog_pos").await;
    let caught_up = format!("SELECT MASTER_GTID_WAIT('{at}', 60)");
    assert_eq!(told(second, &caught_up).await, "0", "the replica has all of it");
    run(second, "STOP SLAVE; RESET SLAVE ALL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_primary_gives_what_is_held_again_and_nothing_else_that_was_told() {
    let (first, second) = (OwnServer::start(21).await, OwnServer::start(22).await);
    let (first, second) = (&first.server, &second.server);
    replicate(first, second).await;
    let mut durable = begin(first).await;
    insert(first, 1).await;
    prepare(first, "'x'", 10).await;
    insert(first, 2).await;
    prepare(first, "'gone'", 30).await;
    insert(first, 3).await;
    run(first, "SET gtid_domain_id = 5; INSERT INTO xa.t VALUES (4, 1)").await;
    durable.read(first, 1 << 20, 100, Some(4)).await;
    fail_over(first, second).await;
    insert(second, 5).await;
    // Ended before the commit, and behind it.
    durable.read(second, 1 << 20, 100, Some(5)).await;
    run(second, "XA COMMIT 'x'").await;
    run(second, "XA ROLLBACK 'gone'").await;
    insert(second, LAST).await;
    durable.read(second, 1, 1, None).await;
    assert_eq!(durable.keys, [1, 2, 3, 4, 5, 10, 11, LAST]);
    assert!(durable.positions.is_sorted_by(|one, other| one < other));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_primarys_ddl_that_was_told_is_not_acted_on_again() {
    let (first, second) = (OwnServer::start(23).await, OwnServer::start(24).await);
    let (first, second) = (&first.server, &second.server);
    let tables = ["xa.t", "xa.parts", "xa.other"];
    replicate(first, second).await;
    let mut durable = begin(first).await;
    run(
        first,
        "CREATE TABLE xa.other (id INT PRIMARY KEY); INSERT INTO xa.other VALUES (1);
         CREATE TABLE xa.parts (id INT PRIMARY KEY) PARTITION BY RANGE (id)
         (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);
         INSERT INTO xa.parts VALUES (2)",
    )
    .await;
    prepare(first, "'x'", 10).await;
    run(
        first,
        "ALTER TABLE xa.parts TRUNCATE PARTITION p0; INSERT INTO xa.parts VALUES (3);
         DROP TABLE xa.other; CREATE TABLE xa.other (id INT PRIMARY KEY);
         INSERT INTO xa.other VALUES (4)",
    )
    .await;
    let reading = durable.read_tables(first, (1 << 20, 100), Some(4), &tables);
    let read = tokio::time::timeout(MARKED_MAX, reading).await;
    assert!(read.is_ok(), "{:?}, {:?}", durable.keys, durable.replaced);
    assert_eq!(durable.replaced, ["parts", "other"]);
    fail_over(first, second).await;
    run(second, "INSERT INTO xa.parts VALUES (5); INSERT INTO xa.other VALUES (6)").await;
    let reading = durable.read_tables(second, (1 << 20, 100), Some(6), &tables);
    let read = tokio::time::timeout(MARKED_MAX, reading).await;
    assert!(read.is_ok(), "{:?}, {:?}", durable.keys, durable.replaced);
    run(second, "INSERT INTO xa.parts VALUES (7); INSERT INTO xa.other VALUES (8)").await;
    run(second, "XA COMMIT 'x'").await;
    insert(second, LAST).await;
    let reading = durable.read_tables(second, (1 << 20, 100), None, &tables);
    let read = tokio::time::timeout(MARKED_MAX, reading).await;
    assert!(read.is_ok(), "{:?}, {:?}", durable.keys, durable.replaced);
    assert_eq!(durable.keys, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, LAST]);
    assert_eq!(durable.replaced, ["parts", "other"]);
    assert!(durable.positions.is_sorted_by(|one, other| one < other));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_have_the_same_places_whichever_tables_are_captured() {
    let own = OwnServer::start(61).await;
    let server = &own.server;
    let first = begin(server).await.checkpoint;
    prepare(server, "'x'", 10).await;
    run(server, "XA COMMIT 'x'").await;
    insert(server, LAST).await;
    let (both, one) = (["xa.t", "xa.u"].as_slice(), ["xa.t"].as_slice());
    for (before, behind, expected) in
        [(both, one, [10, 10, 11, LAST].as_slice()), (one, both, &[10, 10, 11, LAST])]
    {
        let rows = if before.len() == 2 { 2 } else { 1 };
        let mut durable = Durable { checkpoint: first.clone(), ..Durable::default() };
        durable.read_tables(server, (1, 1), Some(rows), before).await;
        durable.read_tables(server, (1, 1), None, behind).await;
        assert_eq!(durable.keys, expected, "{before:?}, then {behind:?}");
        assert!(durable.positions.is_sorted_by(|one, other| one < other));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_waits_for_what_is_prepared_and_says_so() {
    let own = OwnServer::start(31).await;
    let server = &own.server;
    let _ = begin(server).await;
    prepare(server, "'old'", 10).await;
    let Err(error) = connector(server).open(None, 1).await else { panic!("it does not wait") };
    assert_eq!(error.remedy(), Remedy::Retry);
    let report = error.report();
    assert!(report.contains("XA RECOVER") && report.contains("X'6f6c64',X'',1"), "{report}");
    run(server, "XA COMMIT 'old'").await;
    connector(server).open(None, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_mark_waits_for_the_log_while_something_is_prepared() {
    let own = OwnServer::start(41).await;
    let server = &own.server;
    let mut durable = begin(server).await;
    prepare(server, "'x'", 10).await;
    let connector = connector(server);
    let mut source = connector.open(durable.checkpoint.clone(), 1).await.unwrap();
    let mut reader = connector.reader().await.unwrap();
    let limit = BatchLimit { bytes_max: 1 << 20, wait_max: Duration::from_millis(100) };
    let again = [
        "XA START 'x'; INSERT INTO xa.t VALUES (20, 1); XA END 'x'; XA PREPARE 'x'",
        // It changes no captured table.
        "XA START 'x'; INSERT INTO xa.u VALUES (30, 1); XA END 'x'; XA PREPARE 'x'",
        "",
    ];
    for (mark, again) in ["low a 1", "low a 2", "low a 3"].into_iter().zip(again) {
        let marking = async {
            let mut marking = std::pin::pin!(reader.mark(mark));
            loop {
                tokio::select! {
                    marked = &mut marking => break marked.unwrap(),
                    batch = source.next_batch(limit) => durable.take(&batch.unwrap()),
                }
            }
        };
        tokio::time::timeout(MARKED_MAX, marking).await.expect("nothing is to be waited for");
        run(server, "XA COMMIT 'x'").await;
        if !again.is_empty() {
            run(server, again).await;
        }
    }
    let sync = "sync committing";
    assert_eq!(durable.marks, ["low a 1", sync, "low a 2", sync, "low a 3", sync]);
}

async fn told(server: &Server, question: &str) -> String {
    let mut sql = server.sql().await;
    sql.told::<Option<String>>(question).await.unwrap().flatten().unwrap_or_default()
}
