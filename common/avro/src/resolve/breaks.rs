//! What a compiled way to read data cannot read: its steps, seen as the ways to a break. The witness
//! of an incompatibility is searched here.

use super::{Resolver, Step, StepId};
use crate::schema::NodeId;

/// A lenient resolver with the types that its steps read.
pub(crate) struct LenientPlan {
    pub(crate) resolver: Resolver,
    /// For each step the writer's type.
    pub(super) types: Vec<NodeId>,
}

/// How data that one step reads can break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Break {
    /// By itself not.
    Never,
    /// All data does.
    Always,
    /// Only these of an enum's symbols, by their places.
    Symbols(Vec<usize>),
    /// By an element, or a value.
    Element(StepId),
    /// By a field that is read: its place in the writer's record, and the step.
    Fields(Vec<(usize, StepId)>),
    /// By a branch of the writer's union, at its place.
    Branches(Vec<StepId>),
    /// As this step does, which reads the same data.
    Same(StepId),
}

impl LenientPlan {
    pub(crate) fn root(&self) -> StepId {
        self.resolver.program.root
    }

    pub(crate) fn steps(&self) -> usize {
        self.types.len()
    }

    /// The writer's type that a step reads.
    pub(crate) fn type_of(&self, step: StepId) -> NodeId {
        self.types[step]
    }

    /// Bytes that are no text break a reader of text, but that is their writer's fault and no
    /// incompatibility: the checker calls the pair compatible.
    pub(crate) fn break_of(&self, step: StepId) -> Break {
        match &self.resolver.program.steps[step] {
            Step::Leaf(_) => Break::Never,
            Step::Unreadable(_) => Break::Always,
            Step::Enum(symbols) => Break::Symbols(
                (0..symbols.len()).filter(|place| symbols[*place].is_none()).collect(),
            ),
            Step::Array(element) | Step::Map(element) => Break::Element(*element),
            Step::Record { fields, .. } => Break::Fields(
                fields
                    .iter()
                    .enumerate()
                    .flat_map(|(place, field)| {
                        field.taken_by.iter().map(move |(_, step)| (place, *step))
                    })
                    .collect(),
            ),
            Step::Choice(branches) => Break::Branches(branches.clone()),
            Step::Branch(value) => Break::Same(*value),
        }
    }
}
