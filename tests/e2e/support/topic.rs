//! What a topic holds, read by the command line as a user would.

use super::daemon::Daemon;
use super::eventually;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Every record of a topic, as `tidemesh topic read` prints them; none if there is no topic yet.
pub(crate) fn records(daemon: &Daemon, topic: &str) -> Vec<Json> {
    read(daemon, topic, "earliest")
}

/// The same from this offset on.
pub(crate) fn records_from(daemon: &Daemon, topic: &str, offset: u64) -> Vec<Json> {
    read(daemon, topic, &offset.to_string())
}

fn read(daemon: &Daemon, topic: &str, from: &str) -> Vec<Json> {
    let output = daemon.command(&["topic", "read", topic, "--from", from]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The latest row of each key.
pub(crate) fn fold(records: &[Json]) -> BTreeMap<String, Json> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key = record["key"].to_string();
        let after = &record["value"]["after"];
        if after.is_null() {
            rows.remove(&key);
        } else {
            rows.insert(key, after.clone());
        }
    }
    rows
}

/// Waits until the topic's rows are these, each by its key.
pub(crate) async fn equals(
    daemon: &Daemon,
    topic: &str,
    rows: &BTreeMap<String, Json>,
) -> Vec<Json> {
    let mut last = BTreeMap::new();
    let found = tokio::time::timeout(
        super::PATIENCE,
        eventually("the topic's rows are the table's", async || {
            let records = records(daemon, topic);
            last = fold(&records);
            (last == *rows).then_some(records)
        }),
    );
    found.await.unwrap_or_else(|_| panic!("the topic has {last:?}, the table {rows:?}"))
}
