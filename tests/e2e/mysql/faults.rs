//! Bad days: killed at any moment, the server restarted and killed, its log gone, two instances at once.

use super::{TABLE, of_orders};
use crate::history::History;
use crate::support::daemon::{Daemon, registry, with};
use crate::support::eventually;
use crate::support::mysql::{Database, Server};
use crate::support::topic::equals;
use crate::support::writer::{Writer, agrees_on, seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    let mut random = StdRng::seed_from_u64(seed());
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = with(&of_orders(&database), "batch_bytes_max = 16384");
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let writer = Writer::run(database.commits(None), random.random(), History::default());
    for kill in 0..30 {
        let moment = random.random_range(Duration::ZERO..Duration::from_millis(400));
        tokio::time::sleep(moment).await;
        daemon.kill();
        println!("kill {kill} after {moment:?}");
        daemon = Daemon::up(folder.path(), &config).await;
    }
    agrees_on(&daemon, &database.topic("orders"), &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_or_is_killed_is_taken_up_again() {
    let server = Server::start("").await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    let writer = Writer::run(database.commits(Some(200)), seed(), History::default());
    for kill in [false, true, false] {
        let before = daemon.source()["records"].clone();
        eventually("it comes on", async || (daemon.source()["records"] != before).then_some(()))
            .await;
        let errors = daemon.source()["errors"].clone();
        if kill {
            server.kill()
        } else {
            server.stop()
        }
        eventually("it has seen that", async || {
            (daemon.source()["errors"] != errors).then_some(())
        })
        .await;
        server.start_again().await;
        daemon.streaming().await;
    }
    let topic = database.topic("orders");
    agrees_on(&daemon, &topic, &writer.stop().await).await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
}

/// Stops the daemon, and has the server forget the log that it would go on from.
async fn purged(daemon: &mut Daemon, database: &Database) {
    daemon.kill();
    database
        .execute("INSERT INTO orders VALUES (2, 2, 'unseen'); DELETE FROM orders WHERE id = 1")
        .await;
    database.execute("FLUSH BINARY LOGS").await;
    let status = match database.is_mariadb().await {
        true => "SHOW MASTER STATUS",
        false => "SHOW BINARY LOG STATUS",
    };
    let file = database.cell(status, "File").await;
    database.execute(&format!("PURGE BINARY LOGS TO '{file}'")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_purged_stops_it_or_has_its_tables_read_anew() {
    let server = Server::start("").await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'seen')").await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    purged(&mut daemon, &database).await;
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("on_position_lost"), "{error}");
    drop(daemon);
    let resnapshot = with(&of_orders(&database), "on_position_lost = \"resnapshot\"");
    let daemon = Daemon::up(folder.path(), &resnapshot).await;
    daemon.streaming().await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_one_writes_at_a_time() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = of_orders(&database);
    let (folder, one, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let holder = registry(folder.path(), &config).await;
    let config =
        config.replace("data.listen = \"127.0.0.1:0\"", &format!("data.url = \"{}\"", holder.data));
    let mut first = connector_of(one.path(), &config, &holder.registry).await;
    first.streaming().await;
    let writer = Writer::run(database.commits(Some(200)), seed(), History::default());
    let second = connector_of(other.path(), &config, &holder.registry).await;
    // However they settle it between them, nothing is told twice.
    eventually("something is told", async || {
        let records = |daemon: &Daemon| daemon.source()["records"].as_u64().unwrap_or(0);
        (records(&first) + records(&second) > 500).then_some(())
    })
    .await;
    first.kill();
    second.streaming().await;
    agrees_on(&holder, &database.topic("orders"), &writer.stop().await).await;
}

async fn connector_of(folder: &std::path::Path, config: &str, registry: &str) -> Daemon {
    let url = format!("registry.url = \"{registry}\"");
    let config = config.replace("registry.listen = \"127.0.0.1:0\"", &url);
    Daemon::start(folder, &config, &["connector", "mysql"]).await
}
