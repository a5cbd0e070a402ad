//! Compatibility levels over a subject's history, and the messages that Confluent's registry gives.

use super::{Incompatibility, IncompatibilityKind, incompatibilities};
use crate::schema::Schema;
use std::fmt;
use std::str::FromStr;
use tidemesh_model::{Error, ErrorKind};

/// What a new schema of a subject must be able to do (Confluent, "Schema Evolution and
/// Compatibility").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CompatibilityLevel {
    /// Anything goes.
    None,
    /// The new one reads what the last one wrote.
    #[default]
    Backward,
    /// The new one reads what any earlier one wrote.
    BackwardTransitive,
    /// The last one reads what the new one writes.
    Forward,
    /// Every earlier one reads what the new one writes.
    ForwardTransitive,
    /// Backward and forward.
    Full,
    /// Backward and forward, with every earlier one.
    FullTransitive,
    /// No consumer is hurt ([`crate::consumption`]). Not Confluent's; no version counts by itself.
    Consumers,
}

impl CompatibilityLevel {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
        Self::Consumers,
    ];

    /// Confluent's spelling.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
            Self::Consumers => "CONSUMERS",
        }
    }

    /// Whether all earlier versions count, not the last alone.
    #[must_use]
    pub fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    /// The versions that a new schema is judged against, newest first, of those before it, oldest
    /// first.
    pub fn versions<'h>(
        self,
        history: &'h [(u32, &'h Schema)],
    ) -> impl Iterator<Item = (u32, &'h Schema)> {
        let count = if self.transitive() { history.len() } else { 1 };
        history.iter().rev().take(count).copied()
    }

    /// Who must be able to read whose data, in the order of Confluent's answers.
    #[must_use]
    pub fn directions(self) -> &'static [Direction] {
        match self {
            Self::None | Self::Consumers => &[],
            Self::Backward | Self::BackwardTransitive => &[Direction::Backward],
            Self::Forward | Self::ForwardTransitive => &[Direction::Forward],
            // Confluent lists what the old reader misses first.
            Self::Full | Self::FullTransitive => &[Direction::Forward, Direction::Backward],
        }
    }
}

impl fmt::Display for CompatibilityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CompatibilityLevel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text)).ok_or_else(
            || Error::new(ErrorKind::Malformed, "read a compatibility level").with("level", text),
        )
    }
}

/// Who reads whose data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The new schema reads what the old one wrote.
    Backward,
    /// The old schema reads what the new one writes.
    Forward,
}

impl Direction {
    /// Its name in API answers: that of the level which asks for it alone.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backward => "BACKWARD",
            Self::Forward => "FORWARD",
        }
    }

    /// The reader and the writer, in this order.
    #[must_use]
    pub fn roles<'s>(self, new: &'s Schema, old: &'s Schema) -> (&'s Schema, &'s Schema) {
        match self {
            Self::Backward => (new, old),
            Self::Forward => (old, new),
        }
    }
}

/// One earlier version that stands against the new schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// The version.
    pub version: u32,
    /// Its text, as the registry stores it.
    pub schema: String,
    /// Who cannot read whose data.
    pub direction: Direction,
    /// Why.
    pub incompatibilities: Vec<Incompatibility>,
}

/// What stands against a new schema; nothing, if it is compatible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The level that was judged by.
    pub level: CompatibilityLevel,
    /// The versions, newest first: Confluent's order.
    pub offences: Vec<Offence>,
}

/// Judges `new` by `level` against the versions before it, oldest first.
#[must_use]
pub fn check_level(level: CompatibilityLevel, new: &Schema, history: &[(u32, &Schema)]) -> Verdict {
    let mut offences = Vec::new();
    for (version, old) in level.versions(history) {
        for direction in level.directions() {
            let (reader, writer) = direction.roles(new, old);
            let incompatibilities = incompatibilities(reader, writer);
            if !incompatibilities.is_empty() {
                let schema = old.registry_text();
                offences.push(Offence {
                    version,
                    schema,
                    direction: *direction,
                    incompatibilities,
                });
            }
        }
    }
    Verdict { level, offences }
}

impl Verdict {
    /// Whether nothing stands against the schema.
    #[must_use]
    pub fn compatible(&self) -> bool {
        self.offences.is_empty()
    }

    /// Confluent's messages: each reason, then the version and schema that it stands against.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.messages_with(|_, _| Vec::new())
    }

    /// The same, with what `beside` says after each reason: of an offence and its reason, by their
    /// places.
    pub fn messages_with(
        &self,
        mut beside: impl FnMut(usize, usize) -> Vec<String>,
    ) -> Vec<String> {
        let mut messages = Vec::new();
        for (index, offence) in self.offences.iter().enumerate() {
            for (place, found) in offence.incompatibilities.iter().enumerate() {
                messages.push(describe(found, offence.direction));
                messages.extend(beside(index, place));
            }
            let last_of_version =
                self.offences.get(index + 1).is_none_or(|next| next.version != offence.version);
            if last_of_version {
                messages.push(format!("{{oldSchemaVersion: {}}}", offence.version));
                messages.push(format!("{{oldSchema: '{}'}}", offence.schema));
            }
        }
        if !messages.is_empty() {
            let level = self.level;
            messages.push(format!("{{validateFields: 'false', compatibility: '{level}'}}"));
        }
        messages
    }
}

/// One reason as Confluent's `Difference` prints it.
fn describe(found: &Incompatibility, direction: Direction) -> String {
    let (reader, writer) = match direction {
        Direction::Backward => ("new", "old"),
        Direction::Forward => ("old", "new"),
    };
    let (path, message) = (&found.path, &found.message);
    let description = match found.kind {
        IncompatibilityKind::FixedSizeMismatch => format!(
            "The size of FIXED type field at path '{path}' in the {reader} schema does not match with the {writer} schema"
        ),
        IncompatibilityKind::TypeMismatch => format!(
            "The type (path '{path}') of a field in the {reader} schema does not match with the {writer} schema"
        ),
        IncompatibilityKind::NameMismatch => {
            format!("The name of the schema has changed (path '{path}')")
        }
        IncompatibilityKind::MissingEnumSymbols => format!(
            "The {reader} schema is missing enum symbols '{message}' at path '{path}' in the {writer} schema"
        ),
        IncompatibilityKind::MissingUnionBranch => format!(
            "The {reader} schema is missing a type inside a union field at path '{path}' in the {writer} schema"
        ),
        IncompatibilityKind::ReaderFieldMissingDefaultValue => format!(
            "The field '{message}' at path '{path}' in the {reader} schema has no default value and is missing in the {writer} schema"
        ),
    };
    let kind = found.kind.name();
    format!("{{errorType:'{kind}', description:'{description}', additionalInfo:'{message}'}}")
}
