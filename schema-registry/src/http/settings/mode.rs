//! `/mode`: what may be done.

use axum::extract::State;
use serde_json::json;

use super::super::body::Body;
use super::super::query::{Parameters, Place};
use super::super::reply::Reply;
use super::super::{App, Service};
use crate::refusal::Refusal;
use crate::setting::Mode;

type Handled = Result<Reply, Reply>;

/// `GET /mode`.
pub(in super::super) async fn of_all(State(service): App) -> Handled {
    get(&service, None, false)
}

/// `PUT /mode`.
pub(in super::super) async fn set_of_all(
    State(service): App,
    query: Parameters,
    body: Body,
) -> Handled {
    put(&service, None, query.flag("force"), body).await
}

/// `DELETE /mode`: back to the default; answers what was set.
pub(in super::super) async fn remove_of_all(State(service): App, query: Parameters) -> Handled {
    delete(&service, None, query.flag("recursive")).await
}

/// `GET /mode/{subject}`.
pub(in super::super) async fn of(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    get(&service, Some(&subject), query.flag("defaultToGlobal"))
}

/// `PUT /mode/{subject}`.
pub(in super::super) async fn set(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    put(&service, Some(&subject), query.flag("force"), body).await
}

/// `DELETE /mode/{subject}`: back to what holds around it; answers what was set.
pub(in super::super) async fn remove(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    delete(&service, Some(&subject), query.flag("recursive")).await
}

fn get(service: &Service, scope: Option<&str>, default_to_global: bool) -> Handled {
    let mode = service.answer(service.registry.mode(scope, default_to_global))?;
    Ok(current(mode))
}

async fn put(service: &Service, scope: Option<&str>, force: bool, body: Body) -> Handled {
    let (name, echo) = body.mode()?;
    let mode = name.as_deref().and_then(Mode::from_name);
    let mode = mode.ok_or_else(|| service.refuse(&Refusal::InvalidMode))?;
    service.answer(service.registry.set_mode(scope, mode, force).await)?;
    Ok(Reply::json(&echo))
}

async fn delete(service: &Service, scope: Option<&str>, recursive: bool) -> Handled {
    let old = service.answer(service.registry.remove_mode(scope, recursive).await)?;
    Ok(current(old))
}

fn current(mode: Mode) -> Reply {
    Reply::json(&json!({"mode": mode.name()}))
}
