//! Bad input and servers that are not set up: each with an error that says what is wrong and what to do,
//! and nothing lost.

use super::{TABLE, of_orders};
use crate::support::daemon::Daemon;
use crate::support::mysql::{Database, PASSWORD, Server};
use crate::support::topic::equals;

/// Why a source of this configuration stops.
async fn refused(configuration: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), configuration).await;
    let error = daemon.stopped_with().await;
    assert_eq!(daemon.source().await["state"], "stopped");
    assert!(!daemon.log_text().contains(PASSWORD), "a password is told");
    error
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "«{word}» is missing in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_the_right_one_taken() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let config = of_orders(&database);
    let wrong = config.replace(PASSWORD, "wrong-word");
    let error = refused(&wrong).await;
    assert_says(&error, &["Access denied", "1045"]);
    assert!(!error.contains("wrong-word"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_told_all_at_once() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let name = &database.name;
    database.execute(&format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {name}@'%'")).await;
    let error = refused(&of_orders(&database)).await;
    let says =
        ["GRANT REPLICATION SLAVE ON *.*", "GRANT SELECT ON", "may not ask where the log is"];
    assert_says(&error, &says);
    for statement in error.split("GRANT ").skip(1).filter_map(|part| part.split(';').next()) {
        database.execute(&format!("GRANT {statement}")).await;
    }
    let error = refused(&of_orders(&database)).await;
    assert_says(&error, &["watermarks", "CREATE TABLE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_is_told() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let error = refused(&database.configuration(&["orders", "ordres"], "")).await;
    assert_says(&error, &["ordres"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_set_up_is_told_by_statements_that_do() {
    let settings = "binlog-row-metadata=NO_LOG\nbinlog-format=STATEMENT";
    let server = Server::start(settings).await;
    let database = server.database().await;
    database.execute(TABLE).await;
    let config = of_orders(&database);
    let error = refused(&config).await;
    for (variable, value) in [("binlog_format", "ROW"), ("binlog_row_metadata", "FULL")] {
        let statement = format!("SET GLOBAL {variable} = {value};");
        assert_says(&error, &[&format!("{variable} is "), &statement]);
        server.execute(&statement).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    // In a session of its own: those before keep what they had.
    let database = database.at(&server).await;
    database.execute("INSERT INTO orders VALUES (1, 1, 'x')").await;
    equals(&daemon, &database.topic("orders"), &database.rows("orders").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_log_is_told_how_to_get_one() {
    let server = Server::start("skip-log-bin\nlog-slave-updates=OFF").await;
    let database = server.database().await;
    database.execute(TABLE).await;
    assert_says(&refused(&of_orders(&database)).await, &["log_bin is OFF", "restart"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_carried_stops_it_with_its_place() {
    let database = Database::new().await;
    database.execute("CREATE TABLE days (id INT PRIMARY KEY, day DATE)").await;
    let folder = tempfile::tempdir().unwrap();
    let config = database.configuration(&["days"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    database.execute("SET SESSION sql_mode = ''; INSERT INTO days VALUES (1, '0000-00-00')").await;
    let error = daemon.stopped_with().await;
    assert_says(&error, &["days", "day", "zero_dates"]);
    drop(daemon);
    let lenient = database.configuration(&["days"], "zero_dates = \"null\"");
    let daemon = Daemon::up(folder.path(), &lenient).await;
    daemon.streaming().await;
    let expected = std::collections::BTreeMap::from([(
        "{\"id\":1}".to_owned(),
        serde_json::json!({"id": 1, "day": null}),
    )]);
    equals(&daemon, &database.topic("days"), &expected).await;
}
