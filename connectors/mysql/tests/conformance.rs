//! The contract of connectors over real servers: the one of `TIDEMESH_TEST_MYSQL`, and a private one of
//! MariaDB where a log is discarded. `scripts/test` starts the first and names both.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Server, variable};
use tidemesh_model::SourceSettings;
use tidemesh_mysql::MysqlConnector;
use tidemesh_source::conformance::{Bench, Login, Session, conformance_tests, eventually};

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A port that the system gives to nobody.
const NOBODYS_PORT: u16 = 1;

/// The password of the user as whom connectors log in.
const PASSWORD: &str = "of-the-capture";

/// A database, and a user of its name who may do what a source needs.
struct Database {
    name: String,
    opts: Opts,
    /// Whether readers may write nothing.
    is_read_only: bool,
    /// Where it is on a server of its own.
    _server: Option<Server>,
}

async fn make() -> Database {
    let opts = Opts::from_url(&variable("TIDEMESH_TEST_MYSQL")).expect("a URL");
    Database::on(opts, None).await
}

/// Whose readers place their marks without a word in the log.
async fn read_only() -> Database {
    Database { is_read_only: true, ..make().await }
}

/// On a server of which nobody else needs the log.
async fn alone() -> Database {
    let settings = ["--log-bin=log", "--binlog-format=ROW", "--binlog-row-metadata=FULL"];
    let server = Server::start(&settings).await;
    Database::on(server.opts(), Some(server)).await
}

impl Database {
    async fn on(opts: Opts, server: Option<Server>) -> Self {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("conformance_{}_{number}", std::process::id());
        let mut admin = Conn::new(opts.clone()).await.expect("the server is away");
        for statement in [
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            format!("CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'"),
            format!("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {name}@'%'"),
            format!("GRANT CREATE, INSERT, UPDATE ON {name}.watermarks TO {name}@'%'"),
        ] {
            run(&mut admin, &statement).await;
        }
        let version: Option<String> = admin.query_first("SELECT VERSION()").await.unwrap();
        if version.is_some_and(|version| version.contains("MariaDB")) {
            // Who reads the log it shows to nobody else.
            run(&mut admin, &format!("GRANT REPLICATION MASTER ADMIN ON *.* TO {name}@'%'")).await;
        }
        let opts = OptsBuilder::from_opts(opts).db_name(Some(name.clone())).into();
        Self { name, opts, is_read_only: false, _server: server }
    }

    async fn conn(&self) -> Conn {
        Conn::new(self.opts.clone()).await.unwrap()
    }
}

async fn run(conn: &mut Conn, sql: &str) {
    conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

impl Bench for Database {
    type Connector = MysqlConnector;
    type Session = MysqlSession;

    fn schema(&self) -> &str {
        &self.name
    }

    fn connector(&self, tables: &[&str], login: Login) -> MysqlConnector {
        let tables: Vec<_> = tables.iter().map(|table| format!("{}.{table}", self.name)).collect();
        let password = if login == Login::Refused { "another" } else { PASSWORD };
        let port = if login == Login::Away { NOBODYS_PORT } else { self.opts.tcp_port() };
        let settings: SourceSettings = serde_json::from_value(serde_json::json!({
            "name": self.name,
            "snapshot": {"read_only": self.is_read_only},
            "mysql": {
                "host": self.opts.ip_or_hostname(), "port": port, "user": self.name,
                "password": password, "tables": tables,
                "watermark_table": format!("{}.watermarks", self.name),
            },
        }))
        .unwrap();
        MysqlConnector::new(&settings).unwrap()
    }

    async fn session(&self) -> MysqlSession {
        MysqlSession(self.conn().await)
    }

    async fn analyze(&self, table: &str) {
        run(&mut self.conn().await, &format!("ANALYZE TABLE {table}")).await;
    }

    /// Row images have all columns.
    async fn log_whole_rows(&self, _: &str) {}

    async fn cut(&self) {
        let mut conn = self.conn().await;
        let connections =
            format!("SELECT id FROM information_schema.processlist WHERE user = '{}'", self.name);
        for id in conn.query::<u64, _>(connections).await.unwrap() {
            // It may have ended by itself.
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
    }

    async fn discard_log(&self) {
        let mut conn = self.conn().await;
        run(&mut conn, "FLUSH BINARY LOGS").await;
        // A file that somebody still reads stays.
        eventually("all files but the last are gone", async || {
            let files: Vec<Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
            let last: String = files.last().unwrap().get(0).unwrap();
            run(&mut conn, &format!("PURGE BINARY LOGS TO '{last}'")).await;
            (files.len() == 1).then_some(())
        })
        .await;
    }

    async fn end(self) {
        let drop = format!("DROP DATABASE {0}; DROP USER {0}@'%'", self.name);
        run(&mut self.conn().await, &drop).await;
    }
}

struct MysqlSession(Conn);

impl Session for MysqlSession {
    async fn run(&mut self, sql: &str) {
        run(&mut self.0, sql).await;
    }
}

conformance_tests!(make);
conformance_tests!(alone: a_discarded_log_is_lost);

mod without_writing {
    tidemesh_source::conformance::conformance_tests!(super::read_only:
        marks_stand_in_the_log_where_they_were_written a_settled_reader_has_what_the_log_told
        log_and_readers_share_a_schema
    );
}
