//! Compatibility levels and modes.

use serde_json::json;

use crate::server::Server;

const LEVELS: [&str; 7] = [
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
];

const NOT_CONFIGURED: &str = "Subject 's' does not have subject-level compatibility configured";

#[tokio::test]
async fn the_global_level_is_backward_until_set_and_after_it_is_deleted() {
    let server = Server::start().await;
    assert_eq!(server.get("/config").await.ok(), json!({"compatibilityLevel": "BACKWARD"}));
    for level in LEVELS {
        let body = json!({"compatibility": level});
        assert_eq!(server.put("/config", body.clone()).await.ok(), body);
        assert_eq!(server.get("/config").await.ok(), json!({"compatibilityLevel": level}));
    }
    assert_eq!(
        server.delete("/config").await.ok(),
        json!({"compatibilityLevel": "FULL_TRANSITIVE"})
    );
    assert_eq!(server.get("/config").await.ok(), json!({"compatibilityLevel": "BACKWARD"}));
    assert_eq!(server.delete("/config").await.ok(), json!({"compatibilityLevel": "BACKWARD"}));
}

#[tokio::test]
async fn a_subject_has_its_own_level_or_on_request_the_global_one() {
    let server = Server::start().await;
    server.get("/config/s").await.refused(404, 40408, NOT_CONFIGURED);
    server.delete("/config/s").await.refused(404, 40401, "Subject 's' not found.");
    let default = server.get("/config/s?defaultToGlobal=true").await.ok();
    assert_eq!(default, json!({"compatibilityLevel": "BACKWARD"}));
    for level in LEVELS {
        let body = json!({"compatibility": level.to_lowercase()});
        assert_eq!(server.put("/config/s", body.clone()).await.ok(), body, "sent back as it came");
        assert_eq!(server.get("/config/s").await.ok(), json!({"compatibilityLevel": level}));
    }
    assert_eq!(server.get("/config").await.ok(), json!({"compatibilityLevel": "BACKWARD"}));
    let old = server.delete("/config/s").await.ok();
    assert_eq!(old, json!({"compatibilityLevel": "FULL_TRANSITIVE"}));
    server.get("/config/s").await.refused(404, 40408, NOT_CONFIGURED);
}

#[tokio::test]
async fn what_is_no_level_is_42203() {
    let server = Server::start().await;
    let message = "Invalid compatibility level. Valid values are none, backward, forward, full, \
                   backward_transitive, forward_transitive, and full_transitive";
    for body in [json!({"compatibility": "SIDEWARD"}), json!({"compatibility": ""}), json!({})] {
        server.put("/config", body.clone()).await.refused(422, 42203, message);
        server.put("/config/s", body).await.refused(422, 42203, message);
    }
    let refused = server.put("/config", json!({"compatibility": "FULL", "other": "x"})).await;
    refused.refused(422, 422, "Unrecognized field: other");
    server.put("/config", json!({"normalize": "maybe"})).await.code(422, 422);
    let refused = server.put("/config/%0A", json!({"compatibility": "FULL"})).await;
    refused.refused(422, 42208, "The specified subject '\n' is not a valid.");
}

#[tokio::test]
async fn the_mode_is_readwrite() {
    let server = Server::start().await;
    assert_eq!(server.get("/mode").await.ok(), json!({"mode": "READWRITE"}));
    server.get("/mode/s").await.refused(
        404,
        40409,
        "Subject 's' does not have subject-level mode configured",
    );
    let mode = server.get("/mode/s?defaultToGlobal=true").await.ok();
    assert_eq!(mode, json!({"mode": "READWRITE"}));
}
