//! Metadata, rules and guids.

use serde_json::{Value, json};

use crate::server::Server;

fn with(schema: &str, metadata: &Value) -> Value {
    json!({"schema": schema, "metadata": metadata})
}

#[tokio::test]
async fn metadata_and_rules_are_kept_and_make_another_schema() {
    let server = Server::start().await;
    let rules = json!({"domainRules": [{
        "name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "size(x) > 0",
        "tags": ["PII"], "params": {"a": "b"}, "onFailure": "ERROR", "disabled": false,
    }]});
    let body = json!({
        "schema": "\"int\"",
        "metadata": {"tags": {"f": ["PII"]}, "properties": {"owner": "me"}, "sensitive": ["owner"]},
        "ruleSet": rules,
    });
    assert_eq!(server.post("/subjects/s/versions", body.clone()).await.ok()["id"], json!(1));
    assert_eq!(server.post("/subjects/s/versions", body.clone()).await.ok()["id"], json!(1));
    let server = server.restart().await;
    for path in ["/subjects/s/versions/1", "/schemas/ids/1"] {
        let found = server.get(path).await.ok();
        assert_eq!(found["metadata"], body["metadata"], "{path}");
        assert_eq!(found["ruleSet"], rules, "{path}");
    }
    assert_eq!(server.register("other", "\"int\"").await, 2, "without them it is another");
    let listed = server.get("/schemas?ruleType=CEL").await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let wrong = json!({"schema": "\"int\"", "ruleSet": {"domainRules": [{"name": "1"}]}});
    server.post("/subjects/s/versions", wrong).await.code(422, 42210);
    let wrong = json!({"schema": "\"int\"", "metadata": {"more": 1}});
    server.post("/subjects/s/versions", wrong).await.code(422, 422);
    let wrong = json!({"schema": "\"int\"", "ruleSet": {"domainRules": [{"mode": "NEVER"}]}});
    server.post("/subjects/s/versions", wrong).await.code(400, 400);
    for name in ["metadata", "ruleSet"] {
        let body = json!({"schema": "\"int\"", name: null});
        assert_eq!(server.post("/subjects/other/versions", body).await.ok()["id"], json!(2));
    }
}

#[tokio::test]
async fn what_a_schema_does_not_say_it_has_from_the_version_before_and_is_told_so() {
    let server = Server::start().await;
    let body = with("\"int\"", &json!({"properties": {"owner": "me"}}));
    server.post("/subjects/s/versions", body).await.ok();
    let made = server.post("/subjects/s/versions", json!({"schema": "\"long\""})).await.ok();
    assert_eq!(made["metadata"], json!({"properties": {"owner": "me"}}));
    assert_eq!((&made["version"], &made["schema"]), (&json!(2), &json!("\"long\"")));
    let found = server.post("/subjects/s", json!({"schema": "\"long\""})).await.ok();
    assert_eq!(found["version"], json!(2));
    let latest = server.post("/subjects/s/versions", json!({"version": -1})).await.ok();
    assert_eq!(latest["id"], made["id"], "nothing new");
}

#[tokio::test]
async fn the_newest_version_with_these_properties_is_found() {
    let server = Server::start().await;
    for (schema, major) in [("\"int\"", "1"), ("\"long\"", "1"), ("\"float\"", "2")] {
        let body = with(schema, &json!({"properties": {"major": major, "team": "t"}}));
        server.post("/subjects/s/versions", body).await.ok();
    }
    let found = server.get("/subjects/s/metadata?key=major&value=1&key=team&value=t").await.ok();
    assert_eq!(found["version"], json!(2));
    server.get("/subjects/s/metadata?key=major&value=3").await.code(404, 40403);
    server.get("/subjects/x/metadata?key=major&value=3").await.code(404, 40401);
}

#[tokio::test]
async fn a_guid_is_the_same_in_every_context() {
    let server = Server::start().await;
    server.register("x", "\"int\"").await;
    server.register("a", "\"string\"").await;
    server.register(":.c:a", "\"string\"").await;
    let guid = server.get("/subjects/a/versions/1").await.ok()["guid"].clone();
    let guid = guid.as_str().unwrap();
    let found = server.get(&format!("/schemas/guids/{guid}")).await.ok();
    assert_eq!(found, json!({"schema": "\"string\""}));
    let ids = server.get(&format!("/schemas/guids/{guid}/ids")).await.ok();
    assert_eq!(ids, json!([{"context": ".", "id": 2}, {"context": ".c", "id": 1}]));
    server.get("/schemas/guids/00000000-0000-0000-0000-000000000000").await.code(404, 40403);
    server.get("/schemas/guids/x/ids").await.code(404, 40403);
}

#[tokio::test]
async fn the_configuration_adds_and_overrides() {
    let server = Server::start().await;
    let config = json!({
        "compatibility": "FULL", "compatibilityGroup": "major", "normalize": true,
        "defaultMetadata": {"properties": {"owner": "nobody"}},
        "overrideMetadata": {"properties": {"team": "t"}},
        "defaultRuleSet": {"domainRules": [{"name": "d", "disabled": false}]},
    });
    assert_eq!(server.put("/config/s", config.clone()).await.ok(), config);
    let mut read = config.clone();
    let members = read.as_object_mut().unwrap();
    let level = members.remove("compatibility").unwrap();
    members.insert("compatibilityLevel".into(), level);
    assert_eq!(server.get("/config/s").await.ok(), read);
    server.put("/config/s", json!({"normalize": null})).await.ok();
    read.as_object_mut().unwrap().remove("normalize");
    let server = server.restart().await;
    assert_eq!(server.get("/config/s").await.ok(), read);
    let body = with("\"int\"", &json!({"properties": {"owner": "me", "team": "mine"}}));
    let made = server.post("/subjects/s/versions", body).await.ok();
    assert_eq!(made["metadata"], json!({"properties": {"owner": "me", "team": "t"}}));
    assert_eq!(made["ruleSet"], json!({"domainRules": [{"name": "d", "disabled": false}]}));
    assert_eq!(server.delete("/config/s").await.ok(), read);
}
