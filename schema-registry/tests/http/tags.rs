//! Tags on types and fields.

use serde_json::json;

use crate::server::{Server, record};

#[tokio::test]
async fn tags_make_a_new_version_that_says_which_it_is() {
    let server = Server::start().await;
    server.register("s", &record("R", &[("mail", "\"string\""), ("n", "\"int\"")])).await;
    let tag = |path: &str, kind: &str| json!([{"schemaEntity": {"entityPath": path, "entityType": kind}, "tags": ["PII"]}]);
    let body = json!({"newVersion": 2, "tagsToAdd": tag("R.mail", "sr_field")});
    let made = server.post("/subjects/s/versions/1/tags", body).await.ok();
    assert_eq!(made["version"], json!(2));
    assert_eq!(made["metadata"]["properties"]["confluent:version"], json!("2"));
    assert!(made["schema"].as_str().unwrap().contains("\"confluent:tags\":[\"PII\"]"), "{made}");
    let found = server.get("/subjects/s/versions/2?findTags=PII").await.ok();
    assert_eq!(found["schemaTags"], tag("R.mail", "sr_field"));
    let body = json!({"newVersion": 3, "tagsToAdd": tag("R.x", "sr_field")});
    server.post("/subjects/s/versions/2/tags", body).await.code(422, 42201);
    let body = json!({"newVersion": 3, "tagsToRemove": tag("R.mail", "sr_field")});
    server.post("/subjects/s/versions/2/tags", body).await.ok();
    let found = server.get("/subjects/s/versions/3?findTags=*").await.ok();
    assert_eq!(found["schemaTags"], json!([]));
    server.post("/subjects/s/versions/9/tags", json!({"newVersion": 4})).await.code(404, 40402);
}

#[tokio::test]
async fn tags_come_with_a_registration_and_from_the_version_before() {
    let server = Server::start().await;
    let entity = json!({"entityPath": "R", "entityType": "SR_RECORD"});
    let body = json!({
        "schema": record("R", &[("n", "\"int\"")]),
        "schemaTagsToAdd": [{"schemaEntity": entity, "tags": ["T"]}],
    });
    let made = server.post("/subjects/s/versions", body).await.ok();
    assert!(made["schema"].as_str().unwrap().contains("confluent:tags"), "{made}");
    let wider = record("R", &[("n", "\"int\"")]).replace("\"int\"", "\"long\"");
    let body = json!({"schema": wider, "propagateSchemaTags": true});
    let made = server.post("/subjects/s/versions", body).await.ok();
    let found = server.get(&format!("/schemas/ids/{}?findTags=*", made["id"])).await.ok();
    assert_eq!(found["schemaTags"][0]["tags"], json!(["T"]), "{found}");
    let wrong = json!({"schema": wider, "schemaTagsToAdd": [{"tags": ["T"]}]});
    server.post("/subjects/s/versions", wrong).await.code(400, 400);
}
