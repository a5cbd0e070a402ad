//! The real binary as a daemon, on ports that it picks, in a folder of its own.

use super::postgres::Database;
use super::{PATIENCE, eventually};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidemesh");

/// A daemon. Killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<Json>>>,
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) registry: String,
    /// The log that it has or uses, as `tcp://127.0.0.1:8092`.
    pub(crate) data: String,
}

/// Configuration of `up` for one source of this database.
pub(crate) fn configuration(database: &Database, tables: &[&str], more: &str) -> String {
    of_connector(&format!(
        "[source.postgres]\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{}\"\nuser = \"postgres\"\n\
         tables = {tables:?}\nslot = \"{}\"\npublication = \"{}\"\n{more}\n",
        database.port, database.name, database.name, database.name
    ))
}

/// Configuration of `up` for one source, of this connector's table.
pub(crate) fn of_connector(table: &str) -> String {
    format!(
        "data_dir = \"data\"\nregistry.listen = \"127.0.0.1:0\"\ncontrol.listen = \"127.0.0.1:0\"\n\
         data.listen = \"127.0.0.1:0\"\n[[source]]\nname = \"shop\"\nheartbeat_interval_ms = 200\n{table}"
    )
}

/// The same with more lines for the source.
pub(crate) fn with(configuration: &str, lines: &str) -> String {
    configuration.replace("[[source]]", &format!("[[source]]\n{lines}"))
}

/// The same without snapshots: the topic has what the log tells, and nothing else.
pub(crate) fn log_alone(configuration: &str) -> String {
    with(configuration, "snapshot.mode = \"never\"")
}

impl Daemon {
    /// Starts `tidemesh up` and waits until it listens.
    pub(crate) async fn up(folder: &Path, configuration: &str) -> Self {
        Self::start(folder, configuration, &["up"]).await
    }

    pub(crate) async fn start(folder: &Path, configuration: &str, role: &[&str]) -> Self {
        Self::start_with(folder, configuration, role, &[]).await
    }

    /// The same, with more variables in its environment.
    pub(crate) async fn start_with(
        folder: &Path,
        configuration: &str,
        role: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::start_binary(Path::new(BINARY), folder, configuration, role, environment).await
    }

    /// The same of another binary with the same command line.
    pub(crate) async fn start_binary(
        binary: &Path,
        folder: &Path,
        configuration: &str,
        role: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let file = folder.join("tidemesh.toml");
        std::fs::write(&file, configuration).unwrap();
        // Writing past a limit of file sizes, which a test may set, fails instead of killing it.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(binary)
            .args(role)
            .arg("--config")
            .arg(&file)
            .env("TIDEMESH_LOG_FORMAT", "json")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<Vec<Json>>> = Arc::default();
        let (lines, writing) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                eprintln!("{line}");
                let json = serde_json::from_str(&line).unwrap_or(Json::String(line));
                writing.lock().unwrap().push(json);
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let (url, registry, data) = Default::default();
        let mut daemon = Self { child, log, http, url, registry, data };
        let listening = daemon.logged("listening").await;
        let text = |key: &str| listening[key].as_str().unwrap_or_default().to_owned();
        (daemon.url, daemon.registry, daemon.data) =
            (text("control"), text("registry"), text("data"));
        daemon
    }

    /// The fields of the first log line with this message.
    pub(crate) async fn logged(&self, message: &str) -> Json {
        eventually(message, async || {
            let log = self.log.lock().unwrap();
            log.iter()
                .find(|line| line["fields"]["message"] == message)
                .map(|line| line["fields"].clone())
        })
        .await
    }

    /// The text of the error that stopped its source.
    pub(crate) async fn stopped_with(&self) -> String {
        self.logged("stopped").await["error"].as_str().unwrap().to_owned()
    }

    /// All that it has logged.
    pub(crate) fn log_text(&self) -> String {
        self.log.lock().unwrap().iter().map(Json::to_string).collect()
    }

    /// What its control port answers; null where that is a refusal, or where it is not there. For conditions,
    /// which are looked at again and again: starting the command line costs more than what is looked at.
    pub(crate) async fn get(&self, path: &str) -> Json {
        let sent = self.http.get(format!("{}{path}", self.url)).send().await;
        let Ok(answer) = sent.and_then(reqwest::Response::error_for_status) else {
            return Json::Null;
        };
        answer.json().await.unwrap_or(Json::Null)
    }

    /// One source's report.
    pub(crate) async fn source(&self) -> Json {
        self.get("/v1/sources/shop").await
    }

    /// The same as the command line prints it.
    pub(crate) fn described(&self) -> Json {
        let output = self.command(&["source", "describe", "shop"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Json::Null)
    }

    pub(crate) async fn streaming(&self) {
        eventually("the source streams", async || {
            (self.source().await["state"] == "streaming").then_some(())
        })
        .await;
    }

    /// Runs a command of the command line against this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).args(arguments).env("TIDEMESH_URL", &self.url).output().unwrap()
    }

    /// From here on no file may grow past so many bytes, as on a full disk; none: any size.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.child.id().to_string();
        let limited = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--fsize={limit}:unlimited")])
            .status()
            .unwrap();
        assert!(limited.success());
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.ended()
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Once snapshots are done `tidemesh verify` finds every table equal; answers what it says.
pub(crate) fn verified(daemon: &Daemon) -> Json {
    assert!(daemon.command(&["snapshot", "status", "shop", "--wait"]).status.success());
    let output = daemon.command(&["verify", "--source", "shop", "--json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{error}");
    serde_json::from_str(&said).unwrap()
}

/// Starts `tidemesh up` by the configuration in this folder, which must be refused; answers why.
pub(crate) fn refused_up(folder: &Path) -> String {
    let output = run(&["up", "--config", folder.join("tidemesh.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// An instance of the connector alone, beside a registry that another daemon has.
pub(crate) async fn connector(folder: &Path, config: &str, registry: &str) -> Daemon {
    let url = format!("registry.url = \"{registry}\"");
    let config = config.replace("registry.listen = \"127.0.0.1:0\"", &url);
    Daemon::start(folder, &config, &["connector", "postgres"]).await
}

/// A daemon that has a registry and nothing else.
pub(crate) async fn registry(folder: &Path, config: &str) -> Daemon {
    let alone = config.split("[[source]]").next().unwrap();
    Daemon::up(folder, alone).await
}
