//! What a new schema does to each that reads the subject's data.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemesh_avro::consumption::{self, Consumer as Judge, ConsumerVerdict, Proposal, Reads};
use tidemesh_avro::schema::Schema;

use super::compatible::Question;
use crate::avro::{Parser, Resolved};
use crate::consumer::{Observed, said};
use crate::refusal::Refusal;
use crate::state::{Filter, State, Version};

/// Judges by those that have registered, and by the groups that have not: those count as reading
/// everything. A consumer that has declared no version will read what is pending with the new schema.
pub(super) fn judge_consumers(
    state: &State,
    parser: &Parser,
    subject: &str,
    question: &Question<'_>,
) -> Result<Vec<ConsumerVerdict>, Refusal> {
    if *question.observed == Observed::NotAsked {
        return Err(Refusal::Timeout(
            "The configuration was changed while the schema was judged; send it again",
        ));
    }
    let resolve = |version: &Version| parser.resolve_version(state, subject, version);
    let latest = state.latest(subject).map(&resolve).transpose()?;
    let mut readers = registered(state, subject, question.observed, &resolve)?;
    readers.extend(unregistered(state, subject, question.observed, &resolve)?);
    let proposal = Proposal {
        candidate: question.candidate.schema(),
        latest: latest.as_deref().map(Resolved::schema),
        pending: true,
    };
    let pending: Vec<Vec<(u32, &Schema)>> = readers
        .iter()
        .map(|reader| reader.pending.iter().map(|(n, schema)| (*n, schema.schema())).collect())
        .collect();
    let consumers: Vec<Judge<'_>> = readers
        .iter()
        .zip(&pending)
        .map(|(reader, pending)| Judge {
            name: &reader.name,
            reads: &reader.reads,
            reader: reader.version.as_deref().map(Resolved::schema),
            pending,
        })
        .collect();
    consumption::judge(&proposal, &consumers)
        .map_err(|error| Refusal::NotPermitted(format!("It cannot be judged: {}", said(&error))))
}

/// One that reads, with the schemas that matter to it.
struct Reader {
    name: Arc<str>,
    reads: Reads,
    /// What it reads with; none if it follows the newest.
    version: Option<Arc<Resolved>>,
    pending: Vec<(u32, Arc<Resolved>)>,
}

type Resolve<'r> = &'r dyn Fn(&Version) -> Result<Arc<Resolved>, Refusal>;

fn registered(
    state: &State,
    subject: &str,
    observed: &Observed,
    resolve: Resolve<'_>,
) -> Result<Vec<Reader>, Refusal> {
    let consumers = state.consumers_of(subject);
    let reader = |(name, consumer): (&Arc<str>, &Arc<crate::consumer::Consumer>)| {
        // A version that is gone for good was let go by its consumer: it follows the newest.
        let version = consumer.version.and_then(|number| state.version(subject, number));
        let version = version.map(resolve).transpose()?;
        let pending = if version.is_some() {
            // No change of the subject's newest schema changes how those are read.
            Vec::new()
        } else {
            let group = consumer.group.as_deref().unwrap_or(name);
            pending(state, subject, observed.pending(group), resolve)?
        };
        Ok(Reader { name: Arc::clone(name), reads: consumer.reads()?, version, pending })
    };
    consumers.iter().map(reader).collect()
}

fn unregistered(
    state: &State,
    subject: &str,
    observed: &Observed,
    resolve: Resolve<'_>,
) -> Result<Vec<Reader>, Refusal> {
    let consumers = state.consumers_of(subject);
    let known: BTreeSet<&str> = consumers
        .iter()
        .map(|(name, consumer)| consumer.group.as_deref().unwrap_or(name))
        .collect();
    let others = observed.groups().iter().filter(|group| !known.contains(group.name.as_str()));
    let reader = |group: &crate::consumer::Group| {
        let pending = pending(state, subject, group.pending.as_ref(), resolve)?;
        let name = Arc::from(group.name.as_str());
        Ok(Reader { name, reads: Reads::All, version: None, pending })
    };
    others.map(reader).collect()
}

/// The versions of these ids; where nothing is known all that are live, for they may be there.
fn pending(
    state: &State,
    subject: &str,
    ids: Option<&BTreeSet<u32>>,
    resolve: Resolve<'_>,
) -> Result<Vec<(u32, Arc<Resolved>)>, Refusal> {
    let filter = if ids.is_some() { Filter::WithDeleted } else { Filter::Live };
    let counts = |version: &&Version| ids.is_none_or(|ids| ids.contains(&version.id));
    let versions = state.versions(subject, filter).filter(counts);
    versions.map(|version| Ok((version.number, resolve(version)?))).collect()
}
