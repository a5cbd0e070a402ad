//! What a plan still gets of the fields that it reads, if records are written with another schema than
//! the one that it was planned with.
//!
//! Avro's resolution is not enough to say so: of a field that is gone it makes the default, silently,
//! and a logical type means nothing to it. And a chain reads as it reads: where what it takes has the
//! same type, by the fields' names alone, else by resolving the columns that it takes (`processors/fused/row.rs`).

use super::reason::Loss;
use crate::mesh::Path;
use crate::relation::{Form, Relation};
use crate::sql::types::{may_be_null, nullable_branch};
use std::collections::BTreeSet;
use tidemesh_avro::compat::incompatibilities;
use tidemesh_avro::project::{FieldPath, project};
use tidemesh_avro::schema::{Field, Kind, Logical, NodeId, Schema};

/// A field that a reader does not get, or not as it was, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lost {
    /// Its names in Avro, from the row on; empty for the whole record.
    pub(super) path: Path,
    pub(super) loss: Loss,
}

/// What becomes of a reader's field that the writer has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is lost: records that were written with it are to come no more.
    Lost,
    /// Its default stands for it: records were written before there was such a field.
    Default,
}

/// What a reader of `reads` loses in records of `writer`.
pub(super) fn lost(
    reader: &Relation,
    reads: &BTreeSet<Path>,
    writer: &Relation,
    missing: Missing,
) -> Vec<Lost> {
    if reader.form != writer.form {
        return vec![Lost { path: Vec::new(), loss: Loss::Form }];
    }
    let mut walk = Walk::new(&reader.value, &writer.value, missing);
    for path in reads {
        walk.follow(reader.row, writer.row, path);
    }
    let mut lost = walk.lost;
    if lost.is_empty() {
        lost.extend(unresolved(reader, reads, writer));
    }
    if reader.form != Form::Event && !same_key(reader.key.as_ref(), writer.key.as_ref()) {
        lost.insert(Lost { path: Vec::new(), loss: Loss::Key });
    }
    lost.into_iter().collect()
}

/// Whether two keys have the same bytes for the same row: their records' names mean nothing.
pub(super) fn same_key(one: Option<&Schema>, other: Option<&Schema>) -> bool {
    let (one, other) = match (one, other) {
        (None, None) => return true,
        (Some(one), Some(other)) => (one, other),
        _ => return false,
    };
    let mut walk = Walk::new(one, other, Missing::Lost);
    walk.value(one.root(), other.root(), &mut Vec::new());
    walk.exact && walk.lost.is_empty()
}

/// A field of both rows whose bytes mean something else in one than in the other, which Avro's
/// compatibility does not see: a moment that is a local time, a decimal of another scale.
pub(super) fn other_meaning(old: &Schema, new: &Schema) -> Option<Path> {
    let of = |reader: &Schema, writer: &Schema| {
        let mut walk = Walk::new(reader, writer, Missing::Default);
        walk.value(reader.root(), writer.root(), &mut Vec::new());
        walk.units.into_iter().next()
    };
    of(old, new).or_else(|| of(new, old))
}

/// Why rows cannot be gone through: if a column of which something is read has another type, whatever
/// within it, the columns that are taken are resolved; and no resolution makes one scale of a decimal another.
fn unresolved(reader: &Relation, reads: &BTreeSet<Path>, writer: &Relation) -> Option<Lost> {
    let mut exact = true;
    let columns: BTreeSet<&String> = reads.iter().filter_map(|path| path.first()).collect();
    for column in columns {
        let mut walk = Walk::new(&reader.value, &writer.value, Missing::Lost);
        let own = fields(walk.reader, reader.row).iter().find(|field| field.name == *column)?;
        let path = [column.clone()];
        let Some(other) = walk.counterpart(own, writer.row, &path) else { continue };
        walk.value(own.node, other, &mut path.to_vec());
        if let Some(place) = walk.scales.first() {
            return Some(Lost {
                path: path.into(),
                loss: Loss::Unresolved { place: place.clone() },
            });
        }
        exact &= walk.exact && walk.lost.is_empty();
    }
    if exact {
        return None;
    }
    let own = taken(&reader.value.at(reader.row), reads)?;
    let found = incompatibilities(&own, &writer.value.at(writer.row)).into_iter().next()?;
    Some(Lost { path: Vec::new(), loss: Loss::Unresolved { place: found.path } })
}

/// The rows' schema with only the columns of which something is read.
fn taken(row: &Schema, reads: &BTreeSet<Path>) -> Option<Schema> {
    let columns: BTreeSet<FieldPath> =
        reads.iter().filter_map(|path| path.first()?.parse().ok()).collect();
    project(row, &columns).ok()
}

struct Walk<'w> {
    reader: &'w Schema,
    writer: &'w Schema,
    missing: Missing,
    /// Whether all that was compared has the same bytes.
    exact: bool,
    /// Where a decimal has another scale.
    scales: Vec<String>,
    /// Where the bytes mean something else.
    units: Vec<Path>,
    seen: BTreeSet<(NodeId, NodeId)>,
    lost: BTreeSet<Lost>,
}

impl<'w> Walk<'w> {
    fn new(reader: &'w Schema, writer: &'w Schema, missing: Missing) -> Self {
        let (seen, lost) = (BTreeSet::new(), BTreeSet::new());
        let (scales, units) = (Vec::new(), Vec::new());
        Self { reader, writer, missing, exact: true, scales, units, seen, lost }
    }

    fn lose(&mut self, path: &[String], loss: Loss) {
        self.lost.insert(Lost { path: path.to_vec(), loss });
    }

    /// Goes from both rows along a path, and compares what stands at its end.
    fn follow(&mut self, row: NodeId, written: NodeId, path: &Path) {
        let (mut own, mut other) = (row, written);
        for (step, name) in path.iter().enumerate() {
            let within = &path[..=step];
            let Some(field) = fields(self.reader, own).iter().find(|field| field.name == *name)
            else {
                return;
            };
            if !self.is_record(other) {
                return self.changed(own, other, &path[..step]);
            }
            let Some(found) = self.counterpart(field, other, within) else { return };
            (own, other) = (field.node, found);
        }
        // A type that stands in two places is lost in both.
        self.seen.clear();
        self.value(own, other, &mut path.clone());
    }

    /// Whether something of the writer is a record, or null beside one.
    fn is_record(&self, id: NodeId) -> bool {
        let id = nullable_branch(self.writer, id).unwrap_or(id);
        matches!(self.writer.node(id).kind, Kind::Record(_))
    }

    /// The writer's field that a reader's field takes, by its name or one that it had.
    fn counterpart(&mut self, field: &Field, record: NodeId, path: &[String]) -> Option<NodeId> {
        let written = fields(self.writer, record);
        let named = |name: &String| written.iter().find(|other| other.name == *name);
        if let Some(found) = named(&field.name).or_else(|| field.aliases.iter().find_map(named)) {
            return Some(found.node);
        }
        let renamed = written.iter().find(|other| other.aliases.contains(&field.name));
        match (renamed, self.missing, &field.default) {
            (_, Missing::Default, Some(_)) => {}
            (_, Missing::Default, None) => self.lose(path, Loss::NoDefault),
            (Some(renamed), Missing::Lost, _) => {
                let to = renamed.name.clone();
                self.lose(path, Loss::Renamed { to });
            }
            (None, Missing::Lost, _) => self.lose(path, Loss::Dropped),
        }
        None
    }

    fn changed(&mut self, own: NodeId, other: NodeId, path: &[String]) {
        let (from, to) = (self.reader.short_type(own), self.writer.short_type(other));
        self.lose(path, Loss::Changed { from, to });
    }

    /// Compares two types, whatever is within them.
    fn value(&mut self, own: NodeId, other: NodeId, path: &mut Path) {
        if !self.seen.insert((own, other)) {
            return;
        }
        if !self.same_meaning(own, other) {
            self.units.push(path.clone());
            if self.is_decimal(own, other) {
                self.scales.push(path.join("."));
            }
            return self.changed(own, other, path);
        }
        let (reader, writer) = (self.reader, self.writer);
        match (&reader.node(own).kind, &writer.node(other).kind) {
            (Kind::Union(_), _) | (_, Kind::Union(_)) => self.union(own, other, path),
            (Kind::Array(one), Kind::Array(two)) | (Kind::Map(one), Kind::Map(two)) => {
                self.value(*one, *two, path);
            }
            (Kind::Record(one), Kind::Record(two)) => {
                self.exact &= one.len() == two.len()
                    && one.iter().zip(two).all(|(one, two)| one.name == two.name);
                for field in one {
                    path.push(field.name.clone());
                    if let Some(found) = self.counterpart(field, other, path) {
                        self.value(field.node, found, path);
                    }
                    path.pop();
                }
            }
            (Kind::Enum { symbols: one, .. }, Kind::Enum { symbols: two, .. }) => {
                self.exact &= one == two;
                if !two.iter().all(|symbol| one.contains(symbol)) {
                    self.changed(own, other, path);
                }
            }
            (Kind::Fixed(one), Kind::Fixed(two)) if one == two => {}
            (Kind::Fixed(_), _) => self.changed(own, other, path),
            (one, two) if std::mem::discriminant(one) == std::mem::discriminant(two) => {}
            (one, two) if exactly(two, one) => self.exact = false,
            _ => self.changed(own, other, path),
        }
    }

    /// Whether the logical types say the same of the bytes. How many digits a decimal has at most says
    /// nothing of what one is.
    fn same_meaning(&self, own: NodeId, other: NodeId) -> bool {
        match (self.reader.node(own).logical, self.writer.node(other).logical) {
            (Some(Logical::Decimal { scale, .. }), Some(Logical::Decimal { scale: other, .. })) => {
                scale == other
            }
            (one, two) => one == two || self.is_union(own, other),
        }
    }

    /// Whether both are decimals, and of another scale.
    fn is_decimal(&self, own: NodeId, other: NodeId) -> bool {
        let scale = |schema: &Schema, id| match schema.node(id).logical {
            Some(Logical::Decimal { scale, .. }) => Some(scale),
            _ => None,
        };
        let scales = scale(self.reader, own).zip(scale(self.writer, other));
        scales.is_some_and(|(own, other)| own != other)
    }

    fn is_union(&self, own: NodeId, other: NodeId) -> bool {
        let union = |schema: &Schema, id| matches!(schema.node(id).kind, Kind::Union(_));
        union(self.reader, own) || union(self.writer, other)
    }

    /// Compares types of which one is a union at least: each branch that is written needs one that is read.
    fn union(&mut self, own: NodeId, other: NodeId, path: &mut Path) {
        let (read, written) = (branches(self.reader, own), branches(self.writer, other));
        let union = |schema: &Schema, id| matches!(schema.node(id).kind, Kind::Union(_));
        self.exact &=
            read.len() == written.len() && union(self.reader, own) == union(self.writer, other);
        for (place, branch) in written.into_iter().enumerate() {
            if matches!(self.writer.node(branch).kind, Kind::Null) {
                if !may_be_null(self.reader, own) {
                    return self.changed(own, other, path);
                }
                let null = |id: &NodeId| matches!(self.reader.node(*id).kind, Kind::Null);
                self.exact &= read.get(place).is_some_and(null);
                continue;
            }
            let Some((taken, id)) = self.branch(&read, branch) else {
                return self.changed(own, other, path);
            };
            self.exact &= taken == place;
            self.value(id, branch, path);
        }
    }

    /// The branch that takes a written type: the first of its own kind and name, else the only one.
    fn branch(&self, read: &[NodeId], written: NodeId) -> Option<(usize, NodeId)> {
        let node = self.writer.node(written);
        let name = |id: NodeId| self.reader.node(id).name.as_ref().map(|name| &name.name);
        let is_kind = |id: &NodeId| {
            std::mem::discriminant(&self.reader.node(*id).kind)
                == std::mem::discriminant(&node.kind)
        };
        let is_named = |id: &NodeId| name(*id) == node.name.as_ref().map(|name| &name.name);
        let all = || read.iter().copied().enumerate();
        let exact = all().find(|(_, id)| is_kind(id) && is_named(id));
        let other = |(_, id): &(usize, NodeId)| !matches!(self.reader.node(*id).kind, Kind::Null);
        let mut rest = all().filter(other);
        exact.or_else(|| rest.next().filter(|_| rest.next().is_none()))
    }
}

fn branches(schema: &Schema, id: NodeId) -> Vec<NodeId> {
    match &schema.node(id).kind {
        Kind::Union(branches) => branches.clone(),
        _ => vec![id],
    }
}

/// The fields of the record that a type is, or is beside null.
fn fields(schema: &Schema, id: NodeId) -> &[Field] {
    let id = nullable_branch(schema, id).unwrap_or(id);
    match &schema.node(id).kind {
        Kind::Record(fields) => fields,
        _ => &[],
    }
}

/// Whether every value of a type is a value of another, to the last digit.
pub(super) fn exactly(written: &Kind, read: &Kind) -> bool {
    matches!((written, read), (Kind::Int, Kind::Long | Kind::Double) | (Kind::Float, Kind::Double))
}
