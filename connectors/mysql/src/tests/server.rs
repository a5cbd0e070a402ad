//! The server of the tests: the one that `TIDEMESH_TEST_MYSQL` names, or a MariaDB that is started in a
//! temporary folder for as long as this process lives.

use crate::client::Sql;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tidemesh_model::MysqlSettings;

/// How long the server may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// The id of the server that all tests share; below it are those of tests' own.
const SHARED_ID: u32 = 101;

const PAUSE: Duration = Duration::from_millis(100);

/// Runs until its standard input ends, as it does when the process that started it does.
const SCRIPT: &str = r#"
set -e
folder=$1 port=$2 id=$3 user=
mkdir "$folder"
if [ "$(id -u)" = 0 ]; then chown mysql "$folder"; user=--user=mysql; fi
mariadb-install-db --no-defaults $user --datadir="$folder/data" --skip-test-db \
    --auth-root-authentication-method=normal >/dev/null 2>&1
mariadbd --no-defaults $user --datadir="$folder/data" --tmpdir="$folder" --socket="$folder/s.sock" --port="$port" \
    --bind-address=127.0.0.1 --server-id="$id" --log-bin=mybin --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL --binlog-checksum=CRC32 \
    --gtid-strict-mode=ON --log-slave-updates=ON --character-set-server=utf8mb4 --default-time-zone=+00:00 \
    --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 >/dev/null 2>&1 &
server=$!
read -r _ || true
kill "$server"
wait "$server" || true
rm -rf "$folder"
"#;

/// A server and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) settings: MysqlSettings,
}

impl Server {
    /// The server that all tests of this process share, which answers.
    pub(crate) async fn shared() -> Self {
        static URL: OnceLock<(String, Option<Child>)> = OnceLock::new();
        let (url, _) = URL.get_or_init(|| match std::env::var("TIDEMESH_TEST_MYSQL") {
            Ok(url) => (url, None),
            Err(_) => start(SHARED_ID),
        });
        let server = Self { settings: settings(url) };
        server.answers().await;
        server
    }

    /// Waits until it answers.
    async fn answers(&self) {
        let began = Instant::now();
        loop {
            match Sql::connect(&self.settings).await {
                Ok(_) => return,
                Err(error) if began.elapsed() > START_MAX => panic!(
                    "no server: {error}; start one and the tests with `scripts/test`, or install \
                     mariadb-server"
                ),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    pub(crate) async fn sql(&self) -> Sql {
        Sql::connect(&self.settings).await.unwrap()
    }

    /// A database of this name, empty.
    pub(crate) async fn database(&self, name: &str) -> Sql {
        let mut sql = self.sql().await;
        sql.run(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        sql.run(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
        sql.run(&format!("USE {name}")).await.unwrap();
        sql.run("SET sql_mode = 'ALLOW_INVALID_DATES'").await.unwrap();
        sql
    }
}

/// A MariaDB of one test's own, which ends with it.
#[derive(Debug)]
pub(crate) struct OwnServer {
    pub(crate) server: Server,
    /// It runs until its standard input is closed.
    _child: Option<Child>,
}

impl OwnServer {
    /// Starts one of this id, which answers.
    pub(crate) async fn start(id: u32) -> Self {
        let (url, child) = start(id);
        let server = Server { settings: settings(&url) };
        server.answers().await;
        Self { server, _child: child }
    }
}

fn start(id: u32) -> (String, Option<Child>) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = std::env::temp_dir().join(format!("tidemesh-mysql-{}-{id}", std::process::id()));
    let child = Command::new("sh")
        .args(["-c", SCRIPT, "mariadb"])
        .arg(folder)
        .args([port.to_string(), id.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    (format!("mysql://root@127.0.0.1:{port}"), Some(child))
}

/// `mysql://USER@HOST:PORT`.
fn settings(url: &str) -> MysqlSettings {
    let rest = url.strip_prefix("mysql://").expect("mysql://USER@HOST:PORT");
    let (user, place) = rest.split_once('@').expect("mysql://USER@HOST:PORT");
    let (host, port) = place.trim_end_matches('/').split_once(':').expect("mysql://USER@HOST:PORT");
    let (user, password) = user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)));
    let settings = serde_json::json!({
        "user": user, "password": password, "host": host, "port": port.parse::<u16>().unwrap(),
        "tables": ["*.*"], "tls": "disable",
    });
    serde_json::from_value(settings).unwrap()
}
