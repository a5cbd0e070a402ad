//! Modes: who may write, and how.

use serde_json::json;

use crate::server::Server;

#[tokio::test]
async fn a_mode_holds_for_a_subject_a_context_or_all() {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    let body = json!({"mode": "READONLY"});
    assert_eq!(server.put("/mode/a", body.clone()).await.ok(), body);
    assert_eq!(server.get("/mode/a").await.ok(), body);
    assert_eq!(server.get("/mode").await.ok(), json!({"mode": "READWRITE"}));
    let message = "Subject a in context  is in read-only mode";
    let schema = json!({"schema": "\"long\""});
    server.post("/subjects/a/versions", schema.clone()).await.refused(422, 42205, message);
    server.delete("/subjects/a").await.refused(422, 42205, message);
    server.delete("/subjects/a/versions/1").await.refused(422, 42205, message);
    server.put("/config/a", json!({"compatibility": "NONE"})).await.refused(422, 42205, message);
    assert_eq!(server.delete("/mode/a").await.ok(), body);
    server.delete("/mode/a").await.code(404, 40401);
    server.post("/subjects/a/versions", schema.clone()).await.ok();

    server.put("/mode/:.c:", body.clone()).await.ok();
    server.post("/subjects/:.c:a/versions", schema.clone()).await.code(422, 42205);
    server.put("/mode", json!({"mode": "readonly_override"})).await.ok();
    server.put("/mode/b", json!({"mode": "READWRITE"})).await.ok();
    assert_eq!(server.get("/mode/b").await.ok(), json!({"mode": "READONLY_OVERRIDE"}));
    server.post("/subjects/b/versions", schema).await.code(422, 42205);
    let server = server.restart().await;
    assert_eq!(server.get("/mode").await.ok(), json!({"mode": "READONLY_OVERRIDE"}));
    assert_eq!(server.delete("/mode").await.ok(), json!({"mode": "READONLY_OVERRIDE"}));
    assert_eq!(server.get("/mode").await.ok(), json!({"mode": "READWRITE"}));
    let message = "Invalid mode. Valid values are READWRITE, READONLY, IMPORT and FORWARD.";
    server.put("/mode", json!({"mode": "WRITE"})).await.refused(422, 42204, message);
}

#[tokio::test]
async fn schemas_are_imported_with_their_ids_and_versions() {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    let import = json!({"mode": "IMPORT"});
    let message = "Cannot import since found existing subjects";
    server.put("/mode", import.clone()).await.refused(422, 42205, message);
    server.put("/mode/b", import.clone()).await.ok();
    let body = json!({"schema": "\"string\"", "id": 40, "version": 3});
    assert_eq!(server.post("/subjects/b/versions", body.clone()).await.ok()["id"], json!(40));
    assert_eq!(server.post("/subjects/b/versions", body).await.ok()["id"], json!(40));
    let other = json!({"schema": "\"bytes\"", "id": 40, "version": 4});
    server.post("/subjects/b/versions", other).await.code(422, 42205);
    let none = json!({"schema": "\"bytes\""});
    server.post("/subjects/b/versions", none).await.code(422, 42205);
    let incompatible = json!({"schema": "\"long\"", "id": 41, "version": 5});
    server.post("/subjects/b/versions", incompatible).await.ok();
    assert_eq!(server.get("/subjects/b/versions").await.ok(), json!([3, 5]));
    server.delete("/subjects/b/versions/3").await.ok();
    let again = json!({"schema": "\"string\"", "id": 40, "version": 3});
    server.post("/subjects/b/versions", again).await.ok();
    assert_eq!(server.get("/subjects/b/versions").await.ok(), json!([3, 5]), "it came back");
    let over = json!({"schema": "\"bytes\"", "id": 50, "version": 3});
    server.post("/subjects/b/versions", over).await.code(422, 42205);
    assert_eq!(server.register("a", "\"long\"").await, 41, "the same schema, the same id");
    assert_eq!(server.register("a", "\"float\"").await, 42);
    assert_eq!(server.get("/schemas/ids/40?fetchMaxId=true").await.ok()["maxId"], json!(42));
    server.put("/mode?force=true", import).await.ok();
    server.post("/subjects/a/versions", json!({"schema": "\"double\""})).await.code(422, 42205);
}

#[tokio::test]
async fn the_modes_within_a_context_go_with_it() {
    let server = Server::start().await;
    for scope in [":.c:", ":.c:a", "a"] {
        server.put(&format!("/mode/{scope}"), json!({"mode": "READONLY"})).await.ok();
    }
    server.delete("/mode/:.c:?recursive=true").await.ok();
    server.get("/mode/:.c:a").await.code(404, 40409);
    assert_eq!(server.get("/mode/a").await.ok(), json!({"mode": "READONLY"}));
}
