//! How many bytes the smallest datum of each type takes, and the smallest that breaks: least fixed
//! points over types that may be recursive.

use super::WITNESS_WORK_MAX;
use crate::datum::DATA_DEPTH_MAX;
use crate::resolve::{Break, LenientPlan};
use crate::schema::{Field, Kind, NodeId, Schema};
use std::collections::HashMap;

/// The cost of what cannot be.
pub(super) const NEVER: u64 = u64::MAX;

/// The most rounds: a datum as deep as is allowed needs one a level, and a step of the reader's
/// union is one more.
const ROUNDS_MAX: usize = 2 * DATA_DEPTH_MAX;

/// A block's count of one, and the end of blocks.
const ONE_ELEMENT_BYTES: u64 = 2;

/// The length of an empty key.
const EMPTY_KEY_BYTES: u64 = 1;

pub(super) struct Costs {
    least: HashMap<NodeId, u64>,
    breaks: Vec<Break>,
    broken: Vec<u64>,
}

impl Costs {
    /// None past [`WITNESS_WORK_MAX`].
    pub(super) fn new(writer: &Schema, plan: &LenientPlan) -> Option<Self> {
        let mut work = Work(WITNESS_WORK_MAX);
        let least = least(writer, &mut work)?;
        let breaks: Vec<Break> = (0..plan.steps()).map(|step| plan.break_of(step)).collect();
        let broken = vec![NEVER; breaks.len()];
        let mut costs = Self { least, breaks, broken };
        costs.settle(writer, plan, &mut work)?;
        Some(costs)
    }

    /// The bytes of the smallest datum of a type; [`NEVER`] if all of its data is endless.
    pub(super) fn of(&self, id: NodeId) -> u64 {
        self.least.get(&id).copied().unwrap_or(NEVER)
    }

    /// The bytes of the smallest datum that a step cannot read; [`NEVER`] if there is none.
    pub(super) fn of_break(&self, step: usize) -> u64 {
        self.broken[step]
    }

    pub(super) fn break_of(&self, step: usize) -> &Break {
        &self.breaks[step]
    }

    /// Whether some step refuses data, though maybe none that ends.
    pub(super) fn breaks_somewhere(&self) -> bool {
        self.breaks.iter().any(|each| match each {
            Break::Always => true,
            Break::Symbols(places) => !places.is_empty(),
            _ => false,
        })
    }

    fn settle(&mut self, writer: &Schema, plan: &LenientPlan, work: &mut Work) -> Option<()> {
        for _ in 0..ROUNDS_MAX {
            let mut changed = false;
            // Inner steps have the higher numbers, mostly.
            for step in (0..self.breaks.len()).rev() {
                work.spend(1 + ways(&self.breaks[step]))?;
                let cost = self.cheapest(writer, plan.type_of(step), step);
                changed |= cost < self.broken[step];
                self.broken[step] = cost;
            }
            if !changed {
                break;
            }
        }
        Some(())
    }

    fn cheapest(&self, writer: &Schema, id: NodeId, step: usize) -> u64 {
        match &self.breaks[step] {
            Break::Never => NEVER,
            Break::Always => self.of(id),
            Break::Symbols(places) => places.first().map_or(NEVER, |place| place_bytes(*place)),
            Break::Element(element) => {
                let key = match writer.node(id).kind {
                    Kind::Map(_) => EMPTY_KEY_BYTES,
                    _ => 0,
                };
                self.broken[*element].saturating_add(ONE_ELEMENT_BYTES + key)
            }
            Break::Fields(fields) => self.field(writer, id, fields).map_or(NEVER, |(_, cost)| cost),
            Break::Branches(branches) => {
                self.branch(branches).map_or(NEVER, |place| self.branch_cost(branches, place))
            }
            Break::Same(value) => self.broken[*value],
        }
    }

    /// Which way through a record's fields is cheapest, and the record's bytes then.
    pub(super) fn field(
        &self,
        writer: &Schema,
        id: NodeId,
        ways: &[(usize, usize)],
    ) -> Option<(usize, u64)> {
        let Kind::Record(fields) = &writer.node(id).kind else {
            return None;
        };
        let sum = Sum::of(fields, |field| self.of(field.node));
        let with = |(place, step): &(usize, usize)| {
            sum.without(self.of(fields[*place].node)).saturating_add(self.broken[*step])
        };
        let costs = ways.iter().map(with).enumerate();
        costs.min_by_key(|(_, cost)| *cost).filter(|(_, cost)| *cost < NEVER)
    }

    /// Which branch breaks most cheaply.
    pub(super) fn branch(&self, branches: &[usize]) -> Option<usize> {
        let cost = |place: &usize| self.branch_cost(branches, *place);
        (0..branches.len()).min_by_key(cost).filter(|place| cost(place) < NEVER)
    }

    fn branch_cost(&self, branches: &[usize], place: usize) -> u64 {
        self.broken[branches[place]].saturating_add(place_bytes(place))
    }
}

/// The sum of costs, some of which may be [`NEVER`].
struct Sum {
    finite: u64,
    nevers: usize,
}

impl Sum {
    fn of(fields: &[Field], cost: impl Fn(&Field) -> u64) -> Self {
        fields.iter().map(cost).fold(Self { finite: 0, nevers: 0 }, |sum, cost| match cost {
            NEVER => Self { nevers: sum.nevers + 1, ..sum },
            cost => Self { finite: sum.finite.saturating_add(cost), ..sum },
        })
    }

    fn without(&self, cost: u64) -> u64 {
        let (finite, nevers) = match cost {
            NEVER => (self.finite, self.nevers.saturating_sub(1)),
            cost => (self.finite.saturating_sub(cost), self.nevers),
        };
        if nevers > 0 { NEVER } else { finite }
    }
}

struct Work(usize);

impl Work {
    fn spend(&mut self, work: usize) -> Option<()> {
        self.0 = self.0.checked_sub(work)?;
        Some(())
    }
}

fn ways(each: &Break) -> usize {
    match each {
        Break::Fields(fields) => fields.len(),
        Break::Branches(branches) => branches.len(),
        _ => 1,
    }
}

/// The bytes of a place in a list: a zigzag varint.
pub(super) fn place_bytes(place: usize) -> u64 {
    let zigzag = u64::try_from(place).unwrap_or(NEVER).saturating_mul(2);
    u64::from((64 - (zigzag | 1).leading_zeros()).div_ceil(7))
}

/// The cheapest branch of a union, by its place.
pub(super) fn cheapest_branch(costs: &Costs, branches: &[NodeId]) -> Option<usize> {
    cheapest_of(branches, |branch| costs.of(branch)).map(|(place, _)| place)
}

fn cheapest_of(branches: &[NodeId], cost: impl Fn(NodeId) -> u64) -> Option<(usize, u64)> {
    let costs = branches.iter().enumerate();
    costs
        .map(|(place, branch)| (place, cost(*branch).saturating_add(place_bytes(place))))
        .min_by_key(|(_, cost)| *cost)
        .filter(|(_, cost)| *cost < NEVER)
}

/// The smallest datum of each type that the root reaches.
fn least(schema: &Schema, work: &mut Work) -> Option<HashMap<NodeId, u64>> {
    let types = reachable(schema);
    let mut least: HashMap<NodeId, u64> = types.iter().map(|id| (*id, NEVER)).collect();
    for _ in 0..ROUNDS_MAX {
        let mut changed = false;
        for id in types.iter().rev() {
            let kind = &schema.node(*id).kind;
            work.spend(1 + children(kind).count())?;
            let cost = least_of(kind, |id| least.get(&id).copied().unwrap_or(NEVER));
            changed |= least.insert(*id, cost).is_none_or(|before| cost < before);
        }
        if !changed {
            break;
        }
    }
    Some(least)
}

fn least_of(kind: &Kind, cost: impl Fn(NodeId) -> u64) -> u64 {
    match kind {
        Kind::Null => 0,
        Kind::Boolean | Kind::Int | Kind::Long | Kind::Bytes | Kind::String => 1,
        Kind::Array(_) | Kind::Map(_) => 1,
        Kind::Float => 4,
        Kind::Double => 8,
        Kind::Fixed(size) => u64::try_from(*size).unwrap_or(NEVER),
        Kind::Enum { symbols, .. } if symbols.is_empty() => NEVER,
        Kind::Enum { .. } => 1,
        Kind::Union(branches) => cheapest_of(branches, cost).map_or(NEVER, |(_, cost)| cost),
        Kind::Record(fields) => Sum::of(fields, |field| cost(field.node)).without(0),
    }
}

fn children(kind: &Kind) -> impl Iterator<Item = NodeId> {
    let (inner, branches, fields): (Option<NodeId>, &[NodeId], &[Field]) = match kind {
        Kind::Array(inner) | Kind::Map(inner) => (Some(*inner), &[], &[]),
        Kind::Union(branches) => (None, branches, &[]),
        Kind::Record(fields) => (None, &[], fields),
        _ => (None, &[], &[]),
    };
    inner.into_iter().chain(branches.iter().copied()).chain(fields.iter().map(|field| field.node))
}

/// The types that the root reaches, each once.
pub(super) fn reachable(schema: &Schema) -> Vec<NodeId> {
    let mut seen = std::collections::HashSet::from([schema.root()]);
    let (mut found, mut stack) = (Vec::new(), vec![schema.root()]);
    while let Some(id) = stack.pop() {
        found.push(id);
        stack.extend(children(&schema.node(id).kind).filter(|child| seen.insert(*child)));
    }
    found
}
