//! What stands against a new schema of a subject.

use std::collections::BTreeSet;

use tidemesh_avro::consumption::ConsumerVerdict;

use super::consumption::judge_consumers;
use crate::avro::{self, Candidate, Objection, Parser};
use crate::consumer::Observed;
use crate::level::CompatibilityLevel;
use crate::metadata::Metadata;
use crate::refusal::Refusal;
use crate::setting::Setting;
use crate::state::{Filter, State, Version};

/// How many earlier versions an explanation names, from the newest back; an answer has to end, and
/// one version is enough to refuse.
const OFFENDED_VERSIONS_MAX: usize = 8;

/// The property that names fields which may not be used.
const RESERVED_PROPERTY: &str = "confluent:reserved";

/// Whether a schema may follow those of a subject.
#[derive(Debug)]
pub(crate) struct Question<'q> {
    pub(crate) candidate: &'q Candidate,
    pub(crate) metadata: Option<&'q Metadata>,
    /// In place of the level that holds.
    pub(crate) level: Option<CompatibilityLevel>,
    /// The one version that counts.
    pub(crate) only: Option<Version>,
    /// Who reads the subject's data, beside those that have registered.
    pub(crate) observed: &'q Observed,
    /// Whether to say of each consumer what becomes of it, even if that does not decide.
    pub(crate) of_consumers: bool,
}

impl<'q> Question<'q> {
    pub(crate) fn of(candidate: &'q Candidate, observed: &'q Observed) -> Self {
        let (metadata, level, only) = (None, None, None);
        Self { candidate, metadata, level, only, observed, of_consumers: false }
    }
}

/// What stands against it.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The level that was judged by.
    pub(crate) level: CompatibilityLevel,
    /// What is wrong about reserved fields, in words.
    pub(crate) reserved: Vec<String>,
    /// What earlier versions have against it, the newest first.
    pub(crate) objections: Vec<Objection>,
    /// What becomes of each consumer, if that was asked or decides.
    pub(crate) consumers: Vec<ConsumerVerdict>,
}

impl Judged {
    pub(crate) fn is_compatible(&self) -> bool {
        let hurt = self.consumers.iter().any(|verdict| !verdict.harms.is_empty());
        let hurts = hurt && self.level == CompatibilityLevel::Consumers;
        self.reserved.is_empty() && self.objections.is_empty() && !hurts
    }

    /// Why it may not follow, in the form of Confluent's answers; nothing, if it may.
    pub(crate) fn messages(&self) -> Vec<String> {
        let mut messages = self.reserved.clone();
        messages.extend(avro::messages(self.level, &self.objections));
        if self.level == CompatibilityLevel::Consumers {
            messages.extend(avro::consumer_messages(&self.consumers));
        }
        messages
    }
}

/// Judges a schema for a subject.
pub(crate) fn judge(
    state: &State,
    parser: &Parser,
    subject: &str,
    question: &Question<'_>,
) -> Result<Judged, Refusal> {
    let setting = state.setting_in_scope(subject);
    let level = question.level.or(setting.compatibility_level).unwrap_or_default();
    let history: Vec<&Version> = match &question.only {
        Some(only) => vec![only],
        None => state.versions(subject, Filter::Live).collect(),
    };
    let reserved = reserved(state, &setting, subject, question, &history);
    let history = of_group(state, &setting, subject, question.metadata, &history);
    let objections = objections(state, parser, subject, question.candidate, level, &history)?;
    let decides = level == CompatibilityLevel::Consumers;
    let consumers = if decides || question.of_consumers {
        judge_consumers(state, parser, subject, question)?
    } else {
        Vec::new()
    };
    Ok(Judged { level, reserved, objections, consumers })
}

fn objections(
    state: &State,
    parser: &Parser,
    subject: &str,
    candidate: &Candidate,
    level: CompatibilityLevel,
    history: &[&Version],
) -> Result<Vec<Objection>, Refusal> {
    let count = match level {
        CompatibilityLevel::None | CompatibilityLevel::Consumers => 0,
        level if level.transitive() => history.len(),
        _ => 1,
    };
    let mut objections = Vec::new();
    let mut versions = 0;
    for version in history.iter().rev().take(count) {
        let old = parser.resolve_version(state, subject, version)?;
        let found = avro::objections(level, candidate, version.number, &old);
        versions += usize::from(!found.is_empty());
        objections.extend(found);
        if versions == OFFENDED_VERSIONS_MAX {
            break;
        }
    }
    Ok(objections)
}

/// The versions with the same value of the property that makes groups.
fn of_group<'a>(
    state: &State,
    setting: &Setting,
    subject: &str,
    metadata: Option<&Metadata>,
    history: &[&'a Version],
) -> Vec<&'a Version> {
    let Some(group) = &setting.compatibility_group else { return history.to_vec() };
    let own = metadata.and_then(|metadata| metadata.property(group));
    let same = |version: &&&Version| {
        let stored =
            state.schema_of(subject, version).and_then(|schema| schema.metadata.as_deref());
        stored.and_then(|metadata| metadata.property(group)) == own
    };
    history.iter().filter(same).copied().collect()
}

/// Fields that metadata reserves must stay reserved and unused, where that is checked.
fn reserved(
    state: &State,
    setting: &Setting,
    subject: &str,
    question: &Question<'_>,
    history: &[&Version],
) -> Vec<String> {
    if setting.validate_fields != Some(true) {
        return Vec::new();
    }
    let names = |metadata: Option<&Metadata>| -> BTreeSet<String> {
        let list = metadata.and_then(|metadata| metadata.property(RESERVED_PROPERTY));
        let names = list.unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let new = names(question.metadata);
    let last = history.last().and_then(|version| state.schema_of(subject, version));
    let old = names(last.and_then(|schema| schema.metadata.as_deref()));
    let removed = old.difference(&new).map(|name| {
        format!(
            "The new schema has reserved field {name} removed from its metadata \
             which is present in the old schema's metadata."
        )
    });
    let fields = question.candidate.field_names();
    let used = new.iter().filter(|name| fields.contains(&name.as_str())).map(|name| {
        format!("The new schema has field that conflicts with the reserved field {name}.")
    });
    removed.chain(used).collect()
}
