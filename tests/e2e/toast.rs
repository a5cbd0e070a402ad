//! Updates that leave a large value unchanged, of which the log holds nothing.

use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, log_alone, verified};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::{equals, records};
use crate::support::writer::seed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

const TOPIC: &str = "shop.public.orders";

/// A database whose table has large values that are stored out of line.
async fn database() -> Database {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, n int, note text, ok bool);
             ALTER TABLE orders ALTER note SET STORAGE EXTERNAL",
        )
        .await;
    database
}

const INSERT: &str = "INSERT INTO orders SELECT g, 0, repeat('large ' || g, 1000), true FROM";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_again_for_values_that_did_not_change() {
    let database = database().await;
    let folder = tempfile::tempdir().unwrap();
    let config = log_alone(&configuration(&database, &["public.orders"], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(&format!(
            "{INSERT} generate_series(1, 50) g;
             UPDATE orders SET n = 1 WHERE id <= 10;
             UPDATE orders SET n = n + 1 WHERE id <= 5;
             UPDATE orders SET id = id + 100 WHERE id IN (6, 7);
             DELETE FROM orders WHERE id = 107;
             UPDATE orders SET note = 'small', n = 3 WHERE id = 8;
             UPDATE orders SET note = NULL WHERE id = 9"
        ))
        .await;
    let found = equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    let last = |key: i64| {
        let record = found.iter().rfind(|record| record["key"]["id"] == key).unwrap();
        record["value"]["op"].as_str().unwrap_or("tombstone").to_owned()
    };
    assert_eq!(last(1), "r", "what came later, in the update's place");
    assert_eq!(
        (last(6), last(7), last(107)),
        ("tombstone".into(), "tombstone".into(), "tombstone".into())
    );
    assert_eq!(last(20), "c");
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_which_too_many_rows_lack_values_is_read_whole() {
    let database = database().await;
    database.execute(&format!("{INSERT} generate_series(1, 3000) g")).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("UPDATE orders SET n = n + 1").await;
    daemon.logged("too many rows lack values in the log: it is read whole").await;
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_to_be_read_again_are_not_forgotten_when_it_is_killed() {
    let mut random = StdRng::seed_from_u64(seed());
    let database = database().await;
    database.execute(&format!("{INSERT} generate_series(1, 100) g")).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    for _ in 0..8 {
        for _ in 0..random.random_range(1..10) {
            let (from, to) = (random.random_range(1..50), random.random_range(50..100));
            let sql = format!("UPDATE orders SET n = n + 1 WHERE id BETWEEN {from} AND {to}");
            database.execute(&sql).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        daemon.kill();
        daemon = Daemon::up(folder.path(), &config).await;
    }
    equals(&daemon, TOPIC, &rows(&database, "orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_stands_for_what_the_log_lacks_if_that_is_wanted() {
    let database = database().await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "toast = \"placeholder\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute(&format!("{INSERT} generate_series(1, 1) g; UPDATE orders SET n = 1")).await;
    let update = eventually("the update comes", async || {
        records(&daemon, TOPIC).into_iter().find(|record| record["value"]["op"] == "u")
    })
    .await;
    assert_eq!(update["value"]["after"]["n"], 1);
    assert_eq!(update["value"]["after"]["note"], "__debezium_unavailable_value");
}
