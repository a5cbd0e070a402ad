//! Checks before a start, against real servers: the one of `TIDEMESH_TEST_MYSQL`, and private ones of
//! MariaDB that are set as a source cannot use them. `scripts/test` starts the first and names both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Server, variable};
use tidemesh_model::{Error, ErrorKind, SourceSettings};

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A database and a user of its name, without any privilege.
struct Database {
    name: String,
    opts: Opts,
    admin: Conn,
}

impl Database {
    async fn on(opts: Opts) -> Self {
        let mut admin = Conn::new(opts.clone()).await.expect("the server is away");
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("precheck_{}_{number}", std::process::id());
        let create = format!("CREATE DATABASE {name}; CREATE USER {name}@'%' IDENTIFIED BY 'p'");
        admin.query_drop(create).await.unwrap();
        Self { name, opts, admin }
    }

    async fn shared() -> Self {
        Self::on(Opts::from_url(&variable("TIDEMESH_TEST_MYSQL")).expect("a URL")).await
    }

    /// Runs statements, in which `%d` stands for the database.
    async fn run(&mut self, sql: &str) {
        let sql = sql.replace("%d", &self.name);
        self.admin.query_drop(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// All privileges that a source needs.
    async fn grant(&mut self) {
        self.run(
            "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO %d@'%'; \
             GRANT CREATE, INSERT, UPDATE ON %d.marks TO %d@'%'",
        )
        .await;
    }

    /// The checks of a source of these tables.
    async fn check(&self, tables: &[&str], read_only: bool) -> Result<(), Error> {
        self.check_with(tables, serde_json::json!({}), read_only).await
    }

    async fn check_with(
        &self,
        tables: &[&str],
        mysql: serde_json::Value,
        read_only: bool,
    ) -> Result<(), Error> {
        let tables: Vec<_> = tables.iter().map(|table| format!("{}.{table}", self.name)).collect();
        let mut json = serde_json::json!({
            "name": self.name,
            "snapshot": {"read_only": read_only},
            "mysql": {
                "host": self.opts.ip_or_hostname(), "port": self.opts.tcp_port(),
                "user": self.name, "password": "p", "tables": tables,
                "watermark_table": format!("{}.marks", self.name),
            },
        });
        json["mysql"].as_object_mut().unwrap().extend(mysql.as_object().unwrap().clone());
        let settings: SourceSettings = serde_json::from_value(json).unwrap();
        tidemesh_mysql::precheck(&settings).await
    }

    /// The error of the checks, of this kind, whose report has all of these.
    async fn refused(&self, tables: &[&str], kind: ErrorKind, parts: &[&str]) {
        let error = self.check(tables, false).await.expect_err("it is refused");
        let report = error.report();
        assert_eq!(error.kind(), kind, "{report}");
        for part in parts {
            let part = part.replace("%d", &self.name);
            assert!(report.contains(&part), "{part} is not in: {report}");
        }
    }

    async fn drop(mut self) {
        self.run("DROP DATABASE %d; DROP USER %d@'%'").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_all_it_needs_is_let_through_and_gets_its_marks() {
    let mut database = Database::shared().await;
    database.grant().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY); CREATE TABLE %d.b (x INT)").await;
    database.check(&["*"], false).await.unwrap();
    let marks = format!("SELECT COUNT(*) FROM {}.marks", database.name);
    assert_eq!(database.admin.query_first::<u64, _>(marks).await.unwrap(), Some(0));
    // The marks are no table to capture, and are there already.
    database.check(&["*"], false).await.unwrap();
    database
        .refused(&["marks"], ErrorKind::Config, &["names the table of the snapshots' marks"])
        .await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_that_are_missing_are_told_at_once() {
    let mut database = Database::shared().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY, note TEXT)").await;
    database.run("GRANT SELECT (id) ON %d.a TO %d@'%'").await;
    let parts = [
        "GRANT REPLICATION SLAVE ON *.* TO '%d'@'%';",
        "may not ask where the log is",
        "GRANT SELECT ON `%d`.`a` TO '%d'@'%';",
    ];
    database.refused(&["a"], ErrorKind::Privilege, &parts).await;
    database.run("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO %d@'%'").await;
    // Columns that are listed are all that has to be read.
    let listed = serde_json::json!([format!("{}.a.id", database.name)]);
    database
        .check_with(&["a"], serde_json::json!({"include_columns": listed}), true)
        .await
        .unwrap();
    database.run("GRANT SELECT ON *.* TO %d@'%'").await;
    let parts =
        ["CREATE TABLE IF NOT EXISTS `%d`.`marks`", "GRANT SELECT, INSERT, UPDATE ON `%d`.`marks`"];
    database.refused(&["a"], ErrorKind::Privilege, &parts).await;
    // What writes nothing needs nothing to write to.
    database.check(&["a"], true).await.unwrap();
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_count() {
    let mut database = Database::shared().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY); CREATE ROLE %d_reader").await;
    database
        .run(
            "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO %d_reader; \
             GRANT %d_reader TO %d@'%'; SET DEFAULT ROLE %d_reader FOR %d@'%'",
        )
        .await;
    database.check(&["a"], true).await.unwrap();
    database.run("DROP ROLE %d_reader").await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_captured_are_told_at_once() {
    let mut database = Database::shared().await;
    database.grant().await;
    database
        .run(
            "CREATE TABLE %d.a (id INT PRIMARY KEY); CREATE VIEW %d.v AS SELECT * FROM %d.a; \
             CREATE TABLE %d.m (id INT PRIMARY KEY) ENGINE = MEMORY",
        )
        .await;
    let parts = [
        "the table `%d`.`gone` does not exist",
        "`%d`.`v` is no ordinary table but a view",
        "`%d`.`m` is of the engine MEMORY",
    ];
    database.refused(&["a", "gone", "v", "m"], ErrorKind::Prerequisite, &parts).await;
    database.run("CREATE TABLE %d.n (id INT PRIMARY KEY, number INT)").await;
    let mask = serde_json::json!({"mask": [{"columns": ["*.n.number"], "with": "redact"}]});
    let report = database.check_with(&["n"], mask, true).await.unwrap_err().report();
    assert!(report.contains("cannot be masked") && report.contains("column=number"), "{report}");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_set_as_no_source_can_use_it_is_refused_with_the_statements() {
    let server = Server::start(&[
        "--log-bin=log",
        "--binlog-format=MIXED",
        "--binlog-row-metadata=NO_LOG",
        "--binlog-row-image=MINIMAL",
    ])
    .await;
    let mut database = Database::on(server.opts()).await;
    database.grant().await;
    database.run("CREATE TABLE %d.b (x INT)").await;
    let parts = [
        "binlog_format is MIXED, not ROW",
        "Run SET GLOBAL binlog_format = ROW;",
        "binlog_row_metadata is NO_LOG, not FULL",
        "Run SET GLOBAL binlog_row_metadata = FULL;",
        "`%d`.`b` has no primary key, and binlog_row_image is MINIMAL",
    ];
    database.refused(&["*"], ErrorKind::Prerequisite, &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_log_or_with_a_part_of_one_is_refused() {
    let server = Server::start(&["--skip-log-bin"]).await;
    let mut database = Database::on(server.opts()).await;
    database.grant().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY)").await;
    database.refused(&["*"], ErrorKind::Prerequisite, &["log_bin is OFF"]).await;
    drop(server);
    let logged = ["--log-bin=log", "--binlog-format=ROW", "--binlog-row-metadata=FULL"];
    let server = Server::start(&[&logged[..], &["--binlog-do-db=other"]].concat()).await;
    let mut database = Database::on(server.opts()).await;
    database.grant().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY)").await;
    database.refused(&["*"], ErrorKind::Prerequisite, &["are not in the log (binlog_do_db)"]).await;
    drop(server);
    let ignored = ["--binlog-ignore-db=tidemesh", "--log-slave-updates=OFF"];
    let server = Server::start(&[&logged[..], &ignored].concat()).await;
    let mut database = Database::on(server.opts()).await;
    database.grant().await;
    database.run("GRANT REPLICA MONITOR ON *.* TO %d@'%'").await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY)").await;
    // A connection that is set up and does not run is a replica's, too.
    database.run("CHANGE MASTER 'c' TO MASTER_HOST = '127.0.0.1', MASTER_USER = 'x'").await;
    let marks = serde_json::json!({"watermark_table": "tidemesh.marks"});
    let error = database.check_with(&["*"], marks, false).await.unwrap_err();
    let report = error.report();
    assert!(report.contains("marks in `tidemesh`.`marks` are not in the log"), "{report}");
    assert!(report.contains("log_slave_updates is OFF, and the server is a replica"), "{report}");
    drop(server);
    // A server that takes no writes takes no marks: a failover may end that.
    let server = Server::start(&logged).await;
    let mut database = Database::on(server.opts()).await;
    database.grant().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY); SET GLOBAL read_only = ON").await;
    database
        .refused(
            &["*"],
            ErrorKind::Unavailable,
            &["--read-only option", "mysql.host", "snapshot.read_only"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_only_read_by_default_write_marks_all_the_same() {
    let server =
        Server::start(&["--log-bin=log", "--binlog-format=ROW", "--binlog-row-metadata=FULL"])
            .await;
    let mut database = Database::on(server.opts()).await;
    database.grant().await;
    database.run("CREATE TABLE %d.a (id INT PRIMARY KEY)").await;
    database.run("SET GLOBAL tx_read_only = ON").await;
    database.check(&["*"], false).await.unwrap();
    database.run("DROP TABLE %d.marks; SET GLOBAL tx_read_only = OFF").await;
    // What is run for each session of a user who is no administrator.
    database.run("SET GLOBAL init_connect = 'SET SESSION TRANSACTION READ ONLY'").await;
    database.check(&["*"], false).await.unwrap();
}
