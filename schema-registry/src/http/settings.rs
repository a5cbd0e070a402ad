//! `/config` and `/mode`: compatibility levels, and the one mode that there is.

use axum::extract::State;
use serde_json::json;

use super::body::Body;
use super::query::{Parameters, Place};
use super::reply::Reply;
use super::{App, Service};
use crate::level::{self, CompatibilityLevel};
use crate::refusal::Refusal;

type Handled = Result<Reply, Reply>;

/// The mode of this registry and of every subject; import and read-only modes are absent yet.
const MODE: &str = "READWRITE";

/// `GET /config`.
pub(super) async fn level_global(State(service): App) -> Reply {
    current(service.registry.level_global())
}

/// `PUT /config`.
pub(super) async fn set_level_global(State(service): App, body: Body) -> Handled {
    set(&service, None, body).await
}

/// `DELETE /config`: back to the default; answers what was set.
pub(super) async fn remove_level_global(State(service): App) -> Handled {
    remove(&service, None).await
}

/// `GET /config/{subject}`.
pub(super) async fn level(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    let level = service.registry.level(&subject, query.flag("defaultToGlobal"));
    level.map(current).map_err(|refusal| service.refuse(&refusal))
}

/// `PUT /config/{subject}`.
pub(super) async fn set_level(
    State(service): App,
    Place(subject): Place<String>,
    body: Body,
) -> Handled {
    set(&service, Some(subject), body).await
}

/// `DELETE /config/{subject}`: back to the global level; answers what was set.
pub(super) async fn remove_level(State(service): App, Place(subject): Place<String>) -> Handled {
    remove(&service, Some(subject)).await
}

/// `GET /mode`.
pub(super) async fn mode_global() -> Reply {
    Reply::json(&json!({"mode": MODE}))
}

/// `GET /mode/{subject}`.
pub(super) async fn mode(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    if query.flag("defaultToGlobal") {
        return Ok(mode_global().await);
    }
    Err(service.refuse(&Refusal::ModeNotConfigured(subject)))
}

fn current(level: CompatibilityLevel) -> Reply {
    Reply::json(&json!({"compatibilityLevel": level.name()}))
}

async fn set(service: &Service, subject: Option<String>, body: Body) -> Handled {
    let (name, echo) = body.level()?;
    let level = name
        .as_deref()
        .and_then(level::from_name)
        .ok_or_else(|| service.refuse(&Refusal::InvalidLevel))?;
    let timed_out = "Update compatibility level operation timed out";
    service.write(timed_out, move |registry| registry.set_level(subject.as_deref(), level)).await?;
    Ok(Reply::json(&echo))
}

async fn remove(service: &Service, subject: Option<String>) -> Handled {
    let timed_out = "Delete compatibility level operation timed out";
    service
        .write(timed_out, move |registry| registry.remove_level(subject.as_deref()))
        .await
        .map(current)
}
