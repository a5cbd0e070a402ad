//! The daemon killed at each step that its controller does, in the midst of what it does: the state
//! converges to what it is without that, and the topics to what the same SQL says in the database.

use crate::pipelines::{applied, is, pipeline, report, rows, with_documents};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{equals, fold, records};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

const SIGABRT: i32 = 6;
const TOPIC: &str = "shop.public.orders";
const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, status varchar(10), qty int, \
                     note text)";
const PIPELINES: [&str; 4] = ["all", "chained", "some", "noted"];

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// A column is added, which flows on.
    Added,
    /// A column that is read gets another name: its reader is held, until it is mended.
    Held,
    /// A column gets another type, which closes the table's topic.
    Moved,
    /// A pipeline is changed, set back to what it was, and removed.
    Applied,
    RolledBack,
    Deleted,
    Paused,
    Resumed,
    /// What a paused pipeline has not read is kept for it, until it goes on.
    Kept,
    SetBack,
    /// A source is declared, which has a connector run, and removed.
    Declared,
    Removed,
}

/// How a step is come to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    /// By what is under way.
    Reached,
    /// By the start after the daemon was killed before it had judged a schema.
    Start,
    /// By its end.
    End,
    /// By a store that does not answer for longer than the lease lasts.
    Blocked,
}

const UPGRADES: &[What] = &[What::Added, What::Held, What::Moved];
const COMMANDS: &[What] = &[What::Applied, What::RolledBack, What::Deleted];
const PAUSES: &[What] = &[What::Paused, What::Resumed];
const KEEPS: &[What] = &[What::Kept, What::SetBack];
const DECLARES: &[What] = &[What::Declared, What::Removed];

/// Every step, with what leads to it.
const STEPS: &[(&str, How, &[What])] = &[
    ("lease.due", How::Reached, UPGRADES),
    ("lease.taken", How::Start, UPGRADES),
    ("lease.renewed", How::Reached, UPGRADES),
    ("lease.lost", How::Blocked, UPGRADES),
    ("lease.to-release", How::End, UPGRADES),
    ("lease.released", How::End, UPGRADES),
    ("recall.due", How::Start, UPGRADES),
    ("recall.done", How::Start, UPGRADES),
    ("canary.due", How::Reached, UPGRADES),
    ("canary.done", How::Reached, UPGRADES),
    ("judged.decided", How::Reached, UPGRADES),
    ("store.uncommitted", How::Reached, UPGRADES),
    ("judged.written", How::Reached, UPGRADES),
    ("judged.shown", How::Reached, UPGRADES),
    ("jobs.stopped", How::Reached, UPGRADES),
    ("job.to-start", How::Reached, UPGRADES),
    ("job.between", How::Reached, UPGRADES),
    ("job.started", How::Reached, UPGRADES),
    ("drain.due", How::Reached, &[What::Moved]),
    ("drain.told", How::Reached, &[What::Moved]),
    ("drain.done", How::Reached, &[What::Moved]),
    ("next-topic.taken", How::Reached, &[What::Moved]),
    ("next-topic.started", How::Reached, &[What::Moved]),
    ("change.decided", How::Reached, COMMANDS),
    ("change.written", How::Reached, COMMANDS),
    ("change.shown", How::Reached, COMMANDS),
    ("pause.decided", How::Reached, PAUSES),
    ("pause.written", How::Reached, PAUSES),
    ("pause.stopped", How::Reached, PAUSES),
    ("kept.decided", How::Reached, KEEPS),
    ("kept.written", How::Reached, KEEPS),
    ("kept.raised", How::Reached, &[What::Kept]),
    ("kept.set-back", How::Reached, &[What::SetBack]),
    ("connector.to-start", How::Reached, &[What::Declared]),
    ("connector.started", How::Reached, &[What::Declared]),
    ("connector.stopped", How::Reached, &[What::Removed]),
];

/// How the names of the steps begin that one test goes through.
const JUDGED: &[&str] = &["canary.", "judged.", "store."];
const JOBS: &[&str] = &["job.", "jobs."];
const ON_THE_WAY: &[&str] = &["drain.", "next-topic."];
const LEASE: &[&str] = &["lease.", "recall."];
const COMMANDED: &[&str] = &["change.", "pause."];
const KEEPING: &[&str] = &["kept."];
const CONNECTED: &[&str] = &["connector."];

struct Site {
    database: Database,
    folder: tempfile::TempDir,
    config: String,
    daemon: Daemon,
}

impl Site {
    /// A table with four pipelines that hold what it does; the daemon ends at this step once it is armed.
    async fn open(step: &str) -> Self {
        let database = Database::new().await;
        database.execute(TABLE).await;
        let seed =
            "INSERT INTO orders SELECT g, 'open', g, 'note ' || g FROM generate_series(1, 20) g";
        database.execute(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let source = configuration(&database, &["public.orders"], "");
        let config = format!("controller.lease_ms = 2000\n{source}");
        let daemon = up(folder.path(), &config, step).await;
        let site = Self { database, folder, config, daemon };
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
    async fn killed(&mut self, step: &str, how: How, what: What) {
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
    async fn done(&self, what: What) {
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
    async fn comes_out(&self, what: What) {
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
    async fn settles(&self) {
        let settled = |name: &&str| {
            let state = report(&self.daemon, name)["state"].clone();
            state != "starting" && state != "retrying"
        };
        let all = async || PIPELINES.iter().all(settled).then_some(());
        eventually("each is what it stays", all).await;
    }

    /// What stays of it.
    fn outcome(&self) -> Outcome {
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

    /// Each change of these topics is once in that one, and nothing else is.
    fn has_each_once(&self, topic: &str, of: &[&str]) {
        let changes = |topic: &str| {
            let all = records(&self.daemon, topic).into_iter();
            let changes = all.filter(|record| record["value"]["op"] != "r");
            changes.map(|one| (one["key"].to_string(), one["position"].to_string())).collect()
        };
        let written: Vec<(String, String)> = changes(topic);
        let once: BTreeSet<_> = written.iter().cloned().collect();
        assert_eq!(once.len(), written.len(), "{topic} has something twice");
        let read: BTreeSet<(String, String)> = of.iter().flat_map(|topic| changes(topic)).collect();
        let lost: Vec<_> = read.difference(&once).collect();
        assert!(lost.is_empty(), "{topic} lacks {lost:?}");
        assert_eq!(once, read, "{topic} has what was not read");
    }
}

/// What stays of what was done, by the pipelines.
type Outcome = BTreeMap<&'static str, Stays>;

/// What stays of what was done with a pipeline.
#[derive(Debug, PartialEq)]
struct Stays {
    state: Json,
    digest: Json,
    verdicts: Vec<String>,
    revisions: Vec<String>,
}

/// Does all of this, and is killed at a step within each that the list has for it.
async fn outcome(all: &[What], step: Option<&(&str, How, &[What])>) -> Outcome {
    let mut site = Site::open(step.map_or("none", |(name, how, _)| how.first(name))).await;
    for what in all {
        match step.filter(|(.., within)| within.contains(what)) {
            Some((name, how, _)) => site.killed(name, *how, *what).await,
            None => site.done(*what).await,
        }
        site.comes_out(*what).await;
    }
    site.settles().await;
    if all == UPGRADES {
        site.has_each_once("mesh.noted", &[TOPIC, &format!("{TOPIC}.g2")]);
        site.has_each_once("mesh.all", &[TOPIC]);
        site.has_each_once("mesh.chained", &["mesh.all"]);
    }
    site.outcome()
}

/// Whatever it is killed at, it comes to the same.
async fn come_to_the_same(all: &[What], groups: &[&str]) {
    let expected = outcome(all, None).await;
    let listed =
        |step: &&(&str, How, &[What])| groups.iter().any(|group| step.0.starts_with(group));
    let steps: Vec<_> = STEPS.iter().filter(listed).collect();
    assert!(!steps.is_empty());
    for step in steps {
        eprintln!("killed at {}", step.0);
        assert_eq!(outcome(all, Some(step)).await, expected, "killed at {}", step.0);
    }
}

const APPLIED: &str = "SELECT id, qty + 1 AS qty FROM rows";

impl How {
    /// The step at which it ends first on its way to this one.
    fn first(self, step: &str) -> &str {
        if self == Self::Start { "judged.decided" } else { step }
    }
}

impl What {
    fn ddl(self) -> Option<&'static str> {
        match self {
            Self::Added => Some("ALTER TABLE orders ADD COLUMN colour text DEFAULT 'red'"),
            Self::Held => Some("ALTER TABLE orders RENAME COLUMN note TO remark"),
            Self::Moved => Some("ALTER TABLE orders ALTER COLUMN qty TYPE text"),
            _ => None,
        }
    }
}

fn noted(column: &str) -> String {
    pipeline("noted", TOPIC, &format!("SELECT id, {column} AS note FROM rows"))
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

/// The steps that the code has.
fn steps_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            steps_in(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(entry).unwrap();
            let names = text.split("failpoint(\"").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

#[test]
fn every_step_of_the_code_is_one_at_which_it_is_killed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    ["src", "controller/src"].iter().for_each(|folder| steps_in(&root.join(folder), &mut found));
    let listed: BTreeSet<String> = STEPS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(found, listed);
    assert_eq!(listed.len(), STEPS.len(), "a step is listed twice");
    let groups = [JUDGED, JOBS, ON_THE_WAY, LEASE, COMMANDED, KEEPING, CONNECTED].concat();
    for step in listed {
        let in_one = groups.iter().filter(|group| step.starts_with(**group)).count();
        assert_eq!(in_one, 1, "{step} is in no test, or in two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_as_they_are_judged() {
    come_to_the_same(UPGRADES, JUDGED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_around_jobs() {
    come_to_the_same(UPGRADES, JOBS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_on_the_way_to_the_next_topic() {
    come_to_the_same(UPGRADES, ON_THE_WAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_around_the_lease() {
    come_to_the_same(UPGRADES, LEASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_to_the_same_when_killed() {
    come_to_the_same(COMMANDS, &["change."]).await;
    come_to_the_same(PAUSES, &["pause."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_kept_and_set_back_when_killed_as_well() {
    come_to_the_same(KEEPS, KEEPING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_come_to_the_same_when_killed() {
    come_to_the_same(DECLARES, CONNECTED).await;
}
