//! `/tidemesh/v1/consumers`: who reads a subject's data, and which fields.

use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::access::Sight;
use super::body::Body;
use super::query::{Parameters, Place};
use super::reply::Reply;
use crate::registry::RegisteredConsumer;

type Handled = Result<Reply, Reply>;

/// `GET /tidemesh/v1/consumers?subject=…`: those of one subject, or all.
pub(super) async fn list(State(service): App, sight: Sight, query: Parameters) -> Handled {
    service.registry.refresh().await;
    let (subject, page) = (query.text("subject"), query.page()?);
    let found = service.registry.consumers(subject, |name| sight.sees(name), page);
    Ok(Reply::json(&found.iter().map(answer).collect()))
}

/// `GET /tidemesh/v1/consumers/{consumer}/subjects/{subject}`.
pub(super) async fn get(
    State(service): App,
    Place((consumer, subject)): Place<(String, String)>,
) -> Handled {
    let found = service.read(|registry| registry.consumer(&subject, &consumer)).await?;
    Ok(Reply::json(&answer(&found)))
}

/// `PUT`: what it reads.
pub(super) async fn put(
    State(service): App,
    Place((consumer, subject)): Place<(String, String)>,
    body: Body,
) -> Handled {
    let registration = body.consumer()?;
    let made = service.registry.put_consumer(&subject, &consumer, registration).await;
    Ok(Reply::json(&answer(&service.answer(made)?)))
}

/// `DELETE`: it reads the subject's data no more.
pub(super) async fn delete(
    State(service): App,
    Place((consumer, subject)): Place<(String, String)>,
) -> Handled {
    let gone = service.registry.remove_consumer(&subject, &consumer).await;
    Ok(Reply::json(&answer(&service.answer(gone)?)))
}

fn answer(found: &RegisteredConsumer) -> Value {
    let mut value = json!({"consumer": &*found.name, "subject": &*found.subject});
    if let Ok(Value::Object(members)) = serde_json::to_value(&*found.consumer) {
        for (name, member) in members {
            value[name] = member;
        }
    }
    value
}
