//! Deleting: softly first, then permanently, and what stays of it.

use serde_json::json;

use crate::server::Server;

async fn two_versions() -> Server {
    let server = Server::start().await;
    server.register("s", "\"int\"").await;
    server.register("s", "\"long\"").await;
    server
}

#[tokio::test]
async fn a_subject_is_deleted_softly_then_permanently() {
    let server = two_versions().await;
    server.delete("/subjects/x").await.refused(404, 40401, "Subject 'x' not found.");
    server.delete("/subjects/x?permanent=true").await.refused(404, 40401, "Subject 'x' not found.");
    server.delete("/subjects/s?permanent=true").await.refused(
        404,
        40405,
        "Subject 's' was not deleted first before being permanently deleted",
    );
    assert_eq!(server.delete("/subjects/s").await.ok(), json!([1, 2]));
    server.delete("/subjects/s").await.refused(
        404,
        40404,
        "Subject 's' was soft deleted.Set permanent=true to delete permanently",
    );
    assert_eq!(server.get("/subjects").await.ok(), json!([]));
    assert_eq!(server.delete("/subjects/s?permanent=true").await.ok(), json!([1, 2]));
    server.delete("/subjects/s?permanent=true").await.refused(404, 40401, "Subject 's' not found.");
    assert_eq!(server.get("/subjects?deleted=true").await.ok(), json!([]));
    server.get("/schemas/ids/1").await.refused(404, 40403, "Schema 1 not found");
}

#[tokio::test]
async fn a_version_is_deleted_softly_then_permanently() {
    let server = two_versions().await;
    let path = "/subjects/s/versions/1";
    server.delete("/subjects/x/versions/1").await.refused(404, 40401, "Subject 'x' not found.");
    server.delete("/subjects/s/versions/9").await.refused(404, 40402, "Version 9 not found.");
    server.delete(&format!("{path}?permanent=true")).await.refused(
        404,
        40407,
        "Subject 's' Version 1 was not deleted first before being permanently deleted",
    );
    assert_eq!(server.delete(path).await.ok(), json!(1));
    server.delete(path).await.refused(
        404,
        40406,
        "Subject 's' Version 1 was soft deleted.Set permanent=true to delete permanently",
    );
    server.get(path).await.refused(404, 40402, "Version 1 not found.");
    assert_eq!(server.get("/schemas/ids/1").await.ok(), json!({"schema": "\"int\""}));
    assert_eq!(server.delete(&format!("{path}?permanent=true")).await.ok(), json!(1));
    server.delete(path).await.refused(404, 40402, "Version 1 not found.");
    let path = format!("{path}?deleted=true");
    server.get(&path).await.refused(404, 40402, "Version 1 not found.");
    server.get("/schemas/ids/1").await.refused(404, 40403, "Schema 1 not found");
    assert_eq!(server.get("/subjects/s/versions?deleted=true").await.ok(), json!([2]));
}

#[tokio::test]
async fn the_latest_version_is_deleted_by_that_name() {
    let server = two_versions().await;
    assert_eq!(server.delete("/subjects/s/versions/latest").await.ok(), json!(2));
    assert_eq!(server.delete("/subjects/s/versions/-1").await.ok(), json!(1));
    // The latest is never a deleted one, so now there is none; Confluent calls it -1.
    let refused = server.delete("/subjects/s/versions/latest").await;
    refused.refused(404, 40402, "Version -1 not found.");
}

#[tokio::test]
async fn registering_again_after_a_soft_delete_keeps_the_id_and_counts_on() {
    let server = two_versions().await;
    server.delete("/subjects/s").await.ok();
    assert_eq!(server.register("s", "\"int\"").await, 1);
    // The soft-deleted version 1 is replaced by version 3; version 2 stays soft-deleted.
    assert_eq!(server.get("/subjects/s/versions").await.ok(), json!([3]));
    assert_eq!(server.get("/subjects/s/versions?deleted=true").await.ok(), json!([2, 3]));
    assert_eq!(server.register("s", "\"long\"").await, 2);
    assert_eq!(server.get("/subjects/s/versions?deleted=true").await.ok(), json!([3, 4]));
}

#[tokio::test]
async fn after_a_permanent_delete_versions_start_anew_and_ids_do_not() {
    let server = two_versions().await;
    server.delete("/subjects/s").await.ok();
    server.delete("/subjects/s?permanent=true").await.ok();
    assert_eq!(server.register("s", "\"int\"").await, 3);
    assert_eq!(server.get("/subjects/s/versions").await.ok(), json!([1]));
}

#[tokio::test]
async fn an_id_lives_as_long_as_any_subject_holds_it() {
    let server = two_versions().await;
    server.register("t", "\"int\"").await;
    server.delete("/subjects/s").await.ok();
    server.delete("/subjects/s?permanent=true").await.ok();
    assert_eq!(server.get("/schemas/ids/1/subjects").await.ok(), json!(["t"]));
    server.get("/schemas/ids/2").await.refused(404, 40403, "Schema 2 not found");
    assert_eq!(server.register("s", "\"int\"").await, 1);
}

#[tokio::test]
async fn deleted_versions_do_not_count_for_compatibility() {
    let server = two_versions().await;
    server.post("/subjects/s/versions", json!({"schema": "\"string\""})).await.code(409, 40901);
    server.delete("/subjects/s").await.ok();
    assert_eq!(server.register("s", "\"string\"").await, 3);
    assert_eq!(server.get("/subjects/s/versions").await.ok(), json!([3]));
}

#[tokio::test]
async fn the_level_of_a_subject_goes_with_its_last_live_version() {
    for last in ["/subjects/s", "/subjects/s/versions/2"] {
        let server = two_versions().await;
        server.put("/config/s", json!({"compatibility": "NONE"})).await.ok();
        server.delete("/subjects/s/versions/1").await.ok();
        assert_eq!(
            server.get("/config/s").await.ok(),
            json!({"compatibilityLevel": "NONE"}),
            "a live version is left"
        );
        server.delete(last).await.ok();
        server.get("/config/s").await.refused(
            404,
            40408,
            "Subject 's' does not have subject-level compatibility configured",
        );
    }
}
