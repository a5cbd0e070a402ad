//! The database goes on in another timeline: restored from a base backup, or a standby that was
//! promoted.

use crate::history::History;
use crate::lost::{BEFORE, RESNAPSHOT};
use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, log_alone, verified, with};
use crate::support::eventually;
use crate::support::postgres::{Database, Server};
use crate::support::topic::equals;
use crate::support::writer::{TABLE, TOPIC, Writer, agrees, seed};
use std::time::Duration;

/// Rows that the server has lost, with more log than its recovery writes.
const UNDONE: &str =
    "INSERT INTO orders SELECT g, g, repeat('undone', 10) FROM generate_series(1000, 11000) g";

/// More log than that.
const ELSEWHERE: &str = "CREATE TABLE elsewhere AS
    SELECT g, repeat('elsewhere', 20) FROM generate_series(1, 20000) g";

/// How often the server is had to write what its slots move on by; by itself it does so every 15 s.
const SNAPSHOT_PACE: Duration = Duration::from_millis(700);

/// Waits for a server that recovers until it may be written to; it is in the second timeline.
async fn recovered(mut database: Database) -> Database {
    database.client = eventually("it has recovered", async || {
        let client = database.connect_again().await?;
        let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await.ok()?;
        (!row.get::<_, bool>(0)).then_some(client)
    })
    .await;
    let file = database.text("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
    assert!(file.starts_with("00000002"), "{file}");
    database
}

/// Why it stops.
async fn refusal(folder: &std::path::Path, config: &str) -> String {
    Daemon::up(folder, config).await.stopped_with().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_from_a_base_backup_is_never_taken_for_the_old_one() {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    database.execute(BEFORE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    server.base_backup();
    database.execute(UNDONE).await;
    verified(&daemon);
    daemon.kill();
    server.stop();
    server.restore();
    server.begin_timeline();
    server.start_again();
    let database = recovered(database).await;
    assert_eq!(database.text("SELECT count(*)::text FROM orders").await, "100");

    let error = refusal(folder.path(), &config).await;
    assert!(error.contains("the replication slot is gone"), "{error}");
    assert!(error.contains("on_position_lost"), "{error}");
    let slot =
        format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", database.name);
    database.execute(&slot).await;
    let error = refusal(folder.path(), &config).await;
    assert!(error.contains("the topics are ahead of the server's log"), "{error}");
    assert!(error.contains("log_end"), "{error}");
    // Its log reaches as far as the old one's did.
    database.execute(ELSEWHERE).await;
    let error = refusal(folder.path(), &config).await;
    assert!(error.contains("the topics are ahead of the server's log"), "{error}");
    assert!(error.contains("timeline_left_at"), "{error}");

    let daemon = Daemon::up(folder.path(), &with(&config, RESNAPSHOT)).await;
    daemon.logged("every table is read anew").await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET n = -n WHERE id <= 10").await;
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    assert_eq!(verified(&daemon)["tables"][0]["rows"], 100);
}

/// A slot that the standby has, too, and a publication for it.
async fn make_failover_slot(database: &Database) {
    let name = &database.name;
    database.execute(&format!("CREATE PUBLICATION {name} FOR TABLE orders")).await;
    database
        .execute(&format!(
            "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput', failover => true)"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_that_has_the_slot_is_taken_up_without_loss() {
    // Topics are never ahead of the standby (PostgreSQL 17 and later).
    let server = Server::start_version(18, "synchronized_standby_slots = 'standby'");
    let standby =
        server.start_standby("hot_standby_feedback = on\nsynchronized_standby_slots = ''").await;
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    make_failover_slot(&database).await;
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let seed = seed();
    let at_standby = database.at(standby.port).await;
    eventually("the standby has the slot", async || {
        // The slot moves on only past such a record, and each must be confirmed before the next.
        database.execute("SELECT pg_log_standby_snapshot()").await;
        tokio::time::sleep(SNAPSHOT_PACE).await;
        // It is refused until the slot has moved far enough.
        let _ = at_standby.client.batch_execute("SELECT pg_sync_replication_slots()").await;
        let has = "SELECT count(*)::text FROM pg_replication_slots WHERE synced AND NOT temporary";
        (at_standby.text(has).await == "1").then_some(())
    })
    .await;
    let writer = Writer::enduring(&database, seed, 40, History::default());
    eventually("it writes", async || {
        (daemon.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    daemon.kill();
    let written = writer.stop().await;
    let end = database.text("SELECT pg_current_wal_lsn()::text").await;
    eventually("the standby has all", async || {
        let has = format!("SELECT (pg_last_wal_replay_lsn() >= '{end}')::text");
        (at_standby.text(&has).await == "true").then_some(())
    })
    .await;
    server.kill();
    standby.promote();
    let database = recovered(at_standby).await;
    let port = |port| format!("port = {port}\n");
    let config = config.replace(&port(server.port), &port(standby.port));
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let writer = Writer::enduring(&database, seed, 40, written);
    eventually("it comes on", async || {
        (daemon.source().await["records"].as_u64() > Some(100)).then_some(())
    })
    .await;
    agrees(&daemon, &writer.stop().await).await;
}
