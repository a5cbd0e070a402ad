//! A request's events: taken in order, then waited for until each is durable.

use crate::answer::Outcome;
use crate::body::{Content, Incoming};
use crate::topics::Schemas;
use std::time::{Duration, UNIX_EPOCH};
use tidemesh_avro::frame;
use tidemesh_emitter::{Delivery, EventOptions};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout_at};

/// Takes events and says what became of each; what is not durable by `until` is told as in doubt.
///
/// Once an event has found no room, those behind it are refused too: so the order of what is sent again
/// stays. One that does not conform, or was none when it was read, keeps no other from being taken.
pub(crate) async fn emit(
    schemas: &Schemas,
    events: Vec<Result<Incoming>>,
    until: Instant,
) -> Vec<Outcome> {
    let mut taken: Vec<Result<Delivery>> = Vec::with_capacity(events.len());
    let mut full: Option<Error> = None;
    for event in events {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                taken.push(Err(error));
                continue;
            }
        };
        if let Some(error) = &full {
            taken.push(Err(error.again()));
            continue;
        }
        let delivery = match timeout_at(until, take(schemas, &event)).await {
            Ok(delivery) => delivery,
            Err(_) => Err(no_room()),
        };
        full = delivery.as_ref().err().filter(|error| !is_of_event(error)).map(Error::again);
        taken.push(delivery);
    }
    let mut outcomes = Vec::with_capacity(taken.len());
    for delivery in taken {
        outcomes.push(match delivery {
            Ok(delivery) if delivery.is_dropped() => Outcome::Dropped,
            Ok(delivery) => match timeout_at(until, delivery.receipt()).await {
                Ok(Ok(receipt)) => Outcome::Durable(receipt),
                Ok(Err(error)) => Outcome::Refused(error),
                Err(_) => Outcome::Refused(in_doubt()),
            },
            Err(error) => Outcome::Refused(error),
        });
    }
    outcomes
}

/// Whether an error says something of the event, and nothing of those behind it.
fn is_of_event(error: &Error) -> bool {
    use ErrorKind as K;
    matches!(
        error.kind(),
        K::Malformed | K::Unsupported | K::Incompatible | K::TooLarge | K::Config | K::NotFound
    )
}

async fn take(schemas: &Schemas, event: &Incoming) -> Result<Delivery> {
    let (topic, options) = (schemas.newest(), options(event));
    match &event.content {
        Content::Json(value) => topic.enqueue(value, options).await,
        Content::Avro(data) => topic.enqueue_encoded(data, options).await,
        Content::Framed(framed) => {
            let (id, data) = frame::split(framed)?;
            let named = schemas.of_id(id).ok_or_else(|| {
                Error::new(ErrorKind::Incompatible, "emit an event")
                    .because("it is written with another schema than the topic's")
                    .with("topic", topic.topic())
                    .with("schema_id", id)
                    .with("expected", topic.schema_id())
                    .help("a schema that is new in the registry is taken up within half a minute")
            })?;
            named.enqueue_encoded(data, options).await
        }
    }
}

fn options(event: &Incoming) -> EventOptions<'_> {
    let mut options = EventOptions::new();
    for (name, value) in &event.headers {
        options = options.header(name, value);
    }
    // `body` has bounded it.
    let at = event.event_time_ms.map(Duration::from_millis);
    if let Some(at) = at.and_then(|since| UNIX_EPOCH.checked_add(since)) {
        options = options.event_time(at);
    }
    if let Some(key) = &event.ordering_key {
        options = options.ordering_key(key);
    }
    if let Some(partition) = event.partition {
        options = options.partition(partition);
    }
    if let Some(key) = &event.idempotency_key {
        options = options.idempotency_key(key);
    }
    options
}

fn no_room() -> Error {
    Error::new(ErrorKind::Timeout, "emit an event")
        .because("it was not taken: the queue was full for as long as the request may take")
        .help("send it again")
}

fn in_doubt() -> Error {
    Error::new(ErrorKind::Timeout, "emit an event")
        .because("it was taken, and is not durable yet: the topic's store may be away")
        .help(
            "send it again with the same idempotency key, which sends nothing twice while it is \
             among the last 65,536 keys of its topic",
        )
}
