//! What a new schema does to each that reads the subject's data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemesh_avro::consumption::{self, Consumer as Judge, ConsumerVerdict, Proposal, Reads};
use tidemesh_avro::schema::Schema;

use super::compatible::Question;
use crate::avro::{Parser, Resolved};
use crate::consumer::{Observed, said};
use crate::refusal::Refusal;
use crate::state::{Filter, State, Version};

/// The most pairs of a way of reading and a pending version that one verdict looks at: a write holds up
/// all others meanwhile.
const PAIRS_MAX: usize = 20_000;

/// What is answered where the level became `CONSUMERS` while the schema was on its way.
pub(crate) const NOT_ASKED: &str =
    "The configuration was changed while the schema was judged; send it again";

/// How somebody reads, by which alone the verdict on them goes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    /// The fields; none reads everything.
    fields: Option<BTreeSet<String>>,
    /// The version that they read with; none follows the newest.
    version: Option<u32>,
    /// The versions that they have yet to read.
    pending: Vec<u32>,
}

/// Judges by those that have registered, and by the groups that have not: those count as reading
/// everything. A consumer that has declared no version will read what is pending with the new schema.
pub(super) fn judge_consumers(
    state: &State,
    parser: &Parser,
    subject: &str,
    question: &Question<'_>,
) -> Result<Vec<ConsumerVerdict>, Refusal> {
    if *question.observed == Observed::NotAsked {
        return Err(Refusal::Timeout(NOT_ASKED));
    }
    let ways = ways(state, subject, question.observed);
    let pairs: usize = ways.keys().map(|way| 1 + way.pending.len()).sum();
    if pairs > PAIRS_MAX {
        return Err(Refusal::NotPermitted(format!(
            "It cannot be judged: subject {subject} has {} ways of being read, over {pairs} versions \
             that are yet to be read; {PAIRS_MAX} is the limit. Delete old versions, or consumers \
             that are gone",
            ways.len()
        )));
    }
    let mut schemas = Schemas { state, parser, subject, resolved: BTreeMap::new() };
    let latest = state.latest(subject).map(|version| schemas.of(version.number)).transpose()?;
    let mut verdicts = Vec::new();
    for (way, names) in ways {
        let candidate = question.candidate.schema();
        let latest = latest.as_deref().map(Resolved::schema);
        let proposal = Proposal { candidate, latest, pending: true };
        let verdict = schemas.judge(&way, &proposal)?;
        verdicts.extend(
            names
                .into_iter()
                .map(|name| ConsumerVerdict { consumer: name.to_string(), ..verdict.clone() }),
        );
    }
    verdicts.sort_by(|one, other| one.consumer.cmp(&other.consumer));
    Ok(verdicts)
}

/// Everybody by how they read.
fn ways(state: &State, subject: &str, observed: &Observed) -> BTreeMap<Way, Vec<Arc<str>>> {
    let consumers = state.consumers_of(subject);
    let mut ways: BTreeMap<Way, Vec<Arc<str>>> = BTreeMap::new();
    let mut groups = BTreeSet::new();
    for (name, consumer) in consumers.iter() {
        let group = consumer.group.as_deref().unwrap_or(name);
        groups.insert(group);
        // A version that is gone for good was let go by its consumer: it follows the newest.
        let version = consumer.version.filter(|number| state.version(subject, *number).is_some());
        let pending = match version {
            // No change of the subject's newest schema changes how those are read.
            Some(_) => Vec::new(),
            None => pending(state, subject, observed, group),
        };
        let way = Way { fields: consumer.fields.clone(), version, pending };
        ways.entry(way).or_default().push(Arc::clone(name));
    }
    for group in observed.groups().iter().filter(|group| !groups.contains(group.name.as_str())) {
        let pending = pending(state, subject, observed, &group.name);
        let way = Way { fields: None, version: None, pending };
        ways.entry(way).or_default().push(Arc::from(group.name.as_str()));
    }
    ways
}

/// The versions that a group may have yet to read: those of the ids that were seen, and those that have
/// been made since. Where ids are not known, or some are not the subject's, every version may be there;
/// soft-deleted ones too if no other is left.
fn pending(state: &State, subject: &str, observed: &Observed, group: &str) -> Vec<u32> {
    let all = || state.versions(subject, Filter::WithDeleted);
    let ids = observed.pending(group).filter(|ids| {
        let own: BTreeSet<u32> = all().map(|version| version.id).collect();
        ids.is_subset(&own)
    });
    let newest = match ids {
        Some(ids) => {
            let counts = |v: &&Version| ids.contains(&v.id) || v.number > observed.known();
            return all().filter(counts).map(|version| version.number).collect();
        }
        None if state.latest(subject).is_some() => Filter::Live,
        None => Filter::WithDeleted,
    };
    state.versions(subject, newest).map(|version| version.number).collect()
}

/// The schemas of a subject's versions, each resolved once.
struct Schemas<'s> {
    state: &'s State,
    parser: &'s Parser,
    subject: &'s str,
    resolved: BTreeMap<u32, Arc<Resolved>>,
}

impl Schemas<'_> {
    fn of(&mut self, number: u32) -> Result<Arc<Resolved>, Refusal> {
        if let Some(known) = self.resolved.get(&number) {
            return Ok(Arc::clone(known));
        }
        let version = self.state.version(self.subject, number);
        let version = version.ok_or_else(|| Refusal::VersionNotFound(number.into()))?;
        let resolved = self.parser.resolve_version(self.state, self.subject, version)?;
        self.resolved.insert(number, Arc::clone(&resolved));
        Ok(resolved)
    }

    fn judge(&mut self, way: &Way, proposal: &Proposal<'_>) -> Result<ConsumerVerdict, Refusal> {
        let reads = match &way.fields {
            None => Reads::All,
            Some(fields) => crate::consumer::reads(fields)?,
        };
        let reader = way.version.map(|number| self.of(number)).transpose()?;
        let pending: Vec<(u32, Arc<Resolved>)> = way
            .pending
            .iter()
            .map(|number| Ok((*number, self.of(*number)?)))
            .collect::<Result<_, Refusal>>()?;
        let pending: Vec<(u32, &Schema)> =
            pending.iter().map(|(number, schema)| (*number, schema.schema())).collect();
        let reader = reader.as_deref().map(Resolved::schema);
        let judge = Judge { name: "", reads: &reads, reader, pending: &pending };
        let cannot =
            |error| Refusal::NotPermitted(format!("It cannot be judged: {}", said(&error)));
        consumption::judge_one(proposal, &judge).map_err(cannot)
    }
}
