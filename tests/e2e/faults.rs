//! Bad days: killed at any moment, the database restarted, the registry away.

use crate::history::{History, Told};
use crate::support::daemon::{Daemon, configuration};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::topic::records;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::Client;

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n bigint, note text)";
const TOPIC: &str = "shop.public.orders";

/// A seed, printed so that a failure can be had again: `TIDEMESH_TEST_SEED` sets it.
fn seed() -> u64 {
    let seed = std::env::var("TIDEMESH_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("TIDEMESH_TEST_SEED={seed}");
    seed
}

/// Writes random changes, several a transaction, and keeps what was committed.
async fn write(client: Client, mut random: StdRng, stop: Arc<AtomicBool>) -> History {
    let mut history = History::default();
    let mut live = std::collections::BTreeSet::new();
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut sql = "BEGIN;".to_owned();
        for _ in 0..random.random_range(1..20) {
            version += 1;
            let key = random.random_range(0..200_i64);
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

/// Waits until the topic tells what was written, and no longer.
async fn agrees(daemon: &Daemon, written: &History) {
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
    let patience = crate::support::PATIENCE / 2;
    if tokio::time::timeout(patience, agreed).await.is_err() {
        panic!("{difference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    const KILLS: u32 = 12;
    let mut random = StdRng::seed_from_u64(seed());
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "batch_bytes_max = 16384")
        .replace("\nbatch_bytes_max = 16384", "")
        .replace(
            "heartbeat_interval_ms = 200",
            "heartbeat_interval_ms = 200\nbatch_bytes_max = 16384",
        );
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = database.connect_again().await.unwrap();
    let seeded = StdRng::seed_from_u64(random.random());
    let writing = tokio::spawn(write(writer, seeded, Arc::clone(&stop)));
    for kill in 0..KILLS {
        let moment = Duration::from_millis(random.random_range(0..400));
        tokio::time::sleep(moment).await;
        daemon.kill();
        println!("kill {kill} after {moment:?}");
        daemon = Daemon::up(folder.path(), &config).await;
    }
    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    agrees(&daemon, &written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_is_taken_up_again() {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    let mut written = History::default();
    database.execute("INSERT INTO orders VALUES (1, 1, 'before')").await;
    written.wrote(1, 1);
    server.stop();
    daemon.logged("retry").await;
    let health = daemon.source();
    assert_ne!(health["state"], "stopped", "{health}");
    server.start_again();
    let client = eventually("the database is back", async || database.connect_again().await).await;
    client.batch_execute("INSERT INTO orders VALUES (2, 2, 'after')").await.unwrap();
    written.wrote(2, 2);
    agrees(&daemon, &written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_waited_for() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let holder = config.split("[[source]]").next().unwrap();
    let daemon = Daemon::up(folder.path(), holder).await;
    let endpoints = daemon.logged("listening").await;
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let connector = config
        .replace("registry.listen = \"127.0.0.1:0\"", &format!("registry.url = \"http://{away}\""))
        .replace("data.listen = \"127.0.0.1:0\"", &format!("data.url = {}", endpoints["data"]));
    let connector = Daemon::start(elsewhere.path(), &connector, &["connector", "postgres"]).await;
    connector.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'x')").await;
    let error = connector.logged("retry").await["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the registry does not answer"), "{error}");
    let store = format!("sqlite:{}", folder.path().join("second.sqlite").display());
    let mut registry = std::process::Command::new(env!("CARGO_BIN_EXE_tidemesh"))
        .args(["registry", "--listen", &away.to_string(), "--store", &store])
        .spawn()
        .unwrap();
    eventually("the row arrives once the registry is there", async || {
        (connector.source()["records"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    registry.kill().unwrap();
    registry.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_drains_and_exits_0() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 2000) g").await;
    let began = std::time::Instant::now();
    assert!(daemon.terminate().success());
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let mut written = History::default();
    (1..=2000).for_each(|key| written.wrote(key, key));
    let daemon = Daemon::up(folder.path(), &config).await;
    agrees(&daemon, &written).await;
}
