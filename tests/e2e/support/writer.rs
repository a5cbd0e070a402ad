//! Somebody who writes while the tests read: random changes whose every version is kept.

use super::daemon::{Daemon, verified};
use super::topic::records;
use super::{PATIENCE, eventually};
use crate::history::{History, Told};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;
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
    /// Begins to write, where the table is as `history` has it.
    pub(crate) fn start(client: Client, seed: u64, history: History) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let random = StdRng::seed_from_u64(seed);
        let writing = tokio::spawn(write(client, random, Arc::clone(&stop), history));
        Self { stop, writing }
    }

    /// Ends it; answers what it wrote.
    pub(crate) async fn stop(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.unwrap()
    }
}

/// Writes random changes, several a transaction, and keeps what was committed.
async fn write(
    client: Client,
    mut random: StdRng,
    stop: Arc<AtomicBool>,
    mut history: History,
) -> History {
    let mut live: BTreeSet<i64> = history.live().collect();
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut sql = "BEGIN;".to_owned();
        for _ in 0..random.random_range(1..20) {
            version += 1;
            let key = random.random_range(KEYS);
            if !live.contains(&key) {
                sql.push_str(&format!("INSERT INTO orders VALUES ({key}, {version}, 'note');"));
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
        sql.push_str("COMMIT");
        client.batch_execute(&sql).await.unwrap();
    }
    history
}

/// Waits until the topic tells what was written, and no longer; then has it verified.
pub(crate) async fn agrees(daemon: &Daemon, written: &History) {
    let mut difference = String::new();
    let agreed = eventually("the topic's history is the table's", async || {
        match written.difference(&Told::of_topic(&records(daemon, TOPIC))) {
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
