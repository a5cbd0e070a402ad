//! Distributed (XA) transactions: what is prepared is told where it is committed, once, and what is rolled
//! back never. Servers of their own: a first start waits for what is prepared, in other tests too.

use super::{TABLE, of_orders};
use crate::history::History;
use crate::support::daemon::{Daemon, log_alone, verified, with};
use crate::support::eventually;
use crate::support::mysql::{Database, Server};
use crate::support::topic::{equals, records};
use crate::support::writer::{Commits, Writer, agrees_on, seed};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;
use std::time::Duration;

struct Site {
    database: Database,
    folder: tempfile::TempDir,
    config: String,
    server: Server,
}

impl Site {
    /// A source of `orders` without snapshots.
    async fn open() -> Self {
        let server = Server::start("").await;
        let database = server.database().await;
        database.execute(TABLE).await;
        let config = log_alone(&of_orders(&database));
        Self { database, folder: tempfile::tempdir().unwrap(), config, server }
    }

    async fn up(&self) -> Daemon {
        let daemon = Daemon::up(self.folder.path(), &self.config).await;
        daemon.streaming().await;
        daemon
    }

    /// The keys that the topic tells, once it tells so many.
    async fn keys(&self, daemon: &Daemon, count: usize) -> Vec<Json> {
        let topic = self.database.topic("orders");
        let told = eventually("the topic has what was committed", async || {
            Some(records(daemon, &topic)).filter(|told| told.len() >= count)
        })
        .await;
        let positions: Vec<&str> =
            told.iter().map(|record| record["position"].as_str().unwrap()).collect();
        assert!(positions.is_sorted(), "positions do not rise: {positions:?}");
        told.iter().map(|record| record["key"]["id"].clone()).collect()
    }
}

/// Prepares what these statements do; the session ends, and it stays prepared.
async fn prepare(database: &Database, xid: &str, statements: &str) {
    let mut session = database.session().await;
    session
        .query_drop(format!("XA START {xid}; {statements}; XA END {xid}; XA PREPARE {xid}"))
        .await
        .unwrap();
    session.disconnect().await.unwrap();
}

/// Ends what was prepared, once its session has let go of it.
async fn end(database: &Database, statement: &str) {
    eventually("the prepared transaction ends", async || {
        database.try_execute(statement).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_is_told_where_it_is_committed() {
    let site = Site::open().await;
    let database = &site.database;
    let daemon = site.up().await;
    prepare(database, "'x'", "INSERT INTO orders VALUES (1, 1, 'prepared first')").await;
    prepare(database, "'y','b',7", "INSERT INTO orders VALUES (2, 2, 'prepared second')").await;
    prepare(database, "'z'", "INSERT INTO orders VALUES (3, 3, 'never')").await;
    database.execute("INSERT INTO orders VALUES (4, 4, 'between')").await;
    assert_eq!(site.keys(&daemon, 1).await, [4]);
    end(database, "XA COMMIT 'y','b',7").await;
    end(database, "XA ROLLBACK 'z'").await;
    database.execute("UPDATE orders SET n = 40 WHERE id = 4").await;
    end(database, "XA COMMIT 'x'").await;
    database
        .execute(
            "XA START 'w'; INSERT INTO orders VALUES (5, 5, 'at once'); XA END 'w';
             XA COMMIT 'w' ONE PHASE; INSERT INTO orders VALUES (6, 6, 'last')",
        )
        .await;
    assert_eq!(site.keys(&daemon, 6).await, [4, 2, 4, 1, 5, 6]);
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_prepare_and_commit_it_loses_and_repeats_nothing() {
    let site = Site::open().await;
    let database = &site.database;
    let mut daemon = site.up().await;
    prepare(database, "'x'", "INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b')").await;
    prepare(database, "'gone'", "INSERT INTO orders VALUES (9, 9, 'rolled back')").await;
    database.execute("INSERT INTO orders VALUES (3, 3, 'told before the kill')").await;
    database.execute("FLUSH BINARY LOGS").await;
    assert_eq!(site.keys(&daemon, 1).await, [3]);
    daemon.kill();
    daemon = site.up().await;
    database.execute("INSERT INTO orders VALUES (4, 4, 'behind the kill')").await;
    assert_eq!(site.keys(&daemon, 2).await, [3, 4]);
    // While nobody reads.
    daemon.kill();
    end(database, "XA COMMIT 'x'").await;
    end(database, "XA ROLLBACK 'gone'").await;
    daemon = site.up().await;
    assert_eq!(site.keys(&daemon, 4).await, [3, 4, 1, 2]);
    // Nothing is held any more, and what was told is behind.
    daemon.kill();
    daemon = site.up().await;
    database.execute("INSERT INTO orders VALUES (5, 5, 'last')").await;
    assert_eq!(site.keys(&daemon, 5).await, [3, 4, 1, 2, 5]);
    verified(&daemon);
}

/// Commits a writer's changes by XA, with another transaction between prepare and commit; some attempts are
/// rolled back first.
struct Distributed {
    session: Conn,
    other: Conn,
    random: StdRng,
}

impl Commits for Distributed {
    async fn commit(&mut self, version: i64, changes: &str) {
        if self.random.random_ratio(1, 5) {
            let sql = format!(
                "XA START 'r{version}'; {changes} XA END 'r{version}'; XA PREPARE 'r{version}'"
            );
            self.session.query_drop(sql).await.unwrap();
            self.between(version).await;
            self.session.query_drop(format!("XA ROLLBACK 'r{version}'")).await.unwrap();
        }
        if self.random.random_ratio(1, 5) {
            let sql = format!("BEGIN; {changes} COMMIT");
            return self.session.query_drop(sql).await.unwrap();
        }
        let sql = format!(
            "XA START 'c{version}'; {changes} XA END 'c{version}'; XA PREPARE 'c{version}'"
        );
        self.session.query_drop(sql).await.unwrap();
        self.between(version).await;
        self.session.query_drop(format!("XA COMMIT 'c{version}'")).await.unwrap();
    }
}

impl Distributed {
    async fn open(database: &Database, seed: u64) -> Self {
        database.execute("CREATE TABLE others (id BIGINT PRIMARY KEY, n BIGINT)").await;
        let (session, other) = (database.session().await, database.session().await);
        Self { session, other, random: StdRng::seed_from_u64(seed) }
    }

    async fn between(&mut self, version: i64) {
        let sql =
            format!("INSERT INTO others VALUES ({version}, 1) ON DUPLICATE KEY UPDATE n = n + 1");
        self.other.query_drop(sql).await.unwrap();
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..20))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_its_history_is_the_tables() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut site = Site::open().await;
    site.config = with(&site.config, "batch_bytes_max = 16384");
    let database = &site.database;
    let mut daemon = site.up().await;
    let commits = Distributed::open(database, random.random()).await;
    let writer = Writer::run(commits, random.random(), History::default());
    for _ in 0..10 {
        tokio::time::sleep(random.random_range(Duration::ZERO..Duration::from_millis(600))).await;
        daemon.kill();
        daemon = Daemon::up(site.folder.path(), &site.config).await;
    }
    agrees_on(&daemon, &database.topic("orders"), &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_read_again_from_another_primary_and_the_rest_is_not() {
    let site = Site::open().await;
    let replica = site.server.start_replica("read-only=ON").await;
    let database = &site.database;
    let mut daemon = site.up().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'before')").await;
    prepare(database, "'x'", "INSERT INTO orders VALUES (2, 2, 'held')").await;
    prepare(database, "'y'", "INSERT INTO orders VALUES (9, 9, 'never')").await;
    database.execute("INSERT INTO orders VALUES (3, 3, 'told by the first')").await;
    database.execute("UPDATE orders SET n = 30 WHERE id = 3").await;
    assert_eq!(site.keys(&daemon, 3).await, [1, 3, 3]);
    daemon.kill();
    replica.catches_up(database).await;
    site.server.kill();
    replica.promote().await;
    let second = database.at(&replica).await;
    let config = log_alone(&of_orders(&second));
    let mut daemon = Daemon::up(site.folder.path(), &config).await;
    daemon.streaming().await;
    second.execute("INSERT INTO orders VALUES (4, 4, 'told by the second')").await;
    assert_eq!(site.keys(&daemon, 4).await, [1, 3, 3, 4]);
    daemon.kill();
    end(&second, "XA COMMIT 'x'").await;
    end(&second, "XA ROLLBACK 'y'").await;
    let daemon = Daemon::up(site.folder.path(), &config).await;
    daemon.streaming().await;
    assert_eq!(site.keys(&daemon, 5).await, [1, 3, 3, 4, 2]);
    equals(&daemon, &second.topic("orders"), &second.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_waits_for_what_is_prepared() {
    let mut site = Site::open().await;
    site.config = of_orders(&site.database);
    let database = &site.database;
    prepare(database, "'old'", "INSERT INTO orders VALUES (1, 1, 'in no log that is read')").await;
    let daemon = Daemon::up(site.folder.path(), &site.config).await;
    let told = eventually("it says what it waits for", async || {
        let source = daemon.source().await;
        Some(source["error"].to_string()).filter(|_| source["state"] == "retrying")
    })
    .await;
    assert!(told.contains("XA RECOVER") && told.contains("6f6c64"), "{told}");
    end(database, "XA COMMIT 'old'").await;
    daemon.streaming().await;
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_beside_a_prepared_transaction_has_it_once_it_is_committed() {
    let mut site = Site::open().await;
    site.config = with(&of_orders(&site.database), "snapshot.chunk_rows = 10");
    let database = &site.database;
    let rows: Vec<String> = (0..100).map(|key| format!("({key}, -1, 'old')")).collect();
    database.execute(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).await;
    let daemon = site.up().await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    let changes = "UPDATE orders SET n = 7 WHERE id < 50; DELETE FROM orders WHERE id = 60; \
                   INSERT INTO orders VALUES (200, 1, 'new')";
    prepare(database, "'x'", changes).await;
    let snapshot = |arguments: &[&str]| {
        let output = daemon.command(&[&["snapshot"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    snapshot(&["start", "shop", "--wait"]);
    equals(&daemon, &topic, &database.rows("orders").await).await;
    snapshot(&["start", "shop"]);
    end(database, "XA COMMIT 'x'").await;
    snapshot(&["status", "shop", "--wait"]);
    equals(&daemon, &topic, &database.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_held_stops_it_with_what_to_do() {
    let mut site = Site::open().await;
    site.config =
        log_alone(&site.database.configuration(&["orders"], "xa_held_bytes_max = 1048576"));
    let database = &site.database;
    let daemon = site.up().await;
    let half = "INSERT INTO orders SELECT seq, seq, REPEAT('x', 1000) FROM seq_1_to_600";
    prepare(database, "'x'", half).await;
    prepare(database, "'y'", &half.replace("seq, seq", "seq + 1000, seq")).await;
    let error = daemon.stopped_with().await;
    let table = format!("{}.orders", database.name);
    for part in ["mysql.xa_held_bytes_max", "XA RECOVER", &table, "binlog.0"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    drop(daemon);
    // What is ended is not held, once it is read that it is; and more may be held by a setting.
    site.config = site.config.replace("1048576", "8388608");
    let daemon = site.up().await;
    end(&site.database, "XA COMMIT 'x'").await;
    end(&site.database, "XA COMMIT 'y'").await;
    let topic = site.database.topic("orders");
    equals(&daemon, &topic, &site.database.rows("orders").await).await;
}
