//! Who reads what of a subject.

use std::sync::Arc;

use tidemesh_avro::consumption::Reads;
use tidemesh_avro::project::find;

use super::Decision;
use crate::avro::Parser;
use crate::consumer::{CONSUMERS_MAX, Consumer, REGISTRY_CONSUMERS_MAX, said};
use crate::refusal::Refusal;
use crate::state::{Change, State};
use crate::subject::Name;

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
    check_room(state, subject, name)?;
    // What is imported was right where it comes from, and may have become wrong since.
    if !state.mode_in_scope(subject).imports() {
        check_against_schema(state, parser, subject, consumer)?;
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

fn check_against_schema(
    state: &State,
    parser: &Parser,
    subject: &str,
    consumer: &Consumer,
) -> Result<(), Refusal> {
    let version = match consumer.version {
        None => state.latest(subject),
        // Who reads with a soft-deleted version goes on to.
        Some(number) => {
            let found = state.version(subject, number);
            Some(found.ok_or(Refusal::VersionNotFound(number.into()))?)
        }
    };
    let Some(version) = version else { return Ok(()) };
    let Reads::Fields(paths) = consumer.reads()? else { return Ok(()) };
    let schema = parser.resolve_version(state, subject, version)?;
    match paths.iter().find_map(|path| find(schema.schema(), path).err()) {
        Some(error) => Err(Refusal::InvalidConsumer(said(&error))),
        None => Ok(()),
    }
}

fn check_room(state: &State, subject: &str, name: &str) -> Result<(), Refusal> {
    let context = Name::of(subject).context;
    if !state.has_context(context) {
        return Err(Refusal::ContextNotFound(context.to_owned()));
    }
    let consumers = state.consumers_of(subject);
    if consumers.contains_key(name) {
        return Ok(());
    }
    if consumers.len() >= CONSUMERS_MAX {
        return Err(Refusal::NotPermitted(format!(
            "Subject {subject} holds its limit of {CONSUMERS_MAX} consumers"
        )));
    }
    if state.consumers().map(|(_, known)| known.len()).sum::<usize>() >= REGISTRY_CONSUMERS_MAX {
        return Err(Refusal::NotPermitted(format!(
            "This registry holds its limit of {REGISTRY_CONSUMERS_MAX} consumers"
        )));
    }
    Ok(())
}
