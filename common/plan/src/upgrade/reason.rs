//! Why something cannot be, in words for people and in terms for programs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a field is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "loss", rename_all = "snake_case")]
pub enum Loss {
    /// It is gone.
    Dropped,
    /// It has another name.
    Renamed {
        /// The new one.
        to: String,
    },
    /// Its type is one by which it does not mean the same, or of which some values have no place.
    Changed {
        /// The type that is read, in short.
        from: String,
        /// The type that is written, in short.
        to: String,
    },
    /// Records of another schema lack it, and it has no default.
    NoDefault,
    /// The columns that are taken have to be resolved, which something within them does not allow.
    Unresolved {
        /// Where, as Avro Java gives it.
        place: String,
    },
    /// The records' key is another.
    Key,
    /// The records are of another form: an envelope, a flat record, a row.
    Form,
}

impl Loss {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Renamed { .. } => "renamed",
            Self::Changed { .. } => "changed",
            Self::NoDefault => "no_default",
            Self::Unresolved { .. } => "unresolved",
            Self::Key => "key",
            Self::Form => "form",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => f.write_str("is gone"),
            Self::Renamed { to } => write!(f, "is called {to} now"),
            Self::Changed { from, to } => write!(f, "was {from} and is {to} now"),
            Self::NoDefault => f.write_str("is not in older records, and has no default"),
            Self::Unresolved { place } => write!(f, "cannot be read by resolution, for {place}"),
            Self::Key => f.write_str("has another key now"),
            Self::Form => f.write_str("has records of another form now"),
        }
    }
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A field that is read is not what it was.
    Lost,
    /// Records that still stand in the topic cannot be read by the new plan.
    Pending,
    /// The documents' SQL, or a processor's declaration, does not fit what there is now.
    Plan,
    /// The output's key would be another.
    OutputKey,
    /// The output's subject refuses the new schema.
    OutputSubject,
    /// A consumer of the output could not read it, and its subject's level is CONSUMERS.
    Consumer,
    /// The document says `evolution: pinned`.
    Pinned,
    /// The document says `evolution: manual`.
    Manual,
    /// The topic is gone, or is none that rows can be read from.
    Topic,
    /// The new plan failed in its canary.
    Canary,
}

/// Why a pipeline cannot go on, or cannot have a new plan, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reason {
    /// What stands in the way.
    pub rule: Rule,
    /// The input or output that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
    /// The field, by its names in Avro joined by points, from the row on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The first processor of the pipeline that reads it, or that is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processor: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would help.
    pub remedy: String,
}

impl Reason {
    pub(super) fn new(rule: Rule, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self { rule, at: None, field: None, processor: None, message, remedy }
    }

    pub(super) fn at(mut self, at: &str) -> Self {
        self.at = Some(at.to_owned());
        self
    }

    pub(super) fn field(mut self, path: &[String]) -> Self {
        self.field = (!path.is_empty()).then(|| path.join("."));
        self
    }

    pub(super) fn processor(mut self, processor: Option<String>) -> Self {
        self.processor = processor;
        self
    }
}

impl fmt::Display for Reason {
    /// `orders.note, read by paid: note is gone; select another field …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.at.iter().chain(&self.field).map(String::as_str);
        f.write_str(&place.collect::<Vec<_>>().join("."))?;
        if let Some(processor) = &self.processor {
            write!(f, "{}read by {processor}", if self.at.is_some() { ", " } else { "" })?;
        }
        if self.at.is_some() || self.processor.is_some() {
            f.write_str(": ")?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}
