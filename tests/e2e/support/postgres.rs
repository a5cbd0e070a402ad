//! PostgreSQL servers: shared ones that `scripts/test` has started, and private ones.

use super::PATIENCE;
use super::tls::Identity;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
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
}

impl Database {
    pub(crate) async fn on_version(version: u32) -> Self {
        let port = variable(&format!("TIDEMESH_TEST_POSTGRES_{version}")).parse().unwrap();
        Self::on_port(port).await
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
        Self { port, name, client }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn connect_again(&self) -> Option<Client> {
        connect(self.port, &self.name, "postgres").await
    }

    /// The first cell of the first row, as text.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self.client.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
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
        let bin = PathBuf::from(variable("TIDEMESH_TEST_POSTGRES_15_BIN"));
        let (folder, port) = (Self::open_folder(), free_port());
        let server = Self { port, bin, folder };
        server.run("initdb", &["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]);
        let usual = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             wal_level = logical\nfsync = off\n{configuration}\n"
        );
        let file = server.data().join("postgresql.conf");
        let mut text = std::fs::read_to_string(&file).unwrap();
        text.push_str(&usual);
        std::fs::write(&file, text).unwrap();
        server.start_again();
        server
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
        let log = self.folder.path().join("data/server.log");
        self.run("pg_ctl", &["-w", "-t", "60", "-l", log.to_str().unwrap(), "start"]);
    }

    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["-w", "-m", "fast", "stop"]);
    }

    /// Keeps its data as they are now, beside; it must be stopped.
    pub(crate) fn back_up(&self) {
        self.copy("data", "backup");
    }

    /// Puts back what was kept; it must be stopped.
    pub(crate) fn restore(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        self.copy("backup", "data");
    }

    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.folder.path().join(name);
        let copied = Command::new("cp").arg("-a").args([path(from), path(to)]).status().unwrap();
        assert!(copied.success());
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
        let file = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\nssl = on\n")).unwrap();
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
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let output = command
            .arg("-D")
            .arg(self.data())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(output.success(), "{command:?} failed");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(self.bin.join("pg_ctl"));
            command
        } else {
            Command::new(self.bin.join("pg_ctl"))
        };
        // One that the test has stopped itself is not there to be stopped.
        let _ = command
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
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
