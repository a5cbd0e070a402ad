//! The bytes of a witness: the cheapest way to the break, and the least of everything beside it.

use super::WITNESS_VALUES_MAX;
use super::cost::{Costs, cheapest_branch};
use crate::datum::DATA_DEPTH_MAX;
use crate::resolve::{Break, LenientPlan};
use crate::schema::{Kind, NodeId, Schema};
use crate::varint::write_length;

/// The empty block that ends an array or map, an empty text, a zero, the first symbol.
const ZERO: u8 = 0;

/// None past a limit. What has no cost was never chosen.
pub(super) fn build(writer: &Schema, plan: &LenientPlan, costs: &Costs) -> Option<Vec<u8>> {
    let mut builder = Builder { writer, plan, costs, out: Vec::new(), values: 0, depth: 0 };
    builder.broken(plan.root())?;
    Some(builder.out)
}

struct Builder<'s> {
    writer: &'s Schema,
    plan: &'s LenientPlan,
    costs: &'s Costs,
    out: Vec<u8>,
    values: usize,
    depth: usize,
}

impl<'s> Builder<'s> {
    /// One level deeper. Unions count here and not in data, which is therefore no deeper.
    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.values += 1;
        if self.values > WITNESS_VALUES_MAX || self.depth >= 2 * DATA_DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        Some(())
    }

    /// The smallest datum of a type.
    fn least(&mut self, id: NodeId) -> Option<()> {
        let schema: &'s Schema = self.writer;
        self.nested(|this| match &schema.node(id).kind {
            Kind::Null => Some(()),
            Kind::Float => this.zeros(4),
            Kind::Double => this.zeros(8),
            Kind::Fixed(size) => this.zeros(*size),
            Kind::Union(branches) => {
                let place = cheapest_branch(this.costs, branches)?;
                write_length(&mut this.out, place);
                this.least(branches[place])
            }
            Kind::Record(fields) => fields.iter().try_for_each(|field| this.least(field.node)),
            _ => this.zeros(1),
        })
    }

    fn zeros(&mut self, count: usize) -> Option<()> {
        self.out.resize(self.out.len().checked_add(count)?, ZERO);
        Some(())
    }

    /// The smallest datum that a step cannot read.
    fn broken(&mut self, step: usize) -> Option<()> {
        let (costs, id) = (self.costs, self.plan.type_of(step));
        self.nested(|this| match costs.break_of(step) {
            Break::Never => None,
            Break::Always => this.least(id),
            Break::Symbols(places) => {
                write_length(&mut this.out, *places.first()?);
                Some(())
            }
            Break::Element(element) => this.element(id, *element),
            Break::Fields(ways) => this.field(id, ways),
            Break::Branches(branches) => {
                let place = costs.branch(branches)?;
                write_length(&mut this.out, place);
                this.broken(branches[place])
            }
            Break::Same(value) => this.broken(*value),
        })
    }

    /// A list or map of one.
    fn element(&mut self, id: NodeId, element: usize) -> Option<()> {
        write_length(&mut self.out, 1);
        if matches!(self.writer.node(id).kind, Kind::Map(_)) {
            self.zeros(1)?;
        }
        self.broken(element)?;
        self.zeros(1)
    }

    /// A record that breaks in one of its fields.
    fn field(&mut self, id: NodeId, ways: &[(usize, usize)]) -> Option<()> {
        let (way, _) = self.costs.field(self.writer, id, ways)?;
        let (broken, step) = ways[way];
        let schema: &'s Schema = self.writer;
        let Kind::Record(fields) = &schema.node(id).kind else {
            return None;
        };
        fields.iter().enumerate().try_for_each(|(place, field)| {
            if place == broken { self.broken(step) } else { self.least(field.node) }
        })
    }
}
