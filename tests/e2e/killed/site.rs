//! The daemon that is killed, with what it works on.

use super::{APPLIED, How, Outcome, PIPELINES, SIGABRT, Stays, TABLE, TOPIC, What, noted};
use crate::pipelines::{applied, is, pipeline, report, rows, with_documents};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::{equals, fold, records};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// Where the controller keeps its state, and where topics are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Over {
    /// SQLite, and the embedded log.
    Files,
    /// PostgreSQL, and Kafka.
    Servers,
}

pub(super) struct Site {
    database: Database,
    /// That of the controller's store, if it is PostgreSQL.
    _stores: Option<Database>,
    folder: tempfile::TempDir,
    config: String,
    pub(super) daemon: Daemon,
}

impl Site {
    /// A table with four pipelines that hold what it does; the daemon ends at this step once it is armed.
    pub(super) async fn open(step: &str, over: Over) -> Self {
        let database = Database::new().await;
        database.execute(TABLE).await;
        let seed =
            "INSERT INTO orders SELECT g, 'open', g, 'note ' || g FROM generate_series(1, 20) g";
        database.execute(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let source = configuration(&database, &["public.orders"], "");
        let mut config = format!("controller.lease_ms = 2000\n{source}");
        let stores = if over == Over::Servers { Some(Database::new().await) } else { None };
        if let Some(stores) = &stores {
            let url = format!("postgresql://postgres@127.0.0.1:{}/{}", stores.port, stores.name);
            config = format!("controller.store = \"{url}\"\n{}", on_kafka(&config, ""));
        }
        let daemon = up(folder.path(), &config, step).await;
        let site = Self { database, _stores: stores, folder, config, daemon };
        let documents = [
            pipeline("all", TOPIC, "SELECT * FROM rows"),
            pipeline("chained", "mesh.all", "SELECT * FROM rows"),
            pipeline("some", TOPIC, "SELECT id, qty FROM rows"),
            noted("note"),
        ];
        eventually("the table has its topic", async || {
            let (code, _) = site.hand("apply", &documents.join("---\n"));
            (code == Some(0)).then_some(())
        })
        .await;
        site.goes_on("chained", "SELECT * FROM orders").await;
        site.goes_on("some", "SELECT id, qty FROM orders").await;
        site.goes_on("noted", "SELECT id, note FROM orders").await;
        site
    }

    fn hand(&self, command: &str, text: &str) -> (Option<i32>, String) {
        with_documents(&self.daemon, self.folder.path(), command, text)
    }

    async fn goes_on(&self, name: &str, sql: &str) {
        is(&self.daemon, name, "running").await;
        let expected = rows(&self.database, sql).await;
        equals(&self.daemon, &format!("mesh.{name}"), &expected).await;
    }

    /// Another plan runs, and so its topic comes to hold what this query says.
    async fn comes_to(&self, name: &str, sql: &str) {
        is(&self.daemon, name, "running").await;
        eventually("its topic is what the query says", async || {
            self.touch().await;
            let expected = rows(&self.database, sql).await;
            (fold(&records(&self.daemon, &format!("mesh.{name}"))) == expected).then_some(())
        })
        .await;
    }

    async fn touch(&self) {
        self.database.execute("UPDATE orders SET status = 's' || length(status)").await;
    }

    /// Does it, and is killed at this step within.
    pub(super) async fn killed(&mut self, step: &str, how: How, what: What) {
        if let Some(ddl) = what.ddl() {
            self.database.execute(ddl).await;
        }
        std::fs::write(armed(self.folder.path()), "").unwrap();
        self.trigger(what).await;
        if how == How::End {
            self.daemon.signal("-TERM");
        }
        let blocked = (how == How::Blocked).then(|| self.block_store());
        self.aborted(step, what);
        drop(blocked);
        if how == How::Start {
            self.daemon = up(self.folder.path(), &self.config, step).await;
            self.aborted(step, what);
        }
        std::fs::remove_file(armed(self.folder.path())).unwrap();
        self.daemon = up(self.folder.path(), &self.config, how.first(step)).await;
        // It is refused as long as the lease of before lasts.
        eventually("it is done", async || self.trigger(what).await.then_some(())).await;
    }

    /// Keeps everybody from writing to the controller's store until this is dropped.
    fn block_store(&self) -> rusqlite::Connection {
        let file = self.folder.path().join("data/controller.sqlite");
        let connection = rusqlite::Connection::open(file).unwrap();
        connection.busy_timeout(crate::support::PATIENCE).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    fn aborted(&mut self, step: &str, what: What) {
        let ended = self.daemon.ended().signal();
        assert_eq!(ended, Some(SIGABRT), "{what:?} did not come to {step}");
    }

    /// Does it, and is not killed.
    pub(super) async fn done(&self, what: What) {
        if let Some(ddl) = what.ddl() {
            self.database.execute(ddl).await;
        }
        assert!(self.trigger(what).await, "{what:?} is refused");
    }

    /// What leads on from the change of the table, or asks for the change. Asked for again it is done once.
    /// Answers whether it was done.
    async fn trigger(&self, what: What) -> bool {
        let command = |arguments: &[&str]| self.daemon.command(arguments).status.code();
        let code = match what {
            What::Added | What::Held | What::Moved => {
                self.touch().await;
                Some(0)
            }
            What::Applied => self.hand("apply", &pipeline("some", TOPIC, APPLIED)).0,
            What::RolledBack => command(&["rollback", "pipeline", "some", "--to", "1"]),
            What::Deleted if self.is_gone() => Some(0),
            What::Deleted => command(&["delete", "pipeline", "some"]),
            What::Paused | What::Kept => command(&["pause", "some"]),
            What::Resumed | What::SetBack => command(&["resume", "some"]),
            What::Declared => self.hand("apply", &self.more()).0,
            What::Removed if !self.has_more() => Some(0),
            What::Removed => command(&["delete", "source", "more"]),
        };
        code == Some(0)
    }

    /// A document of another source of the same table.
    fn more(&self) -> String {
        let slot = format!("{}_more", self.database.name);
        let document = crate::sources::document(&self.database, "");
        let named = document.replace("name: shop", "name: more");
        let slotted = |key: &str| format!("{key}: {}\n", self.database.name);
        named
            .replace(&slotted("slot"), &format!("slot: {slot}\n"))
            .replace(&slotted("publication"), &format!("publication: {slot}\n"))
    }

    /// Whether that source is declared.
    fn has_more(&self) -> bool {
        self.daemon.command(&["describe", "source", "more"]).status.success()
    }

    /// How many topics are kept for pipelines.
    async fn keeps(&self, topics: u64) {
        let line = format!("tidemesh_kept_topics {topics}");
        eventually(&format!("it says {line}"), async || {
            let metrics = crate::operations::get(&format!("{}/metrics", self.daemon.url)).await;
            metrics.lines().any(|told| told == line).then_some(())
        })
        .await;
    }

    /// Whether the pipeline is known to be gone.
    fn is_gone(&self) -> bool {
        let all = self.daemon.command(&["get", "pipelines"]);
        let all = String::from_utf8(all.stdout).unwrap();
        all.contains("noted") && !all.contains("some")
    }

    /// What it comes to.
    pub(super) async fn comes_out(&self, what: What) {
        match what {
            What::Added => {
                self.goes_on("all", "SELECT * FROM orders").await;
                self.goes_on("chained", "SELECT * FROM orders").await;
                self.goes_on("noted", "SELECT id, note FROM orders").await;
            }
            What::Held => {
                self.held("noted", "remark").await;
                self.goes_on("some", "SELECT id, qty FROM orders").await;
                applied(&self.daemon, self.folder.path(), &noted("remark"));
                self.goes_on("noted", "SELECT id, remark AS note FROM orders").await;
            }
            What::Moved => {
                eventually("it has gone over", async || {
                    let report = report(&self.daemon, "noted");
                    report["inputs"].to_string().contains("orders.g2").then_some(())
                })
                .await;
                self.touch().await;
                self.goes_on("noted", "SELECT id, remark AS note FROM orders").await;
                self.held("some", "qty").await;
            }
            What::Applied => self.comes_to("some", "SELECT id, qty + 1 AS qty FROM orders").await,
            What::RolledBack => self.comes_to("some", "SELECT id, qty FROM orders").await,
            What::Deleted => eventually("it is gone", async || self.is_gone().then_some(())).await,
            What::Paused => drop(is(&self.daemon, "some", "paused").await),
            What::Resumed => self.comes_to("some", "SELECT id, qty FROM orders").await,
            What::Kept => self.keeps(1).await,
            What::SetBack => {
                self.comes_to("some", "SELECT id, qty FROM orders").await;
                self.keeps(0).await;
            }
            What::Declared => {
                eventually("the other source's rows are there", async || {
                    (records(&self.daemon, "more.public.orders").len() >= 20).then_some(())
                })
                .await;
            }
            What::Removed => {
                eventually("it is gone", async || (!self.has_more()).then_some(())).await;
            }
        }
    }

    async fn held(&self, name: &str, because: &str) {
        let report = is(&self.daemon, name, "held").await;
        assert!(report["reasons"].to_string().contains(because), "{report}");
    }

    /// Whatever shall run does.
    pub(super) async fn settles(&self) {
        let settled = |name: &&str| {
            let state = report(&self.daemon, name)["state"].clone();
            state != "starting" && state != "retrying"
        };
        let all = async || PIPELINES.iter().all(settled).then_some(());
        eventually("each is what it stays", all).await;
    }

    /// What stays of it.
    pub(super) fn outcome(&self) -> Outcome {
        let of = |name: &&'static str| {
            let now = report(&self.daemon, name);
            let lines = |command: &[&str]| {
                let said = self.daemon.command(command).stdout;
                let said = String::from_utf8(said).unwrap();
                let told = |line: &str| Some(line.split_once("Z  ")?.1.to_owned());
                said.lines().filter_map(told).collect()
            };
            let (verdicts, revisions) =
                (lines(&["upgrades", name]), lines(&["history", "pipeline", name]));
            let (state, digest) = (now["state"].clone(), now["digest"].clone());
            (*name, Stays { state, digest, verdicts, revisions })
        };
        PIPELINES.iter().map(of).collect()
    }

    /// Each change of these topics comes to be once in that one, and nothing else is.
    pub(super) async fn has_each_once(&self, topic: &str, of: &[&str]) {
        let changes = |topic: &str| {
            let all = records(&self.daemon, topic).into_iter();
            let changes = all.filter(|record| record["value"]["op"] != "r");
            changes.map(|one| (one["key"].to_string(), one["position"].to_string())).collect()
        };
        let read: BTreeSet<(String, String)> = of.iter().flat_map(|topic| changes(topic)).collect();
        let written = eventually(&format!("{topic} has all of {of:?}"), async || {
            let written: Vec<(String, String)> = changes(topic);
            let once: BTreeSet<_> = written.iter().cloned().collect();
            read.is_subset(&once).then_some(written)
        })
        .await;
        let once: BTreeSet<_> = written.iter().cloned().collect();
        assert_eq!(once.len(), written.len(), "{topic} has something twice");
        assert_eq!(once, read, "{topic} has what was not read");
    }
}

fn armed(folder: &Path) -> PathBuf {
    folder.join("armed")
}

async fn up(folder: &Path, config: &str, step: &str) -> Daemon {
    let armed = armed(folder);
    let environment =
        [("TIDEMESH_ABORT_AT", step), ("TIDEMESH_ABORT_ONCE", armed.to_str().unwrap())];
    Daemon::start_with(folder, config, &["up"], &environment).await
}
