//! Bad days: killed at any moment, the database restarted, the registry away.

use crate::history::History;
use crate::support::daemon::{Daemon, configuration, with};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::writer::{TABLE, Writer, agrees, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    const KILLS: u32 = 30;
    let mut random = StdRng::seed_from_u64(seed());
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, random.random(), History::default());
    for kill in 0..KILLS {
        let moment = Duration::from_millis(random.random_range(0..400));
        tokio::time::sleep(moment).await;
        daemon.kill();
        println!("kill {kill} after {moment:?}");
        daemon = Daemon::up(folder.path(), &config).await;
    }
    agrees(&daemon, &writer.stop().await).await;
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
        let before = daemon.source()["records"].clone();
        eventually("it comes on", async || (daemon.source()["records"] != before).then_some(()))
            .await;
        let errors = daemon.source()["errors"].as_u64();
        daemon.limit_files(Some(0));
        eventually("the disk is full", async || {
            (daemon.source()["errors"].as_u64() > errors).then_some(())
        })
        .await;
        daemon.limit_files(None);
    }
    let error = daemon.logged("retry").await["error"].as_str().unwrap().to_owned();
    agrees(&daemon, &writer.stop().await).await;
    assert!(error.contains("room") || error.contains("disk"), "{error}");
}
