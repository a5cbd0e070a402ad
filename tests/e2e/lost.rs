//! The log that follows the checkpoint is gone: told, or passed over by reading every table anew.

use crate::history::History;
use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::topic::equals;
use crate::support::writer::{TABLE, TOPIC, Writer, seed};

pub(crate) const RESNAPSHOT: &str = "on_position_lost = \"resnapshot\"";

/// Changes of all kinds; of some keys nothing remains.
const MISSED: &str = "UPDATE orders SET n = -n WHERE id <= 10; DELETE FROM orders WHERE id > 90;
    INSERT INTO orders SELECT g, g, 'missed' FROM generate_series(200, 210) g";

pub(crate) const BEFORE: &str =
    "INSERT INTO orders SELECT g, g, 'before' FROM generate_series(1, 100) g";

/// The topic has exactly the table's rows, and of those that stayed no delete was told.
async fn is_whole(daemon: &Daemon, database: &Database) {
    let found = equals(daemon, TOPIC, &rows(database, "orders").await).await;
    let deleted = |key: i64| {
        found.iter().any(|record| record["key"]["id"] == key && record["value"]["op"] == "d")
    };
    assert!(!deleted(50), "what stayed is never gone");
    assert!(deleted(95), "what went is");
    verified(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_dropped_or_made_anew_is_passed_over_if_that_is_wanted() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(BEFORE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    database.drop_slot().await;
    database.execute(MISSED).await;
    daemon = Daemon::up(folder.path(), &config).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("the replication slot is gone"), "{error}");
    assert!(error.contains("on_position_lost"), "{error}");
    daemon.kill();
    // One that somebody made again is ahead.
    database
        .execute(&format!(
            "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
            database.name
        ))
        .await;
    daemon = Daemon::up(folder.path(), &config).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("the slot is ahead of the checkpoint"), "{error}");
    daemon.kill();
    daemon = Daemon::up(folder.path(), &with(&config, RESNAPSHOT)).await;
    daemon.streaming().await;
    is_whole(&daemon, &database).await;
    database.execute("INSERT INTO orders VALUES (300, 1, 'after')").await;
    daemon.kill();
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    is_whole(&daemon, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_invalidated_is_passed_over_while_it_writes() {
    let server = Server::start(
        "max_slot_wal_keep_size = '1MB'\nwal_keep_size = 0\nmin_wal_size = '32MB'\nmax_wal_size = '32MB'",
    );
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    database.execute(BEFORE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), RESNAPSHOT);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    database.execute(MISSED).await;
    eventually("the slot is lost", async || {
        database
            .execute(
                "CREATE TABLE IF NOT EXISTS filler (t text);
                 INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000);
                 SELECT pg_switch_wal(); CHECKPOINT",
            )
            .await;
        let status = database.text("SELECT wal_status FROM pg_replication_slots").await;
        (status == "lost").then_some(())
    })
    .await;
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("every table is read anew").await;
    daemon.streaming().await;
    is_whole(&daemon, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restored_is_passed_over() {
    let server = Server::start("");
    let mut database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    database.execute(BEFORE).await;
    database.execute(MISSED).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), RESNAPSHOT);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    server.stop();
    server.back_up();
    server.start_again();
    let client = eventually("it is back", async || database.connect_again().await).await;
    client
        .batch_execute("INSERT INTO orders SELECT g, g, 'undone' FROM generate_series(90, 120) g ON CONFLICT DO NOTHING")
        .await
        .unwrap();
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    server.stop();
    server.restore();
    server.start_again();
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("every table is read anew").await;
    daemon.streaming().await;
    database.client = database.connect_again().await.unwrap();
    is_whole(&daemon, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_passes_a_lost_position_over_it_does_so_again() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), RESNAPSHOT);
    let config = with(&config, "snapshot.chunk_rows = 20");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let client = database.connect_again().await.unwrap();
    let writer = Writer::start(client, seed(), History::default());
    for _ in 0..3 {
        daemon.kill();
        database.drop_slot().await;
        daemon = Daemon::up(folder.path(), &config).await;
        daemon.logged("every table is read anew").await;
        daemon.kill();
        daemon = Daemon::up(folder.path(), &config).await;
        daemon.streaming().await;
    }
    writer.stop().await;
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    verified(&daemon);
}
