//! `tidemesh source remove`: what goes, what stays, and the way back.

use crate::support::daemon::{Daemon, configuration, verified};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::records;
use crate::support::writer::{TABLE, TOPIC};

async fn slots(database: &Database) -> String {
    let sql = format!(
        "SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = '{}'",
        database.name
    );
    database.text(&sql).await
}

fn remove(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
    let output = daemon.command(&[&["source", "remove"], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_removed_begins_anew_behind_its_old_events() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 20) g").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    let (code, said) = remove(&daemon, &["shop", "--drop-slot"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("dropped slot {}", database.name)), "{said}");
    assert_eq!(slots(&database).await, "0");
    assert_eq!(daemon.described()["state"], "drained");
    daemon.kill();
    database.execute("UPDATE orders SET n = 0 WHERE id < 5").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    let told = records(&daemon, TOPIC);
    assert_eq!(told.len(), 40, "every row is told again");
    let positions: Vec<&str> =
        told.iter().map(|record| record["position"].as_str().unwrap()).collect();
    assert!(positions.is_sorted() && positions[39].starts_with("00000002-"), "{positions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_slot_is_lost_comes_back_by_its_removal() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 20) g").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    assert!(daemon.terminate().success());
    database.execute(&format!("SELECT pg_drop_replication_slot('{}')", database.name)).await;
    database.execute("DELETE FROM orders WHERE id < 5").await;
    let mut daemon = Daemon::up(folder.path(), &config).await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("tidemesh source remove"), "{error}");
    let (code, said) = remove(&daemon, &["shop", "--drop-slot", "--delete-topics"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("no slot to drop") && said.contains(TOPIC), "{said}");
    daemon.kill();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    assert_eq!(records(&daemon, TOPIC).len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_the_configuration_has_no_more_leaves_its_checkpoint() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    daemon.kill();
    let without = config.split("[[source]]").next().unwrap();
    let daemon = Daemon::up(folder.path(), without).await;
    let (code, said) = remove(&daemon, &["shop", "--drop-slot"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("its database is not known"), "{said}");
    assert_eq!(remove(&daemon, &["shop"]).0, Some(0));
    let (code, said) = remove(&daemon, &["nobody"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("neither the configuration nor the log"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_set_behind_what_cannot_be_carried_and_deleted() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("ALTER TABLE orders ADD price numeric(10, 2)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute("INSERT INTO orders VALUES (1, 1, 'x', 1); INSERT INTO orders VALUES (2, 2, 'x', 'NaN')")
        .await;
    daemon.stopped_with().await;
    database.execute("UPDATE orders SET price = 2 WHERE id = 2").await;
    let here = database.text("SELECT pg_current_wal_lsn()::text").await;
    let output = daemon.command(&["checkpoint", "set", "shop", &here]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("is left out"), "{said}");
    daemon.kill();
    daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert!(daemon.command(&["snapshot", "start", "shop", "--wait"]).status.success());
    verified(&daemon);
    // Without a checkpoint it goes on from the slot, which has to be told of the place first.
    let told = format!(
        "SELECT (confirmed_flush_lsn >= '{here}')::text FROM pg_replication_slots
                        WHERE slot_name = '{}'",
        database.name
    );
    eventually("the slot is told", async || (database.text(&told).await == "true").then_some(()))
        .await;
    // One that runs begins anew by itself.
    assert!(daemon.command(&["checkpoint", "delete", "shop"]).status.success());
    database.execute("INSERT INTO orders VALUES (3, 3, 'x', 3)").await;
    daemon.logged("retry").await;
    daemon.streaming().await;
    verified(&daemon);
    let told = records(&daemon, TOPIC);
    assert!(told.last().unwrap()["position"].as_str().unwrap().starts_with("00000002-"));
    let unknown = daemon.command(&["checkpoint", "set", "nobody", "0/0"]);
    assert_eq!(unknown.status.code(), Some(2));
}
