//! What a truncate becomes, by `truncate`; the default on compacted topics is in `streaming`.

use crate::streaming::rows;
use crate::support::daemon::{Daemon, configuration, verified, with};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::Database;
use crate::support::topic::records;

const TOPIC: &str = "shop.public.orders";

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n int)";
const FILL: &str = "INSERT INTO orders SELECT g, g FROM generate_series(1, 100) g";

async fn event(over: impl Fn(&str) -> String) {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let topics = "topics.cleanup_policy = \"delete\"\ntopics.partitions = 3";
    let config = over(&with(&configuration(&database, &["public.orders"], ""), topics));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database
        .execute(
            "TRUNCATE orders; INSERT INTO orders SELECT g, -g FROM generate_series(50, 60) g;
             UPDATE orders SET n = 0 WHERE id = 55",
        )
        .await;
    let verdict = verified(&daemon);
    assert_eq!(verdict["tables"][0]["rows"], 11, "{verdict}");
    let told = records(&daemon, TOPIC);
    let truncates: Vec<_> = told.iter().filter(|record| record["value"]["op"] == "t").collect();
    assert_eq!(truncates.len(), 3, "one a partition: {truncates:?}");
    for record in truncates {
        assert!(record["key"].is_null() && record["value"]["after"].is_null(), "{record}");
        assert!(record["value"]["source"]["table"] == "orders", "{record}");
    }
    assert!(told.iter().all(|record| record["value"]["op"] != "d"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_every_partition_tells_it_where_records_need_no_key() {
    event(str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_over_kafka() {
    event(|config| on_kafka(config, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_it_leaves_rows_that_verify_names() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute(FILL).await;
    let folder = tempfile::tempdir().unwrap();
    let config = with(&configuration(&database, &["public.orders"], ""), "truncate = \"skip\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    verified(&daemon);
    database.execute("TRUNCATE orders; INSERT INTO orders VALUES (7, 70)").await;
    daemon.logged("a truncate is skipped: its topic keeps the rows").await;
    eventually("what follows comes", async || {
        let last = records(&daemon, TOPIC).pop()?;
        (last["value"]["after"] == rows(&database, "orders").await["{\"id\":7}"]).then_some(())
    })
    .await;
    let output = daemon.command(&["verify", "--source", "shop", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["tables"][0]["differing"], 99, "{verdict}");
}
