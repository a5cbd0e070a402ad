//! What a restart keeps.

use serde_json::json;
use tidemesh_model::ErrorKind;
use tidemesh_schema_registry::{Registry, RegistryConfig, StoreConfig};

use crate::server::Server;

#[tokio::test]
async fn ids_versions_soft_deletes_and_levels_survive_a_restart() {
    let server = Server::start().await;
    server.put("/config", json!({"compatibility": "NONE"})).await.ok();
    server.put("/config/a", json!({"compatibility": "FULL"})).await.ok();
    for schema in ["\"int\"", "\"long\"", "\"string\""] {
        server.register("b", schema).await;
    }
    server.register("a", "\"bytes\"").await;
    server.delete("/subjects/b/versions/2").await.ok();
    server.register("c", "\"double\"").await;
    server.delete("/subjects/c").await.ok();
    server.delete("/subjects/c?permanent=true").await.ok();
    let paths = [
        "/schemas?deleted=true",
        "/subjects?deleted=true",
        "/subjects/b/versions",
        "/subjects/b/versions?deletedOnly=true",
        "/config",
        "/config/a",
        "/schemas/ids/2/versions?deleted=true",
    ];
    let mut before = Vec::new();
    for path in paths {
        before.push(server.get(path).await.ok());
    }

    let server = server.restart().await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(server.get(path).await.ok(), before, "{path}");
    }
    server.get("/schemas/ids/5").await.refused(404, 40403, "Schema 5 not found");
    assert_eq!(server.register("c", "\"double\"").await, 6, "id 5 is used up");
    assert_eq!(server.register("b", "\"long\"").await, 2);
    assert_eq!(server.get("/subjects/b/versions").await.ok(), json!([1, 3, 4]));
}

#[tokio::test]
async fn a_running_registry_keeps_others_from_its_store() {
    let server = Server::start().await;
    server.register("a", "\"int\"").await;
    let config = RegistryConfig::new(StoreConfig::Sqlite(server.file.clone()));
    let error = tokio::task::spawn_blocking(move || Registry::open(&config).map(|_| ()))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(server.register("b", "\"long\"").await, 2);
    server.stop().await;
}
