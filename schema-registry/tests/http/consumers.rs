//! Judging by what is really read.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidemesh_model::{Error, ErrorKind};
use tidemesh_schema_registry::{Group, GroupWatch};

use crate::server::{Server, record};

const EXPLAIN: &str = "/tidemesh/v1/compatibility/explain";

fn at(consumer: &str) -> String {
    format!("/tidemesh/v1/consumers/{consumer}/subjects/orders-value")
}

fn order(fields: &[(&str, &str)]) -> Value {
    json!({"schema": record("order", fields)})
}

const ID: (&str, &str) = ("id", "\"long\"");
const ZIP: (&str, &str) = ("zip", "\"string\"");
const NOTE: (&str, &str) = ("note", "\"string\"");

/// A subject with three fields, judged by its consumers.
async fn prepare(server: &Server) {
    server.register("orders-value", &record("order", &[ID, ZIP, NOTE])).await;
    server.put("/config/orders-value", json!({"compatibility": "consumers"})).await.ok();
    let config = server.get("/config/orders-value").await.ok();
    assert_eq!(config, json!({"compatibilityLevel": "CONSUMERS"}));
}

async fn register(server: &Server, schema: &Value) -> crate::server::Answer {
    server.post("/subjects/orders-value/versions", schema.clone()).await
}

#[tokio::test]
async fn a_field_that_nobody_reads_can_go_and_one_that_is_read_cannot() {
    let server = Server::start().await;
    prepare(&server).await;
    server.put(&at("billing"), json!({"fields": ["id", "zip"]})).await.ok();
    server.put(&at("audit"), json!({"fields": ["id"]})).await.ok();
    let without_zip = order(&[ID, NOTE]);
    let message = register(&server, &without_zip).await.code(409, 40901);
    assert!(
        message.contains("{consumer: 'billing', cannotRead: 'data of the new schema'"),
        "{message}"
    );
    assert!(message.contains("field: 'zip'") && !message.contains("'audit'"), "{message}");
    let check = "/compatibility/subjects/orders-value/versions";
    let judged = async |schema: &Value| server.post(check, schema.clone()).await.ok();
    assert_eq!(judged(&without_zip).await, json!({"is_compatible": false}));
    let without_note = order(&[ID, ZIP]);
    assert_eq!(judged(&without_note).await, json!({"is_compatible": true}));
    register(&server, &without_note).await.ok();
    server.delete(&at("billing")).await.ok();
    register(&server, &order(&[ID])).await.ok();
}

#[tokio::test]
async fn a_dry_run_says_of_each_what_becomes_of_it_whatever_the_level() {
    let server = Server::start().await;
    prepare(&server).await;
    server.put(&at("billing"), json!({"fields": ["zip"]})).await.ok();
    server.put(&at("audit"), json!({"fields": ["id"]})).await.ok();
    let mut body = order(&[ID, NOTE]);
    body["subject"] = json!("orders-value");
    let effects = async |level: &str| {
        let mut body = body.clone();
        body["compatibility"] = json!(level);
        let answer = server.post(EXPLAIN, body).await.ok();
        let effects: Vec<_> = answer["consumers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|each| (each["consumer"].clone(), each["effect"].clone()))
            .collect();
        (answer["is_compatible"].clone(), effects)
    };
    let told = vec![(json!("audit"), json!("unaffected")), (json!("billing"), json!("hurt"))];
    assert_eq!(effects("CONSUMERS").await, (json!(false), told.clone()));
    assert_eq!(effects("BACKWARD").await, (json!(true), told));
    assert_eq!(server.get("/subjects/orders-value/versions").await.ok(), json!([1]));
}

#[tokio::test]
async fn a_consumer_is_kept_over_a_restart_and_goes_with_its_subject() {
    let server = Server::start().await;
    prepare(&server).await;
    let registered =
        server.put(&at("billing"), json!({"fields": ["zip", "id"], "group": "b-1"})).await.ok();
    let expected = json!({"consumer": "billing", "subject": "orders-value", "fields": ["id", "zip"], "group": "b-1"});
    assert_eq!(registered, expected);
    server.put(&at("all"), json!({"version": 1})).await.ok();
    let server = server.restart().await;
    assert_eq!(server.get(&at("billing")).await.ok(), expected);
    let list = server.get("/tidemesh/v1/consumers?subject=orders-value").await.ok();
    let all = json!({"consumer": "all", "subject": "orders-value", "version": 1});
    assert_eq!(list, json!([all, expected]));
    assert_eq!(server.get("/tidemesh/v1/consumers").await.ok(), list);
    assert_eq!(server.get("/tidemesh/v1/consumers?offset=1&limit=1").await.ok(), json!([expected]));
    server.delete("/subjects/orders-value").await.ok();
    assert_eq!(server.get(&at("billing")).await.ok(), expected);
    server.delete("/subjects/orders-value?permanent=true").await.ok();
    let message = server.get(&at("billing")).await.code(404, 40411);
    assert_eq!(message, "Consumer 'billing' of subject 'orders-value' not found.");
}

#[tokio::test]
async fn what_is_no_consumer_is_refused_with_its_place() {
    let server = Server::start().await;
    prepare(&server).await;
    let refused = async |body: Value| server.put(&at("billing"), body).await;
    let message = refused(json!({"fields": ["zop"]})).await.code(422, 422);
    assert!(message.contains("no field `zop`") && message.contains("zip"), "{message}");
    refused(json!({"fields": ["a..b"]})).await.code(422, 422);
    refused(json!({"fields": "zip"})).await.code(400, 400);
    refused(json!({"version": -1})).await.code(400, 400);
    refused(json!({"version": 7})).await.code(404, 40402);
    refused(json!({"feilds": []})).await.code(422, 422);
    let long = "x".repeat(256);
    server.put(&at(&long), json!({})).await.code(422, 422);
    server.delete(&at("billing")).await.code(404, 40411);
    // A subject that is not there yet may have consumers; whether it has the fields is not known.
    server.put("/tidemesh/v1/consumers/c/subjects/later", json!({"fields": ["x"]})).await.ok();
    let path = "/contexts/.c/tidemesh/v1/consumers/c/subjects/later";
    let made = server.put(path, json!({})).await.ok();
    assert_eq!(made["subject"], ":.c:later");
}

#[tokio::test]
async fn a_consumer_with_a_schema_of_its_own_is_judged_by_that() {
    let server = Server::start().await;
    prepare(&server).await;
    server.put(&at("old"), json!({"version": 1, "fields": ["zip"]})).await.ok();
    let renamed = json!({"schema": r#"{"type":"record","name":"order","fields":[
        {"name":"id","type":"long"},{"name":"code","type":"string","aliases":["zip"]}]}"#});
    let message = register(&server, &renamed).await.code(409, 40901);
    assert!(message.contains("{consumer: 'old'"), "{message}");
}

/// A log that a test writes.
#[derive(Debug, Default)]
struct Log(Mutex<Option<Vec<Group>>>);

impl Log {
    fn tells(&self, groups: &[(&str, Option<&[u32]>)]) {
        let group = |(name, pending): &(&str, Option<&[u32]>)| Group {
            name: (*name).to_owned(),
            pending: pending.map(|ids| ids.iter().copied().collect::<BTreeSet<u32>>()),
        };
        *self.0.lock().expect("no panic") = Some(groups.iter().map(group).collect());
    }
}

impl GroupWatch for Log {
    fn groups<'a>(
        &'a self,
        subject: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Group>, Error>> + Send + 'a>> {
        Box::pin(async move {
            assert_eq!(subject, "orders-value");
            let away = || Error::new(ErrorKind::Unavailable, "ask the log");
            self.0.lock().expect("no panic").clone().ok_or_else(away)
        })
    }
}

#[tokio::test]
async fn a_group_that_has_registered_nothing_reads_everything() {
    let log = Arc::new(Log::default());
    let server = Server::start_watching(Arc::clone(&log) as Arc<dyn GroupWatch>).await;
    prepare(&server).await;
    log.tells(&[("reports", Some(&[]))]);
    let without_note = order(&[ID, ZIP]);
    let message = register(&server, &without_note).await.code(409, 40901);
    assert!(message.contains("{consumer: 'reports'") && message.contains("'note'"), "{message}");
    // It says what it reads; the group is known under another name.
    server.put(&at("reporting"), json!({"fields": ["id"], "group": "reports"})).await.ok();
    register(&server, &without_note).await.ok();
}

#[tokio::test]
async fn what_is_yet_to_be_read_counts() {
    let log = Arc::new(Log::default());
    let server = Server::start_watching(Arc::clone(&log) as Arc<dyn GroupWatch>).await;
    prepare(&server).await;
    server.put(&at("billing"), json!({"fields": ["zip"]})).await.ok();
    let first = server.get("/subjects/orders-value/versions/1").await.ok()["id"].as_u64().unwrap();
    let first = u32::try_from(first).unwrap();
    // A new field without a default: whoever follows the newest schema cannot read older data.
    let with_place = order(&[ID, ZIP, NOTE, ("place", "\"string\"")]);
    log.tells(&[("billing", Some(&[first])), ("reports", Some(&[first]))]);
    let message = register(&server, &with_place).await.code(409, 40901);
    assert!(
        message.contains("'reports', cannotRead: 'data of version 1, which it has yet to read'"),
        "{message}"
    );
    assert!(!message.contains("'billing'"), "it does not read the field: {message}");
    // As much as nobody looks at all of it: every version counts.
    log.tells(&[("reports", None)]);
    register(&server, &with_place).await.code(409, 40901);
    log.tells(&[("reports", Some(&[]))]);
    register(&server, &with_place).await.ok();
}

#[tokio::test]
async fn nothing_is_judged_while_the_log_does_not_answer() {
    let log = Arc::new(Log::default());
    let server = Server::start_watching(log).await;
    prepare(&server).await;
    let message = register(&server, &order(&[ID])).await.code(500, 50001);
    assert!(message.contains("nothing is judged"), "{message}");
    server.put("/config/orders-value", json!({"compatibility": "NONE"})).await.ok();
    register(&server, &order(&[ID])).await.ok();
}
