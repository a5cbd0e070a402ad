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
    let path = "/contexts/.c/tidemesh/v1/consumers/subjects/subjects/later";
    server.put(path, json!({})).await.code(404, 40401);
    server.register(":.c:a", "\"int\"").await;
    let made = server.put(path, json!({})).await.ok();
    assert_eq!(made, json!({"consumer": "subjects", "subject": ":.c:later"}));
    let large: Vec<String> = (0..1000).map(|n| format!("{n}{}", "x".repeat(70))).collect();
    server
        .put("/tidemesh/v1/consumers/c/subjects/l", json!({"fields": large}))
        .await
        .code(422, 422);
}

#[tokio::test]
async fn within_a_context_its_own_subjects_are_meant() {
    let server = Server::start().await;
    prepare(&server).await;
    server.register(":.c:orders-value", &record("order", &[ID])).await;
    server.put(&at("all"), json!({})).await.ok();
    let own = "/contexts/.c/tidemesh/v1/consumers/c/subjects/orders-value";
    let made = server.put(own, json!({})).await.ok();
    assert_eq!(made["subject"], ":.c:orders-value");
    let list = async |path: &str| server.get(path).await.ok();
    assert_eq!(list("/contexts/.c/tidemesh/v1/consumers").await, json!([made]));
    let of_one = "/contexts/.c/tidemesh/v1/consumers?subject=orders-value";
    assert_eq!(list(of_one).await, json!([made]));
    let mut body = order(&[ID]);
    body["subject"] = json!("orders-value");
    let path = format!("/contexts/.c{EXPLAIN}");
    let answer = server.post(&path, body).await.ok();
    assert_eq!(answer["subject"], ":.c:orders-value");
    assert_eq!(answer["consumers"][0]["effect"], "unaffected");
    server.delete("/subjects/:.c:orders-value").await.ok();
    server.delete("/subjects/:.c:orders-value?permanent=true").await.ok();
    server.put("/tidemesh/v1/consumers/d/subjects/:.c:later", json!({})).await.ok();
    assert_eq!(server.delete("/contexts/.c").await.status, 204);
    server.register(":.c:a", "\"int\"").await;
    assert_eq!(list("/contexts/.c/tidemesh/v1/consumers").await, json!([]));
}

#[tokio::test]
async fn a_version_that_gets_another_number_is_still_what_its_consumer_reads_with() {
    let server = Server::start().await;
    prepare(&server).await;
    server.put(&at("old"), json!({"version": 1, "fields": ["zip"]})).await.ok();
    server.register("orders-value", &record("order", &[ID, ZIP])).await;
    server.delete("/subjects/orders-value/versions/1").await.ok();
    server.register("orders-value", &record("order", &[ID, ZIP, NOTE])).await;
    assert_eq!(server.get(&at("old")).await.ok()["version"], 3);
}

#[tokio::test]
async fn into_a_subject_that_imports_a_consumer_comes_as_it_is() {
    let server = Server::start().await;
    prepare(&server).await;
    let stale = json!({"fields": ["gone"], "version": 9});
    server.put(&at("c"), stale.clone()).await.code(404, 40402);
    server.put("/mode/orders-value?force=true", json!({"mode": "IMPORT"})).await.ok();
    server.put(&at("c"), stale).await.ok();
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
            if subject != "orders-value" {
                return Ok(Vec::new());
            }
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
    // As much as nobody looks at all of it, or of schemas that are not the subject's: every version
    // counts.
    for unknown in [None, Some(&[first + 100][..])] {
        log.tells(&[("reports", unknown)]);
        register(&server, &with_place).await.code(409, 40901);
    }
    log.tells(&[("reports", Some(&[]))]);
    register(&server, &with_place).await.ok();
}

#[tokio::test]
async fn the_topic_of_an_alias_has_the_subjects_data_too() {
    let log = Arc::new(Log::default());
    let server = Server::start_watching(Arc::clone(&log) as Arc<dyn GroupWatch>).await;
    log.tells(&[("reports", Some(&[]))]);
    server.register("com.shop.Order", &record("order", &[ID, ZIP])).await;
    server.put("/config/com.shop.Order", json!({"compatibility": "CONSUMERS"})).await.ok();
    server.put("/config/orders-value", json!({"alias": "com.shop.Order"})).await.ok();
    let message = register(&server, &order(&[ID])).await.code(409, 40901);
    assert!(message.contains("{consumer: 'reports'"), "{message}");
}

#[tokio::test]
async fn nothing_is_judged_while_the_log_does_not_answer() {
    let log = Arc::new(Log::default());
    let server = Server::start_watching(log).await;
    prepare(&server).await;
    let message = register(&server, &order(&[ID])).await.code(500, 50001);
    assert!(message.contains("nothing is judged"), "{message}");
    // What does not depend on it is answered all the same.
    let mut body = order(&[ID]);
    body["subject"] = json!("orders-value");
    server.post(EXPLAIN, body.clone()).await.code(500, 50001);
    body["compatibility"] = json!("BACKWARD");
    assert_eq!(server.post(EXPLAIN, body).await.ok()["is_compatible"], true);
    server.put("/config/orders-value", json!({"compatibility": "NONE"})).await.ok();
    register(&server, &order(&[ID])).await.ok();
}
