//! The compatibility checker: can data written with one schema be read with another. Pure.
//!
//! Verdicts, places and messages are those of Avro Java 1.12's `SchemaCompatibility`, the checker
//! behind Confluent's registry: `testdata/registry` holds 645 pairs on which both agree.

mod level;
mod trail;

pub use level::{CompatibilityLevel, Direction, Offence, Verdict, check_level};
pub(crate) use trail::{PairStep, java_path};

use crate::schema::{Field, Kind, Node, NodeId, Schema};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// The most reasons that one pair of types gives; more are left out.
const FINDINGS_MAX: usize = 64;

/// The most pairs of types that are compared, those that fit at first sight not counted; schemas that
/// need more are taken for incompatible.
const PAIRS_MAX: usize = 20_000;

/// The deepest nesting of pairs.
const DEPTH_MAX: usize = 256;

type Findings = Vec<Rc<Found>>;

/// Why a reader cannot read what a writer wrote, in Avro Java's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncompatibilityKind {
    /// Two named types have different names.
    NameMismatch,
    /// Two fixed types have different sizes.
    FixedSizeMismatch,
    /// The writer's enum has symbols that the reader's has not.
    MissingEnumSymbols,
    /// The reader's field is not in the writer's record and has no default.
    ReaderFieldMissingDefaultValue,
    /// The types do not fit.
    TypeMismatch,
    /// The reader's union has no branch for the writer's type.
    MissingUnionBranch,
}

impl IncompatibilityKind {
    /// Avro Java's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
        }
    }
}

/// One reason, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// What is wrong.
    pub kind: IncompatibilityKind,
    /// Where in the reader's schema, as a JSON pointer.
    pub path: String,
    /// Avro Java's message.
    pub message: String,
    /// The reader's type there, by Java's name.
    pub reader: &'static str,
    /// The writer's type there, by Java's name.
    pub writer: &'static str,
}

/// A reason with what an explanation of it needs.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) what: Incompatibility,
    /// The reader's type there.
    pub(crate) reader: NodeId,
    /// The writer's type there.
    pub(crate) writer: NodeId,
    pub(crate) matter: Matter,
    /// The steps from both roots to the place.
    pub(crate) trail: Vec<PairStep>,
    /// Where in the trail Java's path begins.
    pub(crate) path_start: usize,
}

/// What a reason is about, beside the two types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matter {
    /// Nothing else.
    Types,
    /// This field of the reader's record has no source.
    Field(usize),
    /// This field of the reader's record has several.
    Several(usize),
    /// This type of the writer has no branch in the reader's union.
    Branch(NodeId),
    /// A limit of ours.
    Limit,
}

/// Why `reader` cannot read data written with `writer`; empty if it can.
#[must_use]
pub fn incompatibilities(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    let mut checker = Checker::new(reader, writer);
    let found = checker.pair(reader.root(), writer.root());
    // Freed first, so that the reasons are taken and not copied.
    drop(checker);
    found.into_iter().map(|found| Rc::unwrap_or_clone(found).what).collect()
}

/// Whether one type's data is read by another (specification 1.12, "Schema Resolution").
pub(crate) fn promoted(written: &Kind, read: &Kind) -> bool {
    matches!(
        (written, read),
        (Kind::Int, Kind::Long | Kind::Float | Kind::Double)
            | (Kind::Long, Kind::Float | Kind::Double)
            | (Kind::Float, Kind::Double)
            | (Kind::String, Kind::Bytes)
            | (Kind::Bytes, Kind::String)
    )
}

/// Whether data of a plain type is read by another.
fn plainly_read(written: &Kind, read: &Kind) -> bool {
    std::mem::discriminant(written) == std::mem::discriminant(read) || promoted(written, read)
}

/// Whether a type has no name and holds no others, so that it is judged by nothing else.
fn is_plain(kind: &Kind) -> bool {
    match kind {
        Kind::Null
        | Kind::Boolean
        | Kind::Int
        | Kind::Long
        | Kind::Float
        | Kind::Double
        | Kind::Bytes
        | Kind::String => true,
        Kind::Fixed(_)
        | Kind::Enum { .. }
        | Kind::Array(_)
        | Kind::Map(_)
        | Kind::Record(_)
        | Kind::Union(_) => false,
    }
}

pub(crate) struct Checker<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    /// What is known of a pair; none while it is being checked, which breaks the recursion.
    verdicts: HashMap<(NodeId, NodeId), Option<Findings>>,
    trail: Vec<PairStep>,
    /// Where in the trail Java's path begins.
    path_start: usize,
    depth: usize,
}

impl<'s> Checker<'s> {
    pub(crate) fn new(reader: &'s Schema, writer: &'s Schema) -> Self {
        let (verdicts, trail) = (HashMap::new(), Vec::new());
        Self { reader, writer, verdicts, trail, path_start: 0, depth: 0 }
    }

    /// Whether a type of the reader can read all data of one of the writer.
    pub(crate) fn readable(&mut self, reader: NodeId, writer: NodeId) -> bool {
        self.pair(reader, writer).is_empty()
    }

    /// Whether that is so at first sight, as of most pairs: no reason has to be looked for, and nothing
    /// kept.
    fn plainly_fits(&self, reader: NodeId, writer: NodeId) -> bool {
        let written = &self.writer.node(writer).kind;
        if !is_plain(written) {
            return false;
        }
        match &self.reader.node(reader).kind {
            Kind::Union(branches) => {
                let mut read = branches.iter().map(|branch| &self.reader.node(*branch).kind);
                read.any(|read| plainly_read(written, read))
            }
            read => plainly_read(written, read),
        }
    }

    /// One pair, checked at most once.
    pub(crate) fn pair(&mut self, reader: NodeId, writer: NodeId) -> Findings {
        if self.plainly_fits(reader, writer) {
            return Vec::new();
        }
        if let Some(verdict) = self.verdicts.get(&(reader, writer)) {
            return verdict.clone().unwrap_or_default();
        }
        if self.depth >= DEPTH_MAX || self.verdicts.len() >= PAIRS_MAX {
            let message = "the schemas are too large to compare".to_owned();
            let kind = IncompatibilityKind::TypeMismatch;
            return self.found(kind, (reader, writer), Matter::Limit, message);
        }
        self.verdicts.insert((reader, writer), None);
        self.depth += 1;
        let mut found = self.calculate(reader, writer);
        self.depth -= 1;
        found.truncate(FINDINGS_MAX);
        self.verdicts.insert((reader, writer), Some(found.clone()));
        found
    }

    fn within<T>(&mut self, step: PairStep, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.trail.push(step);
        let answer = inner(self);
        self.trail.pop();
        answer
    }

    /// Java begins a path anew where a union's branch is tried.
    fn rooted<T>(&mut self, inner: impl FnOnce(&mut Self) -> T) -> T {
        let start = std::mem::replace(&mut self.path_start, self.trail.len());
        let answer = inner(self);
        self.path_start = start;
        answer
    }

    /// Tries a branch of the reader's union.
    fn branch(&mut self, place: usize, reader: NodeId, writer: NodeId) -> Findings {
        let step = PairStep::ReaderBranch(place);
        self.rooted(|this| this.within(step, |this| this.pair(reader, writer)))
    }

    fn found(
        &self,
        kind: IncompatibilityKind,
        (reader, writer): (NodeId, NodeId),
        matter: Matter,
        message: String,
    ) -> Findings {
        let what = Incompatibility {
            kind,
            path: java_path(&self.trail[self.path_start..]),
            message,
            reader: self.reader.node(reader).type_name(),
            writer: self.writer.node(writer).type_name(),
        };
        let (trail, path_start) = (self.trail.clone(), self.path_start);
        vec![Rc::new(Found { what, reader, writer, matter, trail, path_start })]
    }

    fn wrong(
        &self,
        kind: IncompatibilityKind,
        reader: NodeId,
        writer: NodeId,
        message: String,
    ) -> Findings {
        self.found(kind, (reader, writer), Matter::Types, message)
    }

    fn calculate(&mut self, reader: NodeId, writer: NodeId) -> Findings {
        let (reader_schema, writer_schema) = (self.reader, self.writer);
        let (read, written) = (reader_schema.node(reader), writer_schema.node(writer));
        match (&read.kind, &written.kind) {
            (Kind::Array(r), Kind::Array(w)) => {
                self.within(PairStep::Items, |this| this.pair(*r, *w))
            }
            (Kind::Map(r), Kind::Map(w)) => self.within(PairStep::Values, |this| this.pair(*r, *w)),
            (Kind::Fixed(r), Kind::Fixed(w)) => self.fixed(reader, writer, *r, *w),
            (Kind::Enum { symbols, default }, Kind::Enum { symbols: written, .. }) => {
                self.enumeration(reader, writer, (symbols, default.as_deref()), written)
            }
            (Kind::Record(r), Kind::Record(w)) => self.record(reader, writer, r, w),
            (Kind::Union(_), Kind::Union(branches)) => self.unions(reader, writer, branches),
            (_, Kind::Union(branches)) => {
                let mut found = Vec::new();
                for (index, branch) in branches.iter().enumerate() {
                    let step = PairStep::WriterBranch(index);
                    found.extend(self.within(step, |this| this.pair(reader, *branch)));
                }
                found
            }
            (Kind::Union(branches), _) => self.one_branch(reader, writer, branches),
            _ if std::mem::discriminant(&read.kind) == std::mem::discriminant(&written.kind) => {
                Vec::new()
            }
            (read, written) if promoted(written, read) => Vec::new(),
            _ => {
                let message = format!(
                    "reader type: {} not compatible with writer type: {}",
                    read.type_name(),
                    written.type_name()
                );
                self.wrong(IncompatibilityKind::TypeMismatch, reader, writer, message)
            }
        }
    }

    fn names(&mut self, reader: NodeId, writer: NodeId) -> Findings {
        let read = self.reader.node(reader);
        let Some(written) = &self.writer.node(writer).name else {
            return Vec::new();
        };
        if names_match(read, self.writer.node(writer)) {
            return Vec::new();
        }
        let message = format!("expected: {written}");
        self.within(PairStep::Name, |this| {
            this.wrong(IncompatibilityKind::NameMismatch, reader, writer, message)
        })
    }

    fn fixed(&mut self, reader: NodeId, writer: NodeId, r: usize, w: usize) -> Findings {
        let mut found = self.names(reader, writer);
        if r != w {
            let message = format!("expected: {w}, found: {r}");
            found.extend(self.within(PairStep::Size, |this| {
                this.wrong(IncompatibilityKind::FixedSizeMismatch, reader, writer, message)
            }));
        }
        found
    }

    fn enumeration(
        &mut self,
        reader: NodeId,
        writer: NodeId,
        (symbols, default): (&[String], Option<&str>),
        written: &[String],
    ) -> Findings {
        let mut found = self.names(reader, writer);
        let missing: BTreeSet<&str> =
            written.iter().filter(|symbol| !symbols.contains(symbol)).map(String::as_str).collect();
        if !missing.is_empty() && default.is_none() {
            let message = format!("[{}]", missing.into_iter().collect::<Vec<_>>().join(", "));
            found.extend(self.within(PairStep::Symbols, |this| {
                this.wrong(IncompatibilityKind::MissingEnumSymbols, reader, writer, message)
            }));
        }
        found
    }

    fn record(
        &mut self,
        reader: NodeId,
        writer: NodeId,
        read: &[Field],
        written: &[Field],
    ) -> Findings {
        let mut found = self.names(reader, writer);
        for (place, (field, source)) in read.iter().zip(writer_fields(read, written)).enumerate() {
            found.extend(match source {
                WriterField::One(taken) => {
                    let (r, w) = (field.node, written[taken].node);
                    let step = PairStep::FieldType { reader: place, writer: Some(taken) };
                    self.within(step, |this| this.pair(r, w))
                }
                WriterField::None => self.missing(reader, writer, place, field),
                WriterField::Several => self.several(reader, writer, place, field),
            });
        }
        found
    }

    /// A reader's field that the writer has not.
    fn missing(&mut self, reader: NodeId, writer: NodeId, place: usize, field: &Field) -> Findings {
        if field.default.is_some() {
            return Vec::new();
        }
        // Java's own oddity: an enum's default serves as the field's, as far as types go.
        if let Kind::Enum { default: Some(_), .. } = &self.reader.node(field.node).kind {
            let r = field.node;
            let step = PairStep::FieldType { reader: place, writer: None };
            return self.within(step, |this| this.pair(r, writer));
        }
        let kind = IncompatibilityKind::ReaderFieldMissingDefaultValue;
        self.within(PairStep::Field(place), |this| {
            this.found(kind, (reader, writer), Matter::Field(place), field.name.clone())
        })
    }

    /// Java throws here instead of giving a reason, and Confluent's registry refuses the schema.
    fn several(&mut self, reader: NodeId, writer: NodeId, place: usize, field: &Field) -> Findings {
        let message = format!(
            "Reader record field {} matches multiple fields in writer record schema",
            field.name
        );
        let kind = IncompatibilityKind::TypeMismatch;
        self.within(PairStep::Field(place), |this| {
            this.found(kind, (reader, writer), Matter::Several(place), message)
        })
    }

    fn unions(&mut self, reader: NodeId, writer: NodeId, branches: &[NodeId]) -> Findings {
        let mut found = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            found.extend(self.within(PairStep::WriterBranch(index), |this| {
                let fits = this.rooted(|this| this.pair(reader, *branch)).is_empty();
                if fits { Vec::new() } else { this.lacking(reader, writer, *branch) }
            }));
        }
        found
    }

    fn one_branch(&mut self, reader: NodeId, writer: NodeId, branches: &[NodeId]) -> Findings {
        let mut each = branches.iter().enumerate();
        let fits = each.any(|(place, branch)| self.branch(place, *branch, writer).is_empty());
        if fits { Vec::new() } else { self.lacking(reader, writer, writer) }
    }

    fn lacking(&self, reader: NodeId, writer: NodeId, branch: NodeId) -> Findings {
        let message =
            format!("reader union lacking writer type: {}", self.writer.node(branch).type_name());
        let kind = IncompatibilityKind::MissingUnionBranch;
        self.found(kind, (reader, writer), Matter::Branch(branch), message)
    }
}

/// Whether a reader's type may take a writer's by their names, which are compared without their
/// namespaces; a reader's alias is a full name. Types without names always may.
pub(crate) fn names_match(read: &Node, written: &Node) -> bool {
    match (&read.name, &written.name) {
        (Some(name), Some(written)) => name.name == written.name || read.aliases.contains(written),
        _ => true,
    }
}

/// Which of the writer's fields one of the reader's takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterField {
    /// None has its name or one of its aliases.
    None,
    /// The one at this place.
    One(usize),
    /// The reader's name and aliases fit more than one, and nothing says which.
    Several,
}

/// For each of a reader's fields the writer's that it takes: by name and by aliases, as Java's
/// `SchemaCompatibility.lookupWriterField` looks for it.
pub(crate) fn writer_fields(
    read: &[Field],
    written: &[Field],
) -> impl Iterator<Item = WriterField> {
    let places: HashMap<&str, usize> =
        written.iter().enumerate().map(|(place, field)| (field.name.as_str(), place)).collect();
    read.iter().map(move |field| {
        let names = std::iter::once(&field.name).chain(&field.aliases);
        let mut found = names.filter_map(|name| places.get(name.as_str()).copied());
        match found.next() {
            None => WriterField::None,
            Some(first) if found.all(|other| other == first) => WriterField::One(first),
            Some(_) => WriterField::Several,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of records, each within the one before and the last naming the first.
    fn ring(count: usize, leaf: &str) -> Schema {
        let mut text = format!("[\"R0\",\"{leaf}\"]");
        for index in (0..count).rev() {
            text = format!(
                "{{\"type\":\"record\",\"name\":\"R{index}\",\"fields\":[{{\"name\":\"x\",\"type\":{text}}}]}}"
            );
        }
        Schema::parse(&text).unwrap()
    }

    fn record(fields: &str) -> Schema {
        let text = format!("{{\"type\":\"record\",\"name\":\"R\",\"fields\":[{fields}]}}");
        Schema::parse(&text).unwrap()
    }

    #[test]
    fn a_field_found_by_its_alias_needs_no_default() {
        let reader = record(r#"{"name":"b","type":"long","aliases":["x","a"]}"#);
        assert!(incompatibilities(&reader, &record(r#"{"name":"a","type":"int"}"#)).is_empty());
        let found = incompatibilities(&reader, &record(r#"{"name":"a","type":"string"}"#));
        assert_eq!(found[0].kind, IncompatibilityKind::TypeMismatch);
        assert_eq!(found[0].path, "/fields/0/type");
        let found = incompatibilities(&reader, &record(r#"{"name":"c","type":"int"}"#));
        assert_eq!(found[0].kind, IncompatibilityKind::ReaderFieldMissingDefaultValue);
    }

    #[test]
    fn a_field_that_fits_several_of_the_writers_is_refused() {
        let reader = record(r#"{"name":"a","type":"int","aliases":["b"]}"#);
        let writer = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
        let found = incompatibilities(&reader, &writer);
        assert!(found[0].message.contains("multiple fields"), "{found:?}");
    }

    #[test]
    fn rings_of_different_lengths_are_judged_in_bounded_time() {
        let (one, other) = (ring(25, "int"), ring(26, "string"));
        assert!(!incompatibilities(&one, &other).is_empty());
    }
}
