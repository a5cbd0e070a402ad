//! What holds for every route: content types, unknown paths and methods, bodies that are none.

use reqwest::Method;
use serde_json::json;

use crate::server::{CONTENT_TYPE, Server, answer, record};

#[tokio::test]
async fn the_root_answers_an_empty_object_to_get_and_post() {
    let server = Server::start().await;
    assert_eq!(server.get("/").await.ok(), json!({}));
    assert_eq!(server.post("/", json!({})).await.ok(), json!({}));
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unknown_method_405_in_json() {
    let server = Server::start().await;
    server.get("/nothing").await.refused(404, 404, "HTTP 404 Not Found");
    server.get("/schemas/ids/one").await.refused(404, 404, "HTTP 404 Not Found");
    server.get("/subjects?limit=many").await.refused(404, 404, "HTTP 404 Not Found");
    server.get("/subjects/%ff/versions").await.refused(404, 404, "HTTP 404 Not Found");
    let refused = server.send(Method::PATCH, "/subjects", None).await;
    refused.refused(405, 405, "HTTP 405 Method Not Allowed");
}

#[tokio::test]
async fn four_content_types_and_none_are_taken_and_others_are_415() {
    let server = Server::start().await;
    let url = format!("{}/subjects/s/versions", server.url);
    let body = json!({"schema": "\"string\""}).to_string();
    for content_type in [
        CONTENT_TYPE,
        "application/vnd.schemaregistry+json",
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/octet-stream",
    ] {
        let request = server.client.post(&url).header("content-type", content_type);
        let response = request.body(body.clone()).send().await.unwrap();
        assert_eq!(answer(response).await.ok()["id"], json!(1), "{content_type}");
    }
    let response = server.client.post(&url).body(body.clone().into_bytes()).send().await.unwrap();
    assert_eq!(answer(response).await.ok()["id"], json!(1));
    let request = server.client.post(&url).header("content-type", "text/plain");
    let response = request.body(body).send().await.unwrap();
    answer(response).await.refused(415, 415, "HTTP 415 Unsupported Media Type");
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let server = Server::start().await;
    let url = format!("{}/subjects/s/versions", server.url);
    for (body, status) in
        [("", 422), ("{", 400), ("[]", 400), ("null", 400), ("\u{0}", 400), ("{\"schema\":1}", 400)]
    {
        let request = server.client.post(&url).header("content-type", CONTENT_TYPE);
        let answer = answer(request.body(body).send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{body:?}: {answer:?}");
    }
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let request = server.client.post(&url).header("content-type", CONTENT_TYPE);
    assert_eq!(answer(request.body(deep).send().await.unwrap()).await.status, 400);
}

#[tokio::test]
async fn an_unknown_member_is_refused_unless_the_client_says_otherwise() {
    let server = Server::start().await;
    let body = json!({"schema": "\"int\"", "colour": "blue"});
    let refused = server.post("/subjects/s/versions", body.clone()).await;
    refused.refused(422, 422, "Unrecognized field: colour");
    let response = server
        .client
        .post(format!("{}/subjects/s/versions", server.url))
        .header("content-type", CONTENT_TYPE)
        .header("Confluent-Accept-Unknown-Properties", "true")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer(response).await.ok()["id"], json!(1));
}

#[tokio::test]
async fn a_schema_beyond_the_limit_is_42209_and_a_body_far_beyond_it_413() {
    let server = Server::start_with(|config| config.limits.schema_bytes_max = 200).await;
    let doc = |length| format!(r#"{{"type":"string","doc":"{}"}}"#, "x".repeat(length));
    server.register("s", &doc(170)).await;
    let refused = server.post("/subjects/s/versions", json!({"schema": doc(200)})).await;
    refused.refused(422, 42209, "Register operation failed because schema is too large");
    let refused = server.post("/subjects/s/versions", json!({"schema": doc(200_000)})).await;
    refused.refused(413, 413, "HTTP 413 Request Entity Too Large");
    assert_eq!(server.get("/subjects/s/versions").await.ok(), json!([1]));
}

#[tokio::test]
async fn subjects_are_percent_decoded() {
    let server = Server::start().await;
    let names = [("a%2Fb%20c%3F", "a/b c?"), ("gr%C3%B6%C3%9Fe", "größe"), ("x+y", "x+y")];
    for (index, (path, name)) in names.iter().enumerate() {
        let schema = record("r", &[("f", &format!(r#"{{"type":"long","n":"{index}"}}"#))]);
        server.register(path, &schema).await;
        let version = server.get(&format!("/subjects/{path}/versions/1")).await.ok();
        assert_eq!(version["subject"], json!(name));
        let level = json!({"compatibility": "FULL"});
        assert_eq!(server.put(&format!("/config/{path}"), level.clone()).await.ok(), level);
    }
    let listed = server.get("/subjects").await.ok();
    assert_eq!(listed, json!(["a/b c?", "größe", "x+y"]));
}

#[tokio::test]
async fn health_is_up_and_metadata_names_registry_and_version() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.ok(), json!({"status": "up"}));
    assert_eq!(server.get("/contexts").await.ok(), json!(["."]));
    let id = server.get("/v1/metadata/id").await.ok();
    let cluster = id["scope"]["clusters"]["schema-registry-cluster"].as_str().unwrap().to_owned();
    assert!(cluster.starts_with("tidemesh-"), "{cluster}");
    assert_eq!(id["scope"]["path"], json!([]));
    let version = server.get("/v1/metadata/version").await.ok();
    assert_eq!(version["version"], json!(env!("CARGO_PKG_VERSION")));
    let server = server.restart().await;
    assert_eq!(server.get("/v1/metadata/id").await.ok(), id);
}
