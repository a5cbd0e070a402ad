//! Judging schemas: Confluent's own cases, and the form of the answers.

use std::path::Path;

use serde_json::{Value, json};
use tidemesh_schema_registry::IncompatibleCode;

use crate::server::{Server, record};

/// The registry-level cases of Confluent's AvroCompatibilityTest.
fn vectors() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../common/avro/testdata/registry/compat-vectors.json");
    let text = std::fs::read_to_string(&file).expect("the vectors are in tidemesh-avro's testdata");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all["registry_level"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn confluents_own_cases_are_judged_as_confluent_does() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 32);
    let server = Server::start().await;
    for (index, vector) in vectors.iter().enumerate() {
        let subject = format!("case-{index}");
        let level = async |name: &Value| {
            server.put(&format!("/config/{subject}"), json!({"compatibility": name})).await.ok()
        };
        level(&json!("NONE")).await;
        for schema in vector["history"].as_array().unwrap() {
            server.register(&subject, schema.as_str().unwrap()).await;
        }
        level(&vector["level"]).await;
        let compatible = vector["compatible"].as_bool().unwrap();
        let body = json!({"schema": vector["new"]});
        let path = format!("/subjects/{subject}/versions");
        let judged = server.post(&format!("/compatibility{path}"), body.clone()).await.ok();
        assert_eq!(judged, json!({"is_compatible": compatible}), "{vector}");
        let registered = server.post(&path, body).await;
        assert_eq!(registered.status, if compatible { 200 } else { 409 }, "{vector}");
    }
}

async fn with_long() -> Server {
    let server = Server::start().await;
    server.register("s", &record("r", &[("f", "\"int\"")])).await;
    server.register("s", &record("r", &[("f", "\"long\"")])).await;
    server
}

#[tokio::test]
async fn an_incompatible_registration_says_why_and_changes_nothing() {
    let server = with_long().await;
    let body = json!({"schema": record("r", &[("f", "\"string\"")])});
    let message = server.post("/subjects/s/versions", body).await.code(409, 40901);
    let start = "Schema being registered is incompatible with an earlier schema for subject \
                 \"s\", details: [";
    assert!(message.starts_with(start), "{message}");
    assert!(message.contains("TYPE_MISMATCH") && message.contains("/fields/0/type"), "{message}");
    assert!(message.contains("oldSchemaVersion: 2"), "{message}");
    assert!(
        message.ends_with("{validateFields: 'false', compatibility: 'BACKWARD'}]"),
        "{message}"
    );
    assert_eq!(server.get("/subjects/s/versions").await.ok(), json!([1, 2]));
}

#[tokio::test]
async fn the_code_of_confluent_7_is_a_setting() {
    let server =
        Server::start_with(|config| config.incompatible_code = IncompatibleCode::Code409).await;
    server.register("s", "\"int\"").await;
    server.post("/subjects/s/versions", json!({"schema": "\"string\""})).await.code(409, 409);
}

#[tokio::test]
async fn a_check_answers_messages_only_when_asked() {
    let server = with_long().await;
    let good = json!({"schema": record("r", &[("f", "\"double\"")])});
    let bad = json!({"schema": record("r", &[("f", "\"string\"")])});
    for path in ["/compatibility/subjects/s/versions", "/compatibility/subjects/s/versions/latest"]
    {
        let verbose = format!("{path}?verbose=true");
        assert_eq!(server.post(path, good.clone()).await.ok(), json!({"is_compatible": true}));
        assert_eq!(server.post(path, bad.clone()).await.ok(), json!({"is_compatible": false}));
        assert_eq!(
            server.post(&verbose, good.clone()).await.ok(),
            json!({"is_compatible": true, "messages": []})
        );
        let answer = server.post(&verbose, bad.clone()).await.ok();
        assert_eq!(answer["is_compatible"], json!(false));
        assert!(answer["messages"][0].as_str().unwrap().contains("TYPE_MISMATCH"), "{answer}");
    }
}

#[tokio::test]
async fn a_check_can_be_against_one_version() {
    let server = with_long().await;
    let int = json!({"schema": record("r", &[("f", "\"int\"")])});
    let path = "/compatibility/subjects/s/versions";
    let judge = async |version: &str| {
        server.post(&format!("{path}/{version}"), int.clone()).await.ok()["is_compatible"].clone()
    };
    assert_eq!(judge("1").await, json!(true));
    assert_eq!(judge("2").await, json!(false));
    assert_eq!(judge("latest").await, json!(false));
    server.post(&format!("{path}/9"), int.clone()).await.refused(
        404,
        40402,
        "Version 9 not found.",
    );
    server.delete("/subjects/s/versions/2").await.ok();
    server.post(&format!("{path}/2"), int.clone()).await.refused(
        404,
        40402,
        "Version 2 not found.",
    );
    assert_eq!(judge("latest").await, json!(true));
}

#[tokio::test]
async fn a_subject_without_versions_takes_every_valid_schema() {
    let server = Server::start().await;
    let body = json!({"schema": "\"int\""});
    for path in ["/compatibility/subjects/x/versions", "/compatibility/subjects/x/versions/latest"]
    {
        assert_eq!(server.post(path, body.clone()).await.ok(), json!({"is_compatible": true}));
    }
    let path = "/compatibility/subjects/x/versions/1";
    server.post(path, body).await.refused(404, 40402, "Version 1 not found.");
}

#[tokio::test]
async fn an_invalid_schema_is_42201_and_with_verbose_a_message() {
    let server = with_long().await;
    let path = "/compatibility/subjects/s/versions";
    let message = server.post(path, json!({"schema": "{"})).await.code(422, 42201);
    let answer = server.post(&format!("{path}?verbose=true"), json!({"schema": "{"})).await.ok();
    assert_eq!(answer, json!({"is_compatible": false, "messages": [message]}));
    server.post(path, json!({})).await.refused(422, 42201, "Empty schema");
}

#[tokio::test]
async fn transitive_levels_look_at_all_versions_and_others_at_the_last() {
    let server = Server::start().await;
    server.put("/config", json!({"compatibility": "NONE"})).await.ok();
    server.register("s", &record("r", &[("f", "\"string\"")])).await;
    server.register("s", &record("r", &[("f", "\"int\"")])).await;
    let body = json!({"schema": record("r", &[("f", "\"long\"")])});
    for (level, compatible) in [
        ("NONE", true),
        ("BACKWARD", true),
        ("BACKWARD_TRANSITIVE", false),
        ("FORWARD", false),
        ("FORWARD_TRANSITIVE", false),
        ("FULL", false),
        ("FULL_TRANSITIVE", false),
    ] {
        server.put("/config/s", json!({"compatibility": level})).await.ok();
        let answer = server.post("/compatibility/subjects/s/versions", body.clone()).await.ok();
        assert_eq!(answer, json!({"is_compatible": compatible}), "{level}");
    }
}

#[tokio::test]
async fn an_explanation_names_the_newest_versions_first_and_not_all_of_a_long_history() {
    let server = Server::start().await;
    server.put("/config", json!({"compatibility": "NONE"})).await.ok();
    for number in 0..20 {
        let doc = format!(r#"{{"type":"int","n":{number}}}"#);
        server.register("s", &record("r", &[("f", &doc)])).await;
    }
    server.put("/config", json!({"compatibility": "FULL_TRANSITIVE"})).await.ok();
    let body = json!({"schema": record("r", &[("f", "\"string\"")])});
    let path = "/compatibility/subjects/s/versions?verbose=true";
    let answer = server.post(path, body).await.ok();
    let versions: Vec<&str> = answer["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|message| message.as_str()?.strip_prefix("{oldSchemaVersion: "))
        .collect();
    assert_eq!(versions, ["20}", "19}", "18}", "17}", "16}", "15}", "14}", "13}"]);
}

#[tokio::test]
async fn an_explanation_repeats_a_long_schema_in_part() {
    let server = Server::start().await;
    let long = format!(r#"{{"type":"int","x":"{}"}}"#, "ß".repeat(10_000));
    server.register("s", &long).await;
    let refused = server.post("/subjects/s/versions", json!({"schema": "\"string\""})).await;
    let message = refused.code(409, 40901);
    assert!(message.contains("ß...'}") && message.len() < 11_000, "{}", message.len());
}
