//! Registering and looking up.

use serde_json::json;

use crate::server::{Server, record};

#[tokio::test]
async fn the_same_schema_gets_the_same_id_and_no_new_version() {
    let server = Server::start().await;
    let schema = record("r", &[("f", "\"int\"")]);
    assert_eq!(server.register("a", &schema).await, 1);
    assert_eq!(server.register("a", &schema).await, 1);
    // Blanks and the order of members are not part of a schema.
    let same = r#" { "fields" : [ {"type":"int", "name":"f"} ], "name":"r", "type":"record" } "#;
    assert_eq!(server.register("a", same).await, 1);
    assert_eq!(server.get("/subjects/a/versions").await.ok(), json!([1]));
}

#[tokio::test]
async fn another_subject_shares_the_id_of_the_same_text() {
    let server = Server::start().await;
    let schema = record("r", &[("f", "\"int\"")]);
    assert_eq!(server.register("a", "\"string\"").await, 1);
    assert_eq!(server.register("b", &schema).await, 2);
    assert_eq!(server.register("c", &schema).await, 2);
    assert_eq!(server.register("d", "\"long\"").await, 3);
    assert_eq!(server.register(":.:d", "\"long\"").await, 3);
    assert_eq!(server.get("/subjects").await.ok(), json!(["a", "b", "c", "d"]));
}

#[tokio::test]
async fn a_refused_schema_leaves_no_trace_and_uses_no_id() {
    let server = Server::start().await;
    for schema in ["", "  "] {
        let refused = server.post("/subjects/s/versions", json!({"schema": schema})).await;
        refused.refused(422, 42201, "Empty schema");
    }
    server.post("/subjects/s/versions", json!({})).await.refused(422, 42201, "Empty schema");
    for schema in ["{", "\"nosuch\"", r#"{"type":"record","name":"r"}"#, "[]junk", "17", "{}"] {
        let refused = server.post("/subjects/s/versions", json!({"schema": schema})).await;
        let message = refused.code(422, 42201);
        assert!(
            message.starts_with("Invalid schema of type AVRO, details: "),
            "{schema}: {message}"
        );
    }
    assert_eq!(server.get("/subjects").await.ok(), json!([]));
    assert_eq!(server.register("s", "\"int\"").await, 1);
}

#[tokio::test]
async fn only_avro_is_taken() {
    let server = Server::start().await;
    for schema_type in ["JSON", "PROTOBUF", "avro"] {
        let body = json!({"schema": "\"int\"", "schemaType": schema_type});
        let message = format!(
            "Invalid schema type {schema_type}; this registry holds schemas of type AVRO only"
        );
        let refused = server.post("/subjects/s/versions", body.clone()).await;
        refused.refused(422, 42201, &message);
        server.post("/subjects/s", body.clone()).await.refused(422, 42201, &message);
        let refused = server.post("/compatibility/subjects/s/versions", body).await;
        refused.refused(422, 42201, &message);
    }
    let body = json!({"schema": "\"int\"", "schemaType": "AVRO", "references": [], "version": 0});
    assert_eq!(server.post("/subjects/s/versions", body).await.ok()["id"], json!(1));
}

#[tokio::test]
async fn an_explicit_id_is_for_import_only_and_an_explicit_version_must_be_the_next() {
    let server = Server::start().await;
    let with = |name: &str, value: i64| json!({"schema": "\"int\"", name: value});
    let refused = server.post("/subjects/s/versions", with("id", 7)).await;
    refused.refused(422, 42205, "Subject s in context  is not in import mode");
    let refused = server.post("/subjects/s/versions", with("version", 2)).await;
    refused.refused(422, 42201, "Version is not one more than previous version");
    let taken = server.post("/subjects/s/versions", with("version", 1)).await;
    let noted = json!({"properties": {"confluent:version": "1"}});
    assert_eq!(taken.ok()["metadata"], noted, "who names a version has it noted");
    let again = server.post("/subjects/s/versions", with("version", 1)).await.ok();
    assert_eq!(again["id"], json!(1));
    assert_eq!(server.post("/subjects/s/versions", with("id", -1)).await.ok()["id"], json!(1));
}

#[tokio::test]
async fn a_subject_has_a_sane_name_and_a_bounded_length() {
    let server = Server::start().await;
    let long = "a".repeat(1025);
    let names = [("%0A", "\n"), ("__GLOBAL", "__GLOBAL"), (":.x:", ":.x:"), (&*long, &*long)];
    for (path, name) in names {
        let refused =
            server.post(&format!("/subjects/{path}/versions"), json!({"schema": "\"int\""})).await;
        refused.refused(422, 42208, &format!("The specified subject '{name}' is not a valid."));
    }
}

#[tokio::test]
async fn subjects_and_versions_beyond_their_limits_are_refused() {
    let server = Server::start_with(|config| {
        config.limits.subjects_max = 2;
        config.limits.subject_versions_max = 2;
    })
    .await;
    server.put("/config", json!({"compatibility": "NONE"})).await.ok();
    for subject in ["a", "b"] {
        server.register(subject, "\"int\"").await;
        server.register(subject, "\"long\"").await;
    }
    let third = json!({"schema": "\"string\""});
    let refused = server.post("/subjects/c/versions", third.clone()).await;
    refused.refused(422, 42205, "This registry holds its limit of 2 subjects");
    let refused = server.post("/subjects/a/versions", third).await;
    refused.refused(422, 42205, "Subject a holds its limit of 2 versions");
    assert_eq!(server.register("a", "\"long\"").await, 2);
}

#[tokio::test]
async fn a_lookup_finds_the_version_by_its_schema() {
    let server = Server::start().await;
    let schema = record("r", &[("f", "\"int\"")]);
    let body = json!({"schema": schema});
    server.post("/subjects/a", body.clone()).await.refused(404, 40401, "Subject 'a' not found.");
    server.register("a", "\"string\"").await;
    server.post("/subjects/a", body.clone()).await.refused(404, 40403, "Schema not found");
    server.register("b", &schema).await;
    server.post("/subjects/a", body.clone()).await.refused(404, 40403, "Schema not found");
    let found = server.post("/subjects/b", body).await.ok();
    assert_eq!((&found["subject"], &found["version"]), (&json!("b"), &json!(1)));
    assert_eq!((&found["id"], &found["schema"]), (&json!(2), &json!(schema)));
    let names: Vec<_> = found.as_object().unwrap().keys().collect();
    assert_eq!(names, ["subject", "version", "id", "guid", "schema", "ts"]);
    server.post("/subjects/b", json!({"schema": "{"})).await.code(422, 42201);
}

#[tokio::test]
async fn a_lookup_sees_deleted_versions_only_when_asked() {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    server.register("a", "\"long\"").await;
    let body = json!({"schema": "\"int\""});
    server.delete("/subjects/a/versions/1").await.ok();
    server.post("/subjects/a", body.clone()).await.refused(404, 40403, "Schema not found");
    let found = server.post("/subjects/a?deleted=true", body.clone()).await.ok();
    assert_eq!(found["version"], json!(1));
    server.delete("/subjects/a").await.ok();
    server.post("/subjects/a", body.clone()).await.refused(404, 40401, "Subject 'a' not found.");
    assert_eq!(server.post("/subjects/a?deleted=TRUE", body).await.ok()["version"], json!(1));
}

#[tokio::test]
async fn normalizing_makes_schemas_equal_that_differ_in_the_order_of_properties() {
    let server = Server::start().await;
    let one = r#"{"type":"int","b":1,"a":2}"#;
    let other = r#"{"type":"int","a":2,"b":1}"#;
    assert_eq!(server.register("plain", one).await, 1);
    assert_eq!(server.register("plain", other).await, 2, "the order of properties counts");
    let path = "/subjects/normal/versions?normalize=true";
    for schema in [one, other] {
        let answer = server.post(path, json!({"schema": schema})).await.ok();
        assert_eq!(answer["id"], json!(2));
    }
    assert_eq!(server.get("/subjects/normal/versions").await.ok(), json!([1]));
    assert_eq!(server.get("/subjects/normal/versions/1/schema").await.ok().to_string(), other);
    let body = json!({"schema": one});
    server.post("/subjects/normal", body.clone()).await.refused(404, 40403, "Schema not found");
    let found = server.post("/subjects/normal?normalize=true", body).await.ok();
    assert_eq!(found["id"], json!(2));
}
