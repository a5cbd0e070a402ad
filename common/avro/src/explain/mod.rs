//! Why a schema cannot read another's data, for people: where, by which rule, which two types, what
//! hides behind a union's branch that "is missing", and what to change. Pure; the registry's answers,
//! `tidemesh schema check` and the controller's reasons are made of it.
//!
//! The reasons are the checker's, one for one and in its order: who has its messages too can put
//! them side by side ([`Finding::location`]). An explanation adds three things. The places are JSON
//! pointers that resolve in both schemas' [`Schema::registry_text`], where Java's location names
//! the reader's fields, the writer's branches, and begins anew within a union. What Java says of a
//! union is only that a branch is missing: [`Finding::causes`] looks into the branch that was meant.
//! And [`Finding::suggestion`] says what to change in the *new* schema, which under
//! [`Direction::Backward`] is the reader's and under [`Direction::Forward`] the writer's.
//!
//! Absent here: data. [`crate::witness`] makes the smallest record that shows the break.

mod place;
mod suggest;

use crate::compat::{
    Checker, CompatibilityLevel, Direction, Found, IncompatibilityKind, Matter, java_path,
    names_match,
};
use crate::project::Projection;
use crate::schema::{Kind, NodeId, Schema};
use place::Places;
use std::collections::HashSet;
use std::mem::discriminant;

/// How deep the causes of causes are followed.
pub const CAUSES_DEPTH_MAX: usize = 16;

/// The most findings of one explanation, causes among them; more are left out.
pub const EXPLAINED_MAX: usize = 256;

/// One reason why a reader cannot read what a writer wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken, in Avro Java's spelling by [`IncompatibilityKind::name`].
    pub rule: IncompatibilityKind,
    /// The place as Avro Java and Confluent's registry give it.
    pub location: String,
    /// The place in the reader's schema: a JSON pointer (RFC 6901) into its
    /// [`Schema::registry_text`]; empty for the whole of it. A type that is named there a second
    /// time is pointed at where it is defined.
    pub reader_path: String,
    /// The place in the writer's schema, likewise.
    pub writer_path: String,
    /// The field, for people: names of the reader's fields from the root, joined by points; lists,
    /// maps and unions on the way add nothing (`customer.address.zip`). None at the root.
    pub field: Option<String>,
    /// The reader's type there in short ([`Schema::short_type`]).
    pub reader: String,
    /// The writer's type there in short.
    pub writer: String,
    /// Avro Java's message: names the symbols, sizes, field or types.
    pub message: String,
    /// What to change in the new schema: a sentence without its full stop.
    pub suggestion: String,
    /// For a branch that a union lacks although it has one of that type or name: what is wrong
    /// within it. Empty elsewhere.
    pub causes: Vec<Finding>,
}

impl Finding {
    /// The innermost reasons: this one, or those that it comes from.
    #[must_use]
    pub fn roots(&self) -> Vec<&Finding> {
        if self.causes.is_empty() {
            return vec![self];
        }
        self.causes.iter().flat_map(Finding::roots).collect()
    }

    /// The place in the new schema.
    #[must_use]
    pub fn new_path(&self, direction: Direction) -> &str {
        match direction {
            Direction::Backward => &self.reader_path,
            Direction::Forward => &self.writer_path,
        }
    }

    /// Lines for people, one for each of the innermost reasons, in the manner of Confluent's messages:
    /// the version that broke, the rule, the place in the new schema, both types, what to change.
    #[must_use]
    pub fn lines(&self, version: u32, direction: Direction) -> Vec<String> {
        let line = |root: &Finding| {
            format!(
                "{{{}, direction: '{}', oldSchemaVersion: {version}, suggestion: '{}'}}",
                root.members(direction),
                direction.name(),
                root.suggestion
            )
        };
        self.roots().into_iter().map(line).collect()
    }

    /// What a line for people has of each reason: its rule, the place in the new schema, both types.
    #[must_use]
    pub fn members(&self, direction: Direction) -> String {
        format!(
            "rule: '{}', path: '{}', field: '{}', readerType: '{}', writerType: '{}'",
            self.rule.name(),
            self.new_path(direction),
            self.field.as_deref().unwrap_or_default(),
            self.reader,
            self.writer
        )
    }
}

/// What stands between a new schema and one earlier version, in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The earlier version that breaks.
    pub version: u32,
    /// Who cannot read whose data.
    pub direction: Direction,
    /// Why; never empty.
    pub findings: Vec<Finding>,
}

/// Why `reader` cannot read data written with `writer`; empty if it can. `direction` tells which of
/// them is the new schema, the one that suggestions are about.
#[must_use]
pub fn explain(reader: &Schema, writer: &Schema, direction: Direction) -> Vec<Finding> {
    explain_from(reader, writer, direction, None)
}

/// As [`explain`], of a reader's schema that was projected: places are those of the whole one.
pub(crate) fn explain_projected(
    projection: &Projection<'_>,
    writer: &Schema,
    direction: Direction,
) -> Vec<Finding> {
    explain_from(&projection.schema, writer, direction, Some(projection))
}

fn explain_from(
    reader: &Schema,
    writer: &Schema,
    direction: Direction,
    origin: Option<&Projection<'_>>,
) -> Vec<Finding> {
    let mut checker = Checker::new(reader, writer);
    let found = checker.pair(reader.root(), writer.root());
    if found.is_empty() {
        return Vec::new();
    }
    let mut explainer = Explainer {
        reader,
        writer,
        direction,
        origin,
        checker,
        places: Places::new(origin.map_or(reader, |origin| origin.whole), writer),
        looked_into: HashSet::new(),
        left: EXPLAINED_MAX,
        depth: 0,
    };
    explainer.findings(&found)
}

/// Explains what stands against `new` by `level`, over the versions before it, oldest first. Answers
/// every version that breaks, newest first, each direction by itself, in
/// [`crate::compat::check_level`]'s order.
#[must_use]
pub fn explain_level(
    level: CompatibilityLevel,
    new: &Schema,
    history: &[(u32, &Schema)],
) -> Vec<Explanation> {
    let mut explanations = Vec::new();
    for (version, old) in level.versions(history) {
        for direction in level.directions() {
            let (reader, writer) = direction.roles(new, old);
            let findings = explain(reader, writer, *direction);
            if !findings.is_empty() {
                explanations.push(Explanation { version, direction: *direction, findings });
            }
        }
    }
    explanations
}

struct Explainer<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    direction: Direction,
    /// Where the reader's schema comes from, if it is a part of another.
    origin: Option<&'s Projection<'s>>,
    checker: Checker<'s>,
    places: Places<'s>,
    /// Pairs whose reasons stand as causes already: types can be recursive.
    looked_into: HashSet<(NodeId, NodeId)>,
    left: usize,
    depth: usize,
}

impl Explainer<'_> {
    fn findings(&mut self, found: &[std::rc::Rc<Found>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for found in found {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            findings.push(self.finding(found));
        }
        findings
    }

    fn finding(&mut self, found: &Found) -> Finding {
        let trail = match self.origin {
            Some(origin) => origin.whole_trail(&found.trail),
            None => found.trail.clone(),
        };
        let place = self.places.of(&trail);
        let causes = match found.matter {
            Matter::Branch(branch) => self.causes(found.reader, branch),
            _ => Vec::new(),
        };
        let context = suggest::Context {
            reader: self.reader,
            writer: self.writer,
            direction: self.direction,
            field: place.field.as_deref(),
            caused: !causes.is_empty(),
        };
        Finding {
            rule: found.what.kind,
            location: java_path(&trail[found.path_start..]),
            suggestion: suggest::suggest(&context, &mut self.checker, found),
            reader_path: place.reader,
            writer_path: place.writer,
            field: place.field,
            reader: self.reader.short_type(found.reader),
            writer: self.writer.short_type(found.writer),
            message: found.what.message.clone(),
            causes,
        }
    }

    /// What is wrong within the branch of the reader's union that was meant for the writer's type:
    /// the one of its full name, else the first of its kind and name.
    fn causes(&mut self, reader: NodeId, branch: NodeId) -> Vec<Finding> {
        let Kind::Union(branches) = &self.reader.node(reader).kind else {
            return Vec::new();
        };
        let written = self.writer.node(branch);
        let mut alike = branches.iter().copied().filter(|place| {
            let read = self.reader.node(*place);
            discriminant(&read.kind) == discriminant(&written.kind) && names_match(read, written)
        });
        let same_name = |place: &NodeId| self.reader.node(*place).name == written.name;
        let Some(meant) = alike.clone().find(same_name).or_else(|| alike.next()) else {
            return Vec::new();
        };
        if self.depth >= CAUSES_DEPTH_MAX || !self.looked_into.insert((meant, branch)) {
            return Vec::new();
        }
        let found = self.checker.pair(meant, branch);
        self.depth += 1;
        let causes = self.findings(&found);
        self.depth -= 1;
        causes
    }
}

#[cfg(test)]
mod tests;
