//! What is too large, too deep, too much or too often is refused, and the next request is answered.

use reqwest::Method;
use serde_json::json;
use tidemesh_schema_registry::Rate;

use crate::access::guarded_with;
use crate::server::{Server, answer, record};

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_again() {
    let users = [("ann", ""), ("bob", "")];
    let rate = Rate { per_second: 1, burst: 5 };
    let (server, _folder) =
        guarded_with(&users, &["* read . "], |security| security.requests = Some(rate)).await;
    let [ann, bob] = ["ann", "bob"].map(|name| server.user(name, name));
    let mut refused = 0;
    for _ in 0..20 {
        let response = ann.request(Method::GET, "/subjects").send().await.unwrap();
        if response.status() == 429 {
            let after: u32 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert_eq!(after, 1);
            answer(response).await.refused(429, 42901, "Too many requests; try again later");
            refused += 1;
        }
    }
    assert!(refused > 0);
    bob.get("/subjects").await.ok();
    // Nor does it help to be nobody.
    let mut anonymous = Vec::new();
    for _ in 0..20 {
        anonymous.push(server.get("/subjects").await.status);
    }
    assert!(anonymous.contains(&401) && anonymous.contains(&429), "{anonymous:?}");
    assert_eq!(server.get("/health").await.ok(), json!({"status": "up"}));
}

#[tokio::test]
async fn without_a_log_in_clients_are_told_apart_by_their_address() {
    let rate = Rate { per_second: 1, burst: 3 };
    let server = Server::start_with(|config| config.security.requests = Some(rate)).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(server.get("/subjects").await.status);
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn an_oversized_body_is_refused_before_it_is_read_whole() {
    let server = Server::start_with(|config| config.limits.schema_bytes_max = 1_024).await;
    let body = json!({"schema": "x".repeat(4 * 1024 * 1024)});
    server.post("/subjects/s/versions", body).await.code(413, 413);
    server.register("s", "\"int\"").await;
}

#[tokio::test]
async fn types_are_nested_as_deep_as_is_set() {
    let nested = |depth: usize| {
        (0..depth).fold("\"int\"".to_owned(), |inner, level| {
            record(&format!("R{level}"), &[("f", &inner)])
        })
    };
    let server = Server::start_with(|config| config.limits.schema_depth_max = 5).await;
    server.register("s", &nested(5)).await;
    let message = server.post("/subjects/t/versions", json!({"schema": nested(6)})).await;
    assert!(message.code(422, 42201).contains("nested deeper than 5"));
    let array = r#"{"type":"array","items":"#.repeat(6) + "\"int\"" + &"}".repeat(6);
    server.post("/subjects/t/versions", json!({"schema": array})).await.code(422, 42201);
    for depth in [65, 200, 5_000] {
        let server = Server::start().await;
        server.register("s", &nested(20)).await;
        let answer = server.post("/subjects/t/versions", json!({"schema": nested(depth)})).await;
        answer.code(422, 42201);
        assert_eq!(server.get("/subjects").await.ok(), json!(["s"]));
    }
}

/// Each schema names all before it, so that following every way to the first would take 2^n steps.
#[tokio::test]
async fn references_that_meet_again_are_followed_once() {
    let server = Server::start_with(|config| config.limits.references_max = 30).await;
    for number in 0..30 {
        let below: Vec<usize> = (0..number).collect();
        let fields: Vec<(String, String)> =
            below.iter().map(|n| (format!("f{n}"), format!("\"T{n}\""))).collect();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        let references: Vec<_> = below
            .iter()
            .map(|n| json!({"name": format!("T{n}"), "subject": format!("t{n}"), "version": 1}))
            .collect();
        let body =
            json!({"schema": record(&format!("T{number}"), &fields), "references": references});
        server.post(&format!("/subjects/t{number}/versions"), body).await.ok();
    }
    // The same reference again and again is as many.
    let again: Vec<_> =
        (0..31).map(|_| json!({"name": "T0", "subject": "t0", "version": 1})).collect();
    let body = json!({"schema": record("U", &[("f", "\"T0\"")]), "references": again});
    let message = server.post("/subjects/u/versions", body).await.code(422, 42201);
    assert!(message.contains("more than 30 schemas"), "{message}");
    let resolved = server.get("/subjects/t29/versions/1?format=resolved").await.ok();
    assert!(resolved["schema"].as_str().unwrap().contains("T0"));
    assert_eq!(server.get("/health").await.ok(), json!({"status": "up"}));
}
