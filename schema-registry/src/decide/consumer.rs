//! Who reads what of a subject.

use std::sync::Arc;

use tidemesh_avro::consumption::Reads;
use tidemesh_avro::project::find;

use super::Decision;
use crate::avro::Parser;
use crate::consumer::{CONSUMERS_MAX, Consumer, said};
use crate::refusal::Refusal;
use crate::state::{Change, State, Version};

/// Registers a consumer, or what it reads by now. Its fields must be in the schema that it reads with,
/// as far as there is one: a name that is written wrong would protect nothing.
pub(crate) fn put_consumer(
    state: &State,
    parser: &Parser,
    subject: &str,
    name: &str,
    consumer: &Consumer,
) -> Decision<()> {
    consumer.check(name)?;
    check_room(state, parser, subject, name)?;
    let version = match consumer.version {
        None => state.latest(subject),
        Some(number) => {
            // Who reads with a soft-deleted version goes on to.
            let found = state.version(subject, number);
            Some(found.ok_or(Refusal::VersionNotFound(number.into()))?)
        }
    };
    if let Some(version) = version {
        check_fields(state, parser, subject, consumer, version)?;
    }
    let change = Change::PutConsumer {
        subject: Arc::from(subject),
        name: Arc::from(name),
        consumer: Arc::new(consumer.clone()),
    };
    Ok((vec![change], ()))
}

/// Takes a consumer away, and gives what it was.
pub(crate) fn remove_consumer(state: &State, subject: &str, name: &str) -> Decision<Arc<Consumer>> {
    let Some(known) = state.consumers_of(subject).get(name).cloned() else {
        return Err(not_found(subject, name));
    };
    let change = Change::RemoveConsumer { subject: Arc::from(subject), name: Arc::from(name) };
    Ok((vec![change], known))
}

pub(crate) fn not_found(subject: &str, name: &str) -> Refusal {
    Refusal::ConsumerNotFound { consumer: name.to_owned(), subject: subject.to_owned() }
}

fn check_room(state: &State, parser: &Parser, subject: &str, name: &str) -> Result<(), Refusal> {
    let consumers = state.consumers_of(subject);
    if consumers.contains_key(name) {
        return Ok(());
    }
    if consumers.len() >= CONSUMERS_MAX {
        return Err(Refusal::NotPermitted(format!(
            "Subject {subject} holds its limit of {CONSUMERS_MAX} consumers"
        )));
    }
    let limit = parser.limits.subjects_max;
    if consumers.is_empty() && state.consumers().count() >= limit {
        return Err(Refusal::NotPermitted(format!(
            "This registry holds its limit of {limit} subjects with consumers"
        )));
    }
    Ok(())
}

fn check_fields(
    state: &State,
    parser: &Parser,
    subject: &str,
    consumer: &Consumer,
    version: &Version,
) -> Result<(), Refusal> {
    let Reads::Fields(paths) = consumer.reads()? else { return Ok(()) };
    let missing = || Refusal::SchemaNotFound(Some(version.id));
    let stored = state.schema_of(subject, version).ok_or_else(missing)?;
    let schema = parser.resolve(state, subject, stored)?;
    match paths.iter().find_map(|path| find(schema.schema(), path).err()) {
        Some(error) => Err(Refusal::InvalidConsumer(said(&error))),
        None => Ok(()),
    }
}
