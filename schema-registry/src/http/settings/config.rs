//! `/config`, `/config/{subject}`: compatibility levels and the rest of a configuration.

use axum::extract::State;
use serde_json::Value;

use super::super::App;
use super::super::access::Sight;
use super::super::answer;
use super::super::body::Body;
use super::super::query::{Parameters, Scope};
use super::super::reply::Reply;
use crate::level;
use crate::refusal::Refusal;

type Handled = Result<Reply, Reply>;

/// What a scope has of its own, or what holds for it.
pub(in super::super) async fn get(
    State(service): App,
    Scope(scope): Scope,
    query: Parameters,
) -> Handled {
    let setting = service.registry.setting(scope.as_deref(), query.flag("defaultToGlobal"));
    Ok(Reply::json(&answer::setting(&service.answer(setting)?)))
}

/// Changes what the request names; answers it.
pub(in super::super) async fn put(
    State(service): App,
    sight: Sight,
    Scope(scope): Scope,
    body: Body,
) -> Handled {
    let (members, echo) = body.setting()?;
    sight.check_alias(scope.as_deref().unwrap_or_default(), &members)?;
    let is_level = |value: &Value| value.as_str().and_then(level::from_name).is_some();
    let bad_level = match members.get("compatibility") {
        Some(value) => !value.is_null() && !is_level(value),
        // A request that sets nothing is one that was meant to set the level.
        None => members.is_empty(),
    };
    if bad_level {
        return Err(service.refuse(&Refusal::InvalidLevel));
    }
    service.answer(service.registry.set_setting(scope.as_deref(), members).await)?;
    Ok(Reply::json(&echo))
}

/// Back to what holds around it; answers what was set.
pub(in super::super) async fn delete(State(service): App, Scope(scope): Scope) -> Handled {
    let old = service.answer(service.registry.remove_setting(scope.as_deref()).await)?;
    Ok(Reply::json(&answer::setting(&old)))
}
