//! `/mode`, `/mode/{subject}`: what may be done.

use axum::extract::State;
use serde_json::json;

use super::super::App;
use super::super::body::Body;
use super::super::query::{Parameters, Scope};
use super::super::reply::Reply;
use crate::refusal::Refusal;
use crate::setting::Mode;

type Handled = Result<Reply, Reply>;

/// What a scope has of its own, or what holds for it.
pub(in super::super) async fn get(
    State(service): App,
    Scope(scope): Scope,
    query: Parameters,
) -> Handled {
    let mode = service.registry.mode(scope.as_deref(), query.flag("defaultToGlobal"));
    service.answer(mode).map(current)
}

/// Sets it; answers the request.
pub(in super::super) async fn put(
    State(service): App,
    Scope(scope): Scope,
    query: Parameters,
    body: Body,
) -> Handled {
    let (name, echo) = body.mode()?;
    let mode = name.as_deref().and_then(Mode::from_name);
    let mode = mode.ok_or_else(|| service.refuse(&Refusal::InvalidMode))?;
    let force = query.flag("force");
    service.answer(service.registry.set_mode(scope.as_deref(), mode, force).await)?;
    Ok(Reply::json(&echo))
}

/// Back to what holds around it; answers what was set.
pub(in super::super) async fn delete(
    State(service): App,
    Scope(scope): Scope,
    query: Parameters,
) -> Handled {
    let old = service.registry.remove_mode(scope.as_deref(), query.flag("recursive")).await;
    service.answer(old).map(current)
}

fn current(mode: Mode) -> Reply {
    Reply::json(&json!({"mode": mode.name()}))
}
