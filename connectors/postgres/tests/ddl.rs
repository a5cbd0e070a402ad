//! DDL that gives rows other values without a word in the log, and tables that are others under known names,
//! over a real PostgreSQL: what is read anew, once, and stored in one step with the place behind it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;

use bench::{Database, make};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{ChangeBatch, ErrorKind, Position, Result, TableSchema, Value};
use tidemesh_postgres::{PostgresBatch, PostgresConnector, PostgresSource, parse_lsn};
use tidemesh_source::conformance::{Bench, Login, Session};
use tidemesh_source::{BatchLimit, Checkpoint, Connector, Source};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, c text);
    INSERT INTO t SELECT g, 'a', 'c' FROM generate_series(1, 5) g";

const TELL: &str = "UPDATE t SET id = id WHERE id = 1";

/// What each has the rows changed by of which the log tells nothing.
const REWRITES: &[&str] = &[
    "ALTER TABLE t DROP COLUMN c, ADD COLUMN c text",
    "ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN c text DEFAULT 'new'",
    "BEGIN; ALTER TABLE t DROP COLUMN c; COMMIT; BEGIN; ALTER TABLE t ADD COLUMN c text; COMMIT",
    "ALTER TABLE t DROP COLUMN c; UPDATE t SET a = 'x' WHERE id = 2; ALTER TABLE t ADD COLUMN c text",
    "BEGIN; ALTER TABLE t DROP COLUMN c; COMMIT; UPDATE t SET a = 'x' WHERE id = 2;
     BEGIN; ALTER TABLE t ADD COLUMN c text; COMMIT",
    "ALTER TABLE t DROP COLUMN a, ADD COLUMN a text",
    "ALTER TABLE t RENAME a TO b; ALTER TABLE t RENAME c TO a; ALTER TABLE t RENAME b TO c",
    "ALTER TABLE t RENAME c TO d; ALTER TABLE t ADD COLUMN c text",
    "ALTER TABLE t ALTER COLUMN c TYPE text USING upper(c)",
    "ALTER TABLE t ADD COLUMN n text DEFAULT md5(random()::text)",
    "ALTER TABLE t ADD COLUMN n bigint GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE t ADD COLUMN n text GENERATED ALWAYS AS (upper(c)) STORED;
     UPDATE t SET a = 'x' WHERE id = 2; ALTER TABLE t ALTER COLUMN n DROP EXPRESSION",
];

/// What leaves the values as the log told them, or as the schema says, step by step.
const OTHERS: &[&[&str]] = &[
    &["VACUUM FULL t"],
    &["ANALYZE t"],
    &["ALTER TABLE t ADD COLUMN n int DEFAULT 7"],
    &["ALTER TABLE t DROP COLUMN c"],
    &["ALTER TABLE t RENAME c TO d", "ALTER TABLE t RENAME d TO c"],
    &["ALTER TABLE t ADD COLUMN n text GENERATED ALWAYS AS (upper(c)) STORED"],
    &["ALTER TABLE t ALTER COLUMN c SET DEFAULT 'x', ALTER COLUMN c SET NOT NULL"],
];

/// How long something may take that is to come.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What tells of each row, whatever its key.
const TELL_ALL: &str = "UPDATE t SET a = a";

const WITHOUT_KEY: &str = "CREATE TABLE t (id int, a text, c text);
    ALTER TABLE t REPLICA IDENTITY FULL;
    INSERT INTO t SELECT g, 'a', 'c' FROM generate_series(1, 5) g";

/// What gives rows other keys under the key's name and type, each with its table.
const REKEYS: &[(&str, &str)] = &[
    (TABLE, "ALTER TABLE t DROP COLUMN id; ALTER TABLE t ADD COLUMN id serial PRIMARY KEY"),
    (TABLE, "ALTER TABLE t ALTER COLUMN id TYPE int USING id * 10"),
    (WITHOUT_KEY, "ALTER TABLE t ALTER COLUMN c TYPE text USING upper(c)"),
    (
        WITHOUT_KEY,
        "ALTER TABLE t RENAME a TO b; ALTER TABLE t RENAME c TO a; ALTER TABLE t RENAME b TO c",
    ),
];

/// What was read, and what is stored of it.
struct Reading<'d> {
    database: &'d Database,
    source: PostgresSource,
    checkpoint: Option<Checkpoint>,
    rewritten: Vec<String>,
    replaced: Vec<String>,
    /// The schema of the rows that came last.
    schema: Option<Arc<TableSchema>>,
}

impl<'d> Reading<'d> {
    async fn open(database: &'d Database, checkpoint: Option<Checkpoint>) -> Self {
        let connector = connector(database);
        connector.discover().await.unwrap();
        connector.await_turn(|_| ()).await.unwrap();
        let source = connector.open(checkpoint.clone(), 1).await.unwrap();
        let (rewritten, replaced) = (Vec::new(), Vec::new());
        Self { database, source, checkpoint, rewritten, replaced, schema: None }
    }

    /// As after the end of the process.
    async fn open_again(self) -> Self {
        let Self { database, source, checkpoint, .. } = self;
        source.close().await.unwrap();
        Self::open(database, checkpoint).await
    }

    async fn next(&mut self) -> Result<PostgresBatch> {
        let limit = BatchLimit { bytes_max: 1024 * 1024, wait_max: Duration::from_millis(100) };
        self.source.next_batch(limit).await
    }

    /// Stores a batch, all in one step.
    fn store(&mut self, batch: &PostgresBatch) {
        self.rewritten.extend(batch.rewritten().iter().map(|table| table.table.clone()));
        self.replaced.extend(batch.replaced().iter().map(|schema| schema.name.table.clone()));
        self.schema = batch.schemas().last().cloned().or(self.schema.take());
        let items = self.checkpoint.take().map_or_else(BTreeMap::new, |stored| stored.items);
        let mut checkpoint = Checkpoint { position: batch.end(), items };
        for item in batch.state() {
            match &item.value {
                Some(value) => checkpoint.items.insert(item.key.clone(), value.clone()),
                None => checkpoint.items.remove(&item.key),
            };
        }
        self.checkpoint = Some(checkpoint);
    }

    /// Reads all that the log has by now; answers what is read anew, and forgets it.
    async fn told(&mut self) -> (Vec<String>, Vec<String>) {
        let end = end_of_log(self.database).await;
        while self.checkpoint.as_ref().is_none_or(|stored| stored.position < end) {
            let batch = self.next().await.unwrap();
            self.store(&batch);
        }
        // What follows from having come to that place.
        let batch = self.next().await.unwrap();
        self.store(&batch);
        (std::mem::take(&mut self.rewritten), std::mem::take(&mut self.replaced))
    }

    /// Reads until rows are to be deleted; answers what is read anew, and whose rows are deleted.
    async fn told_of_replaced(&mut self) -> (Vec<String>, Vec<String>) {
        let reading = async {
            while self.replaced.is_empty() {
                let batch = self.next().await.unwrap();
                self.store(&batch);
            }
        };
        tokio::time::timeout(WAIT_MAX, reading).await.expect("rows are to be deleted");
        (std::mem::take(&mut self.rewritten), std::mem::take(&mut self.replaced))
    }

    async fn rewritten(&mut self) -> Vec<String> {
        let (rewritten, replaced) = self.told().await;
        assert!(replaced.is_empty(), "{replaced:?}");
        rewritten
    }

    /// The keys of what is stored, without the ids in them.
    fn items(&self) -> Vec<&str> {
        let items = &self.checkpoint.as_ref().unwrap().items;
        items.keys().map(|key| key.split('/').next().unwrap()).collect()
    }
}

fn connector(database: &Database) -> PostgresConnector {
    database.connector(&["t"], Login::Right)
}

async fn run(database: &Database, sql: &str) {
    database.session().await.run(sql).await;
}

/// A place behind all that was done.
async fn end_of_log(database: &Database) -> Position {
    let session = database.session().await;
    let sql = "SELECT pg_logical_emit_message(true, 'end', '')::text";
    let row = session.0.query_one(sql, &[]).await.unwrap();
    Position::before(1, parse_lsn(row.get(0)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_ddl_changes_are_read_anew_once() {
    for ddl in REWRITES {
        let database = make().await;
        run(&database, TABLE).await;
        let mut reading = Reading::open(&database, None).await;
        run(&database, TELL).await;
        assert!(reading.rewritten().await.is_empty(), "{ddl}");
        run(&database, ddl).await;
        run(&database, TELL).await;
        assert_eq!(reading.rewritten().await, ["t"], "{ddl}");
        run(&database, TELL).await;
        assert!(reading.rewritten().await.is_empty(), "{ddl}");
        reading = reading.open_again().await;
        run(&database, TELL).await;
        assert!(reading.rewritten().await.is_empty(), "after a restart: {ddl}");
        reading.source.close().await.unwrap();
        database.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_though_the_log_told_nothing_of_the_table_before_and_nobody_read_it() {
    for ddl in REWRITES {
        for is_told in [true, false] {
            let database = make().await;
            run(&database, TABLE).await;
            let mut reading = Reading::open(&database, None).await;
            if is_told {
                run(&database, TELL).await;
            }
            assert!(reading.rewritten().await.is_empty(), "{ddl}");
            let stored = reading.checkpoint.clone();
            reading.source.close().await.unwrap();
            run(&database, ddl).await;
            run(&database, TELL).await;
            let mut reading = Reading::open(&database, stored).await;
            assert_eq!(reading.rewritten().await, ["t"], "{ddl}, told before: {is_told}");
            reading.source.close().await.unwrap();
            database.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_seen_in_the_transaction_that_changed_them() {
    let database = make().await;
    run(&database, TABLE).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    run(
        &database,
        &format!("BEGIN; {TELL}; ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN c text; {TELL}; COMMIT"),
    )
    .await;
    assert_eq!(reading.rewritten().await, ["t"]);
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_computed_no_more_is_read() {
    let database = make().await;
    run(&database, TABLE).await;
    run(&database, "ALTER TABLE t ADD COLUMN n text GENERATED ALWAYS AS (upper(c)) STORED").await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    run(&database, "ALTER TABLE t ALTER COLUMN n DROP EXPRESSION").await;
    run(&database, TELL).await;
    assert_eq!(reading.rewritten().await, ["t"]);
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_is_looked_at_as_a_whole() {
    let database = make().await;
    run(
        &database,
        "CREATE TABLE t (id int PRIMARY KEY, a text, c text) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (3);
         CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (3) TO (9);
         INSERT INTO t SELECT g, 'a', 'c' FROM generate_series(1, 5) g",
    )
    .await;
    let mut reading = Reading::open(&database, None).await;
    for ddl in ["ALTER TABLE t DROP COLUMN c, ADD COLUMN c text", REWRITES[8]] {
        run(&database, "UPDATE t SET id = id").await;
        assert!(reading.rewritten().await.is_empty(), "{ddl}");
        run(&database, ddl).await;
        run(&database, "UPDATE t SET id = id").await;
        assert_eq!(reading.rewritten().await, ["t"], "{ddl}");
    }
    run(&database, "VACUUM FULL t").await;
    run(&database, "UPDATE t SET id = id").await;
    assert!(reading.rewritten().await.is_empty());
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_values_stay_are_not_read_anew() {
    for steps in OTHERS {
        let database = make().await;
        run(&database, TABLE).await;
        let mut reading = Reading::open(&database, None).await;
        for step in std::iter::once(&TELL).chain(*steps) {
            run(&database, step).await;
            run(&database, TELL).await;
            assert!(reading.rewritten().await.is_empty(), "{step}");
        }
        let mut reading = reading.open_again().await;
        // Constants that rows lacked are written into them.
        run(&database, "VACUUM FULL t").await;
        run(&database, TELL).await;
        assert!(reading.rewritten().await.is_empty(), "once more: {steps:?}");
        reading.source.close().await.unwrap();
        database.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_columns_had_while_nobody_read_are_not_lost() {
    let database = make().await;
    run(&database, TABLE).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    let stored = reading.checkpoint.clone();
    reading.source.close().await.unwrap();
    // The rows that come under the name between are told under a name that the catalog has no more.
    run(
        &database,
        "ALTER TABLE t RENAME c TO d; UPDATE t SET d = 'x' WHERE id = 2; ALTER TABLE t RENAME d TO e;
         UPDATE t SET e = 'y' WHERE id = 3",
    )
    .await;
    let mut reading = Reading::open(&database, stored).await;
    assert_eq!(reading.rewritten().await, ["t"]);
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_was_made_again_keeps_its_name_when_it_gets_another() {
    let database = make().await;
    run(&database, TABLE).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    run(&database, REWRITES[0]).await;
    run(&database, TELL).await;
    assert_eq!(reading.rewritten().await, ["t"]);
    run(&database, "ALTER TABLE t RENAME c TO d").await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    let schema = reading.schema.clone().unwrap();
    let field = schema.fields.iter().find(|field| field.name == "d").unwrap();
    assert_eq!(field.aliases, ["c"], "under which rows were told");
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_anew_is_stored_in_one_step_with_the_place() {
    let database = make().await;
    run(&database, TABLE).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    run(&database, REWRITES[0]).await;
    run(&database, TELL).await;
    for _ in 0..2 {
        // Stopped before what tells of it is stored, it is told again.
        let batch = loop {
            let batch = reading.next().await.unwrap();
            if !batch.rewritten().is_empty() {
                break batch;
            }
            reading.store(&batch);
        };
        let stored: Vec<&str> = batch.state().iter().map(|item| item.key.as_str()).collect();
        assert!(stored.iter().any(|key| key.starts_with("storage/")), "{stored:?}");
        reading = reading.open_again().await;
    }
    assert_eq!(reading.rewritten().await, ["t"]);
    let mut reading = reading.open_again().await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_get_other_keys_are_deleted_and_read_anew_once() {
    for (table, ddl) in REKEYS {
        let database = make().await;
        run(&database, table).await;
        let mut reading = Reading::open(&database, None).await;
        run(&database, TELL_ALL).await;
        assert_eq!(reading.told().await, (vec![], vec![]), "{ddl}");
        run(&database, ddl).await;
        run(&database, TELL_ALL).await;
        let told = (vec!["t".to_owned()], vec!["t".to_owned()]);
        assert_eq!(reading.told_of_replaced().await, told, "{ddl}");
        run(&database, TELL_ALL).await;
        assert_eq!(reading.told().await, (vec![], vec![]), "{ddl}");
        reading = reading.open_again().await;
        run(&database, TELL_ALL).await;
        assert_eq!(reading.told().await, (vec![], vec![]), "after a restart: {ddl}");
        reading.source.close().await.unwrap();
        database.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_behind_the_former_keys_that_the_log_still_has_and_though_nobody_read() {
    for (table, ddl) in REKEYS {
        for is_told in [true, false] {
            let database = make().await;
            run(&database, table).await;
            let mut reading = Reading::open(&database, None).await;
            run(&database, TELL_ALL).await;
            assert_eq!(reading.told().await, (vec![], vec![]), "{ddl}");
            let stored = reading.checkpoint.clone();
            reading.source.close().await.unwrap();
            run(&database, TELL_ALL).await;
            run(&database, ddl).await;
            if is_told {
                run(&database, TELL_ALL).await;
            }
            let end = end_of_log(&database).await;
            let mut reading = Reading::open(&database, stored).await;
            let told = (vec!["t".to_owned()], vec!["t".to_owned()]);
            // Stopped before it is stored, it is told again.
            for _ in 0..2 {
                let batch = loop {
                    let batch = reading.next().await.unwrap();
                    if !batch.replaced().is_empty() {
                        break batch;
                    }
                    reading.store(&batch);
                };
                assert!(batch.end() >= end, "{ddl}");
                reading = reading.open_again().await;
            }
            assert_eq!(reading.told_of_replaced().await, told, "{ddl}, told: {is_told}");
            run(&database, TELL_ALL).await;
            assert_eq!(reading.told().await, (vec![], vec![]), "{ddl}");
            reading.source.close().await.unwrap();
            database.end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_goes_once_another_has_its_values_is_not_missed() {
    let database = make().await;
    run(&database, TABLE).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert!(reading.rewritten().await.is_empty());
    let stored = reading.checkpoint.clone();
    reading.source.close().await.unwrap();
    run(&database, "ALTER TABLE t ADD COLUMN n text").await;
    run(&database, "UPDATE t SET n = c").await;
    run(&database, "ALTER TABLE t DROP COLUMN c").await;
    run(&database, TELL).await;
    let mut reading = Reading::open(&database, stored).await;
    assert!(reading.rewritten().await.is_empty());
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_somebody_holds_does_not_stop_the_others_rows() {
    let database = make().await;
    run(
        &database,
        "CREATE TABLE t (id int PRIMARY KEY, a text, c text) PARTITION BY RANGE (id);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (3);
         CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (3) TO (9);
         INSERT INTO t SELECT g, 'a', 'c' FROM generate_series(1, 5) g",
    )
    .await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL_ALL).await;
    assert!(reading.rewritten().await.is_empty());
    // The log describes the table again, as another one.
    run(&database, "ALTER TABLE t ADD COLUMN n int DEFAULT 7").await;
    let mut holder = database.session().await;
    holder.run("BEGIN; LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE").await;
    run(&database, "INSERT INTO t VALUES (6, 'a', 'c')").await;
    let rewritten = tokio::time::timeout(WAIT_MAX, reading.rewritten()).await;
    assert!(rewritten.expect("the rows come").is_empty());
    let schema = reading.schema.clone().unwrap();
    let added = schema.fields.iter().find(|field| field.name == "n").unwrap();
    assert_eq!(added.default, Some(Value::Int32(7)), "which its partitions' rows have");
    let mut reading =
        tokio::time::timeout(WAIT_MAX, reading.open_again()).await.expect("it is opened");
    run(&database, "INSERT INTO t VALUES (7, 'a', 'c')").await;
    let rewritten = tokio::time::timeout(WAIT_MAX, reading.rewritten()).await;
    assert!(rewritten.expect("the rows come").is_empty());
    holder.run("ROLLBACK").await;
    reading.source.close().await.unwrap();
    database.end().await;
}

const REMADE: &str = "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, c text);
    INSERT INTO t VALUES (9, 'new', 'new')";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_anew_while_nobody_read_is_seen_though_the_log_tells_nothing_of_it() {
    let database = make().await;
    run(&database, TABLE).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert_eq!(reading.told().await, (vec![], vec![]));
    assert_eq!(reading.items(), ["identity", "relation", "storage", "tables"]);
    let stored = reading.checkpoint.clone();
    reading.source.close().await.unwrap();
    // What the log still has of the one before comes first.
    run(&database, TELL).await;
    run(&database, REMADE).await;
    let mut reading = Reading::open(&database, stored).await;
    let batch = loop {
        let batch = reading.next().await.unwrap();
        if !batch.replaced().is_empty() {
            break batch;
        }
        reading.store(&batch);
    };
    assert!(batch.end() >= reading.checkpoint.as_ref().unwrap().position);
    // Stopped before that is stored.
    let mut reading = reading.open_again().await;
    assert_eq!(reading.told().await, (vec![], vec!["t".to_owned()]));
    assert_eq!(reading.items(), ["identity", "relation", "storage", "tables"], "of the new one");
    let mut reading = reading.open_again().await;
    run(&database, TELL).await;
    assert_eq!(reading.told().await, (vec![], vec![]));
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_made_anew_and_left_empty_is_seen_by_who_reads() {
    let database = make().await;
    run(&database, TABLE).await;
    run(&database, &format!("CREATE PUBLICATION {} FOR ALL TABLES", publication(&database))).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert_eq!(reading.told().await, (vec![], vec![]));
    run(&database, "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text, c text)").await;
    let error = loop {
        match reading.next().await {
            Ok(batch) => reading.store(&batch),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    let mut reading = reading.open_again().await;
    assert_eq!(reading.told().await, (vec![], vec!["t".to_owned()]));
    reading.source.close().await.unwrap();
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_anew_again_and_again_leaves_nothing() {
    let database = make().await;
    run(&database, TABLE).await;
    run(&database, &format!("CREATE PUBLICATION {} FOR ALL TABLES", publication(&database))).await;
    let mut reading = Reading::open(&database, None).await;
    run(&database, TELL).await;
    assert_eq!(reading.told().await, (vec![], vec![]));
    for _ in 0..3 {
        run(&database, REMADE).await;
        assert_eq!(reading.told().await, (vec![], vec!["t".to_owned()]));
    }
    assert_eq!(reading.items(), ["identity", "relation", "storage", "tables"]);
    reading.source.close().await.unwrap();
    database.end().await;
}

/// The publication that connectors of this database read.
fn publication(database: &Database) -> String {
    format!("tidemesh_{}", database.name)
}
