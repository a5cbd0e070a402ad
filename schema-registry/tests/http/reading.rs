//! Lists, versions and schemas by id.

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, record};

/// Subjects `a` (two versions), `b` (one, soft-deleted) and `c` (the first soft-deleted).
async fn filled() -> Server {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    server.register("a", "\"long\"").await;
    server.register("b", "\"int\"").await;
    server.register("c", "\"float\"").await;
    server.register("c", "\"double\"").await;
    server.delete("/subjects/b").await.ok();
    server.delete("/subjects/c/versions/1").await.ok();
    server
}

#[tokio::test]
async fn subjects_are_listed_by_prefix_state_and_page() {
    let server = filled().await;
    for (query, names) in [
        ("", json!(["a", "c"])),
        ("?deleted=true", json!(["a", "b", "c"])),
        ("?deletedOnly=true", json!(["b"])),
        ("?deleted=true&deletedOnly=true", json!(["b"])),
        ("?subjectPrefix=c", json!(["c"])),
        ("?subjectPrefix=:*:", json!(["a", "c"])),
        ("?subjectPrefix=:*:a", json!(["a"])),
        ("?subjectPrefix=%3A.%3Aa", json!(["a"])),
        ("?subjectPrefix=x", json!([])),
        ("?deleted=true&offset=1", json!(["b", "c"])),
        ("?deleted=true&limit=2", json!(["a", "b"])),
        ("?deleted=true&offset=1&limit=1", json!(["b"])),
        ("?limit=-1&offset=0", json!(["a", "c"])),
        ("?limit=0", json!(["a", "c"])),
        ("?offset=9", json!([])),
    ] {
        assert_eq!(server.get(&format!("/subjects{query}")).await.ok(), names, "{query}");
    }
}

#[tokio::test]
async fn versions_are_listed_by_state_and_page() {
    let server = filled().await;
    for (path, numbers) in [
        ("/subjects/a/versions", json!([1, 2])),
        ("/subjects/a/versions?offset=1", json!([2])),
        ("/subjects/a/versions?limit=1", json!([1])),
        ("/subjects/c/versions", json!([2])),
        ("/subjects/c/versions?deleted=true", json!([1, 2])),
        ("/subjects/c/versions?deletedOnly=true", json!([1])),
        ("/subjects/b/versions?deleted=true", json!([1])),
        ("/subjects/a/versions?deletedOnly=true", json!([])),
    ] {
        assert_eq!(server.get(path).await.ok(), numbers, "{path}");
    }
    server.get("/subjects/b/versions").await.refused(404, 40401, "Subject 'b' not found.");
    server.get("/subjects/x/versions").await.refused(404, 40401, "Subject 'x' not found.");
}

#[tokio::test]
async fn a_version_is_found_by_number_latest_and_minus_one() {
    let server = filled().await;
    let second = json!({"subject": "a", "version": 2, "id": 2, "schema": "\"long\""});
    // The MD5 of the text.
    let guid = json!("e1dd9a1e-f98b-451b-5369-0370b393966b");
    for version in ["2", "latest", "LATEST", "-1"] {
        let path = format!("/subjects/a/versions/{version}");
        let mut found = server.get(&path).await.ok();
        let members = found.as_object_mut().unwrap();
        assert_eq!(members.remove("guid").unwrap(), guid);
        assert!(members.remove("ts").unwrap().as_i64().unwrap() > 1_600_000_000_000);
        assert_eq!(found, second, "{version}");
        assert_eq!(server.get(&format!("{path}/schema")).await.ok(), json!("long"));
    }
    let path = "/subjects/c/versions/1";
    server.get(path).await.refused(404, 40402, "Version 1 not found.");
    server.get(&format!("{path}/schema")).await.refused(404, 40402, "Version 1 not found.");
    assert_eq!(server.get(&format!("{path}?deleted=true")).await.ok()["id"], json!(3));
    server.get("/subjects/x/versions/1").await.refused(404, 40401, "Subject 'x' not found.");
    server.get("/subjects/b/versions/latest").await.refused(404, 40401, "Subject 'b' not found.");
    // Confluent's own answer: the latest is never a deleted one, and its number is -1.
    let refused = server.get("/subjects/b/versions/latest?deleted=true").await;
    refused.refused(404, 40402, "Version -1 not found.");
    for version in ["0", "-2", "x", "2147483648"] {
        let message = format!(
            "The specified version '{version}' is not a valid version id. \
             Allowed values are between [1, 2^31-1] and the string \"latest\""
        );
        for tail in ["", "/schema", "/referencedby"] {
            let path = format!("/subjects/a/versions/{version}{tail}");
            server.get(&path).await.refused(422, 42202, &message);
        }
        let path = format!("/subjects/a/versions/{version}");
        server.delete(&path).await.refused(422, 42202, &message);
        let body = json!({"schema": "\"int\""});
        server.post(&format!("/compatibility{path}"), body).await.refused(422, 42202, &message);
    }
}

#[tokio::test]
async fn schemas_are_found_by_id_even_when_deleted() {
    let server = filled().await;
    assert_eq!(server.get("/schemas/types").await.ok(), json!(["AVRO"]));
    assert_eq!(server.get("/schemas/ids/1").await.ok(), json!({"schema": "\"int\""}));
    assert_eq!(server.get("/schemas/ids/3").await.ok(), json!({"schema": "\"float\""}));
    assert_eq!(
        server.get("/schemas/ids/1?fetchMaxId=true&subject=a").await.ok(),
        json!({"schema": "\"int\"", "maxId": 4})
    );
    assert_eq!(server.get("/schemas/ids/4/schema").await.ok(), json!("double"));
    for (path, list) in [
        ("/schemas/ids/1/subjects", json!(["a"])),
        ("/schemas/ids/1/subjects?deleted=true", json!(["a", "b"])),
        ("/schemas/ids/1/subjects?deleted=true&offset=1", json!(["b"])),
        ("/schemas/ids/1/versions", json!([{"subject": "a", "version": 1}])),
        (
            "/schemas/ids/1/versions?deleted=true",
            json!([{"subject": "a", "version": 1}, {"subject": "b", "version": 1}]),
        ),
        ("/schemas/ids/3/versions", json!([])),
    ] {
        assert_eq!(server.get(path).await.ok(), list, "{path}");
    }
    server.get("/schemas/ids/9").await.refused(404, 40403, "Schema 9 not found");
    server.get("/schemas/ids/9/schema").await.refused(404, 40403, "Schema 9 not found");
    server.get("/schemas/ids/9/subjects").await.refused(404, 40403, "Schema not found");
    server.get("/schemas/ids/9/versions").await.refused(404, 40403, "Schema not found");
}

#[tokio::test]
async fn the_list_of_schemas_goes_by_subject_and_version() {
    let server = filled().await;
    let keys = async |query: &str| -> Vec<String> {
        let list = server.get(&format!("/schemas{query}")).await.ok();
        let list = list.as_array().unwrap();
        list.iter().map(|s| format!("{}{}", s["subject"].as_str().unwrap(), s["version"])).collect()
    };
    assert_eq!(keys("").await, ["a1", "a2", "c2"]);
    assert_eq!(keys("?deleted=true").await, ["a1", "a2", "b1", "c1", "c2"]);
    assert_eq!(keys("?latestOnly=true").await, ["a2", "c2"]);
    assert_eq!(keys("?latestOnly=true&deleted=true").await, ["a2", "b1", "c2"]);
    assert_eq!(keys("?subjectPrefix=a").await, ["a1", "a2"]);
    assert_eq!(keys("?subjectPrefix=:*:&offset=1&limit=1").await, ["a2"]);
}

#[tokio::test]
async fn the_text_is_answered_as_avro_java_writes_it() {
    let server = Server::start().await;
    let sent = r#"{"fields": [{"doc":"d","type":["null", {"type":"int"}], "name":"f",
        "default":null, "x":1.50}], "type":"record", "namespace":"n", "name":"r"}"#;
    let kept = concat!(
        r#"{"type":"record","name":"r","namespace":"n","fields":[{"name":"f","#,
        r#""type":["null","int"],"doc":"d","default":null,"x":1.5}]}"#
    );
    let id = server.register("s", sent).await;
    let answer = server.get(&format!("/schemas/ids/{id}")).await.ok();
    assert_eq!(answer["schema"], json!(kept));
}

/// The plain address is answered before the routes; the others come to the same.
#[tokio::test]
async fn a_schema_is_the_same_by_every_spelling_of_its_id() {
    let server = Server::start().await;
    let text = record("R", &[("n", "\"int\"")]);
    let id = server.register("a", &text).await;
    let found = server.get(&format!("/schemas/ids/{id}")).await.ok();
    assert_eq!(found, json!({"schema": text}));
    for path in ["ids/1?subject=", "ids/1?x=1", "ids/%31", "ids/0001", "ids/1?format=default"] {
        assert_eq!(server.get(&format!("/schemas/{path}")).await.ok(), found, "{path}");
    }
    assert_eq!(server.get("/contexts/.:/schemas/ids/1").await.ok(), found);
    // An alias of all means no subject where none is named.
    server.put("/config", json!({"alias": "b"})).await.ok();
    assert_eq!(server.get("/schemas/ids/1?subject=").await.ok(), found);
    server.get("/schemas/ids/2").await.code(404, 40403);
    for path in ["ids/", "ids/x", "ids/99999999999", "ids/1/"] {
        assert_eq!(server.get(&format!("/schemas/{path}")).await.status, 404, "{path}");
    }
    let head = server.request(Method::HEAD, "/schemas/ids/1").send().await.unwrap();
    assert_eq!(head.status(), 200);
    // What is written anew under an id is what is answered.
    server.delete("/subjects/a").await.ok();
    server.delete("/subjects/a?permanent=true").await.ok();
    server.get("/schemas/ids/1").await.code(404, 40403);
    server.put("/mode", json!({"mode": "IMPORT"})).await.ok();
    let other = json!({"schema": "\"long\"", "id": 1, "version": 1});
    server.post("/subjects/a/versions", other).await.ok();
    assert_eq!(server.get("/schemas/ids/1").await.ok(), json!({"schema": "\"long\""}));
}
