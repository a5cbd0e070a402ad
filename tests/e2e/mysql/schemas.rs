//! Schemas that change while the connector runs and while it is down: each row has the columns that it
//! had when it was written.

use super::of_orders;
use crate::support::daemon::{Daemon, verified};
use crate::support::mysql::Database;
use crate::support::topic::{equals, records};

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_and_go_while_it_runs_and_while_it_is_down() {
    let database = Database::new().await;
    database.execute(super::TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = of_orders(&database);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders VALUES (1, 1, 'a');
             ALTER TABLE orders ADD COLUMN extra TEXT AFTER id;
             INSERT INTO orders VALUES (2, 'e', 2, 'b');
             ALTER TABLE orders ADD COLUMN state VARCHAR(5) NOT NULL DEFAULT 'new';
             INSERT INTO orders VALUES (3, 'e', 3, 'c', 'old');
             ALTER TABLE orders MODIFY state VARCHAR(50) NOT NULL DEFAULT 'new';
             UPDATE orders SET n = 30 WHERE id = 3;
             ALTER TABLE orders CHANGE note remark TEXT;
             UPDATE orders SET state = 'other';
             ALTER TABLE orders DROP COLUMN extra;
             UPDATE orders SET n = n + 1",
        )
        .await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    daemon.kill();
    for step in 0..10 {
        let id = 100 + step;
        database
            .execute(&format!(
                "INSERT INTO orders (id, n) VALUES ({id}, {step});
                 ALTER TABLE orders ADD COLUMN c{step} INT DEFAULT {step};
                 UPDATE orders SET n = n + 1 WHERE id = {id}"
            ))
            .await;
    }
    database.execute("UPDATE orders SET n = n + 1").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_written_while_it_is_down_have_the_columns_of_their_time() {
    let database = Database::new().await;
    database.execute(super::TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = of_orders(&database);
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let topic = database.topic("orders");
    database.execute("INSERT INTO orders VALUES (1, 1, 'known')").await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    daemon.kill();
    database
        .execute(
            "ALTER TABLE orders ADD COLUMN passing VARCHAR(20);
             INSERT INTO orders VALUES (2, 2, 'a', 'was there');
             ALTER TABLE orders DROP COLUMN passing;
             INSERT INTO orders VALUES (3, 3, 'b');
             UPDATE orders SET n = n + 1",
        )
        .await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    let told = records(&daemon, &topic);
    let created = |id: i64| {
        let of =
            told.iter().find(|record| record["key"]["id"] == id && record["value"]["op"] == "c");
        of.map(|record| record["value"]["after"].clone()).unwrap_or_default()
    };
    assert_eq!(created(2)["passing"], "was there");
    assert!(created(3).get("passing").is_none_or(serde_json::Value::is_null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_by_renames_goes_on_in_the_same_topic() {
    let database = Database::new().await;
    database.execute(super::TABLE).await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b')").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    // As gh-ost and pt-online-schema-change do it.
    database
        .execute(
            "CREATE TABLE _orders_gho LIKE orders;
             ALTER TABLE _orders_gho ADD COLUMN state VARCHAR(10) DEFAULT 'new';
             INSERT INTO _orders_gho (id, n, note) SELECT id, n, note FROM orders;
             RENAME TABLE orders TO _orders_del, _orders_gho TO orders;
             INSERT INTO orders VALUES (3, 3, 'c', 'behind');
             UPDATE orders SET state = 'old';
             DROP TABLE _orders_del",
        )
        .await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    verified(&daemon);
}

/// What the log never told under the table's name is read, and what it told of the other one goes.
#[tokio::test(flavor = "multi_thread")]
async fn another_table_under_the_name_takes_over_its_topic() {
    let database = Database::new().await;
    database.execute(super::TABLE).await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b')").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    database
        .execute(
            "CREATE TABLE filled LIKE orders;
             INSERT INTO filled VALUES (2, 20, 'c'), (3, 30, 'd');
             RENAME TABLE orders TO away, filled TO orders",
        )
        .await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    database.execute("INSERT INTO orders VALUES (4, 40, 'e')").await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    verified(&daemon);
}

/// At MySQL, which has no such tables, it is an ordinary one.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_system_versioned_table_the_rows_that_hold_are_carried() {
    let database = Database::new().await;
    database.execute(&format!("{} /*M! WITH SYSTEM VERSIONING */", super::TABLE)).await;
    database
        .execute(
            "INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c');
             UPDATE orders SET n = 20 WHERE id = 2;
             DELETE FROM orders WHERE id = 3",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    let topic = database.topic("orders");
    equals(&daemon, &topic, &database.rows("orders").await).await;
    database
        .execute(
            "UPDATE orders SET n = n + 1;
             INSERT INTO orders VALUES (3, 3, 'c'), (4, 4, 'd');
             UPDATE orders SET id = 5 WHERE id = 4;
             DELETE FROM orders WHERE id = 1",
        )
        .await;
    equals(&daemon, &topic, &database.rows("orders").await).await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_and_invisible_columns_are_as_the_log_has_them() {
    let database = Database::new().await;
    let invisible = if database.is_mariadb().await {
        "hidden INT INVISIBLE"
    } else {
        "hidden INT DEFAULT NULL INVISIBLE"
    };
    database
        .execute(&format!(
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, n INT, {invisible},
                                  twice INT AS (n * 2) STORED, thrice INT AS (n * 3) VIRTUAL);
             INSERT INTO orders (id, n, hidden) VALUES (1, 1, 10)"
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &of_orders(&database)).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders (id, n, hidden) VALUES (2, 2, 20); UPDATE orders SET n = n + 1",
        )
        .await;
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
    verified(&daemon);
}
