//! What concerns the server as a whole: the root, contexts, identity, health.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::reply::Reply;
use super::{App, Service};

/// `GET /` and `POST /`: something is there.
pub(super) async fn root() -> Reply {
    Reply::json(&json!({}))
}

/// `GET /contexts`: the default one only, which Confluent writes as `.`
/// (`AbstractSchemaRegistry.listContexts`; Apicurio answers `:.:`).
pub(super) async fn contexts() -> Reply {
    Reply::json(&json!(["."]))
}

/// `GET /v1/metadata/id`: the registry as Confluent names clusters. There is no Kafka cluster
/// that it belongs to.
pub(super) async fn id(State(service): App) -> Reply {
    let id = service.registry.registry_id();
    Reply::json(&json!({
        "id": "",
        "scope": {"path": [], "clusters": {"schema-registry-cluster": format!("tidemesh-{id}")}},
    }))
}

/// `GET /v1/metadata/version`: ours, not Confluent's.
pub(super) async fn version() -> Reply {
    Reply::json(&json!({"version": env!("CARGO_PKG_VERSION"), "commitId": ""}))
}

/// `GET /health`: 503 while the store does not take writes; reads are answered even then. After a
/// failure each call tries to write, so that health comes back without a client's help.
pub(super) async fn health(State(service): App) -> Reply {
    if service.registry.healthy() || recovered(&service).await {
        return Reply::json(&json!({"status": "up"}));
    }
    let body = json!({"status": "down", "reason": "the store does not take writes"});
    Reply::with_status(StatusCode::SERVICE_UNAVAILABLE, &body)
}

async fn recovered(service: &Service) -> bool {
    let registry = Arc::clone(&service.registry);
    let result = service.writer.run(registry, "", |registry| registry.recover()).await;
    matches!(result, Some(Ok(())))
}
