//! The servers of tests: what `scripts/test` tells of them, and private ones of MariaDB.

use mysql_async::{Conn, Opts, OptsBuilder};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// How often it is asked whether it answers.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A variable that `scripts/test` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `scripts/test`"))
}

/// A MariaDB of one test's own, ended with it.
pub(crate) struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, socket) = (folder.path().join("data"), folder.path().join("socket"));
        let new = variable("TIDEMESH_TEST_MARIADB_DATA");
        assert!(Command::new("cp").arg("-a").arg(new).arg(&data).status().unwrap().success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let owner = std::fs::metadata(&data).unwrap();
        let mut command = Command::new(variable("TIDEMESH_TEST_MARIADB"));
        command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        command.arg(format!("--socket={}", socket.display())).arg(format!("--port={port}"));
        // A server deletes what others have of temporary tables where it has its own, as it starts.
        command.arg(format!("--tmpdir={}", folder.path().display()));
        command.args([
            "--bind-address=127.0.0.1",
            "--server-id=5",
            "--innodb-buffer-pool-size=32M",
        ]);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        if owner.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
            // Its own user has to reach the folder, and to write the socket.
            std::os::unix::fs::chown(folder.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
            command.uid(owner.uid()).gid(owner.gid());
        }
        let server = Self { child: command.spawn().unwrap(), port, _folder: folder };
        let deadline = Instant::now() + START_MAX;
        while Conn::new(server.opts()).await.is_err() {
            assert!(Instant::now() < deadline, "the server does not answer");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        server
    }

    pub(crate) fn opts(&self) -> Opts {
        let opts = OptsBuilder::default().user(Some("root")).ip_or_hostname("127.0.0.1");
        opts.tcp_port(self.port).prefer_socket(false).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
