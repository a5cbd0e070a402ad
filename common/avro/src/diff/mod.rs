//! What changed from one schema to another, in words and not in lines: for `tidemesh schema diff`,
//! the registry's API and the judging of consumption. Pure.
//!
//! Fields are matched by name, then by the new field's aliases; named types where they stand, not by
//! name; branches by their type. A type is compared with another once: what changed within a type
//! that is used in many places, or recursive, is told where it stands first.
//!
//! Absent here: what a change breaks. [`SchemaDiff`] carries the checker's verdicts beside it, and
//! [`crate::explain`] tells why.

mod change;
mod walk;

pub use change::{Change, Difference};

use crate::compat::{CompatibilityLevel, Direction, Incompatibility, incompatibilities};
use crate::schema::Schema;

/// The most differences that are told.
pub const DIFFERENCES_MAX: usize = 1_000;

/// The differences between two schemas, and what they mean.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaDiff {
    /// What changed: for a record itself first, then its fields in the new order, then what was
    /// removed, in the old order.
    pub differences: Vec<Difference>,
    /// Whether there are more than [`DIFFERENCES_MAX`].
    pub truncated: bool,
    /// Why the new schema cannot read what the old one wrote; empty if it can.
    pub backward: Vec<Incompatibility>,
    /// Why the old schema cannot read what the new one writes; empty if it can.
    pub forward: Vec<Incompatibility>,
}

impl SchemaDiff {
    /// Whether the new schema is compatible with the old one by a level. Transitive levels are
    /// judged by this pair alone.
    #[must_use]
    pub fn compatible(&self, level: CompatibilityLevel) -> bool {
        level.directions().iter().all(|direction| match direction {
            Direction::Backward => self.backward.is_empty(),
            Direction::Forward => self.forward.is_empty(),
        })
    }

    /// The verdicts that people ask for.
    #[must_use]
    pub fn verdicts(&self) -> [(CompatibilityLevel, bool); 3] {
        [CompatibilityLevel::Backward, CompatibilityLevel::Forward, CompatibilityLevel::Full]
            .map(|level| (level, self.compatible(level)))
    }

    /// Whether data, or the reading of it, is another: not documentation and attributes alone.
    #[must_use]
    pub fn concerns_data(&self) -> bool {
        self.truncated || self.differences.iter().any(|each| each.change.concerns_data())
    }
}

/// What changed from `old` to `new`.
#[must_use]
pub fn diff(old: &Schema, new: &Schema) -> SchemaDiff {
    let (differences, truncated) = walk::walk(old, new);
    let (backward, forward) = (incompatibilities(new, old), incompatibilities(old, new));
    SchemaDiff { differences, truncated, backward, forward }
}

#[cfg(test)]
mod tests;
