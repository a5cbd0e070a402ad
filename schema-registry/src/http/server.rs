//! What concerns the server as a whole: the root, contexts, identity, health.

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::access::Sight;
use super::query::{Parameters, Place};
use super::reply::Reply;
use crate::subject::context_name;

/// `GET /` and `POST /`: something is there.
pub(super) async fn root() -> Reply {
    Reply::json(&json!({}))
}

/// `GET /openapi.json`: this contract, for programs.
pub(super) async fn openapi() -> Reply {
    Reply::document(include_bytes!("../openapi.json").to_vec())
}

/// `GET /contexts`: the default one, which Confluent writes as `.`, and those that were used
/// (`AbstractSchemaRegistry.listContexts`; Apicurio answers `:.:`).
pub(super) async fn contexts(
    State(service): App,
    sight: Sight,
    query: Parameters,
) -> Result<Reply, Reply> {
    let prefix = query.text("contextPrefix").unwrap_or_default();
    let names = service.registry.contexts(prefix, |name| sight.sees_context(name), query.page()?);
    Ok(Reply::json(&names.iter().map(AsRef::<str>::as_ref).collect()))
}

/// `DELETE /contexts/{context}`.
pub(super) async fn delete_context(
    State(service): App,
    Place(context): Place<String>,
) -> Result<Reply, Reply> {
    let context = context_name(&context)
        .map_err(|message| Reply::bad_body(StatusCode::BAD_REQUEST, message))?;
    service.answer(service.registry.delete_context(context).await)?;
    Ok(Reply::nothing())
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

/// `GET /v1/metadata/deployment`: nothing to tell.
pub(super) async fn deployment() -> Reply {
    Reply::json(&json!({"attributes": []}))
}

/// `GET /health`: 503 while the store does not take writes; reads are answered even then. After a
/// failure each call tries to write, so that health comes back without a client's help.
pub(super) async fn health(State(service): App) -> Reply {
    if service.registry.healthy() || service.registry.recover().await.is_ok() {
        return Reply::json(&json!({"status": "up"}));
    }
    let body = json!({"status": "down", "reason": "the store does not take writes"});
    Reply::with_status(StatusCode::SERVICE_UNAVAILABLE, &body)
}
