//! Tables that are others than before under the same names, or that were not captured for a while.

use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{equals, records};
use crate::support::writer::{TABLE, TOPIC};

const FILL: &str = "INSERT INTO orders SELECT g, g, 'old' FROM generate_series(1, 100) g";

async fn published(database: &Database) {
    let sql = format!(
        "SELECT count(*)::text FROM pg_publication_tables WHERE pubname = '{}' AND tablename = 'orders'",
        database.name
    );
    eventually("the table is published", async || (database.text(&sql).await == "1").then_some(()))
        .await;
}

/// The topic tells the table that there is now, and nothing of the one that there was.
async fn tells_the_new_one(database: &Database, daemon: &Daemon) {
    published(database).await;
    database.execute("INSERT INTO orders VALUES (1000, 1, 'first')").await;
    equals(daemon, TOPIC, &rows(database, "orders").await).await;
    verified(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_anew_is_read_anew() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute(&format!("DROP TABLE orders; {TABLE}")).await;
    database.execute("INSERT INTO orders SELECT g, -g, 'new' FROM generate_series(50, 60) g").await;
    tells_the_new_one(&database, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_made_anew_while_nothing_was_read_is_though_nobody_changes_it() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    // The log still has a change of the one before, and will have none of the new one.
    database.execute("UPDATE orders SET n = 0 WHERE id = 3").await;
    database.execute(&format!("DROP TABLE orders; {TABLE}")).await;
    database.execute("INSERT INTO orders SELECT g, -g, 'new' FROM generate_series(50, 60) g").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_swapped_by_its_name_is_read_anew() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    database
        .execute(
            "UPDATE orders SET n = 0 WHERE id = 3;
             CREATE TABLE orders_new (LIKE orders INCLUDING ALL);
             INSERT INTO orders_new SELECT id, n, 'swapped' FROM orders WHERE id % 2 = 1;
             ALTER TABLE orders RENAME TO orders_old;
             ALTER TABLE orders_new RENAME TO orders;
             UPDATE orders SET note = 'later' WHERE id = 7",
        )
        .await;
    let daemon = Daemon::up(folder.path(), &config).await;
    tells_the_new_one(&database, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_left_out_for_a_while_is_read_again() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    database.execute("CREATE TABLE others (id int PRIMARY KEY)").await;
    let folder = tempfile::tempdir().unwrap();
    let both = configuration(&database, &["public.orders", "public.others"], "");
    let mut daemon = Daemon::up(folder.path(), &both).await;
    daemon.streaming().await;
    verified(&daemon);
    daemon.kill();
    let without = configuration(&database, &["public.others"], "");
    let mut daemon = Daemon::up(folder.path(), &without).await;
    daemon.streaming().await;
    database.execute("UPDATE orders SET n = -n WHERE id < 10; INSERT INTO others VALUES (1)").await;
    eventually("the log has passed the updates", async || {
        (records(&daemon, "shop.public.others").len() == 1).then_some(())
    })
    .await;
    assert!(daemon.terminate().success());
    let daemon = Daemon::up(folder.path(), &both).await;
    daemon.streaming().await;
    verified(&daemon);
    assert_eq!(records(&daemon, TOPIC).len(), 200, "every row is told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_primary_key_is_seen_though_every_column_is_flagged() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let config = with(&config, "on_incompatible = \"stop\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'a')").await;
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    database
        .execute(
            "ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (n);
             INSERT INTO orders VALUES (1, 2, 'b')",
        )
        .await;
    let error = daemon.stopped_with().await;
    assert!(error.contains("another schema") && error.contains("orders-key"), "{error}");
    let told = records(&daemon, TOPIC);
    assert!(
        told.iter().all(|record| record["value"]["after"]["n"] == 1),
        "by the old key: {told:?}"
    );
}
