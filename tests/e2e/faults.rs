//! Bad days: killed at any moment, the database restarted, the registry away.

use crate::history::History;
use crate::support::daemon::{Daemon, configuration, refused_up, with};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::writer::{TABLE, TOPIC, Writer, agrees, agrees_on, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    let database = Database::new().await;
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    killed_at_random_moments(&database, &config, 30, Duration::from_millis(400)).await;
}

/// Kills the daemon so often, each time within so long, while somebody writes; nothing may be lost or
/// repeated.
pub(crate) async fn killed_at_random_moments(
    database: &Database,
    config: &str,
    kills: u32,
    within: Duration,
) {
    database.execute(TABLE).await;
    let writer = async |seed| {
        Writer::start(database.connect_again().await.unwrap(), seed, History::default())
    };
    killed_while_written(config, TOPIC, writer, kills, within).await;
}

/// The same whatever the database is, of whose table of orders the topic tells: `writer` has somebody write,
/// by a seed.
pub(crate) async fn killed_while_written(
    config: &str,
    topic: &str,
    writer: impl AsyncFnOnce(u64) -> Writer,
    kills: u32,
    within: Duration,
) {
    let mut random = StdRng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), config).await;
    daemon.streaming().await;
    let writer = writer(random.random()).await;
    for kill in 0..kills {
        let moment = random.random_range(Duration::ZERO..within);
        tokio::time::sleep(moment).await;
        daemon.kill();
        println!("kill {kill} after {moment:?}");
        daemon = Daemon::up(folder.path(), config).await;
    }
    agrees_on(&daemon, topic, &writer.stop().await).await;
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
    let health = daemon.described();
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
    eventually("it has tried again and again", async || {
        (connector.source().await["attempt"].as_u64() >= Some(4)).then_some(())
    })
    .await;
    let connections = format!(
        "SELECT count(*)::text FROM pg_stat_activity
         WHERE datname = '{}' AND application_name = 'tidemesh' AND backend_type = 'client backend'",
        database.name
    );
    eventually("no connection of a failed try stays", async || {
        (database.text(&connections).await.parse::<u32>().unwrap() <= 1).then_some(())
    })
    .await;
    let store = format!("sqlite:{}", folder.path().join("second.sqlite").display());
    let mut registry = std::process::Command::new(env!("CARGO_BIN_EXE_tidemesh"))
        .args(["registry", "--listen", &away.to_string(), "--store", &store])
        .spawn()
        .unwrap();
    eventually("the row arrives once the registry is there", async || {
        (connector.source().await["records"].as_u64() >= Some(1)).then_some(())
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_nothing_for_good() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, seed(), History::default());
    for _ in 0..3 {
        let before = daemon.described()["records"].clone();
        eventually("it comes on", async || {
            (daemon.source().await["records"] != before).then_some(())
        })
        .await;
        let errors = daemon.described()["errors"].as_u64();
        daemon.limit_files(Some(0));
        eventually("the disk is full", async || {
            (daemon.source().await["errors"].as_u64() > errors).then_some(())
        })
        .await;
        daemon.limit_files(None);
    }
    let error = daemon.logged("retry").await["error"].as_str().unwrap().to_owned();
    agrees(&daemon, &writer.stop().await).await;
    assert!(error.contains("room") || error.contains("disk"), "{error}");
}

/// The newest journal of a daemon's log.
fn journal(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("data/log/store")).unwrap();
    let journals = files.map(|entry| entry.unwrap().path());
    journals.filter(|path| path.extension().is_some_and(|end| end == "jnl")).max().unwrap()
}

/// Where the journal's last batch ends: zeros are what the storage has reserved.
fn end_of(journal: &[u8]) -> usize {
    journal.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_write_is_cut_and_damage_before_the_end_stops() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let mut written = History::default();
    database.execute("INSERT INTO orders VALUES (1, 1, repeat('whole', 50))").await;
    written.wrote(1, 1);
    agrees(&daemon, &written).await;
    daemon.kill();

    // A write that was under way when the machine went down: some of its bytes are on the disk.
    let file = journal(folder.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let end = end_of(&bytes);
    bytes.truncate(end);
    std::fs::write(&file, &bytes).unwrap();
    let mut torn = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(&[1; 100]).unwrap();
    daemon = Daemon::up(folder.path(), &config).await;
    let cut = daemon.logged("a torn last write was cut off").await;
    assert_eq!(cut["bytes_cut"], 100, "{cut}");
    assert!(cut["file"].as_str().unwrap().ends_with(".jnl"), "{cut}");
    database.execute("INSERT INTO orders VALUES (2, 2, 'behind it')").await;
    written.wrote(2, 2);
    agrees(&daemon, &written).await;
    daemon.kill();

    let file = journal(folder.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let row = bytes.windows(10).position(|window| window == b"wholewhole").unwrap();
    bytes[row] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let error = refused_up(folder.path());
    assert!(error.contains(file.to_str().unwrap()) && error.contains("offset="), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing is changed");
}
