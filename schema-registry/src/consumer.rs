//! Who reads a subject's data, and what of it: for the level `CONSUMERS`, which judges a change by what
//! is really read.
//!
//! A consumer registers itself with the fields that it reads. Consumer groups that have registered
//! nothing are told of by whoever knows the log ([`GroupWatch`]), and count as reading everything.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemesh_avro::consumption::Reads;
use tidemesh_avro::project::FieldPath;
use tidemesh_model::Error;

use crate::refusal::Refusal;

/// The longest name of a consumer or group in bytes.
pub const CONSUMER_NAME_BYTES_MAX: usize = 255;

/// The most fields that one consumer names.
pub const CONSUMER_FIELDS_MAX: usize = 1_000;

/// The longest that the names of a consumer's fields are together, in bytes.
pub const CONSUMER_BYTES_MAX: usize = 64 * 1024;

/// The most consumers of one subject.
pub const CONSUMERS_MAX: usize = 1_000;

/// The most consumers of one registry.
pub const REGISTRY_CONSUMERS_MAX: usize = 100_000;

/// What a consumer of a subject has registered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Consumer {
    /// The fields that it reads, as names joined by points; absent, it reads everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeSet<String>>,
    /// The version of the subject that it reads with; absent, it follows the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its consumer group; absent, the group has the consumer's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Consumer {
    /// What it reads, as the judge wants it.
    ///
    /// # Errors
    ///
    /// 422, naming the field that is none.
    pub(crate) fn reads(&self) -> Result<Reads, Refusal> {
        self.fields.as_ref().map_or(Ok(Reads::All), reads)
    }

    /// Refuses what is out of bounds.
    pub(crate) fn check(&self, name: &str) -> Result<(), Refusal> {
        let wrong = |what: String| Err(Refusal::InvalidConsumer(what));
        for (what, text) in [("name", name), ("group", self.group.as_deref().unwrap_or(name))] {
            if text.is_empty() || text.len() > CONSUMER_NAME_BYTES_MAX {
                return wrong(format!(
                    "a consumer's {what} has 1 to {CONSUMER_NAME_BYTES_MAX} bytes"
                ));
            }
        }
        if self.fields.as_ref().is_some_and(|fields| fields.len() > CONSUMER_FIELDS_MAX) {
            return wrong(format!("a consumer names at most {CONSUMER_FIELDS_MAX} fields"));
        }
        if self.fields.iter().flatten().map(String::len).sum::<usize>() > CONSUMER_BYTES_MAX {
            return wrong(format!("a consumer's fields have at most {CONSUMER_BYTES_MAX} bytes"));
        }
        self.reads().map(|_| ())
    }
}

/// These fields, as the judge wants them.
///
/// # Errors
///
/// 422, naming the field that is none.
pub(crate) fn reads(fields: &BTreeSet<String>) -> Result<Reads, Refusal> {
    let path = |text: &String| {
        text.parse::<FieldPath>().map_err(|error| Refusal::InvalidConsumer(said(&error)))
    };
    fields.iter().map(path).collect::<Result<_, _>>().map(Reads::Fields)
}

/// An error in one sentence, with where it is.
pub(crate) fn said(error: &Error) -> String {
    let mut text = error.message().map_or_else(|| error.to_string(), str::to_owned);
    if let Some((_, path)) = error.context().iter().find(|(name, _)| *name == "path") {
        text.push_str(": ");
        text.push_str(path);
    }
    text
}

/// A consumer group of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The ids of the schemas that stand between its committed offsets and the log's end; none if that
    /// is too much to be looked at, and every version of the subject counts.
    pub pending: Option<BTreeSet<u32>>,
}

/// What is known of a log's consumer groups when a change is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Observed {
    /// There is no log to ask.
    #[default]
    NoLog,
    /// Nobody has asked: the level was another when the schema came.
    NotAsked,
    /// These groups read the topic.
    Groups {
        groups: Arc<[Group]>,
        /// The subject's newest version then: data of later ones may have come since.
        known: u32,
    },
}

impl Observed {
    pub(crate) fn groups(&self) -> &[Group] {
        match self {
            Self::Groups { groups, .. } => groups,
            Self::NoLog | Self::NotAsked => &[],
        }
    }

    /// What is pending for a group. One that has committed nothing may begin anywhere.
    pub(crate) fn pending(&self, group: &str) -> Option<&BTreeSet<u32>> {
        self.groups().iter().find(|known| known.name == group)?.pending.as_ref()
    }

    /// The versions behind this one may be pending for everybody.
    pub(crate) fn known(&self) -> u32 {
        match self {
            Self::Groups { known, .. } => *known,
            Self::NoLog | Self::NotAsked => 0,
        }
    }
}

/// Knows the consumer groups of topics.
pub trait GroupWatch: Send + Sync + std::fmt::Debug {
    /// The groups that have committed offsets in the topic of this subject of the default context
    /// (`TOPIC-key` or `TOPIC-value`); none for a subject of another kind, or without a topic.
    ///
    /// # Errors
    ///
    /// What keeps the log from answering: nothing is judged then.
    fn groups<'a>(
        &'a self,
        subject: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Group>, Error>> + Send + 'a>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, consumer: &Consumer) -> String {
        consumer.check(name).unwrap_err().message()
    }

    #[test]
    fn a_consumer_is_within_bounds() {
        let fields = |names: &[&str]| Consumer {
            fields: Some(names.iter().map(ToString::to_string).collect()),
            ..Consumer::default()
        };
        assert!(fields(&["id", "customer.zip"]).check("billing").is_ok());
        assert!(refused("", &Consumer::default()).contains("1 to 255 bytes"));
        assert!(refused("billing", &fields(&["customer..zip"])).contains("customer..zip"));
        let many: Vec<String> = (0..=CONSUMER_FIELDS_MAX).map(|n| format!("f{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(refused("billing", &fields(&many)).contains("at most 1000 fields"));
    }

    #[test]
    fn who_names_no_fields_reads_everything_and_who_names_none_reads_nothing() {
        assert_eq!(Consumer::default().reads().unwrap(), Reads::All);
        let none = Consumer { fields: Some(BTreeSet::new()), ..Consumer::default() };
        assert_eq!(none.reads().unwrap(), Reads::Fields(BTreeSet::new()));
    }
}
