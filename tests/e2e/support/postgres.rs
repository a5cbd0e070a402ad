//! PostgreSQL servers: shared ones that `scripts/test` has started, and private ones.

use super::tls::Identity;
use super::{PATIENCE, eventually};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A variable that `scripts/test` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the servers and the tests with `scripts/test`")
    })
}

/// A database made for one test, on a shared server of the given version.
pub(crate) struct Database {
    pub(crate) port: u16,
    pub(crate) name: String,
    pub(crate) client: Client,
    shared: bool,
}

impl Database {
    pub(crate) async fn on_version(version: u32) -> Self {
        let port = variable(&format!("TIDEMESH_TEST_POSTGRES_{version}")).parse().unwrap();
        let mut database = Self::on_port(port).await;
        database.shared = true;
        database
    }

    pub(crate) async fn new() -> Self {
        Self::on_version(15).await
    }

    pub(crate) async fn on_port(port: u16) -> Self {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e_{}_{number}", std::process::id());
        let admin = connect(port, "postgres", "postgres")
            .await
            .expect("the server is away: run `scripts/test`");
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let client = connect(port, &name, "postgres").await.unwrap();
        Self { port, name, client, shared: false }
    }

    /// The same database where another server has it, once that answers.
    pub(crate) async fn at(&self, port: u16) -> Self {
        let name = self.name.clone();
        let client =
            eventually("the other server answers", async || connect(port, &name, "postgres").await)
                .await;
        Self { port, name, client, shared: false }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn connect_again(&self) -> Option<Client> {
        connect(self.port, &self.name, "postgres").await
    }

    /// Drops the daemon's slot, once the server has seen the end of its connection.
    pub(crate) async fn drop_slot(&self) {
        let drop = format!("SELECT pg_drop_replication_slot('{}')", self.name);
        eventually("the slot is dropped", async || self.client.batch_execute(&drop).await.ok())
            .await;
    }

    /// From now on commits wait for a standby that never comes: they are in the log, and nobody sees
    /// them. For a server of the test's own.
    pub(crate) async fn hold_commits(&self) {
        self.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
        self.execute("SELECT pg_reload_conf()").await;
        let client = self.connect_again().await.unwrap();
        let process = process(&client).await;
        // A server does as it is told some time later.
        let probes = tokio::spawn(async move {
            let commit = "SELECT pg_logical_emit_message(true, 'probe', '')";
            while client.batch_execute(commit).await.is_ok() {}
        });
        self.waits(process).await;
        probes.abort();
    }

    /// Commits this in the background where commits are held, once it waits.
    pub(crate) async fn execute_held(&self, sql: &'static str) -> JoinHandle<()> {
        let client = self.connect_again().await.unwrap();
        let process = process(&client).await;
        let task = tokio::spawn(async move { client.batch_execute(sql).await.unwrap() });
        self.waits(process).await;
        task
    }

    /// Until the commit of a server's process waits.
    async fn waits(&self, process: i32) {
        let waiting = format!(
            "SELECT (wait_event = 'SyncRep')::text FROM pg_stat_activity WHERE pid = {process}"
        );
        eventually("a commit waits for a standby", async || {
            (self.text(&waiting).await == "true").then_some(())
        })
        .await;
    }

    pub(crate) async fn let_commits_go(&self) {
        self.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
        self.execute("SELECT pg_reload_conf()").await;
    }

    /// The first cell of the first row, as text.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self.client.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
}

impl Drop for Database {
    /// Gives back what a shared server has few of: the slots, and the log that they hold.
    fn drop(&mut self) {
        if !self.shared {
            return;
        }
        let (port, name) = (self.port, self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(drop_database(port, &name));
        });
        // A panic of its own would hide why the test failed: the thread has printed it.
        let _ = dropped.join();
    }
}

/// Drops a database with its slots, whoever reads from them.
async fn drop_database(port: u16, name: &str) {
    let admin = connect(port, "postgres", "postgres").await.expect("the server is away");
    let end_readers = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE database = '{name}' AND active_pid IS NOT NULL"
    );
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    eventually("the test's database is dropped", async || {
        admin.batch_execute(&end_readers).await.ok()?;
        admin.batch_execute(&drop).await.ok()
    })
    .await;
}

/// The server's process behind a connection.
async fn process(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

pub(crate) async fn connect(port: u16, database: &str, user: &str) -> Option<Client> {
    let config = format!("host=127.0.0.1 port={port} user={user} dbname={database}");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// A server of one test's own, which it may stop and configure.
pub(crate) struct Server {
    pub(crate) port: u16,
    bin: PathBuf,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts one with these lines of configuration beside the usual.
    pub(crate) fn start(configuration: &str) -> Self {
        Self::start_version(15, configuration)
    }

    /// The same of a given version: 15 or 18.
    pub(crate) fn start_version(version: u32, configuration: &str) -> Self {
        let bin = variable(&format!("TIDEMESH_TEST_POSTGRES_{version}_BIN")).into();
        let server = Self { port: free_port(), bin, folder: Self::open_folder() };
        server.run("initdb", &["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]);
        let port = server.port;
        server.configure(&format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             wal_level = logical\nfsync = off\n{configuration}"
        ));
        server.start_again();
        server
    }

    /// Adds lines to its configuration, where the last of a name counts.
    fn configure(&self, lines: &str) {
        let file = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n{lines}\n")).unwrap();
    }

    /// A folder in which the server's user may make files.
    pub(crate) fn open_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        make_readable(folder.path());
        folder
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn start_again(&self) {
        assert!(self.try_start(), "the server does not start");
    }

    fn try_start(&self) -> bool {
        let log = self.data().join("server.log");
        self.succeeds("pg_ctl", &["-w", "-t", "60", "-l", log.to_str().unwrap(), "start"])
    }

    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["-w", "-m", "fast", "stop"]);
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let process = text.lines().next().unwrap();
        assert!(Command::new("kill").args(["-KILL", process]).status().unwrap().success());
    }

    /// Starts it once the processes of one that was killed have ended, which hold its memory.
    pub(crate) async fn start_after_kill(&self) {
        eventually("the killed server starts again", async || self.try_start().then_some(())).await;
    }

    /// Keeps its data as they are now, beside; it must be stopped.
    pub(crate) fn back_up(&self) {
        copy(&self.data(), &self.folder.path().join("backup"));
    }

    /// Puts back what was kept; it must be stopped.
    pub(crate) fn restore(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        copy(&self.folder.path().join("backup"), &self.data());
    }

    /// A base backup of it as it is now, which [`Server::restore`] puts back.
    pub(crate) fn base_backup(&self) {
        let mut command = self.as_server("pg_basebackup");
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-c", "fast", "-p"]);
        command.arg(self.port.to_string()).arg("-D").arg(self.folder.path().join("backup"));
        assert!(command.status().unwrap().success(), "no base backup can be made");
    }

    /// Has it begin another timeline at its next start, where the log that it has ends.
    pub(crate) fn begin_timeline(&self) {
        // The archive has nothing.
        self.configure("restore_command = 'false'");
        std::fs::write(self.data().join("recovery.signal"), "").unwrap();
    }

    /// Restarts it, and starts a standby of it with more lines of configuration, which reads its slot
    /// `standby`.
    pub(crate) async fn start_standby(&self, configuration: &str) -> Self {
        let (bin, folder) = (self.bin.clone(), Self::open_folder());
        let standby = Self { port: free_port(), bin, folder };
        self.stop();
        copy(&self.data(), &standby.data());
        self.start_again();
        let client = connect(self.port, "postgres", "postgres").await.unwrap();
        let make = "SELECT pg_create_physical_replication_slot('standby', true)";
        client.batch_execute(make).await.unwrap();
        let (own, primary) = (standby.port, self.port);
        standby.configure(&format!(
            "port = {own}\nprimary_slot_name = 'standby'\n{configuration}\nprimary_conninfo = \
             'host=127.0.0.1 port={primary} user=postgres dbname=postgres'"
        ));
        std::fs::write(standby.data().join("standby.signal"), "").unwrap();
        standby.start_again();
        standby
    }

    /// Makes a standby a server of its own.
    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["-w", "promote"]);
    }

    /// Adds a line to the front of `pg_hba.conf`, where the first that fits counts.
    pub(crate) fn allow(&self, line: &str) {
        let file = self.data().join("pg_hba.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{line}\n{text}")).unwrap();
        self.run("pg_ctl", &["reload"]);
    }

    /// Serves TLS from now on, as this identity.
    pub(crate) fn serve_tls(&self, identity: &Identity) {
        let owner = std::fs::metadata(self.data()).unwrap();
        for (name, text) in [("server.crt", &identity.certificate), ("server.key", &identity.key)] {
            let file = self.data().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        self.configure("ssl = on");
        self.run("pg_ctl", &["reload"]);
        let deadline = Instant::now() + PATIENCE;
        while !self.offers_tls() {
            assert!(Instant::now() < deadline, "the server does not come to offer TLS");
        }
    }

    /// Asks as every client does (documentation, 54.2.11).
    fn offers_tls(&self) -> bool {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        answer == *b"S"
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        assert!(self.succeeds(program, arguments), "{program} {arguments:?} failed");
    }

    fn succeeds(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = self.as_server(program);
        command.arg("-D").arg(self.data()).args(arguments);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().unwrap().success()
    }

    /// A program of the server's, as the user that it runs as.
    fn as_server(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that the test has stopped itself is not there to be stopped.
        self.succeeds("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The server's user makes its data folder in it.
fn make_readable(folder: &Path) {
    std::fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
