//! Judging a schema by real consumption: who, of those that read a topic, is hurt by a change. Pure;
//! the registry's level `CONSUMERS`, its dry runs and the controller's upgrades call it.
//!
//! A consumer reads some fields with some schema: the one it declared, else the newest it knows. It is
//! hurt by a new schema if that reader's schema, reduced to those fields, cannot read data of the new
//! one: a field removed that has no default there, renamed to a name that it has no alias for, or of a
//! type that it cannot take. What it does not read cannot hurt it. The same question is asked of each
//! schema that still stands between its committed offset and the log's end, if the caller wants it: a
//! consumer that has declared no schema will read those with the new one.
//!
//! A consumer of which nothing is known reads everything ([`Reads::All`]): who knows of a consumer
//! group makes it one. Who moves a consumer to the new schema asks with that schema as
//! [`Consumer::reader`]: the pending versions then tell whether it still reads what is there.
//!
//! Absent here: offsets, groups, stores. The caller knows which versions are pending, and fixes the
//! set of consumers while it asks.

use crate::compat::Direction;
use crate::diff::diff;
use crate::explain::{Finding, explain, explain_projected};
use crate::project::{FieldPath, Projection, project_exactly};
use crate::schema::Schema;
use std::collections::BTreeSet;
use tidemesh_model::Result;

/// What a consumer reads of each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// Every field, also those that are not known.
    All,
    /// These fields and what is within them. None: it only counts records, or reads their keys.
    Fields(BTreeSet<FieldPath>),
}

/// Who reads a topic.
#[derive(Debug, Clone, Copy)]
pub struct Consumer<'a> {
    /// Its name, for answers.
    pub name: &'a str,
    /// What it reads.
    pub reads: &'a Reads,
    /// The schema it reads with; none if it has declared none, and reads with the newest it knows.
    pub reader: Option<&'a Schema>,
    /// The versions of the topic's data between its committed offset and the log's end, in any
    /// order; with them their schemas.
    pub pending: &'a [(u32, &'a Schema)],
}

/// A change that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The new schema.
    pub candidate: &'a Schema,
    /// The newest version before it; none if the subject has none, and then only consumers that
    /// declared a schema can be hurt.
    pub latest: Option<&'a Schema>,
    /// Whether consumers must be able to read what is pending too.
    pub pending: bool,
}

/// What a change does to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing that it reads changes.
    Unaffected,
    /// Something that it reads changes, and it can read it.
    Readable,
    /// It cannot read some of the data.
    Hurt,
}

impl Effect {
    /// Its name in API answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unaffected => "unaffected",
            Self::Readable => "readable",
            Self::Hurt => "hurt",
        }
    }
}

/// How many pending versions that hurt a consumer are told; one is enough to refuse.
const HARMFUL_VERSIONS_MAX: usize = 8;

/// Whose data a consumer cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// That of the new schema.
    Candidate,
    /// That of this version, which is pending.
    Version(u32),
}

/// Why a consumer is hurt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Harm {
    /// By whose data.
    pub written: Written,
    /// Rule, path, types, and what to do: in the new schema if its data is to blame, else in the
    /// consumer's. The reader's places are in the consumer's whole schema.
    pub finding: Finding,
}

/// The verdict on one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerVerdict {
    /// The consumer's name.
    pub consumer: String,
    /// What the change does to it.
    pub effect: Effect,
    /// Why it is hurt; empty if it is not.
    pub harms: Vec<Harm>,
    /// Fields that it says it reads and its schema does not have. No change is blamed for them: they
    /// were gone before it.
    pub unknown: Vec<FieldPath>,
}

/// What `proposal` does to each consumer, in their order.
///
/// # Errors
///
/// `TooLarge` for a projection past its limit: nothing is said then.
pub fn judge(proposal: &Proposal<'_>, consumers: &[Consumer<'_>]) -> Result<Vec<ConsumerVerdict>> {
    consumers.iter().map(|consumer| judge_one(proposal, consumer)).collect()
}

/// Why who reads `reads` with the schema `reader` cannot read data of `writer`; empty if it can.
/// Fields that `reader` does not have are left out.
///
/// # Errors
///
/// As [`judge`].
pub fn unreadable(
    reader: &Schema,
    reads: &Reads,
    writer: &Schema,
    direction: Direction,
) -> Result<Vec<Finding>> {
    Ok(View::of(reader, reads)?.0.unreadable(writer, direction))
}

/// A schema as a consumer reads with it.
enum View<'s> {
    Whole(&'s Schema),
    Part(Projection<'s>),
}

impl<'s> View<'s> {
    /// With the fields that the schema does not have.
    fn of(reader: &'s Schema, reads: &Reads) -> Result<(Self, Vec<FieldPath>)> {
        Ok(match reads {
            Reads::All => (Self::Whole(reader), Vec::new()),
            Reads::Fields(paths) => {
                let (projection, unknown) = project_exactly(reader, paths)?;
                (Self::Part(projection), unknown)
            }
        })
    }

    fn unreadable(&self, writer: &Schema, direction: Direction) -> Vec<Finding> {
        match self {
            Self::Whole(reader) => explain(reader, writer, direction),
            Self::Part(projection) => explain_projected(projection, writer, direction),
        }
    }
}

/// What `proposal` does to one consumer.
///
/// # Errors
///
/// As [`judge`].
pub fn judge_one(proposal: &Proposal<'_>, consumer: &Consumer<'_>) -> Result<ConsumerVerdict> {
    let mut verdict = ConsumerVerdict {
        consumer: consumer.name.to_owned(),
        effect: Effect::Unaffected,
        harms: Vec::new(),
        unknown: Vec::new(),
    };
    let harms = |written, findings: Vec<Finding>| {
        findings.into_iter().map(move |finding| Harm { written, finding })
    };
    let reader = consumer.reader.or(proposal.latest);
    if let Some(reader) = reader {
        let (view, unknown) = View::of(reader, consumer.reads)?;
        verdict.unknown = unknown;
        let findings = view.unreadable(proposal.candidate, Direction::Forward);
        verdict.harms.extend(harms(Written::Candidate, findings));
    }
    if proposal.pending && !consumer.pending.is_empty() {
        // Who reads with the newest schema that it knows will read what is pending with the new one.
        let (view, _) = View::of(consumer.reader.unwrap_or(proposal.candidate), consumer.reads)?;
        let mut harmful = 0;
        for (version, writer) in consumer.pending {
            let findings = view.unreadable(writer, Direction::Backward);
            harmful += usize::from(!findings.is_empty());
            verdict.harms.extend(harms(Written::Version(*version), findings));
            if harmful == HARMFUL_VERSIONS_MAX {
                break;
            }
        }
    }
    verdict.effect = if !verdict.harms.is_empty() {
        Effect::Hurt
    } else if reader.map_or(Ok(false), |reader| touched(proposal, consumer, reader))? {
        Effect::Readable
    } else {
        Effect::Unaffected
    };
    Ok(verdict)
}

/// Whether something that the consumer reads is not as it was in the newest version, or, without
/// one, as the consumer knows it.
fn touched(proposal: &Proposal<'_>, consumer: &Consumer<'_>, reader: &Schema) -> Result<bool> {
    let (old, new) = (proposal.latest.unwrap_or(reader), proposal.candidate);
    let Reads::Fields(paths) = consumer.reads else {
        return Ok(diff(old, new).concerns_data());
    };
    let (old, missing_before) = project_exactly(old, paths)?;
    let (new, missing_now) = project_exactly(new, paths)?;
    Ok(missing_before != missing_now || diff(&old.schema, &new.schema).concerns_data())
}

#[cfg(test)]
mod tests;
