//! Why a schema may not follow: in the messages of Confluent's calls, and in our own.

use serde_json::{Value, json};

use crate::server::{Server, record};

const EXPLAIN: &str = "/tidemesh/v1/compatibility/explain";

/// A subject whose first version has `f` as a string; its second and third do not matter.
async fn history() -> Server {
    let server = Server::start().await;
    let level = async |name: &str| {
        server.put("/config/s", json!({"compatibility": name})).await.ok();
    };
    level("NONE").await;
    server.register("s", &record("r", &[("f", "\"string\"")])).await;
    server.register("s", &record("r", &[("f", "\"int\"")])).await;
    server.register("s", &record("r", &[("f", "\"long\"")])).await;
    level("BACKWARD_TRANSITIVE").await;
    server
}

fn new() -> String {
    record("r", &[("f", "\"long\""), ("g", "[\"null\",\"int\"]")])
        .replace("[\"null\",\"int\"]}", "[\"null\",\"int\"],\"default\":null}")
}

#[tokio::test]
async fn messages_name_the_version_that_broke_the_place_and_a_change() {
    let server = history().await;
    let path = "/compatibility/subjects/s/versions?verbose=true";
    let answer = server.post(path, json!({"schema": new()})).await.ok();
    let messages: Vec<&str> =
        answer["messages"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    assert_eq!(answer["is_compatible"], json!(false), "{answer}");
    assert!(messages[0].starts_with("{errorType:'TYPE_MISMATCH'"), "Confluent's first: {answer}");
    let expected = "{rule: 'TYPE_MISMATCH', path: '/fields/0/type', field: 'f', \
                    readerType: 'long', writerType: 'string', direction: 'BACKWARD', \
                    oldSchemaVersion: 1, suggestion: '";
    assert!(messages[1].starts_with(expected), "{answer}");
    let of_others = messages.iter().filter(|message| message.contains("oldSchemaVersion: 2"));
    assert_eq!(of_others.count(), 0, "only the first version breaks: {answer}");
    let refused = server.post("/subjects/s/versions", json!({"schema": new()})).await;
    assert!(refused.code(409, 40901).contains(expected));
}

#[tokio::test]
async fn an_explanation_has_a_record_that_shows_the_break() {
    let server = history().await;
    let body = json!({"subject": "s", "schema": new()});
    let answer = server.post(EXPLAIN, body).await.ok();
    assert_eq!(answer["compatibility"], "BACKWARD_TRANSITIVE");
    assert_eq!(answer["explanations"].as_array().map(Vec::len), Some(1), "{answer}");
    let explanation = &answer["explanations"][0];
    assert_eq!(
        (&explanation["version"], &explanation["direction"]),
        (&json!(1), &json!("BACKWARD"))
    );
    assert_eq!(explanation["witness"]["record"], json!({"f": ""}));
    assert_eq!(explanation["witness"]["hex"], "00");
    let finding = &explanation["findings"][0];
    assert_eq!(finding["rule"], "TYPE_MISMATCH");
    assert_eq!(
        (&finding["reader_path"], &finding["writer_path"]),
        (&json!("/fields/0/type"), &json!("/fields/0/type"))
    );
    assert!(!finding["suggestion"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn another_level_or_one_version_can_be_asked_about() {
    let server = history().await;
    let judge = async |more: Value| {
        let mut body = json!({"subject": "s", "schema": new()});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post(EXPLAIN, body).await.ok()["is_compatible"].clone()
    };
    assert_eq!(judge(json!({})).await, json!(false));
    assert_eq!(judge(json!({"compatibility": "backward"})).await, json!(true));
    assert_eq!(judge(json!({"compatibility": "NONE"})).await, json!(true));
    assert_eq!(judge(json!({"version": 1})).await, json!(false));
    assert_eq!(judge(json!({"version": "latest"})).await, json!(true));
    let refused = async |body: Value| server.post(EXPLAIN, body).await;
    refused(json!({"subject": "s", "schema": new(), "version": 9})).await.code(404, 40402);
    refused(json!({"subject": "s", "schema": new(), "compatibility": "x"})).await.code(422, 42203);
    refused(json!({"subject": "s", "schema": "{"})).await.code(422, 42201);
    refused(json!({"schema": new()})).await.code(400, 400);
    refused(json!({"subject": "s", "scheme": new()})).await.code(422, 422);
}

#[tokio::test]
async fn a_break_within_a_branch_is_told_where_it_is() {
    let server = Server::start().await;
    let zip = |zip: &str| format!("[\"null\",{}]", record("address", &[("zip", zip)]));
    server.register("s", &record("r", &[("a", &zip("\"string\""))])).await;
    let body = json!({"subject": "s", "schema": record("r", &[("a", &zip("\"int\""))])});
    let answer = server.post(EXPLAIN, body.clone()).await.ok();
    let finding = &answer["explanations"][0]["findings"][0];
    assert_eq!(finding["rule"], "MISSING_UNION_BRANCH");
    assert_eq!(finding["causes"][0]["field"], "a.zip");
    assert_eq!(finding["causes"][0]["reader_path"], "/fields/0/type/1/fields/0/type");
    let path = "/compatibility/subjects/s/versions?verbose=true";
    let answer = server.post(path, json!({"schema": body["schema"]})).await.ok();
    assert!(answer["messages"].to_string().contains("field: 'a.zip'"), "{answer}");
}
