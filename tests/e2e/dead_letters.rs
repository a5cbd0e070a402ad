//! Rows that cannot be encoded: told in the dead-letter topic, with what can be said of them.

use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::{fold, records};
use serde_json::Value as Json;

const TOPIC: &str = "shop.public.orders";
const LETTERS: &str = "shop.dead_letters";

async fn letters(daemon: &Daemon, count: usize) -> Vec<Json> {
    eventually("the dead letters come", async || {
        let letters = records(daemon, LETTERS);
        (letters.len() == count).then_some(letters)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_no_decimal_can_be_goes_there() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE orders (id bigint PRIMARY KEY, price numeric(10, 2), note text)")
        .await;
    database
        .execute("INSERT INTO orders VALUES (1, 1.5, 'a'), (2, 'NaN', 'read'), (3, 3, 'b')")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "numeric_special = \"dead_letter\"");
    let config = with(&config, &format!("dead_letter_topic = \"{LETTERS}\""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let read = letters(&daemon, 1).await.remove(0)["value"].clone();
    assert_eq!((&read["op"], &read["table"]), (&"r".into(), &"orders".into()), "{read}");
    database
        .execute(
            "UPDATE orders SET price = 'NaN' WHERE id = 1;
             UPDATE orders SET note = 'c' WHERE id = 3; INSERT INTO orders VALUES (4, 4, 'd')",
        )
        .await;
    let told = letters(&daemon, 2).await.remove(1)["value"].clone();
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("is no number") && reason.contains("column=price"), "{reason}");
    let row: Json = serde_json::from_str(told["row"].as_str().unwrap()).unwrap();
    assert_eq!((&told["op"], &row["id"]), (&"u".into(), &1.into()), "{told}");
    eventually("what follows comes", async || {
        let rows = fold(&records(&daemon, TOPIC));
        let notes: Vec<&Json> = rows.values().map(|row| &row["note"]).collect();
        (notes == ["a", "c", "d"]).then_some(())
    })
    .await;
    assert_eq!(daemon.described()["dead_letters"], 2);
    let output = daemon.command(&["verify", "--source", "shop", "--json"]);
    let verdict: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["tables"][0]["differing"], 2, "it names what the topic lacks: {verdict}");
    database.execute("UPDATE orders SET price = 0 WHERE id < 3").await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_kafka_takes_goes_there() {
    let database = Database::new().await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let config = on_kafka(&with(&config, &format!("dead_letter_topic = \"{LETTERS}\"")), "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database
        .execute(
            "INSERT INTO orders VALUES (1, 'a'); INSERT INTO orders SELECT 2, repeat('x', 2000000);
             INSERT INTO orders SELECT 3, repeat('y', 1040000); INSERT INTO orders VALUES (4, 'b')",
        )
        .await;
    let letter = letters(&daemon, 1).await.remove(0)["value"].clone();
    let row: Json = serde_json::from_str(letter["row"].as_str().unwrap()).unwrap();
    assert_eq!(row["id"], 2);
    assert_eq!(row["note"].as_str().map(|note| note.chars().count()), Some(1001), "cut");
    assert!(letter["reason"].as_str().unwrap().contains("record_bytes_max"), "{letter}");
    eventually("what follows comes", async || {
        (fold(&records(&daemon, TOPIC)).len() == 3).then_some(())
    })
    .await;
    database.execute("DELETE FROM orders WHERE id = 2").await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_such_a_row_is_told_though_its_old_image_is_too() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE orders (id bigint PRIMARY KEY, price numeric(10, 2), note text)")
        .await;
    database.execute("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let config = on_kafka(&with(&config, &format!("dead_letter_topic = \"{LETTERS}\"")), "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // Else its snapshot finds the rows too, and they go there twice.
    daemon.logged("snapshot done").await;
    database
        .execute(
            "INSERT INTO orders SELECT g, 1, 'a' FROM generate_series(1, 8) g;
             UPDATE orders SET price = 'NaN' WHERE id < 3;
             UPDATE orders SET note = repeat('x', 2000000) WHERE id BETWEEN 3 AND 5",
        )
        .await;
    letters(&daemon, 5).await;
    // The old row of each of these cannot be written; the old key of one is deleted, whatever its row.
    database
        .execute(
            "UPDATE orders SET price = 2 WHERE id = 1; DELETE FROM orders WHERE id = 2;
             UPDATE orders SET note = 'b' WHERE id = 3; DELETE FROM orders WHERE id = 4;
             UPDATE orders SET note = 'c', id = 50 WHERE id = 5",
        )
        .await;
    verified(&daemon);
    letters(&daemon, 5).await;
    // A key that changes together with a row that is too large.
    database.execute("UPDATE orders SET note = repeat('y', 2000000), id = 60 WHERE id = 6").await;
    letters(&daemon, 6).await;
    database.execute("DELETE FROM orders WHERE id = 60").await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_row_it_has_the_first_columns_that_64_kib_hold_each_cut_and_marked() {
    const KIB_64: usize = 64 * 1024;
    let columns: Vec<String> = (0..100).map(|index| format!("c{index:02}")).collect();
    let database = Database::new().await;
    database
        .execute(&format!(
            "CREATE TABLE orders (id bigint PRIMARY KEY, {} text, price numeric(10, 2))",
            columns.join(" text, ")
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "numeric_special = \"dead_letter\"");
    let config = with(&config, &format!("dead_letter_topic = \"{LETTERS}\""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    // All of it is 300 KiB; a thousand characters of each column are 200 KiB.
    let texts = vec!["repeat('é', 1500)"; columns.len()].join(", ");
    database.execute(&format!("INSERT INTO orders SELECT 1, {texts}, 'NaN'")).await;
    let letter = letters(&daemon, 1).await.remove(0)["value"].clone();
    assert!(letter["reason"].as_str().unwrap().contains("column=price"), "{}", letter["reason"]);
    let row = letter["row"].as_str().unwrap();
    let cut = format!("{}…", "é".repeat(1000));
    assert!(row.len() <= KIB_64 && row.len() + cut.len() + 10 > KIB_64, "{} bytes", row.len());
    let row: serde_json::Map<String, Json> = serde_json::from_str(row).unwrap();
    assert_eq!(row["id"], 1);
    let shown: Vec<&String> = row.keys().skip(1).collect();
    assert!(!shown.is_empty() && shown.iter().zip(&columns).all(|(one, other)| *one == other));
    assert!(row.values().skip(1).all(|value| *value == cut), "each is cut and marked");
}
