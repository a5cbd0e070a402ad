//! The same job over a real Kafka: exactly once, with a standby, through its bad days.

use crate::faults::killed_at_random_moments;
use crate::history::History;
use crate::support::daemon::{
    Daemon, configuration, connector, log_alone, registry, verified, with,
};
use crate::support::eventually;
use crate::support::kafka::{Broker, cluster, on_broker, on_kafka};
use crate::support::postgres::{Database, Server};
use crate::support::topic::{equals, records};
use crate::support::writer::{TABLE, TOPIC, Writer, agrees, seed};
use std::time::{Duration, Instant};
use tidemesh_transport::Transport;

/// How soon a standby must stream once the other instance is gone.
const TAKE_OVER_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_read_and_followed_over_partitions() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'old' FROM generate_series(1, 3000) g").await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(
        &configuration(&database, &["public.orders"], ""),
        "topics.partitions = 4\nsnapshot.chunk_rows = 500",
    );
    let daemon = Daemon::up(folder.path(), &on_kafka(&config, "")).await;
    daemon.streaming().await;
    database
        .execute(
            "UPDATE orders SET n = n + 1 WHERE id % 3 = 0;
             DELETE FROM orders WHERE id % 7 = 0;
             INSERT INTO orders SELECT g, g, 'new' FROM generate_series(3001, 3500) g;
             UPDATE orders SET id = id + 100000 WHERE id = 5",
        )
        .await;
    let verdict = verified(&daemon);
    assert_eq!(verdict["tables"][0]["rows"], 3072, "{verdict}");
    database.execute("TRUNCATE orders").await;
    let none = std::collections::BTreeMap::new();
    equals(&daemon, TOPIC, &none).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_and_repeats_nothing() {
    let database = Database::new().await;
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let config = on_kafka(&config, "");
    killed_at_random_moments(&database, &config, 8, Duration::from_millis(600)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_loses_nothing() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let config = on_kafka(&config, "delivery = \"at-least-once\"");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, seed(), History::default());
    eventually("records come", async || {
        (daemon.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    daemon.kill();
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    writer.stop().await;
    // A suffix may repeat: not the history, but the state is exact.
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_one_that_is_killed() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = on_kafka(&configuration(&database, &["public.orders"], ""), "");
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let holder = registry(folders[0].path(), &config).await;
    let mut first = connector(folders[1].path(), &config, &holder.registry).await;
    first.streaming().await;
    let second = connector(folders[2].path(), &config, &holder.registry).await;
    second.logged("standby").await;
    let report = second.described();
    assert_eq!(report["state"], "standby", "{report}");
    assert!(report["holder"].as_str().unwrap().contains("server process"), "{report}");

    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, seed(), History::default());
    eventually("the first instance writes", async || {
        (first.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    assert_eq!(first.described()["errors"], 0, "a standby disturbs nobody");
    let killed = Instant::now();
    first.kill();
    second.streaming().await;
    assert!(killed.elapsed() < TAKE_OVER_MAX, "it took {:?}", killed.elapsed());
    agrees(&second, &writer.stop().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_instance_that_wakes_up_writes_nothing_more() {
    // So soon the server gives up a client that does not answer.
    let server = Server::start("wal_sender_timeout = '2s'");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    let config = with(&configuration(&database, &["public.orders"], ""), "batch_bytes_max = 16384");
    let config = on_kafka(&config, "");
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let holder = registry(folders[0].path(), &config).await;
    let first = connector(folders[1].path(), &config, &holder.registry).await;
    first.streaming().await;
    let second = connector(folders[2].path(), &config, &holder.registry).await;
    second.logged("standby").await;
    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, seed(), History::default());
    eventually("the first instance writes", async || {
        (first.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    first.signal("-STOP");
    second.streaming().await;
    eventually("the second one writes", async || {
        (second.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    first.signal("-CONT");
    eventually("the first one is the standby now", async || {
        (first.source().await["state"] == "standby").then_some(())
    })
    .await;
    agrees(&second, &writer.stop().await).await;
}

/// Writes one version of some rows.
async fn write(database: &Database, written: &mut History, version: i64) {
    let sql = format!(
        "INSERT INTO orders SELECT g, {version}, 'note' FROM generate_series(1, 50) g
         ON CONFLICT (id) DO UPDATE SET n = excluded.n"
    );
    database.execute(&sql).await;
    (1..=50).for_each(|key| written.wrote(key, version));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_is_taken_up_again() {
    let mut broker = Broker::start();
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    // A fatal timeout soon, so that the test sees the writer opened again.
    let config = on_broker(
        &config,
        &broker.servers(),
        "transaction_timeout_ms = 3000\nrequest_timeout_ms = 3000",
    );
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let (mut written, mut version) = (History::default(), 0);
    for _ in 0..2 {
        version += 1;
        write(&database, &mut written, version).await;
        eventually("it is in the topic", async || {
            (daemon.source().await["records"].as_u64() >= Some(50)).then_some(())
        })
        .await;
        let errors = daemon.described()["errors"].as_u64();
        broker.kill().await;
        version += 1;
        write(&database, &mut written, version).await;
        eventually("the broker is missed", async || {
            (daemon.source().await["errors"].as_u64() > errors).then_some(())
        })
        .await;
        let before = daemon.described()["records"].as_u64();
        broker.start_again();
        eventually("it comes on", async || {
            (daemon.source().await["records"].as_u64() > before).then_some(())
        })
        .await;
    }
    assert!(daemon.log_text().contains("see kafka.bootstrap_servers"), "the brokers are named");
    agrees(&daemon, &written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_past_the_limit_stops_the_source_with_what_to_do() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &on_kafka(&config, "")).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'small')").await;
    database.execute("INSERT INTO orders VALUES (2, 2, repeat('x', 2000000))").await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("kafka.record_bytes_max") && error.contains(TOPIC), "{error}");
    assert_eq!(records(&daemon, TOPIC).len(), 1, "what came before is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_removed_is_filled_again() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'old' FROM generate_series(1, 100) g").await;
    let folder = tempfile::tempdir().unwrap();
    let config = on_kafka(&configuration(&database, &["public.orders"], ""), "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    cluster(&config).delete_topic(TOPIC).await.unwrap();
    database.execute("INSERT INTO orders VALUES (200, 2, 'new')").await;
    daemon.logged("the topic was removed: the table is read anew").await;
    daemon.streaming().await;
    assert_eq!(verified(&daemon)["tables"][0]["rows"], 101);
}
