//! `/config`: compatibility levels and the rest of a configuration.

use axum::extract::State;
use serde_json::Value;

use super::super::answer;
use super::super::body::Body;
use super::super::query::{Parameters, Place};
use super::super::reply::Reply;
use super::super::{App, Service};
use crate::level;
use crate::refusal::Refusal;

type Handled = Result<Reply, Reply>;

/// `GET /config`.
pub(in super::super) async fn of_all(State(service): App) -> Handled {
    get(&service, None, false)
}

/// `PUT /config`.
pub(in super::super) async fn set_of_all(State(service): App, body: Body) -> Handled {
    put(&service, None, body).await
}

/// `DELETE /config`: back to the default; answers what was set.
pub(in super::super) async fn remove_of_all(State(service): App) -> Handled {
    delete(&service, None).await
}

/// `GET /config/{subject}`.
pub(in super::super) async fn of(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    get(&service, Some(&subject), query.flag("defaultToGlobal"))
}

/// `PUT /config/{subject}`.
pub(in super::super) async fn set(
    State(service): App,
    Place(subject): Place<String>,
    body: Body,
) -> Handled {
    put(&service, Some(&subject), body).await
}

/// `DELETE /config/{subject}`: back to what holds around it; answers what was set.
pub(in super::super) async fn remove(
    State(service): App,
    Place(subject): Place<String>,
) -> Handled {
    delete(&service, Some(&subject)).await
}

fn get(service: &Service, scope: Option<&str>, default_to_global: bool) -> Handled {
    let setting = service.answer(service.registry.setting(scope, default_to_global))?;
    Ok(Reply::json(&answer::setting(&setting)))
}

async fn put(service: &Service, scope: Option<&str>, body: Body) -> Handled {
    let (members, echo) = body.setting()?;
    let is_level = |value: &Value| value.as_str().and_then(level::from_name).is_some();
    let bad_level = match members.get("compatibility") {
        Some(value) => !value.is_null() && !is_level(value),
        // A request that sets nothing is one that was meant to set the level.
        None => members.is_empty(),
    };
    if bad_level {
        return Err(service.refuse(&Refusal::InvalidLevel));
    }
    service.answer(service.registry.set_setting(scope, members).await)?;
    Ok(Reply::json(&echo))
}

async fn delete(service: &Service, scope: Option<&str>) -> Handled {
    let old = service.answer(service.registry.remove_setting(scope).await)?;
    Ok(Reply::json(&answer::setting(&old)))
}
