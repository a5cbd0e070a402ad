//! Somebody who writes while the tests read: random changes whose every version is kept.

use super::daemon::{Daemon, verified};
use super::postgres::{Database, connect};
use super::topic::records;
use super::{PATIENCE, POLL_INTERVAL, eventually};
use crate::history::{History, Told};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Interval;
use tokio_postgres::Client;

/// The table that it writes.
pub(crate) const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text)";

/// Where its changes are told.
pub(crate) const TOPIC: &str = "shop.public.orders";

/// Keys that it changes.
const KEYS: Range<i64> = 0..200;

/// A seed, printed so that a failure can be had again: `TIDEMESH_TEST_SEED` sets it.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("TIDEMESH_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("TIDEMESH_TEST_SEED={seed}");
    seed
}

/// A writer at work.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<History>,
}

impl Writer {
    /// Begins to write as fast as it can, where the table is as `history` has it.
    pub(crate) fn start(client: Client, seed: u64, history: History) -> Self {
        Self::run(Session::Fast(client), seed, history)
    }

    /// Begins to write so many transactions a second, through restarts of the server too.
    pub(crate) fn enduring(
        database: &Database,
        seed: u64,
        per_second: u32,
        history: History,
    ) -> Self {
        let session = Session::Enduring {
            port: database.port,
            database: database.name.clone(),
            client: None,
            pace: tokio::time::interval(Duration::from_secs(1) / per_second),
        };
        Self::run(session, seed, history)
    }

    /// Begins to write what this session commits.
    pub(crate) fn run(session: impl Commits, seed: u64, history: History) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let random = StdRng::seed_from_u64(seed);
        let writing = tokio::spawn(write(session, random, Arc::clone(&stop), history));
        Self { stop, writing }
    }

    /// Ends it; answers what it wrote.
    pub(crate) async fn stop(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// How a writer commits.
pub(crate) trait Commits: Send + 'static {
    /// Has these changes committed, once.
    fn commit(&mut self, version: i64, changes: &str) -> impl Future<Output = ()> + Send;
}

/// The same to PostgreSQL.
enum Session {
    /// As fast as it can, to a server that stays.
    Fast(Client),
    /// At its pace; a table beside has the last version of the last transaction, which tells whether
    /// one was committed whose answer did not come.
    Enduring { port: u16, database: String, client: Option<Client>, pace: Interval },
}

impl Commits for Session {
    async fn commit(&mut self, version: i64, changes: &str) {
        match self {
            Self::Fast(client) => {
                client.batch_execute(&format!("BEGIN;{changes}COMMIT")).await.unwrap();
            }
            Self::Enduring { port, database, client, pace } => {
                pace.tick().await;
                while !is_committed(client.as_ref(), version, changes).await {
                    *client = connect(*port, database, "postgres").await;
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
    }
}

/// Has changes committed, unless they are already; false if that is not known.
async fn is_committed(client: Option<&Client>, version: i64, changes: &str) -> bool {
    let Some(client) = client else { return false };
    let made = client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS written (version bigint);
             INSERT INTO written SELECT 0 WHERE NOT EXISTS (SELECT FROM written)",
        )
        .await;
    let Ok(row) = client.query_one("SELECT version FROM written", &[]).await else {
        return false;
    };
    if made.is_err() || row.get::<_, i64>(0) == version {
        return made.is_ok();
    }
    let sql = format!("BEGIN;{changes}UPDATE written SET version = {version};COMMIT");
    client.batch_execute(&sql).await.is_ok()
}

/// Writes random changes, several a transaction, and keeps what was committed.
async fn write(
    mut session: impl Commits,
    mut random: StdRng,
    stop: Arc<AtomicBool>,
    mut history: History,
) -> History {
    let mut live: BTreeSet<i64> = history.live().collect();
    let mut version = history.latest();
    while !stop.load(Ordering::Relaxed) {
        let mut sql = String::new();
        for _ in 0..random.random_range(1..20) {
            version += 1;
            let key = random.random_range(KEYS);
            if !live.contains(&key) {
                sql.push_str(&format!(
                    "INSERT INTO orders (id, n, note) VALUES ({key}, {version}, 'note');"
                ));
                live.insert(key);
                history.wrote(key, version);
            } else if random.random_bool(0.2) {
                sql.push_str(&format!("DELETE FROM orders WHERE id = {key};"));
                live.remove(&key);
                history.deleted(key);
            } else {
                sql.push_str(&format!("UPDATE orders SET n = {version} WHERE id = {key};"));
                history.wrote(key, version);
            }
        }
        session.commit(version, &sql).await;
    }
    history
}

/// Waits until the topic tells what was written, and no longer; then has it verified.
pub(crate) async fn agrees(daemon: &Daemon, written: &History) {
    agrees_on(daemon, TOPIC, written).await;
}

/// The same of a topic of any name.
pub(crate) async fn agrees_on(daemon: &Daemon, topic: &str, written: &History) {
    let mut difference = String::new();
    let agreed = eventually("the topic's history is the table's", async || {
        match written.difference(&Told::of_topic(&records(daemon, topic))) {
            None => Some(()),
            Some(found) => {
                difference = found;
                None
            }
        }
    });
    if tokio::time::timeout(PATIENCE / 2, agreed).await.is_err() {
        panic!("{difference}");
    }
    verified(daemon);
}
