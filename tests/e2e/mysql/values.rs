//! Values of every type: as the server prints them they are in the topic, by the log and by a snapshot.

use crate::support::daemon::{Daemon, verified};
use crate::support::eventually;
use crate::support::mysql::Database;
use crate::support::topic::{fold, records};
use serde_json::{Value as Json, json};

/// Columns and values, each with what a topic's record has of it.
fn cases() -> Vec<(&'static str, &'static str, Json)> {
    vec![
        ("TINYINT", "-128", json!(-128)),
        ("TINYINT UNSIGNED", "255", json!(255)),
        ("SMALLINT", "-32768", json!(-32_768)),
        ("SMALLINT UNSIGNED", "65535", json!(65_535)),
        ("MEDIUMINT", "-8388608", json!(-8_388_608)),
        ("MEDIUMINT UNSIGNED", "16777215", json!(16_777_215)),
        ("INT", "-2147483648", json!(-2_147_483_648_i64)),
        ("INT UNSIGNED", "4294967295", json!(4_294_967_295_i64)),
        ("BIGINT", "-9223372036854775808", json!(i64::MIN)),
        ("BIGINT UNSIGNED", "18446744073709551615", json!("18446744073709551615")),
        (
            "DECIMAL(30,10)",
            "-12345678901234567890.0123456789",
            json!("-12345678901234567890.0123456789"),
        ),
        (
            "DECIMAL(65,30)",
            "0.000000000000000000000000000001",
            json!("0.000000000000000000000000000001"),
        ),
        ("FLOAT", "1.5", json!(1.5)),
        ("DOUBLE", "-2.5e300", json!(-2.5e300)),
        ("VARCHAR(20)", "'plain 🚲'", json!("plain 🚲")),
        ("VARCHAR(20) CHARACTER SET latin1", "'café'", json!("café")),
        ("CHAR(5) CHARACTER SET utf8mb4", "'ab'", json!("ab")),
        ("MEDIUMTEXT", "REPEAT('x', 1000)", json!("x".repeat(1000))),
        ("ENUM('small','it''s')", "'it''s'", json!("it's")),
        ("SET('a','b','c')", "'a,c'", Json::Null),
        ("YEAR", "2155", json!(2155)),
        ("DATE", "'2024-02-29'", Json::Null),
        ("DATETIME(6)", "'2024-02-29 23:59:59.999999'", Json::Null),
        ("DATETIME", "'1000-01-01 00:00:00'", Json::Null),
        ("TIMESTAMP(3) NULL", "'2024-02-29 23:59:59.123'", Json::Null),
        ("TIME(3)", "'-838:59:58.999'", json!("-838:59:58.999")),
        ("BINARY(4)", "x'0100'", Json::Null),
        ("VARBINARY(10)", "x'00ff00'", Json::Null),
        ("LONGBLOB", "REPEAT(x'fe', 300)", Json::Null),
        ("BIT(1)", "b'1'", Json::Null),
        ("BIT(10)", "b'1000000011'", Json::Null),
        ("JSON", "'{\"a\": [1, 2.5, null, \"é\"]}'", Json::Null),
        ("POINT", "ST_GeomFromText('POINT(1 2)')", Json::Null),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_come_by_the_log_and_by_snapshots_alike() {
    let mut cases = cases();
    let database = Database::new().await;
    if database.is_mariadb().await {
        cases.push((
            "UUID",
            "'123e4567-e89b-12d3-a456-426655440000'",
            json!("123e4567-e89b-12d3-a456-426655440000"),
        ));
        cases.push(("INET6", "'2001:db8::ff00:42:8329'", json!("2001:db8::ff00:42:8329")));
        cases.push(("VARCHAR(100) COMPRESSED", "'compressed'", json!("compressed")));
    }
    let column = |(index, (kind, _, _)): (usize, &(&str, &str, Json))| format!("c{index} {kind}");
    let columns: Vec<String> = cases.iter().enumerate().map(column).collect();
    let values: Vec<&str> = cases.iter().map(|(_, value, _)| *value).collect();
    let (columns, values) = (columns.join(", "), values.join(", "));
    database
        .execute(&format!(
            "CREATE TABLE all_types (id INT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4"
        ))
        .await;
    let insert = |id: u32| format!("INSERT INTO all_types VALUES ({id}, {values})");
    database.execute(&insert(1)).await;
    database.execute("INSERT INTO all_types (id) VALUES (2)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = database.configuration(&["all_types"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute(&insert(3)).await;
    let topic = database.topic("all_types");
    let found = eventually("log and snapshot have told the rows", async || {
        let found = records(&daemon, &topic);
        (found.len() >= 3).then_some(found)
    })
    .await;
    let row = |id: i64| {
        let record = found.iter().find(|record| record["key"]["id"] == id).unwrap();
        record["value"]["after"].clone()
    };
    let (read, created, nulls) = (row(1), row(3), row(2));
    for (index, (kind, _, expected)) in cases.iter().enumerate() {
        let name = format!("c{index}");
        assert_eq!(read[&name], created[&name], "{kind}: the log and the snapshot");
        assert!(!read[&name].is_null(), "{kind}");
        assert!(nulls[&name].is_null(), "{kind}");
        if !expected.is_null() {
            assert_eq!(&read[&name], expected, "{kind}");
        }
    }
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_of_any_letters_are_carried() {
    let database = Database::new().await;
    database
        .execute(
            "CREATE TABLE `straße` (id INT PRIMARY KEY, `größe` INT, `select` VARCHAR(10))
                 CHARACTER SET utf8mb4;
             INSERT INTO `straße` VALUES (1, 2, 'süß')",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &database.configuration(&["straße"], "")).await;
    daemon.streaming().await;
    database.execute("UPDATE `straße` SET `select` = 'heiß'").await;
    let topic = database.topic("stra_u00dfe");
    let rows = eventually("the change is told", async || {
        let rows = fold(&records(&daemon, &topic));
        rows.values().any(|row| row["select"] == "heiß").then_some(rows)
    })
    .await;
    assert_eq!(rows.len(), 1);
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_every_charset_are_those_that_the_server_shows() {
    const CHARSETS: [(&str, &str); 12] = [
        ("latin1", "café €"),
        ("latin2", "žluťoučký"),
        ("cp1251", "привет"),
        ("greek", "γειά"),
        ("hebrew", "שלום"),
        ("sjis", "日本語"),
        ("ujis", "日本語"),
        ("gbk", "中文"),
        ("big5", "中文"),
        ("euckr", "한국어"),
        ("utf16", "𝄞 clef"),
        ("utf8mb4", "🚲"),
    ];
    let database = Database::new().await;
    let column =
        |(charset, _): &(&str, &str)| format!("`{charset}` VARCHAR(20) CHARACTER SET {charset}");
    let columns: Vec<String> = CHARSETS.iter().map(column).collect();
    let values: Vec<String> = CHARSETS.iter().map(|(_, text)| format!("'{text}'")).collect();
    database
        .execute(&format!("CREATE TABLE texts (id INT PRIMARY KEY, {})", columns.join(", ")))
        .await;
    let insert = |id: u32| format!("INSERT INTO texts VALUES ({id}, {})", values.join(", "));
    database.execute(&insert(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &database.configuration(&["texts"], "")).await;
    daemon.streaming().await;
    database.execute(&insert(2)).await;
    let topic = database.topic("texts");
    let rows = eventually("log and snapshot have told the rows", async || {
        let rows = fold(&records(&daemon, &topic));
        (rows.len() == 2).then_some(rows)
    })
    .await;
    for (charset, text) in CHARSETS {
        assert!(rows.values().all(|row| row[charset] == text), "{charset}: {rows:?}");
    }
    verified(&daemon);
}
