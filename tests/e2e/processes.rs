//! Pipelines in processes of their own: they outlive the controller, it finds them again, and whatever is
//! killed, their topics hold what the same SQL says in the database.

use crate::own_binary::{ORACLE, SUSPECTS, TABLE, binary, churn};
use crate::pipelines::{applied, is, pipeline, rows, with_documents};
use crate::support::daemon::{Daemon, configuration, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::proxy::{Fault, Proxy};
use crate::support::topic::{equals, records};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// A log with a source, and a controller beside it.
struct Site {
    database: Database,
    log: Daemon,
    controller: Daemon,
    folder: tempfile::TempDir,
    config: String,
}

/// The configuration of a process beside that of the log; with these keys.
fn beside(up: &str, log: &Daemon, keys: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in up.split("[[source]]").next().unwrap().lines() {
        if line.starts_with("registry.listen") {
            lines.push(format!("registry.url = \"{}\"", log.registry));
        } else if line.starts_with("data.listen") && !up.contains("[kafka]") {
            lines.push(format!("data.url = \"{}\"", log.data));
        } else if !line.starts_with("control.listen") {
            lines.push(line.to_owned());
        }
    }
    format!("{keys}\n{}\n", lines.join("\n"))
}

/// A port that was free a moment ago: workers know their controller by it.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Site {
    async fn open(change: impl Fn(&str) -> String, keys: &str) -> Self {
        let database = Database::new().await;
        database.execute(TABLE).await;
        let seed = "INSERT INTO orders SELECT g, (ARRAY['open', 'paid', 'sent'])[1 + g % 3], g % 120, 1 + \
                    g % 40 FROM generate_series(1, 400) g";
        database.execute(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let up = change(&configuration(&database, &["public.orders"], ""));
        let log = Daemon::up(folder.path(), &up).await;
        log.streaming().await;
        let control = format!("control.listen = \"127.0.0.1:{}\"", free_port());
        let keys = format!("{control}\ncontroller.sources = [\"shop\"]\n{keys}");
        let config = beside(&up, &log, &keys);
        let controller = Self::controller(folder.path(), &config).await;
        Self { database, log, controller, folder, config }
    }

    async fn controller(folder: &Path, config: &str) -> Daemon {
        let folder = folder.join("controller");
        std::fs::create_dir_all(&folder).unwrap();
        Daemon::start_binary(&binary(), &folder, config, &["controller"], &[]).await
    }

    async fn restart(&mut self) {
        self.controller.kill();
        self.controller = Self::controller(self.folder.path(), &self.config).await;
    }

    async fn apply(&self, text: &str) {
        eventually("it is applied", async || {
            let (code, _) = with_documents(&self.controller, self.folder.path(), "apply", text);
            (code == Some(0)).then_some(())
        })
        .await;
    }

    /// The processes of pipelines, by these; all of `expected` are there.
    async fn workers(&self, expected: &[&str]) -> BTreeMap<String, u64> {
        eventually(&format!("there are processes of {expected:?} alone"), async || {
            let output = self.controller.command(&["workers", "--json"]);
            let workers: Vec<Json> = serde_json::from_slice(&output.stdout).ok()?;
            let worker = |worker: &Json| {
                let pipeline = worker["pipeline"].as_str().unwrap().to_owned();
                (pipeline, worker["pid"].as_u64().unwrap())
            };
            let workers: BTreeMap<String, u64> = workers.iter().map(worker).collect();
            workers.keys().eq(expected.iter()).then_some(workers)
        })
        .await
    }

    async fn equal(&self, pipeline: &str, sql: &str) {
        let expected = rows(&self.database, sql).await;
        equals(&self.log, &format!("mesh.{pipeline}"), &expected).await;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.controller.kill();
        for pid in spawned(self.folder.path()) {
            kill("-KILL", pid);
        }
    }
}

/// The processes that a controller of this folder has started, also those that no test has asked for.
fn spawned(folder: &Path) -> Vec<u64> {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        // One that has ended meanwhile has no command line.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains("--spawned") && command.contains(folder)
    })
    .collect()
}

fn kill(signal: &str, pid: u64) {
    // It may have ended by itself.
    let _ = Command::new("kill").args([signal, &pid.to_string()]).output();
}

async fn ended(pid: u64) {
    eventually("the process has ended", async || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        (status.is_empty() || status.contains("State:\tZ")).then_some(())
    })
    .await;
}

/// No row was written twice.
fn once(daemon: &Daemon, topic: &str) {
    let mut last: BTreeMap<String, Json> = BTreeMap::new();
    for record in records(daemon, topic).iter().filter(|record| !record["value"].is_null()) {
        let (key, after) = (record["key"].to_string(), record["value"]["after"].clone());
        let before = last.insert(key, after.clone());
        assert!(after.is_null() || before != Some(after), "twice: {record}");
    }
}

const LEVELS: &str = "SELECT id, level FROM rows WHERE level >= 1000";

fn levels(level: &str) -> String {
    format!("SELECT id, {level} FROM ({ORACLE}) s WHERE level >= 1000")
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_outlive_the_controller_and_are_found_again() {
    let mut site = Site::open(str::to_owned, "").await;
    let levels_document = pipeline("levels", "mesh.suspects", LEVELS);
    site.apply(&format!("{SUSPECTS}---\n{levels_document}")).await;
    let first = site.workers(&["levels", "suspects"]).await;
    site.equal("suspects", ORACLE).await;
    site.equal("levels", &levels("level")).await;

    // Without a controller the data goes on.
    site.controller.kill();
    churn(&site.database, 0).await;
    site.equal("levels", &levels("level")).await;
    site.restart().await;
    for name in ["suspects", "levels"] {
        is(&site.controller, name, "running").await;
    }
    assert_eq!(site.workers(&["levels", "suspects"]).await, first);

    // Another plan is taken over by the process that there is.
    let higher = pipeline(
        "levels",
        "mesh.suspects",
        "SELECT id, level + 1 AS level FROM rows WHERE level >= 1000",
    );
    applied(&site.controller, site.folder.path(), &higher);
    site.database.execute("INSERT INTO orders VALUES (30000, 'paid', 50, 1000)").await;
    eventually("the new plan runs", async || {
        site.database.execute("UPDATE orders SET qty = qty + 1 WHERE id = 30000").await;
        let mut rows = records(&site.log, "mesh.levels");
        rows.retain(|record| record["key"]["id"] == 30000);
        let mut levels = rows.iter().filter_map(|row| row["value"]["after"]["level"].as_i64());
        levels.any(|level| level % 1000 == 1).then_some(())
    })
    .await;
    churn(&site.database, 1).await;
    site.database.execute("UPDATE orders SET qty = qty + 1").await;
    site.equal("levels", &levels("level + 1 AS level")).await;
    assert_eq!(site.workers(&["levels", "suspects"]).await, first);

    // A process that is killed is started again; so it is if the controller dies with it.
    kill("-KILL", first["suspects"]);
    churn(&site.database, 2).await;
    site.equal("levels", &levels("level + 1 AS level")).await;
    kill("-KILL", first["levels"]);
    site.controller.kill();
    churn(&site.database, 3).await;
    site.restart().await;
    site.equal("levels", &levels("level + 1 AS level")).await;
    site.equal("suspects", ORACLE).await;
    once(&site.log, "mesh.suspects");
    let last = site.workers(&["levels", "suspects"]).await;
    assert!(last["suspects"] != first["suspects"] && last["levels"] != first["levels"]);

    assert!(site.controller.command(&["pause", "levels"]).status.success());
    ended(last["levels"]).await;
    is(&site.controller, "levels", "paused").await;
    assert!(site.controller.command(&["resume", "levels"]).status.success());
    site.workers(&["levels", "suspects"]).await;
    is(&site.controller, "levels", "running").await;
    for name in ["levels", "suspects"] {
        assert!(site.controller.command(&["delete", "pipeline", name]).status.success());
    }
    site.workers(&[]).await;
    ended(last["suspects"]).await;
    assert!(site.controller.terminate().success());
}

/// `tidemesh pipeline`, as somebody else starts it, for the controller at this address.
async fn by_hand(site: &Site, folder: &str, controller: &str) -> Daemon {
    let folder = site.folder.path().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let keys = "control.listen = \"127.0.0.1:0\"\n";
    let url = format!("controller.url = \"{controller}\"\n");
    let own = site
        .config
        .lines()
        .filter(|line| !line.starts_with("control.listen") && !line.starts_with("controller."));
    let own = own.collect::<Vec<_>>().join("\n");
    Daemon::start(&folder, &format!("{keys}{url}{own}\n"), &["pipeline", "paid"]).await
}

const PAID: &str = "SELECT id, qty FROM rows WHERE status = 'paid'";
const PAID_ORACLE: &str = "SELECT id, qty FROM orders WHERE status = 'paid'";

async fn processes_of_others(change: impl Fn(&str) -> String) {
    let mut site = Site::open(change, "controller.runtime = \"external\"").await;
    // Before there is anything for it to do.
    let controller = site.controller.url.clone();
    let mut first = by_hand(&site, "first", &controller).await;
    site.apply(&pipeline("paid", "shop.public.orders", PAID)).await;
    let oracle = PAID_ORACLE;
    site.equal("paid", oracle).await;
    is(&site.controller, "paid", "running").await;
    let pid = site.workers(&["paid"]).await["paid"];
    let second = by_hand(&site, "second", &controller).await;
    churn(&site.database, 0).await;
    site.equal("paid", oracle).await;
    assert_eq!(site.workers(&["paid"]).await["paid"], pid, "the second one waits");
    let health = crate::operations::get(&format!("{}/health", first.url)).await;
    assert!(health.contains("\"paid\"") && health.contains("running"), "{health}");

    first.kill();
    churn(&site.database, 1).await;
    site.equal("paid", oracle).await;
    assert_ne!(site.workers(&["paid"]).await["paid"], pid);
    site.restart().await;
    is(&site.controller, "paid", "running").await;
    // Nobody starts another one.
    drop(second);
    let told = is(&site.controller, "paid", "retrying").await["reasons"].to_string();
    assert!(told.contains("has not been heard of"), "{told}");
    churn(&site.database, 2).await;
    let mut third = by_hand(&site, "third", &controller).await;
    site.equal("paid", oracle).await;
    once(&site.log, "mesh.paid");
    // The table goes on in its next topic, and the process with it, once the former one is read.
    site.database.execute("ALTER TABLE orders ALTER COLUMN price TYPE text").await;
    site.database.execute("UPDATE orders SET qty = qty + 1").await;
    site.equal("paid", oracle).await;
    let report = is(&site.controller, "paid", "running").await;
    assert_eq!(report["inputs"][0]["topic"], "shop.public.orders.g2", "{report}");
    assert!(third.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_others_start_are_watched() {
    processes_of_others(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_others_start_are_watched_over_kafka() {
    processes_of_others(|config| on_kafka(config, "")).await;
}

/// What a worker says whose job another one has fenced.
const FENCED: &str = "another worker has the pipeline: its job here has ended";

async fn health(daemon: &Daemon) -> String {
    crate::operations::get(&format!("{}/health", daemon.url)).await
}

/// The controller takes a process for gone that it cannot hear, and starts another one: that one keeps the
/// pipeline, and the first waits for what it is told once it is heard again.
async fn unheard(change: impl Fn(&str) -> String) {
    let site = Site::open(change, "").await;
    let port = site.controller.url.rsplit(':').next().unwrap().parse().unwrap();
    let way = Proxy::start(port).await;
    let mut first = by_hand(&site, "first", &format!("http://127.0.0.1:{}", way.port)).await;
    let before = site.workers(&["paid"]).await;
    site.apply(&pipeline("paid", "shop.public.orders", PAID)).await;
    site.equal("paid", PAID_ORACLE).await;
    is(&site.controller, "paid", "running").await;
    assert_eq!(site.workers(&["paid"]).await, before, "no other one is started");

    way.fail(Fault::Refused);
    first.logged("goes on without its controller").await;
    churn(&site.database, 0).await;
    site.equal("paid", PAID_ORACLE).await;
    let second = eventually("another one is started", async || {
        let workers = site.workers(&["paid"]).await;
        (workers != before).then_some(workers)
    })
    .await;
    is(&site.controller, "paid", "running").await;
    // Both read what comes now, and the first one is told that it may not write it.
    eventually("the first one's job ends", async || {
        site.database.execute("UPDATE orders SET qty = qty + 1 WHERE id % 3 = 0").await;
        first.log_text().contains(FENCED).then_some(())
    })
    .await;
    assert!(!health(&first).await.contains("running"), "{}", health(&first).await);
    churn(&site.database, 1).await;
    site.equal("paid", PAID_ORACLE).await;

    way.heal();
    first.logged("its controller is there again").await;
    churn(&site.database, 2).await;
    site.equal("paid", PAID_ORACLE).await;
    is(&site.controller, "paid", "running").await;
    assert_eq!(site.workers(&["paid"]).await, second, "it stands by");
    assert!(!health(&first).await.contains("running"), "{}", health(&first).await);
    assert_eq!(first.log_text().matches(FENCED).count(), 1, "it has not taken it back");
    // What the controller starts logs where the controller does.
    assert!(!site.controller.log_text().contains(FENCED), "the second one was fenced");
    once(&site.log, "mesh.paid");
    assert!(first.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_not_heard_ends_its_job_once_another_one_has_it() {
    unheard(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_not_heard_ends_its_job_once_another_one_has_it_over_kafka() {
    unheard(|config| on_kafka(config, "")).await;
}

/// A table's topic of which everything goes as soon as the log is cleaned.
fn short(config: &str) -> String {
    with(config, "topics.cleanup_policy = \"delete\"\ntopics.retention_bytes = 1")
}

/// An offset of a table's topic: `begin` or `end`.
fn offset(site: &Site, which: &str) -> u64 {
    let output = site.log.command(&["topic", "describe", "shop.public.orders"]);
    let topic: Json = serde_json::from_slice(&output.stdout).unwrap();
    topic["partitions"][0][which].as_u64().unwrap()
}

/// How `tidemesh resume` of this pipeline ended, and what it said.
fn resume(site: &Site, more: &[&str]) -> (Option<i32>, String) {
    let output = site.controller.command(&[&["resume", "paid"], more].concat());
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// What a pipeline tells that has lost records.
async fn loses(site: &Site) -> String {
    let lost = is(&site.controller, "paid", "lost").await;
    lost["reasons"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_passed_over_once_it_is_accepted() {
    let mut site = Site::open(short, "").await;
    site.apply(&pipeline("paid", "shop.public.orders", PAID)).await;
    let pid = site.workers(&["paid"]).await["paid"];
    eventually("it has read what there is", async || {
        let report = is(&site.controller, "paid", "running").await;
        (report["counts"]["lag_records"] == 0).then_some(())
    })
    .await;
    let (code, said) = resume(&site, &["--accept-loss"]);
    assert!(code != Some(0) && said.contains("not known to have lost any records"), "{said}");

    // Nobody reads, and nobody knows that somebody will.
    site.controller.kill();
    kill("-KILL", pid);
    let read = offset(&site, "end");
    site.database.execute("UPDATE orders SET qty = qty + 1").await;
    let is_gone = async || (offset(&site, "begin") > read).then_some(());
    eventually("what came since is gone", is_gone).await;
    site.restart().await;
    let told = loses(&site).await;
    assert!(told.contains(&format!("to_offset={}", offset(&site, "begin"))), "{told}");
    // To resume it alone accepts nothing, nor does a controller that is started anew.
    assert_eq!(resume(&site, &[]).0, Some(0));
    assert_eq!(loses(&site).await, told);
    site.restart().await;
    assert_eq!(loses(&site).await, told);

    let (code, said) = resume(&site, &["--accept-loss"]);
    assert_eq!(code, Some(0), "{said}");
    is(&site.controller, "paid", "running").await;
    site.database.execute("INSERT INTO orders VALUES (40000, 'paid', 1, 1)").await;
    eventually("it goes on", async || {
        let rows = records(&site.log, "mesh.paid");
        rows.iter().any(|record| record["key"]["id"] == 40_000).then_some(())
    })
    .await;
    assert!(site.controller.log_text().contains("a loss is accepted"));
    once(&site.log, "mesh.paid");
}
