//! A change judged by those that read the topic: the real log's groups, what they have yet to read.

use crate::support::daemon::Daemon;
use crate::support::kafka::{on_kafka, prefix};
use serde_json::{Value as Json, json};
use tidemesh_transport::{
    Append, GroupOffset, PartitionBatch, Records, RemoteTransport, TopicConfig, Transport,
};

fn order(fields: &[&str]) -> Json {
    let fields: Vec<Json> =
        fields.iter().map(|name| json!({"name": name, "type": "string"})).collect();
    let schema = json!({"type": "record", "name": "order", "fields": fields});
    json!({"schema": schema.to_string()})
}

async fn send(daemon: &Daemon, method: reqwest::Method, path: &str, body: &Json) -> (u16, Json) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", daemon.registry));
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Where a group goes on.
async fn commit(log: &RemoteTransport, group: &str, offset: u64) {
    let (group, topic) = (group.to_owned(), "orders".to_owned());
    let offsets = vec![GroupOffset { group, topic, partition: 0, offset }];
    log.append(Append { offsets, ..Append::default() }).await.unwrap();
}

const CONFIG: &str = "data_dir = \"data\"\nregistry.listen = \"127.0.0.1:0\"\n\
    control.listen = \"127.0.0.1:0\"\ndata.listen = \"127.0.0.1:0\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_reads_the_topic_is_not_hurt_and_what_it_has_yet_to_read_counts() {
    judged_by_a_logs_groups(CONFIG, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_over_kafka() {
    let config = on_kafka(&format!("{CONFIG}[[source]]\n"), "");
    let config = config.split("[[source]]").next().unwrap();
    judged_by_a_logs_groups(config, &prefix(config)).await;
}

/// `prefix` is what stands before names of topics and groups beside us.
async fn judged_by_a_logs_groups(config: &str, prefix: &str) {
    let (subject, group) = (format!("{prefix}orders-value"), format!("{prefix}billing"));
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), config).await;
    let put = async |path: &str, body: Json| send(&daemon, reqwest::Method::PUT, path, &body).await;
    let register = async |schema: &Json| {
        let path = format!("/subjects/{subject}/versions");
        send(&daemon, reqwest::Method::POST, &path, schema).await
    };
    let (status, made) = register(&order(&["id", "zip"])).await;
    assert_eq!(status, 200, "{made}");
    let level = json!({"compatibility": "CONSUMERS"});
    assert_eq!(put(&format!("/config/{subject}"), level).await.0, 200);

    let endpoints = daemon.logged("listening").await;
    let log = RemoteTransport::new(endpoints["data"].as_str().unwrap()).unwrap();
    log.create_topic("orders", &TopicConfig::default()).await.unwrap();
    let mut records = Records::default();
    let id = u32::try_from(made["id"].as_u64().unwrap()).unwrap();
    let head = tidemesh_avro::frame::head(id);
    records.push(0, Some(b"k"), &[], Some(&[&head[..], &[2, b'1', 2, b'9']].concat())).unwrap();
    let batches = vec![PartitionBatch { topic: "orders".into(), partition: 0, records }];
    log.append(Append { batches, ..Append::default() }).await.unwrap();

    // Nobody reads it: nobody is hurt. Then a group comes that has registered nothing.
    let dry = async |schema: &Json| {
        let path = format!("/compatibility/subjects/{subject}/versions?verbose=true");
        let (status, answer) = send(&daemon, reqwest::Method::POST, &path, schema).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let without_zip = order(&["id"]);
    assert_eq!(dry(&without_zip).await["is_compatible"], true);
    commit(&log, "billing", 0).await;
    let answer = dry(&without_zip).await;
    assert!(answer["messages"].to_string().contains(&format!("{{consumer: '{group}'")), "{answer}");
    let (status, refused) = register(&without_zip).await;
    assert_eq!((status, &refused["error_code"]), (409, &json!(40901)), "{refused}");

    // It has yet to read a record that lacks the new field, which has no default.
    let with_city = order(&["id", "zip", "city"]);
    let (status, refused) = register(&with_city).await;
    assert_eq!(status, 409);
    assert!(refused["message"].as_str().unwrap().contains("version 1, which it has yet to read"));
    commit(&log, "billing", 1).await;
    assert_eq!(register(&with_city).await.0, 200);

    // It says what it reads.
    let path = format!("/tidemesh/v1/consumers/billing/subjects/{subject}");
    assert_eq!(put(&path, json!({"fields": ["id"], "group": group})).await.0, 200);
    assert_eq!(register(&without_zip).await.0, 200);
}
