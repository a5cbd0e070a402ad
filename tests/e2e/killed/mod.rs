//! The daemon killed at each step that its controller does, in the midst of what it does: the state
//! converges to what it is without that, and the topics to what the same SQL says in the database.

mod site;

use crate::pipelines::pipeline;
use serde_json::Value as Json;
use site::{Over, Site};
use std::collections::{BTreeMap, BTreeSet};
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
async fn outcome(all: &[What], over: Over, step: Option<&(&str, How, &[What])>) -> Outcome {
    let first = step.map_or("none", |(name, how, _)| how.first(name));
    let mut site = Site::open(first, over).await;
    for what in all {
        match step.filter(|(.., within)| within.contains(what)) {
            Some((name, how, _)) => site.killed(name, *how, *what).await,
            None => site.done(*what).await,
        }
        site.comes_out(*what).await;
    }
    site.settles().await;
    if all == UPGRADES {
        site.has_each_once("mesh.noted", &[TOPIC, &format!("{TOPIC}.g2")]).await;
        site.has_each_once("mesh.all", &[TOPIC]).await;
        site.has_each_once("mesh.chained", &["mesh.all"]).await;
    }
    site.outcome()
}

/// Whatever it is killed at, it comes to the same.
async fn come_to_the_same(all: &[What], over: Over, groups: &[&str]) {
    let expected = outcome(all, over, None).await;
    let listed =
        |step: &&(&str, How, &[What])| groups.iter().any(|group| step.0.starts_with(group));
    let steps: Vec<_> = STEPS.iter().filter(listed).collect();
    assert!(!steps.is_empty());
    for step in steps {
        eprintln!("killed at {}", step.0);
        assert_eq!(outcome(all, over, Some(step)).await, expected, "killed at {}", step.0);
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
    come_to_the_same(UPGRADES, Over::Files, JUDGED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_around_jobs() {
    come_to_the_same(UPGRADES, Over::Files, JOBS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_on_the_way_to_the_next_topic() {
    come_to_the_same(UPGRADES, Over::Files, ON_THE_WAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_when_killed_around_the_lease() {
    come_to_the_same(UPGRADES, Over::Files, LEASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_to_the_same_when_killed() {
    come_to_the_same(COMMANDS, Over::Files, &["change."]).await;
    come_to_the_same(PAUSES, Over::Files, &["pause."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_kept_and_set_back_when_killed_as_well() {
    come_to_the_same(KEEPS, Over::Files, KEEPING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_come_to_the_same_when_killed() {
    come_to_the_same(DECLARES, Over::Files, CONNECTED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_come_to_the_same_over_servers_when_killed_as_they_are_judged() {
    come_to_the_same(UPGRADES, Over::Servers, &["judged.", "next-topic."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_come_to_the_same_over_servers_when_killed() {
    come_to_the_same(COMMANDS, Over::Servers, &["change."]).await;
}
