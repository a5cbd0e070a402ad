//! MySQL and MariaDB servers: the shared one that `scripts/test` has started or was told of, and private
//! ones of MariaDB.

use super::daemon::of_connector;
use super::eventually;
use super::postgres::{Server as PostgresServer, free_port, variable};
use super::writer::Commits;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, Row};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Interval;

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The ids of private servers, which no two of one replication may share.
static SERVER_IDS: AtomicU32 = AtomicU32::new(100);

/// The password of the user that a test's source logs in as.
pub(crate) const PASSWORD: &str = "of-the-capture";

/// A database made for one test, and a user of its name who may do what a source needs.
pub(crate) struct Database {
    pub(crate) name: String,
    /// As whom the server knows the test's source.
    server_id: u32,
    opts: Opts,
    pool: Pool,
    shared: bool,
}

impl Database {
    /// On the shared server.
    pub(crate) async fn new() -> Self {
        let opts = Opts::from_url(&variable("TIDEMESH_TEST_MYSQL")).expect("a URL");
        let mut database = Self::on(opts).await;
        database.shared = true;
        database
    }

    async fn on(opts: Opts) -> Self {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e_{}_{number}", std::process::id());
        let mut admin =
            Conn::new(opts.clone()).await.expect("the server is away: run `scripts/test`");
        for statement in [
            format!("CREATE DATABASE {name}"),
            format!("CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'"),
            format!("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {name}@'%'"),
            format!("GRANT CREATE, INSERT, UPDATE ON {name}.watermarks TO {name}@'%'"),
        ] {
            admin
                .query_drop(&statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let opts: Opts = OptsBuilder::from_opts(opts).db_name(Some(name.clone())).into();
        // Sources of other tests, and of other runs, read the shared server's log too.
        let server_id = 1000 + std::process::id() % 4_000_000 * 1000 + number;
        Self { name, server_id, pool: Pool::new(opts.clone()), opts, shared: false }
    }

    /// The same database where another server has it, once that answers.
    pub(crate) async fn at(&self, server: &Server) -> Self {
        let opts: Opts = OptsBuilder::from_opts(self.opts.clone()).tcp_port(server.port).into();
        answers(&opts).await;
        let (name, server_id) = (self.name.clone(), self.server_id);
        Self { name, server_id, pool: Pool::new(opts.clone()), opts, shared: false }
    }

    /// Runs statements, which `;` separates, one after the other in one session.
    pub(crate) async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(crate) async fn try_execute(&self, sql: &str) -> mysql_async::Result<()> {
        self.pool.get_conn().await?.query_drop(sql).await
    }

    /// The first cell of the first row, as text.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let mut conn = self.pool.get_conn().await.unwrap();
        let cell = conn.query_first::<Option<String>, _>(sql).await.unwrap();
        cell.flatten().unwrap_or_default()
    }

    /// A cell by its name of the first row, as text; where a statement's rows have other columns at each
    /// server.
    pub(crate) async fn cell(&self, statement: &str, name: &str) -> String {
        let mut conn = self.pool.get_conn().await.unwrap();
        let row = conn.query_first::<Row, _>(statement).await.unwrap().expect("a row");
        row.get_opt(name).expect("a column of the name").expect("a text")
    }

    /// A session for statements that belong together over several calls.
    pub(crate) async fn session(&self) -> Conn {
        Conn::new(self.opts.clone()).await.unwrap()
    }

    pub(crate) async fn is_mariadb(&self) -> bool {
        self.text("SELECT VERSION()").await.contains("MariaDB")
    }

    pub(crate) fn port(&self) -> u16 {
        self.opts.tcp_port()
    }

    /// The topic of a table.
    pub(crate) fn topic(&self, table: &str) -> String {
        format!("shop.{}.{table}", self.name)
    }

    /// A table's rows as JSON by their key `id`, in the form of `tidemesh topic read`: for tables of whole
    /// numbers and texts.
    pub(crate) async fn rows(&self, table: &str) -> BTreeMap<String, Json> {
        let columns = format!(
            "SELECT GROUP_CONCAT(CONCAT('''', column_name, ''', `', column_name, '`')) \
             FROM information_schema.columns WHERE table_schema = '{}' AND table_name = '{table}'",
            self.name
        );
        let columns = self.text(&columns).await;
        let sql = format!("SELECT CAST(JSON_OBJECT({columns}) AS CHAR) FROM `{table}`");
        let mut conn = self.pool.get_conn().await.unwrap();
        let rows: Vec<String> = conn.query(sql).await.unwrap();
        let rows = rows.iter().map(|row| serde_json::from_str::<Json>(row).unwrap());
        rows.map(|row| (format!("{{\"id\":{}}}", row["id"]), row)).collect()
    }

    /// Configuration of `up` for one source of these tables, by the test's own user.
    pub(crate) fn configuration(&self, tables: &[&str], more: &str) -> String {
        let tables: Vec<_> = tables.iter().map(|table| format!("{}.{table}", self.name)).collect();
        of_connector(&format!(
            "[source.mysql]\nhost = \"{}\"\nport = {}\nuser = \"{name}\"\npassword = \"{PASSWORD}\"\n\
             tables = {tables:?}\nwatermark_table = \"{name}.watermarks\"\nserver_id = {}\n{more}\n",
            self.opts.ip_or_hostname(),
            self.opts.tcp_port(),
            self.server_id,
            name = self.name,
        ))
    }

    /// What commits for a writer, so many transactions a second, or as fast as it can; through restarts
    /// of the server too.
    pub(crate) fn commits(&self, per_second: Option<u32>) -> Session {
        let pace = per_second.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate));
        Session { opts: self.opts.clone(), conn: None, pace }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.shared {
            return;
        }
        let (opts, name) = (self.opts.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let mut admin = Conn::new(opts).await.unwrap();
                let drop = format!("DROP DATABASE {name}; DROP USER {name}@'%'");
                admin.query_drop(drop).await.unwrap();
            });
        });
        // A panic of its own would hide why the test failed: the thread has printed it.
        let _ = dropped.join();
    }
}

/// Until a server answers.
async fn answers(opts: &Opts) {
    eventually("the server answers", async || Conn::new(opts.clone()).await.ok()).await;
}

/// What commits a writer's changes.
pub(crate) struct Session {
    opts: Opts,
    conn: Option<Conn>,
    pace: Option<Interval>,
}

impl Commits for Session {
    async fn commit(&mut self, version: i64, changes: &str) {
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        while !is_committed(self.conn.as_mut(), version, changes).await.unwrap_or(false) {
            self.conn = Conn::new(self.opts.clone()).await.ok();
            tokio::time::sleep(super::POLL_INTERVAL).await;
        }
    }
}

/// Has changes committed, unless they are already, of which a table beside tells; false if that is not
/// known.
async fn is_committed(
    conn: Option<&mut Conn>,
    version: i64,
    changes: &str,
) -> mysql_async::Result<bool> {
    let Some(conn) = conn else { return Ok(false) };
    let last = conn.query_first::<i64, _>("SELECT MAX(version) FROM written").await;
    let last = match last {
        // There is no such table yet (error 1146).
        Err(mysql_async::Error::Server(error)) if error.code == 1146 => {
            conn.query_drop("CREATE TABLE written (id INT PRIMARY KEY, version BIGINT)").await?;
            conn.query_drop("INSERT IGNORE INTO written VALUES (1, 0)").await?;
            Some(0)
        }
        last => last?,
    };
    if last == Some(version) {
        return Ok(true);
    }
    let sql = format!("BEGIN;{changes}UPDATE written SET version = {version};COMMIT");
    conn.query_drop(sql).await?;
    Ok(true)
}

/// A MariaDB server of one test's own, which it may stop and configure.
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts one with these lines of configuration beside the usual, where the last of a name counts.
    pub(crate) async fn start(configuration: &str) -> Self {
        let folder = PostgresServer::open_folder();
        let server = Self { port: free_port(), folder, child: Mutex::default() };
        let new = variable("TIDEMESH_TEST_MARIADB_DATA");
        let copied = Command::new("cp").arg("-a").arg(new).arg(server.data()).status().unwrap();
        assert!(copied.success());
        let (data, folder) = (server.data(), server.folder.path().display());
        let (port, id) = (server.port, SERVER_IDS.fetch_add(1, Ordering::Relaxed));
        server.configure(&format!(
            "[mariadbd]\ndatadir={}\nbind-address=127.0.0.1\nport={port}\nsocket={folder}/socket\n\
             tmpdir={folder}\npid-file={folder}/pid\nserver-id={id}\nlog-bin=binlog\nbinlog-format=ROW\n\
             binlog-row-image=FULL\nbinlog-row-metadata=FULL\ngtid-strict-mode=ON\nlog-slave-updates=ON\n\
             character-set-server=utf8mb4\ndefault-time-zone=+00:00\nmax-allowed-packet=64M\n\
             innodb-buffer-pool-size=32M\ninnodb-flush-log-at-trx-commit=2\nsync-binlog=0\n\
             {configuration}",
            data.display()
        ));
        server.start_again().await;
        server
    }

    /// Adds lines to its configuration, for its next start.
    pub(crate) fn configure(&self, lines: &str) {
        let file = self.file();
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, format!("{text}{lines}\n")).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("my.cnf")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn opts(&self) -> Opts {
        let opts = OptsBuilder::default().user(Some("root")).ip_or_hostname("127.0.0.1");
        opts.tcp_port(self.port).prefer_socket(false).into()
    }

    /// A database on it.
    pub(crate) async fn database(&self) -> Database {
        Database::on(self.opts()).await
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn start_again(&self) {
        let owner = std::fs::metadata(self.data()).unwrap();
        let log = std::fs::File::create(self.folder.path().join("server.log")).unwrap();
        let mut command = Command::new(variable("TIDEMESH_TEST_MARIADB"));
        command.arg(format!("--defaults-file={}", self.file().display()));
        command.stdout(Stdio::null()).stderr(log);
        if owner.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
        answers(&self.opts()).await;
    }

    /// Has it shut down, and waits for that.
    pub(crate) fn stop(&self) {
        self.end("-TERM");
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.end("-KILL");
    }

    fn end(&self, signal: &str) {
        let Some(mut child) = self.child.lock().unwrap().take() else { return };
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        child.wait().unwrap();
    }

    /// Runs a statement as root.
    pub(crate) async fn execute(&self, sql: &str) {
        let mut conn = Conn::new(self.opts()).await.unwrap();
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Starts a replica of it, by GTID, with more lines of configuration, before anything was written.
    pub(crate) async fn start_replica(&self, configuration: &str) -> Self {
        let replica = Self::start(configuration).await;
        replica
            .execute(&format!(
                "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {}, master_user = 'root', \
                 master_use_gtid = slave_pos; START SLAVE",
                self.port
            ))
            .await;
        replica
    }

    /// Waits until this replica has all that `primary` has committed.
    pub(crate) async fn catches_up(&self, primary: &Database) {
        let wanted = primary.text("SELECT @@gtid_binlog_pos").await;
        let mut conn = Conn::new(self.opts()).await.unwrap();
        eventually("the replica has all of it", async || {
            let has = conn.query_first::<String, _>("SELECT @@gtid_slave_pos").await.unwrap();
            (has == Some(wanted.clone())).then_some(())
        })
        .await;
    }

    /// Makes a replica a server of its own.
    pub(crate) async fn promote(&self) {
        self.execute("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF").await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that the test has stopped itself is not there to be stopped.
        if let Some(child) = self.child.lock().unwrap().as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
