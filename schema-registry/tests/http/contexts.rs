//! Subjects in contexts, in both spellings.

use serde_json::json;

use crate::server::{Server, record};

#[tokio::test]
async fn a_context_has_ids_of_its_own_and_is_named_in_either_way() {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    server.register("b", "\"long\"").await;
    assert_eq!(server.register(":.c:a", "\"string\"").await, 1);
    let body = json!({"schema": "\"bytes\""});
    let made = server.post("/contexts/.c/subjects/b/versions", body).await.ok();
    assert_eq!((&made["id"], &made["version"]), (&json!(2), &json!(1)));
    for path in ["/subjects/:.c:b/versions/1", "/contexts/:.c:/subjects/b/versions/latest"] {
        let found = server.get(path).await.ok();
        assert_eq!((&found["subject"], &found["id"]), (&json!(":.c:b"), &json!(2)), "{path}");
    }
    assert_eq!(server.get("/contexts").await.ok(), json!([".", ".c"]));
    assert_eq!(server.get("/subjects").await.ok(), json!([":.c:a", ":.c:b", "a", "b"]));
    assert_eq!(server.get("/subjects?subjectPrefix=").await.ok(), json!(["a", "b"]));
    assert_eq!(server.get("/subjects?subjectPrefix=:*:a").await.ok(), json!([":.c:a", "a"]));
    assert_eq!(server.get("/contexts/c/subjects").await.ok(), json!([":.c:a", ":.c:b"]));
    server.get("/contexts/a:b/subjects").await.code(400, 400);
}

#[tokio::test]
async fn an_id_is_looked_for_in_the_context_of_the_subject() {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    server.register(":.c:x", "\"string\"").await;
    for (path, schema) in [
        ("/schemas/ids/1", "\"int\""),
        ("/schemas/ids/1?subject=a", "\"int\""),
        ("/schemas/ids/1?subject=:.c:", "\"string\""),
        ("/contexts/.c/schemas/ids/1", "\"string\""),
        ("/schemas/ids/1?subject=:.c:x", "\"string\""),
        // One that only another context has is looked for there.
        ("/schemas/ids/1?subject=x", "\"string\""),
        ("/schemas/ids/1?subject=nowhere", "\"int\""),
    ] {
        assert_eq!(server.get(path).await.ok(), json!({"schema": schema}), "{path}");
    }
    server.get("/schemas/ids/1?subject=:.c:a").await.code(404, 40403);
    server.get("/schemas/ids/1?subject=:.d:").await.code(404, 40403);
    assert_eq!(server.get("/subjects/x/versions/1").await.ok()["subject"], json!(":.c:x"));
    let found = server.post("/subjects/x", json!({"schema": "\"string\""})).await.ok();
    assert_eq!(found["subject"], json!(":.c:x"));
    let uses = server.get("/contexts/.c/schemas/ids/1/versions").await.ok();
    assert_eq!(uses, json!([{"subject": ":.c:x", "version": 1}]));
}

#[tokio::test]
async fn a_reference_is_to_the_same_context_unless_it_names_another() {
    let server = Server::start().await;
    server.register(":.c:base", &record("B", &[("f", "\"int\"")])).await;
    let schema = record("U", &[("b", "\"B\"")]);
    let with = |subject: &str| json!({"schema": schema, "references": [{"name": "B", "subject": subject, "version": 1}]});
    server.post("/subjects/:.c:user/versions", with("base")).await.ok();
    server.post("/subjects/user/versions", with("base")).await.code(422, 42201);
    server.post("/subjects/user/versions", with(":.c:base")).await.ok();
    let by = server.get("/subjects/:.c:base/versions/1/referencedby").await.ok();
    assert_eq!(by, json!([1, 2]));
    let path = "/subjects/:.c:user/versions/1?referenceFormat=qualified";
    assert_eq!(server.get(path).await.ok()["references"][0]["subject"], json!(":.c:base"));
    let resolved = server.get("/schemas/ids/2?subject=:.c:&format=resolved").await.ok();
    let text = resolved["schema"].as_str().unwrap();
    assert!(text.contains("\"name\":\"f\"") && resolved.get("references").is_none(), "{resolved}");
    server.get("/schemas/ids/2?subject=:.c:&format=ignore").await.code(422, 42201);
}

#[tokio::test]
async fn a_context_is_deleted_when_it_is_empty() {
    let server = Server::start().await;
    server.register(":.c:a", "\"int\"").await;
    server.put("/config/:.c:", json!({"compatibility": "FULL"})).await.ok();
    let in_scope = server.get("/config/:.c:a?defaultToGlobal=true").await.ok();
    assert_eq!(in_scope, json!({"compatibilityLevel": "FULL"}));
    server.delete("/contexts/.c").await.code(422, 42211);
    server.delete("/contexts/.d").await.code(404, 40401);
    server.delete("/subjects/:.c:a").await.ok();
    server.delete("/subjects/:.c:a?permanent=true").await.ok();
    assert_eq!(server.send(reqwest::Method::DELETE, "/contexts/.c", None).await.status, 204);
    assert_eq!(server.get("/contexts").await.ok(), json!(["."]));
    server.get("/config/:.c:").await.code(404, 40408);
    let server = server.restart().await;
    assert_eq!(server.get("/contexts").await.ok(), json!(["."]));
    assert_eq!(server.register(":.c:a", "\"int\"").await, 2, "ids are never given out twice");
}

#[tokio::test]
async fn an_alias_means_another_subject() {
    let server = Server::start().await;
    server.register("orders", "\"int\"").await;
    server.put("/config/old", json!({"alias": "orders"})).await.ok();
    assert_eq!(server.get("/subjects/old/versions").await.ok(), json!([1]));
    assert_eq!(server.get("/subjects/old/versions/1").await.ok()["subject"], json!("orders"));
    assert_eq!(server.register("old", "\"long\"").await, 2);
    assert_eq!(server.get("/subjects").await.ok(), json!(["orders"]));
    let listed = server.get("/schemas?subjectPrefix=ol&aliases=true").await.ok();
    assert_eq!(listed[0]["aliases"], json!(["old"]), "{listed}");
    assert_eq!(server.get("/schemas?subjectPrefix=ol").await.ok(), json!([]));
}
