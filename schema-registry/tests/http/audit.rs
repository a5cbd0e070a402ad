//! The log of changes.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tidemesh_schema_registry::AuditConfig;

use crate::access::{Folder, guarded_with};
use crate::server::{CONTENT_TYPE, Server, answer};

async fn audited(required: bool) -> (Server, Folder, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let audit = AuditConfig { file: Some(file.clone()), required };
    let granted = ["user:ann admin * ", "user:bob read . "];
    let users = [("ann", ""), ("bob", "")];
    let (server, users) =
        guarded_with(&users, &granted, |security| security.audit = Some(audit)).await;
    drop(users);
    (server, folder, file)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_change_and_every_refusal_is_a_line_and_reading_is_none() {
    let (server, _folder, file) = audited(false).await;
    let [ann, bob] = ["ann", "bob"].map(|name| server.user(name, name));
    let request = ann.request(Method::POST, "/subjects/:.c:s/versions");
    let request = request.header("x-request-id", "r-1").header("content-type", CONTENT_TYPE);
    let sent = request.body(json!({"schema": "\"int\""}).to_string()).send().await.unwrap();
    assert_eq!(sent.headers()["x-request-id"], "r-1");
    answer(sent).await.ok();
    ann.get("/subjects").await.ok();
    ann.put("/config/s", json!({"compatibility": "FULL"})).await.ok();
    ann.post("/subjects/s/versions", json!({"schema": "{"})).await.code(422, 42201);
    ann.delete("/subjects/:.c:s").await.ok();
    ann.delete("/subjects/:.c:s?permanent=true").await.ok();
    bob.delete("/subjects/s").await.code(403, 40301);
    bob.get("/subjects/:.c:s/versions").await.code(403, 40301);
    server.user("bob", "a wrong secret").get("/subjects").await.code(401, 40101);

    let found = lines(&file);
    let told: Vec<Value> = found
        .iter()
        .map(|line| json!([line["principal"], line["method"], line["outcome"], line["status"]]))
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["ann", "POST", "done", 200],
            ["ann", "PUT", "done", 200],
            ["ann", "POST", "failed", 422],
            ["ann", "DELETE", "done", 200],
            ["ann", "DELETE", "done", 200],
            ["bob", "DELETE", "refused", 403],
            ["bob", "GET", "refused", 403],
            [null, "GET", "refused", 401],
        ])
    );
    let first = &found[0];
    assert_eq!(first["request_id"], "r-1");
    assert_eq!((&first["subject"], &first["context"]), (&json!(":.c:s"), &json!(".c")));
    assert_eq!((&first["id"], &first["version"]), (&json!(1), &json!(1)));
    assert_eq!(first["route"], "/subjects/{subject}/versions");
    assert!(first["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(first["time_ms"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(found[1]["setting"], "compatibility=FULL");
    assert_eq!(found[2]["error_code"], 42201);
    assert_eq!((&found[3]["version"], &found[4]["permanent"]), (&json!([1]), &json!(true)));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("secret") && !text.contains("Basic"), "{text}");
}

#[tokio::test]
async fn where_it_is_required_no_change_is_made_that_cannot_be_noted() {
    let (server, _folder, file) = audited(true).await;
    let ann = server.user("ann", "ann");
    ann.register("a", "\"int\"").await;
    let outcomes: Vec<Value> = lines(&file).iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["begun", "done"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let message = ann.post("/subjects/b/versions", json!({"schema": "\"long\""})).await;
    assert!(message.code(500, 50001).contains("nothing was changed"));
    ann.delete("/subjects/a").await.code(500, 50001);
    assert_eq!(ann.get("/subjects").await.ok(), json!(["a"]));
    std::fs::remove_dir(&file).unwrap();
    ann.register("b", "\"long\"").await;
}

#[tokio::test]
async fn where_it_is_not_required_a_change_is_made_all_the_same() {
    let (server, _folder, file) = audited(false).await;
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    server.user("ann", "ann").register("a", "\"int\"").await;
}

#[tokio::test]
async fn who_is_not_known_fills_no_log() {
    let (server, _folder, file) = audited(true).await;
    for _ in 0..200 {
        server.get("/subjects").await.code(401, 40101);
    }
    let found = lines(&file);
    assert!((11..150).contains(&found.len()), "{} lines", found.len());
    let tells = |line: &Value| line["reason"].as_str().unwrap().contains("not noted");
    assert!(found.iter().any(tells), "{found:?}");
    server.user("ann", "ann").register("a", "\"int\"").await;
    assert_eq!(lines(&file).last().unwrap()["outcome"], "done");
}

#[tokio::test]
async fn a_line_tells_which_consumer_and_which_of_the_scopes_above_all() {
    let (server, _folder, file) = audited(false).await;
    let ann = server.user("ann", "ann");
    ann.register("s", "\"int\"").await;
    ann.put("/tidemesh/v1/consumers/c/subjects/s", json!({})).await.ok();
    ann.delete("/tidemesh/v1/consumers/c/subjects/s").await.ok();
    ann.put("/config/:.__GLOBAL:", json!({"compatibility": "FULL"})).await.ok();
    ann.put("/config/:.:", json!({"compatibility": "FULL"})).await.ok();
    ann.put("/config", json!({"compatibility": "FULL"})).await.ok();
    let names: Vec<Value> = lines(&file)
        .iter()
        .skip(1)
        .map(|line| json!([line["subject"], line["consumer"]]))
        .collect();
    let wanted =
        json!([["s", "c"], ["s", "c"], [":.__GLOBAL:", null], [":.:", null], [null, null]]);
    assert_eq!(json!(names), wanted);
}
